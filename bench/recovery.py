"""How long the sound is away when a part of the host dies, on JACK's dummy driver; writes bench/recovery.md.

python bench/recovery.py [TIMES]. A fault's time runs to the first block that is delivered again.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# In front: this folder, too, has a module `models`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from duende import DuendeError
from duende.engine.bench import machine
from duende.engine.control.client import ask
from jackd import Server
from test_show import Program
from waiting import is_alive, wait_until

TIMES = 20
SETTLE_S = 2.0
AWAY_S = 0.5
BOUND_S = {"the parent is told to end (SIGTERM)": 1.0}
DEFAULT_BOUND_S = 2.0


class Trial:
    """A running host, its spare engine ready."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server = server
        self.program = Program(server, home)
        wait_until(lambda: len(self.program.children().get("player", [])) == 2)
        time.sleep(SETTLE_S)
        assert self.program.sounds()

    def back(self, fault: Callable[[], None]) -> float:
        """Seconds from a fault to the first block after it."""
        engine = self.program.engine()
        fault()
        begun = time.monotonic()
        wait_until(lambda: engine not in self.program.children().get("player", []))
        before = self.program.shared.written
        wait_until(lambda: self.program.shared.written > before)
        return time.monotonic() - begun

    def end(self) -> None:
        self.program.end()


def engine_killed(trial: Trial) -> float:
    return trial.back(lambda: os.kill(trial.program.engine(), signal.SIGKILL))


def engine_stopped(trial: Trial) -> float:
    return trial.back(lambda: os.kill(trial.program.engine(), signal.SIGSTOP))


def jack_killed(trial: Trial) -> float:
    """From when the server is there again."""
    trial.server.kill()
    time.sleep(AWAY_S)
    trial.server.start()
    begun = time.monotonic()
    wait_until(lambda: _device_is_back(trial))
    return time.monotonic() - begun


def _device_is_back(trial: Trial) -> bool:
    try:
        return "system" in str(ask(trial.program.info, "/duende/status/device")[0]) and trial.program.sounds()
    except DuendeError:
        return False


def control_killed(trial: Trial) -> float:
    """The longest time without a block while control is away and comes back."""
    (control,) = trial.program.children()["main"]
    os.kill(control, signal.SIGKILL)
    shared, longest, written, since = trial.program.shared, 0.0, 0, time.monotonic()
    until = since + 3.0
    while time.monotonic() < until:
        now = time.monotonic()
        if shared.written != written:
            written, since = shared.written, now
        longest = max(longest, now - since)
        time.sleep(0.0002)
    assert trial.program.children()["main"] != [control]
    return longest


def parent_killed(trial: Trial) -> float:
    """Until no child is left."""
    children = [pid for pids in trial.program.children().values() for pid in pids]
    trial.program.process.kill()
    begun = time.monotonic()
    wait_until(lambda: not any(is_alive(pid) for pid in children))
    wait_until(lambda: not trial.program.folder.exists())
    return time.monotonic() - begun


def parent_told(trial: Trial) -> float:
    """Until it has ended, and all its children."""
    children = [pid for pids in trial.program.children().values() for pid in pids]
    trial.program.process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    trial.program.process.wait(30)
    assert not any(is_alive(pid) for pid in children)
    return time.monotonic() - begun


FAULTS: dict[str, Callable[[Trial], float]] = {
    "the engine is killed (SIGKILL)": engine_killed,
    "the engine hangs (SIGSTOP)": engine_stopped,
    "JACK is killed and started again after 0.5 s": jack_killed,
    "control is killed: longest silence": control_killed,
    "the parent is killed: children and files gone": parent_killed,
    "the parent is told to end (SIGTERM)": parent_told,
}


def main() -> None:
    """Measure every fault so many times, and write the table."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        from sessions import tiny_library

        tiny_library(home)
        for name, fault in FAULTS.items():
            measured = []
            for _ in range(times):
                server = Server(f"duende-bench-{os.getpid()}", 128)
                server.start()
                try:
                    trial = Trial(server, home)
                    measured.append(fault(trial))
                    trial.end()
                finally:
                    server.stop()
            bound = BOUND_S.get(name, DEFAULT_BOUND_S)
            over = sum(one > bound for one in measured)
            figures = (statistics.median(measured), min(measured), max(measured))
            rows.append(f"| {name} | {' | '.join(f'{one:.2f}' for one in figures)} | {bound:g} | {over} of {times} |")
            sys.stderr.write(f"{name}: {[round(one, 2) for one in measured]}\n")
    found = machine()
    text = [
        "<!-- made by bench/recovery.py -->",
        "",
        "# Faults, and the time to sound",
        "",
        f"Each {times} times, in seconds. JACK's dummy driver at 48 kHz, blocks of 128; {found['cores']} cores, "
        f"{found['processor']}.",
        "",
        "| fault | median | least | most | bound | over the bound |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(text))


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(f"recovery: {error}")
