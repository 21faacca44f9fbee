"""The picture of a transfer: errors over the iterations above the spectrograms of content, style and result."""

import importlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ..pictures import HIGH_HZ, HOP, LOW_HZ, RANGE_DB, log_frequency_db
from .teacher import Step

Float32 = npt.NDArray[np.float32]

_TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000)


def load_matplotlib() -> Any:
    """matplotlib.figure, or DuendeError where it is not installed: ask before a long search, not after it."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise DuendeError("a picture needs matplotlib: pip install duende[plot]") from error


def transfer_picture(sounds: Sequence[tuple[str, Float32]], history: Sequence[Step], sample_rate: int) -> bytes:
    """A PNG: both errors over the iterations, then a log-frequency spectrogram (80 dB) of each (title, mono audio).

    Raises DuendeError without matplotlib.
    """
    figure = load_matplotlib().Figure(figsize=(12.0, 2.6 * (1 + len(sounds))), dpi=80, layout="constrained")
    axes = figure.subplots(1 + len(sounds), 1, squeeze=False)[:, 0]
    iterations = [step.iteration for step in history]
    for name in history[0].errors:
        axes[0].plot(iterations, [max(step.errors[name], 1e-6) for step in history], label=name)
    # The content's error starts at nothing where the search starts from the content: that point does not count.
    largest = max(1e-5, *(max(step.errors.values()) for step in history))
    least = min((min(step.errors.values()) for step in history[1:]), default=0.0)
    axes[0].set_yscale("log")
    axes[0].set_ylim(0.5 * max(least, 1e-5 * largest), 2.0 * largest)
    axes[0].set_xlabel("iteration")
    axes[0].set_title("errors (content times alpha)", loc="left", fontsize=11)
    axes[0].legend(loc="upper right")
    top_hz = min(HIGH_HZ, 0.45 * sample_rate)
    ticks = [hz for hz in _TICKS_HZ if hz < top_hz]
    for axis, (title, audio) in zip(axes[1:], sounds, strict=True):
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
        axis.set_ylabel("Hz")
        axis.set_title(title, loc="left", fontsize=11)
    axes[-1].set_xlabel("seconds")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
