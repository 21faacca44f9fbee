"""Subscriptions: who is told what changed, when, how often, and for how long; no test waits for a clock."""

import asyncio
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duende.engine.control.dispatch import Dispatcher
from duende.engine.control.namespace import Node, Values
from duende.engine.control.osc import BUNDLE, BUNDLE_BYTES, Message
from duende.engine.control.subscriptions import FLUSH_S, LEASE_S, MAX_SUBSCRIBERS, Subscriptions
from osc_peers import Desk, DeskPeer


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def subscribed(desk: Desk, port: int = 9000) -> DeskPeer:
    """Somebody who has subscribed and has read the values that came first."""
    assert desk.send("/duende/subscribe", port) == []
    peer = desk.peer("127.0.0.1", port)
    peer.take()
    return peer


def test_a_new_subscriber_is_sent_all_values_in_small_bundles(desk: Desk) -> None:
    asyncio.run(desk.session.load("duo"))
    for _ in range(3):
        asyncio.run(desk.session.add_slot("duo"))
    desk.session.set("mix", 0.25)
    desk.send("/duende/subscribe", 9000)
    peer = desk.peer("127.0.0.1", 9000)
    assert len(peer.packets) > 1
    assert all(packet.startswith(BUNDLE) and len(packet) <= BUNDLE_BYTES for packet in peer.packets)
    values = dict(peer.take())
    assert values["/duende/mix"] == [0.25]
    assert values["/duende/style/style0"] == [1.0]
    assert values["/duende/preset/current"] == ["duo"]
    assert values["/duende/tempo"] == [120.0]
    readable = {node.address for node in desk.namespace.nodes.values() if node.read is not None}
    assert values.keys() == {address for address in readable if not address.endswith("/normalized")}


def test_of_many_changes_the_last_one_is_sent_once(desk: Desk) -> None:
    peer = subscribed(desk)
    for step in range(100):
        desk.send("/duende/mix", step / 128)
    assert peer.take() == []
    desk.clock.turn(0.0)
    assert peer.take() == [Message("/duende/mix", [99 / 128])]
    desk.clock.turn(1.0)
    assert peer.take() == []


def test_changes_are_sent_every_10_ms_at_the_most(desk: Desk) -> None:
    peer = subscribed(desk)
    packets = 0
    for step in range(1000):
        desk.send("/duende/mix", step / 1024)
        desk.send("/duende/amount", step / 1024)
        desk.clock.turn(0.001)
        packets += len(peer.packets)
        peer.take()
    assert 95 <= packets <= 1 + 1.0 / FLUSH_S
    desk.clock.turn(FLUSH_S)
    assert desk.session.get("mix") == 999 / 1024


def test_a_change_after_a_rest_is_sent_at_once(desk: Desk) -> None:
    peer = subscribed(desk)
    desk.send("/duende/mix", 0.5)
    desk.clock.turn(0.0)
    assert len(peer.take()) == 1
    desk.send("/duende/mix", 0.25)
    desk.clock.turn(FLUSH_S / 2)
    assert peer.take() == []
    desk.clock.turn(FLUSH_S / 2)
    assert peer.take() == [Message("/duende/mix", [0.25])]


def test_what_is_clamped_is_sent_though_nothing_changed(desk: Desk) -> None:
    """A fader beyond the end goes back."""
    desk.session.set("mix", 1.0)
    peer = subscribed(desk)
    desk.send("/duende/mix", 1.0)
    desk.clock.turn(1.0)
    assert peer.take() == []
    desk.send("/duende/mix", 7.0)
    desk.clock.turn(1.0)
    assert peer.take() == [Message("/duende/mix", [1.0])]


def test_two_hosts_that_follow_each_other_come_to_rest(tmp_path: Path) -> None:
    one, two = Desk(tmp_path / "one"), Desk(tmp_path / "two")
    peers = subscribed(one), subscribed(two)
    one.send("/duende/output/gain", -7.3)
    sent = 0
    for _ in range(50):
        for here, there, peer in ((one, two, peers[0]), (two, one, peers[1])):
            here.clock.turn(FLUSH_S)
            for packet in peer.packets:
                sent += 1
                there.dispatcher.receive(packet, there.sender)
            peer.take()
    assert sent <= 3
    assert one.session.get("output/gain") == pytest.approx(two.session.get("output/gain"))


