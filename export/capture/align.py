"""Latency, drift and polarity between a dry and a wet recording, to a fraction of a sample.

An amplifier is not a delay: its tone stack and speaker delay each frequency differently. What is left of the phase of
the linear part of dry -> wet, when its minimum phase (what its frequency response alone demands) is taken off, is a
pure delay, exact to a hundredth of a sample where the linear part is all there is. A distorting amplifier with a
speaker answers before that: where the test signal's blips show when its answer begins, they have the last word.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from ... import DuendeError
from .signal import RATE, Layout

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

LONGEST_LAG_S = 2.0
_COARSE_S = 300.0
_SIZE = 8192
_SEARCHED = 96
_RELATED = 9.0
_SAFETY, _SAFETY_WITHOUT_BLIPS = 1, 32
_BLIP_WINDOW, _BEFORE = 1024, 128
_ONSET = 0.1
_AGREED = 3.0
_LOWEST_HZ = 60.0
_FLOOR = 1e-5


@dataclass(frozen=True)
class Alignment:
    """How a wet recording lies against its dry one.

    latency_samples: how far wet is behind dry; below 0, wet leads.
    drift_samples:   how much later (or earlier, below 0) the end of wet is than its beginning; drift_ppm: over time.
    inverted:        whether wet is upside down.
    shift:           whole samples to take off wet so that a causal model can follow; at most the latency.
    related:         peak of their cross-correlation over its RMS: about 5 for strangers, hundreds for a clean wire.
    """

    latency_samples: float
    drift_samples: float
    drift_ppm: float
    inverted: bool
    shift: int
    related: float


def align(dry: Float32, wet: Float32, sample_rate: float, plan: Layout | None = None) -> Alignment:
    """Find how wet [n] lies against dry [n]; plan: where dry is the test signal. At least 2 s each.

    DuendeError where wet does not follow dry at all, or lags by more than 2 s.
    """
    count = min(len(dry), len(wet))
    heard = slice(0, count) if plan is None else slice(plan.noise.start, plan.playing.stop)
    first = min(count, round(_COARSE_S * sample_rate))
    coarse, related = _coarse_lag(dry[:first], wet[:first], round(LONGEST_LAG_S * sample_rate))
    if related < _RELATED:
        raise DuendeError(
            "WET does not follow DRY: they are not two recordings of the same playing, or lie more than "
            f"{LONGEST_LAG_S:g} s apart"
        )
    excess, sign = _excess_delay(_transfer(dry[heard], _moved(wet, coarse, heard)), sample_rate)
    latency, safety = coarse + excess, _SAFETY_WITHOUT_BLIPS
    if plan is not None:
        onset, safety = _onset(dry, wet, plan, latency), _SAFETY
        latency = latency if abs(onset - latency) < _AGREED else onset
    drift, apart_s = _drift(dry, wet, math.floor(latency), sample_rate, plan)
    return Alignment(
        latency_samples=latency,
        drift_samples=drift * count / sample_rate / apart_s,
        drift_ppm=1e6 * drift / sample_rate / apart_s,
        inverted=sign < 0,
        shift=math.floor(latency) - safety,
        related=related,
    )


def lag_between(first: Float32, second: Float32, longest: int = 64) -> float:
    """By how many samples (a fraction, within +-longest) second [n] is behind first [n], two takes of the same."""
    size = scipy.fft.next_fast_len(len(first) + longest, real=True)
    cross = scipy.fft.rfft(second, size) * np.conj(scipy.fft.rfft(first, size))
    return _peak(cross / np.maximum(np.abs(cross), 1e-12 + 1e-6 * np.abs(cross).max()) ** 0.5, size, longest)[0]


@dataclass(frozen=True)
class _Transfer:
    """The linear part of dry -> wet at [bins]: response (complex), coherence 0..1, power of dry."""

    response: Complex128
    coherence: Float64
    power: Float64


def _coarse_lag(dry: Float32, wet: Float32, longest: int) -> tuple[int, float]:
    """The lag of the largest cross-correlation, either sign, in samples within +-longest, and its height over RMS."""
    size = scipy.fft.next_fast_len(len(dry) + longest, real=True)
    cross = scipy.fft.rfft(wet, size) * np.conj(scipy.fft.rfft(dry, size))
    # Half whitened: loud low notes alone would make a broad peak.
    cross /= np.sqrt(np.abs(cross)) + 1e-9
    correlation = np.abs(scipy.fft.irfft(cross, size))
    both = np.concatenate((correlation[-longest:], correlation[: longest + 1]))
    return int(np.argmax(both)) - longest, float(both.max() / (np.sqrt(np.mean(both**2)) + 1e-30))


def _moved(samples: Float32, lag: int, part: slice) -> Float32:
    """samples[part] taken lag later, zeros where there are none."""
    moved = np.zeros(part.stop - part.start, dtype=np.float32)
    first, last = max(part.start + lag, 0), min(part.stop + lag, len(samples))
    if first < last:
        moved[first - part.start - lag : last - part.start - lag] = samples[first:last]
    return moved


def _transfer(dry: Float32, wet: Float32) -> _Transfer:
    size = min(_SIZE, 2 ** int(math.log2(max(len(dry) // 4, 64))))
    window = scipy.signal.get_window("hann", size)
    step = size // 2
    frames = (len(dry) - size) // step + 1
    xx, yy, xy = np.zeros(size // 2 + 1), np.zeros(size // 2 + 1), np.zeros(size // 2 + 1, dtype=np.complex128)
    for start in range(0, frames, 256):
        at = np.arange(start, min(frames, start + 256))[:, None] * step + np.arange(size)
        x, y = scipy.fft.rfft(dry[at] * window), scipy.fft.rfft(wet[at] * window)
        # Every frame counts alike: the loud ones are the most distorted.
        x /= np.sqrt(np.sum(np.abs(x) ** 2, axis=1, keepdims=True)) + 1e-4
        y /= np.sqrt(np.sum(np.abs(y) ** 2, axis=1, keepdims=True)) + 1e-4
        xx += np.sum(np.abs(x) ** 2, axis=0)
        yy += np.sum(np.abs(y) ** 2, axis=0)
        xy += np.sum(y * np.conj(x), axis=0)
    floor = 1e-12 * xx.max() + 1e-30
    coherence = np.abs(xy) ** 2 / ((xx + floor) * (yy + 1e-12 * yy.max() + 1e-30))
    return _Transfer(xy / (xx + floor), coherence, xx)


def _excess_delay(transfer: _Transfer, sample_rate: float) -> tuple[float, int]:
    """Delay in samples beyond the minimum phase, and the sign of the polarity."""
    size = 2 * (len(transfer.response) - 1)
    magnitude = np.abs(transfer.response)
    log = np.log(np.maximum(magnitude, _FLOOR * magnitude.max()))
    cepstrum = scipy.fft.irfft(log, size)
    fold = np.zeros(size)
    fold[0] = fold[size // 2] = 1.0
    fold[1 : size // 2] = 2.0
    phase = scipy.fft.rfft(cepstrum * fold, size).imag
    weight = transfer.coherence**2
    weight[: max(1, math.ceil(_LOWEST_HZ * size / sample_rate))] = 0.0
    unit = transfer.response / np.maximum(magnitude, 1e-30) * np.exp(-1j * phase)
    return _peak(weight * unit, size, min(_SEARCHED, size // 4))


def _peak(spectrum: Complex128, size: int, longest: int) -> tuple[float, int]:
    """Where in time the spectrum of a peak has it, a fraction of a sample within +-longest, and its sign."""
    correlation = scipy.fft.irfft(spectrum, size)
    both = np.concatenate((correlation[-longest:], correlation[: longest + 1]))
    whole = int(np.argmax(np.abs(both))) - longest
    sign = 1 if both[whole + longest] > 0 else -1
    omega = 2.0 * np.pi * np.arange(len(spectrum)) / size
    lag, reach = float(whole), 1.0
    for _ in range(12):
        # A grid of five points about the best one, finer each time: the sum is smooth there.
        grid = lag + reach * np.linspace(-1.0, 1.0, 5)
        heights = sign * np.real(np.exp(1j * np.outer(grid, omega)) @ spectrum)
        lag, reach = float(grid[int(np.argmax(heights))]), reach / 2.0
    return lag, sign


def _drift(dry: Float32, wet: Float32, lag: int, sample_rate: float, plan: Layout | None) -> tuple[float, float]:
    """How much later wet is at a later place than at an earlier one, in samples, and how far apart they are, in s."""
    if plan is not None:
        early, late = (_moved(wet, lag, slice(part.start + RATE // 5, part.stop)) for part in (plan.phrase, plan.again))
        return lag_between(early, late), (plan.again.start - plan.phrase.start) / sample_rate
    count = min(len(dry), len(wet) - max(lag, 0))
    third = count // 3
    first = _transfer(dry[:third], _moved(wet, lag, slice(0, third)))
    last = _transfer(dry[count - third : count], _moved(wet, lag, slice(count - third, count)))
    ratio = last.response * np.conj(first.response)
    weight = (first.coherence * last.coherence) ** 2 / np.maximum(np.abs(ratio), 1e-30)
    drift, _ = _peak(ratio * weight, 2 * (len(ratio) - 1), min(_SEARCHED, third // 8))
    return drift, (count - third) / sample_rate


def _onset(dry: Float32, wet: Float32, plan: Layout, latency: float) -> float:
    """Samples from the beginning of a blip to that of its answer, the median of the four; latency where none rises."""
    lags = []
    for middle in plan.blips:
        asked = _rise(dry[middle - _BEFORE : middle + _BEFORE])
        start = max(0, middle + math.floor(latency) - _BLIP_WINDOW // 2)
        answered = _rise(wet[start : start + _BLIP_WINDOW])
        if asked is not None and answered is not None:
            lags.append(start + answered - (middle - _BEFORE + asked))
    return float(np.median(lags)) if lags else latency


def _rise(samples: Float32) -> float | None:
    """Where samples first reach a tenth of their peak, a fraction; None where noise is as high."""
    offset = samples[: _BEFORE // 2].mean() if len(samples) else 0.0
    level = np.abs(samples - offset)
    if not len(level) or level[: _BEFORE // 2].max() >= _ONSET * level.max():
        return None
    threshold = _ONSET * level.max()
    after = int(np.argmax(level >= threshold))
    return after - float((level[after] - threshold) / (level[after] - level[after - 1]))
