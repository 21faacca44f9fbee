"""OSC messages carried out: values set and asked, receipts, errors, patterns, and whatever else may come in."""

import asyncio
import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duende import DuendeError, __version__
from duende.engine.control import dispatch
from duende.engine.control.dispatch import CODES, COUNTED, MAX_WAITING, MAX_WORK
from duende.engine.control.namespace import Node, Range, Value, Values
from duende.engine.control.osc import BUNDLE, Message, bundle, decode, encode
from duende.engine.control.patterns import MAX_PATTERN, matches
from osc_peers import Desk
from sessions import QuickEngine

CORPUS = sorted((Path(__file__).parent / "corpus" / "osc").glob("*.osc"))
repeatable = settings(
    derandomize=True,
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def error(answers: list[Message]) -> tuple[str, str]:
    """Address and code of the one error that came."""
    ((address, values),) = answers
    assert address == "/duende/error"
    assert values[1] in CODES
    return str(values[0]), str(values[1])


# -- values ------------------------------------------------------------------------------------------------------


def test_a_value_is_set_at_once_and_not_answered(desk: Desk) -> None:
    assert desk.send("/duende/mix", 0.25) == []
    assert desk.session.get("mix") == 0.25


@pytest.mark.parametrize(("sent", "held"), [(1, 1.0), (True, 1.0), (False, 0.0), (0.5, 0.5), (7, 1.0), (-7.0, 0.0)])
def test_numbers_of_every_type_are_taken_and_clamped(desk: Desk, sent: Value, held: float) -> None:
    assert desk.send("/duende/mix", sent) == []
    assert desk.session.get("mix") == held


def test_what_can_be_read_is_asked_with_nothing(desk: Desk) -> None:
    desk.session.set("output/gain", -20.0)
    assert desk.send("/duende/output/gain") == [Message("/duende/output/gain", [-20.0])]
    assert desk.send("/duende/output/gain/normalized") == [Message("/duende/output/gain/normalized", [0.5])]
    assert desk.send("/duende/preset/list") == [Message("/duende/preset/list", ["duo", "solo", "wire"])]
    assert desk.send("/duende/ping") == [Message("/duende/ping", [__version__])]


def test_values_have_the_type_of_their_address(desk: Desk) -> None:
    """A client that knows the type from OSCQuery need not look at each message."""
    desk.session.state.tempo = 90
    desk.dispatcher.receive(encode("/duende/bypass"), desk.sender)
    desk.dispatcher.receive(encode("/duende/tempo"), desk.sender)
    desk.dispatcher.receive(encode("/duende/tempo", ["#1"]), desk.sender)
    assert desk.sender.packets == [
        encode("/duende/bypass", [0]),
        encode("/duende/tempo", [90.0]),
        encode("/duende/reply", ["/duende/tempo", "#1", 90.0]),
    ]


def test_a_bundle_is_answered_with_a_bundle(desk: Desk) -> None:
    asked = bundle([encode("/duende/mix"), bundle([encode("/duende/amount"), encode("/duende/nothing")])])
    desk.dispatcher.receive(asked, desk.sender)
    (packet,) = desk.sender.packets
    assert packet.startswith(BUNDLE)
    assert [message.address for message in decode(packet)] == ["/duende/mix", "/duende/amount", "/duende/error"]


def test_a_bundle_from_the_future_is_carried_out_now(desk: Desk) -> None:
    desk.dispatcher.receive(BUNDLE + b"\xff" * 8 + bundle([encode("/duende/mix", [0.5])])[16:], desk.sender)
    assert desk.session.get("mix") == 0.5
    assert desk.send("/duende/mix") == [Message("/duende/mix", [0.5])]


# -- receipts and errors -----------------------------------------------------------------------------------------


def test_a_receipt_says_what_came_of_it(desk: Desk) -> None:
    assert desk.send("/duende/mix", 7, "#a1") == [Message("/duende/reply", ["/duende/mix", "#a1", 1.0])]
    assert desk.send("/duende/mix", "#a2") == [Message("/duende/reply", ["/duende/mix", "#a2", 1.0])]
    assert desk.send("/duende/snapshot/store", 2, "#a3") == [
        Message("/duende/reply", ["/duende/snapshot/store", "#a3"])
    ]
    (answer,) = desk.send("/duende/mix", "loud", "#a4")
    assert (answer.values[0], answer.values[1], answer.values[-1]) == ("/duende/mix", "type", "#a4")


@pytest.mark.parametrize(
    ("code", "address", "values"),
    [
        ("unknown", "/duende/nothing", [1]),
        ("unknown", "/elsewhere", []),
        ("unknown", "/duende/mix/", [0.5]),
        ("type", "/duende/mix", ["loud"]),
        ("type", "/duende/mix", [0.1, 0.2]),
        ("type", "/duende/mix", [math.nan]),
        ("type", "/duende/mix", [math.inf]),
        ("type", "/duende/mix", [None]),
        ("type", "/duende/mix", [b"blob"]),
        ("type", "/duende/snapshot/store", []),
        ("range", "/duende/snapshot/store", [99]),
        ("refused", "/duende/snapshot/recall", [5]),
        ("refused", "/duende/preset/list", ["mine"]),
        ("unknown", "/duende/style/xy", [0.5, 0.5]),
        ("malformed", "/duende/[mix", [0.5]),
        ("unknown", "/duende/[mix]", [0.5]),
    ],
)
def test_what_fails_is_answered_with_its_code(desk: Desk, code: str, address: str, values: Values) -> None:
    before = desk.session.values()
    assert error(desk.send(address, *values)) == (address, code)
    assert desk.session.values() == before
    assert desk.dispatcher.counters[{"type": "refused", "range": "refused"}.get(code, code)] == 1


def test_texts_of_errors_stay_short_and_in_one_line(desk: Desk) -> None:
    desk.dispatcher.receive(encode("/" + "x\n" * 20_000, ["y" * 10_000, "#1"]), desk.sender)
    (packet,) = desk.sender.packets
    assert len(packet) < 1000
    assert "\n" not in str(decode(packet)[0].values[2])


def test_errors_and_replies_are_never_answered(desk: Desk) -> None:
    """Two hosts that answer each other's errors would never end."""
    assert desk.send("/duende/error", "/x", "unknown", "no such address", "#1") == []
    assert desk.send("/duende/reply", "/x", "#1") == []


def test_malformed_packets_are_counted_and_answered(desk: Desk) -> None:
    for packet in (b"", b"\0", b"\xff" * 64, bytes(65540)):
        desk.dispatcher.receive(packet, desk.sender)
        assert error(desk.sender.take()) == ("", "malformed")
    assert desk.dispatcher.counters["malformed"] == 4


def test_a_fault_of_the_host_is_told_logged_once_and_lived_through(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(values: Values) -> None:
        raise ZeroDivisionError("boom")

    async def fail_later(values: Values) -> None:
        raise KeyError("later")

    def unreadable() -> Values:
        raise DuendeError("not at the moment")

    desk = Desk(
        tmp_path,
        Node("/x/now", "", "", write=fail),
        Node("/x/later", "", "", write=fail_later),
        Node("/x/value", "f", "", read=unreadable, write=lambda values: None),
    )

    async def talk() -> None:
        for _ in range(3):
            assert error(desk.send("/x/now")) == ("/x/now", "failed")
        assert desk.send("/x/later") == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert error(desk.sender.take()) == ("/x/later", "failed")

    asyncio.run(talk())
    assert [record.args for record in caplog.records] == [("/x/now",), ("/x/later",)]
    assert error(desk.send("/x/value")) == ("/x/value", "refused")
    assert desk.send("/x/value", 1.0, "#1") == [Message("/duende/reply", ["/x/value", "#1"])]


# -- what takes time ---------------------------------------------------------------------------------------------


def test_a_switch_is_answered_when_it_is_heard(desk: Desk) -> None:
    async def load() -> list[Message]:
        assert desk.send("/duende/preset/load", "duo", "#go") == []
        while not desk.sender.packets:
            await asyncio.sleep(0.001)
        return desk.sender.take()

    assert asyncio.run(load()) == [Message("/duende/reply", ["/duende/preset/load", "#go", "duo", 128, True])]
    assert desk.session.state.preset == "duo"


def test_what_the_engine_refuses_is_answered_too(desk: Desk) -> None:
    assert isinstance(desk.session.engine, QuickEngine)
    desk.session.engine.failure = DuendeError("the engine is restarting")

    async def load() -> list[Message]:
        desk.send("/duende/preset/load", "duo")
        while not desk.sender.packets:
            await asyncio.sleep(0.001)
        return desk.sender.take()

    assert error(asyncio.run(load())) == ("/duende/preset/load", "refused")


def test_orders_under_way_are_bounded_and_can_be_given_up(tmp_path: Path) -> None:
    started = []

    async def wait(values: Values) -> None:
        started.append(values)
        await asyncio.Event().wait()

    desk = Desk(tmp_path, Node("/x/wait", "", "", write=wait))

    async def flood() -> list[Message]:
        answers = [answer for _ in range(MAX_WAITING + 3) for answer in desk.send("/x/wait")]
        await asyncio.sleep(0)
        await desk.dispatcher.close()
        assert len(asyncio.all_tasks()) == 1
        return answers

    answers = asyncio.run(flood())
    assert [answer.values[1] for answer in answers] == ["limit"] * 3
    assert len(started) == MAX_WAITING


def test_handlers_are_told_who_sent(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    told: list[tuple[Values, int]] = []
    node = Node("/x/who", "i", "", ranges=(Range(0, 9),))
    desk.dispatcher.offer(node, lambda values, peer: told.append((values, peer.port)))
    desk.renew()
    desk.send("/x/who", 3)
    assert told == [([3], 5000)]
    assert error(desk.send("/x/who", 10)) == ("/x/who", "range")
    offered = desk.namespace.find("/x/who")
    assert offered.access == 2
    assert offered.write is not None
    with pytest.raises(DuendeError, match="who asks"):
        offered.write([3])


def test_told_is_what_a_client_could_not_know(desk: Desk) -> None:
    told: list[str] = []
    desk.dispatcher.written.append(told.append)
    desk.send("/duende/tempo", 90.0)
    desk.send("/duende/tempo", 90.0)
    assert told == ["/duende/tempo"]
    desk.send("/duende/tempo", 30.0)
    desk.send("/duende/tempo", 1.0)
    assert told == ["/duende/tempo"] * 3


def test_the_counters_can_be_asked(desk: Desk) -> None:
    desk.send("/duende/nothing")
    desk.send("/duende/mix", "loud")
    (answer,) = desk.send("/duende/status/osc")
    counted = dict(zip(COUNTED, answer.values, strict=True))
    assert counted == dict.fromkeys(COUNTED, 0) | {"packets": 3, "messages": 3, "unknown": 1, "refused": 1}


# -- patterns ----------------------------------------------------------------------------------------------------

NAMES = ["/a/bypass", "/a/mix", "/ab/mix", "/b/mix", "/b/c/mix", "/mix"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/*/mix", ["/a/mix", "/ab/mix", "/b/mix"]),
        ("/?/mix", ["/a/mix", "/b/mix"]),
        ("/??/mix", ["/ab/mix"]),
        ("/[a-b]/mix", ["/a/mix", "/b/mix"]),
        ("/[!a]/mix", ["/b/mix"]),
        ("/[a-]*/mix", ["/a/mix", "/ab/mix"]),
        ("/{ab,b}/m*x", ["/ab/mix", "/b/mix"]),
        ("/{a,}b/mix", ["/ab/mix", "/b/mix"]),
        ("/a/*[!x]", ["/a/bypass"]),
        ("/*a*b*/*i*", ["/ab/mix"]),
        ("/**/mix", ["/a/mix", "/ab/mix", "/b/mix"]),
        ("/*", ["/mix"]),
        ("/a/b????", []),
        ("/a/?????????*", []),
        ("/[]/mix", []),
    ],
)
def test_patterns_match_within_the_parts_of_an_address(pattern: str, found: list[str]) -> None:
    assert matches(pattern, NAMES) == found


@pytest.mark.parametrize("pattern", ["/[ab", "/a]", "/{a,b", "/a}", "/[a/b]", "/" + "*" * MAX_PATTERN])
def test_broken_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(DuendeError):
        matches(pattern, NAMES)


pieces = st.sampled_from(["*", "?", "a", "b", "ab", "[ab]", "[!a]", "{a,ba}"])


@repeatable
@given(st.lists(pieces, max_size=6), st.text("ab", max_size=8))
def test_patterns_match_as_regular_expressions_do(parts: list[str], name: str) -> None:
    other = {"*": ".*", "?": ".", "[!a]": "[^a]", "{a,ba}": "(?:a|ba)"}
    expected = re.fullmatch("".join(other.get(part, part) for part in parts), name) is not None
    assert bool(matches("/" + "".join(parts), ["/" + name])) == expected


def test_a_pattern_that_would_make_others_search_for_ever_does_not() -> None:
    assert matches("/" + "*a" * 100 + "b", ["/" + "a" * 200]) == []


def test_patterns_set_and_ask_values_and_leave_commands_alone(desk: Desk) -> None:
    asyncio.run(desk.session.load("duo"))
    desk.dispatcher.receive(encode("/duende/slot/*/bypass", [1]), desk.sender)
    assert desk.sender.take() == []
    assert desk.session.get("slot/1/bypass") == 1.0
    found = [message.address for message in desk.send("/duende/{mix,slot/1}*")]
    assert found == ["/duende/error"]  # a choice does not reach over a slash
    answers = desk.send("/duende/preset/*", "#p")
    assert [answer.address for answer in answers] == ["/duende/preset/current", "/duende/preset/list", "/duende/reply"]
    assert answers[-1].values == ["/duende/preset/*", "#p", 2]
    assert error(desk.send("/duende/slot/*/remove")) == ("/duende/slot/*/remove", "unknown")
    assert len(desk.session.state.slots) == 1


def test_patterns_follow_the_addresses(desk: Desk) -> None:
    assert error(desk.send("/duende/slot/*/bypass")) == ("/duende/slot/*/bypass", "unknown")
    asyncio.run(desk.session.load("duo"))
    assert [message.address for message in desk.send("/duende/slot/*/bypass")] == ["/duende/slot/1/bypass"]


def test_the_work_of_a_packet_is_bounded_and_told(desk: Desk) -> None:
    asyncio.run(desk.session.load("duo"))
    packet = bundle([encode("/duende/*/*/*", [0.5])] * 2000)
    work = desk.dispatcher.receive(packet, desk.sender)
    assert MAX_WORK < work < MAX_WORK + 100
    assert desk.sender.take()[-1].values[1] == "limit"
    assert desk.dispatcher.receive(encode("/duende/mix", [0.5]), desk.sender) == 2


# -- anything ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("show"))
    asyncio.run(desk.session.load("duo"))
    return desk


def survives(desk: Desk, packet: bytes) -> None:
    """Nothing is raised, values stay within their ranges, and the next message is carried out as ever."""

    async def receive() -> None:
        assert desk.dispatcher.receive(packet, desk.sender) > 0
        await desk.dispatcher.close()

    asyncio.run(receive())
    desk.sender.take()
    for row in desk.session.table.rows():
        assert row.minimum <= desk.session.get(row.name) <= row.maximum
    assert desk.send("/duende/mix", 0.5, "#after")[-1].values[1:] == ["#after", 0.5]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus(shown: Desk, path: Path) -> None:
    survives(shown, path.read_bytes())


@repeatable
@given(data=st.data())
def test_addresses_and_values_at_random(shown: Desk, data: st.DataObject) -> None:
    known = sorted(shown.namespace.nodes)
    address = data.draw(st.sampled_from(known))
    letters = st.text("/*?[]{},!-abx", max_size=10)
    place = data.draw(st.integers(1, len(address)))
    address = data.draw(st.sampled_from([address, address[:place] + data.draw(letters) + address[place + 1 :]]))
    value = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(width=32),
        st.sampled_from(["", "duo", "../../etc/passwd", "#1", "#" + "x" * 70, "127.0.0.1", "\x01"]),
        st.binary(max_size=5),
    )
    packet = encode(address, data.draw(st.lists(value, max_size=4)))
    if data.draw(st.booleans()):
        packet = bundle([packet, packet])
    survives(shown, packet)


@repeatable
@given(packet=st.binary(max_size=120))
def test_bytes_at_random(shown: Desk, packet: bytes) -> None:
    survives(shown, packet)


def test_the_module_says_what_it_counts() -> None:
    assert set(CODES) - {"type", "range", "limit"} <= set(COUNTED)
    assert dispatch.ERROR == "/duende/error"
