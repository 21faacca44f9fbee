"""Forging: from recordings to a preset in the library, ready to play."""

import functools
import math
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from .. import DuendeError
from ..engine.model import Model, load_model
from ..engine.preset import build_rig
from ..engine.render import render_array
from ..engine.slots import processor_for
from ..engine.spec import PRECISIONS, Clip, Provenance
from ..presets.format import FORMAT, Preset, SlotPreset
from ..presets.library import Entry, Library, check_name, home
from . import measures
from .checkpoint import Checkpoint
from .corpus import UNALTERED, content_pieces, load_folder
from .distill import DistillConfig, Distiller, Progress
from .evaluate import evaluate
from .footprint import memory_free
from .kept import Measure, kept_share
from .model_file import model_bytes, provenance, with_quality
from .pictures import style_picture
from .pluck import demo_phrase
from .precision import convert
from .report import write_report
from .sounds import load_sound
from .style import StyleClip, pooled
from .takes import is_cut_from
from .teachers.targets import lesson, lesson_seconds, teacher_targets
from .teachers.transfer import duration
from .texture.distill import TextureConfig, TextureDistiller
from .texture.model_file import texture_bytes

Float32 = npt.NDArray[np.float32]
Mode = Literal["timbre", "texture"]

NO_TEACHER = "none"
CLIPPED_SHARE = 0.001
TARGET_PIECES = 24
LEAST_PIECES = 2
TEACHING = 0.4
"""Of the time allowed a teacher may take so much, before the training: a slow one plays fewer pieces."""
ASKING = 0.2
"""Of the time allowed a teacher may take so much after it, to say what the student keeps: a slow one is not asked."""
MINUTES, FAMILY_MINUTES = 3.0, 8.0
HEARING_S, MEASURING_S = 30.0, 15.0
MOST_STYLES = 8
LEAST_SHARE = 0.3


@dataclass(frozen=True)
class StyleSource:
    """One style of a preset: its name, the recordings that are pooled, and what is known of their origin."""

    name: str
    files: tuple[Path, ...]
    clips: tuple[Clip, ...] = ()


@dataclass(frozen=True)
class ForgeRequest:
    """What to forge.

    styles:  one, or up to eight that the preset morphs between.
    content: folder with the player's recordings to train on; without it the built-in strings are.
    teacher: whose sound to learn from beside the statistics, one of `teachers.registry.NAMES` or "none"; None for what
        suits the mode.
    minutes: end in so many minutes, everything included; steps: train so many, however long it takes. Without either,
        3 minutes for one style and 8 for several, or as many as a slow teacher needs.
    precision: float32, float16 or int8; smaller files that answer nearly alike.
    resume:  go on from where a forging of the same name was stopped.
    judges:  guitars [samples] at 48 kHz by name, never trained on, to measure the result with.
    report:  folder for an HTML report.
    """

    styles: tuple[StyleSource, ...]
    name: str
    content: Path | None = None
    mode: Mode = "timbre"
    teacher: str | None = None
    minutes: float | None = None
    steps: int | None = None
    device: str = "cpu"
    precision: str = "float32"
    resume: bool = False
    report: Path | None = None
    seed: int = 1
    config: DistillConfig = field(default_factory=DistillConfig)
    licence: str = "unknown"
    description: str = ""
    judges: Mapping[str, Float32] = field(default_factory=dict)


@dataclass(frozen=True)
class Forged:
    """The finished preset and what was measured: by style and judge, the preset's measures and the matched EQ's."""

    entry: Entry
    measured: dict[str, dict[str, tuple[measures.Measures, measures.Measures]]]
    history: list[dict[str, float]]
    seconds: float
    notices: list[str]
    report: Path | None


def sources(recordings: Sequence[Path], name: str, *, apart: bool) -> tuple[StyleSource, ...]:
    """Recordings as one pooled style called like the preset, or each as a style called like its file."""
    if not apart:
        return (StyleSource(name, tuple(recordings)),)
    return tuple(StyleSource(re.sub(r"[\s#*,/?\[\]{}]+", "-", path.stem), (path,)) for path in recordings)


