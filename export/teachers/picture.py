"""The picture of a transfer: errors and correlation over the iterations, spectrograms of content, style and result."""

import importlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ..pictures import HIGH_HZ, HOP, LOW_HZ, RANGE_DB, log_frequency_db
from .resume import error_names
from .teacher import Step

Float32 = npt.NDArray[np.float32]

LONGEST_S = 30.0
_TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000)


def load_matplotlib() -> Any:
    """matplotlib.figure, or DuendeError where it is not installed: ask before a long search, not after it."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise DuendeError("a picture needs matplotlib: pip install duende[plot]") from error


def transfer_picture(sounds: Sequence[tuple[str, Float32]], history: Sequence[Step], sample_rate: int) -> bytes:
    """A PNG: errors over the iterations (logarithmic), correlation of content and result, where there are any, then a
    log-frequency spectrogram (80 dB) of each (title, mono audio), of the first 30 s, on one time axis.

    Raises DuendeError without matplotlib.
    """
    related = any(math.isfinite(step.correlation) for step in history)
    charts = (1 if history else 0) + related
    rows = charts + len(sounds)
    figure = load_matplotlib().Figure(figsize=(12.0, 2.6 * rows), dpi=80, layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    if history:
        _errors(axes[0], history)
    if related:
        _correlation(axes[1], history)
    _spectrograms(axes[charts:], sounds, sample_rate)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _errors(axis: Any, history: Sequence[Step]) -> None:
    for name in error_names(history):
        told = [(step.iteration, step.errors[name]) for step in history if name in step.errors]
        axis.plot([one for one, _ in told], [max(error, 1e-12) for _, error in told], label=name)
    # The content's error starts at nothing where the search starts from the content: that point does not count.
    largest = max(1e-9, *(error for step in history for error in step.errors.values()), 0.0)
    least = min((value for step in history[1:] for value in step.errors.values()), default=0.0)
    axis.set_yscale("log")
    axis.set_ylim(0.5 * max(least, 1e-5 * largest), 2.0 * largest)
    axis.set_xlabel("iteration")
    axis.set_title("errors, as weighted by the system", loc="left", fontsize=11)
    if error_names(history):
        axis.legend(loc="upper right")


def _correlation(axis: Any, history: Sequence[Step]) -> None:
    told = [step for step in history if math.isfinite(step.correlation)]
    axis.plot([step.iteration for step in told], [step.correlation for step in told])
    axis.set_ylim(min(0.0, *(step.correlation for step in told)) - 0.02, 1.02)
    axis.set_xlabel("iteration")
    axis.set_title("correlation of content and result (log magnitudes)", loc="left", fontsize=11)


def _spectrograms(axes: Sequence[Any], sounds: Sequence[tuple[str, Float32]], sample_rate: int) -> None:
    top_hz = min(HIGH_HZ, 0.45 * sample_rate)
    ticks = [hz for hz in _TICKS_HZ if hz < top_hz]
    shown = [(title, audio[: round(LONGEST_S * sample_rate)]) for title, audio in sounds]
    seconds = max(len(audio) for _, audio in shown) / sample_rate
    for axis, (title, audio) in zip(axes, shown, strict=True):
        decibels = log_frequency_db(audio, sample_rate)
        loudest = float(decibels.max())
        axis.imshow(
            decibels,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            vmin=loudest - RANGE_DB,
            vmax=loudest,
            extent=(0.0, decibels.shape[1] * HOP / sample_rate, np.log2(LOW_HZ), np.log2(top_hz)),
        )
        axis.set_yticks(np.log2(ticks), [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks])
        axis.set_xlim(0.0, seconds)
        axis.set_ylabel("Hz")
        axis.set_title(title, loc="left", fontsize=11)
    axes[-1].set_xlabel("seconds")
