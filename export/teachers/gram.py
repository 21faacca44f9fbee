"""The random network of Ulyanov and Lebedev (2016): `cnn` with filters of its own, `kernel` in closed form.

`cnn` also has the networks that others put in its place (`filters`). Repaired, `cnn` mixes signals made from the
content under filters that do not know pitch (`scales`); `kernel` starts from the content and keeps its phase.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ... import DuendeError
from ..sounds import rms_of
from .cnn import FILTERS, TAPS, Network, Spread, shortest_frames
from .inversion import from_slopes, griffin_lim, librosa_for_inversion, with_phase_of
from .kernel import KernelObjective, span
from .objective import Evaluation, Objective
from .resume import Saved
from .settings import GUARDED_S, RATES_HZ, check_choices, check_ranges
from .solve import Correlation, Optimiser, Solution, minimise
from .spectra import Analysis, log_magnitudes, magnitudes, stft
from .teacher import Cost, Job, Made

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

Start = Literal["noise", "content"]
Inversion = Literal["griffin-lim", "input-phase", "rtpghi"]

PUBLISHED_FRAMES = 430
START_DEVIATION = 1e-3
SMALL = 1_000_000
DETECTORS = 18
RMS = 0.1
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
    network, depth, pool, spread: of the filters (`filters.FilterStack`); `kernel` has none of them.
    scales: window sizes of filters that do not know pitch, for gains of a mix (`scales.MixErrors`, its optimiser is
        adam); without them the search is one for magnitudes. bands: per octave that have a gain. envelope, guards,
        smoothness: weights of those errors beside the Gram's.
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
    network: Network = "bins"
    depth: int = 1
    pool: int = 1
    spread: Spread = "published"
    scales: tuple[int, ...] = ()
    bands: int = 12
    envelope: float = 2.0
    guards: float = 1.0
    smoothness: float = 0.2

    def __post_init__(self) -> None:
        check_choices(
            ("optimiser", self.optimiser, ("lbfgs", "adam")),
            ("start", self.start, ("noise", "content")),
            ("inversion", self.inversion, ("griffin-lim", "input-phase", "rtpghi")),
            ("network", self.network, ("bins", "per-bin", "picture", "detectors")),
            ("spread", self.spread, ("published", "glorot")),
        )
        check_ranges(
            ("alpha", self.alpha, 0.0, 1e6),
            ("iterations", self.iterations, 1, 100_000),
            ("filters", self.filters, 1, 65_536),
            ("taps", self.taps, 1, 101),
            ("rounds", self.rounds, 1, 100_000),
            ("learning_rate", self.learning_rate, 1e-6, 10.0),
            ("frames", self.frames or self.taps, self.taps, 1_000_000),
            ("sample_rate", self.sample_rate, 8000, 192_000),
            ("n_fft", self.n_fft, 64, 65_536),
            ("hop", self.hop, 1, self.n_fft // (4 if self.inversion == "rtpghi" else 2)),
            ("depth", self.depth, 1, 8),
            ("pool", self.pool, 1, 16),
            ("bands", self.bands, 1, 96),
            ("envelope", self.envelope, 0.0, 1e6),
            ("guards", self.guards, 0.0, 1e6),
            ("smoothness", self.smoothness, 0.0, 1e6),
            *(("scales", size, 512, 16_384) for size in self.scales),
        )
        if self.n_fft % 2:
            raise DuendeError(f"n_fft {self.n_fft}: give an even number")
        if any(size % 4 for size in self.scales):
            raise DuendeError(f"scales {self.scales}: give sizes that four divides")
        if self.scales and self.optimiser != "adam":
            raise DuendeError("optimiser lbfgs: with scales the search is by adam")
        if self.scales and self.sample_rate not in RATES_HZ:
            raise DuendeError(f"sample_rate {self.sample_rate}: with scales choose 44100 or 48000")
        if self.network in ("picture", "detectors") and self.taps % 2 == 0:
            raise DuendeError(f"taps {self.taps}: filters of a {self.network} network need an odd number")

    @property
    def analysis(self) -> Analysis:
        return Analysis(self.sample_rate, self.n_fft, self.hop)


PUBLISHED = GramSettings()
PUBLISHED_44K = replace(PUBLISHED, sample_rate=44100, alpha=0.1, iterations=500, spread="glorot")
"""A'. Not published and chosen: hop 512, weight 1 of the style, Griffin-Lim."""
KEEPING_PHASE = replace(
    PUBLISHED, start="content", inversion="input-phase", even=True, alpha=TARGET_ALPHA, iterations=60
)
MIXED = replace(
    PUBLISHED,
    sample_rate=48000,
    optimiser="adam",
    learning_rate=0.1,
    iterations=80,
    start="content",
    scales=(1024, 4096),
)


