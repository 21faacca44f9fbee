"""What `duende listen`, `duende distance` and `duende whence` are: options, and a few lines over the modules beside."""

import json
import math
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .. import DuendeError
from .console import notices, out, wide

LISTEN_PORT = 7704


def listen(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder of pairs: in each content.wav, style.wav and one sound per system, named like it.",
        ),
    ],
    scales: Annotated[
        list[str] | None,
        typer.Option("--scale", help="similarity (1 to 5), quality, relevance (0 to 100); repeatable, else all."),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the pages.")] = "Listening test",
    answers: Annotated[Path | None, typer.Option(help="Folder of the answers; without it DIR/answers.")] = None,
    results_only: Annotated[
        bool, typer.Option("--results", help="Serve nothing: write answers.csv and results.html, and show the means.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to serve on; others than 127.0.0.1 need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on; 0 takes a free one.")] = LISTEN_PORT,
    token: Annotated[str, typer.Option(help="What listeners on a network must give, once.")] = "",
) -> None:
    """Blind listening test: a page for listeners, in random order for each; answers kept; means and intervals."""
    from ..export.listen import ANSWERS, Study, answers_csv, choose_scales, find_pairs, read_listeners, results
    from ..export.listen_page import results_page
    from ..presets.format import write_atomically

    chosen = choose_scales(scales or [])
    store = answers or folder / ANSWERS
    if not results_only:
        from ..export.listen_server import Options, serve

        options = Options(title, host, port, token)
        study = Study(find_pairs(folder), chosen, store)
        done = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: done.set())
        serve(study, options, done, lambda line: out.print(line, markup=False, soft_wrap=True))
    listeners = read_listeners(store)
    found = results(listeners, chosen)
    if not found.answers:
        if results_only:
            raise DuendeError(f"{store}: nobody has answered anything yet")
        return
    table, page = store / "answers.csv", store / "results.html"
    write_atomically(table, answers_csv(listeners, chosen).encode("utf-8"))
    write_atomically(page, results_page(f"{title}: results", found, chosen).encode("utf-8"))
    heading = f"listeners: {found.listeners}, answers: {found.answers}; mean ± half of the 95 % interval"
    shown = Table("system", *(scale.name for scale in chosen), title=heading, title_justify="left", box=None)
    for system, means in found.by_system.items():
        shown.add_row(system, *(means[scale.name].text for scale in chosen))
    out.print(shown)
    for path in (table, page):
        out.print(f"wrote {path}", markup=False, soft_wrap=True)


def distance(
    first: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Folder of sounds to compare with.")],
    second: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of sounds to be judged.")],
    embedding: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.onnx", help="A network of yours from waveform to vector; without it texture statistics."
        ),
    ] = None,
    embedding_rate: Annotated[int, typer.Option(help="Sample rate that the network wants, in Hz.")] = 16000,
    rounds: Annotated[
        int, typer.Option(help="Rounds of the bootstrap that the intervals come from; 0 leaves it.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 1,
    json_output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Fréchet and kernel distance between two sets of sounds, over an embedding of ours or of your own."""
    from ..export.set_distance import OnnxEmbedding, as_json, set_distance

    used = None if embedding is None else OnnxEmbedding(embedding, embedding_rate)
    found = set_distance(first, second, used, rounds=rounds, seed=seed)
    notices(found.notices)
    if json_output:
        out.print_json(json.dumps(as_json(found), allow_nan=False))
        return
    counts = " and ".join(f"{len(one.names)} files, {len(one.vectors)} windows" for one in (found.first, found.second))
    table = Table(
        "distance", "value", "95 % interval", title=f"{found.embedding}: {counts}", title_justify="left", box=None
    )
    for name, one in (("Fréchet", found.frechet), ("kernel (MMD², unbiased)", found.kernel)):
        interval = "-" if math.isnan(one.low) else f"{one.low:.4g} to {one.high:.4g}"
        table.add_row(name, f"{one.value:.4g}", interval)
    wide().print(table)


def whence(
    sound: Annotated[Path, typer.Argument(metavar="FILE", help="Sound file.")],
    json_output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what a sound file says of its origin: made by which system, from which files. Status 1: it says nothing."""
    import msgspec

    from ..export.provenance import read_provenance, rows

    if not sound.is_file():
        raise DuendeError(f"{sound}: no such file")
    found = read_provenance(sound)
    if found is None:
        raise DuendeError(f"{sound} says nothing of where it comes from; that does not mean that it was played")
    if json_output:
        out.print_json(json.dumps(msgspec.to_builtins(found)))
        return
    table = Table("what", "it says", title=str(sound), title_justify="left", box=None)
    for key, value in rows(found):
        table.add_row(key, value)
    wide().print(table)
