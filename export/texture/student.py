"""The texture student: a causal dilated-convolution network from the input's log magnitudes to free ones.

Also the differentiable form of what the engine does with its answer (level law, phases, noise, overlap-add). Phases
are the engine's own, held fixed while magnitudes learn.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engine import texture
from ...engine.bands import erb_bands
from ...engine.model import TEXTURE_SIZES
from ...engine.phase import PhaseReconstruction
from ..block import ResidualBlock
from ..graph import KERNEL
from . import graph

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

LEAST_HISS = 1e-4


@dataclass(frozen=True)
class StudentConfig:
    """Sizes and bounds of a texture student. Bounds are natural logarithms of amplitude."""

    styles: int = 1
    width: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 16)
    templates: int = 24
    noise_bands: int = 48
    tone_bound: float = 5.0
    hiss_bound: float = 4.0
    swing_bound: float = 0.7
    gamma_range: tuple[float, float] = (0.3, 1.4)
    sample_rate: float = 48000.0

    @property
    def receptive_field(self) -> int:
        """Frames that an answer depends on, itself included."""
        return 1 + (KERNEL - 1) * sum(self.dilations)


class TextureStudent(nn.Module):
    """features [batch, frames, bins + 1], style [styles], amount -> ratios [batch, frames, 2, bins], dynamics [.., 2].

    level: log gain of each style [styles], set after training so that the output is as loud as the input.
    """

    level: Tensor
    draw: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        bins, width, styles = TEXTURE_SIZES.bins, config.width, config.styles
        self.first = nn.Parameter(torch.randn(bins + 1, width) / (bins + 1) ** 0.5)
        self.first_bias = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(
            ResidualBlock(width, dilation, styles, spread=0.3 if styles > 1 else 0.0, knows_amount=False)
            for dilation in config.dilations
        )
        self.tone = nn.Parameter(torch.zeros(width, bins))
        self.hiss = nn.Parameter(torch.zeros(width, config.noise_bands))
        self.swing = nn.Parameter(torch.zeros(width, 1))
        self.select = nn.Parameter(0.1 * torch.randn(width, config.templates) / width**0.5)
        self.select_base = nn.Parameter(torch.zeros(styles, config.templates))
        self.templates = nn.Parameter(torch.zeros(styles, config.templates, 2, bins))
        self.template_swing = nn.Parameter(torch.zeros(styles, config.templates))
        self.gamma_raw = nn.Parameter(torch.zeros(styles))
        self.register_buffer("level", torch.zeros(styles))
        self.register_buffer("draw", torch.from_numpy(draw_bands(config.noise_bands, config.sample_rate)))

    @torch.no_grad()
    def start_from(self, templates: Tensor, swing: Tensor, gamma: Tensor) -> None:
        """Begin with templates [styles, templates, 2, bins], their levels [styles, templates] and dynamics [styles]."""
        low, high = self.config.gamma_range
        self.templates.copy_(templates)
        self.template_swing.copy_(swing)
        self.gamma_raw.copy_(torch.logit((gamma - low) / (high - low), eps=1e-2))

    def gamma(self) -> Tensor:
        """Exponent of the level dynamics for each style [styles]."""
        low, high = self.config.gamma_range
        return low + (high - low) * torch.sigmoid(self.gamma_raw)

    def forward(self, features: Tensor, style: Tensor, amount: float = 1.0) -> tuple[Tensor, Tensor]:
        ratios, dynamics, _ = self.answer(features, style, amount)
        return ratios, dynamics

    def answer(self, features: Tensor, style: Tensor, amount: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, and the logits of the templates [batch, frames, templates]."""
        config = self.config
        hidden = self.extract(features, style)
        choice = hidden @ self.select + style @ self.select_base
        shares = torch.softmax(choice, dim=-1)
        bases = shares @ torch.einsum("s,stpf->tpf", style, self.templates).flatten(1)
        tone_base, hiss_base = bases.unflatten(-1, (2, -1)).unbind(dim=-2)
        tone = _bounded(hidden @ self.tone, config.tone_bound) + tone_base
        hiss = _bounded(hidden @ self.hiss, config.hiss_bound) @ self.draw + hiss_base
        if amount != 1.0:
            seen = features[..., :-1] * texture.FEATURE_SCALE + graph.INPUT_FLOOR
            tone = amount * tone + (1.0 - amount) * seen
        hiss = hiss + float(np.log(amount + LEAST_HISS))
        swing = _bounded(hidden @ self.swing, config.swing_bound) + (shares @ (style @ self.template_swing))[..., None]
        swing = swing + style @ self.level
        dynamics = torch.cat([swing, (style @ self.gamma()).expand_as(swing)], dim=-1)
        return torch.stack([tone, hiss], dim=2), dynamics, choice

    def extract(self, features: Tensor, style: Tensor) -> Tensor:
        """Hidden units [batch, frames, width]."""
        hidden = torch.relu(features @ self.first + self.first_bias)
        for block in self.blocks:
            hidden = block(hidden, style[None])
        return hidden

    def weights(self) -> graph.Weights:
        """The weights as arrays for `graph.build_graph`."""

        def array(tensor: Tensor) -> Float32:
            return tensor.detach().cpu().numpy().astype(np.float32)

        return graph.Weights(
            first=array(self.first),
            first_bias=array(self.first_bias),
            blocks=[block.weights() for block in self.blocks if isinstance(block, ResidualBlock)],
            tone=array(self.tone),
            hiss=array(self.hiss),
            swing=array(self.swing),
            draw=array(self.draw),
            select=array(self.select),
            select_base=array(self.select_base),
            templates=array(self.templates),
            template_swing=array(self.template_swing),
            gamma=array(self.gamma()),
            level=array(self.level),
            tone_bound=self.config.tone_bound,
            hiss_bound=self.config.hiss_bound,
            swing_bound=self.config.swing_bound,
        )


