"""What every model file goes through before anything in it is run: its size, its graph, its tensors, its session."""

import math
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .spec import METADATA_KEY, OPSET

if TYPE_CHECKING:
    import onnx

Float32 = npt.NDArray[np.float32]

MAX_BYTES = 64 * 2**20
MAX_STEPS = 65536
"""Frames or samples of a golden pair."""
MAX_VALUES = 2**26
"""Numbers that all nodes together may give while a golden pair is answered: 256 MiB."""
MAX_WORK = 2**32
"""Multiplications that it may take: about a second."""
SMALL_CONSTANT = 256
"""Constants up to so many numbers may be bounds and shapes of others."""


def read_bytes(path: Path) -> bytes:
    """A file of at most MAX_BYTES; DuendeError where it is larger or cannot be read."""
    try:
        size = path.stat().st_size
        if stat.S_ISFIFO(mode := path.stat().st_mode) or stat.S_ISCHR(mode):
            # It would be waited for, or never end.
            raise DuendeError(f"cannot read the model {path}: not a plain file")
        if size > MAX_BYTES:
            raise DuendeError(f"{path.name}: {size / 2**20:.0f} MiB, models may have {MAX_BYTES / 2**20:.0f} MiB")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DuendeError(f"cannot read the model {path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise DuendeError(f"{path.name}: it grew while it was read: models may have {MAX_BYTES / 2**20:.0f} MiB")
    return data


def parse(data: bytes, name: str) -> tuple["onnx.ModelProto", str]:
    """Graph and spec text of a model file; DuendeError where it is no such file."""
    import onnx

    try:
        graph = onnx.load_model_from_string(data)
    except Exception as error:
        raise DuendeError(f"{name}: not an ONNX file, or cut short") from error
    if not _is_text(graph):
        raise DuendeError(f"{name}: not an ONNX file, or damaged: a text in it is not UTF-8")
    texts = [entry.value for entry in graph.metadata_props if entry.key == METADATA_KEY]
    if not graph.graph.node:
        raise DuendeError(f"{name}: not an ONNX file, or cut short")
    if len(texts) != 1:
        raise _no_spec(name)
    return graph, texts[0]


def _is_text(value: Any) -> bool:
    """Whether all strings of a protobuf message are UTF-8: the parser lets others pass, to fail where they are read."""
    if not hasattr(value, "ListFields"):
        return isinstance(value, str)
    try:
        for field, values in value.ListFields():
            if field.type in (field.TYPE_MESSAGE, field.TYPE_STRING):
                single = isinstance(values, str | bytes) or hasattr(values, "ListFields")
                if not all(map(_is_text, [values] if single else values)):
                    return False
    except UnicodeDecodeError:
        return False
    return True


def check_graph(model: "onnx.ModelProto", allowed: Collection[str], name: str) -> None:
    """Refuse what a model has no need of: foreign operators, functions, control flow, data in other files."""
    import onnx

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
    for attribute in (attribute for node in model.graph.node for attribute in node.attribute):
        tensors += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise DuendeError(f"{name}: tensor {tensor.name!r} keeps its data in another file; models are one file")
        said, held = math.prod(tensor.dims), _held(tensor)
        if held is None:
            raise DuendeError(f"{name}: tensor {tensor.name!r} of {said} numbers is of a kind that models do not have")
        if said != held or any(size < 0 for size in tensor.dims):
            raise DuendeError(f"{name}: tensor {tensor.name!r} is said to have {said} numbers, and has {held:g}")
    if model.graph.sparse_initializer:
        raise DuendeError(f"{name}: sparse tensors are not allowed in a model")
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise DuendeError(f"{name}: not a valid graph: {first_line(error)}") from error


def _held(tensor: "onnx.TensorProto") -> float | None:
    """How many numbers a tensor holds; None: it is not of a kind that models are made of."""
    import onnx

    kind = onnx.TensorProto
    typed: dict[int, Any] = {
        kind.FLOAT: tensor.float_data, kind.DOUBLE: tensor.double_data, kind.INT64: tensor.int64_data,
        kind.INT32: tensor.int32_data, kind.INT8: tensor.int32_data, kind.UINT8: tensor.int32_data,
        kind.BOOL: tensor.int32_data, kind.FLOAT16: tensor.int32_data,
    }  # fmt: skip
    if tensor.data_type not in typed:
        return None
    if not tensor.HasField("raw_data"):
        return len(typed[tensor.data_type])
    return len(tensor.raw_data) / onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def check_tensors(
    label: str, values: Iterable["onnx.ValueInfoProto"], wanted: Mapping[str, Sequence[int | None]], name: str
) -> None:
    """Names, element types and shapes of a graph's inputs or outputs (label) against those wanted; None: dynamic."""
    import onnx

    found = {value.name: value.type.tensor_type for value in values}
    if set(found) != set(wanted):
        odd = sorted(set(found) ^ set(wanted))
        raise DuendeError(f"{name}: {label}s of graph and spec differ: {', '.join(odd)}")
    for key, shape in wanted.items():
        tensor = found[key]
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if tensor.elem_type != onnx.TensorProto.FLOAT or dims != list(shape):
            raise DuendeError(f"{name}: {label} {key!r} has shape {dims}, the spec wants {list(shape)} of float32")


def check_cost(model: "onnx.ModelProto", steps: int, name: str) -> None:
    """Refuse a graph that takes too much memory or time to answer a golden pair of so many frames or samples.

    The file's size is no bound: 30 nodes that each put something beside itself make a billion numbers of one.
    """
    import onnx

    if not 1 <= steps <= MAX_STEPS:
        raise DuendeError(
            f"{name}: the golden pair does not fit the graph: {steps} frames or samples, allowed are 1 to {MAX_STEPS}"
        )
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    try:
        inferred = onnx.shape_inference.infer_shapes(_skeleton(model, steps), strict_mode=True, data_prop=True)
    except Exception as error:
        raise DuendeError(f"{name}: the shapes of the graph do not fit: {first_line(error)}") from error
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            if all(dim.HasField("dim_value") for dim in dims):
                shapes[value.name] = [dim.dim_value for dim in dims]
    for value in model.graph.output:
        wanted = _at_steps(value, steps)
        if value.name not in shapes or shapes[value.name] != wanted:
            found = shapes.get(value.name, "none that can be told")
            raise DuendeError(f"{name}: output {value.name!r} is said to have shape {wanted}, and has {found}")
    values = work = 0
    for node in model.graph.node:
        for output in filter(None, node.output):
            if output not in shapes:
                raise DuendeError(f"{name}: the shape of {output!r} ({node.op_type}) cannot be told")
        made = sum(math.prod(shapes[output]) for output in filter(None, node.output))
        values += made
        work += _work(node, shapes, made)
        if values > MAX_VALUES or work > MAX_WORK:
            raise DuendeError(
                f"{name}: the graph makes {values} numbers by {work} multiplications up to {node.op_type} of "
                f"{next(iter(node.output), '')!r}: at most {MAX_VALUES} and {MAX_WORK} for its golden pair"
            )


def _skeleton(model: "onnx.ModelProto", steps: int) -> "onnx.ModelProto":
    """The graph for one channel and so many steps, without its weights."""
    import onnx

    plan = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    plan.graph.name = "plan"
    plan.graph.node.extend(model.graph.node)
    held = {tensor.name for tensor in model.graph.initializer}
    plan.graph.input.extend(value for value in model.graph.input if value.name not in held)
    for value in plan.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, _at_steps(value, steps), strict=True):
            dim.dim_value = size
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL_CONSTANT:
            plan.graph.initializer.append(tensor)
        else:
            plan.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for value in model.graph.output:
        plan.graph.output.append(onnx.ValueInfoProto(name=value.name, type=value.type))
        plan.graph.output[-1].type.tensor_type.ClearField("shape")
    return plan


