"""A sound as the picture that VGG19 looks at, and the way back: as published, and over log frequency by gains.

A `Shown` has the numbers that are searched (`start`, in `low`..`high`), the picture that they are (`picture`, 0 black
and 1 white), the content's own (`seen`), and the sound that they stand for (`sound`).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..sounds import rms_of
from .inversion import griffin_lim
from .mix import LEAST, MOST, Mix
from .spectra import Analysis, log_bands, stft

Float32 = npt.NDArray[np.float32]

RANGE_DB = 80.0
RMS = 0.1
BANDS_PER_OCTAVE = 16
FLOOR = 3e-4  # amplitude that reads as nothing, of a sound at RMS 0.1


class Shown(Protocol):
    """The content as a picture that can be changed and heard."""

    start: Tensor
    seen: Tensor
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
        self.start = self.seen = _drawn(image.expand(3, -1, -1), _fitted(self._size, longest)).contiguous()

    def picture(self, x: Tensor) -> Tensor:
        return x

    def sound(self, x: Tensor) -> Float32:
        image = _drawn(x, self._size).mean(dim=0).cpu().numpy().T
        magnitude = self._peak * 10.0 ** ((image.astype(np.float64) - 1.0) * (RANGE_DB / 20.0))
        magnitude[image <= 0.0] = 0.0
        return griffin_lim(magnitude.astype(np.float32), self._analysis, self._length, self._rounds, self._seed)


class GainPicture:
    """Ours: levels of log-frequency bands of a mix of signals made from the content, searched as their gains.

    The picture is the level over a floor, in nepers over 8. The search starts from an equaliser that brings the
    content's bands to the mean power of the styles'. Whatever the gains, attacks and partials stay where they are
    played, and silence stays silent.
    """

    low, high = LEAST, MOST

    def __init__(
        self, audio: Float32, styles: Sequence[Float32], weights: Sequence[float], analysis: Analysis, device: str
    ) -> None:
        self._level = max(rms_of(audio), 1e-9)
        content = audio * np.float32(RMS / self._level)
        self._mix = Mix(content, analysis, BANDS_PER_OCTAVE, device=device)
        self._scale = (2.0 / float(analysis.window().sum())) ** 2
        self.seen = band_picture(audio, analysis, device)
        shares = [weight / max(rms_of(style), 1e-9) ** 2 for style, weight in zip(styles, weights, strict=True)]
        towards = [self._mix.long_term(style) * share for style, share in zip(styles, shares, strict=True)]
        self.start = self._mix.start(torch.stack(towards).sum(dim=0))

    def picture(self, x: Tensor) -> Tensor:
        return _levels(self._mix.band_power(x) * self._scale)

    def audio(self, x: Tensor) -> Tensor:
        """The sound [samples], at no particular level; differentiable."""
        return self._mix.audio(x)

    def sound(self, x: Tensor) -> Float32:
        with torch.no_grad():
            audio = np.asarray(self.audio(x).cpu().numpy(), dtype=np.float32)
        return np.asarray(audio * np.float32(self._level / max(rms_of(audio), 1e-9)), dtype=np.float32)


def band_picture(audio: Float32, analysis: Analysis, device: str) -> Tensor:
    """How a `GainPicture` shows a sound [samples] that is not searched: [1, bands, frames]."""
    scale = (2.0 / float(analysis.window().sum()) * RMS / max(rms_of(audio), 1e-9)) ** 2
    power = (np.abs(stft(audio, analysis)) ** 2 * np.float32(scale)) @ log_bands(analysis, BANDS_PER_OCTAVE)[0]
    return _levels(torch.from_numpy(np.ascontiguousarray(power.T)).to(device))


def _levels(power: Tensor) -> Tensor:
    return torch.log1p(power / FLOOR**2)[None] / 16.0


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    factor = min(1.0, longest / max(size)) if longest else 1.0
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _drawn(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Channels [n, height, width] at another size, linearly, smoothed where it becomes smaller."""
    if tuple(image.shape[1:]) == size:
        return image
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
