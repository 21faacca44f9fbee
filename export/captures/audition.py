"""Captures beside each other: one plain recording through each by the live signal path, as loud as each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ...engine.messages import SlotPlan
from ...engine.preset import build_rig, processors_for
from ...engine.render import render_array
from ..sounds import load_sound
from .heard import RATE, loudness_lufs

Float32 = npt.NDArray[np.float32]

MOST = 9
"""As many as there are keys for."""
LONGEST_S = 60.0
LOUDEST = 0.97
PLAIN = "plain"


@dataclass(frozen=True)
class Take:
    """What came out of one capture. audio: float32 [samples] at RATE, aligned with the input, at its own level.

    latency_samples: taken away; lufs: loudness at its own level; gain_db: what makes it as loud as the others.
    """

    name: str
    audio: Float32
    latency_samples: int
    lufs: float
    gain_db: float = 0.0

    @property
    def matched(self) -> Float32:
        """The audio, as loud as that of the others."""
        return self.audio * np.float32(10.0 ** (self.gain_db / 20.0))


def play_takes(
    source: Path,
    captures: Mapping[str, Path],
    cabinet: tuple[str, Path | None] | None = None,
    seconds: float = 20.0,
    progress: Callable[[float], None] | None = None,
) -> list[Take]:
    """The first seconds of a recording plain, and through each capture by the live signal path; loudness matched.

    cabinet: name and file (None: built in) of one to play behind each. DuendeError as `load_sound`, and where a
    capture cannot be opened or answers silence.
    """
    if not 1 <= len(captures) <= MOST:
        raise DuendeError(f"{len(captures)} captures: 1 to {MOST} can be compared in one page")
    if not 1.0 <= seconds <= LONGEST_S:
        raise DuendeError(f"{seconds:g} s is out of range: 1 to {LONGEST_S:g} s")
    plain = load_sound(source, RATE, use="an audition", samples=round(seconds * RATE))
    takes = [Take(PLAIN, plain, 0, loudness_lufs(plain))]
    for place, (name, path) in enumerate(captures.items(), start=1):
        plans = [SlotPlan(name, str(path), "capture")]
        if cabinet is not None:
            plans.append(SlotPlan(cabinet[0], str(cabinet[1] or ""), "cabinet"))
        rig = build_rig(processors_for(plans))
        audio = render_array(rig, plain, RATE)[: len(plain)]
        takes.append(Take(name, audio, rig.chain.latency.samples, loudness_lufs(audio)))
        if progress is not None:
            progress(place / len(captures))
    return _matched(takes)


def _matched(takes: Sequence[Take]) -> list[Take]:
    """The takes with the gains that make them alike in loudness, the loudest peak at LOUDEST at most."""
    silent = [take.name for take in takes if not np.isfinite(take.lufs)]
    if silent:
        raise DuendeError(f"{silent[0]}: silent for all of this recording: it cannot be as loud as the others")
    peaks_db = [20.0 * np.log10(max(float(np.abs(take.audio).max()), 1e-9)) for take in takes]
    target = min(20.0 * np.log10(LOUDEST) - peak + take.lufs for take, peak in zip(takes, peaks_db, strict=True))
    return [Take(take.name, take.audio, take.latency_samples, take.lufs, float(target - take.lufs)) for take in takes]
