"""What the audio thread leaves for others to read: counts, levels and block times. Others do the arithmetic."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .shared import SharedState

Float32 = npt.NDArray[np.float32]

COUNTERS = (
    "callbacks",
    "frames",
    "input_xruns",
    "output_xruns",
    "late",
    "faults",
    "input_repairs",
    "ceiling",
    "rests",
    "starved",
    "flush_to_zero",
    "failed",
)
LEVELS = ("input_peak", "output_peak", "input_power", "output_power", "period_us")
HISTOGRAM_BINS = 128
HISTOGRAM_STEP_US = 50.0
RECENT_BLOCKS = 2048
MEAN_S = 0.3
PEAK_S = 2.0

_COUNTER = {name: index for index, name in enumerate(COUNTERS)}
_LEVEL = {name: index for index, name in enumerate(LEVELS)}


@dataclass(frozen=True)
class Load:
    """Times of recent callbacks in microseconds, and the period that they must fit into."""

    callbacks: int
    period_us: float
    median_us: float
    p99_us: float
    p999_us: float
    worst_us: float

    @property
    def share(self) -> float:
        """Median time over period."""
        return self.median_us / self.period_us if self.period_us else 0.0


class Telemetry:
    """Audio side of the shared state: adds without allocating; and the reading side, `count` and `load`."""

    def __init__(self, shared: "SharedState") -> None:
        self._counters, self._levels = shared.counters, shared.levels
        self._histogram, self._durations = shared.histogram, shared.durations
        self._slot_times = shared.slot_times
        self._written = 0

    def clear(self) -> None:
        """Forget all counts and times."""
        for part in (self._counters, self._levels, self._histogram, self._durations, self._slot_times):
            part.fill(0)
        self._written = 0

    def add(self, name: str, amount: int = 1) -> None:
        """Audio thread: add to a counter."""
        self._counters[_COUNTER[name]] += amount

    def set_level(self, name: str, value: float) -> None:
        """Audio thread: put down a level."""
        self._levels[_LEVEL[name]] = value

    def raise_level(self, name: str, value: float) -> None:
        """Audio thread: keep the larger of a level and value; the reader clears it with `take_level`."""
        index = _LEVEL[name]
        if value > self._levels[index]:
            self._levels[index] = value

    def block_done(self, duration_us: float) -> None:
        """Audio thread: note how long a callback took."""
        self._durations[self._written % RECENT_BLOCKS] = duration_us
        self._written += 1
        self._histogram[min(HISTOGRAM_BINS - 1, int(duration_us / HISTOGRAM_STEP_US))] += 1

    def slot_done(self, slot: int, duration_s: float, period_s: float) -> None:
        """Audio thread: note how long a slot (from 0) took for frames that last period_s."""
        share, times = duration_s / period_s, self._slot_times
        mean, peak = float(times[slot, 0]), float(times[slot, 1])
        times[slot, 0] = mean + (share - mean) * min(1.0, period_s / MEAN_S)
        times[slot, 1] = max(share, peak * (1.0 - min(1.0, period_s / PEAK_S)))

    def slot_load(self, slot: int) -> tuple[float, float]:
        """What a slot (from 0) takes of the time that its frames last: mean over some MEAN_S, and fading peak."""
        return float(self._slot_times[slot, 0]), float(self._slot_times[slot, 1])

    def count(self, name: str) -> int:
        """Value of a counter."""
        return int(self._counters[_COUNTER[name]])

    def level(self, name: str) -> float:
        """Value of a level."""
        return float(self._levels[_LEVEL[name]])

    def take_level(self, name: str) -> float:
        """Value of a peak level, which then starts again from 0."""
        value = self.level(name)
        self._levels[_LEVEL[name]] = 0.0
        return value

    def load(self) -> Load:
        """Statistics of the last callbacks, at most RECENT_BLOCKS."""
        callbacks = self.count("callbacks")
        times = self._durations[: min(callbacks, RECENT_BLOCKS)]
        if not len(times):
            return Load(0, self.level("period_us"), 0.0, 0.0, 0.0, 0.0)
        median, p99, p999 = np.percentile(times, [50.0, 99.0, 99.9])
        return Load(callbacks, self.level("period_us"), float(median), float(p99), float(p999), float(times.max()))
