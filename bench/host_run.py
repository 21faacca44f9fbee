"""Presets and slots changed while a sine plays through `duende live` on JACK's dummy driver; part of bench/host.md.

Run: ``python bench/host_run.py [--rounds 5] [--baseline 120] [--changing 120] [--block 256] [--log FILE]``, seconds for
each round's two parts; ``--rounds 2 --baseline 5 --changing 8 --print`` is a short trial that writes no table.

A JACK client in a process of its own plays a sine of 100 Hz into the host and records what comes out. Rounds of a part
without and a part with changes alternate: a preset each second, half a second after every third one a slot that is
added, replaced, bypassed, moved or removed over OSC. In the parts without, another host, which plays to a clock at
normal priority and runs all the time, is told to do the same: so the machine is as busy in both, and a part differs
from the other in nothing but whose sound changes. No slot makes harmonics, so what is above 5 kHz is the click of a
change, or of a block that did not come.
"""

import argparse
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import numpy.typing as npt

from duende import DuendeError
from duende.engine.bench import machine
from duende.engine.bench.soak import OwnHost
from duende.engine.bench.soak_host import HostSetup
from duende.engine.control.client import ask
from duende.engine.control.instances import InstanceInfo, instances
from duende.engine.control.supervisor import FOLDER, runtime_folder
from duende.engine.messages import EngineSetup
from duende.engine.shared import map_state
from duende.engine.telemetry import Telemetry
from duende.presets.format import FORMAT, Preset, SlotPreset, write_atomically
from duende.presets.library import HOME_VARIABLE, Library
from jackd import RATE, Server

Float32 = npt.NDArray[np.float32]

RUN_MARK = "<!-- made by bench/host_run.py -->"
HERTZ, LEVEL = 100, 0.125
WINDOW, ABOVE_HZ, BOUND_DBFS = 1024, 5000.0, -60.0
BEFORE_S, AFTER_S = 0.1, 2.0
"""So far around an xrun its click, and what delays and reverbs make of it, may be heard."""
PRESET_S, SLOT_S, WITHIN_S = 1.0, 3.0, 0.5
START_S, SETTLE_S = 60.0, 3.0
COUNTS = ("late", "input_xruns", "output_xruns", "rests", "faults", "failed", "ceiling")
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t by degrees of freedom, for intervals of 95 %."""

PRESETS: dict[str, list[tuple[str, str, dict[str, float]]]] = {
    "cello-hall": [("style", "cello", {}), ("fx", "delay", {}), ("fx", "reverb", {})],
    "amp-clean": [("fx", "compressor", {}), ("fx", "eq", {}), ("cabinet", "4x12", {}), ("fx", "chorus", {})],
    "sax-echo": [("style", "sax", {}), ("fx", "parametric", {}), ("fx", "delay", {})],
    "two-ways": [("fx", "tremolo", {}), ("fx", "phaser", {}), ("cabinet", "4x12", {})],
    "piano-room": [("style", "piano", {}), ("cabinet", "4x12", {}), ("fx", "reverb", {})],
}
GAINS_DB = {"cello-hall": -5.3, "amp-clean": 6.0, "sax-echo": -6.0, "two-ways": 6.0, "piano-room": 6.0}
"""So that none is near the ceiling, which would make harmonics, nor much softer than the others."""
BRANCHES = {"two-ways": ("a", "b", "")}
EDITS: tuple[tuple[str, tuple[str | int, ...]], ...] = (
    ("slot/add", ("fx:phaser",)),
    ("slot/2/load", ("fx:wah",)),
    ("slot/2/bypass", (1,)),
    ("slot/3/move", (2,)),
    ("slot/2/remove", ()),
    ("slot/1/bypass", (1,)),
    ("slot/add", ("cabinet:4x12",)),
    ("slot/1/load", ("fx:flanger",)),
)


def make_presets(home: Path) -> None:
    """A library of PRESETS; the styles are the factory's, as it sets them."""
    library, factory = Library(home / "presets"), Library(home / "none")
    for name, plan in PRESETS.items():
        slots, files = [], {}
        for (kind, what, values), branch in zip(plan, BRANCHES.get(name, itertools.repeat("")), strict=False):
            if kind == "style":
                entry = factory.find(what)
                slot = entry.read().slots[0]
                files[slot.file] = entry.read_file(slot)
                slots.append(slot)
            else:
                slots.append(SlotPreset(kind, effect=what, values=values, branch=branch))
        library.save(name, Preset(FORMAT, name, slots, {"output/gain": GAINS_DB[name]}), files)
    library.set_lists.write("run", list(PRESETS))


