"""MIDI in: controllers, notes, programs and clock of a pedal or a keyboard, carried out on the tree of addresses.

Messages come on threads of the MIDI system. They are put down and the event loop is woken once; what a controller did
until the loop gets to it is only its last value and how often it was pressed, so that no flood queues up.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ... import DuendeError
from .midi_map import CURVES, KINDS, Binding, Kind, MidiMap, short
from .namespace import PREFIX, Namespace, Node, Range, Value, Values
from .news import News
from .osc import Message
from .tempo import Tempo

BASE = f"{PREFIX}/midi"
LEARN, LEARNED, MAP, PORTS = f"{BASE}/learn", f"{BASE}/learned", f"{BASE}/map", f"{BASE}/ports"
LOAD = f"{PREFIX}/preset/load"
LEARN_S = 30.0
PRESSED = 64
MOST_PRESSES = 4
MOST_EVENTS = 512
CAUGHT = 2.5 / 127.0


@dataclass(frozen=True)
class _Event:
    """A message that is more than the position of a controller. at: when it came."""

    kind: str
    channel: int
    number: int
    value: int
    at: float


class Midi:
    """Carries out MIDI messages. `receive` may be called on any thread; all else belongs to the event loop.

    set_list: presets that program changes 0, 1, 2, ... load; without one, the library's in order.
    clock:    seconds, steady. wake: has a function called in the event loop's thread, from any other.
    """

    def __init__(
        self,
        namespace: Namespace,
        tempo: Tempo,
        news: News,
        bindings: MidiMap,
        wake: Callable[[Callable[[], None]], object],
        set_list: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.map, self.set_list = bindings, list(set_list)
        self.ports: Callable[[], Sequence[str]] = list
        self._namespace, self._tempo, self._news, self._wake, self._clock = namespace, tempo, news, wake, clock
        self._lock = threading.Lock()
        self._awake = False
        # By channel and number: the last value, and how often it rose to PRESSED and more.
        self._moved: dict[tuple[int, int], tuple[int, int]] = {}
        self._high: set[tuple[int, int]] = set()
        self._events: deque[_Event] = deque(maxlen=MOST_EVENTS)
        self._coarse: dict[tuple[int, int], int] = {}
        self._learning: tuple[str, float] | None = None
        # By binding: where the controller was last, and what it set last; only for those that pick up.
        self._held: dict[Binding, tuple[float, float | None]] = {}
        self._failing: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- any thread ----------------------------------------------------------------------------------------------

    def receive(self, message: Any) -> None:
        """Put down a mido message, and wake the loop if it does not know of others yet. Never raises, never waits."""
        kind = message.type
        with self._lock:
            if kind == "control_change":
                key = message.channel + 1, message.control
                _, presses = self._moved.pop(key, (0, 0))
                high = message.value >= PRESSED
                presses += high and key not in self._high
                (self._high.add if high else self._high.discard)(key)
                self._moved[key] = message.value, presses
            elif kind in ("note_on", "note_off"):
                velocity = message.velocity if kind == "note_on" else 0
                self._events.append(_Event("note", message.channel + 1, message.note, velocity, 0.0))
            elif kind == "program_change":
                self._events.append(_Event("program", message.channel + 1, message.program, 127, 0.0))
            elif kind in ("clock", "start", "stop", "continue"):
                self._events.append(_Event(kind, 0, 0, 0, self._clock()))
            else:
                return
            if self._awake:
                return
            self._awake = True
        try:
            self._wake(self.carry_out)
        except RuntimeError:
            # The loop has ended; so has everything that could be done.
            return

    # -- event loop ----------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Do what was put down."""
        with self._lock:
            moved, self._moved = self._moved, {}
            events = list(self._events)
            self._events.clear()
            self._awake = False
        for (channel, number), (value, presses) in moved.items():
            self._control(channel, number, value, presses)
        program: _Event | None = None
        for event in events:
            if event.kind == "clock":
                self._tempo.tick(event.at)
            elif event.kind == "note":
                self._note(event)
            elif event.kind == "program":
                program = event
            else:
                self._tempo.stop()
        if program is not None:
            self._program(program)

    def learn(self, address: str) -> None:
        """Bind the next controller that is moved to an address; an empty one ends that. DuendeError if it cannot be."""
        name = short(address)
        if not name:
            self._learning = None
            return
        node = self._namespace.find(f"{PREFIX}/{name}")
        if _bounds(node) is None and not _is_command(node):
            raise DuendeError(f"{node.address} takes {node.types or 'nothing'}: no controller can give that")
        self._learning = name, self._clock() + LEARN_S
        asyncio.get_running_loop().call_later(LEARN_S + 0.1, self._expire)

    def forget(self, address: str) -> None:
        """Remove the bindings of an address; DuendeError where there are none."""
        if not self.map.forget(address):
            raise DuendeError(f"{short(address)!r} is bound to no controller; {MAP} lists what is")
        self._held.clear()
        self._news.touch(MAP)

    def bind(self, binding: Binding) -> None:
        """Add a binding; DuendeError where it makes no sense."""
        self.map.bind(binding)
        self._held.clear()
        self._news.touch(MAP)

    def nodes(self) -> list[Node]:
        """The addresses of MIDI."""

        def learn(values: Values) -> None:
            self.learn(str(values[0]))

        def forget(values: Values) -> None:
            self.forget(str(values[0]))

        return [
            Node(
                LEARN,
                "s",
                "bind the next controller, note or program that comes within 30 s to this address; empty: to none",
                write=learn,
            ),
            Node(LEARNED, "ss", "an address, and the controller that was bound to it", stream=True),
            Node(
                f"{BASE}/bind",
                "ssiiffs",
                "bind an address to a kind of controller, its number, its channel (1 to 16, 0: any), with the values "
                "at its ends and a curve",
                ranges=(
                    Range(),
                    Range(allowed=KINDS),
                    Range(0, 127),
                    Range(0, 16),
                    Range(),
                    Range(),
                    Range(allowed=CURVES),
                ),
                optional=4,
                write=self._bind_values,
            ),
            Node(f"{BASE}/forget", "s", "remove the bindings of an address", write=forget),
            Node(
                MAP, "s", "what is bound, each as an argument", read=lambda: [one.line() for one in self.map.bindings]
            ),
            Node(PORTS, "s", "ports that are open, each as an argument", read=lambda: list(self.ports())),
        ]

    # -- inside --------------------------------------------------------------------------------------------------

    def _bind_values(self, values: Values) -> None:
        row = dict(zip(("address", "kind", "number", "channel", "minimum", "maximum", "curve"), values, strict=False))
        row["address"] = short(str(values[0]))
        self._namespace.find(f"{PREFIX}/{row['address']!s}")
        self.bind(msgspec.convert(row, Binding))

    def _control(self, channel: int, number: int, value: int, presses: int) -> None:
        if self._learned("control", channel, number):
            return
        for binding in self.map.find("control", channel, number):
            self._move(binding, value / 127.0, presses)
        if number >= 64:
            return
        key = channel, number % 32
        if number < 32:
            self._coarse[key] = value
        fine = 0 if number < 32 else value
        if key in self._coarse:
            for binding in self.map.find("control14", channel, number % 32):
                self._move(binding, (128 * self._coarse[key] + fine) / 16383.0, presses if number < 32 else 0)

    def _note(self, event: _Event) -> None:
        if event.value and self._learned("note", event.channel, event.number):
            return
        for binding in self.map.find("note", event.channel, event.number):
            self._move(binding, 1.0 if event.value else 0.0, int(event.value > 0))

    def _program(self, event: _Event) -> None:
        if self._learned("program", event.channel, event.number):
            return
        bound = self.map.find("program", event.channel, event.number)
        for binding in bound:
            self._move(binding, 1.0, 1)
        if bound:
            return
        which: Value = event.number
        if self.set_list:
            if event.number >= len(self.set_list):
                self._news.fail(LOAD, f"program {event.number}: the set list has {len(self.set_list)}, counted from 0")
                return
            which = self.set_list[event.number]
        node = self._namespace.nodes.get(LOAD)
        if node is not None:
            self._write(node, [which])

    def _expire(self) -> None:
        """End a learning that has waited too long."""
        if self._learning is not None and self._clock() > self._learning[1]:
            name, self._learning = self._learning[0], None
            self._news.fail(LEARN, f"nothing was moved within {LEARN_S:g} s: {name} is not bound")

    def _learned(self, kind: Kind, channel: int, number: int) -> bool:
        """Bind a controller where somebody waits for one."""
        self._expire()
        if self._learning is None:
            return False
        name, self._learning = self._learning[0], None
        node = self._namespace.nodes.get(f"{PREFIX}/{name}")
        if node is None:
            self._news.fail(LEARN, f"{name} is gone: it is not bound")
            return True
        binding = Binding(name, kind, number, channel, curve="linear" if kind == "control" else "toggle")
        self.map.forget(name)
        self.bind(binding)
        self._news.stream([Message(LEARNED, [node.address, binding.controller])])
        return True

    def _move(self, binding: Binding, position: float, presses: int) -> None:
        """Carry out what a controller did; what it is bound to may not be there now."""
        node = self._namespace.nodes.get(f"{PREFIX}/{binding.address}")
        if node is None:
            return
        if _is_command(node):
            for _ in range(min(presses, MOST_PRESSES)):
                self._write(node, [])
            return
        bounds = _bounds(node)
        if bounds is None:
            return
        now = _number(node)
        if binding.curve == "toggle":
            if presses % 2:
                first, last = binding.ends(*bounds)
                self._write(node, [_whole(node, last if now is None or abs(now - first) <= abs(now - last) else first)])
            return
        value = _whole(node, binding.scaled(position, *bounds))
        if binding.pickup and now is not None:
            if not self._catches(binding, position, value, now, bounds):
                return
            self._write(node, [value])
            self._held[binding] = position, _number(node)
            return
        self._write(node, [value])

    def _catches(
        self, binding: Binding, position: float, value: float, now: float, bounds: tuple[float, float]
    ) -> bool:
        """Whether a controller holds the value already, or passes it now; notes where the controller is."""
        before, left = self._held.get(binding, (position, None))
        if left is not None and left == now:
            return True
        first, last = binding.ends(*bounds)
        near = abs(value - now) <= CAUGHT * abs(last - first)
        passed = (binding.scaled(before, *bounds) - now) * (value - now) < 0.0
        self._held[binding] = position, None
        return near or passed

    def _write(self, node: Node, values: list[Value]) -> None:
        try:
            assert node.write is not None
            answer = node.write(node.check(values))
        except DuendeError as error:
            self._fail(node.address, str(error))
            return
        if isinstance(answer, Awaitable):
            task = asyncio.get_running_loop().create_task(self._wait(node.address, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        self._failing.pop(node.address, None)
        if node.read is not None and "parameter" not in node.tags:
            self._news.touch(node.address)

    async def _wait(self, address: str, answer: Awaitable[object]) -> None:
        try:
            await answer
            self._failing.pop(address, None)
        except DuendeError as error:
            self._fail(address, str(error))

    def _fail(self, address: str, text: str) -> None:
        """Tell of a failure, but not of the same one with every move of a controller."""
        if self._failing.get(address) != text:
            self._failing[address] = text
            self._news.fail(address, text)


def _is_command(node: Node) -> bool:
    return node.write is not None and not node.types


def _bounds(node: Node) -> tuple[float, float] | None:
    """Range of the one number that an address takes; None where it takes something else."""
    if node.write is None or node.types not in ("f", "i") or not node.ranges:
        return None
    low, high = node.ranges[0].minimum, node.ranges[0].maximum
    return None if low is None or high is None else (low, high)


def _number(node: Node) -> float | None:
    """Present value of an address."""
    value = None if node.read is None else node.read()[0]
    return float(value) if isinstance(value, bool | int | float) else None


def _whole(node: Node, value: float) -> float:
    return float(round(value)) if node.types == "i" else value
