"""What breaks, and how soon and how whole the host is back; writes the section Faults of docs/reliability.md.

Run: ``python bench/faults.py [--times 20] [--only WORD] [--print]``. Plays a phrase on JACK's dummy driver, or to a
clock where there is no jackd. Filling disks needs the right to mount a tmpfs; without it these faults are
left out.

A fault's time runs to the next block that is delivered, or is the longest time without one. Afterwards the host must
answer, play the same preset with the same value, and have all its processes; its files must be as before; and once it
has ended, no process and no file of it may be left. How long single parts take to come back is in bench/recovery.md.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# In front: this folder, too, has a module `models`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from duende import DuendeError
from duende.engine.bench import machine
from duende.engine.bench.soak import OwnHost
from duende.engine.bench.soak_host import HostSetup
from duende.engine.bench.watch import host_processes
from duende.engine.control.client import ask
from duende.engine.control.supervisor import FOLDER, alive, runtime_folder
from duende.engine.messages import EngineSetup
from duende.presets.library import HOME_VARIABLE
from jackd import Server
from reliability_page import read_section, rows_of, write_section
from sessions import tiny_library

TIMES = 20
BLOCK = 256
BOUND_S = 2.0
AWAY_S, STOPPED_S, BUSY_S = 0.5, 3.0, 4.0
SETTLE_S = 1.5
PATIENCE_S = 60.0
AMOUNT = 0.375
BEGIN, END = "<!-- faults: written by bench/faults.py -->", "<!-- faults: end -->"


class BrokenError(Exception):
    """What a trial found wrong, in words."""


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for it; BrokenError where it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BrokenError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.002)


@dataclasses.dataclass
class Stage:
    """Where a trial takes place. server: None plays to a clock. home: presets and settings of the host."""

    home: Path
    server: Server | None
    host: OwnHost

    @property
    def pids(self) -> dict[str, int]:
        return host_processes(self.host.target.info.pid)

    def ask(self, address: str, *values: object) -> list[object]:
        return list(ask(self.host.target.info, f"/duende/{address}", values))  # type: ignore[arg-type]

    def played(self) -> int:
        return self.host.target.shared.written

    def sounds(self) -> bool:
        """Whether a block comes within 0.3 s."""
        before, end = self.played(), time.monotonic() + 0.3
        while time.monotonic() < end:
            if self.played() != before:
                return True
            time.sleep(0.001)
        return False

    def next_block(self) -> float:
        """Seconds until something is delivered from now on."""
        before, begun = self.played(), time.monotonic()
        until(lambda: self.played() != before, "a block")
        return time.monotonic() - begun

    def gap(self, fault: Callable[[], None]) -> float:
        """The longest time without a block while a fault takes place, and a second afterwards."""
        longest, ended = [0.0], threading.Event()

        def look() -> None:
            written, since = self.played(), time.monotonic()
            while not ended.is_set():
                now = time.monotonic()
                if (count := self.played()) != written:
                    written, since = count, now
                longest[0] = max(longest[0], now - since)
                time.sleep(0.0005)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            fault()
            time.sleep(1.0)
        finally:
            ended.set()
            watcher.join()
        return longest[0]


# -- the faults --------------------------------------------------------------------------------------------------------


def engine_killed(stage: Stage) -> float:
    os.kill(stage.pids["engine"], signal.SIGKILL)
    return stage.next_block()


def control_killed(stage: Stage) -> float:
    control = stage.pids["control"]

    def kill() -> None:
        os.kill(control, signal.SIGKILL)
        until(lambda: stage.pids.get("control", control) != control, "another control")

    return stage.gap(kill)


def jack_killed(stage: Stage) -> float:
    assert stage.server is not None
    stage.server.kill()
    time.sleep(AWAY_S)
    stage.server.start()
    begun = time.monotonic()
    until(lambda: _on_device(stage), "the device")
    return time.monotonic() - begun


def device_away(stage: Stage) -> float:
    """So long that a clock stands in."""
    assert stage.server is not None
    stage.server.kill()
    until(lambda: _on_clock(stage), "a clock in its place")
    stage.server.start()
    begun = time.monotonic()
    until(lambda: _on_device(stage), "the device")
    return time.monotonic() - begun


def _on_clock(stage: Stage) -> bool:
    try:
        return bool(stage.ask("status/device")[3]) and stage.sounds()
    except DuendeError:
        return False


def _on_device(stage: Stage) -> bool:
    try:
        return "system" in str(stage.ask("status/device")[0]) and stage.sounds()
    except DuendeError:
        return False


def all_stopped(stage: Stage) -> float:
    """As when a shell stops a job, or a laptop sleeps."""
    pids = list(stage.pids.values())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    return stage.next_block()


def parent_stopped(stage: Stage) -> float:
    pid = stage.pids["parent"]

    def stop() -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(pid, signal.SIGCONT)

    return stage.gap(stop)


def starved(stage: Stage) -> float:
    """Twice as many busy processes as cores."""

    def starve() -> None:
        count = 2 * (os.cpu_count() or 2)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        time.sleep(BUSY_S)
        for one in busy:
            one.kill()
            one.wait()

    return stage.gap(starve)


def model_replaced(stage: Stage) -> float:
    """By rubbish, half of itself and another one, while it is loaded; then put back."""
    files = {path: path.read_bytes() for path in (stage.home / "presets").rglob("*.onnx")}
    (path,) = [path for path in files if path.name == "solo.onnx"]
    other = next(data for name, data in files.items() if name != path)
    plain = files[path]
    refused: list[str] = []

    def replace() -> None:
        for turn, data in enumerate((b"rubbish", plain[: len(plain) // 2], other, bytes(len(plain)))):
            loading = threading.Thread(target=_load, args=(stage, "solo", refused))
            loading.start()
            time.sleep(0.01 * turn)
            path.write_bytes(data)
            loading.join()
            _load(stage, "solo", refused)
            path.write_bytes(plain)
            stage.ask("preset/load", "solo")
            stage.ask("preset/load", "duo")
        stage.ask("amount", AMOUNT)

    longest = stage.gap(replace)
    if any("\n" in one for one in refused):
        raise BrokenError("a refusal of more than one line")
    return longest


def _load(stage: Stage, name: str, refused: list[str]) -> None:
    try:
        stage.ask("preset/load", name)
    except DuendeError as error:
        refused.append(str(error))


def disk_full(stage: Stage) -> float:
    """While a preset is stored, over an old one and as a new one; `home` is a small disk of its own."""
    ballast = stage.home / "ballast"
    before = contents(stage.home)

    def fill() -> None:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for words in (("duo",), ("another",)):
            try:
                stage.ask("preset/save", *words)
            except DuendeError as error:
                if "\n" in str(error):
                    raise BrokenError("a refusal of more than one line") from error
            else:
                raise BrokenError("a preset was stored on a full disk")
        ballast.unlink()
        if contents(stage.home) != before:
            raise BrokenError("what was refused has changed files")
        stage.ask("preset/save", "another")
        stage.ask("preset/load", "duo")
        stage.ask("preset/delete", "another")
        stage.ask("amount", AMOUNT)

    return stage.gap(fill)


FAULTS: dict[str, Callable[[Stage], float]] = {
    "the engine is killed": engine_killed,
    "control is killed: longest silence": control_killed,
    "JACK is killed, and started again after 0.5 s": jack_killed,
    "the device is lost until a clock stands in, and returns": device_away,
    "all processes stop for 3 s (SIGSTOP), and go on": all_stopped,
    "the parent stops for 3 s: longest silence": parent_stopped,
    "all cores are busy at normal priority, 4 s: longest silence": starved,
    "a model is replaced while it is loaded: longest silence": model_replaced,
    "the disk is full while presets are stored: longest silence": disk_full,
}
NEED_JACK = (jack_killed, device_away)
NEED_DISK = (disk_full,)


# -- a trial -----------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[bool]:
    """A tmpfs of its own at a folder; False where that is not allowed."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", place], check=True)


