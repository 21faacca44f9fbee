"""The spec inside a model file: tensors and text there and back, and errors that name the field."""

import base64
import json

import numpy as np
import pytest

from duende import DuendeError
from duende.engine.spec import ModelSpec, Tensor, decode_spec
from models import build, tiny_weights


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return build(tiny_weights(width=4, dilations=(1,)))[1]


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 3, 4)], ids=str)
def test_tensors_there_and_back(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    array = rng.standard_normal(shape).astype(np.float32)
    again = Tensor.pack(array).unpack()
    assert again.dtype == np.float32
    assert np.array_equal(again, array.reshape(again.shape))
    assert again.size == array.size
    assert again.flags.writeable


def test_tensors_keep_what_is_no_number() -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], dtype=np.float32)
    assert Tensor.pack(array).unpack().tobytes() == array.tobytes()


def test_tensors_of_other_layouts_are_packed_in_order(rng: np.random.Generator) -> None:
    array = rng.standard_normal((4, 6))[::2, ::-1].T
    assert np.array_equal(Tensor.pack(array).unpack(), array.astype(np.float32))


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor([2], base64.b64encode(bytes(4)).decode()),
        Tensor([1], base64.b64encode(bytes(5)).decode()),
        Tensor([1], "no base64!"),
    ],
)
def test_bytes_and_shape_that_disagree_are_refused(tensor: Tensor) -> None:
    with pytest.raises(ValueError, match=r".+"):
        tensor.unpack()


def test_text_there_and_back(spec: ModelSpec) -> None:
    assert decode_spec(spec.encode(), "x.onnx") == spec
    assert isinstance(json.loads(spec.encode()), dict)


@pytest.mark.parametrize("found", [0, 2, "1", None, 1.5])
def test_another_format_is_named_before_its_fields_are(found: object) -> None:
    with pytest.raises(DuendeError, match=r"^x\.onnx: model format .*, this version of duende reads 1; ") as caught:
        decode_spec(json.dumps({"format": found, "nothing": "else"}), "x.onnx")
    assert repr(found) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("sizes", "hop"), "128", "$.sizes.hop"),
        (("sizes", "more"), 1, "$.sizes"),
        (("golden", "ratios", "shape"), [1.5], "$.golden.ratios.shape"),
        (("states", 0, "shape"), None, "$.states[0].shape"),
        (("provenance", "seed"), "x", "$.provenance.seed"),
        (("excitations",), [1], "$.excitations[0]"),
        (("sample_rate",), None, "$.sample_rate"),
        (("unknown",), 1, "unknown"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_by_its_path(
    path: tuple[str | int, ...], value: object, named: str, spec: ModelSpec
) -> None:
    fields = json.loads(spec.encode())
    place = fields
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DuendeError) as caught:
        decode_spec(json.dumps(fields), "x.onnx")
    text = str(caught.value)
    assert text.startswith("x.onnx: the metadata 'duende' is damaged")
    assert named in text
    assert "\n" not in text
