"""Loudness as it is heard: against the recommendation's own calibration, and against another implementation."""

import numpy as np
import pytest

from duende.export.captures.heard import RATE, loudness_lufs


def test_a_full_scale_sine_of_997_hz_reads_minus_3() -> None:
    """BS.1770-4: 0 dBFS at 997 Hz in one channel reads -3.01 LKFS."""
    seconds = np.arange(5 * RATE) / RATE
    sine = np.sin(2.0 * np.pi * 997.0 * seconds)
    assert loudness_lufs(sine) == pytest.approx(-3.01, abs=0.02)
    assert loudness_lufs(0.1 * sine) == pytest.approx(-23.01, abs=0.02)


def test_rests_do_not_count_and_treble_weighs_more(rng: np.random.Generator) -> None:
    noise = 0.1 * rng.standard_normal(4 * RATE)
    with_rests = np.concatenate([noise, np.zeros(6 * RATE), 1e-4 * noise])
    assert loudness_lufs(with_rests) == pytest.approx(loudness_lufs(noise), abs=0.3)
    seconds = np.arange(2 * RATE) / RATE
    low, high = (loudness_lufs(0.1 * np.sin(2.0 * np.pi * hertz * seconds)) for hertz in (60.0, 4000.0))
    assert high > low + 4.0


def test_silence_and_what_is_shorter_than_a_block() -> None:
    assert loudness_lufs(np.zeros(RATE)) == float("-inf")
    assert loudness_lufs(np.zeros(0)) == float("-inf")
    assert loudness_lufs(np.full(100, 0.5) * np.sin(np.arange(100.0))) > -60.0


@pytest.mark.train
def test_equal_to_pyloudnorm(rng: np.random.Generator) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    for seconds, level in ((1.0, 0.3), (7.3, 0.05)):
        sound = level * rng.standard_normal(round(seconds * RATE)) * np.linspace(0.0, 1.0, round(seconds * RATE))
        wanted = pyloudnorm.Meter(RATE).integrated_loudness(sound)
        assert loudness_lufs(sound) == pytest.approx(wanted, abs=0.05)
