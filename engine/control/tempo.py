"""Tempo from a foot and from a MIDI clock: taps by their median, clock ticks by a line through many of them."""

import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from .namespace import PREFIX, Node
from .news import News
from .session import Session

TEMPO = f"{PREFIX}/tempo"
FORGET_S = 2.0
TAPS = 6
TICKS_PER_BEAT = 24
FEWEST_TICKS = TICKS_PER_BEAT
MOST_TICKS = 4 * TICKS_PER_BEAT
RECENT_TICKS = 6
ASTRAY_S = 0.006
PAUSE_S = 0.5
LEAST_CHANGE = 0.002


class Tempo:
    """Sets the session's tempo. Times are seconds of any steady clock; all in the event loop's thread."""

    def __init__(self, session: Session, news: News, clock: Callable[[], float] = time.monotonic) -> None:
        self._session, self._news, self._clock = session, news, clock
        self._taps: deque[float] = deque(maxlen=TAPS)
        self._ticks: deque[float] = deque(maxlen=MOST_TICKS)
        self._due = FEWEST_TICKS

    def tap(self, at: float | None = None) -> None:
        """A tap: from the second on, the tempo is the median of those in the last beats. 2 s without one begin anew."""
        now = self._clock() if at is None else at
        if self._taps and not 0.0 < now - self._taps[-1] <= FORGET_S:
            self._taps.clear()
        self._taps.append(now)
        gaps = [after - before for before, after in itertools.pairwise(self._taps)]
        if gaps:
            self._set(60.0 / statistics.median(gaps))

    def tick(self, at: float) -> None:
        """A tick of a MIDI clock, 24 to the beat; sets the tempo once a beat, where it has become another."""
        if self._ticks and not 0.0 <= at - self._ticks[-1] <= PAUSE_S:
            self.stop()
        self._ticks.append(at)
        self._due -= 1
        if self._due > 0:
            return
        self._due = TICKS_PER_BEAT
        tick_s = self._tick_s()
        if tick_s <= 0.0:
            return
        bpm = 60.0 / (TICKS_PER_BEAT * tick_s)
        if abs(bpm / self._session.state.tempo - 1.0) > LEAST_CHANGE:
            self._set(bpm)

    def stop(self) -> None:
        """The clock starts, stops or jumps: what it ticked up to now says nothing about what follows."""
        self._ticks.clear()
        self._due = FEWEST_TICKS

    def nodes(self) -> list[Node]:
        """The address to tap on."""
        return [Node(f"{PREFIX}/tap", "", "a tap per beat sets the tempo", write=lambda values: self.tap())]

    def _tick_s(self) -> float:
        """Duration of a tick: slope of the line through all that the clock ticked since its tempo changed last."""
        times = np.asarray(self._ticks)
        slope, start = _line(times)
        misses = times - (start + slope * np.arange(len(times)))
        if abs(float(np.median(misses[-RECENT_TICKS:]))) > ASTRAY_S or float(np.ptp(misses)) > 4.0 * ASTRAY_S:
            times = times[-FEWEST_TICKS:]
            self._ticks = deque(times.tolist(), maxlen=MOST_TICKS)
            slope, _ = _line(times)
        return slope

    def _set(self, bpm: float) -> None:
        self._session.set_tempo(bpm)
        self._news.touch(TEMPO)


def _line(times: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, float]:
    """Slope and start of the line through times over their numbers."""
    numbers = np.arange(len(times)) - (len(times) - 1) / 2.0
    slope = float(numbers @ times) / float(numbers @ numbers)
    return slope, float(times.mean()) - slope * (len(times) - 1) / 2.0
