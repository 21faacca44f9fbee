"""The texture student as an ONNX graph, written node by node from its weights. Needs onnx and numpy, not torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from ...engine.spec import State
from ...engine.texture import FEATURE_SCALE, POWER_FLOOR
from ..graph import KERNEL, Block, Builder, Port, add_block

Float32 = npt.NDArray[np.float32]

INPUT_FLOOR = float(0.5 * np.log(POWER_FLOOR))


@dataclass
class Weights:
    """All weights of a texture student; shapes as in `Block`, and:

    first [bins + 1, width], first_bias [width]; select [width, templates] and select_base [styles, templates], whose
    softmax mixes templates [styles, templates, 2, bins], log magnitudes of tone and noise, and template_swing [styles,
    templates], their levels; tone [width, bins], hiss [width, bands], swing [width, 1] move them, bounded in nepers;
    draw [bands, bins] draws log gains of bands to bins; gamma and level [styles].
    """

    first: Float32
    first_bias: Float32
    blocks: Sequence[Block]
    tone: Float32
    hiss: Float32
    swing: Float32
    draw: Float32
    select: Float32
    select_base: Float32
    templates: Float32
    template_swing: Float32
    gamma: Float32
    level: Float32
    tone_bound: float
    hiss_bound: float
    swing_bound: float


def states(weights: Weights) -> list[State]:
    """The tensors that the graph carries from run to run, in order."""
    width = weights.first.shape[1]
    return [
        State(f"past_{index}", [(KERNEL - 1) * block.dilation, width]) for index, block in enumerate(weights.blocks)
    ]


def receptive_field(weights: Weights) -> int:
    """Frames that an answer depends on, itself included."""
    return 1 + (KERNEL - 1) * sum(block.dilation for block in weights.blocks)


def build_graph(weights: Weights) -> onnx.ModelProto:
    """The student's graph without metadata; inputs and outputs as `engine.model` checks them."""
    build = Builder()
    bins = weights.tone.shape[1]
    style_row = build.node("Unsqueeze", ["style", build.constant("axis0", [0], np.int64)], "style_row")

    hidden = build.node("MatMul", ["features", build.constant("first", weights.first)], "in_product")
    hidden = build.node("Add", [hidden, build.constant("first_bias", weights.first_bias)], "in_biased")
    hidden = build.node("Relu", [hidden], "hidden")
    for index, block in enumerate(weights.blocks):
        hidden = add_block(build, block, hidden, style_row, index)

    tone = _moves(build, hidden, weights.tone, weights.tone_bound, "tone")
    hiss = _moves(build, hidden, weights.hiss, weights.hiss_bound, "hiss")
    hiss = build.node("MatMul", [hiss, build.constant("draw", weights.draw)], "hiss_drawn")
    bases = _bases(build, hidden, style_row, weights)
    moved = [
        build.node("Add", [moves, base], f"{base}_moved") for moves, base in zip((tone, hiss), bases[:2], strict=True)
    ]
    faded = _fade(build, moved[0], moved[1])
    axis = build.constant("axis2", [2], np.int64)
    rows = [build.node("Unsqueeze", [part, axis], f"{part}_row") for part in faded]
    build.node("Concat", rows, "ratios", axis=2)

    swing = _moves(build, hidden, weights.swing, weights.swing_bound, "swing")
    level = build.node("MatMul", [style_row, build.constant("levels", weights.level.reshape(-1, 1))], "level")
    gamma = build.node("MatMul", [style_row, build.constant("gammas", weights.gamma.reshape(-1, 1))], "gamma")
    still = build.node("Mul", [swing, build.constant("zero", 0.0)], "swing_zero")
    swung = build.node("Add", [build.node("Add", [swing, bases[2]], "swing_based"), level], "swing_level")
    build.node("Concat", [swung, build.node("Add", [still, gamma], "gamma_frames")], "dynamics", axis=2)

    inputs: list[Port] = [
        ("features", ["channels", "frames", bins + 1]),
        ("style", [len(weights.gamma)]),
        ("amount", [1]),
    ]
    outputs: list[Port] = [("ratios", ["channels", "frames", 2, bins]), ("dynamics", ["channels", "frames", 2])]
    return build.model(inputs, outputs, states(weights))


def _moves(build: Builder, hidden: str, matrix: Float32, bound: float, name: str) -> str:
    """bound tanh(hidden @ matrix / bound)."""
    raw = build.node("MatMul", [hidden, build.constant(f"{name}_out", matrix / np.float32(bound))], f"{name}_raw")
    inner = build.node("Tanh", [raw], f"{name}_tanh")
    return build.node("Mul", [inner, build.constant(f"{name}_bound", bound)], f"{name}_moves")


def _bases(build: Builder, hidden: str, style_row: str, weights: Weights) -> list[str]:
    """Log magnitudes of tone and noise, and the level, that a softmax mixes from the styles' templates."""
    styles, count, _, bins = weights.templates.shape
    chosen = build.node("MatMul", [hidden, build.constant("select", weights.select)], "select_raw")
    row = build.node("MatMul", [style_row, build.constant("select_bases", weights.select_base)], "select_base")
    shares = build.node("Softmax", [build.node("Add", [chosen, row], "selected")], "shares", axis=-1)
    rows = np.concatenate([weights.templates.reshape(styles, count, -1), weights.template_swing[..., None]], axis=2)
    mixed = build.node("MatMul", [style_row, build.constant("template_rows", rows.reshape(styles, -1))], "template_row")
    shape = build.constant("template_shape", [count, 2 * bins + 1], np.int64)
    table = build.node("Reshape", [mixed, shape], "templates")
    whole = build.node("MatMul", [shares, table], "template_mix")
    cuts = ((0, bins, "tone_base"), (bins, -1, "hiss_base"), (-1, None, "swing_base"))
    return [build.slice(whole, start, end, 2, name) for start, end, name in cuts]


def _fade(build: Builder, tone: str, hiss: str) -> list[str]:
    """Towards amount 0 the tone's log magnitudes become the input's, and the noise fades out.

    tone <- a tone + (1 - a) input, hiss <- hiss + log(a + 1e-4).
    """
    bins = build.slice("features", 0, -1, 2, "input_features")
    scaled = build.node("Mul", [bins, build.constant("input_scale", FEATURE_SCALE)], "input_scaled")
    seen = build.node("Add", [scaled, build.constant("input_floor", INPUT_FLOOR)], "input_log")
    rest = build.node("Sub", [build.constant("one", 1.0), "amount"], "rest")
    whole = build.node("Mul", [tone, "amount"], "tone_share")
    kept = build.node("Mul", [seen, rest], "input_share")
    faded = build.node("Add", ["amount", build.constant("least_hiss", 1e-4)], "hiss_amount")
    return [
        build.node("Add", [whole, kept], "tone_faded"),
        build.node("Add", [hiss, build.node("Log", [faded], "hiss_log")], "hiss_faded"),
    ]
