"""Control on a desk: a peer that keeps what it is sent, a clock that is turned by hand, and a session behind OSC."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from duende.engine.control.commands import session_nodes
from duende.engine.control.dispatch import Dispatcher
from duende.engine.control.namespace import Namespace, Node
from duende.engine.control.osc import Message, decode, encode
from duende.engine.control.session import Session
from duende.engine.control.subscriptions import Subscriptions
from sessions import tiny_session


@dataclass
class DeskPeer:
    """Keeps the packets that it is sent."""

    kind: str = "udp"
    host: str = "127.0.0.1"
    port: int = 5000
    closed: bool = False
    local: bool = True
    packets: list[bytes] = field(default_factory=list)

    def send(self, packet: bytes) -> None:
        self.packets.append(packet)

    def take(self) -> list[Message]:
        """The messages sent since the last time."""
        packets, self.packets = self.packets, []
        return [message for packet in packets for message in decode(packet)]


@dataclass
class DeskClock:
    """As much of an event loop as subscriptions use; time passes when it is told to."""

    now: float = 1000.0
    waiting: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> object:
        self.waiting.append((when, callback))
        return None

    def turn(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        end = self.now + seconds
        while due := [one for one in self.waiting if one[0] <= end]:
            first = min(due, key=lambda one: one[0])
            self.waiting.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = end


class Desk:
    """A session with dispatcher and subscriptions, and somebody who sends to it."""

    def __init__(self, folder: Path, *extra: Node) -> None:
        self.session: Session = tiny_session(folder)
        self.clock = DeskClock()
        self.peers: dict[tuple[str, int], DeskPeer] = {}
        self.namespace = Namespace()
        self.dispatcher = Dispatcher(self.namespace)
        self.subscriptions = Subscriptions(self.namespace, self.clock, self.peer)
        self.subscriptions.join(self.dispatcher, self.session)
        self.extra = extra
        self.session.structured.append(self.renew)
        self.renew()
        self.sender = self.peer("127.0.0.1", 5000)

    def renew(self) -> None:
        """Bring the addresses up to date."""
        self.namespace.replace([*session_nodes(self.session), *self.dispatcher.nodes(), *self.extra])

    def peer(self, host: str, port: int) -> DeskPeer:
        """The one peer for an address."""
        return self.peers.setdefault((host, port), DeskPeer(host=host, port=port))

    def send(self, address: str, *values: bool | int | float | str | bytes | None) -> list[Message]:
        """Have a message carried out; returns what its sender is answered at once."""
        self.dispatcher.receive(encode(address, values), self.sender)
        return self.sender.take()
