"""`duende train` of the diffusion systems, and `duende evaluate text`."""

import dataclasses
import json
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .. import DuendeError
from .bench import MeasureByDefault
from .console import notices, out, progress, wide
from .prompt import opened, teller
from .train import SHOWN, DataArgument, FolderOption, Resume, Seed, train_app

if TYPE_CHECKING:
    from ..export.text.diffusion import DiffusionSystem

Optional = int | None
Epochs = Annotated[Optional, typer.Option(help="Times through the data; without it as published.")]
Batch = Annotated[Optional, typer.Option(help="Sounds at a time; without it as published.")]
Accumulate = Annotated[Optional, typer.Option(help="Batches to a step; without it as published.")]
Rate = Annotated[float | None, typer.Option(help="Of AdamW; without it as published.")]
Steps = Annotated[Optional, typer.Option(min=1, help="Stop after so many steps; --resume goes on.")]
Limit = Annotated[Optional, typer.Option(min=1, help="Take so many notes at most.")]
Conditioning = Annotated[str, typer.Option(help="t5 (repaired: encoder states) or token-ids (as published).")]
Width = Annotated[int, typer.Option(help="Channels of the denoiser's first level: 128 as published, 64, 32.")]
Encoder = Annotated[
    Path | None, typer.Option(help="Folder of a T5 (tokenizer/, text_encoder/), frozen; else a small one is learned.")
]
Tokens = Annotated[Path | None, typer.Option(help="Folder with tokenizer.json; else a token for each word.")]


@train_app.command("audio-diffusion")
def audio_diffusion(
    dataset: DataArgument,
    folder: FolderOption,
    size: Annotated[int, typer.Option(help="Mel bands and frames: 64 as published, 128, 256.")] = 64,
    conditioning: Conditioning = "t5",
    text_encoder: Encoder = None,
    tokeniser: Tokens = None,
    width: Width = 128,
    epochs: Epochs = None,
    batch: Batch = None,
    accumulate: Accumulate = None,
    rate: Rate = None,
    steps: Steps = None,
    limit: Limit = None,
    seed: Seed = 1,
    resume: Resume = False,
) -> None:
    """Train Audio Diffusion: mel pictures denoised as they are. Ctrl-C keeps the last step."""
    build = _pictured("audio-diffusion", size, width, seed, conditioning, tokeniser, text_encoder)
    _train(
        "audio-diffusion", dataset, folder, build, _plan(epochs, batch, accumulate, rate, steps), limit, seed, resume
    )


@train_app.command("latent-diffusion")
def latent_diffusion(
    dataset: DataArgument,
    folder: FolderOption,
    size: Annotated[int, typer.Option(help="Mel bands and frames: 256 as published, 128, 64.")] = 256,
    conditioning: Conditioning = "t5",
    text_encoder: Encoder = None,
    tokeniser: Tokens = None,
    vae: Annotated[
        Path | None, typer.Option(help="Folder of an AutoencoderKL, frozen; else it is learned first.")
    ] = None,
    coder_epochs: Annotated[int, typer.Option(min=0, help="Times through the data to learn the coder.")] = 20,
    width: Width = 128,
    epochs: Epochs = None,
    batch: Batch = None,
    accumulate: Accumulate = None,
    rate: Rate = None,
    steps: Steps = None,
    limit: Limit = None,
    seed: Seed = 1,
    resume: Resume = False,
) -> None:
    """Train Audio Latent Diffusion: the coder of mel pictures, then the denoiser of its latents."""
    build = _pictured("latent-diffusion", size, width, seed, conditioning, tokeniser, text_encoder, vae)
    changes = {**_plan(epochs, batch, accumulate, rate, steps), "coder_epochs": coder_epochs}
    _train("latent-diffusion", dataset, folder, build, changes, limit, seed, resume)


