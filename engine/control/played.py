"""The last half minute of what came in, for whoever wants to make something of it; the engine does nothing for it."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import soundfile

from ... import DuendeError
from ..shared import MOST_CHANNELS, RING_FRAMES
from .namespace import PREFIX, Node
from .session import Session

Float32 = npt.NDArray[np.float32]

PLAYED = f"{PREFIX}/played"
KEPT_S = 30.0
REACH = RING_FRAMES - 2**14
"""How far back the rings are read: a block being written right now may cover some of their oldest end."""


class Played:
    """Copies the input out of the shared rings as it comes; all in the event loop's thread.

    rate: the device's sample rate in Hz now; at another rate it begins anew.
    """

    def __init__(self, session: Session, rate: Callable[[], float]) -> None:
        self._shared, self._rate = session.shared, rate
        # Control that is started anew begins with what the rings still hold.
        self._begin(max(0, session.shared.written - REACH))

    def keep(self) -> None:
        """Take up what has come since the last time; to be called at least once a second."""
        shared, until = self._shared, self._shared.written
        if self._rate() != self._of or until < self._position:
            self._begin(until)
        oldest = until - REACH
        if self._position < oldest:
            # What control was too slow for is gone, and sound with a hole in it is no take.
            self._begin(oldest)
        while self._position < until:
            at = self._position % len(self._kept)
            count = min(until - self._position, len(self._kept) - at)
            shared.copy_dry(self._position, self._kept[at : at + count])
            self._position += count

    @property
    def seconds(self) -> float:
        """How much there is."""
        return min(self._position - self._from, len(self._kept)) / self._of

    def wav(self) -> Callable[[], bytes]:
        """What there is, oldest first, as a 24-bit WAV file; made by the call, on any thread.

        DuendeError where nothing was played.
        """
        self.keep()
        count = min(self._position - self._from, len(self._kept))
        if not count:
            raise DuendeError("nothing was played yet: does the engine run?")
        places = np.arange(self._position - count, self._position) % len(self._kept)
        audio = self._kept[places, : self._shared.channels()[0]]
        rate = round(self._of)

        def encoded() -> bytes:
            file = io.BytesIO()
            sound = np.clip(np.nan_to_num(audio), -1.0, 1.0)
            soundfile.write(file, sound, rate, "PCM_24", format="WAV")
            return file.getvalue()

        return encoded

    def nodes(self) -> list[Node]:
        """Its address."""
        return [
            Node(
                PLAYED,
                "f",
                f"how much of what was played can be fetched over HTTP (/files/played.wav), {KEPT_S:g} s at most",
                "s",
                read=lambda: [self.seconds],
            )
        ]

    def _begin(self, position: int) -> None:
        self._of = self._rate()
        self._kept: Float32 = np.zeros((round(KEPT_S * self._of), MOST_CHANNELS), dtype=np.float32)
        self._from = self._position = position
