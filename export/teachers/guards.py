"""What belongs to the player, as errors of a sound against the content: pitch, attack, level and steadiness of tone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..losses import BandLevels, PitchGuard, Tonality, correlation, flux, log_level, onset_loss
from ..statistics import normalise_level
from ..style import content_bands

Float32 = npt.NDArray[np.float32]

CHROMA, ONSET, LOUDNESS, TONALITY = 2.0, 4.0, 1.0, 2.0
"""Weights of the guards against each other."""


class Guards:
    """The guards of distillation (`export.losses`) for one content and styles by weight, all mono [samples].

    At least `settings.GUARDED_S` long, at one of `settings.RATES_HZ`. 0 for the content itself.
    """

    def __init__(
        self, content: Float32, styles: Sequence[Float32], weights: Sequence[float], sample_rate: int, device: str
    ) -> None:
        self._pitch = PitchGuard(sample_rate).to(device)
        self._levels = BandLevels(content_bands(sample_rate)).to(device)
        self._tonality = Tonality(sample_rate).to(device)
        with torch.no_grad():
            played = level_row(content, device)
            self._notes, self._note_weight = self._pitch.notes(played), self._pitch.weight(played)
            self._flux, self._loudness = flux(self._levels(played)), log_level(played)
            # As steady as what is played, unless the style is less so: rain may be noise, a cello may not.
            shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
            clips = [self._tonality(level_row(style, device)) for style in styles]
            steady = torch.stack([clip * float(share) for clip, share in zip(clips, shares, strict=True)]).sum(dim=0)
            self._steady = torch.minimum(steady, self._tonality(played)).clamp(0.0, 1.0)

    def __call__(self, heard: Tensor) -> Tensor:
        """Error of a sound [1, samples] at `normalise_level`'s level, differentiable."""
        error: Tensor = (
            CHROMA * self._pitch(self._notes, self._note_weight, heard)
            + ONSET * onset_loss(self._flux, flux(self._levels(heard)))
            + LOUDNESS * torch.relu(0.97 - correlation(self._loudness, log_level(heard)))
            + TONALITY * torch.relu(self._steady - self._tonality(heard)).mean(dim=1)
        ).mean()
        return error


def level_row(audio: Float32, device: str) -> Tensor:
    """Audio [samples] as [1, samples] at the level at which all is judged."""
    return normalise_level(torch.from_numpy(np.array(audio, dtype=np.float32))[None].to(device))
