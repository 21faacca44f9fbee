"""History and delay line against slices of the whole signal."""

import numpy as np
import pytest

from duende.engine.history import History
from memory import measure
from processors import DelayLine


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 300])
@pytest.mark.parametrize("most", [1, 64, 500])
def test_last_equals_the_whole_signal(length: int, most: int, rng: np.random.Generator) -> None:
    history = History(2, length, most)
    whole = np.zeros((2, length), dtype=np.float32)
    for _ in range(300):
        samples = rng.standard_normal((2, int(rng.integers(1, most + 1)))).astype(np.float32)
        history.push(samples)
        whole = np.concatenate([whole, samples], axis=1)
        reach = length + samples.shape[1]
        count = int(rng.integers(0, reach + 1))
        skip = int(rng.integers(0, reach - count + 1))
        end = whole.shape[1] - skip
        assert np.array_equal(history.last(count, skip=skip), whole[:, end - count : end])
        assert np.array_equal(history.last(reach), whole[:, -reach:])


def test_last_is_a_view_in_one_piece() -> None:
    history = History(1, 8, 4)
    for _ in range(20):
        history.push(np.ones((1, 3), dtype=np.float32))
        view = history.last(8)
        assert view.base is not None
        assert view.flags.c_contiguous


def test_reset_is_silence() -> None:
    history = History(1, 8, 4)
    history.push(np.ones((1, 4), dtype=np.float32))
    history.reset()
    assert not history.last(8).any()
    history.push(np.full((1, 2), np.float32(3.0)))
    assert history.last(8)[0].tolist() == [0, 0, 0, 0, 0, 0, 3, 3]


def test_pushing_asks_for_no_array(rng: np.random.Generator) -> None:
    history = History(5, 2048, 128)
    samples = rng.standard_normal((5, 128)).astype(np.float32)
    memory = measure(lambda: history.push(samples), 200)
    assert memory.transient_bytes < 2048, "moving the rows back takes 40 kB if numpy thinks that they overlap"
    assert memory.kept_array_bytes == 0


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"{sizes[0]} signals x {sizes[1]} samples"):
        History(*sizes)


@pytest.mark.parametrize("delay", [0, 1, 63, 64, 65, 1000])
def test_delay_line_shifts_by_its_delay(delay: int, rng: np.random.Generator) -> None:
    line = DelayLine(delay, 128, channels=2)
    signal = rng.standard_normal((5000, 2)).astype(np.float32)
    out, at = np.empty_like(signal), 0
    while at < len(signal):
        count = min(int(rng.integers(1, 129)), len(signal) - at)
        line.process(signal[at : at + count], out[at : at + count])
        at += count
    assert np.array_equal(out[delay:], signal[: len(signal) - delay])
    assert not out[:delay].any()
    line.reset()
    first = np.empty((1, 2), dtype=np.float32)
    line.process(np.ones((1, 2), dtype=np.float32), first)
    assert (first == (1.0 if delay == 0 else 0.0)).all()
