"""Gains of a sound's parts on a grid of ERB bands and time, and how near they bring it to a style.

The grid knows bands and not pitches: what it makes louder are the player's own partials, the player's own residual
and noise that is as loud as the player. The style is what `export.statistics` measures: zone Grams of random filters
over a log-frequency spectrogram, and mean and deviation of band levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ....engine.bands import erb_bands
from ...losses import correlation, flux, onset_loss
from ...statistics import (
    Analysis,
    BandEnvelopes,
    LogSpectrogram,
    envelope_distance,
    gram_distance,
    normalise_level,
    random_filters,
    zone_grams,
)
from ..objective import Evaluation

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PARTS = 3
HOP = 512
SCALES = (4096, 2048, 1024)
LEVEL_SCALE = 2048
BANKS = 2
LEVEL = 0.1
_FLOOR = 1e-12


@dataclass(frozen=True)
class GridWeights:
    """How much each term counts, and how far a gain may go from where it begins (bound, in nepers)."""

    gram: float = 1.0
    envelope: float = 1.0
    onset: float = 4.0
    loudness: float = 4.0
    roughness: float = 0.05
    movement: float = 0.2
    noise: float = 0.05
    bound: float = 2.5


class Gains:
    """Grid values [frames, 3 * bands] to log gains of sines, residual and noise.

    base: [3, bands] in nepers, where the search begins; the residual's is over that of the sines.
    attacks: [frames], where it is 1 the residual has the gain of the sines: so an attack, which a window longer than
    itself has smeared over both, stays whole.
    """

    def __init__(self, base: Float64, attacks: Float64, bound: float) -> None:
        self.base = torch.from_numpy(base.astype(np.float32))
        self.attacks = torch.from_numpy(attacks.astype(np.float32))
        self.bound = bound

    def __call__(self, grid: Tensor) -> Tensor:
        """[3, frames, bands] in nepers."""
        base, attacks = self.base.to(grid.device), self.attacks.to(grid.device)
        free = self.bound * torch.tanh(grid / self.bound)
        sines, apart, noise = (free.unflatten(1, (PARTS, -1)) + base).unbind(1)
        residual = sines + (1.0 - attacks)[:, None] * apart
        return torch.stack((sines, residual, noise))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.attacks), self.base.numel()


def interpolation(sample_rate: int, n_fft: int, bands: int) -> Float32:
    """[bands, bins]: gains between band centres, the highest band's above it."""
    drawn = erb_bands(sample_rate, n_fft, bands, 60.0, min(18_000.0, 0.45 * sample_rate)).interpolation
    beyond = np.zeros((bands, n_fft // 2 + 1 - drawn.shape[1]), dtype=np.float32)
    beyond[-1] = 1.0
    return np.concatenate((drawn, beyond), axis=1)


class _Scale:
    """One resolution: the parts' spectra, and the statistics of the styles."""

    def __init__(self, parts: Tensor, styles: Sequence[Tensor], sample_rate: int, n_fft: int, bands: int, seed: int):
        high_hz = min(16_000.0, 0.45 * sample_rate)
        self.log = LogSpectrogram(Analysis(sample_rate=sample_rate, n_fft=n_fft, hop=HOP, high_hz=high_hz)).to(
            parts.device
        )
        self.bank = self.log.bank
        window = self.log.power.window
        self.spectra = torch.stft(parts, n_fft, HOP, window=window, return_complex=True, pad_mode="constant").mT
        self.draw = torch.from_numpy(interpolation(sample_rate, n_fft, bands)).to(parts.device)
        self.filters = [random_filters(seed + index).to(parts.device) for index in range(BANKS)]
        self.wanted = [[zone_grams(self.log(style[None]), bank) for bank in self.filters] for style in styles]

    def spectrum(self, gains: Tensor) -> Tensor:
        """Of all parts with their gains [3, frames, bands]: complex [frames, bins]."""
        return (torch.exp(gains @ self.draw) * self.spectra).sum(dim=0)

    def grams(self, power: Tensor) -> list[Tensor]:
        level = 0.5 * torch.log1p(power[:, : len(self.bank)] @ self.bank * self.log.analysis.floor**-2)
        return [zone_grams(level.T[None], bank) for bank in self.filters]


class GridObjective:
    """Errors of grid values: `style` is how far from the styles, `content` what of the player is lost.

    parts: [3, samples]: sines, residual, noise. styles: each [samples]. weights: of the styles. Errors are told apart
    in `terms` after every call.
    """

    def __init__(
        self,
        parts: Float32,
        styles: Sequence[Float32],
        shares: Sequence[float],
        gains: Gains,
        weights: GridWeights,
        sample_rate: int,
        seed: int,
        device: str,
    ) -> None:
        self.shape = gains.shape
        self._gains, self._weights = gains, weights
        self._device = torch.device(device)
        self._shares = [float(share) for share in np.asarray(shares) / np.sum(shares)]
        self.terms: dict[str, float] = {}
        bands = gains.base.shape[1]
        rows = torch.from_numpy(np.ascontiguousarray(parts)).to(self._device)
        clips = [normalise_level(torch.from_numpy(np.array(style)).to(self._device)[None])[0] for style in styles]
        with torch.no_grad():
            self._scales = {
                n_fft: _Scale(rows, clips, sample_rate, n_fft, bands, 1000 * seed + 10 * index)
                for index, n_fft in enumerate(SCALES)
            }
            self._envelopes = BandEnvelopes(sample_rate).to(self._device)
            self._wanted = [self._envelopes(clip[None]) for clip in clips]
            levels = self._scales[LEVEL_SCALE]
            self._played = self._levels(self._levelled(levels.spectra[:2].sum(dim=0)))

    def __call__(self, spectrogram: Float32) -> Evaluation:
        variable = torch.from_numpy(np.ascontiguousarray(spectrogram)).to(self._device).requires_grad_()
        style, content = self._errors(variable)
        (slope,) = torch.autograd.grad(style + content, variable)
        return Evaluation(float(content.detach()), float(style.detach()), slope.cpu().numpy())

    def _errors(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        w, gains = self._weights, self._gains(grid)
        powers = {n_fft: self._levelled(scale.spectrum(gains)) for n_fft, scale in self._scales.items()}
        found = {n_fft: scale.grams(powers[n_fft]) for n_fft, scale in self._scales.items()}
        envelopes = self._envelope(powers[LEVEL_SCALE])
        gram, envelope = torch.zeros((), device=grid.device), torch.zeros((), device=grid.device)
        for index, share in enumerate(self._shares):
            for n_fft, scale in self._scales.items():
                for grams, wanted in zip(found[n_fft], scale.wanted[index], strict=True):
                    gram = gram + share * gram_distance(grams, wanted).sum() / (len(SCALES) * BANKS)
            envelope = envelope + share * envelope_distance(envelopes, self._wanted[index]).sum()
        played, heard = self._played, self._levels(powers[LEVEL_SCALE])
        loudness = 1.0 - correlation(self._loudness(played), self._loudness(heard))
        onset = onset_loss(flux(played[None])[0], flux(heard[None])[0])
        rough = (gains[..., 1:] - gains[..., :-1]).square().mean()
        moved = (gains[:, 1:] - gains[:, :-1]).square().mean()
        noise = torch.exp(gains[2] - gains[0]).mean()
        terms = {
            "gram": w.gram * gram,
            "envelope": w.envelope * envelope,
            "onset": w.onset * onset,
            "loudness": w.loudness * loudness,
            "rough": w.roughness * rough,
            "moved": w.movement * moved,
            "noise": w.noise * noise,
        }
        self.terms = {name: float(value.detach()) for name, value in terms.items()}
        values = list(terms.values())
        return values[0] + values[1], torch.stack(values[2:]).sum()

    def _levelled(self, spectrum: Tensor) -> Tensor:
        """Power [frames, bins] brought to the level at which styles are compared."""
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        return power * (LEVEL**2 / (power.sum(dim=1).mean() + _FLOOR))

    def _envelope(self, power: Tensor) -> Tensor:
        """As `BandEnvelopes` does from audio: [1, 2, bands]."""
        bank, floor = self._envelopes.bank, self._envelopes.floor
        level = torch.log(torch.sqrt(power[:, : len(bank)] @ bank + 1e-2 * floor**2) + floor)
        mean = level.mean(dim=0)
        deviation = torch.sqrt((level - mean).square().mean(dim=0) + 1e-4)
        return torch.stack((mean, deviation))[None]

    def _levels(self, power: Tensor) -> Tensor:
        """Log band levels [frames, bands] in nepers, floored 70 dB under the loudest."""
        bank = self._envelopes.bank
        banded = power[:, : len(bank)] @ bank
        return 0.5 * torch.log(banded + 1e-7 * banded.amax() + _FLOOR)

    @staticmethod
    def _loudness(levels: Tensor) -> Tensor:
        """Log level of each frame [frames], floored 50 dB under the loudest."""
        power = torch.exp(2.0 * levels).sum(dim=1)
        return 0.5 * torch.log(power + 1e-5 * power.amax() + _FLOOR)
