"""Side by side with what one would take instead, in one run, by turns; writes bench/peers.md.

Run: ``python bench/peers.py [--folder DIR] [--torch SPEC] [--rounds 15] [--calls 150]``. Each peer lives in an
environment of its own that is made in the folder (kept, and used again; without one, a temporary one), and in a process
of its own; nothing of it becomes a dependency. A peer that cannot be installed is a line of the table that says so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import scipy.signal
import soundfile
from onnx import numpy_helper

from duende.engine.bench import machine, playing
from duende.engine.graph_check import make_session
from duende.engine.model import load_model
from duende.engine.waveform_model import open_waveform
from duende.export.capture.wavenet import SHAPES, WaveNet
from duende.export.captures.install import import_capture
from duende.presets.captures import Captures
from duende.presets.format import write_atomically
from duende.presets.library import Library

Float32 = npt.NDArray[np.float32]

RATE, BLOCKS = 48000, (64, 128, 256)
PRESET = "cello"
FRAMES = 400
SECONDS = 2.0
RESPONSE_S = 0.25
RATIO_BOUND, SWING_BOUND = "ratio_moves_bound", "swing_moves_bound"
OPENING_S = 300.0
ENVIRONMENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "onnxruntime": ("onnxruntime", ("numpy", "onnxruntime")),
    "onnxruntime-1": ("onnxruntime", ("numpy", "onnxruntime")),
    "torch": ("torch", ("numpy", "TORCH")),
    "torchscript": ("torch", ("numpy", "TORCH")),
    "pedalboard": ("pedalboard", ("numpy", "pedalboard")),
    "nam": ("nam", ("numpy", "TORCH", "neural-amp-modeler")),
}
TITLES = {
    "duende": "duende",
    "onnxruntime": "onnxruntime, naive, as it comes",
    "onnxruntime-1": "onnxruntime, naive, one thread",
    "torch": "torch, eager",
    "torchscript": "TorchScript, frozen",
    "pedalboard": "pedalboard",
    "nam": "neural-amp-modeler, torch",
}


@dataclass
class Peer:
    """A running side, and what it measured: by case, one median for each round."""

    kind: str
    process: "subprocess.Popen[str]"
    version: str
    snr_db: dict[str, float]
    medians: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, case: str, calls: int) -> None:
        """One round of a case."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"case": case, "calls": calls}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.medians.setdefault(case, []).append(answer["median_us"])


