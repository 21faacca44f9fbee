"""The random network of Ulyanov and Lebedev (2016): `cnn` with filters of its own, `kernel` in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ... import DuendeError
from .cnn import FILTERS, TAPS, CnnObjective, FilterBank
from .inversion import griffin_lim, load_librosa, with_phase_of
from .kernel import KernelObjective, span
from .objective import Evaluation, Objective
from .resume import Saved
from .solve import Correlation, Optimiser, Solution, minimise
from .spectra import Analysis, log_magnitudes, magnitudes, stft
from .teacher import Cost, Job, Made

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

Start = Literal["noise", "content"]
Inversion = Literal["griffin-lim", "input-phase"]

PUBLISHED_FRAMES = 430
START_DEVIATION = 1e-3
SMALL = 1_000_000
SPAN_S = 2048 / 22050
TARGET_ALPHA = 5e-2


@dataclass(frozen=True)
class GramSettings:
    """How to transfer. The defaults are those of Ulyanov and Lebedev (2016).

    alpha: weight of the content error, a sum over frames and filters; the style error is that of means over frames.
    even: alpha is meant for 430 frames, and the balance is the same at every other length.
    start: of the search; noise as published, or the content (the kernel ends within 2 % of the same error from both).
    frames: use only so many first frames of both sounds (published: 430); 0 for all.
    learning_rate: of adam alone. rounds: of Griffin-Lim.
    """

    sample_rate: int = 22050
    n_fft: int = 2048
    hop: int = 512
    filters: int = FILTERS
    taps: int = TAPS
    alpha: float = 1e-2
    even: bool = False
    optimiser: Optimiser = "lbfgs"
    iterations: int = 300
    learning_rate: float = 0.05
    start: Start = "noise"
    inversion: Inversion = "griffin-lim"
    rounds: int = 500
    frames: int = 0

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("optimiser", self.optimiser, ("lbfgs", "adam")),
            ("start", self.start, ("noise", "content")),
            ("inversion", self.inversion, ("griffin-lim", "input-phase")),
        ):
            if value not in choices:
                raise DuendeError(f"{name} {value!r}: choose {' or '.join(choices)}")
        for name, number, low, high in (
            ("alpha", self.alpha, 0.0, 1e6),
            ("iterations", self.iterations, 1, 100_000),
            ("filters", self.filters, 1, 65_536),
            ("taps", self.taps, 1, 101),
            ("rounds", self.rounds, 1, 100_000),
            ("learning_rate", self.learning_rate, 1e-6, 10.0),
            ("frames", self.frames or self.taps, self.taps, 1_000_000),
            ("sample_rate", self.sample_rate, 8000, 192_000),
            ("n_fft", self.n_fft, 64, 65_536),
            ("hop", self.hop, 1, self.n_fft // 2),
        ):
            if not low <= number <= high:
                raise DuendeError(f"{name} {number:g} is out of range: {low:g} to {high:g}")
        if self.n_fft % 2:
            raise DuendeError(f"n_fft {self.n_fft}: give an even number")

    @property
    def analysis(self) -> Analysis:
        return Analysis(self.sample_rate, self.n_fft, self.hop)


PUBLISHED = GramSettings()
REPAIRED = replace(PUBLISHED, start="content", inversion="input-phase", even=True, alpha=TARGET_ALPHA, iterations=60)


class GramTeacher:
    """Either form. closed: without filters."""

    def __init__(self, name: str, about: Mapping[str, str], *, closed: bool) -> None:
        self.name, self.about, self._closed = name, about, closed
        self.forms: dict[str, GramSettings] = {"faithful": PUBLISHED, "repaired": REPAIRED}

    def shortest(self, settings: GramSettings) -> int:
        """A filter's span."""
        return (settings.taps - 1) * settings.hop + 1

    def for_targets(self, sample_rate: int) -> GramSettings:
        """How a student is taught: at its own rate, windows of the published span (the nearest power of two)."""
        n_fft = 2 ** round(np.log2(SPAN_S * sample_rate))
        return replace(REPAIRED, sample_rate=sample_rate, n_fft=n_fft, hop=n_fft // 4)

    def cost(self, content: int, styles: int, settings: GramSettings) -> Cost:
        """Products of patches with filters, or of frames with frames, at 20 GFLOP/s, and what is held of them."""
        hop, bins = settings.hop, settings.n_fft // 2 + 1
        own = 1 + min(content // hop, settings.frames or content)
        both = own + 1 + styles // hop
        evaluations = 1.1 * settings.iterations
        if self._closed:
            seconds = evaluations * (own * both * (4.0 * bins + 400.0)) / 10e9
            memory = own * both * 4 * 12
        else:
            seconds = evaluations * own * settings.filters * (6.0 * bins * settings.taps + 4.0 * both) / 40e9
            memory = 4 * settings.taps * bins * (settings.filters + 2 * both) + 4 * settings.filters * 6 * both
        if settings.inversion == "griffin-lim":
            seconds += settings.rounds * own * settings.n_fft * 60.0 / 2e9
        return Cost(seconds, memory + 60 * own * bins)

    def make(self, job: Job, settings: GramSettings) -> Made:
        """Search and sound."""
        if settings.inversion == "griffin-lim":
            load_librosa()
        analysis = settings.analysis
        longest = None if not settings.frames else max(1, (settings.frames - 1) * settings.hop)
        content = job.content[:longest]
        spectrum = stft(content, analysis)
        seen = log_magnitudes(spectrum, analysis)
        wanted = [log_magnitudes(stft(style.audio[:longest], analysis), analysis) for style in job.styles]
        saved = Saved(self.name, job, settings)
        found = self.solve(seen, wanted, [style.weight for style in job.styles], settings, job, saved)
        audio = sound_of(found.spectrogram, spectrum, len(content), settings, job.seed)
        saved.remove()
        details = {"evaluations": found.evaluations, "solve_seconds": round(found.seconds, 2)}
        return Made(np.pad(audio, (0, len(job.content) - len(audio))), found.history, [], details)

    def solve(
        self,
        content: Float32,
        styles: list[Float32],
        weights: list[float],
        settings: GramSettings,
        job: Job,
        saved: Saved | None = None,
    ) -> Solution:
        """The spectrogram [frames, bins] found for those of content and styles."""
        bins, basis = content.shape[1], None
        alpha = settings.alpha * (PUBLISHED_FRAMES / len(content) if settings.even else 1.0)
        if self._closed and settings.optimiser == "lbfgs" and len(content) + sum(map(len, styles)) < bins:
            # L-BFGS takes the same way in any orthonormal coordinates. Adam does not.
            basis = span(content, *styles)
            content, styles = content @ basis, [style @ basis for style in styles]
        objectives: list[Objective] = []
        if self._closed:
            objectives += [
                KernelObjective(content, style, alpha, settings.filters, settings.taps, bins) for style in styles
            ]
        else:
            bank = FilterBank(bins, settings.filters, settings.taps, job.seed)
            objectives += [CnnObjective(content, style, bank, alpha) for style in styles]
        objective = objectives[0] if len(styles) == 1 else _Mixture(objectives, weights)
        generator = np.random.default_rng([job.seed, 0x57A7])
        start = content
        if settings.start == "noise":
            start = generator.standard_normal(content.shape, dtype=np.float32) * np.float32(START_DEVIATION)
        # Products of a few hundred frames are too small to share out: threads that wait for each other cost more.
        small = self._closed and len(content) * (len(content) + sum(map(len, styles))) < SMALL
        with threadpool_limits(1 if small else None):
            found = minimise(
                objective,
                start,
                settings.optimiser,
                settings.iterations,
                settings.learning_rate,
                job.report,
                correlation=Correlation(content, basis),
                saved=saved,
            )
        return found if basis is None else replace(found, spectrogram=found.spectrogram @ basis.T)


class _Mixture:
    """The weighted mean of objectives: of several styles' Gram errors it is that of their mean Gram, and a constant."""

    def __init__(self, objectives: list[Objective], weights: list[float]) -> None:
        self._objectives = objectives
        self._weights = [weight / sum(weights) for weight in weights]
        self.shape = objectives[0].shape

    def __call__(self, spectrogram: Float32) -> Evaluation:
        found = [objective(spectrogram) for objective in self._objectives]
        content = sum(w * one.content for w, one in zip(self._weights, found, strict=True))
        style = sum(w * one.style for w, one in zip(self._weights, found, strict=True))
        gradient = np.zeros(self.shape, dtype=np.float32)
        for weight, one in zip(self._weights, found, strict=True):
            gradient += np.float32(weight) * one.gradient
        return Evaluation(content, style, gradient)


def sound_of(log: Float32, spectrum: Complex64, length: int, settings: GramSettings, seed: int) -> Float32:
    """Audio [length] of log magnitudes found for a content spectrum, both [frames, bins]."""
    magnitude = magnitudes(log, settings.analysis)
    if settings.inversion == "input-phase":
        return with_phase_of(spectrum, magnitude, settings.analysis, length)
    return griffin_lim(magnitude, settings.analysis, length, settings.rounds, seed)


CNN = GramTeacher(
    "cnn",
    {
        "faithful": "Ulyanov and Lebedev 2016: 4096 random 1x11 filters, alpha 0.01, L-BFGS 300, Griffin-Lim 500",
        "repaired": "from the content, with the content's phase, balance as for 430 frames at every length",
    },
    closed=False,
)
KERNEL = GramTeacher(
    "kernel",
    {
        "faithful": "the published error for infinitely many filters, in closed form; the rest as published",
        "repaired": "from the content, with the content's phase, balance as for 430 frames at every length",
    },
    closed=True,
)
