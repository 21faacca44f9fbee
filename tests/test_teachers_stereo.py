"""Sides follow their middle: nothing changed, nothing moves; what stood left stands left; a gain is a gain."""

import numpy as np
import numpy.typing as npt
import pytest

from duende.export.teachers.stereo import follow, merge, split
from signals import noise, snr_db, tone

Float32 = npt.NDArray[np.float32]

RATE = 22050


@pytest.fixture
def sides(rng: np.random.Generator) -> Float32:
    """A tone on the left, another in the middle, a room on both."""
    frames = 2 * RATE
    left, centre = (tone(hz, frames, level_dbfs=-20.0, rate_hz=RATE) for hz in (440.0, 1500.0))
    room = [noise(rng, frames, level_dbfs=-50.0) for _ in range(2)]
    return np.stack([1.8 * left + centre + room[0], 0.2 * left + centre + room[1]], axis=1).astype(np.float32)


def rms(audio: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def test_middle_and_side_and_back(sides: Float32) -> None:
    assert snr_db(sides, merge(*split(sides))) > 120.0


def test_an_untouched_middle_leaves_the_sides(sides: Float32) -> None:
    mid, side = split(sides)
    assert snr_db(side, follow(mid, side, mid, RATE)) > 60.0


def test_a_gain_of_the_middle_is_one_of_the_sides(sides: Float32) -> None:
    mid, side = split(sides)
    assert snr_db(3.0 * side, follow(mid, side, np.float32(3.0) * mid, RATE)) > 40.0


def test_mono_stays_mono(rng: np.random.Generator, sides: Float32) -> None:
    mid, _ = split(sides)
    assert not follow(mid, np.zeros_like(mid), noise(rng, len(mid)), RATE).any()


def test_what_stood_left_stands_left_with_another_sound(rng: np.random.Generator) -> None:
    frames = 2 * RATE
    panned = tone(440.0, frames, level_dbfs=-20.0, rate_hz=RATE)
    mid, side = split(np.stack([1.5 * panned, 0.5 * panned], axis=1).astype(np.float32))
    # The same pitch an octave louder in overtones and in another phase.
    made = np.float32(0.1) * np.sin(2.0 * np.pi * 440.0 * np.arange(frames) / RATE + 2.1).astype(np.float32)
    left, right = merge(made, follow(mid, side, made, RATE)).T
    assert rms(left) / rms(right) == pytest.approx(3.0, rel=0.05)
