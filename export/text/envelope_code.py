"""Envelopes as the numbers a network learns: level relative to the loudest moment, in units of 20 dB, with a floor."""

import numpy as np
import numpy.typing as npt

from .additive import FLOOR_DB, FRAMES, HARMONICS, NOISE, Envelopes

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

WIDTH = HARMONICS + NOISE
CODE = FRAMES * WIDTH
UNIT_DB = 20.0
DEEPEST_DB = -80.0
FADE_DB = -60.0
"""What a network says lies lower is pushed to silence, so that its small errors there are no noise bed."""


def encode(envelopes: Envelopes) -> Float32:
    """Code [CODE] of a note's envelopes, 0 at its loudest moment and -4 at the floor."""
    level = np.concatenate([envelopes.harmonics, envelopes.noise], axis=1) - _loudest_db(envelopes)
    return (np.maximum(level, DEEPEST_DB).ravel() / UNIT_DB).astype(np.float32)


def decode(code: Float32, peak_db: float) -> Envelopes:
    """Envelopes of a code [CODE], the loudest moment at `peak_db` (full scale of a sine 0)."""
    level = UNIT_DB * code.astype(np.float64).reshape(FRAMES, WIDTH)
    level = np.where(level < FADE_DB, FADE_DB + 3.0 * (level - FADE_DB), level)
    found = Envelopes(level[:, :HARMONICS], level[:, HARMONICS:])
    level = np.maximum(level - _loudest_db(found) + peak_db, FLOOR_DB)
    return Envelopes(level[:, :HARMONICS], level[:, HARMONICS:])


def _loudest_db(envelopes: Envelopes) -> float:
    power = (10.0 ** (envelopes.harmonics / 10.0)).sum(axis=1) + 2.0 * (10.0 ** (envelopes.noise / 10.0)).sum(axis=1)
    return float(10.0 * np.log10(power.max() + 1e-12))
