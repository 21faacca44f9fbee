"""A sound in parts that can be changed apart: its sinusoids, what they leave over, and noise as loud as it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.signal

from ....engine.bands import Bands, erb_bands
from .analysis import SineAnalysis, Tracks, analyse
from .synthesis import synthesise

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

ENVELOPE_S = 0.012
SPREAD_S, FADE_S = 0.025, 0.015
_RISE = 0.35  # nepers by which the bands of 23 ms must rise in the mean for an attack, at least
_QUIETEST = 1e-5


@dataclass(frozen=True)
class Parts:
    """tracks: the sinusoids. sines, residual: float32 [samples], their sum is the sound."""

    tracks: Tracks
    sines: Float32
    residual: Float32

    @property
    def sound(self) -> Float32:
        return self.sines + self.residual


def split(audio: Float32, analysis: SineAnalysis) -> Parts:
    """Sinusoids and residual of audio [samples]."""
    tracks = analyse(audio, analysis)
    sines = synthesise(tracks, analysis, len(audio))
    return Parts(tracks, sines, np.asarray(audio - sines, dtype=np.float32))


def envelope(audio: Float32, sample_rate: int) -> Float64:
    """RMS around every sample [samples], under a Gaussian of ENVELOPE_S; exactly 0 far from any sound."""
    square = scipy.ndimage.gaussian_filter1d(np.square(audio, dtype=np.float64), ENVELOPE_S * sample_rate, truncate=3.0)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def shaped_noise(audio: Float32, sample_rate: int, seed: int) -> Float32:
    """White noise that is as loud as audio [samples] at every moment; silence stays silent."""
    white = np.random.default_rng([seed, 0x0153]).standard_normal(len(audio))
    return np.asarray(white * envelope(audio, sample_rate), dtype=np.float32)


def band_powers(audio: Float32, bands: Bands, n_fft: int, hop: int) -> Float64:
    """Mean square in each band of Hann frames that lie wholly inside audio: [frames, bands]."""
    window = np.hanning(n_fft + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(audio, n_fft)[::hop] * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 * (2.0 / (n_fft * np.sum(window**2)))
    return np.asarray(power[:, : bands.bins] @ (bands.pooling * np.maximum(bands.interpolation.sum(axis=1), 1.0)))


def attack_times(audio: Float32, sample_rate: int) -> Float64:
    """Seconds at which bands rise together, the loudest rise of its surroundings of 50 ms."""
    n_fft, hop = 1024, 128
    if len(audio) < n_fft:
        return np.zeros(0)
    bands = erb_bands(sample_rate, n_fft, 32, 100.0, min(12_000.0, 0.45 * sample_rate))
    padded = np.pad(audio, (n_fft, n_fft))
    powers = band_powers(padded, bands, n_fft, hop)
    level = 0.5 * np.log(powers + 1e-6 * powers.max() + _QUIETEST**2)
    lag = round(0.012 * sample_rate / hop)
    rise = np.maximum(level[lag:] - level[:-lag], 0.0).mean(axis=1)
    around = scipy.ndimage.median_filter(rise, max(3, round(0.2 * sample_rate / hop)))
    peaks = scipy.signal.find_peaks(rise - around, height=_RISE, distance=max(1, round(0.05 * sample_rate / hop)))[0]
    # The rise is seen when the later frame holds the attack to its middle.
    centre = (peaks + 0.5 * lag) * hop + 0.5 * n_fft - n_fft
    return np.asarray(np.clip(centre / sample_rate, 0.0, len(audio) / sample_rate))


def near_attacks(times: Float64, seconds: Float64) -> Float64:
    """0..1 for each moment [n]: 1 within SPREAD_S of an attack, 0 from FADE_S further on, a cosine between."""
    if len(times) == 0:
        return np.zeros(len(seconds))
    order = np.sort(times)
    right = np.clip(np.searchsorted(order, seconds), 0, len(order) - 1)
    left = np.maximum(right - 1, 0)
    distance = np.minimum(np.abs(order[right] - seconds), np.abs(order[left] - seconds))
    far = np.clip((distance - SPREAD_S) / FADE_S, 0.0, 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * far))
