"""`duende prompt`: from a sentence to a sound, or to a playable instrument."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import DuendeError
from .console import err, notices, out, progress

if TYPE_CHECKING:
    from ..export.text.backend import Backend, Report


def prompt(
    text: Annotated[
        str, typer.Argument(metavar="PROMPT", help='What to hear, as "synthetic distortion fast_decay keyboard".')
    ],
    target: Annotated[
        Path | None, typer.Option("--output", "-o", help="Sound to write: wav, flac, aiff, ogg or mp3.")
    ] = None,
    sfz: Annotated[
        Path | None, typer.Option(help="Folder for a playable instrument: notes, velocities and an .sfz file.")
    ] = None,
    backend: Annotated[str, typer.Option(help="System to make it with; docs/text.md compares them.")] = "default",
    seed: Annotated[int, typer.Option(help="Another seed, another sound of the same words.")] = 1,
    seconds: Annotated[float | None, typer.Option(help="Length, 0.25 to 30; else what suits the system.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Folder with the system's weights, or their id at the hub (fetched then).")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the system as NAME=VALUE; repeatable.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the result, for its metadata.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the instrument in the folder of --sfz.")] = False,
) -> None:
    """Make a sound, or with --sfz an instrument, from a sentence. `duende forge --prompt` makes a style of it."""
    from ..export.text.backend import check_request
    from ..export.text.made import container_of, save, settings_of

    if (target is None) == (sfz is None):
        raise DuendeError("give -o SOUND.wav for a sound, or --sfz FOLDER for an instrument")
    if target is not None:
        container_of(target)
    values = settings_of(settings or [])
    system = opened(backend, weights)
    length = system.about.seconds_made if seconds is None else seconds
    prompt_text = check_request(text, seed, length)
    started = time.perf_counter()
    with progress() as bar:
        tell = teller(bar)
        if sfz is not None:
            from ..export.text.sfz import write_instrument

            file, count, said = write_instrument(
                system, prompt_text, seed, length, values, sfz, licence=licence, force=force, report=tell
            )
            made = f"{file}: {count} notes"
        else:
            assert target is not None
            sound = system.make(prompt_text, seed, length, values, tell)
            save(target, sound, system.name, prompt_text, seed, licence)
            said = sound.notices
            made = f"{target}: {len(sound.audio) / sound.sample_rate:.2f} s at {sound.sample_rate} Hz"
    notices(said)
    out.print(f"{made}, {system.name}, {time.perf_counter() - started:.1f} s", soft_wrap=True, markup=False)


def opened(name: str, weights: str | None) -> "Backend":
    """A backend, its weights named before they are used for anything."""
    from ..export.text.backend import DEFAULT, open_backend

    system = open_backend(name, weights)
    if name != DEFAULT:
        err.print(f"{system.name}: {system.about.line}", soft_wrap=True, markup=False)
    return system


def teller(bar: object) -> "Report":
    """A report that moves a bar."""
    from rich.progress import Progress

    assert isinstance(bar, Progress)
    task = bar.add_task("starting", total=None)

    def tell(done: int, total: int, doing: str) -> None:
        bar.update(task, completed=done, total=total, description=doing)

    return tell


def prompted(text: str, name: str, seed: int, backend: str, weights: str | None, *, force: bool) -> Path:
    """A style clip made from a sentence, for `duende forge`; where it was written is said."""
    from ..export.text.backend import check_request
    from ..export.text.phrase import write_phrase
    from ..presets.library import Entry, Library, check_name

    check_name(name)
    if Entry(name, Library().own, factory=False).path.exists() and not force:
        raise DuendeError(f"there is a preset {name!r} already: choose another name, or replace it with --force")
    system = opened(backend, weights)
    line = check_request(text, seed, system.about.seconds_made)
    with progress() as bar:
        path, said = write_phrase(system, line, seed, {}, name, teller(bar))
    notices(said)
    err.print(f"{path}: the style clip", soft_wrap=True, markup=False)
    return path