def forge(
    request: ForgeRequest,
    library: Library,
    *,
    force: bool = False,
    report: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
    distiller: Distiller | None = None,
    listen: bool = False,
) -> Forged:
    """Distil the styles, measure and store them; nothing is stored unless all of it succeeded.

    say: told what is being done besides training. listen: let `report` hear the student now and then.
    distiller: one whose content was heard already, for several presets in a row (timbre).
    """
    started = time.perf_counter()
    say = say or (lambda text: None)
    check_request(request, library, force)
    rate = request.config.sample_rate
    notices: list[str] = []
    styles = []
    for source in request.styles:
        recordings = [load_sound(path, rate) for path in source.files]
        for path, audio in zip(source.files, recordings, strict=True):
            notices += _flaws(path, audio)
        styles.append(StyleClip(source.name, pooled(recordings)))
    judges = request.judges or {"phrase": demo_phrase(rate)}
    request = replace(request, minutes=minutes_allowed(request, styles))
    asking = _asking_seconds(request, styles, judges)
    asked = asking <= ASKING * _seconds_left(request, started)
    left = functools.partial(_seconds_left, request, started, asking if asked else 0.0)
    try:
        make = _make_texture if request.mode == "texture" else functools.partial(_make_timbre, distiller=distiller)
        draft = make(request, styles, left, notices, say, report, listen=listen)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise DuendeError("out of memory: close other programs, or give shorter recordings") from error
    say("measuring")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{request.name}.onnx"
        path.write_bytes(draft.data)
        model = load_model(path)
    played = {
        style.name: {title: _played(model, number, draft.amount, take) for title, take in judges.items()}
        for number, style in enumerate(styles)
    }
    measured = {style.name: _measure(style.audio, judges, played[style.name]) for style in styles}
    notices += _unbeaten(measured)
    if draft.teacher != NO_TEACHER and asked:
        say(f"asking the teacher to play the same: about {duration(asking)}")
        measure: Measure = "pitch-bound" if request.mode == "texture" else "pitch-blind"
        for style in styles:
            takes, outputs = list(judges.values()), list(played[style.name].values())
            kept = kept_share(takes, outputs, style.audio, rate, draft.teacher, measure)
            notices.append(
                f"{style.name}: keeps {kept:.0%} of what the {draft.teacher} teacher gains in style by working on the "
                f"same take"
            )
    elif draft.teacher != NO_TEACHER:
        notices.append(
            f"how much of its teacher it keeps was not measured: {draft.teacher} needs about {duration(asking)} for "
            f"that, too long for the time allowed (--minutes)"
        )
    page = _report(request, model, styles, judges, draft, notices) if request.report is not None else None
    data = convert(with_quality(draft.data, _quality(measured)), request.precision)
    models = {f"{request.name}.onnx": data}
    picture = style_picture(np.concatenate([style.audio for style in styles]), rate)
    entry = library.save(request.name, preset_of(request, model, draft.amount), models, picture, force=force)
    if draft.complete:
        _checkpoint(request).remove()
    return Forged(entry, measured, draft.history, time.perf_counter() - started, notices, page)


@dataclass(frozen=True)
class _Draft:
    """A model file without its measures, the amount to play it at, and how the training went."""

    data: bytes
    amount: float
    history: list[dict[str, float]]
    teacher: str
    complete: bool


def _make_timbre(
    request: ForgeRequest,
    styles: Sequence[StyleClip],
    left: Callable[[], float],
    notices: list[str],
    say: Callable[[str], None],
    report: Callable[[Progress], None] | None,
    distiller: Distiller | None = None,
    *,
    listen: bool = False,
) -> _Draft:
    """The mixer of excitations, trained on pitch-blind statistics. left: tells how many seconds are."""
    config = replace(request.config, seed=request.seed, steps=request.steps or request.config.steps * len(styles))
    if distiller is None:
        say("hearing the content")
        recordings = _recordings(request, styles, notices)
        distiller = Distiller(
            _content(request, recordings, config.pieces), config, request.device, _plain(request, recordings)
        )
    distiller.config = config
    teacher = _teacher_of(request)
    targets = _targets(teacher, distiller.audio[:TARGET_PIECES], styles, config, TEACHING * left(), notices, say)
    checkpoint = _checkpoint(request)
    if not request.resume:
        checkpoint.remove()
    distilled = distiller.distil(
        styles,
        report,
        targets=targets,
        seconds=left(),
        checkpoint=checkpoint,
        listen=listen,
    )
    done = len(distilled.history)
    if not distilled.complete:
        notices.append(f"stopped after {done} steps; kept the best, of step {distilled.step} (go on: --resume)")
    notices += _too_short(done, config.steps, distilled.complete)
    origin = _origin(request, styles, teacher, asdict(config.weights), done)
    names = [style.name for style in styles]
    data = model_bytes(distilled, request.name, names, config.sizes, config.sample_rate, origin)
    return _Draft(data, config.played, distilled.history, teacher, distilled.complete)


