"""The ONNX graph of a student against the same student computed in float64 with numpy."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from duende.engine.mixer import feature_count
from duende.engine.model import ALLOWED_OPS
from duende.engine.spec import METADATA_KEY, OPSET, decode_spec
from duende.export.graph import KERNEL, Weights, build_graph, receptive_field, save_graph, states
from models import build, tiny_weights

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BANDS, EXCITATIONS = 8, 3
FEATURES = feature_count(BANDS)


def weights(styles: int = 2) -> Weights:
    return tiny_weights(bands=BANDS, excitations=EXCITATIONS, dilations=(1, 2, 4), styles=styles, moves=0.5)


def past(signal: Float64, samples: int) -> Float64:
    """The signal [frames, n], so many frames later, zeros first."""
    return np.concatenate([np.zeros((samples, signal.shape[1])), signal])[: len(signal)]


def student(given: Weights, features: Float64, style: Float64, amount: float = 1.0) -> tuple[Float64, Float64]:
    """Ratios [frames, excitations, bands] and dynamics [frames, 2] of one channel from silence."""
    hidden = given.first_bias + sum(past(features, KERNEL - 1 - i) @ given.first[i] for i in range(KERNEL))
    for block in given.blocks:
        taps = [past(hidden, (KERNEL - 1 - i) * block.dilation) * block.taps[i] for i in range(KERNEL)]
        inner = np.sum(taps, axis=0) @ block.into + block.bias
        scale, shift = style @ block.scale, style @ block.shift
        if block.scale_rest is not None and block.shift_rest is not None:
            scale, shift = scale + (1.0 - amount) * block.scale_rest, shift + (1.0 - amount) * block.shift_rest
        inner = inner * scale + shift
        hidden = hidden + np.maximum(inner, 0.0) @ block.out
    answer = hidden @ given.last + given.last_bias
    columns = EXCITATIONS * BANDS
    ratios = given.ratio_bound * np.tanh(answer[:, :columns] / given.ratio_bound) + style @ given.base
    swing = given.swing_bound * np.tanh(answer[:, columns:] / given.swing_bound)
    gamma = np.full_like(swing, style @ given.gamma)
    return ratios.reshape(-1, EXCITATIONS, BANDS), np.concatenate([swing, gamma], axis=1)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def run(given: Weights, features: Float32, style: Float32, frames: int) -> tuple[Float32, Float32]:
    """Features [channels, all, n] in runs of so many frames, the states carried."""
    ort = session(build_graph(given, EXCITATIONS, BANDS))
    carried = {
        state.name: np.zeros((len(features), *state.shape), dtype=np.float32) for state in states(given, FEATURES)
    }
    names = ["ratios", "dynamics", *(f"{name}_next" for name in carried)]
    parts = []
    for at in range(0, features.shape[1], frames):
        feeds = {"features": features[:, at : at + frames], "style": style} | carried
        ratios, dynamics, *after = ort.run(names, feeds)
        carried = dict(zip(carried, after, strict=True))
        parts.append((ratios, dynamics))
    return np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts], axis=1)


def test_the_amount_moves_the_conditioning(rng: np.random.Generator) -> None:
    given = weights()
    for block in given.blocks:
        rests = rng.normal(0.0, 0.5, (2, block.scale.shape[1])).astype(np.float32)
        block.scale_rest, block.shift_rest = rests
    features = rng.standard_normal((1, 20, FEATURES)).astype(np.float32)
    ort = session(build_graph(given, EXCITATIONS, BANDS))
    feeds = {state.name: np.zeros((1, *state.shape), dtype=np.float32) for state in states(given, FEATURES)}
    feeds |= {"features": features, "style": np.array([0.3, 0.7], dtype=np.float32)}
    answers = []
    for amount in (1.0, 0.4):
        (ratios,) = ort.run(["ratios"], feeds | {"amount": np.array([amount], dtype=np.float32)})
        wanted = student(given, features[0].astype(np.float64), np.array([0.3, 0.7]), amount)[0]
        assert np.abs(ratios[0] - wanted).max() <= 1e-4
        answers.append(ratios)
    assert np.abs(answers[0] - answers[1]).max() > 0.01


@pytest.mark.parametrize("frames", [1, 5, 40])
@pytest.mark.parametrize("style", [[1.0, 0.0], [0.3, 0.7]], ids=str)
def test_equals_numpy_however_frames_are_grouped(frames: int, style: list[float], rng: np.random.Generator) -> None:
    given = weights()
    features = rng.standard_normal((2, 40, FEATURES)).astype(np.float32)
    ratios, dynamics = run(given, features, np.array(style, dtype=np.float32), frames)
    for channel in range(2):
        wanted = student(given, features[channel].astype(np.float64), np.array(style))
        assert np.abs(ratios[channel] - wanted[0]).max() <= 1e-4
        assert np.abs(dynamics[channel] - wanted[1]).max() <= 1e-4


def test_the_receptive_field_is_where_answers_begin_and_end_to_depend(rng: np.random.Generator) -> None:
    given = weights(1)
    field = receptive_field(given)
    assert field == 1 + 2 * (1 + 1 + 2 + 4)
    features = rng.standard_normal((1, 40, FEATURES)).astype(np.float32)
    style = np.ones(1, dtype=np.float32)
    before, _ = run(given, features, style, 40)
    changed = features.copy()
    changed[0, 10] += 5.0
    moved = np.abs(run(given, changed, style, 40)[0] - before).max(axis=(0, 2, 3)) > 1e-6
    assert np.flatnonzero(moved).min() == 10, "causal"
    assert np.flatnonzero(moved).max() < 10 + field


def test_answers_are_bounded(rng: np.random.Generator) -> None:
    given = weights(1)
    features = (1e4 * rng.standard_normal((1, 20, FEATURES))).astype(np.float32)
    ratios, dynamics = run(given, features, np.ones(1, dtype=np.float32), 20)
    base = given.base.reshape(EXCITATIONS, BANDS)
    assert np.abs(ratios[0] - base).max() <= given.ratio_bound + 1e-5
    assert np.abs(dynamics[..., 0]).max() <= given.swing_bound + 1e-5


def test_the_body_is_the_mix_of_styles() -> None:
    given = weights()
    given.body[1] += 1.0
    ort = session(build_graph(given, EXCITATIONS, BANDS))
    feeds = {"features": np.zeros((1, 1, FEATURES), dtype=np.float32)}
    feeds |= {state.name: np.zeros((1, *state.shape), dtype=np.float32) for state in states(given, FEATURES)}
    style = np.array([0.25, 0.75], dtype=np.float32)
    assert np.abs(ort.run(["body"], feeds | {"style": style})[0] - style @ given.body).max() <= 1e-5


def test_states_have_the_order_and_shapes_that_the_graph_has() -> None:
    given = weights()
    graph = build_graph(given, EXCITATIONS, BANDS).graph
    carried = states(given, FEATURES)
    assert [state.name for state in carried] == ["past_features", "past_0", "past_1", "past_2"]
    assert [state.shape for state in carried] == [[2, FEATURES], [2, 16], [4, 16], [8, 16]]
    assert [value.name for value in graph.input] == ["features", "style", *(state.name for state in carried)]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)}
    for state in carried:
        assert shapes[state.name][1:] == shapes[f"{state.name}_next"][1:] == state.shape


def test_the_graph_is_valid_and_uses_what_the_engine_allows() -> None:
    model = build_graph(weights(), EXCITATIONS, BANDS)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= ALLOWED_OPS
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]


def test_the_file_holds_graph_and_spec_and_is_the_same_each_time() -> None:
    graph, spec = build(tiny_weights(width=4, dilations=(1,)))
    data = save_graph(graph, spec)
    assert data == save_graph(graph, spec)
    assert data == save_graph(onnx.load_model_from_string(data), spec), "an old spec is replaced"
    loaded = onnx.load_model_from_string(data)
    assert [entry.key for entry in loaded.metadata_props] == [METADATA_KEY]
    assert decode_spec(loaded.metadata_props[0].value, "x") == spec
    assert not graph.metadata_props, "the graph given stays as it is"
