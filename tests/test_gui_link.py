"""The GUI's way to the host, and the pages' way to it: orders, answers, streams, files; without a browser."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("aiohttp")

from fastapi import FastAPI

from duende import DuendeError
from duende.gui import files
from duende.gui.files import join_files
from duende.gui.link import Link
from duende.gui.pages import MAX_BEHIND, Page, Pages
from duende.gui.target import Target
from duende.presets.format import FORMAT, Preset
from duende.presets.library import Library
from duende.presets.pack import pack
from stage import Host, free_port
from waiting import PATIENCE_S


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("stage")
    patch = pytest.MonkeyPatch()
    patch.setitem(os.environ, "DUENDE_HOME", str(folder))
    one = Host(folder, "secret")
    yield one
    one.end()
    patch.undo()


def target(host: Host) -> Target:
    return Target("127.0.0.1", host.http_port, "secret")


async def until(condition: Callable[[], bool], what: str = "") -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


@asynccontextmanager
async def linked(find: Callable[[], Target], up: bool = True) -> AsyncIterator[Link]:
    link = Link(find)
    running = asyncio.create_task(link.run())
    try:
        if up:
            await until(lambda: link.up, "the host is found")
        yield link
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def run(host: Host, work: Callable[[Link], Awaitable[None]]) -> None:
    async def go() -> None:
        async with linked(lambda: target(host)) as link:
            await work(link)

    asyncio.run(go())


class Socket:
    """A page's end of its WebSocket: what it is sent, and what it says."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.said: asyncio.Queue[str | None] = asyncio.Queue()
        self.stuck = asyncio.Event()
        self.stuck.set()
        self.closed: int | None = None

    async def accept(self) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        self.closed = code

    async def send_text(self, text: str) -> None:
        await self.stuck.wait()
        self.sent.append(json.loads(text))

    async def receive_text(self) -> str:
        text = await self.said.get()
        if text is None:
            raise RuntimeError("closed")
        return text

    def say(self, **message: Any) -> None:
        self.said.put_nowait(json.dumps(message))

    async def heard(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message of which that holds, once it has come."""
        await until(lambda: any(what(message) for message in self.sent), str(self.sent[-3:])[:500])
        return next(message for message in self.sent if what(message))


@asynccontextmanager
async def paged(link: Link) -> AsyncIterator[tuple[Pages, Socket]]:
    pages, socket = Pages(link), Socket()
    running = [asyncio.create_task(pages.run()), asyncio.create_task(pages.attend(socket))]  # type: ignore[arg-type]
    await socket.heard(lambda message: "tree" in message)
    try:
        yield pages, socket
    finally:
        socket.said.put_nowait(None)
        await running[1]
        running[0].cancel()
        with suppress(asyncio.CancelledError):
            await running[0]


# -- the link ---------------------------------------------------------------------------------------------------------


def test_orders_are_answered_and_values_follow(host: Host) -> None:
    async def work(link: Link) -> None:
        assert link.local
        assert await link.ask("/duende/preset/current") == ["duo"]
        assert link.mirror.nodes["/duende/amount"]["range"] == [0.0, 1.0]
        link.send("/duende/amount", 1)  # a whole number, where a float is meant
        await until(lambda: link.mirror.values["/duende/amount"] == [1.0])
        await link.order("/duende/amount", 0.25)
        await until(lambda: link.mirror.values["/duende/amount"] == [0.25])
        with pytest.raises(DuendeError, match="nowhere"):
            await link.ask("/duende/preset/load", "nowhere")

    run(host, work)


def test_what_fails_without_a_receipt_is_told(host: Host) -> None:
    async def work(link: Link) -> None:
        told: list[str] = []
        link.failed.append(told.append)
        link.send("/duende/preset/load", "nowhere")
        await until(lambda: bool(told))
        assert "nowhere" in told[0]

    run(host, work)


def test_a_new_slot_is_in_the_tree_a_moment_later(host: Host) -> None:
    async def work(link: Link) -> None:
        changed: list[bool] = []
        link.changed.append(lambda: changed.append(True))
        await link.order("/duende/slot/add", "cabinet:4x12")
        await until(lambda: "/duende/slot/2/low-cut" in link.mirror.nodes, str(list(link.mirror.nodes)))
        assert changed
        await link.order("/duende/slot/2/remove")
        await until(lambda: "/duende/slot/2/name" not in link.mirror.nodes)

    run(host, work)


def test_streams_come_while_somebody_looks(host: Host) -> None:
    async def work(link: Link) -> None:
        link.listen({"/duende/spectrum/input"})
        await until(lambda: len(link.mirror.values.get("/duende/spectrum/input", [])) == 96)
        link.listen(set())
        await link.ask("/duende/ping")
        await asyncio.sleep(0.2)
        link.mirror.take()
        await asyncio.sleep(0.2)
        assert "/duende/spectrum/input" not in link.mirror.take()

    run(host, work)


def test_it_waits_for_a_host_that_is_not_there_yet_and_says_why(tmp_path: Path) -> None:
    port = free_port()

    async def go() -> None:
        async with linked(lambda: Target("127.0.0.1", port), up=False) as link:
            await until(lambda: "duende live" in link.trouble)
            with pytest.raises(DuendeError, match="not there"):
                await link.ask("/duende/ping")
            with pytest.raises(DuendeError):
                await link.fetch("/files/presets")

    asyncio.run(go())


def test_a_wrong_token_is_said(host: Host) -> None:
    async def go() -> None:
        wrong = Target("127.0.0.1", host.http_port, "guess")
        async with linked(lambda: wrong, up=False) as link:
            await until(lambda: "token" in link.trouble, link.trouble)

    asyncio.run(go())


def test_what_is_no_host_is_no_host() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n{{{{")
        await writer.drain()
        writer.close()

    async def go() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with linked(lambda: Target("127.0.0.1", port), up=False) as link:
            await until(lambda: str(port) in link.trouble, link.trouble)
            assert not link.up
        server.close()
        await server.wait_closed()

    asyncio.run(go())


# -- pages ------------------------------------------------------------------------------------------------------------


def test_a_page_gets_all_and_then_what_changes(host: Host) -> None:
    async def work(link: Link) -> None:
        async with paged(link) as (_, socket):
            first = socket.sent[0]
            assert first["link"]["up"]
            assert first["all"]["/duende/preset/current"] == ["duo"]
            await link.order("/duende/mix", 0.5)
            await socket.heard(lambda message: message.get("v", {}).get("/duende/mix") == [0.5])
            await socket.heard(lambda message: "/duende/meter" in message.get("v", {}))

    run(host, work)


def test_without_a_page_the_host_sends_nothing(host: Host) -> None:
    async def work(link: Link) -> None:
        async with paged(link) as (_, socket):
            await socket.heard(lambda message: "/duende/meter" in message.get("v", {}))
        await link.ask("/duende/ping")
        link.mirror.take()
        await link.ask("/duende/mix", 0.625)
        await asyncio.sleep(0.2)
        assert link.mirror.take() == {}
        async with paged(link) as (_, socket):
            await socket.heard(lambda message: message.get("v", {}).get("/duende/mix") == [0.625])

    run(host, work)


def test_a_page_orders_and_is_answered(host: Host) -> None:
    async def work(link: Link) -> None:
        async with paged(link) as (_, socket):
            socket.say(a="/duende/mix", v=[0.125])
            await socket.heard(lambda message: message.get("v", {}).get("/duende/mix") == [0.125])
            socket.say(a="/duende/preset/load", v=["duo"], id=7)
            assert (await socket.heard(lambda message: message.get("id") == 7))["ok"][0] == "duo"
            socket.say(a="/duende/preset/load", v=["nowhere"], id=8)
            assert "nowhere" in (await socket.heard(lambda message: message.get("id") == 8))["no"]

    run(host, work)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "/duende/subscribe", "v": [9000]}',
        '{"a": "/duende/unsubscribe"}',
        '{"a": "/etc/passwd", "v": ["x"]}',
        '{"a": "/duende/*", "v": [1]}',
        '{"a": "/duende/preset/load", "v": ["#receipt"]}',
        '{"a": "/duende/preset/load", "v": [{"a": 1}]}',
        '{"a": "/duende/preset/load", "v": [[]]}',
        '{"a": "/duende/mix", "v": [1, 1, 1, 1, 1, 1, 1, 1, 1]}',
        '{"a": 3}',
        "[",
        '"' + "x" * 9000 + '"',
    ],
)
def test_what_a_page_may_not_is_refused_and_the_page_goes_on(host: Host, text: str) -> None:
    async def work(link: Link) -> None:
        async with paged(link) as (_, socket):
            socket.said.put_nowait(text)
            await socket.heard(lambda message: "error" in message)
            socket.say(a="/duende/ping", id=1)
            await socket.heard(lambda message: message.get("id") == 1)

    run(host, work)


def test_a_page_that_does_not_read_gets_everything_anew(host: Host) -> None:
    async def work(link: Link) -> None:
        async with paged(link) as (pages, socket):
            page: Page = next(iter(pages._pages))
            socket.stuck.clear()
            await until(lambda: page.stale)
            assert page.frames.qsize() <= MAX_BEHIND + 1
            socket.sent.clear()
            socket.stuck.set()
            await socket.heard(lambda message: "tree" in message)
            assert not page.stale

    run(host, work)


def test_streams_are_asked_for_while_a_page_shows_them(host: Host) -> None:
    async def work(link: Link) -> None:
        async with paged(link) as (_, socket):
            socket.say(look=["/duende/spectrum/output", "/etc/passwd"])
            await socket.heard(lambda message: "/duende/spectrum/output" in message.get("v", {}))
            assert link._listening == {"/duende/spectrum/output"}
        assert link._listening == set()

    run(host, work)


# -- files ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def browsing(link: Link) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    join_files(app, link)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gui") as client:
        yield client


def test_presets_are_listed_packed_and_installed(host: Host, tmp_path: Path) -> None:
    library = Library(tmp_path / "other", tmp_path / "none")
    library.save("guest", Preset(FORMAT, "guest", []), {})
    data = pack(library.find("guest"), tmp_path / "guest.duende").read_bytes()

    async def work(link: Link) -> None:
        async with browsing(link) as client:
            assert "duo" in [one["name"] for one in (await client.get("/host/presets")).json()]
            answer = await client.post("/host/presets", content=data)
            assert (answer.status_code, answer.text) == (201, "guest")
            assert (await client.post("/host/presets", content=data)).status_code == 409
            assert (await client.post("/host/presets?force=1", content=data)).status_code == 201
            packed = await client.get("/host/presets/guest.duende")
            assert packed.headers["content-disposition"].endswith("guest.duende")
            assert packed.content.startswith(b"PK")

    run(host, work)


@pytest.mark.parametrize(
    "path",
    [
        "/host/../settings.toml",
        "/host/settings",
        "/host/presets/..%2f..%2fsettings.toml",
        "/host/presets/..%2fduo.duende",
        "/host/presets/duo.toml",
        "/host/presets/nowhere.duende",
        "/host/presets/" + "x" * 300 + ".duende",
    ],
)
def test_no_path_reaches_a_file(host: Host, path: str) -> None:
    async def work(link: Link) -> None:
        async with browsing(link) as client:
            assert (await client.get(path)).status_code in (400, 404)

    run(host, work)


def test_bad_packs_are_refused_in_one_line(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"

    async def work(link: Link) -> None:
        async with browsing(link) as client:
            answer = await client.post("/host/presets", content=b"PK no pack")
            assert answer.status_code == 400
            assert len(answer.text.strip().splitlines()) == 1
            assert (await client.post("/host/presets", content=endless())).status_code == 411
            monkeypatch.setattr(files, "MAX_PACK", 100)
            assert (await client.post("/host/presets", content=b"x" * 101)).status_code == 413
            assert [one for one in await link.ask("/duende/preset/list") if "PK" in str(one)] == []

    run(host, work)


# -- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("box.local", ("box.local", 7701)),
        ("192.168.1.20:7711", ("192.168.1.20", 7711)),
        ("http://127.0.0.1:7701/", ("127.0.0.1", 7701)),
    ],
)
def test_hosts_are_named(text: str, found: tuple[str, int]) -> None:
    one = Target.parse(text)
    assert (one.host, one.port) == found


@pytest.mark.parametrize("text", ["", ":7701", "box:", "box:0", "box:70000", "box:x", "a/b:1", "me@box:1", "a b"])
def test_what_names_no_host_is_refused(text: str) -> None:
    with pytest.raises(DuendeError, match="--connect"):
        Target.parse(text)
