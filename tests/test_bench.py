"""The benchmark: its device keeps time, counts misses, and its figures are plain data."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duende.engine import bench
from duende.engine.bench import PacedDevice, as_json, bench_block, real_time_factor
from duende.engine.preset import Rig, build_rig
from duende.engine.spectral import SpectralProcessor
from models import tiny_model, tiny_weights

Float32 = npt.NDArray[np.float32]


class Clock:
    """Time that passes only by sleeping and working."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def run(monkeypatch: "object", work: list[float]) -> PacedDevice:
    """Blocks of 48 frames (1 ms) whose work takes the given seconds, over and over."""
    import pytest

    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    clock = Clock()
    monkeypatch.setattr(bench, "time", clock)
    device = PacedDevice(np.zeros((48 * 150, 1), dtype=np.float32), 48000.0, 48)
    calls = 0

    def callback(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        nonlocal calls
        clock.now += work[calls % len(work)]
        calls += 1

    device.start(callback)
    assert calls == 150
    return device


def test_work_that_fits_never_misses(monkeypatch: "object") -> None:
    device = run(monkeypatch, [0.0004, 0.0009])
    assert device.misses == 0
    assert len(device.durations_us) == 100
    assert set(np.rint(device.durations_us).astype(int)) == {400, 900}


def test_work_longer_than_the_period_is_a_miss_each_time(monkeypatch: "object") -> None:
    device = run(monkeypatch, [0.0001] * 9 + [0.0015])
    assert device.misses == 10


def test_figures_of_a_model(tmp_path: Path) -> None:
    def make() -> Rig:
        return build_rig([("tiny", SpectralProcessor(tiny_model(tmp_path, tiny_weights())))])

    result = bench_block("tiny", make, 256, 48000.0, 0.1)
    assert result.period_us == 256 / 0.048
    assert 0.0 < result.median_us <= result.p99_us <= result.p999_us <= result.worst_us
    assert result.added_latency_ms == 128 / 48.0
    data = json.loads(json.dumps(as_json([result])))
    assert data["format"] == 1
    assert data["results"][0]["block"] == 256
    assert data["machine"]["onnxruntime"]
    # How quick it is, is a matter of the machine.
    assert real_time_factor(make(), 48000.0, 0.5) > 0.0
