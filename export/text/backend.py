"""What every text-to-sound system is to the rest: a name, what there is to know, and a call that makes a sound."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from .weights import Weights

__all__ = [
    "BACKENDS",
    "DEFAULT",
    "MOST_CHARACTERS",
    "SECONDS",
    "About",
    "Backend",
    "Report",
    "Sound",
    "Weights",
    "check_request",
    "open_backend",
]

Float32 = npt.NDArray[np.float32]
Report = Callable[[int, int, str], None]
"""Told how far it is: done, total, and in words what is being done."""

DEFAULT = "default"
MOST_CHARACTERS = 2000
SECONDS = (0.25, 30.0)

BACKENDS: dict[str, str] = {
    "default": "default:DefaultBackend",
    "chopan": "chopan:ChopanBackend",
    "audio-diffusion": "audio_diffusion:AudioDiffusion",
    "latent-diffusion": "audio_diffusion:LatentDiffusion",
    "riffusion": "riffusion:Riffusion",
    "tango": "tango:Tango",
}
"""Backends by name: `module:Class` in this package, imported when one is asked for."""


@dataclass(frozen=True)
class Sound:
    """A sound that was made: audio float32 [samples], mono, full scale 1; sample_rate in Hz.

    notices: what the user should know of it, a line each.
    """

    audio: Float32
    sample_rate: int
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class About:
    """What there is to know before the first use.

    text: one sentence. licence: of the weights. source: where the weights come from. size_bytes: of the weights.
    seconds: what one sound takes on a CPU, roughly. seconds_made: length that is natural to it.
    """

    text: str
    licence: str
    source: str
    size_bytes: int
    seconds: float
    seconds_made: float

    @property
    def line(self) -> str:
        """All of it in one line, for people."""
        return (
            f"{self.text}; weights {self.size_bytes / 1e6:,.0f} MB from {self.source}, licence {self.licence}; "
            f"about {self.seconds:g} s a sound on a CPU"
        )


class Backend(Protocol):
    """A text-to-sound system. Built with what --weights gave (a folder, a hub id, or None); builds nothing heavy yet.

    settings: further values by name, as text from the command line; an unknown name is a DuendeError.
    """

    name: str
    about: About

    def __init__(self, weights: str | None = None) -> None: ...

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        """The same sound for the same prompt, seed, length and settings; DuendeError for what cannot be made."""
        ...


def open_backend(name: str, weights: str | None = None) -> Backend:
    """The backend of a name. DuendeError for an unknown name, and where a library that it needs is not installed."""
    if name not in BACKENDS:
        raise DuendeError(f"no text backend is called {name!r}: choose one of {', '.join(BACKENDS)}")
    module, _, attribute = BACKENDS[name].partition(":")
    try:
        made = getattr(importlib.import_module(f".{module}", __package__), attribute)
    except ImportError as error:
        if (error.name or "").startswith("duende"):
            raise
        raise DuendeError(f"{name} needs {error.name}: pip install 'duende[train,text]'") from error
    found: Backend = made(weights)
    return found


def check_request(prompt: str, seed: int, seconds: float) -> str:
    """The prompt in one line, its white space joined; DuendeError for what no backend can make a sound of."""
    text = " ".join(prompt.split())
    if not text:
        raise DuendeError('the prompt is empty: describe a sound, as in "synthetic distortion fast_decay keyboard"')
    if len(text) > MOST_CHARACTERS:
        raise DuendeError(f"the prompt has {len(text)} characters: {MOST_CHARACTERS} at most")
    if not text.isprintable():
        raise DuendeError("the prompt holds characters that cannot be printed: write plain text")
    if not 0 <= seed < 2**31:
        raise DuendeError(f"seed {seed} is out of range: 0 to {2**31 - 1}")
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise DuendeError(f"{seconds:g} seconds are out of range: {SECONDS[0]:g} to {SECONDS[1]:g}")
    return text
