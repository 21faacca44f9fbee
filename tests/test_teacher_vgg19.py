"""VGG19 on sounds: its layers and shapes, weights from files, the descent, both attempts, and the repaired form."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

from duende import DuendeError  # noqa: E402
from duende.export.measures import StyleTarget, chroma_agreement, onset_f1  # noqa: E402
from duende.export.teachers import descent, vgg_weights  # noqa: E402
from duende.export.teachers.descent import Descent, descend  # noqa: E402
from duende.export.teachers.spectra import Analysis, log_bands  # noqa: E402
from duende.export.teachers.teacher import Job, Step, StyleSound  # noqa: E402
from duende.export.teachers.vgg19 import TEACHER, VggSettings  # noqa: E402
from duende.export.teachers.vgg_layers import CONVOLUTIONS, Vgg19, layer_number, operations  # noqa: E402
from duende.export.teachers.vgg_pictures import DecibelPicture, GainPicture, band_picture  # noqa: E402
from duende.export.teachers.vgg_weights import load_weights  # noqa: E402
from teacher_sounds import bright, job_of, plucks  # noqa: E402

Float32 = npt.NDArray[np.float32]

LAYERS = ("conv_1", "conv_2", "conv_3")
TINY: dict[str, Any] = {
    "content_layers": ("conv_2",),
    "style_layers": ("conv_1", "conv_2"),
    "iterations": 8,
    "rounds": 4,
}
SMALL = TINY | {"sample_rate": 16000, "n_fft": 256, "hop": 128}
RATE = 48000


def job(rate: int, **changes: Any) -> Job:
    return replace(job_of(plucks(rate), bright(rate)), **changes)


def random_weights(names: tuple[str, ...] = LAYERS, seed: int = 3) -> dict[str, Any]:
    """A state dictionary of torchvision's names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    last = max(layer_number(name) for name in names)
    return {
        name: 0.05 * torch.randn(shape, generator=generator)
        for layer in CONVOLUTIONS[: last + 1]
        for name, shape in layer.shapes().items()
    }


def test_the_layers_are_those_of_vgg19() -> None:
    assert [c.key for c in CONVOLUTIONS] == [
        f"features.{place}" for place in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    ]
    assert sum(np.prod(shape) for c in CONVOLUTIONS for shape in c.shapes().values()) == 20_024_384
    assert layer_number("conv_4") == layer_number("block2_conv2") == 3
    assert layer_number("block5_conv1") == 12
    # 19.5 billion multiplications for a photograph, without the classifier.
    assert operations(224, 224, ["conv_16"]) == pytest.approx(19.5e9, rel=0.01)


def test_a_layer_is_a_convolution_of_what_came_before(rng: np.random.Generator) -> None:
    weights = random_weights()
    picture = torch.from_numpy(rng.random((3, 12, 10), dtype=np.float32))
    found = Vgg19(LAYERS, weights)(picture)
    sums = Vgg19(LAYERS, weights, before_relu=True)(picture)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    seen = np.pad((picture.numpy() - mean[:, None, None]) / deviation[:, None, None], ((0, 0), (1, 1), (1, 1)))
    weight, bias = weights["features.0.weight"].numpy(), weights["features.0.bias"].numpy()
    wanted = float((weight[5] * seen[:, 4:7, 2:5]).sum() + bias[5])
    assert float(sums[0][5, 4, 2]) == pytest.approx(wanted, rel=1e-4)
    assert float(found[0][5, 4, 2]) == pytest.approx(max(wanted, 0.0), rel=1e-4)
    assert float(found[1].min()) == 0.0 > float(sums[1].min())
    assert [tuple(found[number].shape) for number in range(3)] == [(64, 12, 10), (64, 12, 10), (128, 6, 5)]
    pooled = torch.nn.functional.max_pool2d(found[1][None], 2)
    third = torch.nn.functional.conv2d(pooled, weights["features.5.weight"], weights["features.5.bias"], padding=1)[0]
    torch.testing.assert_close(sums[2], third, rtol=1e-4, atol=1e-4)


