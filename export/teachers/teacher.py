"""The contract of every offline system: one job in, one sound out, in named forms.

A system is a module of this package with a `TEACHER`. What surrounds it is the same for all and stands elsewhere:
files, stereo, long sounds in chunks, tempo and key, pictures, pages. A system sees mono audio at its own rate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """Told after every iteration.

    iteration: 0 before the first. iterations: at most to come, the done ones included.
    errors: name -> error, in the order in which they are shown; what weights the system gives them is in them.
    seconds: since the system began, those before a resumption included.
    correlation: of the content's and the result's log magnitudes, -1..1; not-a-number where it was not taken.
    """

    iteration: int
    iterations: int
    errors: Mapping[str, float]
    seconds: float
    correlation: float = float("nan")

    @property
    def total(self) -> float:
        return sum(self.errors.values())


@dataclass(frozen=True)
class StyleSound:
    """One style: mono float32 [samples] at the system's rate; weights of several are brought to the sum 1."""

    audio: Float32
    weight: float = 1.0
    name: str = "style"


@dataclass(frozen=True)
class Job:
    """What a system is asked for.

    content: mono float32 [samples] at the system's rate, checked: finite, long enough, not silent.
    styles: one or more, checked alike.
    seed: of everything random; the same job gives the same sound on the same kind of machine.
    device: of torch: cpu, cuda, cuda:1; a system without torch takes no notice.
    checkpoint: a file that is written now and then (atomically) and removed at the end; a job that finds one of the
        same job goes on there and ends with the same sound. None: none is written.
    report: told every Step.
    """

    content: Float32
    styles: tuple[StyleSound, ...]
    seed: int = 1
    device: str = "cpu"
    checkpoint: Path | None = None
    report: Callable[[Step], None] = lambda step: None


@dataclass(frozen=True)
class Made:
    """A system's answer.

    audio: float32 [samples], as long as the content.
    history: all Steps. notices: what the user should know, one line each ("random weights: no file was given").
    details: figures worth keeping beside the settings (parameters of the network, partials found).
    """

    audio: Float32
    history: list[Step]
    notices: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """A forecast for this kind of machine: seconds, and peak memory in bytes beyond what Python and torch take."""

    seconds: float
    memory: int


class Settings(Protocol):
    """A frozen dataclass, checked in __post_init__ with DuendeError (value, bound, choices).

    Fields are int, float, bool, str, tuples of these, or Path | None: `--set NAME=VALUE` parses them.
    """

    @property
    def sample_rate(self) -> int:
        """Hz at which the system works."""

    @property
    def iterations(self) -> int:
        """Iterations, steps or epochs at most."""


class Teacher(Protocol):
    """A system. `forms`: named settings, "faithful" (as published) and "repaired" (ours) among them, each a full
    set of the same dataclass; `about`: one line per form that says where it comes from.

    Where settings have a field `speech` (bool), `--speech` sets it. A system that has `for_targets(sample_rate)`
    gives the settings there with which it teaches a student (content and style at RMS 0.1); else "repaired" does.
    """

    name: str
    forms: Mapping[str, Any]
    about: Mapping[str, str]

    def shortest(self, settings: Any) -> int:
        """Samples that content and style must have at least."""

    def cost(self, content: int, styles: int, settings: Any) -> Cost:
        """Forecast for so many samples of content and of all styles together."""

    def make(self, job: Job, settings: Any) -> Made:
        """Do it. Raises DuendeError where it cannot (weights that do not fit, memory)."""
