"""The spectrum of what comes in and what goes out, in bands, thirty times a second while somebody looks."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.fft

from .meters import FLOOR_DBFS, STILL_READS
from .namespace import PREFIX, Node, Range, Value, Values
from .osc import Message
from .session import Session

Float32 = npt.NDArray[np.float32]

SPECTRUM = f"{PREFIX}/spectrum"
INPUT, OUTPUT = f"{SPECTRUM}/input", f"{SPECTRUM}/output"

BANDS = 96
LOW_HZ, HIGH_HZ = 30.0, 18000.0
WINDOW_S = 0.085
"""About; the window is a power of two."""


class Bands:
    """Levels of bands that are spaced alike on a logarithmic scale; made for one sample rate in Hz."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.size = 2 ** round(np.log2(WINDOW_S * rate))
        high = min(HIGH_HZ, 0.45 * rate)
        edges_hz = LOW_HZ * (high / LOW_HZ) ** (np.arange(BANDS + 1) / BANDS)
        self.centres_hz = np.sqrt(edges_hz[1:] * edges_hz[:-1])
        edges = edges_hz * self.size / rate
        first = np.ceil(edges).astype(np.int64)
        # Bands get wider: those that hold a bin come after those that hold none.
        self._narrow = int(np.count_nonzero(first[1:] == first[:-1]))
        while np.any(first[self._narrow + 1 :] == first[self._narrow : -1]):
            self._narrow += 1
        self._starts, self._stop = first[self._narrow : -1], int(first[-1])
        self._places = (self.centres_hz * self.size / rate)[: self._narrow]
        window = np.hanning(self.size + 1)[:-1]
        self._window = (2.0 * window / window.sum()).astype(np.float32)

    def levels(self, audio: Float32) -> npt.NDArray[np.float64]:
        """dBFS [BANDS] of the last samples [size, channels]: the loudest bin of the loudest channel in each band.

        A sine at full scale reads 0. Where bands are narrower than bins, what lies between two bins is interpolated.
        """
        spectra = np.abs(scipy.fft.rfft(np.nan_to_num(audio).T * self._window, axis=1)).max(axis=0)
        found = np.empty(BANDS)
        found[: self._narrow] = np.interp(self._places, np.arange(len(spectra)), spectra)
        found[self._narrow :] = np.maximum.reduceat(spectra[: self._stop], self._starts)
        least = 10.0 ** (FLOOR_DBFS / 20.0)
        return np.asarray(20.0 * np.log10(np.clip(found, least, 1e6)))


class Spectrum:
    """Hears the end of the shared rings; in the event loop's thread. A reading of both sides takes about 0.2 ms.

    rate:   the device's sample rate in Hz now.
    looked: whether somebody listens to an address especially; such are sent it whether it is switched on or not.
    """

    def __init__(self, session: Session, rate: Callable[[], float]) -> None:
        self.on = False
        self.looked: Callable[[str], bool] = lambda address: False
        self._shared, self._rate = session.shared, rate
        self._bands = Bands(rate())
        self._seen, self._still = -1, STILL_READS
        silent: list[Value] = [FLOOR_DBFS] * BANDS
        self._levels = {INPUT: silent, OUTPUT: silent}

    def read(self) -> list[Message]:
        """What is to be sent now: nothing where nobody looks."""
        wanted = [address for address in (INPUT, OUTPUT) if self.on or self.looked(address)]
        if not wanted:
            return []
        self._measure()
        return [Message(address, self._levels[address]) for address in wanted]

    def centres(self) -> list[Value]:
        """Middles of the bands in Hz."""
        return [float(hz) for hz in self._at(self._rate()).centres_hz]

    def nodes(self) -> list[Node]:
        """The spectrum's addresses."""

        def switch(values: Values) -> None:
            self.on = bool(values[0])

        def level_of(address: str) -> Callable[[], Values]:
            def read() -> Values:
                self._measure()
                return self._levels[address]

            return read

        what = f"level of each band of the {{}}, {BANDS} in all; 30 times a second to WebSockets that listen to it, and"
        return [
            Node(
                SPECTRUM,
                "i",
                "1 sends the spectrum to subscribers, too",
                ranges=(Range(0, 1),),
                clip=True,
                read=lambda: [int(self.on)],
                write=switch,
            ),
            Node(f"{SPECTRUM}/bands", "f", "middle of each band, low to high", "Hz", read=self.centres),
            *(
                Node(
                    address, "f", f"{what.format(side)} to subscribers while it is switched on", "dBFS",
                    read=level_of(address), stream=True,
                )
                for address, side in ((INPUT, "input"), (OUTPUT, "output"))
            ),
        ]  # fmt: skip

    def _at(self, rate: float) -> Bands:
        if rate != self._bands.rate:
            self._bands = Bands(rate)
        return self._bands

    def _measure(self) -> None:
        """Levels now; the old ones for a while where no block has come, as blocks may be long."""
        bands, written = self._at(self._rate()), self._shared.written
        if written == self._seen or written < bands.size:
            self._still = min(STILL_READS, self._still + 1)
            if self._still == STILL_READS:
                self._levels = {INPUT: [FLOOR_DBFS] * BANDS, OUTPUT: [FLOOR_DBFS] * BANDS}
            return
        self._still, self._seen = 0, written
        try:
            rings = self._shared.recent(written - bands.size, written)
        except ValueError:
            return
        sides = zip((INPUT, OUTPUT), rings, strict=True)
        self._levels = {address: bands.levels(ring).tolist() for address, ring in sides}
