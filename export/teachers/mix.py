"""Sounds that are the content's own: band gains over time on signals made from it, each with its natural phase.

A search for magnitudes leaves the phases to be guessed and may write what nobody played. Here the content itself, soft
and hard saturations of its bands and noise at its level (`engine.excitation`) are mixed, each by gains of its own that
are drawn between the middles of log-frequency bands. Whatever the gains, pitches and attacks are the player's, what
the saturations add lies on his harmonics, and silence stays silent.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .sources import sources_of
from .spectra import Analysis, log_bands, stft

Float32 = npt.NDArray[np.float32]

DRY = "dry@1"
NAMES = (DRY, "noise@1", "soft@1", "hard@1")
DRY_START, OTHER_START = 0.0, -3.0
LEAST, MOST = -6.0, 3.5
"""Nepers of a gain: from 52 dB down to 30 dB up."""
EQ_BOUND = 2.76


class Mix:
    """Gains [signals, bands, frames] in nepers on the STFTs of signals made from a content [samples], and their sound.

    analysis: at 44.1, 48, 88.2 or 96 kHz where more than the content itself is mixed. per_octave: bands.
    """

    def __init__(
        self,
        content: Float32,
        analysis: Analysis,
        per_octave: int,
        names: tuple[str, ...] = NAMES,
        device: str = "cpu",
    ) -> None:
        self._analysis, self._length, self.names = analysis, len(content), names
        self._window = torch.from_numpy(analysis.window()).to(device)
        others = tuple(name for name in names if name != DRY)
        made = dict(zip((DRY, *others), (content, *sources_of(content, analysis.sample_rate, others)), strict=True))
        spectra = [stft(made[name], analysis) for name in names]
        self._spectra = torch.from_numpy(np.stack(spectra).transpose(0, 2, 1).copy()).to(device)
        pooling, interpolation = log_bands(analysis, per_octave)
        self._pooling, self._interpolation = (torch.from_numpy(x).to(device) for x in (pooling, interpolation))
        self.shape = (len(names), len(interpolation), self._spectra.shape[2])

    def start(self, towards: Tensor | None = None) -> Tensor:
        """Gains of the content as it is, all else far below it.

        towards: mean power of a style's bands (`long_term`): then the content's bands are brought to that, within
            24 dB.
        """
        levels = [DRY_START if name == DRY else OTHER_START for name in self.names]
        gains = torch.tensor(levels, device=self._spectra.device)[:, None, None].repeat(1, *self.shape[1:])
        if towards is not None:
            own = self.band_power(gains).mean(dim=1)
            wanted = 0.5 * torch.log((towards / towards.sum() + 1e-9) / (own / own.sum() + 1e-9))
            gains += wanted.clamp(-EQ_BOUND, EQ_BOUND)[:, None]
        return gains

    def long_term(self, audio: Float32) -> Tensor:
        """Mean power in the bands [bands] of another sound [samples]."""
        spectrum = torch.from_numpy(stft(audio, self._analysis)).to(self._spectra)
        return (spectrum.abs().square() @ self._pooling).mean(dim=0)

    def spectrum(self, gains: Tensor) -> Tensor:
        """Complex [bins, frames], differentiable."""
        return (self._spectra * torch.exp(self._interpolation.T @ gains)).sum(dim=0)

    def audio(self, gains: Tensor) -> Tensor:
        """The sound [samples], as long as the content; differentiable."""
        a = self._analysis
        return torch.istft(self.spectrum(gains), a.n_fft, a.hop, window=self._window, length=self._length)

    def band_power(self, gains: Tensor) -> Tensor:
        """What the bands of the mix hold, [bands, frames]: |X|^2 of its STFT, summed; differentiable."""
        parts = torch.view_as_real(self.spectrum(gains))
        return self._pooling.T @ parts.square().sum(dim=-1)
