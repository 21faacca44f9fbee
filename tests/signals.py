"""Test signals and the one measure of likeness that the tests share.

All signals are mono float32 ``[frames]``, full scale +-1.0; ``x[:, np.newaxis]`` makes a one-channel block.
"""

import numpy as np
import numpy.typing as npt
from scipy import signal

Signal = npt.NDArray[np.float32]

RATE_HZ = 48_000


def amplitude(level_dbfs: float) -> float:
    """Return ``level_dbfs`` as a linear factor: 0 dBFS is 1.0, -20 dBFS is 0.1."""
    return float(10.0 ** (level_dbfs / 20.0))


def tone(
    frequency_hz: float,
    frames: int,
    *,
    rate_hz: float = RATE_HZ,
    level_dbfs: float = -6.0,
    fade_frames: int = 0,
) -> Signal:
    """Return a sine, float32 ``[frames]``, that starts at phase 0 with its peak at ``level_dbfs``.

    ``fade_frames`` at each end rise and fall by half a Hann window, to keep a filter's transient out of it.
    Raises ValueError if the frequency is not below half the rate or the fades do not fit.
    """
    if not 0.0 <= frequency_hz < rate_hz / 2:
        raise ValueError(f"frequency_hz={frequency_hz} must be in 0..{rate_hz / 2} (half of rate_hz)")
    if not 0 <= 2 * fade_frames <= frames:
        raise ValueError(f"fade_frames={fade_frames} must be in 0..{frames // 2} (half of frames)")
    x: npt.NDArray[np.float64] = amplitude(level_dbfs) * np.sin(
        2.0 * np.pi * frequency_hz / rate_hz * np.arange(frames)
    )
    if fade_frames:
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade_frames) + 0.5) / fade_frames)
        x[:fade_frames] *= rise
        x[-fade_frames:] *= rise[::-1]
    return x.astype(np.float32)


def impulse(frames: int, *, at: int = 0, level: float = 1.0) -> Signal:
    """Return silence, float32 ``[frames]``, with one sample of ``level`` (linear) at index ``at``.

    Raises ValueError if ``at`` is not in ``0..frames - 1``.
    """
    if not 0 <= at < frames:
        raise ValueError(f"at={at} must be in 0..{frames - 1}")
    x = np.zeros(frames, dtype=np.float32)
    x[at] = level
    return x


def noise(rng: np.random.Generator, frames: int, *, level_dbfs: float = -12.0) -> Signal:
    """Return white Gaussian noise, float32 ``[frames]``, with an RMS of ``level_dbfs`` (0 dBFS: RMS 1.0)."""
    return (amplitude(level_dbfs) * rng.standard_normal(frames)).astype(np.float32)


def snr_db(reference: npt.ArrayLike, test: npt.ArrayLike) -> float:
    """Return the energy of ``reference`` over the energy of ``reference - test``, in dB.

    Both of one shape, any shape, summed in float64. ``inf`` if equal; ``-inf`` if ``test`` has a NaN or an
    infinity, or differs from a silent ``reference``. Raises ValueError if shapes differ, or if they are empty
    or ``reference`` is not finite, because then nothing would be compared.
    """
    wanted = np.asarray(reference, dtype=np.float64)
    got = np.asarray(test, dtype=np.float64)
    if wanted.shape != got.shape:
        raise ValueError(f"shapes differ: reference {wanted.shape}, test {got.shape}")
    if wanted.size == 0 or not np.isfinite(wanted).all():
        raise ValueError(f"reference of shape {wanted.shape} must have samples, all finite")
    if not np.isfinite(got).all():
        return -np.inf
    error = float(np.sum((wanted - got) ** 2))
    if error == 0.0:
        return np.inf
    energy = float(np.sum(wanted**2))
    return -np.inf if energy == 0.0 else 10.0 * float(np.log10(energy / error))


def interrupted_tone(rng: np.random.Generator, frames: int) -> Signal:
    """Return a tone of G in soft noise, float32 ``[frames, 1]``, silent from a third to half of the way."""
    samples = noise(rng, frames, level_dbfs=-40.0) + tone(196.0, frames, level_dbfs=-14.0)
    samples[frames // 3 : frames // 2] = 0.0
    return samples[:, np.newaxis]


def picked_notes(seconds: float, seed: int = 3) -> Signal:
    """Return notes with ten falling harmonics, one every 0.25 s."""
    rng = np.random.default_rng(seed)
    out = np.zeros(round(seconds * RATE_HZ))
    for start in range(0, len(out), RATE_HZ // 4):
        time = np.arange(min(len(out) - start, RATE_HZ)) / RATE_HZ
        hz = 110.0 * 2.0 ** (rng.integers(0, 24) / 12.0)
        out[start : start + len(time)] += np.exp(-5.0 * time) * sum(
            np.sin(2.0 * np.pi * harmonic * hz * time) / harmonic for harmonic in range(1, 11)
        )
    return np.asarray(0.08 * out, dtype=np.float32)


def resting_guitar(seconds: float) -> Signal:
    """Return a guitar that nobody plays: noise at -60 dBFS."""
    return noise(np.random.default_rng(8), round(seconds * RATE_HZ), level_dbfs=-60.0)


def bright_clip() -> Signal:
    """Return 2 s of a steady bright tone of B with some noise."""
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    rich = sum(np.sin(2.0 * np.pi * 247.0 * harmonic * time + harmonic) for harmonic in range(1, 25))
    return np.asarray(0.03 * rich + 0.003 * np.random.default_rng(5).standard_normal(len(time)), dtype=np.float32)


def above_5_khz(samples: Signal) -> npt.NDArray[np.float64]:
    """What a linear-phase high-pass leaves of samples at RATE_HZ: of a low tone, its clicks."""
    high_pass = signal.firwin(1023, 5000.0, window=("kaiser", 12.0), pass_zero=False, fs=RATE_HZ)
    return np.asarray(signal.oaconvolve(samples.astype(np.float64), high_pass, mode="same"))


def click_dbfs(samples: Signal, start: int) -> tuple[float, float]:
    """Root mean square and peak above 5 kHz from start until 150 ms later, in dBFS."""
    clicks = above_5_khz(samples)[start - 600 : start + int(0.15 * RATE_HZ)]
    rms, peak = float(np.sqrt(np.mean(clicks**2))), float(np.abs(clicks).max())
    return 20.0 * float(np.log10(rms + 1e-12)), 20.0 * float(np.log10(peak + 1e-12))