def prepare(folder: Path) -> None:
    """What all sides work on, and what they must answer."""
    entry = Library(own=Path("none")).find(PRESET)
    (slot,) = [slot for slot in entry.read().slots if slot.kind == "style"]
    data = entry.read_file(slot)
    (folder / "student.onnx").write_bytes(data)
    spec = load_model(folder / "student.onnx").spec
    graph = onnx.load_model_from_string(data)
    weights = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer if one.data_type == 1}
    spans = [state.shape[0] // 2 for state in spec.states if state.name != "past_features"]
    weights |= {
        "dilations": np.asarray(spans),
        "excitations": np.asarray(len(spec.excitations)),
        "ratio_bound": weights[RATIO_BOUND],
        "swing_bound": weights[SWING_BOUND],
    }
    np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    features = rng.standard_normal((1, FRAMES, spec.golden.features.shape[2])).astype(np.float32)
    style = np.full(len(spec.styles), 1.0 / len(spec.styles), dtype=np.float32)
    feeds = {"features": features, "style": style, "amount": np.full(1, 0.8, dtype=np.float32)}
    answers = make_session(data, "student").run(
        ["ratios", "dynamics"],
        feeds | {state.name: np.zeros((1, *state.shape), dtype=np.float32) for state in spec.states},
    )
    np.savez(folder / "student.npz", ratios=answers[0], dynamics=answers[1], **feeds)  # type: ignore[arg-type]

    samples = playing(float(RATE), round(SECONDS * RATE))[:, 0]
    np.save(folder / "guitar.npy", samples)
    count = round(RESPONSE_S * RATE)
    response = rng.standard_normal(count) * np.exp(-5.0 * np.arange(count) / count)
    taps = (response / np.sqrt(np.sum(response**2))).astype(np.float32)
    soundfile.write(folder / "response.wav", taps, RATE, subtype="FLOAT")
    np.save(folder / "response.npy", taps)
    np.save(folder / "convolved.npy", scipy.signal.oaconvolve(samples, taps)[: len(samples)].astype(np.float32))

    config, flat = WaveNet(SHAPES["standard"]).exported(1.0)
    nam = {
        "version": "0.5.4",
        "metadata": {"name": "random"},
        "architecture": "WaveNet",
        "config": config,
        "weights": [float(value) for value in flat],
        "sample_rate": RATE,
    }
    (folder / "capture.nam").write_text(json.dumps(nam))
    import_capture(folder / "capture.nam", Captures(folder / "captures"), name="capture", licence="CC0", force=True)
    found = Captures(folder / "captures").find("capture")
    (folder / "capture.onnx").write_bytes(found.read_bytes())
    stream = open_waveform(folder / "capture.onnx").start(0, 1, 1024)
    out = np.zeros((1, len(samples)), dtype=np.float32)
    stream.process(samples[None], np.zeros((1, 0, len(samples)), dtype=np.float32), out)
    np.save(folder / "captured.npy", out[0])


def environment(folder: Path, kind: str, torch: str) -> Path:
    """The interpreter of a peer's environment, made where it is not there yet."""
    name, packages = ENVIRONMENTS[kind]
    place = folder / f"env-{name}"
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (place / "ready").exists():
        sys.stderr.write(f"{name}: making its environment\n")
        venv.create(place, clear=True, with_pip=True)
        wanted = [torch if package == "TORCH" else package for package in packages]
        command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            raise RuntimeError(f"cannot be installed: {words[-1][:160]}")
        (place / "ready").touch()
    return python


def start(kind: str, python: Path, folder: Path) -> Peer:
    """A side in a process of its own, on one thread where it can be told; RuntimeError with its last words."""
    threads = {} if kind == "onnxruntime" else {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    side = Path(__file__).parent / "peer" / "side.py"
    words = folder / f"{kind}.log"
    with words.open("w") as log:
        process = subprocess.Popen(
            [str(python), "-W", "ignore", str(side), kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | threads,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        last = words.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"does not run: {last[-1][:160] if last else 'no word'}")
    said = json.loads(line)
    return Peer(kind, process, said["version"], said["snr_db"])


def rows(case: str, peers: Sequence[Peer], period_us: float) -> list[str]:
    """A row for each side that has the case: medians of rounds, and the ratio to ours, round by round."""
    own = next(peer for peer in peers if peer.kind == "duende").medians[case]
    lines = []
    for peer in peers:
        if case not in peer.medians:
            continue
        ratios = [theirs / ours for theirs, ours in zip(peer.medians[case], own, strict=True)]
        middle, agreed = statistics.median(peer.medians[case]), peer.snr_db[case]
        low, high = np.percentile(ratios, [25.0, 75.0])
        lines.append(
            f"| {case} | {TITLES[peer.kind]} | {middle:.0f} | {statistics.median(ratios):.2f} | {low:.2f}..{high:.2f} "
            f"| {middle / period_us:.1%} | {'equal' if agreed >= 290.0 else f'{agreed:.0f} dB'} |"
        )
    return lines


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--torch", default="torch", help="what pip installs as torch, as torch==2.13.0+cpu")
    parser.add_argument("--peers", default=",".join(ENVIRONMENTS), help="which; several by commas")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=150)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="duende-peers-") as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        peers, missing = [start("duende", Path(sys.executable), folder)], []
        for kind in ENVIRONMENTS:
            if kind not in asked.peers.split(","):
                missing.append(f"| | {TITLES[kind]} | not in this run | | | | |")
                continue
            try:
                peers.append(start(kind, environment(folder, kind, asked.torch), folder))
            except RuntimeError as error:
                missing.append(f"| | {TITLES[kind]} | {error} | | | | |")
        cases = ["hop", *(f"{what} {block}" for what in ("capture", "convolution", "empty") for block in BLOCKS)]
        before = os.getloadavg() if hasattr(os, "getloadavg") else (0.0,)
        try:
            for turn in range(asked.rounds + 1):
                sys.stderr.write(f"round {turn} of {asked.rounds}\n")
                for case in cases:
                    for peer in peers:
                        if case in peer.snr_db:
                            peer.measure(case, asked.calls)
                if turn == 0:
                    for peer in peers:
                        peer.medians.clear()
        finally:
            for peer in peers:
                peer.process.terminate()
                peer.process.wait()
    lines = [
        "<!-- made by bench/peers.py -->",
        "",
        "# Beside what one would take instead",
        "",
        "Written by `python bench/peers.py`: every side in a process and an environment of its own, called back to",
        f"back, by turns: {asked.rounds} rounds of {asked.calls} calls. us: median of the rounds' medians; ratio:",
        "to duende in the same round, median and middle half of the rounds; share: of the block's period at 48 kHz (a",
        "hop is 128 frames); agrees: signal-to-noise ratio to what is expected (convolutions at the best gain).",
        "",
        f"- `hop`: the network of the preset `{PRESET}` alone, one frame of features to gains, states carried.",
        "- `capture`: NAM's first architecture, size standard, random weights. The trainer's torch network keeps no",
        "  states: each block is run with the 4092 samples before it.",
        f"- `convolution`: {RESPONSE_S:g} s of response. `empty`: what a chain without anything in it costs.",
        "",
        f"Load of the machine when it began: {before[0]:.1f} on {os.cpu_count()} cores. Ratios are what counts here.",
        "",
        "| block's work | by | us | ratio | middle half | share | agrees |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        block = 128 if case == "hop" else int(case.split()[1])
        lines += rows(case, peers, 1e6 * block / RATE)
    lines += missing
    versions = ", ".join(dict.fromkeys(peer.version for peer in peers))
    lines += ["", f"{versions}; " + ", ".join(f"{key}: {value}" for key, value in machine().items()), ""]
    write_atomically(asked.output, "\n".join(lines).encode())
    sys.stdout.write(asked.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
