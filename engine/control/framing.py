"""OSC packets in a stream of bytes: SLIP as in OSC 1.1, or sizes in front as in OSC 1.0; the first byte tells which."""

import struct

from pythonosc import slip

from ... import DuendeError
from .osc import MAX_PACKET

_SIZE = struct.Struct(">i")
_MAX_SLIP = 2 * MAX_PACKET + 2
_END = slip.END


class Framing:
    """One connection's way of framing, in both directions; SLIP until the other side has sent something else."""

    def __init__(self) -> None:
        self.sized: bool | None = None
        self._waiting = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what was received; returns the packets that are complete, b"" for broken ones.

        DuendeError where a packet is larger than OSC packets may be here: nothing that follows can be trusted.
        """
        if self.sized is None and data:
            self.sized = data[0] == 0
        self._waiting += data
        return self._cut_sized() if self.sized else self._cut_slip(len(data))

    def frame(self, packet: bytes) -> bytes:
        """The packet as it is sent."""
        return _SIZE.pack(len(packet)) + packet if self.sized else slip.encode(packet)

    def _cut_slip(self, new: int) -> list[bytes]:
        if self._waiting.find(_END, len(self._waiting) - new) < 0:
            parts = []
        else:
            *parts, rest = bytes(self._waiting).split(_END)
            self._waiting = bytearray(rest)
        if max(map(len, [*parts, self._waiting])) > _MAX_SLIP:
            raise DuendeError(f"a SLIP frame has more than {MAX_PACKET} bytes: send smaller bundles")
        return [_unescape(part) for part in parts if part]

    def _cut_sized(self) -> list[bytes]:
        packets = []
        place = 0
        while len(self._waiting) - place >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._waiting, place)
            if not 0 <= size <= MAX_PACKET:
                raise DuendeError(f"a packet of {size} bytes is announced: send 0 to {MAX_PACKET}, or SLIP")
            if len(self._waiting) - place - _SIZE.size < size:
                break
            place += _SIZE.size
            packets.append(bytes(self._waiting[place : place + size]))
            place += size
        del self._waiting[:place]
        return packets


def _unescape(part: bytes) -> bytes:
    try:
        return slip.decode(part)
    except slip.ProtocolError:
        return b""
