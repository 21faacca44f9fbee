"""The published encoder-decoder and VAE: every window of the spectrogram is an image of its own.

Convolutions of 3x3 with stride 2 and ReLU, mirrored by transposed ones; with `latent` > 0 a dense layer between them,
twice for a VAE (mean and log variance). A window knows nothing of its neighbours: hence the seams.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .coder_settings import CoderSettings
from .fitting import device_of, fit, seeded
from .inversion import griffin_lim, librosa_for_inversion, with_phase_of
from .resume import Saved
from .spectra import Analysis, istft, log_magnitudes, magnitudes, stft
from .teacher import Job, Made
from .variational import bounded, divergence, drawn
from .windows import cut, join

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

RANGE_DB = 80.0


class WindowCoder(nn.Module):
    """[batch, length, bins] to a code and back; code [batch, latent], or [batch, filters, length', bins'] without."""

    def __init__(self, length: int, bins: int, filters: Sequence[int], latent: int, variational: bool) -> None:
        super().__init__()
        step = 2 ** len(filters)
        self.size = (length, bins)
        self.padded = (-(-length // step) * step, -(-bins // step) * step)
        self.inner = (filters[-1], self.padded[0] // step, self.padded[1] // step)
        widths = [1, *filters]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            down += [nn.Conv2d(wide, narrow, 3, stride=2, padding=1), nn.ReLU()]
            up = [nn.ConvTranspose2d(narrow, wide, 3, stride=2, padding=1, output_padding=1), nn.ReLU(), *up]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up[:-1])
        numbers = self.inner[0] * self.inner[1] * self.inner[2]
        self.to_mean = nn.Linear(numbers, latent) if latent else nn.Identity()
        self.to_spread = nn.Linear(numbers, latent) if latent and variational else None
        self.from_latent = nn.Linear(latent, numbers) if latent else nn.Identity()
        self.dense = latent > 0

    def encode(self, windows: Tensor) -> tuple[Tensor, Tensor | None]:
        """The code of windows [batch, length, bins], and for a VAE the logarithm of its variance."""
        missing = (0, self.padded[1] - self.size[1], 0, self.padded[0] - self.size[0])
        hidden = self.encoder(functional.pad(windows, missing)[:, None])
        if self.dense:
            hidden = hidden.flatten(1)
        spread = None if self.to_spread is None else bounded(self.to_spread(hidden))
        return self.to_mean(hidden), spread

    def decode(self, code: Tensor) -> Tensor:
        """Windows [batch, length, bins] of a code."""
        hidden = self.from_latent(code).reshape(-1, *self.inner)
        return torch.as_tensor(self.decoder(hidden)[:, 0, : self.size[0], : self.size[1]])


class _Images(NamedTuple):
    """Windows as the network sees them [count, length, bins], and what turns each back: lowest and span [count]."""

    values: Tensor
    lowest: Tensor
    span: Tensor


def transfer_by_windows(name: str, job: Job, settings: CoderSettings) -> Made:
    """Train on the windows of content and styles, blend the codes, decode, lay the windows edge to edge, invert."""
    if settings.inversion == "griffin-lim":
        librosa_for_inversion()
    device = device_of(job)
    analysis = Analysis(settings.sample_rate, settings.n_fft, settings.hop)
    spectrum = stft(job.content, analysis)
    content = _images(spectrum, analysis, settings, device)
    styles = [_images(stft(style.audio, analysis), analysis, settings, device) for style in job.styles]
    windows = torch.cat([content.values, *(style.values for style in styles)])
    coder = seeded(
        job.seed,
        lambda: WindowCoder(settings.window, analysis.bins, settings.filters, settings.latent, settings.kl > 0.0),
    ).to(device)

    def losses(indices: Tensor, generator: torch.Generator) -> Mapping[str, Tensor]:
        wanted = windows[indices]
        code, spread = coder.encode(wanted)
        if spread is None:
            return {"reconstruction": functional.mse_loss(coder.decode(code), wanted)}
        found = coder.decode(drawn(code, spread, generator))
        cost = settings.kl * divergence(code, spread) / wanted[0].numel()
        return {"reconstruction": functional.mse_loss(found, wanted), "kl": cost}

    seen = log_magnitudes(spectrum, analysis)

    @torch.no_grad()
    def result() -> Float32:
        """Magnitudes [frames, bins]."""
        codes = _blended(coder, content, styles, [style.weight for style in job.styles], settings)
        found = torch.cat([coder.decode(some) for some in codes.split(settings.batch)])
        return _magnitudes(join(_values(found, content), len(spectrum)), analysis, settings)

    def correlation() -> float:
        made = np.log1p(result() * np.float32(analysis.scale))
        return float(np.corrcoef(made.ravel(), seen.ravel())[0, 1]) if made.std() > 0.0 else 0.0

    saved = Saved(name, job, settings)
    history = fit(
        coder,
        losses,
        len(windows),
        job,
        saved,
        epochs=settings.iterations,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        correlation=correlation,
    )
    audio = _sound(result(), spectrum, analysis, len(job.content), settings, job.seed)
    saved.remove()
    details = {
        "parameters": sum(value.numel() for value in coder.parameters()),
        "windows": len(windows),
        "window_samples": settings.window * settings.hop,
    }
    return Made(audio, history, [], details)


def _images(spectrum: Complex64, analysis: Analysis, settings: CoderSettings, device: torch.device) -> _Images:
    if settings.scale == "log":
        windows = cut(log_magnitudes(spectrum, analysis), settings.window)
        lowest, span = np.zeros(len(windows)), np.ones(len(windows))
    else:
        magnitude = np.abs(spectrum)
        floor = max(float(magnitude.max()), 1e-9) * 10.0 ** (-RANGE_DB / 20.0)
        windows = cut(np.asarray(20.0 * np.log10(np.maximum(magnitude, floor) / floor), np.float32), settings.window)
        lowest = windows.min(axis=(1, 2)) + 20.0 * np.log10(floor)
        span = np.maximum(np.ptp(windows, axis=(1, 2)), 1.0)
        windows = (windows - windows.min(axis=(1, 2), keepdims=True)) / span[:, None, None].astype(np.float32)
    values, least, spans = (torch.tensor(part, dtype=torch.float32) for part in (windows, lowest, span))
    return _Images(values.to(device), least.to(device), spans.to(device))


def _blended(
    coder: WindowCoder, content: _Images, styles: list[_Images], weights: list[float], settings: CoderSettings
) -> Tensor:
    """The content's codes, so far on the way to those of the styles."""

    def codes(images: _Images) -> Tensor:
        return torch.cat([coder.encode(some)[0] for some in images.values.split(settings.batch)])

    own = codes(content)
    wanted = torch.zeros_like(own)
    for images, weight in zip(styles, weights, strict=True):
        style = codes(images)
        if settings.style_code == "mean":
            style = style.mean(dim=0, keepdim=True)
        turns = torch.arange(len(own), device=own.device) % len(style)
        wanted = wanted + weight / sum(weights) * style[turns]
    return own + settings.blend * (wanted - own)


