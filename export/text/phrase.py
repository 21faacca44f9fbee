"""A style clip from a sentence: several notes of one timbre end to end, because one note alone says little."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soxr

from ...presets.library import home
from .backend import Backend, Report, Sound
from .made import save

PITCHES = (45, 52, 57, 60, 64, 69)
NOTE_S = 2.5
DRAWS = 4
RATE = 48000
_LEVEL_DBFS = -20.0


def phrase(backend: Backend, prompt: str, seed: int, settings: Mapping[str, str], report: Report) -> Sound:
    """The clip at 48 kHz: six notes of one timbre, or four draws of a system that cannot be told a pitch.

    Every note is as loud as the others (-20 dBFS over its loudest half second), so that none outweighs them.
    """
    if getattr(backend, "plays_pitches", False) and "pitch" not in settings:
        plan = [(seed, {**settings, "pitch": str(pitch)}, NOTE_S) for pitch in PITCHES]
    else:
        plan = [(seed + number, dict(settings), backend.about.seconds_made) for number in range(DRAWS)]
    pieces = []
    said: list[str] = []
    for place, (draw, values, seconds) in enumerate(plan):
        report(place, len(plan), f"note {place + 1} of {len(plan)}")
        sound = backend.make(prompt, draw, seconds, values, lambda done, total, doing: None)
        audio = sound.audio
        if sound.sample_rate != RATE:
            audio = np.asarray(soxr.resample(audio, sound.sample_rate, RATE), dtype=np.float32)
        size = min(len(audio), RATE // 2)
        power = audio[: len(audio) // size * size].astype(np.float64).reshape(-1, size) ** 2
        loudest = float(power.mean(axis=1).max())
        pieces.append(audio * np.float32(10.0 ** (_LEVEL_DBFS / 20.0) / max(np.sqrt(loudest), 1e-9)))
        said = said or sound.notices
    whole = np.concatenate(pieces)
    return Sound((whole * min(1.0, 0.97 / max(float(np.abs(whole).max()), 1e-9))).astype(np.float32), RATE, said)


def write_phrase(
    backend: Backend, prompt: str, seed: int, settings: Mapping[str, str], name: str, report: Report
) -> tuple[Path, list[str]]:
    """The clip as a file in the player's folder (`prompts/NAME.wav`), to be heard and forged from; and notices."""
    path = home() / "prompts" / f"{name}.wav"
    sound = phrase(backend, prompt, seed, settings, report)
    save(path, sound, backend.name, prompt, seed)
    return path, sound.notices
