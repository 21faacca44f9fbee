"""What networks of growing size cost live, on every provider that is there; writes bench/models.md.

Run: ``python bench/models.py [--seconds 1] [--passes 3] [--providers cpu,cuda]``. Students of the shipped kind with
random weights, of 0.2, 1 and 5 million, and the literature's extractor of 4096 filters (46 million), at blocks of 128,
in float32, float16 and int8, and as a CUDA graph where there is a card.
"""

import argparse
import functools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from duende.engine.bench.children import run_cases
from duende.engine.bench.fixed import GRAPH_PROVIDERS
from duende.engine.bench.machine import PRIORITY, MachineInfo, describe_machine
from duende.engine.bench.matrix import Played, Ways, cases_for, filters_named
from duende.engine.bench.results import Result, figures, summarise, write_figures
from duende.engine.model import PROVIDERS
from duende.export.bench_models import at_precision, student_played
from duende.presets.format import write_atomically

STUDENTS, FILTERS = ("student:0.2", "student:1", "student:5"), "filters:4096"
BLOCK = 128


def row(one: Result) -> str:
    """One line of the table."""
    key, parameters = one.key, one.parameters or 0
    way = ", ".join([key.provider, key.precision, *(["CUDA graph"] if key.cuda_graph else [])])
    low, high = (pick(part.median_us for part in one.passes) for pick in (min, max))
    memory = "" if one.memory_mb is None else f"{one.memory_mb:.0f}"
    return (
        f"| {key.model} | {parameters / 1e6:.2f} | {way} | {one.median_us:.0f} | {low:.0f}..{high:.0f} "
        f"| {one.p99_us:.0f} | {one.load:.0%} | {one.misses} of {one.callbacks} | {one.idle_misses} "
        f"| {one.load_ms:.0f} | {memory} |"
    )


def text(machine: MachineInfo, results: Sequence[Result], left_out: Sequence[str], seconds: float, passes: int) -> str:
    """The page."""
    busy = machine.load is not None and machine.load > 0.5 * machine.cores
    lines = [
        "<!-- made by bench/models.py -->",
        "",
        "# Networks of growing size, live",
        "",
        f"Written by `python bench/models.py`: a whole chain with one model, mono, blocks of {BLOCK} at 48 kHz (2667",
        f"us), on one thread, {passes} passes of {seconds:g} s, each in a process of its own. Times of callbacks in",
        "us; load = p99 over the period; misses beside those of a callback that does nothing, as often, in turns.",
        "Weights in float16 and int8 are stored so and computed in float32. `filters:4096` is the published",
        "extractor, 11 frames of 1025 bins: 185 MB that are read for every hop.",
        *(
            [f"Other programs ran (load {machine.load:.0f} on {machine.cores} cores): all times are high."]
            if busy
            else []
        ),
        "",
        "| model | million weights | on, in | median | passes | p99 | load | misses | idle | opened, ms | memory, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(row(one) for one in results),
        "",
        *(f"- not measured: {line}" for line in left_out),
        *([""] if left_out else []),
        "; ".join(f"{what}: {value}" for what, value in machine.lines()),
        "",
    ]
    return "\n".join(lines)


def tell(words: str, share: float) -> None:
    """Say how far it is."""
    sys.stderr.write(f"{share:.0%} {words}\n")


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--providers", default=",".join(PROVIDERS))
    parser.add_argument("--json", type=Path, help="the figures, for `duende bench compare`")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    asked = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="duende-models-") as temporary:
        folder = Path(temporary)
        played: list[Played] = [*(student_played(name, folder) for name in STUDENTS), filters_named(FILTERS)]
        ways = Ways(
            blocks=[BLOCK],
            seconds=asked.seconds,
            providers=asked.providers.split(","),
            precisions=["float32", "float16", "int8"],
            cuda_graphs=[False, True] if set(GRAPH_PROVIDERS) & set(machine.providers) else [False],
            priority=PRIORITY,
        )
        cases, left_out = cases_for(played, ways, functools.partial(at_precision, folder=folder))
        runs = run_cases(cases, asked.passes, tell)
    results = [one for case, found in zip(cases, runs, strict=True) for one in summarise(case, found)]
    left_out += [
        f"{case.model} on {case.provider}: {one.refused}"
        for case, found in zip(cases, runs, strict=True)
        for one in found
        if one.refused
    ]
    if asked.json is not None:
        write_figures(asked.json, figures(machine, results, left_out))
    write_atomically(asked.output, text(machine, results, left_out, asked.seconds, asked.passes).encode())
    sys.stdout.write(asked.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