# -- the player, a process of its own --------------------------------------------------------------------------------


class Sine:
    """A JACK client: a sine that never stops, and a recording when it is asked for.

    xruns: of the server; gaps: where in the recording they, or cycles that passed it by, were seen, in frames.
    """

    def __init__(self) -> None:
        import jack

        self.client = jack.Client("sine", no_start_server=True)
        self.out = self.client.outports.register("out")
        self.ins = [self.client.inports.register(f"in{side}") for side in (1, 2)]
        period = RATE // HERTZ
        table = LEVEL * np.sin(2.0 * np.pi * np.arange(period + 8192) / period)
        self._table, self._period, self._phase = table.astype(np.float32), period, 0
        self.recorded: Float32 = np.zeros((2, 0), dtype=np.float32)
        self._at, self._next = 0, -1
        self.xruns = 0
        self.gaps: list[int] = []
        self.full = threading.Event()
        self.client.set_process_callback(self._process)
        self.client.set_xrun_callback(self._xrun)
        self.client.activate()

    def _xrun(self, delay: float) -> None:
        self.xruns += 1
        self.gaps.append(self._at)

    def _process(self, frames: int) -> None:
        now = self.client.last_frame_time
        if self._next not in (-1, now):
            self.gaps.append(self._at)
        self._next = (now + frames) & 0xFFFFFFFF
        self.out.get_array()[:] = self._table[self._phase : self._phase + frames]
        self._phase = (self._phase + frames) % self._period
        recorded, at = self.recorded, self._at
        count = min(frames, recorded.shape[1] - at)
        if count > 0:
            for side, port in enumerate(self.ins):
                recorded[side, at : at + count] = port.get_array()[:count]
            self._at = at + count
            if self._at == recorded.shape[1]:
                self.full.set()

    def connect(self) -> None:
        """In the place of the driver's ports, before and behind the host's."""
        for place, capture in enumerate(self.client.get_ports("system:capture_.*")):
            for port in self.client.get_all_connections(capture):
                self.client.disconnect(capture, port)
                if place == 0:
                    self.client.connect(self.out, port)
        for own, playback in zip(self.ins, self.client.get_ports("system:playback_.*"), strict=False):
            for port in self.client.get_all_connections(playback):
                self.client.connect(port, own)
        if not (self.out.connections and self.ins[0].connections):
            raise SystemExit("the host has no ports at the driver")

    def record(self, seconds: float) -> Float32:
        """What comes from now on, float32 [2, frames]; a side that is not connected stays silent."""
        self.full.clear()
        self._at, self.xruns = 0, 0
        self.gaps.clear()
        self.recorded = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
        # Touched now, so that the callback waits for no page.
        self.recorded += 0.0
        if not self.full.wait(seconds + 10.0):
            raise SystemExit(f"only {self._at} of {self.recorded.shape[1]} frames came in")
        return self.recorded


def play() -> None:
    """Obey the lines on standard input: connect, or record SECONDS FILE; each is answered with a line."""
    sine = Sine()
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "connect":
            sine.connect()
            sys.stdout.write("connected\n")
        else:
            np.save(rest[1], sine.record(float(rest[0])))
            sys.stdout.write(f"{sine.xruns} {' '.join(map(str, sine.gaps))}\n")
        sys.stdout.flush()


