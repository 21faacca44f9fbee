"""A forging told to another program: one JSON object per line, with losses and small pictures of the sound.

    {"event": "style", "rows": 64, "frames": 180, "seconds": 6.0, "picture": "..."}     the recording's spectrogram
    {"event": "doing", "text": "hearing the content"}
    {"event": "step", "step": 21, "steps": 480, "seconds": 12.3, "losses": {"gram": 0.8, ...}}
    {"event": "sound", "step": 21, "rows": 64, "frames": 96, "seconds": 3.1, "picture": "..."}  what it plays by now
    {"event": "notice", "text": "..."}
    {"event": "done", "preset": "cello", "seconds": 171.0}

A picture is base64 of rows * frames bytes, highest row first: 0 is 80 dB below the loudest, 255 the loudest.
"""

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .pictures import HOP, RANGE_DB, log_frequency_db

if TYPE_CHECKING:
    from .distill import Progress

ROWS = 64
POOL = 3
"""Columns of the spectrogram in one of the picture."""
STYLE_S = 6.0

Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]


class Lines:
    """Writes what happens, a line each. write: is given each line, with its end."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def say(self, text: str) -> None:
        """What is being done besides training."""
        self._line({"event": "doing", "text": text})

    def style(self, clip: npt.NDArray[np.float32], sample_rate: int) -> None:
        """The recording [samples] that is learned from; its first seconds are shown."""
        self._line({"event": "style", **picture(clip[: round(STYLE_S * sample_rate)], sample_rate)})

    def step(self, progress: "Progress", sample_rate: int) -> None:
        """A step of training."""
        losses: dict[str, Json] = {name: round(value, 5) for name, value in progress.losses.items()}
        done: dict[str, Json] = {"step": progress.step, "steps": progress.steps, "seconds": round(progress.seconds, 2)}
        self._line({"event": "step", **done, "losses": losses})
        if progress.sound is not None:
            self._line({"event": "sound", "step": progress.step, **picture(progress.sound, sample_rate)})

    def notice(self, text: str) -> None:
        """Something to know."""
        self._line({"event": "notice", "text": text})

    def done(self, preset: str, seconds: float) -> None:
        """The preset is in the library."""
        self._line({"event": "done", "preset": preset, "seconds": round(seconds, 1)})

    def _line(self, content: dict[str, Json]) -> None:
        self._write(json.dumps(content) + "\n")


def picture(audio: npt.NDArray[np.float32], sample_rate: int) -> dict[str, Json]:
    """A small spectrogram of samples [samples], as this module's lines have it."""
    decibels = log_frequency_db(audio, sample_rate, rows=ROWS)
    frames = -(-decibels.shape[1] // POOL)
    padded = np.pad(decibels, ((0, 0), (0, frames * POOL - decibels.shape[1])), mode="edge")
    pooled = padded.reshape(ROWS, frames, POOL).max(axis=2)
    grey = np.clip(1.0 + (pooled - pooled.max()) / RANGE_DB, 0.0, 1.0)[::-1]
    content = (255.0 * grey).round().astype(np.uint8).tobytes()
    return {
        "rows": ROWS,
        "frames": frames,
        "seconds": round(frames * POOL * HOP / sample_rate, 2),
        "picture": base64.b64encode(content).decode(),
    }
