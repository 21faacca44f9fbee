"""Set distances: Gaussians whose distance is known, sets that are alike and not, silence, a user's network."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper

from duende import DuendeError
from duende.export.set_distance import (
    OnnxEmbedding,
    Set,
    TextureStatistics,
    compare,
    embed,
    frechet_distance,
    kernel_distance,
    set_distance,
)
from signals import noise, tone

RATE = 16000


def test_frechet_distance_of_gaussians_is_the_formulas(rng: np.random.Generator) -> None:
    first = rng.standard_normal((40000, 3)) * [1.0, 2.0, 0.5]
    second = rng.standard_normal((40000, 3)) * [3.0, 2.0, 0.5] + [2.0, 0.0, 0.0]
    # Independent axes: (difference of means)² + (difference of deviations)².
    assert frechet_distance(first, second) == pytest.approx(4.0 + 4.0, rel=0.02)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)


def test_frechet_distance_equals_that_of_the_matrix_root_where_axes_are_not_shared(rng: np.random.Generator) -> None:
    import scipy.linalg

    first = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))
    second = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6)) + 1.0
    covariances = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2.0 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    # Fewer windows than dimensions: no covariance has full rank.
    assert frechet_distance(first[:4], first[:4] + 2.0) == pytest.approx(24.0, rel=1e-9)


def test_kernel_distance_is_unbiased_and_its_value_is_the_formulas(rng: np.random.Generator) -> None:
    values = [
        kernel_distance(rng.standard_normal((20, 4)), rng.standard_normal((20, 4)), bandwidth=2.0) for _ in range(200)
    ]
    assert abs(np.mean(values)) < 3.0 * np.std(values) / np.sqrt(200.0)
    assert min(values) < 0.0
    # N(0, 1) and N(3, 1) under a Gaussian of width 1: 2/sqrt(3) (1 - exp(-9/6)).
    far = kernel_distance(rng.standard_normal((1500, 1)), rng.standard_normal((1500, 1)) + 3.0, bandwidth=1.0)
    assert far == pytest.approx(2.0 / np.sqrt(3.0) * (1.0 - np.exp(-1.5)), rel=0.05)


def group(vectors: npt.NDArray[np.float64], files: list[int]) -> Set:
    return Set(vectors, np.array(files), tuple(f"{one}.wav" for one in sorted(set(files))), len(files), 0)


def test_windows_of_one_file_do_not_make_a_set_seem_closer(rng: np.random.Generator) -> None:
    """Ten files of ten equal windows each: with pairs of one file counted, two draws of the same kind seem apart."""
    found = []
    for _ in range(60):
        first, second = (
            group(np.repeat(rng.standard_normal((10, 3)), 10, axis=0), [n for n in range(10) for _ in range(10)])
            for _ in range(2)
        )
        found.append(compare(first, second, "test", rounds=0).kernel.value)
    assert abs(np.mean(found)) < 3.0 * np.std(found) / np.sqrt(60.0)


def test_the_interval_is_of_the_files_and_holds_the_value(rng: np.random.Generator) -> None:
    files = [n for n in range(12) for _ in range(4)]
    near = group(rng.standard_normal((48, 3)), files)
    far = group(rng.standard_normal((48, 3)) + 2.0, files)
    found = compare(near, far, "test", rounds=100)
    for one in (found.frechet, found.kernel):
        assert one.low < one.value < one.high
        assert one.low > 0.0
    assert compare(near, far, "test", rounds=100).kernel == found.kernel
    assert compare(near, far, "test", rounds=100, seed=2).kernel.low != found.kernel.low
    three = compare(group(near.vectors[:12], files[:12]), group(far.vectors[:12], files[:12]), "test", rounds=50)
    assert np.isfinite([three.kernel.low, three.kernel.high, three.frechet.low]).all()
    alone = compare(near, group(far.vectors, [0] * 48), "test", rounds=100)
    assert np.isnan(alone.kernel.low)
    assert any("one file" in notice for notice in alone.notices)


# -- sounds ------------------------------------------------------------------------------------------------------------


def write(path: Path, audio: npt.ArrayLike, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(audio), rate)


@pytest.fixture
def folders(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three folders: noises, other noises, tones; of levels that differ."""
    for number in range(4):
        level = -12.0 - 5.0 * number
        write(tmp_path / "noise" / f"{number}.wav", noise(rng, 2 * RATE, level_dbfs=level))
        write(tmp_path / "more" / f"{number}.wav", noise(rng, 2 * RATE, level_dbfs=level))
        write(tmp_path / "tone" / f"{number}.wav", tone(300.0 + 40.0 * number, 2 * RATE, rate_hz=RATE))
    return tmp_path


