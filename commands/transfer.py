"""`duende transfer` and `duende teachers`: the command line of the offline systems, loaded when it is used."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from .. import DuendeError
from .batch import ClusterOption, StoreOption, WorkersOption
from .console import notices, out, progress, wide

if TYPE_CHECKING:
    from ..export.teachers.files import StyleFile
    from ..export.teachers.gallery import Gallery
    from ..export.teachers.transfer import Choice, Options
    from ..export.teachers.transfer import Progress as Told

DEFAULT = "kernel"
SHOWN = ("style_ratio", "envelope_ratio", "mfcc_distance", "chroma", "multi_pitch", "onset_f1", "loudness")


def transfer(
    content: Annotated[Path, typer.Argument(help="Sound file to restyle, 1 s to half an hour.")],
    style: Annotated[Path, typer.Argument(help="Sound file to take the style from, 1 to 300 s.")],
    target: Annotated[
        Path,
        typer.Argument(help="Sound to write: wav, flac, aiff, ogg or mp3; a .png and a .json beside it. Or .html."),
    ],
    teacher: Annotated[
        str, typer.Option(help="cnn, kernel, sms, vgg19, autoencoder, vae or hybrid; NAME:FORM names a form, too.")
    ] = DEFAULT,
    form: Annotated[
        str | None, typer.Option(help="faithful (as published), repaired, and what `duende teachers NAME` lists.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as NAME=VALUE; repeatable; `duende teachers NAME`.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Iterations, steps or epochs at most.")] = None,
    alpha: Annotated[float | None, typer.Option(help="As --set alpha=: weight of the content.")] = None,
    optimiser: Annotated[str | None, typer.Option(help="As --set optimiser=: lbfgs or adam.")] = None,
    start: Annotated[str | None, typer.Option(help="As --set start=: noise or content.")] = None,
    inversion: Annotated[str | None, typer.Option(help="As --set inversion=: griffin-lim, input-phase, ...")] = None,
    filters: Annotated[int | None, typer.Option(help="As --set filters=: how many random filters.")] = None,
    more: Annotated[list[Path] | None, typer.Option("--style", help="One more style; repeatable.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of the styles, as 2,1; without them all alike.")] = None,
    pool: Annotated[bool, typer.Option("--pool", help="The styles are one: end to end.")] = False,
    stereo: Annotated[
        str, typer.Option(help="mono; linked: the sides follow the middle; mid-side: both are restyled.")
    ] = "mono",
    tempo: Annotated[bool, typer.Option("--tempo", help="Stretch the style to the content's tempo.")] = False,
    key: Annotated[bool, typer.Option("--key", help="Shift the style to the content's key.")] = False,
    trim: Annotated[bool, typer.Option("--trim", help="Content and style to the length of the shortest.")] = False,
    speech: Annotated[bool, typer.Option("--speech", help="The content speaks or sings (teachers that can tell).")] = (
        False
    ),
    chunk: Annotated[float | None, typer.Option(help="Work on so many seconds at a time; joined seamlessly.")] = None,
    max_memory: Annotated[
        float | None, typer.Option(help="GiB to take; longer contents are cut. Without it 70 % of what is free.")
    ] = None,
    rate: Annotated[int | None, typer.Option(help="Sample rate to write in Hz; without it the teacher's own.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or a device of torch: cuda, cuda:1.")] = "cpu",
    checkpoint: Annotated[Path | None, typer.Option(help="Keep the state in this file while working.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what the checkpoint holds.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 1,
    licence: Annotated[str, typer.Option(help="Licence of the result, for its metadata.")] = "",
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Measure the result.")] = True,
    compare: Annotated[
        str | None, typer.Option(help="Several teachers, as cnn,sms:repaired: TARGET is one page (.html) of all.")
    ] = None,
    sounds: Annotated[
        Path | None,
        typer.Option(help="Of --compare or --sweep: a folder for the sounds, for `duende listen`."),
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="A setting's values, as alpha=0.01,0.1; repeatable: TARGET is a page.")
    ] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Offline style transfer by the systems of the literature; says before it starts what it will cost."""
    from ..export.teachers.files import FORMATS
    from ..export.teachers.transfer import Options, choose

    short = {"alpha": alpha, "optimiser": optimiser, "start": start, "inversion": inversion, "filters": filters}
    sets = [f"{name}={value}" for name, value in short.items() if value is not None] + (settings or [])
    options = Options(
        stereo=_stereo(stereo),
        tempo=tempo,
        key=key,
        trim=trim,
        pool=pool,
        chunk_s=chunk,
        max_memory=max_memory,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        resume=resume,
    )
    styles = _styles([style, *(more or [])], weights)
    if compare is None and not sweep:
        if (workers, cluster, store) != (None, None, None):
            raise DuendeError("--workers, --cluster and --store are for --compare and --sweep")
        if sounds is not None:
            raise DuendeError("--sounds keeps the sounds of --compare or --sweep; one transfer writes its own file")
        if target.suffix.lower() == ".html":
            raise DuendeError(f"{target}: a page is written by --compare or --sweep; sounds: {', '.join(FORMATS)}")
        choice = choose(teacher, sets, form=form, iterations=iterations, speech=speech)
        _one(content, styles, target, choice, options, rate=rate, licence=licence, measure=measure)
        return
    from ..export.teachers.gallery import compared, gallery, swept
    from ..presets.library import home

    chosen = functools.partial(choose, sets=sets, form=form, iterations=iterations, speech=speech)
    rows = compared(compare, chosen) if compare is not None else [("", chosen(teacher))]
    rows = swept(rows, sweep or [])
    with _Bar("starting") as (bar, tell):
        page = gallery(
            content,
            styles,
            target,
            rows,
            options,
            report=tell,
            note=_note,
            begin=bar,
            sounds=sounds,
            store=store or home() / "work" / "sweep",
            workers=workers,
            cluster=cluster,
            tell=lambda state: bar(f"{state.done} of {state.total}") if state.done < state.total else None,
        )
    _shown(page)


