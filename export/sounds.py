"""Sound files to learn from: read, checked, mixed to mono and resampled; needs no torch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from .. import DuendeError
from .sound_file import read_samples

Float32 = npt.NDArray[np.float32]

SHORTEST_S, LONGEST_S = 1.0, 300.0
QUIETEST_DBFS = -70.0


def level_dbfs(audio: Float32) -> float:
    """RMS level of samples [samples] against full scale; -200 for silence."""
    return float(10.0 * np.log10(np.mean(audio.astype(np.float64) ** 2) + 1e-20))


def rms_of(audio: Float32) -> float:
    """Root mean square of samples [samples]; 0 of none."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


def load_sound(
    path: Path, sample_rate: int, *, use: str = "a style", longest_s: float = LONGEST_S, samples: int | None = None
) -> Float32:
    """A sound file of any format and rate that libsndfile reads: mono, float32 [samples] at sample_rate.

    use: what it is for, as errors name it. samples: read no more than so many at sample_rate.
    DuendeError for a missing or unreadable file, under 1 s or over longest_s, silence, and samples that are no numbers.
    """
    audio, rate = _checked(path, sample_rate, use, longest_s, samples)
    return _at(audio.mean(axis=1), rate, sample_rate)[:samples]


def load_channels(
    path: Path, sample_rate: int, *, use: str = "a style", longest_s: float = LONGEST_S, samples: int | None = None
) -> Float32:
    """As `load_sound`, with the file's own channels: float32 [samples, channels]."""
    audio, rate = _checked(path, sample_rate, use, longest_s, samples)
    return _at(audio, rate, sample_rate)[:samples]


def _checked(path: Path, sample_rate: int, use: str, longest_s: float, samples: int | None) -> tuple[Float32, int]:
    """A file's samples [samples, channels] and rate."""
    audio, rate = read_samples(path, longest_s if samples is None else samples / sample_rate)
    if samples is not None:
        audio = audio[: -(-samples * rate // sample_rate)]
    if not np.isfinite(audio).all():
        raise DuendeError(f"{path}: holds samples that are not numbers; repair the file first")
    seconds = len(audio) / rate
    if not SHORTEST_S <= seconds <= longest_s:
        raise DuendeError(f"{path}: {seconds:.2f} s long; {use} needs {SHORTEST_S:g} to {longest_s:g} s of sound")
    level = level_dbfs(audio.mean(axis=1))
    if level < QUIETEST_DBFS:
        raise DuendeError(f"{path}: silent ({level:.0f} dBFS); {use} needs sound above {QUIETEST_DBFS:g} dBFS")
    return audio, int(rate)


def _at(audio: Float32, rate: int, sample_rate: int) -> Float32:
    """Resampled along the first axis."""
    made = audio if rate == sample_rate else soxr.resample(audio, rate, sample_rate)
    return np.ascontiguousarray(made, dtype=np.float32)