def _values(found: Tensor, content: _Images) -> Float32:
    """What was decoded, each window with the content's own scale again."""
    return np.asarray((found * content.span[:, None, None] + content.lowest[:, None, None]).cpu().numpy())


def _magnitudes(values: Float32, analysis: Analysis, settings: CoderSettings) -> Float32:
    if settings.scale == "log":
        return magnitudes(values, analysis)
    return np.asarray(10.0 ** (np.minimum(values, 120.0) / 20.0), dtype=np.float32)


def _sound(
    magnitude: Float32, spectrum: Complex64, analysis: Analysis, length: int, settings: CoderSettings, seed: int
) -> Float32:
    if settings.joined == "spectrograms":
        return _inverted(magnitude, spectrum, analysis, length, settings, seed)
    frames = range(0, len(spectrum), settings.window)
    parts = [slice(start, start + settings.window) for start in frames]
    sounds = [
        _inverted(magnitude[part], spectrum[part], analysis, settings.window * analysis.hop, settings, seed)
        for part in parts
    ]
    return np.concatenate(sounds)[:length]


def _inverted(
    magnitude: Float32, spectrum: Complex64, analysis: Analysis, length: int, settings: CoderSettings, seed: int
) -> Float32:
    if settings.inversion == "griffin-lim":
        return griffin_lim(magnitude, analysis, length, settings.rounds, seed)
    if settings.inversion == "zero-phase":
        # librosa's istft, given magnitudes, does just this: an impulse in the middle of every frame.
        return istft(magnitude.astype(np.complex64), analysis, length)
    return with_phase_of(spectrum, magnitude, analysis, length)
