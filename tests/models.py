"""Tiny model files made on the spot, sound or hostile, through the very code that writes real ones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from duende.engine.excitation import NAMES, pre_emphasis
from duende.engine.mixer import feature_count
from duende.engine.model import SOURCES, TEXTURE_SIZES, Model, load_model
from duende.engine.spec import AMOUNT, METADATA_KEY, Golden, ModelSpec, Provenance, Sizes, State, Tensor
from duende.engine.stft import DEFAULT_SIZES, StftSizes
from duende.export.graph import Block, Weights, build_graph, receptive_field, save_graph, states
from duende.export.texture import graph as texture

Float32 = npt.NDArray[np.float32]

BANDS = 48
POINTS = 513
TOP_HZ = 24000.0
DRY_ONLY = (0.0, -60.0, -60.0, -60.0, -60.0)
MIXED = (0.0, -3.5, -2.5, -2.5, -2.5)


def de_emphasis_body(points: int = POINTS, cut_hz: float | None = None) -> Float32:
    """Natural-log magnitude [1, points] that undoes the pre-emphasis; above cut_hz it falls to -100 dB."""
    frequency = np.linspace(0.0, TOP_HZ, points)
    curve = -np.log(np.abs(1.0 - pre_emphasis(48000.0) * np.exp(-2j * np.pi * frequency / 48000.0)))
    if cut_hz is not None:
        fall = np.clip(np.log2(np.maximum(frequency, 1.0) / cut_hz) / 0.5, 0.0, 1.0)
        curve = curve - 11.5 * fall
    return np.asarray(curve[None], dtype=np.float32)


def _drawing(rng: np.random.Generator) -> Callable[..., Float32]:
    """Draws matrices of any shape that keep the size of what they multiply."""

    def draw(*shape: int) -> Float32:
        scale = np.sqrt(shape[-2]) if len(shape) > 1 else 1.0
        return np.asarray(rng.standard_normal(shape) / scale, dtype=np.float32)

    return draw


def _blocks(draw: Callable[..., Float32], width: int, styles: int, dilations: Sequence[int]) -> list[Block]:
    return [
        Block(
            taps=0.5 * draw(3, width),
            into=draw(width, width),
            bias=0.1 * draw(width),
            out=0.3 * draw(width, width),
            scale=1.0 + 0.1 * draw(styles, width),
            shift=0.1 * draw(styles, width),
            dilation=dilation,
        )
        for dilation in dilations
    ]


def tiny_weights(
    seed: int = 0,
    *,
    width: int = 16,
    bands: int = BANDS,
    excitations: int = len(NAMES),
    dilations: Sequence[int] = (1, 2),
    styles: int = 1,
    levels: Sequence[float] = MIXED,
    moves: float = 0.05,
    body: Float32 | None = None,
) -> Weights:
    """Seeded weights. levels: log gain of each excitation; moves: how far the network moves the gains."""
    rng = np.random.default_rng(seed)
    features = feature_count(bands)

    draw = _drawing(rng)
    blocks = _blocks(draw, width, styles, dilations)
    columns = excitations * bands
    base = np.repeat(np.asarray(levels[:excitations], dtype=np.float32), bands)[None].repeat(styles, axis=0)
    curves = de_emphasis_body() if body is None else body
    return Weights(
        first=draw(3, features, width),
        first_bias=0.1 * draw(width),
        blocks=blocks,
        last=moves * draw(width, columns + 1),
        last_bias=np.zeros(columns + 1, dtype=np.float32),
        base=base,
        gamma=np.ones(styles, dtype=np.float32),
        level=np.zeros(styles, dtype=np.float32),
        body=curves if len(curves) == styles else np.repeat(curves, styles, axis=0),
        ratio_bound=2.2,
        swing_bound=0.7,
    )


def answers(graph: onnx.ModelProto, carried: Sequence[State], features: Float32, style: Float32) -> list[Float32]:
    """What ONNX Runtime says to features from empty states: ratios and dynamics, the whole amount where it is asked."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    feeds = {"features": features, "style": style}
    feeds |= {state.name: np.zeros((1, *state.shape), dtype=np.float32) for state in carried}
    if any(one.name == "amount" for one in graph.graph.input):
        feeds["amount"] = np.ones(1, dtype=np.float32)
    return list(session.run(["ratios", "dynamics"], feeds))


