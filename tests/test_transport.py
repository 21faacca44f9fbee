"""OSC over loopback sockets: framing, limits, slow readers, and those who may not send."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc import slip

from duende import DuendeError
from duende.engine.control.access import Bucket, is_loopback, is_within, parse_host, parse_networks
from duende.engine.control.framing import Framing
from duende.engine.control.osc import MAX_PACKET, decode, encode
from duende.engine.control.peer import Peer, Receive
from duende.engine.control.transport import Limits, OscServer

PATIENCE_S = 20.0
repeatable = settings(derandomize=True, max_examples=150, deadline=None, database=None)


class Heard:
    """Keeps what comes in, and answers each packet with itself."""

    def __init__(self, work: int = 1, answers: bool = True) -> None:
        self.packets: list[bytes] = []
        self.peers: list[Peer] = []
        self._work = work
        self._answers = answers

    def __call__(self, packet: bytes, peer: Peer) -> int:
        self.packets.append(packet)
        self.peers.append(peer)
        if self._answers:
            peer.send(packet)
        return self._work


@asynccontextmanager
async def serving(
    receive: Receive, limits: Limits | None = None, allow: tuple[IPv4Network, ...] = ()
) -> AsyncIterator[OscServer]:
    server = await OscServer.start(receive, port=0, limits=limits, allow=allow)
    try:
        yield server
    finally:
        server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def udp_client(server: OscServer) -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((server.host, server.port))
        yield client


async def heard_by(client: socket.socket) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recv(client, MAX_PACKET)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


# -- framing -----------------------------------------------------------------------------------------------------

packets = st.lists(st.binary(min_size=1, max_size=60), max_size=6)


@repeatable
@given(packets, st.booleans(), st.booleans(), st.integers(1, 50))
def test_packets_come_out_of_a_stream_however_it_is_cut(
    sent: list[bytes], sized: bool, double: bool, piece: int
) -> None:
    other = Framing()
    other.sized = sized
    frames = [other.frame(packet) for packet in sent]
    if not sized and not double:
        frames = frames[:1] + [frame[1:] for frame in frames[1:]]
    stream = b"".join(frames)
    framing = Framing()
    found = [one for at in range(0, len(stream), piece) for one in framing.feed(stream[at : at + piece])]
    assert found == sent
    assert framing.frame(b"abcd") == other.frame(b"abcd") or not sent


@repeatable
@given(st.lists(st.binary(max_size=30), max_size=8))
def test_a_stream_of_anything_yields_packets_or_ends(pieces: list[bytes]) -> None:
    framing = Framing()
    with suppress(DuendeError):
        for piece in pieces:
            assert all(isinstance(packet, bytes) for packet in framing.feed(piece))


def test_a_stream_without_begin_is_slip_and_broken_frames_are_empty() -> None:
    framing = Framing()
    assert framing.feed(b"/a\0\0\xc0\xdb\xdb\xc0/b\0\0\xc0") == [b"/a\0\0", b"", b"/b\0\0"]


def test_a_whole_packet_of_what_is_escaped_still_fits() -> None:
    assert Framing().feed(slip.encode(b"\xc0" * MAX_PACKET)) == [b"\xc0" * MAX_PACKET]
    framing = Framing()
    framing.feed(struct.pack(">i", MAX_PACKET))
    assert framing.feed(bytes(MAX_PACKET)) == [bytes(MAX_PACKET)]


@pytest.mark.parametrize("size", [-1, MAX_PACKET + 1, 2**24 - 1])
def test_sizes_that_cannot_be_end_it(size: int) -> None:
    framing = Framing()
    framing.sized = True
    with pytest.raises(DuendeError, match="announced"):
        framing.feed(struct.pack(">i", size))


def test_a_frame_without_end_is_kept_up_to_a_bound() -> None:
    framing = Framing()
    assert framing.feed(b"\xc0" + b"x" * 2 * MAX_PACKET) == []
    with pytest.raises(DuendeError, match="more than 65536"):
        framing.feed(b"xxx")


# -- who, and how much -------------------------------------------------------------------------------------------


def test_a_bucket_fills_with_time() -> None:
    bucket = Bucket(rate=10.0, burst=5.0, now=100.0)
    for _ in range(5):
        assert bucket.is_open(100.0)
        bucket.spend(1)
    assert not bucket.is_open(100.0)
    assert not bucket.is_open(100.09)
    assert bucket.is_open(100.11)
    bucket.spend(11.1)
    assert bucket.wait == pytest.approx(1.1)
    assert not bucket.is_open(101.2)
    assert bucket.is_open(101.22)
    bucket.is_open(1000.0)
    bucket.spend(5)
    assert not bucket.is_open(1000.0)
    assert not bucket.is_open(500.0)


def test_hosts_and_networks_are_numbers() -> None:
    assert str(parse_host("localhost")) == "127.0.0.1"
    networks = parse_networks(["192.0.2.0/24", "198.51.100.7", "10.0.0.9/8"])
    assert [is_within(host, networks) for host in ("192.0.2.255", "198.51.100.8", "10.1.2.3", "::1", "")] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert is_loopback("127.1.2.3")
    assert not is_loopback("::1")
    for wrong in ("example.org", "1.2.3", "", "1.2.3.4/33"):
        with pytest.raises(DuendeError, match="IPv4"):
            parse_networks([wrong])
        with pytest.raises(DuendeError, match="IPv4"):
            parse_host(wrong)


# -- UDP ---------------------------------------------------------------------------------------------------------


def test_a_datagram_is_answered_to_its_sender() -> None:
    async def talk() -> None:
        heard = Heard()
        async with serving(heard) as server, udp_client(server) as one, udp_client(server) as two:
            one.send(encode("/a"))
            assert await heard_by(one) == encode("/a")
            two.send(b"rubbish")
            assert await heard_by(two) == b"rubbish"
            one.send(encode("/b"))
            assert await heard_by(one) == encode("/b")
            assert heard.peers[0] is heard.peers[2]
            assert heard.peers[0] is not heard.peers[1]
            assert (heard.peers[0].kind, heard.peers[0].host) == ("udp", "127.0.0.1")
            assert heard.peers[0].port == one.getsockname()[1]
            assert heard.peers[0].local
            server.udp_peer("127.0.0.1", two.getsockname()[1]).send(b"hello")
            assert await heard_by(two) == b"hello"

    asyncio.run(talk())


def test_who_floods_is_limited_told_once_and_others_are_not() -> None:
    async def talk() -> None:
        heard = Heard(answers=False)
        limits = Limits(rate=1e-6, burst=10.0)
        async with serving(heard, limits) as server, udp_client(server) as flood, udp_client(server) as other:
            for number in range(30):
                flood.send(encode("/flood", [number]))
            await until(lambda: server.counters["limited"] == 20)
            assert [decode(packet)[0].values for packet in heard.packets] == [[number] for number in range(10)]
            (message,) = decode(await heard_by(flood))
            assert message.values[:2] == ["", "limit"]
            with pytest.raises(BlockingIOError):
                flood.recv(MAX_PACKET)
            other.send(encode("/other"))
            await until(lambda: heard.packets[-1] == encode("/other"))

    asyncio.run(talk())


def test_work_counts_not_packets() -> None:
    async def talk() -> None:
        heard = Heard(work=100, answers=False)
        async with serving(heard, Limits(rate=1e-6, burst=150.0)) as server, udp_client(server) as client:
            for _ in range(5):
                client.send(encode("/a"))
            await until(lambda: server.counters["limited"] == 3)
            assert len(heard.packets) == 2

    asyncio.run(talk())


def test_senders_that_are_remembered_are_bounded() -> None:
    async def talk() -> None:
        heard = Heard()
        async with serving(heard, Limits(senders=2)) as server:
            first = server.udp_peer("127.0.0.1", 1001)
            for port in (1002, 1001, 1003):
                server.udp_peer("127.0.0.1", port)
            assert first is server.udp_peer("127.0.0.1", 1001)
            server.udp_peer("127.0.0.1", 1002)
            server.udp_peer("127.0.0.1", 1003)
            assert first is not server.udp_peer("127.0.0.1", 1001)

    asyncio.run(talk())


def test_a_datagram_too_large_for_udp_is_dropped_and_counted() -> None:
    async def talk() -> None:
        async with serving(Heard()) as server, udp_client(server) as client:
            peer = server.udp_peer("127.0.0.1", client.getsockname()[1])
            peer.send(bytes(MAX_PACKET))
            assert server.counters["dropped"] == 1
            peer.send(b"after")
            assert await heard_by(client) == b"after"
            server.close()
            await asyncio.sleep(0)
            peer.send(b"late")
            assert server.counters["dropped"] == 2

    asyncio.run(talk())


def test_a_host_that_is_not_allowed_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine itself always is; so it has to count as another one here."""

    async def talk() -> None:
        heard = Heard()
        allow = (IPv4Network("192.0.2.0/24"),)
        async with serving(heard, allow=allow) as server, udp_client(server) as client:
            client.send(encode("/a"))
            assert await heard_by(client) == encode("/a")
            monkeypatch.setattr("duende.engine.control.transport.is_loopback", lambda host: False)
            client.send(encode("/b"))
            await until(lambda: server.counters["foreign"] == 1)
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(slip.encode(encode("/c")))
            assert await closed(reader)
            writer.close()
            assert server.counters["foreign"] == 2
            assert heard.packets == [encode("/a")]

    asyncio.run(talk())


