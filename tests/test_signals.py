"""The signals have the levels they claim, and snr_db tells like from unlike."""

import numpy as np
import pytest

from signals import RATE_HZ, impulse, noise, snr_db, tone


def test_tone_has_its_frequency_and_level() -> None:
    x = tone(1000.0, RATE_HZ, level_dbfs=-20.0)
    spectrum = np.abs(np.fft.rfft(x)) * 2.0 / RATE_HZ
    assert x.dtype == np.float32
    assert spectrum.argmax() == 1000
    assert 20.0 * np.log10(spectrum.max()) == pytest.approx(-20.0, abs=0.01)


def test_tone_fades_at_both_ends() -> None:
    faded, plain = tone(1000.0, 480, fade_frames=100), tone(1000.0, 480)
    assert np.array_equal(faded[100:-100], plain[100:-100])
    assert np.abs(faded[:5]).max() < 0.01
    assert np.abs(faded[-5:]).max() < 0.01


def test_impulse_is_one_sample() -> None:
    x = impulse(8, at=3, level=0.5)
    assert x.tolist() == [0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]


def test_noise_has_its_level_and_repeats(rng: np.random.Generator) -> None:
    x = noise(rng, RATE_HZ, level_dbfs=-12.0)
    assert 20.0 * np.log10(np.sqrt(np.mean(x**2))) == pytest.approx(-12.0, abs=0.1)
    assert np.array_equal(x, noise(np.random.default_rng(seed=440), RATE_HZ, level_dbfs=-12.0))


def test_snr_of_a_known_error() -> None:
    x = tone(440.0, RATE_HZ)
    assert snr_db(x, x) == np.inf
    assert snr_db(x, x * np.float32(1.01)) == pytest.approx(40.0, abs=0.01)
    assert snr_db(x, np.zeros_like(x)) == pytest.approx(0.0)


def test_snr_never_calls_a_broken_signal_good() -> None:
    x = tone(440.0, 64)
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[10] = bad
        assert snr_db(x, broken) == -np.inf
        with pytest.raises(ValueError, match="finite"):
            snr_db(broken, x)
    assert snr_db(np.zeros(4), np.full(4, 1e-9)) == -np.inf
    with pytest.raises(ValueError, match="shapes differ"):
        snr_db(x, x[:, np.newaxis])
    with pytest.raises(ValueError, match="must have samples"):
        snr_db([], [])


@pytest.mark.parametrize(("frequency_hz", "fade_frames"), [(24_000.0, 0), (-1.0, 0), (440.0, 33)])
def test_tone_refuses(frequency_hz: float, fade_frames: int) -> None:
    with pytest.raises(ValueError, match="must be in"):
        tone(frequency_hz, 64, fade_frames=fade_frames)
