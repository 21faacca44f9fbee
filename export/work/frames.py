"""Messages over a pipe: JSON behind its length."""

import json
import struct
from typing import Any, BinaryIO

LONGEST = 128 << 20
_HEAD = struct.Struct(">I")


def write_frame(file: BinaryIO, message: Any) -> None:
    """OSError where nobody reads any more."""
    text = json.dumps(message).encode()
    file.write(_HEAD.pack(len(text)) + text)
    file.flush()


def read_frame(file: BinaryIO) -> Any:
    """The next message; EOFError at the end."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    (length,) = _HEAD.unpack(head)
    text = file.read(length)
    if length > LONGEST or len(text) < length:
        raise EOFError
    return json.loads(text)


class Frames:
    """Messages out of bytes that come in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, data: bytes) -> list[Any]:
        """The messages that are whole now; ValueError for what cannot be one."""
        self._held += data
        found = []
        while len(self._held) >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._held)
            if length > LONGEST:
                raise ValueError(f"a message of {length} bytes")
            end = _HEAD.size + length
            if len(self._held) < end:
                break
            found.append(json.loads(bytes(self._held[_HEAD.size : end])))
            del self._held[:end]
        return found
