"""A system whose answer is known: content at the style's level, plus what the tests want to see joined."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.export.teachers import registry
from duende.export.teachers.resume import Saved
from duende.export.teachers.teacher import Cost, Job, Made, Step

Float32 = npt.NDArray[np.float32]

RATE = 16000


@dataclass(frozen=True)
class PlainSettings:
    """bytes_per_sample: what `cost` claims."""

    sample_rate: int = RATE
    iterations: int = 3
    gain: float = 1.0
    speech: bool = False
    bytes_per_sample: int = 100

    def __post_init__(self) -> None:
        if not 0.0 < self.gain <= 100.0:
            raise DuendeError(f"gain {self.gain:g} is out of range: above 0 to 100")


class PlainSystem:
    """Gives `sound(job)` times gain back; keeps the jobs. shortest: 1000 samples."""

    name = "plain"
    about: Mapping[str, str] = {"faithful": "as it was", "repaired": "twice as loud"}
    forms: Mapping[str, Any] = {"faithful": PlainSettings(), "repaired": PlainSettings(gain=2.0)}

    def __init__(self, sound: Callable[[Job], Float32] = lambda job: job.content) -> None:
        self.jobs: list[Job] = []
        self._sound = sound

    def shortest(self, settings: PlainSettings) -> int:
        return 1000

    def cost(self, content: int, styles: int, settings: PlainSettings) -> Cost:
        return Cost(content / RATE, content * settings.bytes_per_sample)

    def make(self, job: Job, settings: PlainSettings) -> Made:
        self.jobs.append(job)
        saved = Saved(self.name, job, settings)
        saved.read()
        history = []
        for iteration in range(settings.iterations + 1):
            step = Step(iteration, settings.iterations, {"content": 2.0**-iteration}, 0.1 * iteration, 0.5)
            history.append(step)
            saved.write({"so far": np.array([float(iteration)])}, history)
            job.report(step)
        saved.remove()
        audio = np.asarray(self._sound(job) * np.float32(settings.gain), dtype=np.float32)
        return Made(audio, history, ["a notice"], {"jobs": len(self.jobs)})


@contextmanager
def registered(system: PlainSystem, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`registry.teacher("plain")` is this system."""
    found = registry.teacher
    with monkeypatch.context() as patch:
        patch.setitem(registry._PLACES, "plain", ("plain", "TEACHER"))
        for module in ("transfer", "targets", "rows"):
            for name in ("teacher", "system_of"):
                patch.setattr(
                    f"duende.export.teachers.{module}.{name}",
                    lambda name: system if name == "plain" else found(name),
                    raising=False,
                )
        yield
