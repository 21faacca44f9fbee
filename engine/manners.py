"""Good manners: a thread that shares the interpreter with the audio thread works while that one waits.

Python lets one thread at a time run, and makes no difference between them: a thread that wants the interpreter back
takes it from the audio thread after the switch interval as well as the other way round, and gets it at once whenever a
call of the audio thread into numpy or ONNX Runtime lets go of it. So a thread beside must not even ask while the audio
thread works.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

MARGIN_S = 3e-4
"""So long before the audio thread is due nothing is begun: what is begun holds the interpreter as long as that."""
TURN_S = 3e-4
"""So long a thread beside works in any case, where the audio thread leaves it no time."""
NAP_S = 1e-4
SHARE = 0.1
"""Of the newest block in what blocks take as a rule."""
PATIENCE_PERIODS = 2.0
"""So long a thread beside waits for an audio thread that does not come."""


class Turn:
    """Whose turn it is. `begin` and `end` belong to the audio thread."""

    __slots__ = ("due", "period", "takes", "working")

    def __init__(self) -> None:
        self.working = False
        self.period = 0.0
        self.due = float("inf")
        # What the audio thread's work takes as a rule: who looks more often takes the interpreter from it.
        self.takes = 0.0

    def begin(self, period_s: float) -> None:
        """The audio thread works, and will again after period_s."""
        self.working = True
        self.period = period_s
        self.due = time.perf_counter() + period_s

    def end(self) -> None:
        """The audio thread waits for its next block."""
        took = time.perf_counter() - self.due + self.period
        self.takes += SHARE * (min(took, self.period) - self.takes)
        self.working = False

    def free(self) -> bool:
        """Whether there is time now for something short."""
        return not self.working and time.perf_counter() < self.due - MARGIN_S

    def wait(self) -> None:
        """Sleep until the audio thread has done its work, or does not come."""
        limit = time.perf_counter() + PATIENCE_PERIODS * self.period
        while not self.free():
            now = time.perf_counter()
            if now >= limit:
                return
            # Up to where it is due nothing can be done; from there on it works for as long as it does as a rule.
            done = self.due - (self.period if self.working else 0.0) + self.takes
            time.sleep(max(NAP_S, done - now))


@contextlib.contextmanager
def giving_way(turn: Turn) -> Iterator[None]:
    """Let the calling thread wait, wherever it calls a function, until it is not the audio thread's turn.

    What is one call into a library is not divided.
    """
    clock = time.perf_counter
    until = 0.0

    def look(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal until
        now = clock()
        if now < until or (not turn.working and now < turn.due - MARGIN_S):
            return
        turn.wait()
        until = clock() + TURN_S

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
