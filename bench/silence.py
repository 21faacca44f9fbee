"""What silence after sound costs, against sound, on a thread that flushes denormals; writes bench/silence.md.

A filter that dies away passes, at the end, through numbers below 1.2e-38, which many processors take a hundred times as
long for. Each processor plays sound and then silence; then, begun afresh, sound at -600 dB and silence, so that even
long tails get there. Silence is judged by its worst quarter of a second. Run with the extras ``cpu`` and ``fx``.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from duende.engine.bench import machine, playing
from duende.engine.cabinet import Cabinet
from duende.engine.denormals import flush_denormals
from duende.engine.fx.processor import PyoEffect
from duende.engine.fx.table import EFFECTS
from duende.engine.model import load_model
from duende.engine.processor import Processor, StreamSpec
from duende.engine.response import Response, built_in_response
from duende.engine.slots import processor_for
from duende.engine.waveform import WaveformProcessor
from duende.engine.waveform_model import open_waveform
from duende.export.captures.graph import convert
from networks import FEATURES

Float32 = npt.NDArray[np.float32]

RATE, QUANTUM = 48000.0, 128
SOUND_S, FAINT_S, SILENCE_S, STRETCH_S = 1.0, 0.25, 3.0, 0.25
FAINT = np.float32(1e-30)
ARCHITECTURES = ("plain", "wide", "gated", "films", "condition", "post", "lstm", "gru and knob", "mixed", "linear")
PRESETS = Path(__file__).resolve().parents[1] / "presets"


def processors(folder: Path) -> Iterator[tuple[str, str, Callable[[], Processor]]]:
    """Kind, name, and what makes it: styles of the factory, captures, every effect, cabinets."""
    for file in sorted(PRESETS.glob("*.onnx")):
        model = load_model(file)
        yield model.spec.kind, file.stem, lambda model=model: processor_for(model)  # type: ignore[misc]
    for name in ARCHITECTURES:
        path = folder / f"{name.replace(' ', '-')}.onnx"
        path.write_bytes(convert(FEATURES[name]()))
        capture = open_waveform(path)
        yield "capture", name, lambda capture=capture: WaveformProcessor(capture)  # type: ignore[misc]
    for name in EFFECTS:
        yield "effect", name, lambda name=name: PyoEffect(name)  # type: ignore[misc]

    def room(rate: float) -> Response:
        decay = np.exp(-np.arange(round(2.0 * rate)) / (0.3 * rate)) * np.random.default_rng(1).standard_normal(1)
        return Response("room", decay[None].astype(np.float32), rate)

    yield "cabinet", "4x12", lambda: Cabinet(built_in_response)
    yield "cabinet", "room of 2 s", lambda: Cabinet(room)


def costs(processor: Processor, audio: Float32) -> list[float]:
    """Processor time per quantum, microseconds, of each stretch of audio [samples]: its lower quartile."""
    quanta, stretch = len(audio) // QUANTUM, round(STRETCH_S * RATE / QUANTUM)
    out = np.zeros((QUANTUM, 1), dtype=np.float32)
    times = []
    for place in range(quanta):
        block = audio[place * QUANTUM : (place + 1) * QUANTUM, None]
        began = time.thread_time()
        processor.process(block, out)
        times.append(1e6 * (time.thread_time() - began))
    return [statistics.quantiles(times[at : at + stretch])[0] for at in range(0, quanta - stretch + 1, stretch)]


def measure(make: Callable[[], Processor], *, flush: bool) -> tuple[float, float]:
    """Time in sound, and in the slowest quarter second of silence, us; on a thread of its own."""
    found: list[tuple[float, float]] = []

    def run() -> None:
        if flush:
            flush_denormals()
        processor = make()
        processor.prepare(StreamSpec(RATE, 1, QUANTUM))
        sound = np.asarray(playing(RATE, round(SOUND_S * RATE)), dtype=np.float32).reshape(-1)
        silence = np.zeros(round(SILENCE_S * RATE), dtype=np.float32)
        costs(processor, sound)
        loud = statistics.median(costs(processor, sound))
        quiet = costs(processor, silence)
        processor.reset()
        costs(processor, FAINT * sound[: round(FAINT_S * RATE)])
        quiet += costs(processor, silence)
        found.append((loud, max(quiet)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def main(target: Path) -> None:
    """Measure and write the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, make in processors(Path(folder)):
            # The best of three: other programs only ever make it slower.
            sound, silence = min((measure(make, flush=True) for _ in range(3)), key=lambda pair: pair[1] / pair[0])
            without = measure(make, flush=False)
            rows.append((kind, name, sound, silence, silence / sound, without[1] / without[0]))
            print(f"{kind} {name}: {silence / sound:.2f}, not flushed {without[1] / without[0]:.2f}", flush=True)
    worst = max(rows, key=lambda row: row[4])
    lines = [
        "# Silence after sound",
        "",
        ", ".join(f"{key}: {value}" for key, value in machine().items()),
        "",
        "Written by `python bench/silence.py`: processor time of the thread, microseconds per quantum of "
        f"{QUANTUM} at {RATE / 1000:g} kHz,",
        "the lower quartile of each quarter second (other programs only add to it); of silence, the slowest quarter",
        "second; the best of three runs. Not flushed: the same ratio, of one run, on a thread that does not flush",
        "denormals to zero, as the callback does.",
        "",
        f"Slowest in silence, against sound: {worst[1]} ({worst[4]:.2f}).",
        "",
        "| kind | name | sound | silence | silence / sound | not flushed |",
        "|---|---|---|---|---|---|",
        *(f"| {k} | {n} | {a:.0f} | {b:.0f} | {r:.2f} | {w:.2f} |" for k, n, a, b, r, w in rows),
        "",
    ]
    target.write_text("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".md"))