def draw_bands(bands: int, sample_rate: float) -> Float32:
    """Matrix [bands, bins] that draws log gains of ERB bands to all bins, level beyond the outer bands."""
    top = min(20000.0, 0.45 * sample_rate)
    found = erb_bands(sample_rate, TEXTURE_SIZES.analysis, count=bands, low_hz=60.0, high_hz=top)
    matrix = np.zeros((bands, TEXTURE_SIZES.bins), dtype=np.float32)
    matrix[:, : found.bins] = found.interpolation
    matrix[-1, found.bins :] = 1.0
    return matrix


def _bounded(moves: Tensor, bound: float) -> Tensor:
    return bound * torch.tanh(moves / bound)


@dataclass
class Heard:
    """A batch of content as the engine's listener heard it.

    features [batch, past + frames, bins + 1]; level and swing [batch, frames]; audio [batch, frames * hop], the input.
    """

    features: Tensor
    level: Tensor
    swing: Tensor
    audio: Tensor


@dataclass
class Played:
    """What a batch sounds like: audio [batch, frames * hop], the first half of frame n in hop n; spectra and tone
    (log magnitudes) [batch, frames, bins].
    """

    audio: Tensor
    spectra: Tensor
    log_tone: Tensor
    log_power: Tensor


class Player(nn.Module):
    """The engine's way from answers to sound, differentiable in the magnitudes; law `texture@1`."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = TEXTURE_SIZES
        self.sizes = sizes
        middle = (sizes.analysis - sizes.synthesis) // 2
        self._middle = slice(middle, middle + sizes.synthesis)
        self.register_buffer("window", torch.from_numpy(texture.grain_window(sizes)).float())

    def forward(self, heard: Heard, ratios: Tensor, dynamics: Tensor, noise: Tensor) -> Played:
        """noise: complex64 [batch, frames, bins]."""
        ratios = ratios.clamp(*texture.RATIO_RANGE)
        inner = ratios[..., 1:-1]
        power = torch.exp(2.0 * inner).sum(dim=(-1, -2))
        common = heard.level + level_curve(heard.swing, dynamics[..., 1]) + dynamics[..., 0]
        common = (common - 0.5 * torch.log(power + 1e-20)).clamp(-60.0, 20.0)[..., None]
        log_tone = ratios[:, :, 0] + common
        hiss = torch.exp(ratios[:, :, 1] + common)
        audible = torch.ones(self.sizes.bins)
        audible[0] = audible[-1] = 0.0
        spectra = (torch.exp(log_tone) * phasors(log_tone.detach()) + hiss * noise) * audible
        log_power = torch.logaddexp(2.0 * log_tone, 2.0 * (ratios[:, :, 1] + common))
        pairs = torch.fft.irfft(spectra, self.sizes.analysis)[..., self._middle] * self.window
        hop = self.sizes.hop
        audio = (pairs[..., :hop] + functional.pad(pairs[..., hop:], (0, 0, 1, 0))[:, :-1]).flatten(1)
        return Played(audio, spectra, log_tone, log_power)


def level_curve(swing: Tensor, gamma: Tensor) -> Tensor:
    """`engine.texture.level_curve` for tensors."""
    middle = swing.clamp(texture.REST, texture.ATTACK)
    above = torch.relu(swing - texture.ATTACK)
    below = torch.relu(texture.REST - swing)
    return gamma * middle + above - texture.REST_SLOPE * below


@torch.no_grad()
def phasors(log_magnitude: Tensor) -> Tensor:
    """Unit phasors that the engine gives to log magnitudes [batch, frames, bins], from silence on."""
    levels = log_magnitude.numpy().astype(np.float32)
    spectra = np.zeros(levels.shape, dtype=np.complex64)
    PhaseReconstruction(TEXTURE_SIZES.analysis, TEXTURE_SIZES.hop, len(levels)).process(levels.copy(), spectra)
    found = torch.from_numpy(spectra)
    unit: Tensor = found / (found.abs() + 1e-30)
    return unit
