"""Writes a trained capture as a `.nam` file, version 0.5.4, that every NAM player reads.

Loudness and gain follow the trainer's formulas, measured on duende's own second of plucked notes
(`captures.graph.loudness_phrase`) instead of the trainer's recording: its level is alike, so the figures are, too.
"""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ... import DuendeError, __version__
from ..captures.graph import loudness_phrase
from .align import Alignment
from .train import Trained

Float32 = npt.NDArray[np.float32]

VERSION = "0.5.4"
GEAR_TYPES = ("amp", "pedal", "pedal_amp", "amp_cab", "amp_pedal_cab", "preamp", "studio")
TONE_TYPES = ("clean", "overdrive", "crunch", "hi_gain", "fuzz")
LONGEST_TEXT = 200
_GAIN_STEPS = 11


@dataclass(frozen=True)
class About:
    """What a capture is of, as NAM's metadata says it; what is empty or None is left out.

    input_level_dbu, output_level_dbu: dBu RMS of a 1 kHz sine that peaks at 0 dBFS on the way out to the amplifier, and
    on the way in from it.
    """

    name: str
    author: str = ""
    licence: str = ""
    gear_type: str = ""
    gear_make: str = ""
    gear_model: str = ""
    tone_type: str = ""
    input_level_dbu: float | None = None
    output_level_dbu: float | None = None

    def check(self) -> None:
        """DuendeError for a word that NAM does not know, a level out of range, and text that is too long."""
        for option, value, allowed in (
            ("--gear-type", self.gear_type, GEAR_TYPES),
            ("--tone", self.tone_type, TONE_TYPES),
        ):
            if value and value not in allowed:
                raise DuendeError(f"{option} {value!r}: choose one of {', '.join(allowed)}")
        for option, text in (
            ("--author", self.author),
            ("--licence", self.licence),
            ("--gear-make", self.gear_make),
            ("--gear-model", self.gear_model),
        ):
            if len(text) > LONGEST_TEXT or not text.isprintable():
                raise DuendeError(f"{option}: {len(text)} letters: up to {LONGEST_TEXT}, in one line")
        for option, level in (("--input-dbu", self.input_level_dbu), ("--output-dbu", self.output_level_dbu)):
            if level is not None and not -40.0 <= level <= 60.0:
                raise DuendeError(f"{option} {level:g} is out of range: -40 to 60 dBu")


def nam_bytes(
    trained: Trained, about: About, sample_rate: int, date: datetime.datetime, alignment: Alignment | None = None
) -> bytes:
    """The file: the network and what is known of it. DuendeError where a weight is not a finite number."""
    config, weights = trained.student.exported(trained.gain)
    if not np.isfinite(weights).all():
        raise DuendeError("the training ended in weights that are not numbers: train again with another --seed")
    loudness, gain = loudness_and_gain(trained.answer, sample_rate)
    latency = None if alignment is None else {"manual": None, "calibration": _calibration(alignment)}
    training = {
        "settings": {"made_with": f"duende {__version__}", "loudness_signal": "duende's plucked notes"},
        "data": {"latency": latency, "checks": None},
        "validation_esr": trained.error,
    }
    metadata = {
        "date": {part: getattr(date, part) for part in ("year", "month", "day", "hour", "minute", "second")},
        "loudness": loudness,
        "gain": gain,
        "name": about.name,
        "modeled_by": about.author or None,
        "license": about.licence or None,
        "gear_type": about.gear_type or None,
        "gear_make": about.gear_make or None,
        "gear_model": about.gear_model or None,
        "tone_type": about.tone_type or None,
        "input_level_dbu": about.input_level_dbu,
        "output_level_dbu": about.output_level_dbu,
        "training": training,
    }
    file = {
        "version": VERSION,
        "metadata": metadata,
        "architecture": trained.student.architecture,
        "config": config,
        # The shortest decimals that are the same float32.
        "weights": [float(str(weight)) for weight in weights],
        "sample_rate": sample_rate,
    }
    return json.dumps(file, allow_nan=False).encode()


def loudness_and_gain(answer: Callable[[Float32], Float32], sample_rate: int) -> tuple[float | None, float | None]:
    """Level of the answer to the phrase in dB RMS, and how much it compresses, 0..1; None where it is silent.

    gain: the levels at eleven steps of the input from nothing to all, summed; 0 where the sum is that of a straight
    line from 0, 1 where all are as loud as the last.
    """
    phrase = loudness_phrase(sample_rate)
    levels = np.asarray(
        [
            float(np.sqrt(np.mean(answer(np.asarray(phrase * np.float32(step))).astype(np.float64) ** 2)))
            for step in np.linspace(0.0, 1.0, _GAIN_STEPS)
        ]
    )
    most = _GAIN_STEPS * levels[-1]
    if not most > 0.0:
        return None, None
    least = most / 2.0
    return 20.0 * float(np.log10(levels[-1])), float(np.clip((levels.sum() - least) / (most - least), 0.0, 1.0))


def _calibration(alignment: Alignment) -> dict[str, object]:
    return {
        "algorithm_version": 1,
        "delays": [round(alignment.latency_samples, 3)],
        "safety_factor": None,
        "recommended": alignment.shift,
        "warnings": {},
    }
