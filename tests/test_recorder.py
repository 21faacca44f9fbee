"""The recorder: exactly what was played, what was before the start, gaps, full disks, and files that look finished."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from duende import DuendeError
from duende.engine.control.namespace import Node, Value, Values
from duende.engine.control.news import News
from duende.engine.control.recorder import REACH, Recorder, recover
from duende.engine.record import complete
from duende.engine.shared import RING_FRAMES
from sessions import tiny_session

Float32 = npt.NDArray[np.float32]

RATE = 48000
LSB = 1.01 / 2**23
NAME = "2026-03-01_21-05-09_duende"


class Desk:
    """A recorder and the audio thread that fills its rings. The recorder looks when `look` lets it."""

    def __init__(self, folder: Path) -> None:
        self.session = tiny_session(folder / "library")
        self.folder = folder / "recordings"
        self.told: list[Values] = []
        self.touched: list[str] = []
        self.rate = float(RATE)
        news = News()
        news.streamed.append(lambda messages: self.told.extend(message.values for message in messages))
        news.changed.append(self.touched.extend)
        self.recorder = Recorder(
            self.session, lambda: self.rate, news, self.folder, lambda: datetime(2026, 3, 1, 21, 5, 9), self._sleep
        )
        self.nodes: dict[str, Node] = {node.address: node for node in self.recorder.nodes()}
        self.rng = np.random.default_rng(440)
        self.dry = np.empty(0, dtype=np.float32)
        self._held: asyncio.Event | None = None

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 0.1
        await asyncio.sleep(0)
        if self._held is not None:
            await self._held.wait()

    def hold(self) -> None:
        """Control does not come to look from now on."""
        self._held = asyncio.Event()

    def release(self) -> None:
        assert self._held is not None
        self._held.set()
        self._held = None

    def play(self, frames: int) -> None:
        """So many frames of noise into the rings: dry, and upside down at half the level, wet."""
        samples = (0.2 * self.rng.standard_normal(frames)).astype(np.float32)
        self.dry = np.concatenate([self.dry, samples])
        for at in range(0, frames, 8192):
            self.session.shared.keep(samples[at : at + 8192, None], -0.5 * samples[at : at + 8192, None])

    async def write(self, address: str, *values: Value) -> Values | None:
        node = self.nodes[address]
        assert node.write is not None
        answer = node.write(node.check(values))
        return await answer if isinstance(answer, Coroutine) else None

    def state(self) -> Values:
        read = self.nodes["/duende/record/state"].read
        assert read is not None
        return read()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.001)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def size(self) -> int:
        """Bytes of the file that is written last."""
        return (self.folder / f"{NAME}_wet.part.wav").stat().st_size

    def check(self, wanted: Float32, name: str = NAME, suffix: str = ".wav") -> None:
        """Both files hold this, to the last bit of 24."""
        for side, factor in (("dry", 1.0), ("wet", -0.5)):
            path = self.folder / f"{name}_{side}{suffix}"
            assert soundfile.info(path).subtype == "PCM_24"
            got, rate = soundfile.read(path, dtype="float32")
            assert rate == RATE
            assert len(got) == len(wanted)
            assert np.abs(got - factor * wanted).max() <= LSB


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_the_files_hold_what_was_played_between_start_and_stop(desk: Desk, kind: str) -> None:
    async def show() -> None:
        await desk.write("/duende/record/format", kind)
        desk.play(10_000)
        assert await desk.write("/duende/record", 1) == [NAME]
        assert desk.state() == [1, NAME]
        assert desk.files() == [f"{NAME}_dry.part.wav", f"{NAME}_wet.part.wav"]
        for _ in range(20):
            desk.play(7_000)
            await asyncio.sleep(0.001)
        assert await desk.write("/duende/record", 0) == [NAME]
        desk.play(5_000)

    asyncio.run(show())
    assert desk.state() == [0, NAME]
    assert desk.files() == [f"{NAME}_dry.{kind}", f"{NAME}_wet.{kind}"]
    desk.check(desk.dry[10_000:150_000], suffix=f".{kind}")
    assert desk.told == []
    assert desk.touched == ["/duende/record", "/duende/record/state"] * 2


@pytest.mark.parametrize(
    ("played", "keep_s", "kept"), [(200_000, 2.5, 120_000), (30_000, 4.0, 30_000), (400_000, 9.0, 192_000)]
)
def test_it_can_begin_before_the_start(desk: Desk, played: int, keep_s: float, kept: int) -> None:
    async def show() -> None:
        await desk.write("/duende/record/keep", keep_s)
        desk.play(played)
        await desk.recorder.start()
        desk.play(1000)
        await desk.recorder.stop()

    asyncio.run(show())
    desk.check(desk.dry[played - kept :])


def test_a_preset_is_in_the_name_and_a_name_is_used_once(desk: Desk) -> None:
    async def show() -> list[str]:
        await desk.session.load("solo")
        names = []
        for _ in range(3):
            names.append(await desk.recorder.start())
            assert await desk.recorder.start() == names[-1], "it records already"
            desk.play(100)
            await desk.recorder.stop()
            await desk.recorder.stop()
        return names

    names = asyncio.run(show())
    base = "2026-03-01_21-05-09_solo"
    assert names == [base, f"{base}-2", f"{base}-3"]
    assert len(desk.files()) == 6


def test_where_control_comes_too_late_there_is_silence_and_a_line(desk: Desk) -> None:
    async def show() -> None:
        await desk.recorder.start()
        desk.play(10_000)
        await desk.until(lambda: desk.size() >= 3 * 10_000)
        desk.hold()
        desk.play(RING_FRAMES + 100_000)
        desk.release()
        await desk.recorder.stop()

    asyncio.run(show())
    written = len(desk.dry)
    gap = slice(10_000, written - REACH + RATE // 2)
    wanted = desk.dry.copy()
    wanted[gap] = 0.0
    desk.check(wanted)
    lost_ms = 1000.0 * (gap.stop - gap.start) / RATE
    assert desk.told == [
        ["/duende/record", "failed", f"recording {NAME} of {written / RATE:.1f} s: {lost_ms:.0f} ms are silent: "
         "control or the disk was too slow for them"]
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the file size are POSIX")
def test_a_full_disk_ends_it_in_one_line_and_keeps_what_there_is(desk: Desk) -> None:
    import resource

    async def show() -> None:
        await desk.recorder.start()
        while desk.recorder.on:
            desk.play(2000)
            await asyncio.sleep(0.001)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        asyncio.run(show())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert desk.files() == [f"{NAME}_dry.wav", f"{NAME}_wet.wav"]
    for side, factor in (("dry", 1.0), ("wet", -0.5)):
        got, _ = soundfile.read(desk.folder / f"{NAME}_{side}.wav", dtype="float32")
        assert 20_000 < len(got) < 50_000
        assert np.abs(got - factor * desk.dry[: len(got)]).max() <= LSB
    texts = [str(values[2]) for values in desk.told]
    assert "is the disk full?" in texts[0]
    assert all("\n" not in text and str(desk.folder) not in text for text in texts)
    assert desk.state() == [0, NAME]


def test_a_folder_that_cannot_be_is_one_line(desk: Desk) -> None:
    desk.folder.write_bytes(b"a file is in the way")
    with pytest.raises(DuendeError, match=r"^cannot record into the folder recordings: File exists$"):
        asyncio.run(desk.recorder.start())
    assert not desk.recorder.on


def test_a_folder_that_vanishes_is_told(desk: Desk) -> None:
    async def show() -> None:
        await desk.recorder.start()
        desk.play(1000)
        for path in desk.folder.iterdir():
            path.unlink()
        desk.folder.rmdir()
        await desk.recorder.stop()

    asyncio.run(show())
    assert len(desk.told) == 2
    assert all("could not be written" in str(values[2]) for values in desk.told)


def test_a_file_that_cannot_be_closed_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = soundfile.SoundFile.close

    def close(self: Any) -> None:
        was_closed = self.closed
        closed(self)
        if not was_closed:
            raise OSError(5, "Input/output error")

    async def show() -> None:
        await desk.recorder.start()
        desk.play(1000)
        monkeypatch.setattr(soundfile.SoundFile, "close", close)
        await desk.recorder.stop()

    asyncio.run(show())
    monkeypatch.undo()
    assert [str(values[2]).split("s: ")[1] for values in desk.told] == [
        f"{NAME}_{side}.part.wav: Input/output error" for side in ("dry", "wet")
    ]
    desk.check(desk.dry)


def test_another_sample_rate_ends_it(desk: Desk) -> None:
    async def show() -> None:
        await desk.recorder.start()
        desk.play(1000)
        desk.rate = 44100.0
        await desk.until(lambda: not desk.recorder.on)

    asyncio.run(show())
    assert "the device runs at 44100 Hz now, not at 48000: start another" in str(desk.told[0][2])
    desk.check(desk.dry)


def test_nothing_is_left_of_nothing(desk: Desk) -> None:
    async def show() -> None:
        await desk.recorder.start()
        await desk.recorder.stop()

    asyncio.run(show())
    assert desk.files() == []
    assert "nothing came in" in str(desk.told[0][2])


def test_rubbish_is_recorded_as_silence(desk: Desk) -> None:
    async def show() -> None:
        await desk.recorder.start()
        desk.session.shared.keep(np.full((100, 1), np.nan, np.float32), np.full((100, 1), np.inf, np.float32))
        await desk.recorder.stop()

    asyncio.run(show())
    assert not soundfile.read(desk.folder / f"{NAME}_dry.wav")[0].any()
    assert soundfile.read(desk.folder / f"{NAME}_wet.wav")[0].min() > 0.99


def test_when_control_ends_the_files_are_whole(desk: Desk) -> None:
    async def show() -> None:
        await desk.recorder.start()
        desk.play(30_000)
        await desk.until(lambda: desk.size() >= 3 * 30_000)

    asyncio.run(show())
    desk.check(desk.dry)


def test_when_the_program_ends_flac_is_not_waited_for(desk: Desk) -> None:
    async def show() -> None:
        await desk.write("/duende/record/format", "flac")
        await desk.recorder.start()
        desk.play(30_000)
        await desk.recorder.end()
        await desk.recorder.end()

    asyncio.run(show())
    assert desk.files() == [f"{NAME}_dry.wav", f"{NAME}_wet.wav"]
    desk.check(desk.dry)


def test_where_control_is_cancelled_flac_is_not_waited_for(desk: Desk) -> None:
    async def show() -> None:
        await desk.write("/duende/record/format", "flac")
        await desk.recorder.start()
        desk.play(30_000)
        await desk.until(lambda: desk.size() >= 3 * 30_000)

    asyncio.run(show())
    desk.check(desk.dry)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_two_sides_stay_two_sides(tmp_path: Path, suffix: str) -> None:
    part, samples = tmp_path / "a.part.wav", np.array([[0.5, -0.25]] * 100)
    soundfile.write(part, samples, RATE, "PCM_24")
    path, trouble = complete(part, tmp_path / f"a{suffix}")
    assert trouble is None
    assert np.abs(soundfile.read(path)[0] - samples).max() <= LSB
    assert not part.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_what_a_killed_program_has_left_is_completed_and_what_runs_is_left_alone(desk: Desk, tmp_path: Path) -> None:
    async def show() -> dict[str, bytes]:
        await desk.write("/duende/record/format", "flac")
        await desk.recorder.start()
        desk.play(30_000)
        await desk.until(lambda: desk.size() >= 3 * 30_000)
        # As they lie on the disk when nobody closes them any more.
        left = {path.name: path.read_bytes() for path in desk.folder.iterdir()}
        assert recover(desk.folder) == []
        await desk.recorder.stop()
        return left

    for name, data in asyncio.run(show()).items():
        (desk.folder / name.replace("duende", "killed")).write_bytes(data)
    killed = NAME.replace("duende", "killed")
    (desk.folder / f".{killed}_dry.coding.flac").write_bytes(b"half")
    (desk.folder / "rubbish_dry.part.wav").write_bytes(b"no sound")
    (desk.folder / "mine.part.wav").write_bytes(b"another program's")
    asyncio.run(desk.recorder.recover())
    there = [f"{name}_{side}" for name in (killed, NAME) for side in ("dry", "wet")]
    whole = [f"{name}.wav" if "killed" in name else f"{name}.flac" for name in there]
    assert desk.files() == sorted([*whole, "mine.part.wav", "rubbish_dry.part.wav"])
    desk.check(desk.dry, killed)
    data = (desk.folder / f"{killed}_dry.wav").read_bytes()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8, "its header says how long it is"
    texts = [str(values[2]) for values in desk.told]
    assert texts[0] == f"{killed}_dry.wav: a recording that had no end was completed"
    assert "rubbish_dry.wav could not be written" in texts[2]
    assert len(texts) == 3


def test_while_it_records_the_event_loop_is_free(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing waits for the loop here: where it ran on the loop, this would never end."""
    import threading

    write, passed = soundfile.SoundFile.write, threading.Event()

    def slow(self: object, data: object) -> None:
        assert passed.wait(30.0)
        write(self, data)

    monkeypatch.setattr(soundfile.SoundFile, "write", slow)

    async def show() -> None:
        await desk.recorder.start()
        desk.play(1000)
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.01, passed.set)
        await desk.recorder.stop()

    asyncio.run(show())
    desk.check(desk.dry)
