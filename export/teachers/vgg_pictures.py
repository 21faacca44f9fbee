"""A sound as the picture that VGG19 looks at, and the way back: as published, and over log frequency by gains.

A `Shown` has the numbers that are searched (`start`, in `low`..`high`), the picture that they are (`picture`, 0 black
and 1 white), and the sound that they stand for (`sound`).
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from .inversion import griffin_lim
from .spectra import Analysis, istft, log_bands, stft

Float32 = npt.NDArray[np.float32]

RANGE_DB = 80.0
RMS = 0.1
BANDS_PER_OCTAVE = 16
FLOOR = 3e-4  # amplitude that reads as nothing, of a sound at RMS 0.1
MOST_NEPERS = 3.5  # of a gain: 30 dB
_DECIBELS = 20.0 / np.log(10.0)


class Shown(Protocol):
    """The content as a picture that can be changed and heard."""

    start: Tensor
    low: float
    high: float

    def picture(self, x: Tensor) -> Tensor:
        """Numbers like `start` -> [1 or 3, height, width], differentiable."""

    def sound(self, x: Tensor) -> Float32:
        """Numbers like `start` -> audio as long as the content, float32 [samples]."""


class DecibelPicture:
    """The published way: an STFT in dB, 80 dB below its peak as black, in three equal channels, drawn to size.

    longest: pixels of the longer side, drawn down linearly as a photograph would be; 0 leaves bins and frames.
    Back: drawn up again, the mean of the channels, phases by Griffin-Lim. Low frequencies are the first rows.
    """

    low, high = 0.0, 1.0

    def __init__(self, audio: Float32, analysis: Analysis, longest: int, rounds: int, seed: int, device: str) -> None:
        self._analysis, self._rounds, self._seed, self._length = analysis, rounds, seed, len(audio)
        magnitude = np.abs(stft(audio, analysis))
        self._peak = max(float(magnitude.max()), 1e-9)
        decibels = 20.0 * np.log10(np.maximum(magnitude.T / self._peak, 10.0 ** (-RANGE_DB / 20.0)))
        image = torch.from_numpy((1.0 + decibels / RANGE_DB).astype(np.float32)).to(device)
        self._size = (int(image.shape[0]), int(image.shape[1]))
        self.start = _drawn(image.expand(3, -1, -1), _fitted(self._size, longest)).contiguous()

    def picture(self, x: Tensor) -> Tensor:
        return x

    def sound(self, x: Tensor) -> Float32:
        image = _drawn(x, self._size).mean(dim=0).cpu().numpy().T
        magnitude = self._peak * 10.0 ** ((image.astype(np.float64) - 1.0) * (RANGE_DB / 20.0))
        magnitude[image <= 0.0] = 0.0
        return griffin_lim(magnitude.astype(np.float32), self._analysis, self._length, self._rounds, self._seed)


class GainPicture:
    """Ours: levels of log-frequency bands, searched as gains on them, which the content's own STFT then gets.

    The picture is the level over a floor, in nepers over 8: what a band of the content under the floor is multiplied
    with does not show, so a search leaves it alone, and silence stays silent. A gain lies within 30 dB and is drawn
    linearly between the middles of the bands; with the content's phase, every attack and every partial stays.
    """

    low, high = -MOST_NEPERS, MOST_NEPERS

    def __init__(self, audio: Float32, analysis: Analysis, device: str) -> None:
        self._analysis, self._length = analysis, len(audio)
        self._level = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
        self._spectrum = stft(audio, analysis)
        pooling, self._interpolation = log_bands(analysis, BANDS_PER_OCTAVE)
        # A sine of amplitude a reads a^2 in its band.
        scale = (2.0 * RMS / self._level / float(analysis.window().sum())) ** 2
        power = (np.abs(self._spectrum) ** 2 * np.float32(scale)) @ pooling
        self._power = torch.from_numpy(np.ascontiguousarray(power.T)).to(device)
        self.start = torch.zeros_like(self._power)

    def picture(self, x: Tensor) -> Tensor:
        return torch.log1p(self._power * torch.exp(2.0 * x) / FLOOR**2)[None] / 16.0

    def sound(self, x: Tensor) -> Float32:
        gains = np.exp(x.cpu().numpy().T @ self._interpolation)
        audio = istft(self._spectrum * gains.astype(np.float32), self._analysis, self._length)
        level = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
        return np.asarray(audio * np.float32(self._level / max(level, 1e-9)), dtype=np.float32)


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    factor = min(1.0, longest / max(size)) if longest else 1.0
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _drawn(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Channels [n, height, width] at another size, linearly, smoothed where it becomes smaller."""
    if tuple(image.shape[1:]) == size:
        return image
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
