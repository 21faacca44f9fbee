"""Ours: the player's partials with the style's levels, the residual apart, on a grid that knows bands and not notes.

Frequencies and phases of all sinusoids stay the content's, so pitch does. Log gains of partials, residual and noise
are searched on a grid of ERB bands and time; attacks keep sines and residual together, so they do not smear.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch

from ....engine.bands import erb_bands, hz_to_erb
from ...sounds import rms_of
from ..resume import Saved
from ..solve import Solution, minimise
from ..spectra import Analysis, istft, stft
from ..teacher import Job
from .analysis import SineAnalysis, Tracks
from .envelope import band_envelopes
from .grid import HOP, N_FFT, PARTS, Gains, GridObjective, GridWeights, interpolation
from .parts import Parts, attack_times, band_powers, near_attacks, shaped_noise
from .synthesis import synthesise

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BOUND = 3.5  # nepers that the closed form may go


def stylise(content: Parts, styles: Sequence[Parts], job: Job, settings: Any, saved: Saved) -> tuple[Float32, Solution]:
    """The sound of the content's parts, float32 [samples] at the content's level, and how it was found."""
    rate, length = settings.sample_rate, len(content.sines)
    noise = shaped_noise(content.sound, rate, job.seed)
    frames = length // HOP + 1
    attacks = near_attacks(attack_times(content.sound, rate), np.arange(frames) * HOP / rate)
    shares = [style.weight for style in job.styles]
    level = closed_form(content, noise, styles, shares, rate, settings.bands)
    base = np.repeat(level[:, None], frames, axis=1)
    if settings.kept_formants != "free":
        base = _with_formants(base, content, styles, shares, settings)
    gains = Gains(base, attacks, GridWeights().bound, fine=settings.kept_formants == "content")
    objective = GridObjective(
        np.stack((content.sines, content.residual, noise)),
        [(style.sines, style.residual) for style in styles],
        shares,
        gains,
        GridWeights(),
        rate,
        job.seed,
        job.device,
    )
    start = np.zeros(objective.shape, dtype=np.float32)
    found = minimise(
        objective,
        start,
        settings.optimiser,
        settings.iterations,
        settings.learning_rate,
        job.report,
        correlation=objective.correlation,
        saved=saved,
    )
    with torch.no_grad():
        nepers = gains(torch.from_numpy(found.spectrogram)).numpy()
    return sound_of(content, noise, nepers, settings), found


def _with_formants(
    base: Float64, content: Parts, styles: Sequence[Parts], shares: Sequence[float], settings: Any
) -> Float64:
    """Where the search begins, [3, frames, bands], so that the formants are the content's, or the style's mean ones."""
    rate = settings.sample_rate
    layout = erb_bands(rate, N_FFT, settings.bands, 60.0, min(18_000.0, 0.45 * rate))
    own = band_envelopes(content.sound, layout, rate, N_FFT, HOP)
    begun = base.copy()
    if settings.kept_formants == "content":
        begun[:2] = 0.0
        # The noise gets the content's formants, and of the style how much of it there is.
        begun[2] = own + np.mean(base[2])
        return begun
    wanted = []
    for style in styles:
        loud = np.sqrt(np.convolve(np.square(style.sound, dtype=np.float64), np.ones(HOP) / HOP, "same")[::HOP])
        found = band_envelopes(style.sound, layout, rate, N_FFT, HOP)
        wanted.append(np.average(found, axis=0, weights=loud[: len(found)] + 1e-9))
    moved = np.average(wanted, axis=0, weights=shares) - own
    begun[0] = np.clip(scipy.ndimage.gaussian_filter1d(moved, 2.0, axis=0, mode="nearest"), -BOUND, BOUND)
    return begun


def closed_form(
    content: Parts, noise: Float32, styles: Sequence[Parts], shares: Sequence[float], rate: int, bands: int
) -> Float64:
    """Log gains [3, bands] in nepers that give sines and residual the style's mean band levels.

    The residual's is what it needs beyond the sines'. Noise begins 12 dB under the style's residual.
    """
    layout = erb_bands(rate, N_FFT, bands, 60.0, min(18_000.0, 0.45 * rate))

    def levels(audio: Float32, whole: Float32) -> Float64:
        """Long-term band levels in nepers, relative to the level of the whole, and no more than 80 dB under it."""
        powers = band_powers(audio, layout, N_FFT, HOP).mean(axis=0)
        total = band_powers(whole, layout, N_FFT, HOP).sum(axis=1).mean() + 1e-20
        return np.asarray(0.5 * np.log(powers / total + 1e-8))

    def wanted(part: str) -> Float64:
        found = [levels(getattr(style, part), style.sound) for style in styles]
        return np.average(found, axis=0, weights=shares)

    sines, residual = wanted("sines"), wanted("residual")
    whole = 0.5 * np.logaddexp(2.0 * sines, 2.0 * residual)
    gain = whole - levels(content.sound, content.sound)
    apart = np.zeros(bands)
    hiss = residual - levels(noise, content.sound) - np.log(4.0)
    smooth = [scipy.ndimage.gaussian_filter1d(part, 0.7, mode="nearest") for part in (gain, apart, hiss)]
    return np.stack([np.clip(part, -BOUND, BOUND) for part in smooth])


def sound_of(content: Parts, noise: Float32, nepers: Float32, analysis: SineAnalysis) -> Float32:
    """Audio [samples] of log gains [3, frames, bands] of the content's sines, its residual and noise."""
    if len(nepers) != PARTS:
        raise ValueError(f"{len(nepers)} gains: give one for each of {PARTS} parts")
    length, rate = len(content.sines), analysis.sample_rate
    tracks = louder(content.tracks, nepers[0], analysis)
    out = synthesise(tracks, analysis, length)
    draw = interpolation(rate, N_FFT, nepers.shape[2])
    centred = Analysis(rate, N_FFT, HOP)
    for part, gains in ((content.residual, nepers[1]), (noise, nepers[2])):
        out = out + istft(stft(part, centred) * np.exp(gains @ draw), centred, length)
    return np.asarray(out * (rms_of(content.sound) / max(rms_of(out), 1e-9)), dtype=np.float32)


def louder(tracks: Tracks, nepers: Float32, analysis: SineAnalysis) -> Tracks:
    """The same tracks with log gains [frames of HOP, bands] on their levels, linear between bands and moments."""
    rate = analysis.sample_rate
    centres = hz_to_erb(erb_bands(rate, N_FFT, nepers.shape[1], 60.0, min(18_000.0, 0.45 * rate)).centres_hz)
    column = np.interp(hz_to_erb(tracks.hz), centres, np.arange(len(centres)))
    row = np.minimum(np.arange(len(tracks.hz)) * analysis.hop / HOP, len(nepers) - 1.0)
    at = np.stack((np.broadcast_to(row[:, None], column.shape), column))
    gain = scipy.ndimage.map_coordinates(nepers.astype(np.float64), at, order=1, mode="nearest")
    return Tracks(tracks.hz, tracks.db + np.where(tracks.active, gain * (20.0 / np.log(10.0)), 0.0), tracks.phase)
