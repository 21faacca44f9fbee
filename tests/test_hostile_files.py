"""Files that are small and ask for much: refused in one line, before the memory or the time is spent."""

import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import soundfile
from onnx import helper

from duende import DuendeError
from duende.engine import graph_check
from duende.engine.model import MAX_FIELD_FRAMES, load_model
from duende.engine.spec import ModelSpec, State
from duende.engine.waveform_model import open_waveform
from duende.export import sound_file
from duende.export.captures.graph import convert
from duende.export.graph import save_graph
from duende.export.sounds import load_sound
from duende.gui.clip import take_in
from models import build, tiny_weights
from networks import FEATURES

Graph = onnx.ModelProto
Spoil = Callable[[Graph, ModelSpec], ModelSpec | None]


def spoiled(folder: Path, spoil: Spoil) -> Path:
    """A sound model of a style, but for what `spoil` does to graph and spec."""
    weights = tiny_weights(width=4, excitations=1, dilations=(1,), levels=(0.0,))
    graph, spec = build(weights, excitations=("dry@1",))
    path = folder / "x.onnx"
    path.write_bytes(save_graph(graph, spoil(graph, spec) or spec))
    return path


def doubled(times: int) -> Spoil:
    """So many nodes in a row that put what they are given beside itself."""

    def spoil(graph: Graph, spec: ModelSpec) -> None:
        last = "features"
        for place in range(times):
            graph.graph.node.append(helper.make_node("Concat", [last, last], [f"more{place}"], axis=1))
            last = f"more{place}"

    return spoil


def outer_product(graph: Graph, spec: ModelSpec) -> None:
    """Two rows of 2^15 numbers, which make 2^30."""
    for name, shape in (("tall", [2**15, 1]), ("wide", [1, 2**15])):
        row = np.zeros(shape, dtype=np.float32)
        graph.graph.initializer.append(onnx.numpy_helper.from_array(row, name))
    graph.graph.node.append(helper.make_node("MatMul", ["tall", "wide"], ["square"]))


def many_products(graph: Graph, spec: ModelSpec) -> None:
    """Little memory, much time: a matrix of 2^20 numbers, multiplied with itself again and again."""
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1024, 1024), dtype=np.float32), "m0"))
    for place in range(6):
        graph.graph.node.append(helper.make_node("MatMul", [f"m{place}", "m0"], [f"m{place + 1}"]))


def hidden(graph: Graph, spec: ModelSpec) -> None:
    """A shape that follows from what is played, and that nobody can tell beforehand."""
    for node in (
        helper.make_node("ReduceSum", ["style"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["many"], to=onnx.TensorProto.INT64),
        helper.make_node("Slice", ["features", "many", "many"], ["cut"]),
    ):
        graph.graph.node.append(node)


def with_spec(**changes: object) -> Spoil:
    def spoil(graph: Graph, spec: ModelSpec) -> ModelSpec:
        return msgspec.structs.replace(spec, **changes)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (doubled(30), "at most"),
        (outer_product, "at most"),
        (many_products, "multiplications"),
        (hidden, "cannot be told"),
        (with_spec(receptive_field_frames=2**60), f"1 to {MAX_FIELD_FRAMES}"),
        (with_spec(states=[State(f"s{place}", [2**20]) for place in range(17)]), "numbers in all"),
    ],
)
def test_a_model_that_asks_for_too_much(tmp_path: Path, spoil: Spoil, reason: str) -> None:
    path = spoiled(tmp_path, spoil)
    assert path.stat().st_size < 6 * 2**20
    with pytest.raises(DuendeError, match=reason) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_what_a_graph_may_cost_leaves_sound_models_alone(tmp_path: Path) -> None:
    assert load_model(spoiled(tmp_path, doubled(3))).spec.name == "tiny"
    assert load_model(spoiled(tmp_path, doubled(0))).spec.name == "tiny"


def test_an_output_of_another_shape_than_it_says(tmp_path: Path) -> None:
    def spoil(graph: Graph, spec: ModelSpec) -> None:
        node = next(node for node in graph.graph.node if "past_features_next" in node.output)
        node.output[0] = "whole"
        graph.graph.node.append(helper.make_node("Concat", ["whole", "whole"], ["past_features_next"], axis=1))

    with pytest.raises(DuendeError, match="'past_features_next' is said to have shape"):
        load_model(spoiled(tmp_path, spoil))


def test_a_capture_that_asks_for_too_much(tmp_path: Path) -> None:
    graph = onnx.load_model_from_string(convert(FEATURES["plain"]()))
    last = "audio"
    for place in range(30):
        graph.graph.node.append(helper.make_node("Concat", [last, last], [f"more{place}"], axis=2))
        last = f"more{place}"
    path = tmp_path / "x.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(DuendeError, match="at most"):
        open_waveform(path)


@pytest.mark.parametrize("kind", ["style", "capture"])
def test_metadata_that_is_no_text(tmp_path: Path, kind: str) -> None:
    data = spoiled(tmp_path, doubled(0)).read_bytes() if kind == "style" else convert(FEATURES["plain"]())
    # ONNX's own reader hands such a text out as bytes.
    path = tmp_path / "y.onnx"
    path.write_bytes(data.replace(b'"golden"', b'"gol\xff\xfen"'))
    with pytest.raises(DuendeError, match="a text in it is not UTF-8"):
        (load_model if kind == "style" else open_waveform)(path)


def flac_that_lies(path: Path, frames: int, rate: int = 8000) -> Path:
    """A second of a tone in FLAC, whose head says that it is as long as wanted."""
    tone = 0.3 * np.sin(np.arange(round(1.2 * rate)) * 0.2)
    soundfile.write(path, tone, rate, "PCM_16", format="FLAC")
    data = bytearray(path.read_bytes())
    # The last 36 bits before the checksum of FLAC's first block are the number of samples.
    assert data[:4] == b"fLaC"
    high = struct.unpack(">Q", data[18:26])[0] & ~((1 << 36) - 1)
    data[18:26] = struct.pack(">Q", high | frames)
    path.write_bytes(data)
    assert soundfile.info(path).frames == frames
    return path


def test_a_head_that_promises_more_than_there_is(tmp_path: Path) -> None:
    # 128 GiB, were it believed.
    path = flac_that_lies(tmp_path / "x.flac", 2**35)
    with pytest.raises(DuendeError, match="not a readable sound file"):
        load_sound(path, 8000)
    with pytest.raises(DuendeError, match="no sound file that can be read"):
        take_in(path, tmp_path / "y.wav")


def test_a_sound_file_that_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros((40_000, 2)), 8000)
    monkeypatch.setattr(sound_file, "MOST_SAMPLES", 60_000)
    with pytest.raises(DuendeError, match="cut it, or mix it down"):
        sound_file.read_samples(path)
    soundfile.write(path, np.zeros((100, 33)), 8000)
    with pytest.raises(DuendeError, match="33 channels"):
        sound_file.read_samples(path)
    soundfile.write(path, np.zeros(100), 500)
    with pytest.raises(DuendeError, match="500 Hz"):
        sound_file.read_samples(path)


def test_only_as_much_is_read_as_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(8000 * 60), 8000)
    samples, _ = sound_file.read_samples(path, 2.0)
    assert 2 * 8000 < len(samples) <= 2 * 8000 + sound_file.PIECE


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_model_that_is_no_plain_file() -> None:
    with pytest.raises(DuendeError, match="not a plain file"):
        graph_check.read_bytes(Path("/dev/zero"))
