"""Convolution with long impulse responses and no latency: uniformly partitioned overlap-save.

The response is cut into partitions of P samples, each kept as a spectrum of length 2P (A. Oppenheim and R. Schafer,
"Discrete-Time Signal Processing", block convolution). A block that ends inside a partition is answered at once by
transforming what has arrived of it, so the output is never late whatever the block size. `Convolver` fades from one
response to another; `FixedConvolver` keeps to one, of up to seconds, at a fraction of the cost.
"""

import numpy as np
import numpy.typing as npt

from .fourier import RealTransform

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]


def partition_spectra(taps: npt.ArrayLike, partition: int, count: int | None = None) -> Complex64:
    """Spectra complex64 [count, partition + 1] of an impulse response [taps], padded with zeros.

    They are 2P times as large as numpy's, because `Convolver` scales its transforms by 1 / 2P.
    """
    response = np.asarray(taps, dtype=np.float64).ravel()
    needed = max(1, -(-len(response) // partition))
    count = needed if count is None else count
    if needed > count:
        raise ValueError(f"{len(response)} taps need {needed} partitions of {partition}, there are {count}")
    padded = np.zeros((count, 2 * partition))
    padded[:, :partition] = np.pad(response, (0, count * partition - len(response))).reshape(count, partition)
    return (2 * partition * np.fft.rfft(padded, axis=1)).astype(np.complex64)


class Convolver:
    """One impulse response on [channels] signals; float32, blocks of any length, 0 samples of latency.

    response: complex64 [partitions, partition + 1] from `partition_spectra`.
    """

    latency_samples = 0

    def __init__(self, response: Complex64, channels: int = 1) -> None:
        self._count, bins = response.shape
        self._size = size = bins - 1
        self._transform = RealTransform(2 * size)
        self._response = response.copy()
        self._incoming = response.copy()
        self._wanted = response.copy()
        self._fading = self._waiting = False
        # Spectra of past partitions, newest first from _head; stored twice so that a window never wraps.
        self._spectra = np.zeros((channels, 2 * self._count, bins), dtype=np.complex64)
        self._head = 0
        self._pair = np.zeros((channels, 2 * size), dtype=np.float32)
        self._filled = 0
        self._products = np.zeros((channels, self._count - 1, bins), dtype=np.complex64)
        self._tail, self._incoming_tail, self._sum = np.zeros((3, channels, bins), dtype=np.complex64)
        self._time = np.zeros((channels, 2 * size), dtype=np.float32)
        self._faded = np.zeros((channels, size), dtype=np.float32)
        self._ramp = (np.arange(1, size + 1, dtype=np.float32)) / size

    def fade_to(self, response: Complex64) -> None:
        """Take another response of the same shape; the next whole partition of output crossfades to it.

        Between partitions that begins at once, inside one (where a fade may be under way) after it.
        """
        self._wanted[:] = response
        self._waiting = True
        if not self._filled:
            self._begin_fade()

    def process(self, block: Float32, out: Float32) -> None:
        """Convolve block [channels, n] into out [channels, n]; they may be the same array."""
        start, count = 0, block.shape[1]
        while start < count:
            end = min(start + self._size - self._filled, count)
            self._advance(block[:, start:end], out[:, start:end])
            start = end

    def reset(self) -> None:
        """Back to silence; a pending response is taken at once."""
        if self._waiting:
            self._response, self._wanted = self._wanted, self._response
        elif self._fading:
            self._response, self._incoming = self._incoming, self._response
        self._fading = self._waiting = False
        for state in (self._spectra, self._pair, self._tail, self._incoming_tail):
            state.fill(0.0)
        self._filled = 0

    def _add_past(self, response: Complex64, tail: Complex64) -> None:
        """What the completed partitions, newest first, still give with a response."""
        past = self._spectra[:, self._head : self._head + self._count - 1]
        np.multiply(response[1:], past, out=self._products)
        np.add.reduce(self._products, axis=1, out=tail)

    def _begin_fade(self) -> None:
        self._incoming, self._wanted = self._wanted, self._incoming
        self._fading, self._waiting = True, False
        self._add_past(self._incoming, self._incoming_tail)

    def _advance(self, block: Float32, out: Float32) -> None:
        size, filled = self._size, self._filled
        end = filled + block.shape[1]
        self._pair[:, size + filled : size + end] = block
        current = self._spectra[:, self._head - 1 if self._head else 2 * self._count - 1]
        self._transform.forward(self._pair, current)
        self._answer(current, self._response[0], self._tail)
        fresh = self._time[:, size + filled : size + end]
        if self._fading:
            faded = self._faded[:, : end - filled]
            faded[:] = fresh
            self._answer(current, self._incoming[0], self._incoming_tail)
            np.subtract(fresh, faded, out=fresh)
            np.multiply(fresh, self._ramp[filled:end], out=fresh)
            np.add(fresh, faded, out=out)
        else:
            out[:] = fresh
        self._filled = end
        if end == size:
            self._turn()

    def _answer(self, current: Complex64, first: Complex64, tail: Complex64) -> None:
        np.multiply(current, first, out=self._sum)
        np.add(self._sum, tail, out=self._sum)
        self._transform.inverse(self._sum, self._time)

    def _turn(self) -> None:
        """A partition is complete: make it the newest of the past and prepare the sum over the past."""
        size, count = self._size, self._count
        if self._fading:
            self._response, self._incoming = self._incoming, self._response
            self._fading = False
        head = self._head - 1 if self._head else 2 * count - 1
        twin = head - count if head >= count else head + count
        self._spectra[:, twin] = self._spectra[:, head]
        self._head = min(head, twin)
        self._pair[:, :size] = self._pair[:, size:]
        self._pair[:, size:] = 0.0
        self._filled = 0
        if count > 1:
            self._add_past(self._response, self._tail)
        if self._waiting:
            self._begin_fade()


class FixedConvolver:
    """A long response that stays, on one or more channels; float32, blocks of any length, 0 samples of latency.

    The first PARTITION taps are a matrix product in time, for whatever has arrived. The rest is one dot product per
    frequency, done for the next PARTITION samples where PARTITION have arrived: each time the same work.

    responses: float [1 or channels, taps]; a single row is for all channels.
    """

    PARTITION = 64
    latency_samples = 0

    def __init__(self, responses: npt.ArrayLike, channels: int = 1) -> None:
        taps = np.atleast_2d(np.asarray(responses, dtype=np.float64))
        if len(taps) not in (1, channels):
            raise ValueError(f"{len(taps)} responses for {channels} channels: one for all, or one for each")
        size = self.PARTITION
        self._transform = RealTransform(2 * size)
        spectra = np.stack([partition_spectra(row, size) for row in taps])
        count = self.past_partitions = spectra.shape[1] - 1
        first = np.pad(taps[:, :size], ((0, 0), (0, max(0, size - taps.shape[1]))))
        self._first = np.zeros((len(taps), size, 2 * size), dtype=np.float32)
        for sample in range(size):
            self._first[:, sample, sample + 1 : sample + 1 + size] = first[:, ::-1]
        # Conjugated, since a dot product of complex vectors conjugates its first one.
        self._later = np.ascontiguousarray(spectra[:, 1:].conj().transpose(0, 2, 1))
        # Spectra of past partitions, newest first from _head; stored twice so that a window never wraps.
        self._past = np.zeros((channels, size + 1, 2 * count), dtype=np.complex64)
        self._head = 0
        self._pair = np.zeros((channels, 2 * size), dtype=np.float32)
        self._column = self._pair[:, :, None]
        self._filled = 0
        self._newest: Complex64 = np.zeros((channels, size + 1), dtype=np.complex64)
        self._sum = np.zeros((channels, size + 1), dtype=np.complex64)
        self._time: Float32 = np.zeros((channels, 2 * size), dtype=np.float32)
        self._tail = self._time[:, size:].T
        self._wet = np.zeros((channels, size, 1), dtype=np.float32)

    def process(self, block: Float32, out: Float32) -> None:
        """Convolve block [n, channels] into out [n, channels]; they may be the same array."""
        start = 0
        while start < len(block):
            count = min(self.PARTITION - self._filled, len(block) - start)
            self._advance(block[start : start + count], out[start : start + count])
            start += count

    def reset(self) -> None:
        """Back to silence."""
        for state in (self._past, self._pair, self._time):
            state.fill(0.0)
        self._filled = 0

    def _advance(self, block: Float32, out: Float32) -> None:
        size, filled = self.PARTITION, self._filled
        end = filled + len(block)
        self._pair.T[size + filled : size + end] = block
        wet = self._wet[:, : len(block)]
        np.matmul(self._first[:, filled:end], self._column, out=wet)
        np.add(wet[:, :, 0].T, self._tail[filled:end], out=out)
        self._filled = end
        if end == size:
            self._turn()

    def _turn(self) -> None:
        """A partition is complete: make it the newest of the past, and from the past the tail of the next one."""
        size, count = self.PARTITION, self.past_partitions
        if count:
            self._transform.forward(self._pair, self._newest)
            head = self._head = (self._head or count) - 1
            self._past[:, :, head] = self._newest
            self._past[:, :, head + count] = self._newest
            np.vecdot(self._later, self._past[:, :, head : head + count], out=self._sum)
            self._transform.inverse(self._sum, self._time)
        self._pair[:, :size] = self._pair[:, size:]
        self._filled = 0
