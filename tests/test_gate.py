"""The gate: silence below the threshold, no delay, no click, the same samples in any blocks, no memory asked for."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende.engine.chain import Chain
from duende.engine.gate import OFF, STEP, Gate
from duende.engine.params import ParameterBank
from duende.engine.shared import SharedState
from duende.engine.telemetry import Telemetry
from memory import measure
from signals import amplitude, noise, tone

Float32 = npt.NDArray[np.float32]

RATE = 48000.0


def run(gate: Gate, samples: Float32, blocks: list[int], threshold: float) -> Float32:
    """Samples [n] or [n, channels] through a gate in blocks that take turns."""
    out = samples.reshape(len(samples), -1).copy()
    at, turn = 0, 0
    while at < len(out):
        end = min(at + blocks[turn % len(blocks)], len(out))
        gate.process(out[at:end], threshold)
        at, turn = end, turn + 1
    return out.reshape(samples.shape)


def burst(hz: float = 220.0, before: int = 28800, during: int = 9600, after: int = 24000) -> Float32:
    """A tone at -20 dBFS between silences with noise at -80 dBFS."""
    quiet = noise(np.random.default_rng(440), before + during + after, level_dbfs=-80.0)
    loud = tone(hz, during, level_dbfs=-20.0)
    quiet[before : before + during] += loud
    return quiet


def gains(samples: Float32, got: Float32) -> npt.NDArray[np.float64]:
    """Gain by sample, where there is a sample to see it by."""
    there = np.abs(samples) > 1e-6
    places = np.arange(len(samples))
    return np.interp(places, places[there], got[there].astype(np.float64) / samples[there])


def test_off_it_passes_everything() -> None:
    samples = burst()
    assert np.array_equal(run(Gate(RATE, 128, 1), samples, [128], 1e-5), samples)
    assert 1e-5 <= OFF < 10.0 ** (-99.9 / 20.0)


@pytest.mark.parametrize("rate", [44100.0, 48000.0])
def test_it_opens_within_2_ms_and_shuts_after_hold_and_release(rate: float) -> None:
    samples = burst()
    gain = gains(samples, run(Gate(rate, 128, 1), samples, [128], amplitude(-40.0)))
    assert gain[28700] == 0.0, "noise is shut out"
    assert gain[28800 + round(0.002 * rate) + 1] > 0.95
    assert gain[29000:38400].min() > 0.999
    assert gain[38400 + round(0.049 * rate)] == pytest.approx(1.0), "held"
    assert gain[38400 + round((0.05 + 0.06) * rate)] > 0.2, "no hard cut"
    assert gain[38400 + round((0.05 + 0.15) * rate)] < 0.05
    assert gain[38400 + round(0.48 * rate)] == 0.0
    falling = gain[38400 + round(0.06 * rate) : 38400 + round(0.2 * rate)]
    assert np.diff(falling).max() < 1e-3


def test_between_the_thresholds_it_stays_as_it_is() -> None:
    """6 dB of hysteresis: a tone at -43 dBFS neither opens a gate at -40 nor lets it shut."""
    soft, loud = tone(220.0, 19200, level_dbfs=-43.0), tone(220.0, 4800, level_dbfs=-30.0)
    threshold = amplitude(-40.0)
    assert not run(Gate(RATE, 128, 1), np.concatenate([np.zeros(24000, np.float32), soft]), [128], threshold)[
        -9600:
    ].any()
    samples = np.concatenate([loud, soft])
    assert np.array_equal(run(Gate(RATE, 128, 1), samples, [128], threshold), samples)
    below = np.concatenate([loud, tone(220.0, 36000, level_dbfs=-47.0)])
    assert not run(Gate(RATE, 128, 1), below, [128], threshold)[-4800:].any()


def test_a_low_note_does_not_make_it_flutter() -> None:
    samples = tone(41.2, 48000, level_dbfs=-34.5)
    got = run(Gate(RATE, 128, 1), samples, [128], amplitude(-40.0))
    assert np.array_equal(got, samples)


@pytest.mark.parametrize("channels", [1, 2])
def test_any_block_size_gives_the_same_samples(channels: int, rng: np.random.Generator) -> None:
    samples = np.stack([burst(220.0 * (1 + channel)) for channel in range(channels)], axis=1)
    threshold = amplitude(-40.0)
    wanted = run(Gate(RATE, 8192, channels), samples, [8192], threshold)
    sequences = [[size] for size in (1, 15, STEP, 63, 64, 65, 128, 1000)]
    sequences += [[int(size) for size in rng.integers(1, 700, 200)]]
    for blocks in sequences:
        got = run(Gate(RATE, max(blocks), channels), samples, blocks, threshold)
        assert np.abs(got - wanted).max() <= 1e-7, f"blocks of {blocks[:3]}"


def test_channels_open_together() -> None:
    samples = np.stack([burst(), 0.001 * burst()], axis=1)
    gain = gains(samples[:, 0], run(Gate(RATE, 128, 2), samples, [128], amplitude(-40.0))[:, 0])
    other = run(Gate(RATE, 128, 2), samples, [128], amplitude(-40.0))[:, 1]
    assert np.abs(other - gain * samples[:, 1]).max() < 1e-6
    assert np.abs(other).max() > 0.0


def swell(frames: int) -> Float32:
    """A tone of 100 Hz that rises from -80 to -6 dBFS and falls back again."""
    level = -43.0 - 37.0 * np.cos(2.0 * np.pi * np.arange(frames) / frames)
    wave = np.sin(2.0 * np.pi * 100.0 * np.arange(frames) / RATE)
    return np.asarray(10.0 ** (level / 20.0) * wave, dtype=np.float32)


def above_5_khz_dbfs(samples: Float32) -> float:
    """Peak of what lies above 5 kHz, edges left out."""
    high_pass = signal.firwin(1023, 5000.0, window=("kaiser", 12.0), pass_zero=False, fs=RATE)
    rest = np.abs(signal.oaconvolve(samples.astype(np.float64), high_pass, mode="same")[1200:-1200])
    return 20.0 * float(np.log10(rest.max() + 1e-12))


def test_opening_and_shutting_do_not_click() -> None:
    samples = swell(96000)
    got = run(Gate(RATE, 128, 1), samples, [128], amplitude(-30.0))
    assert not np.array_equal(got, samples)
    assert above_5_khz_dbfs(samples) < -100.0
    assert above_5_khz_dbfs(got) < -60.0


def gated_chain(threshold_db: float, block: int = 128, channels: int = 1) -> Chain:
    shared = SharedState()
    chain = Chain(ParameterBank(shared.pages[0]), Telemetry(shared), [])
    chain.bank.set("input/gate", threshold_db)
    chain.prepare(RATE, block, block, channels)
    return chain


def test_moving_the_threshold_does_not_click() -> None:
    """Shut over a loud tone, and opened again by being switched off."""
    chain, samples = gated_chain(-100.0), tone(100.0, 128 * 1500, level_dbfs=-9.0)
    out = np.empty((len(samples), 1), dtype=np.float32)
    for number, at in enumerate(range(0, len(samples), 128)):
        if number in (500, 1000):
            chain.bank.set("input/gate", 0.0 if number == 500 else -100.0)
        chain.process(samples[at : at + 128, None], out[at : at + 128])
    assert not out[128 * 900 : 128 * 1000].any()
    assert np.array_equal(out[-12800:, 0], samples[-12800:])
    assert above_5_khz_dbfs(out[:, 0]) < -60.0


def test_the_threshold_is_that_of_the_input_before_its_gain() -> None:
    samples = tone(220.0, 24000, level_dbfs=-50.0)[:, None]
    for gain_db, threshold_db, heard in ((30.0, -40.0, False), (-30.0, -60.0, True)):
        chain = gated_chain(threshold_db)
        chain.bank.set("input/gain", gain_db)
        chain.prepare(RATE, 128, 128)
        out = np.empty_like(samples)
        for at in range(0, len(samples), 128):
            chain.process(samples[at : at + 128], out[at : at + 128])
        assert bool(out[-1000:].any()) is heard


def test_a_successor_stands_as_the_one_before_did() -> None:
    hum = noise(np.random.default_rng(440), 48000, level_dbfs=-80.0)
    first, second = Gate(RATE, 128, 1), Gate(RATE, 128, 1)
    run(first, hum, [128], amplitude(-40.0))
    assert run(second, hum, [128], amplitude(-40.0))[:2400].any(), "it begins open"
    second.reset()
    second.adopt(first)
    assert not second.open
    assert not run(second, hum, [128], amplitude(-40.0)).any()


def test_it_asks_for_no_array_and_keeps_nothing() -> None:
    """An array for a block of 1024 frames would be 4096 bytes; 1.5 kB are views and numbers."""
    gate, samples = Gate(RATE, 1024, 1), burst()[: 1024 * 60].reshape(-1, 1024, 1)
    calls = [0]

    def call() -> None:
        gate.process(samples[calls[0] % len(samples)], 0.01)
        calls[0] += 1

    for _ in range(2 * len(samples)):
        call()
    memory = measure(call, 2 * len(samples))
    assert memory.kept_bytes < 4096
    assert memory.kept_array_bytes == 0
    assert memory.transient_bytes < 3072
    assert memory.garbage == 0
