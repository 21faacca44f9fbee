"""Graphs in silence, kept for whoever wants one next: what pyo has made it never gives back whole."""

import queue
import threading
from collections import deque
from typing import NamedTuple

from ... import DuendeError
from ..denormals import flush_denormals
from ..manners import Turn, giving_way
from .effect import Effect
from .graph import Graph

QUANTUM = 64
KEPT = 4
TRIES = 8


class Kind(NamedTuple):
    """Graphs that can stand in for each other: of an effect, at a rate in Hz, for 1 or 2 channels."""

    effect: type[Effect]
    sample_rate: float
    channels: int


class _Used(NamedTuple):
    """A graph that has played, and where the next one of its kind is waited for, if anywhere."""

    kind: Kind
    graph: Graph
    wanted: deque[Graph] | None


class Graphs:
    """Graphs of all effects of a player: some in silence, others on their way to it, in a thread that otherwise sleeps.

    A graph that was used is played silence to; one that repeats for ever something that was no number is closed.
    Up to KEPT of a kind are kept.
    """

    def __init__(self, turn: Turn | None = None) -> None:
        """turn: of the audio thread, which the work here gives way to."""
        self._turn = Turn() if turn is None else turn
        self._used: queue.SimpleQueue[_Used | None] = queue.SimpleQueue()
        self._shelf = _Shelf()
        self._thread: threading.Thread | None = None

    def __del__(self) -> None:
        self._used.put(None)

    def take(self, kind: Kind) -> Graph:
        """One in silence, kept or new, which takes about a millisecond; DuendeError where pyo has none left."""
        if self._thread is None:
            self._thread = threading.Thread(target=_renew, args=(self._used, self._shelf, self._turn), daemon=True)
            self._thread.start()
        return self._shelf.take(kind)

    def keep(self, kind: Kind, graph: Graph) -> None:
        """Keep one that has not played since it was taken."""
        self._shelf.keep(kind, graph)

    def renew(self, kind: Kind, graph: Graph, wanted: deque[Graph] | None = None) -> None:
        """Any thread, at once: have one that has played brought to silence; an empty `wanted` gets another one."""
        self._used.put(_Used(kind, graph, wanted))


class _Shelf:
    """Graphs in silence, by their kind; for any threads."""

    def __init__(self) -> None:
        self._kept: dict[Kind, deque[Graph]] = {}

    def full(self, kind: Kind) -> bool:
        return len(self._kept.get(kind, ())) >= KEPT

    def keep(self, kind: Kind, graph: Graph) -> None:
        if not self.full(kind):
            self._kept.setdefault(kind, deque()).append(graph)

    def take(self, kind: Kind) -> Graph:
        try:
            return self._kept[kind].pop()
        except (KeyError, IndexError):
            pass
        try:
            return _make(kind)
        except DuendeError:
            if not any(self._kept.values()):
                raise
        # Those that wait for nobody take up pyo's servers.
        self._kept.clear()
        return _make(kind)


def _make(kind: Kind) -> Graph:
    """A new one. Where pyo reads what it has not written, and no number stands there, the next one has other memory."""
    effect = kind.effect(kind.sample_rate, QUANTUM, kind.channels)
    tried = []
    for _ in range(TRIES):
        graph = Graph(effect)
        if graph.clean:
            return graph
        tried.append(graph)
    raise DuendeError(f"effect {kind.effect.__name__.lower()}: pyo gives what is no number: start again")


def _renew(used: "queue.SimpleQueue[_Used | None]", shelf: _Shelf, turn: Turn) -> None:
    """Thread: bring what was used to silence."""
    flush_denormals()
    while (one := used.get()) is not None:
        with giving_way(turn):
            _bring_to_silence(one, shelf)
        del one


def _bring_to_silence(one: _Used, shelf: _Shelf) -> None:
    into = None
    if one.wanted is not None and not one.wanted:
        try:
            one.wanted.append(shelf.take(one.kind))
        except DuendeError:
            into = one.wanted
    if shelf.full(one.kind) or not one.graph.renew(one.kind.effect.forgets_s):
        return
    if into is None:
        shelf.keep(one.kind, one.graph)
    else:
        into.append(one.graph)
