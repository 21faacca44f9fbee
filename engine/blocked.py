"""A WaveNet for one block length in the layout of ONNX Runtime's own convolutions: time by rows of 16 channels.

The graph in a model file is made for any length and any machine. This one is made from the same weights when a stream
is prepared, and is quicker because

- rows of 16 channels go through the runtime's direct convolution: nothing is unfolded or packed first;
- each layer's stream is written straight into its history, where that layer and later blocks read it: nothing is
  joined, cut or copied from block to block;
- condition and head sums ride in rows of the stream that are free, so that a layer is two or three operators.

The layout is internal to ONNX Runtime, and so is the order in which memory that is bound to both an output and an input
is written and read. So a plan may fail to be built anywhere, and must have answered a test before it is used
(`WaveformModel`): the file's own graph is the reference, and plays where there is no plan.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .graph_check import make_session, run_options, runtime
from .waveform_spec import WaveformArray, WaveformLayout

if TYPE_CHECKING:
    import onnx

Float32 = npt.NDArray[np.float32]

WIDTH = 16
DOMAIN = "com.microsoft.nchwc"
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "leaky_relu": "LeakyRelu", "sigmoid": "Sigmoid"}
FEWEST_TURNS, MOST_TURNS = 4, 512
VAIN_FOR_NOTHING, VAIN_FOR_A_BLOCK = 500, 64_500
"""Multiplications in vain, per layer, that a plan makes up for in each sample, and in each block."""


def worth_blocking(layout: WaveformLayout, length: int) -> bool:
    """Whether a plan for blocks of this length can be made and is likely to be quicker than the graph.

    Narrow arrays are widened to 16 rows: what that costs grows with the length, and what a plan saves grows less
    (`bench/captures.md`).
    """
    if any(array.channels > WIDTH or array.head_channels > WIDTH for array in layout.arrays):
        return False
    layers = [(array.channels, layer.taps) for array in layout.arrays for layer in array.layers]
    in_vain = sum((taps + 1) * (WIDTH**2 - channels**2) for channels, taps in layers) / max(1, len(layers))
    return (in_vain - VAIN_FOR_NOTHING) * length <= VAIN_FOR_A_BLOCK


@dataclass(frozen=True)
class _Kept:
    """A stream that later blocks read: rows of the past, and where it goes in the file's states.

    rows: how many of the past; columns: how many of the 16 the file's state has.
    past: input that reads `read` rows, from `rows` before the block on.
    """

    name: str
    state: str
    rows: int
    columns: int
    past: str
    read: int


@dataclass(frozen=True)
class _Known:
    """A stream's state in the file, how many of its columns that has, and how many are in use here."""

    state: str
    columns: int
    used: int