def _make_texture(
    request: ForgeRequest,
    styles: Sequence[StyleClip],
    left: Callable[[], float],
    notices: list[str],
    say: Callable[[str], None],
    report: Callable[[Progress], None] | None,
    *,
    listen: bool = False,
) -> _Draft:
    """Free magnitudes, trained on the pitch-bound statistics of the literature and on a teacher's sound.

    left: tells how many seconds are.
    """
    config = TextureConfig(seed=request.seed)
    if request.steps is not None:
        config = replace(config, steps=request.steps, steps_per_further_style=0)
    say("hearing the content")
    content = _content(request, _recordings(request, styles, notices), config.pieces)
    teacher = _teacher_of(request)
    targets = _targets(teacher, content, styles, config, TEACHING * left(), notices, say)
    distilled = TextureDistiller(content, config).distil(
        [style.audio for style in styles], report, targets, left(), listen=listen
    )
    done = len(distilled.history)
    if not distilled.complete:
        notices.append(f"stopped after {done} steps; what was learned so far was kept")
    origin = _origin(request, styles, teacher, asdict(config.weights), done)
    data = texture_bytes(distilled, request.name, [style.name for style in styles], config.sample_rate, origin)
    return _Draft(data, 1.0, distilled.history, teacher, distilled.complete)


def _too_short(done: int, wanted: int, complete: bool) -> list[str]:
    """What is to be said where the time was over before much was learned; nothing where it was stopped by hand."""
    if not complete or done >= LEAST_SHARE * wanted:
        return []
    return [f"the time was over after {done} of {wanted} steps: the machine is slow or busy; more --minutes help"]


def _origin(
    request: ForgeRequest, styles: Sequence[StyleClip], teacher: str, losses: dict[str, float], steps: int
) -> Provenance:
    """Where a model came from."""
    beside = "none (statistics of the clip)" if teacher == NO_TEACHER else f"{teacher}, beside statistics of the clip"
    content = "the player's recordings" if request.content else "built-in plucked strings"
    return provenance(_clips(request, styles), beside, content, losses, steps, request.seed, request.licence)


def _checkpoint(request: ForgeRequest) -> Checkpoint:
    return Checkpoint(home() / "forge" / f"{request.name}.npz")


def _teacher_of(request: ForgeRequest) -> str:
    """Who teaches: who was asked for, or who suits the mode."""
    return request.teacher or ("kernel" if request.mode == "texture" else NO_TEACHER)


def minutes_allowed(request: ForgeRequest, styles: Sequence[StyleClip]) -> float | None:
    """The time allowed: what was asked for, else what suits the styles and the teacher; None where steps decide.

    DuendeError where the teacher needs most of it for the least that it teaches by: nothing would be trained.
    """
    teacher, config, count = _teacher_of(request), request.config, len(styles)
    if request.minutes is None and request.steps is not None:
        return None
    usual = MINUTES if count == 1 else FAMILY_MINUTES
    needed = 0.0
    if teacher != NO_TEACHER:
        texture = TextureConfig()
        seconds = config.seconds if request.mode == "timbre" else texture.seconds + texture.run_in_seconds
        pieces = [np.zeros(round(seconds * config.sample_rate), dtype=np.float32)] * LEAST_PIECES
        least = sum(lesson_seconds(lesson(teacher, config.sample_rate), pieces, style.audio) for style in styles)
        needed = math.ceil((least / TEACHING + HEARING_S + MEASURING_S * count) / 60.0)
        if request.minutes is not None and least > 60.0 * TEACHING * request.minutes:
            raise DuendeError(
                f"the {teacher} teacher needs about {duration(least)} for {LEAST_PIECES} pieces, too long for "
                f"--minutes {request.minutes:g}: allow {needed:g}, or take another teacher"
            )
    return request.minutes or max(usual, needed)


def _asking_seconds(request: ForgeRequest, styles: Sequence[StyleClip], judges: Mapping[str, Float32]) -> float:
    """About how long the teacher needs to play what the preset is judged by, in every style; 0 without one."""
    teacher, rate = _teacher_of(request), request.config.sample_rate
    if teacher == NO_TEACHER:
        return 0.0
    takes = list(judges.values())
    return sum(lesson_seconds(lesson(teacher, rate), takes, style.audio, workers=1) for style in styles)


def _seconds_left(request: ForgeRequest, started: float, asking: float = 0.0) -> float:
    """How long the training may take: what the time allowed leaves beside what was done and is to be done.

    asking: seconds that the teacher is to have afterwards.
    """
    if request.minutes is None:
        return math.inf
    count = len(request.styles)
    return max(5.0, 60.0 * request.minutes - (time.perf_counter() - started) - MEASURING_S * count - asking)


