"""Low cut and high cut: Butterworth filters of 12 dB per octave whose edge moves without clicks, or that are off.

The filter is a state-variable one with trapezoidal integrators (V. Zavalishin, "The Art of VA Filter Design", 2012),
whose two states mean the same at every edge, run SIZE samples at a time as in `engine/filterbank.py`. The powers of its
matrix A are A^n = s_n A - r^2 s_(n-1), s_n = r^(n-1) sin(n t) / sin t, where r exp(+-it) are its eigenvalues. When the
edge moves, a second filter goes on from the states of the first, and the sound is faded across to it.
"""

import math

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

SIZE = 64
FADE_S = 0.004
DAMPING = math.sqrt(2.0)
HIGHEST = 0.45
"""Of the sample rate: no edge is above it."""
SAME = 1e-3
"""Edges that differ by this share are not worth a fade."""


class Cut:
    """One such filter, in place on float32 [n, channels], any n; no latency.

    high: takes away what is above its edge, else what is below. off: the edge in Hz at which, or beyond which, it
    costs nothing.
    """

    def __init__(self, sample_rate: float, channels: int, off: float, *, high: bool) -> None:
        self._rate, self._off, self._high = sample_rate, off, high
        self._active, self._other = (_Filter(channels, high=high) for _ in range(2))
        self._heard = np.zeros((SIZE, channels), dtype=np.float32)
        self._mixed = np.zeros((SIZE, channels), dtype=np.float32)
        self._length = max(1, round(FADE_S * sample_rate))
        rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, self._length + 1) / self._length)
        self._rise = rise.astype(np.float32)[:, None]
        self.reset()

    def reset(self) -> None:
        """Back to silence; the next edge is taken at once."""
        self._hertz = -1.0
        self._faded = -1
        self._active.reset()

    def process(self, out: Float32, hertz: float) -> None:
        """Filter out in place, on the way to an edge in Hz."""
        beyond = hertz >= self._off * (1.0 - SAME) if self._high else hertz <= self._off * (1.0 + SAME)
        wanted = 0.0 if beyond else min(hertz, HIGHEST * self._rate)
        if self._hertz < 0.0:
            self._hertz = wanted
            self._active.set(wanted / self._rate)
        start, count = 0, len(out)
        while start < count:
            if self._faded < 0 and abs(wanted - self._hertz) > SAME * self._hertz:
                self._begin(wanted, out[start])
            if self._faded < 0 and not self._hertz:
                return
            stop = min(count, start + SIZE)
            if self._faded >= 0:
                stop = min(stop, start + self._length - self._faded)
            self._advance(out[start:stop])
            start = stop

    def _begin(self, wanted: float, now: Float32) -> None:
        """Start a fade to an edge in Hz, 0: off; now [channels]: the next samples of the input."""
        first = self._active
        if self._hertz:
            np.copyto(self._other.state, first.state)
        else:
            # As if it had always run on this very value, or, as a low cut, on nothing: near to what is heard.
            self._other.reset()
            if self._high:
                np.copyto(self._other.state[1], now)
        self._other.set(wanted / self._rate)
        self._hertz, self._faded = wanted, 0

    def _advance(self, out: Float32) -> None:
        """At most SIZE samples, and none beyond the end of a fade."""
        count = len(out)
        heard = self._heard[:count]
        np.copyto(heard, out)
        self._active.process(heard, out)
        if self._faded < 0:
            return
        mixed, rise = self._mixed[:count], self._rise[self._faded : self._faded + count]
        self._other.process(heard, mixed)
        np.subtract(mixed, out, out=mixed)
        np.multiply(mixed, rise, out=mixed)
        np.add(out, mixed, out=out)
        self._faded += count
        if self._faded == self._length:
            self._active, self._other = self._other, self._active
            self._faded = -1


