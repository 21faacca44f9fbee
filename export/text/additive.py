"""A note from envelopes: harmonics of one pitch and bands of noise, both followed through time (after DDSP).

Envelopes are levels in dB at TIMES: HARMONICS partials, then NOISE bands. Frames lie closer together at the attack.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

HELD_S, LENGTH_S = 3.0, 4.0
"""NSynth's notes: let go after 3 s, heard for 4."""

FRAMES = 80
TIMES = LENGTH_S * (np.arange(FRAMES) / (FRAMES - 1)) ** 1.4
HARMONICS = 64
FLOOR_DB = -90.0
_SIZE, _HOP = 1024, 256


def noise_edges() -> Float64:
    """Limits of the noise bands in Hz [NOISE + 1]: evenly spaced on the ERB scale, 50 Hz to 16 kHz."""
    low, high = (21.4 * np.log10(1.0 + 0.00437 * hz) for hz in (50.0, 16000.0))
    return np.asarray((10.0 ** (np.linspace(low, high, NOISE + 1) / 21.4) - 1.0) / 0.00437, dtype=np.float64)


NOISE = 20
EDGES = noise_edges()


@dataclass(frozen=True)
class Envelopes:
    """Levels in dB, full scale 0: harmonics [frames, HARMONICS] (peak of a sine), noise [frames, NOISE] (RMS)."""

    harmonics: Float64
    noise: Float64


def render(envelopes: Envelopes, f0: float, sample_rate: int, seconds: float, rng: np.random.Generator) -> Float32:
    """Audio [samples] of a pitch in Hz. What is at FLOOR_DB or under it is silence, so a decayed note leaves no noise.

    Notes shorter or longer than LENGTH_S are let go a second before their end (at half, where that is later); the
    middle of a longer one is drawn out.
    """
    samples = round(seconds * sample_rate)
    steps = samples // _HOP + 2
    times = _mapped(np.arange(steps) * _HOP / sample_rate, seconds)
    audio = np.zeros(steps * _HOP)
    phase = 2.0 * np.pi * f0 / sample_rate * np.arange(len(audio))
    between = np.arange(_HOP) / _HOP
    for number in range(HARMONICS):
        hz = (number + 1) * f0
        if hz >= 0.47 * sample_rate:
            break
        start = rng.uniform(0.0, 2.0 * np.pi)
        levels = _gain(np.interp(times, TIMES, envelopes.harmonics[:, number]))
        if levels.max() <= 0.0:
            continue
        ahead = np.append(levels[1:], levels[-1])
        gains = levels[:, None] + (ahead - levels)[:, None] * between
        audio += gains.ravel() * np.sin((number + 1) * phase + start)
    audio[: steps * _HOP] += _noise(envelopes.noise, times, sample_rate, rng)[: steps * _HOP]
    return audio[:samples].astype(np.float32)


def _mapped(times: Float64, seconds: float) -> Float64:
    """Where in a note of LENGTH_S a moment of one of `seconds` lies."""
    held = max(seconds - (LENGTH_S - HELD_S), 0.5 * seconds)
    if held <= HELD_S:
        return np.where(times < held, times, HELD_S + (times - held) * (LENGTH_S - HELD_S) / (seconds - held))
    knots = ([0.0, 1.0, held, seconds], [0.0, 1.0, HELD_S, LENGTH_S])
    return np.asarray(np.interp(times, *knots), dtype=np.float64)


def _gain(level_db: Float64) -> Float64:
    """Linear gain, with a soft end at the floor."""
    return np.asarray(np.maximum(10.0 ** (level_db / 20.0) - 10.0 ** (FLOOR_DB / 20.0), 0.0), dtype=np.float64)


def _noise(levels: Float64, times: Float64, sample_rate: int, rng: np.random.Generator) -> Float64:
    """White noise shaped frame by frame, overlap-added with a Hann window."""
    bands = [np.interp(times, TIMES, levels[:, band]) for band in range(NOISE)]
    gains = _gain(np.stack(bands, axis=1))
    hz = np.fft.rfftfreq(_SIZE, 1.0 / sample_rate)
    member = np.searchsorted(EDGES, hz) - 1
    inside = (member >= 0) & (member < NOISE)
    share = np.bincount(member[inside], minlength=NOISE) / (_SIZE / 2)
    # White noise of variance 1 has in a band the power `share`: a wanted RMS divided by its root is the gain.
    per_bin = np.zeros((len(times), len(hz)))
    scale = 1.0 / np.sqrt(np.maximum(share, 1e-6)) * (share > 0)
    per_bin[:, inside] = (gains * scale)[:, member[inside]]
    window = np.sqrt(np.hanning(_SIZE + 1)[:-1])
    white = rng.standard_normal(len(times) * _HOP + _SIZE)
    frames = np.lib.stride_tricks.sliding_window_view(white, _SIZE)[::_HOP][: len(times)]
    shaped = scipy.fft.irfft(scipy.fft.rfft(frames * window, axis=1) * per_bin, _SIZE, axis=1) * window
    out = np.zeros(len(times) * _HOP + _SIZE)
    for place, frame in enumerate(shaped):
        out[place * _HOP : place * _HOP + _SIZE] += frame
    # Hann at a hop of a quarter adds up to 2; a frame's middle lies half a window after its start.
    return out[_SIZE // 2 :] / 2.0
