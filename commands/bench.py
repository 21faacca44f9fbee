"""`duende bench`: measure what this machine plays through, compare two measurements, draw one."""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from .. import DuendeError
from .console import notices, out, progress, wide
from .latency import latency
from .soak import soak

if TYPE_CHECKING:
    from ..engine.bench.compare import Comparison
    from ..engine.bench.matrix import Played
    from ..engine.bench.results import Figures, Result

QUICK_PRESETS = ("cello", "rain", "lead")
QUICK_MODELS = ("student:5",)
FULL_MODELS = ("student:0.2", "student:1", "student:5", "filters:4096")
QUICK_BLOCKS, FULL_BLOCKS = "64,128,256", "32,64,128,256,512,1024"
QUICK_PASSES, FULL_PASSES = 3, 5
QUICK_S, FULL_S = 0.25, 2.0
MAX_PASSES = 100
LONG_MINUTES = 2.0
SHOWN = 3
ENDINGS = {"html": (".html", ".htm"), "png": (".png",)}


class MeasureByDefault(TyperGroup):
    """A group whose words are those of its command `run` unless they begin with another command's name."""

    default_command = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=MeasureByDefault,
    help=(
        "Measure what this machine plays through, and how late; compare two measurements. "
        "`duende bench` with models and options, or alone, is `duende bench run`: see `duende bench run --help`."
    ),
)


def _models_from(incomplete: str) -> list[str]:
    """Names of presets and captures, and of what can be generated, for the shell."""
    from ..presets.captures import Captures
    from ..presets.library import Library

    names = [entry.name for entry in Library().entries()] + [f"capture:{name}" for name in Captures().entries()]
    return [name for name in (*names, *FULL_MODELS) if name.startswith(incomplete)]


@bench_app.command("run")
def run(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Presets by name, FILE.onnx, capture:NAME; random: student:5 (millions of weights), filters:4096. "
            "Without any, a few that came with duende.",
            autocompletion=_models_from,
        ),
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="Block sizes in frames, separated by commas; without it 64,128,256.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Sample rate in Hz.")] = 48000.0,
    seconds: Annotated[
        float | None, typer.Option(help="Real time per block size and pass; without it 0.25.", show_default=False)
    ] = None,
    passes: Annotated[
        int | None, typer.Option(help="How often all is measured, in processes of its own; without it 3.")
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt; several separated by commas.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="Of the weights: float32, float16, int8; several by commas.")
    ] = "float32",
    cuda_graph: Annotated[str, typer.Option(help="off, on or both: replay a captured CUDA graph.")] = "off",
    threads: Annotated[str, typer.Option(help="Threads of an operator on the CPU; several by commas.")] = "1",
    channels: Annotated[str, typer.Option(help="1 mono, 2 stereo; both by commas.")] = "1",
    instances: Annotated[str, typer.Option(help="Chains in one callback, on one core; several by commas.")] = "1",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures: FILE.html.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the pictures: FILE.png.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute for a few models: the default.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="All presets and sizes, 32 to 1024 frames, 5 passes of 2 s: an hour.")
    ] = False,
    priority: Annotated[
        bool, typer.Option("--priority/--no-priority", help="With real-time priority where allowed, as in playing.")
    ] = True,
) -> None:
    """Measure callbacks against the clock, in turns with one that does nothing; each case in a process of its own."""
    from ..engine.bench.children import run_cases
    from ..engine.bench.machine import PRIORITY, describe_machine
    from ..engine.bench.matrix import Ways, cases_for, check_ways, expected_seconds
    from ..engine.bench.results import figures, summarise, write_figures

    if quick and full:
        raise DuendeError("--quick and --full: choose one")
    count = passes if passes is not None else FULL_PASSES if full else QUICK_PASSES
    if not 1 <= count <= MAX_PASSES:
        raise DuendeError(f"--passes {count}: out of range, 1 to {MAX_PASSES}")
    ways = Ways(
        blocks=_numbers("--blocks", blocks or (FULL_BLOCKS if full else QUICK_BLOCKS)),
        rate=rate,
        seconds=seconds if seconds is not None else FULL_S if full else QUICK_S,
        providers=_words(provider),
        precisions=_words(precision),
        cuda_graphs=_switch("--cuda-graph", cuda_graph),
        threads=_numbers("--threads", threads),
        channels=_numbers("--channels", channels),
        instances=_numbers("--instances", instances),
        priority=PRIORITY if priority else 0,
    )
    check_ways(ways)
    _check_targets(html, png)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="duende-bench-") as folder, progress() as bar:
        task = bar.add_task("preparing", total=1.0)
        played, left_out = _played(models or [], Path(folder), full=full)
        cases, more = cases_for(played, ways, functools.partial(_smaller, folder=Path(folder)))
        left_out += more
        if (minutes := expected_seconds(cases, count) / 60.0) > LONG_MINUTES:
            notices([f"{len(cases)} cases, {count} passes: about {minutes:.0f} minutes"])
        runs = run_cases(cases, count, lambda text, share: bar.update(task, description=text, completed=share))
    results: list[Result] = []
    refusals: list[str] = []
    for case, found in zip(cases, runs, strict=True):
        results += summarise(case, found)
        refusals += [f"{case.model} on {case.provider}: {one.refused}" for one in found if one.refused]
        left_out += [f"{case.model}: {text}" for one in found[:1] for text in one.notices]
    left_out = list(dict.fromkeys([*left_out, *refusals]))
    if not results:
        raise DuendeError(_nothing(left_out, runs))
    notices([f"not measured: {line}" for line in left_out])
    measured = figures(machine, results, left_out)
    _show(measured)
    if json_file is not None:
        write_figures(json_file, measured)
        out.print(f"wrote {json_file}", markup=False, soft_wrap=True)
    _draw(measured, html, png)