def test_random_weights_are_he_s_and_come_from_the_seed() -> None:
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    one, same, other = (Vgg19(("conv_2",), seed=seed)(picture)[1] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    # He's deviation keeps the power of what goes through.
    x = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(2))
    deep = Vgg19(("conv_2",), seed=1)(0.45 + 0.225 * x)[1]
    assert 0.5 < float(deep[:, 2:-2, 2:-2].square().mean()) < 2.0


def safetensors(tensors: dict[str, Any], header: dict[str, Any] | None = None) -> bytes:
    """The bytes of a file, written by the format's description."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.numpy().astype("<f4").tobytes()
        place = [len(data), len(data) + len(raw)]
        entries[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": place}
        data += raw
    text = json.dumps(entries | (header or {})).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("kind", ["w.pth", "w.safetensors"])
def test_weights_come_from_a_file(tmp_path: Path, kind: str) -> None:
    weights, path = random_weights(), tmp_path / kind
    # A file holds more than is needed.
    more = weights | {"classifier.0.weight": torch.ones(3, 3)}
    if kind == "w.pth":
        torch.save(more, path)
    else:
        path.write_bytes(safetensors(more))
    found = load_weights(path, LAYERS)
    assert set(found) == set(weights)
    for name, tensor in weights.items():
        assert torch.equal(found[name], tensor)
    settings = replace(TEACHER.forms["second"], **SMALL | {"iterations": 1, "weights": path})
    made = TEACHER.make(job(16000), settings)
    assert made.notices == [f"VGG19 has the weights of {kind}"]
    random = TEACHER.make(job(16000), replace(settings, weights=None))
    assert "random weights" in random.notices[0]
    assert random.history[0].errors != made.history[0].errors


def _fewer(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in weights.items() if name != "features.2.bias"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda w: safetensors(_fewer(w)), "holds no features.2.bias"),
        (lambda w: safetensors(w | {"features.0.weight": w["features.0.weight"][:, :1]}), r"has shape \(64, 1, 3, 3\)"),
        (lambda w: safetensors(w | {"features.0.bias": w["features.0.bias"] * float("nan")}), "not numbers"),
        (lambda w: safetensors(w)[:-4], "does not fit its place"),
        (
            lambda w: safetensors(w, {"features.0.bias": {"dtype": "F32", "shape": [-64], "data_offsets": [0, 256]}}),
            "fit",
        ),
        (lambda w: safetensors(w, {"features.0.bias": [1, 2]}), "not a readable safetensors file"),
        (lambda w: b"\xff" * 8 + b"{}", "not a readable safetensors file"),
        (lambda w: b"abc", "not a readable safetensors file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, make: Any, said: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(make(random_weights()))
    with pytest.raises(DuendeError, match=said) as refused:
        load_weights(path, LAYERS)
    assert "\n" not in str(refused.value)


def test_other_files_of_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DuendeError, match="no such file"):
        load_weights(tmp_path / "none.pth", LAYERS)
    path = tmp_path / "w.pth"
    path.write_bytes(b"not a file of torch")
    with pytest.raises(DuendeError, match="not a readable state dictionary") as refused:
        load_weights(path, LAYERS)
    assert "\n" not in str(refused.value)

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"features.0.weight": Evil()}, path)
    with pytest.raises(DuendeError, match="not a readable state dictionary"):
        load_weights(path, LAYERS)
    assert not (tmp_path / "harm").exists()
    torch.save([1, 2], path)
    with pytest.raises(DuendeError, match="holds a list"):
        load_weights(path, LAYERS)
    monkeypatch.setattr(vgg_weights, "LARGEST", 4)
    with pytest.raises(DuendeError, match="at most"):
        load_weights(path, LAYERS)


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_the_descent_is_torch_s_own(rule: Any) -> None:
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))

    def errors(x: Any) -> dict[str, Any]:
        return {"one": (matrix @ x).square().sum(), "other": (x - 1.0).abs().sum()}

    start = torch.ones(6) * 0.5
    x, history = descend(errors, start, Descent(9, rule, 0.01, 0.8, 0.95, 1e-3))
    mine = start.clone().requires_grad_(True)
    wanted = (
        torch.optim.Adam([mine], lr=0.01, betas=(0.8, 0.95), eps=1e-3)
        if rule == "adam"
        else torch.optim.SGD([mine], lr=0.01)
    )
    for _ in range(9):
        wanted.zero_grad()
        torch.stack(list(errors(mine).values())).sum().backward()
        wanted.step()
    torch.testing.assert_close(x, mine.detach(), rtol=1e-5, atol=1e-6)
    assert [step.iteration for step in history] == list(range(10))
    assert history[0].errors["other"] == pytest.approx(3.0)
    bounded, _ = descend(errors, start, Descent(9, rule, 0.5), low=0.4, high=0.6)
    assert 0.4 <= float(bounded.min()) <= float(bounded.max()) <= 0.6
    assert torch.equal(start, torch.ones(6) * 0.5)


def test_a_picture_in_decibels_goes_there_and_back() -> None:
    audio, analysis = plucks(16000), Analysis(16000, 256, 64)
    picture = DecibelPicture(audio, analysis, 0, 60, 1, "cpu")
    assert picture.start.shape == (3, 129, 1 + len(audio) // 64)
    assert float(picture.start.min()) == 0.0
    assert float(picture.start.max()) == 1.0
    level, wanted = (float(np.sqrt(np.mean(x**2))) for x in (picture.sound(picture.start), audio))
    assert level == pytest.approx(wanted, rel=0.1)
    small = DecibelPicture(audio, analysis, 64, 4, 1, "cpu")
    assert max(small.start.shape) == 64
    assert small.sound(small.start).shape == audio.shape


def test_bands_read_what_stands_in_them() -> None:
    analysis = Analysis(RATE, 2048, 512)
    pooling, interpolation = log_bands(analysis, 16)
    np.testing.assert_allclose(interpolation.sum(axis=0), 1.0, atol=1e-5)
    assert (pooling.sum(axis=0) > 0.5).all()
    t = np.arange(RATE // 2) / RATE
    low, high = (
        band_picture(np.sin(2.0 * np.pi * hertz * t).astype(np.float32), analysis, "cpu")[0].mean(dim=1)
        for hertz in (1000.0, 2000.0)
    )
    assert int(high.argmax()) - int(low.argmax()) == 16


def test_gains_start_at_the_style_s_bands_and_keep_silence() -> None:
    content, style = plucks(RATE), bright(RATE)
    content[: RATE // 5] = 0.0
    picture = GainPicture(content, [style], [1.0], Analysis(RATE, 2048, 512), "cpu")
    sound = picture.sound(picture.start)
    assert not sound[: RATE // 5 - 2048].any()
    assert float(np.sqrt(np.mean(sound**2))) == pytest.approx(float(np.sqrt(np.mean(content**2))), rel=1e-3)

    def treble(audio: Float32) -> float:
        power = np.abs(np.fft.rfft(audio)) ** 2
        return float(power[len(power) // 8 :].sum() / power.sum())

    assert treble(sound) > 5.0 * treble(content)


@pytest.mark.parametrize(("form", "start"), [("first", "noise"), ("second", "content")])
def test_the_published_attempts_descend_and_sound(form: str, start: str) -> None:
    # From the content the first hardly moves: its Adam adds 0.1 to the root of every slope's square.
    settings = replace(TEACHER.forms[form], **SMALL | {"start": start})
    told: list[Step] = []
    made = TEACHER.make(job(16000, report=told.append), settings)
    assert made.history == told
    assert made.audio.shape == plucks(16000).shape
    assert np.isfinite(made.audio).all()
    assert told[-1].total < 0.8 * told[0].total
    if start == "content":
        assert told[0].errors["content"] == 0.0
        assert told[0].correlation == pytest.approx(1.0)
        assert told[-1].errors["style"] < 0.4 * told[0].errors["style"]
    assert np.array_equal(made.audio, TEACHER.make(job(16000), settings).audio)


def test_the_repaired_form_takes_the_style_and_keeps_the_player() -> None:
    settings = replace(TEACHER.forms["repaired"], **TINY | {"iterations": 10})
    made, content = TEACHER.make(job(RATE), settings), plucks(RATE)
    assert made.audio.shape == content.shape
    assert made.history[-1].total < 0.7 * made.history[0].total
    judge = StyleTarget(bright(RATE), RATE)  # filters and windows of its own
    before, after = (judge.distances(x) for x in (content, made.audio))
    assert after[0] < 0.5 * before[0]
    assert after[1] < 0.5 * before[1]
    assert onset_f1(content, made.audio, RATE) > 0.7
    assert chroma_agreement(content, made.audio, RATE) > 0.5


def test_several_styles_are_their_mean_gram() -> None:
    settings = replace(TEACHER.forms["second"], **SMALL | {"iterations": 1})
    clip, other = bright(16000), plucks(16000, notes=(440.0,))
    firsts = [
        TEACHER.make(job(16000, styles=styles), settings).history[0].errors["style"]
        for styles in (
            (StyleSound(clip),),
            (StyleSound(clip, 2.0), StyleSound(clip, 1.0)),
            (StyleSound(clip, 1.0), StyleSound(other, 0.001)),
            (StyleSound(clip, 1.0), StyleSound(other, 1.0)),
        )
    ]
    assert firsts[1] == pytest.approx(firsts[0], rel=1e-4)
    assert firsts[2] == pytest.approx(firsts[0], rel=1e-2)
    assert firsts[3] < 0.9 * firsts[0]


class _StoppedError(Exception):
    pass


def test_a_search_taken_up_again_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "CHECKPOINT_S", 0.0)
    settings = replace(TEACHER.forms["second"], **SMALL)

    def stop(step: Step) -> None:
        if step.iteration == 5:
            raise _StoppedError

    kept = job(16000, checkpoint=tmp_path / "kept")
    with pytest.raises(_StoppedError):
        TEACHER.make(replace(kept, report=stop), settings)
    told: list[Step] = []
    resumed = TEACHER.make(replace(kept, report=told.append), settings)
    assert told[0].iteration == 5
    assert not kept.checkpoint.exists() if kept.checkpoint else False
    whole = TEACHER.make(job(16000), settings)
    assert np.array_equal(resumed.audio, whole.audio)
    assert [step.errors for step in resumed.history] == [step.errors for step in whole.history]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"picture": "photo"}, "picture 'photo': choose"),
        ({"norm": "none"}, "norm 'none': choose"),
        ({"optimiser": "lbfgs"}, "optimiser 'lbfgs': choose"),
        ({"style_layers": ("block6_conv1",)}, "layer 'block6_conv1': choose block1_conv1 to block5_conv4"),
        ({"content_layers": ()}, "name at least one layer"),
        ({"n_fft": 257, "hop": 64}, "n_fft 257: give an even number"),
        ({"hop": 1025}, "hop 1025 is out of range: 1 to 1024"),
        ({"longest_side": 8}, "longest_side 8 is out of range"),
        ({"learning_rate": 0.0}, "learning_rate 0 is out of range"),
        ({"picture": "gains"}, "for gains choose 44100"),
        ({"guards": 1.0}, "choose picture gains"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DuendeError, match=said) as refused:
        VggSettings(**changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("form", TEACHER.forms)
def test_the_shortest_sound_is_long_enough(form: str) -> None:
    settings = replace(TEACHER.forms[form], iterations=1, rounds=1)
    least = TEACHER.shortest(settings)
    assert least < 0.9 * settings.sample_rate
    audio = plucks(settings.sample_rate, 1.0)[2000 : 2000 + least]
    made = TEACHER.make(Job(audio, (StyleSound(bright(settings.sample_rate, 1.0)[:least]),)), settings)
    assert made.audio.shape == (least,)
    cost = TEACHER.cost(3 * settings.sample_rate, 6 * settings.sample_rate, TEACHER.forms[form])
    assert 0.0 < cost.seconds < 1200.0
    assert 0 < cost.memory < 6 << 30
