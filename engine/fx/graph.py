"""One pyo server with an effect's graph on it, run by hand, quantum by quantum."""

import ctypes
import functools
import importlib.util
import math
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from .effect import Effect

Float32 = npt.NDArray[np.float32]

SETTLE_S = 0.01

# pyo puts a new object on the server that was made last in this process, whatever thread it was made by.
_making = threading.Lock()


def has_pyo() -> bool:
    """Whether effects can be played here."""
    return importlib.util.find_spec("pyo") is not None


def import_pyo() -> Any:
    """The module pyo; DuendeError that says how to get it."""
    os.environ.setdefault("PYO_GUI_WX", "0")
    try:
        import pyo
    except ImportError as error:
        raise DuendeError("effects need pyo: pip install 'duende[fx]'") from error
    return pyo


class Graph:
    """An effect in silence, ready to play; making it takes about a millisecond, so it is never done while playing.

    source: [quantum, channels], wires: [wires, quantum], result: [quantum, channels]: float32 in pyo's own memory.
    `run` computes result from source and wires.

    The wires lie in a table: each further input channel of a server is paid by all of them.
    """

    _server: Any = None

    def __init__(self, effect: Effect) -> None:
        """DuendeError where pyo is missing or has no server left (it has 256)."""
        pyo = import_pyo()
        quantum, count, channels = effect.quantum, effect.wire_count, effect.channels
        self._rate = effect.sample_rate
        with _making:
            server = _server(pyo, int(effect.sample_rate), channels, quantum)
            server.deactivateMidi()
            server.boot()
            server.start()
            server.setServer()
            self._server = server
            self._maker = maker = _Maker(pyo)
            source = maker.Input(list(range(channels)))
            place = maker.Input(channels)
            table = maker.DataTable(size=count * quantum)
            wires = [maker.TableIndex(table, place + float(index * quantum)) for index in range(count)]
            self._heard = effect.build(maker, source, wires).out()
        memory = _view(int(server.getInputAddr(), 16), quantum, channels + 1)
        memory[:, channels] = np.arange(quantum)
        self.source = memory[:, :channels]
        # By address: pyo frees a table's buffer together with the table, whoever still holds it.
        self.wires = _view(np.asarray(table.getBuffer()).ctypes.data, count, quantum)
        self.result = _view(int(server.getOutputAddr(), 16), quantum, channels)
        self.run = server.process
        self._sounded = False
        # A server fades in; that is over before anything is heard.
        for _ in range(-(-round(SETTLE_S * effect.sample_rate) // quantum)):
            self.run()
            self._sounded = self._sounded or not self.silent

    @property
    def clean(self) -> bool:
        """Whether nothing was heard when it was made, not even what is no number: pyo reads what it has not written."""
        return not self._sounded

    @property
    def silent(self) -> bool:
        """Whether nothing was heard last, not even what is no number."""
        return not self.result.any()

    def renew(self, seconds: float) -> bool:
        """Play so many seconds of silence, with all wires at 0; False where what was heard cannot be forgotten.

        Where pyo's objects are made and freed again it keeps a part of them, so a graph is used again where it can be.
        Not for the audio thread: it takes some hundredths of a second.
        """
        self.source[:] = 0.0
        self.wires[:] = 0.0
        for _ in range(math.ceil(seconds * self._rate / len(self.source))):
            self.run()
        return self.silent

    def close(self) -> None:
        """Give the server back; called once more when the graph is freed."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            server.shutdown()
            self._maker.release()
            del self.run, self.wires, self.source, self.result, self._heard

    def __del__(self) -> None:
        self.close()


def _server(pyo: Any, rate: int, channels: int, quantum: int) -> Any:
    """A server with one input channel more than outputs, not booted."""
    try:
        return pyo.Server(
            sr=rate,
            nchnls=channels,
            ichnls=channels + 1,
            buffersize=quantum,
            duplex=1,
            audio="manual",
            verbosity=0,
        )
    except SystemError as error:
        raise DuendeError("pyo has no server left for another effect: remove one, or start again") from error


class _Maker:
    """The module pyo, but what it makes is kept: an object that is freed goes on with parts of its memory missing."""

    def __init__(self, pyo: Any) -> None:
        self._pyo = pyo
        self.objects: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def make(*arguments: Any, **named: Any) -> Any:
            made = getattr(self._pyo, name)(*arguments, **named)
            self.objects.append(made)
            return made

        return make

    def release(self) -> None:
        """Untie what holds itself in a ring: in the engine no garbage is collected while it plays."""
        for made in self.objects:
            if type(made).__name__ == "Sig":
                made.value = 0.0
        while self.objects:
            made = self.objects.pop()
            # pyo notes in an operand every result of arithmetic with it.
            self.objects += vars(made).pop("_keep_trace", [])


@functools.cache
def _floats(count: int) -> Any:
    """The ctypes class of so many floats: made once, since a class is freed by the collector alone, which rests."""
    return ctypes.c_float * count


def _view(address: int, rows: int, columns: int) -> Float32:
    return np.ctypeslib.as_array(_floats(rows * columns).from_address(address)).reshape(rows, columns)
