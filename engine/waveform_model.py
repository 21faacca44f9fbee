"""A capture's model file: opened only after everything about it has been checked, and run with states bound once."""

import functools
import math
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .blocked import BlockedPlan, BlockedStream, worth_blocking
from .graph_check import (
    check_cost,
    check_graph,
    check_state,
    check_tensors,
    first_line,
    make_session,
    parse,
    read_bytes,
    run_options,
    runtime,
    snr_db,
)
from .spec import Control
from .waveform_spec import WaveformProvenance, WaveformSpec, WaveformVariant, decode_waveform_spec

if TYPE_CHECKING:
    import onnx

Float32 = npt.NDArray[np.float32]
Kept = TypeVar("Kept")

ALLOWED_OPS = frozenset(
    (
        *("Abs", "Add", "Clip", "Concat", "Conv", "Div", "Elu", "GRU", "LSTM", "LeakyRelu", "Max", "Min", "Mul"),
        *("PRelu", "Relu", "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Sum", "Tanh", "Transpose"),
        "Unsqueeze",
    )
)
CONV_ATTRIBUTES = frozenset(("dilations", "group", "kernel_shape"))
RATES = (8000.0, 192000.0)
MAX_VARIANTS = 16
MAX_KNOBS = 8
MAX_STATES = 1024
MAX_MEMORY = 2**24
MAX_FIELD = 2**21
MAX_TEXTS, MAX_TEXT = 200, 2000
KNOB_NAME = re.compile(r"[^\s\x00-\x1f#*,/?\[\]{}]{1,63}")
RESERVED_KNOBS = frozenset(
    (
        *("amount", "bypass", "mix", "load", "move", "remove", "name", "kind", "branch", "latency", "time", "tempo"),
        *("input", "output", "normalize", "calibrate", "interface", "quality"),
    )
)
GOLDEN_SNR_DB = 90.0
LARGEST = 1024
SMALL = 64
BLOCKS = (64, 128, 256, 512)
SHORTEST_BLOCK = 32
BLOCK_SNR_DB = 80.0
COMMON = (80, 96, 128, 160, 192, 220, 221, 240, 256, 320, 384, 441, 480, 512, 640, 720, 768, 882, 960)


def open_waveform(path: str | Path, *, trusted: bool = False) -> "WaveformModel":
    """Open a capture's model file, or say in one line which part of it does not fit.

    Nothing in it is executed before its operators, shapes and sizes are checked, and nothing is used before its
    golden pair has been answered to 90 dB. trusted: another process has done that; only the file is read.
    """
    path = Path(path)
    data = read_bytes(path)
    graph, text = parse(data, path.name)
    spec = decode_waveform_spec(text, path.name)
    if trusted:
        return WaveformModel(path, spec, graph)
    check_graph(graph, ALLOWED_OPS, path.name)
    _check_convolutions(graph, path.name)
    _check_spec(spec, path.name)
    _check_interface(graph, spec, path.name)
    check_cost(graph, [*spec.golden.audio.shape, 0][0], path.name)
    model = WaveformModel(path, spec, graph)
    model.check_golden()
    return model


