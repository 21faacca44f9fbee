"""Files over HTTP: packs that come and go, bounded and checked; who may not, may nothing; no name becomes a path."""

import asyncio
import io
import json
import socket
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from duende.engine.control.access import parse_networks
from duende.engine.control.commands import session_nodes
from duende.engine.control.files import Files
from duende.engine.control.namespace import Namespace
from duende.engine.control.news import News
from duende.engine.control.oscquery import OscQuery, Settings
from duende.engine.control.played import Played
from duende.engine.control.session import Session
from duende.engine.control.shelf import Shelf
from duende.engine.control.web import Bounds
from duende.presets.library import Library
from duende.presets.pack import install, pack
from sessions import tiny_library, tiny_session

MOST = 2**20


class Desk:
    """A session whose files are served, and another library to bring packs from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.session: Session = tiny_session(folder / "host")
        self.played = Played(self.session, lambda: 48000.0)
        self.shelf = Shelf(self.session, News())
        self.other = tiny_library(folder / "other")
        self.other.duplicate("duo", "brought")

    @property
    def library(self) -> Library:
        return self.session.library

    def packed(self, name: str = "brought") -> bytes:
        target = self.folder / f"{name}.duende"
        return pack(self.other.find(name), target, force=True).read_bytes()

    def names(self) -> list[str]:
        return [entry.name for entry in self.library.entries()]

    @asynccontextmanager
    async def served(self, chosen: Settings | None = None, most: int = MOST) -> AsyncIterator[OscQuery]:
        namespace = Namespace()
        namespace.replace(session_nodes(self.session))
        files = Files(self.shelf, self.played, most)
        server = OscQuery(namespace, lambda packet, peer: 1, chosen, files)
        await server.serve(port=0)
        try:
            yield server
        finally:
            await server.stop()

    def ask(self, *work: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]], chosen: Settings | None = None,
            most: int = MOST) -> list[httpx.Response]:  # fmt: skip
        """The answers to requests, one after the other."""

        async def run() -> list[httpx.Response]:
            async with self.served(chosen, most) as server:
                url = f"http://127.0.0.1:{server.port}"
                async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                    return [await one(client) for one in work]

        return asyncio.run(run())

    def get(self, *paths: str, chosen: Settings | None = None) -> list[httpx.Response]:
        def one(path: str) -> Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]:
            return lambda client: client.get(path)

        return self.ask(*map(one, paths), chosen=chosen)

    def post(self, *bodies: bytes, path: str = "/files/presets", most: int = MOST) -> list[httpx.Response]:
        def one(body: bytes) -> Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]:
            return lambda client: client.post(path, content=body)

        return self.ask(*map(one, bodies), most=most)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary files lie where they can be counted; none is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def one_line(answer: httpx.Response) -> str:
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text
    assert "\n" not in answer.text
    return answer.text


def test_a_pack_goes_out_and_in(desk: Desk, tmp_path: Path) -> None:
    (got,) = desk.get("/files/presets/duo.duende")
    assert got.status_code == 200
    assert got.headers["content-disposition"] == 'attachment; filename="duo.duende"'
    assert got.headers["x-content-type-options"] == "nosniff"
    target = tmp_path / "fetched.duende"
    target.write_bytes(got.content)
    assert install(Library(tmp_path / "third", tmp_path / "none"), target).name == "duo"
    (put,) = desk.post(desk.packed())
    assert (put.status_code, put.json()) == (201, {"name": "brought"})
    assert desk.names() == ["brought", "duo", "solo", "wire"]
    assert desk.library.find("brought").read() == desk.other.find("brought").read()
    asyncio.run(desk.session.load("brought"))


def test_what_is_there_is_replaced_only_when_asked(desk: Desk) -> None:
    body = desk.packed()
    first, second = desk.post(body, body)
    assert (first.status_code, second.status_code) == (201, 409)
    assert "'brought' already" in one_line(second)
    desk.library.describe("brought", "mine now", [])
    (third,) = desk.post(body, path="/files/presets?force=1")
    assert third.status_code == 201
    assert desk.library.find("brought").read().description == ""


def _evil(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


def test_what_is_no_pack_is_refused_in_one_line(desk: Desk) -> None:
    good = desk.packed()
    bad = (b"", b"rubbish", good[:-30], good[:100] + b"\xff" * 40 + good[140:], _evil("../../evil.toml"), _evil("a/b"))
    for body, answer in zip(bad, desk.post(*bad), strict=True):
        assert answer.status_code == 400, body[:20]
        assert str(desk.folder) not in one_line(answer)
    assert desk.names() == ["duo", "solo", "wire"]
    assert not list(desk.folder.rglob("evil*"))


def test_too_much_is_not_taken_in(desk: Desk) -> None:
    body = desk.packed()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    said, unsaid = desk.ask(
        lambda client: client.post("/files/presets", content=body),
        lambda client: client.post("/files/presets", content=pieces()),
        most=len(body) - 1,
    )
    assert (said.status_code, unsaid.status_code) == (413, 413)
    assert "too large" in one_line(said)
    assert desk.names() == ["duo", "solo", "wire"]
    fits, unsaid = desk.ask(
        lambda client: client.post("/files/presets", content=body),
        lambda client: client.post("/files/presets?force=1", content=pieces()),
        most=len(body),
    )
    assert (fits.status_code, unsaid.status_code) == (201, 201)


def test_a_full_disk_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def full(path: Path, mode: str = "r", *rest: object, **more: object) -> object:
        if path.name == "upload.duende":
            return real(Path("/dev/full"), mode, *rest, **more)  # type: ignore[call-overload]
        return real(path, mode, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    (answer,) = desk.post(desk.packed())
    assert answer.status_code == 507
    assert "no room" in one_line(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/files",
        "/files/",
        "/files/none",
        "/files/presets/",
        "/files/presets/none.duende",
        "/files/presets/duo",
        "/files/presets/duo.toml",
        "/files/presets/duo.onnx",
        "/files/presets/duo.png",
        "/files/presets/..%2f..%2fhost%2fpresets%2fduo.duende",
        "/files/presets/../presets/duo.duende",
        "/files/presets/%2fetc%2fpasswd.png",
        "/files/presets/.png",
        "/files/played.wav/x",
    ],
)
def test_there_is_no_way_out_of_the_library(desk: Desk, path: str) -> None:
    async def raw() -> bytes:
        async with desk.served() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            found = await reader.read()
            writer.close()
            return found

    answer = asyncio.run(raw())
    if path == "/files/presets/":
        assert answer.startswith(b"HTTP/1.1 200")
    else:
        assert answer.startswith(b"HTTP/1.1 404"), answer[:200]


def test_only_what_is_meant_can_be_done(desk: Desk) -> None:
    answers = desk.ask(
        lambda client: client.delete("/files/presets/duo.duende"),
        lambda client: client.put("/files/presets", content=b"x"),
        lambda client: client.post("/files/captures", content=b"x"),
        lambda client: client.post("/files/presets/duo.duende", content=b"x"),
        lambda client: client.head("/files/presets/duo.duende"),
    )
    assert [answer.status_code for answer in answers] == [405, 405, 405, 405, 200]
    assert "duo" in desk.names()


def test_lists(desk: Desk) -> None:
    presets, captures = desk.get("/files/presets", "/files/captures")
    assert [one["name"] for one in presets.json()] == ["duo", "solo", "wire"]
    assert presets.json()[0]["plays"] == ["duo"]
    assert captures.json() == []
    assert presets.headers["cache-control"] == "no-store"


def test_a_picture(desk: Desk) -> None:
    picture = b"\x89PNG picture"
    preset = desk.library.find("solo").read()
    model = desk.library.find("solo").model_path("solo.onnx").read_bytes()
    desk.library.save("solo", preset, {"solo.onnx": model}, picture, force=True)
    (got,) = desk.get("/files/presets/solo.png")
    assert (got.content, got.headers["content-type"]) == (picture, "image/png")


def test_what_was_played(desk: Desk) -> None:
    (nothing,) = desk.get("/files/played.wav")
    assert nothing.status_code == 409
    assert "nothing was played" in one_line(nothing)
    block = np.linspace(-0.5, 0.5, 4800, dtype=np.float32)[:, None]
    desk.session.shared.keep(block, block)
    (got,) = desk.get("/files/played.wav")
    audio, rate = soundfile.read(io.BytesIO(got.content), dtype="float32", always_2d=True)
    assert (rate, got.headers["content-type"]) == (48000, "audio/wav")
    assert audio == pytest.approx(block, abs=2e-7)


def test_who_may_not_may_nothing(desk: Desk) -> None:
    body = desk.packed()
    token = Settings(token="secret")
    refused, wrong, given, header = desk.ask(
        lambda client: client.post("/files/presets", content=body),
        lambda client: client.post("/files/presets?token=wrong", content=body),
        lambda client: client.get("/files/presets?token=secret"),
        lambda client: client.post("/files/presets", content=body, headers={"Authorization": "Bearer secret"}),
        chosen=token,
    )
    assert [one.status_code for one in (refused, wrong, given, header)] == [401, 401, 200, 201]
    body = desk.packed("solo")
    answers = desk.ask(
        lambda client: client.post("/files/presets", content=body, headers={"Origin": "http://elsewhere.example"}),
        lambda client: client.post("/files/presets", content=body, headers={"Origin": "null"}),
        lambda client: client.post("/files/presets", content=body, headers={"Host": "elsewhere.example"}),
        lambda client: client.get("/files/presets", headers={"Host": "elsewhere.example"}),
        lambda client: client.post("/files/presets?force=1", content=body, headers={"Origin": "http://127.0.0.1:7702"}),
    )
    assert [one.status_code for one in answers] == [403, 403, 403, 403, 201]
    assert "brought" in desk.names()
    (kept_out,) = desk.ask(
        lambda client: client.get("/files/presets", headers={"Host": "localhost"}),
        chosen=Settings(allow=parse_networks(["10.0.0.0/8"])),
    )
    assert kept_out.status_code == 200, "this machine itself always may"


def test_who_stands_still_is_cut_off_and_who_gets_on_is_not(desk: Desk) -> None:
    """A request may take 0.3 s; one that brings STEP_BYTES in that time has it again."""
    body = b"\0" * (5 * 2**18)
    chosen = Settings(bounds=Bounds(request_s=0.3))

    async def slowly(port: int, pause_s: float, step: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /files/presets HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        try:
            for start in range(0, len(body), step):
                writer.write(body[start : start + step])
                await writer.drain()
                await asyncio.sleep(pause_s)
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def run() -> tuple[bytes, bytes]:
        async with desk.served(chosen, most=8 * MOST) as server:
            return await slowly(server.port, 0.1, 2**18), await slowly(server.port, 0.1, 2**10)

    gets_on, stands_still = asyncio.run(run())
    assert gets_on.startswith(b"HTTP/1.1 400"), "it took 0.5 s, and was no pack"
    assert stands_still == b""


def test_uploads_wait_for_their_turn(desk: Desk) -> None:
    """Two hang; a third is told so; when they are gone, there is room again."""

    async def hang(port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        client = socket.create_connection(("127.0.0.1", port))
        client.setblocking(False)
        await loop.sock_sendall(
            client, b"POST /files/presets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"
        )
        return client

    async def run() -> list[int]:
        found = []
        async with desk.served() as server:
            url = f"http://127.0.0.1:{server.port}"
            hanging = [await hang(server.port) for _ in range(2)]
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                while (answer := await client.post("/files/presets", content=b"x")).status_code == 400:
                    await asyncio.sleep(0.01)
                found.append(answer.status_code)
                for one in hanging:
                    one.close()
                while (answer := await client.post("/files/presets", content=b"x")).status_code == 503:
                    await asyncio.sleep(0.01)
                found.append(answer.status_code)
        return found

    assert asyncio.run(asyncio.wait_for(run(), 10.0)) == [503, 400]


def test_the_tree_is_where_it_was(desk: Desk) -> None:
    tree, value = desk.get("/", "/duende/tempo?VALUE")
    assert json.loads(tree.text)["CONTENTS"].keys() == {"duende"}
    assert value.json() == {"VALUE": [120.0]}
