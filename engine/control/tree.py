"""The addresses as OSCQuery shows them: a tree of JSON objects."""

import math
from collections.abc import Mapping

from ... import DuendeError
from .namespace import Namespace, Node, Range, Value, Values

Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]

ATTRIBUTES = (
    "FULL_PATH",
    "CONTENTS",
    "TYPE",
    "ACCESS",
    "VALUE",
    "DEFAULT",
    "RANGE",
    "UNIT",
    "CLIPMODE",
    "DESCRIPTION",
    "TAGS",
    "OVERLOADS",
)
OPTIONAL = tuple(name for name in ATTRIBUTES if name not in ("FULL_PATH", "CONTENTS", "TYPE"))
IMPULSE = "N"
UNITS = {
    "dB": "gain.db",
    "s": "time.second",
    "ms": "time.ms",
    "Hz": "time.hz",
    "bpm": "time.bpm",
    "cents": "time.cents",
}


class Tree:
    """A namespace seen as a tree; everything is read at the time it is asked for."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def find(self, path: str, *, deep: bool = True) -> dict[str, Json] | None:
        """The node at a path, with all below it where deep; None if there is no such node."""
        base = "/" + path.strip("/")
        nodes = self._namespace.nodes
        if not deep and base in nodes:
            return method(nodes[base])
        below = base.rstrip("/") + "/"
        found = [node for address, node in nodes.items() if address == base or address.startswith(below)]
        if not found and base != "/":
            return None
        top = container(base)
        for node in found if deep else ():
            here, place = top, base
            for name in filter(None, node.address[len(base) :].split("/")):
                place = f"{place.rstrip('/')}/{name}"
                contents = here.setdefault("CONTENTS", {})
                assert isinstance(contents, dict)
                child = contents.setdefault(name, container(place))
                assert isinstance(child, dict)
                here = child
            here.update(method(node))
        return top


def container(path: str) -> dict[str, Json]:
    """A node that only holds others."""
    return {"FULL_PATH": path, "ACCESS": 0}


def method(node: Node) -> dict[str, Json]:
    """The attributes of an address, without what lies below it."""
    values = current(node)
    types = types_of(node, values)
    shown: dict[str, Json] = {
        "FULL_PATH": node.address,
        "TYPE": types or IMPULSE,
        "ACCESS": node.access,
        "DESCRIPTION": node.description,
    }
    if values is not None:
        shown["VALUE"] = [plain(value) for value in values]
    if node.default is not None:
        shown["DEFAULT"] = [plain(value) for value in node.default]
    if node.ranges:
        places = range(len(types))
        ranges = [node.ranges[place] if place < len(node.ranges) else Range() for place in places]
        shown["RANGE"] = [_bounds(bounds) for bounds in ranges]
        shown["CLIPMODE"] = [_clip(node, bounds) for bounds in ranges]
    if node.unit in UNITS:
        first = len(types) - node.optional if node.optional else 0
        shown["UNIT"] = [None] * first + [UNITS[node.unit]] * (len(types) - first)
    if node.tags:
        shown["TAGS"] = list(node.tags)
    overloads = [node.overload] if node.overload else []
    overloads += [node.types[: len(node.types) - left] for left in range(1, node.optional + 1)]
    if overloads:
        shown["OVERLOADS"] = [{"TYPE": other or IMPULSE} for other in overloads]
    return shown


def current(node: Node) -> Values | None:
    """What an address holds now; None where it cannot be read, or not at this moment."""
    if node.read is None:
        return None
    try:
        return node.read()
    except DuendeError:
        return None


def types_of(node: Node, values: Values | None) -> str:
    """A type tag for each argument; a list that can only be read has as many as there are values."""
    if node.write is None and values is not None and node.types and len(values) != len(node.types):
        return node.types[0] * len(values)
    return node.types


def plain(value: Value) -> Json:
    """A value as JSON has it; null for what it has not: NaN, infinity, blobs."""
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def host_info(name: str, address: str, osc_port: int, port: int) -> Mapping[str, Json]:
    """What HOST_INFO answers: name, extensions, and where OSC (UDP) and WebSockets are."""
    extensions: dict[str, Json] = dict.fromkeys(
        (*OPTIONAL, "LISTEN", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED"), True
    )
    return {
        "NAME": name,
        "EXTENSIONS": extensions | {"PATH_RENAMED": False, "EXTENDED_TYPE": False, "CRITICAL": False, "HTML": False},
        "OSC_IP": address,
        "OSC_PORT": osc_port,
        "OSC_TRANSPORT": "UDP",
        "WS_IP": address,
        "WS_PORT": port,
    }


def _bounds(bounds: Range) -> Json:
    shown: dict[str, Json] = {}
    if bounds.minimum is not None:
        shown["MIN"] = plain(bounds.minimum)
    if bounds.maximum is not None:
        shown["MAX"] = plain(bounds.maximum)
    if bounds.allowed:
        shown["VALS"] = list(bounds.allowed)
    return shown or None


def _clip(node: Node, bounds: Range) -> Json:
    if not node.clip:
        return "none"
    low, high = bounds.minimum is not None, bounds.maximum is not None
    return {(True, True): "both", (True, False): "low", (False, True): "high"}.get((low, high), "none")
