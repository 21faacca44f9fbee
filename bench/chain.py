"""What the chain itself costs per quantum of 128: empty, with more and more slots, and split; writes bench/chain.md."""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duende.engine.bench import machine, playing
from duende.engine.denormals import flush_denormals
from duende.engine.preset import build_rig
from duende.engine.processor import Processor, StreamSpec
from duende.engine.spec import Control

Float32 = npt.NDArray[np.float32]

RATE, QUANTUM = 48000.0, 128
RUNS, QUANTA, WARM_UP = 7, 3000, 300


class Gain:
    """Multiplies by its one control."""

    quantum = 1
    latency_samples = memory_samples = tail_samples = 0

    def __init__(self) -> None:
        self.controls = [Control("gain", "", 0.0, 1.0, 0.99)]
        self.values: Float32 = np.array([0.99], dtype=np.float32)

    def prepare(self, spec: StreamSpec) -> None: ...

    def process(self, block: Float32, out: Float32) -> None:
        np.multiply(block, self.values[0], out=out)

    def reset(self) -> None: ...

    def adopt(self, predecessor: Processor, lag_samples: int) -> None: ...


def median_us(branches: list[str], *, moving: bool = False) -> float:
    """Median microseconds per quantum of a chain of gains; moving: while a value is on its way."""
    row: list[tuple[str, Processor]] = [(f"gain {place}", Gain()) for place in range(len(branches))]
    rig = build_rig(row, branches=branches)
    chain, bank = rig.chain, rig.bank
    chain.prepare(RATE, QUANTUM, QUANTUM)
    samples, out = playing(RATE, (QUANTA + WARM_UP) * QUANTUM), np.zeros((QUANTUM, 1), dtype=np.float32)
    times = []
    for number in range(QUANTA + WARM_UP):
        if moving:
            bank.set("output/gain", -1.0 - number % 2)
        block = samples[number * QUANTUM : (number + 1) * QUANTUM]
        started = time.perf_counter()
        chain.process(block, out)
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times[WARM_UP:])


def main() -> None:
    """Measure and write the table."""
    flush_denormals()
    chains: dict[str, list[str]] = {"empty": [], "1 gain": [""]}
    chains |= {f"{count} gains in series": [""] * count for count in (2, 4, 8, 16)}
    chains["2 gains, one in each branch of a split"] = ["a", "b"]
    chains["16 gains: 4, a split of 4 and 4, and 4"] = [""] * 4 + ["a"] * 4 + ["b"] * 4 + [""] * 4
    runs: dict[str, list[float]] = {name: [] for name in chains}
    on_the_way: dict[str, list[float]] = {name: [] for name in chains}
    for _ in range(RUNS):
        # In turn, so that what else the machine does meets all of them.
        for name, branches in chains.items():
            runs[name].append(median_us(branches))
            on_the_way[name].append(median_us(branches, moving=True))
    period = 1e6 * QUANTUM / RATE
    lines = [
        "# Chain: time per quantum",
        "",
        f"Written by `python bench/chain.py`: {QUANTUM} frames at {RATE:g} Hz (a period of {period:.0f} us), mono, one",
        f"thread. Medians of {QUANTA} quanta; median and range of {RUNS} runs, taken in turn. A gain's own work is one",
        "multiplication: what is left is the slot's. Moving: the output gain is on its way in every quantum.",
        "",
        "| chain | us | lowest and highest run | share of the period | moving, us |",
        "|---|---|---|---|---|",
    ]
    for name, values in runs.items():
        middle = statistics.median(values)
        lines.append(
            f"| {name} | {middle:.1f} "
            f"| {min(values):.1f}..{max(values):.1f} | {middle / period:.2%} "
            f"| {statistics.median(on_the_way[name]):.1f} |"
        )
    slot = (statistics.median(runs["16 gains in series"]) - statistics.median(runs["empty"])) / 16
    lines += ["", f"A slot costs {slot:.1f} us.", ""]
    lines += [", ".join(f"{key}: {value}" for key, value in machine().items()), ""]
    target = Path(__file__).with_suffix(".md")
    target.write_text("\n".join(lines), encoding="utf-8")
    sys.stdout.write(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
