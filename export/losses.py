"""What distillation asks of a student: the style's statistics, and guards for what belongs to the player.

Audio is float [batch, samples] at 48 kHz, content and output aligned to the sample. Each guard is 0 when the output
keeps what it guards; floors lie inside roots and logarithms, so silence makes no infinite gradients.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .statistics import PowerSpectrum

SEMITONES = (40, 100)


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts; gram and envelope are ratios to the matched EQ on the training content.

    gram, envelope and target (a teacher's sound) are weighed by the amount, identity (the input) by what is left of it.
    With more of chroma and onset (10 and 20) envelopes end further from a cello and a piano, with less (7 and 12)
    strummed chords lose pitch.
    """

    gram: float = 1.5
    envelope: float = 2.0
    target: float = 1.0
    identity: float = 2.0
    chroma: float = 9.0
    onset: float = 16.0
    loudness: float = 4.0
    tonality: float = 4.0
    noise: float = 0.2
    roughness: float = 0.5
    movement: float = 4.0


def _per_sine(n_fft: int) -> Tensor:
    """Hann window [n_fft] under which a sine reads the same at all sizes."""
    window = torch.hann_window(n_fft)
    return window / window.sum()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation over the last axis."""
    a = first - first.mean(dim=-1, keepdim=True)
    b = second - second.mean(dim=-1, keepdim=True)
    return (a * b).sum(dim=-1) / torch.sqrt(a.square().sum(dim=-1) * b.square().sum(dim=-1) + 1e-8)


class PitchGuard(nn.Module):
    """1 - cosine between the played and the heard semitones, where the player is loud.

    Spectral peaks (log spectrum above its mean over about an octave) of a long window, gathered by semitone and,
    folded, by pitch class.
    """

    gather: Tensor
    around: Tensor

    def __init__(self, sample_rate: float = 48000.0, n_fft: int = 8192, hop: int = 2048) -> None:
        super().__init__()
        self.frames = PowerSpectrum(_per_sine(n_fft), hop)
        hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
        pitch = 69.0 + 12.0 * np.log2(np.maximum(hz, 1.0) / 440.0)
        self.low = int(np.searchsorted(pitch, SEMITONES[0] - 0.5))
        self.high = int(np.searchsorted(pitch, SEMITONES[1] + 0.5))
        pitch = pitch[self.low : self.high]
        notes = np.arange(SEMITONES[0], SEMITONES[1] + 1)
        triangles = np.maximum(0.0, 1.0 - np.abs(pitch[:, None] - notes[None, :]))
        around = np.exp(-0.5 * ((pitch[:, None] - pitch[None, :]) / 5.0) ** 2)
        self.register_buffer("gather", torch.from_numpy(triangles / np.sqrt(triangles.sum(0) + 1e-3)).float())
        # The local mean is taken on a coarse grid: every eighth bin is enough for a smooth curve.
        coarse = around[:, ::8] / around[:, ::8].sum(axis=1, keepdims=True)
        self.register_buffer("around", torch.from_numpy(coarse).float())

    def notes(self, audio: Tensor) -> Tensor:
        """Strength of each semitone [batch, frames, semitones]."""
        power = self.frames(audio)[..., self.low : self.high]
        log = 0.5 * torch.log(power + 1e-10)
        mean = nn.functional.avg_pool1d(log, 8, 8, ceil_mode=True) @ self.around[:, : -(-log.shape[-1] // 8)].T
        peaks = torch.relu(log - mean - 0.3)
        return peaks @ self.gather

    def forward(self, played: Tensor, weight: Tensor, output: Tensor) -> Tensor:
        heard = self.notes(output)
        near = nn.functional.cosine_similarity(played, heard, dim=-1, eps=1e-4)
        folded = nn.functional.cosine_similarity(self._fold(played), self._fold(heard), dim=-1, eps=1e-4)
        loss = weight * (1.0 - 0.4 * near - 0.6 * folded)
        return loss.sum(dim=-1) / (weight.sum(dim=-1) + 1e-6)

    def weight(self, audio: Tensor) -> Tensor:
        """Level weight of each frame [batch, frames]."""
        level = self.frames(audio).sum(dim=-1)
        return torch.sqrt(level / (level.mean(dim=-1, keepdim=True) + 1e-12) + 1e-6)

    @staticmethod
    def _fold(notes: Tensor) -> Tensor:
        octaves = notes.shape[-1] // 12
        return notes[..., : 12 * octaves].reshape(*notes.shape[:-1], octaves, 12).sum(dim=-2)


class BandLevels(nn.Module):
    """Log band levels [batch, frames, bands] in nepers, 43 ms frames every 11 ms.

    floor: power, relative to the loudest band and frame of the piece, under which all is alike.
    """

    bank: Tensor

    def __init__(
        self,
        bank: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        n_fft: int = 2048,
        hop: int = 512,
        floor: float = 1e-8,
    ) -> None:
        super().__init__()
        self.floor = floor
        self.frames = PowerSpectrum(_per_sine(n_fft), hop, len(bank))
        self.register_buffer("bank", torch.from_numpy(bank))

    def forward(self, audio: Tensor) -> Tensor:
        power = self.frames(audio) @ self.bank
        peak = power.amax(dim=(1, 2), keepdim=True)
        return 0.5 * torch.log(power + self.floor * peak + 1e-14)


def flux(levels: Tensor) -> Tensor:
    """Spectral flux [batch, frames - 1]: the mean rise of `BandLevels` over the bands."""
    return torch.relu(levels[:, 1:] - levels[:, :-1]).mean(dim=-1)


def onset_loss(played: Tensor, heard: Tensor) -> Tensor:
    """1 - correlation of the fluxes [batch, frames] of input and output: [batch]."""
    soft = correlation(torch.sqrt(played + 0.025), torch.sqrt(heard + 0.025))
    return 1.0 - 0.5 * correlation(played, heard) - 0.5 * soft


def level_distance(levels: Tensor, wanted: Tensor, depth: float = 5.0) -> Tensor:
    """Mean absolute difference [batch] of two `BandLevels` in nepers; what lies `depth` under the loudest is alike."""
    floors = [part.amax(dim=(1, 2), keepdim=True) - depth for part in (levels, wanted)]
    return (torch.maximum(levels, floors[0]) - torch.maximum(wanted, floors[1])).abs().mean(dim=(1, 2))


def log_level(audio: Tensor, frame: int = 2048) -> Tensor:
    """Log RMS [batch, frames] of non-overlapping frames."""
    return 0.5 * torch.log(audio.unfold(-1, frame, frame).square().mean(dim=-1) + 1e-8)


class Tonality(nn.Module):
    """How steady the fine structure of the spectrum is: its correlation with that some 85 ms later, per zone."""

    ZONES_HZ = (100.0, 400.0, 1000.0, 2500.0, 6000.0)

    def __init__(self, sample_rate: float = 48000.0, n_fft: int = 4096, hop: int = 2048) -> None:
        super().__init__()
        self.edges = [round(hz * n_fft / sample_rate) for hz in self.ZONES_HZ]
        self.frames = PowerSpectrum(_per_sine(n_fft), hop, self.edges[-1] + 16)

    def forward(self, audio: Tensor) -> Tensor:
        """Correlations [batch, zones]."""
        log = 0.5 * torch.log(self.frames(audio) + 1e-10)
        smooth = nn.functional.avg_pool1d(log, 25, 1, 12, count_include_pad=False)
        fine = log - smooth
        zones = []
        for low, high in zip(self.edges[:-1], self.edges[1:], strict=True):
            part = fine[..., low:high]
            zones.append(correlation(part[:, 2:], part[:, :-2]).mean(dim=-1))
        return torch.stack(zones, dim=-1)
