"""VGG19 for the texture, an encoder-decoder that refines and joins the windows: what Garcia and Bernal propose.

They never built it. A network is trained on one pair: it sees the content, what it makes of it is shown to VGG19, and
the Gram errors of the style and the features of the content are what it learns from. Taken literally it paints windows
of the spectrogram picture and its windows are cross-faded. Repaired it has no windows: causal convolutions over time
read the content's bands and write smooth, bounded gains of signals made from the content itself (`mix`), judged by
Grams in frequency zones, each against its own size. A critic may be added: a small network that learns to tell bands
of the result from those of the style by the hinge loss, as the first paper wishes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ... import DuendeError
from .cached import CausalStack
from .fitting import device_of, fit, seeded
from .inversion import librosa_for_inversion
from .resume import Saved
from .settings import GUARDED_S, RATES_HZ, check_ranges
from .teacher import Cost, Job, Made
from .vgg19 import MIX_S, VggErrors, VggSettings, seen_of, shown_of
from .vgg_layers import Vgg19, operations
from .vgg_pictures import DecibelPicture, GainPicture, Shown
from .window_coder import WindowCoder

Float32 = npt.NDArray[np.float32]

WAYS = ("windows", "gains")
DILATIONS = (1, 2, 4, 8)
REACH_NEPERS = 2.5  # how far the refiner's gains go from the start
SMOOTH_S = 0.06  # deviation of the Gaussian that smooths them over time: attacks are the player's
CRITIC_SPAN = 9  # frames that the critic sees at once


@dataclass(frozen=True)
class HybridSettings:
    """The proposal.

    way: windows, of a picture in dB that the encoder-decoder paints, or gains. sample_rate in Hz; n_fft and hop in
    samples. longest_side: pixels of the picture of `windows`, 0 for all. window: its columns, cross-faded by half.
    filters: of the painter's strided layers. width: channels of the refiner of `gains`. iterations: steps of Adam at
    learning_rate. content_weight, style_weight, smoothness: of the errors (`vgg19`); critic: weight of the adversarial
    one, 0 without; guards: of what the player loses (`guards.Guards`), for `gains`. rounds: of Griffin-Lim, in
    `windows`.
    """

    way: str = "windows"
    sample_rate: int = 22050
    n_fft: int = 2048
    hop: int = 512
    longest_side: int = 512
    window: int = 16
    filters: tuple[int, ...] = (16, 32, 64)
    width: int = 48
    iterations: int = 100
    learning_rate: float = 1e-3
    content_weight: float = 1.0
    style_weight: float = 10e8
    smoothness: float = 0.0
    guards: float = 0.0
    critic: float = 0.0
    rounds: int = 60

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise DuendeError(f"way {self.way!r}: choose {' or '.join(WAYS)}")
        check_ranges(
            ("window", self.window, 2, 4096),
            ("width", self.width, 1, 1024),
            ("critic", self.critic, 0.0, 1e6),
            *(("filters", number, 1, 1024) for number in self.filters),
        )
        if not 1 <= len(self.filters) <= 8:
            raise DuendeError(f"filters: {len(self.filters)} layers; give 1 to 8")
        if self.way == "gains" and self.sample_rate not in RATES_HZ:
            raise DuendeError(f"sample_rate {self.sample_rate}: for the way `gains` choose 44100 or 48000")
        if self.way == "windows" and self.critic:
            raise DuendeError("critic: only the way `gains` has one")
        _ = self.judged

    @property
    def judged(self) -> VggSettings:
        """How VGG19 sees and judges it; refuses what is out of range there."""
        gains = self.way == "gains"
        return VggSettings(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            hop=self.hop,
            picture="gains" if gains else "decibels",
            longest_side=0 if gains else self.longest_side,
            before_relu=not gains,
            pooling="average" if gains else "max",
            norm="own" if gains else "all",
            zones=8 if gains else 1,
            content_weight=self.content_weight,
            style_weight=self.style_weight,
            smoothness=self.smoothness,
            guards=self.guards,
            learning_rate=self.learning_rate,
            iterations=self.iterations,
            rounds=self.rounds,
        )


class Painter(nn.Module):
    """A picture [3, height, width] painted anew, window by window, cross-faded by half a window."""

    def __init__(self, height: int, width: int, settings: HybridSettings) -> None:
        super().__init__()
        self._hop = max(1, settings.window // 2)
        self._length = min(settings.window, width)
        self._starts = [*range(0, max(1, width - self._length), self._hop), max(0, width - self._length)]
        self.coder = WindowCoder(self._length, height, settings.filters, 0, False)
        fade = torch.minimum(torch.arange(1.0, self._length + 1.0), torch.arange(float(self._length), 0.0, -1.0))
        self.register_buffer("fade", fade)

    def forward(self, picture: Tensor) -> Tensor:
        columns = picture.mean(dim=0).T
        windows = torch.stack([columns[start : start + self._length] for start in self._starts])
        code, _ = self.coder.encode(windows)
        # It begins as the picture itself and learns what to change.
        painted = windows + self.coder.decode(code)
        fade = torch.as_tensor(self.fade)[:, None]
        summed, weight = torch.zeros_like(columns), torch.zeros_like(columns[:, :1])
        for start, window in zip(self._starts, painted, strict=True):
            place = (slice(start, start + self._length), slice(None))
            summed = summed.index_put((torch.arange(start, start + self._length),), fade * window, accumulate=True)
            weight[place] += fade
        return (summed / weight).T.expand(3, -1, -1)


class Refiner(nn.Module):
    """The content's band picture [1, bands, frames] to changes of gains [signals, bands, frames] in nepers."""

    def __init__(self, signals: int, bands: int, width: int, frames_per_s: float) -> None:
        super().__init__()
        self._signals = signals
        deviation = SMOOTH_S * frames_per_s
        reach = max(1, round(3.0 * deviation))
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
        self.register_buffer("kernel", (kernel / kernel.sum())[None, None])
        self.stack = CausalStack(bands, signals * bands, width, DILATIONS)
        with torch.no_grad():
            self.stack.out.weight.mul_(0.1)
            if self.stack.out.bias is not None:
                self.stack.out.bias.zero_()

    def forward(self, picture: Tensor) -> Tensor:
        lead = self.stack.reach
        # The past of the beginning is the beginning, held.
        begun = torch.cat((picture[:, :, :1].expand(-1, -1, lead), picture), dim=2)
        found = self.stack(begun)[0][0, :, lead:]
        kernel = torch.as_tensor(self.kernel)
        reach = kernel.shape[2] // 2
        held = functional.pad(REACH_NEPERS * torch.tanh(found)[:, None], (reach, reach), mode="replicate")
        return torch.as_tensor(functional.conv1d(held, kernel)[:, 0].unflatten(0, (self._signals, -1)))


