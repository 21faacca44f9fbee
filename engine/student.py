"""A student one frame at a time: what its graph does, in a fifth of the operations.

A graph is for any number of frames: it joins and cuts its past anew in each run, and mixes its conditioning from the
styles again though they seldom change; for a single frame most of its time goes into that. Here the past stays where it
is, in a ring, what it gives to the next frame is ready before that comes, and the conditioning is mixed where styles or
amount move. Graphs that are made otherwise, or that answer otherwise, keep to ONNX Runtime.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from .scalars import scalar
from .spec import ModelSpec, State

if TYPE_CHECKING:
    import onnx

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Constants = Mapping[str, Float32]

KERNEL = 3
MOST_BLOCKS = 64
MOST_PAST = 2**21
"""Numbers in the ring of a stream."""
MOST_NUMBERS = 2**22
"""Of a graph's constants: larger ones spend their time on products, which are not done quicker here."""


class Frames(Protocol):
    """One stream of frames through a student; it reads the style and the amount before each frame."""

    def run(self, features: Float32, ratios: Float32, dynamics: Float32) -> None:
        """Audio thread: one frame, as the graph answers it, without the axes of channels and frames."""
        ...

    def load(self, states: Sequence[Float32]) -> None:
        """Go on from the states of the graph, each [1, rows, columns]."""
        ...

    def save(self, states: Sequence[Float32]) -> None:
        """Leave the states, as the graph carries them."""
        ...


class Student(Protocol):
    """The constants of a graph, shared by all streams of it.

    singly: so many frames at a time are quicker one after the other than by the graph.
    """

    singly: int

    def start(self, style: Float32, amount: Float32) -> Frames:
        """A stream that reads style [styles] and amount [1]."""
        ...


def student_of(graph: "onnx.ModelProto", spec: ModelSpec) -> Student | None:
    """The student in a file's graph; None where it is large, or made otherwise."""
    if sum(math.prod(one.dims) for one in graph.graph.initializer) > MOST_NUMBERS:
        return None
    try:
        constants = _constants(graph.graph)
        return MixerStudent(constants, spec) if spec.kind == "mixer" else TextureStudent(constants, spec)
    except (KeyError, ValueError):
        return None


def _constants(graph: "onnx.GraphProto") -> Constants:
    """Constants by name, in float32; those that are stored in fewer bits as `export.precision` brings them back."""
    from onnx import TensorProto, numpy_helper

    wanted = [one for one in graph.initializer if one.name != "bodies"]
    stored = {one.name: numpy_helper.to_array(one) for one in wanted}
    constants = {one.name: stored[one.name] for one in wanted if one.data_type == TensorProto.FLOAT}
    wide: dict[str, Float32] = {}
    for node in graph.node:
        match [*node.output, node.op_type, *node.input]:
            case [name, "Cast", source] if source in stored:
                wide[name] = constants[name] = stored[source].astype(np.float32)
            case [name, "Mul", levels, scale] if levels in wide and scale in constants:
                # Nothing becomes larger by it.
                if np.broadcast_shapes(wide[levels].shape, constants[scale].shape) == wide[levels].shape:
                    constants[name] = wide[levels] * constants[scale]
    return constants


