"""A pair of pipes to another process: whole messages, sent at once and delivered by a thread."""

import contextlib
import os
import struct
import threading
from collections.abc import Callable

from .. import DuendeError
from .messages import MAX_BYTES, Message, decode, encode

_LENGTH = struct.Struct("<I")


class Wire:
    """Sends messages down one file descriptor and delivers those that come up another.

    deliver: called by the reading thread with each message, and at last with None when the other side is gone or has
    sent what is no message. Either file descriptor belongs to the wire from here on.
    """

    def __init__(self, source: int, sink: int, deliver: Callable[[Message | None], None]) -> None:
        self._source, self._sink, self._deliver = source, sink, deliver
        self._sending = threading.Lock()
        self._open = True
        self._thread = threading.Thread(target=self._read, name="wire", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def send(self, message: Message) -> None:
        """Send a message; nothing happens where nobody is there any more."""
        data = encode(message)
        view = memoryview(_LENGTH.pack(len(data)) + data)
        with self._sending, contextlib.suppress(OSError):
            while self._open and view:
                view = view[os.write(self._sink, view) :]

    def close(self) -> None:
        """Send no more; the other side sees the end."""
        with self._sending:
            if self._open:
                self._open = False
                with contextlib.suppress(OSError):
                    os.close(self._sink)

    def _read(self) -> None:
        try:
            while True:
                (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
                if size > MAX_BYTES:
                    break
                self._deliver(decode(self._exactly(size)))
        except (OSError, EOFError, DuendeError):
            pass
        self._deliver(None)
        with contextlib.suppress(OSError):
            os.close(self._source)

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = os.read(self._source, count - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)
