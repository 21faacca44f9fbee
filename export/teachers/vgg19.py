"""Gatys' style transfer between pictures of sounds, with VGG19 (Garcia and Bernal's two attempts, and a repaired form).

Both attempts show the network a spectrogram as if it were a photograph. Their authors call the results quiet and noisy,
and an arpeggio that is heard inside the content. Much of that has plain causes: a Gram over a whole picture does not
know at which frequency a texture stands, a search over the pixels may write what no sound has, and the phases are
lost. The repaired form mixes signals made from the content (`mix`) under a picture over log frequency, takes Grams in
frequency zones, each against its own size, holds the content by how its layers change in time and by guards of the
player's pitch and attack, and prices changes of gains along time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ... import DuendeError
from ..statistics import normalise_level
from .descent import Descent, Rule, descend
from .guards import Guards
from .inversion import librosa_for_inversion
from .resume import Saved
from .settings import GUARDED_S, RATES_HZ, check_choices, check_ranges
from .spectra import Analysis, log_bands
from .teacher import Cost, Job, Made
from .vgg_layers import CONVOLUTIONS, Pooling, Vgg19, deepest, layer_number, operations
from .vgg_pictures import BANDS_PER_OCTAVE, DecibelPicture, GainPicture, Shown, band_picture
from .vgg_weights import load_weights

Float32 = npt.NDArray[np.float32]
Picture = Literal["decibels", "gains"]
Norm = Literal["positions", "all", "own"]
Start = Literal["content", "noise"]

MIX_S = 1e-6  # for each sample and step: mixing and the guards, there and back, measured on one core
NOISE = 0.1  # deviation of a start from noise


@dataclass(frozen=True)
class VggSettings:
    """How to transfer.

    n_fft, hop: of the spectrogram, in samples. picture: decibels, pixels in dB, or gains, of log-frequency bands.
    longest_side: pixels; decibels are drawn down to that, 0 leaves them.
    content_layers, style_layers: block1_conv1 to block5_conv4, or conv_1 to conv_16. before_relu: compare sums.
    norm: of the Gram error. positions: mean square of F'F/positions, mean over layers (TensorFlow's tutorial).
        all: of F'F/(positions channels), summed over layers (PyTorch's). own: relative to the style's own Gram, mean
        over zones and layers; the content error is then relative as well, and of what changes in time alone.
    zones: half-overlapping frequency zones with a Gram each; 1 for the whole picture.
    smoothness: weight of the mean change from frame to frame (total variation along time).
    guards: weight of what the player's pitch, attack and level lose (`guards.Guards`), for gains.
    optimiser: adam or sgd. fade: let the rate fall to 0 along a half cosine. rounds: of Griffin-Lim, for decibels.
    weights: torchvision's VGG19 as .pth or .safetensors; without it random.
    """

    sample_rate: int = 22050
    n_fft: int = 2048
    hop: int = 512
    picture: Picture = "decibels"
    longest_side: int = 0
    content_layers: tuple[str, ...] = ("conv_4",)
    style_layers: tuple[str, ...] = ("conv_1", "conv_2", "conv_3", "conv_4", "conv_5")
    before_relu: bool = False
    pooling: Pooling = "max"
    norm: Norm = "positions"
    zones: int = 1
    content_weight: float = 1.0
    style_weight: float = 1.0
    smoothness: float = 0.0
    guards: float = 0.0
    optimiser: Rule = "adam"
    learning_rate: float = 0.02
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    fade: bool = False
    iterations: int = 300
    start: Start = "content"
    rounds: int = 60
    weights: Path | None = None

    def __post_init__(self) -> None:
        check_choices(
            ("picture", self.picture, ("decibels", "gains")),
            ("pooling", self.pooling, ("max", "average")),
            ("norm", self.norm, ("positions", "all", "own")),
            ("optimiser", self.optimiser, ("adam", "sgd")),
            ("start", self.start, ("content", "noise")),
        )
        check_ranges(
            ("sample_rate", self.sample_rate, 8000, 192_000),
            ("n_fft", self.n_fft, 64, 65_536),
            ("hop", self.hop, 1, self.n_fft // 2),
            ("longest_side", self.longest_side or 32, 32, 65_536),
            ("zones", self.zones, 1, 32),
            ("content_weight", self.content_weight, 0.0, 1e15),
            ("style_weight", self.style_weight, 0.0, 1e15),
            ("smoothness", self.smoothness, 0.0, 1e15),
            ("guards", self.guards, 0.0, 1e15),
            ("learning_rate", self.learning_rate, 1e-9, 1e6),
            ("beta_1", self.beta_1, 0.0, 0.999_999),
            ("beta_2", self.beta_2, 0.0, 0.999_999),
            ("epsilon", self.epsilon, 1e-12, 1.0),
            ("iterations", self.iterations, 1, 100_000),
            ("rounds", self.rounds, 1, 100_000),
        )
        if self.n_fft % 2:
            raise DuendeError(f"n_fft {self.n_fft}: give an even number")
        if self.picture == "gains" and self.sample_rate not in RATES_HZ:
            raise DuendeError(f"sample_rate {self.sample_rate}: for gains choose 44100 or 48000")
        if self.picture == "decibels" and self.guards:
            raise DuendeError(f"guards {self.guards:g}: they need the sound at every step; choose picture gains")
        if not self.style_layers or not self.content_layers:
            raise DuendeError("style_layers and content_layers: name at least one layer each")
        for layer in self.layers:
            layer_number(layer)

    @property
    def layers(self) -> tuple[str, ...]:
        return self.content_layers + self.style_layers

    @property
    def analysis(self) -> Analysis:
        return Analysis(self.sample_rate, self.n_fft, self.hop)

    def size(self, samples: int) -> tuple[int, int]:
        """Height and width in pixels of the picture of so many samples."""
        frames = 1 + samples // self.hop
        if self.picture == "gains":
            return log_bands(self.analysis, BANDS_PER_OCTAVE)[0].shape[1], frames
        bins = self.n_fft // 2 + 1
        factor = min(1.0, self.longest_side / max(bins, frames)) if self.longest_side else 1.0
        return round(bins * factor), round(frames * factor)


FIRST = VggSettings(
    longest_side=512,
    content_layers=("block5_conv2",),
    style_layers=tuple(f"block{block}_conv1" for block in range(1, 6)),
    content_weight=1e4,
    style_weight=1e-2,
    learning_rate=0.02,
    beta_1=0.99,
    epsilon=0.1,
    iterations=1000,
)
"""Attempt C1. Not published and chosen: librosa's own STFT (2048, 512 at 22 050 Hz), 80 dB as grey, the tutorial's 512
pixels at most and its start from the content, 60 rounds of Griffin-Lim."""

SECOND = VggSettings(
    before_relu=True,
    norm="all",
    content_weight=1.0,
    style_weight=10e8,
    learning_rate=0.1,
    iterations=300,
)
"""Attempt C2: style weight 10e8, rate 0.1. "Other layers" and a changed loss were not published: those of PyTorch's
tutorial stand here, and its 300 steps and start. Optimiser not named: Adam, as a rate of 0.1 suits it. Sounds as C1."""

REPAIRED = VggSettings(
    sample_rate=48000,
    picture="gains",
    content_layers=("conv_4",),
    style_layers=("conv_1", "conv_2", "conv_3", "conv_4", "conv_5"),
    pooling="average",
    norm="own",
    zones=8,
    content_weight=0.05,
    style_weight=1.0,
    smoothness=0.05,
    guards=0.05,
    learning_rate=0.1,
    fade=True,
    iterations=80,
)


class VggTeacher:
    """The system in its forms."""

    name = "vgg19"
    forms: Mapping[str, VggSettings] = {"faithful": SECOND, "repaired": REPAIRED, "first": FIRST, "second": SECOND}
    about: Mapping[str, str] = {
        "faithful": "the second attempt of Garcia and Bernal, the better of the two",
        "repaired": "gains of log-frequency bands with the content's phase, Grams in frequency zones, smooth in time",
        "first": "their first attempt: TensorFlow's tutorial on a spectrogram, Adam 0.02, 1000 steps",
        "second": "their second attempt: PyTorch's tutorial, style weight 10e8, rate 0.1",
    }

    def shortest(self, settings: VggSettings) -> int:
        """A pixel must be left after the poolings before the deepest layer."""
        side = 2 ** (deepest(settings.layers).block - 1)
        factor = max(1.0, (settings.n_fft // 2 + 1) / settings.longest_side) if settings.longest_side else 1.0
        least = int(np.ceil((side + 1) * factor)) * settings.hop
        return max(least, round(GUARDED_S * settings.sample_rate)) if settings.guards else least

    def cost(self, content: int, styles: int, settings: VggSettings) -> Cost:
        """There and back through the network at 55 GFLOP/s, and the mix; all that comes out of its layers is held."""
        own, other = settings.size(content), settings.size(styles)
        seconds = 4.0 * operations(*own, settings.layers) * settings.iterations / 55e9
        if settings.picture == "gains":
            seconds += MIX_S * content * settings.iterations
        last = layer_number(deepest(settings.layers).name)
        held = sum(c.outputs / 4.0 ** (c.block - 1) for c in CONVOLUTIONS[: last + 1])
        network = sum(9 * c.inputs * c.outputs for c in CONVOLUTIONS[: last + 1])
        pixels = 3.0 * own[0] * own[1] + 2.0 * other[0] * other[1]
        return Cost(seconds + 5.0, int(4.0 * (held * pixels + 2.0 * network)))

    def make(self, job: Job, settings: VggSettings) -> Made:
        """Search and sound."""
        if settings.picture == "decibels":
            librosa_for_inversion()
        if settings.weights is None:
            weights, notices = None, ["VGG19 has random weights (He, seeded): no file of weights was given"]
        else:
            weights = load_weights(settings.weights, settings.layers)
            notices = [f"VGG19 has the weights of {settings.weights.name}"]
        saved = Saved(self.name, job, settings)
        network = Vgg19(settings.layers, weights, job.seed, settings.before_relu, settings.pooling, job.device)
        shown = shown_of(job, settings)
        errors = VggErrors(network, shown, job, settings)
        plan = Descent(
            settings.iterations,
            settings.optimiser,
            settings.learning_rate,
            settings.beta_1,
            settings.beta_2,
            settings.epsilon,
            settings.fade,
        )
        x, history = descend(
            errors,
            shown.start if settings.start == "content" else _noise(shown.start, job.seed),
            plan,
            low=shown.low,
            high=shown.high,
            correlation=lambda x: _correlation(shown.picture(x), shown.seen),
            report=job.report,
            saved=saved,
        )
        audio = shown.sound(x)
        saved.remove()
        height, width = shown.seen.shape[1:]
        details = {"parameters": network.parameters, "picture": f"{height} x {width}"}
        return Made(audio, history, notices, details)


class VggErrors:
    """Content, style and smoothness errors of a picture, weighted."""

    def __init__(self, network: Vgg19, shown: Shown, job: Job, settings: VggSettings) -> None:
        self._network, self._shown, self._settings = network, shown, settings
        self._content_layers = [layer_number(name) for name in settings.content_layers]
        self._style_layers = [layer_number(name) for name in settings.style_layers]
        self._guards: Guards | None = None
        if settings.guards:
            styles, weights = [style.audio for style in job.styles], [style.weight for style in job.styles]
            self._guards = Guards(job.content, styles, weights, settings.sample_rate, job.device)
        with torch.no_grad():
            found = network(shown.seen)
            self._content = {number: self._kept(found[number]) for number in self._content_layers}
            self._grams = self._mean_grams(job, settings)

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        settings = self._settings
        picture = self._shown.picture(x)
        found = self._network(picture)
        content = torch.stack([self._content_error(found, number) for number in self._content_layers]).mean()
        style = torch.stack([self._style_error(found, number) for number in self._style_layers])
        together = style.sum() if settings.norm == "all" else style.mean()
        errors = {"content": settings.content_weight * content, "style": settings.style_weight * together}
        if settings.smoothness:
            change = x[..., 1:] - x[..., :-1]
            errors["smoothness"] = settings.smoothness * torch.sqrt(change.square() + 1e-4).mean()
        if self._guards is not None and isinstance(self._shown, GainPicture):
            errors["guards"] = settings.guards * self._guards(normalise_level(self._shown.audio(x)[None]))
        return errors

    def _content_error(self, found: Mapping[int, Tensor], number: int) -> Tensor:
        wanted = self._content[number]
        error = (self._kept(found[number]) - wanted).square().mean()
        return error / (wanted.square().mean() + 1e-12) if self._settings.norm == "own" else error

    def _kept(self, features: Tensor) -> Tensor:
        """What of a layer belongs to the content."""
        return features - features.mean(dim=2, keepdim=True) if self._settings.norm == "own" else features

    def _style_error(self, found: Mapping[int, Tensor], number: int) -> Tensor:
        wanted = self._grams[number]
        error = (self._gram(found[number]) - wanted).square()
        if self._settings.norm != "own":
            return error.mean()
        power = wanted.square().sum(dim=(1, 2))
        # A zone that the style leaves empty would otherwise outweigh all others.
        return (error.sum(dim=(1, 2)) / (power + 0.1 * power.mean() + 1e-12)).mean()

    def _gram(self, features: Tensor) -> Tensor:
        """Means over positions, per zone: [channels, height, width] -> [zones, channels, channels]."""
        found = []
        for rows in _zones(self._settings.zones, features.shape[1]):
            used = torch.nonzero(rows)[:, 0]
            first, last = int(used[0]), int(used[-1]) + 1
            roots = rows[first:last].sqrt().to(features)[:, None]
            strip = (features[:, first:last] * roots).flatten(1)
            found.append(strip @ strip.T)
        divisor = features.shape[2] * (features.shape[0] if self._settings.norm == "all" else 1)
        return torch.stack(found) / divisor

    def _mean_grams(self, job: Job, settings: VggSettings) -> dict[int, Tensor]:
        """Of all styles, by weight."""
        total = sum(style.weight for style in job.styles)
        grams: dict[int, Tensor] = {}
        for style in job.styles:
            found = self._network(seen_of(style.audio, job, settings))
            for number in self._style_layers:
                part = self._gram(found[number]) * (style.weight / total)
                grams[number] = grams[number] + part if number in grams else part
        return grams


def _zones(count: int, height: int) -> Tensor:
    """Weights of the rows in every zone, [zones, height], each summing to 1: triangles that overlap by half."""
    if count == 1:
        return torch.full((1, height), 1.0 / height)
    middles = torch.linspace(0.0, height - 1.0, count)
    width = max((height - 1.0) / (count - 1), 1.0)
    weights = (1.0 - (torch.arange(height) - middles[:, None]).abs() / width).clamp(min=0.0)
    return weights / weights.sum(dim=1, keepdim=True)


def shown_of(job: Job, settings: VggSettings) -> Shown:
    if settings.picture == "gains":
        styles, weights = [style.audio for style in job.styles], [style.weight for style in job.styles]
        return GainPicture(job.content, styles, weights, settings.analysis, job.device)
    return _decibels(job.content, job, settings)


def seen_of(audio: Float32, job: Job, settings: VggSettings) -> Tensor:
    if settings.picture == "gains":
        return band_picture(audio, settings.analysis, job.device)
    return _decibels(audio, job, settings).seen


def _decibels(audio: Float32, job: Job, settings: VggSettings) -> DecibelPicture:
    return DecibelPicture(audio, settings.analysis, settings.longest_side, settings.rounds, job.seed, job.device)


def _noise(like: Tensor, seed: int) -> Tensor:
    """A random start, the same on every device."""
    generator = torch.Generator().manual_seed(seed + 1)
    noise = NOISE * torch.randn(like.shape, generator=generator)
    return noise.to(like.device)


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, of two pictures: -1..1."""
    a, b = one.detach() - one.detach().mean(), other - other.mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum() + 1e-20).sqrt())


TEACHER = VggTeacher()
