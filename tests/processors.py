"""Processors for tests of the chain: a gain, a delay, and one that misbehaves on demand."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from duende.engine.history import History
from duende.engine.processor import Processor, StreamSpec
from duende.engine.spec import Control

Float32 = npt.NDArray[np.float32]


class DelayLine:
    """Delays a block [frames, channels] by a fixed number of samples, without allocating."""

    def __init__(self, delay: int, max_block: int, channels: int = 1) -> None:
        self._history = History(channels, delay, max_block)
        self._delay = delay

    def process(self, block: Float32, out: Float32) -> None:
        """Write block, delayed, to out; both [frames, channels] and not overlapping unless the delay is 0."""
        self._history.push(block.T)
        out.T[:] = self._history.last(len(block), skip=self._delay)

    def reset(self) -> None:
        """Back to silence."""
        self._history.reset()


class Gain:
    """Multiplies by its control `gain`; any block length, no delay."""

    quantum = 1
    latency_samples = 0
    memory_samples = 0
    tail_samples = 0

    def __init__(self, gain: float = 1.0, quantum: int = 1) -> None:
        self.quantum = quantum
        self.controls: Sequence[Control] = [Control("gain", "", -10.0, 10.0, gain)]
        self.values: Float32 = np.array([gain], dtype=np.float32)
        self.resets = 0
        self.prepared: StreamSpec | None = None

    def prepare(self, spec: StreamSpec) -> None:
        self.prepared = spec

    def process(self, block: Float32, out: Float32) -> None:
        np.multiply(block, self.values[0], out=out)

    def reset(self) -> None:
        self.resets += 1

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        pass


class Delay(Gain):
    """Delays by a fixed number of samples; no controls."""

    def __init__(self, delay: int, gain: float = 1.0, quantum: int = 1) -> None:
        super().__init__(gain, quantum)
        self.latency_samples = self.memory_samples = self.tail_samples = delay
        self.controls, self.values = [], np.zeros(0, dtype=np.float32)
        self._gain = np.float32(gain)

    def prepare(self, spec: StreamSpec) -> None:
        super().prepare(spec)
        self._line = DelayLine(self.latency_samples, spec.max_block, spec.channels)

    def process(self, block: Float32, out: Float32) -> None:
        self._line.process(block, out)
        np.multiply(out, self._gain, out=out)

    def reset(self) -> None:
        super().reset()
        self._line.reset()


class Echo(Delay):
    """The input delayed, and once more later: its output depends on `memory_samples` of the past."""

    def __init__(self, delay: int, memory: int) -> None:
        super().__init__(delay)
        self.memory_samples = self.tail_samples = memory

    def prepare(self, spec: StreamSpec) -> None:
        super().prepare(spec)
        self._far = DelayLine(self.memory_samples, spec.max_block, spec.channels)
        self._scratch = np.zeros((spec.max_block, spec.channels), dtype=np.float32)

    def process(self, block: Float32, out: Float32) -> None:
        super().process(block, out)
        far = self._scratch[: len(block)]
        self._far.process(block, far)
        np.add(out, far, out=out)

    def reset(self) -> None:
        super().reset()
        self._far.reset()


class Spring(Echo):
    """A long echo that counts the frames it was given: its tail spills over."""

    def __init__(self, memory: int, delay: int = 0) -> None:
        super().__init__(delay, memory)
        self.frames = 0

    def process(self, block: Float32, out: Float32) -> None:
        super().process(block, out)
        self.frames += len(block)


class Faulty(Delay):
    """A delay that puts `poison` into one sample of every call while `armed`, and keeps it until it is reset."""

    def __init__(self, delay: int = 0, gain: float = 1.0, quantum: int = 1, sticky: bool = False) -> None:
        super().__init__(delay, gain, quantum)
        self.poison = float("nan")
        self.armed = False
        self._sticky = sticky
        self._poisoned = False

    def process(self, block: Float32, out: Float32) -> None:
        super().process(block, out)
        if self.armed or self._poisoned:
            out[len(out) // 2 :] = self.poison
            self._poisoned = self._sticky

    def reset(self) -> None:
        super().reset()
        self._poisoned = False


def play_hops(
    processor: Processor, samples: Float32, hops: Sequence[int], *, amount: float = 1.0, rate: float = 48000.0
) -> Float32:
    """Samples [n, channels], n whole hops, through a player of a model in groups of hops that take turns."""
    processor.values[0] = amount
    processor.prepare(StreamSpec(rate, samples.shape[1], 64 * processor.quantum))
    out, at, turn = np.empty_like(samples), 0, 0
    while at < len(samples):
        end = min(at + hops[turn % len(hops)] * processor.quantum, len(samples))
        processor.process(samples[at:end], out[at:end])
        at, turn = end, turn + 1
    return out
