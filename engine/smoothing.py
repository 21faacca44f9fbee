"""Causal FIR smoothing of several slow signals, and straight lines between their values."""

import functools

import numpy as np
import numpy.typing as npt

from .history import History

Float32 = npt.NDArray[np.float32]


class FirSmoother:
    """Weighted mean of the last values of each signal; float32, sums of positive numbers stay positive.

    weights: [length], newest first.
    """

    def __init__(self, weights: npt.ArrayLike, signals: int, max_push: int) -> None:
        self._weights = np.asarray(weights, dtype=np.float64)[::-1].tobytes()
        self._length = len(self._weights) // 8
        # One more result than pushed values: the one just before them.
        self.history = History(signals, self._length + 1, max_push)
        self._signals = signals
        # Small matrices of their own, and room for the result, for each number of values pushed at a time.
        self._sized: dict[int, tuple[Float32, Float32]] = {}
        for count in powers_of_two(max_push):
            self._sized[count] = self._size(count)

    def process(self, values: Float32) -> Float32:
        """Smoothed values [signals, 1 + n] before and after each of values [signals, n]; valid until the next call."""
        count = values.shape[1]
        self.history.push(values)
        sized = self._sized.get(count)
        if sized is None:
            sized = self._sized[count] = self._size(count)
        matrix, smooth = sized
        np.matmul(self.history.last(self._length + count), matrix, out=smooth)
        return smooth

    def _size(self, count: int) -> tuple[Float32, Float32]:
        return _toeplitz(self._weights, count), np.zeros((self._signals, count + 1), dtype=np.float32)

    def reset(self) -> None:
        """Back to zeros."""
        self.history.reset()


@functools.lru_cache(maxsize=64)
def _toeplitz(newest_last: bytes, count: int) -> Float32:
    """Weights [length], float64, against length + count values: [length + count, count + 1]; shared, not to change."""
    weights = np.frombuffer(newest_last)
    matrix = np.zeros((len(weights) + count, count + 1), dtype=np.float32)
    for column in range(count + 1):
        matrix[column : column + len(weights), column] = weights
    return matrix


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4, ... up to largest: the numbers of frames that a stream is advanced by."""
    return [1 << power for power in range(largest.bit_length())]


def rising(width: int) -> Float32:
    """A straight line [width] of steps up to 1, the first one above 0."""
    return np.asarray(np.arange(1, width + 1) / width, dtype=np.float32)


def interpolate(ends: Float32, rise: Float32, difference: Float32, out: Float32) -> None:
    """Draw straight lines through ends [..., 1 + n] into out [..., n, width], rise [width] going up to 1.

    difference [..., n, 1] is scratch.
    """
    low = ends[..., :-1, None]
    np.subtract(ends[..., 1:, None], low, out=difference)
    np.multiply(difference, rise, out=out)
    np.add(out, low, out=out)


@functools.lru_cache(maxsize=16)
def line_matrix(count: int, width: int) -> Float32:
    """What `interpolate` does with 1 + count ends [1 + count], as a matrix [1 + count, count * width]; shared."""
    lines = np.zeros((1 + count, count, width), dtype=np.float32)
    ends, room = np.eye(1 + count, dtype=np.float32), np.zeros((1 + count, count, 1), dtype=np.float32)
    interpolate(ends, rising(width), room, lines)
    return lines.reshape(1 + count, -1)


def raised_cosine(length: int, beyond: int) -> Float32:
    """Rise [length + beyond] from 0 to 1 within length samples; its mirror image is its complement."""
    rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(np.arange(1, length + beyond + 1), length) / length)
    return np.asarray(rise, dtype=np.float32)


class Glide:
    """A value that follows its goal as a critically damped pair of one-poles: no step and no corner, however it jumps.

    time: constant of the one-poles in samples. The first goal, and the first after `reset`, is taken at once.
    """

    SETTLED = 1e-6

    def __init__(self, time: float, max_block: int) -> None:
        # Solves v' = (u - v) / time, u' = (goal - u) / time exactly, at every sample.
        frames = np.arange(1, max_block + 1) / time
        basis = [np.exp(-frames), frames * np.exp(-frames), np.ones(max_block)]
        self._basis = np.stack(basis, axis=1).astype(np.float32)
        self._state = np.zeros(3, dtype=np.float32)
        self._line = np.zeros(max_block, dtype=np.float32)
        self._shares = [(float(once), float(rise)) for once, rise in self._basis[:, :2]]
        self.value = self._lead = 0.0
        self.fresh = True

    def reset(self) -> None:
        """The next goal is taken at once."""
        self.fresh = True

    def adopt(self, other: "Glide") -> None:
        """Stand where another one does."""
        self.value, self._lead, self.fresh = other.value, other._lead, other.fresh

    def draw(self, goal: float, count: int) -> Float32 | None:
        """The values [count] on the way to goal, valid until the next call; None: all are `value`, which is goal."""
        if self.fresh:
            self.value, self._lead, self.fresh = goal, goal, False
        away, lead = self.value - goal, self._lead - goal
        bound = self.SETTLED * max(abs(goal), 1e-3)
        if abs(away) <= bound and abs(lead) <= bound:
            self.value = self._lead = goal
            return None
        self._state[0], self._state[1], self._state[2] = away, lead, goal
        line = self._line[:count]
        np.dot(self._basis[:count], self._state, out=line)
        once, rise = self._shares[count - 1]
        self.value, self._lead = goal + away * once + lead * rise, goal + lead * once
        return line

    def scale(self, samples: Float32, goal: float) -> None:
        """Multiply samples [..., n] in place, on the way to a factor."""
        line = self.draw(goal, samples.shape[-1])
        if line is not None:
            np.multiply(samples, line, out=samples)
        elif goal != 1.0:
            np.multiply(samples, np.float32(goal), out=samples)
