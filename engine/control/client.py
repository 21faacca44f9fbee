"""A small OSC client: one message to a host, and its answer; over TCP, where nothing is lost."""

import itertools
import socket
from collections.abc import Sequence
from contextlib import suppress

from ... import DuendeError
from .dispatch import ERROR, REPLY
from .framing import Framing
from .instances import InstanceInfo
from .namespace import PREFIX, Value
from .osc import decode, encode

RECEIPT = "#duende"


def ask(info: InstanceInfo, address: str, values: Sequence[Value] = (), timeout_s: float = 10.0) -> list[Value]:
    """Send values to an address, or ask for its value where there are none; the answer's values.

    DuendeError with the host's own words where it refuses, and where it does not answer.
    """
    framing = Framing()
    try:
        with socket.create_connection((info.address, info.osc_port), timeout=timeout_s) as connection:
            connection.sendall(framing.frame(encode(address, [*values, RECEIPT])))
            while True:
                data = connection.recv(65536)
                if not data:
                    raise DuendeError(f"{info.name} closed the connection without an answer")
                for packet in framing.feed(data):
                    for message in decode(packet):
                        if message.address == ERROR and RECEIPT in message.values:
                            raise DuendeError(str(message.values[2]))
                        if message.address == REPLY and message.values[1:2] == [RECEIPT]:
                            return list(message.values[2:])
    except OSError as error:
        raise DuendeError(f"{info.name} on {info.address}:{info.osc_port} does not answer: {error}") from error


SHOWN = (
    "preset/current",
    "status/device",
    "status/latency",
    "status/load",
    "status/late",
    "status/xruns",
    "amount",
    "mix",
    "bypass",
    "tempo",
)

SHOWN_OF_SLOTS = ("name", "latency", "usage")


def look(info: InstanceInfo) -> dict[str, list[Value]]:
    """What matters of a host, by address without the prefix; what it does not know is left out."""
    found = {}
    for name in SHOWN:
        with suppress(DuendeError):
            found[name] = ask(info, f"{PREFIX}/{name}")
    with suppress(DuendeError):
        for slot in itertools.count(1):
            for name in SHOWN_OF_SLOTS:
                address = f"slot/{slot}/{name}"
                found[address] = ask(info, f"{PREFIX}/{address}")
    return found


def value_of(text: str) -> Value:
    """A word of the command line as OSC value: a number where it is one, else text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
