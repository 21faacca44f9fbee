"""Offline style transfer in one call: content and style in, a new sound out, by either form of the teacher."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
from threadpoolctl import threadpool_limits

from ... import DuendeError
from ...presets.format import write_atomically
from ..sounds import QUIETEST_DBFS, level_dbfs, load_sound
from .cnn import FILTERS, TAPS, CnnObjective, FilterBank
from .inversion import griffin_lim, load_librosa, with_phase_of
from .kernel import KernelObjective, span
from .picture import load_matplotlib, transfer_picture
from .solve import Optimiser, Solution, minimise
from .spectra import Analysis, log_magnitudes, magnitudes, stft
from .teacher import Step

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

Teacher = Literal["kernel", "cnn"]
Start = Literal["noise", "content"]
Inversion = Literal["griffin-lim", "input-phase"]

PUBLISHED_FRAMES = 430
LONGEST_S = 120.0
START_DEVIATION = 1e-3
SMALL = 1_000_000
_FORMATS = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".aif": ("AIFF", "PCM_24"),
    ".aiff": ("AIFF", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


@dataclass(frozen=True)
class TransferConfig:
    """How to transfer. The defaults are those of Ulyanov and Lebedev (2016), but for the teacher.

    teacher: cnn, their random filters, or kernel, the same with infinitely many in closed form.
    alpha: weight of the content error, a sum over frames and filters; the style error is that of means over frames.
    start: of the search; noise as published, or the content (the kernel ends within 2 % of the same error from both).
    frames: use only so many first frames of both sounds (published: 430); without it all.
    learning_rate: of adam alone. rounds: of Griffin-Lim. seed: of filters, noise and Griffin-Lim's phases.
    """

    teacher: Teacher = "kernel"
    analysis: Analysis = field(default_factory=Analysis)
    filters: int = FILTERS
    taps: int = TAPS
    alpha: float = 1e-2
    optimiser: Optimiser = "lbfgs"
    iterations: int = 300
    learning_rate: float = 0.05
    start: Start = "noise"
    inversion: Inversion = "griffin-lim"
    rounds: int = 500
    frames: int | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("teacher", self.teacher, ("kernel", "cnn")),
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
            ("frames", self.taps if self.frames is None else self.frames, self.taps, 1_000_000),
            ("seed", self.seed, 0, 2**32 - 1),
        ):
            if not low <= number <= high:
                raise DuendeError(f"{name} {number:g} is out of range: {low:g} to {high:g}")


@dataclass(frozen=True)
class Transferred:
    """A result and its origin.

    audio:      float32 [samples] at sample_rate, as long as the content that was used.
    content, style, result: log magnitudes, float32 [frames, bins] in nepers; the result as it was found, so that it
                may dip below 0 (played as silence).
    history:    errors before the first and after every iteration.
    evaluations, solve_seconds: of the search; seconds: of everything.
    """

    audio: Float32
    sample_rate: int
    content: Float32
    style: Float32
    result: Float32
    history: list[Step]
    evaluations: int
    solve_seconds: float
    seconds: float


@dataclass(frozen=True)
class TransferredFile:
    """What `transfer_file` wrote, and what the user should know about it."""

    transferred: Transferred
    sound: Path
    picture: Path
    notices: list[str]


def transfer(
    content: Float32,
    style: Float32,
    config: TransferConfig | None = None,
    report: Callable[[Step], None] | None = None,
) -> Transferred:
    """Give content the style of another sound; both mono [samples] at config.analysis.sample_rate, of any lengths.

    Raises DuendeError for silence, samples that are not numbers, and fewer frames than a filter spans.
    """
    config = config or TransferConfig()
    analysis, started = config.analysis, time.perf_counter()
    if config.inversion == "griffin-lim":
        load_librosa()
    content, style = (_used(audio, name, config) for name, audio in (("content", content), ("style", style)))
    spectrum = stft(content, analysis)
    seen, wanted = log_magnitudes(spectrum, analysis), log_magnitudes(stft(style, analysis), analysis)
    found = solve(seen, wanted, config, report)
    audio = sound_of(found.spectrogram, spectrum, len(content), config)
    return Transferred(
        audio=audio,
        sample_rate=analysis.sample_rate,
        content=seen,
        style=wanted,
        result=found.spectrogram,
        history=found.history,
        evaluations=found.evaluations,
        solve_seconds=found.seconds,
        seconds=time.perf_counter() - started,
    )


def solve(
    content: Float32, style: Float32, config: TransferConfig, report: Callable[[Step], None] | None = None
) -> Solution:
    """The spectrogram [frames, bins] that a teacher finds for those of content and style."""
    generator = np.random.default_rng([config.seed, 0x57A7])
    if config.teacher == "cnn":
        bank = FilterBank(content.shape[1], config.filters, config.taps, config.seed)
        start = content if config.start == "content" else _noise(content.shape, generator)
        objective = CnnObjective(content, style, bank, config.alpha)
        return minimise(objective, start, config.optimiser, config.iterations, config.learning_rate, report)
    bins, basis = content.shape[1], None
    if config.optimiser == "lbfgs" and len(content) + len(style) < bins:
        # L-BFGS takes the same way in any orthonormal coordinates. Adam does not.
        basis = span(content, style)
        content, style = content @ basis, style @ basis
    kernel = KernelObjective(content, style, config.alpha, config.filters, config.taps, bins)
    start = content if config.start == "content" else _noise(content.shape, generator)
    # Products of a few hundred frames are too small to share out: threads that wait for each other cost more.
    with threadpool_limits(1 if len(content) * (len(content) + len(style)) < SMALL else None):
        found = minimise(kernel, start, config.optimiser, config.iterations, config.learning_rate, report)
    if basis is None:
        return found
    return Solution(found.spectrogram @ basis.T, found.history, found.evaluations, found.seconds)


def sound_of(log: Float32, spectrum: Complex64, length: int, config: TransferConfig) -> Float32:
    """Audio [length] of log magnitudes found for a content spectrum, both [frames, bins]."""
    magnitude = magnitudes(log, config.analysis)
    if config.inversion == "input-phase":
        return with_phase_of(spectrum, magnitude, config.analysis, length)
    return griffin_lim(magnitude, config.analysis, length, config.rounds, config.seed)


def transfer_file(
    content: Path,
    style: Path,
    target: Path,
    config: TransferConfig | None = None,
    report: Callable[[Step], None] | None = None,
) -> TransferredFile:
    """`transfer` between sound files of any format, rate and number of channels that libsndfile reads.

    Writes target (wav, flac, aiff, ogg or mp3, mono, at the teacher's rate) and a picture of the same name ending in
    .png (errors over the iterations; spectrograms of content, style and result). Neither is ever half written.
    Raises DuendeError, before the work begins where that is possible.
    """
    config = config or TransferConfig()
    container, subtype = _checked_target(target)
    load_matplotlib()
    rate = config.analysis.sample_rate
    longest = _longest_samples(config)
    played, wanted = (
        load_sound(path, rate, use="a transfer", longest_s=LONGEST_S, samples=longest) for path in (content, style)
    )
    done = transfer(played, wanted, config, report)
    notices, audio, peak = [], done.audio, float(np.abs(done.audio).max())
    if peak > 1.0:
        audio = audio * np.float32(0.99 / peak)
        notices.append(f"{target.name}: made {20.0 * np.log10(peak / 0.99):.1f} dB quieter, or it would clip")
    pictured = transfer_picture(
        [(content.name, played), (style.name, wanted), (f"{target.name}: {config.teacher}", done.audio)],
        done.history,
        rate,
    )
    file = io.BytesIO()
    try:
        soundfile.write(file, audio, rate, subtype, format=container)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise DuendeError(f"cannot write {target}: {error}") from error
    write_atomically(target, file.getvalue())
    picture = target.with_suffix(".png")
    write_atomically(picture, pictured)
    return TransferredFile(done, target, picture, notices)


def check_sound(audio: Float32, name: str, shortest: int, quietest_dbfs: float = QUIETEST_DBFS) -> None:
    """ValueError unless mono; DuendeError if shorter than so many samples, not finite, or too quiet."""
    if audio.ndim != 1:
        raise ValueError(f"{name} has shape {audio.shape}: give one channel")
    if len(audio) < shortest:
        raise DuendeError(f"{name}: {len(audio)} samples are too few; it needs {shortest}")
    if not np.isfinite(audio).all():
        raise DuendeError(f"{name}: holds samples that are not numbers")
    level = level_dbfs(audio)
    if level < quietest_dbfs:
        raise DuendeError(f"{name}: silent ({level:.0f} dBFS); it needs sound above {quietest_dbfs:g} dBFS")


def _used(audio: Float32, name: str, config: TransferConfig) -> Float32:
    """What of a sound is used, checked."""
    check_sound(audio, name, (config.taps - 1) * config.analysis.hop + 1)
    return audio[: _longest_samples(config)]


def _longest_samples(config: TransferConfig) -> int | None:
    """So many samples have config.frames centred frames."""
    return None if config.frames is None else max(1, (config.frames - 1) * config.analysis.hop)


def _noise(shape: tuple[int, ...], generator: np.random.Generator) -> Float32:
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(START_DEVIATION)


def _checked_target(target: Path) -> tuple[str, str]:
    """libsndfile's format and subtype for a path that can be written."""
    suffix = target.suffix.lower()
    if suffix not in _FORMATS:
        raise DuendeError(f"{target}: cannot write {suffix or 'a file without an ending'}: use {', '.join(_FORMATS)}")
    if target.is_dir():
        raise DuendeError(f"{target} is a folder: name a file")
    if not target.parent.is_dir():
        raise DuendeError(f"{target.parent}: no such folder to write to")
    return _FORMATS[suffix]
