"""OSCQuery: what is answered over HTTP and WebSockets, whom it answers, and what it puts up with."""

import asyncio
import json
import math
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Origin

from duende import DuendeError
from duende.engine.control.access import parse_networks
from duende.engine.control.commands import addresses_of, session_nodes
from duende.engine.control.namespace import Namespace, Node, Range, Values
from duende.engine.control.osc import Message, decode
from duende.engine.control.oscquery import MAX_QUEUE, WORK_BURST, WORK_RATE, OscQuery, Settings
from duende.engine.control.peer import Peer
from duende.engine.control.web import Bounds
from sessions import tiny_session

Headers = dict[str, str]


class Show:
    """A small namespace over a dictionary of values, and the OSC packets that came in."""

    def __init__(self) -> None:
        self.values: dict[str, Values] = {"/a/gain": [-6.0], "/a/list": ["one", "two", "three"], "/a/odd": [math.nan]}
        self.received: list[tuple[bytes, Peer]] = []
        self.work = 1
        self.namespace = Namespace()
        self.namespace.replace(self.nodes())

    def nodes(self) -> list[Node]:
        return [
            Node(
                "/a/gain", "f", "a level", "dB", (Range(-60.0, 20.0),), clip=True, read=self.reader("/a/gain"),
                write=self.writer("/a/gain"), tags=("parameter",),
            ),
            Node("/a/gain/normalized", "f", "a share", ranges=(Range(0.0, 1.0),), read=self.share),
            Node("/a/list", "s", "what there is", read=self.reader("/a/list")),
            Node("/a/odd", "f", "no number", "Hz", read=self.reader("/a/odd")),
            Node("/do/next", "", "one on", write=lambda values: None),
            Node("/do/go", "if", "in seconds", "s", (Range(1, 8), Range(0.0)), optional=1, write=lambda values: None),
            Node(
                "/do/mode", "s", "one of two", ranges=(Range(allowed=("on", "off")),), overload="i",
                write=lambda values: None,
            ),
        ]  # fmt: skip

    def share(self) -> Values:
        gain = self.values["/a/gain"][0]
        assert isinstance(gain, float)
        return [(gain + 60.0) / 80.0]

    def reader(self, address: str) -> Callable[[], Values]:
        return lambda: self.values[address]

    def writer(self, address: str) -> Callable[[Values], None]:
        def write(values: Values) -> None:
            self.values[address] = values

        return write

    def receive(self, packet: bytes, peer: Peer) -> int:
        self.received.append((packet, peer))
        return self.work


@asynccontextmanager
async def served(show: Show, chosen: Settings | None = None) -> AsyncIterator[OscQuery]:
    server = OscQuery(show.namespace, show.receive, chosen)
    await server.serve(port=0)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def client_of(server: OscQuery) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        yield client


