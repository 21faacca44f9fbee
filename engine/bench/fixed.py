"""A graph run with one shape of each input, on buffers that stay where they are: what a CUDA graph asks for.

CUDA replays what it has captured on the same addresses. The states take turns between two sets, so that two graphs are
captured, one for each turn (ONNX Runtime's `gpu_graph_id`). On the CPU the same code runs without one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ..graph_check import first_line, read_bytes, runtime
from ..model import PROVIDERS, Model, features_of, load_model
from ..spec import ModelSpec

Float32 = npt.NDArray[np.float32]

GRAPH_PROVIDERS = ("cuda",)
"""Providers whose sessions can keep two CUDA graphs apart."""


def open_session(
    data: bytes,
    name: str,
    provider: str = "cpu",
    threads: int = 1,
    *,
    cuda_graph: bool = False,
    half: bool = False,
    dimensions: Mapping[str, int] | None = None,
) -> Any:
    """A session on one provider alone, and on the CPU for what it cannot do unless a CUDA graph is captured.

    half: let TensorRT compute in float16. dimensions: sizes of the graph's named dimensions. DuendeError where the
    provider is not to be had: a benchmark must not measure another one.
    """
    module = runtime()
    options = module.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    for dimension, size in (dimensions or {}).items():
        options.add_free_dimension_override_by_name(dimension, size)
    wanted = PROVIDERS[provider]
    asked: list[Any] = [wanted]
    if cuda_graph:
        asked = [(wanted, {"enable_cuda_graph": "1"})]
    elif provider != "cpu":
        asked = [(wanted, {"trt_fp16_enable": "1"}) if half and provider == "tensorrt" else wanted, PROVIDERS["cpu"]]
    try:
        session = module.InferenceSession(data, options, providers=asked)
    except Exception as error:  # ONNX Runtime raises classes of its own without a common base
        raise DuendeError(f"{name}: {provider} refuses the graph: {first_line(error)}") from error
    if wanted not in session.get_providers():
        raise DuendeError(f"{provider} could not be started")
    return session


class FixedStream:
    """A session with its buffers bound once. `inputs` and `outputs` [by name] are float32 arrays on the host.

    On a graphics card `run` takes the inputs there and the outputs back; states stay there.
    """

    def __init__(
        self,
        session: Any,
        inputs: Mapping[str, Float32],
        outputs: Mapping[str, Sequence[int]],
        states: Mapping[str, Float32],
        *,
        place: str = "cpu",
        cuda_graph: bool = False,
    ) -> None:
        """states: initial values by name; their next ones are the outputs NAME_next. place: "cpu" or "cuda"."""
        module = runtime()
        self._session, self._there = session, place != "cpu"
        self.inputs = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in inputs.items()}
        self.outputs = {name: np.zeros(shape, dtype=np.float32) for name, shape in outputs.items()}
        self._initial = {name: value.astype(np.float32) for name, value in states.items()}

        def wrap(array: Float32) -> Any:
            return module.OrtValue.ortvalue_from_numpy(array, place, 0)

        self._in = {name: wrap(array) for name, array in self.inputs.items()}
        self._out = {name: wrap(array) for name, array in self.outputs.items()}
        self._states = [{name: wrap(value.copy()) for name, value in self._initial.items()} for _ in range(2)]
        self._bindings, self._options = [], []
        for turn in range(2):
            binding = session.io_binding()
            for name, value in self._in.items():
                binding.bind_ortvalue_input(name, value)
            for name, value in self._out.items():
                binding.bind_ortvalue_output(name, value)
            for name, value in self._states[turn].items():
                binding.bind_ortvalue_input(name, value)
                binding.bind_ortvalue_output(f"{name}_next", self._states[1 - turn][name])
            options = module.RunOptions()
            options.log_severity_level = 4
            options.add_run_config_entry("gpu_graph_id", str(turn + 1) if cuda_graph else "0")
            self._bindings.append(binding)
            self._options.append(options)
        self._turn = 0

    def run(self) -> None:
        """One step."""
        if self._there:
            for name, value in self._in.items():
                value.update_inplace(self.inputs[name])
        self._session.run_with_iobinding(self._bindings[self._turn], self._options[self._turn])
        self._turn = 1 - self._turn
        if self._there:
            for name, value in self._out.items():
                np.copyto(self.outputs[name], value.numpy())

    def states(self) -> dict[str, Float32]:
        """The carried states as they are, copied."""
        return {name: np.array(value.numpy()) for name, value in self._states[self._turn].items()}

    def load(self, states: Mapping[str, Float32]) -> None:
        """Go on from these states."""
        for turn in self._states:
            for name, value in turn.items():
                value.update_inplace(np.ascontiguousarray(states[name]))


class FixedModel(Model):
    """A model played by sessions of one frame each, for CUDA graphs and for what else a session can be told."""

    def __init__(
        self, path: Path, provider: str, threads: int = 1, *, cuda_graph: bool = False, half: bool = False
    ) -> None:
        """The file is checked, golden pair and all, on the provider. DuendeError as `load_model` and `open_session`."""
        checked = load_model(path, provider)
        if checked.provider != provider:
            raise DuendeError(checked.notices[-1])
        data = read_bytes(path)
        super().__init__(path, data, provider, spec=checked.spec)
        self._data, self._threads, self._graph, self._half = data, threads, cuda_graph, half

    def start(self, channels: int, frame_counts: Sequence[int], silence: Float32 | None = None) -> "FixedModelStream":  # type: ignore[override]
        """As `Model.start`; frames are run one by one."""
        session = open_session(
            self._data,
            self.path.name,
            self.provider,
            self._threads,
            cuda_graph=self._graph,
            half=self._half,
            dimensions={"channels": channels, "frames": 1},
        )
        place = "cuda" if self._graph else "cpu"
        stream = FixedModelStream(session, self.spec, channels, frame_counts, place, cuda_graph=self._graph)
        stream.settle_on(silence)
        return stream


class FixedModelStream:
    """What a `ModelStream` is to a processor, over a `FixedStream` of one frame."""

    def __init__(
        self,
        session: Any,
        spec: ModelSpec,
        channels: int,
        frame_counts: Sequence[int],
        place: str,
        *,
        cuda_graph: bool,
    ) -> None:
        features = features_of(spec)
        excitations, bands = len(spec.excitations), spec.bands
        style, amount = np.zeros(len(spec.styles), dtype=np.float32), np.ones(1, dtype=np.float32)
        style[0] = 1.0
        inputs = {"features": np.zeros((channels, 1, features), dtype=np.float32), "style": style}
        if spec.trained_amount:
            inputs["amount"] = amount
        states = {
            state.name: np.full((channels, *state.shape), state.initial, dtype=np.float32) for state in spec.states
        }
        shapes = {"ratios": (channels, 1, excitations, bands), "dynamics": (channels, 1, 2)}
        self._fixed = FixedStream(session, inputs, shapes, states, place=place, cuda_graph=cuda_graph)
        self.style = self._fixed.inputs["style"]
        self.amount = self._fixed.inputs.get("amount", amount)
        self.features = {n: np.zeros((channels, n, features), dtype=np.float32) for n in set(frame_counts)}
        self.ratios = {n: np.zeros((channels, n, excitations, bands), dtype=np.float32) for n in set(frame_counts)}
        self.dynamics = {n: np.zeros((channels, n, 2), dtype=np.float32) for n in set(frame_counts)}
        self._receptive = spec.receptive_field_frames
        self._settled = states

    def run(self, frames: int) -> None:
        """Advance by features[frames]; the answer is in ratios[frames] and dynamics[frames]."""
        fixed = self._fixed
        for frame in range(frames):
            fixed.inputs["features"][:, 0] = self.features[frames][:, frame]
            fixed.run()
            self.ratios[frames][:, frame] = fixed.outputs["ratios"][:, 0]
            self.dynamics[frames][:, frame] = fixed.outputs["dynamics"][:, 0]

    def reset(self) -> None:
        """Back to how silence before the first sound leaves the states."""
        self._fixed.load(self._settled)

    def settle_on(self, silence: Float32 | None) -> None:
        """Begin from the states that this input [features] leaves; zeros if left out."""
        self._fixed.inputs["features"][:] = 0.0 if silence is None else silence
        for _ in range(4 + self._receptive):
            self._fixed.run()
        self._settled = self._fixed.states()
        self.reset()
