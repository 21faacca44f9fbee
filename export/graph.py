"""The student as an ONNX graph, written node by node from its weights. Needs onnx and numpy, not torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..engine.mixer import feature_count
from ..engine.spec import METADATA_KEY, OPSET, ModelSpec, State
from ..engine.student import KERNEL as KERNEL

Float32 = npt.NDArray[np.float32]

Port = tuple[str, Sequence[str | int]]


@dataclass
class Block:
    """One residual block: depthwise causal convolution, FiLM, ReLU, two pointwise layers.

    taps [3, width], oldest first; into [width, width] and bias [width]; out [width, width]; scale and shift
    [styles, width] of the FiLM that a mix of styles selects, scale_rest and shift_rest [width] what they gain as the
    amount falls from 1 to 0; without those the graph is not told the amount.
    """

    taps: Float32
    into: Float32
    bias: Float32
    out: Float32
    scale: Float32
    shift: Float32
    dilation: int
    scale_rest: Float32 | None = None
    shift_rest: Float32 | None = None


@dataclass
class Weights:
    """All weights of a student; shapes as in `Block`, and:

    first [3, features, width], oldest tap first, first_bias [width]; last [width, excitations * bands + 1],
    last_bias the same; base [styles, excitations * bands]; gamma [styles]; level [styles], added to the swing;
    body [styles, points].
    """

    first: Float32
    first_bias: Float32
    blocks: Sequence[Block]
    last: Float32
    last_bias: Float32
    base: Float32
    gamma: Float32
    level: Float32
    body: Float32
    ratio_bound: float
    swing_bound: float


def states(weights: Weights, features: int) -> list[State]:
    """The tensors that the graph carries from run to run, in order."""
    width = weights.first.shape[2]
    carried = [State("past_features", [KERNEL - 1, features])]
    for index, block in enumerate(weights.blocks):
        carried.append(State(f"past_{index}", [(KERNEL - 1) * block.dilation, width]))
    return carried


def receptive_field(weights: Weights) -> int:
    """Frames that an answer depends on, itself included."""
    return 1 + (KERNEL - 1) * (1 + sum(block.dilation for block in weights.blocks))


class Builder:
    """Collects nodes and constants under names that are given once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, axis: int | None = None) -> str:
        attributes = {} if axis is None else {"axis": axis}
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, None, None, None, **attributes))
        return output

    def slice(self, source: str, start: int, end: int | None, axis: int, output: str) -> str:
        limit = np.iinfo(np.int64).max if end is None else end
        bounds = [
            self.constant(f"{output}_{part}", [value], np.int64)
            for part, value in (("start", start), ("end", limit), ("axis", axis))
        ]
        return self.node("Slice", [source, *bounds], output)

    def taps(self, past: str, now: str, dilation: int, prefix: str) -> list[str]:
        """Past and present joined: the three taps of a causal convolution, and the next past."""
        joined = self.node("Concat", [past, now], f"{prefix}_joined", axis=1)
        span = (KERNEL - 1) * dilation
        self.slice(joined, -span, None, 1, f"{past}_next")
        return [
            self.slice(joined, 0, -span, 1, f"{prefix}_tap0"),
            self.slice(joined, dilation, -dilation, 1, f"{prefix}_tap1"),
            now,
        ]

    def model(self, inputs: Sequence[Port], outputs: Sequence[Port], carried: Sequence[State]) -> onnx.ModelProto:
        """All nodes as a model with these inputs and outputs, and a pair of both for each carried state."""

        def value(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

        graph = helper.make_graph(
            self.nodes,
            "duende",
            [
                *(value(*port) for port in inputs),
                *(value(state.name, ["channels", *state.shape]) for state in carried),
            ],
            [
                *(value(*port) for port in outputs),
                *(value(f"{state.name}_next", ["channels", *state.shape]) for state in carried),
            ],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def build_graph(weights: Weights, excitations: int, bands: int) -> onnx.ModelProto:
    """The student's graph without metadata; inputs and outputs as `engine.model` checks them."""
    build = Builder()
    features = feature_count(bands)
    style_row = build.node("Unsqueeze", ["style", build.constant("axis0", [0], np.int64)], "style_row")
    told = any(block.scale_rest is not None or block.shift_rest is not None for block in weights.blocks)
    if told:
        build.node("Sub", [build.constant("one", [1.0]), "amount"], "rest")

    taps = build.taps("past_features", "features", 1, "in")
    terms = [
        build.node("MatMul", [tap, build.constant(f"first_{i}", weights.first[i])], f"in_{i}")
        for i, tap in enumerate(taps)
    ]
    total = build.node("Add", [build.node("Add", terms[:2], "in_01"), terms[2]], "in_sum")
    hidden = build.node("Add", [total, build.constant("first_bias", weights.first_bias)], "hidden")

    for index, block in enumerate(weights.blocks):
        hidden = add_block(build, block, hidden, style_row, index)

    answer = build.node("MatMul", [hidden, build.constant("last", weights.last)], "answer_raw")
    answer = build.node("Add", [answer, build.constant("last_bias", weights.last_bias)], "answer")
    columns = excitations * bands
    _ratios(build, build.slice(answer, 0, columns, 2, "answer_ratios"), weights, style_row, excitations, bands)
    _dynamics(build, build.slice(answer, columns, None, 2, "answer_swing"), weights, style_row)
    row = build.node("MatMul", [style_row, build.constant("bodies", weights.body)], "body_row")
    build.node("Squeeze", [row, "axis0"], "body")

    inputs: list[Port] = [("features", ["channels", "frames", features]), ("style", [len(weights.gamma)])]
    if told:
        inputs.append(("amount", [1]))
    outputs: list[Port] = [
        ("ratios", ["channels", "frames", excitations, bands]),
        ("dynamics", ["channels", "frames", 2]),
        ("body", [weights.body.shape[1]]),
    ]
    return build.model(inputs, outputs, states(weights, features))


def add_block(build: Builder, block: Block, hidden: str, style_row: str, index: int) -> str:
    """One residual block after hidden [channels, frames, width]; where it knows the amount, `rest` must be there."""
    name = f"b{index}"
    taps = build.taps(f"past_{index}", hidden, block.dilation, name)
    terms = [
        build.node("Mul", [tap, build.constant(f"{name}_tapw{i}", block.taps[i])], f"{name}_t{i}")
        for i, tap in enumerate(taps)
    ]
    mixed = build.node("Add", [build.node("Add", terms[:2], f"{name}_t01"), terms[2]], f"{name}_mixed")
    inner = build.node("MatMul", [mixed, build.constant(f"{name}_into", block.into)], f"{name}_in")
    inner = build.node("Add", [inner, build.constant(f"{name}_bias", block.bias)], f"{name}_biased")
    scale = _film(build, style_row, name, block.scale, block.scale_rest, "scale")
    shift = _film(build, style_row, name, block.shift, block.shift_rest, "shift")
    inner = build.node("Add", [build.node("Mul", [inner, scale], f"{name}_film"), shift], f"{name}_filmed")
    inner = build.node("Relu", [inner], f"{name}_relu")
    inner = build.node("MatMul", [inner, build.constant(f"{name}_out", block.out)], f"{name}_res")
    return build.node("Add", [hidden, inner], f"{name}_hidden")


def _film(build: Builder, style_row: str, block: str, rows: Float32, rest: Float32 | None, part: str) -> str:
    """Scale or shift [1, width] of a block for a mix of styles and an amount."""
    name = f"{block}_{part}"
    styles = build.node("MatMul", [style_row, build.constant(name, rows)], f"{name}s")
    if rest is None:
        return styles
    less = build.node("Mul", ["rest", build.constant(f"{name}_rest", rest)], f"{name}_less")
    return build.node("Add", [styles, less], f"{name}d")


def _bounded(build: Builder, source: str, bound: float, name: str) -> str:
    """bound tanh(source / bound)."""
    inner = build.node("Mul", [source, build.constant(f"{name}_in", 1.0 / bound)], f"{name}_div")
    inner = build.node("Tanh", [inner], f"{name}_tanh")
    return build.node("Mul", [inner, build.constant(f"{name}_bound", bound)], name)


def _ratios(build: Builder, raw: str, weights: Weights, style_row: str, excitations: int, bands: int) -> None:
    bounded = _bounded(build, raw, weights.ratio_bound, "ratio_moves")
    base = build.node("MatMul", [style_row, build.constant("bases", weights.base)], "base")
    flat = build.node("Add", [bounded, base], "ratios_flat")
    shape = build.constant("ratios_shape", [0, 0, excitations, bands], np.int64)
    build.node("Reshape", [flat, shape], "ratios")


def _dynamics(build: Builder, raw: str, weights: Weights, style_row: str) -> None:
    moves = _bounded(build, raw, weights.swing_bound, "swing_moves")
    level = build.node("MatMul", [style_row, build.constant("levels", weights.level.reshape(-1, 1))], "level")
    swing = build.node("Add", [moves, level], "swing")
    gamma = build.node("MatMul", [style_row, build.constant("gammas", weights.gamma.reshape(-1, 1))], "gamma")
    still = build.node("Mul", [swing, build.constant("zero", 0.0)], "swing_zero")
    build.node("Concat", [swing, build.node("Add", [still, gamma], "gamma_frames")], "dynamics", axis=2)


def save_graph(model: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """The file's bytes: graph and spec together."""
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    del complete.metadata_props[:]
    helper.set_model_props(complete, {METADATA_KEY: spec.encode()})
    return bytes(complete.SerializeToString())
