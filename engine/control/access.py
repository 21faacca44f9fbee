"""Who may talk to control, and how much: networks, and a bucket of work that fills again with time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ... import DuendeError


def parse_host(host: str) -> IPv4Address:
    """An IPv4 address in numbers, or `localhost`; nothing is looked up. DuendeError for anything else."""
    try:
        return IPv4Address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise DuendeError(f"{host!r:.80} is no IPv4 address: write it in numbers, as in 192.168.0.10") from None


def parse_networks(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Addresses (192.168.0.10) and networks (192.168.0.0/24); DuendeError for anything else."""
    networks = []
    for text in texts:
        try:
            networks.append(IPv4Network(text, strict=False))
        except ValueError:
            raise DuendeError(f"{text!r:.80} is no IPv4 network: write it as 192.168.0.10 or 192.168.0.0/24") from None
    return tuple(networks)


def is_within(host: str, networks: Sequence[IPv4Network]) -> bool:
    """Whether an address in numbers lies in one of the networks."""
    try:
        address = IPv4Address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def is_loopback(host: str) -> bool:
    """Whether an address in numbers is this machine's own, which no other can reach."""
    return is_within(host, (IPv4Network("127.0.0.0/8"),))


@dataclass
class Bucket:
    """Work that somebody may cause: `burst` at once, `rate` per second over time.

    What it will cost is known only afterwards, so an order is let in while at least 1 is left, and may leave a debt.
    """

    rate: float
    burst: float
    now: float

    def __post_init__(self) -> None:
        self._left = self.burst

    def is_open(self, now: float) -> bool:
        """Whether enough is left at this time (seconds, of the clock that gave the first `now`)."""
        self._left = min(self.burst, self._left + max(0.0, now - self.now) * self.rate)
        self.now = now
        return self._left >= 1.0

    def spend(self, work: float) -> None:
        """Take out what an order has cost."""
        self._left -= work

    @property
    def wait(self) -> float:
        """Seconds until it is open again; 0 if it is."""
        return max(0.0, (1.0 - self._left) / self.rate)
