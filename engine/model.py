"""A distilled model: one self-contained .onnx file, opened only after everything about it has been checked."""

import functools
import math
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .excitation import NAMES
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
    spec_text,
)
from .mixer import feature_count
from .spec import AMOUNT, PRECISIONS, SAMPLE_RATES, ModelSpec, decode_spec
from .stft import DEFAULT_SIZES, SMALL_SIZES, StftSizes
from .student import Student, student_of

if TYPE_CHECKING:
    import onnx

Float32 = npt.NDArray[np.float32]
Kept = TypeVar("Kept")

ALLOWED_OPS = frozenset(
    (
        *(
            "Abs",
            "Add",
            "Cast",
            "Clip",
            "Concat",
            "Constant",
            "Conv",
            "Div",
            "Exp",
            "Gemm",
            "Identity",
            "LeakyRelu",
            "Log",
        ),
        *("MatMul", "Max", "Min", "Mul", "Neg", "Pow", "PRelu", "ReduceMean", "ReduceSum", "Relu", "Reshape"),
        *("Sigmoid", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose"),
        "Unsqueeze",
    )
)
LAWS = {"mixer": "mixer@2", "texture": "texture@1"}
TEXTURE_SIZES = StftSizes(1024, 256, 128)
SOURCES = ("tone@1", "noise@1")
STYLE_NAME = re.compile(r"[^\s\x00-\x1f#*,/?\[\]{}]{1,63}")
MAX_FIELD_FRAMES = 8192
MAX_MEMORY = 2**24
RESERVED_STYLES = ("amount", "bypass", "mix", "load", "move", "remove")
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
GOLDEN_SNR_DB = {"cpu": 90.0, "cuda": 60.0, "tensorrt": 60.0}
REDUCED_SNR_DB = 40.0
COMPARED_FRAMES = 72


def features_of(spec: ModelSpec) -> int:
    """Features per frame that a model's graph is given."""
    return spec.bands + 1 if spec.kind == "texture" else feature_count(spec.bands)


def load_model(path: str | Path, provider: str = "cpu", threads: int = 1) -> "Model":
    """Open a model file, or say in one line which part of it does not fit.

    provider: "cpu", "cuda" or "tensorrt"; falls back to the CPU where it is not to be had, with a line in `notices`.
    threads: that the CPU may run an operator on; more than one only pays for models of millions of parameters.
    Nothing in the file is executed before its operators, shapes and sizes are checked, and nothing is used before
    its golden pair has been answered within the provider's signal-to-noise ratio.
    """
    path = Path(path)
    data = read_bytes(path)
    graph, text = parse(data, path.name)
    spec = decode_spec(text, path.name)
    check_graph(graph, ALLOWED_OPS, path.name)
    _check_spec(spec, path.name)
    _check_interface(graph, spec, path.name)
    check_cost(graph, [*spec.golden.features.shape, 0, 0][1], path.name)
    model = Model(path, data, provider, threads, spec)
    model.check_golden()
    if model.provider == "cpu" and threads == 1:
        model.play_singly(graph)
    return model


def open_model(path: str | Path, provider: str = "cpu") -> "Model":
    """`load_model` for a file that another process has checked: its golden pair is only asked on other hardware."""
    path = Path(path)
    data = read_bytes(path)
    model = Model(path, data, provider)
    if model.provider == "cpu":
        model.play_singly(parse(data, path.name)[0])
    else:
        model.check_golden()
    return model


class Model:
    """A checked model with its ONNX Runtime session. `start` gives one stream its own states and buffers."""

    def __init__(self, path: Path, data: bytes, provider: str, threads: int = 1, spec: ModelSpec | None = None) -> None:
        """data: of the whole file; spec: that has been read from it, if it has."""
        self.path = path
        self.notices: list[str] = []
        self._remembered: dict[Hashable, Any] = {}
        self.provider = self._choose(provider)
        wanted = [PROVIDERS[self.provider]] if self.provider == "cpu" else [PROVIDERS[self.provider], PROVIDERS["cpu"]]
        self._session = make_session(data, path.name, wanted, threads)
        self.spec = decode_spec(spec_text(self._session, path.name), path.name) if spec is None else spec
        if self.provider != "cpu" and PROVIDERS[self.provider] not in self._session.get_providers():
            self.notices.append(f"{self.provider} could not be started; running on the CPU")
            self.provider = "cpu"
        self._student: Student | None = None

    def _choose(self, provider: str) -> str:
        if provider not in PROVIDERS:
            raise DuendeError(f"unknown provider {provider!r}: choose one of {', '.join(PROVIDERS)}")
        if PROVIDERS[provider] not in runtime().get_available_providers():
            self.notices.append(
                f"{provider} is not available in the installed ONNX Runtime; running on the CPU "
                f"(pip install 'duende[gpu]')"
            )
            return "cpu"
        return provider

    def remember(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What depends on the file alone, and on what key names: made once, shared, not to be changed."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return cast(Kept, self._remembered[key])

    @property
    def sizes(self) -> StftSizes:
        return StftSizes(self.spec.sizes.analysis, self.spec.sizes.synthesis, self.spec.sizes.hop)

    def body(self, style: Float32) -> Float32:
        """Natural-log magnitude [body_points] of a mixer's filter for style weights [styles], at full amount."""
        feeds = self._initial_feeds(1, 1)
        feeds["style"] = np.asarray(style, dtype=np.float32)
        return np.asarray(self._session.run(["body"], feeds)[0])

    def start(self, channels: int, frame_counts: Sequence[int], silence: Float32 | None = None) -> "ModelStream":
        """A stream of [channels] signals that can be advanced by any of frame_counts frames at a time.

        silence: features [features] of an input that has never sounded; zeros if left out.
        """
        student = self._student if channels == 1 else None
        stream = ModelStream(self._session, self.spec, channels, frame_counts, student)
        still = np.float32(0.0) if silence is None else silence
        try:
            for frames in frame_counts:
                self.remember(("warm", channels, frames), functools.partial(stream.warm_up, frames))
            key = ("settled", channels, still.tobytes())
            stream.settle(self.remember(key, functools.partial(stream.settled, still)))
        except Exception as error:
            raise DuendeError(f"{self.path.name}: the graph cannot be run: {first_line(error)}") from error
        return stream

    def check_golden(self) -> None:
        """Answer the golden pair; DuendeError if the installation or the file is not sound."""
        golden, name = self.spec.golden, self.path.name
        try:
            features, style = golden.features.unpack(), golden.style.unpack()
            expected = [golden.ratios.unpack(), golden.dynamics.unpack()]
            if features.ndim != 3 or features.shape[0] != 1 or features.shape[1] < 1:
                raise ValueError(f"features of shape {features.shape}")
            feeds = self._initial_feeds(1, features.shape[1]) | {"features": features, "style": style}
            if golden.amount is not None:
                feeds["amount"] = golden.amount.unpack()
            answers = self._session.run(["ratios", "dynamics"], feeds)
            if [a.shape for a in answers] != [e.shape for e in expected]:
                raise ValueError(f"answers of shape {[a.shape for a in answers]}")
        except Exception as error:
            raise DuendeError(f"{name}: the golden pair does not fit the graph: {first_line(error)}") from error
        bound = GOLDEN_SNR_DB[self.provider] if self.spec.precision == "float32" else REDUCED_SNR_DB
        for label, answer, wanted in zip(("ratios", "dynamics"), answers, expected, strict=True):
            ratio = snr_db(wanted, answer)
            if not ratio >= bound:
                raise DuendeError(
                    f"{name}: golden pair missed: {label} at {ratio:.1f} dB, {bound:g} dB needed on {self.provider}; "
                    f"the file is damaged or this ONNX Runtime computes wrongly"
                )

    def play_singly(self, graph: "onnx.ModelProto") -> None:
        """Let streams play single frames by the student in the file's graph, where there is one that answers alike."""
        student = student_of(graph, self.spec)
        if student is not None and self._agrees(student, graph):
            self._student = student

    def _agrees(self, student: Student, graph: "onnx.ModelProto") -> bool:
        """Whether frame by frame the same comes out as of the graph, all styles and half the amount asked for."""
        try:
            check_cost(graph, COMPARED_FRAMES, self.path.name)
        except DuendeError:
            return False
        feeds = self._initial_feeds(1, COMPARED_FRAMES)
        feeds["features"][:] = np.random.default_rng(1).standard_normal(feeds["features"].shape)
        amount = np.full(1, 0.5, dtype=np.float32)
        if self.spec.trained_amount:
            feeds["amount"] = amount
        try:
            expected = self._session.run(["ratios", "dynamics"], feeds)
        except Exception:  # noqa: BLE001  what cannot be run is refused where it is asked for
            return False
        answers = [np.zeros_like(one) for one in expected]
        stream = student.start(feeds["style"], amount)
        stream.load([feeds[state.name] for state in self.spec.states])
        with np.errstate(all="ignore"):
            for features, ratios, dynamics in zip(feeds["features"][0], answers[0][0], answers[1][0], strict=True):
                stream.run(features, ratios, dynamics)
        return all(snr_db(want, got) >= GOLDEN_SNR_DB["cpu"] for want, got in zip(expected, answers, strict=True))

    def _initial_feeds(self, channels: int, frames: int) -> dict[str, Float32]:
        spec = self.spec
        feeds = {
            "features": np.zeros((channels, frames, features_of(spec)), dtype=np.float32),
            "style": np.full(len(spec.styles), 1.0 / len(spec.styles), dtype=np.float32),
        }
        if spec.trained_amount:
            feeds["amount"] = np.ones(1, dtype=np.float32)
        for state in spec.states:
            feeds[state.name] = np.full((channels, *state.shape), state.initial, dtype=np.float32)
        return feeds


class ModelStream:
    """One stream through a model: buffers bound once, states carried between two sets that take turns.

    A few frames of a graph whose student is known go through that one by one, which then has the states.

    style [styles] and amount [1] are read at each run; amount is heard by graphs that were trained with it alone.
    """

    def __init__(
        self,
        session: Any,
        spec: ModelSpec,
        channels: int,
        frame_counts: Sequence[int],
        student: Student | None = None,
    ) -> None:
        self._session, self._spec = session, spec
        self.style = np.zeros(len(spec.styles), dtype=np.float32)
        self.style[0] = 1.0
        self.amount = np.ones(1, dtype=np.float32)
        wrap = runtime().OrtValue.ortvalue_from_numpy
        style, amount = wrap(self.style), wrap(self.amount)
        self._states = [
            [np.full((channels, *state.shape), state.initial, dtype=np.float32) for state in spec.states]
            for _ in range(2)
        ]
        bound_states = [[wrap(state) for state in turn] for turn in self._states]
        excitations = len(spec.excitations)
        self.features: dict[int, Float32] = {}
        self.ratios: dict[int, Float32] = {}
        self.dynamics: dict[int, Float32] = {}
        self._student = None if student is None else student.start(self.style, self.amount)
        # Whether the student has the states; its frames, by how many go one by one, and what the graph's are bound to.
        self._singly = False
        self._frames: dict[int, list[tuple[Float32, Float32, Float32]]] = {}
        self._bindings: dict[int, list[Any]] = {}
        for frames in sorted(set(frame_counts)):
            self.features[frames] = np.zeros((channels, frames, features_of(spec)), dtype=np.float32)
            self.ratios[frames] = np.zeros((channels, frames, excitations, spec.bands), dtype=np.float32)
            self.dynamics[frames] = np.zeros((channels, frames, 2), dtype=np.float32)
            parts = [part[frames] for part in (self.features, self.ratios, self.dynamics)]
            if student is not None and frames <= student.singly:
                self._frames[frames] = list(zip(*(part[0] for part in parts), strict=True))
                continue
            values = [wrap(part) for part in parts]
            self._bindings[frames] = []
            for turn in range(2):
                binding = session.io_binding()
                binding.bind_ortvalue_input("features", values[0])
                binding.bind_ortvalue_input("style", style)
                if spec.trained_amount:
                    binding.bind_ortvalue_input("amount", amount)
                binding.bind_ortvalue_output("ratios", values[1])
                binding.bind_ortvalue_output("dynamics", values[2])
                for index, state in enumerate(spec.states):
                    binding.bind_ortvalue_input(state.name, bound_states[turn][index])
                    binding.bind_ortvalue_output(f"{state.name}_next", bound_states[1 - turn][index])
                self._bindings[frames].append(binding)
        self._turn = 0
        self._settled: Sequence[Float32] = [array.copy() for array in self._states[0]]
        self._options = run_options()

    def run(self, frames: int) -> None:
        """Advance by features[frames]; the answer is in ratios[frames] and dynamics[frames]."""
        if self._student is not None and frames in self._frames:
            if not self._singly:
                self._student.load(self._states[self._turn])
                self._singly = True
            for features, ratios, dynamics in self._frames[frames]:
                self._student.run(features, ratios, dynamics)
            return
        self._leave_student()
        self._session.run_with_iobinding(self._bindings[frames][self._turn], self._options)
        self._turn = 1 - self._turn

    def _leave_student(self) -> None:
        """Let the graph's states be those of now."""
        if self._student is not None and self._singly:
            self._student.save(self._states[self._turn])
            self._singly = False

    def reset(self) -> None:
        """Back to how silence before the first sound leaves the states."""
        for turn in self._states:
            for array, settled in zip(turn, self._settled, strict=True):
                np.copyto(array, settled)
        if self._student is not None:
            self._student.load(self._states[self._turn])
            self._singly = True

    def warm_up(self, frames: int) -> None:
        """Run one of the bound sizes, so that no first run falls into the music."""
        for _ in range(2):
            self.run(frames)

    def settled(self, silence: Float32 | np.float32) -> list[Float32]:
        """The states that silence [features] leaves once it has filled all memory."""
        frames = max(self.features)
        self.features[frames][:] = silence
        for _ in range(2 + self._spec.receptive_field_frames // frames):
            self.run(frames)
        self._leave_student()
        return [array.copy() for array in self._states[self._turn]]

    def settle(self, states: Sequence[Float32]) -> None:
        """Begin, now and after each `reset`, from these states."""
        self._settled = list(states)
        self.reset()


def _check_spec(spec: ModelSpec, name: str) -> None:
    if spec.kind not in LAWS:
        raise DuendeError(f"{name}: model kind {spec.kind!r}, this version plays {' and '.join(LAWS)}")
    if spec.law != LAWS[spec.kind]:
        raise DuendeError(f"{name}: gain law {spec.law!r}, this version knows {LAWS[spec.kind]!r} for a {spec.kind}")
    sizes = StftSizes(*_sizes(spec, name))
    if spec.kind == "mixer":
        _check_mixer(spec, name)
    else:
        _check_texture(spec, name)
    if spec.precision not in PRECISIONS:
        raise DuendeError(f"{name}: precision {spec.precision!r}, this version knows {', '.join(PRECISIONS)}")
    if not 1 <= len(spec.styles) <= 8:
        raise DuendeError(f"{name}: {len(spec.styles)} styles, allowed are 1 to 8")
    for place, control in enumerate(spec.controls):
        if control != AMOUNT or place:
            raise DuendeError(f"{name}: control {control.name!r}: this version knows only 'amount', 0 to 1, once")
    for place, style in enumerate(spec.styles):
        # It becomes a parameter and part of an OSC address.
        if not STYLE_NAME.fullmatch(style) or style in RESERVED_STYLES or style in spec.styles[:place]:
            raise DuendeError(
                f"{name}: style {style!r} cannot be a parameter: names must be unique, 1 to 63 characters without "
                f"spaces or any of #*,/?[]{{}}, and none of {', '.join(RESERVED_STYLES)}"
            )
    if spec.sample_rate not in SAMPLE_RATES:
        raise DuendeError(f"{name}: sample_rate {spec.sample_rate:g} Hz, allowed are 44100 and 48000")
    if not 1 <= spec.receptive_field_frames <= MAX_FIELD_FRAMES:
        raise DuendeError(
            f"{name}: receptive_field_frames {spec.receptive_field_frames}: allowed are 1 to {MAX_FIELD_FRAMES}"
        )
    if spec.latency_samples != sizes.latency_samples:
        raise DuendeError(f"{name}: latency_samples {spec.latency_samples}, its windows give {sizes.latency_samples}")


def _check_mixer(spec: ModelSpec, name: str) -> None:
    if [known for known in NAMES if known in spec.excitations] != spec.excitations or "dry@1" not in spec.excitations:
        raise DuendeError(
            f"{name}: excitations {spec.excitations}: needs 'dry@1' and knows {', '.join(NAMES)}, in this order"
        )
    if not 8 <= spec.bands <= 128:
        raise DuendeError(f"{name}: {spec.bands} bands, allowed are 8 to 128")
    if not (2 <= spec.body_points <= 65536 and 18000.0 <= spec.body_top_hz <= 24000.0):
        raise DuendeError(f"{name}: body of {spec.body_points} points up to {spec.body_top_hz:g} Hz does not fit")


def _check_texture(spec: ModelSpec, name: str) -> None:
    if spec.excitations != list(SOURCES):
        raise DuendeError(f"{name}: excitations {spec.excitations}: a texture has {', '.join(SOURCES)}, in this order")
    if spec.bands != TEXTURE_SIZES.bins:
        raise DuendeError(f"{name}: {spec.bands} bands, its windows give {TEXTURE_SIZES.bins} bins")
    if spec.body_points or spec.body_top_hz:
        raise DuendeError(f"{name}: body of {spec.body_points} points: a texture has none")


def _sizes(spec: ModelSpec, name: str) -> tuple[int, int, int]:
    sizes = (spec.sizes.analysis, spec.sizes.synthesis, spec.sizes.hop)
    known_sizes = (DEFAULT_SIZES, SMALL_SIZES) if spec.kind == "mixer" else (TEXTURE_SIZES,)
    known = [(s.analysis, s.synthesis, s.hop) for s in known_sizes]
    if sizes not in known:
        raise DuendeError(f"{name}: sizes {sizes}, this version knows {known}")
    return sizes


def _check_interface(model: "onnx.ModelProto", spec: ModelSpec, name: str) -> None:
    """Names, element types and shapes of the graph's inputs and outputs against the spec."""
    excitations, bands = len(spec.excitations), spec.bands
    inputs: dict[str, list[int | None]] = {
        "features": [None, None, features_of(spec)],
        "style": [len(spec.styles)],
    }
    if spec.trained_amount:
        inputs["amount"] = [1]
    outputs: dict[str, list[int | None]] = {
        "ratios": [None, None, excitations, bands],
        "dynamics": [None, None, 2],
    }
    if spec.kind == "mixer":
        outputs["body"] = [spec.body_points]
    memory = 0
    for state in spec.states:
        check_state(state.name, state.shape, name)
        memory += math.prod(state.shape)
        if memory > MAX_MEMORY:
            raise DuendeError(f"{name}: states of {memory} numbers in all, allowed are {MAX_MEMORY}")
        inputs[state.name] = [None, *state.shape]
        outputs[f"{state.name}_next"] = [None, *state.shape]
    check_tensors("input", model.graph.input, inputs, name)
    check_tensors("output", model.graph.output, outputs, name)
