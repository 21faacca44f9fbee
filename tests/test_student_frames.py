"""A student frame by frame: the same as its graph, which is kept to wherever it might not be."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import helper, numpy_helper

from duende.engine.excitation import NAMES
from duende.engine.model import features_of, load_model
from duende.engine.spec import PRECISIONS, Tensor
from duende.engine.student import MOST_BLOCKS
from duende.export.graph import save_graph
from duende.export.precision import convert
from models import answers, build, tiny_texture, tiny_texture_weights, tiny_weights, write_model
from signals import snr_db


def _family(folder: Path) -> Path:
    """Three styles that move with the amount, two excitations."""
    weights = tiny_weights(styles=3, dilations=(1, 4, 2), excitations=2, moves=0.5)
    for block in weights.blocks:
        block.scale_rest = np.linspace(-0.5, 0.5, len(block.bias), dtype=np.float32)
        block.shift_rest = np.linspace(0.3, -0.3, len(block.bias), dtype=np.float32)
    weights.gamma[:], weights.level[:] = (0.5, 1.0, 1.3), (0.1, -0.2, 0.3)
    return write_model(folder / "family.onnx", weights, excitations=NAMES[:2])


def _textures(folder: Path) -> Path:
    weights = tiny_texture_weights(styles=3)
    weights.gamma[:], weights.level[:] = (0.5, 1.0, 1.3), (0.1, -0.2, 0.3)
    return tiny_texture(folder, weights).path


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("make", [_family, _textures])
def test_single_frames_are_what_the_graph_says(
    make: Callable[[Path], Path], precision: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Numbers of frames, styles and amounts change, and both ways of computing take over from each other."""
    path = make(tmp_path)
    path.write_bytes(convert(path.read_bytes(), precision))
    quick, plain = load_model(path), load_model(path, threads=2)
    assert quick._student is not None
    assert plain._student is None
    features = features_of(quick.spec)
    silence = rng.standard_normal(features).astype(np.float32)
    one, other = (model.start(1, [1, 2, 4], silence) for model in (quick, plain))
    for turn in range(2):
        for place, frames in enumerate([1, 1, 4, 2, 1, 4, 4, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1]):
            heard = rng.standard_normal((1, frames, features)).astype(np.float32)
            for stream in (one, other):
                if place % 3 == 0:
                    stream.style[:] = np.roll([0.7, 0.3, 0.0], place + turn)
                stream.amount[0] = 1.0 - 0.04 * (place // 2)
                stream.features[frames][:] = heard
                stream.run(frames)
            assert snr_db(other.ratios[frames], one.ratios[frames]) > 110.0
            assert snr_db(other.dynamics[frames], one.dynamics[frames]) > 110.0
        one.reset()
        other.reset()


@pytest.mark.parametrize(
    "change",
    [
        "another activation",
        "one more node",
        "another name",
        "another shape",
        "many blocks",
        "no block",
    ],
)
def test_what_is_made_otherwise_keeps_to_its_graph(change: str, tmp_path: Path, rng: np.random.Generator) -> None:
    blocks = {"many blocks": MOST_BLOCKS + 1, "no block": 0}.get(change, 2)
    graph, spec = build(tiny_weights(dilations=(1,) * blocks))
    nodes = graph.graph.node
    if change == "another activation":
        next(node for node in nodes if node.op_type == "Relu").op_type = "Tanh"
    elif change == "one more node":
        last = next(node for node in nodes if "ratios" in node.output)
        last.output[0] = "nearly"
        nodes.append(helper.make_node("Tanh", ["nearly"], ["ratios"]))
    elif change == "another name":
        for node in nodes:
            node.input[:] = ["mine" if name == "b1_into" else name for name in node.input]
        next(one for one in graph.graph.initializer if one.name == "b1_into").name = "mine"
    elif change == "another shape":
        bias = next(one for one in graph.graph.initializer if one.name == "b0_bias")
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias)[None], bias.name))
    path = tmp_path / "other.onnx"
    features, style = spec.golden.features.unpack(), spec.golden.style.unpack()
    ratios, dynamics = (Tensor.pack(one) for one in answers(graph, spec.states, features, style))
    golden = msgspec.structs.replace(spec.golden, ratios=ratios, dynamics=dynamics)
    path.write_bytes(save_graph(graph, msgspec.structs.replace(spec, golden=golden)))
    model = load_model(path)
    assert model._student is None
    stream = model.start(1, [1])
    stream.features[1][:] = rng.standard_normal(stream.features[1].shape)
    stream.run(1)
    assert np.isfinite(stream.ratios[1]).all()
