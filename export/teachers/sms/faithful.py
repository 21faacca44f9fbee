"""The published systems over sinusoids: their tensor through random filters, and their sound through the network.

Ordiales and Barrera (2019) stack magnitude in dB, frequency in Hz and phase of every track, unscaled, and search a
tensor with the content's responses and the style's Gram matrix. Frequencies, some thousands, outweigh the rest, and
tracks stand in no order: they report a result close to white noise. What they prefer: the tracked sines alone, made
sound again, and the network of Ulyanov and Lebedev on the spectrogram of that.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..gram import GramSettings
from ..resume import Saved
from ..solve import Correlation, Solution, minimise
from ..teacher import Job
from .analysis import QUIETEST_DB, SineAnalysis, Tracks
from .tensor import TensorObjective

Float32 = npt.NDArray[np.float32]

START = 0.05


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

    Noise to begin with has a twentieth of the content's RMS. Of the 0.001 that spectrograms begin with, thousandths of
    a Hz here, L-BFGS makes nothing: it gives up after two iterations.
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
    start = seen
    if settings.start == "noise":
        generator = np.random.default_rng([job.seed, 0x57A7])
        start = generator.standard_normal(seen.shape, dtype=np.float32) * np.float32(START * np.sqrt(np.mean(seen**2)))
    return minimise(
        objective,
        start,
        settings.optimiser,
        settings.iterations,
        settings.learning_rate,
        job.report,
        correlation=Correlation(seen),
        saved=saved,
    )


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