def test_alike_sets_are_near_and_others_far(folders: Path) -> None:
    near = set_distance(folders / "noise", folders / "more", rounds=20)
    far = set_distance(folders / "noise", folders / "tone", rounds=20)
    assert near.embedding == "duende texture statistics 1 (68)"
    assert "FAD" not in near.embedding
    assert abs(near.kernel.value) < 0.2
    assert far.kernel.value > 0.5
    assert far.frechet.value > 20.0 * near.frechet.value
    assert far.kernel.low > near.kernel.high
    assert any("68 dimensions" in notice for notice in near.notices)


def test_the_statistics_are_68_do_not_know_level_and_mean_what_they_say(rng: np.random.Generator) -> None:
    statistics = TextureStatistics()
    wave = noise(rng, 48000)
    found = statistics(wave)
    assert found.shape == (1, 68)
    assert statistics(0.1 * wave) == pytest.approx(found, abs=1e-3)
    assert found[0, :24].sum() == pytest.approx(0.0, abs=1e-9)
    # Noise that swells 6 times a second: more in the rates 4 to 10 Hz of all quarters, and bands go together.
    swell = statistics((wave * (1.0 + 0.9 * np.sin(2.0 * np.pi * 6.0 * np.arange(48000) / 48000))).astype(np.float32))
    assert (swell[0, 52:56] > 3.0 * found[0, 52:56]).all()
    assert (np.abs(swell[0, 60:64] - found[0, 60:64]) < 0.2).all()
    assert (swell[0, 64:] > found[0, 64:] + 0.3).all()


def test_silence_is_refused_and_rests_are_left_out(folders: Path, rng: np.random.Generator) -> None:
    write(folders / "rests" / "a.wav", np.concatenate([noise(rng, 2 * RATE), np.zeros(3 * RATE, dtype=np.float32)]))
    write(folders / "rests" / "b.wav", noise(rng, 2 * RATE))
    found = set_distance(folders / "noise", folders / "rests", rounds=0)
    assert any("4 of 12 windows are silent" in notice for notice in found.notices)
    write(folders / "rests" / "c.wav", np.zeros(2 * RATE))
    with pytest.raises(DuendeError, match=r"c\.wav: silent"):
        set_distance(folders / "noise", folders / "rests", rounds=0)


def test_folders_that_hold_nothing(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DuendeError, match="no sound in it"):
        set_distance(folders / "noise", tmp_path / "empty")
    with pytest.raises(DuendeError, match="no such folder"):
        set_distance(folders / "noise", tmp_path / "nowhere")
    with pytest.raises(DuendeError, match="--rounds -1 is out of range"):
        set_distance(folders / "noise", folders / "tone", rounds=-1)


# -- networks that are brought -----------------------------------------------------------------------------------------


def network(path: Path, shape: list[str | int], kind: int = TensorProto.FLOAT) -> Path:
    """Mean and mean square of a waveform, as two numbers."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [len(shape) - 1])
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("ReduceMean", ["square", "axes"], ["power"], keepdims=1),
        helper.make_node("Concat", ["mean", "power"], ["y"], axis=len(shape) - 1),
    ]
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, [*shape[:-1], 2])],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("shape", [["n"], [1, "n"], [1, 1, "n"], [1, 12000]])
def test_a_network_of_the_users_embeds(folders: Path, tmp_path: Path, shape: list[str | int]) -> None:
    embedding = OnnxEmbedding(network(tmp_path / "mine.onnx", shape), RATE)
    assert embedding.name.startswith("mine.onnx (sha256 ")
    files = sorted((folders / "noise").glob("*.wav"))
    found = embed(files, embedding)
    assert found.vectors.shape == (12, 2)
    audio, _ = soundfile.read(files[0], dtype="float32")
    used = audio[: 12000 if shape[-1] == 12000 else RATE]
    assert found.vectors[0] == pytest.approx([used.mean(), np.mean(used**2)], abs=1e-6)
    distance = set_distance(folders / "noise", folders / "tone", embedding, rounds=0)
    assert distance.embedding == embedding.name


def test_a_network_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(DuendeError, match=r"broken\.onnx: not a network"):
        OnnxEmbedding(tmp_path / "broken.onnx")
    with pytest.raises(DuendeError, match="one input, a float32 waveform"):
        OnnxEmbedding(network(tmp_path / "deep.onnx", [1, 1, 1, "n"]))
    with pytest.raises(DuendeError, match="cannot be read"):
        OnnxEmbedding(tmp_path / "none.onnx")
    with pytest.raises(DuendeError, match="--embedding-rate 10 is out of range"):
        OnnxEmbedding(tmp_path / "none.onnx", 10)
