"""NSynth as TFRecord files, read without tensorflow: framing, CRC-32C, and the protobuf message `tf.train.Example`.

A record is its length (8 bytes), a masked CRC of that, the message, and a masked CRC of that. Files are mapped, not
loaded, and walked over without touching the sound; what a file says of its sizes is checked before it is believed.
"""

import functools
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import DuendeError

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]

MOST_RECORD_BYTES = 16 << 20
MOST_RECORDS = 2_000_000
MOST_FEATURES = 64
MOST_FIELDS = 200_000
MOST_VALUES = 1024
"""Of a feature other than the sound."""

AUDIO = "audio"
_HEAD, _FOOT = 12, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_POLYNOMIAL = 0x82F63B78
_LANE_BYTES = 512

Values = tuple[int, ...] | tuple[bytes, ...]


class BrokenRecordError(Exception):
    """A message that is no Example; its text says why."""


@dataclass(frozen=True)
class Record:
    """One record: where its message lies, and its features other than the sound."""

    start: int
    size: int
    features: Mapping[str, Values]


def records(path: Path) -> Iterator[Record | str]:
    """Records of a file in their order; a line of text for each that cannot be used.

    Behind a record whose length is broken nothing can be found any more: the line says so, and is the last.
    """
    with _mapped(path) as data:
        at = 0
        for number in range(MOST_RECORDS):
            if at == len(data):
                return
            if at + _HEAD > len(data):
                yield f"{path.name}: broken off behind record {number}"
                return
            size, check = struct.unpack_from("<QI", data, at)
            if masked_crc(np.frombuffer(data[at : at + 8], np.uint8)) != check:
                yield f"{path.name}: the length of record {number} is broken; what lies behind is lost"
                return
            if size > MOST_RECORD_BYTES:
                yield f"{path.name}: record {number} has {size} bytes, more than {MOST_RECORD_BYTES >> 20} MiB"
                return
            start = at + _HEAD
            at = start + size + _FOOT
            if at > len(data):
                yield f"{path.name}: broken off within record {number}"
                return
            try:
                yield Record(start, size, _features(data, start, start + size))
            except BrokenRecordError as error:
                yield f"{path.name}: record {number} is no Example ({error})"
        yield f"{path.name}: more than {MOST_RECORDS} records; the rest is passed over"


def audio_of(path: Path, start: int, size: int) -> Float32:
    """The sound of a record [samples]. DuendeError where its CRC does not fit, and where it has none."""
    with _mapped(path) as data:
        if size > MOST_RECORD_BYTES or start + size + _FOOT > len(data):
            raise DuendeError(f"{path}: broken off")
        message = data[start : start + size]
        (check,) = struct.unpack_from("<I", data, start + size)
    if masked_crc(np.frombuffer(message, np.uint8)) != check:
        raise DuendeError(f"{path}: a record is broken (its CRC does not fit)")
    try:
        for name, low, high in _entries(message, 0, len(message)):
            if name == AUDIO:
                return _floats(message, low, high)
    except BrokenRecordError as error:
        raise DuendeError(f"{path}: a record is no Example ({error})") from error
    raise DuendeError(f"{path}: a record without sound")


def masked_crc(data: UInt8) -> int:
    """CRC-32C, turned and shifted as TFRecord stores it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: UInt8) -> int:
    """The Castagnoli CRC of bytes [n]: many short pieces side by side, then joined."""
    count = len(data) // _LANE_BYTES
    crc = 0xFFFFFFFF
    if count > 1:
        lanes = data[: count * _LANE_BYTES].reshape(count, _LANE_BYTES)
        state = np.zeros(count, dtype=np.uint32)
        for column in lanes.T:
            state = _TABLE[(state ^ column) & 0xFF] ^ (state >> np.uint32(8))
        shift = _shifted(_LANE_BYTES)
        for one in state.tolist():
            crc = (
                shift[0][crc & 0xFF] ^ shift[1][(crc >> 8) & 0xFF] ^ shift[2][(crc >> 16) & 0xFF] ^ shift[3][crc >> 24]
            ) ^ one
        data = data[count * _LANE_BYTES :]
    table = _TABLE_LIST
    for byte in data.tolist():
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> UInt32:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), values >> np.uint32(1))
    return values.astype(np.uint32)


_TABLE = _table()
_TABLE_LIST: list[int] = _TABLE.tolist()


@functools.cache
def _shifted(count: int) -> list[list[int]]:
    """What so many zero bytes make of a state, for each of its four bytes apart."""
    found = []
    for place in range(4):
        states = np.arange(256, dtype=np.uint32) << np.uint32(8 * place)
        for _ in range(count):
            states = _TABLE[states & 0xFF] ^ (states >> np.uint32(8))
        found.append([int(one) for one in states])
    return found


class _mapped:  # noqa: N801 - a context, as `open` is
    """A file as bytes that are read when they are looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "mmap.mmap | bytes":
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise DuendeError(f"{self._path}: {error.strerror or error}") from error
        try:
            self._data: mmap.mmap | bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file cannot be mapped
            self._data = b""
        except OSError as error:
            self._file.close()
            raise DuendeError(f"{self._path}: {error.strerror or error}") from error
        return self._data

    def __exit__(self, *_: object) -> None:
        if isinstance(self._data, mmap.mmap):
            self._data.close()
        self._file.close()


