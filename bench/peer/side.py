"""One side of bench/peers.py, in an environment of its own: python side.py KIND FOLDER; orders and answers are lines.

Each side offers cases: a name, a call that does one block's work, and how its output agrees with what is expected.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
RATE = 48000
BLOCKS = (64, 128, 256)


@dataclass
class Trial:
    """step: one block's work; snr_db: how near the output came to what was expected."""

    step: Callable[[], object]
    snr_db: float


def snr_db(wanted: npt.ArrayLike, got: npt.ArrayLike) -> float:
    """Signal-to-noise ratio in dB; 300 for no difference."""
    a, b = np.asarray(wanted, dtype=np.float64), np.asarray(got, dtype=np.float64)
    return float(min(300.0, 10.0 * np.log10((np.sum(a**2) + 1e-30) / (np.sum((a - b) ** 2) + 1e-30))))


def at_best_gain(wanted: Float32, got: Float32) -> float:
    """The same where the level may be another."""
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    return snr_db(a, b * np.dot(a, b) / max(1e-30, float(np.dot(b, b))))


def in_blocks(play: Callable[[Float32], Float32], samples: Float32, block: int) -> Float32:
    """The output of a stream over whole blocks, for comparing."""
    count = len(samples) // block * block
    return np.concatenate([np.asarray(play(samples[at : at + block])).reshape(-1) for at in range(0, count, block)])


def turning(play: Callable[[Float32], object], samples: Float32, block: int) -> Callable[[], object]:
    """One block after the other, around the end to the beginning."""
    parts = [np.ascontiguousarray(samples[at : at + block]) for at in range(0, len(samples) - block + 1, block)]
    place = 0

    def step() -> object:
        nonlocal place
        place = (place + 1) % len(parts)
        return play(parts[place])

    return step


class Student:
    """Features of the student, and what it must answer to them from zero states, frame by frame."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "student.npz") as data:
            self.features, self.style, self.amount = data["features"], data["style"], data["amount"]
            self.ratios, self.dynamics = data["ratios"], data["dynamics"]

    def trial(self, run: Callable[[Float32], tuple[Any, Any]]) -> Trial:
        """run: features [1, 1, n] to ratios and dynamics of that frame, states carried inside."""
        found = [[np.asarray(part).copy() for part in run(frame)] for frame in self.frames()]
        agreed = min(
            snr_db(wanted, np.concatenate([one[place] for one in found], axis=1))
            for place, wanted in enumerate((self.ratios, self.dynamics))
        )
        frames, place = self.frames(), 0

        def step() -> object:
            nonlocal place
            place = (place + 1) % len(frames)
            return run(frames[place])

        return Trial(step, agreed)

    def frames(self) -> list[Float32]:
        return [np.ascontiguousarray(self.features[:, at : at + 1]) for at in range(self.features.shape[1])]


def own(folder: Path) -> dict[str, Trial]:
    """duende: the student's stream, a chain of nothing, a cabinet, a capture."""
    engine = {
        name: importlib.import_module(f"duende.engine.{name}")
        for name in ("model", "preset", "cabinet", "response", "waveform_model", "processor", "denormals")
    }
    engine["denormals"].flush_denormals()
    student = Student(folder)
    model = engine["model"].load_model(folder / "student.onnx")
    stream = model.start(1, [1])
    stream.settle([np.zeros((1, *state.shape), dtype=np.float32) for state in model.spec.states])
    stream.style[:], stream.amount[:] = student.style, student.amount

    def hop(frame: Float32) -> tuple[Float32, Float32]:
        stream.features[1][:] = frame
        stream.run(1)
        return stream.ratios[1], stream.dynamics[1]

    trials = {"hop": student.trial(hop)}
    samples: Float32 = np.load(folder / "guitar.npy")
    for block in BLOCKS:
        chain = engine["preset"].build_rig([]).chain
        chain.prepare(float(RATE), block, block)
        trials[f"empty {block}"] = _streamed(_processing(chain, block), samples, block, samples)
        taps = np.load(folder / "response.npy")
        found = engine["response"].Response("peers", taps[None], float(RATE))
        cabinet = engine["cabinet"].Cabinet(lambda rate, found=found: found)
        cabinet.prepare(engine["processor"].StreamSpec(float(RATE), 1, block))
        wanted = np.load(folder / "convolved.npy")
        trials[f"convolution {block}"] = _streamed(_processing(cabinet, block), samples, block, wanted, free=True)
        capture = engine["waveform_model"].open_waveform(folder / "capture.onnx").start(0, 1, block)
        knobs, out = np.zeros((1, 0, block), dtype=np.float32), np.zeros((1, block), dtype=np.float32)

        def captured(part: Float32, capture: Any = capture, knobs: Float32 = knobs, out: Float32 = out) -> Float32:
            capture.process(part[None], knobs, out)
            return out.copy()

        trials[f"capture {block}"] = _streamed(captured, samples, block, np.load(folder / "captured.npy"))
    return trials


def onnx_naive(folder: Path, threads: int) -> dict[str, Trial]:
    """ONNX Runtime as its examples show it: arrays in, arrays out, states by hand. threads 0: as it comes."""
    module = importlib.import_module("onnxruntime")
    options = module.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    session = module.InferenceSession(str(folder / "student.onnx"), options, providers=["CPUExecutionProvider"])
    student = Student(folder)
    names = [one.name for one in session.get_outputs() if one.name != "body"]
    shapes = {one.name: [size if isinstance(size, int) else 1 for size in one.shape] for one in session.get_inputs()}
    states = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items() if name.startswith("past_")}

    def hop(frame: Float32) -> tuple[Float32, Float32]:
        feeds = {"features": frame, "style": student.style, "amount": student.amount} | states
        answer = dict(zip(names, session.run(names, feeds), strict=True))
        for name in states:
            states[name] = answer[f"{name}_next"]
        return answer["ratios"], answer["dynamics"]

    return {"hop": student.trial(hop)}


