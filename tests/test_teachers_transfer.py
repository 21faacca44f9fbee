"""Transfer in one call and between files: the content's length, the style's sound, one-line errors, whole files."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from duende import DuendeError
from duende.export.sounds import load_sound
from duende.export.teachers.cnn import fresh_style_error
from duende.export.teachers.teacher import Step
from duende.export.teachers.transfer import TransferConfig, transfer, transfer_file
from signals import noise, snr_db, tone

Float32 = npt.NDArray[np.float32]

RATE = 22050
QUICK = TransferConfig(iterations=12, filters=64, inversion="input-phase", start="content")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Products as small as these are slower on several threads."""
    with threadpool_limits(1):
        yield


def playing(rng: np.random.Generator, seconds: float = 1.2, rate: int = RATE) -> Float32:
    """Two decaying notes."""
    frames = round(seconds * rate)
    time = np.arange(frames) / rate
    sound = tone(220.0, frames, rate_hz=rate) * np.exp(-3.0 * time)
    sound[frames // 2 :] += (tone(330.0, frames, rate_hz=rate) * np.exp(-3.0 * time))[: frames - frames // 2]
    return np.asarray(sound + noise(rng, frames, level_dbfs=-60.0), dtype=np.float32)


def hiss(rng: np.random.Generator, seconds: float = 1.5, rate: int = RATE) -> Float32:
    return noise(rng, round(seconds * rate), level_dbfs=-20.0)


@pytest.mark.parametrize("teacher", ["kernel", "cnn"])
def test_the_result_is_as_long_as_the_content_and_nearer_to_the_style(rng: np.random.Generator, teacher: Any) -> None:
    content, style = playing(rng), hiss(rng)
    told: list[Step] = []
    found = transfer(content, style, replace(QUICK, teacher=teacher), told.append)
    assert found.audio.dtype == np.float32
    assert found.audio.shape == content.shape
    assert found.sample_rate == RATE
    assert found.content.shape == found.result.shape == (1 + len(content) // 512, 1025)
    assert found.style.shape == (1 + len(style) // 512, 1025)
    assert found.history == told
    assert found.evaluations >= len(told)
    assert 0.0 < found.solve_seconds < found.seconds
    assert told[-1].errors["style"] < 0.3 * told[0].errors["style"]
    if teacher == "kernel":  # a few filters are learnt by heart, all of them are not
        before, after = (fresh_style_error(x, found.style, 9, filters=64) for x in (found.content, found.result))
        assert after < 0.1 * before


def test_everything_random_follows_the_seed(rng: np.random.Generator) -> None:
    content, style = playing(rng), hiss(rng)
    config = replace(QUICK, teacher="cnn", filters=16, iterations=3, start="noise")
    first, again, other = (transfer(content, style, replace(config, seed=seed)).audio for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_content_that_counts_for_everything_comes_back_untouched(rng: np.random.Generator) -> None:
    content = playing(rng)
    found = transfer(content, hiss(rng), replace(QUICK, alpha=1e5))
    assert snr_db(content, found.audio) > 40.0


def test_digital_silence_stays_silent_with_the_phase_of_the_input(rng: np.random.Generator) -> None:
    content = playing(rng)
    content[-12_000:] = 0.0
    found = transfer(content, hiss(rng), replace(QUICK, alpha=1e-4))
    assert not found.audio[-12_000 + 2048 :].any()


def test_noise_and_content_lead_to_the_same_error(rng: np.random.Generator) -> None:
    content, style = playing(rng), hiss(rng)
    config = replace(QUICK, iterations=150)
    ends = [transfer(content, style, replace(config, start=start)).history[-1] for start in ("noise", "content")]
    assert ends[0].total == pytest.approx(ends[1].total, rel=0.02)


def test_adam_takes_the_whole_spectrogram(rng: np.random.Generator) -> None:
    found = transfer(playing(rng), hiss(rng), replace(QUICK, optimiser="adam", iterations=60))
    assert found.history[-1].errors["style"] < 0.3 * found.history[0].errors["style"]
    assert found.evaluations == 61


def test_the_published_limit_of_frames(rng: np.random.Generator) -> None:
    found = transfer(playing(rng), hiss(rng), replace(QUICK, frames=30))
    assert len(found.content) == len(found.style) == 30
    assert len(found.audio) == 29 * 512


@pytest.mark.train
def test_griffin_lim_finds_a_sound_of_these_magnitudes(rng: np.random.Generator) -> None:
    content = playing(rng)
    config = replace(QUICK, alpha=1e5, inversion="griffin-lim", rounds=60)
    found = transfer(content, hiss(rng), config)
    assert found.audio.shape == content.shape
    again = transfer(found.audio, hiss(rng), replace(QUICK, iterations=1)).content
    assert snr_db(found.content, again) > 15.0
    assert snr_db(content, found.audio) < 10.0  # its phases are its own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "vgg"}, "kernel or cnn"),
        ({"optimiser": "sgd"}, "lbfgs or adam"),
        ({"start": "zero"}, "noise or content"),
        ({"inversion": "none"}, "griffin-lim or input-phase"),
        ({"alpha": -1.0}, "alpha -1 is out of range: 0 to 1e"),
        ({"alpha": float("nan")}, "alpha nan is out of range"),
        ({"iterations": 0}, "iterations 0 is out of range: 1"),
        ({"filters": 0}, "filters 0"),
        ({"frames": 10}, "frames 10 is out of range: 11"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_settings_out_of_range_say_their_bounds(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DuendeError, match=message) as caught:
        replace(QUICK, **change)
    assert "\n" not in str(caught.value)


def test_sounds_that_cannot_be_used_are_named(rng: np.random.Generator) -> None:
    good = playing(rng)
    broken = good.copy()
    broken[7] = np.nan
    for bad, message in ((good[:5000], "5000 samples are too few; it needs 5121"), (broken, "not numbers")):
        with pytest.raises(DuendeError, match=message):
            transfer(bad, good, QUICK)
    with pytest.raises(DuendeError, match=r"style: silent \(-200 dBFS\)"):
        transfer(good, np.zeros_like(good), QUICK)
    with pytest.raises(ValueError, match="one channel"):
        transfer(good[None], good, QUICK)


@pytest.mark.parametrize(("ending", "rate", "channels"), [("wav", 48000, 2), ("flac", 44100, 1), ("aiff", 8000, 3)])
def test_files_of_any_kind(tmp_path: Path, rng: np.random.Generator, ending: str, rate: int, channels: int) -> None:
    pytest.importorskip("matplotlib")
    content, style = tmp_path / f"content.{ending}", tmp_path / "style.ogg"
    soundfile.write(content, np.repeat(playing(rng, 1.2, rate)[:, None], channels, axis=1), rate)
    soundfile.write(style, np.float32(0.05) * hiss(rng), RATE)
    target = tmp_path / f"out.{ending}"
    found = transfer_file(content, style, target, QUICK)
    assert (found.sound, found.picture, found.notices) == (target, tmp_path / "out.png", [])
    audio, written = soundfile.read(target, dtype="float32")
    assert written == RATE
    assert abs(len(audio) - round(1.2 * RATE)) <= 1
    assert snr_db(found.transferred.audio, audio) > 80.0
    assert found.picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [content.name, "style.ogg", target.name, "out.png"]
    )


def test_a_result_over_full_scale_is_made_quieter_and_says_so(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("matplotlib")
    for name, sound in (("content", playing(rng)), ("style", hiss(rng))):
        soundfile.write(tmp_path / f"{name}.wav", 4.0 * sound, RATE, subtype="FLOAT")
    found = transfer_file(tmp_path / "content.wav", tmp_path / "style.wav", tmp_path / "out.wav", QUICK)
    assert len(found.notices) == 1
    assert "quieter" in found.notices[0]
    peak = np.abs(soundfile.read(tmp_path / "out.wav")[0]).max()
    assert peak == pytest.approx(0.99, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.wav", "no such file"),
        ("text.wav", "not a readable sound file"),
        ("short.wav", r"0\.50 s long; a transfer needs 1 to 120 s"),
        ("silent.wav", r"silent \(-200 dBFS\)"),
        ("broken.wav", "not numbers"),
    ],
)
@pytest.mark.parametrize("place", ["content", "style"])
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, rng: np.random.Generator, name: str, message: str, place: str
) -> None:
    good, broken = playing(rng), playing(rng)
    broken[100] = np.inf
    (tmp_path / "text.wav").write_text("no sound\n")
    for file, sound in (("good", good), ("short", good[: RATE // 2]), ("silent", 0.0 * good), ("broken", broken)):
        soundfile.write(tmp_path / f"{file}.wav", sound, RATE, subtype="FLOAT")
    paths = {"content": tmp_path / "good.wav", "style": tmp_path / "good.wav", place: tmp_path / name}
    with pytest.raises(DuendeError, match=message) as caught:
        transfer_file(paths["content"], paths["style"], tmp_path / "out.wav", QUICK)
    assert "\n" not in str(caught.value)
    assert str(paths[place]) in str(caught.value)
    assert not (tmp_path / "out.wav").exists()


def test_a_target_that_cannot_be_written_costs_no_work(tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    for target, message in (
        (tmp_path / "out.xyz", "cannot write .xyz: use .wav"),
        (tmp_path / "no" / "out.wav", "no such folder"),
        (tmp_path / "out", "a file without an ending"),
    ):
        with pytest.raises(DuendeError, match=message):
            transfer_file(missing, missing, target, QUICK)


@pytest.mark.parametrize(("module", "name"), [("librosa", "librosa"), ("matplotlib.figure", "matplotlib")])
def test_what_is_not_installed_is_said_before_the_search(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    soundfile.write(tmp_path / "in.wav", playing(rng), RATE)
    monkeypatch.setitem(sys.modules, module, None)
    told: list[Step] = []
    config = replace(QUICK, inversion="griffin-lim" if name == "librosa" else "input-phase")
    with pytest.raises(DuendeError, match=f"needs {name}: pip install"):
        transfer_file(tmp_path / "in.wav", tmp_path / "in.wav", tmp_path / "out.wav", config, told.append)
    assert told == []


def test_the_first_part_of_a_long_file(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, hiss(rng, 121.0, 8000), 8000)
    with pytest.raises(DuendeError, match=r"121\.00 s long"):
        load_sound(path, RATE, longest_s=120.0)
    assert load_sound(path, RATE, samples=3 * RATE).shape == (3 * RATE,)
