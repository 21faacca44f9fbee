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

At 88.2 and 96 kHz everything is as at half the rate: the filters of the saturations run at the device's rate instead of
twice that, t-1 becomes t-2, and the noise has the variance 2, which is 1 up to half the band.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from .. import DuendeError
from .filterbank import FilterBank
from .history import History
from .scalars import scalar
from .smoothing import FirSmoother, interpolate, line_matrix, powers_of_two, rising
from .spec import rate_factor

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
# As long as it is small, a matrix draws lines quicker than three operations on arrays.
FEW_QUANTA = 2


def pre_emphasis(sample_rate: float) -> float:
    """Coefficient a of y(t) - a y(t-f), f = `rate_factor`: 0.9 at 48 kHz, the same corner frequency at other rates."""
    return float(0.9 ** (48000.0 * rate_factor(sample_rate) / sample_rate))


def emphasis_response(frequency_hz: npt.ArrayLike, sample_rate: float) -> npt.NDArray[np.complex128]:
    """Complex response of the pre-emphasis at frequencies in Hz."""
    turns = np.asarray(frequency_hz) * rate_factor(sample_rate) / sample_rate
    return np.asarray(1.0 - pre_emphasis(sample_rate) * np.exp(-2j * np.pi * turns))


def band_filters(sample_rate: float) -> list[Float64]:
    """Second-order sections of the band filters at twice sample_rate (44.1 or 48 kHz), images of the input removed.

    Neighbours have opposite polarity, so that they add up where they cross.
    """
    # Takes longer to import than all else; styles that only filter and add noise do without it.
    from scipy import signal

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
    from scipy import signal

    linear = signal.firwin(
        2 * DECIMATOR_TAPS - 1, sample_rate / 2.0, window=("kaiser", 14.0), fs=OVERSAMPLING * sample_rate
    )
    # Homomorphic design halves the length and the attenuation in dB: 140 becomes 70.
    return np.asarray(signal.minimum_phase(linear, method="homomorphic", n_fft=16384))


@functools.cache
def noise_loop() -> Float32:
    """The noise [NOISE_PERIOD] that all streams repeat; one array for all of them, not to be changed."""
    noise = np.random.default_rng(NOISE_SEED).standard_normal(NOISE_PERIOD).astype(np.float32)
    noise.flags.writeable = False
    return noise


def level_window(sample_rate: float) -> Float64:
    """Weights [WINDOW_SUB_BLOCKS] of past sub-blocks, newest first, sum 1: (t / lag) exp(-t / lag), faded out.

    It rises within `LEVEL_LAG_S`, keeps ripple at twice a played frequency 75 dB down, and ends, so that the level
    of silence is exactly 0.
    """
    time = (np.arange(WINDOW_SUB_BLOCKS) + 0.5) * SUB_BLOCK / sample_rate / LEVEL_LAG_S
    fade = np.minimum(1.0, 2.0 - 2.0 * np.arange(WINDOW_SUB_BLOCKS) / WINDOW_SUB_BLOCKS)
    weights = time * np.exp(-time) * np.sin(0.5 * np.pi * fade) ** 2
    return np.asarray(weights / weights.sum())


@functools.lru_cache(maxsize=8)
def _filter_bank(sample_rate: float, oversampling: int, block: int) -> FilterBank:
    """The bank that all streams of a rate share."""
    return FilterBank(band_filters(sample_rate), oversampling, block)


@functools.lru_cache(maxsize=8)
def _decimation(sample_rate: float, oversampling: int) -> Float32:
    """`decimator` and pre-emphasis at a device's rate as a matrix [span, DECIMATOR_STEP]; shared, not to be changed."""
    taps = np.convolve(decimator(sample_rate / rate_factor(sample_rate)), [1.0, 0.0, -pre_emphasis(sample_rate)])
    matrix = np.zeros((DECIMATOR_STEP * oversampling + len(taps) - 1, DECIMATOR_STEP), dtype=np.float32)
    for sample in range(DECIMATOR_STEP):
        start = sample * oversampling
        matrix[start : start + len(taps), sample] = taps[::-1]
    return matrix


