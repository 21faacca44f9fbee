"""Captures as graphs: every feature against the oracle at any block size, and what the file says of itself."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper

from duende import DuendeError
from duende.engine.waveform import open_waveform
from duende.engine.waveform_model import ALLOWED_OPS, WaveformModel, WaveformStream
from duende.export.captures.graph import convert, loudness_phrase
from duende.export.captures.network import Capture, SelfTest, Stack
from networks import FEATURES, Draw, capture, stack, wavenet
from oracle import answer, render

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BLOCKS = [1, 63, 64, 65, 128, 1000, 8192]
FRAMES = 8500


@functools.cache
def feature(name: str) -> Capture:
    return FEATURES[name]()


@functools.cache
def converted(name: str) -> bytes:
    return convert(feature(name))


def opened(folder: Path, name: str, *, trusted: bool = False) -> WaveformModel:
    path = folder / "capture.onnx"
    path.write_bytes(converted(name))
    return open_waveform(path, trusted=trusted)


def playing(frames: int = FRAMES) -> Float32:
    time = np.arange(frames)
    noise = np.random.default_rng(3).standard_normal(frames)
    tone = np.sin(time / 17.0) * np.exp(-(time % 3000) / 1500.0)
    return np.asarray(0.4 * tone + 0.05 * noise, dtype=np.float32)


def turning(found: Capture, frames: int = FRAMES) -> Float32:
    """Knobs [K, frames] on the move."""
    time = np.arange(frames) / frames
    places = np.arange(len(found.knobs))[:, None]
    return np.asarray(0.5 + 0.4 * np.sin(7.0 * time + places), dtype=np.float32)


@functools.cache
def wanted(name: str, variant: int = -1) -> Float64:
    found = feature(name)
    return render(found, playing(), turning(found) if found.knobs else None, variant=variant)


def stream_through(stream: WaveformStream, audio: Float32, knobs: Float32, blocks: list[int]) -> Float32:
    out, at, turn = np.empty((1, len(audio)), dtype=np.float32), 0, 0
    while at < len(audio):
        end = min(at + blocks[turn % len(blocks)], len(audio))
        stream.process(audio[None, at:end], knobs[None, :, at:end], out[:, at:end])
        at, turn = end, turn + 1
    return np.asarray(out[0])


def play(model: WaveformModel, name: str, blocks: list[int], variant: int = -1) -> Float32:
    index = variant % len(model.spec.variants)
    return stream_through(model.start(index, 1, max(blocks)), playing(), turning(feature(name)), blocks)


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_equals_the_oracle(name: str, tmp_path: Path) -> None:
    model = opened(tmp_path, name)
    for variant in range(len(model.spec.variants)):
        expected = wanted(name, variant)
        scale = max(1.0, float(np.abs(expected).max()))
        for blocks in ([1000], [64], [7, 64, 64, 300]):
            assert np.abs(play(model, name, blocks, variant) - expected).max() <= 1e-5 * scale


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", ["plain", "full rows", "long taps", "condition films", "two knobs and gains", "mixed"])
def test_any_block_size_gives_the_same(block: int, name: str, tmp_path: Path) -> None:
    frames = FRAMES if block > 1 else 600
    model = opened(tmp_path, name, trusted=True)
    stream = model.start(0, 1, min(block, 1024))
    got = stream_through(stream, playing()[:frames], turning(feature(name))[:, :frames], [block])
    assert np.abs(got - wanted(name)[:frames]).max() <= 1e-5


PLANNED = ["plain", "full rows", "long taps", "one tap", "relu", "leaky_relu", "sigmoid", "slimmable"]


@functools.cache
def blocks_of_16() -> bool:
    """Whether ONNX Runtime's own layout has blocks of 16 channels on this machine: asked of a product by a matrix."""
    rng = np.random.default_rng(1)
    weight, x = rng.standard_normal((16, 16)).astype(np.float32), rng.standard_normal((5, 16)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], domain="com.microsoft.nchwc", kernel_shape=[1, 1])
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 16, 1, 5]) for name in "xy"]
    held = onnx.numpy_helper.from_array(np.ascontiguousarray(weight.T).reshape(16, 16, 1, 1), "w")
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [held])
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft.nchwc", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=9)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        answer = session.run(None, {"x": x.reshape(1, 16, 1, 5)})[0]
    except Exception:  # noqa: BLE001 - of no common class
        return False
    return bool(np.abs(answer.reshape(5, 16) - x @ weight.T).max() < 1e-4)


@pytest.mark.parametrize("name", FEATURES)
def test_plain_wavenets_have_a_plan(name: str, tmp_path: Path) -> None:
    """Where blocks have 16 channels, as on machines with AVX-512; elsewhere the file's graph plays."""
    has = blocks_of_16()
    model = opened(tmp_path, name)
    lengths = [model.start(variant, 1, 64).lengths for variant in range(len(model.spec.variants))]
    planned = has and (name in PLANNED or name == "tanh")
    assert lengths == [[64] if planned else []] * len(lengths)


def test_wide_networks_have_plans_for_longer_blocks(tmp_path: Path) -> None:
    lengths = opened(tmp_path, "full rows").start(0, 1, 480).lengths
    assert lengths == ([64, 128, 256, 480] if blocks_of_16() else [])
    assert opened(tmp_path, "long taps").start(0, 1, 480).lengths == ([64] if blocks_of_16() else [])
    assert opened(tmp_path, "full rows").start(0, 1, 96).lengths == ([64, 96] if blocks_of_16() else [])


