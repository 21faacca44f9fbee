"""Commands over whole libraries: options for workers and clusters, progress with what is left, one summary."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import DuendeError
from .console import err, notices, out, progress
from .diffusion import evaluate_app
from .train import DataArgument, dataset_app

if TYPE_CHECKING:
    from ..export.work.driver import Item, State, Summary
    from ..export.work.store import Result, Store
    from ..presets.library import Entry

WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="So many workers, one thread each; without it one for every processor. Same results."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(metavar="auto|HOST:PORT", help="Work on a Ray cluster (extra `cluster`); auto: this machine's."),
]
StoreOption = Annotated[
    Path | None, typer.Option(help="Folder for what is made on the way, to go on from; without it a hidden one.")
]

SHOWN = 20
HIDDEN = ".duende"
QUIET_S = 60.0


def run_items(
    what: str,
    total: int,
    items: "Iterator[Item]",
    store: "Store",
    workers: int | None,
    cluster: str | None,
    finish: "Callable[[Item, Result], None]" = lambda item, result: None,
) -> "Summary":
    """Make items and show how it goes. What fails is said at the end; `ended` makes that the exit status.

    what: the doing, as "rendering". Ctrl-C says how to go on, and is passed on.
    """
    from ..export.work.driver import run_batch
    from ..export.work.open import open_runner

    with store.held(), progress() as bar:
        shown = bar.add_task(f"{what}: starting workers", total=total)
        told = time.monotonic()

        def tell(state: "State") -> None:
            nonlocal told
            text = f"{what}: {_words(state)}"
            bar.update(shown, completed=state.done, description=text)
            if not err.is_terminal and time.monotonic() - told > QUIET_S:
                told = time.monotonic()
                notices([f"{state.done} of {total}: {text}"])

        try:
            with open_runner(cluster, workers, store.staging) as runner:
                return run_batch(
                    items, runner, store, total, finish=finish, tell=tell, say=lambda text: notices([text])
                )
        except KeyboardInterrupt:
            notices(["stopped; what is done is kept, and the same command goes on from there"])
            raise


def ended(summary: "Summary", store: "Store", done: str) -> None:
    """Say how a batch went; DuendeError where any of it failed. done: what was done, as "rendered"."""
    total = summary.made + summary.there + len(summary.failed)
    for name, reason in summary.failed[:SHOWN]:
        line = reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"
        err.print(f"failed: {line}", markup=False, soft_wrap=True)
    if len(summary.failed) > SHOWN:
        notices([f"{len(summary.failed) - SHOWN} more failed: see {store.journal}"])
    out.print(
        f"{summary.made} {done} in {summary.seconds:.1f} s, {summary.there} were there already, "
        f"{len(summary.failed)} failed",
        soft_wrap=True,
    )
    if summary.failed:
        raise DuendeError(f"{len(summary.failed)} of {total} failed; the same command tries them again")


def render_library(
    entry: "Entry",
    source: Path,
    target: Path,
    values: dict[str, float],
    channel: int | None,
    ending: str,
    provider: str,
    workers: int | None,
    cluster: str | None,
    store: Path | None,
) -> None:
    """`duende render DIR OUT`."""
    from ..export.batch.rendering import render_items
    from ..export.work.store import Store

    total, items = render_items(
        entry, source, target, values=values, channel=channel, ending=f".{ending.lstrip('.')}", provider=provider
    )
    kept = Store(store or target / HIDDEN)
    said: set[str] = set()

    def finish(item: "Item", result: "Result") -> None:
        said.update(result.data["notices"])

    summary = run_items("rendering", total, items, kept, workers, cluster, finish)
    shown = sorted(said)
    notices(shown[:SHOWN] + ([f"{len(shown) - SHOWN} more notices"] if len(shown) > SHOWN else []))
    ended(summary, kept, "rendered")


def forge_list(listed: Path, workers: int | None, cluster: str | None, store: Path | None, *, force: bool) -> None:
    """`duende forge --batch styles.toml`."""
    from ..export.batch.forging import forging_items, keep_preset
    from ..export.work.store import Store
    from ..presets.library import Library, home

    library, kept = Library(), Store(store or home() / "work" / "forge")
    total, items = forging_items(listed, library, kept, force=force)

    def finish(item: "Item", result: "Result") -> None:
        keep_preset(item, result, library, force=force)
        notices([f"{item.name}: {text}" for text in result.data["notices"]])
        out.print(f"{item.name} is ready: duende live --preset {item.name}", markup=False, soft_wrap=True)

    ended(run_items("forging", total, items, kept, workers, cluster, finish), kept, "forged")


def import_library(
    source: Path,
    licence: str | None,
    phrase: Path | None,
    audition: Path | None,
    workers: int | None,
    cluster: str | None,
    store: Path | None,
    *,
    force: bool,
) -> None:
    """`duende import DIR` by several workers, each capture heard with one phrase."""
    from ..export.batch.captures import capture_items, keep_capture
    from ..export.work.store import Store
    from ..presets.captures import Captures
    from ..presets.library import home

    captures, kept = Captures(), Store(store or home() / "work" / "import")
    total, items = capture_items(source, licence=licence, phrase=phrase, audition=audition)

    def finish(item: "Item", result: "Result") -> None:
        out.print(keep_capture(item, result, captures, force=force), markup=False, soft_wrap=True)

    ended(run_items("importing", total, items, kept, workers, cluster, finish), kept, "imported")


@evaluate_app.command("all")
def evaluate_all(
    guitars: Annotated[Path, typer.Argument(metavar="GUITARS", help="Folder of guitar recordings, or one.")],
    styles: Annotated[
        Path, typer.Argument(metavar="STYLES", help="Folder of recordings named as the presets are, or one for all.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write: PRESET/GUITAR.json, all.csv.")],
    presets: Annotated[list[str] | None, typer.Option("--preset", "-p", help="Repeatable; without it all.")] = None,
    amount: Annotated[float | None, typer.Option(help="From the plain guitar (0) to the full style (1).")] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Measure every preset on every guitar, by many workers (extra `train`)."""
    from ..export.batch.judging import as_table, judging_items
    from ..export.work.store import Store
    from ..presets.format import write_atomically
    from ..presets.library import Library

    library = Library()
    entries = [library.find(name) for name in presets] if presets else library.entries()
    total, items = judging_items(entries, guitars, styles, target, amount)
    kept, rows = Store(store or target / HIDDEN), []

    def finish(item: "Item", result: "Result") -> None:
        rows.append(result.data)

    summary = run_items("measuring", total, items, kept, workers, cluster, finish)
    if rows:
        write_atomically(target / "all.csv", as_table(rows).encode())
        out.print(f"wrote {target / 'all.csv'}", markup=False, soft_wrap=True)
    ended(summary, kept, "measured")


