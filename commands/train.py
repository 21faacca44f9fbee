"""`duende train` and `duende dataset`: text-to-sound systems trained on a data set in NSynth's form."""

from pathlib import Path
from typing import Annotated

import typer

from .. import DuendeError
from .console import notices, out, progress, wide
from .prompt import teller

train_app = typer.Typer(no_args_is_help=True, help="Train a text-to-sound system (needs the extra `train`).")
dataset_app = typer.Typer(no_args_is_help=True, help="Data sets of notes with words, in NSynth's form.")

SHOWN = 10

DataArgument = Annotated[
    Path, typer.Argument(metavar="DATASET", help="Folder with examples.json and audio/, or .tfrecord files.")
]
FolderOption = Annotated[Path, typer.Option("--output", "-o", help="Folder to write; --weights takes it.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")]


@dataset_app.command("make")
def make(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")],
    instruments: Annotated[
        int | None, typer.Option(help="How many of our own synthesis; 66, or 44 that fill the gaps of --from.")
    ] = None,
    notes: Annotated[int, typer.Option(help="Notes of each, 1 to 44.")] = 4,
    font: Annotated[
        Path | None, typer.Option("--from", metavar="FONT.sf2", help="A General MIDI sound font, as FluidR3.")
    ] = None,
    variants: Annotated[int, typer.Option(help="Kinds of every preset of the font: dry, and with qualities.")] = 4,
    seed: Annotated[int, typer.Option(help="The same numbers, the same files.")] = 1,
    rate: Annotated[int, typer.Option(help="Hz; NSynth's is 16000.")] = 16000,
) -> None:
    """Make a small data set in NSynth's form: 4 s a note, with source, family and qualities.

    Of our own synthesis, or of a sound font's samples, on which the qualities are put as effects.
    """
    from ..export.text.nsynth import make_nsynth

    count = (66 if font is None else 44) if instruments is None else instruments
    with progress() as bar:
        tell = teller(bar)
        data = make_nsynth(
            folder,
            count,
            notes,
            seed,
            rate,
            lambda done, all_: tell(done, all_, "playing"),
            font=font,
            variants=variants,
        )
    made = len({note.instrument for note in data.notes})
    out.print(f"{folder}: {len(data.notes)} notes of {made} instruments at {rate} Hz", soft_wrap=True)


@dataset_app.command("nsynth")
def nsynth(
    folder: DataArgument,
    check: Annotated[bool, typer.Option("--check", help="Open every sound, too.")] = False,
) -> None:
    """Say what a data set holds, and what of it cannot be used."""
    from rich.table import Table

    from ..export.text.nsynth import check_sounds, read_nsynth, summary

    data = read_nsynth(folder)
    if check:
        with progress() as bar:
            tell = teller(bar)
            data = check_sounds(data, lambda done, all_: tell(done, all_, "opening the sounds"))
    table = Table("what", "", title=str(folder), title_justify="left", box=None)
    for row in summary(data):
        table.add_row(*row)
    wide().print(table)
    _say_skipped(data.skipped)


@train_app.command("chopan")
def chopan(
    dataset: DataArgument,
    folder: FolderOption,
    epochs: Annotated[int, typer.Option(min=1, help="Times through the data; 150 as published.")] = 150,
    batch: Annotated[int, typer.Option(min=2, max=1024, help="Notes at a time; 64 as published.")] = 64,
    limit: Annotated[int | None, typer.Option(min=2, help="Take so many notes at most.")] = None,
    clip: Annotated[str | None, typer.Option(help="Folder of a CLIP model; else the shipped embedding.")] = None,
    seed: Seed = 1,
    resume: Resume = False,
    prepared: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What `duende dataset prepare` heard; else it is heard first.")
    ] = None,
) -> None:
    """Train ChopAN: its bank of spectrograms and its VAE. Ctrl-C keeps the last whole epoch."""
    try:
        from ..export.text.chopan_text import encoder_of
        from ..export.text.chopan_train import TrainConfig, train_chopan
    except ImportError as error:
        raise DuendeError(f"training needs {error.name}: pip install 'duende[train,text]'") from error
    from ..export.text.nsynth import read_nsynth

    data = read_nsynth(dataset)
    with progress() as bar:
        done = train_chopan(
            data,
            folder,
            TrainConfig(epochs, batch, limit, seed),
            encoder_of(clip),
            teller(bar),
            resume=resume,
            prepared=prepared,
        )
    _say_skipped([*data.skipped, *done.skipped])
    if not done.complete:
        notices([f"stopped after {len(done.losses)} of {epochs} epochs; go on with --resume"])
    out.print(
        f'{folder}: loss {done.losses[-1]:,.0f}; duende prompt "..." --backend chopan --weights {folder} -o sound.wav',
        soft_wrap=True,
        markup=False,
    )


@train_app.command("default")
def default(
    dataset: DataArgument,
    folder: FolderOption,
    steps: Annotated[int, typer.Option(min=10, help="Steps of the decoder; half as many of the listener.")] = 5000,
    seed: Seed = 1,
) -> None:
    """Train the embedded default anew: the decoder from words to notes, and the listener."""
    try:
        from ..export.text.learn import LearnConfig, learn
    except ImportError as error:
        raise DuendeError(f"training needs {error.name}: pip install 'duende[train]'") from error
    from ..export.text.nsynth import read_nsynth

    data = read_nsynth(dataset)
    with progress() as bar:
        skipped = learn(data, folder, LearnConfig(max(steps // 2, 1), steps, seed=seed), teller(bar))
    _say_skipped([*data.skipped, *skipped])
    out.print(f'{folder}: duende prompt "..." --weights {folder} -o sound.wav', soft_wrap=True, markup=False)


def _say_skipped(lines: list[str]) -> None:
    more = [f"{len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    notices([f"skipped {line}" for line in [*lines[:SHOWN], *more]])
