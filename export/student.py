"""The student: a causal dilated-convolution extractor over band features and a FiLM-conditioned decoder to band gains.

Also the differentiable form of everything the engine does with its answer (gain law, overlap-add, body),
so that training hears exactly what a player will hear.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..engine import mixer
from ..engine.bands import Bands
from ..engine.body import AMOUNT_STEPS, band_response, body_filters
from ..engine.stft import StftSizes, windows
from . import graph
from .block import ResidualBlock

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

DRY_START_RATIO, OTHER_START_RATIO = 0.0, -3.5


@dataclass(frozen=True)
class StudentConfig:
    """Sizes and bounds of a student. Bounds and ratios are natural logarithms of amplitude."""

    excitations: tuple[str, ...]
    bands: int = 48
    styles: int = 1
    width: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 1, 2)
    ratio_bound: float = 1.2
    swing_bound: float = 0.7
    gamma_range: tuple[float, float] = (0.4, 1.35)

    @property
    def receptive_field(self) -> int:
        """Frames that an answer depends on, itself included."""
        return 1 + (graph.KERNEL - 1) * (1 + sum(self.dilations))


class Student(nn.Module):
    """Band features to log gains.

    features [batch, frames, features], style [batch, styles] (weights that add up to 1) and amount [batch] give
    ratios [batch, frames, excitations, bands] and dynamics [batch, frames, 2].

    level: log gain of each style [styles], set after training so that the output is as loud as the input.
    """

    level: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        features = mixer.feature_count(config.bands)
        outputs = len(config.excitations) * config.bands + 1
        self.first = nn.Parameter(torch.randn(graph.KERNEL, features, config.width) / (graph.KERNEL * features) ** 0.5)
        self.first_bias = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.ModuleList(
            ResidualBlock(config.width, dilation, config.styles, knows_amount=True) for dilation in config.dilations
        )
        self.last = nn.Parameter(torch.zeros(config.width, outputs))
        self.last_bias = nn.Parameter(torch.zeros(outputs))
        start = [DRY_START_RATIO if name == "dry@1" else OTHER_START_RATIO for name in config.excitations]
        self.base = nn.Parameter(torch.tensor(start).repeat_interleave(config.bands).repeat(config.styles, 1))
        self.register_buffer("level", torch.zeros(config.styles))
        self.gamma_raw = nn.Parameter(torch.full((config.styles,), self._gamma_start()))

    def _gamma_start(self) -> float:
        low, high = self.config.gamma_range
        share = (1.0 - low) / (high - low)
        return float(np.log(share / (1.0 - share)))

    def gamma(self) -> Tensor:
        """Exponent of the level dynamics for each style [styles]."""
        low, high = self.config.gamma_range
        return low + (high - low) * torch.sigmoid(self.gamma_raw)

    def forward(self, features: Tensor, style: Tensor, amount: Tensor) -> tuple[Tensor, Tensor]:
        config = self.config
        frames = features.shape[1]
        padded = functional.pad(features, (0, 0, graph.KERNEL - 1, 0))
        hidden = self.first_bias + sum(
            (padded[:, i : i + frames] @ self.first[i] for i in range(graph.KERNEL)), start=torch.zeros(())
        )
        rest = (1.0 - amount)[:, None]
        for block in self.blocks:
            hidden = block(hidden, style, rest)
        answer = hidden @ self.last + self.last_bias
        moves, swing = answer[..., :-1], answer[..., -1:]
        ratios = config.ratio_bound * torch.tanh(moves / config.ratio_bound) + (style @ self.base)[:, None]
        swing = config.swing_bound * torch.tanh(swing / config.swing_bound) + (style @ self.level)[:, None, None]
        dynamics = torch.cat([swing, (style @ self.gamma())[:, None, None].expand_as(swing)], dim=-1)
        return ratios.unflatten(-1, (len(config.excitations), config.bands)), dynamics

    def weights(self, body: Float32) -> graph.Weights:
        """The weights as arrays for `graph.build_graph`, with the bodies [styles, points]."""

        def array(tensor: Tensor) -> Float32:
            return tensor.detach().cpu().numpy().astype(np.float32)

        return graph.Weights(
            first=array(self.first),
            first_bias=array(self.first_bias),
            blocks=[block.weights() for block in self.blocks if isinstance(block, ResidualBlock)],
            last=array(self.last),
            last_bias=array(self.last_bias),
            base=array(self.base),
            gamma=array(self.gamma()),
            level=array(self.level),
            body=body,
            ratio_bound=self.config.ratio_bound,
            swing_bound=self.config.swing_bound,
        )


class _Mix(torch.autograd.Function):
    """sum_k (gains_k @ interpolation) X_k without keeping the products for the backward pass."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, gains: Tensor, spectra: Tensor, interpolation: Tensor
    ) -> Tensor:
        ctx.save_for_backward(spectra, interpolation)
        bins = gains @ interpolation
        mixed = spectra[:, :, 0] * bins[:, :, 0]
        for index in range(1, spectra.shape[2]):
            mixed += spectra[:, :, index] * bins[:, :, index]
        return mixed

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        spectra, interpolation = ctx.saved_tensors  # type: ignore[attr-defined]
        return (spectra * grad.conj()[:, :, None]).real @ interpolation.T, None, None


def mix(gains: Tensor, spectra: Tensor, interpolation: Tensor) -> Tensor:
    """Sum over excitations: gains [batch, frames, excitations, bands] drawn to bins, times spectra [..., bins]."""
    mixed: Tensor = _Mix.apply(gains, spectra, interpolation)  # type: ignore[no-untyped-call]
    return mixed