@bench_app.command("compare")
def compare_files(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="Figures of `duende bench --json`: before.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Figures of another run: after.")],
) -> None:
    """Show what is quicker and what is slower in B than in A, and what chance alone could have done."""
    from ..engine.bench.compare import compare
    from ..engine.bench.results import read_figures

    found = compare(read_figures(a), read_figures(b))
    notices([f"not the same: {line}" for line in found.differences])
    for path, keys in ((a, found.only_a), (b, found.only_b)):
        if keys:
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            notices([f"only in {path.name}: {'; '.join(key.words() for key in keys[:SHOWN])}{more}"])
    if not found.rows:
        raise DuendeError(f"{a.name} and {b.name} have measured nothing in common")
    wide().print(_comparison_table(found, a.name, b.name))


@bench_app.command("draw")
def draw(
    source: Annotated[Path, typer.Argument(metavar="FIGURES.json", help="Figures of `duende bench --json`.")],
    html: Annotated[Path | None, typer.Option(help="Page to write: FILE.html.")] = None,
    png: Annotated[Path | None, typer.Option(help="Pictures to write: FILE.png.")] = None,
) -> None:
    """Draw figures that were measured before (needs the extra `plot`)."""
    from ..engine.bench.results import read_figures

    if html is None and png is None:
        raise DuendeError("say what to write: --html FILE.html, --png FILE.png")
    _check_targets(html, png)
    _draw(read_figures(source), html, png)


bench_app.command("latency")(latency)
bench_app.command("soak")(soak)


# -- what is asked for -------------------------------------------------------------------------------------------------


def _played(names: Sequence[str], folder: Path, *, full: bool) -> "tuple[list[Played], list[str]]":
    """The models by name, those of the program where none are named, and what is left out of these."""
    from ..engine.bench.matrix import Played
    from ..engine.fx.graph import has_pyo
    from ..presets.library import Library

    if names:
        return list(dict.fromkeys(_model(name, folder) for name in dict.fromkeys(names))), []
    entries = [entry for entry in Library().entries() if entry.factory and (full or entry.name in QUICK_PRESETS)]
    left_out = []
    if not has_pyo():
        effects = [entry for entry in entries if any(slot.kind == "fx" for slot in entry.read().slots)]
        entries = [entry for entry in entries if entry not in effects]
        if effects:
            left = ", ".join(entry.name for entry in effects)
            left_out = [f"{left}: effects need pyo: pip install 'duende[fx]'"]
    found = [Played(entry.name, "preset", str(entry.folder), entry.name) for entry in entries]
    return [*found, *(_model(name, folder) for name in (FULL_MODELS if full else QUICK_MODELS))], left_out


def _model(name: str, folder: Path) -> "Played":
    """What a word of the command line means."""
    from ..engine.bench.matrix import Played, file_played, filters_named
    from ..export.bench_models import student_played
    from ..presets.captures import Captures
    from ..presets.library import Library

    if name.startswith("student:"):
        return student_played(name, folder)
    if name.startswith("filters:"):
        return filters_named(name)
    if name.startswith("capture:"):
        return file_played(name.partition(":")[2], Captures().find(name.partition(":")[2]))
    if name.endswith(".onnx") or "/" in name or "\\" in name:
        return file_played(Path(name).stem, Path(name).resolve())
    library, captures = Library(), Captures().entries()
    if name in captures and name not in [entry.name for entry in library.entries()]:
        return file_played(name, captures[name])
    entry = library.find(name)
    entry.read()
    return Played(name, "preset", str(entry.folder), name)


def _smaller(played: "Played", precision: str, folder: Path) -> "Played":
    from ..export.bench_models import at_precision

    return at_precision(played, precision, folder)


