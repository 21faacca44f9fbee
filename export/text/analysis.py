"""From a note of known pitch to the envelopes of `additive`: levels of its harmonics and of the noise between them."""

import numpy as np
import numpy.typing as npt
import scipy.fft

from .additive import EDGES, FLOOR_DB, HARMONICS, TIMES, Envelopes

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

HOP_S = 0.005


def envelopes_of(audio: Float32, f0: float, sample_rate: int) -> Envelopes:
    """Envelopes of a note [samples] that begins at its first sample; f0 in Hz."""
    fine = _spectrogram(audio, sample_rate, 4.0 * sample_rate / f0)
    sharp = _spectrogram(audio, sample_rate, 8.0 * sample_rate / f0)
    count = min(HARMONICS, int(0.45 * sample_rate / f0))
    floor = _between(sharp, f0, sample_rate, count)
    levels = np.full((len(TIMES), HARMONICS), FLOOR_DB)
    size = 2 * (fine.shape[1] - 1)
    reach = max(1, round(0.2 * f0 * size / sample_rate))
    at = np.arange(len(fine)) * HOP_S
    for number in range(count):
        middle = round((number + 1) * f0 * size / sample_rate)
        near = fine[:, max(0, middle - reach) : middle + reach + 1].max(axis=1)
        # |X|^2 of noise has the mean PSD * sr * sum(w^2) / 2; of a sine of peak 1, (sum(w) / 2)^2.
        power = np.maximum(near - 3.0 * floor[: len(near), number] * sample_rate * _energy(size) / 2.0, 0.0)
        level = 10.0 * np.log10(4.0 * power / _area(size) ** 2 + 1e-12)
        levels[:, number] = np.interp(TIMES, at, level)
    centres = np.sqrt(EDGES[:-1] * EDGES[1:])
    middles = (np.arange(count) + 0.5) * f0
    density = np.stack([np.interp(centres, middles, row) for row in 10.0 * np.log10(floor + 1e-18)])
    noise = density + 10.0 * np.log10(np.diff(EDGES))
    noise[:, centres > 0.47 * sample_rate] = FLOOR_DB
    noise = np.stack([np.interp(TIMES, at, band) for band in noise.T], axis=1)
    return Envelopes(np.maximum(levels, FLOOR_DB), np.maximum(noise, FLOOR_DB))


def _between(power: Float64, f0: float, sample_rate: int, count: int) -> Float64:
    """Power density (per Hz, one-sided) midway under each harmonic [frames, count]."""
    size = 2 * (power.shape[1] - 1)
    reach = max(1, round(0.12 * f0 * size / sample_rate))
    columns = []
    for number in range(count):
        middle = round((number + 0.5) * f0 * size / sample_rate)
        columns.append(np.median(power[:, max(0, middle - reach) : middle + reach + 1], axis=1))
    # The median of an exponential distribution is ln 2 of its mean.
    density = np.stack(columns, axis=1) / np.log(2.0) * 2.0 / (sample_rate * _energy(size))
    return np.asarray(density, dtype=np.float64)


def _spectrogram(audio: Float32, sample_rate: int, least: float) -> Float64:
    """Power [frames, bins], frame n centred at n HOP_S; what lies before the first sample is made up for."""
    size = 1 << int(np.ceil(np.log2(least)))
    hop, window = round(HOP_S * sample_rate), np.hanning(size + 1)[:-1]
    frames = round(TIMES[-1] / HOP_S) + 1
    padded = np.zeros((frames - 1) * hop + size)
    kept = audio[: len(padded) - size // 2]
    padded[size // 2 : size // 2 + len(kept)] = kept
    cut = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(scipy.fft.rfft(cut * window, axis=1)) ** 2
    seen = np.array([window[max(0, size // 2 - place * hop) :].sum() for place in range(frames)]) / window.sum()
    return np.asarray(power / np.maximum(seen, 0.5)[:, None] ** 2, dtype=np.float64)


def _area(size: int) -> float:
    return 0.5 * size


def _energy(size: int) -> float:
    return 0.375 * size
