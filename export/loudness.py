"""Factory presets of one loudness: measures each on the built-in phrase and sets its output gain.

`python -m duende.export.loudness` shows what they have; with --write it sets them, and shows what they have then.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyloudnorm

from .. import DuendeError
from ..engine.preset import load_rig
from ..engine.processor import widens_at
from ..engine.render import render_array
from ..presets.format import encode_preset, write_atomically
from ..presets.library import Entry, Library
from .pluck import demo_phrase

Float32 = npt.NDArray[np.float32]

RATE = 48000
GAIN = "output/gain"
STEP_DB = 0.1
BOUND_DB = 1.0
"""How far apart shipped presets may be from the plain phrase."""


def loudness(samples: Float32) -> float:
    """Integrated loudness [LUFS] of samples [n] or [n, sides] at RATE (ITU-R BS.1770-4); of sides: their mean.

    So the same on both sides is as loud as in mono.
    """
    sides = 1 if samples.ndim == 1 else samples.shape[1]
    whole = float(pyloudnorm.Meter(RATE).integrated_loudness(samples.astype(np.float64)))
    return whole - 10.0 * math.log10(sides)


def preset_loudness(entry: Entry, phrase: Float32, gain_db: float | None = None) -> float:
    """LUFS of a preset on a phrase [n] at RATE, through the engine; gain_db: instead of its own output gain.

    In stereo where the preset makes two sides of one, as it does live.
    """
    rig = load_rig(entry, values={} if gain_db is None else {GAIN: gain_db})
    sides = 2 if any(widens_at(slot.processor, RATE) for slot in rig.chain.slots) else 1
    return loudness(render_array(rig, np.repeat(phrase[:, None], sides, axis=1), RATE)[: len(phrase)])


def matched_gain(entry: Entry, phrase: Float32) -> float:
    """Output gain in dB, in steps of STEP_DB, with which a preset is as loud as the plain phrase [n].

    DuendeError where it cannot be: the ceiling holds it down, or it is silent.
    """
    target, gain = loudness(phrase), 0.0
    for _ in range(3):
        away = target - preset_loudness(entry, phrase, gain)
        if abs(away) <= 0.5 * STEP_DB:
            break
        if not np.isfinite(away) or not -60.0 <= gain + away <= 20.0:
            raise DuendeError(f"{entry.name}: {away:+.1f} dB from the plain phrase: no output gain makes up for that")
        gain = round((gain + away) / STEP_DB) * STEP_DB
    return round(gain, 1)


def match(entries: Sequence[Entry], phrase: Float32) -> None:
    """Write each preset anew with the output gain that matches it; nothing else of it changes."""
    for entry in entries:
        preset = entry.read()
        preset.values[GAIN] = matched_gain(entry, phrase)
        write_atomically(entry.path, encode_preset(preset))


def main(arguments: Sequence[str]) -> None:
    """Show, and with --write set, the factory presets' loudness."""
    if list(arguments) not in ([], ["--write"]):
        raise DuendeError("usage: python -m duende.export.loudness [--write]")
    entries, phrase = Library(own=Path("none")).entries(), demo_phrase(RATE)
    if arguments:
        match(entries, phrase)
    target = loudness(phrase)
    sys.stdout.write(f"plain phrase: {target:.1f} LUFS\n")
    for entry in entries:
        away = preset_loudness(entry, phrase) - target
        sys.stdout.write(f"{entry.name}: {entry.read().values.get(GAIN, 0.0):+.1f} dB gain, {away:+.2f} dB away\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except DuendeError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