class _Writer:
    """Nodes in the blocked layout; tensors are [1, 16 n, 1, samples] by name, [n][samples][16] in memory."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.kept: list[_Kept] = []
        self._count = 0

    def name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        from onnx import numpy_helper

        name = self.name()
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def op(self, kind: str, inputs: list[str], outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        from onnx import helper

        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names

    def conv(
        self,
        x: str,
        weight: Float32,
        bias: Float32 | None = None,
        plus: str = "",
        dilation: int = 1,
        activation: str = "",
        slope: float = 0.0,
    ) -> str:
        """weight [outputs, inputs, taps], both multiples of 16 (or one input); plus is added before the activation."""
        attributes: dict[str, Any] = {"kernel_shape": [1, weight.shape[2]], "dilations": [1, dilation]}
        if activation:
            attributes["activation"] = ACTIVATIONS[activation]
            if activation == "leaky_relu":
                attributes["activation_params"] = [slope]
        inputs = [x, self.constant(_packed(weight))]
        if bias is not None or plus:
            inputs.append(self.constant(np.zeros(len(weight)) if bias is None else bias))
        if plus:
            inputs.append(plus)
        return self.op("Conv", inputs, domain=DOMAIN, **attributes)[0]

    def causal(
        self,
        x: str,
        weight: Float32,
        bias: Float32,
        plus: str,
        dilation: int,
        known: _Known,
        activation: str = "",
        slope: float = 0.0,
    ) -> str:
        """A convolution over a stream x and its past [16, 16, taps].

        It reads x where its history is, past and present in one, and must not before x has been written there: so x
        itself is what is added to it. What that puts into rows of the result is taken from the newest tap; rows that
        x has no use for are the best ones for a result. Where plus is added instead, the newest tap is a convolution
        of its own.
        """
        taps = weight.shape[2]
        if taps == 1:
            return self.conv(x, weight, bias, plus, 1, activation, slope)
        back = (taps - 1) * dilation
        rows = back + self.length
        if plus:
            plus = self.conv(x, weight[:, :, -1:], bias, plus)
            weight, bias, rows = weight[:, :, :-1], np.zeros(WIDTH, dtype=np.float32), rows - dilation
        else:
            plus, weight = x, weight.copy()
            for row in range(known.used):
                weight[row, row, -1] -= 1.0
        from onnx import TensorProto, helper

        past = f"past{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(past, TensorProto.FLOAT, [1, WIDTH, 1, rows]))
        self.kept.append(_Kept(x, known.state, back, known.columns, past, rows))
        return self.conv(past, weight, bias, plus, dilation, activation, slope)


class BlockedPlan:
    """The session for blocks of one length, and what a stream needs to know to feed it; shared between streams."""

    def __init__(
        self,
        layout: WaveformLayout,
        weights: dict[str, Float32],
        states: dict[str, Sequence[int]],
        length: int,
        name: str,
    ) -> None:
        """weights: the constants that layout names; states: shapes of those that it names.

        DuendeError, ValueError or KeyError where it cannot be built.
        """
        from onnx import TensorProto, helper

        self.length = length
        writer = _Writer(length)
        self.column, output = _write(writer, layout, weights)
        self.kept = writer.kept
        for kept in self.kept:
            columns, rows = states[kept.state]
            _expect(columns >= kept.columns and rows == kept.rows and _turns(rows, length) <= MOST_TURNS)
        shape = [1, WIDTH, 1, length]
        audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 1, 1, length])
        self.output = output
        outputs = list(dict.fromkeys([output, *(kept.name for kept in self.kept)]))
        ports = [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one in outputs]
        graph = helper.make_graph(writer.nodes, "duende", [audio, *writer.inputs], ports, writer.constants)
        imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=9)
        self.session = make_session(model.SerializeToString(), name)


def _write(writer: _Writer, layout: WaveformLayout, weights: dict[str, Float32]) -> tuple[int, str]:
    """All arrays; returns in which column of which tensor the output is."""
    stream, sums, sums_column, before = "", "", 0, 0
    last_array = len(layout.arrays) - 1
    for place, array in enumerate(layout.arrays):
        channels, prefix = array.channels, array.prefix
        rechannel = weights[f"{prefix}rechannel"][:, :, 0]
        # Where it sums as well, it is there once for each layer.
        head = weights[f"{prefix}head"][:, -channels:]
        head_bias = weights.get(f"{prefix}head_bias", np.zeros(len(head), dtype=np.float32))
        _expect(rechannel.shape == (channels, before or 1) and head.shape[:2] == (array.head_channels, channels))
        carries = channels < WIDTH
        first_head = channels + 1
        rides = head.shape[2] == 1 and first_head + array.head_channels <= WIDTH
        # What enters: the stream of the array before, the condition, and the sum of heads so far.
        condition = np.zeros((WIDTH, 1, 1), dtype=np.float32)
        if carries:
            condition[channels] = 1.0
        constant = np.zeros(WIDTH, dtype=np.float32)
        if rides:
            constant[first_head : first_head + array.head_channels] = head_bias
        if not stream:
            condition[:channels, 0, 0] = rechannel[:, 0]
            stream = writer.conv("audio", condition, constant)
        else:
            entry = np.zeros((WIDTH, WIDTH, 1), dtype=np.float32)
            entry[:channels, :before, 0] = rechannel
            given = writer.conv("audio", condition, constant) if carries else ""
            stream = writer.conv(stream, entry, None, given)
        if sums and rides:
            entry = np.zeros((WIDTH, WIDTH, 1), dtype=np.float32)
            rows = slice(first_head, first_head + array.head_channels)
            entry[rows, sums_column : sums_column + channels] = head
            stream = writer.conv(sums, entry, None, stream)
        heads = [(sums, list(range(sums_column, sums_column + channels)))] if sums and not rides else []
        # Rows of the stream in use, and those that results are best put into.
        used = first_head + array.head_channels if rides else channels + carries
        results = [*range(used, WIDTH), *([channels] if carries else []), *range(channels)][:channels]
        mixes = [""] * len(array.layers)
        if not carries:
            mixes = _mixes(writer, layout, place, weights)
        for index, layer in enumerate(array.layers):
            conv, bias = weights[f"{layer.prefix}conv"], weights[f"{layer.prefix}conv_bias"]
            _expect(conv.shape == (channels, channels + 1, layer.taps) and bias.shape == (channels,))
            taken = channels + 1 if carries else channels
            weight = np.zeros((WIDTH, WIDTH, layer.taps), dtype=np.float32)
            weight[results, :taken] = conv[:, :taken]
            # Where the condition is added by itself, so is the bias.
            added = np.zeros(WIDTH, dtype=np.float32)
            if carries:
                added[results] = bias
            h = writer.causal(
                stream,
                weight,
                added,
                mixes[index],
                layer.dilation,
                _Known(layer.state, taken, used),
                array.activation,
                array.slope,
            )
            move = np.zeros((WIDTH, WIDTH, 1), dtype=np.float32)
            rest = np.zeros(WIDTH, dtype=np.float32)
            if rides:
                move[first_head : first_head + array.head_channels, results] = head[:, :, :1]
            else:
                heads.append((h, results))
            if index < len(array.layers) - 1 or place < last_array:
                out, out_bias = weights[f"{layer.prefix}out"], weights[f"{layer.prefix}out_bias"]
                _expect(out.shape[0] >= channels and out.shape[1:] == (channels, 1))
                move[:channels, results] = out[:channels]
                rest[:channels] = out_bias[:channels]
            elif not rides:
                break
            stream = writer.conv(h, move, rest, stream)
        if rides:
            sums, sums_column = stream, first_head
        else:
            sums, sums_column = _sum_heads(writer, array, heads, head, head_bias)
        before = channels
    return sums_column, sums


def _mixes(writer: _Writer, layout: WaveformLayout, place: int, weights: dict[str, Float32]) -> list[str]:
    """What the condition, and the bias, add in each layer of an array whose rows are all taken."""
    array = layout.arrays[place]
    count = len(array.layers)
    weight = np.zeros((count, WIDTH, 1, 1), dtype=np.float32)
    bias = np.zeros((count, WIDTH), dtype=np.float32)
    for index, layer in enumerate(array.layers):
        weight[index, : array.channels, 0, 0] = weights[f"{layer.prefix}conv"][:, array.channels, -1]
        bias[index, : array.channels] = weights[f"{layer.prefix}conv_bias"]
    all_of_them = writer.conv("audio", weight.reshape(count * WIDTH, 1, 1), bias.reshape(-1))
    if count == 1:
        return [all_of_them]
    return writer.op("Split", [all_of_them, writer.constant([WIDTH] * count, np.int64)], count, axis=1)


def _sum_heads(
    writer: _Writer, array: WaveformArray, heads: list[tuple[str, list[int]]], head: Float32, head_bias: Float32
) -> tuple[str, int]:
    """The head's convolution over the sum of heads (tensor, rows of it); returns where its output begins."""
    taps, channels, outputs = head.shape[2], array.channels, array.head_channels
    joined = writer.op("Concat", [name for name, _ in heads], axis=1)[0] if len(heads) > 1 else heads[0][0]
    weight = np.zeros((WIDTH, len(heads), WIDTH, 1), dtype=np.float32)
    bias = np.zeros(WIDTH, dtype=np.float32)
    first = 0 if taps == 1 or channels + outputs > WIDTH else channels
    results = list(range(first, first + outputs))
    bias[results] = head_bias
    summing = head[:, :, 0] if taps == 1 else np.eye(channels, dtype=np.float32)
    for index, (_, rows) in enumerate(heads):
        weight[: len(summing), index, rows, 0] = summing
    flat = weight.reshape(WIDTH, len(heads) * WIDTH, 1)
    if taps == 1:
        return writer.conv(joined, flat, bias), 0
    total = writer.conv(joined, flat)
    wide = np.zeros((WIDTH, WIDTH, taps), dtype=np.float32)
    wide[results, :channels] = head
    out = writer.causal(total, wide, bias, "", 1, _Known(array.head_state, channels, channels))
    return out, first


