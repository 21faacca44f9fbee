"""What the GUI costs the machine that plays: processor time of engine, control and GUI, with and without a page open.

Run: ``python bench/gui.py [--rounds 5] [--seconds 20] [--block 256] [--print]``; writes bench/gui.md. Needs jackd,
chromium and the extra ``gui``.

`duende live` plays the built-in phrase on JACK's dummy driver. Rounds of four parts alternate, so that what else the
machine does falls on all alike: no GUI, the GUI without a page, one page for playing (values and meters 30 times a
second), one page with spectrum and histogram. The browser is another machine's business and is not counted.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from duende.engine.bench import machine
from duende.export.pluck import demo_phrase
from duende.presets.format import write_atomically
from jackd import RATE
from stage import Browser, Gui
from stage_live import Rig, cpu_s

TABLE = Path(__file__).with_suffix(".md")
MARK = "<!-- made by bench/gui.py -->"
PARTS = ("no GUI", "GUI, no page", "one page: play", "one page: look")
PROCESSES = ("engine", "control", "gui")
SETTLE_S = 3.0

COUNT = """
window.framesDrawn = 0;
const canvas = CanvasRenderingContext2D.prototype;
const clear = (window.plainClear ??= canvas.clearRect);
canvas.clearRect = function (...box) {
  if (this.canvas.closest(".meters")) window.framesDrawn++;
  return clear.apply(this, box);
};
"""
"""Every picture that comes clears the canvas of the meters once."""

Shares = dict[str, dict[str, list[float]]]
Measured = tuple[Shares, dict[str, list[float]]]


def measure(rig: Rig, browser: Browser, rounds: int, seconds: float, say: Callable[[str], object]) -> Measured:
    """Shares of a core by part and process, and pictures that a page draws in a second; one for each round."""
    shares: Shares = {part: {name: [] for name in PROCESSES} for part in PARTS}
    frames: dict[str, list[float]] = {part: [] for part in PARTS[2:]}

    def listen(part: str, gui: Gui | None) -> None:
        time.sleep(SETTLE_S)
        if part in PARTS[2:]:
            browser.script(COUNT)
        pids = rig.processes()
        if gui is not None:
            pids["gui"] = gui.process.pid
        before, began = {name: cpu_s(pids[name]) for name in PROCESSES if name in pids}, time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        if part in PARTS[2:]:
            frames[part].append(float(browser.script("return window.framesDrawn")) / took)
        for name, used in before.items():
            shares[part][name].append((cpu_s(pids[name]) - used) / took)
        say(
            f"{part}: "
            + ", ".join(f"{name} {100 * values[-1]:.1f} %" for name, values in shares[part].items() if values)
        )

    for _ in range(rounds):
        listen(PARTS[0], None)
        gui = Gui(f"127.0.0.1:{rig.http_port}")
        try:
            listen(PARTS[1], gui)
            browser.open(gui.url, "play")
            listen(PARTS[2], gui)
            browser.go("look")
            listen(PARTS[3], gui)
            browser.driver.get("about:blank")
        finally:
            gui.end()
    return shares, frames


def table(shares: Shares, frames: dict[str, list[float]], rounds: int, seconds: float, block: int) -> str:
    """The file's text."""

    def cell(values: list[float]) -> str:
        if not values:
            return "-"
        return f"{100 * statistics.median(values):.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"

    host = machine()
    lines = [
        MARK,
        "",
        "# What the GUI costs the machine that plays",
        "",
        f"Processor time in per cent of one core: median (least to most) of {rounds} rounds, each part {seconds:g} s.",
        f"`duende live` plays the preset cello on JACK's dummy driver, 48 kHz, blocks of {block};",
        f"{host['cores']} cores, {host['processor']}. The page is open in a browser of the same machine, whose own",
        "time is not counted.",
        "",
        "| | " + " | ".join(PROCESSES) + " | control and GUI beyond no GUI | pictures/s |",
        "|---|" + "---|" * (len(PROCESSES) + 2),
    ]
    without = statistics.median(shares[PARTS[0]]["control"])
    for part, by in shares.items():
        sums = [c + g for c, g in zip(by["control"], by["gui"] or [0.0] * rounds, strict=True)]
        more = 100 * (statistics.median(sums) - without)
        drawn = f"{statistics.median(frames[part]):.1f}" if part in frames else "-"
        lines.append(f"| {part} | {' | '.join(cell(by[name]) for name in PROCESSES)} | {more:.1f} | {drawn} |")
    lines += [
        "",
        "Control and GUI read what the engine leaves in shared memory: a page costs the engine's process nothing. What",
        "that takes differs between parts as the load of the machine does, with or without a GUI.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--print", action="store_true", help="write no file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rig = Rig(Path(scratch) / "home", demo_phrase(RATE), "cello", period=options.block, gui=False)
        browser = None
        try:
            browser = Browser(Path(scratch) / "chromium")
            shares, frames = measure(rig, browser, options.rounds, options.seconds, print)
        finally:
            if browser is not None:
                browser.quit()
            rig.end()
    text = table(shares, frames, options.rounds, options.seconds, options.block)
    if options.print:
        print(text)
    else:
        write_atomically(TABLE, text.encode())
        print(f"wrote {TABLE}")


if __name__ == "__main__":
    main()