class Critic(nn.Module):
    """How much stretches of a band picture [1, bands, frames] look like the style's: [positions]."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(bands, 32, CRITIC_SPAN),
            nn.LeakyReLU(0.2),
            nn.Conv1d(32, 32, 3, stride=2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(32, 1, 1),
        )

    def forward(self, picture: Tensor) -> Tensor:
        # The level of a frame is the player's and not to be judged.
        return torch.as_tensor(self.layers(picture - picture.mean(dim=1, keepdim=True))).flatten()


REPAIRED = HybridSettings(
    way="gains",
    sample_rate=48000,
    learning_rate=6e-3,
    content_weight=0.05,
    style_weight=1.0,
    smoothness=0.05,
    guards=0.1,
    iterations=80,
)


class HybridTeacher:
    """The system in its forms."""

    name = "hybrid"
    forms: Mapping[str, HybridSettings] = {
        "faithful": HybridSettings(),
        "repaired": REPAIRED,
        "critic": replace(REPAIRED, iterations=160, critic=0.05),
    }
    about: Mapping[str, str] = {
        "faithful": "the proposal of Garcia and Bernal taken literally (they did not build it): VGG19's Grams teach an "
        "encoder-decoder that paints cross-faded windows; layers and weights of their second attempt",
        "repaired": "a causal encoder-decoder writes smooth gains of signals made from the content; zones and guards",
        "critic": "repaired, with a small adversarial critic (hinge loss)",
    }

    def shortest(self, settings: HybridSettings) -> int:
        """VGG19 wants a picture of some size, the critic one of its span."""
        factor = max(1.0, (settings.n_fft // 2 + 1) / settings.longest_side) if settings.longest_side else 1.0
        frames = max(24.0, 8.0 * factor)
        least = int(frames) * settings.hop
        return max(least, round(GUARDED_S * settings.sample_rate)) if settings.guards else least

    def cost(self, content: int, styles: int, settings: HybridSettings) -> Cost:
        """VGG19 there and back, as `vgg19` counts it."""
        judged = settings.judged
        own = judged.size(content)
        seconds = 4.0 * operations(*own, judged.layers) * settings.iterations / 60e9
        pixels = 3.0 * own[0] * own[1] + 2.0 * float(np.prod(judged.size(styles)))
        if settings.way == "gains":
            seconds += MIX_S * content * settings.iterations
        return Cost(1.1 * seconds + 5.0, int(4.0 * 300.0 * pixels + 1e8))

    def make(self, job: Job, settings: HybridSettings) -> Made:
        """Train on the pair, and let it sound."""
        if settings.way == "windows":
            librosa_for_inversion()
        device, judged = device_of(job), settings.judged
        network = Vgg19(judged.layers, None, job.seed, judged.before_relu, judged.pooling, str(device))
        shown = shown_of(job, judged)
        errors = VggErrors(network, shown, job, judged)
        written, refiner = _writer(shown, job.seed, device, settings)
        parts = nn.ModuleDict({"refiner": refiner})
        styles: list[tuple[float, Tensor]] = []
        if settings.critic:
            parts["critic"] = seeded(job.seed + 1, lambda: Critic(int(shown.seen.shape[1]))).to(device)
            total = sum(style.weight for style in job.styles)
            styles = [(style.weight / total, seen_of(style.audio, job, judged)) for style in job.styles]

        def losses(indices: Tensor, generator: torch.Generator) -> Mapping[str, Tensor]:
            x = written()
            found = errors(x)
            if settings.critic:
                found |= _adversarial(parts["critic"], shown.picture(x), styles, settings.critic)
            return found

        @torch.no_grad()
        def correlation() -> float:
            made = shown.picture(written()).mean(dim=0).flatten()
            return float(torch.corrcoef(torch.stack((made, shown.seen.mean(dim=0).flatten())))[0, 1])

        saved = Saved(self.name, job, settings)
        history = fit(
            parts,
            losses,
            1,
            job,
            saved,
            epochs=settings.iterations,
            batch=1,
            learning_rate=settings.learning_rate,
            correlation=correlation,
        )
        with torch.no_grad():
            audio = shown.sound(written())
        saved.remove()
        details = {
            "parameters": sum(value.numel() for value in refiner.parameters()),
            "judge": network.parameters,
            "picture": f"{shown.seen.shape[1]} x {shown.seen.shape[2]}",
        }
        return Made(audio, history, ["VGG19 has random weights (He, seeded)"], details)


def _writer(
    shown: Shown, seed: int, device: torch.device, settings: HybridSettings
) -> tuple[Callable[[], Tensor], nn.Module]:
    """What gives the numbers that are shown and heard, and the network behind it."""
    height, width = (int(side) for side in shown.seen.shape[1:])
    if isinstance(shown, DecibelPicture):
        painter = seeded(seed, lambda: Painter(height, width, settings)).to(device)
        return lambda: painter(shown.seen).clamp(shown.low, shown.high), painter
    assert isinstance(shown, GainPicture)
    refiner = seeded(
        seed, lambda: Refiner(int(shown.start.shape[0]), height, settings.width, settings.sample_rate / settings.hop)
    ).to(device)
    return lambda: (shown.start + refiner(shown.seen)).clamp(shown.low, shown.high), refiner


def _adversarial(
    critic: nn.Module, picture: Tensor, styles: list[tuple[float, Tensor]], weight: float
) -> dict[str, Tensor]:
    """Hinge losses: of the critic, which sees the picture as it is, and of the picture, which sees the critic so.

    One optimiser steps both; neither slope reaches the other's numbers.
    """
    real = torch.stack([share * torch.relu(1.0 - critic(style)).mean() for share, style in styles]).sum()
    told = real + torch.relu(1.0 + critic(picture.detach())).mean()
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    fooled = -functional_call(critic, fixed, (picture,)).mean()
    return {"critic": told, "adversarial": weight * fooled}


TEACHER = HybridTeacher()
