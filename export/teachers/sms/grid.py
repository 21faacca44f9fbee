"""Gains of a sound's parts on a grid of ERB bands and time, and how near they bring it to a style.

The grid knows bands and not pitches: what it makes louder are the player's own partials, the player's own residual
and noise that is as loud as the player. The style is what `export.statistics` measures: zone Grams of random filters
over a log-frequency spectrogram, and mean and deviation of band levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch
from torch import Tensor

from ....engine.bands import erb_bands
from ...losses import BandLevels, PitchGuard, Tonality, correlation, flux, log_level, onset_loss
from ...statistics import Analysis, StyleView, normalise_level, random_filters, style_distances
from ..objective import Evaluation

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PARTS = 3
N_FFT, HOP = 2048, 512
SCALES = ((1024, 256), (4096, 512), (6144, 1024))
"""Window and hop of the spectrograms that the style is judged on; those of `export.measures` are others."""
BANKS = 2
EDGE = 5
FORMANT_BANDS = 3.0


@dataclass(frozen=True)
class GridWeights:
    """How much each term counts, and how far a gain may go from where it begins (bound, in nepers)."""

    gram: float = 1.0
    envelope: float = 1.0
    apart: float = 0.3
    pitch: float = 6.0
    tonality: float = 2.0
    onset: float = 8.0
    loudness: float = 4.0
    roughness: float = 0.05
    movement: float = 1.0
    bound: float = 2.5


class Gains:
    """Grid values [frames, 3 * bands] to log gains of sines, residual and noise.

    base: [3, frames, bands] in nepers, where the search begins; the residual's is over that of the sines.
    attacks: [frames], where it is 1 the residual has the gain of the sines: so an attack, which a window longer than
    itself has smeared over both, stays whole.
    fine: what is searched cannot change the shape over frequency that is as broad as a formant, FORMANT_BANDS.
    The first and last EDGE frames take the gains of their neighbours: no statistic looks at them.
    """

    def __init__(self, base: Float64, attacks: Float64, bound: float, *, fine: bool = False) -> None:
        self.base = torch.from_numpy(base.astype(np.float32))
        self.attacks = torch.from_numpy(attacks.astype(np.float32))
        self.bound = bound
        bands = base.shape[2]
        self._keep = torch.eye(bands)
        if fine:
            smooth = scipy.ndimage.gaussian_filter1d(np.eye(bands), FORMANT_BANDS, axis=0, mode="nearest")
            self._keep -= torch.from_numpy(smooth.astype(np.float32))

    def __call__(self, grid: Tensor) -> Tensor:
        """[3, frames, bands] in nepers."""
        base, attacks = self.base.to(grid.device), self.attacks.to(grid.device)
        edge = min(EDGE, (len(grid) - 1) // 2)
        grid = grid[torch.arange(len(grid), device=grid.device).clamp(edge, len(grid) - 1 - edge)]
        free = self.bound * torch.tanh(grid.unflatten(1, (PARTS, -1)) / self.bound)
        sines, apart, noise = free.unbind(1)
        keep = self._keep.to(grid.device).T
        sines, apart, noise = sines @ keep + base[0], apart @ keep + base[1], noise @ keep + base[2]
        residual = sines + (1.0 - attacks)[:, None] * apart
        return torch.stack((sines, residual, noise))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.attacks), PARTS * self.base.shape[2]


def interpolation(sample_rate: int, n_fft: int, bands: int) -> Float32:
    """[bands, bins]: gains between band centres, the highest band's above it."""
    drawn = erb_bands(sample_rate, n_fft, bands, 60.0, min(18_000.0, 0.45 * sample_rate)).interpolation
    beyond = np.zeros((bands, n_fft // 2 + 1 - drawn.shape[1]), dtype=np.float32)
    beyond[-1] = 1.0
    return np.concatenate((drawn, beyond), axis=1)


class GridObjective:
    """Errors of grid values: `style` is how far from the styles, `content` what of the player is lost.

    parts: [3, samples]: sines, residual, noise. styles: pairs of sines and residual, each [samples]. shares: their
    weights. The sound that is judged is the parts' spectra times their gains, made sound. `terms` tells the errors
    apart after every call.
    """

    def __init__(
        self,
        parts: Float32,
        styles: Sequence[tuple[Float32, Float32]],
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
        self._related = float("nan")
        bands = gains.base.shape[2]
        rows = torch.from_numpy(np.ascontiguousarray(parts)).to(self._device)
        self._length = rows.shape[1]
        self._window = torch.hann_window(N_FFT, device=self._device)
        self._spectra = self._transformed(rows)
        self._draw = torch.from_numpy(interpolation(sample_rate, N_FFT, bands)).to(self._device)
        high_hz = min(16_000.0, 0.45 * sample_rate)
        self._view = StyleView(
            [Analysis(sample_rate=sample_rate, n_fft=n_fft, hop=hop, high_hz=high_hz) for n_fft, hop in SCALES],
            [
                [random_filters(1000 * seed + 10 * scale + bank) for bank in range(BANKS)]
                for scale in range(len(SCALES))
            ],
        ).to(self._device)
        self._pitch = PitchGuard(sample_rate).to(self._device)
        self._tonality = Tonality(sample_rate).to(self._device)
        layout = erb_bands(sample_rate, N_FFT, bands, 60.0, min(18_000.0, 0.45 * sample_rate))
        self._bands = BandLevels(layout.pooling).to(self._device)
        with torch.no_grad():
            clips = [torch.from_numpy(np.stack(style)).to(self._device) for style in styles]
            self._wanted = [self._view(normalise_level(clip.sum(dim=0, keepdim=True))) for clip in clips]
            self._wanted_parts = [self._part_levels(*(part[None] for part in clip)) for clip in clips]
            played = normalise_level(rows[:2].sum(dim=0, keepdim=True))
            self._notes, self._weight = self._pitch.notes(played), self._pitch.weight(played)
            self._steady = self._tonality(played)
            self._played, self._level = self._bands(played), log_level(played)
            self._flux = flux(self._played)

    def __call__(self, spectrogram: Float32) -> Evaluation:
        """Both errors of grid values [frames, 3 * bands], and the slope of their sum."""
        variable = torch.from_numpy(np.ascontiguousarray(spectrogram)).to(self._device).requires_grad_()
        terms = self._errors(variable)
        style = terms["gram"] + terms["envelope"] + terms["apart"]
        content = torch.stack([value for name, value in terms.items() if name in _GUARDS]).sum()
        (slope,) = torch.autograd.grad(style + content, variable)
        self.terms = {name: float(value.detach()) for name, value in terms.items()}
        return Evaluation(float(content.detach()), float(style.detach()), slope.cpu().numpy())

    def correlation(self, spectrogram: Float32) -> float:
        """Of the content's and the result's log band levels, for the values that were judged last: -1..1."""
        return self._related

    def sounds(self, gains: Tensor) -> Tensor:
        """The parts with their gains [3, frames, bands]: [3, samples]."""
        return torch.istft(
            torch.exp(gains @ self._draw).mT * self._spectra, N_FFT, HOP, window=self._window, length=self._length
        )

    def _errors(self, grid: Tensor) -> dict[str, Tensor]:
        w, gains = self._weights, self._gains(grid)
        parts = self.sounds(gains)
        heard = normalise_level(parts.sum(dim=0, keepdim=True))
        seen = self._view(heard)
        levels = self._part_levels(parts[:1], parts[1:].sum(dim=0, keepdim=True))
        gram = torch.zeros((), device=grid.device)
        envelope, apart = gram, gram
        for index, share in enumerate(self._shares):
            distances = style_distances(seen, self._wanted[index])
            gram, envelope = gram + share * distances[0].mean(), envelope + share * distances[1].mean()
            apart = apart + share * (levels - self._wanted_parts[index]).square().mean()
        pitch = self._pitch(self._notes, self._weight, heard).mean()
        bands = self._bands(heard)
        self._related = float(correlation(self._played.flatten(), bands.detach().flatten()))
        onset = onset_loss(self._flux, flux(bands)).mean()
        loudness = 1.0 - correlation(self._level, log_level(heard)).mean()
        rough = (gains[..., 1:] - gains[..., :-1]).square().mean()
        moved = (gains[:, 1:] - gains[:, :-1]).square().mean()
        return {
            "gram": w.gram * gram,
            "envelope": w.envelope * envelope,
            "apart": w.apart * apart,
            "pitch": w.pitch * pitch,
            "tonality": w.tonality * torch.relu(self._steady - self._tonality(heard)).mean(),
            "onset": w.onset * onset,
            "loudness": w.loudness * loudness,
            "rough": w.roughness * rough,
            "moved": w.movement * moved,
        }

    def _transformed(self, rows: Tensor) -> Tensor:
        """[parts, bins, frames]"""
        return torch.stft(rows, N_FFT, HOP, window=self._window, return_complex=True, pad_mode="constant")

    def _part_levels(self, sines: Tensor, rest: Tensor) -> Tensor:
        """Long-term band levels of both [2, bands] in nepers, relative to the whole, nothing 60 dB under it."""
        powers = torch.stack([torch.exp(2.0 * self._bands(part)).mean(dim=(0, 1)) for part in (sines, rest)])
        return 0.5 * torch.log(powers / (powers.sum() + 1e-12) + 1e-6)


_GUARDS = ("pitch", "tonality", "onset", "loudness", "rough", "moved")
