"""The embedded default: a small decoder from words to a note, trained on our own synthesis; no torch, no download.

A sentence becomes words, words and a latent draw become envelopes of harmonics and noise, and these are played as sines
and shaped noise at 48 kHz. There is no spectrogram to invert, so no metallic phases, and nothing plays after a decay.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from .additive import render
from .backend import About, Report, Sound, check_request
from .envelope_code import decode
from .models import DECODER, FOLDER, LATENT, open_decoder
from .vocabulary import understand_some

Float32 = npt.NDArray[np.float32]

SAMPLE_RATE = 48000
PEAK = 0.7
LOWEST, HIGHEST = 28, 96
_PITCH, _BASS_PITCH, _VELOCITY = 57, 40, 100


class DefaultBackend:
    """The embedded default as a `Backend`. Settings: pitch (MIDI, 28 to 96), velocity (1 to 127), variety (0 to 2)."""

    name = "default"
    plays_pitches = True
    about = About(
        text="words of NSynth's vocabulary to a note, by harmonics and noise",
        licence="MIT (this program's own)",
        source="this package",
        size_bytes=3_000_000,
        seconds=0.5,
        seconds_made=4.0,
    )

    def __init__(self, weights: str | None = None) -> None:
        self._folder = FOLDER if weights is None else Path(weights)
        if not (self._folder / DECODER).is_file():
            raise DuendeError(f"{self._folder / DECODER} is missing: `duende train default` writes such a folder")

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        """See `Backend`. A word that is not known is passed over with a notice; one at least must be."""
        meaning = understand_some(check_request(prompt, seed, seconds))
        values = _values(settings, _BASS_PITCH if "bass" in meaning.words else _PITCH)
        report(0, 2, "choosing a timbre")
        rng = np.random.default_rng((seed, 7))
        latent = (values["variety"] * rng.standard_normal((1, LATENT))).astype(np.float32)
        known = np.concatenate([meaning.vector, touch_of(values["pitch"], values["velocity"])])[None]
        code = open_decoder(self._folder)("code", {"known": known, "latent": latent})[0]
        report(1, 2, "playing it")
        f0 = 440.0 * 2.0 ** ((values["pitch"] - 69.0) / 12.0)
        audio = render(decode(code, -12.0), f0, SAMPLE_RATE, seconds, rng)
        fade = min(len(audio), SAMPLE_RATE // 50)
        audio[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
        # As loud as its velocity says: an instrument of several keeps its steps.
        peak = PEAK * 10.0 ** (12.0 * (values["velocity"] / 127.0 - 1.0) / 20.0)
        audio *= np.float32(peak / max(float(np.abs(audio).max()), 1e-9))
        report(2, 2, "done")
        return Sound(audio, SAMPLE_RATE, meaning.notices)


def touch_of(pitch: float, velocity: float) -> Float32:
    """MIDI pitch and velocity as the decoder takes them, about -1 to 1."""
    return np.array([(pitch - 62.0) / 24.0, (velocity - 75.0) / 50.0], dtype=np.float32)


def _values(settings: Mapping[str, str], pitch: int) -> dict[str, float]:
    values = {"pitch": float(pitch), "velocity": float(_VELOCITY), "variety": 0.8}
    bounds = {"pitch": (LOWEST, HIGHEST), "velocity": (1, 127), "variety": (0, 2)}
    for name, text in settings.items():
        if name not in values:
            raise DuendeError(f"default has no setting {name!r}: choose one of {', '.join(values)}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        low, high = bounds[name]
        if not low <= value <= high:
            raise DuendeError(f"{name} = {text!r} is out of range: {low} to {high}")
        values[name] = value
    return values
