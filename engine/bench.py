"""Block times of a rig against the clock of a sound device, beside a callback that does nothing."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import __version__
from .device import ArrayDevice, Callback
from .host import Host
from .preset import Rig

Float32 = npt.NDArray[np.float32]

BLOCKS = (32, 64, 128, 256, 512, 1024)
SKIP = 50


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


class PacedDevice:
    """Calls back at the rate of a sound device, on the machine's clock, and notes when each call began and ended."""

    outputs = 2

    def __init__(self, samples: Float32, sample_rate: float, block: int) -> None:
        self.sample_rate, self.max_block = sample_rate, block
        self.block: int | None = block
        self.latency_ms: float | None = 0.0
        self.running = False
        self.inputs = samples.shape[1]
        self._samples = samples
        self.durations_us: Float32 = np.zeros(0, dtype=np.float32)
        self.misses = 0

    def start(self, callback: Callback) -> None:
        """Deliver all samples in real time; returns when it is done."""
        self.running = True
        block = self.max_block
        count = len(self._samples) // block
        period = block / self.sample_rate
        out = np.zeros((block, 2), dtype=np.float32)
        times = np.zeros(count, dtype=np.float32)
        due = time.perf_counter() + 0.01
        for index in range(count):
            ahead = due - time.perf_counter()
            if ahead > 0.0:
                time.sleep(ahead)
            begun = time.perf_counter()
            callback(self._samples[index * block : (index + 1) * block], out, False, False)
            ended = time.perf_counter()
            times[index] = (ended - begun) * 1e6
            due += period
            if index >= SKIP and ended > due:
                self.misses += 1
                # A late block makes the next ones late only as far as a device's buffers would.
                due = max(due, ended - period)
        self.durations_us = times[SKIP:]
        self.running = False

    def stop(self) -> None:
        self.running = False


def _idle(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
    out[:] = block


def bench_block(name: str, make: Callable[[], Rig], block: int, sample_rate: float, seconds: float) -> BlockTimes:
    """Run a fresh rig at one block size for some seconds of real time, after the same with an idle callback."""
    samples = playing(sample_rate, max(SKIP + 20, int(seconds * sample_rate / block) + SKIP) * block)
    idle = PacedDevice(samples, sample_rate, block)
    idle.start(_idle)
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
        idle_misses=idle.misses,
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


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import onnxruntime

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "duende": __version__,
    }


def as_json(results: Sequence[BlockTimes]) -> dict[str, Any]:
    """Results and machine as plain data."""
    return {"format": 1, "machine": machine(), "results": [asdict(result) for result in results]}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def playing(sample_rate: float, count: int) -> Float32:
    """Decaying tones over a little noise [count, 1]: something to work on in every block."""
    time_s = np.arange(count) / sample_rate
    envelope = np.exp(-3.0 * (time_s % 0.5))
    tones = sum(np.sin(2.0 * np.pi * hz * time_s) for hz in (110.0, 220.3, 329.6))
    noise = np.random.default_rng(7).standard_normal(count)
    return np.asarray(0.1 * envelope * tones + 1e-4 * noise, dtype=np.float32).reshape(-1, 1)
