"""The tree of addresses that OSC, OSCQuery, MIDI and the documentation share: what each takes, gives and does."""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ... import DuendeError
from ..params import Parameter

PREFIX = "/duende"
NORMALIZED = "/normalized"

IMPULSES = ([None], [math.inf])
"""OSC's N and I, which OSCQuery clients send where nothing is to be said."""

Value = bool | int | float | str | bytes | None
Values = Sequence[Value]
Answer = Values | Awaitable[Values | None] | None


class RefusedError(DuendeError):
    """Why a message cannot be carried out: the text, and one word for it, as in /duende/error."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Range:
    """Allowed values of one argument: within bounds, or one of a list; None where there is no bound."""

    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """One address.

    types:   an OSC type tag for each argument ("f" takes i, T and F, too; "i" takes whole f), the last `optional` of
             which may be left out; empty for a command without arguments.
    overload: other type tags that do as well, where the first argument is a number.
    read:    its current values; None for what can only be done.
    write:   what happens with values that were checked against types and ranges: clamped where they are numbers and
             `clip`, refused else. Returns values for the reply, or what to wait for; raises DuendeError.
    stream:  sent to subscribers by itself, many times a second; never echoed.
    default: values that it has where nobody has set any.
    """

    address: str
    types: str
    description: str
    unit: str = ""
    ranges: tuple[Range, ...] = ()
    optional: int = 0
    overload: str = ""
    clip: bool = False
    read: Callable[[], Values] | None = None
    write: Callable[[Values], Answer] | None = None
    stream: bool = False
    tags: tuple[str, ...] = ()
    default: Values | None = None

    @property
    def access(self) -> Literal[0, 1, 2, 3]:
        """As in OSCQuery: 1 can be read, 2 written, 3 both."""
        if self.write is None:
            return 0 if self.read is None else 1
        return 2 if self.read is None else 3

    def check(self, arguments: Values) -> list[Value]:
        """Arguments as `write` takes them; RefusedError (code "type" or "range") says what was wrong."""
        if not self.types and list(arguments) in IMPULSES:
            return []
        numeric = bool(arguments) and isinstance(arguments[0], bool | int | float)
        types = self.overload if self.overload and numeric else self.types
        least = len(types) - self.optional
        if not least <= len(arguments) <= len(types):
            wanted = f"{least}" if not self.optional else f"{least} to {len(types)}"
            raise RefusedError(
                "type", f"{self.address}: {len(arguments)} arguments, it takes {wanted} ({types or 'none'})"
            )
        checked: list[Value] = []
        for place, (argument, tag) in enumerate(zip(arguments, types, strict=False)):
            bounds = self.ranges[place] if place < len(self.ranges) else Range()
            checked.append(self._one(argument, tag, bounds))
        return checked

    def _one(self, argument: Value, tag: str, bounds: Range) -> Value:
        if tag == "s":
            if not isinstance(argument, str):
                raise RefusedError("type", f"{self.address}: {_shown(argument)} is no text")
            if bounds.allowed and argument not in bounds.allowed:
                raise RefusedError("range", f"{self.address}: {argument!r}: choose one of {', '.join(bounds.allowed)}")
            return argument
        if not isinstance(argument, bool | int | float):
            raise RefusedError("type", f"{self.address}: {_shown(argument)} is no number")
        number = float(argument)
        if not math.isfinite(number):
            raise RefusedError("type", f"{self.address}: {number} is no number to set")
        low = -math.inf if bounds.minimum is None else bounds.minimum
        high = math.inf if bounds.maximum is None else bounds.maximum
        if not low <= number <= high:
            if not self.clip:
                raise RefusedError("range", f"{self.address}: {number:g} is out of range: {low:g} to {high:g}")
            number = min(high, max(low, number))
        if tag == "i":
            if number != round(number):
                raise RefusedError("type", f"{self.address}: {number:g} is not a whole number")
            return round(number)
        return number


def _shown(argument: Value) -> str:
    return "a blob" if isinstance(argument, bytes) else repr(argument)


@dataclass
class Namespace:
    """All addresses that exist now. `replace` brings another set into force and tells who listens what came and went.

    listeners: told (added, removed, changed) addresses; changed are those whose description, range or type is another.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    listeners: list[Callable[[list[str], list[str], list[str]], None]] = field(default_factory=list)

    def replace(self, nodes: Sequence[Node]) -> None:
        """Bring these addresses into force."""
        before, after = self.nodes, {node.address: node for node in nodes}
        self.nodes = after
        added = sorted(after.keys() - before.keys())
        removed = sorted(before.keys() - after.keys())
        changed = sorted(a for a in after.keys() & before.keys() if _shape(after[a]) != _shape(before[a]))
        if added or removed or changed:
            for listener in list(self.listeners):
                listener(added, removed, changed)

    def find(self, address: str) -> Node:
        """The node of an address; RefusedError if there is none."""
        try:
            return self.nodes[address]
        except KeyError:
            raise RefusedError("unknown", f"{address}: no such address (OSCQuery or docs/osc.md lists them)") from None


def _shape(node: Node) -> tuple[object, ...]:
    plain = (node.types, node.overload, node.description, node.unit, node.ranges, node.optional, node.access, node.tags)
    return (*plain, None if node.default is None else tuple(node.default))


def parameter_nodes(row: Parameter, read: Callable[[], float], write: Callable[[float], None]) -> list[Node]:
    """A parameter's address in its own unit, and the one beside it from 0 to 1."""
    switch = row.kind == "switch"

    def write_value(values: Values) -> None:
        write(float(values[0]))  # type: ignore[arg-type]

    def write_share(values: Values) -> None:
        write(row.minimum + float(values[0]) * (row.maximum - row.minimum))  # type: ignore[arg-type]

    def read_value() -> Values:
        return [round(read())] if switch else [read()]

    def read_share() -> Values:
        return [(read() - row.minimum) / (row.maximum - row.minimum)]

    tag = "i" if switch else "f"
    return [
        Node(
            row.address,
            tag,
            row.description,
            row.unit,
            (Range(row.minimum, row.maximum),),
            clip=True,
            read=read_value,
            write=write_value,
            tags=("parameter",),
            default=[round(row.default)] if switch else [row.default],
        ),
        Node(
            row.address + NORMALIZED,
            "f",
            f"{row.description}, from 0 ({row.minimum:g}) to 1 ({row.maximum:g})",
            ranges=(Range(0.0, 1.0),),
            clip=True,
            read=read_share,
            write=write_share,
            tags=("normalized",),
        ),
    ]
