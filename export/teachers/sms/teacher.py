"""The sinusoidal system in its forms: the published tensor, the published sines, and ours."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from .... import DuendeError
from ..gram import CNN
from ..inversion import librosa_for_inversion
from ..resume import Saved
from ..settings import check_choices, check_ranges
from ..solve import Optimiser
from ..teacher import Cost, Job, Made
from .analysis import SineAnalysis, Tracks
from .faithful import network, search_tensor, tracks_of
from .grid import HOP as GRID_HOP
from .noise import stylised_residual
from .parts import Parts, split
from .repaired import stylise
from .synthesis import synthesise

Float32 = npt.NDArray[np.float32]

Method = Literal["tensor", "sines", "grid"]
Residual = Literal["kept", "stylised", "dropped"]


@dataclass(frozen=True)
class SmsSettings(SineAnalysis):
    """How to transfer, beside how to analyse.

    method: tensor, the tracks' dB, Hz and phases as channels of random filters; sines, the network of Ulyanov and
        Lebedev on the sound of the sines; grid, ours.
    residual: the content's kept as it is, stylised or dropped. grid always stylises it.
    filters, taps: of the network. height: 0, every slot is a channel of one row; else filters of height sines by taps
        frames over the tensor as an image. pool: largest of pool x pool responses, images only.
    alpha: weight of the content's error. rounds: of Griffin-Lim, for the method sines.
    bands: of the grid, and of a stylised residual. formants: for voices, grid only: free, they go where the search
        takes them; content, vowels stay; style, they become the style's. speech: the content speaks or sings, its
        formants stay unless they are to become the style's.
    learning_rate: of adam; for the grid in nepers.
    """

    sample_rate: int = 22050
    corrected: bool = False
    method: Method = "tensor"
    residual: Residual = "dropped"
    filters: int = 4096
    taps: int = 11
    height: int = 0
    pool: int = 1
    alpha: float = 1e-2
    optimiser: Optimiser = "lbfgs"
    iterations: int = 300
    learning_rate: float = 0.05
    start: Literal["noise", "content"] = "noise"
    rounds: int = 500
    bands: int = 48
    formants: Literal["free", "content", "style"] = "free"
    speech: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(
            ("method", self.method, ("tensor", "sines", "grid")),
            ("residual", self.residual, ("kept", "stylised", "dropped")),
            ("optimiser", self.optimiser, ("lbfgs", "adam")),
            ("start", self.start, ("noise", "content")),
            ("formants", self.formants, ("free", "content", "style")),
        )
        check_ranges(
            ("filters", self.filters, 1, 65_536),
            ("taps", self.taps, 1, 101),
            ("height", self.height, 0, min(101, self.sines)),
            ("pool", self.pool, 1, 8),
            ("alpha", self.alpha, 0.0, 1e6),
            ("iterations", self.iterations, 1, 100_000),
            ("learning_rate", self.learning_rate, 1e-6, 1000.0),
            ("rounds", self.rounds, 1, 100_000),
            ("bands", self.bands, 16, 96),
        )
        if self.method != "grid" and (self.speech or self.formants != "free"):
            raise DuendeError(f"method {self.method} does not know formants: take sms:repaired for speech")
        if self.pool > 1 and self.height == 0:
            raise DuendeError("pool needs an image: give height 1 or more")

    @property
    def kept_formants(self) -> str:
        """free, content or style."""
        return "content" if self.speech and self.formants == "free" else self.formants


FAITHFUL = SmsSettings()
GRID = SmsSettings(
    method="grid",
    residual="stylised",
    sample_rate=44100,
    corrected=True,
    optimiser="adam",
    iterations=60,
    learning_rate=0.12,
)


class SmsTeacher:
    """Sinusoids plus residual (Ordiales and Barrera 2019)."""

    name = "sms"
    forms: Mapping[str, SmsSettings] = {
        "faithful": FAITHFUL,
        "sines": replace(FAITHFUL, method="sines", sines=32, residual="kept"),
        "3x3": replace(FAITHFUL, height=3, taps=3, filters=128),
        "11x11": replace(FAITHFUL, height=11, taps=11, filters=64),
        "pooled": replace(FAITHFUL, height=3, taps=3, filters=128, pool=2),
        "repaired": GRID,
        "voice": replace(GRID, speech=True),
    }
    about: Mapping[str, str] = {
        "faithful": "Ordiales and Barrera 2019: 150 sines, tensor of dB, Hz and phase, 4096 random 1x11 filters",
        "sines": "the same paper's better one: the sound of 32 sines through the network of Ulyanov and Lebedev",
        "3x3": "the tensor as an image, 128 filters of 3 sines by 3 frames, as the paper tried",
        "11x11": "the tensor as an image, 64 filters of 11 sines by 11 frames, as the paper tried",
        "pooled": "as 3x3, with max-pooling of 2 by 2, as the paper tried",
        "repaired": "the content's frequencies and phases; levels of partials, residual and noise on an ERB grid",
        "voice": "repaired, with the content's formants: vowels stay",
    }

    def for_targets(self, sample_rate: int) -> SmsSettings:
        """How a student is taught: at its own rate, windows of the published span."""
        scale = max(1, round(sample_rate / 48000))
        return replace(GRID, sample_rate=sample_rate, window=2000 * scale + 1, n_fft=2048 * scale, hop=128 * scale)

    def shortest(self, settings: SmsSettings) -> int:
        """A few windows; for the sines' network its own span too."""
        own = 2 * settings.window
        if settings.method == "sines":
            return max(own, CNN.shortest(network(settings)))
        return max(own, 8192 if settings.method == "grid" else settings.taps * settings.hop)

    def cost(self, content: int, styles: int, settings: SmsSettings) -> Cost:
        """Of the search, measured on one core; the analysis takes less than real time."""
        if settings.method == "sines":
            return CNN.cost(content, styles, network(settings))
        if settings.method == "grid":
            frames = content / 512
            return Cost(1.0 + settings.iterations * frames * 9e-4, int(2e8 + frames * 3e5 + styles / 512 * 2e5))
        own, both = content // settings.hop + 1, (content + styles) // settings.hop + 2
        evaluations = 1.1 * settings.iterations
        if settings.height == 0:
            size = 3 * settings.sines * settings.taps
            work = own * settings.filters * (6.0 * size + 4.0 * both)
            return Cost(
                evaluations * work / 100e9, 4 * size * (settings.filters + 2 * both) + 24 * settings.filters * both
            )
        positions = own * settings.sines
        work = positions * settings.filters * (18.0 * settings.height * settings.taps + 6.0 * settings.filters)
        return Cost(evaluations * work / 20e9, 4 * 8 * settings.filters * both * settings.sines)

    def make(self, job: Job, settings: SmsSettings) -> Made:
        """Analyse, search, and sound."""
        if settings.method == "sines":
            librosa_for_inversion()
        margin = -(-settings.window // GRID_HOP) * GRID_HOP if settings.method == "grid" else 0
        content = split(np.pad(job.content, margin, mode="reflect") if margin else job.content, settings)
        styles = [split(style.audio, settings) for style in job.styles]
        saved = Saved(self.name, job, settings)
        details = {
            "partials per frame, content": round(float(content.tracks.active.sum(axis=1).mean()), 1),
            "partials per frame, style": round(float(np.mean([s.tracks.active.sum(axis=1).mean() for s in styles])), 1),
            "residual over content, dB": round(_ratio_db(content.residual, content.sound), 1),
        }
        notices: list[str] = []
        if settings.method == "grid":
            # A sound that is cut off has no sines at its ends, and what is left over there would click.
            audio, found = stylise(content, styles, job, settings, saved)
            audio, history = audio[margin : margin + len(job.content)], found.history
        elif settings.method == "sines":
            sounds = tuple(replace(style, audio=parts.sines) for parts, style in zip(styles, job.styles, strict=True))
            made = CNN.make(replace(job, content=content.sines, styles=sounds), network(settings))
            audio, history = made.audio, made.history
        else:
            found = search_tensor(content.tracks, [style.tracks for style in styles], job, settings, saved)
            audio, history = _tensor_sound(found.spectrogram, content, settings), found.history
        if settings.method != "grid":
            audio = _with_residual(audio, content, styles, job, settings)
        saved.remove()
        return Made(audio, history, notices, details)


def _tensor_sound(tensor: Float32, content: Parts, settings: SmsSettings) -> Float32:
    """The found sines at the content's level: their own has no bound, for a slot that is empty holds 0 dB."""
    tracks: Tracks = tracks_of(tensor, settings)
    audio = synthesise(tracks, settings, len(content.sines))
    return np.asarray(audio * 10.0 ** (-_ratio_db(audio, content.sines) / 20.0), dtype=np.float32)


def _with_residual(audio: Float32, content: Parts, styles: list[Parts], job: Job, settings: SmsSettings) -> Float32:
    if settings.residual == "dropped":
        return audio
    if settings.residual == "kept":
        return audio + content.residual
    shares = [style.weight for style in job.styles]
    return audio + stylised_residual(content, styles, shares, settings.sample_rate, settings.bands)


def _ratio_db(first: Float32, second: Float32) -> float:
    energies = [float(np.sum(np.square(part, dtype=np.float64))) + 1e-12 for part in (first, second)]
    return float(10.0 * np.log10(energies[0] / energies[1]))


TEACHER = SmsTeacher()
