"""A gentle level follower: holds the output's loudness to the player's after filters that the gains cannot foresee."""

import numpy as np
import numpy.typing as npt

from .smoothing import FirSmoother, interpolate

Float32 = npt.NDArray[np.float32]

WINDOW_SAMPLES = 2048
STRENGTH = 0.35
REACH = 2.5
POWER_FLOOR = 1e-9


class Follower:
    """y *= exp(0.35 clip(log l_x - log l_y + (gamma - 1) swing, +-2.5)), levels over 2048 samples, one gain a hop.

    Between hops the gain moves along a straight line.
    """

    def __init__(self, hop: int, channels: int, max_frames: int) -> None:
        self._hop = hop
        hops = WINDOW_SAMPLES // hop
        self._levels = FirSmoother(np.full(hops, 1.0 / hops), 2 * channels, max_frames)
        self._mean = np.full((hop, 1), 1.0 / hop, dtype=np.float32)
        self._squares = np.zeros((2 * channels, max_frames, hop), dtype=np.float32)
        self._powers = np.zeros((2 * channels, max_frames, 1), dtype=np.float32)
        self._gains = np.ones((channels, max_frames + 1), dtype=np.float32)
        self._difference = np.zeros((channels, max_frames, 1), dtype=np.float32)
        self._line = np.zeros((channels, max_frames, hop), dtype=np.float32)
        self._rise = np.arange(1, hop + 1, dtype=np.float32) / hop

    def process(self, reference: Float32, wanted: Float32, amount: float, signal: Float32) -> None:
        """Scale signal [channels, frames * hop] in place towards reference, the aligned input of the same shape.

        wanted: (gamma - 1) swing [channels, frames].
        """
        channels, count = signal.shape
        frames = count // self._hop
        squares, powers = self._squares[:, :frames], self._powers[:, :frames]
        np.square(reference.reshape(channels, frames, self._hop), out=squares[:channels])
        np.square(signal.reshape(channels, frames, self._hop), out=squares[channels:])
        np.matmul(squares, self._mean, out=powers)
        levels = self._levels.process(powers[:, :, 0])[:, 1:]
        np.add(levels, POWER_FLOOR, out=levels)
        np.log(levels, out=levels)
        gains = self._gains[:, : frames + 1]
        target = gains[:, 1:]
        np.subtract(levels[:channels], levels[channels:], out=target)
        np.multiply(target, 0.5, out=target)
        np.add(target, wanted, out=target)
        np.clip(target, -REACH, REACH, out=target)
        np.multiply(target, STRENGTH * amount, out=target)
        np.exp(target, out=target)
        line = self._line[:, :frames]
        interpolate(gains, self._rise, self._difference[:, :frames], line)
        np.multiply(signal, line.reshape(channels, count), out=signal)
        self._gains[:, 0] = gains[:, frames]

    def reset(self) -> None:
        """Back to silence and gain 1."""
        self._levels.reset()
        self._gains.fill(1.0)