def preset_of(request: ForgeRequest, model: Model, amount: float, number: int = 0) -> Preset:
    """The preset that plays one style of a model, the others at hand."""
    tags: list[str] = [request.mode] + (["morph"] if len(model.spec.styles) > 1 else [])
    slot = SlotPreset("style", f"{request.name}.onnx", values=values_of(model, number, amount))
    return Preset(format=FORMAT, name=request.name, slots=[slot], tags=tags, description=request.description)


def values_of(model: Model, number: int, amount: float) -> dict[str, float]:
    """The values of a slot that play one of the model's styles alone at an amount, by control name."""
    styles = model.spec.styles
    weights = {style: float(place == number) for place, style in enumerate(styles)} if len(styles) > 1 else {}
    return {"amount": amount} | weights


def check_request(request: ForgeRequest, library: Library, force: bool) -> None:
    """DuendeError for what can be known to fail before any work is done."""
    check_name(request.name)
    if Entry(request.name, library.own, factory=False).path.exists() and not force:
        raise DuendeError(
            f"there is a preset {request.name!r} already: choose another name, or replace it with --force"
        )
    names = [source.name for source in request.styles]
    if not 1 <= len(names) <= MOST_STYLES:
        raise DuendeError(f"{len(names)} styles: a model holds 1 to {MOST_STYLES}")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise DuendeError(f"two styles are called {name!r}: rename one of the files")
    if request.device != "cpu" and not (request.device == "cuda" and torch.cuda.is_available()):
        raise DuendeError(
            f"device {request.device!r} is not to be had here: use cpu, or cuda with a CUDA build of torch"
        )
    if request.teacher not in (None, NO_TEACHER):
        lesson(request.teacher, request.config.sample_rate)
    if request.precision not in PRECISIONS:
        raise DuendeError(f"--precision {request.precision!r}: choose one of {', '.join(PRECISIONS)}")
    if request.minutes is not None and not 0.2 <= request.minutes <= 600.0:
        raise DuendeError(f"--minutes {request.minutes:g} is out of range: 0.2 to 600")
    needed, free = _memory_needed(request.config), memory_free()
    if free < needed:
        raise DuendeError(
            f"about {needed / 2**30:.1f} GiB of memory are needed and {free / 2**30:.1f} are free: close other programs"
        )


def _recordings(request: ForgeRequest, styles: Sequence[StyleClip], notices: list[str]) -> list[Float32]:
    """The player's recordings, none where the built-in strings play.

    Those that are one of the styles, or cut from it, are left out with a notice; DuendeError if none is left.
    """
    config, folder = request.config, request.content
    recordings = [] if folder is None else load_folder(folder, config.sample_rate)
    kept = [
        audio
        for audio in recordings
        if not any(is_cut_from(audio, style.audio, config.sample_rate) for style in styles)
    ]
    if len(kept) < len(recordings):
        if not kept:
            raise DuendeError(f"{folder}: holds nothing but the style itself; put recordings of your guitar there")
        notices.append(f"{len(recordings) - len(kept)} recordings in {folder} are the style itself and were left out")
    return kept


def _content(request: ForgeRequest, recordings: Sequence[Float32], pieces: int) -> list[Float32]:
    """The training content, from the player's recordings or the built-in strings."""
    config = request.config
    return list(
        content_pieces(pieces, config.seconds, config.run_in_seconds, config.sample_rate, request.seed, recordings)
    )


def _plain(request: ForgeRequest, recordings: Sequence[Float32]) -> list[Float32]:
    """Playing as it is, never trained on, to set the levels by."""
    config, seed = request.config, request.seed + 1
    lengths = (config.plain_seconds, config.run_in_seconds)
    return list(content_pieces(config.plain_pieces, *lengths, config.sample_rate, seed, recordings, UNALTERED))


def _targets(
    teacher: str,
    pieces: Sequence[Float32],
    styles: Sequence[StyleClip],
    config: DistillConfig | TextureConfig,
    allowed: float,
    notices: list[str],
    say: Callable[[str], None],
) -> list[list[Float32]] | None:
    """A teacher's sound of pieces of the content in each style, kept on disk for the next time; None without one.

    allowed: seconds that it may take by its own forecast; where all pieces take longer, it plays the first alone, two
    at least, and a notice says so.
    """
    if teacher == NO_TEACHER:
        return None
    cache, rate = home() / "cache" / "teachers", config.sample_rate
    needed = sum(lesson_seconds(lesson(teacher, rate), pieces, style.audio) for style in styles)
    if needed > allowed and len(pieces) > LEAST_PIECES:
        count = max(LEAST_PIECES, int(len(pieces) * allowed / needed))
        notices.append(
            f"the {teacher} teacher played {count} of {len(pieces)} pieces: all take about {duration(needed)}, and the "
            f"time allowed leaves {duration(allowed)} (more --minutes help)"
        )
        needed, pieces = needed * count / len(pieces), pieces[:count]
    say(f"the teacher plays {len(pieces)} pieces: about {duration(needed)}")

    def report(name: str, done: int, total: int) -> None:
        say(f"the teacher plays {name}: {done} of {total}")

    return [
        teacher_targets(pieces, style.audio, rate, teacher, cache=cache, report=functools.partial(report, style.name))
        for style in styles
    ]


