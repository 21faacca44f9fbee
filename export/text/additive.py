"""A note from envelopes: partials near the harmonics of a pitch and bands of noise, followed in time (after DDSP).

Envelopes are levels in dB at TIMES: HARMONICS partials, then NOISE bands. Frames lie closer together where a note
begins and where it is let go. What does not change with time, or too fast for the frames, are traits: where partials
really lie, vibrato, flutter, and a second pitch.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.fft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

HELD_S, LENGTH_S = 3.0, 4.0
"""NSynth's notes: let go after 3 s, heard for 4."""

_HELD, _LEFT = 68, 28
FRAMES = _HELD + _LEFT
TIMES = np.concatenate(
    [
        HELD_S * (np.arange(_HELD) / (_HELD - 1)) ** 1.5,
        HELD_S + (LENGTH_S - HELD_S) * ((np.arange(_LEFT) + 1) / _LEFT) ** 1.5,
    ]
)
HARMONICS = 64
FLOOR_DB = -90.0
GROUPS = (0, 1, 2, 4, 8, 16, 32, 64)
"""Limits of the groups of partials that flutter alike."""

MOST_AWAY = 0.45
"""Of the pitch: a partial lies so far from its harmonic at most."""

_SIZE, _HOP = 512, 128
_RISE_S = 0.002
_FLUTTER_HZ = 9.0


def noise_edges() -> Float64:
    """Limits of the noise bands in Hz [NOISE + 1]: evenly spaced on the ERB scale, 50 Hz to 16 kHz."""
    low, high = (21.4 * np.log10(1.0 + 0.00437 * hz) for hz in (50.0, 16000.0))
    return np.asarray((10.0 ** (np.linspace(low, high, NOISE + 1) / 21.4) - 1.0) / 0.00437, dtype=np.float64)


NOISE = 20
EDGES = noise_edges()


def _harmonic() -> Float64:
    return np.zeros(HARMONICS)


def _steady() -> Float64:
    return np.zeros(len(GROUPS) - 1)


@dataclass(frozen=True)
class Envelopes:
    """Levels in dB, full scale 0: harmonics [frames, HARMONICS] (peak of a sine), noise [frames, NOISE] (RMS).

    away: how far each partial lies from its harmonic, in units of the pitch. vibrato: depth in cents, rate in Hz.
    flutter: irregular changes of level, dB (RMS), of each of GROUPS. second: another pitch that sounds along, its ratio
    and level (dB under the first; FLOOR_DB: none).
    """

    harmonics: Float64
    noise: Float64
    away: Float64 = field(default_factory=_harmonic)
    vibrato: tuple[float, float] = (0.0, 5.5)
    flutter: Float64 = field(default_factory=_steady)
    second: tuple[float, float] = (1.25, FLOOR_DB)


def render(envelopes: Envelopes, f0: float, sample_rate: int, seconds: float, rng: np.random.Generator) -> Float32:
    """Audio [samples] of a pitch in Hz. What is at FLOOR_DB or under it is silence, so a decayed note leaves no noise.

    It rises within 2 ms, so that no partial begins with a click. Notes shorter or longer than LENGTH_S are let go a
    second before their end (at half, where that is later); the middle of a longer one is drawn out.
    """
    samples = round(seconds * sample_rate)
    steps = samples // _HOP + 2
    times = _mapped(np.arange(steps) * _HOP / sample_rate, seconds)
    moving = _Moving.of(envelopes, steps, sample_rate, rng)
    audio = _partials(envelopes, times, f0, sample_rate, moving, rng)
    ratio, level = envelopes.second
    if level > -40.0:
        audio += 10.0 ** (level / 20.0) * _partials(envelopes, times, ratio * f0, sample_rate, moving, rng)
    audio += _noise(envelopes.noise, times, sample_rate, rng)[: len(audio)]
    rise = min(samples, round(_RISE_S * sample_rate))
    audio[:rise] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    return audio[:samples].astype(np.float32)


@dataclass(frozen=True)
class _Moving:
    """bend: pitch as a factor [steps]. flutter: level changes in dB of every partial [steps, HARMONICS]."""

    bend: Float64
    flutter: Float64

    @classmethod
    def of(cls, envelopes: Envelopes, steps: int, sample_rate: int, rng: np.random.Generator) -> "_Moving":
        at = np.arange(steps) * _HOP / sample_rate
        depth, rate = envelopes.vibrato
        swing = np.sin(2.0 * np.pi * rate * at) * np.clip((at - 0.15) / 0.5, 0.0, 1.0)
        bend = 2.0 ** (depth * swing / 1200.0)
        white = rng.standard_normal((steps, HARMONICS))
        hz = np.fft.rfftfreq(steps, _HOP / sample_rate)
        shape = (hz > 1.5) / (1.0 + (hz / _FLUTTER_HZ) ** 4)
        slow = scipy.fft.irfft(scipy.fft.rfft(white, axis=0) * shape[:, None], steps, axis=0)
        slow /= np.sqrt(np.mean(slow**2, axis=0)) + 1e-9
        flutter = slow * np.repeat(envelopes.flutter, np.diff(GROUPS))
        return cls(bend, flutter * np.clip(at / 0.1, 0.0, 1.0)[:, None])


def _partials(
    envelopes: Envelopes, times: Float64, f0: float, sample_rate: int, moving: _Moving, rng: np.random.Generator
) -> Float64:
    """The partials of one pitch, summed [steps * hop]."""
    between = np.arange(_HOP) / _HOP
    audio = np.zeros(len(times) * _HOP)
    slide = np.append(moving.bend[1:], moving.bend[-1]) - moving.bend
    phase = 2.0 * np.pi * f0 / sample_rate * np.cumsum((moving.bend[:, None] + slide[:, None] * between).ravel())
    for number in range(HARMONICS):
        place = number + 1 + envelopes.away[number]
        start = rng.uniform(0.0, 2.0 * np.pi)
        if place * f0 >= 0.47 * sample_rate:
            continue
        levels = _gain(np.interp(times, TIMES, envelopes.harmonics[:, number]))
        if levels.max() <= 0.0:
            continue
        levels = levels * 10.0 ** (moving.flutter[:, number] / 20.0)
        ahead = np.append(levels[1:], levels[-1])
        end = int(np.flatnonzero(levels + ahead)[-1]) + 1  # a partial that has died costs nothing
        gains = levels[:end, None] + (ahead - levels)[:end, None] * between
        audio[: end * _HOP] += gains.ravel() * np.sin(place * phase[: end * _HOP] + start)
    return audio


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