def joined(server: OscQuery, query: str = "", **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{server.port}/{query}", proxy=None, compression=None, **options)


def ask(*paths: str, chosen: Settings | None = None, headers: Headers | None = None) -> list[httpx.Response]:
    """The answers to GET requests."""

    async def run() -> list[httpx.Response]:
        async with served(Show(), chosen) as server, client_of(server) as client:
            return [await client.get(path, headers=headers) for path in paths]

    return asyncio.run(run())


def message(frame: str | bytes) -> tuple[str, list[Any]]:
    assert isinstance(frame, bytes)
    found = OscMessage(frame)
    return found.address, list(found.params)


async def listen(websocket: ClientConnection, address: str, command: str = "LISTEN") -> None:
    await websocket.send(json.dumps({"COMMAND": command, "DATA": address}))


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that comes within a moment."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test

    asyncio.run(bounded())


# -- HTTP ------------------------------------------------------------------------------------------------------------


def test_the_tree() -> None:
    root, leaf = ask("/", "/a/gain/")
    assert root.headers["content-type"] == "application/json"
    assert root.json()["FULL_PATH"] == "/"
    assert root.json()["CONTENTS"]["a"]["CONTENTS"]["gain"] == leaf.json()
    assert root.json()["CONTENTS"]["do"]["ACCESS"] == 0
    assert leaf.json() == {
        "FULL_PATH": "/a/gain",
        "TYPE": "f",
        "ACCESS": 3,
        "DESCRIPTION": "a level",
        "VALUE": [-6.0],
        "RANGE": [{"MIN": -60.0, "MAX": 20.0}],
        "CLIPMODE": ["both"],
        "UNIT": ["gain.db"],
        "TAGS": ["parameter"],
        "CONTENTS": {
            "normalized": {
                "FULL_PATH": "/a/gain/normalized",
                "TYPE": "f",
                "ACCESS": 1,
                "DESCRIPTION": "a share",
                "VALUE": [0.675],
                "RANGE": [{"MIN": 0.0, "MAX": 1.0}],
                "CLIPMODE": ["none"],
            }
        },
    }


def test_commands_choices_and_lists() -> None:
    step, go, mode, names, odd = (one.json() for one in ask("/do/next", "/do/go", "/do/mode", "/a/list", "/a/odd"))
    assert (step["TYPE"], step["ACCESS"], "VALUE" in step) == ("N", 2, False)
    assert go["RANGE"] == [{"MIN": 1, "MAX": 8}, {"MIN": 0.0}]
    assert (go["UNIT"], go["OVERLOADS"]) == ([None, "time.second"], [{"TYPE": "i"}])
    assert (mode["RANGE"], mode["OVERLOADS"]) == ([{"VALS": ["on", "off"]}], [{"TYPE": "i"}])
    assert (names["TYPE"], names["VALUE"]) == ("sss", ["one", "two", "three"])
    assert (odd["VALUE"], odd["UNIT"]) == ([None], ["time.hz"])


def test_attributes() -> None:
    value, contents, unit, nothing, container = ask(
        "/a/gain?VALUE", "/a?CONTENTS", "/do/next?UNIT", "/do/next?VALUE", "/a?TYPE"
    )
    assert value.json() == {"VALUE": [-6.0]}
    assert set(contents.json()["CONTENTS"]) == {"gain", "list", "odd"}
    assert [answer.status_code for answer in (unit, nothing, container)] == [204, 204, 204]
    assert nothing.content == b""


def test_wrong_paths_and_attributes() -> None:
    answers = ask("/b", "/a/gai", "/b?VALUE", "/a/gain?LOUD", "/a/gain?VALUE&TYPE", "/?value")
    assert [answer.status_code for answer in answers] == [404, 404, 404, 400, 400, 400]
    assert all("\n" not in answer.text for answer in answers)


def test_host_info() -> None:
    async def test() -> None:
        async with served(Show(), Settings(name="stage left", osc_port=7777)) as server, client_of(server) as client:
            info = (await client.get("/anything?HOST_INFO")).json()
            assert (info["NAME"], info["OSC_PORT"], info["WS_PORT"]) == ("stage left", 7777, server.port)
            assert (info["OSC_IP"], info["OSC_TRANSPORT"]) == ("127.0.0.1", "UDP")
            assert (
                info["EXTENSIONS"]["LISTEN"] is info["EXTENSIONS"]["VALUE"] is info["EXTENSIONS"]["PATH_ADDED"] is True
            )
            assert info["EXTENSIONS"]["PATH_RENAMED"] is False

    run(test())


def test_only_reading_over_http() -> None:
    async def test() -> None:
        async with served(Show()) as server, client_of(server) as client:
            assert (await client.post("/a/gain", content=b"x" * 100_000)).status_code == 405
            assert (await client.head("/a/gain")).status_code == 200

    run(test())


def test_a_whole_session_is_shown(tmp_path: Path) -> None:
    session, namespace = tiny_session(tmp_path), Namespace()

    async def test() -> None:
        await session.load("duo")
        namespace.replace(session_nodes(session))
        server = OscQuery(namespace, lambda packet, peer: 1)
        await server.serve(port=0)
        async with client_of(server) as client:
            tree = (await client.get("/")).json()
        await server.stop()
        assert set(tree["CONTENTS"]["duende"]["CONTENTS"]) >= {"mix", "slot", "style", "preset", "snapshot"}

        def addresses(node: dict[str, Any]) -> set[str]:
            below = [addresses(child) for child in node.get("CONTENTS", {}).values()]
            return set().union(*below, [node["FULL_PATH"]] if "TYPE" in node else [])

        assert addresses(tree) == set(namespace.nodes)
        below = tree["CONTENTS"]["duende"]["CONTENTS"]
        assert below["mix"]["DEFAULT"] == [1.0]
        assert below["bypass"]["DEFAULT"] == [0]
        assert below["slot"]["CONTENTS"]["1"]["CONTENTS"]["style0"]["DEFAULT"] == [1.0]
        assert below["style"]["CONTENTS"]["style1"]["DEFAULT"] == [0.0]
        assert "DEFAULT" not in below["tempo"]

    run(test())


# -- WebSockets ------------------------------------------------------------------------------------------------------


def test_listen_tells_the_value_then_each_change() -> None:
    async def test() -> None:
        show = Show()
        async with served(show) as server, joined(server) as one, joined(server) as other:
            await listen(one, "/a/gain")
            assert message(await one.recv()) == ("/a/gain", [-6.0])
            show.values["/a/gain"] = [0.0]
            server.publish(["/a/gain", "/a/odd"])
            assert message(await one.recv()) == ("/a/gain", [0.0])
            await listen(one, "/a/gain/normalized")
            assert message(await one.recv()) == ("/a/gain/normalized", [0.75])
            await listen(one, "/a/gain", "IGNORE")
            await listen(one, "/a/list")
            assert message(await one.recv()) == ("/a/list", ["one", "two", "three"])
            show.values["/a/gain"] = [-60.0]
            server.publish(["/a/gain"])
            assert message(await one.recv()) == ("/a/gain/normalized", [0.0])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other.recv(), 0.05)

    run(test())


