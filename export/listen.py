"""A blind listening test: what is compared, who hears it in which order, what they answered, and what comes of it.

Sounds lie in a folder like this, one folder per pair; a folder that holds content and style itself is one pair:

    test/cello/content.wav  style.wav  kernel.wav  cnn.wav
    test/rain/content.wav   style.wav  kernel.wav  cnn.wav

Every sound that is neither content nor style is the result of the system whose name it has.
"""

import csv
import io
import math
import random
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import scipy.stats

from .. import DuendeError
from ..presets.format import write_atomically

FORMAT = 1
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
ANSWERS = "answers"
MOST_RESULTS, MOST_LISTENERS = 400, 1000
LONGEST_NAME = 60
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Scale:
    """A question whose answer is a whole number from low to high; words: what stands along it, from the low end."""

    name: str
    question: str
    low: int
    high: int
    words: tuple[str, ...]


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            "similarity",
            "How much is the result the content, played with the sound of the style?",
            1,
            5,
            ("not at all", "a little", "partly", "mostly", "wholly"),
        ),
        Scale(
            "quality",
            "How good does the result sound, whatever it was made from?",
            0,
            100,
            ("bad", "poor", "fair", "good", "excellent"),
        ),
        Scale(
            "relevance",
            "How well does the result fit what was asked for: this content in this style?",
            0,
            100,
            ("not at all", "little", "partly", "well", "exactly"),
        ),
    )
}
"""similarity: 1 to 5, as in the blind tests of random networks; quality and relevance: 0 to 100, as in those of text to
sound."""


@dataclass(frozen=True)
class Pair:
    """One content and one style, and what systems made of them, by their names."""

    name: str
    content: Path
    style: Path
    results: Mapping[str, Path]


class Answer(msgspec.Struct, frozen=True):
    """One result, judged: pair, system, place in the listener's order from 1, values by scale, time (ISO 8601, UTC)."""

    pair: str
    system: str
    place: int
    values: dict[str, int]
    when: str


class Listener(msgspec.Struct):
    """Who listens. order: pairs and systems as they are heard; answers: those given, one for each place at most."""

    format: int
    key: str
    name: str
    order: list[tuple[str, str]]
    answers: list[Answer]


@dataclass(frozen=True)
class Mean:
    """A mean over listeners, each counted once; half: of its 95 % confidence interval, nan for less than two."""

    value: float
    half: float
    listeners: int
    answers: int

    @property
    def text(self) -> str:
        if not self.answers:
            return "-"
        interval = f" ± {self.half:.2f}" if math.isfinite(self.half) else ""
        return f"{self.value:.2f}{interval}"


@dataclass(frozen=True)
class Results:
    """by_system: system -> scale -> mean. by_pair: scale -> pair -> system -> mean. listeners: who answered at all."""

    by_system: dict[str, dict[str, Mean]]
    by_pair: dict[str, dict[str, dict[str, Mean]]]
    listeners: int
    answers: int


def find_pairs(folder: Path) -> list[Pair]:
    """The pairs of a folder, by name. DuendeError where there is none, and for one that is not whole."""
    if not folder.is_dir():
        raise DuendeError(f"{folder}: no such folder")
    own = _pair(folder)
    pairs = [own] if own is not None else []
    if own is None:
        inner = (place for place in sorted(folder.iterdir()) if place.is_dir() and not place.name.startswith("."))
        pairs = [pair for place in inner if (pair := _pair(place)) is not None]
    if not pairs:
        raise DuendeError(
            f"{folder}: no pair to listen to; put content.wav, style.wav and one sound per system, named like it, "
            "into a folder each"
        )
    results = sum(len(pair.results) for pair in pairs)
    if results > MOST_RESULTS:
        raise DuendeError(f"{folder}: {results} results are too many for a listening test: {MOST_RESULTS} at most")
    return pairs


