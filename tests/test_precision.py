"""Reduced precision: smaller files that answer nearly alike, what must stay float32 does, and a bad one is refused."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from duende import DuendeError
from duende.engine.model import load_model
from duende.engine.spec import METADATA_KEY, Tensor
from duende.export.graph import save_graph
from duende.export.precision import convert, golden_snr_db, to_float16, to_int8
from models import build, build_texture, tiny_texture_weights, tiny_weights, with_metadata

Float32 = npt.NDArray[np.float32]

LARGE = {"first_0", "first_1", "first_2", "b0_into", "b0_out", "b1_into", "b1_out", "last"}


@pytest.fixture(scope="module")
def model() -> bytes:
    """Two styles, 48 channels: its products are large enough to be worth storing in fewer bits."""
    return save_graph(*build(tiny_weights(width=48, styles=2)))


def parse(data: bytes) -> tuple[onnx.ModelProto, dict[str, object]]:
    graph = onnx.load_model_from_string(data)
    (text,) = (entry.value for entry in graph.metadata_props if entry.key == METADATA_KEY)
    return graph, msgspec.json.decode(text)


def initialisers(data: bytes) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in parse(data)[0].graph.initializer}


def weights_size(data: bytes) -> int:
    return sum(len(tensor.raw_data) for tensor in initialisers(data).values())


def test_sixteen_bits_take_half_and_answer_alike(model: bytes) -> None:
    small = to_float16(model)
    kept = sum(len(tensor.raw_data) for name, tensor in initialisers(model).items() if name not in LARGE)
    assert weights_size(small) - kept == (weights_size(model) - kept) // 2
    assert 60.0 < golden_snr_db(small) < 120.0 < golden_snr_db(model)


def test_eight_bits_take_a_quarter_and_answer_nearly_alike(model: bytes) -> None:
    small = to_int8(model)
    kept = sum(len(tensor.raw_data) for name, tensor in initialisers(model).items() if name not in LARGE)
    assert weights_size(small) - kept < 0.28 * (weights_size(model) - kept)
    assert 40.0 <= golden_snr_db(small) < golden_snr_db(to_float16(model))


@pytest.mark.parametrize(("reduce", "suffix"), [(to_float16, "float16"), (to_int8, "int8")])
def test_only_what_sound_is_multiplied_with_changes(
    model: bytes, reduce: Callable[[bytes], bytes], suffix: str
) -> None:
    before, after = initialisers(model), initialisers(reduce(model))
    assert {name for name in before if name not in after} == LARGE
    assert all(after[name] == before[name] for name in before if name not in LARGE)
    assert {name for name in after if name.endswith(suffix)} == {f"{name}_{suffix}" for name in LARGE}
    graphs = [parse(data)[0].graph for data in (model, reduce(model))]
    assert graphs[0].input == graphs[1].input
    assert graphs[0].output == graphs[1].output
    onnx.checker.check_model(parse(reduce(model))[0])


def test_eight_bits_are_symmetric_with_one_scale_per_output_channel(model: bytes) -> None:
    before, after = initialisers(model), initialisers(to_int8(model))
    for name in LARGE:
        values = numpy_helper.to_array(before[name])
        levels, scale = (numpy_helper.to_array(after[f"{name}_{part}"]) for part in ("int8", "scale"))
        assert levels.dtype == np.int8
        assert scale.shape == (1, values.shape[1])
        assert np.abs(levels.astype(int)).max() == 127
        assert (np.abs(levels * scale - values) <= 0.5001 * scale).all()


def test_the_metadata_says_the_precision_and_keeps_the_rest(model: bytes) -> None:
    before, after = parse(model)[1], parse(to_int8(model))[1]
    assert after.pop("precision") == "int8"
    before.pop("precision", None)
    assert after == before


def test_the_answer_to_other_input_is_within_the_bound_too(model: bytes, rng: np.random.Generator) -> None:
    """Two hundred frames of another level than the golden pair's, another style, and the states that come out."""
    graph, spec = parse(model)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.graph.input}
    feeds: dict[str, Float32] = {
        name: np.zeros([size or 1 for size in shape], np.float32) for name, shape in shapes.items()
    }
    feeds["features"] = np.asarray(0.3 * rng.standard_normal((1, 200, shapes["features"][2])), dtype=np.float32)
    feeds["style"] = np.array([0.9, 0.1], dtype=np.float32)
    answers = []
    for data in (model, to_int8(model)):
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        answers.append(session.run(None, feeds))
    for wanted, got in zip(*answers, strict=True):
        error = np.sum((wanted.astype(np.float64) - got) ** 2)
        assert 10.0 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / (error + 1e-30)) > 35.0
    assert spec["name"] == "tiny"


def test_textures_shrink_alike() -> None:
    """What a style selects stays float32, and so do biases."""
    texture = save_graph(*build_texture(tiny_texture_weights(width=48, styles=2)))
    for reduce, bound in ((to_float16, 60.0), (to_int8, 40.0)):
        small = reduce(texture)
        assert golden_snr_db(small) > bound
        assert {"b0_scale", "b0_shift", "b0_bias"} <= set(initialisers(small))
        assert len(small) < len(texture)