def build(
    weights: Weights,
    *,
    bands: int = BANDS,
    excitations: Sequence[str] = NAMES,
    sizes: StftSizes = DEFAULT_SIZES,
    golden_features: Float32 | None = None,
) -> tuple[onnx.ModelProto, ModelSpec]:
    """Graph and spec that belong together; the golden pair is what ONNX Runtime answers."""
    graph = build_graph(weights, len(excitations), bands)
    features = feature_count(bands)
    carried = states(weights, features)
    styles = len(weights.gamma)
    if golden_features is None:
        golden_features = np.random.default_rng(1).standard_normal((1, 12, features)).astype(np.float32)
    style = np.full(styles, 1.0 / styles, dtype=np.float32)
    told = any(block.scale_rest is not None for block in weights.blocks)
    ratios, dynamics = answers(graph, carried, golden_features, style)
    spec = ModelSpec(
        format=1,
        kind="mixer",
        name="tiny",
        law="mixer@2",
        sample_rate=48000.0,
        sizes=Sizes(sizes.analysis, sizes.synthesis, sizes.hop),
        bands=bands,
        excitations=list(excitations),
        states=carried,
        controls=[AMOUNT] if told else [],
        styles=[f"style{index}" for index in range(styles)],
        body_points=weights.body.shape[1],
        body_top_hz=TOP_HZ,
        latency_samples=sizes.hop,
        receptive_field_frames=receptive_field(weights),
        provenance=Provenance([], "none", "none", {}, 0, 0, "tests", "2000-01-01"),
        quality={},
        golden=Golden(*(Tensor.pack(array) for array in (golden_features, style, ratios, dynamics))),
    )
    return graph, spec


def write_model(path: Path, weights: Weights | None = None, **options: Any) -> Path:
    """Write a model file (by default with all excitations and some network) and return its path."""
    graph, spec = build(tiny_weights() if weights is None else weights, **options)
    path.write_bytes(save_graph(graph, spec))
    return path


def tiny_model(folder: Path, weights: Weights | None = None, **options: Any) -> Model:
    """Write and load one."""
    return load_model(write_model(folder / "tiny.onnx", weights, **options))


def dry_model(folder: Path, **options: Any) -> Model:
    """Only the dry excitation, and next to no network: quick, and the plain guitar at amount 0."""
    weights = tiny_weights(width=4, excitations=1, dilations=(1,), levels=DRY_ONLY, moves=0.0)
    return tiny_model(folder, weights, excitations=("dry@1",), **options)


def dark_model(folder: Path, **options: Any) -> Model:
    """Dry sound through a body that lets nothing above 3 kHz through: a sine stays a sine at every amount."""
    body = de_emphasis_body(cut_hz=2000.0)
    weights = tiny_weights(width=4, excitations=1, dilations=(1,), levels=(0.0,), moves=0.0, body=body)
    return tiny_model(folder, weights, excitations=("dry@1",), **options)


