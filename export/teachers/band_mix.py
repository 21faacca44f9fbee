"""Changes of band levels made a sound: gains on what is played, and sources of its own that fill up what it lacks.

A gain raises what is there: a plucked string that has lost its treble would give up its noise. So no gain goes beyond a
bound, and what is then still missing comes from the engine's excitations of the same sound: harmonics of what is played
where the style is steady, noise that follows the level where it is not; above 1 to 2 kHz only, so that what is played
keeps its pitches. The level of every frame stays the player's, and with it his loudness and his attacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch

from ..losses import Tonality
from ..sounds import rms_of
from .band_view import RMS, BandView, Seen
from .sources import sources_of

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SOURCES = ("noise@1", "hard@1")
SOURCE_BOUND_DB = 24.0
LOWEST_HZ = 1000.0
LARGEST_CHANGE = 6.0  # nepers
ROUNDS = 8


@dataclass(frozen=True)
class Goal:
    """What the long run of a result should be like. power: in the bands [bands]; steady: how steady the styles are in
    each band [bands], 0 noise, 1 tones; `goal_of` gives both."""

    power: Float64
    steady: Float64

    def at(self, blend: float, content: Seen) -> "Goal":
        """The goal so far on the way from the content, 0..1: at 0 its own long-term power, and no change."""
        own, there = content.power.mean(axis=0), self.power
        least = 1e-9 * own.mean()
        way = (1.0 - blend) * np.log(own / own.sum() + least) + blend * np.log(there / there.sum() + least)
        return Goal(np.exp(way), self.steady)


class Limits(Protocol):
    """What keeps changes in bounds."""

    @property
    def bound_db(self) -> float:
        """No gain on what is played goes beyond."""

    @property
    def smooth_ms(self) -> float:
        """Deviation of the Gaussian that smooths changes over time."""


def goal_of(view: BandView, styles: Sequence[Seen], audio: Sequence[Float32], weights: Sequence[float]) -> Goal:
    """The goal of several styles, seen and as audio, at weights of any sum."""
    shares = np.asarray(weights, dtype=np.float64) / sum(weights)
    power = sum((share * one.power.mean(axis=0) for share, one in zip(shares, styles, strict=True)), start=np.zeros(1))
    steadiness = Tonality(view.analysis.sample_rate)
    edges = np.asarray(Tonality.ZONES_HZ)
    centres = np.log(np.sqrt(edges[:-1] * edges[1:]))
    steady = np.zeros(view.bands.count)
    for share, sound in zip(shares, audio, strict=True):
        # The measure compares frames 85 ms apart: a shorter sound is repeated.
        row = np.resize(sound, max(len(sound), 5 * 4096)) * np.float32(RMS / max(rms_of(sound), 1e-9))
        with torch.no_grad():
            found = steadiness(torch.tensor(row)[None])[0].clamp(0.0, 1.0).numpy()
        steady += share * np.interp(np.log(view.bands.centres_hz), centres, found)
    return Goal(np.asarray(power), steady)


def mixed(view: BandView, audio: Float32, seen: Seen, change: Float32, goal: Goal, limits: Limits) -> Float32:
    """The content [samples], seen so, under changes of its band levels in nepers [frames, bands]: audio at its RMS.

    The changes are smoothed over time and joined by what is static: the same change in every frame that brings the
    long-term power to the goal's.
    """
    frames = limits.smooth_ms / 1000.0 * view.analysis.sample_rate / view.analysis.hop
    change = scipy.ndimage.gaussian_filter1d(change, frames, axis=0, mode="nearest") if frames > 0.0 else change
    made = sources_of(audio * np.float32(RMS / seen.rms), view.analysis.sample_rate, SOURCES)
    sources = [view.look(source) for source in made]
    above = np.clip(np.log2(view.bands.centres_hz / LOWEST_HZ), 0.0, 1.0)
    shares = np.stack(((1.0 - goal.steady) ** 2, goal.steady)) * above
    gains = _power_gains(
        seen.power, np.stack([one.power for one in sources]), change, shares, goal.power, limits.bound_db
    )
    spectra = [seen.spectrum, *(one.spectrum for one in sources)]
    return view.play(spectra, np.asarray(np.sqrt(gains), dtype=np.float32), len(audio), seen.rms)


def _power_gains(
    own: Float64, others: Float64, change: Float32, shares: Float64, wanted: Float64, bound_db: float
) -> Float64:
    """Gains of the content's power and of its sources' [1 + sources, frames, bands].

    own: power of the content [frames, bands]; others: of the sources [sources, frames, bands]; shares: of what is
    missing that each source fills [sources, bands].
    """
    bound, source_bound = 10.0 ** (bound_db / 10.0), 10.0 ** (SOURCE_BOUND_DB / 10.0)
    level, floor, least = own.sum(axis=1), 1e-3 * wanted.mean(), 1e-12
    static = np.zeros(own.shape[1])
    gains = np.zeros((1 + len(others), *own.shape))
    for _ in range(ROUNDS):
        target = own * np.exp(2.0 * np.clip(change + static, -LARGEST_CHANGE, LARGEST_CHANGE))
        target *= (level / (target.sum(axis=1) + least))[:, None]
        gains[0] = np.minimum(target / (own + least), bound)
        missing = np.maximum(target - gains[0] * own, 0.0)
        gains[1:] = np.minimum(missing * shares[:, None] / (others + least), source_bound)
        after = gains[0] * own + (gains[1:] * others).sum(axis=0)
        gains *= np.minimum(level / (after.sum(axis=1) + least), bound)[:, None]
        reached = (gains[0] * own + (gains[1:] * others).sum(axis=0)).mean(axis=0)
        reached *= wanted.sum() / max(reached.sum(), least)
        static += 0.5 * np.log((wanted + floor) / (reached + floor))
    return gains
