"""The words that a prompt is made of: NSynth's sources, families and qualities, and what people call them."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ... import DuendeError

Float32 = npt.NDArray[np.float32]

SOURCES = ("acoustic", "electronic", "synthetic")
FAMILIES = (
    "bass",
    "brass",
    "flute",
    "guitar",
    "keyboard",
    "mallet",
    "organ",
    "reed",
    "string",
    "synth_lead",
    "vocal",
)
QUALITIES = (
    "bright",
    "dark",
    "distortion",
    "fast_decay",
    "long_release",
    "multiphonic",
    "nonlinear_env",
    "percussive",
    "reverb",
    "tempo-synced",
)
"""In the order of NSynth (Engel et al. 2017, arXiv 1704.01279), whose numbers index them."""

WORDS = SOURCES + FAMILIES + QUALITIES

_ALSO = {
    "synthetic": "synthesized synthesised synthesizer synthesiser synth digital",
    "electronic": "electric electrical amplified",
    "acoustic": "natural unplugged",
    "bass": "contrabass",
    "brass": "trumpet trombone horn tuba cornet",
    "flute": "piccolo recorder whistle",
    "guitar": "banjo lute ukulele mandolin harp",
    "keyboard": "piano harpsichord clavinet rhodes",
    "mallet": "marimba vibraphone xylophone bell bells glockenspiel celesta kalimba",
    "organ": "hammond harmonium",
    "reed": "saxophone sax clarinet oboe bassoon accordion",
    "string": "strings violin viola cello fiddle bowed",
    "synth_lead": "lead",
    "vocal": "voice choir singing voices",
    "bright": "brilliant sharp shiny clear brassy",
    "dark": "warm mellow dull soft muted deep",
    "distortion": "distorted fuzz fuzzy overdrive overdriven crunchy dirty",
    "fast_decay": "short decaying staccato",
    "long_release": "sustained fading lingering",
    "multiphonic": "dissonant",
    "nonlinear_env": "evolving swelling swell",
    "percussive": "percussion struck plucked hit attack",
    "reverb": "reverberant echoing spacious hall wet",
    "tempo-synced": "pulsing tremolo rhythmic pulsating",
}
ALIASES = {alias: word for word, text in _ALSO.items() for alias in text.split()}
_IGNORED = """a an and as at by for from in into is it its like of on one shot oneshot played playing sample single
some sound sounding sounds note tone that the to very with instrument"""
IGNORED = frozenset(_IGNORED.split())
_SPOKEN = re.compile(r"[^\s,.;:!?()\"]+")
_PAIRS = {"synth lead": "synth_lead", "fast decay": "fast_decay", "long release": "long_release"}
_PAIRS |= {"tempo synced": "tempo-synced", "nonlinear env": "nonlinear_env", "nonlinear envelope": "nonlinear_env"}
SHOWN = 8


@dataclass(frozen=True)
class Meaning:
    """What of a prompt was understood: words of WORDS, and the rest as it was written."""

    words: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def vector(self) -> Float32:
        """1 at every word, float32 [len(WORDS)]."""
        return vector_of(self.words)

    @property
    def notices(self) -> list[str]:
        """A line that names what was not understood, with what was perhaps meant."""
        if not self.unknown:
            return []
        told = [f"{word!r}{_guess(word)}" for word in self.unknown[:SHOWN]]
        told += [f"{len(self.unknown) - SHOWN} more"] if len(self.unknown) > SHOWN else []
        return [f"unknown words were passed over: {', '.join(told)}"]


def understand(prompt: str) -> Meaning:
    """The words of a prompt in the order of WORDS, whatever their case, aliases and plurals included."""
    text = prompt.lower()
    for pair, joined in _PAIRS.items():
        text = re.sub(rf"\b{pair}\b", joined, text)
    found: set[str] = set()
    unknown: list[str] = []
    for spoken in _SPOKEN.findall(text):
        word = _word(spoken)
        if word is not None:
            found.add(word)
        elif spoken not in IGNORED and spoken not in unknown:
            unknown.append(spoken)
    return Meaning(tuple(word for word in WORDS if word in found), tuple(unknown))


def understand_some(prompt: str) -> Meaning:
    """As `understand`; DuendeError where not one word is known."""
    meaning = understand(prompt)
    if not meaning.words:
        guesses = "".join(_guess(word) for word in meaning.unknown[:1])
        raise DuendeError(f"not one word of the prompt is known{guesses}: use some of {', '.join(WORDS)}")
    return meaning


def prompt_of(source: str, qualities: Sequence[str], family: str) -> str:
    """A prompt in the published form: source, qualities, family."""
    return " ".join((source, *qualities, family))


def vector_of(words: Sequence[str]) -> Float32:
    """1 at every word, float32 [len(WORDS)]."""
    return np.array([word in words for word in WORDS], dtype=np.float32)


def _word(spoken: str) -> str | None:
    for form in (spoken, spoken.replace("-", "_"), spoken.replace("_", "-"), spoken.removesuffix("s")):
        if form in WORDS:
            return form
        if form in ALIASES:
            return ALIASES[form]
    return None


def _guess(word: str) -> str:
    near = difflib.get_close_matches(word[:40], (*WORDS, *ALIASES), n=1, cutoff=0.7)
    return f" ({near[0]}?)" if near else ""
