"""OSC over UDP and TCP on one port: who may send, how much, and what a slow receiver misses; sending never waits."""

import asyncio
import os
import socket
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Self, cast

from ... import DuendeError
from .access import Bucket, is_loopback, is_within, parse_host
from .dispatch import ERROR
from .framing import Framing
from .osc import encode
from .peer import Peer, Receive

TELL_S = 1.0
PORT_TRIES = 8
RECEIVE_BYTES = 1 << 20
TURN = 200
"""Work that one TCP connection may cause before all else of the event loop has its turn, signs of life included."""


@dataclass(frozen=True)
class Limits:
    """What senders may cause and receivers may owe.

    rate, burst: work (see Receive) per second and at once, for each sender.
    senders:     UDP senders that are kept apart; the one longest silent is forgotten.
    connections: TCP connections at a time.
    backlog:     bytes that may wait for a TCP connection; what is over is dropped.
    slow_s:      seconds that a TCP connection may stay at its backlog before it is closed.
    """

    rate: float = 20_000.0
    burst: float = 5_000.0
    senders: int = 1024
    connections: int = 64
    backlog: int = 1 << 18
    slow_s: float = 5.0


@dataclass
class _Shared:
    """What the server and its connections have in common."""

    receive: Receive
    allow: Sequence[IPv4Network]
    limits: Limits
    counters: Counter[str]
    loop: asyncio.AbstractEventLoop
    connections: "set[_Connection]" = field(default_factory=set)

    def is_welcome(self, host: str) -> bool:
        return not self.allow or is_loopback(host) or is_within(host, self.allow)

    def bucket(self) -> Bucket:
        return Bucket(self.limits.rate, self.limits.burst, self.loop.time())


class _Complaint:
    """Tells a sender that it is over its limit: at most once in TELL_S."""

    def __init__(self) -> None:
        self._next = 0.0

    def tell(self, peer: Peer, limits: Limits, now: float) -> None:
        if now >= self._next:
            self._next = now + TELL_S
            text = f"more than {limits.rate:g} messages per second: what is over is lost; send less, or use TCP"
            peer.send(encode(ERROR, ["", "limit", text]))


class OscServer:
    """Listens for OSC datagrams and streams, hands packets on, and answers.

    port:     where it listens, on UDP and TCP.
    counters: limited (packets over the rate), dropped (not sent: the receiver is too slow), foreign (from hosts that
              are not allowed), crowded (connections too many), slow (connections closed).
    """

    def __init__(self, shared: _Shared, host: str, port: int, tcp: asyncio.Server, udp: "_Datagrams") -> None:
        self.host = host
        self.port = port
        self.counters = shared.counters
        self._shared = shared
        self._tcp = tcp
        self._udp = udp

    @classmethod
    async def start(
        cls,
        receive: Receive,
        host: str = "127.0.0.1",
        port: int = 7700,
        *,
        allow: Sequence[IPv4Network] = (),
        limits: Limits | None = None,
        counters: Counter[str] | None = None,
    ) -> Self:
        """Listen; port 0 takes one that is free. DuendeError where the port cannot be had.

        receive:  given each packet and its sender.
        allow:    networks that may send, beside this machine; none: everybody who can reach the host.
        counters: counted in, beside others; a new one if None.
        """
        host = str(parse_host(host))
        loop = asyncio.get_running_loop()
        counted = Counter() if counters is None else counters
        shared = _Shared(receive, tuple(allow), limits or Limits(), counted, loop)
        stream, datagram = _bind(host, port)
        tcp = await loop.create_server(lambda: _Connection(shared), sock=stream)
        _, udp = await loop.create_datagram_endpoint(lambda: _Datagrams(shared), sock=datagram)
        return cls(shared, host, int(stream.getsockname()[1]), tcp, udp)

    def udp_peer(self, host: str, port: int) -> Peer:
        """Somebody to send datagrams to: an IPv4 address in numbers, a port from 1 to 65535."""
        return self._udp.peer(host, port)

    @property
    def connections(self) -> int:
        """TCP connections that are open."""
        return len(self._shared.connections)

    def close(self) -> None:
        """Listen no more, and end all connections at once."""
        self._tcp.close()
        self._udp.close()
        for connection in list(self._shared.connections):
            connection.abort()


