"""What was done to the show, step by step, so that it can be taken back and done again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ... import DuendeError

STEPS = 64
ONE_MOVE_S = 0.5
"""Changes of the same thing that follow each other within this time are one step."""

State = TypeVar("State")


@dataclass
class Moved:
    """Values before and after, by parameter name; key: what was moved, time: when it moved last, in seconds."""

    key: str
    before: dict[str, float]
    after: dict[str, float]
    time: float


@dataclass(frozen=True)
class Rebuilt(Generic[State]):
    """Another preset or other slots: all that there was before, and all that there is since."""

    before: State
    after: State


class History(Generic[State]):
    """At most STEPS steps back; what is taken back can be done again until something else is done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done: list[Moved | Rebuilt[State]] = []
        self._undone: list[Moved | Rebuilt[State]] = []
        self._sealed = True

    def moved(self, key: str, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        """Values that changed; one step with the last one where that was the same key a moment ago."""
        now = self._clock()
        last = self._done[-1] if self._done and not self._sealed else None
        if isinstance(last, Moved) and last.key == key and now - last.time <= ONE_MOVE_S:
            last.before = dict(before) | last.before
            last.after |= after
            last.time = now
            return
        self._add(Moved(key, dict(before), dict(after), now))
        self._sealed = False

    def rebuilt(self, before: State, after: State) -> None:
        """Another structure."""
        self._add(Rebuilt(before, after))

    def last_done(self) -> Moved | Rebuilt[State]:
        """What `undone` will take back; DuendeError where there is nothing."""
        if not self._done:
            raise DuendeError(f"undo: nothing is left to take back (the last {STEPS} steps are kept)")
        return self._done[-1]

    def last_undone(self) -> Moved | Rebuilt[State]:
        """What `redone` will do again; DuendeError where there is nothing."""
        if not self._undone:
            raise DuendeError("redo: nothing was taken back, or something else was done since")
        return self._undone[-1]

    def undone(self, step: Moved | Rebuilt[State]) -> None:
        """That step was taken back."""
        if self._done and self._done[-1] is step:
            self._undone.append(self._done.pop())
        self._sealed = True

    def redone(self, step: Moved | Rebuilt[State]) -> None:
        """That step was done again."""
        if self._undone and self._undone[-1] is step:
            self._done.append(self._undone.pop())
        self._sealed = True

    def _add(self, step: Moved | Rebuilt[State]) -> None:
        self._done.append(step)
        del self._done[:-STEPS]
        self._undone.clear()
        self._sealed = True