def _measure(
    clip: Float32, judges: Mapping[str, Float32], outputs: Mapping[str, Float32]
) -> dict[str, tuple[measures.Measures, measures.Measures]]:
    """Measures of what every judge's take became, and of its matched EQ."""
    measured = {}
    for title, guitar in judges.items():
        judge = measures.Judge(guitar, clip)
        measured[title] = (judge.measure(outputs[title]), judge.measure(judge.matched_eq))
    return measured


def _played(model: Model, number: int, amount: float, guitar: Float32) -> Float32:
    """A take [samples] through the engine in one of the model's styles."""
    rig = build_rig([(model.spec.name, processor_for(model))])
    for control, value in values_of(model, number, amount).items():
        rig.bank.set(f"slot/1/{control}", value)
    return render_array(rig, guitar, 48000)[: len(guitar)]


def _report(
    request: ForgeRequest,
    model: Model,
    styles: Sequence[StyleClip],
    judges: Mapping[str, Float32],
    draft: _Draft,
    notices: Sequence[str],
) -> Path:
    """An HTML report for each style; the path of the first."""
    assert request.report is not None
    history = [{"step": float(step)} | row for step, row in enumerate(draft.history, start=1)]
    pages = []
    for number, style in enumerate(styles):
        name = request.name if len(styles) == 1 else f"{request.name}-{style.name}"
        values = {f"slot/1/{control}": value for control, value in values_of(model, number, draft.amount).items()}
        evaluation = evaluate(model, judges, style.audio, name=name, style_title=style.name, values=values)
        evaluation = replace(evaluation, notices=[*notices, *evaluation.notices])
        pages.append(write_report(request.report, evaluation, history))
    return pages[0]


def _flaws(path: Path, audio: Float32) -> list[str]:
    """What is worth saying of a recording that can be used all the same."""
    peak = float(np.abs(audio).max())
    clipped = float(np.mean(np.abs(audio) > 0.985 * peak)) if peak > 0.5 else 0.0
    if clipped > CLIPPED_SHARE:
        return [f"{path.name}: {clipped:.1%} of the samples are at the limit; the recording sounds clipped"]
    return []


def _clips(request: ForgeRequest, styles: Sequence[StyleClip]) -> list[Clip]:
    """What is known of the recordings, in the order of the styles."""
    clips: list[Clip] = []
    for source, style in zip(request.styles, styles, strict=True):
        seconds = round(len(style.audio) / request.config.sample_rate / len(source.files), 2)
        clips += source.clips or [Clip(path.name, seconds=seconds) for path in source.files]
    return clips


def _unbeaten(measured: Mapping[str, Mapping[str, tuple[measures.Measures, measures.Measures]]]) -> list[str]:
    """A line for every style that came no nearer to its clip than a matched equaliser."""
    return [
        f"{style}: on {title} no nearer to the clip than a matched equaliser ({ours.style_ratio:.2f} of its distance); "
        f"clips with several notes serve better, or --mode texture"
        for style, by_judge in measured.items()
        for title, (ours, _) in by_judge.items()
        if not ours.style_ratio < 1.0
    ]


def _memory_needed(config: DistillConfig) -> int:
    """Bytes that the content and a step of training take, roughly; torch itself included."""
    seconds = config.pieces * config.seconds + config.plain_pieces * config.plain_seconds
    frames = seconds * config.sample_rate / config.sizes.hop
    return int(frames * len(config.excitations) * 8 * config.sizes.bins + 1.5 * 2**30)


def _quality(measured: Mapping[str, Mapping[str, tuple[measures.Measures, measures.Measures]]]) -> dict[str, float]:
    """Measures as flat, rounded numbers for the model file; what has no answer is left out."""
    rows = {}
    for style, by_judge in measured.items():
        for title, (ours, eq) in by_judge.items():
            for prefix, one in ((f"{style}, {title}", ours), (f"{style}, {title}, matched EQ", eq)):
                for key, value in asdict(one).items():
                    if np.isfinite(value):
                        rows[f"{prefix}: {key}"] = round(float(value), 4)
    return rows
