"""What every model file goes through before anything in it is run: its size, its graph, its tensors, its session."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from .. import DuendeError
from .spec import METADATA_KEY, OPSET

Float32 = npt.NDArray[np.float32]

MAX_BYTES = 64 * 2**20


def read_bytes(path: Path) -> bytes:
    """A file of at most MAX_BYTES; DuendeError where it is larger or cannot be read."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DuendeError(f"{path.name}: {size / 2**20:.0f} MiB, models may have {MAX_BYTES / 2**20:.0f} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DuendeError(f"cannot read the model {path}: {error.strerror or error}") from error


def parse(data: bytes, name: str) -> tuple[onnx.ModelProto, str]:
    """Graph and spec text of a model file; DuendeError where it is no such file."""
    try:
        graph = onnx.load_model_from_string(data)
    except Exception as error:
        raise DuendeError(f"{name}: not an ONNX file, or cut short") from error
    texts = [entry.value for entry in graph.metadata_props if entry.key == METADATA_KEY]
    if not graph.graph.node:
        raise DuendeError(f"{name}: not an ONNX file, or cut short")
    if len(texts) != 1:
        raise DuendeError(f"{name}: no metadata {METADATA_KEY!r}: not a duende model (amp captures: duende import)")
    return graph, texts[0]


def check_graph(model: onnx.ModelProto, allowed: Collection[str], name: str) -> None:
    """Refuse what a model has no need of: foreign operators, functions, control flow, data in other files."""
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            raise DuendeError(f"{name}: operators of the foreign domain {opset.domain!r}")
        if opset.version != OPSET:
            raise DuendeError(f"{name}: opset {opset.version}, models are written in opset {OPSET}")
    if model.functions:
        raise DuendeError(f"{name}: defines a function ({model.functions[0].name}); models may not")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in allowed:
            raise DuendeError(f"{name}: operator {node.domain or 'ai.onnx'}.{node.op_type} is not allowed in a model")
    tensors = list(model.graph.initializer)
    tensors += [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise DuendeError(f"{name}: tensor {tensor.name!r} keeps its data in another file; models are one file")
    if model.graph.sparse_initializer:
        raise DuendeError(f"{name}: sparse tensors are not allowed in a model")
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise DuendeError(f"{name}: not a valid graph: {first_line(error)}") from error


def check_tensors(
    label: str, values: Iterable[onnx.ValueInfoProto], wanted: Mapping[str, Sequence[int | None]], name: str
) -> None:
    """Names, element types and shapes of a graph's inputs or outputs (label) against those wanted; None: dynamic."""
    found = {value.name: value.type.tensor_type for value in values}
    if set(found) != set(wanted):
        odd = sorted(set(found) ^ set(wanted))
        raise DuendeError(f"{name}: {label}s of graph and spec differ: {', '.join(odd)}")
    for key, shape in wanted.items():
        tensor = found[key]
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if tensor.elem_type != onnx.TensorProto.FLOAT or dims != list(shape):
            raise DuendeError(f"{name}: {label} {key!r} has shape {dims}, the spec wants {list(shape)} of float32")


def check_state(state: str, shape: Sequence[int], name: str) -> None:
    """Refuse a carried tensor [channels, *shape] that is out of bounds."""
    if any(not 1 <= size <= 2**20 for size in shape) or int(np.prod(shape, dtype=object)) > 2**22:
        raise DuendeError(f"{name}: state {state!r} of shape {list(shape)} is out of bounds")


def runtime() -> Any:
    """The ONNX Runtime module; DuendeError where none is installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DuendeError(
            "no ONNX Runtime is installed: pip install 'duende[cpu]' (or 'duende[gpu]' for CUDA)"
        ) from error
    return onnxruntime


def make_session(data: bytes, name: str, providers: Sequence[str] = ("CPUExecutionProvider",), threads: int = 1) -> Any:
    """An ONNX Runtime session on so many threads, the calling one included; DuendeError where it refuses the graph."""
    module = runtime()
    options = module.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        return module.InferenceSession(data, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime raises classes of its own without a common base
        raise DuendeError(f"{name}: ONNX Runtime refuses the graph: {first_line(error)}") from error


def run_options() -> Any:
    """Options for `run_with_iobinding` that cost nothing to look up."""
    options = runtime().RunOptions()
    options.log_severity_level = 4
    # Its default; ONNX Runtime's Python side asks for it before every run, and is slow to learn that it is not set.
    options.add_run_config_entry("gpu_graph_id", "0")
    return options


def snr_db(reference: Float32, answer: Float32) -> float:
    """Signal-to-noise ratio of an answer against a reference of the same shape; -inf where it is no number."""
    wanted, got = reference.astype(np.float64), answer.astype(np.float64)
    error = float(np.sum((wanted - got) ** 2))
    power = float(np.sum(wanted**2))
    if not np.isfinite(error):
        return -np.inf
    if error == 0.0:
        return np.inf
    return float(10.0 * np.log10((power + 1e-30) / (error + 1e-30)))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
