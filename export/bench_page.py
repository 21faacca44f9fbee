"""Figures of a benchmark as pictures and as a page: histogram of times, load against block size, misses."""

import importlib
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

from .. import DuendeError
from ..engine.bench.results import PER_OCTAVE, Figures, Result
from ..presets.format import write_atomically
from .page import data_url, figures, page, pairs, table

MOST_LINES = 12
_WIDTH, _HEIGHT, _DPI = 11.0, 4.6, 90


def check_drawing() -> None:
    """DuendeError where there is nothing to draw with; before a measurement rather than after it."""
    _import("matplotlib.figure")


def write_picture(path: Path, found: Figures) -> None:
    """Write all pictures below one another as a PNG; DuendeError where it cannot be written."""
    drawings = [draw for draw in _DRAWINGS if _drawn(draw, found.results)]
    figure = _figure(len(drawings))
    for axis, draw in zip(figure.subplots(len(drawings), 1, squeeze=False)[:, 0], drawings, strict=True):
        draw(axis, found.results)
        axis.set_title((draw.__doc__ or "").rstrip("."), loc="left", fontsize=11)
    write_atomically(path, _png(figure))


def write_page(path: Path, found: Figures) -> None:
    """Write one HTML file with pictures, table and machine; it loads nothing and runs no script."""
    write_atomically(path, page_text(found).encode("utf-8"))


def page_text(found: Figures) -> str:
    """The page as text."""
    parts = [f"<h1>duende bench</h1><p class='soft'>{escape(found.created)}</p>"]
    for draw in _DRAWINGS:
        if _drawn(draw, found.results):
            figure = _figure(1)
            draw(figure.subplots(), found.results)
            title = escape((draw.__doc__ or "").rstrip("."))
            source = data_url("image/png", _png(figure))
            parts.append(f'<h2>{title}</h2><img class="picture" alt="{title}" src="{source}">')
    head = ("what", "median", "p99", "p99.9", "worst", "period", "load", "misses", "idle misses", "added ms", "MB")
    rows = [figures(_row(one)) for one in found.results]
    parts += ["<h2>Figures, in microseconds</h2>", table(head, rows, "figures")]
    if found.left_out:
        parts += ["<h2>Not measured</h2>", f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in found.left_out)}</ul>"]
    parts += ["<h2>Machine</h2>", pairs(found.machine.lines())]
    return page("duende bench", parts)


def _row(one: Result) -> list[str]:
    times = (one.median_us, one.p99_us, one.p999_us, one.worst_us, one.period_us)
    return [
        one.key.words(),
        *(f"{value:.0f}" for value in times),
        f"{one.load:.0%}",
        f"{one.misses} of {one.callbacks}",
        f"{one.idle_misses} of {one.idle_callbacks}",
        f"{one.added_latency_ms:.2f}",
        "" if one.memory_mb is None else f"{one.memory_mb:.0f}",
    ]


def draw_load(axis: Any, results: Sequence[Result]) -> None:
    """Load against block size: p99 over the period."""
    for name, rows in _lines(results, "block").items():
        axis.plot([one.key.block for one in rows], [100.0 * one.load for one in rows], marker="o", label=name)
    sizes = sorted({one.key.block for one in results})
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.set_yscale("log")
    _plain(axis.yaxis)
    axis.axhline(100.0, color="0.5", linestyle="--", linewidth=1.0)
    axis.set(xlabel="block, frames", ylabel="load, %")
    _legend(axis)


def draw_histogram(axis: Any, results: Sequence[Result]) -> None:
    """How long callbacks took: share of callbacks over their time."""
    blocks = sorted({one.key.block for one in results})
    block = 128 if 128 in blocks else blocks[len(blocks) // 2]
    shown = [one for one in results if one.key.block == block][:MOST_LINES]
    for one in shown:
        lowest, highest = one.histogram[0][0], one.histogram[-1][0]
        counts = dict(one.histogram)
        edges = [2.0 ** (number / PER_OCTAVE) for number in range(lowest, highest + 2)]
        shares = [100.0 * counts.get(number, 0) / one.callbacks for number in range(lowest, highest + 1)]
        axis.stairs(shares, edges, label=one.key.words())
    axis.axvline(shown[0].period_us, color="0.5", linestyle="--", linewidth=1.0)
    axis.set_xscale("log")
    _plain(axis.xaxis)
    axis.set(xlabel=f"us, at blocks of {block}; dashed: the period", ylabel="callbacks, %")
    _legend(axis)


def draw_misses(axis: Any, results: Sequence[Result]) -> None:
    """Misses against instances, beside those of doing nothing."""
    for name, rows in _lines(results, "instances").items():
        counts = [one.key.instances for one in rows]
        drawn = axis.plot(counts, [100.0 * one.misses / one.callbacks for one in rows], marker="o", label=name)
        shares = [100.0 * one.idle_misses / max(1, one.idle_callbacks) for one in rows]
        axis.plot(counts, shares, linestyle=":", color=drawn[0].get_color())
    axis.set_yscale("symlog", linthresh=0.1)
    axis.set_ylim(bottom=0.0)
    axis.set_xticks(sorted({one.key.instances for one in results}))
    axis.set(xlabel="instances in one callback; dotted: a callback that does nothing", ylabel="misses, %")
    _legend(axis)


_DRAWINGS: tuple[Callable[[Any, Sequence[Result]], None], ...] = (draw_load, draw_histogram, draw_misses)


def _drawn(draw: Callable[..., None], results: Sequence[Result]) -> bool:
    """Whether there is something to see: misses against instances need several."""
    return draw is not draw_misses or len({one.key.instances for one in results}) > 1


def _lines(results: Sequence[Result], along: Literal["block", "instances"]) -> dict[str, list[Result]]:
    """Results that differ in nothing else, by their name, each rising along the axis; as many as can be told apart."""
    found: dict[str, list[Result]] = {}
    for one in results:
        found.setdefault(one.key.words(without=along), []).append(one)
    return {
        name: sorted(rows, key=lambda one: getattr(one.key, along)) for name, rows in list(found.items())[:MOST_LINES]
    }


def _plain(axis: Any) -> None:
    """Numbers as they are read, not as powers of ten."""
    ticker = _import("matplotlib.ticker")
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(ticker.LogFormatter(minor_thresholds=(2.0, 0.5)))


def _legend(axis: Any) -> None:
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _figure(rows: int) -> Any:
    return _import("matplotlib.figure").Figure(figsize=(_WIDTH, _HEIGHT * rows), dpi=_DPI, layout="constrained")


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DuendeError("drawing needs matplotlib: pip install 'duende[plot]'") from error