def test_aliases_and_what_is_set_by_others_are_told(desk: Desk) -> None:
    asyncio.run(desk.session.load("duo"))
    peer = subscribed(desk)
    desk.clock.turn(1.0)
    peer.take()
    desk.session.set("slot/1/style1", 0.5)
    desk.clock.turn(1.0)
    assert peer.take() == [Message("/duende/slot/1/style1", [0.5]), Message("/duende/style/style1", [0.5])]


def test_normalized_values_are_told_once_somebody_sets_one(desk: Desk) -> None:
    peer = subscribed(desk)
    desk.send("/duende/output/gain", 0.5)
    desk.clock.turn(1.0)
    assert [message.address for message in peer.take()] == ["/duende/output/gain"]
    desk.send("/duende/output/gain/normalized", 0.5)
    desk.clock.turn(1.0)
    both = {"/duende/output/gain": [-20.0], "/duende/output/gain/normalized": [0.5]}
    assert dict(peer.take()) == both
    desk.send("/duende/output/gain", -60.0)
    desk.clock.turn(1.0)
    assert dict(peer.take()) == {"/duende/output/gain": [-60.0], "/duende/output/gain/normalized": [0.0]}
    late = desk.peer("127.0.0.1", 9001)
    desk.send("/duende/subscribe", 9001)
    assert "/duende/output/gain/normalized" in dict(late.take())


def test_a_switch_tells_the_preset_and_all_its_values(desk: Desk) -> None:
    peer = subscribed(desk)
    asyncio.run(desk.session.load("duo"))
    desk.clock.turn(1.0)
    told = dict(peer.take())
    assert told["/duende/preset/current"] == ["duo"]
    assert told["/duende/slot/1/amount"] == [0.75]
    asyncio.run(desk.session.load("wire"))
    desk.clock.turn(1.0)
    told = dict(peer.take())
    assert told["/duende/preset/current"] == ["wire"]
    assert not any(address.startswith("/duende/slot") for address in told)


def test_a_saved_preset_is_told(desk: Desk) -> None:
    asyncio.run(desk.session.load("duo"))
    peer = subscribed(desk)
    desk.clock.turn(1.0)
    peer.take()
    desk.send("/duende/preset/save", "mine")
    desk.clock.turn(1.0)
    told = dict(peer.take())
    assert told == {
        "/duende/preset/current": ["mine"],
        "/duende/preset/list": ["duo", "mine", "solo", "wire"],
        "/duende/setlist/current": [""],
        "/duende/snapshot/stored": [],
    }


def test_a_value_that_is_no_parameter_is_told_when_osc_sets_it(desk: Desk) -> None:
    peer = subscribed(desk)
    desk.send("/duende/tempo", 90)
    desk.clock.turn(1.0)
    assert peer.take() == [Message("/duende/tempo", [90.0])]


def test_a_lease_ends_and_can_be_renewed(desk: Desk) -> None:
    peer = subscribed(desk)
    desk.clock.turn(LEASE_S - 1.0)
    subscribed(desk)
    desk.clock.turn(LEASE_S - 1.0)
    desk.send("/duende/mix", 0.5)
    desk.clock.turn(FLUSH_S)
    assert len(peer.take()) == 1
    assert len(desk.subscriptions) == 1
    desk.clock.turn(1.0)
    assert len(desk.subscriptions) == 0
    desk.send("/duende/mix", 0.25)
    desk.clock.turn(FLUSH_S)
    desk.subscriptions.stream([Message("/duende/meter", [0.5])])
    assert peer.take() == []


def test_a_lease_of_ones_own(desk: Desk) -> None:
    (answer,) = desk.send("/duende/subscribe", 9000, "", 2.5, "#1")
    assert answer == Message("/duende/reply", ["/duende/subscribe", "#1", "127.0.0.1", 9000, 2.5])
    desk.clock.turn(2.4)
    assert len(desk.subscriptions) == 1
    desk.clock.turn(0.2)
    assert len(desk.subscriptions) == 0


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([9000, "", 0.0], "range"),
        ([9000, "", -1.0], "range"),
        ([9000, "", 601.0], "range"),
        ([9000, "", float("nan")], "type"),
        ([0, "192.0.2.1"], "refused"),
        ([9000, "192.0.2.1"], "refused"),
        ([9000, "example.org"], "refused"),
        ([9000, "127.0.0.2"], "refused"),
        ([-1], "range"),
        ([65536], "range"),
        (["here"], "type"),
        ([], "type"),
    ],
)
def test_subscriptions_that_may_not_be(desk: Desk, values: Values, code: str) -> None:
    (answer,) = desk.send("/duende/subscribe", *values)
    assert answer.values[:2] == ["/duende/subscribe", code]
    assert len(desk.subscriptions) == 0
    assert set(desk.peers) == {("127.0.0.1", 5000)}


