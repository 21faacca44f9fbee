"""What each effect costs per quantum, beside an empty chain; writes bench/host.md.

Run: ``python bench/host.py [seconds per row]``. The section that bench/host_run.py has written there stays.
"""

import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duende.engine.bench import machine, playing
from duende.engine.chain import Chain
from duende.engine.denormals import flush_denormals
from duende.engine.fx.graphs import QUANTUM
from duende.engine.fx.processor import PyoEffect
from duende.engine.fx.table import EFFECTS
from duende.engine.params import ParameterBank
from duende.engine.realtime import raise_priority
from duende.engine.shared import SharedState
from duende.engine.telemetry import Telemetry

RATE = 48000.0
SECONDS = 4.0
SKIP = 200
MOVE_EVERY = 8
OTHERS = "<!-- made by bench/host_run.py -->"
"""Where the section begins that is kept."""


def chain_of(name: str | None) -> Chain:
    shared = SharedState()
    slots = [] if name is None else [(name, PyoEffect(name))]
    return Chain(ParameterBank(shared.pages[0]), Telemetry(shared), slots)


def times_us(name: str | None, channels: int, moving: bool, samples: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Median and 99th percentile of a chain's time for one quantum, in microseconds."""
    chain = chain_of(name)
    chain.prepare(RATE, QUANTUM, QUANTUM, channels)
    rows = [row for row in chain.bank.table.rows() if row.name.startswith("slot/") and row.kind == "float"][1:]
    block = np.zeros((QUANTUM, channels), dtype=np.float32)
    out = np.zeros_like(block)
    taken = []
    for at in range(0, len(samples) - QUANTUM, QUANTUM):
        block[:] = samples[at : at + QUANTUM].reshape(QUANTUM, -1)
        number = at // QUANTUM
        if moving and number % MOVE_EVERY == 0:
            for row in rows:
                share = 0.4 + 0.2 * (number // MOVE_EVERY % 2)
                chain.bank.set(row.name, row.minimum + share * (row.maximum - row.minimum))
        started = time.perf_counter()
        chain.process(block, out)
        taken.append(time.perf_counter() - started)
    median, p99 = np.percentile(np.array(taken[SKIP:]) * 1e6, [50.0, 99.0])
    return float(median), float(p99)


def main() -> None:
    """Measure, and write the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    samples = playing(RATE, round(seconds * RATE))
    flush_denormals()
    raise_priority(50)
    lines = [
        "# Effects: time per quantum",
        "",
        f"A chain with one effect, microseconds per {QUANTUM} frames (a period of {1e6 * QUANTUM / RATE:.0f} us):",
        "median / 99th percentile. Moving: all controls of the effect, all the time. Beside it a chain with nothing",
        "in it, which copies, smooths its parameters and limits. Every effect has 0 samples of latency. Written by",
        "`bench/host.py`.",
        "",
        "| effect | mono | mono, moving | stereo |",
        "|---|---|---|---|",
    ]
    for name in (None, *EFFECTS):
        cells = [times_us(name, channels, moving, samples) for channels, moving in ((1, False), (1, True), (2, False))]
        lines.append(f"| {name or 'none'} | " + " | ".join(f"{median:.0f} / {p99:.0f}" for median, p99 in cells) + " |")
        sys.stderr.write(lines[-1] + "\n")
    found = machine()
    lines += ["", f"{found['processor']}, {found['cores']} cores, Python {found['python']}, numpy {found['numpy']}."]
    target = Path(__file__).with_suffix(".md")
    old = target.read_text().partition(OTHERS)[1:] if target.exists() else ()
    target.write_text("\n".join([*lines, "", *"".join(old).splitlines()]).rstrip() + "\n")


if __name__ == "__main__":
    main()
