"""The published systems over sinusoids: their tensor through random filters, and their sound through the network.

Ordiales and Barrera (2019) stack magnitude in dB, frequency in Hz and phase of every track, unscaled, and search a
tensor with the content's responses and the style's Gram matrix. Frequencies, some thousands, outweigh the rest, and
tracks stand in no order: they report a result close to white noise. What they prefer: the tracked sines alone, made
sound again, and the network of Ulyanov and Lebedev on the spectrogram of that.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..gram import GramSettings
from ..objective import Evaluation
from ..resume import Saved
from ..solve import Correlation, Solution, minimise
from ..teacher import Job
from .analysis import QUIETEST_DB, SineAnalysis, Tracks
from .tensor import TensorObjective

Float32 = npt.NDArray[np.float32]

START = 0.5


def tensor_of(tracks: Tracks) -> Float32:
    """[frames, 3 * sines]: dB, then Hz, then radians of every slot; all three 0 where a slot is empty."""
    parts = (np.where(tracks.active, tracks.db, 0.0), tracks.hz, np.where(tracks.active, tracks.phase, 0.0))
    return np.concatenate(parts, axis=1).astype(np.float32)


def tracks_of(tensor: Float32, analysis: SineAnalysis, lowest_hz: float = 20.0) -> Tracks:
    """Tracks from any tensor: what lies outside lowest_hz to half the rate is silent, no sine is above full scale."""
    db, hz, phase = (part.astype(np.float64) for part in np.split(tensor, 3, axis=1))
    heard = (hz >= lowest_hz) & (hz < 0.5 * analysis.sample_rate)
    return Tracks(np.where(heard, hz, 0.0), np.where(heard, np.clip(db, QUIETEST_DB, 0.0), QUIETEST_DB), phase)


def search_tensor(content: Tracks, styles: list[Tracks], job: Job, settings: Any, saved: Saved) -> Solution:
    """The tensor that has the content's responses and the styles' Gram matrix, as `tensor_of` lays it out.

    The search counts in units of the content's RMS, some thousand, and begins with noise of half of it. From noise of
    a thousandth, as spectrograms begin with, L-BFGS soon stops: there all frames are alike, which is a saddle.
    """
    seen = tensor_of(content)
    objective = TensorObjective(
        seen,
        [tensor_of(style) for style in styles],
        [style.weight for style in job.styles],
        filters=settings.filters,
        taps=settings.taps,
        height=settings.height,
        pool=settings.pool,
        alpha=settings.alpha,
        seed=job.seed,
        device=job.device,
    )
    unit = np.float32(np.sqrt(np.mean(seen**2)) + 1e-9)
    start = seen / unit
    if settings.start == "noise":
        generator = np.random.default_rng([job.seed, 0x57A7])
        start = generator.standard_normal(seen.shape, dtype=np.float32) * np.float32(START)
    found = minimise(
        _InUnits(objective, unit),
        start,
        settings.optimiser,
        settings.iterations,
        settings.learning_rate,
        job.report,
        correlation=Correlation(seen),
        saved=saved,
    )
    return replace(found, spectrogram=found.spectrogram * unit)


class _InUnits:
    """An objective of numbers that are counted in units."""

    def __init__(self, objective: TensorObjective, unit: np.float32) -> None:
        self._objective, self._unit = objective, unit
        self.shape = objective.shape

    def __call__(self, spectrogram: Float32) -> Evaluation:
        found = self._objective(spectrogram * self._unit)
        return replace(found, gradient=found.gradient * self._unit)


def network(settings: Any) -> GramSettings:
    """What the settings of the sinusoidal system mean for the network of Ulyanov and Lebedev."""
    return GramSettings(
        sample_rate=settings.sample_rate,
        filters=settings.filters,
        taps=settings.taps,
        alpha=settings.alpha,
        optimiser=settings.optimiser,
        iterations=settings.iterations,
        learning_rate=settings.learning_rate,
        start=settings.start,
        rounds=settings.rounds,
    )
