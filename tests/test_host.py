"""The host: the callback fills its block whatever happens, counts what went wrong, and rests when it is too slow."""

import gc
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.engine.denormals import flushes
from duende.engine.device import ArrayDevice
from duende.engine.host import LATE_LIMIT, Host, check_rate
from duende.engine.preset import Rig, build_rig
from duende.engine.spectral import SpectralProcessor
from models import tiny_model, tiny_weights

Float32 = npt.NDArray[np.float32]

RATE = 48000.0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return build_rig([("tiny", SpectralProcessor(tiny_model(tmp_path, tiny_weights())))])


def noise(frames: int, rng: np.random.Generator) -> Float32:
    return (0.1 * rng.standard_normal((frames, 1))).astype(np.float32)


def test_playing_fades_in_and_counts(rig: Rig, rng: np.random.Generator) -> None:
    rig.bank.set("amount", 0.0)
    samples = noise(9600, rng)
    device = ArrayDevice(samples, RATE, 100)
    Host(rig, device).start()
    late = rig.chain.latency.samples
    assert rig.telemetry.count("callbacks") == 96
    assert rig.telemetry.count("frames") == 9600
    assert rig.telemetry.count("failed") == 0
    early, wanted = device.recorded[late : late + 200, 0], samples[:200, 0]
    assert np.abs(early).max() < 0.1 * np.abs(wanted).max()
    assert np.abs(device.recorded[5000:, 0] - samples[5000 - late : -late, 0]).max() < 1e-5
    assert rig.telemetry.level("input_peak") == pytest.approx(np.abs(samples).max())
    assert rig.telemetry.load().callbacks == 96


@pytest.mark.skipif(sys.platform != "linux", reason="the reset of the mode is glibc's")
def test_the_callback_thread_flushes_denormals(rig: Rig, rng: np.random.Generator) -> None:
    import ctypes
    import threading

    seen: list[bool] = []

    def play() -> None:
        # A thread may inherit the mode; the default environment (glibc: address -1) is without it.
        ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))
        seen.append(flushes())
        Host(rig, ArrayDevice(noise(256, rng), RATE, 128)).start()
        seen.append(flushes())

    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    assert seen == [False, True]
    assert rig.telemetry.count("flush_to_zero") == 1


def test_an_exception_in_the_chain_is_silence_and_a_count(
    rig: Rig, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(rig, ArrayDevice(noise(128, rng), RATE, 128))

    def fail(block: Float32, out: Float32) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.chain, "process", fail)
    out = np.full((128, 2), np.nan, dtype=np.float32)
    host.callback(noise(128, rng), out, False, True)
    assert np.array_equal(out, np.zeros_like(out))
    assert rig.telemetry.count("failed") == 1
    assert rig.telemetry.count("output_xruns") == 1


@pytest.mark.watched
def test_late_blocks_again_and_again_make_the_chain_rest_and_come_back(
    rig: Rig, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is a fake one: every block takes three periods until the chain rests."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.004 if rig.telemetry.count("rests") == 0 else 1e-5
        return now[0]

    monkeypatch.setattr(time, "perf_counter", clock)
    samples = noise(48000 * 3, rng)
    device = ArrayDevice(samples, RATE, 128)
    Host(rig, device).start()
    assert rig.telemetry.count("late") == LATE_LIMIT
    assert rig.telemetry.count("rests") == 1
    delay = rig.chain.latency.samples
    resting = slice(24000, 72000)
    difference = device.recorded[resting, 0] - samples[resting.start - delay : resting.stop - delay, 0]
    assert np.abs(difference).max() < 1e-6
    after = slice(120000, 140000)
    back = device.recorded[after, 0] - samples[after.start - delay : after.stop - delay, 0]
    assert np.abs(back).max() > 0.01


def test_playing_leaves_nothing_for_the_garbage_collector(rig: Rig, rng: np.random.Generator) -> None:
    host = Host(rig, ArrayDevice(noise(12800, rng), RATE, 128))
    gc.collect()
    host.start()
    assert gc.collect() == 0
    host.stop()


def test_latency_is_reported_by_part(rig: Rig, rng: np.random.Generator) -> None:
    host = Host(rig, ArrayDevice(noise(64, rng), RATE, 64))
    report = host.latency()
    assert report.added_samples == 192
    assert report.reblocking_ms == pytest.approx(64 / 48.0)
    assert report.slots_ms[0][1] == pytest.approx(128 / 48.0)
    rows = dict(report.lines())
    assert rows["added by duende"] == "4.00 ms (192 samples)"


def test_rates_that_no_style_plays_at() -> None:
    assert check_rate(44100.0) == 44100.0
    assert check_rate(96000.0) == 96000.0
    with pytest.raises(DuendeError, match="22050 Hz: this version plays at 44100, 48000, 88200, 96000 Hz"):
        check_rate(22050.0)


@pytest.mark.parametrize("torn", [True, False])
def test_input_that_was_lost_leaves_no_step(torn: bool) -> None:
    rig = build_rig([])
    host = Host(rig, ArrayDevice(np.zeros((128, 1), dtype=np.float32), RATE, 128))
    played, heard = np.full((40, 128, 1), 0.3, dtype=np.float32), np.zeros((40, 128, 1), dtype=np.float32)
    # Behind the fade in; a loss, and what comes after it lies elsewhere.
    played[25:] = -0.2
    for number, (block, out) in enumerate(zip(played, heard, strict=True)):
        host.callback(block, out, torn and number == 25, False)
    after = heard[25:].ravel()
    assert heard[24, -1, 0] == pytest.approx(0.3, abs=1e-6)
    largest = np.abs(np.diff(after, prepend=heard[24, -1, 0])).max()
    if torn:
        assert largest < 1e-3
        assert np.abs(after[round(0.021 * RATE) :] + 0.2).max() < 1e-6
    else:
        assert largest == pytest.approx(0.5, abs=1e-6)