def _at_steps(value: "onnx.ValueInfoProto", steps: int) -> list[int]:
    """A shape for one channel, its first axis, and so many steps wherever else it is dynamic."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else steps if place else 1 for place, dim in enumerate(dims)]


def _work(node: "onnx.NodeProto", shapes: Mapping[str, Sequence[int]], made: int) -> int:
    """About how many multiplications a node takes to make so many numbers."""
    known = [shapes.get(one, []) for one in node.input]
    if node.op_type == "Conv" and len(known) > 1:
        return made * math.prod(known[1][1:])
    if node.op_type in ("MatMul", "Gemm") and len(known) > 1:
        # Gemm may turn its factors round: the longer side then is a bound.
        return made * (max(known[0][-2:], default=1) if node.op_type == "Gemm" else (known[0] or [1])[-1])
    if node.op_type in ("LSTM", "GRU") and len(known) > 2:
        return math.prod(known[0][:2]) * (math.prod(known[1]) + math.prod(known[2]))
    return max([made, *map(math.prod, known)])


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


def spec_text(session: Any, name: str) -> str:
    """The spec of a model file, by its session; DuendeError where it has none."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise _no_spec(name)
    return str(text)


def _no_spec(name: str) -> DuendeError:
    return DuendeError(f"{name}: no metadata {METADATA_KEY!r}: not a duende model (amp captures: duende import)")


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
