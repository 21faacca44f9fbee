"""Excitations: signals derived from the guitar itself, from which a student mixes its output.

Each carries the player's own phase, pitches and attacks, so that no phase has to be guessed and silence stays
silent. The saturations work on bands of the input, at twice the rate, so that a chord does not turn into
intermodulation and harmonics do not fold back. Formulas are versioned; a model file names the ones it was made with.

With l the level of the input x and l_b that of its band x_b (smoothed root mean square, see `level_window`):

    dry@1    x
    noise@1  l times white Gaussian noise of variance 1
    soft@1   sum_b l_b tanh(2 u_b),  u_b = x_b / (l_b + 0.003 l + 1e-6)
    hard@1   sum_b l_b tanh(10 u_b)
    rect@1   sum_b |x_b| - 0.9 l_b   (0.9 is the mean of a rectified sine over its root mean square)

All are pre-emphasised, y(t) - 0.9 y(t-1) at 48 kHz, against leakage between bins of a spectrum that falls steeply.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided
from scipy import signal

from .. import DuendeError
from .filterbank import FilterBank
from .history import History
from .smoothing import FirSmoother, interpolate, rising

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

NAMES = ("dry@1", "noise@1", "soft@1", "hard@1", "rect@1")
DRIVES = {"soft@1": 2.0, "hard@1": 10.0}
BAND_EDGES_HZ = (70.0, 150.0, 300.0, 600.0, 1200.0, 2400.0, 4500.0)
OVERSAMPLING = 2
SUB_BLOCK = 8
WINDOW_SUB_BLOCKS = 256
LEVEL_LAG_S = 0.005
NOISE_PERIOD = 2**18
NOISE_SEED = 0x64756531
FLOOR_SHARE, FLOOR_LEVEL = 0.003, 1e-6
RECTIFIED_MEAN = 0.9
DECIMATOR_TAPS = 56
DECIMATOR_STEP = 64
PIECES_BY_HAND = 4


def pre_emphasis(sample_rate: float) -> float:
    """Coefficient a of y(t) - a y(t-1): 0.9 at 48 kHz, the same corner frequency at other rates."""
    return float(0.9 ** (48000.0 / sample_rate))


def band_filters(sample_rate: float) -> list[Float64]:
    """Second-order sections of the band filters at twice sample_rate (Hz), images of the input removed.

    Neighbours have opposite polarity, so that they add up where they cross.
    """
    rate = OVERSAMPLING * sample_rate
    anti_image = signal.ellip(4, 0.1, 70.0, 7000.0, fs=rate, output="sos")
    filters = []
    for index, edges in enumerate(itertools.pairwise(BAND_EDGES_HZ)):
        sections = np.vstack([signal.butter(2, edges, "bandpass", fs=rate, output="sos"), anti_image])
        sections[0, :3] *= (-1.0) ** index
        filters.append(sections)
    return filters


def decimator(sample_rate: float) -> Float64:
    """Minimum-phase low-pass [DECIMATOR_TAPS] at twice sample_rate: passes 18 kHz, stops what folds below it."""
    linear = signal.firwin(
        2 * DECIMATOR_TAPS - 1, sample_rate / 2.0, window=("kaiser", 14.0), fs=OVERSAMPLING * sample_rate
    )
    # Homomorphic design halves the length and the attenuation in dB: 140 becomes 70.
    return np.asarray(signal.minimum_phase(linear, method="homomorphic", n_fft=16384))


def level_window(sample_rate: float) -> Float64:
    """Weights [WINDOW_SUB_BLOCKS] of past sub-blocks, newest first, sum 1: (t / lag) exp(-t / lag), faded out.

    It rises within `LEVEL_LAG_S`, keeps ripple at twice a played frequency 75 dB down, and ends, so that the level
    of silence is exactly 0.
    """
    time = (np.arange(WINDOW_SUB_BLOCKS) + 0.5) * SUB_BLOCK / sample_rate / LEVEL_LAG_S
    fade = np.minimum(1.0, 2.0 - 2.0 * np.arange(WINDOW_SUB_BLOCKS) / WINDOW_SUB_BLOCKS)
    weights = time * np.exp(-time) * np.sin(0.5 * np.pi * fade) ** 2
    return np.asarray(weights / weights.sum())


class Excitations:
    """Streaming excitations of [channels] signals, a whole number of quanta at a time.

    names:   which of NAMES, in that order.
    quantum: samples per step; a multiple of 8. The result does not depend on how many quanta a call brings.
    """

    def __init__(
        self, names: Sequence[str], sample_rate: float, quantum: int, channels: int = 1, max_quanta: int = 1
    ) -> None:
        if [name for name in NAMES if name in names] != list(names):
            raise DuendeError(f"excitations {', '.join(names)}: this version knows {', '.join(NAMES)}, in this order")
        if quantum % SUB_BLOCK:
            raise ValueError(f"quantum of {quantum} samples: must be a multiple of {SUB_BLOCK}")
        self.names = tuple(names)
        self._quantum, self._channels = quantum, channels
        self._subs = subs = quantum // SUB_BLOCK
        most, most_subs = max_quanta * quantum, max_quanta * subs
        self._result = np.zeros((channels, len(self.names), most), dtype=np.float32)
        self.level = np.zeros((channels, max_quanta), dtype=np.float32)
        weights = level_window(sample_rate)

        self._squared = np.zeros((channels, most_subs, SUB_BLOCK), dtype=np.float32)
        self._mean = np.full((SUB_BLOCK, 1), 1.0 / SUB_BLOCK, dtype=np.float32)
        self._power = np.zeros((channels, most_subs, 1), dtype=np.float32)
        self._smooth_power = FirSmoother(weights, channels, most_subs)
        self._rise = rising(SUB_BLOCK)
        self._difference = np.zeros((channels, most_subs, 1), dtype=np.float32)
        self._envelope = np.zeros((channels, most_subs, SUB_BLOCK), dtype=np.float32)

        self._direct = np.zeros((channels, 2, 1 + most), dtype=np.float32)
        self._emphasis = np.float32(-pre_emphasis(sample_rate))
        self._noise = np.random.default_rng(NOISE_SEED).standard_normal(NOISE_PERIOD).astype(np.float32)
        self._noise_at = 0

        self._saturated = [name for name in self.names if name in ("soft@1", "hard@1", "rect@1")]
        if self._saturated:
            self._allocate_saturations(sample_rate, weights, max_quanta)

    def _allocate_saturations(self, sample_rate: float, weights: Float64, max_quanta: int) -> None:
        channels, quantum, bands = self._channels, self._quantum, len(BAND_EDGES_HZ) - 1
        width, most_subs = SUB_BLOCK * OVERSAMPLING, max_quanta * self._subs
        self._bank = FilterBank(band_filters(sample_rate), OVERSAMPLING, quantum)
        self._bank_state = self._bank.allocate(channels, max_quanta)
        wide = (channels, bands, most_subs, width)
        self._unit, self._squared_bands, self._band_level = (np.zeros(wide, dtype=np.float32) for _ in range(3))
        self._wide_mean = np.full((width, 1), 1.0 / width, dtype=np.float32)
        self._wide_rise = rising(width)
        self._band_mean = np.zeros((channels, bands, most_subs, 1), dtype=np.float32)
        self._wide_difference = np.zeros((channels, bands, most_subs, 1), dtype=np.float32)
        self._floor = np.zeros((channels, most_subs), dtype=np.float32)
        self._smooth_bands = FirSmoother(weights, channels * bands, most_subs)
        self._driven = [name for name in self._saturated if name in DRIVES]
        drives = [DRIVES[name] for name in self._driven]
        self._drives = np.array(drives, dtype=np.float32).reshape(-1, 1, 1, 1)
        self._shaped = np.zeros((channels, len(self._saturated), bands, most_subs, width), dtype=np.float32)

        rows = channels * len(self._saturated)
        taps = np.convolve(decimator(sample_rate), [1.0, 0.0, -pre_emphasis(sample_rate)])
        step = DECIMATOR_STEP * OVERSAMPLING
        self._span = step + len(taps) - 1
        self._decimation = np.zeros((self._span, DECIMATOR_STEP), dtype=np.float32)
        for sample in range(DECIMATOR_STEP):
            start = sample * OVERSAMPLING
            self._decimation[start : start + len(taps), sample] = taps[::-1]
        self._fast = np.zeros((channels, len(self._saturated), most_subs, width), dtype=np.float32)
        self._fast_history = History(rows, self._span, max_quanta * quantum * OVERSAMPLING)
        pieces = max_quanta * quantum // DECIMATOR_STEP
        self._spans = np.zeros((rows, pieces, self._span), dtype=np.float32)
        self._slow = np.zeros((rows, pieces, DECIMATOR_STEP), dtype=np.float32)

    def process(self, samples: Float32) -> Float32:
        """Excitations [channels, names, n] of samples [channels, n], n = quanta * quantum.

        Valid until the next call. `level` [channels, quanta] then holds the input's level at each quantum's end.
        """
        count = samples.shape[1]
        quanta = count // self._quantum
        result = self._result[:, :, :count]
        levels = self._follow_input(samples, quanta)
        direct = self._direct[:, :, : 1 + count]
        direct[:, 0, 1:] = samples
        if "noise@1" in self.names:
            self._fill_noise(direct[:, 1, 1:])
            envelope = self._envelope[:, : quanta * self._subs].reshape(self._channels, count)
            np.multiply(direct[:, 1, 1:], envelope, out=direct[:, 1, 1:])
        unsaturated = len(self.names) - len(self._saturated)
        first = 0 if "dry@1" in self.names else 1
        out = result[:, :unsaturated]
        np.multiply(direct[:, first : first + unsaturated, :-1], self._emphasis, out=out)
        np.add(out, direct[:, first : first + unsaturated, 1:], out=out)
        self._direct[:, :, 0] = direct[:, :, -1]
        if self._saturated:
            self._saturate(samples, levels, quanta)
            slow = self._slow[:, : count // DECIMATOR_STEP].reshape(self._channels, len(self._saturated), count)
            result[:, unsaturated:] = slow
        return result

    def reset(self) -> None:
        """Back to silence and to the start of the noise."""
        self._smooth_power.reset()
        self._direct.fill(0.0)
        self._noise_at = 0
        if self._saturated:
            self._bank_state.reset()
            self._smooth_bands.reset()
            self._fast_history.reset()

    def adopt(self, other: "Excitations", lag_samples: int) -> None:
        """Go on with another stream's noise, of which this one is lag_samples behind."""
        self._noise_at = (other._noise_at - lag_samples) % NOISE_PERIOD

    def _follow_input(self, samples: Float32, quanta: int) -> Float32:
        """Levels [channels, 1 + subs]; per sample they go to _envelope, at the ends of quanta to `level`."""
        subs = quanta * self._subs
        squared, power = self._squared[:, :subs], self._power[:, :subs]
        blocks = samples.reshape(self._channels, subs, SUB_BLOCK)
        np.multiply(blocks, blocks, out=squared)
        np.matmul(squared, self._mean, out=power)
        levels = self._smooth_power.process(power[:, :, 0])
        np.sqrt(levels, out=levels)
        self.level[:, :quanta] = levels[:, self._subs :: self._subs]
        interpolate(levels, self._rise, self._difference[:, :subs], self._envelope[:, :subs])
        return levels

    def _saturate(self, samples: Float32, levels: Float32, quanta: int) -> None:
        """Fill _slow with the decimated, pre-emphasised saturations of the quanta."""
        channels, subs = self._channels, quanta * self._subs
        unit, band_level, squared = (part[:, :, :subs] for part in (self._unit, self._band_level, self._squared_bands))
        mean, floor = self._band_mean[:, :, :subs], self._floor[:, :subs]
        bands = unit.shape[1]
        # Bands first, time contiguous.
        split = self._bank.process(samples, self._bank_state).reshape(unit.shape)

        np.square(split, out=squared)
        np.matmul(squared, self._wide_mean, out=mean)
        ends = self._smooth_bands.process(mean.reshape(channels * bands, subs)).reshape(channels, bands, subs + 1)
        np.sqrt(ends, out=ends)
        interpolate(ends, self._wide_rise, self._wide_difference[:, :, :subs], band_level)
        np.multiply(levels[:, 1:], FLOOR_SHARE, out=floor)
        np.add(floor, FLOOR_LEVEL, out=floor)
        np.add(band_level, floor[:, None, :, None], out=unit)
        np.divide(split, unit, out=unit)

        shaped = self._shaped[:, :, :, :subs]
        driven = shaped[:, : len(self._driven)]
        np.multiply(unit[:, None], self._drives, out=driven)
        np.tanh(driven, out=driven)
        np.multiply(driven, band_level[:, None], out=driven)
        if "rect@1" in self._saturated:
            np.abs(split, out=squared)
            np.multiply(band_level, RECTIFIED_MEAN, out=unit)
            np.subtract(squared, unit, out=shaped[:, -1])
        fast = self._fast[:, :, :subs]
        np.add.reduce(shaped, axis=2, out=fast)
        self._decimate(fast, quanta)

    def _decimate(self, fast: Float32, quanta: int) -> None:
        """Low-pass and halve the rate, a few output samples at a time so that the matrix stays small."""
        rows = len(self._slow)
        step, pieces = DECIMATOR_STEP * OVERSAMPLING, quanta * self._quantum // DECIMATOR_STEP
        self._fast_history.push(fast.reshape(rows, pieces * step))
        recent = self._fast_history.last(self._span + (pieces - 1) * step)
        spans = self._spans[:, :pieces]
        for piece in range(min(pieces, PIECES_BY_HAND)):
            spans[:, piece] = recent[:, piece * step : piece * step + self._span]
        if pieces > PIECES_BY_HAND:
            row, item = recent.strides
            shape = (rows, pieces, self._span)
            spans[:] = as_strided(recent, shape, (row, step * item, item), writeable=False)
        np.matmul(spans, self._decimation, out=self._slow[:, :pieces])

    def _fill_noise(self, out: Float32) -> None:
        count, done = out.shape[1], 0
        while done < count:
            part = min(count - done, NOISE_PERIOD - self._noise_at)
            out[:, done : done + part] = self._noise[self._noise_at : self._noise_at + part]
            self._noise_at = (self._noise_at + part) % NOISE_PERIOD
            done += part