def trial(fault: Callable[[Stage], float], home: Path, server: Server | None) -> float:
    """Seconds that a fault took; BrokenError where anything is not as it was."""
    engine = EngineSetup(
        state="", source=None if server is None else "system", silent=server is None, phrase=True, block=BLOCK
    )
    os.environ[HOME_VARIABLE] = str(home)
    host = OwnHost(HostSetup(engine, "duo"))
    pid, pids = host.target.info.pid, set[int]()
    try:
        stage = Stage(home, server, host)
        until(lambda: len(stage.pids) == 4, "the spare engine")
        stage.ask("amount", AMOUNT)
        time.sleep(SETTLE_S)
        if stage.ask("amount") != [AMOUNT]:
            raise BrokenError(f"amount was set to {AMOUNT} and is {stage.ask('amount')}")
        before = contents(home)
        pids |= set(stage.pids.values())
        took = fault(stage)
        until(lambda: len(stage.pids) == 4, "all processes")
        pids |= set(stage.pids.values())
        until(lambda: _answers(stage), "an answer")
        if stage.ask("preset/current") != ["duo"] or stage.ask("amount") != [AMOUNT]:
            raise BrokenError(f"it plays {stage.ask('preset/current')} at amount {stage.ask('amount')}")
        if not stage.sounds():
            raise BrokenError("no sound afterwards")
        if contents(home) != before:
            raise BrokenError("files are not as before")
    finally:
        host.end()
    until(lambda: not any(alive(one) for one in pids), "the end of all processes", 5.0)
    if list(runtime_folder().glob(f"{FOLDER}{pid}-*")):
        raise BrokenError("what was shared is left over")
    return took


def _answers(stage: Stage) -> bool:
    try:
        return bool(stage.ask("ping"))
    except DuendeError:
        return False


