"""A bridge to another sample rate and back: linear phase, a fixed whole number of samples late, at any block size.

Each new sample is a sum over the samples around its place in time, weighted by a Kaiser-windowed sine over its
argument. Places are fractions of whole numbers, so nothing drifts, however long it plays.

Each way passes what lies below 0.408 of the lower rate (18 kHz at 44.1 kHz) within 0.01 dB; what would be folded or
mirrored into that band is at least 80 dB down.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .history import History

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

STOP_DB = 84.0
PASS_SHARE = 0.408
MAX_PHASES = 4096


class RateBridge:
    """Takes blocks at one rate through a function that works at another.

    latency_samples: of the whole way, at the outer rate. most: largest number of samples that the function is given.
    """

    def __init__(self, outer_rate: float, inner_rate: float, channels: int, max_block: int) -> None:
        """Rates in Hz, whole numbers; DuendeError where their ratio is none of small ones."""
        if outer_rate != round(outer_rate) or inner_rate != round(inner_rate):
            raise DuendeError(f"{outer_rate:g} Hz: a capture of {inner_rate:g} Hz needs a whole number")
        outer, inner = round(outer_rate), round(inner_rate)
        common = math.gcd(outer, inner)
        if max(outer, inner) // common > MAX_PHASES:
            raise DuendeError(
                f"{outer} Hz: there is no simple ratio to the capture's {inner} Hz; "
                f"run the device at {inner}, 44100, 48000 or 96000 Hz"
            )
        lower = min(outer, inner)
        width = (1.0 - 2.0 * PASS_SHARE) * lower
        there = _half_width(width / outer)
        back = _half_width(width / inner)
        # The way back waits until all that it needs has been made, in whole samples of the outer rate.
        wait = math.ceil(back * outer / inner)
        self.latency_samples = there + wait
        self._max_block = max_block
        self.most = max_block * inner // outer + 2
        self._there = _Converter(outer, inner, there, 0, channels, max_block, self.most)
        self._back = _Converter(inner, outer, back, wait, channels, self.most, max_block)
        self._inner = np.zeros((channels, self.most), dtype=np.float32)
        self._answer = np.zeros((channels, self.most), dtype=np.float32)
        self._outer = np.zeros((channels, max_block), dtype=np.float32)
        # Samples that have been taken, within one period of both rates.
        self._period, self._cycle = outer // common, inner // common
        self._at = 0

    def process(self, samples: Float32, work: Callable[[Float32, Float32], None]) -> Float32:
        """Samples [channels, n] through work(heard, answer) at the inner rate; valid until the next call."""
        count = samples.shape[1]
        # Inner sample m stands at m period / cycle: those up to the last outer sample are made now.
        made = _floor(self._at - 1, self._cycle, self._period) + 1
        end = _floor(self._at + count - 1, self._cycle, self._period) + 1
        heard, answer = self._inner[:, : end - made], self._answer[:, : end - made]
        self._there.take(samples)
        self._there.make(made, self._at + count - 1, heard)
        work(heard, answer)
        self._back.take(answer)
        out = self._outer[:, :count]
        self._back.make(self._at, end - 1, out)
        self._at = (self._at + count) % self._period
        return out

    def reset(self) -> None:
        """Back to silence."""
        self._there.reset()
        self._back.reset()
        self._at = 0


class _Converter:
    """Samples of one rate from those of another, around places that are fractions of whole numbers.

    half: source samples on each side of a place that count. late: target samples by which places lie in the past, on
    top of those `half` where it is 0.
    """

    def __init__(
        self, source: int, target: int, half: int, late: int, channels: int, most_in: int, most_out: int
    ) -> None:
        common = math.gcd(source, target)
        period, cycle = source // common, target // common
        self._taps = taps = 2 * half + 1
        # Target sample m hears up to source sample floor(m period / cycle), or, late, what lies half beyond its place.
        # The one after the last may stand before the newest source sample, and so have a number below 0.
        self._early = early = max(0, math.ceil(cycle / period) - 1)
        count = cycle + most_out + 1 + early
        numbers = np.arange(count) - early
        places = (numbers - late) * period
        whole = places // cycle
        offsets = np.arange(taps) - (taps - 1)
        newest = whole + (half if late else 0)
        centre = places / cycle - (0 if late else half)
        distance = centre[:, None] - (newest[:, None] + offsets)
        self._kernel = _kernel(distance, half + 1.0, 0.5 * min(1.0, target / source)).astype(np.float32)
        self._first = (newest[:, None] + offsets).astype(np.int64)
        reach = int(taps + most_in + (numbers * period // cycle - newest).max())
        self._reach = reach
        self._history = History(channels, reach, most_in)
        self._most_in = most_in
        self._index = np.zeros((most_out, taps), dtype=np.int64)
        self._windows = np.zeros((most_out, taps), dtype=np.float32)

    def take(self, samples: Float32) -> None:
        self._history.push(samples)

    def make(self, first: int, newest: int, out: Float32) -> None:
        """Target samples first ... into out [channels, n]; newest: number of the last source sample taken."""
        count = out.shape[1]
        if not count:
            return
        reach, first = self._reach, first + self._early
        index, windows, kernel = self._index[:count], self._windows[:count], self._kernel[first : first + count]
        # Place in the history's last `reach` samples.
        np.add(self._first[first : first + count], reach - 1 - newest, out=index)
        for channel, past in enumerate(self._history.last(reach)):
            np.take(past, index, out=windows, mode="clip")
            np.vecdot(windows, kernel, out=out[channel])

    def reset(self) -> None:
        self._history.reset()


def _floor(place: int, numerator: int, denominator: int) -> int:
    return place * numerator // denominator


def _half_width(transition: float) -> int:
    """Taps on each side of a Kaiser window with a transition [cycles per sample] between pass- and stop-band."""
    return math.ceil(0.5 * (STOP_DB - 7.95) / (2.285 * 2.0 * math.pi * transition))


def _kernel(distance: Float64, half: float, cut: float) -> Float64:
    """Low-pass [..., taps] at distances in source samples, cut in cycles per sample, with sums of 1."""
    beta = 0.1102 * (STOP_DB - 8.7)
    inside = np.clip(1.0 - (distance / half) ** 2, 0.0, None)
    kernel = np.sinc(2.0 * cut * distance) * np.i0(beta * np.sqrt(inside))
    return np.asarray(kernel / kernel.sum(axis=-1, keepdims=True))