def with_trained_amount(
    graph: onnx.ModelProto, spec: ModelSpec, golden_amount: float | None = None
) -> tuple[onnx.ModelProto, ModelSpec]:
    """The same model with an input `amount` that multiplies its ratios; golden_amount goes into the golden pair."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    changed.graph.input.append(helper.make_tensor_value_info("amount", TensorProto.FLOAT, [1]))
    last = next(node for node in changed.graph.node if "ratios" in node.output)
    last.output[0] = "ratios_whole"
    changed.graph.node.append(helper.make_node("Mul", ["ratios_whole", "amount"], ["ratios"]))
    golden = spec.golden
    if golden_amount is not None:
        ratios = np.float32(golden_amount) * golden.ratios.unpack()
        golden = msgspec.structs.replace(
            golden, ratios=Tensor.pack(ratios), amount=Tensor.pack(np.array([golden_amount], dtype=np.float32))
        )
    return changed, msgspec.structs.replace(spec, controls=[AMOUNT], golden=golden)


HOSTILE = ("huge ratios", "tiny ratios", "huge level", "not a number", "huge body", "body of no numbers")


def hostile_model(folder: Path, kind: str) -> Model:
    """A file that loads, golden pair and all, and misbehaves on sound; kind is one of HOSTILE."""
    weights = tiny_weights(width=4, dilations=(1,))
    silent = np.zeros((1, 4, feature_count(BANDS)), dtype=np.float32)
    if kind == "huge ratios":
        weights.base[:] = 1e30
    elif kind == "tiny ratios":
        weights.base[:] = -1e30
    elif kind == "huge level":
        weights.gamma[:] = 1e30
    elif kind == "not a number":
        # Infinite minus infinite as soon as there is sound; the golden pair knows only silence.
        weights.first[:] = np.where(weights.first > 0.0, 3e38, -3e38)
    elif kind == "huge body":
        weights.body[:] = 80.0
    elif kind == "body of no numbers":
        weights.body[:] = np.nan
    else:
        raise ValueError(kind)
    return tiny_model(folder, weights, golden_features=silent)


def tiny_texture_weights(
    seed: int = 0,
    *,
    width: int = 16,
    dilations: Sequence[int] = (1, 2),
    styles: int = 1,
    moves: float = 0.3,
    tone_hz: Sequence[float] = (220.0, 660.0, 1320.0, 3300.0),
    hiss: float = -3.0,
) -> texture.Weights:
    """Seeded weights. tone_hz: lines of the tone (style n: n + 1 times as high); hiss: log gain of the noise."""
    rng = np.random.default_rng(seed)
    bins = TEXTURE_SIZES.bins

    draw = _drawing(rng)
    blocks = _blocks(draw, width, styles, dilations)
    number = np.arange(bins)
    lines = np.full((styles, bins), 1e-4)
    for style in range(styles):
        for hz in tone_hz:
            place = hz * (style + 1) / 48000.0 * TEXTURE_SIZES.analysis
            # The main lobe of a Hann window is about a raised cosine of four bins.
            near = np.abs(number - place) < 2.0
            lines[style] += np.where(near, 0.5 + 0.5 * np.cos(0.5 * np.pi * (number - place)), 0.0)
    bands = 12
    both = np.stack([np.log(lines), np.full((styles, bins), hiss - 0.5 * np.log(bins))], axis=1)
    templates = np.stack([both, both - moves], axis=1).astype(np.float32)
    return texture.Weights(
        first=draw(bins + 1, width),
        first_bias=0.1 * draw(width),
        blocks=blocks,
        tone=moves * draw(width, bins),
        hiss=moves * draw(width, bands),
        swing=moves * draw(width, 1),
        draw=np.repeat(np.eye(bands), bins // bands + 1, axis=1)[:, :bins].astype(np.float32),
        select=moves * draw(width, 2),
        select_base=np.zeros((styles, 2), dtype=np.float32),
        templates=templates,
        template_swing=np.tile(np.array([0.0, -moves], dtype=np.float32), (styles, 1)),
        gamma=np.full(styles, 0.6, dtype=np.float32),
        level=np.zeros(styles, dtype=np.float32),
        tone_bound=4.0,
        hiss_bound=3.0,
        swing_bound=0.5,
    )


def build_texture(
    weights: texture.Weights, golden_features: Float32 | None = None
) -> tuple[onnx.ModelProto, ModelSpec]:
    """Graph and spec of a texture that belong together; the golden pair is what ONNX Runtime answers."""
    graph = texture.build_graph(weights)
    carried = texture.states(weights)
    styles = len(weights.gamma)
    if golden_features is None:
        golden_features = np.random.default_rng(1).random((1, 12, TEXTURE_SIZES.bins + 1)).astype(np.float32)
    style = np.full(styles, 1.0 / styles, dtype=np.float32)
    ratios, dynamics = answers(graph, carried, golden_features, style)
    sizes = TEXTURE_SIZES
    spec = ModelSpec(
        format=1,
        kind="texture",
        name="tiny",
        law="texture@1",
        sample_rate=48000.0,
        sizes=Sizes(sizes.analysis, sizes.synthesis, sizes.hop),
        bands=sizes.bins,
        excitations=list(SOURCES),
        states=carried,
        controls=[AMOUNT],
        styles=[f"style{index}" for index in range(styles)],
        body_points=0,
        body_top_hz=0.0,
        latency_samples=sizes.hop,
        receptive_field_frames=texture.receptive_field(weights),
        provenance=Provenance([], "none", "none", {}, 0, 0, "tests", "2000-01-01"),
        quality={},
        golden=Golden(*(Tensor.pack(array) for array in (golden_features, style, ratios, dynamics))),
    )
    return graph, spec


def tiny_texture(folder: Path, weights: texture.Weights | None = None, **options: Any) -> Model:
    """Write and load a texture."""
    graph, spec = build_texture(tiny_texture_weights() if weights is None else weights, **options)
    path = folder / "tiny.onnx"
    path.write_bytes(save_graph(graph, spec))
    return load_model(path)


def with_metadata(graph: onnx.ModelProto, text: str | None) -> bytes:
    """The file's bytes with another text, or none, under the metadata key."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    del changed.metadata_props[:]
    if text is not None:
        changed.metadata_props.add(key=METADATA_KEY, value=text)
    return bytes(changed.SerializeToString())
