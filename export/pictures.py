"""Pictures of sounds: stacked log-frequency spectrograms in one PNG, on one time axis and one scale."""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft

from .. import DuendeError

N_FFT, HOP = 2048, 256
LOW_HZ, HIGH_HZ = 40.0, 18000.0
RANGE_DB = 80.0
_ROWS_PER_OCTAVE = 40
_TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000)


def log_frequency_db(
    audio: npt.ArrayLike, sample_rate: float, rows: int | None = None
) -> npt.NDArray[np.float32]:
    """Hann spectrogram of mono audio [samples] in dB, a full-scale sine reading 0: float32 [rows, frames].

    Rows are log-spaced from 40 Hz to 18 kHz (or 0.45 of the rate); frames of 2048 samples every 256, the
    first centred on sample 0. A row wider than a bin holds the loudest of its bins, a narrower one is
    interpolated.
    """
    samples = np.asarray(audio, dtype=np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"audio has shape {samples.shape}: give one channel with at least one sample")
    padded = np.pad(samples, (N_FFT // 2, N_FFT // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    magnitude = np.abs(scipy.fft.rfft(frames * window, axis=1)).T * np.float32(4.0 / N_FFT)
    decibels = 20.0 * np.log10(magnitude + np.float32(1e-7))
    high_hz = min(HIGH_HZ, 0.45 * sample_rate)
    count = rows or round(np.log2(high_hz / LOW_HZ) * _ROWS_PER_OCTAVE)
    edges = LOW_HZ * (high_hz / LOW_HZ) ** (np.arange(count + 1) / count) * N_FFT / sample_rate
    out = np.empty((count, decibels.shape[1]), dtype=np.float32)
    for row, (low, high) in enumerate(itertools.pairwise(edges)):
        first, last = int(np.ceil(low)), int(np.ceil(high))
        if last > first:
            out[row] = decibels[first:last].max(axis=0)
        else:
            below = int(low)
            part = np.float32((low + high) / 2.0 - below)
            out[row] = (1.0 - part) * decibels[below] + part * decibels[below + 1]
    return out


def spectrogram_figure(
    path: str | Path, rows: list[tuple[str, npt.NDArray[np.float32]]], sample_rate: float
) -> Path:
    """Write a PNG with one spectrogram per (title, mono audio [samples]), top to bottom; returns its path.

    The colours span 80 dB down from the loudest point of all rows. Raises `DuendeError` without matplotlib
    and ValueError without rows.
    """
    if not rows:
        raise ValueError("rows is empty: give at least one (title, audio)")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DuendeError("a picture needs matplotlib: pip install duende[plot]") from error

    spectrograms = [log_frequency_db(audio, sample_rate) for _, audio in rows]
    loudest = max(float(x.max()) for x in spectrograms)
    seconds = max(len(audio) for _, audio in rows) / sample_rate
    high_hz = min(HIGH_HZ, 0.45 * sample_rate)
    figure = Figure(figsize=(12.0, 0.8 + 2.9 * len(rows)), dpi=100, layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, audio), decibels in zip(axes, rows, spectrograms, strict=True):
        image = axis.imshow(
            decibels,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            vmin=loudest - RANGE_DB,
            vmax=loudest,
            extent=(0.0, len(audio) / sample_rate, np.log2(LOW_HZ), np.log2(high_hz)),
        )
        ticks = [hz for hz in _TICKS_HZ if hz < high_hz]
        axis.set_yticks(np.log2(ticks), [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks])
        axis.set_ylabel("Hz")
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlim(0.0, seconds)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=list(axes), label="dB (full-scale sine = 0)", aspect=15 * len(rows), pad=0.01)
    target = Path(path)
    figure.savefig(target)
    return target
