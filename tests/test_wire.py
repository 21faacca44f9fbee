"""The wire between processes: whole messages in order, an end that is noticed, and rubbish that ends it and no more."""

import contextlib
import os
import queue
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duende import DuendeError
from duende.engine.messages import MAX_BYTES, Lost, Message, Notice, Play, SlotPlan, decode, encode
from duende.engine.wire import Wire, read_setup

PATIENCE_S = 10.0


class Pipes:
    """A wire whose other end is held by the test."""

    def __init__(self) -> None:
        self.source, self.to_wire = os.pipe()
        self.from_wire, self.sink = os.pipe()
        self.heard: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.wire = Wire(self.source, self.sink, self.heard.put)

    def next(self) -> Message | None:
        return self.heard.get(timeout=PATIENCE_S)

    def close(self) -> None:
        self.wire.close()
        for end in (self.to_wire, self.from_wire):
            with contextlib.suppress(OSError):
                os.close(end)


def test_messages_arrive_whole_and_in_order() -> None:
    one, other = Pipes(), Pipes()

    def pass_on(message: Message | None) -> None:
        if message is not None:
            relay.send(message)

    relay = Wire(one.from_wire, other.to_wire, pass_on)
    relay.start()
    other.wire.start()
    sent: list[Message] = [Play(1, 2, [SlotPlan("a", "b" * 20000)]), Notice("words"), Lost("")]
    for message in sent * 20:
        one.wire.send(message)
    assert [other.next() for _ in range(60)] == sent * 20
    one.wire.close()
    relay.close()
    assert other.next() is None


def test_the_setup_comes_before_the_messages() -> None:
    pipes = Pipes()
    pipes.wire.send_bytes(b'{"a": 1}')
    assert read_setup(pipes.from_wire) == b'{"a": 1}'
    pipes.wire.close()
    with pytest.raises(EOFError):
        read_setup(pipes.from_wire)
    pipes.close()


def test_nobody_at_the_other_end_is_no_error() -> None:
    pipes = Pipes()
    os.close(pipes.from_wire)
    pipes.wire.send(Notice("into the void"))
    pipes.wire.close()
    pipes.wire.send(Notice("after the end"))
    os.close(pipes.to_wire)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_ends_a_wire_with_a_last_word(rubbish: bytes) -> None:
    pipes = Pipes()
    os.write(pipes.to_wire, rubbish)
    os.close(pipes.to_wire)
    pipes.wire.start()
    heard: list[Message | None] = []
    while (message := pipes.next()) is not None:
        heard.append(message)
    assert all(isinstance(one, get_args(Message)) for one in heard)
    pipes.close()


LEAVES = st.none() | st.integers(-5, 2**40) | st.text(max_size=8)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=100) | TREES.map(msgspec.msgpack.encode))
def test_what_is_no_message_is_refused_in_one_line(data: bytes) -> None:
    refusal, message = "", None
    try:
        message = decode(data)
    except DuendeError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert message is None or decode(encode(message)) == message


def test_a_message_without_end_is_refused() -> None:
    with pytest.raises(DuendeError, match="at most"):
        decode(b"\x00" * (MAX_BYTES + 1))
    pipes = Pipes()
    os.write(pipes.to_wire, b"\xff\xff\xff\xff")
    pipes.wire.start()
    assert pipes.next() is None
    pipes.close()