class GramTeacher:
    """Either form. closed: without filters."""

    def __init__(self, name: str, forms: Mapping[str, tuple[GramSettings, str]], *, closed: bool) -> None:
        self.name, self._closed = name, closed
        self.forms: Mapping[str, GramSettings] = {form: settings for form, (settings, _) in forms.items()}
        self.about: Mapping[str, str] = {form: text for form, (_, text) in forms.items()}

    def shortest(self, settings: GramSettings) -> int:
        """What the filters span."""
        if settings.scales:
            return max(round(GUARDED_S * settings.sample_rate), 4 * max(settings.scales))
        return max((shortest_frames(settings.taps, settings.depth, settings.pool) - 1) * settings.hop + 1, settings.hop)

    def for_targets(self, sample_rate: int) -> GramSettings:
        """How a student is taught: at its own rate, windows of the published span (the nearest power of two)."""
        n_fft = 2 ** round(np.log2(SPAN_S * sample_rate))
        return replace(KEEPING_PHASE, sample_rate=sample_rate, n_fft=n_fft, hop=n_fft // 4)

    def cost(self, content: int, styles: int, settings: GramSettings) -> Cost:
        """Products of patches with filters, or of frames with frames; speeds are those of one core."""
        hop, bins = settings.hop, settings.n_fft // 2 + 1
        own = 1 + min(content // hop, settings.frames or content)
        both = own + 1 + styles // hop
        evaluations = 1.1 * settings.iterations
        if settings.scales:
            seconds = evaluations * (1 + len(settings.scales)) * 4e-7 * content
            memory = (1 + len(settings.scales)) * (700 * content + 200 * styles)
        elif self._closed:
            seconds = evaluations * (own * both * (4.0 * bins + 400.0)) / 16e9
            memory = own * both * 4 * 12
        else:
            flat = settings.network in ("bins", "per-bin")
            positions = own if flat else own * bins
            filters = DETECTORS if settings.network == "detectors" else settings.filters
            # What one filter sums up: of the first layer, and of each one more.
            first = {"bins": bins * settings.taps, "per-bin": settings.taps, "detectors": 30 * settings.taps}.get(
                settings.network, settings.taps**2
            )
            summed = first + (settings.depth - 1) * filters * settings.taps
            most = min(filters, positions * both / own)
            seconds = evaluations * positions * filters * (6.0 * summed + 4.0 * most) / 100e9
            memory = 4 * filters * (summed + 6 * positions * both // own) + (
                8 * settings.taps * bins * both if flat else 0
            )
        if settings.inversion == "griffin-lim" and not settings.scales:
            seconds += settings.rounds * own * settings.n_fft * 60.0 / 2e9
        return Cost(seconds, int(memory + 60 * own * bins))

    def make(self, job: Job, settings: GramSettings) -> Made:
        """Search and sound."""
        if settings.inversion == "griffin-lim" and not settings.scales:
            librosa_for_inversion()
        longest = None if not settings.frames else max(1, (settings.frames - 1) * settings.hop)
        saved = Saved(self.name, job, settings)
        styles = tuple(replace(style, audio=style.audio[:longest]) for style in job.styles)
        used = replace(job, content=job.content[:longest], styles=styles)
        made = (mixed if settings.scales else self._searched)(used, settings, saved)
        saved.remove()
        return replace(made, audio=np.pad(made.audio, (0, len(job.content) - len(made.audio))))

    def _searched(self, job: Job, settings: GramSettings, saved: Saved) -> Made:
        """The sound of magnitudes."""
        analysis = settings.analysis
        spectrum = stft(job.content, analysis)
        wanted = [log_magnitudes(stft(style.audio, analysis), analysis) for style in job.styles]
        found = self.solve(log_magnitudes(spectrum, analysis), wanted, settings, job, saved)
        audio = sound_of(found.spectrogram, spectrum, len(job.content), settings, job.seed)
        details = {"evaluations": found.evaluations, "solve_seconds": round(found.seconds, 2)}
        return Made(audio, found.history, [], details)

    def solve(
        self, content: Float32, styles: list[Float32], settings: GramSettings, job: Job, saved: Saved | None = None
    ) -> Solution:
        """The spectrogram [frames, bins] found for those of content and styles, at the weights of the job's styles."""
        weights = [style.weight for style in job.styles]
        bins, basis = content.shape[1], None
        alpha = settings.alpha * (PUBLISHED_FRAMES / len(content) if settings.even else 1.0)
        if self._closed and settings.optimiser == "lbfgs" and len(content) + sum(map(len, styles)) < bins:
            # L-BFGS takes the same way in any orthonormal coordinates. Adam does not.
            basis = span(content, *styles)
            content, styles = content @ basis, [style @ basis for style in styles]
        objective: Objective
        if self._closed:
            objectives: list[Objective] = [
                KernelObjective(content, style, alpha, settings.filters, settings.taps, bins) for style in styles
            ]
            objective = objectives[0] if len(styles) == 1 else _Mixture(objectives, weights)
        else:
            from .filters import FilterObjective, FilterStack

            stack = FilterStack(
                bins,
                settings.network,
                settings.filters,
                settings.taps,
                depth=settings.depth,
                pool=settings.pool,
                spread=settings.spread,
                seed=job.seed,
                device=job.device,
            )
            objective = FilterObjective(content, styles, stack, alpha, weights)
        # Products of a few hundred frames are too small to share out: threads that wait for each other cost more.
        small = self._closed and len(content) * (len(content) + sum(map(len, styles))) < SMALL
        with threadpool_limits(1 if small else None):
            found = minimise(
                objective,
                _start(content, settings, job),
                settings.optimiser,
                settings.iterations,
                settings.learning_rate,
                job.report,
                correlation=Correlation(content, basis),
                saved=saved,
            )
        return found if basis is None else replace(found, spectrogram=found.spectrogram @ basis.T)


def mixed(job: Job, settings: GramSettings, saved: Saved | None = None) -> Made:
    """The content as a mix of signals made from it, in the style; at the content's level."""
    import torch

    from .descent import Descent, descend
    from .mix import LEAST, MOST, Mix
    from .scales import Balance, MixErrors

    sounds = [job.content, *(style.audio for style in job.styles)]
    content, *styles = (audio * np.float32(RMS / rms_of(audio)) for audio in sounds)
    weights = [style.weight for style in job.styles]
    mix = Mix(content, settings.analysis, settings.bands, device=job.device)
    balance = Balance(settings.envelope, settings.guards, settings.smoothness)
    errors = MixErrors(
        mix, content, styles, weights, settings.sample_rate, settings.scales, balance, job.seed, job.device
    )
    related = Correlation(log_magnitudes(stft(content, settings.analysis), settings.analysis))

    def correlation(gains: torch.Tensor) -> float:
        with torch.no_grad():
            spectrum = mix.spectrum(gains).T.cpu().numpy()
        return related(log_magnitudes(spectrum, settings.analysis))

    plan = Descent(settings.iterations, "adam", settings.learning_rate, fade=True)
    gains, history = descend(
        errors, errors.start, plan, low=LEAST, high=MOST, correlation=correlation, report=job.report, saved=saved
    )
    with torch.no_grad():
        audio = np.asarray(mix.audio(gains).cpu().numpy(), dtype=np.float32)
    details = {"evaluations": len(history), "solve_seconds": round(history[-1].seconds, 2)}
    return Made(audio * np.float32(rms_of(job.content) / max(rms_of(audio), 1e-9)), history, [], details)


def _start(content: Float32, settings: GramSettings, job: Job) -> Float32:
    if settings.start == "content":
        return content
    generator = np.random.default_rng([job.seed, 0x57A7])
    return generator.standard_normal(content.shape, dtype=np.float32) * np.float32(START_DEVIATION)


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
    if settings.inversion == "rtpghi":
        return from_slopes(magnitude, settings.analysis, length)
    return griffin_lim(magnitude, settings.analysis, length, settings.rounds, seed)


CNN = GramTeacher(
    "cnn",
    {
        "faithful": (
            PUBLISHED,
            "Ulyanov and Lebedev 2016: 4096 random 1x11 filters, alpha 0.01, L-BFGS 300, Griffin-Lim 500",
        ),
        "repaired": (
            MIXED,
            "several windows, filters that do not know pitch, gains on signals made from the content",
        ),
        "44k": (PUBLISHED_44K, "the later variant: 44 100 Hz, Glorot's weights, alpha 0.1, 500 iterations"),
        "per-channel": (
            replace(PUBLISHED, network="per-bin"),
            "as faithful, four filters to each bin, which sees no other",
        ),
        "3x3": (
            replace(PUBLISHED, network="picture", filters=64, taps=3),
            "as faithful, 64 filters of 3x3 over the spectrogram as a picture",
        ),
        "11x11": (
            replace(PUBLISHED, network="picture", filters=64, taps=11),
            "as faithful, 64 filters of 11x11 over the spectrogram as a picture",
        ),
        "pooled": (replace(PUBLISHED, pool=2), "as faithful, with the maxima of two frames after the filters"),
        "deep": (replace(PUBLISHED, filters=1024, depth=3), "three layers of 1024 filters of 1x11, each with its Gram"),
        "detector": (
            replace(PUBLISHED, network="detectors"),
            "as faithful, fixed filters: beginnings, ends, edges, ridges, glides, combs of partials",
        ),
    },
    closed=False,
)
KERNEL = GramTeacher(
    "kernel",
    {
        "faithful": (
            PUBLISHED,
            "the published error for infinitely many filters, in closed form; the rest as published",
        ),
        "repaired": (
            KEEPING_PHASE,
            "from the content, with the content's phase, balance as for 430 frames at every length",
        ),
    },
    closed=True,
)
