"""ERB bands: the scale, the sums that keep powers and gains in proportion, and the edges."""

import numpy as np
import pytest

from duende.engine.bands import erb_bands, erb_to_hz, hz_to_erb

SHAPES = pytest.mark.parametrize(("rate", "n_fft"), [(48000.0, 2048), (44100.0, 2048), (48000.0, 1024)])


def test_scale() -> None:
    # The scale counts bandwidths of 24.7 (1 + 0.00437 f) Hz; its constant 21.4 is rounded from 21.33.
    for frequency in (100.0, 1000.0, 10000.0):
        steps = np.linspace(0.0, frequency, 100_001)
        counted = np.trapezoid(1.0 / (24.7 * (1.0 + 0.00437 * steps)), steps)
        assert float(hz_to_erb(frequency)) == pytest.approx(counted, rel=0.004)
    frequencies = np.geomspace(20.0, 20000.0, 50)
    assert np.allclose(erb_to_hz(hz_to_erb(frequencies)), frequencies, rtol=1e-12)


@SHAPES
def test_a_flat_power_pools_to_itself(rate: float, n_fft: int) -> None:
    bands = erb_bands(rate, n_fft)
    assert bands.pooling.shape == (bands.bins, bands.count) == (int(18000.0 / rate * n_fft) + 1, 48)
    assert np.allclose(bands.pooling.sum(axis=0), 1.0, atol=1e-5)
    assert bands.pooling.min() >= 0.0


@SHAPES
def test_gains_are_drawn_straight_between_centres(rate: float, n_fft: int, rng: np.random.Generator) -> None:
    bands = erb_bands(rate, n_fft)
    assert np.allclose(bands.interpolation.sum(axis=0), 1.0, atol=1e-5)
    gains = rng.standard_normal(bands.count)
    on_erb = hz_to_erb(np.arange(bands.bins) * rate / n_fft)
    wanted = np.interp(on_erb, hz_to_erb(bands.centres_hz), gains)
    assert np.abs(gains @ bands.interpolation - wanted).max() <= 1e-5


@SHAPES
def test_centres_and_the_band_that_hears_a_bin(rate: float, n_fft: int) -> None:
    bands = erb_bands(rate, n_fft)
    assert bands.centres_hz[[0, -1]].tolist() == pytest.approx([60.0, 18000.0])
    assert np.allclose(np.diff(hz_to_erb(bands.centres_hz)), np.diff(hz_to_erb(bands.centres_hz))[0])
    for frequency in (110.0, 440.0, 2000.0, 9000.0):
        power = np.zeros(bands.bins)
        power[round(frequency * n_fft / rate)] = 1.0
        heard = bands.centres_hz[int(np.argmax(power @ bands.pooling))]
        assert abs(hz_to_erb(heard) - hz_to_erb(frequency)) <= 1.0 + 2.0 * rate / n_fft / 60.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 18000.0), (60.0, 30000.0), (500.0, 400.0)])
def test_bands_beyond_the_rate_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"{low:g}..{high:g} Hz do not fit"):
        erb_bands(48000.0, 2048, low_hz=low, high_hz=high)
