"""The pitch of one string: a rough period from the signal's likeness to itself, made exact by its partials.

The period comes from the normalised square difference (McLeod and Wyvill, "A smarter way to find pitch", 2005). A
stiff string's partials lie ever higher than multiples of the lowest, f_k = k f sqrt(1 + B k^2), so that a period alone
reads several cents sharp. Their frequencies come from the phase between two windows, which decay does not disturb; f
and B from a line through (f_k / k)^2 over k^2 (Fletcher and Rossing, "The Physics of Musical Instruments", 1998,
chapter 2).
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
LOWEST_HZ, HIGHEST_HZ = 39.0, 1400.0
SPAN_S = 0.21
WORKING_HZ = 12000.0
PARTIALS_HZ = 5000.0
PARTIALS = 12
LEAST_RMS = 10.0 ** (-70.0 / 20.0)
LEAST_CLARITY = 0.8
FIRST_PEAK = 0.9
OCTAVE_SHARE = 0.03
LEAST_FIRST = 0.01
ASTRAY_CENTS = 5.0
LARGEST_ASTRAY = 0.2
NOISE_PEAK = 4.0
STIFFEST = 2e-3
LENGTH = 8192


@dataclass(frozen=True)
class Pitch:
    """A note: name and octave (A4 is the reference), how far off it is, its frequency, and 0..1 how sure that is."""

    note: str
    octave: int
    cents: float
    hz: float
    confidence: float

    @property
    def name(self) -> str:
        return f"{self.note}{self.octave}"


def name_pitch(hz: float, confidence: float, reference_hz: float = 440.0) -> Pitch:
    """The nearest note of equal temperament."""
    semitones = 12.0 * math.log2(hz / reference_hz)
    nearest = round(semitones)
    return Pitch(NAMES[(nearest + 9) % 12], 4 + (nearest + 9) // 12, 100.0 * (semitones - nearest), hz, confidence)


def find_pitch(samples: Float32, sample_rate: float, reference_hz: float = 440.0) -> Pitch | None:
    """The pitch at the end of samples [SPAN_S * sample_rate or more]: that of the lowest partial, E1 to E6.

    None for silence (RMS below -70 dBFS), noise, most chords (partials that fit no string, or the lowest one more than
    40 dB below the strongest), and what is out of range.
    Looks at the last 120 ms, or at eight periods of a lower note.
    """
    wanted = math.ceil(SPAN_S * sample_rate)
    if len(samples) < wanted:
        raise ValueError(f"{len(samples)} samples: a pitch needs {wanted}, {SPAN_S} s")
    step = max(1, round(sample_rate / WORKING_HZ))
    rate = sample_rate / step
    low_pass = _low_pass(step)
    recent = np.asarray(samples[-wanted:], dtype=np.float64)
    if not math.sqrt(float(np.mean(recent**2))) >= LEAST_RMS:
        return None
    full = scipy.signal.upfirdn(low_pass, recent, 1, step)
    signal = full[len(low_pass) // step : len(recent) // step]
    rough = _period(signal[-round(0.12 * rate) :], rate)
    if rough is None:
        return None
    hz, clarity = rough
    spectra = _Spectra(signal, rate, hz)
    if hz / 2.0 >= LOWEST_HZ and spectra.octave_below(hz):
        hz /= 2.0
        spectra = _Spectra(signal, rate, hz)
    fitted = spectra.fit(hz)
    if fitted is None:
        return None
    exact_hz, astray = fitted
    return name_pitch(exact_hz, clarity * (1.0 - astray), reference_hz)


@functools.lru_cache(maxsize=8)
def _low_pass(step: int) -> Float64:
    """Linear-phase filter that leaves what survives taking every step-th sample."""
    taps = scipy.signal.firwin(20 * step + 1, PARTIALS_HZ / WORKING_HZ * 2.0 / step * 1.1) if step > 1 else [1.0]
    return np.asarray(taps, dtype=np.float64)


def _period(signal: Float64, rate: float) -> tuple[float, float] | None:
    """Frequency and clarity of the first period that is about as good as the best; None where there is none."""
    finer = 4
    count = len(signal)
    signal = signal - signal.mean()
    size = scipy.fft.next_fast_len(2 * count, real=True)
    power = np.abs(scipy.fft.rfft(signal, size)) ** 2
    lags = round(rate / LOWEST_HZ) + 2
    alike = scipy.fft.irfft(power, finer * size)[: finer * lags] * finer
    energy = np.concatenate(([0.0], np.cumsum(signal**2)))
    whole = energy[count - np.arange(lags + 1)] + energy[count] - energy[: lags + 1]
    norm = np.interp(np.arange(finer * lags) / finer, np.arange(lags + 1), whole)
    likeness = 2.0 * alike / np.maximum(norm, 1e-20)
    negative = np.flatnonzero(likeness < 0.0)
    if not len(negative):
        return None
    first = max(int(negative[0]), math.floor(finer * rate / HIGHEST_HZ))
    middle = likeness[first:-1]
    peaks = first + np.flatnonzero((middle >= likeness[first - 1 : -2]) & (middle > likeness[first + 1 :]))
    if not len(peaks):
        return None
    heights = likeness[peaks]
    chosen = peaks[np.argmax(heights >= FIRST_PEAK * heights.max())]
    near = peaks[(peaks >= chosen) & (peaks <= 1.15 * chosen)]
    at = int(near[np.argmax(likeness[near])])
    left, top, right = likeness[at - 1 : at + 2]
    bend = left - 2.0 * top + right
    shift = 0.5 * (left - right) / bend if bend < 0.0 else 0.0
    clarity = float(min(1.0, top))
    if clarity < LEAST_CLARITY:
        return None
    return finer * rate / (at + float(shift)), clarity


class _Spectra:
    """The end of a signal through three equal windows: the second a little later than the first, the third much."""

    def __init__(self, signal: Float64, rate: float, hz: float) -> None:
        span = min(len(signal), round(rate * min(0.2, max(0.12, 8.0 / hz))))
        self._rate = rate
        self._soon, self._late = round(0.004 * rate), span // 3
        width = span - self._late
        window = _window(width)
        recent = signal[-span:]
        parts = [recent[at : at + width] * window for at in (0, self._soon, self._late)]
        self._first, second, third = scipy.fft.rfft(np.stack(parts), LENGTH, axis=1)
        self._turn_soon, self._turn_late = second * self._first.conj(), third * self._first.conj()
        self._size = np.abs(self._first)

    def partial(self, hz: float, tolerance_hz: float) -> tuple[float, float] | None:
        """Frequency and amplitude of the partial near hz; None where the spectrum has no peak there."""
        scale = LENGTH / self._rate
        low, high = math.ceil((hz - tolerance_hz) * scale), math.floor((hz + tolerance_hz) * scale)
        low, high = max(1, low), min(high, len(self._size) - 2)
        if high - low < 2:
            return None
        at = low + int(np.argmax(self._size[low : high + 1]))
        if self._size[at] < max(self._size[at - 1], self._size[at + 1]):
            return None
        found = at / scale
        for turn, frames in ((self._turn_soon[at], self._soon), (self._turn_late[at], self._late)):
            cycles = math.atan2(turn.imag, turn.real) / (2.0 * math.pi) - found * frames / self._rate
            found += (cycles - round(cycles)) * self._rate / frames
        return found, float(self._size[at])

    def partials(self, hz: float, orders: range) -> list[tuple[float, float, float]]:
        """Order, frequency and amplitude of the partials there are among these multiples of hz."""
        found = []
        for order in orders:
            centre = order * hz
            if centre > PARTIALS_HZ:
                break
            one = self.partial(centre, min(0.3 * hz, 2.0 + 0.015 * centre))
            if one is not None:
                found.append((float(order), *one))
        return found

    def octave_below(self, hz: float) -> bool:
        """Whether there are partials half-way between the multiples of hz, so that the note is an octave lower."""
        between = self.partials(hz / 2.0, range(1, 2 * PARTIALS, 2))
        there = self.partials(hz, range(1, PARTIALS + 1))
        energy = [sum(size**2 for _, _, size in part) for part in (between, there)]
        return energy[0] > OCTAVE_SHARE**2 * energy[1]

    def fit(self, hz: float) -> tuple[float, float] | None:
        """Frequency of the lowest partial, and the share of partials that fit no such string; None for a large one."""
        found = self.partials(hz, range(1, PARTIALS + 1))
        if not found:
            return None
        orders, frequencies, sizes = np.asarray(found).T
        if orders[0] != 1.0 or sizes[0] < LEAST_FIRST * sizes.max():
            return None
        audible = sizes > min(NOISE_PEAK * self._floor(), float(sizes.max()) / 2.0)
        reach = np.where(audible, orders * sizes / sizes.max(), 0.0)
        trust = reach**2 / (reach**2 + 0.02)
        squares, over = (frequencies / orders) ** 2, orders**2
        weights = trust
        for _ in range(3):
            base, slope = _line(over, squares, weights)
            misses = 600.0 * np.log2(squares / (base + slope * over))
            weights = trust / np.maximum(1.0, np.abs(misses) / 1.5)
        astray = float(trust[np.abs(misses) > ASTRAY_CENTS].sum() / trust.sum())
        if astray > LARGEST_ASTRAY:
            return None
        return math.sqrt(base + slope), astray

    def _floor(self) -> float:
        """Size of what is no partial."""
        return float(np.median(self._size[: round(PARTIALS_HZ * LENGTH / self._rate)]))


@functools.lru_cache(maxsize=64)
def _window(width: int) -> Float64:
    return np.asarray(scipy.signal.windows.hann(width), dtype=np.float64)


def _line(x: Float64, y: Float64, weights: Float64) -> tuple[float, float]:
    """Weighted line through points, height at 0 and slope; the slope is that of a real string, or none."""
    total = float(weights.sum())
    x_mean, y_mean = float(weights @ x) / total, float(weights @ y) / total
    spread = float(weights @ (x - x_mean) ** 2)
    slope = float(weights @ ((x - x_mean) * (y - y_mean))) / spread if spread > 1e-6 else 0.0
    slope = min(STIFFEST * y_mean, max(0.0, slope))
    return y_mean - slope * x_mean, slope
