"""Style statistics that know timbre and texture but not pitch; differentiable, for training and measuring.

Two kinds. *Zone Grams*: a log-frequency log spectrogram is filtered with random 2-D filters, rectified, and
the correlations of the filters are averaged over all positions of a frequency zone: a zone is so wide (three
octaves) that a transposed phrase gives nearly the same Gram. Taking the frequency bins as channels instead
(Ulyanov and Lebedev 2016) imprints the pitches of the clip. *Band envelopes*: mean and deviation over time of
the log level of 48 ERB bands.

Audio is float [batch, samples], full scale +-1. Every floor lies inside the root or the logarithm, so
gradients stay finite in silence.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..engine.bands import erb_bands

ZONES = 4


@dataclass(frozen=True)
class Analysis:
    """One scale of the log-frequency spectrogram.

    n_fft and hop in samples; floor is the amplitude (full scale 1, audio at RMS 0.1) that reads as level 0.
    """

    sample_rate: int = 48000
    n_fft: int = 4096
    hop: int = 512
    bands_per_octave: int = 24
    low_hz: float = 55.0
    high_hz: float = 16000.0
    floor: float = 3e-4

    def __post_init__(self) -> None:
        if not 0.0 < self.low_hz < self.high_hz <= self.sample_rate / 2.0:
            raise ValueError(
                f"{self.low_hz:g}..{self.high_hz:g} Hz must lie in 0..{self.sample_rate / 2:g} Hz "
                f"(half the sample rate)"
            )
        if not 0 < self.hop <= self.n_fft:
            raise ValueError(f"hop {self.hop} must lie in 1..n_fft ({self.n_fft})")

    @property
    def centres_hz(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Band centres in Hz, float64 [bands]."""
        count = int(math.log2(self.high_hz / self.low_hz) * self.bands_per_octave) + 1
        return np.asarray(self.low_hz * 2.0 ** (np.arange(count) / self.bands_per_octave))


def normalise_level(audio: Tensor, rms: float = 0.1) -> Tensor:
    """Scale each row [batch, samples] to an RMS; rows under about -100 dBFS stay silent."""
    return audio * (rms / torch.sqrt(audio.square().mean(dim=-1, keepdim=True) + 1e-10))


