"""Those who want to know: values that changed, bundled and at most every 10 ms, and streams, each while a lease lasts.

Of a value that changes often only the last one is sent. Values go out in their own unit; `/x/normalized` goes out,
too, from the first time that somebody has set it. The sender of a change hears of it like everybody else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from typing import Protocol

from ... import DuendeError
from .access import is_within, parse_host
from .commands import CURRENT, LIST, SET_LIST, STORED, addresses_of
from .dispatch import Dispatcher
from .namespace import NORMALIZED, PREFIX, Namespace, Node, Range, RefusedError, Values
from .osc import Message, bundles, encode
from .peer import Peer
from .session import Session

SUBSCRIBE = f"{PREFIX}/subscribe"
UNSUBSCRIBE = f"{PREFIX}/unsubscribe"
FLUSH_S = 0.01
LEASE_S = 60.0
MAX_LEASE_S = 600.0
MAX_SUBSCRIBERS = 64

OpenUdp = Callable[[str, int], Peer]
Key = tuple[str, str, int]


class Timer(Protocol):
    """What is used of an event loop."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object]) -> object: ...


class Subscriptions:
    """Subscribers and what they are sent.

    loop:     the event loop, whose clock the leases run by.
    open_udp: makes the peer for a host and port where datagrams go; None where there is no UDP.
    allow:    networks whose hosts may be named by others; without, a subscriber names only itself.
    """

    def __init__(
        self, namespace: Namespace, loop: Timer, open_udp: OpenUdp | None = None, allow: Sequence[IPv4Network] = ()
    ) -> None:
        self._namespace = namespace
        self._loop = loop
        self._open_udp = open_udp
        self._allow = allow
        self._leases: dict[Key, tuple[Peer, float]] = {}
        self._changed: dict[str, None] = {}
        self._normalized: set[str] = set()
        self._flushed = -FLUSH_S
        self._waiting = False

    def join(self, dispatcher: Dispatcher, session: Session) -> None:
        """Offer the addresses to subscribe by, and follow what is set by OSC and by anything else."""
        own = "host: left out or empty, the one that this comes from; another one has to be allowed"
        dispatcher.offer(
            Node(
                SUBSCRIBE,
                "isf",
                "send changes and meters to a UDP port (0: back to where this comes from) for so many seconds, all "
                f"values first; renew it before it ends; {own}",
                ranges=(Range(0, 65535), Range(), Range(1.0, MAX_LEASE_S)),
                optional=2,
            ),
            self.subscribe,
        )
        dispatcher.offer(
            Node(
                UNSUBSCRIBE,
                "is",
                f"send no more to a port (left out or 0: to where this comes from); {own}",
                ranges=(Range(0, 65535), Range()),
                optional=2,
            ),
            self.unsubscribe,
        )
        dispatcher.written.append(self._written)
        session.changed.append(lambda names: self.touch(addresses_of(session, names)))
        session.structured.append(lambda: self.touch([CURRENT, LIST, SET_LIST, STORED]))

    def subscribe(self, values: Values, peer: Peer) -> Values:
        """Values of /duende/subscribe; sends all values. Returns host, port, seconds; RefusedError where it may not."""
        key = self._key(values, peer)
        lease = LEASE_S if len(values) < 3 else float(values[2])  # type: ignore[arg-type]
        if key not in self._leases and len(self) >= MAX_SUBSCRIBERS:
            raise RefusedError("limit", f"{SUBSCRIBE}: there are {MAX_SUBSCRIBERS} subscribers; end one of them")
        kind, host, port = key
        if (kind, host, port) == _key_of(peer):
            receiver = peer
        elif self._open_udp is not None:
            receiver = self._open_udp(host, port)
        else:
            raise RefusedError("refused", f"{SUBSCRIBE}: there is no UDP here; subscribe with port 0")
        self._leases[key] = (receiver, self._loop.time() + lease)
        self._send(self._messages(self._standing()), [receiver])
        return [host, port, lease]

    def unsubscribe(self, values: Values, peer: Peer) -> None:
        """Values of /duende/unsubscribe; RefusedError where there is no such subscriber."""
        key = self._key(values, peer)
        if self._leases.pop(key, None) is None:
            raise RefusedError("refused", f"{UNSUBSCRIBE}: {key[1]}:{key[2]} has no subscription, or it has run out")

    def __len__(self) -> int:
        """How many there are now: nobody, and streams need not be made."""
        return len(self._receivers())

    def touch(self, addresses: Iterable[str]) -> None:
        """Values changed: what they are when it is time to send goes to all subscribers."""
        for address in addresses:
            self._changed[address] = None
            if address + NORMALIZED in self._normalized:
                self._changed[address + NORMALIZED] = None
        if not self._waiting:
            self._waiting = True
            self._loop.call_at(max(self._loop.time(), self._flushed + FLUSH_S), self._flush)

    def stream(self, messages: Sequence[Message]) -> None:
        """Send these to all subscribers at once, in one bundle if it fits into a datagram."""
        receivers = self._receivers()
        if receivers:
            self._send(messages, receivers)

    # -- inside --------------------------------------------------------------------------------------------------

    def _key(self, values: Values, peer: Peer) -> Key:
        port = int(values[0]) if values else 0  # type: ignore[arg-type]
        named = str(values[1]) if len(values) > 1 else ""
        if port == 0 and named in ("", peer.host):
            return _key_of(peer)
        host = str(parse_host(named or peer.host))
        if host != peer.host and not is_within(host, self._allow):
            raise RefusedError("refused", f"{host} is another host than yours, {peer.host}: it has to be allowed here")
        if port == 0:
            raise RefusedError("range", f"{host}: name its port; 0 is where a message came from")
        return "udp", host, port

    def _receivers(self) -> list[Peer]:
        now = self._loop.time()
        for key, (peer, end) in list(self._leases.items()):
            if peer.closed or end <= now:
                del self._leases[key]
        return [peer for peer, _ in self._leases.values()]

    def _written(self, address: str) -> None:
        if address.endswith(NORMALIZED):
            self._normalized.add(address)
        self.touch([address])

    def _flush(self) -> None:
        self._waiting = False
        self._flushed = self._loop.time()
        changed, self._changed = self._changed, {}
        receivers = self._receivers()
        if receivers:
            self._send(self._messages(changed), receivers)

    def _standing(self) -> list[str]:
        """Addresses whose values a new subscriber is sent."""
        return [
            node.address
            for node in self._namespace.nodes.values()
            if not node.stream and (not node.address.endswith(NORMALIZED) or node.address in self._normalized)
        ]

    def _messages(self, addresses: Iterable[str]) -> list[Message]:
        """What these hold; those that are gone, or cannot be read now, are left out."""
        found = []
        for address in addresses:
            node = self._namespace.nodes.get(address)
            if node is not None and node.read is not None:
                with suppress(DuendeError):
                    found.append(Message(address, node.read()))
        return found

    def _send(self, messages: Sequence[Message], receivers: Sequence[Peer]) -> None:
        for packet in bundles(list(self._encoded(messages))):
            for receiver in receivers:
                receiver.send(packet)

    def _encoded(self, messages: Sequence[Message]) -> Iterator[bytes]:
        for address, values in messages:
            node = self._namespace.nodes.get(address)
            with suppress(DuendeError):
                yield encode(address, values, "" if node is None else node.types)


def _key_of(peer: Peer) -> Key:
    return peer.kind, peer.host, peer.port
