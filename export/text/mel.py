"""Mel spectra and the way back: filters, magnitudes from mel bands, and phases by Griffin-Lim or a better start."""

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.sparse

from ..teachers.inversion import from_slopes
from ..teachers.spectra import Analysis

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]
Inversion = Literal["faithful", "repaired"]

_TINY = np.float32(1e-12)
_UNMEL_ROUNDS = 60
_MOMENTUM = 0.99
_SLANEY_HZ, _SLANEY_STEP = 1000.0, np.log(6.4) / 27.0  # above 1 kHz Slaney's scale is logarithmic


@dataclass(frozen=True)
class MelScale:
    """A mel analysis.

    sample_rate in Hz; n_fft, window (Hann, at most n_fft, zeros around it) and hop in samples; bands from low to high
    Hz. htk: O'Shaughnessy's scale, else Slaney's. unit_area: triangles of one area (Slaney's norm), else of one height.
    """

    sample_rate: int
    n_fft: int
    window: int
    hop: int
    bands: int
    low: float
    high: float
    htk: bool = False
    unit_area: bool = True

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1


@functools.lru_cache(maxsize=4)
def filters(scale: MelScale) -> Float32:
    """Triangles [bins, bands] over magnitudes or powers. A band narrower than a bin may hold nothing."""
    edges = _hertz(np.linspace(_mel(scale.low, scale.htk), _mel(scale.high, scale.htk), scale.bands + 2), scale.htk)
    hertz = np.arange(scale.bins)[:, None] * (scale.sample_rate / scale.n_fft)
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    if scale.unit_area:
        triangles *= 2.0 / (edges[2:] - edges[:-2])
    found = triangles.astype(np.float32)
    found.setflags(write=False)
    return found


def spectrum(audio: Float32, scale: MelScale) -> Complex64:
    """STFT [frames, bins] of audio [samples], 1 + samples // hop frames, frame t centred on sample t * hop."""
    padded = np.pad(audio.astype(np.float32, copy=False), scale.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, scale.n_fft)[:: scale.hop]
    return np.asarray(scipy.fft.rfft(frames * _window(scale), axis=1), dtype=np.complex64)