def _numbers(option: str, text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise DuendeError(f"{option} {text!r}: write whole numbers separated by commas") from None


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _switch(option: str, text: str) -> list[bool]:
    known = {"off": [False], "on": [True], "both": [False, True]}
    if text not in known:
        raise DuendeError(f"{option} {text!r}: choose one of {', '.join(known)}")
    return known[text]


def _check_targets(html: Path | None, png: Path | None) -> None:
    """Before anything is measured: whether pictures can be written at all."""
    for option, path in (("html", html), ("png", png)):
        if path is not None and path.suffix.lower() not in ENDINGS[option]:
            raise DuendeError(f"--{option} {path}: a name ending in {ENDINGS[option][0]} is needed")
    if html is not None or png is not None:
        from ..export.bench_page import check_drawing

        check_drawing()


def _draw(found: "Figures", html: Path | None, png: Path | None) -> None:
    if html is None and png is None:
        return
    from ..export.bench_page import write_page, write_picture

    for path, write in ((html, write_page), (png, write_picture)):
        if path is not None:
            write(path, found)
            out.print(f"wrote {path}", markup=False, soft_wrap=True)


def _nothing(left_out: Sequence[str], runs: Sequence[Sequence[Any]]) -> str:
    """Why there is not a single figure, in one line."""
    reasons = list(dict.fromkeys(one.refused for found in runs for one in found if one.refused))
    if len(reasons) == 1:
        return str(reasons[0])
    return "nothing could be measured: " + "; ".join(left_out or ["no model was named"])


# -- what is shown -----------------------------------------------------------------------------------------------------


def _show(found: "Figures") -> None:
    """The machine, the table, and what it means."""
    console = wide()
    about = Table("", "", show_header=False, box=None, padding=(0, 1))
    for what, value in found.machine.lines():
        about.add_row(what, escape(value))
    console.print(about)
    console.print(_results_table(found.results))
    for line in verdicts(found.results):
        console.print(line, soft_wrap=True, markup=False)


def _results_table(results: "Sequence[Result]") -> Table:
    table = Table(
        *("model", "block", "period", "median", "p99", "p99.9", "worst", "load", "x real time"),
        *("misses", "idle", "added", "first", "opened", "memory"),
        box=None,
        title="times in us; load = p99 / period; idle = misses of a callback that does nothing; "
        "added in ms; first callback in us; opened in ms; memory in MB",
        title_justify="left",
    )
    for one in results:
        key = one.key
        times = (one.period_us, one.median_us, one.p99_us, one.p999_us, one.worst_us)
        style = "red" if one.load >= 1.0 else "yellow" if one.load >= 0.5 else ""
        table.add_row(
            escape(key.words(without="block")),
            str(key.block),
            *(f"{value:.0f}" for value in times),
            f"[{style}]{one.load:.0%}[/]" if style else f"{one.load:.0%}",
            f"{one.real_time_factor:.1f}",
            f"{one.misses} of {one.callbacks}",
            str(one.idle_misses),
            f"{one.added_latency_ms:.2f}",
            f"{one.first_us:.0f}",
            f"{one.load_ms:.0f}",
            "" if one.memory_mb is None else f"{one.memory_mb:.0f}",
        )
    return table


def verdicts(results: "Sequence[Result]") -> list[str]:
    """For each model, the smallest block that this machine keeps up with, as far as it was measured."""
    found: dict[str, list[Result]] = {}
    for one in results:
        found.setdefault(one.key.words(without="block"), []).append(one)
    lines = []
    for name, rows in found.items():
        kept = [row for row in rows if row.load < 1.0 and row.misses <= max(row.idle_misses, row.callbacks // 100)]
        if kept:
            best = min(kept, key=lambda row: row.key.block)
            room = "with room" if best.load < 0.5 else "with little room"
            lines.append(f"{name}: plays from blocks of {best.key.block} on, {room} (load {best.load:.0%})")
        else:
            lines.append(f"{name}: does not keep up with any of these blocks")
    if sum(row.idle_misses for row in results) > 0.01 * sum(row.idle_callbacks for row in results):
        lines.append("even doing nothing came late in more than 1 % of callbacks: close other programs, measure again")
    return lines


def _comparison_table(found: "Comparison", a: str, b: str) -> Table:
    table = Table(
        *("what", f"median {a}", f"median {b}", "ratio", "", f"p99 {a}", f"p99 {b}", "ratio", "", "misses", "idle"),
        box=None,
        title="times in us; ratios B / A with intervals that all hold together with 95 %",
        title_justify="left",
    )
    colours = {"quicker": "green", "slower": "red"}
    for row in found.rows:
        cells = [escape(row.key.words())]
        for before, after, ratio in (
            (row.a.median_us, row.b.median_us, row.median),
            (row.a.p99_us, row.b.p99_us, row.p99),
        ):
            between = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f}..{ratio.high:.2f})"
            colour = colours.get(ratio.verdict, "")
            verdict = f"[{colour}]{ratio.verdict}[/]" if colour else ratio.verdict
            cells += [f"{before:.0f}", f"{after:.0f}", f"{ratio.ratio:.2f}{between}", verdict]
        cells += [f"{row.a.misses} / {row.b.misses}", f"{row.a.idle_misses} / {row.b.idle_misses}"]
        table.add_row(*cells)
    return table
