"""The last samples of several signals, always contiguous in memory."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class History:
    """Keeps at least the last `length` samples of each signal, float32 [signals, samples].

    `push` never moves more than it must: samples are appended to a buffer twice as long as needed, and only
    when that is full the last `length` ones are copied back to its start.
    """

    def __init__(self, signals: int, length: int, max_push: int) -> None:
        if signals < 1 or length < 0 or max_push < 1:
            raise ValueError(f"history of {signals} signals x {length} samples, pushes of {max_push}")
        self._length = length
        self._data = np.zeros((signals, max(2 * length, length + 8 * max_push)), dtype=np.float32)
        self._end = length

    def push(self, samples: Float32) -> None:
        """Append samples [signals, n], n <= max_push."""
        count = samples.shape[-1]
        if self._end + count > self._data.shape[1]:
            kept = self._length
            # Source and destination do not overlap as long as the buffer is at least 2 x length long. Row by row:
            # of all rows at once numpy cannot tell, and allocates a copy.
            for row in self._data:
                row[:kept] = row[self._end - kept : self._end]
            self._end = kept
        self._data[:, self._end : self._end + count] = samples
        self._end += count

    def last(self, count: int, skip: int = 0) -> Float32:
        """View [signals, count] of the newest samples, or of those `skip` samples earlier.

        Valid until the next push; count + skip may be at most length plus the size of the last push.
        """
        end = self._end - skip
        return self._data[:, end - count : end]

    def reset(self) -> None:
        """Back to silence."""
        self._data.fill(0.0)
        self._end = self._length
