"""A gentle level follower: holds the output's loudness to the player's after filters that the gains cannot foresee."""

import math

import numpy as np
import numpy.typing as npt

from .smoothing import rising

Float32 = npt.NDArray[np.float32]

WINDOW_SAMPLES = 2048
STRENGTH = 0.35
REACH = 2.5
POWER_FLOOR = 1e-9


class Follower:
    """y *= exp(0.35 clip(log l_x - log l_y + (gamma - 1) swing, +-2.5)), levels over 2048 samples, one gain a hop.

    Between hops the gain moves along a straight line.
    """

    def __init__(self, hop: int, channels: int) -> None:
        self._hop = hop
        self._hops = WINDOW_SAMPLES // hop
        self._energies = np.zeros((channels, 2, self._hops))
        self._at = [0] * channels
        self._gain = [1.0] * channels
        self._rise = rising(hop)
        self._line = np.zeros(hop, dtype=np.float32)

    def process(self, reference: Float32, wanted: Float32, amount: float, signal: Float32) -> None:
        """Scale signal [channels, frames * hop] in place towards reference, the aligned input of the same shape.

        wanted: (gamma - 1) swing [channels, frames].
        """
        hop, line = self._hop, self._line
        for channel in range(len(signal)):
            energies = self._energies[channel]
            for frame in range(signal.shape[1] // hop):
                part = signal[channel, frame * hop : (frame + 1) * hop]
                aligned = reference[channel, frame * hop : (frame + 1) * hop]
                at = self._at[channel]
                energies[0, at] = np.dot(aligned, aligned)
                energies[1, at] = np.dot(part, part)
                self._at[channel] = (at + 1) % self._hops
                before = self._gain[channel]
                after = self._next_gain(energies, float(wanted[channel, frame]), amount)
                self._gain[channel] = after
                np.multiply(self._rise, after - before, out=line)
                np.add(line, before, out=line)
                np.multiply(part, line, out=part)

    def reset(self) -> None:
        """Back to silence and gain 1."""
        self._energies.fill(0.0)
        for channel in range(len(self._gain)):
            self._gain[channel] = 1.0
            self._at[channel] = 0

    def _next_gain(self, energies: npt.NDArray[np.float64], wanted: float, amount: float) -> float:
        given = float(np.add.reduce(energies[0])) / WINDOW_SAMPLES + POWER_FLOOR
        made = float(np.add.reduce(energies[1])) / WINDOW_SAMPLES + POWER_FLOOR
        if not (given < math.inf and made < math.inf):
            return 1.0
        target = 0.5 * math.log(given / made) + wanted
        return math.exp(STRENGTH * amount * min(REACH, max(-REACH, target)))