def torch_student(folder: Path, *, scripted: bool) -> dict[str, Trial]:
    """The same network written in torch with its states handed on, eager or compiled to TorchScript and frozen."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    network = importlib.import_module("torch_student").StreamingStudent(folder / "weights.npz").eval()
    student = Student(folder)
    style, amount = torch.from_numpy(student.style), torch.from_numpy(student.amount)
    with torch.inference_mode():
        run = torch.jit.freeze(torch.jit.script(network)) if scripted else network
        states = network.initial()

        def hop(frame: Float32) -> tuple[Any, Any]:
            nonlocal states
            with torch.inference_mode():
                ratios, dynamics, states = run(torch.from_numpy(frame), style, amount, states)
            return ratios.numpy(), dynamics.numpy()

        return {"hop": student.trial(hop)}


def pedals(folder: Path) -> dict[str, Trial]:
    """pedalboard: an empty chain, and its convolution."""
    module = importlib.import_module("pedalboard")
    samples: Float32 = np.load(folder / "guitar.npy")
    trials = {}
    for block in BLOCKS:
        board = module.Pedalboard([])

        def through(part: Float32, board: Any = board, block: int = block) -> Float32:
            return np.asarray(board.process(part, RATE, buffer_size=block, reset=False), dtype=np.float32)

        trials[f"empty {block}"] = _streamed(through, samples, block, samples)
        convolving = module.Pedalboard([module.Convolution(str(folder / "response.wav"), 1.0)])

        def convolved(part: Float32, board: Any = convolving, block: int = block) -> Float32:
            return np.asarray(board.process(part, RATE, buffer_size=block, reset=False), dtype=np.float32)

        wanted = np.load(folder / "convolved.npy")
        trials[f"convolution {block}"] = _streamed(convolved, samples, block, wanted, free=True)
    return trials


def nam_torch(folder: Path) -> dict[str, Trial]:
    """neural-amp-modeler's own network in torch: it has no states, so each block is run with all that it depends on."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    file = json.loads((folder / "capture.nam").read_text())
    for layer in file["config"]["layers"]:
        # As newer versions of the trainer write it; the weights lie as they did.
        layer["head"] = {"out_channels": layer["head_size"], "kernel_size": 1, "bias": layer["head_bias"]}
        del layer["head_size"], layer["head_bias"]
    network = importlib.import_module("nam.models").init_from_nam(file)
    network.eval()
    samples: Float32 = np.load(folder / "guitar.npy")
    wanted = np.load(folder / "captured.npy")
    past = int(network.receptive_field) - 1
    trials = {}
    for block in BLOCKS:
        heard = torch.zeros(past + block)

        def play(part: Float32, heard: Any = heard, block: int = block) -> Float32:
            with torch.inference_mode():
                heard[:-block] = heard[block:].clone()
                heard[-block:] = torch.from_numpy(part)
                return np.asarray(network(heard[None], pad_start=False)[0].numpy())

        trials[f"capture {block}"] = _streamed(play, samples[: 64 * 256], block, wanted)
    return trials


def _processing(processor: Any, block: int) -> Callable[[Float32], Float32]:
    room = np.zeros((block, 1), dtype=np.float32)

    def play(part: Float32) -> Float32:
        processor.process(part[:, None], room)
        return room[:, 0].copy()

    return play


def _streamed(
    play: Callable[[Float32], Float32], samples: Float32, block: int, wanted: Float32, *, free: bool = False
) -> Trial:
    got = in_blocks(play, samples, block)
    # What some convolvers crossfade in at first is not their fault.
    late = slice(len(got) // 2, len(got))
    agreed = at_best_gain(wanted[late], got[late]) if free else snr_db(wanted[late], got[late])
    return Trial(turning(play, samples, block), agreed)


SIDES: dict[str, tuple[str, Callable[[Path], dict[str, Trial]]]] = {
    "duende": ("onnxruntime", own),
    "onnxruntime": ("onnxruntime", lambda folder: onnx_naive(folder, 0)),
    "onnxruntime-1": ("onnxruntime", lambda folder: onnx_naive(folder, 1)),
    "torch": ("torch", lambda folder: torch_student(folder, scripted=False)),
    "torchscript": ("torch", lambda folder: torch_student(folder, scripted=True)),
    "pedalboard": ("pedalboard", pedals),
    "nam": ("neural-amp-modeler", nam_torch),
}


def measure(trial: Trial, calls: int) -> dict[str, float]:
    """Median and 99th percentile of so many calls, in us."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        trial.step()
        times.append(1e6 * (time.perf_counter() - began))
    return {"median_us": float(np.median(times)), "p99_us": float(np.percentile(times, 99.0))}


def main() -> None:
    """Answer orders until there are no more."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    package, make = SIDES[kind]
    version = f"{package} {importlib.import_module('importlib.metadata').version(package)}"
    trials = make(folder)
    agreed = {name: trial.snr_db for name, trial in trials.items()}
    print(json.dumps({"version": version, "snr_db": agreed}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(measure(trials[order["case"]], order["calls"])), flush=True)


if __name__ == "__main__":
    main()
