"""Offline style transfer in one call, by any system: what surrounds it, from the content's channels to the result's.

A system knows one channel of a length that fits into memory. Here a content is cut and joined (`chunks`), its sides
follow its middle (`stereo`), styles are weighted, pooled, brought to its tempo and key (`align`), what it will cost is
said before it starts, and what was done is kept, so that a stopped transfer goes on where it was.
"""

import dataclasses
import hashlib
import importlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ..checkpoint import Checkpoint
from ..footprint import PeakMemory, memory_free
from ..sounds import QUIETEST_DBFS, level_dbfs
from .align import to_key, to_tempo
from .chunks import SHORTEST_S, Span, join, plan
from .registry import parse_choice, settings_of, teacher
from .resume import error_names, job_key, steps_of, table_of
from .settings import plain, with_texts, with_values
from .stereo import follow, merge, split
from .teacher import Cost, Job, Made, Step, StyleSound, Teacher

Float32 = npt.NDArray[np.float32]
Stereo = Literal["mono", "linked", "mid-side"]

MOST_STYLES = 16
FREE_SHARE = 0.7
"""Of the free memory a transfer may take so much before its content is cut."""

FAR_QUIETER_DB = 12.0
"""A result that is so far below what was played is said: some systems fade away as published."""

SIDE_DB = -60.0
"""Level of a side, against the middle, under which it is left out."""

_WAY_OUT = "run it again without --resume"


@dataclass(frozen=True)
class Choice:
    """A system, the name of its form, and the form's settings with what was changed in them."""

    system: Teacher
    form: str
    settings: Any

    @property
    def title(self) -> str:
        return f"{self.system.name}:{self.form}"

    @property
    def sample_rate(self) -> int:
        return int(self.settings.sample_rate)


@dataclass(frozen=True)
class Options:
    """What surrounds a system.

    stereo:     of a content with two sides: mono (mixed), linked (the middle is restyled, the sides keep their
                proportions to it; no more work), mid-side (both are restyled, twice the work).
    tempo, key: bring the styles there first. trim: content and styles to the shortest of them. pool: the styles are
                one, end to end.
    chunk_s:    cut a content that is longer, into chunks of at most so long; None: only for the memory's sake.
    max_memory: GiB that may be taken; None: 70 % of what is free.
    checkpoint: a file for the state; resume: go on with what it holds.
    """

    stereo: Stereo = "mono"
    tempo: bool = False
    key: bool = False
    trim: bool = False
    pool: bool = False
    chunk_s: float | None = None
    max_memory: float | None = None
    seed: int = 1
    device: str = "cpu"
    checkpoint: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if self.stereo not in ("mono", "linked", "mid-side"):
            raise DuendeError(f"stereo {self.stereo!r}: choose mono, linked or mid-side")
        for name, value, low, high in (
            ("chunk", self.chunk_s, SHORTEST_S, 3600.0),
            ("max-memory", self.max_memory, 0.01, 1e5),
            ("seed", self.seed, 0, 2**32 - 1),
        ):
            if value is not None and not low <= value <= high:
                raise DuendeError(f"{name} {value:g} is out of range: {low:g} to {high:g}")
        if self.resume and self.checkpoint is None:
            raise DuendeError("--resume needs --checkpoint FILE: say which")


@dataclass(frozen=True)
class Progress:
    """A step of one part of the work; parts: chunks times sides."""

    step: Step
    part: int
    parts: int