class SinePlayer:
    """The process that plays."""

    def __init__(self, server: Server, log: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--play"],
            env=server.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the sine's process ended: see the log")
        return line

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


# -- the host --------------------------------------------------------------------------------------------------------


class Measured(Protocol):
    """A host that can be told to change."""

    @property
    def info(self) -> InstanceInfo: ...


class Live:
    """`duende live` in a process, playing the first preset."""

    def __init__(self, server: Server, home: Path, block: int, log: Any) -> None:
        command = [sys.executable, "-m", "duende", "live", "--input", "system", "--block", str(block)]
        self.process = subprocess.Popen(
            [*command, "--name", "run", "--preset", next(iter(PRESETS))],
            env=server.environment | {"DUENDE_HOME": str(home)},
            stdout=log,
            stderr=log,
        )
        until = time.monotonic() + START_S
        while not (mine := [info for info in instances() if info.pid == self.process.pid]):
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit("duende live did not start: see the log")
            time.sleep(0.05)
        self.info: InstanceInfo = mine[0]
        self.shared = map_state(next(runtime_folder().glob(f"{FOLDER}{self.info.pid}-*")) / "state")
        self.telemetry = Telemetry(self.shared)

    def counts(self) -> dict[str, int]:
        return {name: self.telemetry.count(name) for name in COUNTS}

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@dataclass
class Part:
    """A stretch of the run.

    worst: loudest window above ABOVE_HZ in dBFS, over: windows over the bound; apart: loudest one with no xrun near,
    and share: of such windows. peak: of the output in dBFS. answers: seconds from an order to its answer.
    """

    changing: bool
    seconds: float
    xruns: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    worst: float = -np.inf
    over: int = 0
    apart: float = np.nan
    share: float = 1.0
    peak: float = -np.inf
    presets: int = 0
    edits: int = 0
    refused: list[str] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)

    def per_minute(self, count: int) -> float:
        return 60.0 * count / self.seconds


def run_part(live: Live, other: Measured, sine: SinePlayer, folder: Path, part: Part, turn: int) -> None:
    """Record one part; in a baseline, which plays preset number turn, the other host changes."""
    if not part.changing:
        ask(live.info, "/duende/preset/load", [list(PRESETS)[turn % len(PRESETS)]])
    time.sleep(SETTLE_S)
    before = live.counts()
    file = folder / "part.npy"
    sine.tell(f"record {part.seconds} {file}")
    change(live if part.changing else other, part)
    part.xruns, *gaps = map(int, sine.answer().split())
    part.counts = {name: count - before[name] for name, count in live.counts().items()}
    samples = np.load(file)
    file.unlink()
    begins, levels = above_5_khz(samples)
    part.worst, part.over = float(levels.max()), int(np.count_nonzero(levels > BOUND_DBFS))
    part.peak = float(20.0 * np.log10(np.abs(samples).max() + 1e-12))
    whole = np.ones(len(levels), dtype=bool)
    for gap in gaps:
        whole &= (begins < gap - BEFORE_S * RATE) | (begins > gap + AFTER_S * RATE)
    part.share = float(np.mean(whole))
    part.apart = float(levels[whole].max()) if whole.any() else np.nan


def change(host: Measured, part: Part) -> None:
    """Presets and slots, until a second before the part ends."""
    begun = time.monotonic()
    edits = itertools.cycle(EDITS)
    plan: list[tuple[float, str, tuple[str | int, ...]]]
    plan = [(at, "preset/next", ()) for at in np.arange(0.0, part.seconds - PRESET_S, PRESET_S)]
    plan += [(at + WITHIN_S, *next(edits)) for at in np.arange(PRESET_S, part.seconds - PRESET_S, SLOT_S)]
    for at, address, values in sorted(plan, key=lambda one: one[0]):
        time.sleep(max(0.0, begun + float(at) - time.monotonic()))
        asked = time.monotonic()
        try:
            ask(host.info, f"/duende/{address}", list(values))
        except DuendeError as error:
            part.refused.append(f"{address}: {error}")
            continue
        part.answers.append(time.monotonic() - asked)
        if address == "preset/next":
            part.presets += 1
        else:
            part.edits += 1