def inverse(spectra: Complex64, scale: MelScale, length: int) -> Float32:
    """Audio [length] whose STFT is nearest to spectra [frames, bins]."""
    window = _window(scale)
    frames = np.asarray(scipy.fft.irfft(spectra, scale.n_fft, axis=1), dtype=np.float32) * window
    total = scale.n_fft + scale.hop * (len(frames) - 1)
    audio, weight = np.zeros(max(total, scale.n_fft // 2 + length), np.float32), np.zeros(total, np.float32)
    squared = window * window
    for index, frame in enumerate(frames):
        start = index * scale.hop
        audio[start : start + scale.n_fft] += frame
        weight[start : start + scale.n_fft] += squared
    audio[:total] /= np.maximum(weight, 1e-3)
    return audio[scale.n_fft // 2 : scale.n_fft // 2 + length]


def mel(audio: Float32, scale: MelScale, power: int) -> Float32:
    """Mel bands [frames, bands] of audio [samples]; power: 1 sums magnitudes, 2 powers."""
    magnitude = np.abs(spectrum(audio, scale))
    return np.asarray((magnitude if power == 1 else magnitude**2) @ filters(scale), dtype=np.float32)


def unmel(bands: Float32, scale: MelScale) -> Float32:
    """Non-negative magnitudes or powers [frames, bins] whose bands are nearest to bands [frames, bands].

    Multiplicative updates (Lee and Seung 2001), 60 rounds; bins that no band sees stay 0.
    """
    weights = scipy.sparse.csr_matrix(filters(scale))
    wanted = np.ascontiguousarray(np.maximum(bands, 0.0).T)
    numerator = weights @ wanted
    # From equal values in a band: the least that its mean says.
    found = np.asarray(weights @ (wanted / np.maximum(filters(scale).sum(axis=0), _TINY)[:, None]), dtype=np.float32)
    for _ in range(_UNMEL_ROUNDS):
        found *= numerator / np.maximum(weights @ (weights.T @ found), _TINY)
    return np.ascontiguousarray(found.T, dtype=np.float32)


def sound(magnitude: Float32, scale: MelScale, length: int, how: Inversion, rounds: int, seed: int) -> Float32:
    """Audio [length] from magnitudes [frames, bins].

    `rounds` of fast Griffin-Lim (Perraudin et al. 2013, momentum 0.99 as in librosa and torchaudio). faithful: from
    random phases, as published. repaired: from phases that the magnitudes' own slopes give (`engine.phase`).
    """
    if how == "faithful":
        turns = np.random.default_rng([seed, 0x6711]).random(magnitude.shape, dtype=np.float32)
        return _griffin_lim(magnitude, np.exp(2j * np.pi * turns).astype(np.complex64), scale, length, rounds)
    started = _start(magnitude, scale, length)
    phases = spectrum(started, scale)[: len(magnitude)]
    return _griffin_lim(magnitude, _unit(phases), scale, length, rounds)


def convergence(audio: Float32, magnitude: Float32, scale: MelScale) -> float:
    """How far the sound's magnitudes are from those wanted [frames, bins]: norm of the difference over the norm."""
    frames = min(len(magnitude), 1 + len(audio) // scale.hop)
    apart = np.abs(spectrum(audio, scale))[:frames] - magnitude[:frames]
    return float(np.linalg.norm(apart) / max(float(np.linalg.norm(magnitude[:frames])), 1e-12))


def _griffin_lim(magnitude: Float32, phases: Complex64, scale: MelScale, length: int, rounds: int) -> Float32:
    before = np.zeros_like(phases)
    for _ in range(rounds):
        rebuilt = spectrum(inverse(magnitude * phases, scale, length), scale)[: len(magnitude)]
        if len(rebuilt) < len(magnitude):
            rebuilt = np.pad(rebuilt, ((0, len(magnitude) - len(rebuilt)), (0, 0)))
        phases = _unit(rebuilt - np.float32(_MOMENTUM / (1.0 + _MOMENTUM)) * before)
        before = rebuilt
    return inverse(magnitude * phases, scale, length)


def _start(magnitude: Float32, scale: MelScale, length: int) -> Float32:
    """By slopes, which want a window without zeros around it and at least four hops long."""
    fold = scale.n_fft // scale.window
    whole = scale.n_fft == fold * scale.window and scale.window % 2 == 0 and 4 * scale.hop <= scale.window
    if not whole:
        fold = 1
    return from_slopes(
        np.ascontiguousarray(magnitude[:, ::fold]), Analysis(scale.sample_rate, scale.n_fft // fold, scale.hop), length
    )


def _unit(spectra: Complex64) -> Complex64:
    return np.asarray(spectra / np.maximum(np.abs(spectra), _TINY), dtype=np.complex64)


@functools.lru_cache(maxsize=8)
def _window(scale: MelScale) -> Float32:
    around = scale.n_fft - scale.window
    return np.pad(np.hanning(scale.window + 1)[:-1], (around // 2, around - around // 2)).astype(np.float32)


def _mel(hertz: float, htk: bool) -> float:
    if htk:
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))
    linear = 3.0 * hertz / 200.0
    return float(linear if hertz < _SLANEY_HZ else 15.0 + np.log(hertz / _SLANEY_HZ) / _SLANEY_STEP)


def _hertz(mels: npt.NDArray[np.float64], htk: bool) -> npt.NDArray[np.float64]:
    if htk:
        return np.asarray(700.0 * (10.0 ** (mels / 2595.0) - 1.0))
    return np.asarray(np.where(mels < 15.0, 200.0 * mels / 3.0, _SLANEY_HZ * np.exp(_SLANEY_STEP * (mels - 15.0))))