def choose_scales(names: Sequence[str]) -> list[Scale]:
    """Scales by name, all without any. DuendeError for an unknown one."""
    for name in names:
        if name not in SCALES:
            raise DuendeError(f"no scale {name!r}: choose {', '.join(SCALES)}")
    return [SCALES[name] for name in dict.fromkeys(names)] or list(SCALES.values())


class Study:
    """A test that runs: its listeners' answers lie in a folder, one file each, written anew with every answer.

    Safe to use from several threads.
    """

    def __init__(self, pairs: Sequence[Pair], scales: Sequence[Scale], answers: Path) -> None:
        self.pairs = {pair.name: pair for pair in pairs}
        self.scales = list(scales)
        self._folder = answers
        self._lock = threading.Lock()
        self._items = [(pair.name, system) for pair in pairs for system in pair.results]
        self._listeners = {one.key: one for one in read_listeners(answers)}

    @property
    def listeners(self) -> list[Listener]:
        return list(self._listeners.values())

    def begin(self, name: str) -> Listener:
        """A new listener, with an order of their own. DuendeError for no name, and where there are too many."""
        plain = " ".join("".join(one if one.isprintable() else " " for one in name).split())[:LONGEST_NAME]
        if not plain:
            raise DuendeError("write your name, or any word that is yours")
        with self._lock:
            if len(self._listeners) >= MOST_LISTENERS:
                raise DuendeError(f"there are {MOST_LISTENERS} listeners already")
            key = secrets.token_hex(12)
            listener = Listener(FORMAT, key, plain, _shuffled(self._items, key), [])
            self._save(listener)
            self._listeners[key] = listener
        return listener

    def find(self, key: str) -> Listener | None:
        """Who has this key; what came into the folder since they began is put behind the rest."""
        with self._lock:
            listener = self._listeners.get(key)
            if listener is None:
                return None
            known = set(listener.order)
            fresh = [item for item in self._items if item not in known]
            if fresh:
                listener.order += _shuffled(fresh, key)
                self._save(listener)
            return listener

    def places(self, listener: Listener) -> list[int]:
        """Places (from 1) of the listener's order that can be heard: what is gone from the folder is passed over."""
        there = set(self._items)
        return [place for place, item in enumerate(listener.order, 1) if item in there]

    def next_place(self, listener: Listener) -> int | None:
        """The first place without an answer; None at the end."""
        done = {answer.place for answer in listener.answers}
        return next((place for place in self.places(listener) if place not in done), None)

    def answer_at(self, listener: Listener, place: int) -> Answer | None:
        """What was answered there."""
        return next((answer for answer in listener.answers if answer.place == place), None)

    def answer(self, key: str, place: int, values: Mapping[str, int]) -> Listener:
        """Keep an answer; it is on disk when this returns. DuendeError for what is not asked or out of range."""
        listener = self.find(key)
        if listener is None:
            raise DuendeError("this listener is not known")
        if place not in self.places(listener):
            raise DuendeError(f"there is no result {place}")
        chosen = {}
        for scale in self.scales:
            value = values.get(scale.name)
            if value is None or not scale.low <= value <= scale.high:
                raise DuendeError(f"{scale.name}: choose a number from {scale.low} to {scale.high}")
            chosen[scale.name] = value
        pair, system = listener.order[place - 1]
        answer = Answer(pair, system, place, chosen, datetime.now(UTC).isoformat(timespec="seconds"))
        with self._lock:
            before = listener.answers
            listener.answers = sorted(
                [*(one for one in before if one.place != place), answer], key=lambda one: one.place
            )
            try:
                self._save(listener)
            except DuendeError:
                listener.answers = before
                raise
        return listener

    def _save(self, listener: Listener) -> None:
        write_atomically(self._folder / f"{listener.key}.json", msgspec.json.encode(listener))


