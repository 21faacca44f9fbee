"""Pitch-bound statistics of a texture: how its patches of log magnitudes are distributed, in closed form.

The Gram matrix of Ulyanov and Lebedev (2016), with infinitely many random filters, is the maximum mean discrepancy of
patches under the squared arc-cosine kernel (Cho and Saul 2009; Li et al. 2017), with t the angle between a and b:

    k(a, b) = |a| |b| (sin t + (pi - t) cos t) / pi,   error = mean k(x, x')^2 - 2 mean k(x, y)^2 + mean k(y, y')^2.

A patch is some frames in a row, and the product of two patches is a sum along the diagonal of the products of frames.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...engine.bands import erb_bands
from ..losses import BandLevels, correlation, flux

PUBLISHED_N_FFT = 2048
TAPS = 11
RUN_PATCHES = 96


@dataclass(frozen=True)
class Scale:
    """n_fft and hop in samples; a patch spans TAPS frames."""

    n_fft: int
    hop: int


TEACHER_SCALE = Scale(4096, 1024)
SHORT_SCALE = Scale(1024, 512)


class LogMagnitudes(nn.Module):
    """log(1 + |STFT|) under a Hann window, a sine reading the same at all sizes.

    audio [..., samples] -> [..., frames, bins], frames wholly inside the audio.
    """

    window: Tensor

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("window", torch.hann_window(scale.n_fft) * (PUBLISHED_N_FFT / scale.n_fft))

    def forward(self, audio: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(audio.unfold(-1, self.scale.n_fft, self.scale.hop) * self.window)
        # The floor lies inside the root: silence has a finite slope.
        return torch.log1p(torch.sqrt(torch.view_as_real(spectrum).square().sum(dim=-1) + 1e-12))


class _Arc(torch.autograd.Function):
    """(sin t + (pi - t) cos t) / pi of a cosine; its slope (pi - t) / pi is finite everywhere."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, cosine: Tensor) -> Tensor:
        bounded = cosine.clamp(-1.0, 1.0)
        slope = 1.0 - torch.arccos(bounded) / torch.pi
        ctx.save_for_backward(slope)
        return torch.sqrt(1.0 - bounded * bounded) / torch.pi + slope * bounded

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * slope  # type: ignore[no-any-return]


def _patch_products(left: Tensor, right: Tensor) -> Tensor:
    """Products of all patches of frames [pieces, n, bins] with those of [others, m, bins]: [p, n - 10, o, m - 10]."""
    frames: Tensor = torch.einsum("pnf,omf->pnom", left, right)
    rows, columns = frames.shape[1] - TAPS + 1, frames.shape[3] - TAPS + 1
    found = frames[:, :rows, :, :columns]
    for tap in range(1, TAPS):
        found = found + frames[:, tap : tap + rows, :, tap : tap + columns]
    return found


def _norms(frames: Tensor) -> Tensor:
    """Norms of the patches of frames [pieces, n, bins]: [pieces, n - 10]."""
    squares = frames.square().sum(dim=-1)
    return torch.sqrt(squares.unfold(-1, TAPS, 1).sum(dim=-1) + 1e-8)


def _mean_by_run(run: Tensor, runs: Tensor) -> Tensor:
    """Mean of k(a, b)^2 over patches a of a run [n, bins] and b of each of runs [others, m, bins]: [others]."""
    return _squared_kernel(run[None], runs).mean(dim=(0, 1, 3))


def _squared_kernel(left: Tensor, right: Tensor) -> Tensor:
    norms = _norms(left)[:, :, None, None] * _norms(right)
    arc: Tensor = _Arc.apply(_patch_products(left, right) / norms)  # type: ignore[no-untyped-call]
    return (norms * arc).square()


def mean_squared_kernel(left: Tensor, right: Tensor) -> Tensor:
    """Mean of k(a, b)^2 over all patches a of left [pieces, n, bins] and b of right [others, m, bins]."""
    return _squared_kernel(left, right).mean()


class PatchTarget:
    """The patches of a clip [samples] at one scale, level as given; distances of sounds from them.

    runs: how many runs of RUN_PATCHES patches a distance is measured against, drawn anew each time; all if fewer.
    """

    def __init__(self, clip: Tensor, scale: Scale, runs: int) -> None:
        self.frames = LogMagnitudes(scale)
        self._drawn = runs
        with torch.no_grad():
            frames = self.frames(clip)
            patches = len(frames) - TAPS + 1
            span = min(RUN_PATCHES, patches)
            starts = np.linspace(0, patches - span, -(-patches // span)).astype(int)
            self._runs = torch.stack([frames[start : start + span + TAPS - 1] for start in starts])
            self._own = torch.stack([_mean_by_run(run, self._runs) for run in self._runs])

    def distance(self, audio: Tensor, generator: np.random.Generator | None = None) -> Tensor:
        """Error of audio [pieces, samples] over the norm of the clip's, all pieces together one sample of the sound.

        Without a generator all of the clip is compared.
        """
        frames = self.frames(audio)
        count = len(self._runs)
        chosen = np.arange(count)
        if generator is not None and count > self._drawn:
            chosen = generator.choice(count, self._drawn, replace=False)
        runs, own = self._runs[chosen], self._own[chosen][:, chosen].mean()
        error = mean_squared_kernel(frames, frames) - 2.0 * mean_squared_kernel(frames, runs) + own
        return torch.relu(error) / own


class OnsetGuard(nn.Module):
    """1 - correlation of the spectral flux (mean rise in dB over ERB bands) of content and output.

    Bands 45 dB under the loudest of the piece do not count: a texture must not tick where it has no sound.
    """

    def __init__(self, sample_rate: int, n_fft: int = 2048, hop: int = 512) -> None:
        super().__init__()
        bands = erb_bands(float(sample_rate), n_fft, count=48, low_hz=60.0, high_hz=18000.0)
        self._levels = BandLevels(bands.pooling, n_fft, hop, floor=10.0**-4.5)

    def flux(self, audio: Tensor) -> Tensor:
        """Spectral flux [pieces, frames - 1] in nepers of audio [pieces, samples]."""
        return flux(self._levels(audio))

    def forward(self, played: Tensor, output: Tensor) -> Tensor:
        """Mean loss of output [pieces, samples] against the flux of what was played."""
        return (1.0 - correlation(torch.sqrt(played + 0.01), torch.sqrt(self.flux(output) + 0.01))).mean()