def no_room(home: Path) -> float:
    """A host that finds no space for what it shares: how long until it says so, and leaves nothing."""
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder), "64k") as allowed:
        if not allowed:
            raise PermissionError("no tmpfs can be mounted here")
        words = [sys.executable, "-P", "-m", "duende", "live", "--preset", "duo", "--owned"]
        begun = time.monotonic()
        done = subprocess.run(
            words,
            env=os.environ | {"XDG_RUNTIME_DIR": folder, HOME_VARIABLE: str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        took = time.monotonic() - begun
        left = list(Path(folder).iterdir())
    if done.returncode != 1 or len(done.stderr.strip().splitlines()) != 1 or left:
        raise BrokenError(f"status {done.returncode}, {left}, {done.stderr.strip()[-300:]}")
    return took


@dataclasses.dataclass
class Row:
    name: str
    times: list[float] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)

    def text(self) -> str:
        if not self.times:
            return f"| {self.name} | | | | {'; '.join(self.broken[:1])} |"
        figures = (statistics.median(self.times), min(self.times), max(self.times))
        over = sum(one > BOUND_S for one in self.times)
        whole = f"{len(self.times)} of {len(self.times) + len(self.broken)}"
        return f"| {self.name} | {' | '.join(f'{one:.2f}' for one in figures)} | {over} | {whole} |"


def measure(name: str, fault: Callable[[Stage], float], times: int, jack: bool) -> Row:
    """One fault, so many times, each with a host and a server of its own."""
    row = Row(name)
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            home = Path(folder)
            if fault in NEED_DISK and not stack.enter_context(small_disk(home, "2m")):
                row.broken.append("left out: no tmpfs can be mounted here")
                break
            tiny_library(home)
            server = Server(f"duende-faults-{os.getpid()}", BLOCK) if jack else None
            if server is not None:
                server.start()
                os.environ.update({key: server.environment[key] for key in ("JACK_DEFAULT_SERVER",)})
                os.environ["JACK_NO_START_SERVER"] = "1"
            try:
                row.times.append(trial(fault, home, server))
            except (BrokenError, DuendeError, OSError) as error:
                row.broken.append(str(error))
            finally:
                if server is not None:
                    server.stop()
        sys.stderr.write(f"{name}: {[round(one, 2) for one in row.times]} {row.broken[-1:]}\n")
    return row


NO_ROOM = "no space for what the processes share: until it is said"


def measure_no_room(times: int) -> Row:
    row = Row(NO_ROOM)
    with tempfile.TemporaryDirectory() as folder:
        tiny_library(Path(folder))
        for _ in range(times):
            try:
                row.times.append(no_room(Path(folder)))
            except PermissionError as error:
                row.broken.append(f"left out: {error}")
                break
            except (BrokenError, subprocess.TimeoutExpired) as error:
                row.broken.append(str(error))
            sys.stderr.write(f"{row.name}: {[round(one, 2) for one in row.times]} {row.broken[-1:]}\n")
    return row


def section(rows: list[Row], before: str, times: int, jack: bool) -> str:
    """The text between the marks; rows of what was not broken this time stay as they are in the text before."""
    lines = rows_of(before) | {row.name: row.text() for row in rows}
    found = machine()
    driver = "JACK's dummy driver" if jack else "a clock"
    return "\n".join(
        [
            f"Each {times} times, in seconds, on {driver}, 48 kHz, blocks of {BLOCK}; {found['cores']} cores, "
            f"{found['processor']}. The",
            "time runs to the next block, or is the longest time without one. *Whole*: afterwards the host answered, "
            "played the same",
            "preset with the same value, had all its processes; its files were as before; and when it had ended, no "
            "process and no",
            "file of it was left. How soon single parts are back: [bench/recovery.md](../bench/recovery.md).",
            "",
            f"| fault | median | least | most | over {BOUND_S:g} s | whole |",
            "|---|---|---|---|---|---|",
            *(lines[name] for name in (*FAULTS, NO_ROOM) if name in lines),
            "",
            "The clock on the wall may jump: nothing asks for it but names and dates of files (a test reads the code "
            "for it).",
        ]
    )


def main() -> None:
    """Break it, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--only", default="", help="faults with this word in their name")
    parser.add_argument("--clock", action="store_true", help="play to a clock, without JACK")
    parser.add_argument("--print", action="store_true", help="write no file")
    options = parser.parse_args()
    jack = not options.clock and shutil.which("jackd") is not None
    rows = [
        measure(name, fault, options.times, jack)
        for name, fault in FAULTS.items()
        if options.only in name and (jack or fault not in NEED_JACK)
    ]
    if options.only in "no space":
        rows.append(measure_no_room(options.times))
    text = section(rows, read_section(BEGIN, END), options.times, jack)
    if options.print:
        sys.stdout.write(text + "\n")
    else:
        write_section("Faults", BEGIN, END, text)
    if any(row.broken for row in rows):
        sys.exit("not all was whole: " + "; ".join(f"{row.name}: {row.broken[0]}" for row in rows if row.broken))


if __name__ == "__main__":
    main()