def read_listeners(folder: Path) -> list[Listener]:
    """Everybody whose answers lie in a folder, in the order of their names. DuendeError names a damaged file."""
    found = []
    for path in sorted(folder.glob("*.json"))[:MOST_LISTENERS] if folder.is_dir() else []:
        try:
            data = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
            listener = msgspec.json.decode(data, type=Listener)
        except (OSError, msgspec.DecodeError) as error:
            raise DuendeError(f"{path}: not a file of answers ({error}); move it away, or repair it") from error
        if listener.format != FORMAT or listener.key != path.stem:
            raise DuendeError(f"{path}: not a file of answers of this version; move it away")
        found.append(listener)
    return sorted(found, key=lambda one: (one.name, one.key))


def answers_csv(listeners: Sequence[Listener], scales: Sequence[Scale]) -> str:
    """All answers as a table for other programs: listener, name, pair, system, place, one column per scale, time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["listener", "name", "pair", "system", "place", *(scale.name for scale in scales), "when"])
    for one in listeners:
        for answer in one.answers:
            values = [answer.values.get(scale.name, "") for scale in scales]
            words = [_cell(word) for word in (one.key[:8], one.name, answer.pair, answer.system)]
            writer.writerow([*words, answer.place, *values, answer.when])
    return text.getvalue()


def results(listeners: Sequence[Listener], scales: Sequence[Scale]) -> Results:
    """Means with their 95 % confidence intervals (Student's t over listeners).

    Answers of one listener depend on each other, so each listener's are averaged first and count as one.
    """
    answers = [(one.key, answer) for one in listeners for answer in one.answers]
    systems = sorted({answer.system for _, answer in answers})
    pairs = sorted({answer.pair for _, answer in answers})
    return Results(
        by_system={
            system: {scale.name: _mean([a for a in answers if a[1].system == system], scale.name) for scale in scales}
            for system in systems
        },
        by_pair={
            scale.name: {
                pair: {
                    system: _mean([a for a in answers if (a[1].pair, a[1].system) == (pair, system)], scale.name)
                    for system in systems
                }
                for pair in pairs
            }
            for scale in scales
        },
        listeners=len({key for key, _ in answers}),
        answers=len(answers),
    )


def _mean(answers: Sequence[tuple[str, Answer]], scale: str) -> Mean:
    by_listener: dict[str, list[int]] = {}
    for key, answer in answers:
        if scale in answer.values:
            by_listener.setdefault(key, []).append(answer.values[scale])
    count = len(by_listener)
    if not count:
        return Mean(math.nan, math.nan, 0, 0)
    own = np.array([np.mean(values) for values in by_listener.values()])
    half = math.nan
    if count > 1:
        half = float(scipy.stats.t.ppf(0.975, count - 1) * own.std(ddof=1) / math.sqrt(count))
    return Mean(float(own.mean()), half, count, sum(map(len, by_listener.values())))


def _pair(folder: Path) -> Pair | None:
    """The pair that a folder holds; None where it holds neither content nor style."""
    sounds: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SOUNDS and path.is_file() and not path.name.startswith("."):
            if path.stem in sounds:
                raise DuendeError(f"{folder}: two sounds are called {path.stem}; keep one")
            sounds[path.stem] = path
    content, style = sounds.pop("content", None), sounds.pop("style", None)
    if content is None and style is None:
        return None
    if content is None or style is None:
        raise DuendeError(f"{folder}: there is no {'content' if content is None else 'style'}.wav beside the other")
    if not sounds:
        raise DuendeError(f"{folder}: no result to judge; put one sound per system there, named like it")
    return Pair(folder.name, content, style, sounds)


def _shuffled(items: Sequence[tuple[str, str]], key: str) -> list[tuple[str, str]]:
    return random.Random(f"{key} {len(items)}").sample(list(items), len(items))


def _cell(word: str) -> str:
    """A word that no spreadsheet takes for a formula."""
    return f"'{word}" if word[:1] in "=+-@\t\r" else word
