"""The last half minute: what was played, in order, whole, and nothing else."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from duende import DuendeError
from duende.engine.control.played import KEPT_S, REACH, Played
from duende.engine.shared import RING_FRAMES
from sessions import tiny_session

Float32 = npt.NDArray[np.float32]
RATE = 8000.0


class Desk:
    """What is kept of a guitar whose every sample is told from the others."""

    def __init__(self, folder: Path) -> None:
        self.rate = RATE
        session = tiny_session(folder)
        self.shared = session.shared
        self.count = 0
        self.session = session
        self.played = Played(session, lambda: self.rate)

    def play(self, frames: int, channels: int = 1) -> None:
        block = _samples(self.count, frames)[:, None] * np.ones((1, channels), dtype=np.float32)
        if channels == 2:
            block[:, 1] *= -0.5
        self.shared.header[5:7] = channels
        self.shared.keep(block, block)
        self.count += frames

    def heard(self) -> tuple[Float32, int]:
        return soundfile.read(io.BytesIO(self.played.wav()()), dtype="float32", always_2d=True)  # type: ignore[no-any-return]


def _samples(start: int, count: int) -> Float32:
    """24-bit numbers that do not repeat soon."""
    return ((np.arange(start, start + count, dtype=np.int64) * 7919) % 2**20 / 2**21).astype(np.float32)


def test_nothing_played_is_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.played.seconds == 0.0
    with pytest.raises(DuendeError, match="nothing was played"):
        desk.played.wav()


def test_all_of_a_short_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(5):
        desk.play(1000)
        desk.played.keep()
    desk.play(500)
    audio, rate = desk.heard()
    assert rate == RATE
    assert audio.shape == (5500, 1)
    assert np.array_equal(audio[:, 0], _samples(0, 5500))
    assert desk.played.seconds == 5500 / RATE


def test_the_newest_half_minute_of_a_long_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(70):
        desk.play(7777)
        desk.played.keep()
    audio, _ = desk.heard()
    length = round(KEPT_S * RATE)
    assert np.array_equal(audio[:, 0], _samples(70 * 7777 - length, length))
    assert desk.played.seconds == KEPT_S


def test_both_channels(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(3000, channels=2)
    audio, _ = desk.heard()
    assert audio.shape == (3000, 2)
    assert audio[:, 1] == pytest.approx(-0.5 * audio[:, 0], abs=2e-7)


def test_sound_with_a_hole_begins_behind_it(tmp_path: Path) -> None:
    """Control was held up for longer than the rings last."""
    desk = Desk(tmp_path)
    desk.rate = 48000.0
    desk.play(1000)
    desk.played.keep()
    for _ in range(9):
        desk.play(RING_FRAMES // 8)
    audio, _ = desk.heard()
    assert np.array_equal(audio[:, 0], _samples(desk.count - REACH, REACH))


def test_another_rate_is_another_sound(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(1000)
    desk.played.keep()
    desk.rate = 16000.0
    desk.played.keep()
    desk.play(300)
    audio, rate = desk.heard()
    assert (len(audio), rate) == (300, 16000)


def test_control_that_is_started_anew_finds_what_the_rings_hold(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(4000)
    again = Played(desk.session, lambda: desk.rate)
    again.keep()
    assert again.seconds == 4000 / RATE


def test_rubbish_is_silence(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    block = np.full((100, 1), np.nan, dtype=np.float32)
    block[50:] = 7.0
    desk.shared.header[5:7] = 1
    desk.shared.keep(block, block)
    audio, _ = desk.heard()
    assert np.all(audio[:50] == 0.0)
    assert audio[50:] == pytest.approx(1.0, abs=1e-6)