def above_5_khz(samples: Float32) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Where windows of any side [sides, frames] begin, and their level above ABOVE_HZ in dBFS (0: a full sine)."""
    window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)
    first = int(np.ceil(ABOVE_HZ * WINDOW / RATE))
    found, begins = [], []
    for side in samples:
        for offset in (0, WINDOW // 2):
            pieces = side[offset : offset + (len(side) - offset) // WINDOW * WINDOW].reshape(-1, WINDOW)
            begins.append(offset + WINDOW * np.arange(len(pieces)))
            for some in np.array_split(pieces, max(1, len(pieces) // 1000)):
                power = np.abs(np.fft.rfft(some * window)[:, first:]) ** 2
                # A sine at full scale has sum |X|^2 = WINDOW * sum(window^2) / 4 over the positive frequencies.
                share = power.sum(axis=1) / (0.25 * WINDOW * float(np.sum(window**2)))
                found.append(10.0 * np.log10(share + 1e-20))
    return np.concatenate(begins), np.concatenate(found)


# -- the table -------------------------------------------------------------------------------------------------------


def interval(values: list[float]) -> tuple[float, float]:
    """Mean of values, and the half-width of its 95 % confidence interval; infinite for one value."""
    mean, freedom = float(np.mean(values)), len(values) - 1
    if freedom < 1:
        return mean, np.inf
    return mean, T_975.get(freedom, 2.0) * float(np.std(values, ddof=1)) / np.sqrt(len(values))


def table(parts: list[Part], block: int) -> list[str]:
    """The section of bench/host.md."""
    calm, busy = ([part for part in parts if part.changing is which] for which in (False, True))
    answers = 1e3 * np.array([one for part in busy for one in part.answers])
    presets, edits = sum(part.presets for part in busy), sum(part.edits for part in busy)
    refused = [text for part in busy for text in part.refused]
    found = machine()
    names = ", ".join(
        f"{name} ({' '.join(what for _, what, _ in plan)}{', two branches' if name in BRANCHES else ''})"
        for name, plan in PRESETS.items()
    )
    lines = [
        RUN_MARK,
        "",
        "## Presets and slots changed while playing",
        "",
        f"`duende live` on JACK's dummy driver, {RATE / 1e3:g} kHz, blocks of {block}; a sine of {HERTZ} Hz at "
        f"{20 * np.log10(LEVEL):.0f} dBFS from a",
        f"JACK client, which also records the output. In a changing part a preset each {PRESET_S:g} s, and a slot "
        f"added, replaced,",
        f"bypassed, moved or removed each {SLOT_S:g} s; in a baseline another host, heard by nobody, is told to do the "
        f"same,",
        f"so that the machine is as busy. Presets, none of which makes harmonics of its own: {names}.",
        f"Above {ABOVE_HZ / 1e3:g} kHz: the loudest of all windows of {WINDOW} (Hann), where a sine at full scale has "
        f"0 dBFS; the bound is {BOUND_DBFS:g} dBFS.",
        f"Beside it the loudest with no xrun in the {AFTER_S:g} s before and the {BEFORE_S:g} s after. Written by "
        f"`bench/host_run.py`.",
        "",
        "| part | s | late blocks | xruns | changes | above 5 kHz | windows over the bound | without xruns near |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, part in enumerate(parts):
        kind = f"{'changing' if part.changing else 'baseline'} {number // 2 + 1}"
        apart = f"{part.apart:.1f} dBFS ({part.share:.0%} of windows)" if part.share else "no such window"
        where = "" if part.changing else "elsewhere: "
        done = f"{where}{part.presets} presets, {part.edits} slots"
        lines.append(
            f"| {kind} | {part.seconds:g} | {part.counts['late']} | {part.xruns} | {done} | {part.worst:.1f} dBFS "
            f"| {part.over} | {apart} |"
        )
    lines += ["", "| per minute | baselines, mean (95 % interval) | changing, mean (95 % interval) |", "|---|---|---|"]
    rates: dict[str, Callable[[Part], float]] = {
        "late blocks": lambda part: part.per_minute(part.counts["late"]),
        "xruns": lambda part: part.per_minute(part.xruns),
    }
    for title, rate in rates.items():
        cells = []
        for some in (calm, busy):
            mean, half = interval([rate(part) for part in some])
            ends = f"{max(0.0, mean - half):.2f} to {mean + half:.2f}" if np.isfinite(half) else "one part has none"
            cells.append(f"{mean:.2f} ({ends})")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    others = [f"{name} {sum(part.counts[name] for part in parts)}" for name in COUNTS[1:]]
    lines += [
        "",
        f"{presets} preset changes and {edits} slot edits, {len(refused)} refused"
        + (f" ({'; '.join(dict.fromkeys(refused))})" if refused else "")
        + "; from the order to the answer that it is heard",
        f"{np.median(answers):.0f} ms in the median, {np.percentile(answers, 99):.0f} ms at the 99 % point, "
        f"{answers.max():.0f} ms at most. Counted besides, in all parts:",
        f"{', '.join(others)}.",
        "",
        f"{found['processor']}, {found['cores']} cores, Python {found['python']}, numpy {found['numpy']}.",
    ]
    return lines


def main() -> None:
    """Run, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--baseline", type=float, default=120.0, help="seconds")
    parser.add_argument("--changing", type=float, default=120.0, help="seconds")
    parser.add_argument("--block", type=int, default=256, help="frames of a period")
    parser.add_argument("--log", type=Path, help="what the host says, and why changes were refused")
    parser.add_argument("--print", action="store_true", help="write the section to standard output, not to host.md")
    parser.add_argument("--play", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.play:
        play()
        return
    # Ended from outside, it takes server and hosts with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    parts = [Part(kind, (asked.baseline, asked.changing)[kind]) for _ in range(asked.rounds) for kind in (False, True)]
    server = Server(f"duende-run-{os.getpid()}", asked.block)
    with tempfile.TemporaryDirectory() as own, contextlib.ExitStack() as ends:
        home = Path(own)
        make_presets(home)
        log = ends.enter_context((asked.log or home / "log").open("w"))
        server.start()
        ends.callback(server.stop)
        live = Live(server, home, asked.block, log)
        ends.callback(live.end)
        sine = SinePlayer(server, log)
        ends.callback(sine.end)
        os.environ[HOME_VARIABLE] = str(home)
        setup = EngineSetup("", silent=True, block=asked.block, rate=float(RATE), priority=None)
        shadow = OwnHost(HostSetup(setup, next(iter(PRESETS))))
        ends.callback(shadow.end)
        for host in (live, shadow.target):
            ask(host.info, "/duende/setlist/load", ["run"])
        sine.tell("connect")
        sine.answer()
        for number, part in enumerate(parts):
            run_part(live, shadow.target, sine, home, part, number // 2)
            sys.stderr.write(
                f"{'changing' if part.changing else 'baseline'} {number // 2 + 1}: {part.counts['late']} late, "
                f"{part.xruns} xruns, {part.worst:.1f} dBFS above 5 kHz ({part.over} windows over), peak "
                f"{part.peak:.1f} dBFS, {part.presets} presets, {part.edits} slots, {len(part.refused)} refused\n"
            )
    lines = table(parts, asked.block)
    if asked.print:
        sys.stdout.write("\n".join(lines) + "\n")
        return
    target = Path(__file__).with_name("host.md")
    kept = target.read_text().partition(RUN_MARK)[0] if target.exists() else ""
    write_atomically(target, (kept.rstrip() + "\n\n" + "\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
