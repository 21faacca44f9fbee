"""How much of what a teacher gains in style by optimising one recording a student keeps when it merely plays it."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import soxr

from .measures import StyleTarget
from .teachers.cnn import fresh_style_error
from .teachers.spectra import Analysis, log_magnitudes, stft
from .teachers.targets import teacher_targets

Float32 = npt.NDArray[np.float32]
Measure = Literal["pitch-blind", "pitch-bound"]

FRESH_SEEDS = (990001, 990002)
RMS = 0.1


def kept_share(
    takes: Sequence[Float32],
    outputs: Sequence[Float32],
    clip: Float32,
    sample_rate: int,
    teacher: str,
    measure: Measure,
) -> float:
    """(error of the take - error of the output) / (error of the take - error of the teacher's sound), mean over takes.

    takes, outputs: mono [samples] at sample_rate, aligned. measure: "pitch-blind" is the style distance of
    `measures.StyleTarget`, "pitch-bound" the error of Gram matrices of 4096 filters that no teacher has used.
    1 is as much as the teacher, 0 nothing, negative away from the style.
    """
    error = _blind(clip, sample_rate) if measure == "pitch-blind" else _bound(clip, sample_rate)
    shares = []
    for take, output in zip(takes, outputs, strict=True):
        (sound,) = teacher_targets([take], clip, sample_rate, teacher, workers=1)
        before = error(take)
        shares.append((before - error(output)) / max(before - error(sound), 1e-9))
    return float(np.mean(shares))


def _blind(clip: Float32, sample_rate: int) -> Callable[[Float32], float]:
    target = StyleTarget(clip, sample_rate)
    return lambda audio: target.distances(audio)[0]


def _bound(clip: Float32, sample_rate: int) -> Callable[[Float32], float]:
    analysis = Analysis()

    def spectrogram(audio: Float32) -> Float32:
        level = np.float32(RMS / np.sqrt(np.mean(np.square(audio, dtype=np.float64)) + 1e-12))
        low = soxr.resample(audio * level, sample_rate, analysis.sample_rate)
        return log_magnitudes(stft(np.asarray(low, dtype=np.float32), analysis), analysis)

    wanted = spectrogram(clip)
    return lambda audio: float(np.mean([fresh_style_error(spectrogram(audio), wanted, seed) for seed in FRESH_SEEDS]))
