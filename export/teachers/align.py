"""A style brought to the content's tempo and key before its statistics are taken; left as it is where none is found."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..librosa_import import load_librosa

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

HOP = 256
FEWEST_BEATS = 4
LEAST_LIKENESS = 0.3


@dataclass(frozen=True)
class Aligned:
    """The style [samples], and what was done in words."""

    audio: Float32
    said: str


def tempo_of(audio: Float32, sample_rate: int) -> float | None:
    """Beats per minute of mono audio [samples], from the beats' mean distance; None where fewer than four are found."""
    librosa = load_librosa("finding the tempo", beats=True)
    guess, beats = librosa.beat.beat_track(y=audio, sr=sample_rate, hop_length=HOP, units="time", trim=False)
    if len(beats) < FEWEST_BEATS or not float(np.ravel(guess)[0]) > 0.0:
        return None
    slope = float(np.polyfit(np.arange(len(beats)), np.asarray(beats, dtype=np.float64), 1)[0])
    return 60.0 / slope


def to_tempo(style: Float32, content: Float32, sample_rate: int) -> Aligned:
    """The style stretched to the content's tempo, its double or half, whichever takes the least stretching."""
    own, wanted = tempo_of(style, sample_rate), tempo_of(content, sample_rate)
    if own is None or wanted is None:
        which = "content" if wanted is None else "style"
        return Aligned(style, f"tempo: no beat was found in the {which}; the style keeps its own")
    rate = wanted / own
    rate *= 2.0 ** -round(math.log2(rate))
    said = f"tempo: content {wanted:.1f}, style {own:.1f} beats per minute; style played at {rate:.3f} of its speed"
    if abs(rate - 1.0) < 0.005:
        return Aligned(style, said.partition(";")[0] + "; left as it is")
    made = load_librosa("bringing a style to a tempo").effects.time_stretch(style, rate=rate)
    return Aligned(np.ascontiguousarray(made, dtype=np.float32), said)


def chroma_of(audio: Float32, sample_rate: int) -> Float64:
    """Strength of the twelve pitch classes, C first: float64 [12], mean 0 and norm 1; zeros where all are alike."""
    librosa = load_librosa("finding the key")
    harmonic = librosa.effects.harmonic(audio)
    power = librosa.feature.chroma_stft(y=harmonic, sr=sample_rate, n_fft=8192, hop_length=2048, norm=None, tuning=0.0)
    found = np.asarray(np.sqrt(power).mean(axis=1), dtype=np.float64)
    found -= found.mean()
    norm = float(np.linalg.norm(found))
    return found / norm if norm > 1e-9 else np.zeros(12)


def key_shift(style: Float64, content: Float64) -> tuple[int, float]:
    """(semitones up, -5 to 6, that bring the style's chroma nearest to the content's; their cosine then)."""
    likeness = [float(np.roll(style, shift) @ content) for shift in range(12)]
    # Among equals, the smallest shift.
    order = sorted(range(12), key=lambda shift: (-round(likeness[shift], 6), min(shift, 12 - shift)))
    best = order[0]
    return (best if best <= 6 else best - 12), likeness[best]


def to_key(style: Float32, content: Float32, sample_rate: int) -> Aligned:
    """The style shifted by the semitones that bring its pitch classes nearest to the content's."""
    shift, likeness = key_shift(chroma_of(style, sample_rate), chroma_of(content, sample_rate))
    if likeness < LEAST_LIKENESS:
        return Aligned(style, f"key: the pitch classes have nothing in common (likeness {likeness:.2f}); left as it is")
    if shift == 0:
        return Aligned(style, f"key: as it is, likeness {likeness:.2f}")
    made = load_librosa("bringing a style to a key").effects.pitch_shift(style, sr=sample_rate, n_steps=shift)
    said = f"key: style shifted by {shift:+d} semitones, likeness {likeness:.2f}"
    return Aligned(np.ascontiguousarray(made, dtype=np.float32), said)