class _UdpPeer:
    """A sender, or a receiver, of datagrams."""

    kind = "udp"
    closed = False

    def __init__(self, host: str, port: int, datagrams: "_Datagrams", bucket: Bucket) -> None:
        self.host = host
        self.port = port
        self.bucket = bucket
        self.complaint = _Complaint()
        self._datagrams = datagrams

    @property
    def local(self) -> bool:
        return is_loopback(self.host)

    def send(self, packet: bytes) -> None:
        self._datagrams.send(packet, (self.host, self.port))


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP side: a socket and those who were heard lately."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._transport: asyncio.DatagramTransport | None = None
        self._full = False
        self._peers: OrderedDict[tuple[str, int], _UdpPeer] = OrderedDict()

    def peer(self, host: str, port: int) -> _UdpPeer:
        """The one peer for an address."""
        peer = self._peers.get((host, port))
        if peer is None:
            if len(self._peers) >= self._shared.limits.senders:
                self._peers.popitem(last=False)
            peer = self._peers[host, port] = _UdpPeer(host, port, self, self._shared.bucket())
        self._peers.move_to_end((host, port))
        return peer

    def send(self, packet: bytes, to: tuple[str, int]) -> None:
        """Send, or drop and count where too much is waiting."""
        if self._transport is None or self._full:
            self._shared.counters["dropped"] += 1
        else:
            self._transport.sendto(packet, to)

    def close(self) -> None:
        """Listen no more."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # in name only, before Python 3.12

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        shared = self._shared
        if not shared.is_welcome(address[0]):
            shared.counters["foreign"] += 1
            return
        peer = self.peer(*address)
        now = shared.loop.time()
        if peer.bucket.is_open(now):
            peer.bucket.spend(shared.receive(data, peer))
        else:
            shared.counters["limited"] += 1
            peer.complaint.tell(peer, shared.limits, now)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def error_received(self, error: Exception) -> None:
        """A datagram could not be sent: too large for UDP, or no way there."""
        self._shared.counters["dropped"] += 1


class _Connection(asyncio.Protocol):
    """One TCP connection; who sends too much is read more slowly, so that nothing is lost."""

    kind = "tcp"

    def __init__(self, shared: _Shared) -> None:
        self.host = ""
        self.port = 0
        self.closed = False
        self._shared = shared
        self._bucket = shared.bucket()
        self._framing = Framing()
        self._packets: deque[bytes] = deque()
        self._full_since: float | None = None
        self._transport: asyncio.Transport

    @property
    def local(self) -> bool:
        return is_loopback(self.host)

    def send(self, packet: bytes) -> None:
        shared = self._shared
        if not self.closed and self._full_since is None:
            self._transport.write(self._framing.frame(packet))
            return
        shared.counters["dropped"] += 1
        if self._full_since is not None and shared.loop.time() - self._full_since > shared.limits.slow_s:
            shared.counters["slow"] += not self.closed
            self.abort()

    def abort(self) -> None:
        """End the connection; what waits is lost."""
        self.closed = True
        self._packets.clear()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        shared, self._transport = self._shared, transport
        self.host, self.port = transport.get_extra_info("peername") or ("", 0)
        is_welcome = shared.is_welcome(self.host)
        if not is_welcome or len(shared.connections) >= shared.limits.connections:
            shared.counters["crowded" if is_welcome else "foreign"] += 1
            self.abort()
            return
        transport.set_write_buffer_limits(high=shared.limits.backlog)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        shared.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._packets += self._framing.feed(data)
        except DuendeError as error:
            self._shared.counters["malformed"] += 1
            self.send(encode(ERROR, ["", "malformed", str(error)]))
            self.closed = True
            self._transport.close()
            return
        self._work()

    def _work(self) -> None:
        done = 0
        while self._packets:
            if not self._bucket.is_open(self._shared.loop.time()):
                self._transport.pause_reading()
                self._shared.loop.call_later(self._bucket.wait, self._work)
                return
            if done >= TURN:
                self._transport.pause_reading()
                self._shared.loop.call_soon(self._work)
                return
            work = self._shared.receive(self._packets.popleft(), self)
            self._bucket.spend(work)
            done += work
        if not self.closed:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self._full_since = self._shared.loop.time()

    def resume_writing(self) -> None:
        self._full_since = None

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._packets.clear()
        self._shared.connections.discard(self)


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A stream and a datagram socket on one port."""
    for left in reversed(range(PORT_TRIES if port == 0 else 1)):
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if os.name == "posix":  # elsewhere it would let two programs have one port
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            datagram.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            stream.bind((host, port))
            datagram.bind(stream.getsockname())
        except (OSError, OverflowError) as error:
            stream.close()
            datagram.close()
            if left == 0:
                reason = getattr(error, "strerror", None) or error
                raise DuendeError(
                    f"cannot listen for OSC on {host}:{port} ({reason}): end the other program or choose another port"
                ) from error
            continue
        stream.setblocking(False)
        datagram.setblocking(False)
        return stream, datagram
    raise AssertionError
