"""Takes for the tests of capturing: the test signal and what small made-up amplifiers make of it."""

import functools

import numpy as np
import numpy.typing as npt
from scipy import signal

from duende.export.capture.signal import Layout, layout, make_signal

Samples = npt.NDArray[np.float32]

RATE = 48000
SECONDS = 30


@functools.cache
def the_signal() -> tuple[Samples, Layout]:
    """The shortest test signal, and where what is in it."""
    return make_signal(SECONDS), layout(SECONDS)


def amplifier(dry: Samples, drive: float = 6.0) -> Samples:
    """A preamplifier that bends, and a speaker: minimum phase, so without any delay of its own."""
    bent = np.tanh(drive * signal.lfilter(*signal.butter(1, 120.0, "high", fs=RATE), dry))
    return np.asarray(0.4 * signal.lfilter(*signal.butter(2, 5000.0, fs=RATE), bent), dtype=np.float32)


def delayed(samples: Samples, delay: float) -> Samples:
    """Samples later by any number of samples, below 0 earlier; what leaves at an end is gone."""
    size = len(samples) + 8192
    spectrum = np.fft.rfft(samples, size) * np.exp(-2j * np.pi * np.fft.rfftfreq(size) * delay)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(samples)], dtype=np.float32)


def played(seconds: float, seed: int = 5) -> Samples:
    """A DI that is not the test signal: notes with rests, float32 [seconds * RATE]."""
    rng = np.random.default_rng(seed)
    out = np.zeros(round(seconds * RATE))
    for start in rng.uniform(0.0, seconds, round(3 * seconds)):
        first = round(start * RATE)
        time = np.arange(min(len(out) - first, RATE)) / RATE
        hertz, level = 82.4 * 2.0 ** (rng.integers(0, 30) / 12.0), rng.uniform(0.03, 0.25)
        note = sum(np.sin(2 * np.pi * k * hertz * time) * np.exp(-(2 + k) * time) / k for k in range(1, 14))
        out[first : first + len(time)] += level * note * np.minimum(1.0, time / 0.001)
    return np.asarray(out + 1e-4 * rng.standard_normal(len(out)), dtype=np.float32)
