"""What distillation takes from a style's recordings: its long-term spectrum, and the statistics to be reached."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..engine.mixer import mixer_bands
from ..engine.stft import DEFAULT_SIZES
from .losses import Tonality
from .measures import matched_eq
from .statistics import Analysis, StyleView, normalise_level, random_filters, style_distances

Float32 = npt.NDArray[np.float32]

BODY_POINTS = 2049
BODY_TOP_HZ = 24000.0
BODY_FLOOR_DB = -110.0
NOMINAL_RMS = 0.1


@dataclass(frozen=True)
class StyleClip:
    """One style: its name and its sound [samples] at the training's rate."""

    name: str
    audio: Float32


def pooled(recordings: Sequence[Float32]) -> Float32:
    """Several recordings [samples] of one style as one, each brought to the same level."""
    if len(recordings) == 1:
        return recordings[0]
    levels = [np.sqrt(np.mean(np.square(audio, dtype=np.float64)) + 1e-12) for audio in recordings]
    scaled = [audio * np.float32(NOMINAL_RMS / level) for audio, level in zip(recordings, levels, strict=True)]
    return np.concatenate(scaled)


def style_body(clip: Float32, sample_rate: int, octaves: float) -> Float32:
    """Natural-log magnitude [BODY_POINTS] of a clip's long-term spectrum up to BODY_TOP_HZ, mean power 1.

    Smoothed by a Gaussian of `octaves`, flat above 18 kHz, floor -110 dB under the peak.
    """
    n_fft = 4096
    window = np.hanning(n_fft + 1)[:-1]
    padded = np.pad(clip.astype(np.float64), (0, max(0, n_fft - len(clip))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: n_fft // 4]
    power = np.mean(np.abs(np.fft.rfft(frames * window, axis=1)) ** 2, axis=0)
    hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    if octaves > 0.0:
        smooth = np.empty_like(power)
        for index, centre in enumerate(hz):
            width = max(octaves * 0.7 * centre, 0.5 * hz[1])
            low, high = np.searchsorted(hz, (centre - 4 * width, centre + 4 * width))
            near = slice(max(0, low - 1), high + 1)
            kernel = np.exp(-0.5 * ((hz[near] - centre) / width) ** 2)
            smooth[index] = (kernel * power[near]).sum() / kernel.sum()
        power = smooth
    power = np.maximum(power, power.max() * 10.0 ** (BODY_FLOOR_DB / 10.0))
    grid = np.linspace(0.0, BODY_TOP_HZ, BODY_POINTS)
    curve = np.interp(np.minimum(grid, 18000.0), hz, 0.5 * np.log(power))
    curve -= 0.5 * np.log(np.mean(np.exp(2.0 * curve)))
    return np.asarray(curve, dtype=np.float32)


class StyleStatistics:
    """Statistics of a clip that an output is held against, as ratios to what a matched equaliser reaches.

    banks: how many random filter banks to take turns with; seed: of the first of them.
    """

    def __init__(self, clip: Float32, sample_rate: int, banks: int, seed: int, device: torch.device) -> None:
        self._clip, self._sample_rate = clip, sample_rate
        filters = [random_filters(1000 * seed + index) for index in range(banks)]
        self._view = StyleView([Analysis(sample_rate=sample_rate)], [filters]).to(device)
        self._tonality = Tonality(sample_rate)
        self._tonality.to(device)
        self._scale = torch.ones(2, device=device)
        with torch.no_grad():
            rows = normalise_level(torch.from_numpy(clip)[None].to(device))
            self._grams, self._envelopes = self._view(rows)
            self.tonality = self._tonality(rows)[0].clamp(0.0, 1.0)

    @torch.no_grad()
    def relate_to_eq(self, pieces: Sequence[Float32], skip: int) -> None:
        """From now on count distances in units of the matched equaliser's on these pieces, the first `skip` apart."""
        found = []
        for piece in pieces:
            audio = matched_eq(piece, self._clip, self._sample_rate)
            output = normalise_level(torch.from_numpy(audio)[None, skip:].to(self._scale.device))
            found.append(torch.stack(self.ratios(output, 0)).squeeze(1))
        self._scale = torch.stack(found).mean(dim=0) + 1e-6

    def ratios(self, audio: Tensor, bank: int) -> tuple[Tensor, Tensor]:
        """Gram distance by one filter bank and envelope error [batch] of audio [batch, samples] at RMS 0.1."""
        wanted = self._grams[:, bank : bank + 1], self._envelopes
        gram, envelope = style_distances(self._view(audio, bank), wanted)
        return gram / self._scale[0], envelope / self._scale[1]

    def tonality_of(self, audio: Tensor) -> Tensor:
        """Steadiness [batch, zones] of audio's fine structure, to be compared with `tonality` [zones]."""
        return torch.as_tensor(self._tonality(audio))


def content_bands(sample_rate: int) -> Float32:
    """Matrix [bins, bands] that pools a 2048-point power spectrum into the student's bands."""
    return np.ascontiguousarray(mixer_bands(DEFAULT_SIZES, float(sample_rate)).pooling)
