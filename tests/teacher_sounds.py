"""What the offline systems are tried on: notes that die away to play, a bright tone and a hiss as styles."""

from typing import Any

import numpy as np
import numpy.typing as npt

from duende.export.teachers.teacher import Job, StyleSound
from signals import noise, tone

Float32 = npt.NDArray[np.float32]


def plucks(rate: int, seconds: float = 0.7, notes: tuple[float, ...] = (196.0, 247.0, 330.0)) -> Float32:
    """Notes that begin at once and die away, over a little noise."""
    rng = np.random.default_rng(5)
    out = 1e-4 * rng.standard_normal(round(seconds * rate))
    for index, hertz in enumerate(notes):
        start = 0.08 + index * (seconds - 0.1) / len(notes)
        t = np.arange(len(out)) / rate - start
        body = sum(np.sin(2.0 * np.pi * k * hertz * t) / k for k in range(1, 9))
        out += np.where(t >= 0.0, body * np.exp(-8.0 * np.maximum(t, 0.0)), 0.0)
    return np.asarray(0.3 * out / np.abs(out).max(), dtype=np.float32)


def bright(rate: int, seconds: float = 0.7) -> Float32:
    """A held note with a bright, noisy spectrum."""
    rng = np.random.default_rng(6)
    t = np.arange(round(seconds * rate)) / rate
    held = sum(np.sin(2.0 * np.pi * k * 294.0 * t) for k in range(1, 20))
    return np.asarray(0.02 * held + 0.05 * rng.standard_normal(len(t)), dtype=np.float32)


def dark(rate: int, notes: tuple[float, ...] = (147.0, 196.0, 110.0)) -> Float32:
    """Sines of 0.4 s that die away, one after the other."""
    length = round(0.4 * rate)
    fall = np.exp(-5.0 * np.arange(length) / length).astype(np.float32)
    return np.concatenate([tone(hz, length, rate_hz=rate) * fall for hz in notes])


def hiss(rate: int, seconds: float = 1.0) -> Float32:
    """White noise."""
    return noise(np.random.default_rng(5), round(seconds * rate), level_dbfs=-20.0)


def job_of(content: Float32, style: Float32, **more: Any) -> Job:
    """One content, one style."""
    return Job(content, (StyleSound(style),), **more)