@pytest.mark.parametrize("name", ["plain", "full rows", "long taps"])
def test_states_go_over_between_lengths(name: str, tmp_path: Path) -> None:
    """Blocks that a plan takes, ones that it does not, and others again, from and to every length."""
    blocks = [64, 64, 128, 100, 64, 3, 256, 512, 61, 128, 1024, 192]
    got = play(opened(tmp_path, name), name, blocks)
    assert np.abs(got - wanted(name)).max() <= 1e-5


@pytest.mark.parametrize("name", ["full rows", "long taps"])
def test_histories_come_round(name: str, tmp_path: Path) -> None:
    stream = opened(tmp_path, name).start(0, 1, 64)
    audio = np.tile(playing(), 3)
    got = stream_through(stream, audio, np.zeros((0, len(audio)), dtype=np.float32), [64])
    assert np.abs(got - render(feature(name), audio)).max() <= 1e-5


@pytest.mark.parametrize("name", ["plain", "lstm", "long taps", "post", "condition"])
def test_a_stream_starts_as_silence_leaves_it(name: str, tmp_path: Path) -> None:
    stream = opened(tmp_path, name).start(0, 1, 64)
    silence = np.zeros(3000, dtype=np.float32)
    none = np.zeros((0, 3000), dtype=np.float32)
    before = stream_through(stream, silence, none, [64])
    assert np.abs(before - before[0]).max() <= 1e-5
    stream_through(stream, playing(), np.zeros((0, FRAMES), dtype=np.float32), [64])
    stream.reset()
    assert np.array_equal(stream_through(stream, silence, none, [64]), before)


def test_states_that_silence_leaves_alike_take_no_room() -> None:
    """A1 Standard: 13802 weights of 4 bytes, and what goes with them."""
    dilations = [2**power for power in range(10)]
    made = convert(capture(wavenet(1, channels=(16, 8), dilations=dilations)))
    assert len(made) < 13_802 * 4 + 60_000


def test_only_operators_that_a_capture_may_have() -> None:
    used = set()
    for name in FEATURES:
        used |= {node.op_type for node in onnx.load_model_from_string(converted(name)).graph.node}
    assert used <= ALLOWED_OPS
    # Min and Max come with leaky hard tanh, and so on: none is on the list for nothing.
    assert used == ALLOWED_OPS


def test_what_is_known_is_in_the_file(tmp_path: Path) -> None:
    found = dataclasses.replace(
        capture(wavenet(1)),
        name="Boss",
        loudness_db=-12.5,
        gain=0.7,
        input_level_dbu=12.0,
        output_level_dbu=11.0,
        tags={"gear_type": "amp"},
        author="someone",
        licence="MIT",
        date="2024-01-02",
        notes=("a note",),
    )
    path = tmp_path / "boss.onnx"
    path.write_bytes(convert(found))
    spec = open_waveform(path).spec
    assert (spec.name, spec.loudness_db, spec.loudness_measured, spec.gain) == ("Boss", -12.5, False, 0.7)
    assert (spec.input_level_dbu, spec.output_level_dbu, spec.tags) == (12.0, 11.0, {"gear_type": "amp"})
    about = spec.provenance
    assert (about.author, about.licence, about.date, about.notes) == ("someone", "MIT", "2024-01-02", ["a note"])
    assert (about.format, about.file, about.sha256) == ("nam", "tiny.nam", "0" * 64)
    assert spec.receptive_field_samples == found.variants[0].network.receptive_field_samples


def test_loudness_is_measured_where_it_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(converted("gru and knob"))
    spec = open_waveform(path).spec
    expected = render(feature("gru and knob"), loudness_phrase(48000))
    assert spec.loudness_measured
    assert spec.loudness_db == pytest.approx(10.0 * np.log10(np.mean(expected**2)), abs=0.02)


def test_knobs_take_no_name_that_is_taken() -> None:
    draw = Draw(1)
    network = stack(draw.recurrent("lstm", 2, 4), draw.conv(1, 2), inputs=4)
    found = capture(network, knobs=("input", "drive", "quality"))
    texts = onnx.load_model_from_string(convert(found)).metadata_props
    assert '"input-knob"' in texts[0].value
    assert '"quality-knob"' in texts[0].value


def self_tested(error: float) -> Capture:
    draw = Draw(3)
    cells = dataclasses.replace(draw.recurrent("lstm", 6, 3), state=np.zeros(6, "f"), cell=np.zeros(6, "f"))
    network = Stack((cells, draw.conv(1, 6)), 3, True, 2.5, 0.5, 3000)
    plain = dataclasses.replace(network, input_gain=1.0, output_gain=1.0)
    audio = playing(300)
    signal = np.concatenate([audio[None], np.zeros((2, 300))]).astype(np.float64)
    output = answer(plain, signal)[0]
    output[200] += error
    return dataclasses.replace(
        capture(network, knobs=("drive", "tone")), self_test=SelfTest(audio, output.astype(np.float32))
    )


def test_a_self_test_that_comes_with_a_file_is_asked() -> None:
    assert convert(self_tested(0.0))
    with pytest.raises(DuendeError, match=r"tiny\.nam: its own self test is missed by 0\.001"):
        convert(self_tested(1e-3))


def test_what_answers_with_no_number_is_refused() -> None:
    draw = Draw(2)
    loud = dataclasses.replace(draw.conv(1, 1), weight=np.full((1, 1, 1), 3e38, dtype=np.float32))
    with pytest.raises(DuendeError, match="tiny: answers with what is no number"):
        convert(capture(stack(loud, loud)))
