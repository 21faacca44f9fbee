"""The body: the long-term spectrum of a style as a causal minimum-phase filter.

Windows short enough to play through cannot copy a spectrum: neighbouring bands stay 20 to 35 dB too loud. A
minimum-phase FIR can, without latency. The minimum phase follows from the log magnitude by the folded cepstrum
(A. Oppenheim and R. Schafer, "Discrete-Time Signal Processing", section on homomorphic systems).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .convolver import partition_spectra
from .excitation import emphasis_response
from .spec import rate_factor

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]

TAPS = 4096
N_FFT = 16384
AMOUNT_STEPS = 8


def minimum_phase(log_magnitude: Float64, taps: int = TAPS) -> Float64:
    """Impulse response [taps] with the natural-log magnitude [n_fft / 2 + 1], its last quarter faded out."""
    n_fft = 2 * (len(log_magnitude) - 1)
    cepstrum = np.fft.irfft(log_magnitude)
    cepstrum[1 : n_fft // 2] *= 2.0
    cepstrum[n_fft // 2 + 1 :] = 0.0
    response = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))[:taps]
    fade = taps // 4
    response[-fade:] *= np.cos(0.5 * np.pi * np.arange(1, fade + 1) / (fade + 1)) ** 2
    return np.asarray(response)


def filter_grid(sample_rate: float) -> Float64:
    """Frequencies in Hz [N_FFT / 2 + 1] that the filters are designed at; twice as many at 88.2 and 96 kHz."""
    n_fft = N_FFT * rate_factor(sample_rate)
    return np.asarray(np.arange(n_fft // 2 + 1) * sample_rate / n_fft)


def on_filter_grid(log_magnitude: npt.ArrayLike, top_hz: float, sample_rate: float) -> Float64:
    """A curve [points] from 0 Hz to top_hz, drawn onto the frequencies of `filter_grid`."""
    curve = np.asarray(log_magnitude, dtype=np.float64)
    frequency = filter_grid(sample_rate)
    return np.asarray(np.interp(frequency, np.linspace(0.0, top_hz, len(curve)), curve))


def band_response(taps: Float64, pooling: Float32, n_fft: int) -> Float64:
    """Mean power response [bands] of a filter [taps] in bands pooled by [bins, bands] of an n_fft transform."""
    size = len(taps) // TAPS * N_FFT
    power = np.abs(np.fft.rfft(taps, size)) ** 2
    bins = np.arange(len(pooling)) * (size / n_fft)
    return np.asarray(np.interp(bins, np.arange(len(power)), power) @ pooling)


def body_filters(log_magnitudes: npt.ArrayLike, top_hz: float, sample_rate: float) -> Float64:
    """Filters [styles, AMOUNT_STEPS + 1, TAPS]: undoing the pre-emphasis at amount 0, the style at 1.

    At 88.2 and 96 kHz they are twice as long.

    log_magnitudes: natural logs [styles, points] on a linear grid from 0 Hz to top_hz; between the two ends of the
    amount logarithms are mixed.
    """
    plain = -np.log(np.abs(emphasis_response(filter_grid(sample_rate), sample_rate)))
    taps = TAPS * rate_factor(sample_rate)
    amounts = np.linspace(0.0, 1.0, AMOUNT_STEPS + 1)
    curves = [on_filter_grid(curve, top_hz, sample_rate) for curve in np.atleast_2d(np.asarray(log_magnitudes))]
    return np.stack([[minimum_phase((1.0 - a) * plain + a * curve, taps) for a in amounts] for curve in curves])


@dataclass(frozen=True)
class BodyTables:
    """Partitioned spectra [styles, AMOUNT_STEPS + 1, partitions, bins] and band powers [.., bands] of all filters."""

    spectra: Complex64
    powers: Float32


def body_tables(
    log_magnitudes: npt.ArrayLike, top_hz: float, sample_rate: float, partition: int, pooling: Float32, n_fft: int
) -> BodyTables:
    """Filters of all styles of a model for every amount: undoing the pre-emphasis at 0, the style at 1.

    log_magnitudes: natural logs [styles, points] on a linear grid from 0 Hz to top_hz.
    pooling:        matrix [bins, bands] of the bands of an n_fft transform, for the band powers.
    """
    filters = body_filters(log_magnitudes, top_hz, sample_rate)
    spectra = [[partition_spectra(taps, partition) for taps in steps] for steps in filters]
    powers = [[band_response(taps, pooling, n_fft) for taps in steps] for steps in filters]
    return BodyTables(np.array(spectra, dtype=np.complex64), np.array(powers, dtype=np.float32))


class Body:
    """The filter that belongs to a mix of styles and an amount."""

    def __init__(self, tables: BodyTables) -> None:
        self.spectra = tables.spectra[0, -1].copy()
        self.band_power = tables.powers[0, -1].copy()
        styles = len(tables.spectra)
        # As rows of numbers [styles, AMOUNT_STEPS + 1, ..], so that a mix is one product of a few weights with them.
        rows = tables.spectra.reshape(styles, AMOUNT_STEPS + 1, -1).view(np.float32)
        self._mixed = [
            (rows, self.spectra.reshape(-1).view(np.float32), np.zeros(rows.shape[-1], dtype=np.float32)),
            (tables.powers, self.band_power, np.zeros_like(self.band_power)),
        ]
        self._weights = np.zeros(2, dtype=np.float32)

    def set(self, style: Float32, amount: float) -> None:
        """Mix `spectra` [partitions, bins] and `band_power` [bands] for style weights [styles] and an amount."""
        position = amount * AMOUNT_STEPS
        low = min(int(position), AMOUNT_STEPS - 1)
        weights, between = self._weights, position - low
        for index in range(len(style)):
            weight = float(style[index])
            if weight == 0.0 and index > 0:
                continue
            weights[0], weights[1] = weight * (1.0 - between), weight * between
            for rows, out, scratch in self._mixed:
                two = rows[index, low : low + 2]
                if index == 0:
                    np.dot(weights, two, out=out)
                else:
                    np.dot(weights, two, out=scratch)
                    np.add(out, scratch, out=out)
