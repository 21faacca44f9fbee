"""The follower against its formula, hop by hop in float64."""

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.follower import POWER_FLOOR, REACH, STRENGTH, WINDOW_SAMPLES, Follower
from signals import noise

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def slowly(reference: Float32, wanted: Float32, amount: float, signal: Float32, hop: int) -> Float64:
    """One channel; levels over the last WINDOW_SAMPLES, silence before the first."""
    padded = [np.concatenate([np.zeros(WINDOW_SAMPLES), part.astype(np.float64)]) for part in (reference, signal)]
    gains = [1.0]
    for hop_end in range(hop, len(signal) + 1, hop):
        levels = [np.mean(part[hop_end : hop_end + WINDOW_SAMPLES] ** 2) + POWER_FLOOR for part in padded]
        move = 0.5 * np.log(levels[0] / levels[1]) + wanted[hop_end // hop - 1]
        gains.append(float(np.exp(STRENGTH * amount * np.clip(move, -REACH, REACH))))
    line = np.interp(np.arange(1, len(signal) + 1) / hop, np.arange(len(gains)), gains)
    return np.asarray(line * signal)


@pytest.mark.parametrize("hop", [64, 128])
@pytest.mark.parametrize("amount", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("groups", [[1], [16], [3, 1, 7]], ids=str)
def test_equals_its_formula(hop: int, amount: float, groups: list[int], rng: np.random.Generator) -> None:
    hops = 80
    reference = np.stack([noise(rng, hops * hop), noise(rng, hops * hop, level_dbfs=-30.0)])
    signal = np.stack([noise(rng, hops * hop, level_dbfs=-40.0), noise(rng, hops * hop)])
    signal[:, 20 * hop : 30 * hop] = 0.0
    wanted = rng.normal(0.0, 0.5, (2, hops)).astype(np.float32)
    got, follower = signal.copy(), Follower(hop, 2)
    at = turn = 0
    while at < hops:
        end = min(at + groups[turn % len(groups)], hops)
        part = slice(at * hop, end * hop)
        follower.process(reference[:, part], wanted[:, at:end], amount, got[:, part])
        at, turn = end, turn + 1
    for channel in range(2):
        exact = slowly(reference[channel], wanted[channel], amount, signal[channel], hop)
        assert np.abs(got[channel] - exact).max() <= 1e-5
    if amount == 0.0:
        assert np.array_equal(got, signal)


def test_it_pulls_towards_the_player_but_not_all_the_way(rng: np.random.Generator) -> None:
    reference = noise(rng, 128 * 100, level_dbfs=-20.0)[np.newaxis]
    signal = noise(rng, 128 * 100, level_dbfs=-32.0)[np.newaxis]
    before = signal.copy()
    Follower(128, 1).process(reference, np.zeros((1, 100), dtype=np.float32), 1.0, signal)
    gained = 10.0 * np.log10(np.mean(signal[:, 6400:] ** 2) / np.mean(before[:, 6400:] ** 2))
    assert gained == pytest.approx(STRENGTH * 12.0, abs=0.3)


def test_reset_forgets(rng: np.random.Generator) -> None:
    follower, still = Follower(128, 1), np.zeros((1, 20), dtype=np.float32)
    reference, signal = noise(rng, 128 * 20)[np.newaxis], noise(rng, 128 * 20, level_dbfs=-40.0)[np.newaxis]
    first, second = signal.copy(), signal.copy()
    follower.process(reference, still, 1.0, first)
    follower.reset()
    follower.process(reference, still, 1.0, second)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_numbers_out_of_range_do_not_raise(value: float) -> None:
    follower = Follower(128, 1)
    signal = np.full((1, 256), value, dtype=np.float32)
    with np.errstate(all="ignore"):
        follower.process(signal.copy(), np.zeros((1, 2), dtype=np.float32), 1.0, signal)
    follower.reset()
    clean = np.full((1, 256), 0.5, dtype=np.float32)
    follower.process(clean.copy(), np.zeros((1, 2), dtype=np.float32), 1.0, clean)
    assert np.isfinite(clean).all()