class WaveformModel:
    """A checked capture with one ONNX Runtime session for each variant. `start` gives a stream states of its own."""

    def __init__(self, path: Path, spec: WaveformSpec, graph: "onnx.ModelProto") -> None:
        self.path, self.spec = path, spec
        self._remembered: dict[Hashable, Any] = {}
        parts = [part_of(graph, variant) for variant in spec.variants]
        self._sessions = [make_session(part.SerializeToString(), path.name) for part in parts]
        self._constants = [_constants(part) for part in parts]

    def remember(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What depends on the file alone, and on what key names: made once, shared, not to be changed."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return cast(Kept, self._remembered[key])

    def start(self, variant: int, channels: int, max_block: int) -> "WaveformStream":
        """A stream of [channels] signals through a variant, from its initial states."""
        spec = self.spec.variants[variant]
        lengths = {length for length in (*BLOCKS, max_block) if SHORTEST_BLOCK <= length <= min(max_block, LARGEST)}
        plans = [self._plan(variant, length) for length in sorted(lengths)]
        found = [plan for plan in plans if plan is not None]
        stream = WaveformStream(self._sessions[variant], spec, channels, len(self.spec.knobs), max_block, found)
        try:
            self.remember(("warm", variant, channels, stream.sizes[-1]), functools.partial(_warm, stream))
        except Exception as error:
            raise DuendeError(f"{self.path.name}: the graph cannot be run: {first_line(error)}") from error
        stream.reset()
        return stream

    def _plan(self, variant: int, length: int) -> BlockedPlan | None:
        """A quicker way through a variant for blocks of one length; None where there is none on this machine."""
        layout = self.spec.variants[variant].layout
        if layout is None or not worth_blocking(layout, length):
            return None

        def make() -> BlockedPlan | None:
            try:
                shapes: dict[str, Sequence[int]] = {
                    state.name: state.shape for state in self.spec.variants[variant].states
                }
                plan = BlockedPlan(layout, self._constants[variant], shapes, length, self.path.name)
                return plan if self._agrees(variant, plan) else None
            except Exception:  # noqa: BLE001 - the runtime's own layout is not to be had everywhere
                return None

        return self.remember(("plan", variant, length), make)

    def _agrees(self, variant: int, plan: BlockedPlan) -> bool:
        """Whether a plan answers as the file's graph does, over as many blocks as its histories take to come round."""
        spec, length = self.spec.variants[variant], plan.length
        states = {state.name: initial[0] for state, initial in zip(spec.states, initial_states(spec, 1), strict=True)}
        stream = BlockedStream(plan)
        count = length * min(2 * stream.rounds + 1, 2 + 8192 // length)
        audio = 0.3 * np.random.default_rng(1).standard_normal(count).astype(np.float32)
        feeds = {"audio": audio[None, None]} | {name: value[None] for name, value in states.items()}
        wanted = np.asarray(self._sessions[variant].run([spec.output], feeds)[0][0, 0])
        stream.load(states)
        answer = np.empty_like(wanted)
        for at in range(0, count, length):
            stream.process(audio[at : at + length], answer[at : at + length])
        return snr_db(wanted, answer) >= BLOCK_SNR_DB

    def check_golden(self) -> None:
        """Answer the golden pair with each variant; DuendeError if the installation or the file is not sound."""
        golden, name = self.spec.golden, self.path.name
        for index, variant in enumerate(self.spec.variants):
            try:
                audio, knobs = golden.audio.unpack(), golden.knobs.unpack()
                wanted = golden.outputs[index].unpack()
                if audio.ndim != 1 or not 1 <= len(audio) <= 65536 or wanted.shape != audio.shape:
                    raise ValueError(f"audio of shape {audio.shape}, output of shape {wanted.shape}")
                if knobs.shape != (len(self.spec.knobs),):
                    raise ValueError(f"knobs of shape {knobs.shape}")
                feeds = {"audio": audio[None, None]}
                if len(knobs):
                    feeds["knobs"] = np.repeat(knobs[None, :, None], len(audio), axis=2)
                for state, initial in zip(variant.states, initial_states(variant, 1), strict=True):
                    feeds[state.name] = initial
                answer = self._sessions[index].run([variant.output], feeds)[0]
                if answer.shape != (1, 1, len(audio)):
                    raise ValueError(f"answer of shape {answer.shape}")
            except Exception as error:
                raise DuendeError(f"{name}: the golden pair does not fit the graph: {first_line(error)}") from error
            ratio = snr_db(wanted, answer[0, 0])
            if not ratio >= GOLDEN_SNR_DB:
                raise DuendeError(
                    f"{name}: golden pair missed: {variant.output} at {ratio:.1f} dB, {GOLDEN_SNR_DB:g} dB needed; "
                    f"the file is damaged or this ONNX Runtime computes wrongly"
                )


class WaveformStream:
    """One stream through one variant: buffers bound once, states carried between two sets that take turns.

    sizes: numbers of samples that are run at once, rising; any other is made up of them. What plans there are take
    blocks of their length, and of several times the longest one's; the states go over where lengths change.
    """

    def __init__(
        self,
        session: Any,
        variant: WaveformVariant,
        channels: int,
        knobs: int,
        max_block: int,
        plans: Sequence[BlockedPlan] = (),
    ) -> None:
        self._session, self._options = session, run_options()
        wrap = runtime().OrtValue.ortvalue_from_numpy
        self._initial = initial_states(variant, channels)
        self._states = [[array.copy() for array in self._initial] for _ in range(2)]
        bound_states = [[wrap(state) for state in turn] for turn in self._states]
        self.sizes = sizes_up_to(max_block)
        largest = self.sizes[-1]
        audio = np.zeros(channels * largest, dtype=np.float32)
        knob = np.zeros(channels * knobs * largest, dtype=np.float32)
        answer = np.zeros(channels * largest, dtype=np.float32)
        self._parts: dict[int, tuple[Float32, Float32, Float32, list[Any]]] = {}
        for size in self.sizes:
            heard = audio[: channels * size].reshape(channels, 1, size)
            turned = knob[: channels * knobs * size].reshape(channels, knobs, size)
            said = answer[: channels * size].reshape(channels, 1, size)
            values = wrap(heard), wrap(turned) if knobs else None, wrap(said)
            bindings = []
            for turn in range(2):
                binding = session.io_binding()
                binding.bind_ortvalue_input("audio", values[0])
                if knobs:
                    binding.bind_ortvalue_input("knobs", values[1])
                binding.bind_ortvalue_output(variant.output, values[2])
                for index, state in enumerate(variant.states):
                    binding.bind_ortvalue_input(state.name, bound_states[turn][index])
                    binding.bind_ortvalue_output(f"{state.name}_next", bound_states[1 - turn][index])
                bindings.append(binding)
            self._parts[size] = heard[:, 0], turned, said[:, 0], bindings
        self._fits = [0] * (largest + 1)
        for size in self.sizes:
            self._fits[size:] = [size] * (largest + 1 - size)
        self._turn = 0
        self._blocked = {plan.length: [BlockedStream(plan) for _ in range(channels)] for plan in plans}
        self._lengths = [0] * (largest + 1)
        for length in self._blocked:
            self._lengths[length] = length
            # Several short blocks would take longer than the graph takes for all of them.
            if length == BLOCKS[-1]:
                self._lengths[::length] = [length] * len(self._lengths[::length])
        self._lengths[0] = 0
        names = [state.name for state in variant.states]
        self._named = [
            [dict(zip(names, (state[channel] for state in turn), strict=True)) for channel in range(channels)]
            for turn in self._states
        ]
        # Block length of the plan that holds the states; 0: they are in self._states.
        self._length = 0

    @property
    def lengths(self) -> list[int]:
        """Block lengths that have a plan."""
        return sorted(self._blocked)

    def process(self, audio: Float32, knobs: Float32, out: Float32) -> None:
        """audio [channels, n] and knobs [channels, knobs, n] to out [channels, n]; any n, no allocation."""
        count, done, largest = audio.shape[1], 0, self.sizes[-1]
        length = self._lengths[count] if count <= largest else 0
        if length != self._length:
            self._settle()
        if length:
            if not self._length:
                for stream, states in zip(self._blocked[length], self._named[self._turn], strict=True):
                    stream.load(states)
                self._length = length
            for channel, stream in enumerate(self._blocked[length]):
                for at in range(0, count, length):
                    stream.process(audio[channel, at : at + length], out[channel, at : at + length])
            return
        while done < count:
            size = self._fits[min(largest, count - done)]
            heard, turned, said, bindings = self._parts[size]
            end = done + size
            np.copyto(heard, audio[:, done:end])
            if turned.size:
                np.copyto(turned, knobs[:, :, done:end])
            self._session.run_with_iobinding(bindings[self._turn], self._options)
            self._turn = 1 - self._turn
            np.copyto(out[:, done:end], said)
            done = end

    def _settle(self) -> None:
        """Take the states back from the plan that holds them."""
        if self._length:
            for stream, states in zip(self._blocked[self._length], self._named[self._turn], strict=True):
                stream.save(states)
            self._length = 0

    def reset(self) -> None:
        """Back to how silence leaves the states."""
        self._length = 0
        for turn in self._states:
            for array, initial in zip(turn, self._initial, strict=True):
                np.copyto(array, initial)

    def adopt(self, other: "WaveformStream") -> None:
        """Take over the states of another stream through the same variant and as many channels."""
        other._settle()
        self._length = 0
        for array, there in zip(self._states[self._turn], other._states[other._turn], strict=True):
            np.copyto(array, there)


def sizes_up_to(max_block: int) -> list[int]:
    """Numbers of samples that are run at once: all small ones, those that devices use, and the largest ones.

    A bridge between two rates makes blocks of the largest sizes by turns.
    """
    largest = min(max_block, LARGEST)
    small, common = range(1, min(SMALL, largest) + 1), (size for size in COMMON if size <= largest)
    return sorted({*small, *common, *range(max(1, largest - 3), largest + 1)})


def initial_states(variant: WaveformVariant, channels: int) -> list[Float32]:
    """How silence leaves the states, [channels, *shape] each."""
    return [
        np.ascontiguousarray(np.broadcast_to(state.initial.unpack(), (channels, *state.shape)), dtype=np.float32)
        for state in variant.states
    ]


def part_of(graph: "onnx.ModelProto", variant: WaveformVariant) -> "onnx.ModelProto":
    """What one variant needs of a graph, by itself: its nodes, constants, inputs and outputs."""
    import onnx

    states = {state.name for state in variant.states}
    outputs = {variant.output} | {f"{name}_next" for name in states}
    maker = {output: place for place, node in enumerate(graph.graph.node) for output in node.output}
    wanted, kept = list(outputs), set[int]()
    used = set(outputs)
    while wanted:
        place = maker.get(wanted.pop())
        if place is None or place in kept:
            continue
        kept.add(place)
        for name in graph.graph.node[place].input:
            if name not in used:
                used.add(name)
                wanted.append(name)
    part = onnx.ModelProto()
    part.ir_version = graph.ir_version
    part.opset_import.extend(graph.opset_import)
    part.graph.name = graph.graph.name
    part.graph.node.extend(node for place, node in enumerate(graph.graph.node) if place in kept)
    part.graph.initializer.extend(tensor for tensor in graph.graph.initializer if tensor.name in used)
    given = states | {"audio", "knobs"}
    part.graph.input.extend(value for value in graph.graph.input if value.name in given)
    part.graph.output.extend(value for value in graph.graph.output if value.name in outputs)
    return part


def _constants(part: "onnx.ModelProto") -> dict[str, Float32]:
    """What a plan is made from: the float32 constants of a graph by name."""
    import onnx

    wanted = onnx.TensorProto.FLOAT
    found = (tensor for tensor in part.graph.initializer if tensor.data_type == wanted)
    return {tensor.name: np.asarray(onnx.numpy_helper.to_array(tensor), dtype=np.float32) for tensor in found}


def _warm(stream: WaveformStream) -> None:
    """Run every bound size, the largest first, so that no first run falls into the music."""
    for size in reversed(stream.sizes):
        heard, turned, said, bindings = stream._parts[size]
        for binding in bindings:
            stream._session.run_with_iobinding(binding, stream._options)
        if stream._lengths[size]:
            stream.process(heard, turned, said)


def _check_convolutions(graph: "onnx.ModelProto", name: str) -> None:
    for node in graph.graph.node:
        if node.op_type == "Conv":
            for attribute in node.attribute:
                sane = attribute.name in CONV_ATTRIBUTES and all(1 <= value <= 2**20 for value in attribute.ints)
                if not sane:
                    raise DuendeError(
                        f"{name}: a Conv with {attribute.name} {list(attribute.ints)}: captures have none"
                    )


def _check_spec(spec: WaveformSpec, name: str) -> None:
    for field, text in (("name", spec.name), ("architecture", spec.architecture)):
        if not 1 <= len(text) <= 200:
            raise DuendeError(f"{name}: {field} of {len(text)} characters, allowed are 1 to 200")
    if not (RATES[0] <= spec.sample_rate <= RATES[1] and spec.sample_rate == round(spec.sample_rate)):
        raise DuendeError(
            f"{name}: sample_rate {spec.sample_rate:g} Hz: a whole number from {RATES[0]:g} to {RATES[1]:g}"
        )
    for field, value in (
        ("loudness_db", spec.loudness_db),
        ("gain", spec.gain),
        ("input_level_dbu", spec.input_level_dbu),
        ("output_level_dbu", spec.output_level_dbu),
    ):
        if value is not None and not abs(value) <= 300.0:
            raise DuendeError(f"{name}: {field} {value:g} is out of bounds: -300 to 300")
    texts = [*spec.tags, *spec.tags.values(), *spec.provenance.notes, *_texts(spec.provenance)]
    if len(texts) > MAX_TEXTS or any(len(text) > MAX_TEXT for text in texts):
        raise DuendeError(
            f"{name}: tags and provenance: {len(texts)} texts: {MAX_TEXTS} of {MAX_TEXT} characters at most"
        )
    _check_knobs(spec.knobs, name)
    variants = spec.variants
    if not 1 <= len(variants) <= MAX_VARIANTS:
        raise DuendeError(f"{name}: {len(variants)} variants, allowed are 1 to {MAX_VARIANTS}")
    if len(spec.golden.outputs) != len(variants):
        raise DuendeError(f"{name}: golden: {len(spec.golden.outputs)} outputs for {len(variants)} variants")
    maxima = [variant.maximum for variant in variants]
    if any(not math.isfinite(one) for one in maxima) or sorted(set(maxima)) != maxima:
        raise DuendeError(f"{name}: variants: maximum {maxima} must rise")
    memory = 0
    for variant in variants:
        if not 1 <= variant.receptive_field_samples <= MAX_FIELD:
            raise DuendeError(
                f"{name}: receptive_field_samples {variant.receptive_field_samples}: allowed are 1 to {MAX_FIELD}"
            )
        if len(variant.states) > MAX_STATES:
            raise DuendeError(f"{name}: {len(variant.states)} states, allowed are {MAX_STATES}")
        for state in variant.states:
            check_state(state.name, state.shape, name)
            memory += math.prod(state.shape)
            _check_initial(state.name, state.shape, state.initial, name)
    if memory > MAX_MEMORY:
        raise DuendeError(f"{name}: states of {memory} numbers in all, allowed are {MAX_MEMORY}")


def _texts(about: WaveformProvenance) -> list[str]:
    return [about.format, about.file, about.sha256, about.author, about.licence, about.date, about.made_with]


def _check_initial(state: str, shape: Sequence[int], initial: Any, name: str) -> None:
    try:
        values = initial.unpack()
        np.broadcast_to(values, shape)
    except (ValueError, TypeError) as error:
        raise DuendeError(f"{name}: the initial value of state {state!r} does not fit: {first_line(error)}") from error
    if not np.isfinite(values).all():
        raise DuendeError(f"{name}: the initial value of state {state!r} holds what is no number")


def _check_knobs(knobs: Sequence[Control], name: str) -> None:
    if len(knobs) > MAX_KNOBS:
        raise DuendeError(f"{name}: {len(knobs)} knobs, allowed are {MAX_KNOBS}")
    for place, knob in enumerate(knobs):
        # It becomes a parameter and part of an OSC address.
        taken = [other.name for other in knobs[:place]]
        if not KNOB_NAME.fullmatch(knob.name) or knob.name in RESERVED_KNOBS or knob.name in taken:
            raise DuendeError(
                f"{name}: knob {knob.name!r} cannot be a parameter: names must be unique, 1 to 63 characters without "
                f"spaces or any of #*,/?[]{{}}, and none of {', '.join(sorted(RESERVED_KNOBS))}"
            )
        if (knob.minimum, knob.maximum, knob.curve) != (0.0, 1.0, "linear") or not 0.0 <= knob.default <= 1.0:
            raise DuendeError(f"{name}: knob {knob.name!r}: the range must be 0 to 1, linear, its default within")
        if len(knob.unit) > 16:
            raise DuendeError(f"{name}: knob {knob.name!r}: a unit of {len(knob.unit)} characters, 16 at most")


def _check_interface(graph: "onnx.ModelProto", spec: WaveformSpec, name: str) -> None:
    """Names, element types and shapes of the graph's inputs and outputs against the spec."""
    inputs: dict[str, list[int | None]] = {"audio": [None, 1, None]}
    if spec.knobs:
        inputs["knobs"] = [None, len(spec.knobs), None]
    outputs: dict[str, list[int | None]] = {}
    for variant in spec.variants:
        names = [variant.output, *(state.name for state in variant.states)]
        if len(set(names)) != len(names) or any(one in inputs or one in outputs for one in names):
            raise DuendeError(f"{name}: names of states or outputs are taken twice: {', '.join(sorted(names)[:8])}")
        outputs[variant.output] = [None, 1, None]
        for state in variant.states:
            inputs[state.name] = [None, *state.shape]
            outputs[f"{state.name}_next"] = [None, *state.shape]
    check_tensors("input", graph.graph.input, inputs, name)
    check_tensors("output", graph.graph.output, outputs, name)
