"""The spectral envelope, formants and all, apart from the partials under it."""

import numpy as np
import numpy.typing as npt
import scipy.fft

from ....engine.bands import Bands
from ..spectra import Analysis, stft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

HIGHEST_NOTE_HZ = 400.0
ROUNDS = 24
_RANGE = 8.0  # nepers under a frame's peak at which an envelope rests


def true_envelope(log: Float64, order: int, rounds: int = ROUNDS) -> Float64:
    """The smooth curve on the peaks of log magnitudes [frames, bins], in the same unit.

    The true envelope (Imai and Abe 1979): the cepstrum's first `order` coefficients of the larger of the spectrum and
    the curve found so far, again and again. order: at most half the sample rate over the lowest distance of partials
    that the curve shall not follow. bins: a power of two and one more.
    """
    lifter = np.zeros(2 * (log.shape[1] - 1))
    lifter[: order + 1] = 1.0
    lifter[-order:] = 1.0
    curve = np.asarray(log, dtype=np.float64)
    smooth = curve
    for _ in range(rounds):
        smooth = scipy.fft.rfft(scipy.fft.irfft(curve, axis=1) * lifter, axis=1).real
        curve = np.maximum(curve, smooth)
    return np.asarray(smooth)


def band_envelopes(audio: Float32, bands: Bands, sample_rate: int, n_fft: int, hop: int) -> Float64:
    """True envelopes at the bands' centres, nepers [frames, bands], each frame's mean over the bands 0.

    Frames are centred as those of `spectra.stft`. Silent frames have a flat one.
    """
    magnitude = np.abs(stft(audio, Analysis(sample_rate, n_fft, hop))).astype(np.float64)
    peak = magnitude.max(axis=1, keepdims=True)
    log = np.log(magnitude + np.exp(-_RANGE) * peak + 1e-9)
    curve = true_envelope(log, round(0.5 * sample_rate / HIGHEST_NOTE_HZ))
    at = bands.centres_hz * n_fft / sample_rate
    low = np.floor(at).astype(int)
    drawn = curve[:, low] + (at - low) * (curve[:, low + 1] - curve[:, low])
    return np.asarray(drawn - drawn.mean(axis=1, keepdims=True))
