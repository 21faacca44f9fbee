"""The job of capturing: checks, alignment, training, a verdict, a `.nam` file, and a model in the library."""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ... import DuendeError
from ...presets.captures import Captures
from ...presets.format import write_atomically
from ..captures.install import Imported, import_capture
from .align import Alignment, align
from .checks import Finding, check_alignment, check_levels, check_take, read_pair, replicate_error
from .nam_file import About, nam_bytes
from .signal import recognise
from .take import Take, aligned_take
from .train import SIZES, Progress, TrainConfig, Trained, train

_DOUBT_SAMPLES = 32
MINUTES = (0.05, 600.0)
VERDICTS = (
    (0.001, "cannot be told from the amplifier"),
    (0.003, "excellent: hardly to be told from the amplifier"),
    (0.01, "very good: the difference is small even side by side"),
    (0.03, "good: heard side by side, hardly in a mix"),
    (0.1, "fair: the character is there, the feel is not"),
    (1e9, "poor: something is wrong with the take, or the training was far too short"),
)
"""Up to which ESR, and what that means to an ear."""


@dataclass(frozen=True)
class CaptureRequest:
    """What to capture.

    dry, wet: the files: what was played into the amplifier, and what came out.
    name:     in the library, and of the .nam file.
    folder:   where NAME.nam is written; None: beside wet.
    force:    replace a capture and a file of that name. regardless: go on in spite of what the checks found.
    """

    dry: Path
    wet: Path
    about: About
    config: TrainConfig = field(default_factory=TrainConfig)
    folder: Path | None = None
    force: bool = False
    regardless: bool = False

    @property
    def target(self) -> Path:
        """Where the .nam file goes."""
        return (self.folder or self.wet.parent) / f"{self.about.name}.nam"


@dataclass(frozen=True)
class Captured:
    """The finished capture and what was found and measured on the way.

    replicate: error between the two answers to the same phrase; None where dry is not the test signal.
    """

    path: Path
    imported: Imported
    alignment: Alignment
    findings: list[Finding]
    trained: Trained
    replicate: float | None
    seconds: float

    def lines(self) -> list[str]:
        """What was measured, for the player."""
        lag = self.alignment.latency_samples
        lines = [f"latency {lag:.2f} samples, drift {self.alignment.drift_ppm:+.1f} ppm"]
        if self.replicate is None:
            lines[0] += f" (up to {_DOUBT_SAMPLES} samples too many: only the test signal's blips say more)"
        else:
            lines.append(f"the same phrase twice: error {self.replicate:.2g}")
        trained = self.trained
        lines.append(f"ESR {trained.error:.4f} after {trained.steps} steps, {trained.seconds:.0f} s: {self.verdict}")
        return lines

    @property
    def verdict(self) -> str:
        """The ESR in words."""
        return verdict(self.trained.error)


def verdict(error: float) -> str:
    """An ESR in words."""
    return next(words for bound, words in VERDICTS if error <= bound)


def capture(
    request: CaptureRequest,
    captures: Captures,
    *,
    report: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Captured:
    """Make a capture of two recordings; nothing is written before the training is through.

    say: told what is being done; note: each finding, as soon as there is one. DuendeError where the take is no good.
    """
    started = time.perf_counter()
    say, note = say or (lambda text: None), note or (lambda text: None)
    check_request(request, captures)
    say("checking the take")
    take, alignment, findings, replicate = prepare(request, note)
    say("training")
    trained = train(take, request.config, report)
    if not trained.complete:
        note(f"stopped after {trained.seconds:.0f} s and {trained.steps} steps: the best so far is kept")
    say("writing")
    now = datetime.datetime.now().astimezone()
    data = nam_bytes(trained, request.about, take.sample_rate, now, alignment)
    write_atomically(request.target, data)
    imported = import_capture(request.target, captures, name=request.about.name, force=request.force)
    seconds = time.perf_counter() - started
    return Captured(request.target, imported, alignment, findings, trained, replicate, seconds)


def prepare(
    request: CaptureRequest, note: Callable[[str], None] | None = None
) -> tuple[Take, Alignment, list[Finding], float | None]:
    """The aligned take, how it lay, what the checks found, and the replicate error if the signal shows it.

    DuendeError for a fatal finding, unless the request goes on regardless.
    """
    findings: list[Finding] = []

    def found(more: list[Finding]) -> None:
        for finding in more:
            if finding.fatal and not request.regardless:
                raise DuendeError(f"{finding.text} (--regardless goes on)")
            findings.append(finding)
            if note is not None:
                note(finding.text)

    dry, wet, rate, converted = read_pair(request.dry, request.wet)
    found(converted)
    plan = recognise(dry, rate)
    if plan is None and recognise(wet, rate) is not None:
        raise DuendeError("WET is the test signal itself: the two files are swapped; give DRY first")
    found(check_levels(dry, wet, rate))
    alignment = align(dry, wet, rate, plan)
    found(check_alignment(dry, wet, rate, alignment, plan))
    take = aligned_take(dry, wet, rate, alignment.shift, plan)
    found(check_take(take, plan))
    return take, alignment, findings, replicate_error(take, plan)


def check_request(request: CaptureRequest, captures: Captures) -> None:
    """DuendeError for what can be known to fail before any work is done."""
    config = request.config
    if captures.path_of(request.about.name).exists() and not request.force:
        raise DuendeError(
            f"there is a capture {request.about.name!r} already: choose another --name, or replace it with --force"
        )
    if request.target.exists() and not request.force:
        raise DuendeError(f"{request.target} exists: choose another --name or --output, or replace it with --force")
    if not request.target.parent.is_dir():
        raise DuendeError(f"{request.target.parent}: no such folder to write {request.target.name} to")
    if config.size not in SIZES:
        raise DuendeError(f"--size {config.size!r}: choose one of {', '.join(SIZES)}")
    if not MINUTES[0] <= config.seconds / 60.0 <= MINUTES[1]:
        raise DuendeError(f"--minutes {config.seconds / 60.0:g} is out of range: {MINUTES[0]:g} to {MINUTES[1]:g}")
    request.about.check()
