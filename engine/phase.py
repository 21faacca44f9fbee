"""Phases for magnitudes that have none, without looking ahead: every frame is answered when it comes.

Real-time phase gradient heap integration without look-ahead (RTPGHI(0): Z. Prusa and P. L. Sondergaard, "Real-time
spectrogram inversion using phase gradient heap integration", DAFx 2016), without its heap. For a window like a
Gaussian of time-frequency ratio gamma the phase follows from the log magnitude L(n, k) of frame n and bin k: with
g = gamma / (hop size), in radians,

    dphi/dn = 2 pi k hop / size + (1 / g) dL/dk,     dphi/dk = -g dL/dn     (phase at the middle of the frame).

The heap lets phase flow from loud to quiet: from the frame before in the same bin, or from the louder neighbour of
the same frame, whichever is louder. As the louder neighbours of a bin lead up to a peak, this is decided bin by bin:
a bin is an *anchor* if neither neighbour is louder than it is or was one frame before. Anchors go on in time by the
trapezoidal rule; all others take their phase from the nearest anchor up the slope, along a running sum. Two running
extrema of indices say which that is, so a frame is some twenty vector operations.
"""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]

HANN_GAMMA = 0.25645  # of the Gaussian nearest to a Hann window, over its length squared (Prusa et al. 2017)
STEEPEST = 1.0  # nepers per frame: an attack is faster than any window, its slope in time says nothing of phase
FLOOR = -60.0  # nepers


class PhaseReconstruction:
    """Streaming phases for log magnitudes of a Hann STFT of `size` samples every `hop`, several signals at a time.

    Allocates nothing after it was made, and raises nothing: what is no number comes out as no number until `reset`.
    """

    def __init__(self, size: int, hop: int, signals: int) -> None:
        if size % 2 or not 0 < 4 * hop <= size:
            raise ValueError(f"phases for frames of {size} every {hop}: size must be even and at least 4 hops")
        bins = size // 2 + 1
        self.size, self.hop, self.bins = size, hop, bins
        gamma = HANN_GAMMA * size / hop
        number = np.arange(bins)
        # Phases are kept in turns: then a whole turn is taken off by rounding.
        self._plain_advance = (number * hop % size / size).astype(np.float32)
        self._per_bin_slope = np.float32(0.5 / (2.0 * np.pi * gamma))
        self._per_frame_slope = np.float32(-gamma / (2.0 * np.pi))
        # From the middle of the frame to its start.
        self._half = (0.5 * (number % 2)).astype(np.float32)
        self._number = np.tile(number, (signals, 1))
        self._offset = bins * np.arange(signals)[:, None]

        def zeros() -> Float32:
            return np.zeros((signals, bins), dtype=np.float32)

        self._phase, self._advance, self._before = zeros(), zeros(), zeros()
        self._next, self._slope, self._sum, self._louder, self._turned = zeros(), zeros(), zeros(), zeros(), zeros()
        self._magnitude = zeros()
        self._rest = np.zeros((signals, bins), dtype=np.bool_)
        self._falling = np.zeros((signals, bins), dtype=np.bool_)
        self._below = np.zeros((signals, bins), dtype=np.intp)
        self._above = np.zeros((signals, bins), dtype=np.intp)
        self._above_reversed = self._above[:, ::-1]
        self.reset()

    def process(self, log_magnitude: Float32, out: Complex64) -> None:
        """Spectra out [signals, frames, bins] for natural-log magnitudes of the same shape.

        An inverse transform of length `size` gives each frame under its Hann window. log_magnitude is clipped at
        `FLOOR` in place.
        """
        np.maximum(log_magnitude, FLOOR, out=log_magnitude)
        parts = out.view(np.float32)
        for frame in range(log_magnitude.shape[1]):
            level = log_magnitude[:, frame]
            self._step(level)
            magnitude, turned = self._magnitude, self._turned
            np.exp(level, out=magnitude)
            np.add(self._phase, self._half, out=turned)
            np.multiply(turned, 2.0 * np.pi, out=turned)
            np.cos(turned, out=self._slope)
            np.multiply(self._slope, magnitude, out=parts[:, frame, 0::2])
            np.sin(turned, out=self._slope)
            np.multiply(self._slope, magnitude, out=parts[:, frame, 1::2])

    def reset(self) -> None:
        """As if silence had gone before."""
        self._phase.fill(0.0)
        self._advance[:] = self._plain_advance
        self._before.fill(FLOOR)

    def adopt(self, other: "PhaseReconstruction") -> None:
        """Go on from the phases of another stream that has come as far; leaves all as it is if shapes differ."""
        if self._phase.shape == other._phase.shape:
            np.copyto(self._phase, other._phase)
            np.copyto(self._advance, other._advance)
            np.copyto(self._before, other._before)

    def _step(self, level: Float32) -> None:
        """Advance the phases [signals, bins], in turns at the middle of the frame, to a frame of log magnitudes."""
        phase, following, slope, total = self._phase, self._next, self._slope, self._sum
        # Along time, from the slope over bins.
        np.subtract(level[:, 2:], level[:, :-2], out=slope[:, 1:-1])
        slope[:, 0] = slope[:, -1] = 0.0
        np.multiply(slope, self._per_bin_slope, out=slope)
        np.add(slope, self._plain_advance, out=slope)
        np.add(slope, self._advance, out=following)
        np.copyto(self._advance, slope)
        np.multiply(following, 0.5, out=following)
        np.add(following, phase, out=following)
        # Along bins, from the slope over time.
        np.subtract(level, self._before, out=slope)
        np.maximum(slope, -STEEPEST, out=slope)
        np.minimum(slope, STEEPEST, out=slope)
        np.multiply(slope, self._per_frame_slope, out=slope)
        np.add(slope[:, 1:], slope[:, :-1], out=total[:, 1:])
        total[:, 0] = 0.0
        np.multiply(total, 0.5, out=total)
        np.add.accumulate(total, axis=1, out=total)

        self._find_anchors(level)
        np.subtract(following, total, out=following)
        np.take(following, self._below, out=phase, mode="clip")
        np.add(phase, total, out=phase)
        np.rint(phase, out=slope)
        np.subtract(phase, slope, out=phase)
        np.copyto(self._before, level)

    def _find_anchors(self, level: Float32) -> None:
        """Leave in `_below` the flat index of the anchor of every bin."""
        louder, rest, falling, below, above = self._louder, self._rest, self._falling, self._below, self._above
        np.maximum(level[:, 2:], level[:, :-2], out=louder[:, 1:-1])
        louder[:, 0], louder[:, -1] = -np.inf, -np.inf
        np.maximum(level, self._before, out=self._turned)
        np.less(self._turned, louder, out=rest)
        # The louder neighbour lies below where the spectrum falls.
        np.greater_equal(level[:, :-2], level[:, 2:], out=falling[:, 1:-1])
        np.copyto(below, self._number)
        np.copyto(above, self._number)
        np.copyto(below, 0, where=rest)
        np.copyto(above, self.bins - 1, where=rest)
        np.maximum.accumulate(below, axis=1, out=below)
        np.minimum.accumulate(self._above_reversed, axis=1, out=self._above_reversed)
        np.logical_not(falling, out=falling)
        np.copyto(below, above, where=falling)
        np.add(below, self._offset, out=below)