def _packed(weight: Float32) -> Float32:
    """Weights [outputs, inputs, taps] in the order that the blocked convolution reads them in."""
    outputs, inputs, taps = weight.shape
    if inputs == 1:
        return np.asarray(weight.reshape(outputs, 1, 1, taps))
    parts = weight.reshape(outputs // WIDTH, WIDTH, inputs // WIDTH, WIDTH, taps)
    return np.ascontiguousarray(parts.transpose(0, 2, 4, 3, 1)).reshape(outputs, inputs, 1, taps)


def _expect(fits: bool) -> None:
    if not fits:
        raise ValueError("the constants do not fit the layout")


class BlockedStream:
    """One channel through a plan. A history has room for several blocks; when it is full, its end goes to its start.

    Histories do so at different times, so that no block is much dearer than others.

    rounds: blocks until all begins anew.
    """

    def __init__(self, plan: BlockedPlan) -> None:
        self._plan, self._session, self._options = plan, plan.session, run_options()
        length = plan.length
        wrap = runtime().OrtValue.ortvalue_from_numpy
        self.audio = np.zeros((1, 1, 1, length), dtype=np.float32)
        result = np.zeros((length, WIDTH), dtype=np.float32)
        rounds = [_turns(kept.rows, length) for kept in plan.kept]
        self.rounds = max(rounds, default=1)
        self._histories = [
            np.zeros((kept.rows + turns * length, WIDTH), dtype=np.float32)
            for kept, turns in zip(plan.kept, rounds, strict=True)
        ]
        self._starts = [
            [kept.rows + (turn + place) % turns * length for turn in range(self.rounds)]
            for place, (kept, turns) in enumerate(zip(plan.kept, rounds, strict=True))
        ]
        audio = wrap(self.audio)
        self._bindings: list[Any] = []
        self._moves: list[list[tuple[Float32, Float32]]] = []
        self._results: list[Float32] = []
        for turn in range(self.rounds):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("audio", audio)
            moves, out = [], result
            for place, kept in enumerate(plan.kept):
                history, start = self._histories[place], self._starts[place][turn]
                if start == kept.rows:
                    moves.append((history[: kept.rows], history[len(history) - kept.rows :]))
                view = history[start - kept.rows : start - kept.rows + kept.read]
                binding.bind_ortvalue_input(kept.past, wrap(view.reshape(1, WIDTH, 1, kept.read)))
                now = history[start : start + length]
                binding.bind_ortvalue_output(kept.name, wrap(now.reshape(1, WIDTH, 1, length)))
                if kept.name == plan.output:
                    out = now
            if out is result:
                binding.bind_ortvalue_output(plan.output, wrap(result.reshape(1, WIDTH, 1, length)))
            self._bindings.append(binding)
            self._moves.append(moves)
            self._results.append(out[:, plan.column])
        self._turn = 0

    def process(self, audio: Float32, out: Float32) -> None:
        """audio [length] to out [length]."""
        turn = self._turn
        for target, source in self._moves[turn]:
            np.copyto(target, source)
        np.copyto(self.audio[0, 0, 0], audio)
        self._session.run_with_iobinding(self._bindings[turn], self._options)
        np.copyto(out, self._results[turn])
        self._turn = (turn + 1) % self.rounds

    def load(self, states: dict[str, Float32]) -> None:
        """Begin from the file's states [columns, rows] of one channel."""
        for place, kept in enumerate(self._plan.kept):
            self._before(place)[:, : kept.columns] = states[kept.state][: kept.columns].T

    def save(self, states: dict[str, Float32]) -> None:
        """Leave the file's states of one channel as they are now."""
        for place, kept in enumerate(self._plan.kept):
            states[kept.state][: kept.columns] = self._before(place)[:, : kept.columns].T

    def _before(self, place: int) -> Float32:
        """The rows of the past that the next block will read."""
        kept, history, start = self._plan.kept[place], self._histories[place], self._starts[place][self._turn]
        if start == kept.rows:
            # They will be moved to the start first.
            return history[len(history) - kept.rows :]
        return history[start - kept.rows : start]


def _turns(rows: int, length: int) -> int:
    """Blocks that a history has room for beside its rows of the past: a power of two, and at least as long as those."""
    return max(FEWEST_TURNS, 1 << max(0, math.ceil(rows / length) - 1).bit_length())
