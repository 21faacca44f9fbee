"""A thread beside the audio thread works in the gaps: on a clock that moves only when somebody sleeps."""

import sys
import threading
from collections.abc import Iterator

import pytest

from duende.engine import manners
from duende.engine.manners import MARGIN_S, TURN_S, Turn, giving_way

PERIOD_S, WORK_S = 0.005, 0.002


class Clock:
    """In the place of `time`. The audio thread begins every PERIOD_S, works for WORK_S, and stops when told to."""

    def __init__(self, turn: Turn) -> None:
        self.now, self.turn, self.comes, self.works_s = 0.0, turn, True, WORK_S
        self.begins = 0.0
        self.slept = 0
        self._move(0.0)

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0.0
        self.slept += 1
        self._move(seconds)

    def spend(self, seconds: float) -> None:
        """Work of the thread beside, in one call into a library; the audio thread takes what is its own."""
        hook = sys.getprofile()
        sys.setprofile(None)
        self._move(seconds)
        sys.setprofile(hook)

    def _move(self, seconds: float) -> None:
        until = self.now + seconds
        while self.comes and self.begins <= until:
            self.now = self.begins
            self.turn.begin(PERIOD_S)
            self.begins += PERIOD_S
        self.now = until
        if self.turn.working and until >= self.begins - PERIOD_S + self.works_s:
            self.turn.end()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    turn = Turn()
    monkeypatch.setattr(manners, "time", turning := Clock.__new__(Clock))
    turning.__init__(turn)  # type: ignore[misc]
    yield turning
    assert sys.getprofile() is None


def work(clock: Clock, seconds: float) -> bool:
    """A function that takes a while; whether it began in the audio thread's turn."""
    asked_in_turn = clock.turn.working
    clock.spend(seconds)
    return asked_in_turn


def test_nothing_begins_while_the_audio_thread_works(clock: Clock) -> None:
    with giving_way(clock.turn):
        found = [work(clock, 1e-4) for _ in range(500)]
    assert not any(found)
    assert 500 * 1e-4 / clock.now > 0.4, "it does use the gaps"


def test_without_manners_it_would(clock: Clock) -> None:
    found = [work(clock, 1e-4) for _ in range(500)]
    assert 0.3 < sum(found) / len(found) < 0.5


def test_nothing_begins_shortly_before_the_audio_thread_is_due(clock: Clock) -> None:
    clock.spend(PERIOD_S - 0.5 * MARGIN_S)
    assert not clock.turn.working
    clock.turn.wait()
    assert clock.now >= PERIOD_S + WORK_S


def test_a_long_call_is_followed_by_a_wait(clock: Clock) -> None:
    with giving_way(clock.turn):
        work(clock, PERIOD_S)
        assert not work(clock, 1e-4)


def test_it_does_not_wait_for_ever(clock: Clock) -> None:
    clock.comes = False
    with giving_way(clock.turn):
        work(clock, 10.0)
        began = clock.now
        for _ in range(100):
            work(clock, 1e-4)
    assert clock.now - began < 100 * (1e-4 + 3.0 * PERIOD_S)


def test_an_audio_thread_that_leaves_no_time_leaves_some(clock: Clock) -> None:
    clock.works_s = PERIOD_S
    with giving_way(clock.turn):
        for _ in range(300):
            work(clock, 1e-4)
    # TURN_S of work, then a wait of two periods at most.
    assert clock.now < 0.03 / TURN_S * (TURN_S + 3.0 * PERIOD_S)


def test_other_threads_are_left_alone(clock: Clock) -> None:
    seen = []
    with giving_way(clock.turn):
        thread = threading.Thread(target=lambda: seen.append(sys.getprofile()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_who_waits_does_not_ask_again_and_again(clock: Clock) -> None:
    """Each time it wakes it wants the interpreter, which the audio thread then has to wait for."""
    with giving_way(clock.turn):
        while clock.now < 40 * PERIOD_S:
            work(clock, 1e-4)
        slept, begun = clock.slept, clock.now
        while clock.now < 80 * PERIOD_S:
            work(clock, 1e-4)
    assert (clock.slept - slept) / ((clock.now - begun) / PERIOD_S) < 4.0
