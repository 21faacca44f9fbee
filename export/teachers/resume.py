"""A job's state on disk: what a system needs to go on where it was stopped, and nothing for any other job."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Checkpoint
from .teacher import Job, Step

Array = npt.NDArray[Any]

_VERSION = 1


@dataclass(frozen=True)
class State:
    """What `Saved.write` was given."""

    arrays: dict[str, Array]
    history: list[Step]
    notes: dict[str, Any]


class Saved:
    """The state of one job of one system, in the file job.checkpoint; without one nothing is kept."""

    def __init__(self, name: str, job: Job, settings: Any) -> None:
        self._file = None if job.checkpoint is None else Checkpoint(job.checkpoint, "run it again without --resume")
        self._work = job_key(name, job, settings) if self._file is not None else ""

    @property
    def wanted(self) -> bool:
        """Whether there is a file to write to."""
        return self._file is not None

    def read(self) -> State | None:
        """The state, None where there is none; DuendeError for a damaged file, or one of another job."""
        found = None if self._file is None else self._file.read(self._work)
        if found is None:
            return None
        arrays, notes = found
        history = steps_of(arrays.pop("history"), notes.pop("errors"))
        return State(arrays, history, {key: value for key, value in notes.items() if key != "work"})

    def write(
        self, arrays: Mapping[str, Array], history: Sequence[Step], notes: Mapping[str, Any] | None = None
    ) -> None:
        """Replace the file, atomically. notes: plain JSON values (of floats, not-a-number is lost: use arrays)."""
        if self._file is None:
            return
        names, table = table_of(history)
        self._file.write({**arrays, "history": table}, {**(notes or {}), "errors": names, "work": self._work})

    def remove(self) -> None:
        """The job is done."""
        if self._file is not None:
            self._file.remove()


def job_key(name: str, job: Job, settings: Any) -> str:
    """Hash of everything that decides the sound of a job."""
    described = {
        "version": _VERSION,
        "teacher": name,
        "settings": asdict(settings),
        "seed": job.seed,
        "device": job.device,
        "weights": [style.weight for style in job.styles],
        "lengths": [len(job.content), *(len(style.audio) for style in job.styles)],
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for audio in (job.content, *(style.audio for style in job.styles)):
        digest.update(np.ascontiguousarray(audio, dtype=np.float32).tobytes())
    return digest.hexdigest()


def error_names(history: Sequence[Step]) -> list[str]:
    """All that any step has, in the order in which they came."""
    return list(dict.fromkeys(name for step in history for name in step.errors))


def table_of(history: Sequence[Step]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The errors' names, and a row per step that `steps_of` reads; not-a-number where a step has no such error."""
    names = error_names(history)
    rows = [
        [step.iteration, step.iterations, step.seconds, step.correlation]
        + [step.errors.get(name, math.nan) for name in names]
        for step in history
    ]
    return names, np.asarray(rows, dtype=np.float64).reshape(len(rows), 4 + len(names))


def steps_of(table: npt.NDArray[np.float64], names: Sequence[str]) -> list[Step]:
    """The steps of `table_of`."""
    return [
        Step(
            iteration=int(row[0]),
            iterations=int(row[1]),
            errors={name: float(one) for name, one in zip(names, row[4:], strict=True) if not math.isnan(one)},
            seconds=float(row[2]),
            correlation=float(row[3]),
        )
        for row in table
    ]
