"""Low and high cut: scipy's Butterworth filters at any block size, moving without clicks, and off without a trace."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende.engine.cut import Cut
from memory import measure
from signals import noise, tone

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

OFF = {False: 20.0, True: 20000.0}
BLOCKS = [1, 63, 64, 65, 128, 1000, 8192]


def run(cut: Cut, samples: Float32, hertz: float, block: int) -> Float32:
    """Samples [n, channels] through a filter whose edge is asked for to be at hertz."""
    out = samples.copy()
    for at in range(0, len(out), block):
        cut.process(out[at : at + block], hertz)
    return out


def wanted(samples: Float32, rate: float, hertz: float, high: bool) -> Float64:
    sections = signal.butter(2, hertz, "lowpass" if high else "highpass", fs=rate, output="sos")
    return np.asarray(signal.sosfilt(sections, samples.astype(np.float64), axis=0))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("high", "hertz"), [(False, 21.0), (False, 80.0), (False, 1000.0), (True, 1000.0), (True, 6000.0)]
)
def test_equals_a_butterworth_filter_at_any_block_size(
    block: int, high: bool, hertz: float, rng: np.random.Generator
) -> None:
    samples = noise(rng, 18_000, level_dbfs=-12.0).reshape(-1, 2)
    got = run(Cut(48000.0, 2, OFF[high], high=high), samples, hertz, block)
    assert np.abs(got - wanted(samples, 48000.0, hertz, high)).max() <= 1e-5


@pytest.mark.parametrize("rate", [44100.0, 48000.0, 88200.0, 96000.0])
@pytest.mark.parametrize(("high", "hertz"), [(False, 21.0), (False, 1000.0), (True, 1000.0), (True, 19000.0)])
def test_equals_a_butterworth_filter_at_any_rate(
    rate: float, high: bool, hertz: float, rng: np.random.Generator
) -> None:
    samples = noise(rng, 30_000, level_dbfs=-12.0)[:, None]
    got = run(Cut(rate, 1, OFF[high], high=high), samples, hertz, 100)
    assert np.abs(got - wanted(samples, rate, hertz, high)).max() <= 1e-5


@pytest.mark.parametrize("high", [False, True])
def test_off_it_changes_no_bit(high: bool, rng: np.random.Generator) -> None:
    samples = noise(rng, 9000)[:, None]
    cut = Cut(48000.0, 1, OFF[high], high=high)
    assert np.array_equal(run(cut, samples, OFF[high], 64), samples)
    run(cut, samples, 1000.0, 64)
    run(cut, samples, OFF[high], 64)
    assert np.array_equal(run(cut, samples, OFF[high], 64), samples)


@pytest.mark.parametrize("block", [1, 64, 480, 8192])
@pytest.mark.parametrize("high", [False, True])
def test_it_moves_and_goes_on_and_off_without_clicks(high: bool, block: int) -> None:
    """A sine of 100 Hz leaves nothing above 5 kHz; where it has come to rest, it is what it would have been."""
    cut, stay = Cut(48000.0, 1, OFF[high], high=high), 16384
    edges = [OFF[high], 1000.0, 90.0 if not high else 1010.0, OFF[high], 250.0 if not high else 4000.0]
    samples = tone(100.0, len(edges) * stay, level_dbfs=-3.0)[:, None]
    parts = np.split(samples, len(edges))
    got = np.concatenate([run(cut, part, edge, block) for part, edge in zip(parts, edges, strict=True)])[:, 0]
    high_pass = signal.firwin(1023, 5000.0, window=("kaiser", 12.0), pass_zero=False, fs=48000.0)
    clicks = signal.oaconvolve(got.astype(np.float64), high_pass, mode="valid")
    assert 20.0 * np.log10(np.abs(clicks).max()) <= -60.0
    settled = wanted(samples, 48000.0, edges[-1], high)[-4800:, 0]
    assert np.abs(got[-4800:] - settled).max() <= 1e-4


def test_reset_forgets_and_takes_the_next_edge_at_once(rng: np.random.Generator) -> None:
    samples = noise(rng, 5000, level_dbfs=-12.0)[:, None]
    cut = Cut(48000.0, 1, 20.0, high=False)
    for hertz in (300.0, 20.0, 900.0):
        run(cut, samples[:100], 500.0, 64)
        cut.reset()
        got = run(cut, samples, hertz, 64)
        assert np.abs(got - (samples if hertz == 20.0 else wanted(samples, 48000.0, hertz, False))).max() <= 1e-5


@pytest.mark.parametrize("high", [False, True])
def test_moving_asks_for_no_array(high: bool, rng: np.random.Generator) -> None:
    cut, out = Cut(48000.0, 2, OFF[high], high=high), noise(rng, 4000).reshape(2000, 2)
    edges = [OFF[high], 1000.0, 1500.0 if high else 300.0]
    turn = 0

    def call() -> None:
        nonlocal turn
        turn += 1
        cut.process(out, edges[turn % 3])

    memory = measure(call, 50)
    assert memory.transient_bytes < 4096
    assert memory.kept_array_bytes == 0