def test_a_flood_of_changes_becomes_a_few() -> None:
    async def test() -> None:
        show = Show()
        async with served(show) as server, joined(server) as websocket:
            await listen(websocket, "/a/gain")
            seen = [message(await websocket.recv())[1][0]]
            loop = asyncio.get_running_loop()
            began = loop.time()
            for step in range(400):
                show.values["/a/gain"] = [float(step)]
                server.publish(["/a/gain"])
                await asyncio.sleep(0)
            while seen[-1] != 399.0:
                seen.append(message(await websocket.recv())[1][0])
            assert len(seen) <= 3 + (loop.time() - began) / 0.01
            assert seen[1:] == sorted(seen[1:])

    run(test())


def test_osc_goes_both_ways() -> None:
    async def test() -> None:
        show = Show()
        async with served(show) as server, joined(server) as websocket:
            packet = OscMessageBuilder("/do/next").build().dgram
            await websocket.send(packet)
            await until(lambda: show.received)
            received, peer = show.received[0]
            assert (received, peer.kind, peer.host, peer.local) == (packet, "ws", "127.0.0.1", True)
            assert peer.port == websocket.local_address[1]
            peer.send(b"\x00reply")
            assert await websocket.recv() == b"\x00reply"
            await websocket.close()
            await until(lambda: server.clients == 0)
            peer.send(b"too late")
            assert server.counts.lost == 1

    run(test())


def test_meters_reach_those_who_listen() -> None:
    async def test() -> None:
        show = Show()
        show.namespace.replace([*show.nodes(), Node("/meter", "ff", "levels", "dB", stream=True)])
        async with served(show) as server, joined(server) as websocket:
            await listen(websocket, "/meter")
            await websocket.send(b"here")
            await until(lambda: show.received)
            server.stream([Message("/meter", [-3.0, -60]), Message("/other", [1])])
            assert message(await websocket.recv()) == ("/meter", [-3.0, -60.0])

    run(test())


def test_a_command_takes_an_impulse() -> None:
    """Clients send N or I where TYPE is N."""
    node = next(node for node in Show().nodes() if node.address == "/do/next")
    for packet in (b"/do/next\0\0\0\0,N\0\0", b"/do/next\0\0\0\0,I\0\0", b"/do/next\0\0\0\0,\0\0\0"):
        assert node.check(decode(packet)[0].values) == []
    with pytest.raises(DuendeError, match="it takes 0"):
        node.check([None, None])


