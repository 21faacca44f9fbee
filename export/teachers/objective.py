"""What a teacher minimises, common to both forms: a content and a style error of a log spectrogram, and its slope."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """Both errors (the content's already times alpha) and the slope of their sum, float32 [frames, bins]."""

    content: float
    style: float
    gradient: Float32

    @property
    def errors(self) -> dict[str, float]:
        """What a `Step` shows."""
        return {"content": self.content, "style": self.style}

    @property
    def total(self) -> float:
        return self.content + self.style


class Objective(Protocol):
    """A differentiable error of spectrograms of one shape."""

    @property
    def shape(self) -> tuple[int, int]:
        """(frames, bins) of the spectrograms that it judges."""

    def __call__(self, spectrogram: Float32) -> Evaluation:
        """Judge one spectrogram [frames, bins]."""


def weight_deviation(bins: int, filters: int, taps: int) -> float:
    """Standard deviation of random filters, sqrt(2) sqrt(2 / ((bins + filters) taps)) (Ulyanov and Lebedev 2016)."""
    return float(np.sqrt(2.0) * np.sqrt(2.0 / ((bins + filters) * taps)))


def check_lengths(content: Float32, style: Float32, taps: int) -> None:
    """ValueError unless both are [frames, bins] with equal bins and at least `taps` frames."""
    if content.ndim != 2 or style.ndim != 2 or content.shape[1] != style.shape[1]:
        raise ValueError(f"content {content.shape} and style {style.shape} must be [frames, bins] with equal bins")
    if min(len(content), len(style)) < taps:
        raise ValueError(f"{len(content)} and {len(style)} frames: one filter needs {taps}")
