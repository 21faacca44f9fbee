"""Chunks cover the whole; what is joined of them has no step in level, no click, no break in phase."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal

from duende import DuendeError
from duende.export.teachers.chunks import Span, join, plan
from signals import noise, snr_db, tone

Float32 = npt.NDArray[np.float32]

RATE = 16000


def playing(rng: np.random.Generator, seconds: float) -> Float32:
    """A plucked note every 0.37 s."""
    frames = round(seconds * RATE)
    sound = noise(rng, frames, level_dbfs=-60.0)
    for number, start in enumerate(range(0, frames - 100, round(0.37 * RATE))):
        length = min(RATE, frames - start)
        decay = np.exp(-6.0 * np.arange(length) / RATE)
        sound[start : start + length] += tone(220.0 * 1.1 ** (number % 7), length, rate_hz=RATE) * decay
    return np.asarray(sound, dtype=np.float32)


def level_db(audio: Float32, width_s: float = 0.05) -> npt.NDArray[np.float64]:
    """Of frames, every half of them."""
    width = round(width_s * RATE)
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), width)[:: width // 2]
    return np.asarray(10.0 * np.log10(np.mean(frames**2, axis=1) + 1e-12))


@pytest.mark.parametrize("seconds", [2.5, 2.6, 3.4, 10.0, 61.7])
@pytest.mark.parametrize("chunk_s", [2.5, 4.0, 30.0])
def test_chunks_cover_the_whole_and_share_a_second(seconds: float, chunk_s: float) -> None:
    samples = round(seconds * RATE)
    spans = plan(samples, round(chunk_s * RATE), RATE)
    assert (spans[0].start, spans[-1].stop) == (0, samples)
    assert max(span.length for span in spans) <= max(round(chunk_s * RATE), 1)
    if seconds <= chunk_s:
        assert len(spans) == 1
    for left, right in itertools.pairwise(spans):
        assert left.stop - right.start >= RATE - 2
        assert left.length == right.length


def test_chunks_that_are_too_short_are_refused() -> None:
    with pytest.raises(DuendeError, match=r"2\.00 s are too short: give 2\.5 s"):
        plan(10 * RATE, 2 * RATE, RATE)


def test_what_was_not_changed_comes_back_as_it_was(rng: np.random.Generator) -> None:
    content = playing(rng, 12.0)
    spans = plan(len(content), 4 * RATE, RATE)
    whole = join([content[span.start : span.stop] for span in spans], spans, content, RATE)
    assert whole.dtype == np.float32
    assert snr_db(content, whole) > 100.0
    assert np.array_equal(join([content], [Span(0, len(content))], content, RATE), content)


def test_independent_noise_keeps_its_level_and_has_no_click(rng: np.random.Generator) -> None:
    content = noise(rng, 12 * RATE, level_dbfs=-20.0)
    spans = plan(len(content), 4 * RATE, RATE)
    pieces = [noise(rng, span.length, level_dbfs=-20.0) for span in spans]
    whole = join(pieces, spans, content, RATE)
    seams = [slice(right.start, left.stop) for left, right in itertools.pairwise(spans)]
    assert len(seams) == 3
    levels = level_db(whole, 0.2)
    assert np.abs(levels - np.median(levels)).max() < 0.6
    inside = np.abs(np.diff(pieces[0])).max()
    for seam in seams:
        assert np.abs(np.diff(whole[seam])).max() < 1.15 * inside


def test_a_tone_with_another_phase_in_each_chunk_goes_on(rng: np.random.Generator) -> None:
    content = tone(220.0, 9 * RATE, level_dbfs=-20.0, rate_hz=RATE)
    spans = plan(len(content), 3 * RATE, RATE)
    time = np.arange(len(content)) / RATE
    pieces = []
    for number, span in enumerate(spans):
        moved = 0.1 * np.sqrt(2.0) * np.sin(2.0 * np.pi * 220.0 * time + 1.9 * number)
        pieces.append(moved[span.start : span.stop].astype(np.float32))
    whole = join(pieces, spans, content, RATE)[: -round(0.01 * RATE)]
    levels = level_db(whole)
    assert levels.max() - levels.min() < 0.3
    # A break in phase would show as energy beside the tone.
    spectrum = np.abs(np.fft.rfft(whole * np.blackman(len(whole)))) ** 2
    hz = np.fft.rfftfreq(len(whole), 1.0 / RATE)
    beside = spectrum[(np.abs(hz - 220.0) > 60.0)].sum() / spectrum.sum()
    assert 10.0 * np.log10(beside) < -50.0


def test_chunks_of_different_levels_meet_half_way(rng: np.random.Generator) -> None:
    content = noise(rng, 9 * RATE, level_dbfs=-20.0)
    spans = plan(len(content), 3 * RATE, RATE)
    gains_db = [0.0, 4.0, -1.0, 2.0][: len(spans)]
    pieces = [
        content[span.start : span.stop] * np.float32(10.0 ** (gain / 20.0))
        for span, gain in zip(spans, gains_db, strict=True)
    ]
    gain_db = level_db(join(pieces, spans, content, RATE), 0.2) - level_db(content, 0.2)
    assert np.abs(np.diff(gain_db)).max() < 0.6
    assert gain_db.max() < 4.0


def test_quiet_chunks_stay_quiet_where_a_system_makes_all_alike(rng: np.random.Generator) -> None:
    content = noise(rng, 18 * RATE, level_dbfs=-20.0)
    content[: 9 * RATE] *= np.float32(0.3)
    spans = plan(len(content), 4 * RATE, RATE)
    pieces = [noise(rng, span.length, level_dbfs=-20.0) for span in spans]
    made = level_db(join(pieces, spans, content, RATE), 0.2)
    quiet, loud = np.median(made[: len(made) // 3]), np.median(made[-len(made) // 3 :])
    assert loud - quiet == pytest.approx(10.46, abs=1.0)
    assert np.abs(np.diff(made)).max() < 1.2


def test_a_fade_is_slow_enough_to_be_no_click(rng: np.random.Generator) -> None:
    content = noise(rng, 9 * RATE, level_dbfs=-20.0)
    spans = plan(len(content), 3 * RATE, RATE)
    low = scipy.signal.butter(8, 150.0, fs=RATE, output="sos")
    pieces = [
        scipy.signal.sosfiltfilt(low, noise(rng, span.length, level_dbfs=-10.0)).astype(np.float32) for span in spans
    ]
    whole = join(pieces, spans, content, RATE)[round(0.1 * RATE) : -round(0.1 * RATE)]
    high = scipy.signal.butter(8, 1000.0, "high", fs=RATE, output="sos")
    clicks = np.abs(scipy.signal.sosfilt(high, whole)[RATE // 10 :]).max() / np.abs(whole).max()
    assert 20.0 * np.log10(clicks) < -70.0


def test_a_silent_chunk_stays_silent(rng: np.random.Generator) -> None:
    content = playing(rng, 12.0)
    content[5 * RATE :] = 0.0
    spans = plan(len(content), 4 * RATE, RATE)
    whole = join([content[span.start : span.stop] for span in spans], spans, content, RATE)
    assert not whole[5 * RATE + 400 :].any()
