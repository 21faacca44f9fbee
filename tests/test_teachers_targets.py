"""Targets for training: aligned, at the piece's level, cached by content, the same for any number of workers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.export.teachers import targets
from duende.export.teachers.gram import KERNEL
from duende.export.teachers.registry import NAMES
from duende.export.teachers.targets import lesson, lesson_seconds, teacher_targets
from duende.export.teachers.teacher import Job
from signals import RATE_HZ, noise, snr_db, tone
from systems import RATE, PlainSystem, registered

Float32 = npt.NDArray[np.float32]


def piece(rng: np.random.Generator, frequency_hz: float = 220.0, seconds: float = 0.5) -> Float32:
    """A note that begins at a quarter of its time, over a little noise."""
    frames = round(seconds * RATE_HZ)
    sound = noise(rng, frames, level_dbfs=-70.0)
    sound[frames // 4 :] += tone(frequency_hz, frames - frames // 4, level_dbfs=-12.0)
    return sound


@pytest.fixture
def clip(rng: np.random.Generator) -> Float32:
    return noise(rng, RATE_HZ // 2, level_dbfs=-20.0)


def rms(audio: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def made_files(folder: Path) -> list[Path]:
    """Of the targets in a store."""
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file())


def refuse(*arguments: Any) -> Float32:
    raise AssertionError("computed again")


def test_targets_keep_length_level_and_place(rng: np.random.Generator, clip: Float32) -> None:
    pieces = [piece(rng), piece(rng, 330.0, 0.43), 0.1 * piece(rng)]
    made = teacher_targets(pieces, clip, RATE_HZ, workers=1, iterations=8)
    for before, after in zip(pieces, made, strict=True):
        assert after.dtype == np.float32
        assert after.shape == before.shape
        assert rms(after) == pytest.approx(rms(before), rel=1e-3)
    # With a content that counts for everything the target is the piece, sample by sample.
    same = teacher_targets(pieces, clip, RATE_HZ, workers=1, iterations=8, alpha=1e5)
    for before, after in zip(pieces, same, strict=True):
        assert snr_db(before, after) > 35.0


def test_the_treble_takes_the_style_too(rng: np.random.Generator, clip: Float32) -> None:
    (made,) = teacher_targets([piece(rng)], clip, RATE_HZ, workers=1, iterations=20, alpha=1e-4)

    def treble_share(audio: Float32) -> float:
        power = np.abs(np.fft.rfft(audio)) ** 2
        return float(power[len(power) // 2 :].sum() / power.sum())

    assert treble_share(made) > 0.2
    assert treble_share(piece(rng)) < 0.001


def test_levels_of_piece_and_clip_do_not_matter(rng: np.random.Generator, clip: Float32) -> None:
    one = piece(rng)
    (loud,) = teacher_targets([one], clip, RATE_HZ, workers=1, iterations=8)
    (quiet,) = teacher_targets([np.float32(0.125) * one], np.float32(4.0) * clip, RATE_HZ, workers=1, iterations=8)
    assert snr_db(loud, 8.0 * quiet) > 40.0


def test_any_number_of_workers_makes_the_same_targets(rng: np.random.Generator, clip: Float32, tmp_path: Path) -> None:
    pieces = [piece(rng, hz, 0.3) for hz in (150.0, 220.0, 330.0)]
    told: list[tuple[int, int]] = []
    alone = teacher_targets(pieces, clip, RATE_HZ, workers=1, iterations=5)
    together = teacher_targets(
        pieces,
        clip,
        RATE_HZ,
        workers=2,
        iterations=5,
        cache=tmp_path,
        report=lambda done, of: told.append((done, of)),
    )
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(made_files(tmp_path)) == 3


def test_the_second_call_computes_nothing(
    rng: np.random.Generator, clip: Float32, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [piece(rng), piece(rng, 330.0)]

    def run(**changes: Any) -> list[Float32]:
        settings = {"cache": tmp_path / "targets", "workers": 1, "iterations": 3, **changes}
        return teacher_targets(pieces, clip, RATE_HZ, **settings)

    first = run()
    told: list[tuple[int, int]] = []
    with monkeypatch.context() as patch:
        patch.setattr(targets, "_target", refuse)
        again = run(report=lambda done, of: told.append((done, of)))
        for one, other in zip(first, again, strict=True):
            assert np.array_equal(one, other)
        assert told[-1] == (2, 2)
        for changes in ({"iterations": 4}, {"alpha": 0.1}, {"seed": 2}, {"filters": 8}):
            with pytest.raises(DuendeError, match="computed again"):
                run(**changes)
        clip[7] += 0.01
        with pytest.raises(DuendeError, match="computed again"):
            run()


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty", "other"])
def test_a_damaged_file_is_made_again(rng: np.random.Generator, clip: Float32, tmp_path: Path, damage: str) -> None:
    def run() -> Float32:
        return teacher_targets([one], clip, RATE_HZ, cache=tmp_path, workers=1, iterations=2)[0]

    one = piece(rng)
    first = run()
    (path,) = made_files(tmp_path)
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(broken) // 2] ^= 0x40
    if damage == "other":
        with path.open("wb") as file:
            np.save(file, first[:-1])
    else:
        path.write_bytes(
            {"cut": whole[: len(whole) // 2], "flipped": bytes(broken), "text": b"no npy", "empty": b""}[damage]
        )
    assert np.array_equal(run(), first)
    assert path.read_bytes() == whole


def test_a_silent_piece_stays_silent(clip: Float32) -> None:
    silent = np.zeros(RATE_HZ // 2, dtype=np.float32)
    assert not teacher_targets([silent], clip, RATE_HZ, workers=1, iterations=2)[0].any()


def test_bad_sounds_are_refused_in_one_line(rng: np.random.Generator, clip: Float32) -> None:
    good, broken = piece(rng), piece(rng)
    broken[3] = np.nan
    for pieces, style, message in (
        ([good, broken], clip, "piece 1: holds samples that are not numbers"),
        ([good[:100]], clip, "piece 0: 100 samples are too few; it needs 11266"),
        ([good], clip[:100], "the clip: 100 samples are too few"),
        ([good], 0.0 * clip, "the clip: silent"),
    ):
        with pytest.raises(DuendeError, match=message) as caught:
            teacher_targets(pieces, style, RATE_HZ, workers=1)
        assert "\n" not in str(caught.value)
    with pytest.raises(DuendeError, match="workers 0 is out of range"):
        teacher_targets([good], clip, RATE_HZ, workers=0)


def test_windows_have_one_span_at_every_rate() -> None:
    assert KERNEL.for_targets(22050).n_fft == 2048
    for rate in (44100, 48000, 88200, 96000, 192000):
        settings = KERNEL.for_targets(rate)
        assert settings.sample_rate == rate
        assert 0.065 < settings.n_fft / rate < 0.13
        assert settings.hop == settings.n_fft // 4


@pytest.mark.parametrize("delay", [0, 20])
def test_a_system_at_another_rate_stays_aligned_to_the_sample(
    rng: np.random.Generator, clip: Float32, monkeypatch: pytest.MonkeyPatch, delay: int
) -> None:
    def later(job: Job) -> Float32:
        return np.roll(job.content, delay)

    system = PlainSystem(later)
    dull = noise(rng, RATE_HZ, level_dbfs=-20.0)
    spectrum = np.fft.rfft(dull)
    spectrum[RATE * len(dull) // RATE_HZ * 4 // 10 :] = 0.0
    dull = np.fft.irfft(spectrum, len(dull)).astype(np.float32)
    with registered(system, monkeypatch):
        (made,) = teacher_targets([dull], clip, RATE_HZ, "plain", workers=1)
        assert lesson_seconds(lesson("plain", RATE_HZ), [dull], clip, 1) == pytest.approx(1.4, abs=0.1)
    job = system.jobs[0]
    assert rms(job.content) == pytest.approx(0.1, rel=0.1)
    assert len(job.styles[0].audio) == round(len(clip) * RATE / RATE_HZ)
    assert rms(job.styles[0].audio) < 0.08  # what lies above half its rate does not reach it
    moved = np.roll(dull, delay * RATE_HZ // RATE)
    middle = slice(1000, -1000)
    assert snr_db(moved[middle], made[middle]) > 40.0


@pytest.mark.train
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "cnn"])  # whose filters alone take 370 MB
def test_every_system_teaches(rng: np.random.Generator, clip: Float32, name: str) -> None:
    pytest.importorskip("torch")
    played, clip = piece(rng, seconds=0.7), np.tile(clip, 2)
    shorter: dict[str, Any] = {"steps": 4} if name in ("autoencoder", "vae") else {}
    (made,) = teacher_targets([played], clip, RATE_HZ, name, workers=1, iterations=1, **shorter)
    assert made.shape == played.shape
    assert made.dtype == np.float32
    assert rms(made) == pytest.approx(rms(played), rel=1e-3)
    assert snr_db(played, made) < 20.0
    assert lesson_seconds(lesson(name, RATE_HZ), [played] * 4, clip, 1) > lesson_seconds(
        lesson(name, RATE_HZ), [played], clip, 1
    )


def test_settings_that_a_teacher_does_not_have_are_refused(clip: Float32) -> None:
    with pytest.raises(DuendeError, match="teacher kernel has no setting loudness"):
        teacher_targets([clip], clip, RATE_HZ, loudness=1.0)
    with pytest.raises(DuendeError, match="teacher 'nobody': choose one of cnn, kernel, sms"):
        teacher_targets([clip], clip, RATE_HZ, "nobody")


def test_workers_need_no_training_library() -> None:
    code = (
        "import sys; import duende.export.teachers.targets; "
        "print([name for name in ('torch', 'librosa', 'numba', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