def _log_frequency_bank(analysis: Analysis) -> Tensor:
    """Triangles on the log-frequency axis, never narrower than one bin: float32 [bins, bands], peak 1."""
    bins_hz = np.arange(analysis.n_fft // 2 + 1) * analysis.sample_rate / analysis.n_fft
    centres = analysis.centres_hz
    step = 2.0 ** (1.0 / analysis.bands_per_octave)
    bin_hz = analysis.sample_rate / analysis.n_fft
    below = np.maximum(centres - centres / step, bin_hz)
    above = np.maximum(centres * step - centres, bin_hz)
    offset = bins_hz[:, None] - centres[None, :]
    triangles = np.maximum(0.0, 1.0 - np.where(offset < 0.0, -offset / below, offset / above))
    return torch.from_numpy(triangles.astype(np.float32))


class _Power(torch.autograd.Function):
    """Power [..., bins] of the spectra of frames [..., n_fft].

    Its gradient is one real inverse transform; that of `torch.fft.rfft` is a complex one of twice the size.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, frames: Tensor, bins: int) -> Tensor:
        spectrum = torch.fft.rfft(frames)[..., :bins]
        ctx.save_for_backward(spectrum)
        ctx.n_fft = frames.shape[-1]  # type: ignore[attr-defined]
        power: Tensor = spectrum.real.square()
        return power.addcmul_(spectrum.imag, spectrum.imag)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (spectrum,) = ctx.saved_tensors  # type: ignore[attr-defined]
        n_fft: int = ctx.n_fft  # type: ignore[attr-defined]
        slopes = spectrum * grad
        # Bins in between stand for their mirror images, too.
        for index in (0, n_fft // 2) if slopes.shape[-1] == n_fft // 2 + 1 else (0,):
            slopes[..., index] *= 2.0
        return torch.fft.irfft(slopes, n_fft, norm="forward"), None


class PowerSpectrum(nn.Module):
    """Power [batch, frames, bins] of audio [batch, samples] under a window [n_fft], frames wholly inside the audio.

    bins: so many from below; all without it. ValueError for audio of less than one frame.
    """

    window: Tensor

    def __init__(self, window: Tensor, hop: int, bins: int | None = None) -> None:
        super().__init__()
        self.hop, self.bins = hop, bins or len(window) // 2 + 1
        self.register_buffer("window", window)

    def forward(self, audio: Tensor) -> Tensor:
        n_fft = len(self.window)
        if audio.shape[-1] < n_fft:
            raise ValueError(f"{audio.shape[-1]} samples are fewer than one frame of {n_fft}: give more")
        frames = audio.unfold(-1, n_fft, self.hop) * self.window
        power: Tensor = _Power.apply(frames, self.bins)  # type: ignore[no-untyped-call]
        return power


def _mean_square(n_fft: int) -> Tensor:
    """Hann window [n_fft] under which the bins of a frame sum to its mean square."""
    window = torch.hann_window(n_fft)
    return window * math.sqrt(2.0 / (n_fft * float(window.square().sum())))


class LogSpectrogram(nn.Module):
    """[batch, samples] -> log magnitudes [batch, bands, frames] over log frequency, in nepers, 0 = floor."""

    bank: Tensor

    def __init__(self, analysis: Analysis | None = None) -> None:
        super().__init__()
        self.analysis = analysis or Analysis()
        bank = _log_frequency_bank(self.analysis)
        bins = int(torch.nonzero(bank.sum(dim=1)).max()) + 1
        self.register_buffer("bank", bank[:bins].contiguous())
        self.power = PowerSpectrum(_mean_square(self.analysis.n_fft), self.analysis.hop, bins)

    def forward(self, audio: Tensor) -> Tensor:
        power = self.power(audio) @ self.bank
        return 0.5 * torch.log1p(power * self.analysis.floor**-2).transpose(-1, -2)


def random_filters(seed: int, count: int = 24, bands: int = 25, frames: int = 9) -> Tensor:
    """Gaussian filters [count, 1, bands, frames] of about unit norm; the same seed gives the same filters."""
    generator = torch.Generator().manual_seed(seed)
    filters = torch.randn(count, 1, bands, frames, generator=generator)
    return filters / math.sqrt(bands * frames)


def zone_grams(log_spectrogram: Tensor, filters: Tensor, stride: tuple[int, int] = (2, 4)) -> Tensor:
    """Gram matrices of the rectified filter outputs in four half-overlapping frequency zones.

    log_spectrogram: [batch, bands, frames] of `LogSpectrogram`; filters: [count, 1, bands, frames] of
    `random_filters`; stride over bands and frames. Returns [batch, zones, count, count], means over the
    positions of a zone. Raises ValueError when the spectrogram is smaller than a filter.
    """
    height, width = filters.shape[2:]
    if log_spectrogram.shape[1] < height + 2 * stride[0] * ZONES or log_spectrogram.shape[2] < width:
        raise ValueError(
            f"a spectrogram of {tuple(log_spectrogram.shape[1:])} bands and frames is too small for "
            f"filters of {height} x {width}: give longer audio"
        )
    # A matrix product over gathered patches is faster on a CPU than a convolution with one input channel.
    patches = log_spectrogram.unfold(1, height, stride[0]).unfold(2, width, stride[1])
    batch, rows, columns = patches.shape[:3]
    features = torch.relu(patches.reshape(batch, rows * columns, height * width) @ filters.flatten(1).T)
    edges = [round(i * rows / (ZONES + 1)) * columns for i in range(ZONES + 2)]
    lengths = [stop - start for start, stop in itertools.pairwise(edges)]
    strips = [part.transpose(1, 2) @ part for part in features.split(lengths, dim=1)]
    zones = [(strips[i] + strips[i + 1]) / (edges[i + 2] - edges[i]) for i in range(ZONES)]
    return torch.stack(zones, dim=1)


def gram_distance(grams: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance over that of the target, mean over zones.

    Both [..., zones, count, count]; returns [...]. 0 = equal, about 1 = as far as silence is; unbounded
    above. A tenth of the target's mean over zones is added to the divisor: a zone that the clip leaves empty
    would otherwise outweigh all others as soon as anything sounds there.
    """
    error = (grams - target).square().sum(dim=(-2, -1))
    power = target.square().sum(dim=(-2, -1))
    return (error / (power + 0.1 * power.mean(dim=-1, keepdim=True) + 1e-6)).mean(dim=-1)


class BandEnvelopes(nn.Module):
    """[batch, samples] at RMS 0.1 -> mean and deviation over time of log ERB band levels [batch, 2, 48].

    An envelope is the RMS amplitude in a band per frame (2048/512 at 48 kHz), plus `floor`; values in nepers.
    """

    bank: Tensor

    def __init__(self, sample_rate: int = 48000, count: int = 48, floor: float = 1e-3) -> None:
        super().__init__()
        scale = max(1, round(sample_rate / 48000))
        n_fft, hop = 2048 * scale, 512 * scale
        bands = erb_bands(sample_rate, n_fft, count, high_hz=min(18000.0, 0.45 * sample_rate))
        width = np.maximum(bands.interpolation.sum(axis=1), 1.0)
        self.register_buffer("bank", torch.from_numpy(bands.pooling * width))
        self.power = PowerSpectrum(_mean_square(n_fft), hop, bands.bins)
        self.floor = floor

    def forward(self, audio: Tensor) -> Tensor:
        power = self.power(audio) @ self.bank
        level = torch.log(torch.sqrt(power + 1e-2 * self.floor**2) + self.floor)
        mean = level.mean(dim=1)
        deviation = torch.sqrt((level - mean[:, None]).square().mean(dim=1) + 1e-4)
        return torch.stack((mean, deviation), dim=1)


def envelope_distance(envelopes: Tensor, target: Tensor) -> Tensor:
    """Mean square difference, in squared nepers, of two `BandEnvelopes` results [..., 2, bands]: [...]."""
    return (envelopes - target).square().mean(dim=(-2, -1))


class StyleView(nn.Module):
    """Everything that a style is judged by: zone Grams at several scales, several filters each, and band envelopes.

    analyses: the scales, of one sample rate. banks: filters of each scale (`random_filters`), as many for every one.
    """

    def __init__(self, analyses: Sequence[Analysis], banks: Sequence[Sequence[Tensor]]) -> None:
        super().__init__()
        if len(analyses) != len(banks) or len({len(filters) for filters in banks}) != 1:
            raise ValueError(f"{len(analyses)} scales: give equally many banks of filters for each")
        self._spectrograms = nn.ModuleList(LogSpectrogram(analysis) for analysis in analyses)
        self._banks = nn.ParameterList(nn.Parameter(torch.stack(list(filters)), False) for filters in banks)
        self._envelopes = BandEnvelopes(analyses[0].sample_rate)

    def forward(self, audio: Tensor, bank: int | None = None) -> tuple[Tensor, Tensor]:
        """Grams [batch, scales * banks, zones, count, count] and envelopes [batch, 2, bands] of audio at RMS 0.1.

        audio: [batch, samples]. bank: of every scale this one alone. The banks of a scale lie side by side.
        """
        grams = []
        for transform, filters in zip(self._spectrograms, self._banks, strict=True):
            spectrogram = transform(audio)
            grams += [zone_grams(spectrogram, one) for one in (filters if bank is None else filters[bank : bank + 1])]
        return torch.stack(grams, dim=1), self._envelopes(audio)


def style_distances(seen: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Gram distance, the mean over scales and banks, and envelope distance [batch] of two results of `StyleView`."""
    return gram_distance(seen[0], wanted[0]).mean(dim=-1), envelope_distance(seen[1], wanted[1])
