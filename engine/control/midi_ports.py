"""MIDI ports: those whose names fit are opened, looked for every two seconds, and opened again when they return."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from ... import DuendeError
from .namespace import PREFIX
from .news import News

PORTS = f"{PREFIX}/midi/ports"
POLL_S = 2.0
OWN_NAME = "duende"
PASSED_OVER = "midi through"
BROKEN = (OSError, ValueError, RuntimeError, NotImplementedError)
"""What mido and rtmidi raise; RtMidiError is an OSError."""

Receive = Callable[[Any], None]


class Port(Protocol):
    """An open port."""

    def close(self) -> None: ...


class Backend(Protocol):
    """Ways to MIDI ports. receive gets mido messages, on a thread of the backend's; everything may raise BROKEN."""

    def names(self) -> list[str]: ...

    def open(self, name: str, receive: Receive) -> Port: ...

    def open_virtual(self, name: str, receive: Receive) -> Port: ...


class Mido:
    """Ports through mido and python-rtmidi; DuendeError where they are not installed.

    api: one of rtmidi's ("LINUX_ALSA", "UNIX_JACK", ...); empty: the system's own.
    """

    def __init__(self, api: str = "") -> None:
        try:
            mido = importlib.import_module("mido")
            importlib.import_module("rtmidi")
        except ImportError as error:
            raise DuendeError(f"MIDI needs mido and python-rtmidi: pip install 'duende[midi]' ({error})") from error
        self._backend = mido.Backend(f"mido.backends.rtmidi{f'/{api}' if api else ''}")

    def names(self) -> list[str]:
        """Ports that can be listened to."""
        return list(self._backend.get_input_names())

    def open(self, name: str, receive: Receive) -> Port:
        port: Port = self._backend.open_input(name, callback=receive)
        return port

    def open_virtual(self, name: str, receive: Receive) -> Port:
        """A port that other programs can connect to; not on Windows."""
        port: Port = self._backend.open_input(name, virtual=True, client_name=name, callback=receive)
        return port


class MidiPorts:
    """The ports that are open. `run` keeps them so; what blocks runs on another thread.

    patterns: parts of the names of the ports to listen to, in any case; none: every port but the system's loop.
    receive:  gets each message, on a thread of the backend's. virtual: offer a port of our own, too.
    """

    def __init__(
        self,
        backend: Backend,
        receive: Receive,
        news: News,
        patterns: Sequence[str] = (),
        virtual: bool = True,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._backend, self._receive, self._news, self._sleep = backend, receive, news, sleep
        self._patterns = [pattern.lower() for pattern in patterns]
        self._open: dict[str, Port] = {}
        self._failed: dict[str, str] = {}
        self._virtual = virtual
        self._own: Port | None = None

    @property
    def names(self) -> list[str]:
        """Ports that are open, by name."""
        return list(self._open)

    async def run(self) -> None:
        """Open what fits, and look again and again; returns where there is no MIDI at all."""
        try:
            if self._virtual:
                await asyncio.to_thread(self._offer)
            first = True
            while True:
                before, failed = self.names, dict(self._failed)
                trouble = await asyncio.to_thread(self._look)
                if self.names != before:
                    self._news.touch(PORTS)
                for name, text in self._failed.items():
                    if name not in failed:
                        self._news.fail(PORTS, f"MIDI port {name}: {text}")
                if trouble and first:
                    self._news.fail(PORTS, f"there is no MIDI here: {trouble}")
                    return
                first = False
                await self._sleep(POLL_S)
        finally:
            self.close()

    def close(self) -> None:
        """Close all ports."""
        ports, self._open = list(self._open.values()), {}
        if self._own is not None:
            ports.append(self._own)
            self._own = None
        for port in ports:
            _close(port)

    def _offer(self) -> None:
        try:
            self._own = self._backend.open_virtual(OWN_NAME, self._receive)
        except BROKEN:
            # Some systems have no such ports.
            self._own = None

    def _look(self) -> str:
        """Close what is gone, open what has come; why even that cannot be seen."""
        try:
            there = [name for name in self._backend.names() if self._fits(name)]
        except BROKEN as error:
            return _line(error)
        open_now = dict(self._open)
        for name in set(open_now) - set(there):
            _close(open_now.pop(name))
        for name in set(self._failed) - set(there):
            del self._failed[name]
        for name in there:
            if name not in open_now:
                try:
                    open_now[name] = self._backend.open(name, self._receive)
                    self._failed.pop(name, None)
                except BROKEN as error:
                    # Another program may have it to itself: tried again each time, told once.
                    self._failed[name] = _line(error)
        self._open = open_now
        return ""

    def _fits(self, name: str) -> bool:
        lower = name.lower()
        if self._patterns:
            return any(pattern in lower for pattern in self._patterns)
        return PASSED_OVER not in lower


def _close(port: Port) -> None:
    try:
        port.close()
    except BROKEN:
        # It is gone already.
        return


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
