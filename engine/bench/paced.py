"""A device that calls back at the pace of a sound card, and notes when each call began and ended."""

import time
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..device import Callback

Float32 = npt.NDArray[np.float32]

SKIP = 50
SHORTEST_WARM_UP = 8
WARM_UP_S = 0.1


class Clock(Protocol):
    """Where time comes from; the module `time` is one."""

    def perf_counter(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


class PacedDevice:
    """Delivers an array [n, inputs] at the rate of a sound device, on a clock, and notes what each call took.

    durations_us: float32, one per callback after the first `skip`; misses: how many of those ended when the next was
    due, or later. outputs: 2, or as many as asked for.
    """

    def __init__(
        self,
        samples: Float32,
        sample_rate: float,
        block: int,
        *,
        skip: int = SKIP,
        outputs: int = 2,
        clock: Clock = time,
    ) -> None:
        self.sample_rate, self.max_block = sample_rate, block
        self.block: int | None = block
        self.latency_ms: float | None = 0.0
        self.running = False
        self.inputs, self.outputs = samples.shape[1], outputs
        self._samples, self._skip, self._clock = samples, skip, clock
        self.durations_us: Float32 = np.zeros(0, dtype=np.float32)
        self.misses = 0

    def start(self, callback: Callback) -> None:
        """Deliver all samples in real time; returns when it is done."""
        self.running = True
        self.durations_us, self.misses = self.deliver(callback, self._skip)
        self.running = False

    def stop(self) -> None:
        self.running = False

    def deliver(
        self, callback: Callback, skip: int = 0, first: int = 0, count: int | None = None
    ) -> tuple[Float32, int]:
        """Blocks from first on, around the end to the beginning: microseconds of all but the first skip, and misses."""
        block, clock = self.max_block, self._clock
        there = len(self._samples) // block
        count = there if count is None else count
        period = block / self.sample_rate
        out = np.zeros((block, self.outputs), dtype=np.float32)
        times = np.zeros(count, dtype=np.float32)
        misses = 0
        due = clock.perf_counter() + 0.01
        for index in range(count):
            at = (first + index) % there
            ahead = due - clock.perf_counter()
            if ahead > 0.0:
                clock.sleep(ahead)
            begun = clock.perf_counter()
            callback(self._samples[at * block : (at + 1) * block], out, False, False)
            ended = clock.perf_counter()
            times[index] = (ended - begun) * 1e6
            due += period
            if index >= skip and ended > due:
                misses += 1
                # A late block makes the next ones late only as far as a device's buffers would.
                due = max(due, ended - period)
        return times[skip:], misses


def idle(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
    """The callback that does nothing: what it misses is the machine's fault."""
    out[:] = block


def warm_up_blocks(sample_rate: float, block: int) -> int:
    """How many blocks are played before any is counted: 0.1 s, and 8 at least."""
    return max(SHORTEST_WARM_UP, round(WARM_UP_S * sample_rate / block))


def playing(sample_rate: float, count: int, channels: int = 1) -> Float32:
    """Decaying tones over a little noise [count, channels]: something to work on in every block."""
    time_s = np.arange(count) / sample_rate
    envelope = np.exp(-3.0 * (time_s % 0.5))
    tones = sum(np.sin(2.0 * np.pi * hz * time_s) for hz in (110.0, 220.3, 329.6))
    noise = np.random.default_rng(7).standard_normal(count)
    samples = np.asarray(0.1 * envelope * tones + 1e-4 * noise, dtype=np.float32).reshape(-1, 1)
    return np.repeat(samples, channels, axis=1)