def test_another_host_may_be_named_where_it_is_allowed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    dispatcher = Dispatcher(desk.namespace)
    allowed = Subscriptions(desk.namespace, desk.clock, desk.peer, [IPv4Network("192.0.2.0/24")])
    allowed.join(dispatcher, desk.session)
    allowed.subscribe([9000, "192.0.2.7"], desk.sender)
    allowed.stream([Message("/duende/meter", [0.5])])
    assert Message("/duende/meter", [0.5]) in desk.peer("192.0.2.7", 9000).take()
    allowed.unsubscribe([9000, "192.0.2.7"], desk.sender)
    assert len(allowed) == 0


def test_port_0_is_where_the_message_came_from(desk: Desk) -> None:
    connection = DeskPeer("tcp", "127.0.0.1", 40_000)
    desk.subscriptions.subscribe([0], connection)
    desk.subscriptions.subscribe([0, "127.0.0.1"], desk.sender)
    for peer in (connection, desk.sender):
        assert ("/duende/mix", [1.0]) in peer.take()
    desk.subscriptions.unsubscribe([], connection)
    assert len(desk.subscriptions) == 1


def test_a_connection_that_is_closed_is_forgotten(desk: Desk) -> None:
    connection = DeskPeer("ws", "127.0.0.1", 40_000)
    desk.subscriptions.subscribe([0], connection)
    connection.closed = True
    assert len(desk.subscriptions) == 0


def test_without_udp_one_subscribes_on_the_connection(desk: Desk) -> None:
    subscriptions = Subscriptions(desk.namespace, desk.clock)
    connection = DeskPeer("ws", "127.0.0.1", 40_000)
    with pytest.raises(Exception, match="port 0"):
        subscriptions.subscribe([9000], connection)
    assert subscriptions.subscribe([0], connection) == ["127.0.0.1", 40_000, LEASE_S]


def test_several_subscribers_get_the_same_and_one_can_leave(desk: Desk) -> None:
    peers = [subscribed(desk, 9000 + number) for number in range(3)]
    assert desk.send("/duende/unsubscribe", 9001) == []
    (answer,) = desk.send("/duende/unsubscribe", 9001)
    assert answer.values[1] == "refused"
    desk.send("/duende/mix", 0.5)
    desk.clock.turn(FLUSH_S)
    assert [len(peer.take()) for peer in peers] == [1, 0, 1]


def test_subscribers_are_bounded_and_renewing_always_goes(desk: Desk) -> None:
    for number in range(MAX_SUBSCRIBERS):
        subscribed(desk, 9000 + number)
    (answer,) = desk.send("/duende/subscribe", 8999)
    assert answer.values[1] == "limit"
    subscribed(desk, 9000)
    desk.clock.turn(LEASE_S)
    subscribed(desk, 8999)


def test_a_stream_is_one_bundle(desk: Desk) -> None:
    peer = subscribed(desk)
    meters = [Message("/duende/meter", [-6.0, -12.0]), Message("/duende/status/late", [0])]
    desk.subscriptions.stream(meters)
    assert len(peer.packets) == 1
    assert peer.take() == meters


def test_what_cannot_be_read_or_sent_does_not_keep_back_the_rest(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Node("/x/huge", "f", "", read=lambda: [1e300]))
    peer = subscribed(desk)
    desk.subscriptions.touch(["/x/huge", "/x/gone", "/duende/mix", "/duende/preset/load"])
    desk.clock.turn(FLUSH_S)
    assert peer.take() == [Message("/duende/mix", [1.0])]


@settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.sampled_from(["mix", "amount"]), st.floats(-1.0, 2.0, width=32)),
            st.tuples(st.just("wait"), st.floats(0.0, 0.05)),
        ),
        max_size=30,
    )
)
def test_subscribers_end_up_in_step(desk: Desk, steps: list[tuple[str, ...]]) -> None:
    peer = desk.peer("127.0.0.1", 9000)
    desk.send("/duende/subscribe", 9000)
    held = dict(peer.take())
    for step in steps:
        if step[0] == "set":
            desk.send(f"/duende/{step[1]}", step[2])
        else:
            desk.clock.turn(float(step[1]))
        held |= dict(peer.take())
    desk.clock.turn(FLUSH_S)
    held |= dict(peer.take())
    for name in ("mix", "amount"):
        assert held[f"/duende/{name}"][0] == pytest.approx(desk.session.get(name))