class Excitations:
    """Streaming excitations of [channels] signals, a whole number of quanta at a time.

    names:   which of NAMES, in that order.
    quantum: samples per step; a multiple of 8 (16 at 88.2 and 96 kHz). The result does not depend on how many quanta a
             call brings.
    """

    def __init__(
        self, names: Sequence[str], sample_rate: float, quantum: int, channels: int = 1, max_quanta: int = 1
    ) -> None:
        if [name for name in NAMES if name in names] != list(names):
            raise DuendeError(f"excitations {', '.join(names)}: this version knows {', '.join(NAMES)}, in this order")
        self._factor = factor = rate_factor(sample_rate)
        self._sub_block = sub_block = SUB_BLOCK * factor
        if quantum % sub_block:
            raise ValueError(f"quantum of {quantum} samples: must be a multiple of {sub_block}")
        self.names = tuple(names)
        self._quantum, self._channels = quantum, channels
        self._subs = quantum // sub_block
        most_subs = max_quanta * self._subs
        weights = level_window(sample_rate / factor)
        self.level = np.zeros((channels, max_quanta), dtype=np.float32)
        self._smooth_power = FirSmoother(weights, channels, most_subs)
        self._mean = np.full((sub_block, 1), 1.0 / sub_block, dtype=np.float32)
        self._rise = rising(sub_block)
        # The dry signal and the noise, and their last samples of the call before.
        self._direct_rows = slice(0 if "dry@1" in names else 1, 2 if "noise@1" in names else 1)
        self._carry = np.zeros((channels, 2, factor), dtype=np.float32)
        self._emphasis = scalar(-pre_emphasis(sample_rate))
        self._noise = noise_loop()
        self._noise_scale = scalar(factor**0.5)
        self._noise_at = 0
        self._saturated = [name for name in self.names if name in ("soft@1", "hard@1", "rect@1")]
        if self._saturated:
            self._prepare_saturations(sample_rate, weights, max_quanta)
        self._scratch = {quanta: self._allocate(quanta) for quanta in powers_of_two(max_quanta)}

    def _prepare_saturations(self, sample_rate: float, weights: Float64, max_quanta: int) -> None:
        base_rate, oversampling = sample_rate / self._factor, OVERSAMPLING // self._factor
        self._oversampling = oversampling
        channels, bands, width = self._channels, len(BAND_EDGES_HZ) - 1, self._sub_block * oversampling
        self._bank = _filter_bank(base_rate, oversampling, self._quantum)
        self._bank_state = self._bank.allocate(channels, max_quanta)
        self._smooth_bands = FirSmoother(weights, channels * bands, max_quanta * self._subs)
        self._wide_mean = np.full((width, 1), 1.0 / width, dtype=np.float32)
        self._wide_rise = rising(width)
        self._driven = [name for name in self._saturated if name in DRIVES]
        drives = [DRIVES[name] for name in self._driven]
        self._drives = np.array(drives, dtype=np.float32).reshape(-1, 1, 1, 1)
        self._decimation = _decimation(sample_rate, oversampling)
        self._span = len(self._decimation)
        rows = channels * len(self._saturated)
        self._fast_history = History(rows, self._span, max_quanta * self._quantum * oversampling)

    def _allocate(self, quanta: int) -> "_Scratch":
        """Memory for calls of so many quanta, contiguous, with all views that such a call needs."""
        channels, bands, saturated = self._channels, len(BAND_EDGES_HZ) - 1, len(self._saturated)
        subs, count, width = quanta * self._subs, quanta * self._quantum, SUB_BLOCK * OVERSAMPLING
        factor, sub_block = self._factor, self._sub_block
        direct = _zeros(channels, 2, factor + count)
        rows = direct[:, self._direct_rows]
        result = _zeros(channels, len(self.names), count)
        plain = len(self.names) - saturated
        squared, power, envelope = _zeros(channels * subs, sub_block), _zeros(channels, subs), _zeros(channels, count)
        band_squared, band_mean = _zeros(channels, bands, subs, width), _zeros(channels * bands, subs)
        shaped = _zeros(channels, saturated, bands, subs, width)
        fast, floor = _zeros(channels, saturated, subs, width), _zeros(channels, subs)
        pieces = count // DECIMATOR_STEP if saturated else 0
        driven = len(self._driven) if saturated else 0
        level, unit = _zeros(channels, bands, subs, width), _zeros(channels, bands, subs, width)
        return _Scratch(
            squared=squared,
            power=power,
            power_column=power.reshape(-1, 1),
            difference=_zeros(channels, subs, 1),
            envelope=envelope,
            envelope_lines=envelope.reshape(channels, subs, sub_block),
            lines=line_matrix(subs, sub_block) if quanta <= FEW_QUANTA else None,
            direct=direct,
            direct_first=direct[:, :, :factor],
            direct_last=direct[:, :, -factor:],
            direct_dry=direct[:, 0, factor:],
            direct_noise=direct[:, 1, factor:],
            now=rows[:, :, factor:],
            before=rows[:, :, :-factor],
            result=result,
            plain=result[:, :plain],
            decimated=result[:, plain:].reshape(channels, saturated, pieces, DECIMATOR_STEP if pieces else count),
            band_squared=band_squared,
            band_squared_rows=band_squared.reshape(-1, width),
            band_mean=band_mean,
            band_mean_column=band_mean.reshape(-1, 1),
            band_level=level,
            band_level_wide=level[:, None],
            band_difference=_zeros(channels, bands, subs, 1),
            floor=floor,
            floor_wide=floor[:, None, :, None],
            unit=unit,
            unit_wide=unit[:, None],
            shaped=shaped,
            driven=shaped[:, :driven],
            rectified=shaped[:, -1] if saturated else unit,
            fast=fast,
            fast_rows=fast.reshape(channels * saturated, subs * width),
            spans=_zeros(channels, saturated, pieces, self._span if saturated else 0),
        )

    def process(self, samples: Float32) -> Float32:
        """Excitations [channels, names, n] of samples [channels, n], n = quanta * quantum.

        Valid until the next call. `level` [channels, quanta] then holds the input's level at each quantum's end.
        """
        quanta = samples.shape[1] // self._quantum
        scratch = self._scratch.get(quanta)
        if scratch is None:
            scratch = self._scratch[quanta] = self._allocate(quanta)
        levels = self._follow_input(samples, scratch, quanta)
        scratch.direct_first[:] = self._carry
        scratch.direct_dry[:] = samples
        if "noise@1" in self.names:
            self._fill_noise(scratch.direct_noise)
            np.multiply(scratch.direct_noise, scratch.envelope, out=scratch.direct_noise)
            if self._factor > 1:
                np.multiply(scratch.direct_noise, self._noise_scale, out=scratch.direct_noise)
        np.multiply(scratch.before, self._emphasis, out=scratch.plain)
        np.add(scratch.plain, scratch.now, out=scratch.plain)
        self._carry[:] = scratch.direct_last
        if self._saturated:
            self._saturate(samples, levels, scratch)
        return scratch.result

    def reset(self) -> None:
        """Back to silence and to the start of the noise."""
        self._smooth_power.reset()
        self._carry.fill(0.0)
        self._noise_at = 0
        if self._saturated:
            self._bank_state.reset()
            self._smooth_bands.reset()
            self._fast_history.reset()

    def adopt(self, other: "Excitations", lag_samples: int) -> None:
        """Go on with another stream's noise, of which this one is lag_samples behind."""
        self._noise_at = (other._noise_at - lag_samples) % NOISE_PERIOD

    def _follow_input(self, samples: Float32, scratch: "_Scratch", quanta: int) -> Float32:
        """Levels [channels, 1 + subs]; per sample they go to the envelope, at the ends of quanta to `level`."""
        blocks = samples.reshape(scratch.squared.shape)
        np.multiply(blocks, blocks, out=scratch.squared)
        scratch.squared.dot(self._mean, scratch.power_column)
        levels = self._smooth_power.process(scratch.power)
        np.sqrt(levels, out=levels)
        self.level[:, :quanta] = levels[:, self._subs :: self._subs]
        if scratch.lines is None:
            interpolate(levels, self._rise, scratch.difference, scratch.envelope_lines)
        else:
            levels.dot(scratch.lines, scratch.envelope)
        return levels

    def _saturate(self, samples: Float32, levels: Float32, scratch: "_Scratch") -> None:
        """The decimated, pre-emphasised saturations, into their rows of the result."""
        unit, band_level, squared = scratch.unit, scratch.band_level, scratch.band_squared
        # Bands first, time contiguous.
        split = self._bank.process(samples, self._bank_state).reshape(unit.shape)

        np.square(split, out=squared)
        scratch.band_squared_rows.dot(self._wide_mean, scratch.band_mean_column)
        ends = self._smooth_bands.process(scratch.band_mean)
        np.sqrt(ends, out=ends)
        ends = ends.reshape(*unit.shape[:2], -1)
        interpolate(ends, self._wide_rise, scratch.band_difference, band_level)
        np.multiply(levels[:, 1:], FLOOR_SHARE, out=scratch.floor)
        np.add(scratch.floor, FLOOR_LEVEL, out=scratch.floor)
        np.add(band_level, scratch.floor_wide, out=unit)
        np.divide(split, unit, out=unit)

        np.multiply(scratch.unit_wide, self._drives, out=scratch.driven)
        np.tanh(scratch.driven, out=scratch.driven)
        np.multiply(scratch.driven, scratch.band_level_wide, out=scratch.driven)
        if "rect@1" in self._saturated:
            np.abs(split, out=squared)
            np.multiply(band_level, RECTIFIED_MEAN, out=unit)
            np.subtract(squared, unit, out=scratch.rectified)
        np.add.reduce(scratch.shaped, axis=2, out=scratch.fast)
        self._decimate(scratch)

    def _decimate(self, scratch: "_Scratch") -> None:
        """Low-pass, back to the input's rate, a few output samples at a time so that the matrix stays small."""
        _, saturated, pieces, span = scratch.spans.shape
        step = DECIMATOR_STEP * self._oversampling
        self._fast_history.push(scratch.fast_rows)
        recent = self._fast_history.last(span + (pieces - 1) * step)
        row, item = recent.strides
        strides = (saturated * row, row, step * item, item)
        np.copyto(scratch.spans, as_strided(recent, scratch.spans.shape, strides, writeable=False))
        np.matmul(scratch.spans, self._decimation, out=scratch.decimated)

    def _fill_noise(self, out: Float32) -> None:
        count, done = out.shape[1], 0
        while done < count:
            part = min(count - done, NOISE_PERIOD - self._noise_at)
            out[:, done : done + part] = self._noise[self._noise_at : self._noise_at + part]
            self._noise_at = (self._noise_at + part) % NOISE_PERIOD
            done += part


@dataclass(frozen=True)
class _Scratch:
    """Memory for calls of one number of quanta, and views of it: cutting them anew each time costs time and memory."""

    squared: Float32
    power: Float32
    power_column: Float32
    difference: Float32
    envelope: Float32
    envelope_lines: Float32
    lines: Float32 | None
    direct: Float32
    direct_first: Float32
    direct_last: Float32
    direct_dry: Float32
    direct_noise: Float32
    now: Float32
    before: Float32
    result: Float32
    plain: Float32
    decimated: Float32
    band_squared: Float32
    band_squared_rows: Float32
    band_mean: Float32
    band_mean_column: Float32
    band_level: Float32
    band_level_wide: Float32
    band_difference: Float32
    floor: Float32
    floor_wide: Float32
    unit: Float32
    unit_wide: Float32
    shaped: Float32
    driven: Float32
    rectified: Float32
    fast: Float32
    fast_rows: Float32
    spans: Float32


def _zeros(*shape: int) -> Float32:
    return np.zeros(shape, dtype=np.float32)
