"""FIR smoothing against numpy's convolution, and straight lines against numpy's interpolation."""

import numpy as np
import pytest

from duende.engine.smoothing import FirSmoother, interpolate


@pytest.mark.parametrize("length", [1, 2, 16, 128])
@pytest.mark.parametrize("most", [1, 8, 64])
def test_equals_a_convolution_whatever_the_grouping(length: int, most: int, rng: np.random.Generator) -> None:
    weights = rng.random(length)
    smoother = FirSmoother(weights, 3, most)
    values = rng.standard_normal((3, 500)).astype(np.float32)
    wanted = np.stack([np.convolve(row.astype(np.float64), weights)[:500] for row in values])
    before, at = np.zeros(3), 0
    while at < 500:
        count = min(int(rng.integers(1, most + 1)), 500 - at)
        smooth = smoother.process(values[:, at : at + count])
        assert smooth.shape == (3, count + 1)
        assert np.abs(smooth[:, 0] - before).max() <= 1e-5 * length, "column 0 is the result before the push"
        assert np.abs(smooth[:, 1:] - wanted[:, at : at + count]).max() <= 1e-5 * length
        before, at = smooth[:, -1].astype(np.float64), at + count


def test_it_ends_and_resets() -> None:
    smoother = FirSmoother(np.full(16, 1.0 / 16), 1, 8)
    smoother.process(np.ones((1, 8), dtype=np.float32))
    for _ in range(2):
        smoother.process(np.zeros((1, 8), dtype=np.float32))
    assert smoother.process(np.zeros((1, 8), dtype=np.float32)).tolist() == [[0.0] * 9]
    smoother.process(np.ones((1, 8), dtype=np.float32))
    smoother.reset()
    assert smoother.process(np.zeros((1, 8), dtype=np.float32)).tolist() == [[0.0] * 9]


def test_positive_stays_positive(rng: np.random.Generator) -> None:
    smoother = FirSmoother(rng.random(128), 1, 8)
    for level in (1e6, 1e-30, 0.0, 1e3, 1e-20):
        assert smoother.process(np.full((1, 8), level, dtype=np.float32)).min() >= 0.0


@pytest.mark.parametrize("width", [1, 16, 128])
def test_lines_go_straight_from_end_to_end(width: int, rng: np.random.Generator) -> None:
    ends = rng.standard_normal((2, 6)).astype(np.float32)
    rise = (np.arange(1, width + 1) / width).astype(np.float32)
    out = np.empty((2, 5, width), dtype=np.float32)
    interpolate(ends, rise, np.empty((2, 5, 1), dtype=np.float32), out)
    for row in range(2):
        wanted = np.interp(np.arange(1, 5 * width + 1) / width, np.arange(6), ends[row].astype(np.float64))
        assert np.abs(out[row].ravel() - wanted).max() <= 1e-6
