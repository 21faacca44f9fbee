"""Work spread over workers: what one costs beside plain calls, what two bring, on this machine and through Ray.

Writes bench/scale.md. Run: ``python bench/scale.py [--seconds 4] [--files 12] [--rounds 3] [--no-ray]``. Rounds are
interleaved, figures are medians over rounds, ratios are of one round.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from duende import DuendeError
from duende.engine.bench import machine
from duende.engine.preset import load_rig
from duende.engine.render import render_file
from duende.export.batch.rendering import render_items
from duende.export.pluck import demo_phrase
from duende.export.work.cluster import Cluster
from duende.export.work.driver import Item, run_batch
from duende.export.work.here import Here
from duende.export.work.pool import Pool
from duende.export.work.runner import Runner
from duende.export.work.store import Store
from duende.export.work.task import Source, Task
from duende.presets.format import write_atomically
from duende.presets.library import Library

RATE = 48000
PRESET = "cello"
EMPTY = 100
LARGE = 32 << 20
TARGET = Path(__file__).with_suffix(".md")


def sounds(folder: Path, count: int, seconds: float) -> None:
    """Phrases that differ, so that none is taken for another."""
    phrase = np.tile(demo_phrase(RATE), 1 + round(seconds) // 11)[: round(seconds * RATE)]
    folder.mkdir()
    for number in range(count):
        soundfile.write(folder / f"{number:03d}.wav", phrase * np.float32(0.5 + 0.4 * number / count), RATE)


def plain(source: Path, target: Path) -> dict[str, float]:
    """Seconds of the same files one after the other, without tasks."""
    target.mkdir()
    entry, started, spent = Library().find(PRESET), time.perf_counter(), time.process_time()
    for path in sorted(source.iterdir()):
        render_file(load_rig(entry), path, target / path.name)
    took = time.perf_counter() - started
    return {"start": 0.0, "work": took, "busy": took, "processor": time.process_time() - spent}


def rendered(source: Path, folder: Path, open_runner: Callable[[Store], Runner]) -> dict[str, float]:
    """Seconds of a whole batch, from open workers to the last file, and of the start before it."""
    store = Store(folder / "store")
    total, items = render_items(Library().find(PRESET), source, folder / "out")
    began = time.perf_counter()
    with store.held(), open_runner(store) as runner:
        ready(runner)
        started = time.perf_counter()
        found = run_batch(items, runner, store, total)
        ended = time.perf_counter()
    assert not found.failed, found.failed
    return {"start": started - began, "work": ended - started, "busy": found.busy_s, "processor": found.processor_s}


def ready(runner: Runner) -> None:
    """Until every worker takes orders."""
    wanted = getattr(runner, "_count", None) or 1
    while len(runner.workers()) < wanted:
        runner.wait(0.1)


def overhead(store: Store, runner: Runner) -> dict[str, float]:
    """Seconds that a task takes beside its work: those here have a small input, and fail at once."""

    def items() -> Iterator[Item]:
        for number in range(EMPTY):
            data = Source.of_bytes(f"no sound {number}".encode(), "poison")
            yield Item(str(number), Task(str(number), "target", {"number": number}, {"piece": data}))

    started = time.perf_counter()
    found = run_batch(items(), runner, store, EMPTY)
    took = time.perf_counter() - started
    assert len(found.failed) == EMPTY
    return {"task": took / EMPTY, "rate": EMPTY / took}


def moved(store: Store, runner: Runner) -> float:
    """Bytes per second of inputs that a worker gets and looks at: 32 MiB each, hashed on both sides."""
    rng = np.random.default_rng(1)
    data = [rng.bytes(LARGE) for _ in range(3)]
    started = time.perf_counter()
    items = (
        Item(str(number), Task(str(number), "target", {"number": number}, {"piece": Source.of_bytes(one, "x.bin")}))
        for number, one in enumerate(data)
    )
    run_batch(items, runner, store, len(data))
    return len(data) * LARGE / (time.perf_counter() - started)


def again(source: Path, folder: Path) -> float:
    """Seconds per file to see that a batch is there already."""
    store = Store(folder / "store")
    total, items = render_items(Library().find(PRESET), source, folder / "out")
    with store.held(), Here(store.staging) as runner:
        started = time.perf_counter()
        found = run_batch(items, runner, store, total)
        took = time.perf_counter() - started
    assert found.there == total, found
    return took / total


def workers_memory() -> float:
    """Largest resident size of a worker in MiB, of all that have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024.0


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, by name."""
    source = folder / "in"
    sounds(source, options.files, options.seconds)
    runners: dict[str, Callable[[Store], Runner]] = {
        "1 process": lambda store: Pool(1, store.staging),
        "2 processes": lambda store: Pool(2, store.staging),
    }
    if not options.no_ray:
        runners |= {"1 Ray worker": lambda store: Cluster("auto", 1), "2 Ray workers": lambda store: Cluster("auto", 2)}
    rows: dict[str, list[dict[str, float]]] = {"plain": []}
    rows |= {name: [] for name in ("in this process", *runners)}
    there: list[float] = []
    for number in range(options.rounds):
        rows["plain"].append(plain(source, folder / f"plain{number}"))
        for name, opened in {"in this process": lambda store: Here(store.staging), **runners}.items():
            place = folder / f"{name}{number}"
            try:
                rows[name].append(rendered(source, place, opened))
            except DuendeError as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            if name == "1 process":
                there.append(again(source, place))
            print(number, name, rows[name][-1], file=sys.stderr)
    costs: dict[str, dict[str, float]] = {}
    for name, opened in runners.items():
        if name.startswith("2"):
            store = Store(folder / f"empty {name}")
            try:
                with store.held(), opened(store) as runner:
                    ready(runner)
                    overhead(store, runner)  # all that they need is loaded then
                    costs[name] = {**overhead(store, runner), "bytes": moved(store, runner)}
            except DuendeError as error:
                print(f"{name}: {error}", file=sys.stderr)
    return {"rows": rows, "there": statistics.median(there), "costs": costs, "memory": workers_memory()}


def page(options: argparse.Namespace, found: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    audio = options.files * options.seconds
    lines = [
        "<!-- made by bench/scale.py -->",
        "",
        "# Work spread over workers",
        "",
        f"{options.files} files of {options.seconds:g} s through the preset `{PRESET}`, "
        f"{options.rounds} round{'s' * (options.rounds > 1)}, interleaved; medians. "
        f"Ratios are to the plain calls of the same round. {said()}",
        "",
        "| how | start, s | work, s | files per s | times real time | to plain | processor, s per file |",
        "|---|---|---|---|---|---|---|",
    ]
    plain_rows = found["rows"]["plain"]
    for name, rows in found["rows"].items():
        if not rows:
            continue
        work = statistics.median(row["work"] for row in rows)
        start = statistics.median(row["start"] for row in rows)
        ratio = statistics.median(base["work"] / row["work"] for base, row in zip(plain_rows, rows, strict=False))
        lines.append(
            f"| {name} | {start:.1f} | {work:.2f} | {options.files / work:.2f} | {audio / work:.1f} | {ratio:.2f} "
            f"| {statistics.median(row['processor'] for row in rows) / options.files:.3f} |"
        )
    lines += [
        "",
        "`plain` calls `render_file` in one process, one file after the other. `in this process` adds tasks, hashes "
        "and the store. Start: until all workers take orders. Processor: what the work itself took, which does not "
        "depend on who else is at work.",
        "",
        "| workers | time of a task beside its work, ms | tasks per s | inputs, MB/s |",
        "|---|---|---|---|",
    ]
    for name, row in found["costs"].items():
        lines.append(f"| {name} | {1e3 * row['task']:.1f} | {row['rate']:.0f} | {row['bytes'] / 1e6:.0f} |")
    lines += [
        "",
        f"A file that is there already is seen to be in {1e3 * found['there']:.1f} ms. The largest worker took "
        f"{found['memory']:.0f} MiB.",
        "",
    ]
    return "\n".join(lines)


def said() -> str:
    """The machine, in a line."""
    told = machine()
    return (
        f"{told['processor']}, {told['cores']} cores, Python {told['python']}; load average {os.getloadavg()[2]:.0f} "
        "at the end: where others work, too, two workers bring less."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-ray", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options, Path(folder))
    text = page(options, found)
    write_atomically(TARGET, text.encode())
    print(text)


if __name__ == "__main__":
    main()