def teachers(
    name: Annotated[str | None, typer.Argument(help="Whose settings to list; without it all are named.")] = None,
    form: Annotated[str, typer.Option(help="Of which form.")] = "faithful",
) -> None:
    """List the offline systems and their forms, or the settings of one of them."""
    from ..export.teachers.registry import NAMES, settings_of, teacher
    from ..export.teachers.settings import plain

    if name is not None:
        system = teacher(name)
        table = Table("setting", "value", title=f"{name}:{form}", title_justify="left", box=None)
        for key, value in plain(settings_of(system, form)).items():
            table.add_row(key, "none" if value is None else _text(value))
        out.print(table)
        return
    table = Table("teacher", "form", "what", box=None)
    for each in NAMES:
        try:
            system = teacher(each)
        except DuendeError as error:
            table.add_row(each, "", str(error))
            continue
        for number, shape in enumerate(system.forms):
            table.add_row(each if number == 0 else "", shape, system.about.get(shape, ""))
    wide().print(table)


def _one(
    content: Path,
    styles: "list[StyleFile]",
    target: Path,
    choice: "Choice",
    options: "Options",
    *,
    rate: int | None,
    licence: str,
    measure: bool,
) -> None:
    """A transfer between files, and what came out."""
    from ..export.teachers.files import transfer_file

    try:
        with _Bar("listening") as (_, tell):
            done = transfer_file(
                content,
                styles,
                target,
                choice,
                options,
                rate=rate,
                licence=licence,
                measure=measure,
                report=tell,
                note=_note,
            )
    except KeyboardInterrupt:
        if options.checkpoint is not None and options.checkpoint.exists():
            notices([f"stopped; the same command with --resume goes on with {options.checkpoint}"])
        raise
    made = done.transferred
    line = f"{done.sound}: {choice.title}, {made.seconds:.1f} s"
    if made.history:
        last = made.history[-1]
        errors = ", ".join(f"{name} {error:.4g}" for name, error in last.errors.items())
        line += f"; {last.iteration} iterations; {errors}"
    out.print(line, markup=False, soft_wrap=True)
    if "result" in done.measures:
        _measures_table(done.measures)
    out.print(f"wrote {done.picture} and {done.record}", markup=False, soft_wrap=True)


def _measures_table(rows: dict[str, dict[str, float | None]]) -> None:
    """The measures that tell most, beside those of the untouched content and a matched equaliser."""
    names = [name for name in ("untouched input", "matched EQ", "result") if name in rows]
    table = Table("measure", *names, box=None)
    for measure in SHOWN:
        cells = [rows[name].get(measure) for name in names]
        table.add_row(measure.replace("_", " "), *("-" if cell is None else f"{cell:.3g}" for cell in cells))
    out.print(table)


def _shown(page: "Gallery") -> None:
    for title, refusal in page.refused.items():
        notices([f"{title}: {refusal}"])
    out.print(f"wrote {page.path}: {page.made} sounds, {page.seconds:.0f} s", markup=False, soft_wrap=True)
    if page.refused:
        raise DuendeError(f"{len(page.refused)} of {page.made + len(page.refused)} sounds could not be made")


def _styles(paths: list[Path], weights: str | None) -> "list[StyleFile]":
    from ..export.teachers.files import StyleFile

    if weights is None:
        return [StyleFile(path) for path in paths]
    try:
        numbers = [float(part) for part in weights.split(",")]
    except ValueError:
        raise DuendeError(f"--weights {weights!r}: write numbers separated by commas, as 2,1") from None
    if len(numbers) != len(paths):
        raise DuendeError(f"--weights {weights!r}: {len(numbers)} for {len(paths)} styles; STYLE is the first")
    return [StyleFile(path, weight) for path, weight in zip(paths, numbers, strict=True)]


def _stereo(text: str) -> Any:
    """As it is: the options check it."""
    return text


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _note(text: str) -> None:
    notices([text])


class _Bar:
    """A progress bar on a terminal: (says what begins, takes a transfer's progress)."""

    def __init__(self, description: str) -> None:
        self._progress = progress()
        self._task = self._progress.add_task(description, total=None)
        self._begun = ""

    def __enter__(self) -> "tuple[Callable[[str], None], Callable[[Told], None]]":
        self._progress.start()
        return self._begin, self._tell

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _begin(self, text: str) -> None:
        self._begun = f"{text}: "
        self._progress.update(self._task, description=text, completed=0, total=None)

    def _tell(self, told: "Told") -> None:
        step = told.step
        part = f"{told.part} of {told.parts}: " if told.parts > 1 else ""
        errors = ", ".join(f"{name} {error:.4g}" for name, error in step.errors.items())
        text = f"{self._begun}{part}{errors}"
        self._progress.update(self._task, completed=step.iteration, total=max(1, step.iterations), description=text)
