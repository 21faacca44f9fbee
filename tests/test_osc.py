"""OSC packets: what is encoded is decoded, by others too; rubbish of every kind is an error and nothing else."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from duende import DuendeError
from duende.engine.control import osc
from duende.engine.control.namespace import Value
from duende.engine.control.osc import (
    AT_ONCE,
    BUNDLE,
    MAX_ARGUMENTS,
    MAX_DEPTH,
    MAX_MESSAGES,
    MAX_PACKET,
    Message,
    bundle,
    bundles,
    decode,
    encode,
)

CORPUS = sorted((Path(__file__).parent / "corpus" / "osc").glob("*.osc"))

letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.text(letters, max_size=12)
addresses = texts.map(lambda text: "/" + text)
values: st.SearchStrategy[Value] = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32, allow_nan=False),
    texts,
    st.binary(max_size=9),
)
repeatable = settings(derandomize=True, max_examples=200, deadline=None, database=None)


@repeatable
@given(addresses, st.lists(values, max_size=8))
def test_what_is_encoded_is_decoded(address: str, arguments: list[Value]) -> None:
    assert decode(encode(address, arguments)) == [Message(address, arguments)]


@repeatable
@given(addresses, st.lists(values.filter(lambda value: value != b""), max_size=8))
def test_python_osc_reads_and_writes_the_same(address: str, arguments: list[Value]) -> None:
    packet = encode(address, arguments)
    theirs = OscMessage(packet)
    assert (theirs.address, theirs.params) == (address, arguments)
    assert build_msg(address, arguments).dgram == packet


def test_python_osc_reads_our_bundles() -> None:
    inner = bundle([encode("/b", [1])])
    read = OscBundle(bundle([encode("/a"), inner]))
    assert (read.content(0).address, read.content(1).content(0).params) == ("/a", [1])


@repeatable
@given(st.lists(addresses, max_size=40), st.integers(64, 400))
def test_bundles_keep_order_and_size(sent: list[str], most: int) -> None:
    packets = list(bundles([encode(address, [1]) for address in sent], most))
    assert [message.address for packet in packets for message in decode(packet)] == sent
    assert all(len(packet) <= most for packet in packets)


def test_what_stands_alone_is_no_bundle() -> None:
    long = encode("/long", ["x" * 2000])
    assert list(bundles([encode("/a"), long])) == [encode("/a"), long]


def test_types_that_are_asked_for() -> None:
    assert encode("/a", [1, True, 2.0, 0.5, "x"], "ffiii") == encode("/a", [1.0, 1.0, 2, 0.5, "x"])


@pytest.mark.parametrize("extra", [[], [1], [True], ["x"], [None], [2.5, b"x"]])
def test_many_floats_are_written_like_few(extra: list[Value], monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[Value] = [float(np.float32(0.1 * number - 3.0)) for number in range(96)]
    sent = [*numbers, *extra]
    for types in ("", "f", "f" * 98, "i" * 98):
        at_once = encode("/a", sent, types)
        with monkeypatch.context() as patch:
            patch.setattr(osc, "MANY", 10**9)
            assert encode("/a", sent, types) == at_once
    assert decode(encode("/a", numbers))[0].values == numbers
    with pytest.raises(DuendeError, match="no number as large"):
        encode("/a", [1e300] * 20)


def test_everything_that_osc_can_hold() -> None:
    body = struct.pack(">4sqd4s4s4sQ", b"sym\0", -5, 0.25, b"\0\0\0A", b"rgba", b"midi", 7)
    packet = b"/a\0\0" + b",Shdcrm[t[]I]\0\0\0" + body
    assert decode(packet) == [Message("/a", ["sym", -5, 0.25, "A", b"rgba", b"midi", 7, math.inf])]


def test_the_date_of_a_bundle_does_not_matter() -> None:
    late = BUNDLE + b"\xff" * 8 + bundle([encode("/a")])[len(BUNDLE + AT_ONCE) :]
    assert decode(late) == decode(bundle([encode("/a")])) == [Message("/a", [])]


def test_an_address_alone_and_an_empty_bundle() -> None:
    assert decode(b"/a\0\0") == [Message("/a", [])]
    assert decode(bundle([])) == []


def nested(depth: int) -> bytes:
    packet = encode("/a")
    for _ in range(depth):
        packet = bundle([packet])
    return packet


MALFORMED = {
    "nothing": b"",
    "half a word": b"/a",
    "no address": b"abc\0",
    "text without end": b"/abc",
    "no type tags": b"/a\0\0abc\0",
    "address not UTF-8": b"/\xff\0\0",
    "text not UTF-8": b"/a\0\0,s\0\0\xc3\0\0\0",
    "argument missing": b"/a\0\0,i\0\0",
    "argument cut": b"/a\0\0,h\0\0\0\0\0\0",
    "unknown type": b"/a\0\0,z\0\0",
    "bytes left over": b"/a\0\0,\0\0\0\0\0\0\0",
    "array open": b"/a\0\0,[\0\0",
    "array closed": b"/a\0\0,]\0\0",
    "blob of negative size": b"/a\0\0,b\0\0\xff\xff\xff\xfc",
    "blob that is read twice": b"/a\0\0,bi\0\xff\xff\xff\xfc",
    "blob too long": b"/a\0\0,b\0\0\0\0\0\5abcd",
    "blob without size": b"/a\0\0,b\0\0",
    "bundle cut": BUNDLE + b"\0\0\0\0",
    "element of negative size": BUNDLE + AT_ONCE + b"\xff\xff\xff\xfc" + encode("/a"),
    "element of no size": BUNDLE + AT_ONCE + b"\0\0\0\0",
    "element too long": BUNDLE + AT_ONCE + b"\0\0\0\x40" + encode("/a"),
    "bundle not by words": BUNDLE + AT_ONCE + b"\0",
    "element not by words": BUNDLE + AT_ONCE + b"\0\0\0\7" + encode("/a"),
    "element that is nothing": BUNDLE + AT_ONCE + b"\0\0\0\4abc\0",
    "nested too deep": nested(MAX_DEPTH + 1),
    "nested beyond recursion": nested(3000),
    "too many messages": bundle([b"/a\0\0"] * (MAX_MESSAGES + 1)),
    "too many tags": b"/a\0\0," + b"T" * (2 * MAX_ARGUMENTS + 2) + b"\0",
    "too large": encode("/a", [b"x" * 65520]) + bytes(8),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused(name: str) -> None:
    with pytest.raises(DuendeError) as caught:
        decode(MALFORMED[name])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


def test_bounds_are_where_they_are_said() -> None:
    assert decode(nested(MAX_DEPTH)) == [Message("/a", [])]
    assert len(decode(bundle([b"/a\0\0"] * MAX_MESSAGES))) == MAX_MESSAGES
    assert len(decode(encode("/a", [b"x" * (MAX_PACKET - 12)]))) == 1
    with pytest.raises(DuendeError, match="65540 bytes are too much for one OSC packet"):
        decode(MALFORMED["too large"])
    with pytest.raises(DuendeError, match="too much for one OSC packet"):
        encode("/a", [b"x" * (MAX_PACKET - 8)])


@pytest.mark.parametrize("value", [2**63, 1e39, "a\0b", "\ud800"])
def test_what_osc_cannot_hold_is_not_encoded(value: Value) -> None:
    with pytest.raises(DuendeError):
        encode("/a", [value])


@repeatable
@given(st.binary(max_size=200))
@example(b"#bundle\0")
def test_bytes_at_random(packet: bytes) -> None:
    decodes_or_refuses(packet)


@repeatable
@given(st.sampled_from([path.read_bytes() for path in CORPUS]), st.data())
def test_packets_with_bytes_changed(packet: bytes, data: st.DataObject) -> None:
    changed = bytearray(packet[:2048])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        kind = data.draw(st.sampled_from(["set", "cut", "put"]))
        letter = data.draw(st.sampled_from(b"\0\1\4\x7f\x80\xff/,#[]ifsbT*{"))
        if kind == "put":
            changed[place:place] = bytes([letter] * 4)
        elif kind == "cut":
            del changed[place : place + 4]
        elif place < len(changed):
            changed[place] = letter
    decodes_or_refuses(bytes(changed))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus(path: Path) -> None:
    decodes_or_refuses(path.read_bytes())


def decodes_or_refuses(packet: bytes) -> None:
    """What is decoded has the types it should have; nothing but DuendeError is raised."""
    try:
        messages = decode(packet)
    except DuendeError:
        return
    for message in messages:
        assert message.address.startswith("/")
        assert all(value is None or isinstance(value, bool | int | float | str | bytes) for value in message.values)


@pytest.mark.parametrize("code", [b"\0\0\0\0", b"\0\0\0\x80"])
def test_a_character_that_no_answer_could_quote_is_malformed(code: bytes) -> None:
    with pytest.raises(DuendeError, match="a character that ends a text"):
        decode(b"/duende/midi/learn\0\0" + b",c\0\0" + code)
    assert decode(b"/duende/midi/learn\0\0" + b",c\0\0" + b"\0\0\0a") == [Message("/duende/midi/learn", ["a"])]
