"""What the text-audio embedding hears of a sound: levels of mel bands in a few stretches of time."""

import itertools

import numpy as np
import numpy.typing as npt
import scipy.fft
import soxr

from .additive import LENGTH_S

Float32 = npt.NDArray[np.float32]

RATE, SIZE, HOP = 16000, 1024, 256
MELS = 48
STRETCHES = (0.0, 0.03, 0.08, 0.2, 0.45, 0.9, 1.6, 2.4, 3.0, 3.3, 4.0)
"""Their limits in s; the last begins where NSynth's notes are let go."""
FEATURES = MELS * (2 * (len(STRETCHES) - 1)) + 8
_RANGE_DB = 70.0
_BEATS = (1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 8.0, 10.0, 14.0)


def mel_matrix() -> Float32:
    """Triangular filters [MELS, bins], evenly spaced on O'Shaughnessy's mel scale, 40 Hz to 8 kHz, their peaks 1."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (40.0, 0.5 * RATE))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, MELS + 2) / 2595.0) - 1.0)
    hz = np.fft.rfftfreq(SIZE, 1.0 / RATE)
    rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)


MEL = mel_matrix()


def features_of(audio: Float32, sample_rate: int) -> Float32:
    """Features [FEATURES] of a sound [samples]; level does not matter, what lies behind 4 s is not heard.

    Of every band and stretch the mean level and its change within (units of 20 dB, 70 dB under the loudest are the
    floor); then the modulation of the whole level at 8 ranges of rate, 1.5 to 14 Hz.
    """
    if sample_rate != RATE:
        audio = soxr.resample(audio, sample_rate, RATE).astype(np.float32)
    count = round(LENGTH_S * RATE) // HOP
    padded = np.zeros(count * HOP + SIZE, dtype=np.float32)
    kept = audio[: len(padded) - SIZE // 2]
    padded[SIZE // 2 : SIZE // 2 + len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::HOP][:count]
    power = np.abs(scipy.fft.rfft(frames * np.hanning(SIZE).astype(np.float32), axis=1)) ** 2
    bands = power @ MEL.T
    loudest = max(float(bands.max()), 1e-12)
    level = np.maximum(10.0 * np.log10(bands / loudest + 1e-12), -_RANGE_DB) / 20.0
    parts = []
    for start, end in itertools.pairwise(STRETCHES):
        piece = level[round(start * RATE / HOP) : max(round(end * RATE / HOP), round(start * RATE / HOP) + 1)]
        parts += [piece.mean(axis=0), piece.std(axis=0)]
    whole = level.max(axis=1)[: round(3.0 * RATE / HOP)]
    spectrum = np.abs(np.fft.rfft((whole - whole.mean()) * np.hanning(len(whole)))) / len(whole)
    rates = np.fft.rfftfreq(len(whole), HOP / RATE)
    beats = [spectrum[(rates >= low) & (rates < high)].max() for low, high in itertools.pairwise(_BEATS)]
    return np.concatenate([*parts, 10.0 * np.array(beats)]).astype(np.float32)