@dataclass(frozen=True)
class Transferred:
    """A result and its origin.

    audio:    float32 [samples] or [samples, 2] at sample_rate, as long as the content that was used.
    content:  mono [samples], what was used of it. styles: what the system was given.
    history:  errors before the first and after every iteration; of several parts their sums, a part that has ended
              counting with its last. Correlation: the mean.
    forecast: what was said before. seconds, memory: what it took, memory in bytes on top of what was taken before.
    """

    audio: Float32
    sample_rate: int
    content: Float32
    styles: tuple[StyleSound, ...]
    history: list[Step]
    parts: int
    forecast: Cost
    seconds: float
    memory: int
    notices: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def choose(
    text: str,
    sets: Sequence[str] = (),
    *,
    form: str | None = None,
    iterations: int | None = None,
    speech: bool = False,
) -> Choice:
    """A system from NAME or NAME:FORM, and settings from NAME=VALUE texts. DuendeError for what does not exist."""
    name, named = parse_choice(text)
    system = teacher(name)
    chosen = form or named
    settings: Any = settings_of(system, chosen)
    owner = f"teacher {name}"
    if speech:
        if not any(entry.name == "speech" for entry in dataclasses.fields(settings)):
            raise DuendeError(f"{owner} does not tell speech from other sounds: leave --speech away, or take sms")
        settings = with_values(settings, {"speech": "true"}, owner)
    if iterations is not None:
        settings = with_iterations(settings, iterations, owner)
    return Choice(system, chosen, with_texts(settings, sets, owner))


def with_iterations(settings: Any, iterations: int, owner: str) -> Any:
    """Settings of so many iterations, whatever the system calls them (steps, epochs)."""
    names = [entry.name for entry in dataclasses.fields(settings)]
    for name in ("iterations", "steps", "epochs"):
        if name in names:
            return with_values(settings, {name: str(iterations)}, owner)
    raise DuendeError(f"{owner} does not iterate: leave --iterations away")