# -- TCP ---------------------------------------------------------------------------------------------------------


async def closed(reader: asyncio.StreamReader) -> bool:
    """Wait for the other side to close."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await reader.read(65536):
                pass
    except ConnectionError:
        pass
    return True


def test_a_stream_is_answered_in_its_own_framing() -> None:
    async def talk() -> None:
        heard = Heard()
        async with serving(heard) as server:
            for frame in (slip.encode, lambda packet: struct.pack(">i", len(packet)) + packet):
                reader, writer = await asyncio.open_connection(server.host, server.port)
                asked = frame(encode("/a", [0.5])) + frame(b"\xc0\xdb\xc0\xdb")
                writer.write(asked)
                async with asyncio.timeout(PATIENCE_S):
                    assert await reader.readexactly(len(asked)) == asked
                assert server.connections == 1
                assert (heard.peers[-1].kind, heard.peers[-1].local) == ("tcp", True)
                writer.close()
                await until(lambda: heard.peers[-1].closed)
                assert server.connections == 0

    asyncio.run(talk())


def test_on_a_stream_nothing_is_lost_over_the_limit() -> None:
    async def talk() -> None:
        heard = Heard(answers=False)
        async with serving(heard, Limits(rate=20_000.0, burst=50.0)) as server:
            _, writer = await asyncio.open_connection(server.host, server.port)
            sent = [encode("/a", [number]) for number in range(1000)]
            writer.write(b"".join(map(slip.encode, sent)))
            began = asyncio.get_running_loop().time()
            await until(lambda: len(heard.packets) == 1000)
            assert asyncio.get_running_loop().time() - began > 0.04
            assert heard.packets == sent
            assert server.counters["limited"] == 0
            writer.close()

    asyncio.run(talk())


def test_a_frame_that_is_too_large_ends_the_connection_with_a_word() -> None:
    async def talk() -> None:
        async with serving(Heard()) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(struct.pack(">i", MAX_PACKET + 1) + b"/a\0\0")
            async with asyncio.timeout(PATIENCE_S):
                said = await reader.read()
            (message,) = decode(said[4:])
            assert message.values[:2] == ["", "malformed"]
            assert server.counters["malformed"] == 1
            writer.close()

    asyncio.run(talk())


def test_connections_are_bounded() -> None:
    async def talk() -> None:
        async with serving(Heard(), Limits(connections=2)) as server:
            streams = [await asyncio.open_connection(server.host, server.port) for _ in range(3)]
            await until(lambda: server.counters["crowded"] == 1)
            assert await closed(streams[2][0])
            streams[0][1].write(slip.encode(encode("/a")))
            async with asyncio.timeout(PATIENCE_S):
                assert await streams[0][0].read(100) == slip.encode(encode("/a"))
            streams[0][1].close()
            await until(lambda: server.connections == 1)
            again = await asyncio.open_connection(server.host, server.port)
            await until(lambda: server.connections == 2)
            for _, writer in (*streams, again):
                writer.close()

    asyncio.run(talk())


def test_a_slow_reader_misses_what_is_over_and_is_closed_in_the_end() -> None:
    async def talk() -> None:
        heard = Heard(answers=False)
        async with serving(heard, Limits(backlog=1 << 16, slow_s=0.0)) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, (server.host, server.port))
                client.send(slip.encode(encode("/a")))
                await until(lambda: bool(heard.peers))
                (peer,) = heard.peers
                sent = 0
                while server.counters["dropped"] == 0 and sent < 10_000:
                    peer.send(bytes(16_000))
                    sent += 1
                assert 0 < sent < 10_000
                await asyncio.sleep(0.001)
                peer.send(b"once more")
                assert peer.closed
                peer.send(b"and again")
                assert server.counters["slow"] == 1
                assert server.counters["dropped"] in (2, 3)
                await until(lambda: server.connections == 0)

    asyncio.run(talk())


def test_a_reader_that_catches_up_is_sent_to_again() -> None:
    async def talk() -> None:
        heard = Heard(answers=False)
        async with serving(heard, Limits(backlog=1 << 16, slow_s=1e9)) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(slip.encode(encode("/a")))
            await until(lambda: bool(heard.peers))
            (peer,) = heard.peers
            while server.counters["dropped"] == 0:
                peer.send(b"x" * 16_000)
            dropped = server.counters["dropped"]
            received = bytearray()
            async with asyncio.timeout(PATIENCE_S):
                while not received.endswith(b"caught up\xc0"):
                    received += await reader.read(1 << 16)
                    peer.send(b"caught up")
            assert not peer.closed
            assert server.counters["dropped"] >= dropped
            writer.close()

    asyncio.run(talk())


# -- ports -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_is_said_in_one_line(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DuendeError, match=rf"127\.0\.0\.1:{port} .*choose another port") as caught:
            asyncio.run(OscServer.start(Heard(), port=port))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("host", "port"), [("example.org", 0), ("::1", 0), ("192.0.2.1", 0), ("127.0.0.1", 70_000)])
def test_a_host_or_port_that_cannot_be_is_refused(host: str, port: int) -> None:
    with pytest.raises(DuendeError):
        asyncio.run(OscServer.start(Heard(), host, port))


def test_a_port_is_free_again_after_closing() -> None:
    async def talk() -> None:
        server = await OscServer.start(Heard(), port=0)
        _, writer = await asyncio.open_connection(server.host, server.port)
        await until(lambda: server.connections == 1)
        server.close()
        await until(lambda: server.connections == 0)
        again = await OscServer.start(Heard(), port=server.port)
        again.close()
        writer.close()
        await asyncio.sleep(0)

    asyncio.run(talk())
