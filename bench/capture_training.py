"""How near `duende capture` comes to models that are known; writes `capture_training.md`.

    python bench/capture_training.py MODEL.nam ... --guitar DI.wav --size feather --minutes 9 --threads 2

Each model renders the test signal, later by some samples and with a little noise, as an amplifier would; what comes
out is captured by the whole job. The error is that of the stretch that judges, and, where a guitar is given, that on a
guitar which neither the training nor the choice of the best has heard. Without models there is nothing to do.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from duende.engine.bench import machine
from duende.engine.waveform_model import open_waveform
from duende.export.capture.capture import Captured, CaptureRequest, capture
from duende.export.capture.loss import esr
from duende.export.capture.nam_file import About
from duende.export.capture.signal import RATE, SECONDS, make_signal
from duende.export.capture.train import SIZES, TrainConfig
from duende.export.captures.graph import convert
from duende.export.captures.read import read_capture
from duende.export.sounds import load_sound
from duende.presets.captures import Captures

Float32 = npt.NDArray[np.float32]

LATER = 123
NOISE_DBFS = -90.0


def rendered(model: Path, samples: Float32) -> Float32:
    """What a .nam file makes of samples [n] at RATE."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(convert(read_capture(model)))
        stream = open_waveform(path).start(0, 1, 8192)
        out = np.empty((1, len(samples)), dtype=np.float32)
        stream.process(samples[None], np.zeros((1, 0, len(samples)), dtype=np.float32), out)
    return np.ascontiguousarray(out[0], dtype=np.float32)


def recaptured(model: Path, folder: Path, config: TrainConfig, noise_seed: int = 1) -> Captured:
    """A capture of a model, by the whole job."""
    dry, wet = folder / "dry.wav", folder / "wet.wav"
    signal = make_signal(SECONDS)
    answer = np.concatenate((np.zeros(LATER, dtype=np.float32), rendered(model, signal)))[: len(signal)]
    noise = np.random.default_rng(noise_seed).standard_normal(len(answer)).astype(np.float32)
    soundfile.write(dry, signal, RATE, subtype="PCM_24")
    soundfile.write(wet, answer + np.float32(10.0 ** (NOISE_DBFS / 20.0)) * noise, RATE, subtype="FLOAT")
    request = CaptureRequest(dry, wet, About("again"), config, force=True)
    return capture(request, Captures(folder / "captures"), note=lambda text: print(text, file=sys.stderr))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--guitar", type=Path)
    parser.add_argument("--size", nargs="+", default=["feather"], choices=SIZES)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--processor",
        action="store_true",
        help="count processor time, minutes times threads: where others compute, too",
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    asked = parser.parse_args()
    if not asked.models:
        print("capture_training: name .nam files to capture again", file=sys.stderr)
        return
    guitar = None if asked.guitar is None else load_sound(asked.guitar, RATE, use="a guitar")
    rows = []
    for model in asked.models:
        for size in asked.size:
            clock = (lambda: time.process_time() / asked.threads) if asked.processor else time.perf_counter
            config = TrainConfig(size, 60.0 * asked.minutes, threads=asked.threads, clock=clock)
            with tempfile.TemporaryDirectory() as folder:
                before = time.process_time()
                done = recaptured(model, Path(folder), config)
                work = time.process_time() - before
                heard = "-" if guitar is None else f"{_on(guitar, model, done):.4f}"
            latency = done.alignment.latency_samples
            row = (
                f"| {model.stem} | {size} | {latency:.2f} | {done.trained.error:.4f} | {heard} "
                f"| {done.trained.steps} | {done.seconds:.0f} | {work:.0f} |"
            )
            print(row, file=sys.stderr)
            rows.append(row)
    text = [
        "<!-- made by bench/capture_training.py -->",
        "",
        "# Captures of captures",
        "",
        f"Models that are known render the test signal, {LATER} samples later and with noise at {NOISE_DBFS:g} dBFS;",
        f"what comes out is captured by `duende capture` in {asked.minutes:g} minutes, {asked.threads} threads"
        + (" (a busy machine: so many minutes of processor time per thread)." if asked.processor else "."),
        "*ESR*: on the signal's stretch that judges; *guitar*: on a recorded guitar that nothing has heard before.",
        "",
        "| model | size | latency found | ESR | guitar | steps | seconds in all | of processor time |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        ", ".join(f"{key}: {value}" for key, value in machine().items()),
        "",
    ]
    asked.output.write_text("\n".join(text))


def _on(guitar: Float32, model: Path, done: Captured) -> float:
    """ESR on a guitar [n], the capture moved back by what of the latency it keeps."""
    kept = LATER - done.alignment.shift
    wanted = rendered(model, guitar)[: len(guitar) - max(0, kept)]
    answer = done.trained.answer(guitar)[max(0, kept) :]
    return esr(answer, wanted[: len(answer)])


if __name__ == "__main__":
    main()
