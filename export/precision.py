"""Smaller model files: the large weights in 16 or 8 bits, all else in float32, refused where the answer suffers."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .. import DuendeError
from ..engine.graph_check import snr_db
from ..engine.model import REDUCED_SNR_DB
from ..engine.spec import METADATA_KEY, PRECISIONS, Tensor

Float32 = npt.NDArray[np.float32]

SMALLEST = 1024
"""Weights with fewer elements stay as they are: nothing would be saved."""

_CONTROLS = ("style", "amount")
_Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def to_float16(data: bytes) -> bytes:
    """A model file with its large weights in float16, half the size.

    data: a float32 model file that `engine.model.load_model` accepts. A Cast brings each weight back to float32, once,
    when the session is made: ONNX Runtime's CPU kernels have no float16 product on most machines, and so a hop costs
    what it did. Inputs, outputs, states, biases, FiLM and bodies stay float32; the golden pair stays that of the
    float32 file. DuendeError where the answer to it falls under 40 dB, or where data is no such file.
    """
    return convert(data, "float16")


def to_int8(data: bytes) -> bytes:
    """A model file with its large weights as int8, symmetric, one scale per output channel; a quarter of the size.

    As `to_float16`, with a Cast and a Mul. Not DequantizeLinear: ONNX Runtime joins it with the product that follows
    into one that rounds the activations to 8 bits, too, which is no faster here and costs 3 dB.
    """
    return convert(data, "int8")


def convert(data: bytes, precision: str) -> bytes:
    """The model file at a precision of PRECISIONS; the same file where it is that already. Errors as `to_float16`."""
    if precision not in PRECISIONS:
        raise DuendeError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    model, spec = _open(data)
    found = spec.get("precision", PRECISIONS[0])
    if found == precision:
        return data
    if found != PRECISIONS[0]:
        raise DuendeError(f"the model is in {found} already: make {precision} from the float32 file")
    names = _large_weights(model.graph)
    if not names:
        raise DuendeError(f"the model has no weights of {SMALLEST} or more elements: {precision} would save nothing")
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in names}
    nodes: list[onnx.NodeProto] = []
    for name, axis in names.items():
        model.graph.initializer.remove(weights[name])
        values = numpy_helper.to_array(weights[name])
        stored, back = _half(name, values) if precision == "float16" else _eight_bits(name, values, axis)
        model.graph.initializer.extend(stored)
        nodes += back
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    del model.metadata_props[:]
    text = msgspec.json.encode(spec | {"precision": precision}).decode("utf-8")
    helper.set_model_props(model, {METADATA_KEY: text})
    result = bytes(model.SerializeToString())
    ratio = golden_snr_db(result)
    if not ratio >= REDUCED_SNR_DB:
        raise DuendeError(
            f"in {precision} the model answers {ratio:.1f} dB like the original, {REDUCED_SNR_DB:g} dB are needed: "
            f"keep it in {'float16 or ' if precision == 'int8' else ''}float32"
        )
    return result


def golden_snr_db(data: bytes) -> float:
    """How well a model file answers its golden pair on the CPU: the lowest SNR of its outputs, dB."""
    import onnxruntime

    model, spec = _open(data)
    inputs = {value.name for value in model.graph.input}
    outputs = {value.name for value in model.graph.output}
    golden = {
        key: msgspec.convert(value, Tensor).unpack() for key, value in spec["golden"].items() if value is not None
    }
    feeds: dict[str, Float32] = {key: value for key, value in golden.items() if key in inputs}
    expected = {key: value for key, value in golden.items() if key in outputs}
    if "amount" in inputs:
        feeds.setdefault("amount", np.ones(1, dtype=np.float32))
    for state in spec["states"]:
        feeds[state["name"]] = np.full((1, *state["shape"]), state.get("initial", 0.0), dtype=np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        answers = session.run(list(expected), feeds)
    except Exception as error:  # ONNX Runtime raises classes of its own without a common base
        raise DuendeError(f"the model cannot be run: {str(error).splitlines()[0][:200]}") from error
    return min(snr_db(wanted, answer) for wanted, answer in zip(expected.values(), answers, strict=True))


def _open(data: bytes) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Graph and metadata; DuendeError unless data is a float32 model or one made here."""
    try:
        model = onnx.load_model_from_string(data)
        (text,) = (entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
        return model, msgspec.json.decode(text, type=dict[str, Any])
    except Exception as error:
        raise DuendeError("not a duende model file, or cut short") from error


def _large_weights(graph: onnx.GraphProto) -> dict[str, int]:
    """Names of the weights to store in fewer bits, and the axis of their output channels.

    Those that sound is multiplied with: what only style and amount select (FiLM, bodies, levels) is left out.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    heard = {value.name for value in graph.input} - set(_CONTROLS) - set(shapes)
    axes: dict[str, set[int | None]] = {}
    for node in graph.node:  # in topological order
        if heard.intersection(node.input):
            heard.update(node.output)
        for place, name in enumerate(node.input):
            if name in shapes:
                of_sound = node.input[0] in heard
                axes.setdefault(name, set()).add(_output_axis(node, place, len(shapes[name])) if of_sound else None)
    found: dict[str, int] = {}
    for name, uses in axes.items():
        axis = next(iter(uses))
        if len(uses) == 1 and axis is not None and np.prod(shapes[name]) >= SMALLEST:
            found[name] = axis
    return found


def _output_axis(node: onnx.NodeProto, place: int, rank: int) -> int | None:
    """The axis of a weight's output channels, None where an input in this place is no weight of a product."""
    if place != 1 or rank < 2:
        return None
    if node.op_type == "MatMul":
        return rank - 1
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return None


def _half(name: str, values: Float32) -> _Stored:
    with np.errstate(over="ignore"):  # an infinity misses the golden pair
        stored = numpy_helper.from_array(values.astype(np.float16), f"{name}_float16")
    return [stored], [helper.make_node("Cast", [stored.name], [name], name, to=TensorProto.FLOAT)]


def _eight_bits(name: str, values: Float32, axis: int) -> _Stored:
    others = tuple(number for number in range(values.ndim) if number != axis)
    scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), np.float32(1e-20)) / np.float32(127.0)
    levels = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    whole, factor, wide = f"{name}_int8", f"{name}_scale", f"{name}_levels"
    stored = [numpy_helper.from_array(levels, whole), numpy_helper.from_array(scale.astype(np.float32), factor)]
    cast = helper.make_node("Cast", [whole], [wide], wide, to=TensorProto.FLOAT)
    return stored, [cast, helper.make_node("Mul", [wide, factor], [name], name)]
