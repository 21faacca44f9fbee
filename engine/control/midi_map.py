"""The MIDI map: which controller moves which address, over which range and how."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ... import DuendeError
from .namespace import PREFIX

Kind = Literal["control", "control14", "note", "program"]
Curve = Literal["linear", "inverse", "toggle"]

KINDS: tuple[Kind, ...] = ("control", "control14", "note", "program")
CURVES: tuple[Curve, ...] = ("linear", "inverse", "toggle")
MOST_BINDINGS = 512


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A controller and the address it moves.

    address: without /duende/ in front: a parameter (`mix`), or anything else that takes a number or nothing (`tap`).
    kind:    "control" (7 bit), "control14" (numbers n and n + 32, 14 bit), "note" or "program".
    number:  0..127, of a control14 0..31. channel: 1..16 as devices show it, 0 for any.
    minimum, maximum: where the controller's ends lie, in the address's unit; the whole range unless given.
    curve:   "linear", "inverse", or "toggle": each press changes between minimum and maximum.
    pickup:  the controller takes hold only when it passes the present value, so that nothing jumps.
    """

    address: str
    kind: Kind
    number: int
    channel: int = 0
    minimum: float | None = None
    maximum: float | None = None
    curve: Curve = "linear"
    pickup: bool = False

    @property
    def controller(self) -> str:
        """In words: control 7 of channel 1."""
        return f"{self.kind} {self.number} of {f'channel {self.channel}' if self.channel else 'any channel'}"

    def line(self) -> str:
        """The whole binding in words."""
        ends = (
            "" if self.minimum is None and self.maximum is None else f", {_end(self.minimum)} to {_end(self.maximum)}"
        )
        return f"{self.address}: {self.controller}{ends}, {self.curve}{', pickup' if self.pickup else ''}"

    def scaled(self, position: float, low: float, high: float) -> float:
        """The value at a position from 0 to 1 of the controller; low and high bound what the binding leaves open."""
        first, last = self.ends(low, high)
        return last + position * (first - last) if self.curve == "inverse" else first + position * (last - first)

    def ends(self, low: float, high: float) -> tuple[float, float]:
        """Values at the controller's ends."""
        return (low if self.minimum is None else self.minimum), (high if self.maximum is None else self.maximum)


class MidiMap:
    """Bindings in the order in which they were made."""

    def __init__(self, bindings: Sequence[Binding] = ()) -> None:
        self.bindings: list[Binding] = []
        for binding in bindings:
            self.bind(binding)

    def bind(self, binding: Binding) -> Binding:
        """Add a binding; one of the same controller to the same address goes. DuendeError where it makes no sense."""
        check(binding)
        kept = [one for one in self.bindings if _key(one) != _key(binding)]
        if len(kept) >= MOST_BINDINGS:
            raise DuendeError(f"{MOST_BINDINGS} bindings are the most: forget one first")
        self.bindings = [*kept, binding]
        return binding

    def forget(self, address: str) -> int:
        """Remove all bindings of an address; returns how many there were."""
        name = short(address)
        before = len(self.bindings)
        self.bindings = [one for one in self.bindings if one.address != name]
        return before - len(self.bindings)

    def find(self, kind: Kind, channel: int, number: int) -> list[Binding]:
        """What a controller moves; channel from 1."""
        return [
            one for one in self.bindings if one.kind == kind and one.number == number and one.channel in (0, channel)
        ]

    def to_list(self) -> list[dict[str, Any]]:
        """As plain data, for a file."""
        return [msgspec.to_builtins(binding) for binding in self.bindings]

    @classmethod
    def from_list(cls, rows: Sequence[dict[str, Any]]) -> "MidiMap":
        """From plain data; DuendeError names the row that makes no sense."""
        bindings = []
        for number, row in enumerate(rows, start=1):
            try:
                bindings.append(check(msgspec.convert(row, Binding)))
            except (msgspec.ValidationError, DuendeError) as error:
                raise DuendeError(f"MIDI map, entry {number}: {error}") from error
        return cls(bindings)


def check(binding: Binding) -> Binding:
    """The binding itself; DuendeError where it makes no sense."""
    most = 31 if binding.kind == "control14" else 127
    if not 0 <= binding.number <= most:
        raise DuendeError(f"{binding.kind} {binding.number} is out of range: 0 to {most}")
    if not 0 <= binding.channel <= 16:
        raise DuendeError(f"channel {binding.channel} is out of range: 1 to 16, or 0 for any")
    if binding.kind in ("note", "program") and binding.pickup:
        raise DuendeError(f"a {binding.kind} cannot pick up a value: leave pickup out")
    if not binding.address or binding.address != short(binding.address):
        raise DuendeError(f"address {binding.address!r}: write it without {PREFIX}/, as in 'mix' or 'slot/1/amount'")
    for end in (binding.minimum, binding.maximum):
        if end is not None and not math.isfinite(end):
            raise DuendeError(f"{end} is no end of a range: give numbers, or leave them out")
    return binding


def short(address: str) -> str:
    """An address without what all have in common."""
    return address.strip().removeprefix(f"{PREFIX}/").strip("/")


def _key(binding: Binding) -> tuple[str, str, int, int]:
    return binding.address, binding.kind, binding.number, binding.channel


def _end(value: float | None) -> str:
    return "end" if value is None else f"{value:g}"
