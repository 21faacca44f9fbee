"""Model files that are refused, each in one line that names the file and the field, before anything is run."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from duende import DuendeError
from duende.engine.graph_check import MAX_BYTES
from duende.engine.model import load_model
from duende.engine.spec import AMOUNT, Control, ModelSpec, Sizes, Tensor
from duende.engine.stft import SMALL_SIZES
from duende.export.graph import save_graph
from models import (
    build,
    build_texture,
    tiny_model,
    tiny_texture_weights,
    tiny_weights,
    with_metadata,
    with_trained_amount,
    write_model,
)
from signals import snr_db

Graph = onnx.ModelProto


@pytest.fixture(scope="module")
def sound() -> tuple[Graph, ModelSpec]:
    return build(tiny_weights(dilations=(1, 2)))


def refusal(path: Path, data: bytes) -> str:
    """Load a file that must be refused; the message, after the checks that every message must pass."""
    path.write_bytes(data)
    with pytest.raises(DuendeError) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(path.name)
    assert "\n" not in text
    assert len(text) < 500
    return text


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any ONNX Runtime session made from now on fails the test."""

    def session(*_: object, **__: object) -> None:
        pytest.fail("a file was run before it was checked")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def test_a_sound_file_loads_and_answers(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    golden = model.spec.golden
    features, style = golden.features.unpack(), golden.style.unpack()
    stream = model.start(1, [features.shape[1], 1])
    stream.style[:] = style
    stream.features[features.shape[1]][:] = features
    stream.settle([np.zeros((1, *state.shape), dtype=np.float32) for state in model.spec.states])
    stream.run(features.shape[1])
    assert snr_db(golden.ratios.unpack(), stream.ratios[features.shape[1]]) >= 90.0
    assert snr_db(golden.dynamics.unpack(), stream.dynamics[features.shape[1]]) >= 90.0
    assert model.notices == []


def test_a_frame_at_a_time_is_the_same_as_many(tmp_path: Path, rng: np.random.Generator) -> None:
    model = tiny_model(tmp_path, tiny_weights(dilations=(1, 2, 4)))
    features = rng.standard_normal((2, 32, 3 * 48 + 1)).astype(np.float32)
    answers = []
    for frames in (1, 4, 32):
        stream = model.start(2, [frames])
        parts = []
        for at in range(0, 32, frames):
            stream.features[frames][:] = features[:, at : at + frames]
            stream.run(frames)
            parts.append(stream.ratios[frames].copy())
        answers.append(np.concatenate(parts, axis=1))
    assert np.abs(answers[0] - answers[2]).max() <= 1e-5
    assert np.abs(answers[1] - answers[2]).max() <= 1e-5


def test_bodies_of_styles(tmp_path: Path) -> None:
    weights = tiny_weights(styles=2)
    weights.body[1] += 1.0
    model = tiny_model(tmp_path, weights)
    for style in ([1.0, 0.0], [0.0, 1.0], [0.25, 0.75]):
        wanted = np.asarray(style, dtype=np.float32) @ weights.body
        assert np.abs(model.body(np.array(style, dtype=np.float32)) - wanted).max() <= 1e-5


# -- an amount that the graph is told -----------------------------------------------------------------------------


@pytest.mark.parametrize("golden_amount", [None, 1.0, 0.25])
def test_a_trained_amount_reaches_the_graph(
    golden_amount: float | None, sound: tuple[Graph, ModelSpec], tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(save_graph(*with_trained_amount(*sound, golden_amount)))
    model = load_model(path)
    assert model.spec.trained_amount
    assert np.isfinite(model.body(np.ones(1, dtype=np.float32))).all()
    features = rng.standard_normal((1, 4, 3 * 48 + 1)).astype(np.float32)
    answers = []
    for amount in (1.0, 0.5, 0.0):
        stream = model.start(1, [4])
        assert stream.amount.shape == (1,)
        assert stream.amount[0] == 1.0
        stream.amount[0] = amount
        stream.features[4][:] = features
        stream.run(4)
        answers.append(stream.ratios[4].copy())
    assert np.array_equal(answers[1], np.float32(0.5) * answers[0])
    assert not answers[2].any()


def test_without_the_control_the_amount_changes_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    model = tiny_model(tmp_path)
    assert not model.spec.trained_amount
    features = rng.standard_normal((1, 4, 3 * 48 + 1)).astype(np.float32)
    answers = []
    for amount in (1.0, 0.0):
        stream = model.start(1, [4])
        stream.amount[0] = amount
        stream.features[4][:] = features
        stream.run(4)
        answers.append(stream.ratios[4].copy())
    assert np.array_equal(answers[0], answers[1])


def test_a_golden_pair_without_an_amount_is_written_as_before(sound: tuple[Graph, ModelSpec]) -> None:
    assert "amount" not in json.loads(sound[1].encode())["golden"]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "controls",
    [
        [Control("drive", "dB", 0.0, 40.0, 0.0)],
        [Control("amount", "", 0.0, 2.0, 1.0)],
        [Control("amount", "", 0.0, 1.0, 0.5)],
        [AMOUNT, Control("drive", "dB", 0.0, 40.0, 0.0)],
        [AMOUNT, AMOUNT],
    ],
    ids=lambda controls: "+".join(control.name for control in controls),
)
def test_other_controls_are_refused(controls: list[Control], sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    graph, spec = with_trained_amount(*sound)
    spec = msgspec.structs.replace(spec, controls=controls)
    text = refusal(tmp_path / "bad.onnx", save_graph(graph, spec))
    assert f"control {controls[-1].name!r}: this version knows only 'amount'" in text


@pytest.mark.usefixtures("nothing_runs")
def test_graph_and_spec_must_agree_on_the_amount(sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    graph, spec = with_trained_amount(*sound)
    assert "inputs of graph and spec differ: amount" in refusal(tmp_path / "a.onnx", save_graph(graph, sound[1]))
    assert "inputs of graph and spec differ: amount" in refusal(tmp_path / "b.onnx", save_graph(sound[0], spec))


def test_a_golden_amount_needs_the_control(sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    spec = with_golden(sound[1], amount=Tensor.pack(np.ones(1)))
    assert "the golden pair does not fit the graph" in refusal(tmp_path / "bad.onnx", save_graph(sound[0], spec))


def test_a_golden_pair_is_answered_at_its_own_amount(sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    graph, spec = with_trained_amount(*sound, 0.25)
    spec = with_golden(spec, amount=Tensor.pack(np.array([0.5])))
    assert "golden pair missed: ratios" in refusal(tmp_path / "bad.onnx", save_graph(graph, spec))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_missing_provider_falls_back_and_says_so(provider: str, tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has it")
    model = load_model(write_model(tmp_path / "m.onnx"), provider)
    assert model.provider == "cpu"
    assert len(model.notices) == 1
    assert provider in model.notices[0]


def test_an_unknown_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match="unknown provider 'gpu': choose one of cpu, cuda, tensorrt"):
        load_model(write_model(tmp_path / "m.onnx"), "gpu")


# -- damaged files ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file(share: float, sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    data = save_graph(*sound)
    text = refusal(tmp_path / "bad.onnx", data[: int(share * len(data))])
    assert "not an ONNX file, or cut short" in text


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "data", [b"", b"hello\n" * 100, b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x80\x04cos\nsystem\n", bytes(64)]
)
def test_what_is_not_onnx(data: bytes, tmp_path: Path) -> None:
    assert "not an ONNX file, or cut short" in refusal(tmp_path / "bad.onnx", data)


@pytest.mark.usefixtures("nothing_runs")
def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 2**20)
    with pytest.raises(DuendeError, match=r"^bad\.onnx: 65 MiB, models may have 64 MiB$"):
        load_model(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(DuendeError, match="cannot read the model") as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


# -- damaged metadata ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "no metadata 'duende'"),
        ("", "metadata 'duende' is damaged"),
        ("{", "metadata 'duende' is damaged"),
        ('{"format": 1', "metadata 'duende' is damaged"),
        ('{"format": 1}', "`kind`"),
        ("[]", "model format None"),
        ("7", "model format None"),
        ("[" * 100_000, "metadata 'duende' is damaged"),
        ('{"format": 2}', "model format 2, this version of duende reads 1"),
        ('{"format": "1"}', "model format '1'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_damaged_metadata(text: str | None, named: str, sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    assert named in refusal(tmp_path / "bad.onnx", with_metadata(sound[0], text))


@pytest.mark.usefixtures("nothing_runs")
def test_metadata_twice(sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    graph = onnx.load_model_from_string(save_graph(*sound))
    graph.metadata_props.add(key="duende", value="{}")
    assert "metadata 'duende'" in refusal(tmp_path / "bad.onnx", graph.SerializeToString())


FIELDS = list(ModelSpec.__struct_fields__)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("field", [field for field in FIELDS if field not in ("format", "precision")])
def test_every_field_of_the_spec_is_needed_and_typed(
    field: str, sound: tuple[Graph, ModelSpec], tmp_path: Path
) -> None:
    fields = json.loads(sound[1].encode())
    without = {key: value for key, value in fields.items() if key != field}
    assert f"`{field}`" in refusal(tmp_path / "bad.onnx", with_metadata(sound[0], json.dumps(without)))
    wrong = fields | {field: {"odd": "value"}}
    assert (
        f"$.{field}" in refusal(tmp_path / "bad.onnx", with_metadata(sound[0], json.dumps(wrong))) or field == "quality"
    )


@pytest.mark.usefixtures("nothing_runs")
def test_unknown_fields_are_refused(sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    fields = json.loads(sound[1].encode()) | {"run_this": "now"}
    assert "`run_this`" in refusal(tmp_path / "bad.onnx", with_metadata(sound[0], json.dumps(fields)))


WRONG_SPECS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "drone"}, "model kind 'drone', this version plays mixer and texture"),
    ({"kind": "texture"}, "gain law 'mixer@2', this version knows 'texture@1' for a texture"),
    ({"law": "texture@1"}, "gain law 'texture@1'"),
    ({"precision": "int2"}, "precision 'int2', this version knows float32, float16, int8"),
    ({"law": "mixer@9"}, "gain law 'mixer@9'"),
    ({"sizes": Sizes(2048, 512, 256)}, "sizes (2048, 512, 256)"),
    ({"sizes": Sizes(2048, 100, 128)}, "sizes (2048, 100, 128)"),
    ({"sizes": Sizes(-1, 0, 0)}, "sizes (-1, 0, 0)"),
    ({"latency_samples": 0}, "latency_samples 0"),
    ({"sample_rate": 8000.0}, "sample_rate 8000 Hz"),
    ({"bands": 4}, "4 bands"),
    ({"bands": 10**9}, "1000000000 bands"),
    ({"bands": 40}, "input 'features'"),
    ({"excitations": ["dry@1", "wet@1"]}, "excitations ['dry@1', 'wet@1']"),
    ({"excitations": ["noise@1"]}, "needs 'dry@1'"),
    ({"excitations": []}, "needs 'dry@1'"),
    ({"excitations": ["dry@1"]}, "output 'ratios'"),
    ({"styles": []}, "0 styles"),
    ({"styles": [f"s{i}" for i in range(9)]}, "9 styles"),
    ({"styles": ["one", "two"]}, "input 'style'"),
    ({"styles": ["mix"]}, "style 'mix'"),
    ({"styles": ["a/b"]}, "style 'a/b'"),
    ({"styles": [""]}, "style ''"),
    ({"styles": ["one", "one"]}, "style 'one' cannot be a parameter"),
    ({"states": []}, "past_0"),
    ({"body_points": 1}, "body of 1 points"),
    ({"body_points": 700}, "output 'body'"),
    ({"body_top_hz": 1e9}, "body of 513 points up to 1e+09 Hz"),
]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(("changes", "named"), WRONG_SPECS, ids=[named for _, named in WRONG_SPECS])
def test_specs_that_do_not_fit(
    changes: dict[str, Any], named: str, sound: tuple[Graph, ModelSpec], tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(sound[1], **changes)
    assert named in refusal(tmp_path / "bad.onnx", save_graph(sound[0], spec))


@pytest.fixture(scope="module")
def texture() -> tuple[Graph, ModelSpec]:
    return build_texture(tiny_texture_weights(width=4, dilations=(1,)))


WRONG_TEXTURES: list[tuple[dict[str, Any], str]] = [
    ({"kind": "mixer"}, "gain law 'texture@1'"),
    ({"kind": "mixer", "law": "mixer@2"}, "sizes (1024, 256, 128)"),
    ({"sizes": Sizes(2048, 256, 128)}, "sizes (2048, 256, 128), this version knows [(1024, 256, 128)]"),
    ({"bands": 48}, "48 bands, its windows give 513 bins"),
    ({"excitations": ["dry@1"]}, "excitations ['dry@1']: a texture has tone@1, noise@1"),
    ({"excitations": ["noise@1", "tone@1"]}, "excitations ['noise@1', 'tone@1']"),
    ({"body_points": 513, "body_top_hz": 24000.0}, "body of 513 points: a texture has none"),
    ({"latency_samples": 0}, "latency_samples 0, its windows give 128"),
    ({"controls": []}, "inputs of graph and spec differ: amount"),
    ({"styles": ["one", "two"]}, "input 'style'"),
]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(("changes", "named"), WRONG_TEXTURES, ids=[named for _, named in WRONG_TEXTURES])
def test_textures_that_do_not_fit(
    changes: dict[str, Any], named: str, texture: tuple[Graph, ModelSpec], tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(texture[1], **changes)
    assert named in refusal(tmp_path / "bad.onnx", save_graph(texture[0], spec))


def test_a_texture_loads_and_misses_a_wrong_golden_pair(texture: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(save_graph(*texture))
    assert load_model(path).spec.kind == "texture"
    other = build_texture(tiny_texture_weights(seed=1, width=4, dilations=(1,)))
    assert "golden pair missed: ratios" in refusal(path, save_graph(other[0], texture[1]))


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("shape", [[0], [-1, 5], [2**21], [2**12, 2**12]], ids=str)
def test_states_out_of_bounds(shape: list[int], sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    state = msgspec.structs.replace(sound[1].states[0], shape=shape)
    spec = msgspec.structs.replace(sound[1], states=[state, *sound[1].states[1:]])
    assert "state 'past_features'" in refusal(tmp_path / "bad.onnx", save_graph(sound[0], spec))


# -- damaged graphs --------------------------------------------------------------------------------------------------


def foreign_opset(graph: Graph) -> None:
    graph.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))


def foreign_node(graph: Graph) -> None:
    graph.graph.node[3].domain = "ai.onnx.contrib"


def foreign_operator(graph: Graph) -> None:
    graph.graph.node[3].op_type = "PyOp"


def other_opset(graph: Graph) -> None:
    graph.opset_import[0].version = 11


def branch(graph: Graph) -> None:
    inner = helper.make_graph([], "then", [], [])
    graph.graph.node.append(helper.make_node("If", ["gamma"], ["x"], then_branch=inner, else_branch=inner))


def loop(graph: Graph) -> None:
    graph.graph.node.append(helper.make_node("Loop", ["", ""], ["x"], body=helper.make_graph([], "body", [], [])))


def function(graph: Graph) -> None:
    graph.functions.append(
        helper.make_function("", "Evil", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], graph.opset_import)
    )


def external_data(graph: Graph) -> None:
    tensor = last_tensor(graph)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_data_in_a_constant(graph: Graph) -> None:
    tensor = numpy_helper.from_array(np.zeros(2, dtype=np.float32), "hidden_tensor")
    tensor.external_data.add(key="location", value="/etc/passwd")
    graph.graph.node.append(helper.make_node("Constant", [], ["y"], value=tensor))


def sparse(graph: Graph) -> None:
    graph.graph.sparse_initializer.add().values.name = "thin"


def last_tensor(graph: Graph) -> Any:
    return next(tensor for tensor in graph.graph.initializer if tensor.name == "last")


def large(graph: Graph) -> None:
    """Of a kind that onnx's own check knows nothing about, so that it lets it pass."""
    tensor = last_tensor(graph)
    tensor.data_type, tensor.dims[:] = 99, [2**31 - 1]


def short(graph: Graph) -> None:
    tensor = last_tensor(graph)
    tensor.raw_data = tensor.raw_data[:-4]


def halved(graph: Graph) -> None:
    tensor = last_tensor(graph)
    tensor.raw_data = tensor.raw_data[:-2]


def dangling(graph: Graph) -> None:
    graph.graph.node[-1].input[0] = "nowhere"


def dims(value: onnx.ValueInfoProto, place: int, size: int) -> None:
    value.type.tensor_type.shape.dim[place].dim_value = size


def named(values: Iterable[onnx.ValueInfoProto], name: str) -> onnx.ValueInfoProto:
    return next(value for value in values if value.name == name)


DAMAGES: list[tuple[Callable[[Graph], object], str]] = [
    (foreign_opset, "foreign domain 'ai.onnx.contrib'"),
    (foreign_node, "operator ai.onnx.contrib."),
    (foreign_operator, "operator ai.onnx.PyOp"),
    (other_opset, "opset 11"),
    (branch, "operator ai.onnx.If"),
    (loop, "operator ai.onnx.Loop"),
    (function, "function (Evil)"),
    (external_data, "tensor 'last'"),
    (external_data_in_a_constant, "tensor 'hidden_tensor'"),
    (sparse, "sparse"),
    (large, "'last' of 2147483647 numbers is of a kind"),
    (short, "numbers, and has"),
    (halved, ".5"),
    (dangling, "not a valid graph"),
    (lambda graph: dims(named(graph.graph.input, "features"), 2, 7), "input 'features'"),
    (lambda graph: dims(named(graph.graph.input, "features"), 1, 1), "input 'features'"),
    (lambda graph: dims(named(graph.graph.input, "style"), 0, 3), "input 'style'"),
    (lambda graph: dims(named(graph.graph.input, "past_0"), 1, 3), "input 'past_0'"),
    (lambda graph: dims(named(graph.graph.output, "ratios"), 3, 7), "output 'ratios'"),
    (lambda graph: dims(named(graph.graph.output, "dynamics"), 2, 7), "output 'dynamics'"),
    (lambda graph: dims(named(graph.graph.output, "body"), 0, 7), "output 'body'"),
    (lambda graph: dims(named(graph.graph.output, "past_0_next"), 1, 3), "output 'past_0_next'"),
    (lambda graph: graph.graph.output.pop(), "past_1_next"),
    (
        lambda graph: setattr(named(graph.graph.input, "features").type.tensor_type, "elem_type", TensorProto.DOUBLE),
        "input 'features'",
    ),
]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(("damage", "field"), DAMAGES, ids=[field for _, field in DAMAGES])
def test_graphs_that_do_not_fit(
    damage: Callable[[Graph], object], field: str, sound: tuple[Graph, ModelSpec], tmp_path: Path
) -> None:
    graph = onnx.load_model_from_string(save_graph(*sound))
    damage(graph)
    assert field in refusal(tmp_path / "bad.onnx", graph.SerializeToString())


# -- golden pairs ----------------------------------------------------------------------------------------------------


def with_golden(spec: ModelSpec, **tensors: Tensor) -> ModelSpec:
    return msgspec.structs.replace(spec, golden=msgspec.structs.replace(spec.golden, **tensors))


@pytest.mark.parametrize("field", ["ratios", "dynamics"])
@pytest.mark.parametrize("error", [1e-4, 1.0, np.nan, np.inf])
def test_a_golden_pair_that_is_missed(field: str, error: float, sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    graph, spec = sound
    array = getattr(spec.golden, field).unpack()
    if error < 1.0:
        array *= 1.0 + error
    else:
        array.flat[3] += error * np.abs(array).max()
    text = refusal(tmp_path / "bad.onnx", save_graph(graph, with_golden(spec, **{field: Tensor.pack(array)})))
    assert f"golden pair missed: {field}" in text
    assert "90 dB needed on cpu" in text


def test_other_weights_miss_the_golden_pair(sound: tuple[Graph, ModelSpec], tmp_path: Path) -> None:
    other, _ = build(tiny_weights(seed=1, dilations=(1, 2)))
    assert "golden pair missed: ratios" in refusal(tmp_path / "bad.onnx", save_graph(other, sound[1]))


NO_TENSOR = Tensor([4], "!!!")
GOLDEN_SHAPES: list[dict[str, Tensor]] = [
    {"features": Tensor.pack(np.zeros((1, 4, 7)))},
    {"features": Tensor.pack(np.zeros((2, 4, 145)))},
    {"features": Tensor.pack(np.zeros((1, 0, 145)))},
    {"style": Tensor.pack(np.zeros(5))},
    {"ratios": Tensor.pack(np.zeros((1, 12, 5, 47)))},
    {"dynamics": Tensor.pack(np.zeros(3))},
    {"dynamics": Tensor([2, 2], Tensor.pack(np.zeros(3)).data)},
    {"ratios": NO_TENSOR},
]


@pytest.mark.parametrize("tensors", GOLDEN_SHAPES, ids=lambda tensors: "+".join(tensors))
def test_a_golden_pair_that_does_not_fit(
    tensors: dict[str, Tensor], sound: tuple[Graph, ModelSpec], tmp_path: Path
) -> None:
    text = refusal(tmp_path / "bad.onnx", save_graph(sound[0], with_golden(sound[1], **tensors)))
    assert "the golden pair does not fit the graph" in text


def test_a_silent_golden_pair_is_enough(tmp_path: Path) -> None:
    """Answers that are exactly 0, as wanted, have no error, and no level to compare it with."""
    weights = tiny_weights(levels=(0.0,), excitations=1, moves=0.0)
    tiny_model(tmp_path, weights, excitations=("dry@1",), sizes=SMALL_SIZES)
