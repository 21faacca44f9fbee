"""Several transfers of one content and style on one page: systems compared, or one setting after the other tried.

The page (HTML) needs nothing else: players, a table of measures beside the untouched content and a matched equaliser,
time and memory, and for each its spectrograms, errors over the iterations and settings.
"""

import contextlib
import io
import itertools
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ... import DuendeError
from ...presets.format import write_atomically
from ..page import data_url, figures, page, pairs, sound_url, table
from ..pictures import spectrogram_figure
from ..provenance import Provenance, write_sound
from ..report import loss_curves
from ..sounds import load_sound
from ..work.driver import Item, State, run_batch
from ..work.here import Here
from ..work.open import open_runner
from ..work.store import Result, Store
from ..work.task import Task
from .files import (
    LONGEST_CONTENT_S,
    MEASURED_S,
    MEASURING_HZ,
    StyleFile,
    check_place,
    fitted,
    measured_pair,
    origin_of,
)
from .resume import error_names
from .rows import row_items, row_of
from .settings import plain, with_texts
from .teacher import Step
from .transfer import Amount, Choice, Options, Progress, Transferred, duration

Float32 = npt.NDArray[np.float32]
Row = tuple[str, Choice]

MOST_ROWS = 64
LOUDEST = 0.97
CORRELATION = "correlation with the content"
UNSAFE = re.compile(r"[^A-Za-z0-9_.=-]+")
COLUMNS = (
    ("style_ratio", "style distance / matched EQ's"),
    ("envelope_ratio", "envelope error / matched EQ's"),
    ("mfcc_distance", "MFCC distance"),
    ("chroma", "chroma"),
    ("multi_pitch", "multi-pitch"),
    ("onset_f1", "onset F1"),
    ("loudness", "loudness"),
    ("harmonic_share", "harmonic share"),
    ("drone_db", "drone, dB"),
    ("centroid_hz", "centroid, Hz"),
    ("pitch_salience", "pitch salience"),
    ("convergence_db", "convergence, dB"),
)


@dataclass(frozen=True)
class Gallery:
    """What was written: how many sounds, and which could not be made, with the reason."""

    path: Path
    made: int
    refused: dict[str, str]
    measures: dict[str, dict[str, float | None]]
    seconds: float


def compared(names: str, choose: Callable[[str], Choice]) -> list[Row]:
    """A row for each of NAME,NAME:FORM,...; DuendeError for unknown ones, and where one comes twice."""
    rows = [(choice.title, choice) for choice in (choose(name.strip()) for name in names.split(",") if name.strip())]
    for place, (title, _) in enumerate(rows):
        if title in [other for other, _ in rows[:place]]:
            raise DuendeError(f"--compare {names!r}: {title} is there twice")
    if not rows:
        raise DuendeError("--compare: name teachers, as cnn,sms:repaired")
    return rows


def swept(rows: Sequence[Row], sweeps: Sequence[str]) -> list[Row]:
    """Every row with every combination of NAME=VALUE,VALUE,... DuendeError for unknown settings, and over 64 rows."""
    axes = []
    for text in sweeps:
        name, mark, values = text.partition("=")
        given = [value.strip() for value in values.split(",") if value.strip()]
        if not mark or not given:
            raise DuendeError(f"--sweep {text!r}: write NAME=VALUE,VALUE, as alpha=0.01,0.1")
        axes.append([f"{name.strip()}={value}" for value in given])
    made = []
    for (title, choice), *_ in zip(rows, strict=False):
        for sets in itertools.product(*axes):
            owner = f"teacher {choice.system.name}"
            one = replace(choice, settings=with_texts(choice.settings, sets, owner))
            made.append((" ".join(part for part in (title, *sets) if part) or choice.title, one))
            if len(made) > MOST_ROWS:
                raise DuendeError(f"more than {MOST_ROWS} sounds: sweep fewer values")
    return made


