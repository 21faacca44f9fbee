"""Tempo: taps as a foot gives them, and a MIDI clock that jitters, jumps, stops and races; all times are made up."""

from pathlib import Path

import numpy as np
import pytest

from duende.engine.control.news import News
from duende.engine.control.session import Session
from duende.engine.control.tempo import Tempo
from sessions import tiny_session


class Desk:
    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.session: Session = tiny_session(folder)
        self.touched: list[str] = []
        news = News()
        news.changed.append(self.touched.extend)
        self.tempo = Tempo(self.session, news, lambda: self.now)

    def tap_after(self, *seconds: float) -> float:
        [node] = self.tempo.nodes()
        assert node.write is not None
        for gap in seconds:
            self.now += gap
            node.write(node.check([]))
        return self.session.state.tempo

    def ticks(self, bpm: float, beats: float, jitter_s: float = 0.0, seed: int = 440) -> list[float]:
        """Tempo after each tick."""
        rng = np.random.default_rng(seed)
        said = []
        for _ in range(round(24 * beats)):
            self.now += 60.0 / bpm / 24.0
            self.tempo.tick(self.now + rng.uniform(-jitter_s, jitter_s))
            said.append(self.session.state.tempo)
        return said


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_two_taps_are_a_tempo_and_one_is_none(desk: Desk) -> None:
    assert desk.tap_after(0.0) == 120.0
    assert desk.touched == []
    assert desk.tap_after(0.6) == pytest.approx(100.0)
    assert desk.touched == ["/duende/tempo"]


def test_one_late_tap_does_not_matter(desk: Desk) -> None:
    assert desk.tap_after(0.0, 0.5, 0.5, 0.5, 0.62, 0.38, 0.5) == pytest.approx(120.0)


def test_a_new_tempo_is_there_after_a_few_taps(desk: Desk) -> None:
    desk.tap_after(0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    assert desk.tap_after(0.4, 0.4, 0.4) == pytest.approx(150.0)


def test_after_two_seconds_taps_are_forgotten(desk: Desk) -> None:
    desk.tap_after(0.0, 0.5, 0.5)
    assert desk.tap_after(2.1) == pytest.approx(120.0)
    assert desk.tap_after(1.0) == pytest.approx(60.0)


def test_taps_at_the_same_moment_and_too_fast_ones_stay_in_range(desk: Desk) -> None:
    assert desk.tap_after(0.0, 0.0, 0.0) == 120.0
    assert desk.tap_after(0.001, 0.001) == 300.0


@pytest.mark.parametrize("bpm", [35.0, 60.0, 120.0, 174.0, 290.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_clock_with_2_ms_of_jitter_is_followed_within_half_a_percent(desk: Desk, bpm: float, seed: int) -> None:
    said = desk.ticks(bpm, 16, jitter_s=0.002, seed=seed)
    assert said[23] == pytest.approx(bpm, rel=0.02), "after one beat it is nearly there"
    assert said[5 * 24 :] == pytest.approx([bpm] * (11 * 24), rel=0.005)
    assert len(set(said[5 * 24 :])) <= 4, "a steady clock does not make the tempo tremble"
    assert len(desk.touched) < 10


def test_a_clock_that_changes_its_tempo_is_followed(desk: Desk) -> None:
    desk.ticks(100.0, 8, jitter_s=0.002)
    said = desk.ticks(140.0, 8, jitter_s=0.002)
    assert said[3 * 24 :] == pytest.approx([140.0] * (5 * 24), rel=0.01)
    assert said[-1] == pytest.approx(140.0, rel=0.005)


def test_a_clock_that_paused_begins_anew(desk: Desk) -> None:
    desk.ticks(100.0, 4.5)
    desk.now += 7.0
    said = desk.ticks(140.0, 2)
    assert said[:23] == pytest.approx([100.0] * 23), "half a beat before the pause and half a one after it are no beat"
    assert said[23] == pytest.approx(140.0, rel=0.002)
    desk.tempo.stop()
    assert desk.ticks(90.0, 1.1)[-1] == pytest.approx(90.0, rel=0.002)


def test_nonsense_sets_nothing(desk: Desk) -> None:
    for _ in range(100):
        desk.tempo.tick(desk.now)
    for at in (float("nan"), float("inf"), -1.0):
        for _ in range(30):
            desk.tempo.tick(at)
    assert desk.session.state.tempo == 120.0
