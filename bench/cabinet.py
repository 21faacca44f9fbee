"""What a cabinet costs per block, and whether every block costs the same; writes `cabinet.md`."""

import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import signal
from threadpoolctl import threadpool_limits

from duende.engine.bench import machine
from duende.engine.cabinet import Cabinet
from duende.engine.processor import StreamSpec
from duende.engine.response import Response

Float32 = npt.NDArray[np.float32]

RATE = 48000.0
ROWS = [
    (0.02, 64, 1),
    (0.25, 32, 1),
    (0.25, 64, 1),
    (0.25, 64, 2),
    (0.25, 128, 1),
    (0.25, 512, 1),
    (1.0, 64, 1),
    (2.0, 64, 1),
]
BLOCKS = 1500
RUNS = 7


def times(cabinet: Cabinet | None, block: int, channels: int) -> Float32:
    """Microseconds of each of BLOCKS blocks; None: of doing nothing."""
    samples = np.random.default_rng(1).standard_normal((block, channels)).astype(np.float32)
    out = np.empty_like(samples)
    found = np.zeros(BLOCKS, dtype=np.float32)
    for turn in range(-100, BLOCKS):
        started = time.perf_counter()
        if cabinet is not None:
            cabinet.process(samples, out)
        if turn >= 0:
            found[turn] = 1e6 * (time.perf_counter() - started)
    return found


def offline(taps: Float32, block: int) -> float:
    """Microseconds per block of scipy's overlap-add over 10 s at once."""
    samples = np.random.default_rng(1).standard_normal(round(10 * RATE)).astype(np.float32)
    found = []
    for _ in range(RUNS):
        started = time.perf_counter()
        signal.oaconvolve(samples, taps)
        found.append(1e6 * (time.perf_counter() - started) * block / len(samples))
    return float(np.median(found))


def main() -> None:
    """Measure, and write the table."""
    lines = []
    with threadpool_limits(1):
        for seconds, block, channels in ROWS:
            sys.stderr.write(f"{seconds:g} s, {block} frames, {channels} channels\n")
            frames = round(seconds * RATE)
            rng = np.random.default_rng(2)
            taps = rng.standard_normal((1, frames)) * np.exp(-3.0 * np.arange(frames) / frames) / np.sqrt(frames)
            response = Response("bench", taps.astype(np.float32), RATE)
            cabinet = Cabinet(lambda rate, response=response: response)  # type: ignore[misc]
            cabinet.prepare(StreamSpec(RATE, channels, block))
            runs = [times(cabinet, block, channels) for _ in range(RUNS)]
            idle = np.median([np.median(times(None, block, channels)) for _ in range(RUNS)])
            medians = [np.median(run) for run in runs]
            tails = np.median([np.percentile(run, 99) for run in runs])
            # Were some blocks dearer by design, they would be so in every run.
            places = np.min(np.stack(runs), axis=0)
            uneven = np.percentile(places, 99.9) / np.median(places)
            reference = channels * offline(response.taps[0], block)
            period = 1e6 * block / RATE
            middle, span = np.median(medians), f"{min(medians):.1f}..{max(medians):.1f}"
            lines.append(
                f"| {seconds:g} | {block} | {channels} | {middle:.1f} | {span} | {tails:.0f} | {uneven:.2f} "
                f"| {middle / period:.1%} | {reference:.1f} | {idle:.2f} |"
            )
    found = machine()
    text = [
        "<!-- made by bench/cabinet.py -->",
        "",
        "# Cabinets: time per block",
        "",
        f"One thread, {RATE:g} Hz, called back to back; us, median of {BLOCKS} blocks, median of {RUNS} runs. Uneven:",
        "each block's quickest run, the dearest block (99.9th percentile) by the median one; at 32 frames every second",
        "block has the work of both. Beside it scipy's `oaconvolve` over 10 s at once, per block, which is not live,",
        "and a loop that does nothing. Figure to reach: 0.25 s in 30 us per 64 frames.",
        "",
        "| response, s | block | channels | median | lowest..highest run | p99 | uneven | share | oaconvolve | idle |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *lines,
        "",
        ", ".join(f"{key}: {value}" for key, value in found.items()),
        "",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
