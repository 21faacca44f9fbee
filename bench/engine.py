"""Time per quantum of 128 by part, for a factory preset on one core; writes bench/engine.md beside itself."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from duende.engine.bench import machine, playing, real_time_factor
from duende.engine.denormals import flush_denormals
from duende.engine.preset import Rig, load_rig
from duende.engine.spectral import SpectralProcessor
from duende.presets.library import Library

RATE, QUANTUM = 48000.0, 128
RUNS, QUANTA, WARM_UP = 7, 1500, 200
FIGURES = {"engine beside the model": 120.0, "student, one hop": 200.0}


class Stopwatch:
    """Times of a method of one object, by replacing it on that object."""

    def __init__(self, owner: Any, method: str) -> None:
        self.times: list[float] = []
        self._inner: Callable[..., Any] = getattr(owner, method)
        setattr(owner, method, self._timed)

    def _timed(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        result = self._inner(*arguments)
        self.times.append((time.perf_counter() - started) * 1e6)
        return result


def measure(rig: Rig) -> dict[str, float]:
    """Median microseconds per quantum, by part, of one run."""
    chain = rig.chain
    chain.prepare(RATE, QUANTUM, QUANTUM)
    processor = chain.slots[0].processor
    assert isinstance(processor, SpectralProcessor)
    watches = {
        "excitations": Stopwatch(processor._excitations, "process"),
        "analysis (windows, FFTs)": Stopwatch(processor._analysis, "process"),
        "bands, averages, features": Stopwatch(processor._observer, "process"),
        "student, one hop": Stopwatch(processor._stream, "run"),
        "gains and mixing": Stopwatch(processor._law, "process"),
        "synthesis": Stopwatch(processor._synthesis, "process"),
        "body": Stopwatch(processor._convolver, "process"),
    }
    whole = Stopwatch(chain, "process")
    samples, out = playing(RATE, (QUANTA + WARM_UP) * QUANTUM), np.zeros((QUANTUM, 1), dtype=np.float32)
    for start in range(0, len(samples) - QUANTUM + 1, QUANTUM):
        chain.process(samples[start : start + QUANTUM], out)
    parts = {name: statistics.median(watch.times[WARM_UP:]) for name, watch in watches.items()}
    total = statistics.median(whole.times[WARM_UP:])
    parts["chain (rings, parameters, mix, ceiling)"] = total - sum(parts.values())
    parts["engine beside the model"] = total - parts["student, one hop"]
    parts["whole quantum"] = total
    return parts


def main() -> None:
    """Measure and write the table."""
    threadpool_limits(1)
    flush_denormals()
    entry = Library(own=Path("none")).find("cello")
    runs = [measure(load_rig(entry)) for _ in range(RUNS)]
    factor = statistics.median(real_time_factor(load_rig(entry), RATE) for _ in range(3))
    period = 1e6 * QUANTUM / RATE
    lines = [
        "# Engine: time per quantum",
        "",
        f"Written by `python bench/engine.py`: preset `{entry.name}`, {QUANTUM} frames at {RATE:g} Hz (a period of",
        f"{period:.0f} us), one thread. Medians of {QUANTA} quanta; median and range of {RUNS} runs.",
        "",
        "| part | us | lowest and highest run | share of the period | figure to reach |",
        "|---|---|---|---|---|",
    ]
    for name in runs[0]:
        values = [run[name] for run in runs]
        middle = statistics.median(values)
        goal = f"{FIGURES[name]:g}" if name in FIGURES else ""
        lines.append(
            f"| {name} | {middle:.0f} | {min(values):.0f}..{max(values):.0f} | {middle / period:.1%} | {goal} |"
        )
    lines += [
        "",
        f"Offline, in large blocks: {factor:.1f} x real time (figure to reach: 20).",
        "",
        ", ".join(f"{key}: {value}" for key, value in machine().items()),
        "",
    ]
    target = Path(__file__).with_suffix(".md")
    target.write_text("\n".join(lines), encoding="utf-8")
    sys.stdout.write(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
