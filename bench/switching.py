"""What a preset change costs the thread that plays: hold-ups, time to sound, garbage; writes bench/switching.md.

A second thread asks for the interpreter every 0.1 ms, as the audio callback does every period; how much later than
usual it gets it is how long the work beside it has held the global lock.
"""

import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from duende.engine.bench import PacedDevice, machine, playing
from duende.engine.host import Host
from duende.engine.model import open_model
from duende.engine.preset import build_rig
from duende.engine.realtime import SWITCH_INTERVAL_S, raise_priority, yield_quickly
from duende.engine.shared import PAGES, SharedState
from duende.engine.slots import processor_for
from duende.presets.library import Library

RATE, BLOCK = 48000.0, 128
REPEATS, CHANGES = 20, 1000
SWITCH_EVERY_S, SWITCHES = 0.5, 40
TICK_S = 1e-4


class Ticker:
    """A thread that wants to run every TICK_S; `longest` is its longest wait in seconds since it was asked last."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._running = True
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        raise_priority(50)
        last = time.perf_counter()
        while self._running:
            time.sleep(TICK_S)
            now = time.perf_counter()
            self._longest = max(self._longest, now - last - TICK_S)
            last = now

    def take(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest

    def stop(self) -> None:
        self._running = False
        self._thread.join()


def held(ticker: Ticker, work: Callable[[], object]) -> tuple[float, float, float]:
    """Milliseconds: median time of the work, median and longest hold-up of the other thread."""
    times, waits = [], []
    for _ in range(REPEATS):
        time.sleep(0.02)
        ticker.take()
        started = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - started))
        waits.append(1e3 * ticker.take())
    return float(np.median(times)), float(np.median(waits)), max(waits)


def main() -> None:
    """Measure, and write the table."""
    yield_quickly()
    entries = [Library().find(name) for name in ("cello", "rain")]
    paths = [entry.model_path(entry.read().slots[0].file) for entry in entries]
    models = [open_model(path) for path in paths]
    shared = SharedState()
    ticker = Ticker()
    rows = {"nothing": held(ticker, lambda: time.sleep(0.05))}
    for path, model in zip(paths, models, strict=True):
        name = path.stem
        rows[f"open {name} (ONNX session)"] = held(ticker, lambda path=path: open_model(path))  # type: ignore[misc]

        def prepare(model: object = model) -> None:
            build_rig([("one", processor_for(model))], shared).chain.prepare(RATE, BLOCK, 1024)  # type: ignore[arg-type]

        rows[f"make a chain of {name}, opened before"] = held(ticker, prepare)
    ticker.stop()
    sys.stderr.write("switching\n")

    def rig(turn: int) -> object:
        made = build_rig([("one", processor_for(models[0]))], shared, turn % PAGES)
        for row in made.bank.table.rows():
            made.bank.set(row.name, row.default)
        return made

    samples = playing(RATE, round(2 * SWITCHES * SWITCH_EVERY_S * RATE))
    shared = SharedState()
    device = PacedDevice(samples, RATE, BLOCK)
    host = Host(rig(0), device, priority=70)  # type: ignore[arg-type]
    player = threading.Thread(target=host.start)
    player.start()
    to_sound = []
    for turn in range(1, SWITCHES + 1):
        time.sleep(SWITCH_EVERY_S)
        started = time.perf_counter()
        host.switch(rig(turn))  # type: ignore[arg-type]
        while host._offered is not None or host._next is not None:
            host.keep_up()
            time.sleep(1e-4)
        to_sound.append(1e3 * (time.perf_counter() - started))
        while host.switching:
            time.sleep(1e-3)
        host.collect()
    player.join()
    quiet = PacedDevice(samples, RATE, BLOCK)
    still = Host(rig(0), quiet, priority=70)  # type: ignore[arg-type]
    still.start()

    sys.stderr.write(f"{CHANGES} changes\n")
    garbage = changes()
    found = machine()
    lines = [
        "<!-- made by bench/switching.py -->",
        "",
        "# Preset changes",
        "",
        f"{found['cores']} cores, {found['processor']}; milliseconds. Threads wait for each other "
        f"{1e3 * SWITCH_INTERVAL_S:g} ms at most before they ask for the lock (`sys.setswitchinterval`);",
        f"calls into ONNX Runtime and numpy may hold it longer. {REPEATS} times each.",
        "",
        "| work on the thread beside | its time | hold-up of the other thread, median | longest |",
        "|---|---|---|---|",
        *(f"| {name} | {' | '.join(f'{value:.2f}' for value in row)} |" for name, row in rows.items()),
        "",
        f"Switching between opened presets while blocks of {BLOCK} play, every {SWITCH_EVERY_S:g} s, {SWITCHES} times:",
        f"from the order to the first block of the new chain {np.median(to_sound):.0f} ms in the median, "
        f"{max(to_sound):.0f} ms at most; {device.misses} of {len(device.durations_us)} blocks late, without switching "
        f"{quiet.misses}.",
        f"After {CHANGES} changes `gc.collect()` finds {garbage} objects.",
        "",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines))


def changes() -> int:
    """Objects that the garbage collector finds after CHANGES switches without it."""
    model = open_model(Library().find("cello").model_path("instruments.onnx"))
    shared = SharedState()
    first = build_rig([("one", processor_for(model))], shared)
    host = Host(first, PacedDevice(np.zeros((BLOCK, 1), dtype=np.float32), RATE, BLOCK))
    silence = np.zeros((BLOCK, 1), dtype=np.float32)
    out = np.zeros((BLOCK, 2), dtype=np.float32)
    host._watch = lambda late: None  # type: ignore[method-assign]
    gc.collect()
    gc.disable()
    for turn in range(1, CHANGES + 1):
        host.switch(build_rig([("one", processor_for(model))], shared, turn % PAGES))
        while host.switching:
            host.keep_up()
            host.callback(silence, out, False, False)
        host.collect()
    found = gc.collect()
    gc.enable()
    return found


if __name__ == "__main__":
    main()
