"""Notes of a General MIDI sound font with NSynth's words: every preset an instrument, dry and with qualities put on it.

FluidR3 (MIT) is what this was made with; any General MIDI font will do. Drums, noises and chords are left out, as are
presets that are made of samples that an earlier one has: an instrument that is held out shall not be heard under
another name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .additive import HELD_S, LENGTH_S
from .qualities import Effects, drawn_qualities
from .sound_font import Preset, SoundFont
from .synthesis import Instrument, drawn_instruments
from .vocabulary import FAMILIES, SOURCES

Float32 = npt.NDArray[np.float32]

LOWEST, HIGHEST = 28, 96
VELOCITIES = (25, 50, 75, 100, 127)
MOST_REACH = 10
"""Semitones from a sample's own pitch: farther away an instrument is no longer itself."""

MOST_SHARED = 0.5
LOUDNESS_DBFS = -20.0
_VELOCITY_DB = 12.0
_DRUMS = 128
_QUIET = 1e-4
_MOST_QUALITIES = 3
_LISTED = """
0-1 acoustic keyboard; 2 electronic keyboard; 3 acoustic keyboard; 4-5 electronic keyboard; 6 acoustic keyboard
7 electronic keyboard; 8-14 acoustic mallet; 15 acoustic guitar; 16-18 electronic organ; 19-20 acoustic organ
21-23 acoustic reed; 24-25 acoustic guitar; 26-28 electronic guitar; 29-30 electronic guitar distortion
31 electronic guitar; 32 acoustic bass; 33-37 electronic bass; 38-39 synthetic bass; 40-44 acoustic string
45 acoustic string fast_decay; 46 acoustic guitar; 47 acoustic mallet; 48-49 acoustic string; 50-51 synthetic string
52-53 acoustic vocal; 54 synthetic vocal; 56-61 acoustic brass; 62-63 synthetic brass; 64-71 acoustic reed
72-79 acoustic flute; 80-83 synthetic synth_lead; 84 synthetic synth_lead distortion; 85 synthetic vocal
87 synthetic synth_lead; 89 synthetic string; 90 synthetic synth_lead; 91 synthetic vocal; 92 synthetic string
94 synthetic vocal; 95 synthetic string nonlinear_env; 98 synthetic mallet; 104-107 acoustic guitar
108 acoustic mallet; 109 acoustic reed; 110 acoustic string; 111 acoustic reed; 112-114 acoustic mallet
"""


def _programs() -> dict[int, tuple[str, str, tuple[str, ...]]]:
    listed = {}
    for line in _LISTED.replace("\n", ";").split(";"):
        if line.strip():
            numbers, source, family, *qualities = line.split()
            first, _, last = numbers.partition("-")
            for program in range(int(first), int(last or first) + 1):
                listed[program] = (source, family, tuple(qualities))
    return listed


PROGRAMS = _programs()
"""Source, family and qualities of a General MIDI program, counted from 0; what is not there has no place in NSynth."""


@dataclass(frozen=True)
class FontNote:
    """One note: its words, its place, and its sound [4 s]. instrument: number of the preset among those used."""

    instrument: int
    source: str
    family: str
    qualities: tuple[str, ...]
    pitch: int
    velocity: int
    audio: Float32


@dataclass(frozen=True)
class _Voice:
    """What plays dry notes. play: of key, velocity, rate, and a release in s or its own. given: qualities it has."""

    source: str
    family: str
    given: tuple[str, ...]
    keys: tuple[int, ...]
    seed: tuple[int, ...]
    play: Callable[[int, int, int, float | None], Float32]


def chosen_presets(font: SoundFont) -> list[Preset]:
    """Presets with a place in NSynth, each of samples of its own."""
    used: set[int] = set()
    chosen = []
    for preset in font.presets:
        samples = font.samples_of(preset) if preset.bank < _DRUMS and preset.program in PROGRAMS else frozenset()
        if samples and len(samples & used) <= MOST_SHARED * len(samples):
            used |= samples
            chosen.append(preset)
    return chosen


def font_notes(
    font: SoundFont, gaps: int, variants: int, notes: int, seed: int, sample_rate: int
) -> Iterator[FontNote]:
    """Of every instrument `variants` kinds, the first dry, the others with qualities, and `notes` notes of each kind.

    Instruments are the font's presets, then `gaps` of our own synthesis, which have the pairs of source and family that
    the font has not. The same notes for the same numbers. What is silent, or far from any sample, is left out.
    """
    for number, voice in enumerate([*_of_font(font), *_of_ours(font, gaps, seed)]):
        rng = np.random.default_rng((seed, *voice.seed))
        places = [(key, velocity) for key in voice.keys for velocity in VELOCITIES]
        order = iter(rng.permutation(len(places)))
        for variant in range(variants):
            qualities = voice.given if variant == 0 else drawn_qualities(_MOST_QUALITIES, rng, voice.given)
            effects = Effects.drawn(tuple(word for word in qualities if word not in voice.given), rng)
            for _, place in zip(range(notes), order, strict=False):
                key, velocity = places[int(place)]
                audio = _note(voice, key, velocity, effects, sample_rate, rng)
                if audio is not None:
                    yield FontNote(number, voice.source, voice.family, qualities, key, velocity, audio)


def _of_font(font: SoundFont) -> Iterator[_Voice]:
    for preset in chosen_presets(font):
        source, family, given = PROGRAMS[preset.program]
        reached = (key for key in range(LOWEST, HIGHEST + 1) if font.reach(preset, key, 100) <= MOST_REACH)

        def play(key: int, velocity: int, rate: int, release_s: float | None, preset: Preset = preset) -> Float32:
            return font.play(preset, key, velocity, rate, HELD_S, LENGTH_S, release_s)

        yield _Voice(source, family, given, tuple(reached), (0, preset.bank, preset.program), play)


def _of_ours(font: SoundFont, count: int, seed: int) -> Iterator[_Voice]:
    there = {PROGRAMS[preset.program][:2] for preset in chosen_presets(font)}
    for number, drawn in enumerate(drawn_instruments(count, seed, FAMILIES, SOURCES, there)):
        dry = Instrument(drawn.source, drawn.family, (), drawn.seed)
        low, high = (LOWEST, 60) if drawn.family == "bass" else (40, 90)
        yield _Voice(drawn.source, drawn.family, (), tuple(range(low, high + 1)), (1, number), dry.play)


def _note(
    voice: _Voice, key: int, velocity: int, effects: Effects, rate: int, rng: np.random.Generator
) -> Float32 | None:
    dry = voice.play(key, velocity, rate, effects.release)
    if float(np.abs(dry).max(initial=0.0)) < _QUIET:
        return None

    def play(semitones: int, release_s: float | None) -> Float32:
        return voice.play(min(key + semitones, 127), velocity, rate, release_s) if semitones else dry

    audio = effects.played(play, rate, rng)
    level = LOUDNESS_DBFS + _VELOCITY_DB * (velocity / 127.0 - 1.0)
    audio = audio * np.float32(10.0 ** (level / 20.0))
    end = round(0.02 * rate)
    audio[-end:] *= np.linspace(1.0, 0.0, end, dtype=np.float32)
    return np.asarray(audio * min(1.0, 0.99 / max(float(np.abs(audio).max()), 1e-9)), dtype=np.float32)
