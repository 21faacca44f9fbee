"""A student of a mixer one frame at a time: what its graph does, in a fifth of the operations.

A graph is for any number of frames: it joins and cuts its past anew in each run, and mixes its conditioning from the
styles again though they seldom change; for a single frame most of its time goes into that. Here the past stays where it
is, in rings, what it gives to the next frame is ready before that comes, and the conditioning is mixed where styles or
amount move. Graphs that are made otherwise, of other precision, or that answer otherwise, keep to ONNX Runtime.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .spec import ModelSpec

if TYPE_CHECKING:
    import onnx

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

KERNEL = 3
MOST_NUMBERS = 2**22
"""Of a graph's constants: larger ones spend their time on products, which are not done quicker here."""


class StudentWeights:
    """The constants of a graph, shared by all streams of it; KeyError or ValueError where it is no such graph.

    constants: by name, as `export.graph.build_graph` calls them.
    """

    def __init__(self, constants: Mapping[str, Float32], spec: ModelSpec) -> None:
        if not spec.states or spec.states[0].name != "past_features":
            raise ValueError("another kind of graph")
        self.spec = spec
        blocks, styles = range(len(spec.states) - 1), len(spec.styles)
        self.outputs = len(spec.excitations) * spec.bands
        features = spec.states[0].shape[1]
        self.first = np.concatenate([_of_shape(constants[f"first_{tap}"], (features, -1)) for tap in range(KERNEL)])
        self.width = width = self.first.shape[1]
        self.first_bias = _of_shape(constants["first_bias"], (width,))
        self.dilations = [state.shape[0] // (KERNEL - 1) for state in spec.states[1:]]
        if [state.shape for state in spec.states[1:]] != [[(KERNEL - 1) * one, width] for one in self.dilations]:
            raise ValueError("states of other shapes")
        square = (width, width)
        self.newest = [_of_shape(constants[f"b{one}_tapw2"], (width,)) for one in blocks]
        self.into = [_of_shape(constants[f"b{one}_into"], square) for one in blocks]
        self.out = [_of_shape(constants[f"b{one}_out"], square) for one in blocks]
        # Of the older tap for all blocks, then of the one between: [2 blocks, width].
        self.older = np.stack([_of_shape(constants[f"b{one}_tapw{tap}"], (width,)) for tap in (0, 1) for one in blocks])
        self.bias = np.stack([_of_shape(constants[f"b{one}_bias"], (width,)) for one in blocks])
        # One row per style and one for what is left of the amount: scales and shifts of all blocks, then the ends.
        columns = [
            np.vstack(
                [
                    _of_shape(constants[f"b{one}_{part}"], (styles, width)),
                    _of_shape(constants.get(f"b{one}_{part}_rest", np.zeros(width, dtype=np.float32)), (width,)),
                ]
            )
            for part in ("scale", "shift")
            for one in blocks
        ]
        ends = [
            _of_shape(constants["bases"], (styles, self.outputs)),
            _of_shape(constants["levels"], (styles, 1)),
            _of_shape(constants["gammas"], (styles, 1)),
        ]
        self.conditioning = np.hstack([*columns, *(np.vstack([end, np.zeros_like(end[:1])]) for end in ends)])
        # The last column is that of gamma, which nothing moves.
        last = _of_shape(constants["last"], (width, self.outputs + 1))
        self.last = np.hstack([last, np.zeros((width, 1), dtype=np.float32)])
        self.last_bias = np.append(_of_shape(constants["last_bias"], (self.outputs + 1,)), np.float32(0.0))
        bounds = [_number(constants[f"{one}_moves_bound"]) for one in ("ratio", "swing")]
        self.bounds = np.repeat(np.array([*bounds, 1.0], dtype=np.float32), [self.outputs, 1, 1])


def student_weights(graph: "onnx.ModelProto", spec: ModelSpec) -> StudentWeights | None:
    """What a file's graph says; None where it is another kind, of another precision, or made otherwise."""
    from onnx import TensorProto, numpy_helper

    numbers = sum(math.prod(one.dims) for one in graph.graph.initializer)
    if spec.kind != "mixer" or spec.precision != "float32" or numbers > MOST_NUMBERS:
        return None
    constants = {
        one.name: numpy_helper.to_array(one)
        for one in graph.graph.initializer
        if one.data_type == TensorProto.FLOAT and one.name != "bodies"
    }
    try:
        return StudentWeights(constants, spec)
    except (KeyError, ValueError):
        return None


class StudentStream:
    """One stream of frames through a student.

    style [styles], amount [1]: read before each frame. A frame is features [features] to ratios [excitations, bands]
    and dynamics [2].
    """

    def __init__(self, weights: StudentWeights, style: Float32, amount: Float32) -> None:
        self._weights, self._style, self._amount = weights, style, amount
        blocks, width = len(weights.into), weights.width
        features = weights.spec.states[0].shape[1]
        self._asked = b""
        self._mix = np.zeros(len(style) + 1, dtype=np.float32)
        self._conditioned = np.zeros(weights.conditioning.shape[1], dtype=np.float32)
        parts = self._conditioned[: 2 * blocks * width].reshape(2, blocks, width)
        self._scale, self._shift = parts
        self._ends = self._conditioned[2 * blocks * width :]
        # The frames that the first convolution reads, oldest first.
        self._read = np.zeros(KERNEL * features, dtype=np.float32)
        self._frames = self._read.reshape(KERNEL, features)
        # What goes into each block, and what comes out of the last one.
        self._hidden = np.zeros((blocks + 1, width), dtype=np.float32)
        # For each block a ring of what went into it: rows of one array, and which rows those are at each turn.
        lengths = [1 << (2 * dilation).bit_length() for dilation in weights.dilations]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        turns = max(lengths)
        self._ring = np.zeros((starts[-1], width), dtype=np.float32)

        def rows(lags: Sequence[int]) -> Int64:
            places = np.arange(turns)[:, None] - np.array(lags)
            return np.asarray(starts[:-1] + places % np.array(lengths), dtype=np.int64)

        self._newest = list(rows([0] * blocks))
        lags = [rows([times * one for one in weights.dilations]) for times in (2, 1)]
        self._older = list(np.hstack(lags))
        self._turn = 0
        # What the past gives to the next frame: products of both older taps, then their sum for each block.
        self._taken = np.zeros((2 * blocks, width), dtype=np.float32)
        self._past = np.zeros((blocks, width), dtype=np.float32)
        self._biases = np.zeros((blocks, width), dtype=np.float32)
        self._mixed, self._inner = np.zeros((2, width), dtype=np.float32)
        self._zero = np.zeros((), dtype=np.float32)
        self._blocks = list(
            zip(
                self._hidden[:-1],
                self._hidden[1:],
                weights.newest,
                self._past,
                weights.into,
                self._scale,
                self._shift,
                weights.out,
                strict=True,
            )
        )
        self._answer = np.zeros(weights.outputs + 2, dtype=np.float32)
        self._ratios = self._answer[:-2].reshape(len(weights.spec.excitations), weights.spec.bands)
        self._dynamics = self._answer[-2:]

    def run(self, features: Float32, ratios: Float32, dynamics: Float32) -> None:
        """Audio thread: one frame."""
        asked = self._style.tobytes() + self._amount.tobytes()
        if asked != self._asked:
            self._asked = asked
            self._condition()
        weights = self._weights
        multiply, add, dot, maximum = np.multiply, np.add, np.dot, np.maximum
        mixed, inner, zero = self._mixed, self._inner, self._zero
        np.copyto(self._frames[-1], features)
        dot(self._read, weights.first, out=self._hidden[0])
        add(self._hidden[0], weights.first_bias, out=self._hidden[0])
        for entering, leaving, newest, past, into, scale, shift, out in self._blocks:
            multiply(entering, newest, out=mixed)
            add(mixed, past, out=mixed)
            dot(mixed, into, out=inner)
            multiply(inner, scale, out=inner)
            add(inner, shift, out=inner)
            maximum(inner, zero, out=inner)
            dot(inner, out, out=leaving)
            add(leaving, entering, out=leaving)
        answer = self._answer
        dot(self._hidden[-1], weights.last, out=answer)
        add(answer, weights.last_bias, out=answer)
        np.divide(answer, weights.bounds, out=answer)
        np.tanh(answer, out=answer)
        multiply(answer, weights.bounds, out=answer)
        add(answer, self._ends, out=answer)
        np.copyto(ratios, self._ratios)
        np.copyto(dynamics, self._dynamics)
        self._go_on()

    def load(self, states: Sequence[Float32]) -> None:
        """Go on from the states of the graph, each [1, rows, columns]."""
        np.copyto(self._frames[:-1], states[0][0])
        self._turn = 0
        for block, (state, dilation) in enumerate(zip(states[1:], self._weights.dilations, strict=True)):
            self._ring[self._past_rows(block, dilation)] = state[0]
        self._prepare()

    def save(self, states: Sequence[Float32]) -> None:
        """Leave the states, as the graph carries them."""
        np.copyto(states[0][0], self._frames[:-1])
        for block, (state, dilation) in enumerate(zip(states[1:], self._weights.dilations, strict=True)):
            np.copyto(state[0], self._ring[self._past_rows(block, dilation)])

    def _past_rows(self, block: int, dilation: int) -> list[int]:
        """Where the last frames of a block are, oldest first."""
        turns = len(self._newest)
        return [int(self._newest[(self._turn - lag) % turns][block]) for lag in range(2 * dilation, 0, -1)]

    def _condition(self) -> None:
        """Scales, shifts and the ends for a mix of styles and an amount."""
        weights, mix = self._weights, self._mix
        np.copyto(mix[:-1], self._style)
        np.subtract(np.float32(1.0), self._amount, out=mix[-1:])
        np.dot(mix, weights.conditioning, out=self._conditioned)
        # The bias comes before the scale.
        np.multiply(weights.bias, self._scale, out=self._biases)
        np.add(self._shift, self._biases, out=self._shift)

    def _go_on(self) -> None:
        """Keep what went into the blocks, and make ready what it gives to the next frame."""
        frames = self._frames
        for place in range(KERNEL - 1):
            np.copyto(frames[place], frames[place + 1])
        self._ring[self._newest[self._turn]] = self._hidden[:-1]
        self._turn = (self._turn + 1) % len(self._newest)
        self._prepare()

    def _prepare(self) -> None:
        np.take(self._ring, self._older[self._turn], axis=0, out=self._taken, mode="clip")
        np.multiply(self._taken, self._weights.older, out=self._taken)
        blocks = len(self._past)
        np.add(self._taken[:blocks], self._taken[blocks:], out=self._past)


def _of_shape(value: Float32, shape: tuple[int, ...]) -> Float32:
    """The constant, contiguous; ValueError where it has another shape (-1: any)."""
    if value.ndim != len(shape) or any(want not in (-1, size) for want, size in zip(shape, value.shape, strict=True)):
        raise ValueError(f"shape {value.shape}, not {shape}")
    return np.ascontiguousarray(value, dtype=np.float32)


def _number(value: Float32) -> float:
    if value.size != 1:
        raise ValueError(f"shape {value.shape}, not a number")
    return float(value.reshape(-1)[0])
