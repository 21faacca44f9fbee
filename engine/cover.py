"""A cover over a jump: what a signal jumped by, added to what comes after it and falling to 0."""

import numpy as np
import numpy.typing as npt

from .smoothing import raised_cosine

Float32 = npt.NDArray[np.float32]


class Cover:
    """Over nothing at first. All but the constructor belongs to the audio thread."""

    def __init__(self, length: int, max_block: int, channels: int, largest: float | None = None) -> None:
        """It falls to 0 within length samples, in blocks of up to max_block. largest: jump that is covered, at most."""
        self._length, self._largest = length, largest
        self._fall = np.float32(1.0) - raised_cosine(length, max_block)
        self._jump = np.zeros((1, channels), dtype=np.float32)
        self._scratch = np.zeros((max_block, channels), dtype=np.float32)
        self._at = length

    def reset(self) -> None:
        """Be over nothing."""
        self._at = self._length

    def begin(self, before: Float32, after: Float32) -> None:
        """Cover the jump from the sample before to the one after, both [1, channels]."""
        np.subtract(before, after, out=self._jump)
        if self._largest is not None:
            np.clip(self._jump, -self._largest, self._largest, out=self._jump)
        self._at = 0

    def process(self, block: Float32) -> None:
        """Add what is left of the cover to a block [frames, channels], in place."""
        if self._at >= self._length:
            return
        count = len(block)
        scratch = self._scratch[:count]
        np.multiply(self._jump, self._fall[self._at : self._at + count, None], out=scratch)
        np.add(block, scratch, out=block)
        self._at += count