class _Blocks:
    """Constants of the residual blocks, as `export.graph.add_block` names them, and what styles and amount are for.

    ends: [styles, columns], further rows that are mixed as the blocks' scales and shifts are.
    KeyError or ValueError where the constants are others.
    """

    def __init__(self, constants: Constants, states: Sequence[State], width: int, ends: Sequence[Float32]) -> None:
        self.width, self.count, styles = width, len(states), len(ends[0])
        self.dilations = [state.shape[0] // (KERNEL - 1) for state in states if state.shape]
        if [state.shape for state in states] != [[(KERNEL - 1) * one, width] for one in self.dilations]:
            raise ValueError("states of other shapes")
        self.turns = (KERNEL - 1) * max(self.dilations, default=0) + 1
        if not 1 <= self.count <= MOST_BLOCKS or self.turns * self.count * width > MOST_PAST:
            raise ValueError("no blocks, or too many, or too long ones")

        def each(part: str, *shape: int) -> list[Float32]:
            return [_of_shape(constants[f"b{block}_{part}"], *shape) for block in range(self.count)]

        self.newest, self.into, self.out = each("tapw2", width), each("into", width, width), each("out", width, width)
        # Of the oldest tap for all blocks, then of the one between: [2 count, width].
        self.older = np.stack(each("tapw0", width) + each("tapw1", width))
        self.bias = np.stack(each("bias", width))
        # A row for each style and one for what the amount leaves: scales of all blocks, shifts, then the ends.
        rest = np.zeros(width, dtype=np.float32)
        rows = [
            np.vstack([scale, _of_shape(constants.get(f"b{block}_{part}_rest", rest), width)])
            for part in ("scale", "shift")
            for block, scale in enumerate(each(part, styles, width))
        ]
        self.conditioning = np.hstack([*rows, *(np.vstack([end, np.zeros_like(end[:1])]) for end in ends)])


class _BlockFrames:
    """The residual blocks of a stream.

    entering, leaving: [width], what goes into the first block, to be written before `run`, and what has come out of the
    last one after it; ends: [columns], mixed by `follow`.
    """

    def __init__(self, blocks: _Blocks) -> None:
        self._weights, self._asked = blocks, b""
        count, width = blocks.count, blocks.width
        self._mix = np.zeros(len(blocks.conditioning), dtype=np.float32)
        self._conditioned = np.zeros(blocks.conditioning.shape[1], dtype=np.float32)
        scaling = 2 * count * width
        self._scale, self._shift = self._conditioned[:scaling].reshape(2, count, width)
        self._biases = np.zeros((count, width), dtype=np.float32)
        self.ends = self._conditioned[scaling:]
        # What goes into each block, and what comes out of the last one.
        self._hidden = np.zeros((count + 1, width), dtype=np.float32)
        self.entering, self.leaving = self._hidden[0], self._hidden[-1]
        # A ring of what went into the blocks: [turns, count, width]; and by turn, which of its rows the taps read.
        lags = np.array([taps * one for taps in (2, 1) for one in blocks.dilations])
        turns = blocks.turns
        self._ring = np.zeros((turns, count, width), dtype=np.float32)
        self._rows = self._ring.reshape(-1, width)
        places = (np.arange(turns)[:, None] - lags) % turns * count + np.arange(2 * count) % count
        self._older = list(places)
        self._turn = 0
        # What the past gives to the next frame: products of both older taps, then their sum for each block.
        self._taken = np.zeros((2 * count, width), dtype=np.float32)
        self._given = np.zeros((count, width), dtype=np.float32)
        self._mixed, self._inner = np.zeros((2, width), dtype=np.float32)
        self._zero = scalar()
        self._blocks = list(
            zip(
                self._hidden[:-1],
                self._hidden[1:],
                blocks.newest,
                self._given,
                blocks.into,
                self._scale,
                self._shift,
                blocks.out,
                strict=True,
            )
        )

    def follow(self, style: Float32, amount: Float32) -> bool:
        """Mix scales, shifts and ends where style [styles] or amount [1] have moved; whether they have."""
        asked = style.tobytes() + amount.tobytes()
        if asked == self._asked:
            return False
        self._asked = asked
        weights, mix = self._weights, self._mix
        np.copyto(mix[:-1], style)
        np.subtract(np.float32(1.0), amount, out=mix[-1:])
        np.dot(mix, weights.conditioning, out=self._conditioned)
        # The bias comes before the scale.
        np.multiply(weights.bias, self._scale, out=self._biases)
        np.add(self._shift, self._biases, out=self._shift)
        return True

    def run(self) -> None:
        """Audio thread: from `entering` to `leaving`."""
        multiply, add, maximum = np.multiply, np.add, np.maximum
        mixed, inner, zero = self._mixed, self._inner, self._zero
        for entering, leaving, newest, past, into, scale, shift, out in self._blocks:
            multiply(entering, newest, out=mixed)
            add(mixed, past, out=mixed)
            mixed.dot(into, inner)
            multiply(inner, scale, out=inner)
            add(inner, shift, out=inner)
            maximum(inner, zero, out=inner)
            inner.dot(out, leaving)
            add(leaving, entering, out=leaving)

    def go_on(self) -> None:
        """Keep what went into the blocks, and make ready what it gives to the next frame."""
        np.copyto(self._ring[self._turn], self._hidden[:-1])
        self._turn = (self._turn + 1) % len(self._ring)
        self._prepare()

    def load(self, states: Sequence[Float32]) -> None:
        """Go on from states [1, rows, width]."""
        self._turn = 0
        for block, (rows, state) in enumerate(zip(self._past(), states, strict=True)):
            self._ring[rows, block] = state[0]
        self._prepare()

    def save(self, states: Sequence[Float32]) -> None:
        """Leave the states."""
        for block, (rows, state) in enumerate(zip(self._past(), states, strict=True)):
            np.copyto(state[0], self._ring[rows, block])

    def _past(self) -> list[Int64]:
        """At which turns each block's past was, oldest first."""
        return [
            (self._turn - np.arange((KERNEL - 1) * one, 0, -1)) % len(self._ring) for one in self._weights.dilations
        ]

    def _prepare(self) -> None:
        np.take(self._rows, self._older[self._turn], axis=0, out=self._taken, mode="clip")
        np.multiply(self._taken, self._weights.older, out=self._taken)
        count = len(self._given)
        np.add(self._taken[:count], self._taken[count:], out=self._given)


class MixerStudent:
    """The graph of `export.graph.build_graph`."""

    singly = 2

    def __init__(self, constants: Constants, spec: ModelSpec) -> None:
        styles, outputs = len(spec.styles), len(spec.excitations) * spec.bands
        if not spec.states or spec.states[0].name != "past_features" or len(spec.states[0].shape) != 2:
            raise ValueError("another kind of graph")
        self.spec, self.features = spec, spec.states[0].shape[1]
        self.first = np.concatenate([_of_shape(constants[f"first_{tap}"], self.features, -1) for tap in range(KERNEL)])
        width = self.first.shape[1]
        self.first_bias = _of_shape(constants["first_bias"], width)
        ends = [
            _of_shape(constants["bases"], styles, outputs),
            _of_shape(constants["levels"], styles, 1),
            _of_shape(constants["gammas"], styles, 1),
        ]
        self.blocks = _Blocks(constants, spec.states[1:], width, ends)
        # The last column is that of gamma, which nothing moves.
        last = _of_shape(constants["last"], width, outputs + 1)
        self.last = np.hstack([last, np.zeros((width, 1), dtype=np.float32)])
        self.last_bias = np.append(_of_shape(constants["last_bias"], outputs + 1), np.float32(0.0))
        bounds = [_number(constants[f"{one}_moves_bound"]) for one in ("ratio", "swing")]
        self.bounds = np.repeat(np.array([*bounds, 1.0], dtype=np.float32), [outputs, 1, 1])

    def start(self, style: Float32, amount: Float32) -> "MixerFrames":
        return MixerFrames(self, style, amount)


class MixerFrames:
    """A stream through a `MixerStudent`."""

    def __init__(self, student: MixerStudent, style: Float32, amount: Float32) -> None:
        self._student, self._style, self._amount = student, style, amount
        self._blocks = _BlockFrames(student.blocks)
        # The frames that the first convolution reads, oldest first.
        self._read = np.zeros(KERNEL * student.features, dtype=np.float32)
        self._frames = self._read.reshape(KERNEL, student.features)
        self._answer = np.zeros(len(student.bounds), dtype=np.float32)
        self._ratios = self._answer[:-2].reshape(len(student.spec.excitations), student.spec.bands)
        self._dynamics = self._answer[-2:]

    def run(self, features: Float32, ratios: Float32, dynamics: Float32) -> None:
        student, blocks, answer = self._student, self._blocks, self._answer
        blocks.follow(self._style, self._amount)
        np.copyto(self._frames[-1], features)
        hidden = blocks.entering
        self._read.dot(student.first, hidden)
        np.add(hidden, student.first_bias, out=hidden)
        blocks.run()
        blocks.leaving.dot(student.last, answer)
        np.add(answer, student.last_bias, out=answer)
        np.divide(answer, student.bounds, out=answer)
        np.tanh(answer, out=answer)
        np.multiply(answer, student.bounds, out=answer)
        np.add(answer, blocks.ends, out=answer)
        np.copyto(ratios, self._ratios)
        np.copyto(dynamics, self._dynamics)
        for place in range(KERNEL - 1):
            np.copyto(self._frames[place], self._frames[place + 1])
        blocks.go_on()

    def load(self, states: Sequence[Float32]) -> None:
        np.copyto(self._frames[:-1], states[0][0])
        self._blocks.load(states[1:])

    def save(self, states: Sequence[Float32]) -> None:
        np.copyto(states[0][0], self._frames[:-1])
        self._blocks.save(states[1:])


class TextureStudent:
    """The graph of `export.texture.graph.build_graph`, with or without levels of its templates."""

    singly = 1

    def __init__(self, constants: Constants, spec: ModelSpec) -> None:
        styles, bins = len(spec.styles), spec.bands
        self.bins = bins
        self.first = _of_shape(constants["first"], bins + 1, -1)
        width = self.first.shape[1]
        self.first_bias = _of_shape(constants["first_bias"], width)
        select = _of_shape(constants["select"], width, -1)
        templates = select.shape[1]
        ends = [
            _of_shape(constants["select_bases"], styles, templates),
            _of_shape(constants["levels"], styles, 1),
            _of_shape(constants["gammas"], styles, 1),
        ]
        self.blocks = _Blocks(constants, spec.states, width, ends)
        self.draw = _of_shape(constants["draw"], -1, bins)
        bands = len(self.draw)
        parts = [("tone", bins), ("hiss", bands), ("swing", 1)]
        self.moving = bins + bands + 1
        self.out = np.hstack([*(_of_shape(constants[f"{one}_out"], width, count) for one, count in parts), select])
        bounds = np.array([_number(constants[f"{one}_bound"]) for one, _ in parts], dtype=np.float32)
        self.bounds = np.repeat(bounds, [count for _, count in parts])
        self.templates = _of_shape(constants["template_rows"], styles, -1)
        self.columns = self.templates.shape[1] // templates
        if self.columns not in (2 * bins, 2 * bins + 1) or self.templates.shape[1] % templates:
            raise ValueError("templates of another shape")
        self.input_scale, self.input_floor = (
            scalar(_number(constants[f"input_{part}"])) for part in ("scale", "floor")
        )
        self.least_hiss = _number(constants["least_hiss"])

    def start(self, style: Float32, amount: Float32) -> "TextureFrames":
        return TextureFrames(self, style, amount)


class TextureFrames:
    """A stream through a `TextureStudent`."""

    def __init__(self, student: TextureStudent, style: Float32, amount: Float32) -> None:
        self._student, self._style, self._amount = student, style, amount
        self._mixed = b""
        self._blocks = blocks = _BlockFrames(student.blocks)
        bins, moving = student.bins, student.moving
        self._select_base, (self._level, self._gamma) = blocks.ends[:-2], blocks.ends[-2:].reshape(2, 1)
        self._table = np.zeros((len(self._select_base), student.columns), dtype=np.float32)
        self._answer = np.zeros(student.out.shape[1], dtype=np.float32)
        self._moves, self._shares = self._answer[:moving], self._answer[moving:]
        self._tone, self._hiss, self._swing = np.split(self._moves, [bins, moving - 1])
        self._base = np.zeros(student.columns, dtype=np.float32)
        self._seen = np.zeros(bins, dtype=np.float32)
        # What the amount leaves of the input, and the log of what it takes of the noise; all shares together.
        self._rest, self._quiet, self._all, self._zero = scalar(), scalar(), scalar(), scalar()

    def run(self, features: Float32, ratios: Float32, dynamics: Float32) -> None:
        student, blocks, base = self._student, self._blocks, self._base
        if blocks.follow(self._style, self._amount):
            self._follow()
        hidden = blocks.entering
        features.dot(student.first, hidden)
        np.add(hidden, student.first_bias, out=hidden)
        np.maximum(hidden, self._zero, out=hidden)
        blocks.run()
        blocks.leaving.dot(student.out, self._answer)
        np.tanh(self._moves, out=self._moves)
        np.multiply(self._moves, student.bounds, out=self._moves)
        shares = self._shares
        np.add(shares, self._select_base, out=shares)
        np.maximum.reduce(shares, out=self._all)
        np.subtract(shares, self._all, out=shares)
        np.exp(shares, out=shares)
        np.add.reduce(shares, out=self._all)
        np.divide(shares, self._all, out=shares)
        shares.dot(self._table, base)
        tone, hiss = ratios
        bins = student.bins
        np.add(self._tone, base[:bins], out=tone)
        self._hiss.dot(student.draw, hiss)
        np.add(hiss, base[bins : 2 * bins], out=hiss)
        np.add(hiss, self._quiet, out=hiss)
        if self._rest:
            np.multiply(features[:-1], student.input_scale, out=self._seen)
            np.add(self._seen, student.input_floor, out=self._seen)
            np.multiply(self._seen, self._rest, out=self._seen)
            np.multiply(tone, self._amount, out=tone)
            np.add(tone, self._seen, out=tone)
        swing = dynamics[:1]
        np.add(self._swing, self._level, out=swing)
        if student.columns > 2 * bins:
            np.add(swing, base[-1:], out=swing)
        np.copyto(dynamics[1:], self._gamma)
        blocks.go_on()

    def _follow(self) -> None:
        """Mix the templates, and what the amount leaves."""
        student, mixed = self._student, self._style.tobytes()
        if mixed != self._mixed:
            self._mixed = mixed
            np.dot(self._style, student.templates, out=self._table.reshape(-1))
        amount = float(self._amount[0])
        self._rest[()] = 1.0 - amount
        self._quiet[()] = math.log(max(1e-30, amount + student.least_hiss))

    def load(self, states: Sequence[Float32]) -> None:
        self._blocks.load(states)

    def save(self, states: Sequence[Float32]) -> None:
        self._blocks.save(states)


def _of_shape(value: Float32, *shape: int) -> Float32:
    """The constant, contiguous; ValueError where it has another shape (-1: any), or holds nothing."""
    fits = value.ndim == len(shape) and all(want in (-1, size) for want, size in zip(shape, value.shape, strict=True))
    if not fits or not value.size:
        raise ValueError(f"shape {value.shape}, not {shape}")
    return np.ascontiguousarray(value, dtype=np.float32)


def _number(value: Float32) -> float:
    if value.size != 1:
        raise ValueError(f"shape {value.shape}, not a number")
    return float(value.reshape(-1)[0])