@train_app.command("tango")
def tango(
    dataset: DataArgument,
    folder: FolderOption,
    weights: Annotated[str | None, typer.Option(help="Folder of TANGO's parts, or their id at the hub.")] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    accumulate: Accumulate = None,
    rate: Rate = None,
    steps: Steps = None,
    limit: Limit = None,
    seed: Seed = 1,
    resume: Resume = False,
) -> None:
    """Fine-tune TANGO: its denoiser, the text encoder, coder and vocoder frozen."""
    from ..export.text.tango import Tango

    backend = Tango(weights)
    changes = _plan(epochs, batch, accumulate, rate, steps)
    _train("tango", dataset, folder, lambda _: backend.system(), changes, limit, seed, resume)


@train_app.command("riffusion")
def riffusion(
    dataset: DataArgument,
    folder: FolderOption,
    weights: Annotated[str | None, typer.Option(help="Folder of Riffusion's weights, or their id at the hub.")] = None,
    rank: Annotated[int, typer.Option(help="Of the additions, 1 to 256.")] = 16,
    epochs: Epochs = None,
    batch: Batch = None,
    accumulate: Accumulate = None,
    rate: Rate = None,
    steps: Steps = None,
    limit: Limit = None,
    seed: Seed = 1,
    resume: Resume = False,
) -> None:
    """Fine-tune Riffusion by LoRA: additions of low rank to the denoiser's attention, for --set lora=FOLDER."""
    from ..export.text.riffusion import Riffusion

    backend = Riffusion(weights)
    changes = _plan(epochs, batch, accumulate, rate, steps)
    _train(
        "riffusion",
        dataset,
        folder,
        lambda _: backend.system(rank, seed),
        changes,
        limit,
        seed,
        resume,
        save=backend.save_lora,
    )


def _pictured(
    name: str,
    size: int,
    width: int,
    seed: int,
    conditioning: str,
    tokeniser: Path | None,
    text_encoder: Path | None,
    vae: Path | None = None,
) -> "Callable[[list[str]], DiffusionSystem]":
    """How a system that denoises mel pictures is built, once the prompts are known."""
    from ..export.text.audio_diffusion import new_system, widths

    return lambda prompts: new_system(
        name,
        prompts,
        size=size,
        conditioning=conditioning,
        tokeniser=tokeniser,
        text_encoder=text_encoder,
        vae=vae,
        seed=seed,
        unet_config=widths(width),
        vae_config=widths(width),
    )


def _plan(
    epochs: Optional, batch: Optional, accumulate: Optional, rate: float | None, steps: Optional
) -> dict[str, int | float | None]:
    """What of the published plan is changed."""
    return {"epochs": epochs, "batch": batch, "accumulate": accumulate, "rate": rate, "most_steps": steps}


