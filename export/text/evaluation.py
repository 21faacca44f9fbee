"""The published table of text-to-sound systems for what can be run here: distances, relevance, sweeps, intervals.

The thesis of 2024 gives FD and KL over PANNs, FAD over VGGish, and listeners' quality and relevance from 0 to 100, each
as one number. Here FD is over texture statistics (`export.set_distance`) unless the user brings a network, KL and
relevance are those of the embedding that was trained with the embedded default, and quality is left to listeners
(`duende listen`). Figures of two embeddings are never to be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ..set_distance import Embedding, Interval, Set, TextureStatistics, compare, embed
from ..sounds import QUIETEST_DBFS, level_dbfs
from .backend import Backend
from .features import features_of
from .made import save
from .vocabulary import WORDS, vector_of

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
_One = TypeVar("_One")

SWEPT = ("audio-diffusion", "latent-diffusion", "riffusion", "tango")
"""Systems that take steps and guidance."""

HEAD = ("model", "parameters", "steps", "guidance", "n", "FD", "kernel", "KL", "FAD", "quality", "relevance", "chance")
PUBLISHED: tuple[tuple[str, str, float, float, float, float | None, float | None], ...] = (
    ("ChopAN", "2.3 M", 55.99, 1.19, 7.66, 41.87, 28.59),
    ("Audio Diffusion", "", 139.10, 1.64, 25.88, 58.43, 49.29),
    ("Audio Latent Diffusion", "", 211.05, 1.36, 19.09, 59.38, 34.84),
    ("Riffusion", "", 126.03, 1.84, 24.26, 40.93, 38.35),
    ("Riffusion, fine-tuned", "", 84.54, 1.34, 14.60, 52.5, 19.06),
    ("TANGO", "866 M", 225.28, 2.93, 27.21, None, None),
    ("TANGO, fine-tuned", "866 M", 148.26, 0.82, 13.396, 60.0, 69.0),
)
"""Model, parameters, FD, KL, FAD, quality, relevance as the thesis states them, without n and intervals. One setting
differs by some 40 FD from one of its tables to the next."""

LONGEST_S = 30.0
MOST_SOUNDS = 2000
_FEWEST_FOR_INTERVAL = 3


class Note(Protocol):
    """A reference: a sound with its words."""

    @property
    def name(self) -> str: ...

    @property
    def prompt(self) -> str: ...

    @property
    def path(self) -> Path: ...

    def audio(self) -> tuple[Float32, int]: ...


class Ear(Protocol):
    """The text-audio embedding (`models.Listener`)."""

    def judged(self, features: Float32) -> Float32: ...

    def heard(self, features: Float32) -> Float32: ...

    def meant(self, words: Float32) -> Float32: ...


@dataclass(frozen=True)
class Entry:
    """A system with the settings of one row."""

    backend: Backend
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One line of the table. n: sounds that were judged. silent: sounds that were left out of everything.

    fad: None without a network for it. chance: relevance of the same sounds to prompts of others.
    """

    model: str
    parameters: int | None
    settings: Mapping[str, str]
    n: int
    silent: int
    frechet: Interval
    kernel: Interval
    kl: Interval
    fad: Interval | None
    relevance: Interval
    chance: Interval
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The table, and what its figures were taken with."""

    rows: list[Row]
    references: int
    seeds: tuple[int, ...]
    seconds: float
    embedding: str
    fad_embedding: str


def entries(backend: Backend, steps: Sequence[int], guidance: Sequence[float]) -> list[Entry]:
    """A row for every pair of steps and guidance; one row for a system that has neither, or where none is swept."""
    if backend.name not in SWEPT:
        return [Entry(backend, {})]
    made = []
    for count in steps or [0]:
        for factor in guidance or [0.0]:
            settings = {"steps": str(count)} if count else {}
            made.append(Entry(backend, settings | ({"guidance": f"{factor:g}"} if factor else {})))
    return made


def chosen(notes: Sequence[_One], count: int, seed: int) -> list[_One]:
    """So many references, drawn once; DuendeError where there are fewer than three."""
    if len(notes) < _FEWEST_FOR_INTERVAL:
        raise DuendeError(f"{len(notes)} held-out sounds: {_FEWEST_FOR_INTERVAL} are the least for an interval")
    drawn = np.random.default_rng([seed, 0xE7A1]).permutation(len(notes))[:count]
    return [notes[int(one)] for one in sorted(drawn)]


def evaluate_text(
    references: Sequence[Note],
    table: Sequence[Entry],
    folder: Path,
    ear: Ear,
    *,
    seeds: Sequence[int] = (1,),
    seconds: float = 4.0,
    embedding: Embedding | None = None,
    fad: Embedding | None = None,
    rounds: int = 200,
    report: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Found:
    """Every system's sounds of the references' prompts, one for each seed, against the references.

    folder: the sounds are written there, a sub-folder to a row. seconds: length of each, 1 at least. DuendeError for
    numbers out of range, and where a system gives silence alone.
    """
    if not 1.0 <= seconds <= LONGEST_S:
        raise DuendeError(
            f"--seconds {seconds:g} is out of range: 1 to {LONGEST_S:g}, as the distances see 1 s at a time"
        )
    whole = len(references) * len(seeds) * len(table)
    if not seeds or not table or whole > MOST_SOUNDS:
        raise DuendeError(f"{whole} sounds to make: 1 to {MOST_SOUNDS}; take fewer rows, seeds or prompts")
    used = embedding or TextureStatistics()
    paths = [one.path for one in references]
    sets = embed(paths, used), None if fad is None else embed(paths, fad)
    truth = np.stack([features_of(*one.audio()) for one in references])
    rows = []
    for number, entry in enumerate(table):
        before = number * len(references) * len(seeds)
        rows.append(
            _row(
                entry,
                references,
                folder / f"{number:02d}-{entry.backend.name}",
                (used, fad),
                sets,
                truth,
                ear,
                tuple(seeds),
                seconds,
                rounds,
                lambda done, before=before, name=entry.backend.name: report(before + done, whole, name),  # type: ignore[misc]
            )
        )
    return Found(rows, len(references), tuple(seeds), seconds, used.name, "" if fad is None else fad.name)


def _row(
    entry: Entry,
    references: Sequence[Note],
    folder: Path,
    embeddings: tuple[Embedding, Embedding | None],
    sets: tuple[Set, Set | None],
    truth: Float32,
    ear: Ear,
    seeds: tuple[int, ...],
    seconds: float,
    rounds: int,
    report: Callable[[int], None],
) -> Row:
    paths, heard, of, silent, done = [], [], [], 0, 0
    for seed in seeds:
        for place, one in enumerate(references):
            # Notes of one instrument share a prompt: they are not to share a sound.
            own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0]) % 2**31
            made = entry.backend.make(one.prompt, own, seconds, entry.settings, lambda *_: None)
            done += 1
            report(done)
            if level_dbfs(made.audio) < QUIETEST_DBFS:
                silent += 1
                continue
            path = folder / f"{seed}-{one.name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, made, entry.backend.name, one.prompt, own)
            paths.append(path)
            heard.append(features_of(made.audio, made.sample_rate))
            of.append(place)
    if len(paths) < _FEWEST_FOR_INTERVAL:
        raise DuendeError(f"{entry.backend.name}: {silent} of {done} sounds are silent: nothing is left to measure")
    distances = [
        None if used is None or reference is None else compare(reference, embed(paths, used), used.name, rounds)
        for used, reference in zip(embeddings, sets, strict=True)
    ]
    own_distance = distances[0]
    assert own_distance is not None
    features = np.stack(heard)
    words = np.stack([vector_of(one.prompt.split()) for one in references])
    sounds, meanings = ear.heard(features).astype(np.float64), ear.meant(words).astype(np.float64)
    cosines = sounds @ meanings.T
    mine = np.array([cosines[row, place] for row, place in enumerate(of)])
    others = np.array([_of_others(cosines[row], words, place) for row, place in enumerate(of)])
    apart = word_divergence(ear.judged(truth)[of], ear.judged(features))
    known = getattr(entry.backend, "parameters", None)
    return Row(
        entry.backend.name,
        int(known()) if callable(known) else None,
        entry.settings,
        len(paths),
        silent,
        own_distance.frechet,
        own_distance.kernel,
        mean_interval(apart, rounds),
        None if distances[1] is None else distances[1].frechet,
        mean_interval(mine, rounds),
        mean_interval(others, rounds),
        own_distance.notices,
    )


def word_divergence(first: Float32, second: Float32) -> Float64:
    """KL of what is heard in two sounds, from logits [n, words]: nats, [n], each word a coin of its own."""
    p, q = (1.0 / (1.0 + np.exp(-np.clip(one.astype(np.float64), -15.0, 15.0))) for one in (first, second))
    return np.asarray((p * np.log(p / q) + (1.0 - p) * np.log((1.0 - p) / (1.0 - q))).sum(axis=1))


def mean_interval(values: Float64, rounds: int, seed: int = 1) -> Interval:
    """The mean of values [n] and its 95 % interval by bootstrap; nan where there are fewer than three."""
    if rounds < 1 or len(values) < _FEWEST_FOR_INTERVAL:
        return Interval(float(values.mean()), float("nan"), float("nan"))
    drawn = np.random.default_rng([seed, 0xB007]).integers(0, len(values), (rounds, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def shown(found: Found) -> list[tuple[str, ...]]:
    """Rows of text under HEAD."""
    return [
        (
            row.model,
            "-" if row.parameters is None else f"{row.parameters / 1e6:.1f} M",
            row.settings.get("steps", "-"),
            row.settings.get("guidance", "-"),
            f"{row.n}" + (f" ({row.silent} silent)" if row.silent else ""),
            _text(row.frechet),
            _text(row.kernel, 3),
            _text(row.kl),
            "-" if row.fad is None else _text(row.fad),
            "-",
            _text(row.relevance),
            _text(row.chance),
        )
        for row in found.rows
    ]


def published() -> list[tuple[str, ...]]:
    """The thesis' table: model, parameters, FD, KL, FAD, quality, relevance."""
    return [
        (model, size, *("-" if value is None else f"{value:g}" for value in values))
        for model, size, *values in PUBLISHED
    ]