@dataclass
class Heard:
    """A batch of content as the engine's observer saw it; float32 tensors, frames aligned.

    spectra complex64 [batch, frames, excitations, bins]; features [batch, past + frames, features]; power and shape
    [batch, frames, excitations, bands]; swing and level [batch, frames]; aligned [batch, frames * hop], the input one
    hop late.
    """

    spectra: Tensor
    features: Tensor
    power: Tensor
    shape: Tensor
    swing: Tensor
    level: Tensor
    aligned: Tensor

    def to(self, device: torch.device) -> "Heard":
        """The same on another device."""
        return Heard(**{name: getattr(self, name).to(device) for name in Heard.__dataclass_fields__})


@dataclass
class Setting:
    """How a batch is played: style [batch, styles], amount [batch], and the body that they choose.

    taps [batch, taps]; response [batch, bands], its power response.
    """

    style: Tensor
    amount: Tensor
    taps: Tensor
    response: Tensor


class Renderer(nn.Module):
    """The engine's way from answers to sound, differentiable.

    bodies: natural-log magnitudes [styles, points] up to top_hz. Above the bands nothing sounds, which differs from
    the engine for amounts below 1 only.
    """

    interpolation: Tensor
    widths: Tensor
    responses: Tensor
    window: Tensor
    filters: Tensor

    def __init__(
        self, bands: Bands, sizes: StftSizes, sample_rate: float, bodies: npt.ArrayLike, top_hz: float
    ) -> None:
        super().__init__()
        self.sizes, self.bins = sizes, bands.bins
        filters = body_filters(bodies, top_hz, sample_rate)
        responses = [[band_response(taps, bands.pooling, sizes.analysis) for taps in steps] for steps in filters]
        self.register_buffer("interpolation", torch.from_numpy(bands.interpolation))
        self.register_buffer("widths", torch.from_numpy(mixer.band_widths(bands, sizes)).float())
        self.register_buffer("responses", torch.from_numpy(np.array(responses)).float())
        self.register_buffer("window", torch.from_numpy(windows(sizes)[1]).float())
        self.register_buffer("filters", torch.from_numpy(filters).float())

    def setting(self, style: Tensor, amount: Tensor) -> Setting:
        """The setting for style weights [batch, styles] and amounts [batch]."""
        position = amount * AMOUNT_STEPS
        low = position.floor().clamp(max=AMOUNT_STEPS - 1)
        steps = torch.arange(AMOUNT_STEPS + 1, device=amount.device)
        share = torch.relu(1.0 - (position[:, None] - steps).abs()) * ((steps - low[:, None]).abs() < 1.5)
        weights = style[:, :, None] * share[:, None]
        taps = torch.einsum("bsa,sat->bt", weights, self.filters)
        return Setting(style, amount, taps, torch.einsum("bsa,sac->bc", weights, self.responses))

    def gains(self, heard: Heard, setting: Setting, ratios: Tensor, dynamics: Tensor) -> tuple[Tensor, Tensor]:
        """Band gains and shares of power [batch, frames, excitations, bands], law `mixer@2`."""
        amount = setting.amount[:, None, None]
        weights = setting.response * self.widths
        tilt = setting.response / (weights.sum(dim=-1, keepdim=True) + mixer.POWER_FLOOR)
        tilt = 0.5 * torch.log(tilt + mixer.POWER_FLOOR)[:, None, None]
        flat = tilt - heard.shape
        dry = flat[:, :, :1].clamp(-mixer.DRY_BOUND, mixer.DRY_BOUND)
        others = flat[:, :, 1:].clamp(-mixer.OTHER_BOUND, mixer.OTHER_BOUND)
        log_gain = (torch.cat([dry, others], dim=2) - tilt + ratios).clamp(*mixer.GAIN_RANGE)
        dry_gain = torch.exp(log_gain[:, :, :1] * amount[..., None])
        gain = torch.cat([dry_gain, torch.exp(log_gain[:, :, 1:]) * amount[..., None]], dim=2)
        energy = torch.square(gain * torch.exp(heard.shape))
        predicted = (energy.sum(dim=2) * weights[:, None]).sum(dim=-1)
        common = (dynamics[..., 1] - 1.0) * heard.swing + dynamics[..., 0]
        common = common - 0.5 * torch.log(predicted + mixer.POWER_FLOOR)
        common = setting.amount[:, None] * common.clamp(*mixer.COMMON_RANGE)
        gain = gain * torch.exp(common)[..., None, None]
        heard_power = ((torch.square(gain) * heard.power).sum(dim=2) * weights[:, None]).sum(dim=-1)
        most = mixer.BURST * (heard.level + mixer.LEVEL_FLOOR**2)
        burst = torch.log((heard_power + mixer.POWER_FLOOR) / most).clamp(min=0.0)
        gain = gain * torch.exp(-0.5 * setting.amount[:, None] * burst)[..., None, None]
        return gain, torch.square(gain) * heard.power

    def forward(self, heard: Heard, setting: Setting, gains: Tensor) -> Tensor:
        """Sound [batch, frames * hop], one hop late like heard.aligned."""
        hop = self.sizes.hop
        full = functional.pad(mix(gains, heard.spectra, self.interpolation), (0, self.sizes.bins - self.bins))
        pairs = torch.fft.irfft(full, self.sizes.analysis)[..., -2 * hop :] * self.window
        wet = (pairs[..., :hop] + functional.pad(pairs[..., hop:], (0, 0, 1, 0))[:, :-1]).flatten(1)
        length = wet.shape[1] + setting.taps.shape[1]
        n_fft = 1 << (length - 1).bit_length()
        spectrum = torch.fft.rfft(wet, n_fft) * torch.fft.rfft(setting.taps, n_fft)
        sound: Tensor = torch.fft.irfft(spectrum, n_fft)[:, : wet.shape[1]]
        return sound
