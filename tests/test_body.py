"""The body: minimum phase, the right magnitude, and straight mixes of styles and amounts."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende.engine.body import AMOUNT_STEPS, TAPS, Body, body_tables, minimum_phase
from duende.engine.convolver import Convolver
from duende.engine.excitation import pre_emphasis
from duende.engine.mixer import mixer_bands
from duende.engine.stft import DEFAULT_SIZES

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATE = 48000.0
POINTS = 1025
BANDS = mixer_bands(DEFAULT_SIZES, RATE)


def curves() -> Float64:
    """Two smooth curves of natural logs [2, POINTS] up to 24 kHz."""
    hertz = np.linspace(0.0, 24000.0, POINTS)
    octaves = np.log2(np.maximum(hertz, 30.0) / 1000.0)
    return np.stack([-0.4 * octaves, 1.5 * np.sin(octaves) - 0.1 * octaves])


def make_body() -> Body:
    return Body(body_tables(curves(), 24000.0, RATE, 128, BANDS.pooling, DEFAULT_SIZES.analysis))


def impulse_response(body: Body) -> Float64:
    convolver = Convolver(body.spectra)
    samples = np.zeros((1, TAPS), dtype=np.float32)
    samples[0, 0] = 1.0
    out = np.empty_like(samples)
    convolver.process(samples, out)
    return np.asarray(out[0], dtype=np.float64)


def log_magnitude(response: Float64, hertz: Float64) -> Float64:
    return np.asarray(np.log(np.abs(signal.freqz(response, worN=hertz, fs=RATE)[1])), dtype=np.float64)


HERTZ = np.geomspace(80.0, 20000.0, 200)


def test_minimum_phase_of_a_known_filter() -> None:
    """A filter whose poles and zeros lie inside the circle is its own minimum phase."""
    numerator, denominator = np.poly([0.7, -0.5, 0.3]), np.poly([0.9, 0.2])
    magnitude = np.abs(signal.freqz(numerator, denominator, worN=np.linspace(0.0, np.pi, 8193))[1])
    wanted = signal.lfilter(numerator, denominator, np.eye(1, 1024)[0])
    assert np.abs(minimum_phase(np.log(magnitude), 1024) - wanted).max() <= 1e-6


def test_amount_0_undoes_the_pre_emphasis() -> None:
    body = make_body()
    body.set(np.array([0.3, 0.7], dtype=np.float32), 0.0)
    wanted = pre_emphasis(RATE) ** np.arange(TAPS)
    assert np.abs(impulse_response(body) - wanted).max() <= 1e-5


@pytest.mark.parametrize("style", [0, 1])
def test_amount_1_has_the_magnitude_of_the_style(style: int) -> None:
    body = make_body()
    body.set(np.eye(2, dtype=np.float32)[style], 1.0)
    wanted = np.interp(HERTZ, np.linspace(0.0, 24000.0, POINTS), curves()[style])
    assert np.abs(log_magnitude(impulse_response(body), HERTZ) - wanted).max() <= 0.03


@pytest.mark.parametrize("rate", [44100.0, 48000.0])
def test_the_curve_stays_at_its_frequencies_at_other_rates(rate: float) -> None:
    body = Body(
        body_tables(curves(), 24000.0, rate, 128, mixer_bands(DEFAULT_SIZES, rate).pooling, DEFAULT_SIZES.analysis)
    )
    body.set(np.array([0.0, 1.0], dtype=np.float32), 1.0)
    response = impulse_response(body)
    got = np.log(np.abs(signal.freqz(response, worN=HERTZ[:-20], fs=rate)[1]))
    wanted = np.interp(HERTZ[:-20], np.linspace(0.0, 24000.0, POINTS), curves()[1])
    assert np.abs(got - wanted).max() <= 0.05


def test_between_two_steps_of_amount_the_logs_are_mixed() -> None:
    body = make_body()
    half = np.array([1.0, 0.0], dtype=np.float32)
    body.set(half, 0.5)
    plain = -np.log(np.abs(signal.freqz([1.0, -pre_emphasis(RATE)], worN=HERTZ, fs=RATE)[1]))
    full = np.interp(HERTZ, np.linspace(0.0, 24000.0, POINTS), curves()[0])
    assert np.abs(log_magnitude(impulse_response(body), HERTZ) - 0.5 * (plain + full)).max() <= 0.03


def test_mixes_are_straight_lines_between_filters() -> None:
    body = make_body()

    def response(style: list[float], amount: float) -> Float64:
        body.set(np.array(style, dtype=np.float32), amount)
        return impulse_response(body)

    one, two = response([1.0, 0.0], 1.0), response([0.0, 1.0], 1.0)
    assert np.abs(response([0.25, 0.75], 1.0) - (0.25 * one + 0.75 * two)).max() <= 1e-5
    low, high = response([1.0, 0.0], 2.0 / AMOUNT_STEPS), response([1.0, 0.0], 3.0 / AMOUNT_STEPS)
    assert np.abs(response([1.0, 0.0], 2.5 / AMOUNT_STEPS) - 0.5 * (low + high)).max() <= 1e-5


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_band_power_is_that_of_the_response(amount: float) -> None:
    body = make_body()
    body.set(np.array([1.0, 0.0], dtype=np.float32), amount)
    hertz = np.arange(BANDS.bins) * RATE / DEFAULT_SIZES.analysis
    wanted = np.exp(2.0 * log_magnitude(impulse_response(body), hertz)) @ BANDS.pooling
    assert np.allclose(body.band_power, wanted, rtol=0.01)


def test_most_energy_comes_first() -> None:
    body = make_body()
    body.set(np.array([0.0, 1.0], dtype=np.float32), 1.0)
    energy = np.cumsum(impulse_response(body) ** 2)
    assert energy[480] >= 0.99 * energy[-1], "within 10 ms"
