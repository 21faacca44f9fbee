"""What the host has said: the tree of its addresses and their values, and what of it the pages have not heard yet."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PREFIX = "/duende"
UNITS = {
    "gain.db": "dB",
    "time.second": "s",
    "time.ms": "ms",
    "time.hz": "Hz",
    "time.bpm": "bpm",
    "time.cents": "cents",
}
"""OSCQuery's names of units as people write them."""

MAX_DEPTH = 16
MAX_NODES = 8192
DECIMALS = 5
SPECTRUM = f"{PREFIX}/spectrum/"
STEPS_PER_DB = 4.0
"""Of spectra: a quarter of a decibel is less than a line's width, and each digit costs thirty times a second."""

Value = bool | int | float | str | bytes | None


class Mirror:
    """Belongs to one event loop.

    nodes:  by address, what the pages need to draw a control: `types`, `access`, `range`, `vals`, `unit`, `text`,
            `tags`, and `default` where the host tells it. `/normalized` addresses are left out.
    values: the last arguments heard of each address.
    fresh:  set while there is something to `take`.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.values: dict[str, list[Any]] = {}
        self.fresh = asyncio.Event()
        self._changed: dict[str, None] = {}

    def tree(self, root: Mapping[str, Any]) -> None:
        """Take over the JSON of an OSCQuery server, values included; what is gone is forgotten."""
        nodes: dict[str, dict[str, Any]] = {}
        values: dict[str, list[Any]] = {}
        for node in _walk(root):
            address = node["FULL_PATH"]
            nodes[address] = _described(node)
            if isinstance(node.get("VALUE"), list):
                values[address] = [_plain(value) for value in node["VALUE"]]
        self.nodes = nodes
        # What came as OSC meanwhile is newer than the tree's own values, where those are streams that cannot be read.
        self.values = {address: kept for address, kept in self.values.items() if address in nodes} | values
        self._changed.clear()
        self.fresh.clear()

    def heard(self, address: str, arguments: Sequence[Value]) -> None:
        """An address holds these now; others than those of the tree are passed over."""
        if address not in self.nodes:
            return
        values = _coarse(arguments) if address.startswith(SPECTRUM) else [_plain(value) for value in arguments]
        self.values[address] = values
        self._changed[address] = None
        self.fresh.set()

    def take(self) -> dict[str, list[Any]]:
        """What changed since the last call, by address, each as it is now."""
        self.fresh.clear()
        changed, self._changed = self._changed, {}
        return {address: self.values[address] for address in changed}


def _walk(root: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The addresses of a tree that hold or do something; bounded in depth and count."""
    waiting: list[tuple[Mapping[str, Any], int]] = [(root, 0)]
    found = 0
    while waiting:
        node, depth = waiting.pop()
        contents = node.get("CONTENTS")
        if isinstance(contents, dict) and depth < MAX_DEPTH:
            waiting += [(child, depth + 1) for child in reversed(contents.values()) if isinstance(child, Mapping)]
        address = node.get("FULL_PATH")
        if not isinstance(address, str) or not isinstance(node.get("TYPE"), str):
            continue
        if not address.startswith(f"{PREFIX}/") or address.endswith("/normalized"):
            continue
        found += 1
        if found > MAX_NODES:
            return
        yield node


def _described(node: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "types": node["TYPE"] if node["TYPE"] != "N" else "",
        "access": node.get("ACCESS", 0),
        "text": str(node.get("DESCRIPTION", "")),
    }
    ranges = node.get("RANGE")
    if isinstance(ranges, list) and ranges and isinstance(ranges[0], Mapping):
        described["range"] = [ranges[0].get("MIN"), ranges[0].get("MAX")]
        if isinstance(ranges[0].get("VALS"), list):
            described["vals"] = ranges[0]["VALS"]
    given = node.get("UNIT")
    units = [unit for unit in given if isinstance(unit, str)] if isinstance(given, list) else []
    if units:
        described["unit"] = UNITS.get(units[0], units[0])
    if isinstance(node.get("TAGS"), list):
        described["tags"] = node["TAGS"]
    default = node.get("DEFAULT")
    if isinstance(default, list) and default:
        described["default"] = default[0]
    elif isinstance(default, int | float):
        described["default"] = default
    return described


def _coarse(levels: Sequence[Value]) -> list[Any]:
    """Levels as a picture needs them."""
    try:
        return [int(level * STEPS_PER_DB) / STEPS_PER_DB for level in levels]  # type: ignore[operator]
    except (TypeError, ValueError, OverflowError):
        return [_plain(level) for level in levels]


def _plain(value: Value) -> Any:
    """A value as JSON has it, floats as short as single precision allows."""
    if isinstance(value, float):
        return round(value, DECIMALS) if abs(value) < 1e9 else None
    return None if isinstance(value, bytes) else value
