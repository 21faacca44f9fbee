"""What captures cost per block, beside the graph that is written down first; writes `captures.md`.

Networks of the published sizes with random weights, so that nothing has to be fetched.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper
from threadpoolctl import threadpool_limits

from duende.engine.bench import machine
from duende.engine.graph_check import make_session, run_options, runtime
from duende.engine.waveform import open_waveform
from duende.engine.waveform_model import WaveformStream
from duende.export.captures.graph import convert
from duende.export.captures.network import (
    Activation,
    Capture,
    Conv,
    Recurrent,
    Source,
    Stack,
    Variant,
    WaveNet,
    WaveNetArray,
    WaveNetLayer,
)
from duende.export.graph import Builder

Float32 = npt.NDArray[np.float32]

RATE = 48000
BLOCKS = (64, 128, 256, 512)
TANH, LEAKY = Activation("tanh"), Activation("leaky_relu", (0.01,))
ALL = tuple(2**power for power in range(10))
SHORT, REST = ALL[:7], (128, 256, 512, *ALL)
A2_DILATIONS = (1, 3, 7, 17, 41, 101, 239, 1, 3, 7, 17, 41, 101, 239, 1, 13, 1, 3, 7, 17, 41, 101, 239)
A2_TAPS = (*[6] * 14, 15, 15, *[6] * 7)

Array = tuple[int, int, Sequence[int], Sequence[int], int]


def conv(
    rng: np.random.Generator, outputs: int, inputs: int, taps: int = 1, dilation: int = 1, bias: bool = True
) -> Conv:
    """Random weights that keep the size of what they multiply."""
    weight = (0.7 * rng.standard_normal((outputs, inputs, taps)) / np.sqrt(inputs * taps)).astype(np.float32)
    return Conv(weight, (0.1 * rng.standard_normal(outputs)).astype(np.float32) if bias else None, dilation)


def wavenet(arrays: Sequence[Array], activation: Activation) -> WaveNet:
    """Arrays of (channels, head, dilations, taps, taps of the head)."""
    rng, before, made = np.random.default_rng(1), 1, []
    for place, (channels, head, dilations, taps, head_taps) in enumerate(arrays):
        layers = tuple(
            WaveNetLayer(
                conv=conv(rng, channels, channels, tap, dilation),
                mixin=conv(rng, channels, 1, bias=False),
                activation=activation,
                layer1x1=conv(rng, channels, channels),
            )
            for tap, dilation in zip(taps, dilations, strict=True)
        )
        last = place == len(arrays) - 1
        out = conv(rng, head, channels, head_taps, bias=last)
        made.append(WaveNetArray(conv(rng, channels, before, bias=False), layers, out))
        before = channels
    return WaveNet(tuple(made), 0.02)


def a1(channels: int, head: int, first: Sequence[int], second: Sequence[int]) -> WaveNet:
    """Two arrays of three taps, the second half as wide."""
    return wavenet([(channels, head, first, [3] * len(first), 1), (head, 1, second, [3] * len(second), 1)], TANH)


def lstm(cells: int, layers: int) -> Stack:
    """Layers of cells after one another, and a dense layer."""
    rng, made, inputs = np.random.default_rng(1), [], 1
    for _ in range(layers):
        weights = (0.3 * rng.standard_normal((4 * cells, inputs + cells + 2))).astype(np.float32)
        into, onto = weights[:, :inputs], weights[:, inputs : inputs + cells]
        rest = np.zeros(cells, dtype=np.float32)
        made.append(Recurrent("lstm", into, onto, weights[:, -1], weights[:, -2], rest, rest))
        inputs = cells
    return Stack((*made, conv(rng, 1, cells)), 1, prewarm_samples=RATE // 2)


NETWORKS: dict[str, Callable[[], WaveNet | Stack]] = {
    "A1 Standard": lambda: a1(16, 8, ALL, ALL),
    "A1 Lite": lambda: a1(12, 6, SHORT, REST),
    "A1 Feather": lambda: a1(8, 4, SHORT, REST),
    "A1 Nano": lambda: a1(4, 2, SHORT, REST),
    "A2 full": lambda: wavenet([(8, 1, A2_DILATIONS, A2_TAPS, 16)], LEAKY),
    "A2 lite": lambda: wavenet([(3, 1, A2_DILATIONS, A2_TAPS, 16)], LEAKY),
    "LSTM 1x16": lambda: lstm(16, 1),
    "LSTM 1x24": lambda: lstm(24, 1),
    "LSTM 2x8": lambda: lstm(8, 2),
}


# -- the graph that is written down first ----------------------------------------------------------------------------


class Naive:
    """A graph with one operator for each operation of the formulas; a state goes in and out for each convolution."""

    def __init__(self, network: WaveNet | Stack, block: int) -> None:
        self._build = Builder()
        self._states: list[tuple[str, list[int]]] = []
        self._count = 0
        out = self._wavenet(network) if isinstance(network, WaveNet) else self._stack(network)
        self._build.node("Identity", [out], "output")

        def port(name: str, shape: Sequence[Any]) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

        inputs = [port("audio", [1, 1, "samples"]), *(port(name, shape) for name, shape in self._states)]
        outputs = [port("output", [1, 1, "samples"]), *(port(f"{n}_next", shape) for n, shape in self._states)]
        graph = helper.make_graph(self._build.nodes, "naive", inputs, outputs, self._build.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        self._session, self._options = make_session(model.SerializeToString(), "naive"), run_options()
        wrap = runtime().OrtValue.ortvalue_from_numpy
        self.audio, self.answer = (np.zeros((1, 1, block), dtype=np.float32) for _ in range(2))
        ends = wrap(self.audio), wrap(self.answer)
        values = [[wrap(np.zeros(shape, dtype=np.float32)) for _, shape in self._states] for _ in range(2)]
        self._bindings = []
        for turn in range(2):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("audio", ends[0])
            binding.bind_ortvalue_output("output", ends[1])
            for (name, _), old, new in zip(self._states, values[turn], values[1 - turn], strict=True):
                binding.bind_ortvalue_input(name, old)
                binding.bind_ortvalue_output(f"{name}_next", new)
            self._bindings.append(binding)
        self._turn = 0

    def run(self) -> None:
        self._session.run_with_iobinding(self._bindings[self._turn], self._options)
        self._turn = 1 - self._turn

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def _constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        return self._build.constant(self._name(), value, dtype)

    def _op(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or self._name()
        self._build.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _conv(self, x: str, layer: Conv) -> str:
        if layer.memory_samples:
            name = f"state{len(self._states)}"
            self._states.append((name, [1, layer.inputs, layer.memory_samples]))
            x = self._op("Concat", [name, x], axis=2)
            self._build.slice(x, -layer.memory_samples, None, 2, f"{name}_next")
        inputs = [x, self._constant(layer.weight)] + ([] if layer.bias is None else [self._constant(layer.bias)])
        return self._op("Conv", inputs, dilations=[layer.dilation])

    def _wavenet(self, network: WaveNet) -> str:
        y, total = "audio", ""
        for array in network.arrays:
            y = self._conv(y, array.rechannel)
            for layer in array.layers:
                z = self._op("Add", [self._conv(y, layer.conv), self._conv("audio", layer.mixin)])
                leaky = layer.activation.kind == "leaky_relu"
                h = self._op("LeakyRelu", [z], alpha=0.01) if leaky else self._op("Tanh", [z])
                total = self._op("Add", [total, h]) if total else h
                assert layer.layer1x1 is not None
                y = self._op("Add", [y, self._conv(h, layer.layer1x1)])
            total = self._conv(total, array.head)
        return self._op("Mul", [total, self._constant([network.head_scale])])

    def _stack(self, network: Stack) -> str:
        x = self._op("Transpose", ["audio"], perm=[2, 0, 1])
        for layer in network.layers[:-1]:
            assert isinstance(layer, Recurrent)
            cells = layer.outputs
            names = [f"state{len(self._states) + part}" for part in range(2)]
            self._states += [(name, [1, 1, cells]) for name in names]
            bias = np.concatenate([layer.input_bias, layer.state_bias])
            held = [self._constant(part[None]) for part in (layer.input_weight, layer.state_weight, bias)]
            out = self._name()
            outputs = [out, *(f"{name}_next" for name in names)]
            self._build.nodes.append(helper.make_node("LSTM", [x, *held, "", *names], outputs, hidden_size=cells))
            x = self._op("Squeeze", [out, self._constant([1], np.int64)])
        x = self._op("Transpose", [x], perm=[1, 2, 0])
        last = network.layers[-1]
        assert isinstance(last, Conv)
        return self._conv(x, last)


# -- measuring -------------------------------------------------------------------------------------------------------


class Played:
    """A stream as the processor runs it; without its plans: by the file's own graph."""

    def __init__(self, stream: WaveformStream, block: int, planned: bool) -> None:
        self._stream = stream
        if not planned:
            stream._lengths = [0] * len(stream._lengths)
        self._audio = np.zeros((1, block), dtype=np.float32)
        self._knobs = np.zeros((1, 0, block), dtype=np.float32)
        self._answer = np.zeros((1, block), dtype=np.float32)
        self.audio = self._audio

    def run(self) -> None:
        self._stream.process(self._audio, self._knobs, self._answer)


