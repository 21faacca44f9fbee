"""Equivalent-rectangular-bandwidth (ERB) bands: from FFT bins to band powers, and from band gains to bins."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def hz_to_erb(frequency_hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """ERB-rate number of a frequency (Glasberg and Moore 1990: 21.4 log10(1 + 0.00437 f))."""
    return np.asarray(21.4 * np.log10(1.0 + 0.00437 * np.asarray(frequency_hz, dtype=np.float64)))


def erb_to_hz(erb: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frequency in Hz of an ERB-rate number; the inverse of `hz_to_erb`."""
    return np.asarray((10.0 ** (np.asarray(erb, dtype=np.float64) / 21.4) - 1.0) / 0.00437)


@dataclass(frozen=True, eq=False)
class Bands:
    """Triangular bands, equally spaced on the ERB scale.

    centres_hz:    float64 [bands], first = low_hz, last = high_hz.
    pooling:       float32 [bins, bands]; `power @ pooling` is the mean power of a band (columns sum to 1).
    interpolation: float32 [bands, bins]; `gain @ interpolation` draws gains linearly between band centres,
                   level below the first and above the last (columns sum to 1).
    bins:          how many FFT bins from 0 the bands cover: those up to high_hz.
    """

    centres_hz: npt.NDArray[np.float64]
    pooling: Float32
    interpolation: Float32

    @property
    def count(self) -> int:
        return len(self.centres_hz)

    @property
    def bins(self) -> int:
        return len(self.pooling)


def erb_bands(sample_rate: float, n_fft: int, count: int = 48, low_hz: float = 60.0, high_hz: float = 18000.0) -> Bands:
    """Bands for a rate (Hz) and FFT length (samples), covering the bins up to high_hz."""
    if not 0.0 < low_hz < high_hz <= sample_rate / 2.0:
        raise ValueError(f"bands {low_hz:g}..{high_hz:g} Hz do not fit a sample rate of {sample_rate:g} Hz")
    centres = np.linspace(hz_to_erb(low_hz), hz_to_erb(high_hz), count)
    bins = int(high_hz / sample_rate * n_fft) + 1
    position = np.interp(hz_to_erb(np.arange(bins) * sample_rate / n_fft), centres, np.arange(count))
    triangles = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(count)[None, :]))
    # A band narrower than a bin may hold none: it then reads the bin nearest to its centre.
    empty = triangles.sum(axis=0) < 1e-3
    nearest = np.rint(erb_to_hz(centres) * n_fft / sample_rate).astype(int).clip(0, bins - 1)
    pooling = triangles.copy()
    pooling[nearest[empty], np.flatnonzero(empty)] = 1.0
    pooling /= pooling.sum(axis=0, keepdims=True)
    return Bands(
        centres_hz=erb_to_hz(centres),
        pooling=np.ascontiguousarray(pooling, dtype=np.float32),
        interpolation=np.ascontiguousarray(triangles.T, dtype=np.float32),
    )
