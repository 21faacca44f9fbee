"""The matrix filter bank against scipy's per-sample recursion."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende.engine.excitation import band_filters
from duende.engine.filterbank import FilterBank
from signals import noise

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def slowly(filters: list[Float64], oversampling: int, samples: Float32) -> Float64:
    """Zero-stuffed, scaled and filtered one after the other in float64."""
    wide = np.zeros(len(samples) * oversampling)
    wide[::oversampling] = oversampling * samples.astype(np.float64)
    return np.stack([signal.sosfilt(sos, wide) for sos in filters])


@pytest.mark.parametrize("rate", [44100.0, 48000.0])
@pytest.mark.parametrize("block", [64, 128])
@pytest.mark.parametrize("groups", [[1], [5], [2, 1, 3]], ids=str)
def test_equals_scipy(rate: float, block: int, groups: list[int], rng: np.random.Generator) -> None:
    filters = band_filters(rate)
    bank = FilterBank(filters, 2, block)
    memory = bank.allocate(2, max(groups))
    samples = np.stack([noise(rng, 60 * block) for _ in range(2)])
    parts, at, turn = [], 0, 0
    while at < samples.shape[1]:
        size = min(groups[turn % len(groups)] * block, samples.shape[1] - at)
        parts.append(bank.process(np.ascontiguousarray(samples[:, at : at + size]), memory).copy())
        at, turn = at + size, turn + 1
    got = np.concatenate(parts, axis=2)
    for channel in range(2):
        wanted = slowly(filters, 2, samples[channel])
        assert np.abs(got[channel] - wanted).max() <= 2e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("block", [1, 7, 60])
@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_other_filters_blocks_and_rates(block: int, oversampling: int, rng: np.random.Generator) -> None:
    filters = [
        np.atleast_2d(signal.butter(1, 0.3, output="sos")),
        np.atleast_2d(signal.butter(3, 0.2, "highpass", output="sos")),
        np.atleast_2d(signal.butter(2, [0.1, 0.2], "bandpass", output="sos")),
    ]
    bank = FilterBank(filters, oversampling, block)
    samples = noise(rng, 20 * block)
    got = bank.process(samples[np.newaxis], bank.allocate(1, 20))[0]
    wanted = slowly(filters, oversampling, samples)
    assert np.abs(got - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


def test_reset_forgets(rng: np.random.Generator) -> None:
    bank = FilterBank(band_filters(48000.0), 2, 64)
    memory = bank.allocate(1, 1)
    bank.process(noise(rng, 64)[np.newaxis], memory)
    assert bank.process(np.zeros((1, 64), dtype=np.float32), memory).any()
    memory.reset()
    assert not bank.process(np.zeros((1, 64), dtype=np.float32), memory).any()
