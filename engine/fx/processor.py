"""The processor of an effect: pyo steered by smooth wires, started afresh without building anything while it plays."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ..processor import Processor, StreamSpec
from ..spec import Control
from .graph import Graph, import_pyo
from .graphs import QUANTUM, Graphs, Kind
from .table import effect_class

Float32 = npt.NDArray[np.float32]

KNOTS = 4


class PyoEffect:
    """An effect of the table, in mono or stereo, at any sample rate that is a whole number of Hz.

    `reset` takes another graph, made before, and lets the one that was used be renewed. Until there is another one the
    input is passed on.

    Wires are cubic B-splines through one value per quantum: two quanta late, without corners.

    tail_samples follows the values: until the output has fallen by 80 dB.
    """

    quantum = QUANTUM
    latency_samples = 0

    def __init__(self, name: str, graphs: Graphs | None = None) -> None:
        """name: of an effect; graphs: of the player; DuendeError if there is no such effect, or no pyo."""
        self._make = effect_class(name)
        import_pyo()
        self.name = name
        self.controls: Sequence[Control] = self._make.controls
        self.values: Float32 = np.array([control.default for control in self.controls], dtype=np.float32)
        self.memory_samples = self.tail_samples = 0
        self.spills = self._make.spills
        self._graphs = Graphs() if graphs is None else graphs
        self._returns = graphs is not None
        self._spares: deque[Graph] = deque()
        self._graph: Graph | None = None
        self._played = False
        self._spec: StreamSpec | None = None
        self._last: list[float] | None = None

    def __del__(self) -> None:
        if getattr(self, "_returns", False):
            self._give_back()

    def widens_at(self, sample_rate: float) -> bool:
        return self._make.widens

    def prepare(self, spec: StreamSpec) -> None:
        if spec.channels not in (1, 2):
            raise DuendeError(f"effect {self.name}: {spec.channels} channels: it plays 1 or 2")
        if spec.sample_rate != int(spec.sample_rate):
            raise DuendeError(f"effect {self.name}: {spec.sample_rate} Hz: the rate must be a whole number")
        before, self._spec = self._spec, spec
        if before is not None and (before.sample_rate, before.channels) == (spec.sample_rate, spec.channels):
            self.reset()
            return
        rate, channels, make = spec.sample_rate, spec.channels, self._make
        self._effect = make(rate, QUANTUM, channels)
        self.memory_samples = round(make.memory_s * rate)
        self._give_back()
        self._kind = kind = Kind(make, rate, channels)
        self._graph = self._graphs.take(kind)
        self._spares = deque([self._graphs.take(kind)])
        count = self._effect.wire_count
        self._knots = np.zeros((count, KNOTS), dtype=np.float32)
        self._spline = _spline(QUANTUM)
        self._size = np.zeros((QUANTUM, channels), dtype=np.float32)
        self._wires = [0.0] * count
        self._set_tail(self.values.tolist())
        self._start()

    def reset(self) -> None:
        self._effect.reset()
        if self._played:
            if self._graph is not None:
                self._graphs.renew(self._kind, self._graph, self._spares)
            self._graph = self._spares.popleft() if self._spares else None
            self._played = False
        self._start()

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        if isinstance(predecessor, PyoEffect) and predecessor._make is self._make:
            self._effect.adopt(predecessor._effect, lag_samples)

    def process(self, block: Float32, out: Float32) -> None:
        if self._graph is None:
            if not self._spares:
                np.copyto(out, block)
                return
            self._graph = self._spares.popleft()
            self._resting = False
        graph, quantum = self._graph, QUANTUM
        self._played = True
        goal = self.values.tolist()
        if self._last is None:
            self._last = goal
        changed = goal != self._last
        for begin in range(0, len(block), quantum):
            part = block[begin : begin + quantum]
            if changed:
                share = (begin + quantum) / len(block)
                values = [old + share * (new - old) for old, new in zip(self._last, goal, strict=True)]
                self._steer(graph, values, part)
            elif not self._resting:
                self._steer(graph, goal, part)
            np.copyto(graph.source, part)
            graph.run()
            np.copyto(out[begin : begin + quantum], graph.result)
        if changed:
            self._set_tail(goal)
        self._last = goal

    def _give_back(self) -> None:
        if self._graph is not None:
            if self._played:
                self._graphs.renew(self._kind, self._graph)
            else:
                self._graphs.keep(self._kind, self._graph)
        self._graph, self._played = None, False
        while self._spares:
            self._graphs.keep(self._kind, self._spares.pop())

    def _set_tail(self, values: Sequence[float]) -> None:
        self.tail_samples = round(self._effect.tail_s(values) * self._effect.sample_rate)

    def _start(self) -> None:
        """The next value of every wire holds from the beginning."""
        self._last = None
        self._fresh = True
        self._still = self._turn = 0
        self._resting = False

    def _steer(self, graph: Graph, values: Sequence[float], part: Float32) -> None:
        effect, wires, knots = self._effect, self._wires, self._knots
        peak = 0.0
        if effect.listens:
            np.abs(part, out=self._size)
            peak = float(self._size.max())
        moving = effect.steer(values, peak, wires)
        self._turn = turn = (self._turn + 1) % KNOTS
        before = (turn - 1) % KNOTS
        column = knots[:, turn]
        for index, value in enumerate(wires):
            column[index] = value
        if self._fresh:
            knots[:] = column[:, None]
            self._fresh = False
            self._still = KNOTS
        elif (column == knots[:, before]).all():
            self._still += 1
        else:
            self._still = 0
        if self._still >= KNOTS:
            # A mixture of equal numbers may differ from them in the last place.
            graph.wires[:] = column[:, None]
            self._resting = not moving
            return
        np.matmul(knots, self._spline[turn], out=graph.wires)
        self._resting = False


def _spline(quantum: int) -> list[Float32]:
    """Shares [KNOTS, quantum] of the knots in every sample, for each place that the newest of them can stand at."""
    time = np.arange(1, quantum + 1, dtype=np.float64) / quantum
    shares = np.stack(
        [(1 - time) ** 3, 3 * time**3 - 6 * time**2 + 4, -3 * time**3 + 3 * time**2 + 3 * time + 1, time**3]
    )
    shares = (shares / 6.0).astype(np.float32)
    return [np.ascontiguousarray(np.roll(shares, newest + 1, axis=0)) for newest in range(KNOTS)]
