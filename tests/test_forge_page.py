"""The forge page: recordings come in bounded and checked, the forge runs patiently, what it makes reaches the host."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("nicegui")

import httpx
from fastapi import FastAPI
from starlette.websockets import WebSocketDisconnect

from duende import DuendeError
from duende.gui import forge as forge_module
from duende.gui.clip import OUTLINE, suffix_of, take_in
from duende.gui.forge import Forge, Order
from duende.gui.job import Job
from duende.presets.library import Library
from duende.presets.pack import install, pack
from sessions import tiny_library
from signals import tone

PATIENCE_S = 60.0
MADE = ("one", "my-cello", "slow-one")


class Host:
    """The other end: a library that installs what comes, and what it was told to do."""

    def __init__(self, folder: Path) -> None:
        self.library = Library(folder / "host" / "presets", folder / "none")
        self.local = True
        self.played: bytes | None = None
        self.orders: list[tuple[object, ...]] = []
        self.uploads: list[str] = []

    async def fetch(self, path: str) -> bytes:
        if path == "/files/played.wav":
            if self.played is None:
                raise DuendeError("nothing was played yet")
            return self.played
        assert path == "/files/presets"
        return json.dumps([{"name": entry.name} for entry in self.library.entries()]).encode()

    async def upload(self, path: str, data: Path) -> dict[str, Any]:
        self.uploads.append(path)
        return {"name": install(self.library, data, force="force" in path).name}

    async def order(self, address: str, *values: float | str) -> None:
        self.orders.append((address, *values))


class Desk:
    """The forge with a stand-in for `duende`, and a way to ask it as a page does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = Host(folder)
        self.app = FastAPI()
        library = tiny_library(folder / "made")
        for name in MADE:
            library.duplicate("solo", name)
            pack(library.find(name), folder / f"{name}.duende")
        smithy = str(Path(__file__).with_name("smithy.py"))
        self.forge = Forge(self.host, [sys.executable, "-S", smithy, str(folder)], self.app)

    def run(self, work: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        async def whole() -> None:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gui") as client:
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await work(client)
                finally:
                    await self.forge.close()

        asyncio.run(whole())

    async def until(self, *phases: str) -> None:
        while self.forge.state.phase not in phases:
            await asyncio.sleep(0.01)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Desk(tmp_path)


def wav(
    folder: Path, seconds: float = 2.0, rate: int = 44100, level_dbfs: float = -12.0, suffix: str = ".wav"
) -> bytes:
    path, rate = folder / f"made{suffix}", 44100
    audio = tone(330.0, round(seconds * rate), rate_hz=rate, level_dbfs=level_dbfs)
    soundfile.write(path, np.stack([audio, audio], axis=1), rate)
    return path.read_bytes()


def test_a_style_is_forged_and_played(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        assert (await client.post("/forge/style?name=My Cello.wav", content=wav(desk.folder))).status_code == 204
        state = desk.forge.state
        assert (state.phase, state.title, state.suggested) == ("ready", "My Cello.wav", "my-cello")
        assert state.seconds == pytest.approx(2.0)
        assert state.level == pytest.approx(-15.0, abs=0.1)
        assert (await client.post("/forge/start", content=b'{"name": "my-cello"}')).status_code == 204
        await desk.until("done", "failed")
        assert desk.forge.state.trouble == ""
        assert [entry.name for entry in desk.host.library.entries()] == ["my-cello"]
        assert (await client.post("/forge/play")).status_code == 204
        assert desk.host.orders == [("/duende/preset/load", "my-cello")]

    desk.run(work)


def test_it_is_patient_and_has_a_home_of_its_own(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/forge/style", content=wav(desk.folder))
        for local, threads in ((True, "1"), (False, os.environ.get("OMP_NUM_THREADS", ""))):
            desk.host.local = local
            await desk.forge.start(Order("one", replace=True))
            await desk.until("done", "failed")
            found, home, niceness = json.loads(desk.forge.state.notices[0])
            assert (found, niceness) == (threads, 19)
            assert Path(home).is_relative_to(desk.folder)
            assert Path(home) != Path(os.environ.get("DUENDE_HOME", "/"))
            assert not Path(home).exists(), "nothing is left"

    desk.run(work)


def test_pages_see_curves_and_pictures_grow(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        early = Page()
        watching = asyncio.create_task(desk.forge._attend(early))  # type: ignore[arg-type]
        await client.post("/forge/style", content=wav(desk.folder))
        await desk.forge.start(Order("one"))
        await desk.until("done")
        late = Page()
        joined = asyncio.create_task(desk.forge._attend(late))  # type: ignore[arg-type]
        for page in (early, late):
            while page.phase != "done":
                await asyncio.sleep(0.01)
            assert [point[0] for point in page.points] == list(range(1, 41))
            assert page.points[3] == [4.0, 0.25, 0.5]
            assert {which: one["step"] for which, one in page.pictures.items()} == {"style": 0, "sound": 21}
        before = early.run
        await desk.forge.start(Order("one", replace=True))
        await desk.until("done")
        while early.run == before or early.phase != "done":
            await asyncio.sleep(0.01)
        assert len(early.points) == 40, "another run has curves of its own"
        for page, task in ((early, watching), (late, joined)):
            page.leave()
            await task

    desk.run(work)


class Page:
    """A WebSocket as an open page keeps it."""

    def __init__(self) -> None:
        self.phase, self.run = "", -1
        self.points: list[list[float]] = []
        self.pictures: dict[str, Any] = {}
        self._gone = asyncio.Event()

    async def accept(self) -> None:
        pass

    async def receive_text(self) -> str:
        await self._gone.wait()
        raise WebSocketDisconnect

    async def send_text(self, text: str) -> None:
        message = json.loads(text)
        if message["state"]["run"] != self.run:
            self.run, self.points, self.pictures = message["state"]["run"], [], {}
        assert message["from"] == len(self.points)
        self.points += message["points"]
        self.pictures |= {one["which"]: one for one in message.get("pictures", [])}
        self.phase = message["state"]["phase"]

    def leave(self) -> None:
        self._gone.set()


def test_good_enough_keeps_the_best_so_far(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/forge/style", content=wav(desk.folder))
        assert (await client.post("/forge/finish")).status_code == 400
        await client.post("/forge/start", content=b'{"name": "slow-one"}')
        while desk.forge.state.step < 45:
            await asyncio.sleep(0.01)
        assert (await client.post("/forge/finish")).status_code == 204
        await desk.until("done", "failed")
        assert "kept the best" in desk.forge.state.notices
        assert [entry.name for entry in desk.host.library.entries()] == ["slow-one"]

    desk.run(work)


def test_what_is_cancelled_leaves_nothing(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/forge/style", content=wav(desk.folder))
        await client.post("/forge/start", content=b'{"name": "slow-one"}')
        while desk.forge.state.step < 5:
            await asyncio.sleep(0.01)
        job = desk.forge._job
        assert job is not None
        process = job._process
        assert process is not None
        again = await client.post("/forge/start", content=b'{"name": "other"}')
        assert (again.status_code, again.text) == (400, "the forge is at work: wait until it is done, or cancel it")
        assert (await client.post("/forge/style", content=wav(desk.folder))).status_code == 400
        assert (await client.post("/forge/cancel")).status_code == 204
        assert process.returncode is not None
        assert desk.forge.state.phase == "ready"
        assert desk.host.library.entries() == []
        await client.post("/forge/start", content=b'{"name": "one"}')
        await desk.until("done", "failed")
        assert desk.forge.state.phase == "done", "the recording is still there"

    desk.run(work)
    assert not list(desk.folder.glob("duende-forge-*"))


def test_a_forge_that_fails_says_why_in_one_line(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/forge/style", content=wav(desk.folder))
        await desk.forge.start(Order("broken-one"))
        await desk.until("failed")
        assert desk.forge.state.trouble == "out of memory: close other programs"
        assert desk.host.uploads == []

    desk.run(work)


def test_a_name_that_is_taken_is_replaced_only_when_asked(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/forge/style", content=wav(desk.folder))
        await desk.forge.start(Order("one"))
        await desk.until("done")
        refused = await client.post("/forge/start", content=b'{"name": "one"}')
        assert refused.status_code == 409
        assert "'one' already" in refused.text
        assert (await client.post("/forge/start", content=b'{"name": "one", "replace": true}')).status_code == 204
        await desk.until("done", "failed")
        assert (desk.forge.state.phase, desk.host.uploads[-1]) == ("done", "/files/presets?force=1")

    desk.run(work)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (b"{}", "name"),
        (b"[]", "no order"),
        (b'{"name": "../x"}', "1 to 63 small letters"),
        (b'{"name": "x", "mode": "loud"}', "mode 'loud'"),
        (b'{"name": "x", "quality": "--report=/x"}', "choose quick, good, best"),
        (b'{"name": "x", "quality": 3}', "no order"),
        (b'{"name": "x", "command": "rm"}', "no order"),
        (b"\xff" * 5000, "no order"),
    ],
)
def test_orders_that_do_not_do(desk: Desk, order: bytes, words: str) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/forge/style", content=wav(desk.folder))
        answer = await client.post("/forge/start", content=order)
        assert answer.status_code in (400, 413)
        assert words in answer.text
        assert "\n" not in answer.text
        assert desk.forge.state.phase == "ready"

    desk.run(work)


def test_without_a_recording_there_is_nothing_to_forge(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        for path in ("start", "play", "finish"):
            body = b'{"name": "x"}' if path == "start" else b""
            assert (await client.post(f"/forge/{path}", content=body)).status_code == 400
        assert (await client.get("/forge/style.wav")).status_code == 404
        assert (await client.post("/forge/cancel")).status_code == 204

    desk.run(work)


def test_what_was_played_is_taken(desk: Desk) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        nothing = await client.post("/forge/played")
        assert (nothing.status_code, nothing.text) == (400, "nothing was played yet")
        assert desk.forge.state.phase == "empty"
        desk.host.played = wav(desk.folder, 3.0)
        assert (await client.post("/forge/played")).status_code == 204
        assert desk.forge.state.phase == "ready"
        assert desk.forge.state.seconds == pytest.approx(3.0)
        heard = await client.get("/forge/style.wav")
        assert heard.content.startswith(b"RIFF")

    desk.run(work)


def test_a_bad_recording_leaves_the_one_before(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    good = wav(desk.folder)

    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/forge/style?name=good.wav", content=good)
        before = (desk.forge._folder / "style.wav").read_bytes()  # type: ignore[operator]
        for bad, words in (
            (b"rubbish", "no sound file"),
            (b"", "no sound file"),
            (wav(desk.folder, 0.5), "0.50 s long"),
            (wav(desk.folder, level_dbfs=-90.0), "silent"),
        ):
            answer = await client.post("/forge/style?name=../../../../etc/passwd", content=bad)
            assert answer.status_code == 400
            assert words in answer.text
            assert str(desk.folder) not in answer.text
            assert desk.forge.state.title == "good.wav"
            assert (desk.forge._folder / "style.wav").read_bytes() == before  # type: ignore[operator]
        monkeypatch.setattr(forge_module, "MAX_UPLOAD", len(good) - 1)
        assert (await client.post("/forge/style", content=good)).status_code == 413

        async def unsaid() -> Any:
            yield good

        assert (await client.post("/forge/style", content=unsaid())).status_code == 413
        assert sorted(path.name for path in desk.forge._folder.iterdir()) == ["style.wav"]  # type: ignore[union-attr]

    desk.run(work)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.WAV", ".wav"),
        ("b.flac", ".flac"),
        ("c.exe", ".wav"),
        ("d", ".wav"),
        ("../e.mp3", ".mp3"),
        ("f.mp3/..", ".wav"),
    ],
)
def test_an_ending_is_one_of_those_that_are_known(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
def test_recordings_of_every_kind_are_taken_in(tmp_path: Path, suffix: str) -> None:
    wav(tmp_path, suffix=suffix)
    clip = take_in(tmp_path / f"made{suffix}", tmp_path / "out.wav")
    audio, rate = soundfile.read(tmp_path / "out.wav")
    assert (rate, audio.ndim) == (44100, 1)
    assert clip.seconds == pytest.approx(2.0, abs=0.1)
    assert 10.0 * np.log10(np.mean(audio**2)) == pytest.approx(clip.level_dbfs, abs=0.01)
    assert clip.level_dbfs == pytest.approx(-15.0, abs=1.5)
    assert max(clip.outline) == 1.0
    assert len(clip.outline) <= OUTLINE


def test_what_is_too_long_or_no_number(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.full(301 * 8000, 0.1, dtype=np.float32), 8000)
    with pytest.raises(DuendeError, match="longer than 300 s"):
        take_in(tmp_path / "long.wav", tmp_path / "out.wav")
    soundfile.write(tmp_path / "nan.wav", np.full(8000, np.nan, dtype=np.float32), 8000, "FLOAT")
    with pytest.raises(DuendeError, match="no numbers"):
        take_in(tmp_path / "nan.wav", tmp_path / "out.wav")


def test_a_program_that_says_too_much_or_cannot_be_started_is_given_up(tmp_path: Path) -> None:
    async def run(*command: str) -> None:
        await Job(tmp_path, single=True).run(command, lambda line: None)

    with pytest.raises(DuendeError, match="more than 1 MiB"):
        asyncio.run(run(sys.executable, "-c", "print('x' * 3_000_000); import time; time.sleep(60)"))
    with pytest.raises(DuendeError, match="cannot start the forge"):
        asyncio.run(run(str(tmp_path / "none")))
    with pytest.raises(DuendeError, match="status 7"):
        asyncio.run(run(sys.executable, "-c", "import sys; sys.exit(7)"))