def gallery(
    content: Path,
    styles: Sequence[StyleFile],
    target: Path,
    rows: Sequence[Row],
    options: Options | None = None,
    *,
    report: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    begin: Callable[[str], None] | None = None,
    sounds: Path | None = None,
    store: Path | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    tell: Callable[[State], None] | None = None,
) -> Gallery:
    """Make every row of one content and the styles, and write the page.

    target: a file ending in .html. begin: told the title of each. A row that its system refuses stands on the page with
    the reason. sounds: folder for content.wav, style.wav and one sound per row, as `duende listen` takes them.
    store: folder in which finished rows are kept, so that none is made twice. workers, cluster: as `open_runner`;
    without both, one row after the other in this process, which alone reports every step. tell: told rows that are
    done.
    DuendeError for files that cannot be used, and where no row could be made.
    """
    options, note, started = options or Options(), note or (lambda text: None), time.perf_counter()
    if target.suffix.lower() not in (".html", ".htm"):
        raise DuendeError(f"{target}: --compare and --sweep write a page: name a file ending in .html")
    check_place(target, [content, *(style.path for style in styles)])
    if options.checkpoint is not None:
        raise DuendeError("--checkpoint is for one transfer, not for --compare or --sweep")
    longest = round(MEASURED_S * MEASURING_HZ)
    guitar = load_sound(content, MEASURING_HZ, use="a transfer", longest_s=LONGEST_CONTENT_S)[:longest]
    heaviest = max(styles, key=lambda style: style.weight).path
    clip = load_sound(heaviest, MEASURING_HZ)[:longest]
    made: dict[str, Transferred] = {}
    with contextlib.ExitStack() as around:
        folder = Path(around.enter_context(tempfile.TemporaryDirectory())) if store is None else store
        kept = Store(folder)
        around.enter_context(kept.held(alone=False))
        here = cluster is None and workers is None
        runner = _Told(kept.staging, report, begin) if here else open_runner(cluster, workers, kept.staging)

        def finish(item: Item, result: Result) -> None:
            made[item.name] = row_of(result)

        summary = run_batch(
            row_items(content, styles, rows, options),
            around.enter_context(runner),
            kept,
            len(rows),
            finish=finish,
            tell=tell or (lambda state: None),
            say=note,
        )
    refused = dict(summary.failed)
    made = {title: made[title] for title, _ in rows if title in made}
    for text in dict.fromkeys(text for one in made.values() for text in one.notices):
        note(text)
    if not made:
        raise DuendeError("; ".join(f"{title}: {reason}" for title, reason in refused.items()))
    outputs = {title: _heard(done, len(guitar)) for title, done in made.items()}
    measures = measured_pair(guitar, clip, outputs, note)
    if sounds is not None:
        for name, audio in (("content", guitar), ("style", clip)):
            _keep(sounds / f"{name}.wav", audio, None)
        for title, audio in outputs.items():
            origin = origin_of(content, styles, dict(rows)[title], options.seed)
            _keep(sounds / f"{UNSAFE.sub('-', title)}.wav", audio, origin)
    text = _page(content.name, heaviest.name, guitar, clip, dict(rows), made, refused, outputs, measures)
    write_atomically(target, text.encode("utf-8"))
    return Gallery(target, len(made), refused, measures, time.perf_counter() - started)


class _Told(Here):
    """Rows in this process, the title of each told before."""

    def __init__(
        self, staging: Path, report: Callable[[Progress], None] | None, begin: Callable[[str], None] | None
    ) -> None:
        super().__init__(staging, report or (lambda progress: None))
        self._begin = begin or (lambda title: None)

    def give(self, worker: str, task: Task) -> None:
        self._begin(task.name)
        super().give(worker, task)


def _keep(path: Path, audio: Float32, origin: Provenance | None) -> None:
    """A sound as it is on the page, with its origin where it was made; what would clip is turned down."""
    gain = np.float32(min(1.0, LOUDEST / max(float(np.abs(audio).max(initial=0.0)), 1e-9)))
    if origin is not None:
        write_sound(path, audio * gain, MEASURING_HZ, "WAV", "PCM_24", origin)
        return
    file = io.BytesIO()
    soundfile.write(file, audio * gain, MEASURING_HZ, "PCM_24", format="WAV")
    write_atomically(path, file.getvalue())


