"""Block times of one rig in this process: the short form, for reports and demos."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..device import ArrayDevice
from ..host import Host
from ..preset import Rig
from .paced import SKIP, PacedDevice, idle, playing


@dataclass(frozen=True)
class BlockTimes:
    """Times of the callbacks at one block size, in microseconds, and how many ended after the next was due."""

    name: str
    block: int
    period_us: float
    callbacks: int
    median_us: float
    p99_us: float
    p999_us: float
    worst_us: float
    misses: int
    idle_misses: int
    added_latency_ms: float

    @property
    def worst_regular_share(self) -> float:
        """p99 over the period: the head-room that counts, since work may fall into every n-th callback."""
        return self.p99_us / self.period_us


def bench_block(name: str, make: Callable[[], Rig], block: int, sample_rate: float, seconds: float) -> BlockTimes:
    """Run a fresh rig at one block size for some seconds of real time, after the same with an idle callback."""
    samples = playing(sample_rate, max(SKIP + 20, int(seconds * sample_rate / block) + SKIP) * block)
    still = PacedDevice(samples, sample_rate, block)
    still.start(idle)
    device = PacedDevice(samples, sample_rate, block)
    host = Host(make(), device)
    host.start()
    host.stop()
    times = device.durations_us
    median, p99, p999 = np.percentile(times, [50.0, 99.0, 99.9])
    return BlockTimes(
        name=name,
        block=block,
        period_us=1e6 * block / sample_rate,
        callbacks=len(times),
        median_us=float(median),
        p99_us=float(p99),
        p999_us=float(p999),
        worst_us=float(times.max()),
        misses=device.misses,
        idle_misses=still.misses,
        added_latency_ms=1000.0 * host.rig.chain.latency.samples / sample_rate,
    )


def real_time_factor(rig: Rig, sample_rate: float, seconds: float = 5.0) -> float:
    """Seconds of audio rendered per second of work, in large blocks."""
    samples = playing(sample_rate, round(seconds * sample_rate))
    host = Host(rig, ArrayDevice(samples, sample_rate, 8192))
    started = time.perf_counter()
    host.start()
    elapsed = time.perf_counter() - started
    host.stop()
    return len(samples) / sample_rate / elapsed