def transfer(
    content: Float32,
    styles: Sequence[StyleSound],
    choice: Choice,
    options: Options | None = None,
    report: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Transferred:
    """Give content the style of other sounds.

    content: float32 [samples] or [samples, channels], styles: mono, all at choice.sample_rate, of any lengths.
    report:  told every step. note: told each notice at once, the forecast of time and memory among them.
    Raises DuendeError for sounds that are silent, too short or not numbers, where memory does not suffice, and what
    the system itself refuses.
    """
    options, started = options or Options(), time.perf_counter()
    notices: list[str] = []

    def tell(text: str) -> None:
        notices.append(text)
        if note is not None:
            note(text)

    check_device(options.device)
    _check_checkpoint(options)
    with PeakMemory() as memory:
        sides = _sides(content, options, tell)
        sides, given = _prepared(sides, styles, choice, options, tell)
        _check(sides[0], given, choice)
        length = _chunk_length(len(sides[0]), given, choice, options)
        spans = plan(len(sides[0]), length, choice.sample_rate)
        if len(sides) == 2 and options.stereo == "mid-side" and not _side_counts(*sides):
            tell(f"the sides are under {SIDE_DB:g} dB of the middle: left out")
            sides = [sides[0], np.zeros_like(sides[0])]
        worked = sides if options.stereo == "mid-side" else sides[:1]
        work = [(line, span) for line in worked for span in spans if _sounds(line, span)]
        forecast = _forecast([span.length for _, span in work], given, choice)
        tell(_forecast_line(forecast, len(spans), choice, options.device))
        made = _made_parts(work, given, choice, options, report)
        lines = _joined(worked, spans, work, made, choice.sample_rate)
    audio = lines[0]
    if len(sides) == 2:
        if options.stereo == "linked":
            audio = merge(lines[0], follow(sides[0], sides[1], lines[0], choice.sample_rate))
        else:
            audio = merge(*lines)
    for text in dict.fromkeys(text for one in made for text in one.notices):
        tell(text)
    for text in _faded(sides[0], lines[0], choice):
        tell(text)
    return Transferred(
        audio=audio,
        sample_rate=choice.sample_rate,
        content=sides[0],
        styles=tuple(given),
        history=summed([one.history for one in made]),
        parts=len(work),
        forecast=forecast,
        seconds=time.perf_counter() - started,
        memory=max(memory.grown, 0),
        notices=notices,
        details=made[0].details if len(made) == 1 else {"parts": [one.details for one in made]},
    )


def check_sound(audio: Float32, name: str, shortest: int, quietest_dbfs: float = QUIETEST_DBFS) -> None:
    """ValueError unless mono; DuendeError if shorter than so many samples, not finite, or too quiet."""
    if audio.ndim != 1:
        raise ValueError(f"{name} has shape {audio.shape}: give one channel")
    if len(audio) < shortest:
        raise DuendeError(f"{name}: {len(audio)} samples are too few; it needs {shortest}")
    if not np.isfinite(audio).all():
        raise DuendeError(f"{name}: holds samples that are not numbers")
    level = level_dbfs(audio)
    if level < quietest_dbfs:
        raise DuendeError(f"{name}: silent ({level:.0f} dBFS); it needs sound above {quietest_dbfs:g} dBFS")


def check_device(device: str) -> None:
    """DuendeError for a device of torch that is not to be had here; cpu asks for no torch."""
    if device == "cpu":
        return
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise DuendeError(f"device {device!r} needs torch: pip install 'duende[train]'") from error
    try:
        torch.zeros(1, device=torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DuendeError(
            f"device {device!r} is not to be had here: use cpu, or cuda with a CUDA build of torch"
        ) from (error)


def summed(histories: Sequence[Sequence[Step]]) -> list[Step]:
    """One history of several parts that ran one after the other."""
    histories = [history for history in histories if history]
    if len(histories) <= 1:
        return list(histories[0]) if histories else []
    longest = max(len(history) for history in histories)
    taken = []
    for place in range(longest):
        steps = [history[min(place, len(history) - 1)] for history in histories]
        related = [step.correlation for step in steps if math.isfinite(step.correlation)]
        taken.append(
            Step(
                iteration=max(step.iteration for step in steps),
                iterations=max(step.iterations for step in steps),
                errors={name: sum(step.errors.get(name, 0.0) for step in steps) for name in error_names(steps)},
                seconds=sum(step.seconds for step in steps),
                correlation=sum(related) / len(related) if related else math.nan,
            )
        )
    return taken


class Amount(NamedTuple):
    """Bytes in words."""

    bytes: float

    def __str__(self) -> str:
        return f"{self.bytes / 1e9:.1f} GB" if self.bytes >= 1e9 else f"{max(1.0, self.bytes / 1e6):.0f} MB"


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90.0:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60.0:.0f} minutes" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} hours"


def _sides(content: Float32, options: Options, tell: Callable[[str], None]) -> list[Float32]:
    """[mono], or [mid, side]."""
    if content.ndim == 1:
        return [np.ascontiguousarray(content, dtype=np.float32)]
    channels = content.shape[1]
    if options.stereo != "mono" and channels == 2:
        return list(split(content))
    if options.stereo != "mono":
        tell(f"the content has {channels} channel{'s' if channels > 1 else ''}, not two: made in mono")
    return [np.ascontiguousarray(content.mean(axis=1), dtype=np.float32)]


def _prepared(
    sides: list[Float32],
    styles: Sequence[StyleSound],
    choice: Choice,
    options: Options,
    tell: Callable[[str], None],
) -> tuple[list[Float32], list[StyleSound]]:
    """Sides and styles after tempo, key, trimming and pooling; weights of sum 1."""
    if not 1 <= len(styles) <= MOST_STYLES:
        raise DuendeError(f"{len(styles)} styles: give 1 to {MOST_STYLES}")
    total = sum(style.weight for style in styles)
    if not all(style.weight >= 0.0 for style in styles) or not 0.0 < total < math.inf:
        raise DuendeError("weights of styles: give numbers of 0 and more, not all 0")
    rate, given = choice.sample_rate, []
    for style in styles:
        if style.weight == 0.0:
            continue
        check_sound(style.audio, style.name, 1)
        audio = np.ascontiguousarray(style.audio, dtype=np.float32)
        for wanted, align in ((options.tempo, to_tempo), (options.key, to_key)):
            if wanted:
                aligned = align(audio, sides[0], rate)
                audio = aligned.audio
                tell(f"{style.name}, {aligned.said}")
        given.append(StyleSound(audio, style.weight / total, style.name))
    if options.pool and len(given) > 1:
        name = " + ".join(style.name for style in given)
        given = [StyleSound(np.concatenate([style.audio for style in given]), 1.0, name)]
    if options.trim:
        shortest = min(len(sides[0]), *(len(style.audio) for style in given))
        tell(f"content and style trimmed to {shortest / rate:.2f} s")
        sides = [side[:shortest] for side in sides]
        given = [dataclasses.replace(style, audio=style.audio[:shortest]) for style in given]
    return sides, given


def _check(content: Float32, styles: Sequence[StyleSound], choice: Choice) -> None:
    shortest = choice.system.shortest(choice.settings)
    for name, audio in (("content", content), *((style.name, style.audio) for style in styles)):
        check_sound(audio, name, shortest)


def _side_counts(mid: Float32, side: Float32) -> bool:
    return level_dbfs(side) > max(level_dbfs(mid) + SIDE_DB, QUIETEST_DBFS)


def _sounds(line: Float32, span: Span) -> bool:
    return level_dbfs(line[span.start : span.stop]) >= QUIETEST_DBFS


def _chunk_length(samples: int, styles: Sequence[StyleSound], choice: Choice, options: Options) -> int:
    """Samples of a chunk: what was asked for, or less where memory does not suffice for it."""
    rate = choice.sample_rate
    length = samples if options.chunk_s is None else min(samples, round(options.chunk_s * rate))
    allowed = FREE_SHARE * memory_free() if options.max_memory is None else options.max_memory * 2.0**30
    style_samples = sum(len(style.audio) for style in styles)

    def needed(count: int) -> float:
        return choice.system.cost(count, style_samples, choice.settings).memory

    if needed(length) <= allowed:
        return length
    shortest = min(length, max(round(SHORTEST_S * rate), choice.system.shortest(choice.settings)))
    if needed(shortest) > allowed:
        raise DuendeError(
            f"about {Amount(needed(shortest))} of memory are needed even for {shortest / rate:.1f} s at a time, "
            f"{Amount(allowed)} are allowed: shorten the style, or raise --max-memory"
        )
    low, high = shortest, length
    while high - low > rate // 10:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= allowed else (low, middle)
    return low


def _forecast(lengths: Sequence[int], styles: Sequence[StyleSound], choice: Choice) -> Cost:
    """Of all parts, one after the other."""
    style_samples = sum(len(style.audio) for style in styles)
    costs = [choice.system.cost(length, style_samples, choice.settings) for length in lengths]
    return Cost(sum(cost.seconds for cost in costs), max((cost.memory for cost in costs), default=0))


def _forecast_line(forecast: Cost, chunks: int, choice: Choice, device: str) -> str:
    cut = f", in {chunks} chunks" if chunks > 1 else ""
    where = "" if device == "cpu" else f" (on the CPU; {device} should need less)"
    return f"{choice.title}: about {duration(forecast.seconds)} and {Amount(forecast.memory)}{cut}{where}"


def _check_checkpoint(options: Options) -> None:
    """Nothing that is there already is written over."""
    path = options.checkpoint
    if path is None:
        return
    if not path.parent.is_dir():
        raise DuendeError(f"{path.parent}: no such folder to write to")
    if path.exists() and not options.resume:
        raise DuendeError(f"{path} exists: go on with it by --resume, or delete it")


def _made_parts(
    work: Sequence[tuple[Float32, Span]],
    styles: Sequence[StyleSound],
    choice: Choice,
    options: Options,
    report: Callable[[Progress], None] | None,
) -> list[Made]:
    """What the system makes of every part."""
    store = _Store(work, styles, choice, options) if len(work) > 1 and options.checkpoint is not None else None
    made = []
    for number, (line, span) in enumerate(work):
        found = None if store is None else store.finished.get(number)
        if found is None:
            job = Job(
                content=np.ascontiguousarray(line[span.start : span.stop]),
                styles=tuple(styles),
                seed=options.seed,
                device=options.device,
                checkpoint=options.checkpoint if store is None else store.inner,
                report=_reporter(report, number, len(work)),
            )
            found = choice.system.make(job, choice.settings)
            _check_made(found, job, choice)
            if store is not None:
                store.add(number, found)
        made.append(found)
    if store is not None:
        store.remove()
    return made


def _reporter(report: Callable[[Progress], None] | None, number: int, parts: int) -> Callable[[Step], None]:
    def tell(step: Step) -> None:
        if report is not None:
            report(Progress(step, number + 1, parts))

    return tell


def _check_made(made: Made, job: Job, choice: Choice) -> None:
    if made.audio.shape != job.content.shape:
        raise ValueError(f"{choice.title} made {made.audio.shape} of {job.content.shape}")
    if not np.isfinite(made.audio).all():
        raise DuendeError(f"{choice.title}: the search ran away; a lower learning rate or weight may hold it")


def _faded(content: Float32, made: Float32, choice: Choice) -> list[str]:
    """A line where the result is far quieter than what was played, with the way out; else nothing."""
    level_db = level_dbfs(made)
    quieter_db = level_dbfs(content) - level_db
    if quieter_db < FAR_QUIETER_DB:
        return []
    name = choice.system.name
    way = f"--teacher {name}:repaired" if choice.form == "faithful" else f"other settings (duende teachers {name})"
    return [
        f"the result is {quieter_db:.0f} dB quieter than the content ({level_db:.0f} dBFS), as {choice.title} left it: "
        f"try {way}"
    ]


class _Store:
    """The finished parts of a transfer in options.checkpoint, the one under way in a file beside it."""

    def __init__(
        self, work: Sequence[tuple[Float32, Span]], styles: Sequence[StyleSound], choice: Choice, options: Options
    ) -> None:
        assert options.checkpoint is not None
        self._file = Checkpoint(options.checkpoint, _WAY_OUT)
        self.inner = options.checkpoint.with_name(f"{options.checkpoint.name}.part")
        parts = np.concatenate([line[span.start : span.stop] for line, span in work])
        job = Job(parts, tuple(styles), options.seed, options.device)
        key = job_key(choice.system.name, job, choice.settings)
        spans = json.dumps([asdict(span) for _, span in work])
        self._work = hashlib.sha256(f"{key} {spans}".encode()).hexdigest()
        self.finished: dict[int, Made] = {}
        if not options.resume:
            self.inner.unlink(missing_ok=True)
            return
        kept = self._file.read(self._work)
        if kept is not None:
            arrays, notes = kept
            for row in notes["parts"]:
                number = int(row["number"])
                history = steps_of(arrays[f"history{number}"], row["errors"])
                self.finished[number] = Made(arrays[f"audio{number}"], history, row["notices"], row["details"])

    def add(self, number: int, made: Made) -> None:
        self.finished[number] = made
        arrays: dict[str, npt.NDArray[Any]] = {}
        rows = []
        for place, one in self.finished.items():
            arrays[f"audio{place}"] = one.audio
            names, arrays[f"history{place}"] = table_of(one.history)
            details = json.loads(json.dumps(one.details, default=str))
            rows.append({"number": place, "errors": names, "notices": one.notices, "details": details})
        self._file.write(arrays, {"work": self._work, "parts": rows})

    def remove(self) -> None:
        self._file.remove()
        self.inner.unlink(missing_ok=True)


def _joined(
    worked: Sequence[Float32],
    spans: Sequence[Span],
    work: Sequence[tuple[Float32, Span]],
    made: Sequence[Made],
    sample_rate: int,
) -> list[Float32]:
    """Every side from its parts; a part that is silent was not worked on and stays so."""
    found = {(id(line), span.start): one.audio for (line, span), one in zip(work, made, strict=True)}
    return [
        join(
            [found.get((id(line), span.start), np.zeros(span.length, dtype=np.float32)) for span in spans],
            spans,
            line,
            sample_rate,
        )
        for line in worked
    ]


def described(choice: Choice) -> dict[str, Any]:
    """A choice as plain values: teacher, form, and all settings."""
    return {"teacher": choice.system.name, "form": choice.form, "settings": plain(choice.settings)}