def test_who_sends_too_much_is_read_slowly() -> None:
    async def test() -> None:
        show = Show()
        async with served(show) as server, joined(server) as websocket:
            show.work = int(WORK_BURST + 0.2 * WORK_RATE)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await websocket.send(b"much")
            await websocket.send(b"more")
            await until(lambda: len(show.received) == 2)
            assert 0.15 < loop.time() - began < 2.0

    run(test())


def test_addresses_that_come_and_go_are_told() -> None:
    async def test() -> None:
        show = Show()
        async with served(show) as server, joined(server) as websocket:
            await listen(websocket, "/a/gain")
            await websocket.recv()
            nodes = [node for node in show.nodes() if not node.address.startswith("/a/gain")]
            nodes[0] = replace(nodes[0], description="another")
            show.namespace.replace([*nodes, Node("/new", "", "a new one")])
            told = [json.loads(await websocket.recv()) for _ in range(4)]
            assert [(one["COMMAND"], one["DATA"]) for one in told] == [
                ("PATH_REMOVED", "/a/gain"),
                ("PATH_REMOVED", "/a/gain/normalized"),
                ("PATH_ADDED", "/new"),
                ("PATH_CHANGED", "/a/list"),
            ]
            show.namespace.replace(show.nodes())
            server.publish(["/a/gain"])
            assert [json.loads(await websocket.recv())["COMMAND"] for _ in range(4)][-1] == "PATH_CHANGED"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(websocket.recv(), 0.05)
        assert show.namespace.listeners == []

    run(test())


def test_a_session_tells_its_changes(tmp_path: Path) -> None:
    session, namespace = tiny_session(tmp_path), Namespace()

    async def test() -> None:
        await session.load("duo")
        namespace.replace(session_nodes(session))
        server = OscQuery(namespace, lambda packet, peer: 1)
        session.changed.append(lambda names: server.publish(addresses_of(session, names)))
        await server.serve(port=0)
        async with joined(server) as websocket:
            await listen(websocket, "/duende/style/style1/normalized")
            await websocket.recv()
            session.set("slot/1/style1", 0.25)
            assert message(await websocket.recv()) == ("/duende/style/style1/normalized", [0.25])
        await server.stop()

    run(test())


# -- whom it answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:7701", 200), ("stage.lan", 200), ("evil.example", 403)),
        *(("", 403), ("localhost.evil.example", 403), ("evil.example:7701", 403), ("[::1", 403)),
    ],
)
def test_only_known_names_are_answered(host: str, status: int) -> None:
    """A page elsewhere whose name was made to point here (DNS rebinding) gets nothing."""
    assert ask("/", chosen=Settings(hosts=frozenset({"stage.lan"})), headers={"host": host})[0].status_code == status


def test_pages_from_elsewhere_open_no_websocket() -> None:
    async def test() -> None:
        chosen = Settings(origins=frozenset({"https://remote.example"}))
        async with served(Show(), chosen) as server:
            for origin in (
                "http://evil.example",
                "null",
                "http://evil.example:7701",
                f"http://localhost:{server.port}",
            ):
                with pytest.raises(InvalidStatus) as refused:
                    await joined(server, origin=Origin(origin))
                assert refused.value.response.status_code == 403
            for origin in (f"http://127.0.0.1:{server.port}", "http://127.0.0.1:7702", "https://remote.example"):
                async with joined(server, origin=Origin(origin)):
                    pass
            with pytest.raises(InvalidStatus):
                await connect("ws://evil.example/", host="127.0.0.1", port=server.port, proxy=None)
            assert server.counts.refused == 5

    run(test())