def measure(runs: Sequence[Naive | Played], calls: int, rounds: int) -> list[list[float]]:
    """Median microseconds of so many calls, for each round and each of runs, which take turns."""
    rng = np.random.default_rng(2)
    for one in runs:
        one.audio[...] = 0.1 * rng.standard_normal(one.audio.shape)
    found = []
    for turn in range(rounds + 1):
        row = []
        for one in runs:
            times = []
            for _ in range(calls):
                started = time.perf_counter()
                one.run()
                times.append(1e6 * (time.perf_counter() - started))
            row.append(float(np.median(times)))
        if turn:
            found.append(row)
    return found


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    asked = parser.parse_args()
    lines = []
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        for name, make in NETWORKS.items():
            network = make()
            capture = Capture(name, "x", RATE, (Variant(1.0, network),), Source("nam", "bench", ""), loudness_db=-18.0)
            path = Path(folder) / "capture.onnx"
            path.write_bytes(convert(capture))
            model = open_waveform(path)
            for block in BLOCKS:
                sys.stderr.write(f"{name}, {block} frames\n")
                streams = [model.start(0, 1, block) for _ in range(2)]
                planned = block in streams[0].lengths
                runs: list[Naive | Played] = [
                    Naive(network, block),
                    Played(streams[0], block, planned=False),
                    Played(streams[1], block, planned=True),
                ]
                table: npt.NDArray[np.float64] = np.array(measure(runs, asked.calls, asked.rounds))
                naive, own, played = np.median(table, axis=0)
                low, ratio, high = np.percentile(table[:, 2] / table[:, 0], [10, 50, 90])
                period = 1e6 * block / RATE
                way = "blocked" if planned else "graph"
                lines.append(
                    f"| {name} | {block} | {naive:.0f} | {own:.0f} | {played:.0f} | {ratio:.2f} "
                    f"| {low:.2f}..{high:.2f} | {played / period:.1%} | {way} |"
                )
    text = [
        "<!-- made by bench/captures.py -->",
        "",
        "# Captures: time per block",
        "",
        f"One thread, {RATE} Hz, called back to back; us. Each figure is the median of {asked.rounds} rounds of",
        f"{asked.calls} calls; the three ways take turns within each round, and the ratio is the median of the",
        "rounds' ratios, with its 10th and 90th percentile. *naive*: one operator for each operation of the formulas,",
        "states in and out, memory bound beforehand. *graph*: the graph in the model file. *plays*: what the engine",
        "runs, with all that it copies: by the runtime's blocked layout where there is a plan, else by the graph.",
        "",
        "| network | block | naive | graph | plays | plays / naive | 10..90 % | share of the period | by |",
        "|---|---|---|---|---|---|---|---|---|",
        *lines,
        "",
        ", ".join(f"{key}: {value}" for key, value in machine().items()),
        "",
    ]
    asked.output.write_text("\n".join(text))


if __name__ == "__main__":
    main()