class _Filter:
    """The filter at one edge, which stays; state [2, channels]."""

    def __init__(self, channels: int, *, high: bool) -> None:
        self._high = high
        self._off = True
        self.state = np.zeros((2, channels), dtype=np.float32)
        self._next = np.zeros((2, channels), dtype=np.float32)
        self._fed = np.zeros((SIZE, channels), dtype=np.float32)
        self._moved = np.zeros((2, channels), dtype=np.float32)
        self._order = np.arange(-1.0, SIZE + 1.0)
        # s_n and r^2 s_(n-1), n = 0..SIZE, and what they are made from.
        self._powers, self._angles = (np.zeros(SIZE + 2) for _ in range(2))
        self._first, self._second, self._scratch = (np.zeros(SIZE + 1) for _ in range(3))
        # h[m] at SIZE - 1 + m, nothing before it; seen as the matrix of h[n - k].
        self._answer = np.zeros(2 * SIZE - 1, dtype=np.float32)
        step = self._answer.itemsize
        self._shifted = np.lib.stride_tricks.as_strided(
            self._answer[SIZE - 1 :], (SIZE, SIZE), (step, -step), writeable=False
        )
        self._through = np.zeros((SIZE, SIZE), dtype=np.float32)
        self._out = np.zeros((SIZE, 2), dtype=np.float32)
        self._into = np.zeros((2, SIZE), dtype=np.float32)
        self._on = np.zeros((SIZE + 1, 2, 2), dtype=np.float32)

    def reset(self) -> None:
        """Back to silence."""
        self.state.fill(0.0)

    def set(self, edge: float) -> None:
        """Another edge, as a share of the sample rate; 0: what comes in goes out."""
        self._off = edge <= 0.0
        if self._off:
            return
        g = math.tan(math.pi * edge)
        a1 = 1.0 / (1.0 + g * (g + DAMPING))
        a2 = g * a1
        matrix = ((2.0 * a1 - 1.0, -2.0 * a2), (2.0 * g * a1, 1.0 - 2.0 * g * a2))
        into = (2.0 * a2, 2.0 * g * a2)
        if self._high:
            out = (g * a1, 1.0 - g * a2)
            direct = g * a2
        else:
            out = (-(DAMPING + g) * a1, (DAMPING + g) * a2 - 1.0)
            direct = a1
        radius = math.sqrt((1.0 - DAMPING * g + g * g) * a1)
        angle = math.acos(0.5 * (matrix[0][0] + matrix[1][1]) / radius)
        np.multiply(self._order, angle, out=self._angles)
        np.sin(self._angles, out=self._angles)
        np.multiply(self._order, math.log(radius), out=self._powers)
        np.exp(self._powers, out=self._powers)
        np.multiply(self._powers, self._angles, out=self._powers)
        np.multiply(self._powers, 1.0 / (radius * math.sin(angle)), out=self._powers)
        np.copyto(self._first, self._powers[1:])
        np.multiply(self._powers[:-1], radius * radius, out=self._second)
        once = _row(out, matrix)
        after = _column(matrix, into)
        answer = self._answer[SIZE - 1 :]
        answer[0] = direct
        self._draw(_dot(once, into), _dot(out, into), answer[1:])
        for place in range(2):
            self._draw(once[place], out[place], self._out[:, place])
            self._draw(after[place], into[place], self._into[place, ::-1])
            for other in range(2):
                self._draw(matrix[place][other], float(place == other), self._on[:, place, other])
        np.copyto(self._through, self._shifted)

    def _draw(self, first: float, second: float, out: Float32) -> None:
        """s_n first - r^2 s_(n-1) second into out [n], from n = 0."""
        count = len(out)
        scratch, other = self._scratch[:count], self._angles[:count]
        np.multiply(self._first[:count], first, out=scratch)
        np.multiply(self._second[:count], second, out=other)
        np.subtract(scratch, other, out=scratch)
        np.copyto(out, scratch, casting="same_kind")

    def process(self, block: Float32, out: Float32) -> None:
        """At most SIZE samples of block [n, channels] to out, other memory of the same shape."""
        if self._off:
            np.copyto(out, block)
            return
        count = len(block)
        fed, state = self._fed[:count], self.state
        np.matmul(self._through[:count, :count], block, out=out)
        np.matmul(self._out[:count], state, out=fed)
        np.add(out, fed, out=out)
        np.matmul(self._into[:, SIZE - count :], block, out=self._moved)
        np.matmul(self._on[count], state, out=self._next)
        np.add(self._moved, self._next, out=state)


Pair = tuple[float, float]


def _dot(row: Pair, column: Pair) -> float:
    return row[0] * column[0] + row[1] * column[1]


def _row(row: Pair, matrix: tuple[Pair, Pair]) -> Pair:
    return (
        row[0] * matrix[0][0] + row[1] * matrix[1][0],
        row[0] * matrix[0][1] + row[1] * matrix[1][1],
    )


def _column(matrix: tuple[Pair, Pair], column: Pair) -> Pair:
    return (_dot(matrix[0], column), _dot(matrix[1], column))
