"""A soak: a host plays for minutes or hours under everything that can be asked of it at once, and is watched."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from ... import DuendeError
from ..control.client import ask
from ..control.instances import InstanceInfo, instances
from ..control.supervisor import FOLDER, runtime_folder
from ..messages import EngineSetup
from ..shared import RING_FRAMES, SharedState, map_state
from ..telemetry import Telemetry
from .idle import Counts, IdleProcess
from .machine import MachineInfo
from .soak_host import HostSetup
from .soak_results import FORMAT, Burdened, Held, Slice, SoakFigures, checks, created_now
from .storm import Burden, Flood, Forge, Listeners, OpenPage, Presets, raging
from .watch import holding, host_processes, watchable

START_S = 60.0
SETTLE_S = 2.0
LOOK_S = 1.0
SLICES = 20
SLICE_S = (2.0, 10.0)
MARGIN = 2**14
"""Frames at the far end of the rings that may just be written over."""
COUNTERS = ("late", "input_xruns", "output_xruns", "rests", "faults", "failed", "input_repairs", "ceiling", "starved")

Say = Callable[[str, float], None]
"""What goes on now, and the share that is done."""


@dataclass(frozen=True)
class SoakPlan:
    """What is asked of the host.

    presets: by name; one of them plays each `every_s` seconds. messages: parameters set a second; listeners: that get
    meters. page, forge: open `duende gui`, forge at the lowest priority. engine: of a host of its own.
    """

    seconds: float
    presets: Sequence[str]
    engine: EngineSetup = field(default_factory=lambda: EngineSetup(state="", silent=True, phrase=True))
    every_s: float = 1.0
    messages: int = 1000
    listeners: int = 8
    page: bool = True
    forge: bool = False


class Target:
    """A host that runs, and what it leaves for others to read. DuendeError where there is nothing to read."""

    def __init__(self, info: InstanceInfo) -> None:
        self.info = info
        folder = next(runtime_folder().glob(f"{FOLDER}{info.pid}-*"), None)
        if folder is None:
            raise DuendeError(f"{info.name} runs, but what it shares cannot be found in {runtime_folder()}")
        self.shared: SharedState = map_state(folder / "state")
        self.telemetry = Telemetry(self.shared)

    def counts(self) -> dict[str, int]:
        """Its counters now."""
        return {name: self.telemetry.count(name) for name in COUNTERS}

    @property
    def xruns(self) -> int:
        """That its device has told of: input and output mostly go together."""
        return max(self.telemetry.count("input_xruns"), self.telemetry.count("output_xruns"))


class OwnHost:
    """A host in a process of its own, for as long as a soak takes."""

    def __init__(self, setup: HostSetup) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "duende.engine.bench.soak_host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=os.name == "posix",
        )
        self._words: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(setup).decode() + "\n")
        self._process.stdin.flush()
        try:
            self.target = self._found()
        except BaseException:
            self.end()
            raise

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._words = [*self._words[-20:], line.strip()]

    def _found(self) -> Target:
        until = time.monotonic() + START_S
        while True:
            mine = [info for info in instances() if info.pid == self._process.pid]
            if mine:
                target = Target(mine[0])
                if target.telemetry.count("callbacks"):
                    return target
            if self._process.poll() is not None or time.monotonic() > until:
                self._reader.join(1.0)
                why = self._words[-1] if self._words else "it said nothing"
                raise DuendeError(f"the host did not start: {why}")
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it, and all its processes."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                stream.close()


def grown(now: int, before: int) -> int:
    """By how much a counter has grown; an engine that was started again begins at 0."""
    return now - before if now >= before else now


class Watcher:
    """Looks at a host again and again: its sound, its counters, and what its processes hold."""

    def __init__(self, target: Target, idle: IdleProcess, extra: dict[str, int]) -> None:
        self._target, self._idle, self._extra = target, idle, extra
        self.slices: list[Slice] = []
        self.held: dict[str, Held] = {}
        self.restarts: list[str] = []
        self._pids: dict[str, int] = {}
        self._begun = self._slice_begun = time.monotonic()
        self._position = target.shared.written
        self._before = self._now()
        self._samples = self._nonfinite = 0
        self._peak = 0.0

    def _now(self) -> tuple[int, int, int, Counts]:
        telemetry = self._target.telemetry
        return telemetry.count("callbacks"), telemetry.count("late"), self._target.xruns, self._idle.counts()

    def look(self) -> None:
        """The sound since the last time, and what is held now."""
        self._listen()
        if watchable():
            self._hold()

    def _listen(self) -> None:
        shared = self._target.shared
        until = shared.written
        start = max(self._position, until - RING_FRAMES + MARGIN)
        self._position = until
        if until <= start:
            return
        _, wet = shared.recent(start, until)
        finite = np.isfinite(wet)
        self._samples += wet.size
        self._nonfinite += int(wet.size - np.count_nonzero(finite))
        self._peak = max(self._peak, float(np.abs(wet[finite]).max(initial=0.0)))

    def _hold(self) -> None:
        at = time.monotonic() - self._begun
        for role, pid in {**host_processes(self._target.info.pid), **self._extra}.items():
            before = self._pids.get(role)
            if before is not None and before != pid:
                self.restarts.append(f"{role} was started again after {at:.0f} s")
                # Another process holds other things.
                self.held.pop(role, None)
            self._pids[role] = pid
            found = holding(pid)
            if found is None:
                continue
            one = self.held.setdefault(role, Held(role, [], [], [], [], []))
            one.at_s.append(round(at, 3))
            one.memory_mb.append(round(found.memory_mb, 3))
            one.threads.append(found.threads)
            one.files.append(found.files)
            one.mappings.append(found.mappings)

    def cut(self) -> None:
        """End a slice, and begin the next."""
        now, before = self._now(), self._before
        idle = now[3].since(before[3])
        moment = time.monotonic()
        self.slices.append(
            Slice(
                round(moment - self._slice_begun, 3),
                grown(now[0], before[0]),
                grown(now[1], before[1]),
                grown(now[2], before[2]),
                idle.callbacks,
                idle.late,
                idle.missed,
                self._samples,
                self._nonfinite,
                self._peak,
            )
        )
        self._before, self._slice_begun = now, moment
        self._samples = self._nonfinite = 0
        self._peak = 0.0


def run_soak(
    plan: SoakPlan, machine: MachineInfo, done: threading.Event, say: Say, running: InstanceInfo | None = None
) -> SoakFigures:
    """Soak a host of its own, or one that runs; `done` ends it early with what was found so far.

    DuendeError where the host does not start, or a preset is not to be had.
    """
    if running is not None:
        return _soak(plan, machine, done, say, Target(running), lambda: True)
    say("starting a host", 0.0)
    host = OwnHost(HostSetup(plan.engine, plan.presets[0]))
    try:
        return _soak(plan, machine, done, say, host.target, lambda: host.running)
    finally:
        host.end()


def _soak(
    plan: SoakPlan,
    machine: MachineInfo,
    done: threading.Event,
    say: Say,
    target: Target,
    alive: Callable[[], bool],
) -> SoakFigures:
    info = target.info
    notes: list[str] = []
    playing = str(ask(info, "/duende/preset/current")[0])
    device = ask(info, "/duende/status/device")
    rate, block = float(device[1] or 48000.0), int(float(device[2] or 0)) or plan.engine.block
    burdens, flood, presets = _burdens(plan, info, notes)
    extra = {one.role: one.process.pid for one in burdens if isinstance(one, OpenPage)}
    idle = IdleProcess(block, rate, plan.engine.priority or 0)
    ended = "done"
    try:
        with raging(burdens):
            done.wait(SETTLE_S)
            before = target.counts()
            watcher = Watcher(target, idle, extra)
            begun = time.monotonic()
            slice_s = min(max(plan.seconds / SLICES, SLICE_S[0]), SLICE_S[1])
            cut, shown = begun + slice_s, f"{plan.seconds / 60.0:g} minutes"
            while (passed := time.monotonic() - begun) < plan.seconds:
                if done.wait(min(LOOK_S, plan.seconds - passed)):
                    ended = "interrupted"
                    break
                if not alive():
                    ended = "the host ended"
                    break
                watcher.look()
                if time.monotonic() >= cut:
                    watcher.cut()
                    cut += slice_s
                late = sum(one.late for one in watcher.slices)
                say(f"{shown}, {late} late blocks so far", (time.monotonic() - begun) / plan.seconds)
            seconds = time.monotonic() - begun
            if not watcher.slices or time.monotonic() > cut - 0.5 * slice_s:
                watcher.look()
                watcher.cut()
            counts = {name: grown(count, before[name]) for name, count in target.counts().items()}
    finally:
        idle.end()
    if alive():
        _put_back(info, playing, flood)
    done_by = [Burdened(one.name, one.done, one.failed, one.failures) for one in burdens]
    held = list(watcher.held.values())
    found = checks(watcher.slices, held, watcher.restarts, done_by, counts)
    return SoakFigures(
        FORMAT,
        created_now(),
        machine,
        str(device[0]) or "no device",
        block,
        rate,
        plan.seconds,
        round(seconds, 3),
        ended,
        watcher.restarts,
        counts,
        presets.slowest_s,
        watcher.slices,
        held,
        done_by,
        notes,
        found,
    )


def _burdens(plan: SoakPlan, info: InstanceInfo, notes: list[str]) -> tuple[list[Burden], Flood, Presets]:
    """Everything that the plan asks for and that is installed; what is not is noted."""
    flood = Flood(info, plan.messages)
    presets = Presets(info, plan.presets, plan.every_s)
    found: list[Burden] = [flood, Listeners(info, plan.listeners), presets]
    if plan.page and info.token:
        notes.append("without a page: the host asks for a token")
    elif plan.page and not OpenPage.possible():
        notes.append("without a page: pip install 'duende[gui]'")
    elif plan.page:
        found.append(OpenPage(info))
    if plan.forge and not Forge.possible():
        notes.append("without a forge: pip install 'duende[train]'")
    elif plan.forge:
        found.append(Forge())
    if not watchable():
        notes.append("what processes hold is not watched: this system has no /proc")
    return found, flood, presets


def _put_back(info: InstanceInfo, preset: str, flood: Flood) -> None:
    """Let a host play what it played before, as its file has it."""
    try:
        ask(info, "/duende/preset/load", [preset])
    except DuendeError as error:
        flood.fail(f"the host does not answer afterwards: {error}")


def presets_to_soak(wanted: Sequence[str], folder: Path | None = None) -> list[str]:
    """Names of presets that can be played here: those wanted, else those that came with duende.

    DuendeError for a name that there is not.
    """
    from ...presets.library import Library
    from ..fx.graph import has_pyo

    library = Library() if folder is None else Library(folder)
    if wanted:
        for name in wanted:
            library.find(name).read()
        return list(wanted)
    entries = [entry for entry in library.entries() if entry.factory]
    if not has_pyo():
        entries = [entry for entry in entries if all(slot.kind != "fx" for slot in entry.read().slots)]
    return [entry.name for entry in entries]
