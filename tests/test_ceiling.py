"""Nothing gets past the ceiling, and what stays below its knee is not touched."""

import numpy as np
import pytest

from duende.engine.ceiling import Ceiling
from signals import amplitude

TOP = amplitude(-0.3)
KNEE = amplitude(-3.3)


def test_below_the_knee_every_bit_stays(rng: np.random.Generator) -> None:
    block = rng.uniform(-KNEE, KNEE, (1000, 2)).astype(np.float32)
    block[:4, 0] = [0.0, -0.0, 1e-40, np.nextafter(np.float32(KNEE), np.float32(0.0))]
    before = block.copy()
    assert not Ceiling(1000, 2).process(block)
    assert block.tobytes() == before.tobytes()


def test_quiet_samples_beside_loud_ones_stay_too(rng: np.random.Generator) -> None:
    block = rng.uniform(-2.0, 2.0, (1000, 1)).astype(np.float32)
    before = block.copy()
    assert Ceiling(1000, 1).process(block)
    quiet = np.abs(before) <= np.nextafter(np.float32(KNEE), np.float32(0.0))
    assert quiet.any()
    assert block[quiet].tobytes() == before[quiet].tobytes()
    assert (np.abs(block[~quiet]) < np.abs(before[~quiet])).all()


HOSTILE = [1.0, 1.5, 100.0, 1e6, 1e30, 3.4e38, np.inf]


@pytest.mark.parametrize("level", HOSTILE)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nothing_is_louder_than_the_ceiling(level: float, sign: float) -> None:
    block = np.full((64, 1), sign * level, dtype=np.float32)
    assert Ceiling(64, 1).process(block)
    assert np.abs(block).max() <= np.float32(TOP)
    assert (np.sign(block) == sign).all()
    assert np.abs(block).min() > KNEE


def test_what_is_no_number_becomes_silence() -> None:
    block = np.array([[0.1], [np.nan], [-np.nan], [0.2], [np.inf], [-1e30]], dtype=np.float32)
    assert Ceiling(64, 1).process(block)
    assert block[[0, 1, 2, 3], 0].tolist() == np.array([0.1, 0.0, 0.0, 0.2], dtype=np.float32).tolist()
    assert np.isfinite(block).all()
    assert np.abs(block).max() <= np.float32(TOP)


def test_bits_at_random_never_get_past(rng: np.random.Generator) -> None:
    ceiling = Ceiling(4096, 1)
    for _ in range(20):
        block = rng.integers(0, 2**32, 4096, dtype=np.uint32).view(np.float32).reshape(-1, 1).copy()
        ceiling.process(block)
        assert np.isfinite(block).all()
        assert np.abs(block).max() <= np.float32(TOP)


def test_the_curve_rises_without_a_corner() -> None:
    block = np.linspace(0.0, 3.0, 30_001, dtype=np.float32).reshape(-1, 1)
    Ceiling(30_001, 1).process(block)
    slope = np.diff(block[:, 0].astype(np.float64)) * 10_000.0
    assert slope.min() >= -0.01
    assert np.abs(np.diff(slope)).max() <= 0.02, "slope 1 below the knee goes over into the bend"


def test_other_levels() -> None:
    block = np.full((8, 1), 9.0, dtype=np.float32)
    Ceiling(8, 1, ceiling_db=-6.0, knee_db=1.0).process(block)
    assert amplitude(-7.0) < block.max() <= np.float32(amplitude(-6.0))
