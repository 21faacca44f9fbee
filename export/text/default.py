"""The embedded default: a small network from words to a note, trained on sampled instruments; no torch, no download.

Source and family choose among the instruments that it learned from, of which two or three are mixed; the qualities are
told to the network, which makes envelopes of partials and noise. These are played as sines and shaped noise at 48 kHz:
there is no spectrogram to invert, so no metallic phases, and nothing plays after a decay.
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
from .models import DECODER, FOLDER, Player
from .vocabulary import FAMILIES, QUALITIES, SOURCES, WORDS, understand_some

Float32 = npt.NDArray[np.float32]

SAMPLE_RATE = 48000
PEAK = 0.7
LOWEST, HIGHEST = 28, 96
_PITCH, _BASS_PITCH, _VELOCITY = 57, 40, 100
_STRICT, _MIXED = 6.0, 0.4


class DefaultBackend:
    """The embedded default as a `Backend`. Settings: pitch (MIDI, 28 to 96), velocity (1 to 127), variety (0 to 2)."""

    name = "default"
    plays_pitches = True
    about = About(
        text="words of NSynth's vocabulary to a note, by partials and noise",
        licence="MIT (this program's own)",
        source="this package",
        size_bytes=10_000_000,
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
        player = Player(self._folder)
        instrument = instrument_of(player, meaning.vector, values["variety"], rng)
        touch = touch_of(values["pitch"], values["velocity"])
        code = player.code(instrument, touch, meaning.vector[-len(QUALITIES) :])
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


def instrument_of(player: Player, words: Float32, variety: float, rng: np.random.Generator) -> Float32:
    """An instrument [LATENT] that the words fit: one that is known, with some of one or two others like it.

    words: [WORDS]. variety: 0 is what is common to all that fit, 1 is one of them with a little of another. Two
    families are mixed half and half.
    """
    sources, families = words[: len(SOURCES)], words[len(SOURCES) : len(SOURCES) + len(FAMILIES)]
    wanted = [place for place in range(len(FAMILIES)) if families[place] > 0.0]
    named_families = player.named[:, len(SOURCES) : len(SOURCES) + len(FAMILIES)]
    if not wanted:
        # Any family: first one is drawn, so that what is mixed belongs together.
        fit = np.exp(_STRICT * (player.named[:, : len(SOURCES)] @ sources))
        share = (fit[:, None] * named_families).sum(axis=0)
        drawn = int(rng.choice(len(FAMILIES), p=share / share.sum()))
        wanted = [drawn]
    parts = []
    for place in wanted:
        fit = _STRICT * (player.named[:, : len(SOURCES)] @ sources + 2.0 * named_families[:, place])
        weight = np.exp(fit - fit.max()).astype(np.float64)
        weight /= weight.sum()
        typical = weight @ player.known
        count = min(2, int((weight > 1e-9).sum()))
        chosen = rng.choice(len(weight), count, replace=False, p=weight)
        share = float(rng.uniform(0.0, _MIXED))
        own = (1.0 - share) * player.known[chosen[0]] + share * player.known[chosen[-1]]
        parts.append(typical + variety * (own - typical))
    assert len(words) == len(WORDS)
    return np.asarray(np.mean(parts, axis=0), dtype=np.float32)


def touch_of(pitch: float, velocity: float) -> Float32:
    """MIDI pitch and velocity as the network takes them, about -1 to 1."""
    return np.array([(pitch - 62.0) / 24.0, (velocity - 75.0) / 50.0], dtype=np.float32)


def _values(settings: Mapping[str, str], pitch: int) -> dict[str, float]:
    values = {"pitch": float(pitch), "velocity": float(_VELOCITY), "variety": 1.0}
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
