"""Envelopes as the numbers a network learns: levels relative to the loudest moment, with a floor, then the traits."""

import numpy as np
import numpy.typing as npt

from .additive import FLOOR_DB, FRAMES, GROUPS, HARMONICS, MOST_AWAY, NOISE, Envelopes

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

WIDTH = HARMONICS + NOISE
LEVELS = FRAMES * WIDTH
TRAITS = HARMONICS + 2 + (len(GROUPS) - 1) + 2
CODE = LEVELS + TRAITS
DEEPEST_DB = -80.0
_BEND = 1.5
FADE_DB = -60.0
"""What a network says lies lower is pushed to silence, so that its small errors there are no noise bed."""

_AWAY, _CENTS, _RATE, _FLUTTER_DB, _SECOND_DB, _RATIO = 0.1, 10.0, 2.0, 2.0, 10.0, 0.2
_USUAL_HZ, _USUAL_RATIO, _NO_SECOND_DB = 5.5, 1.25, -40.0
_LEAST_CENTS, _LEAST_AWAY = 2.5, 0.02
_LOWEST_PARTIALS, _MOST_MISTUNED = 6, 0.05


def encode(envelopes: Envelopes) -> Float32:
    """Code [CODE] of a note's envelopes: levels are 1 at its loudest moment and 0 at the floor; traits about 1.

    Levels are bent, so that equal errors count less where it is quiet: what is silent and what is a mere -60 dB are
    nearly the same.

    Where a partial lies that is never heard is no trait, nor are the rate of a vibrato and the ratio of a second pitch
    that are not there.
    """
    level = np.concatenate([envelopes.harmonics, envelopes.noise], axis=1) - _loudest_db(envelopes)
    level = np.maximum(level, DEEPEST_DB)
    heard = level[:, :HARMONICS].max(axis=0) > FADE_DB
    depth, rate = envelopes.vibrato
    ratio, second = envelopes.second
    there = second > _NO_SECOND_DB
    traits = [
        np.where(heard, envelopes.away, 0.0) / _AWAY,
        np.array([depth / _CENTS, (rate - _USUAL_HZ) / _RATE if depth > _LEAST_CENTS else 0.0]),
        envelopes.flutter / _FLUTTER_DB,
        np.array([(max(second, _NO_SECOND_DB)) / _SECOND_DB, (ratio - _USUAL_RATIO) / _RATIO if there else 0.0]),
    ]
    return np.concatenate([(1.0 - level.ravel() / DEEPEST_DB) ** _BEND, *traits]).astype(np.float32)


def decode(code: Float32, peak_db: float) -> Envelopes:
    """Envelopes of a code [CODE], the loudest moment at `peak_db` (full scale of a sine 0)."""
    part = np.maximum(code[:LEVELS].astype(np.float64).reshape(FRAMES, WIDTH), 0.0)
    level = DEEPEST_DB * (1.0 - part ** (1.0 / _BEND))
    level = np.where(level < FADE_DB, FADE_DB + 3.0 * (level - FADE_DB), level)
    found = Envelopes(level[:, :HARMONICS], level[:, HARMONICS:])
    level = np.maximum(level - _loudest_db(found) + peak_db, FLOOR_DB)
    traits = code[LEVELS:].astype(np.float64)
    away, vibrato, flutter, second = np.split(traits, np.cumsum([HARMONICS, 2, len(GROUPS) - 1]))
    away = _in_tune(_AWAY * away, level[:, :HARMONICS].max(axis=0))
    cents = float(_CENTS * vibrato[0])
    return Envelopes(
        level[:, :HARMONICS],
        level[:, HARMONICS:],
        np.clip(away, -MOST_AWAY, MOST_AWAY),
        (cents if cents > _LEAST_CENTS else 0.0, float(np.clip(_USUAL_HZ + _RATE * vibrato[1], 3.0, 8.0))),
        np.clip(_FLUTTER_DB * flutter, 0.0, 6.0),
        (float(np.clip(_USUAL_RATIO + _RATIO * second[1], 1.1, 1.9)), float(_SECOND_DB * second[0])),
    )


def _in_tune(away: Float64, loudest_db: Float64) -> Float64:
    """Where partials lie [HARMONICS], the lowest ones at the pitch: a network's small errors are not mistuning.

    Bells, whose lowest partials are far from it, stay as they are.
    """
    numbers = np.arange(1, _LOWEST_PARTIALS + 1)
    relative, weight = away[:_LOWEST_PARTIALS] / numbers, 10.0 ** (loudest_db[:_LOWEST_PARTIALS] / 20.0)
    order = relative.argsort()
    middle = float(relative[order][np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())])
    if abs(middle) < _MOST_MISTUNED:
        away = away - middle * np.arange(1, HARMONICS + 1)
    return np.where(np.abs(away) > _LEAST_AWAY, away, 0.0)


def _loudest_db(envelopes: Envelopes) -> float:
    power = (10.0 ** (envelopes.harmonics / 10.0)).sum(axis=1) + 2.0 * (10.0 ** (envelopes.noise / 10.0)).sum(axis=1)
    return float(10.0 * np.log10(power.max() + 1e-12))
