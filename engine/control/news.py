"""What parts of control have to tell those who subscribed, whoever sends it: changed values, streams, and failures."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .dispatch import ERROR
from .osc import Message

log = logging.getLogger(__name__)


@dataclass
class News:
    """Passes on, in the event loop's thread.

    changed:  told the addresses whose value is another now; they read it from the namespace.
    streamed: told messages to be sent at once, as one bundle.
    """

    changed: list[Callable[[Sequence[str]], None]] = field(default_factory=list)
    streamed: list[Callable[[Sequence[Message]], None]] = field(default_factory=list)

    def touch(self, *addresses: str) -> None:
        """Values of these addresses are others now."""
        for listener in self.changed:
            listener(addresses)

    def stream(self, messages: Sequence[Message]) -> None:
        """Send these as they are."""
        for listener in self.streamed:
            listener(messages)

    def fail(self, address: str, text: str) -> None:
        """Something that nobody waits for an answer to has failed: one line for the log and for all subscribers."""
        log.warning("%s", text)
        self.stream([Message(ERROR, [address, "failed", text])])
