"""MIDI: mido messages to the tree of addresses, floods, learning, the map as plain data, and ports that come and go."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import mido
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duende import DuendeError
from duende.engine.control.commands import session_nodes
from duende.engine.control.midi import Midi
from duende.engine.control.midi_map import Binding, MidiMap
from duende.engine.control.midi_ports import BROKEN, MidiPorts, Mido, Receive
from duende.engine.control.namespace import Namespace, Node, RefusedError, Value, Values
from duende.engine.control.news import News
from duende.engine.control.tempo import Tempo
from jackd import Server
from sessions import tiny_session


def control(number: int, value: int, channel: int = 1) -> mido.Message:
    return mido.Message("control_change", channel=channel - 1, control=number, value=value)


def note(number: int, velocity: int = 100, channel: int = 1) -> mido.Message:
    return mido.Message("note_on", channel=channel - 1, note=number, velocity=velocity)


def program(number: int, channel: int = 1) -> mido.Message:
    return mido.Message("program_change", channel=channel - 1, program=number)


class Desk:
    """MIDI on the addresses of a session; `play` sends messages, then lets the loop get to them once."""

    def __init__(self, folder: Path, *bindings: Binding, set_list: tuple[str, ...] = ()) -> None:
        self.now = 100.0
        self.session = tiny_session(folder)
        self.streamed: list[tuple[str, Values]] = []
        self.touched: list[str] = []
        news = News()
        news.streamed.append(self.streamed.extend)
        news.changed.append(self.touched.extend)
        self.sets = 0
        self.session.changed.append(self._count)
        self.taps = 0
        self.namespace = Namespace()
        self.waiting: list[Callable[[], None]] = []
        tempo = Tempo(self.session, news, lambda: self.now)
        self.midi = Midi(
            self.namespace, tempo, news, MidiMap(bindings), self.waiting.append, set_list, lambda: self.now
        )
        self.refresh()

    def refresh(self) -> None:
        """Take up the addresses of the slots as they are now."""
        tap = Node("/duende/tap", "", "", write=lambda values: self._tap())
        self.namespace.replace([*session_nodes(self.session), *self.midi.nodes(), tap])

    def play(self, *messages: mido.Message) -> None:
        for message in messages:
            self.midi.receive(message)
        waiting, self.waiting[:] = list(self.waiting), []
        for work in waiting:
            work()

    def write(self, address: str, *values: Value) -> None:
        node = self.namespace.find(f"/duende/midi/{address}")
        assert node.write is not None
        node.write(node.check(values))

    def read(self, address: str) -> Values:
        node = self.namespace.find(f"/duende/midi/{address}")
        assert node.read is not None
        return node.read()

    def _count(self, names: object) -> None:
        self.sets += 1

    def _tap(self) -> None:
        self.taps += 1


def in_loop(work: Callable[[], None]) -> None:
    """Run something that needs an event loop around it."""

    async def run() -> None:
        work()
        await asyncio.sleep(0)

    asyncio.run(run())


def test_a_controller_moves_a_parameter_over_its_range(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("output/gain", "control", 7))
    for value, gain_db in ((0, -60.0), (127, 20.0), (64, -60.0 + 80.0 * 64 / 127)):
        desk.play(control(7, value))
        assert desk.session.get("output/gain") == pytest.approx(gain_db)
    desk.play(control(8, 0))
    assert desk.session.get("output/gain") == pytest.approx(-60.0 + 80.0 * 64 / 127)


@pytest.mark.parametrize(
    ("curve", "minimum", "maximum", "values"),
    [
        ("linear", 0.2, 0.6, {0: 0.2, 127: 0.6}),
        ("inverse", 0.2, 0.6, {0: 0.6, 127: 0.2}),
        ("linear", 0.6, 0.2, {0: 0.6, 127: 0.2}),
        ("linear", -5.0, 9.0, {0: 0.0, 127: 1.0}),
        ("inverse", None, None, {0: 1.0, 127: 0.0}),
    ],
)
def test_ranges_and_curves(
    tmp_path: Path, curve: Any, minimum: float | None, maximum: float | None, values: dict[int, float]
) -> None:
    desk = Desk(tmp_path, Binding("mix", "control", 7, minimum=minimum, maximum=maximum, curve=curve))
    for value, mix in values.items():
        desk.play(control(7, value))
        assert desk.session.get("mix") == pytest.approx(mix)


def test_channels_are_told_apart_unless_any_will_do(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("mix", "control", 7, channel=2), Binding("amount", "control", 7))
    desk.play(control(7, 0, channel=1))
    assert (desk.session.get("mix"), desk.session.get("amount")) == (1.0, 0.0)
    desk.play(control(7, 0, channel=2))
    assert desk.session.get("mix") == 0.0


def test_14_bits_move_in_16384_steps(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("mix", "control14", 1))
    desk.play(control(33, 5))
    assert desk.session.get("mix") == 1.0, "half a value is none"
    for value in (0, 1, 127, 128, 8191, 16383):
        desk.play(control(1, value >> 7), control(33, value & 127))
        assert desk.session.get("mix") == pytest.approx(value / 16383)
    desk.play(control(1, 64))
    assert desk.session.get("mix") == pytest.approx(64 * 128 / 16383)


def test_switches_follow_and_toggles_change_at_each_press(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        Binding("bypass", "control", 1),
        Binding("mute", "control", 2, curve="toggle"),
        Binding("mix", "note", 60, minimum=0.25, maximum=0.75, curve="toggle"),
        Binding("amount", "note", 61),
    )
    for value, bypass in ((127, 1.0), (0, 0.0), (63, 0.0), (64, 1.0)):
        desk.play(control(1, value))
        assert desk.session.get("bypass") == bypass
    seen = []
    for value in (127, 127, 0, 127, 0):
        desk.play(control(2, value))
        seen.append(desk.session.get("mute"))
    assert seen == [1.0, 1.0, 1.0, 0.0, 0.0]
    for wanted in (0.25, 0.75, 0.25):
        desk.play(note(60), note(60, 0))
        assert desk.session.get("mix") == wanted
    desk.play(mido.Message("note_off", note=61))
    assert desk.session.get("amount") == 0.0
    desk.play(note(61))
    assert desk.session.get("amount") == 1.0


def test_commands_are_carried_out_once_a_press(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("tap", "control", 64), Binding("tap", "note", 36))
    desk.play(control(64, 127), control(64, 100), control(64, 0))
    assert desk.taps == 1
    desk.play(note(36), note(36, 0), note(36))
    assert desk.taps == 3
    desk.play(*[control(64, value) for value in (127, 0) * 50])
    assert desk.taps == 7, "a flood is no more than four"


def test_a_flood_of_one_controller_is_its_last_value(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("mix", "control", 7), Binding("amount", "control", 8))
    for value in range(10_000):
        desk.midi.receive(control(7 + value % 2, value % 128))
    assert len(desk.waiting) == 1, "the loop is woken once"
    desk.play()
    assert desk.sets == 2
    assert desk.session.get("mix") == pytest.approx((9998 % 128) / 127)
    assert desk.session.get("amount") == pytest.approx((9999 % 128) / 127)
    for _ in range(10_000):
        desk.midi.receive(mido.Message("clock"))
    assert len(desk.waiting) == 1


def test_a_short_press_is_not_lost_while_the_loop_is_late(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("mute", "control", 2, curve="toggle"))
    desk.play(control(2, 127), control(2, 0))
    assert desk.session.get("mute") == 1.0
    desk.play(control(2, 127), control(2, 0), control(2, 127), control(2, 0))
    assert desk.session.get("mute") == 1.0


def test_pickup_waits_until_the_controller_passes_the_value(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("mix", "control", 7, pickup=True))
    desk.session.set("mix", 0.5)
    seen = []
    for value in (10, 50, 80, 90):
        desk.play(control(7, value))
        seen.append(desk.session.get("mix"))
    assert seen == pytest.approx([0.5, 0.5, 80 / 127, 90 / 127])
    desk.session.set("mix", 0.1)
    desk.play(control(7, 92))
    assert desk.session.get("mix") == 0.1, "somebody else moved it: let go"
    desk.play(control(7, 14))
    assert desk.session.get("mix") == pytest.approx(14 / 127), "near is good enough"


def test_what_is_not_there_now_is_left_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("slot/1/amount", "control", 7))
    desk.play(control(7, 0))
    assert desk.streamed == []
    asyncio.run(desk.session.load("duo"))
    desk.refresh()
    desk.play(control(7, 0))
    assert desk.session.get("slot/1/amount") == 0.0


def test_other_numbers_than_parameters_are_moved_and_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("tempo", "control", 7, minimum=60.0, maximum=187.0))
    desk.play(control(7, 40))
    assert desk.session.state.tempo == pytest.approx(100.0)
    assert desk.touched == ["/duende/tempo"]


def test_programs_load_presets(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("bypass", "program", 9, curve="toggle"))

    async def show() -> None:
        for number, name in ((1, "solo"), (0, "duo"), (2, "wire")):
            desk.play(program(number))
            while desk.session.state.preset != name:
                await asyncio.sleep(0.001)
        desk.play(program(0), program(1), program(0), program(1))
        while desk.session.state.preset != "solo":
            await asyncio.sleep(0.001)
        desk.play(program(9))
        assert desk.session.get("bypass") == 1.0
        for _ in range(2):
            desk.play(program(77))
            while not desk.streamed:
                await asyncio.sleep(0.001)

    asyncio.run(show())
    assert desk.streamed == [
        ("/duende/error", ["/duende/preset/load", "failed", "preset 77: there are 3, counted from 0"])
    ]


def test_programs_follow_a_set_list(tmp_path: Path) -> None:
    desk = Desk(tmp_path, set_list=("wire", "solo"))

    async def show() -> None:
        desk.play(program(1))
        while desk.session.state.preset != "solo":
            await asyncio.sleep(0.001)

    asyncio.run(show())
    desk.play(program(2))
    assert desk.streamed[-1][1][2] == "program 2: the set list has 2, counted from 0"


def test_a_clock_sets_the_tempo(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(mido.Message("start"))
    for _ in range(30):
        desk.now += 60.0 / 90.0 / 24.0
        desk.midi.receive(mido.Message("clock"))
    desk.now += 5.0
    desk.play(mido.Message("stop"))
    assert desk.session.state.tempo == pytest.approx(90.0, rel=0.001), "by when they came, not by when it was looked"


def test_other_messages_are_passed_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(mido.Message("pitchwheel", pitch=5), mido.Message("sysex", data=[1, 2]), mido.Message("active_sensing"))
    assert desk.waiting == []
    assert desk.sets == 0


def test_a_loop_that_has_ended_is_no_error(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    desk = Desk(tmp_path)
    midi = Midi(desk.namespace, Tempo(desk.session, News()), News(), MidiMap(), loop.call_soon_threadsafe)
    loop.close()
    midi.receive(control(1, 2))


addresses = st.sampled_from(
    ["mix", "bypass", "output/gain", "tempo", "tap", "style/xy", "midi/map", "gone", "preset/load", "preset/next"]
)
ends = st.none() | st.floats(-1e9, 1e9)
anything = st.builds(
    Binding,
    addresses,
    st.sampled_from(["control", "control14"]),
    st.integers(0, 31),
    st.integers(0, 16),
    ends,
    ends,
    st.sampled_from(["linear", "inverse", "toggle"]),
    st.booleans(),
) | st.builds(Binding, addresses, st.sampled_from(["note", "program"]), st.integers(0, 127))
octets = st.sampled_from([0x90, 0xB0, 0xC0, 0xF8]) | st.integers(0, 31) | st.integers(0, 255)


@pytest.fixture(scope="module")
def one_desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@given(bindings=st.lists(anything, max_size=20), data=st.lists(octets, max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_bytes_and_no_bindings_do_harm(one_desk: Desk, bindings: list[Binding], data: list[int]) -> None:
    one_desk.midi.map = MidiMap(bindings)
    parser = mido.Parser()
    parser.feed(data)
    in_loop(lambda: one_desk.play(*parser))
    for row in one_desk.session.table.rows():
        assert row.minimum <= one_desk.session.get(row.name) <= row.maximum
    assert 30.0 <= one_desk.session.state.tempo <= 300.0


# -- learning ----------------------------------------------------------------------------------------------------


def test_learning_binds_what_is_moved_next(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("mix", "control", 20))

    def show() -> None:
        desk.write("learn", "/duende/mix")
        desk.play(control(7, 100, channel=3))
        assert desk.session.get("mix") == 1.0, "the move that is learned from moves nothing"
        desk.play(control(7, 0, channel=3), control(20, 64))
        assert desk.session.get("mix") == 0.0
        desk.write("learn", "tap")
        desk.play(note(36, 0), note(36))
        assert desk.taps == 0
        desk.play(note(36))
        assert desk.taps == 1

    in_loop(show)
    assert desk.read("map") == ["mix: control 7 of channel 3, linear", "tap: note 36 of channel 1, toggle"]
    assert desk.streamed == [
        ("/duende/midi/learned", ["/duende/mix", "control 7 of channel 3"]),
        ("/duende/midi/learned", ["/duende/tap", "note 36 of channel 1"]),
    ]
    assert desk.touched.count("/duende/midi/map") == 2
    desk.write("forget", "/duende/mix")
    assert desk.read("map") == ["tap: note 36 of channel 1, toggle"]
    with pytest.raises(DuendeError, match="'mix' is bound to no controller"):
        desk.write("forget", "mix")


def test_learning_ends_by_itself_or_when_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def show() -> None:
        desk.write("learn", "mix")
        desk.now += 30.1
        desk.play(control(7, 1))
        assert desk.streamed == [
            ("/duende/error", ["/duende/midi/learn", "failed", "nothing was moved within 30 s: mix is not bound"])
        ]
        desk.write("learn", "mix")
        desk.write("learn", "")
        desk.play(control(7, 1))

    in_loop(show)
    assert desk.read("map") == []


def test_what_no_controller_can_give_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for address, words in (
        ("preset/load", "takes s: no controller can give that"),
        ("preset/current", "no controller"),
        ("style/none", "no such address"),
    ):
        with pytest.raises(DuendeError, match=words):
            desk.write("learn", address)


def test_bindings_can_be_made_in_full(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("bind", "/duende/mix", "control", 7, 2, 0.25, 0.5, "inverse")
    desk.write("bind", "amount", "note", 60)
    assert desk.midi.map.bindings == [
        Binding("mix", "control", 7, 2, 0.25, 0.5, "inverse"),
        Binding("amount", "note", 60),
    ]
    assert desk.read("map")[0] == "mix: control 7 of channel 2, 0.25 to 0.5, inverse"
    for values, words in (
        (("nothing", "control", 1), "no such address"),
        (("mix", "wheel", 1), "choose one of control, control14, note, program"),
        (("mix", "control", 128), "out of range: 0 to 127"),
        (("mix", "control14", 40), "out of range: 0 to 31"),
        (("mix", "control", 1, 17), "out of range: 0 to 16"),
    ):
        with pytest.raises(DuendeError, match=words):
            desk.write("bind", *values)


def test_a_failure_is_told_once_and_not_with_every_move(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Binding("stuck", "control", 7))

    def refuse(values: Values) -> None:
        raise RefusedError("refused", "it is stuck")

    node = Node("/duende/stuck", "f", "", ranges=desk.namespace.find("/duende/mix").ranges, write=refuse)
    desk.namespace.replace([*desk.namespace.nodes.values(), node])
    for value in range(100):
        desk.play(control(7, value))
    assert desk.streamed == [("/duende/error", ["/duende/stuck", "failed", "it is stuck"])]


# -- the map as plain data ---------------------------------------------------------------------------------------


def test_the_map_survives_a_file() -> None:
    bindings = [
        Binding("mix", "control", 7, 2, 0.25, 0.5, "inverse", True),
        Binding("tap", "note", 36),
        Binding("slot/1/amount", "control14", 3, maximum=0.5),
    ]
    data = msgspec.toml.encode({"map": MidiMap(bindings).to_list()})
    assert b"\n[[map]]\n" in data
    assert MidiMap.from_list(msgspec.toml.decode(data)["map"]).bindings == bindings
    assert {"address": "tap", "kind": "note", "number": 36} in MidiMap(bindings).to_list(), "defaults are left out"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"address": "mix", "kind": "wheel", "number": 1}, "Invalid enum value 'wheel'"),
        ({"address": "mix", "kind": "note"}, "required field `number`"),
        ({"address": "mix", "kind": "note", "number": 1, "chanel": 3}, "unknown field `chanel`"),
        ({"address": "/duende/mix", "kind": "note", "number": 1}, "write it without /duende/"),
        ({"address": "", "kind": "note", "number": 1}, "address ''"),
        ({"address": "mix", "kind": "control14", "number": 32}, "control14 32 is out of range: 0 to 31"),
        ({"address": "mix", "kind": "note", "number": 1, "channel": 17}, "channel 17 is out of range"),
        ({"address": "mix", "kind": "note", "number": 1, "pickup": True}, "leave pickup out"),
        ({"address": "mix", "kind": "control", "number": 1, "maximum": float("nan")}, "nan is no end of a range"),
    ],
)
def test_a_map_that_makes_no_sense_is_one_line(row: dict[str, Any], words: str) -> None:
    good = {"address": "mix", "kind": "control", "number": 7}
    with pytest.raises(DuendeError, match=words) as caught:
        MidiMap.from_list([good, row])
    assert str(caught.value).startswith("MIDI map, entry 2: ")
    assert "\n" not in str(caught.value)


def test_a_binding_is_there_once_and_a_map_is_bounded() -> None:
    bindings = MidiMap()
    for number in range(3):
        bindings.bind(Binding("mix", "control", 7, maximum=0.1 * number))
    assert [one.maximum for one in bindings.bindings] == [0.2]
    for number in range(511):
        bindings.bind(Binding(f"slot/{number}/mix", "control", 7))
    with pytest.raises(DuendeError, match="512 bindings are the most"):
        bindings.bind(Binding("amount", "control", 7))


# -- ports -------------------------------------------------------------------------------------------------------


class FakePort:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeBackend:
    """Ports that the test plugs in and out. `busy` cannot be opened, `broken` cannot even be looked at."""

    def __init__(self, *names: str) -> None:
        self.there = list(names)
        self.busy: set[str] = set()
        self.broken = False
        self.opened: list[tuple[str, FakePort, Receive]] = []

    def names(self) -> list[str]:
        if self.broken:
            raise BROKEN[0]("no sequencer\nhere.")
        return list(self.there)

    def open(self, name: str, receive: Receive) -> FakePort:
        if name in self.busy:
            raise OSError("device is busy")
        self.opened.append((name, FakePort(), receive))
        return self.opened[-1][1]

    def open_virtual(self, name: str, receive: Receive) -> FakePort:
        if self.broken:
            raise NotImplementedError
        return self.open(f"virtual {name}", receive)

    def is_open(self) -> list[str]:
        return [name for name, port, _ in self.opened if not port.closed]


class Rack:
    """Ports on a fake backend; `look` waits until they have been looked at once more."""

    def __init__(self, backend: FakeBackend, *patterns: str) -> None:
        self.backend = backend
        self.told: list[Values] = []
        self.touched: list[str] = []
        self.got: list[Any] = []
        news = News()
        news.streamed.append(lambda messages: self.told.extend(message.values for message in messages))
        news.changed.append(self.touched.extend)
        self._turn = asyncio.Semaphore(0)
        self._done = asyncio.Semaphore(0)
        self.ports = MidiPorts(backend, self.got.append, news, patterns, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 2.0
        self._done.release()
        await self._turn.acquire()

    async def look(self) -> None:
        self._turn.release()
        await self._done.acquire()

    def run(self, show: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            task = asyncio.create_task(self.ports.run())
            await self._done.acquire()
            await show()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())


def test_ports_are_opened_by_parts_of_their_names() -> None:
    rack = Rack(FakeBackend("nanoKONTROL2 24:0", "FCB1010 28:0", "Midi Through 14:0"), "nanokontrol", "Expression")

    async def show() -> None:
        assert rack.ports.names == ["nanoKONTROL2 24:0"]
        name, _, receive = rack.backend.opened[-1]
        assert name == "nanoKONTROL2 24:0"
        receive("message")
        assert rack.got == ["message"]

    rack.run(show)
    assert rack.backend.is_open() == []


def test_without_a_pattern_every_port_is_opened_but_the_loop() -> None:
    rack = Rack(FakeBackend("one", "two", "Midi Through:Midi Through Port-0 14:0"))

    async def show() -> None:
        assert rack.ports.names == ["one", "two"]
        assert rack.backend.is_open() == ["virtual duende", "one", "two"]

    rack.run(show)


def test_a_port_that_vanishes_is_closed_and_opened_again_when_it_returns() -> None:
    rack = Rack(FakeBackend("pedal"))

    async def show() -> None:
        assert rack.ports.names == ["pedal"]
        await rack.look()
        assert len(rack.backend.opened) == 2, "what is open stays open"
        rack.backend.there = []
        await rack.look()
        assert rack.ports.names == []
        assert rack.backend.is_open() == ["virtual duende"]
        rack.backend.there = ["pedal"]
        await rack.look()
        assert rack.backend.is_open() == ["virtual duende", "pedal"]

    rack.run(show)
    assert rack.touched == ["/duende/midi/ports"] * 3


def test_a_busy_port_is_told_once_and_tried_again() -> None:
    rack = Rack(FakeBackend("pedal"))
    rack.backend.busy = {"pedal"}

    async def show() -> None:
        for _ in range(3):
            await rack.look()
        assert rack.told == [["/duende/midi/ports", "failed", "MIDI port pedal: device is busy"]]
        rack.backend.busy = set()
        await rack.look()
        assert rack.ports.names == ["pedal"]

    rack.run(show)


def test_a_system_without_midi_is_told_and_left_alone() -> None:
    rack = Rack(FakeBackend())
    rack.backend.broken = True
    asyncio.run(rack.ports.run())
    assert rack.told == [["/duende/midi/ports", "failed", "there is no MIDI here: no sequencer here"]]


def test_a_backend_that_stumbles_later_is_borne() -> None:
    rack = Rack(FakeBackend("pedal"))

    async def show() -> None:
        rack.backend.broken = True
        await rack.look()
        assert rack.ports.names == ["pedal"]
        rack.backend.broken = False
        await rack.look()
        assert rack.ports.names == ["pedal"]

    rack.run(show)
    assert rack.told == []


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rtmidi", None)
    with pytest.raises(DuendeError, match=r"pip install 'duende\[midi\]'"):
        Mido()


@pytest.fixture
def jack() -> Iterator[Server]:
    server = Server(f"duende-midi-{os.getpid()}")
    before = {key: os.environ.get(key) for key in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER")}
    server.start()
    os.environ.update({key: server.environment[key] for key in before})
    yield server
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})
    server.stop()


@pytest.mark.live
def test_a_real_port_is_heard_lost_and_heard_again(jack: Server) -> None:
    """python-rtmidi on JACK: a pedal plugged in, moved, pulled out, and plugged in again."""
    got: list[mido.Message] = []
    arrived = threading.Event()

    def receive(message: mido.Message) -> None:
        got.append(message)
        arrived.set()

    rack = Rack(FakeBackend(), "pedal")
    backend = Mido("UNIX_JACK")
    rack.ports = MidiPorts(backend, receive, News(), ["pedal"], sleep=rack._sleep)
    pedals = mido.Backend("mido.backends.rtmidi/UNIX_JACK")

    async def move(value: int) -> None:
        pedal = pedals.open_output("pedal", virtual=True, client_name="pedal")
        await rack.look()
        assert len(rack.ports.names) == 1
        arrived.clear()
        deadline = time.monotonic() + 10.0
        while not arrived.is_set() and time.monotonic() < deadline:
            pedal.send(control(7, value))
            await asyncio.to_thread(arrived.wait, 0.1)
        assert got[-1] == control(7, value)
        pedal.close()
        await rack.look()
        assert rack.ports.names == []

    async def show() -> None:
        await move(99)
        await move(11)

    rack.run(show)