def test_a_token_opens() -> None:
    chosen = Settings(token="geheim-ö")
    answers = ask(
        "/a/gain", "/a/gain?token=x", "/a/gain?VALUE&token=geheim-%C3%B6", "/?token=geheim-%C3%B6", chosen=chosen
    )
    assert [answer.status_code for answer in answers] == [401, 401, 200, 200]
    chosen = Settings(token="secret")
    assert ask("/", chosen=chosen, headers={"authorization": "Bearer secret"})[0].status_code == 200
    assert ask("/", chosen=chosen, headers={"authorization": "Basic secret"})[0].status_code == 401

    async def test() -> None:
        async with served(Show(), chosen) as server:
            with pytest.raises(InvalidStatus) as refused:
                await joined(server)
            assert refused.value.response.status_code == 401
            async with joined(server, "?token=secret"):
                pass

    run(test())


def test_hosts_that_are_not_allowed_are_refused() -> None:
    async def test() -> None:
        server = OscQuery(Show().namespace, lambda packet, peer: 1, Settings(allow=parse_networks(["10.0.0.0/8"])))
        for host, status in (("10.1.2.3", 200), ("127.0.0.1", 200), ("192.168.0.9", 403)):
            transport = httpx.ASGITransport(app=server, client=(host, 5000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                assert (await client.get("/a/gain")).status_code == status

    run(test())


def test_an_open_network_needs_a_token() -> None:
    server = OscQuery(Show().namespace, lambda packet, peer: 1)
    with pytest.raises(DuendeError, match=r"^OSCQuery on 0\.0\.0\.0 .* give a token"):
        asyncio.run(server.serve("0.0.0.0", 0))


def test_a_port_in_use_is_said_in_one_line() -> None:
    async def test() -> None:
        async with served(Show()) as first:
            with pytest.raises(DuendeError, match=rf"^cannot listen on 127\.0\.0\.1:{first.port} \(.*\): choose .*$"):
                await OscQuery(Namespace(), lambda packet, peer: 1).serve(port=first.port)

    run(test())


def test_it_stops_at_once_and_can_start_again() -> None:
    async def test() -> None:
        show = Show()
        server = OscQuery(show.namespace, show.receive)
        port = await server.serve(port=0)
        async with joined(server) as websocket:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost:")
            loop = asyncio.get_running_loop()
            began = loop.time()
            await server.stop()
            assert loop.time() - began < 0.9
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        assert await server.serve(port=port) == port
        await server.stop()
        await server.stop()

    run(test())


def test_it_stops_although_a_client_is_made_to_wait() -> None:
    async def test() -> None:
        show = Show()
        show.work = int(60 * WORK_RATE + WORK_BURST)
        async with served(show) as server, joined(server) as websocket:
            await websocket.send(b"much")
            await until(lambda: show.received)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await server.stop()
            assert loop.time() - began < 0.9

    run(test())


# -- what it puts up with --------------------------------------------------------------------------------------------


def test_a_thousand_clients_are_too_many() -> None:
    async def test() -> None:
        show = Show()
        async with served(show, Settings(sockets=8, bounds=Bounds(connections=24))) as server, joined(server) as first:

            async def attempt() -> ClientConnection | None:
                try:
                    return await joined(server)
                except (OSError, EOFError, WebSocketException):
                    return None

            opened: list[ClientConnection] = []
            for _ in range(10):
                opened += filter(None, await asyncio.gather(*(attempt() for _ in range(100))))
            assert len(opened) <= 7
            assert server.clients == len(opened) + 1
            await listen(first, "/a/gain")
            assert message(await first.recv()) == ("/a/gain", [-6.0])
            for websocket in opened:
                await websocket.close()
            await until(lambda: server.clients == 1)
            async with joined(server), client_of(server) as client:
                assert (await client.get("/a/gain?VALUE")).status_code == 200

    run(test())


def test_idle_connections_keep_nobody_out() -> None:
    async def test() -> None:
        async with served(Show(), Settings(bounds=Bounds(connections=8))) as server, joined(server) as websocket:
            idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
            async with client_of(server) as client:
                assert (await client.get("/a/gain?VALUE")).status_code == 200
            await until(lambda: sum(reader.at_eof() or reader.exception() is not None for reader, _ in idle) >= 13)
            await listen(websocket, "/a/gain")
            assert message(await websocket.recv()) == ("/a/gain", [-6.0])
            for _, writer in idle:
                writer.close()

    run(test())


def test_half_requests_are_closed_in_time() -> None:
    async def test() -> None:
        async with served(Show(), Settings(bounds=Bounds(request_s=0.15))) as server:

            async def slow(beginning: bytes) -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(beginning)
                try:
                    return await asyncio.wait_for(reader.read(), 5)
                except ConnectionResetError:
                    return b""
                finally:
                    writer.close()

            whole = b"GET /a/gain?VALUE HTTP/1.1\r\nHost: localhost\r\n\r\n"
            answers = await asyncio.gather(slow(b""), slow(b"GET / HT"), slow(whole + b"GET /"), slow(whole[:-2]))
            assert [answer[:15] for answer in answers] == [b"", b"", b"HTTP/1.1 200 OK", b""]

    run(test())


def test_large_requests_and_frames_are_refused() -> None:
    async def test() -> None:
        show = Show()
        async with served(show) as server, client_of(server) as client:
            assert (await client.get("/" + "a" * 4000)).status_code == 414
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000)
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()
            async with joined(server) as websocket:
                await websocket.send(b"x" * 65_536)
                await until(lambda: show.received)
                await websocket.send(b"x" * 65_537)
                with pytest.raises(ConnectionClosed):
                    await websocket.recv()
            assert len(show.received) == 1

    run(test())


def test_a_reader_that_stands_still_is_dropped() -> None:
    async def test() -> None:
        show = Show()
        async with served(show) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            websocket = await joined(server, sock=sock, max_queue=1)
            websocket.transport.pause_reading()
            await websocket.send(b"hello")
            await until(lambda: show.received)
            _, peer = show.received[0]
            for _ in range(8 * MAX_QUEUE // 65_536):
                peer.send(bytes(65_536))
                await asyncio.sleep(0)
            await until(lambda: server.clients == 0)
            assert server.counts.slow == 1
            assert server.counts.lost > 0
            websocket.transport.abort()

    run(test())


HOSTILE = settings(derandomize=True, max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


def survives(things: st.SearchStrategy[Any], strike: Callable[[OscQuery, Any], Coroutine[Any, Any, None]]) -> None:
    """Strike one server with everything that is found; it must then answer as ever, each time."""
    show = Show()
    server = OscQuery(show.namespace, show.receive)

    async def attack(found: Any) -> None:
        async with asyncio.timeout(20), client_of(server) as client:
            await strike(server, found)
            assert (await client.get("/a/gain?VALUE")).json() == {"VALUE": [-6.0]}

    with asyncio.Runner() as runner:
        runner.run(server.serve(port=0))
        HOSTILE(given(things)(lambda found: runner.run(attack(found))))()
        runner.run(server.stop())


targets = st.lists(
    st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode()), min_size=1, max_size=8
)


def test_any_request_line_is_answered_or_closed() -> None:
    async def strike(server: OscQuery, lines: Sequence[bytes]) -> None:
        for line in lines:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /" + line + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            assert answer[:12] in {f"HTTP/1.1 {status}".encode() for status in (200, 204, 400, 403, 404)}
            writer.close()

    survives(targets, strike)


documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["COMMAND", "DATA", "x"]), inner),
    max_leaves=8,
).map(json.dumps)
commands = st.builds(
    lambda command, data: json.dumps({"COMMAND": command, "DATA": data}),
    st.sampled_from(["LISTEN", "IGNORE", "EXIT", ""]),
    st.sampled_from(["/a/gain", "/", "a/odd/", "/do/next", "", "/nowhere"]) | st.text(max_size=20) | st.none(),
)
frames = st.lists(st.text(max_size=40) | documents | commands | st.just("[" * 5000), min_size=1, max_size=12)


def test_any_text_frame_is_put_up_with() -> None:
    async def strike(server: OscQuery, texts: Sequence[str]) -> None:
        async with joined(server) as websocket:
            for text in texts:
                await websocket.send(text)
            await listen(websocket, "/a/list")
            while True:
                frame = await websocket.recv()
                assert isinstance(frame, bytes)
                if message(frame)[0] == "/a/list":
                    break

    survives(frames, strike)
