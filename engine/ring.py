"""First-in first-out ring of audio frames between one writer and one reader."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class RingBuffer:
    """Preallocated queue of float32 frames [frames, channels].

    One thread writes and one thread reads. Neither call allocates, blocks or raises once constructed:
    a write that does not fit and a read that cannot be served move as many frames as there is room for
    and say how many. Positions only grow, and each is advanced by one side alone, after its copy.
    """

    def __init__(self, capacity: int, channels: int = 1) -> None:
        if capacity < 1 or channels < 1:
            raise ValueError(f"ring of {capacity} frames x {channels} channels: both must be at least 1")
        self._data = np.zeros((capacity, channels), dtype=np.float32)
        self._capacity = capacity
        self._written = 0
        self._read = 0

    @property
    def capacity(self) -> int:
        """Frames that fit."""
        return self._capacity

    @property
    def available(self) -> int:
        """Frames that wait to be read."""
        return self._written - self._read

    @property
    def free(self) -> int:
        """Frames that can still be written."""
        return self._capacity - (self._written - self._read)

    def write(self, frames: Float32) -> int:
        """Append frames [n, channels]; returns how many fitted."""
        count = min(len(frames), self.free)
        start = self._written % self._capacity
        first = min(count, self._capacity - start)
        self._data[start : start + first] = frames[:first]
        if first < count:
            self._data[: count - first] = frames[first:count]
        self._written += count
        return count

    def read(self, out: Float32) -> int:
        """Move up to len(out) frames into out [n, channels]; returns how many there were."""
        count = min(len(out), self.available)
        start = self._read % self._capacity
        first = min(count, self._capacity - start)
        out[:first] = self._data[start : start + first]
        if first < count:
            out[first:count] = self._data[: count - first]
        self._read += count
        return count

    def write_silence(self, count: int) -> int:
        """Append up to count frames of zeros; returns how many fitted."""
        count = min(count, self.free)
        start = self._written % self._capacity
        first = min(count, self._capacity - start)
        self._data[start : start + first] = 0.0
        self._data[: count - first] = 0.0
        self._written += count
        return count

    def clear(self) -> None:
        """Forget everything. Only while neither side is at work."""
        self._written = self._read = 0