@pytest.mark.parametrize(("reduce", "words"), [(to_float16, "float32"), (to_int8, "float16 or float32")])
def test_a_model_that_suffers_is_refused_in_one_line(reduce: Callable[[bytes], bytes], words: str) -> None:
    weights = tiny_weights(width=48, levels=(0.0,) * 5, moves=0.0)
    # Two huge weights that cancel for the golden features, whose first two columns are equal, but not once rounded.
    features = np.random.default_rng(1).standard_normal((1, 12, weights.first.shape[1])).astype(np.float32)
    features[:, :, 1] = features[:, :, 0]
    weights.first[:, 0] = 60001.0
    weights.first[:, 1] = -60047.0
    weights.last[:] = 1e-4
    data = save_graph(*build(weights, golden_features=features))
    with pytest.raises(
        DuendeError, match=rf"answers -?[\d.]+ dB like the original, 40 dB are needed: keep it in {words}"
    ) as caught:
        reduce(data)
    assert "\n" not in str(caught.value)


def test_gemm_and_conv_have_their_output_channels_elsewhere(rng: np.random.Generator) -> None:
    """A graph that a student may be made of, with every kind of product."""
    scales = {"conv": np.geomspace(1e-3, 1e-1, 64)[:, None, None], "gemm": np.geomspace(1e-2, 1.0, 40)[:, None]}
    scales["product"] = np.geomspace(1e-3, 1e3, 48)
    shapes = {"conv": (64, 32, 3), "gemm": (40, 64), "product": (40, 48)}
    weight = {"film": rng.standard_normal((2, 1024))}
    for name, scale in scales.items():
        # Whole numbers up to 127 times a scale for each output channel: exact in 8 bits, if the channels are the right.
        levels = rng.integers(-126, 127, shapes[name])
        levels[0] = levels[:, 0] = 127
        weight[name] = levels * scale
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weight.items()]
    constants.append(numpy_helper.from_array(np.array([-1, 64], dtype=np.int64), "flat"))
    nodes = [
        helper.make_node("Conv", ["features", "conv"], ["filtered"], pads=[1, 1]),
        helper.make_node("Transpose", ["filtered"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "flat"], ["rows"]),
        helper.make_node("Gemm", ["rows", "gemm"], ["mixed"], transB=1),
        helper.make_node("MatMul", ["mixed", "product"], ["ratios"]),
        helper.make_node("MatMul", ["style", "film"], ["body"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "any",
        [value("features", TensorProto.FLOAT, [1, 32, 7]), value("style", TensorProto.FLOAT, [2])],
        [value("ratios", TensorProto.FLOAT, [7, 48]), value("body", TensorProto.FLOAT, [1024])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    features = rng.standard_normal((1, 32, 7)).astype(np.float32)
    style = np.array([0.5, 0.5], dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (ratios,) = session.run(["ratios"], {"features": features, "style": style})
    golden = {"features": Tensor.pack(features), "style": Tensor.pack(style), "ratios": Tensor.pack(ratios)}
    helper.set_model_props(model, {METADATA_KEY: msgspec.json.encode({"states": [], "golden": golden}).decode()})
    after = initialisers(to_int8(model.SerializeToString()))
    sizes = {name: numpy_helper.to_array(after[f"{name}_scale"]).shape for name in ("conv", "gemm", "product")}
    assert sizes == {"conv": (64, 1, 1), "gemm": (40, 1), "product": (1, 48)}
    assert golden_snr_db(to_int8(model.SerializeToString())) > 100.0
    assert "film" in after


def test_what_cannot_be_converted_is_one_line(model: bytes) -> None:
    small = to_int8(model)
    assert convert(model, "float32") == model
    assert to_int8(small) == small
    for data, precision, words in (
        (small, "float16", "in int8 already: make float16 from the float32 file"),
        (model, "int4", "unknown precision 'int4': choose one of float32, float16, int8"),
        (b"RIFF", "int8", "not a duende model file"),
        (model[:2000], "int8", "not a duende model file"),
        (save_graph(*build(tiny_weights(width=4, dilations=(1,)))), "int8", "would save nothing"),
    ):
        with pytest.raises(DuendeError, match=words) as caught:
            convert(data, precision)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("reduce", "precision"), [(to_float16, "float16"), (to_int8, "int8")])
def test_the_engine_plays_it_at_40_db_and_float32_still_needs_90(
    model: bytes, tmp_path: Path, reduce: Callable[[bytes], bytes], precision: str
) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(reduce(model))
    assert load_model(path).spec.precision == precision
    graph, spec = parse(path.read_bytes())
    path.write_bytes(with_metadata(graph, msgspec.json.encode(spec | {"precision": "float32"}).decode()))
    if precision == "int8":
        with pytest.raises(DuendeError, match=r"golden pair missed: ratios at \S+ dB, 90 dB needed"):
            load_model(path)
    path.write_bytes(with_metadata(graph, msgspec.json.encode(spec | {"precision": "int4"}).decode()))
    with pytest.raises(DuendeError, match="precision 'int4', this version knows float32, float16, int8"):
        load_model(path)