def _train(
    name: str,
    dataset: Path,
    folder: Path,
    build: "Callable[[list[str]], DiffusionSystem]",
    changes: dict[str, int | float | None],
    limit: int | None,
    seed: int,
    resume: bool,
    save: Callable[[Path], None] | None = None,
) -> None:
    from ..export.text.diffusion_training import PUBLISHED, train
    from ..export.text.nsynth import read_nsynth

    given = {key: value for key, value in changes.items() if value is not None}
    plan = dataclasses.replace(PUBLISHED[name], seed=seed, **given)  # type: ignore[arg-type]
    data = read_nsynth(dataset)
    notes = data.part("train")[:limit]
    if not notes:
        raise DuendeError(f"{dataset}: none of its instruments is in the training part: take a larger set")
    with progress() as bar:
        tell = teller(bar)
        tell(0, 1, "putting the networks together")
        system = build([note.prompt for note in notes])
        done = train(
            system,
            notes,
            plan,
            folder,
            resume=resume,
            save=save,
            report=lambda step, steps, loss: tell(step, steps, f"loss {loss:.4f}"),
        )
    if done.rank:
        return  # of several processes the first one speaks
    skipped = [f"skipped {line}" for line in [*data.skipped, *done.skipped]]
    notices(skipped[:SHOWN] + ([f"skipped {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []))
    if not done.done:
        notices([f"stopped after {done.steps} steps; go on with --resume"])
    loss = f"loss {done.losses[-1]:.4f}" if done.losses else "no whole epoch yet"
    out.print(f"{folder}: {system.parameters / 1e6:.1f} M parameters, {done.steps} steps, {loss}", soft_wrap=True)


class PresetByDefault(MeasureByDefault):
    """`duende evaluate NAME` measures a preset."""

    default_command = "preset"


evaluate_app = typer.Typer(
    cls=PresetByDefault,
    help=(
        "Measure a preset, or text-to-sound systems. `duende evaluate` with a preset's name is "
        "`duende evaluate preset`: see `duende evaluate preset --help`."
    ),
)


@evaluate_app.command("text")
def evaluate_text(
    dataset: DataArgument,
    backends: Annotated[
        list[str] | None, typer.Option("--backend", help="NAME or NAME=WEIGHTS; repeatable. Else the default.")
    ] = None,
    count: Annotated[int, typer.Option("--n", min=3, help="Held-out notes, whose prompts are made.")] = 30,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Repeatable: each makes every prompt once.")] = None,
    steps: Annotated[
        list[int] | None, typer.Option(help="Repeatable: a row for each, where a system has steps.")
    ] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="Repeatable: a row for each.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of each sound, 1 to 30.")] = 4.0,
    fd: Annotated[Path | None, typer.Option(metavar="FILE.onnx", help="A network for FD, as PANNs.")] = None,
    fad: Annotated[Path | None, typer.Option(metavar="FILE.onnx", help="A network for FAD, as VGGish.")] = None,
    rate: Annotated[int, typer.Option("--embedding-rate", help="Hz that those networks take.")] = 16000,
    split: Annotated[str, typer.Option(help="test, valid or all: of the instruments.")] = "test",
    keep: Annotated[Path | None, typer.Option(help="Folder for the sounds, for a listening test.")] = None,
    published: Annotated[bool, typer.Option("--published", help="Show the thesis' table, too.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
) -> None:
    """Measure text-to-sound systems in the published table's layout, against held-out notes (extra `train`)."""
    from ..export.set_distance import OnnxEmbedding
    from ..export.text import evaluation
    from ..export.text.models import Listener
    from ..export.text.nsynth import read_nsynth
    from ..presets.format import write_atomically

    data = read_nsynth(dataset)
    if split not in ("test", "valid", "all"):
        raise DuendeError(f"--split {split!r}: test, valid or all")
    notes = data.notes if split == "all" else data.part(split)  # type: ignore[arg-type]
    drawn = evaluation.chosen(notes, count, 1)
    table: list[evaluation.Entry] = []
    for one in backends or ["default"]:
        name, _, weights = one.partition("=")
        table += evaluation.entries(opened(name, weights or None), steps or [], guidance or [])
    with progress() as bar, tempfile.TemporaryDirectory() if keep is None else nullcontext(str(keep)) as folder:
        found = evaluation.evaluate_text(
            [note.as_file(Path(folder) / "references") for note in drawn],
            table,
            Path(folder),
            Listener(),
            seeds=seeds or [1],
            seconds=seconds,
            embedding=None if fd is None else OnnxEmbedding(fd, rate),
            fad=None if fad is None else OnnxEmbedding(fad, rate),
            report=teller(bar),
        )
    for text in dict.fromkeys(line for row in found.rows for line in row.notices):
        notices([text])
    title = (
        f"{found.references} notes ({split}), seeds {', '.join(map(str, found.seeds))}, {found.seconds:g} s each; "
        f"FD and kernel over {found.embedding}; KL and relevance by duende's listener; [95 % interval]"
    )
    _show(title, evaluation.HEAD, evaluation.shown(found))
    if published:
        head = ("model", "parameters", "FD", "KL", "FAD", "quality", "relevance")
        _show("published (PANNs, VGGish, listeners): not to be compared with the above", head, evaluation.published())
    if json_file is not None:
        write_atomically(json_file, (json.dumps(evaluation.as_json(found), indent=2) + "\n").encode())


def _show(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*head, title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*row)
    wide().print(table)
