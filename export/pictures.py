"""Pictures of sounds: stacked log-frequency spectrograms in one PNG, on one time axis."""

import importlib
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from .. import DuendeError

N_FFT, HOP = 2048, 256
LOW_HZ, HIGH_HZ = 40.0, 18000.0
RANGE_DB = 80.0
PICTURE_POOL = 4
_ROWS_PER_OCTAVE = 40
_TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000)


def log_frequency_db(audio: npt.ArrayLike, sample_rate: float, rows: int | None = None) -> npt.NDArray[np.float32]:
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


def style_picture(clip: npt.ArrayLike, sample_rate: float) -> bytes:
    """The spectrogram of a style clip as a small grey PNG: 80 dB from black to white, low frequencies at the bottom.

    128 rows, one pixel per four frames (the loudest), the first 12 s. `read_style_picture` gives decibels back.
    """
    image = _import("PIL.Image")
    audio = np.asarray(clip, dtype=np.float32)[: round(12.0 * sample_rate)]
    decibels = log_frequency_db(audio, sample_rate, rows=128)
    frames = -(-decibels.shape[1] // PICTURE_POOL)
    padded = np.pad(decibels, ((0, 0), (0, frames * PICTURE_POOL - decibels.shape[1])), mode="edge")
    pooled = padded.reshape(len(padded), frames, PICTURE_POOL).max(axis=2)
    grey = np.clip(1.0 + (pooled - pooled.max()) / RANGE_DB, 0.0, 1.0)
    file = io.BytesIO()
    image.fromarray((255.0 * grey[::-1]).round().astype(np.uint8)).save(file, format="png", optimize=True)
    return file.getvalue()


def read_style_picture(path: Path) -> npt.NDArray[np.float32]:
    """Decibels [rows, frames], loudest 0, of a picture by `style_picture`; frames at HOP as in `log_frequency_db`."""
    grey = np.asarray(_import("PIL.Image").open(path), dtype=np.float32) / 255.0
    return np.repeat((grey[::-1] - 1.0) * np.float32(RANGE_DB), PICTURE_POOL, axis=1)


def _import(module: str) -> Any:
    """matplotlib, and Pillow that comes with it, only when a picture is drawn."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DuendeError("a picture needs matplotlib: pip install duende[plot]") from error


def spectrogram_figure(path: str | Path, rows: list[tuple[str, npt.NDArray[np.float32]]], sample_rate: float) -> Path:
    """Write a PNG with one spectrogram per row, top to bottom; returns its path.

    A row is (title, mono audio [samples]) or (title, decibels [rows, frames] of `read_style_picture`). The colours of
    each span 80 dB down from its loudest point. Raises `DuendeError` without matplotlib and ValueError without rows.
    """
    if not rows:
        raise ValueError("rows is empty: give at least one (title, audio)")
    figure_class = _import("matplotlib.figure").Figure
    spectrograms = [audio if audio.ndim == 2 else log_frequency_db(audio, sample_rate) for _, audio in rows]
    lengths = [spectrogram.shape[1] * HOP / sample_rate for spectrogram in spectrograms]
    seconds = max(lengths)
    high_hz = min(HIGH_HZ, 0.45 * sample_rate)
    figure = figure_class(figsize=(12.0, 0.8 + 2.9 * len(rows)), dpi=80, layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, _), decibels, length in zip(axes, rows, spectrograms, lengths, strict=True):
        loudest = float(decibels.max())
        axis.imshow(
            decibels,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            vmin=loudest - RANGE_DB,
            vmax=loudest,
            extent=(0.0, length, np.log2(LOW_HZ), np.log2(high_hz)),
        )
        ticks = [hz for hz in _TICKS_HZ if hz < high_hz]
        axis.set_yticks(np.log2(ticks), [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks])
        axis.set_ylabel("Hz")
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlim(0.0, seconds)
    axes[-1].set_xlabel("seconds")
    target = Path(path)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    # A palette is enough for one colour map and takes a third of the room.
    _import("PIL.Image").open(file).convert("RGB").quantize(256).save(target, optimize=True)
    return target