@dataset_app.command("prepare")
def dataset_prepare(
    dataset: DataArgument,
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; `train chopan --prepared` takes it.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many notes at most.")] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Hear every note once: its spectrogram and its embedding, in shards, by many workers."""
    from ..export.batch.notes import SHARD, note_items, write_index
    from ..export.text.nsynth import read_nsynth
    from ..export.work.store import Store

    data = read_nsynth(dataset)
    total, items = note_items(data, target, limit)
    kept, shards = Store(store or target / HIDDEN), {}

    def finish(item: "Item", result: "Result") -> None:
        shards[item.places[SHARD].name] = result.data

    summary = run_items("hearing the notes", total, items, kept, workers, cluster, finish)
    lines = [("", line) for line in data.skipped]
    made, skipped = write_index(target, shards, lines)
    for name, reason in [one for row in shards.values() for one in row["skipped"]][:SHOWN]:
        err.print(f"failed: {name}: {reason}", markup=False, soft_wrap=True)
    out.print(f"{target}: {made} notes in {len(shards)} shards", markup=False, soft_wrap=True)
    ended(summary, kept, "shards made")
    if skipped:
        raise DuendeError(f"{skipped} notes were skipped; {target} says which and why")


def _words(state: "State") -> str:
    from ..export.teachers.transfer import duration

    parts = [f"{state.made} made"]
    if state.there:
        parts.append(f"{state.there} there")
    if state.failed:
        parts.append(f"{state.failed} failed")
    left = "" if state.left_s is None or state.done == state.total else f", about {duration(state.left_s)} left"
    return ", ".join(parts) + left
