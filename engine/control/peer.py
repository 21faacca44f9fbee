"""Who talks to control, whatever the way: what transports, dispatcher and subscriptions know of each other."""

from collections.abc import Callable
from typing import Protocol


class Peer(Protocol):
    """The other end of a socket.

    kind: "udp", "tcp" or "ws". host: its address in numbers; port: where it sends from. local: on this machine.
    closed: the connection is gone for good; what is sent is lost.
    """

    kind: str
    host: str
    port: int
    closed: bool

    @property
    def local(self) -> bool: ...

    def send(self, packet: bytes) -> None:
        """Send one OSC packet; never blocks, never raises. What cannot be sent is dropped, and counted."""
        ...


Receive = Callable[[bytes, Peer], int]
"""Takes one OSC packet from a peer; never raises. Returns how much work it was: about one per message or node."""