def _heard(done: Transferred, length: int) -> Float32:
    """A result as it is measured: mono [length] at 48 kHz."""
    mono = done.audio if done.audio.ndim == 1 else done.audio.mean(axis=1)
    return fitted(soxr.resample(mono, done.sample_rate, MEASURING_HZ), length)


def _page(
    content: str,
    style: str,
    guitar: Float32,
    clip: Float32,
    rows: Mapping[str, Choice],
    made: Mapping[str, Transferred],
    refused: Mapping[str, str],
    outputs: Mapping[str, Float32],
    measures: Mapping[str, Mapping[str, float | None]],
) -> str:
    heading = f"{content} in the style of {style}"
    parts = [
        f"<h1>{escape(heading)}</h1>",
        '<div class="sounds">',
        _player(f"content: {content}", guitar),
        _player(f"style: {style}", clip),
        *(_player(title, audio) for title, audio in outputs.items()),
        "</div>",
        "<h2>Measures</h2>",
        _measures(measures, list(outputs)),
        "<h2>Cost</h2>",
        _cost(made),
    ]
    if refused:
        parts += ["<h2>Not made</h2>", pairs(refused.items())]
    for title, done in made.items():
        sounds = [(f"content: {content}", guitar), (f"style: {style}", clip), (title, outputs[title])]
        parts += [
            f"<h2>{escape(title)}</h2>",
            f'<p class="soft">{escape(rows[title].system.about.get(rows[title].form, ""))}</p>',
            _picture(f"spectrograms: content, style, {title}", sounds),
            f'<div class="curves">{"".join(loss_curves(_curves(done.history), [CORRELATION]))}</div>',
            pairs((key, str(value)) for key, value in plain(rows[title].settings).items()),
        ]
        if done.notices:
            parts.append(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in done.notices)}</ul>")
    return page(heading, parts)


def _player(label: str, audio: Float32) -> str:
    """A player; what would clip is turned down."""
    gain = np.float32(min(1.0, LOUDEST / max(float(np.abs(audio).max(initial=0.0)), 1e-9)))
    named, source = escape(label), sound_url(audio * gain, MEASURING_HZ)
    return (
        f"<figure><figcaption>{named}</figcaption>"
        f'<audio controls preload="metadata" aria-label="{named}" src="{source}"></audio>'
        "</figure>"
    )


def _measures(measures: Mapping[str, Mapping[str, float | None]], titles: Sequence[str]) -> str:
    """One line per sound, those to compare with first."""
    if not measures:
        return '<p class="soft">Not measured.</p>'
    names = [name for name in ("untouched input", "matched EQ", *titles) if name in measures]
    lines = []
    for name in names:
        cells = [measures[name].get(column) for column, _ in COLUMNS]
        lines.append(figures([name, *("" if cell is None else f"{cell:.3g}" for cell in cells)]))
    return table(["sound", *(title for _, title in COLUMNS)], lines, "figures")


def _cost(made: Mapping[str, Transferred]) -> str:
    lines = [
        figures(
            [
                title,
                duration(done.forecast.seconds),
                f"{done.seconds:.1f} s",
                f"{done.seconds / max(len(done.audio) / done.sample_rate, 1e-9):.1f}",
                str(Amount(done.forecast.memory)),
                str(Amount(done.memory)),
                str(done.history[-1].iteration) if done.history else "",
            ]
        )
        for title, done in made.items()
    ]
    head = ["sound", "forecast", "time", "times its length", "memory forecast", "memory", "iterations"]
    return table(head, lines, "figures")


def _picture(described: str, rows: list[tuple[str, Float32]]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        picture = spectrogram_figure(Path(folder) / "picture.png", rows, MEASURING_HZ)
        source = data_url("image/png", picture.read_bytes())
    return f'<figure class="picture"><img alt="{escape(described)}" src="{source}"></figure>'


def _curves(history: Sequence[Step]) -> list[dict[str, float]]:
    """A history as `report.loss_curves` takes it."""
    names = error_names(history)
    return [
        {"step": float(step.iteration)}
        | {name: step.errors[name] for name in names if name in step.errors}
        | {CORRELATION: step.correlation}
        for step in history
    ]
