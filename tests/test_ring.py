"""The ring against a plain list, around every wrap, and between two threads."""

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from duende.engine.ring import RingBuffer


def ramp(start: int, count: int, channels: int = 1) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Frames that carry their own number (exact in float32 up to 2**24), negated in odd channels."""
    signs = np.where(np.arange(channels) % 2, -1.0, 1.0)
    return (np.arange(start, start + count)[:, None] * signs).astype(np.float32)


@pytest.mark.parametrize("capacity", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("channels", [1, 2])
def test_random_pushes_and_pops_equal_a_list(capacity: int, channels: int, rng: np.random.Generator) -> None:
    ring = RingBuffer(capacity, channels)
    waiting: list[int] = []
    sent = 0
    for _ in range(2000):
        count = int(rng.integers(0, 2 * capacity + 1))
        if rng.random() < 0.5:
            frames = ramp(sent, count, channels)
            fitted = ring.write(frames)
            assert fitted == min(count, capacity - len(waiting))
            waiting += range(sent, sent + fitted)
            sent += fitted
        else:
            out = np.full((count, channels), np.float32(0.5))
            got = ring.read(out)
            assert got == min(count, len(waiting))
            taken, waiting = waiting[:got], waiting[got:]
            assert out[:got, 0].tolist() == taken
            assert (out[:got, -1] == out[:got, 0] * (-1 if channels == 2 else 1)).all()
            assert (out[got:] == 0.5).all(), "frames beyond those that were there must stay untouched"
        assert (ring.available, ring.free) == (len(waiting), capacity - len(waiting))
        assert ring.capacity == capacity
    assert sent > 10 * capacity


@pytest.mark.parametrize("step", [1, 63, 64, 65])
def test_every_wrap_position(step: int) -> None:
    ring = RingBuffer(65)
    out = np.zeros((step, 1), dtype=np.float32)
    for turn in range(200):
        assert ring.write(ramp(turn * step, step)) == step
        assert ring.read(out) == step
        assert out[:, 0].tolist() == list(range(turn * step, (turn + 1) * step))


def test_silence_takes_its_place_in_the_queue() -> None:
    ring = RingBuffer(7)
    ring.write(ramp(1, 5))
    ring.read(np.zeros((5, 1), dtype=np.float32))
    ring.write(ramp(1, 2))
    assert ring.write_silence(9) == 5
    assert ring.write_silence(1) == 0
    out = np.full((7, 1), np.float32(9.0))
    assert ring.read(out) == 7
    assert out[:, 0].tolist() == [1, 2, 0, 0, 0, 0, 0]


def test_clear_forgets() -> None:
    ring = RingBuffer(4)
    ring.write(ramp(0, 3))
    ring.clear()
    assert (ring.available, ring.free) == (0, 4)
    assert ring.read(np.zeros((4, 1), dtype=np.float32)) == 0


@pytest.mark.parametrize(("capacity", "channels"), [(0, 1), (1, 0)])
def test_impossible_sizes_are_refused(capacity: int, channels: int) -> None:
    with pytest.raises(ValueError, match=f"{capacity} frames x {channels} channels"):
        RingBuffer(capacity, channels)


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns 500 times more often than usual, so that they meet in the middle of calls."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_two_threads_lose_and_tear_nothing() -> None:
    total, ring = 20_000, RingBuffer(257)
    received: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    failed = threading.Event()

    def produce() -> None:
        sent, size = 0, 1
        while sent < total and not failed.is_set():
            sent += ring.write(ramp(sent, min(size, total - sent)))
            size = size % 97 + 1

    writer = threading.Thread(target=produce, daemon=True)
    writer.start()
    got, size, idle = 0, 1, 0
    while got < total and idle < 20_000_000:
        out = np.empty((size, 1), dtype=np.float32)
        count = ring.read(out)
        idle = 0 if count else idle + 1
        if count:
            received.append(out[:count, 0])
        got += count
        size = size % 89 + 1
    failed.set()
    writer.join(timeout=30.0)
    assert not writer.is_alive()
    assert np.array_equal(np.concatenate(received), np.arange(total, dtype=np.float32))
