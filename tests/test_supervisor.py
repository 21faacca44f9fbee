"""Supervision with real processes, played to a clock: whatever dies, the sound comes back; nothing is left over."""

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duende.engine.control.supervisor import FOLDER, Supervisor, runtime_folder, sweep
from duende.engine.messages import EngineSetup, Lost, Message, Opened, Play, Played, SlotPlan
from duende.engine.params import GLOBALS
from duende.engine.preset import build_rig
from duende.engine.slots import processor_for
from models import dry_model
from waiting import PATIENCE_S, is_alive, wait_until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(os.name != "posix", reason="signals that stop and kill"),
]

AMOUNT = [row.name for row in GLOBALS].index("amount")


class Watched:
    """A supervisor that runs in a thread, and what it told."""

    def __init__(
        self, folder: Path, setup: EngineSetup | None = None, *, stubborn: bool = False, request: int = 0
    ) -> None:
        self.told: queue.SimpleQueue[Message] = queue.SimpleQueue()
        silent = EngineSetup(state="", silent=True, block=256)
        self.supervisor = Supervisor(setup or silent, None, stubborn=stubborn, tell=self.told.put)
        model = dry_model(folder)
        bank = build_rig([("dry", processor_for(model))], self.supervisor.shared).bank
        for row in bank.table.rows():
            bank.set(row.name, row.default)
        self.done = threading.Event()
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_until(lambda: self.supervisor._engine is not None)
        self.supervisor._forward(Play(request, 0, [SlotPlan("dry", str(model.path))]))

    def _run(self) -> None:
        self.failure = self.supervisor.run(self.done)

    def wait_for(self, kind: type[Message]) -> Message:
        """The next message of a kind; others are passed over."""
        until = time.monotonic() + PATIENCE_S
        while True:
            message = self.told.get(timeout=max(0.01, until - time.monotonic()))
            if isinstance(message, kind):
                return message

    def end(self) -> None:
        self.done.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    @property
    def engine(self) -> int:
        child = self.supervisor._engine
        assert child is not None
        return child.process.pid


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    one = Watched(tmp_path)
    yield one
    one.end()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_dies_or_hangs_is_replaced_and_plays_the_same(watched: Watched, fault: signal.Signals) -> None:
    watched.wait_for(Played)
    shared, first = watched.supervisor.shared, watched.engine
    shared.pages[0][AMOUNT] = 0.25
    wait_until(lambda: watched.supervisor._spare is not None)
    os.kill(first, fault)
    watched.wait_for(Lost)
    opened, played = watched.wait_for(Opened), watched.wait_for(Played)
    assert isinstance(opened, Opened)
    assert isinstance(played, Played)
    assert played.page == 0
    assert played.latency == [128]
    assert shared.pages[0][AMOUNT] == 0.25
    assert watched.engine != first
    assert not is_alive(first)
    before = shared.written
    wait_until(lambda: shared.written > before)
    assert watched.supervisor.health.engine_restarts == 1


def test_the_first_order_is_answered_though_the_first_engine_dies(tmp_path: Path) -> None:
    """Control waits for that answer; without it the show would end."""
    nowhere = EngineSetup(state="", source="no such device", block=128)
    box = Watched(tmp_path, nowhere, stubborn=True, request=7)
    played = box.wait_for(Played)
    box.end()
    assert isinstance(played, Played)
    assert played.request == 7


def test_the_end_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.wait_for(Played)
    wait_until(lambda: watched.supervisor._spare is not None)
    spare = watched.supervisor._spare
    assert spare is not None
    processes = [spare.process, watched.supervisor._engine.process]  # type: ignore[union-attr]
    folder = watched.supervisor.folder
    assert folder.exists()
    watched.end()
    assert watched.failure is None
    assert all(process.poll() is not None for process in processes)
    assert not folder.exists()


def test_a_device_that_cannot_be_opened_ends_it_or_a_clock_stands_in(tmp_path: Path) -> None:
    nowhere = EngineSetup(state="", source="no such device", block=128)
    (tmp_path / "a").mkdir()
    watched = Watched(tmp_path / "a", nowhere)
    lost = watched.wait_for(Lost)
    watched.end()
    assert watched.failure is not None
    assert isinstance(lost, Lost)
    assert lost.text == watched.failure
    (tmp_path / "b").mkdir()
    box = Watched(tmp_path / "b", nowhere, stubborn=True)
    opened = box.wait_for(Opened)
    assert isinstance(opened, Opened)
    assert opened.silent
    box.end()
    assert box.failure is None


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_signals_do_not_stop_the_parent() -> None:
    """One at the end of a wait once made it last for ever, so that Ctrl-C did nothing."""
    signals = itertools.count()

    def count(number: int, frame: object) -> None:
        assert next(signals) < 5000, "a turn does not end"

    supervisor = Supervisor(EngineSetup(state="", silent=True), None)
    before = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(60):
            supervisor._turn()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        supervisor._end()


PARENT = """
import sys, threading
from pathlib import Path
from duende.engine.control.supervisor import Supervisor
from duende.engine.messages import EngineSetup, Opened, SlotPlan
done = threading.Event()
def tell(message):
    if isinstance(message, Opened):
        print(supervisor.folder, supervisor._engine.process.pid, flush=True)
supervisor = Supervisor(EngineSetup(state="", silent=True), None, tell=tell)
threading.Timer(0.2, lambda: supervisor.play([])).start()
supervisor.run(done)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_when_the_parent_is_killed_the_engine_ends_and_cleans_up() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    folder, engine = parent.stdout.readline().split()
    assert Path(folder).exists()
    assert is_alive(int(engine))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not is_alive(int(engine)))
    wait_until(lambda: not Path(folder).exists())


def test_what_a_killed_program_left_is_swept_away() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = runtime_folder() / f"{FOLDER}{gone.pid}-left"
    mine = runtime_folder() / f"{FOLDER}{os.getpid()}-mine"
    for folder in (left, mine):
        folder.mkdir()
        (folder / "state").write_bytes(b"")
    sweep()
    assert not left.exists()
    assert mine.exists()
    (mine / "state").unlink()
    mine.rmdir()