_Data = mmap.mmap | bytes


def _fields(data: _Data, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, first and last place (or value and 0) of the fields of a message."""
    for _ in range(MOST_FIELDS):
        if at >= end:
            return
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise BrokenRecordError("a field goes beyond its end")
            yield number, kind, at, at + size
            at += size
        elif kind == _VARINT:
            value, at = _varint(data, at, end)
            yield number, kind, value, 0
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            if size > end - at:
                raise BrokenRecordError("a field goes beyond its end")
            yield number, kind, at, at + size
            at += size
        else:
            raise BrokenRecordError(f"wire type {kind}")
    raise BrokenRecordError(f"more than {MOST_FIELDS} fields")


def _varint(data: _Data, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise BrokenRecordError("a number goes beyond its end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise BrokenRecordError("a number of more than 10 bytes")


def _entries(data: _Data, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Names and places of the features of an Example."""
    count = 0
    for number, kind, low, high in _fields(data, start, end):
        if number != 1 or kind != _BYTES:
            continue
        for inner, inner_kind, first, last in _fields(data, low, high):
            if inner != 1 or inner_kind != _BYTES:
                continue
            count += 1
            if count > MOST_FEATURES:
                raise BrokenRecordError(f"more than {MOST_FEATURES} features")
            name, place = b"", (0, 0)
            for part, part_kind, one, other in _fields(data, first, last):
                if part_kind == _BYTES and part == 1 and other - one <= MOST_VALUES:
                    name = bytes(data[one:other])
                elif part_kind == _BYTES and part == 2:
                    place = (one, other)
            yield name.decode("utf-8", "replace"), *place


def _features(data: _Data, start: int, end: int) -> dict[str, Values]:
    """Features of an Example other than the sound: whole numbers, or bytes."""
    found: dict[str, Values] = {}
    for name, low, high in _entries(data, start, end):
        if name == AUDIO:
            continue
        for number, kind, first, last in _fields(data, low, high):
            if kind == _BYTES and number == 1:
                found[name] = _texts(data, first, last)
            elif kind == _BYTES and number == 3:
                found[name] = _numbers(data, first, last)
    return found


def _texts(data: _Data, low: int, high: int) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for number, kind, first, last in _fields(data, low, high):
        if number == 1 and kind == _BYTES:
            if last - first > MOST_VALUES or len(found) >= MOST_VALUES:
                raise BrokenRecordError("a text, or a list of them, that is too long")
            found.append(bytes(data[first:last]))
    return tuple(found)


def _numbers(data: _Data, low: int, high: int) -> tuple[int, ...]:
    """Of an Int64List, packed or not."""
    found: list[int] = []
    for number, kind, first, last in _fields(data, low, high):
        if number != 1:
            continue
        if kind == _VARINT:
            found.append(first)
        elif kind == _BYTES:
            while first < last and len(found) <= MOST_VALUES:
                value, first = _varint(data, first, last)
                found.append(value)
        if len(found) > MOST_VALUES:
            raise BrokenRecordError("a list of numbers that is too long")
    return tuple(value - (1 << 64) if value >= 1 << 63 else value for value in found)


def _floats(data: _Data, low: int, high: int) -> Float32:
    """Of a Feature with a FloatList, packed or not."""
    pieces = []
    for number, kind, first, last in _fields(data, low, high):
        if number != 2 or kind != _BYTES:
            continue
        for inner, inner_kind, one, other in _fields(data, first, last):
            if inner == 1 and inner_kind in (_BYTES, _FIXED32):
                if (other - one) % 4:
                    raise BrokenRecordError("a list of floats of no whole number")
                pieces.append(np.frombuffer(data[one:other], "<f4"))
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)
