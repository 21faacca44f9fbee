"""The training content: dense like a real player, varied, seeded, and from the player's own folder if given."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from duende import DuendeError
from duende.export import corpus
from signals import RATE_HZ, noise, tone


@pytest.fixture(scope="module")
def pieces() -> corpus.Float32:
    return corpus.content_pieces(16, 2.0, 1.0, RATE_HZ, seed=1)


def test_pieces_have_their_shape_and_are_sane(pieces: corpus.Float32) -> None:
    assert pieces.shape == (16, 3 * RATE_HZ)
    assert pieces.dtype == np.float32
    assert np.isfinite(pieces).all()
    assert np.abs(pieces).max() < 10.0


def test_pieces_are_as_dense_as_real_playing(pieces: corpus.Float32) -> None:
    # Recorded guitars: mean of about 0, deviation of 0.4 to 0.7 nepers.
    mean, deviation = np.mean([corpus.level_statistics(piece, RATE_HZ, 1.0) for piece in pieces], axis=0)
    assert -0.4 < mean < 0.2
    assert 0.3 < deviation < 0.8


def test_level_statistics_tell_a_tone_from_rests() -> None:
    steady = tone(200.0, 4 * RATE_HZ)
    mean, deviation = corpus.level_statistics(steady, RATE_HZ)
    assert abs(mean) < 0.02
    assert deviation < 0.02
    gaps = steady * (np.arange(len(steady)) // (RATE_HZ // 2) % 2 == 0)
    mean, deviation = corpus.level_statistics(gaps, RATE_HZ)
    assert mean < -0.8
    assert deviation > 1.0


def test_levels_and_spectra_vary(pieces: corpus.Float32) -> None:
    played = pieces[:, RATE_HZ:]
    levels_db = 10.0 * np.log10(np.mean(played**2, axis=1))
    assert levels_db.min() > -41.0
    assert levels_db.max() < -13.0
    assert np.ptp(levels_db) > 10.0
    power = np.abs(np.fft.rfft(played)) ** 2
    hz = np.fft.rfftfreq(played.shape[1], 1.0 / RATE_HZ)
    centroids_hz = (power @ hz) / power.sum(axis=1)
    assert centroids_hz.max() > 3.0 * centroids_hz.min()


def test_some_pieces_start_cold() -> None:
    starts = corpus.content_pieces(40, 0.5, 0.5, RATE_HZ, seed=3)[:, : RATE_HZ // 2]
    cold = int(np.sum(~starts.any(axis=1)))
    assert 1 <= cold <= 12


def test_the_seed_alone_decides() -> None:
    first, again, other = (corpus.content_pieces(3, 0.5, 0.2, RATE_HZ, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_phrases_fill_their_time(rng: np.random.Generator) -> None:
    for _ in range(3):
        audio = corpus.phrases(3.0, rng, RATE_HZ)
        assert len(audio) == 3 * RATE_HZ
        assert np.sqrt(np.mean(audio**2)) == pytest.approx(corpus.NOMINAL_RMS, rel=1e-3)
        levels = np.sqrt(np.mean(audio.reshape(-1, RATE_HZ // 20) ** 2, axis=1))
        assert np.percentile(levels, 25.0) > 0.2 * corpus.NOMINAL_RMS


def test_augmentation_changes_sound_and_keeps_length(rng: np.random.Generator) -> None:
    audio = noise(rng, RATE_HZ)
    results = [corpus.augment(audio, RATE_HZ, rng) for _ in range(12)]
    assert {len(result) for result in results} == {RATE_HZ}
    power = np.abs(np.fft.rfft(results)) ** 2
    levels_db = 10.0 * np.log10(power.sum(axis=1))
    tilts_db = 10.0 * np.log10(power[:, 4000:10000].sum(axis=1) / power[:, 100:1000].sum(axis=1))
    assert np.ptp(levels_db) > 12.0
    assert np.ptp(tilts_db) > 15.0


def test_a_folder_is_read_whatever_its_formats(tmp_path: Path) -> None:
    audio = tone(440.0, 44100, rate_hz=44100)
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "a.wav", np.stack((audio, np.zeros_like(audio)), axis=1), 44100)
    soundfile.write(tmp_path / "deep" / "b.flac", tone(440.0, 24000), RATE_HZ)
    (tmp_path / "notes.txt").write_text("not audio")
    soundfile.write(tmp_path / "silent.wav", np.zeros(100, dtype=np.float32), RATE_HZ)
    first, second = corpus.load_folder(tmp_path, RATE_HZ)
    assert len(first) == pytest.approx(RATE_HZ, abs=2)
    assert np.abs(first).max() == pytest.approx(0.25, abs=0.01)
    assert len(second) == 24000
    crossings = np.sum(np.diff(np.signbit(first)))
    assert crossings == pytest.approx(880, abs=4)


def test_the_players_own_recordings_are_used(tmp_path: Path) -> None:
    # A high pure tone, which no plucked string makes, at whatever speed it is read.
    soundfile.write(tmp_path / "own.wav", tone(3300.0, RATE_HZ, level_dbfs=-20.0), RATE_HZ)
    rng = np.random.default_rng(1)
    own = corpus.load_folder(tmp_path, RATE_HZ)
    found = 0
    for _ in range(20):
        audio = corpus._source(0.5, RATE_HZ, own, rng)
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
        top = int(spectrum.argmax())
        found += spectrum[top - 3 : top + 4].sum() > 0.99 * spectrum.sum() and top > 2000 * len(audio) / RATE_HZ
        assert len(audio) == RATE_HZ // 2
    assert 8 <= found <= 19
    assert corpus.content_pieces(2, 0.5, 0.1, RATE_HZ, recordings=own).shape == (2, round(0.6 * RATE_HZ))


def test_without_audio_the_error_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not audio")
    with pytest.raises(DuendeError, match=r"no audio in .*put WAV"):
        corpus.load_folder(tmp_path)
    with pytest.raises(DuendeError, match="is not a folder"):
        corpus.load_folder(tmp_path / "missing")
    with pytest.raises(ValueError, match="at least one"):
        corpus.content_pieces(0, 1.0, 0.0)