def as_json(found: Found) -> dict[str, Any]:
    """Plain data."""

    def interval(one: Interval | None) -> dict[str, float | None] | None:
        if one is None:
            return None
        return {
            name: value if np.isfinite(value) else None
            for name, value in (("value", one.value), ("low", one.low), ("high", one.high))
        }

    return {
        "references": found.references,
        "seeds": list(found.seeds),
        "seconds": found.seconds,
        "embedding": found.embedding,
        "fad_embedding": found.fad_embedding or None,
        "words": len(WORDS),
        "rows": [
            {
                "model": row.model,
                "parameters": row.parameters,
                "settings": dict(row.settings),
                "n": row.n,
                "silent": row.silent,
                "frechet": interval(row.frechet),
                "kernel": interval(row.kernel),
                "kl": interval(row.kl),
                "fad": interval(row.fad),
                "quality": None,
                "relevance": interval(row.relevance),
                "chance": interval(row.chance),
                "notices": list(row.notices),
            }
            for row in found.rows
        ],
    }


def _of_others(cosines: Float64, words: Float32, place: int) -> float:
    """Mean over prompts that say something else; of all where none does."""
    apart = np.any(words != words[place], axis=1)
    return float(cosines[apart].mean() if apart.any() else cosines.mean())


def _text(one: Interval, digits: int = 2) -> str:
    if not np.isfinite(one.low):
        return f"{one.value:.{digits}f}"
    return f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"
