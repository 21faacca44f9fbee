"""A door: lets a stream in or keeps it out, opening and shutting along a raised cosine."""

import numpy as np
import numpy.typing as npt

from .smoothing import raised_cosine

Float32 = npt.NDArray[np.float32]


class Door:
    """Open at first. `step` belongs to the audio thread; the rest to whoever holds the chain meanwhile."""

    def __init__(self, length: int, max_block: int) -> None:
        """It opens and shuts within length samples, in steps of up to max_block."""
        self._length = length
        self._opening = raised_cosine(length, max_block)
        self._shutting = np.float32(1.0) - self._opening
        self.stand(opened=True)

    def stand(self, *, opened: bool) -> None:
        """Be open or shut at once."""
        self._opened, self._at = opened, self._length

    def move(self, *, opened: bool) -> None:
        """Begin to open or to shut, from the other end."""
        self._opened, self._at = opened, 0

    @property
    def shut(self) -> bool:
        """Whether nothing comes in any more."""
        return not self._opened and self._at >= self._length

    def step(self, frames: int) -> Float32 | None:
        """Share of the next samples [frames] that is let in; None where it stands open."""
        at = self._at
        if at >= self._length:
            return None if self._opened else self._shutting[at : at + frames]
        self._at = min(self._length, at + frames)
        return (self._opening if self._opened else self._shutting)[at : at + frames]
