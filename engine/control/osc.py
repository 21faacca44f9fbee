"""OSC packets to messages and back: every bound is checked before the work is done, whatever the bytes are.

Not with python-osc's parser, which a bundle element of negative size keeps busy for ever, and which lets
`UnicodeDecodeError` out, skips types it does not know and goes through strings byte by byte.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ... import DuendeError
from .namespace import Value, Values

MAX_PACKET = 65536
"""Bytes in a packet."""
MAX_MESSAGES = 4096
"""Messages in a packet."""
MAX_ARGUMENTS = 1024
"""Arguments of a message."""
MAX_DEPTH = 8
"""Bundles within bundles."""
MANY = 16
"""Floats that are worth being packed at once."""
BUNDLE_BYTES = 1400
"""A bundle that is sent stays below this, so that a network carries it in one piece."""

BUNDLE = b"#bundle\0"
AT_ONCE = b"\0\0\0\0\0\0\0\1"

_INT = struct.Struct(">i")
_NUMBERS = {"i": _INT, "f": struct.Struct(">f"), "h": struct.Struct(">q"), "d": struct.Struct(">d")}
_CONSTANTS: dict[str, Value] = {"T": True, "F": False, "N": None, "I": math.inf}


class Message(NamedTuple):
    """An address, or a pattern of addresses, and the arguments."""

    address: str
    values: Values


def decode(packet: bytes) -> list[Message]:
    """The messages of a packet in their order, those of bundles within bundles, too; time tags are passed over.

    Arrays are flattened; time tags (`t`) come as whole numbers, colours and MIDI (`r`, `m`) as 4 bytes, `I` as
    infinity. DuendeError where the packet is malformed, or above one of the bounds of this module.
    """
    if len(packet) > MAX_PACKET:
        raise DuendeError(f"{len(packet)} bytes are too much for one OSC packet: send at most {MAX_PACKET}")
    messages: list[Message] = []
    _decode_element(packet, 0, len(packet), 0, messages)
    return messages


def _decode_element(packet: bytes, start: int, end: int, depth: int, messages: list[Message]) -> None:
    if start == end or (end - start) % 4:
        raise _malformed(f"{end - start} bytes, where a multiple of 4 has to be")
    if packet.startswith(b"/", start):
        if len(messages) == MAX_MESSAGES:
            raise DuendeError(f"more than {MAX_MESSAGES} messages in one OSC packet: send several bundles")
        messages.append(_decode_message(packet[start:end]))
        return
    if not packet.startswith(BUNDLE, start) or end - start < len(BUNDLE) + len(AT_ONCE):
        raise _malformed("it begins neither with an address nor as a bundle")
    if depth == MAX_DEPTH:
        raise DuendeError(f"bundles are nested deeper than {MAX_DEPTH}: send them one after the other")
    place = start + len(BUNDLE) + len(AT_ONCE)
    while place < end:
        (size,) = _INT.unpack_from(packet, place)
        place += 4
        if not 0 < size <= end - place:
            raise _malformed(f"a bundle's element of {size} bytes, where {end - place} are left")
        _decode_element(packet, place, place + size, depth + 1, messages)
        place += size


def _decode_message(packet: bytes) -> Message:
    address, place = _decode_text(packet, 0)
    if place == len(packet):
        return Message(address, [])
    tags, place = _decode_text(packet, place)
    if not tags.startswith(","):
        raise _malformed("no type tags behind the address")
    if len(tags) > 2 * MAX_ARGUMENTS:
        raise DuendeError(f"{len(tags)} type tags are too many for one OSC message: at most {MAX_ARGUMENTS} arguments")
    values: list[Value] = []
    depth = 0
    for tag in tags[1:]:
        if tag in _NUMBERS:
            number = _NUMBERS[tag]
            if place + number.size > len(packet):
                raise _malformed(f"it ends within an argument of type {tag}")
            values.append(number.unpack_from(packet, place)[0])
            place += number.size
        elif tag in "sSc":
            value, place = _decode_character(packet, place) if tag == "c" else _decode_text(packet, place)
            values.append(value)
        elif tag in _CONSTANTS:
            values.append(_CONSTANTS[tag])
        elif tag in "brmt":
            blob, place = _decode_bytes(packet, place, tag)
            values.append(int.from_bytes(blob, "big") if tag == "t" else blob)
        elif tag == "[":
            depth += 1
        elif tag == "]" and depth:
            depth -= 1
        else:
            raise _malformed(f"no such type tag here: {tag!r}")
    if depth or place != len(packet):
        raise _malformed("arguments and type tags do not match")
    return Message(address, values)


def _decode_text(packet: bytes, start: int) -> tuple[str, int]:
    end = packet.find(b"\0", start)
    if end < 0:
        raise _malformed("a text without an end")
    try:
        return packet[start:end].decode(), (end + 4) & ~3
    except UnicodeDecodeError:
        raise _malformed("a text that is not UTF-8") from None


def _decode_character(packet: bytes, start: int) -> tuple[str, int]:
    code, place = _decode_bytes(packet, start, "c")
    if not code[3] & 127:
        # No answer could quote it.
        raise _malformed("a character that ends a text")
    return chr(code[3] & 127), place


def _decode_bytes(packet: bytes, start: int, tag: str) -> tuple[bytes, int]:
    size = 8 if tag == "t" else 4
    if tag == "b":
        if start + 4 > len(packet):
            raise _malformed("it ends before a blob")
        (size,) = _INT.unpack_from(packet, start)
        start += 4
    if not 0 <= size <= len(packet) - start:
        raise _malformed(f"an argument of {size} bytes, where {len(packet) - start} are left")
    return packet[start : start + size], (start + size + 3) & ~3


def _malformed(what: str) -> DuendeError:
    return DuendeError(f"malformed OSC: {what}")


def encode(address: str, values: Values = (), types: str = "") -> bytes:
    """A message as a packet.

    types: a tag for each value, as in Node.types: "f" makes whole numbers and switches float, "i" whole floats int.
           Where there is none, or it does not fit, the tag follows from the value. Floats are single precision.
    DuendeError for what OSC cannot carry: numbers beyond 64 bits, texts with a zero or a lone surrogate, other types.
    """
    tags = [","]
    body = []
    if len(values) >= MANY and "i" not in types and all(type(value) is float for value in values):
        tags, body = [",", "f" * len(values)], [_encode_many(values)]
    else:
        for place, value in enumerate(values):
            tag, encoded = _encode_value(value, types[place : place + 1])
            tags.append(tag)
            body.append(encoded)
    packet = b"".join((_encode_text(address), _encode_text("".join(tags)), *body))
    if len(packet) > MAX_PACKET:
        raise DuendeError(f"{address}: {len(packet)} bytes are too much for one OSC packet, it holds {MAX_PACKET}")
    return packet


def _encode_many(numbers: Values) -> bytes:
    """Floats, as spectra have them, thirty times a second: at once."""
    try:
        return struct.pack(f">{len(numbers)}f", *numbers)
    except (struct.error, OverflowError):
        raise DuendeError("OSC has no number as large as one of these") from None


def _encode_value(value: Value, wanted: str) -> tuple[str, bytes]:
    if isinstance(value, str):
        return "s", _encode_text(value)
    if isinstance(value, bytes):
        return "b", _INT.pack(len(value)) + value + bytes(-len(value) % 4)
    if value is None:
        return "N", b""
    if wanted == "f" and isinstance(value, bool | int):
        value = float(value)
    elif wanted == "i" and (isinstance(value, bool) or (isinstance(value, float) and value.is_integer())):
        value = int(value)
    if isinstance(value, bool):
        return "T" if value else "F", b""
    tag = "f" if isinstance(value, float) else "i"
    if tag == "i" and not -(2**31) <= value < 2**31:
        tag = "h"
    try:
        return tag, _NUMBERS[tag].pack(value)
    except (struct.error, OverflowError):
        raise DuendeError(f"OSC has no number such as {value!r:.40}") from None


def _encode_text(text: str) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise DuendeError(f"{text!r:.80} cannot be written as UTF-8") from None
    if b"\0" in encoded:
        raise DuendeError(f"{text!r:.80} holds a zero, which ends a text in OSC")
    return encoded + bytes(4 - len(encoded) % 4)


def bundle(packets: Iterable[bytes]) -> bytes:
    """Packets, made with `encode` or this, as one that is to be carried out at once."""
    return b"".join((BUNDLE, AT_ONCE, *(part for packet in packets for part in (_INT.pack(len(packet)), packet))))


def bundles(packets: Sequence[bytes], most: int = BUNDLE_BYTES) -> Iterator[bytes]:
    """Packets in as few bundles of at most `most` bytes as their order allows; one that stands alone stays as it is."""
    waiting: list[bytes] = []
    size = 0
    for packet in packets:
        if waiting and size + 4 + len(packet) > most:
            yield bundle(waiting) if len(waiting) > 1 else waiting[0]
            waiting = []
        if not waiting:
            size = len(BUNDLE) + len(AT_ONCE)
        waiting.append(packet)
        size += 4 + len(packet)
    if waiting:
        yield bundle(waiting) if len(waiting) > 1 else waiting[0]
