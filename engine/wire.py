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
        self.send_bytes(encode(message))

    def send_bytes(self, data: bytes) -> None:
        """Send what `read_setup` takes at the other end, before any message."""
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

    def join(self, timeout_s: float) -> None:
        """Wait until the reading thread has seen the end of the other side."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _read(self) -> None:
        try:
            while True:
                self._deliver(decode(_frame(self._source)))
        except (OSError, EOFError, DuendeError):
            pass
        self._deliver(None)
        with contextlib.suppress(OSError):
            os.close(self._source)


def read_setup(source: int) -> bytes:
    """The first thing that the parent sends a child: how to run. EOFError where it died before."""
    return _frame(source)


def _frame(source: int) -> bytes:
    (size,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    if size > MAX_BYTES:
        raise DuendeError(f"a message of {size} bytes: at most {MAX_BYTES} are allowed")
    return _exactly(source, size)


def _exactly(source: int, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(source, count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
