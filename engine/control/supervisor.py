"""The parent: starts engine, spare engine and control, watches over them, and puts the sound back when it stops."""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ... import DuendeError
from ..messages import Done, EngineSetup, Lost, Message, Notice, Opened, Play, Played, Preload, Refused, SlotPlan, Stop
from ..shared import CONTROL_BEAT, map_state
from ..telemetry import Telemetry
from ..wire import Wire
from .early import CONTROL, ENGINE, Early

TICK_S = 0.02
STUCK_S = 0.5
OPEN_TIMEOUT_S = 8.0
CONTROL_STUCK_S = 5.0
STEADY_S = 10.0
TRIES = 3
TRY_AGAIN_S = (0.0, 0.3, 0.6)
SEARCH_S = 0.5
SPARE_AFTER_S = 1.0
END_S = 0.6
FOLDER = "duende-"
KNOWN_SLOTS = 64
"""Those played last, whose files a new engine opens; more than it keeps open would be in vain."""


@dataclass
class Child:
    """A process with the wire to it."""

    process: "subprocess.Popen[bytes]"
    wire: Wire
    started: float
    opened: bool = False
    silent: bool = False
    beat: int = -1
    beat_at: float = 0.0


@dataclass
class Health:
    """What became of the processes so far, for whoever asks."""

    engine_restarts: int = 0
    control_restarts: int = 0
    reasons: list[str] = field(default_factory=list)


class Supervisor:
    """Keeps the sound going.

    engine:  how to run the engine; its `state` is filled in here.
    control: makes the setup of the control process (JSON) for a folder; None runs the engine alone (`play`).
    preload: slots that will be played first, whose files are opened while control starts.
    stubborn: play on even if the device cannot be had at the start (a box that is switched on before its interface).
    tell:    is told `Opened`, `Played`, `Lost` and `Notice`.
    early:   processes that were begun before.

    A spare engine, with everything imported and the models open, waits for the one that plays to fail: so the sound
    comes back as soon as the device can be opened. Where it cannot be, after three tries, a silent clock takes its
    place, so that control goes on, and the device is asked for every half second.
    """

    def __init__(
        self,
        engine: EngineSetup,
        control: Callable[[Path], bytes] | None,
        *,
        preload: Sequence[SlotPlan] = (),
        stubborn: bool = False,
        tell: Callable[[Message], None] | None = None,
        early: Early | None = None,
    ) -> None:
        sweep()
        self._early = Early() if early is None else early
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=runtime_folder()))
        self.state = self.folder / "state"
        try:
            self.shared = map_state(self.state, create=True)
        except DuendeError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.telemetry = Telemetry(self.shared)
        self.health = Health()
        self._setup = msgspec.structs.replace(engine, state=str(self.state))
        self._control_setup = None if control is None else control(self.folder)
        self._stubborn, self._tell = stubborn, tell or (lambda message: None)
        # Not a SimpleQueue: a signal at the end of its timeout makes that wait for ever (CPython 3.11).
        self._events: queue.Queue[tuple[Child, Message | None]] = queue.Queue()
        self._engine: Child | None = None
        self._spare: Child | None = None
        self._searcher: Child | None = None
        self._control: Child | None = None
        self._orders: dict[int, Play] = {}
        self._last: Play | None = None
        self._known: dict[SlotPlan, None] = {}
        self._remember(preload)
        self._tries = 0
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._failure: str | None = None
        self._ever_opened = False
        self._ending = False

    def run(self, done: threading.Event, seconds: float | None = None) -> str | None:
        """Until `done` is set or the time is over; the reason where it cannot go on."""
        until = None if seconds is None else time.monotonic() + seconds
        self._engine = self._spawn_engine()
        if self._known:
            self._engine.wire.send(Preload(0, list(self._known)))
        self._start_control()
        try:
            while not done.is_set() and self._failure is None:
                self._turn()
                if until is not None and time.monotonic() >= until:
                    break
        finally:
            self._end()
        return self._failure

    def play(self, slots: list[SlotPlan]) -> None:
        """Have the engine play without a control process; values are on page 0."""
        self._forward(Play(0, 0, slots))

    # -- the loop ------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        with contextlib.suppress(queue.Empty):
            child, message = self._events.get(timeout=TICK_S)
            while True:
                self._hear(child, message)
                child, message = self._events.get_nowait()
        now = time.monotonic()
        for moment, action in list(self._due):
            if now >= moment:
                self._due.remove((moment, action))
                action()
        self._check_engine(now)
        self._check_control(now)

    def _hear(self, child: Child, message: Message | None) -> None:
        if message is None:
            self._gone(child)
        elif child is self._control:
            self._from_control(message)
        elif child is self._engine:
            self._from_engine(child, message)
        elif child is self._searcher:
            self._from_searcher(child, message)

    def _from_control(self, message: Message) -> None:
        if isinstance(message, Play):
            self._forward(message)
        elif isinstance(message, Preload):
            self._remember(message.slots)
            if self._engine is not None and self._engine.opened:
                self._engine.wire.send(message)
            else:
                self._say(Done(message.request))
            if self._spare is not None:
                self._spare.wire.send(message)
        elif isinstance(message, Stop):
            self._failure = message.text
        elif isinstance(message, Notice):
            self._tell(message)

    def _forward(self, order: Play) -> None:
        self._remember(order.slots)
        # Where nothing plays just now, this is what comes back.
        self._orders[order.request] = order
        if self._engine is not None:
            self._engine.wire.send(order)
        if self._searcher is not None:
            self._searcher.wire.send(msgspec.structs.replace(order, search=True))
        if self._spare is not None:
            self._spare.wire.send(Preload(0, order.slots))

    def _remember(self, slots: Sequence[SlotPlan]) -> None:
        # Where a slot stands does not matter to what it opens.
        for slot in slots:
            if slot.kind != "fx":
                plan = SlotPlan(slot.name, slot.path, slot.kind)
                self._known.pop(plan, None)
                self._known[plan] = None
        while len(self._known) > KNOWN_SLOTS:
            del self._known[next(iter(self._known))]

    def _from_engine(self, child: Child, message: Message) -> None:
        if isinstance(message, Played):
            order = self._orders.pop(message.request, None)
            if order is not None:
                self._last = order
            self._say(message)
        elif isinstance(message, Refused):
            self._orders.pop(message.request, None)
            self._say(message)
            if not child.opened and self._last is None:
                self._failure = message.text
        elif isinstance(message, Opened):
            self._opened(child, message)
        elif isinstance(message, Lost):
            self.health.reasons.append(message.text)
            if not self._ever_opened and not self._stubborn:
                self._failure = message.text
            self._say(message)
        elif isinstance(message, Notice | Done):
            self._say(message)

    def _opened(self, child: Child, message: Opened) -> None:
        child.opened, child.silent = True, message.silent
        child.beat_at = time.monotonic()
        if not message.silent:
            self._ever_opened = True
            self._later(STEADY_S, lambda: self._steady(child))
        self._say(message)
        if self._spare is None:
            self._later(SPARE_AFTER_S, self._fill_spare)

    def _steady(self, child: Child) -> None:
        if child is self._engine:
            self._tries = 0

    def _say(self, message: Message) -> None:
        """To control, and to whoever watches."""
        if self._control is not None:
            self._control.wire.send(message)
        self._tell(message)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, action))

    # -- engines -------------------------------------------------------------------------------------------------

    def _check_engine(self, now: float) -> None:
        if self._searcher is not None and now - self._searcher.started > OPEN_TIMEOUT_S:
            # Its end comes through its pipe.
            with contextlib.suppress(OSError):
                self._searcher.process.kill()
        child = self._engine
        if child is None:
            return
        if not child.opened:
            if self._wanted() is not None and now - child.started > OPEN_TIMEOUT_S:
                self._replace(child, f"the engine did not open the device within {OPEN_TIMEOUT_S:g} s")
            return
        beat = self.telemetry.count("callbacks")
        if beat != child.beat:
            child.beat, child.beat_at = beat, now
        elif now - child.beat_at > STUCK_S:
            self._replace(child, f"no sound was delivered for {STUCK_S:g} s")

    def _gone(self, child: Child) -> None:
        if child is self._engine:
            code = _ended(child.process)
            self._replace(child, f"the engine ended ({code})")
        elif child is self._spare:
            self._spare = None
            self._later(SEARCH_S, self._fill_spare)
        elif child is self._searcher:
            self._searcher = None
            self._later(SEARCH_S, self._search)
        elif child is self._control:
            self._restart_control(f"control ended ({_ended(child.process)})")

    def _replace(self, child: Child, reason: str) -> None:
        """Put another engine in the place of one that failed."""
        _kill(child)
        self._engine = None
        if self._ending:
            return
        self.health.engine_restarts += 1
        self.health.reasons.append(reason)
        self._say(Lost(reason))
        if self._last is not None:
            for request in self._orders:
                self._say(Refused(request, "the engine was started again; ask once more"))
            self._orders.clear()
        if self._tries < TRIES:
            wait = TRY_AGAIN_S[self._tries]
            self._tries += 1
            if wait:
                self._later(wait, self._bring_up)
            else:
                self._bring_up()
        else:
            self._start_engine(self._spawn_engine(silent=True))
            self._later(SEARCH_S, self._search)

    def _bring_up(self) -> None:
        """Let the spare engine play, or a new one where there is none."""
        if self._engine is not None or self._ending:
            return
        spare, self._spare = self._spare, None
        self._start_engine(spare if spare is not None else self._spawn_engine())

    def _start_engine(self, child: Child) -> None:
        child.started = time.monotonic()
        self._engine = child
        order = self._wanted()
        if order is not None:
            child.wire.send(order)

    def _wanted(self) -> Play | None:
        """What an engine has to play that starts: the newest order without an answer, else what played last."""
        if self._orders:
            return next(reversed(self._orders.values()))
        return None if self._last is None else msgspec.structs.replace(self._last, request=0)

    def _fill_spare(self) -> None:
        if self._spare is None and self._engine is not None and not self._ending:
            self._spare = self._spawn_engine()
            if self._known:
                self._spare.wire.send(Preload(0, list(self._known)))

    def _search(self) -> None:
        """While a clock stands in for the device: have an engine look for it, as long as it lives."""
        order = self._wanted()
        if self._engine is None or not self._engine.silent or self._searcher is not None or order is None:
            return
        spare, self._spare = self._spare, None
        self._searcher = spare if spare is not None else self._spawn_engine()
        self._searcher.started = time.monotonic()
        self._searcher.wire.send(msgspec.structs.replace(order, search=True))
        # For the next one, which otherwise would have to wait for its imports.
        self._fill_spare()

    def _from_searcher(self, child: Child, message: Message) -> None:
        # Each time that it looks it has as long as an engine that starts.
        child.started = time.monotonic()
        if isinstance(message, Opened):
            silent, self._engine, self._searcher = self._engine, child, None
            if silent is not None:
                _kill(silent)
            self._tries = 0
            self._opened(child, message)

    # -- control -------------------------------------------------------------------------------------------------

    def _check_control(self, now: float) -> None:
        child = self._control
        if child is None:
            return
        beat = int(self.shared.header[CONTROL_BEAT])
        if beat != child.beat:
            child.beat, child.beat_at = beat, now
            return
        # A machine that is too busy for it would be no better off with another one.
        patience = min(6, 1 + self.health.control_restarts) * CONTROL_STUCK_S
        if now - max(child.beat_at, child.started + OPEN_TIMEOUT_S) > patience:
            self._restart_control(f"control gave no sign for {patience:g} s")

    def _restart_control(self, reason: str) -> None:
        child, self._control = self._control, None
        assert child is not None
        _kill(child)
        if self._ending:
            return
        self.health.control_restarts += 1
        self.health.reasons.append(reason)
        self._tell(Notice(f"{reason}; starting it again, the sound goes on"))
        short = time.monotonic() - child.started < STEADY_S
        self._later(min(5.0, 0.5 * self.health.control_restarts) if short else 0.0, self._start_control)

    def _start_control(self) -> None:
        if not self._ending and self._control is None and self._control_setup is not None:
            self._control = self._spawn(CONTROL, self._control_setup)

    # -- processes -----------------------------------------------------------------------------------------------

    def _spawn_engine(self, *, silent: bool = False) -> Child:
        setup = msgspec.structs.replace(self._setup, silent=silent or self._setup.silent)
        child = self._spawn(ENGINE, msgspec.json.encode(setup))
        # Not only once it has opened: the search for the device begins meanwhile, and would end there.
        child.silent = setup.silent
        return child

    def _spawn(self, module: str, setup: bytes) -> Child:
        process = self._early.take(module)
        assert process.stdin is not None
        assert process.stdout is not None
        source, sink = os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno())
        process.stdout.close()
        process.stdin.close()
        wire = Wire(source, sink, lambda message: self._events.put((child, message)))
        child = Child(process, wire, time.monotonic())
        wire.send_bytes(setup)
        wire.start()
        return child

    def _end(self) -> None:
        """All children, within a moment; then the files that they shared."""
        self._ending = True
        children = [one for one in (self._control, self._engine, self._spare, self._searcher) if one is not None]
        for child in children:
            child.wire.send(Stop())
            child.wire.close()
        until = time.monotonic() + END_S
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, until - time.monotonic()))
            _kill(child)
        # Python may hang when it ends while a thread comes back from a read.
        for child in children:
            child.wire.join(END_S / len(children))
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(child: Child) -> None:
    child.wire.close()
    with contextlib.suppress(OSError):
        child.process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(2.0)


def _ended(process: "subprocess.Popen[bytes]") -> str:
    """How a process ended, in words."""
    try:
        code = process.wait(0.2)
    except subprocess.TimeoutExpired:
        return "it closed its pipe"
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit status {code}"


def runtime_folder() -> Path:
    """Where the shared state lies: in memory where the system has such a place, so that no disk holds up the sound."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if place and os.access(place, os.W_OK):
            return Path(place)
    return Path(tempfile.gettempdir())


def sweep() -> None:
    """Remove what programs that were killed have left in the runtime folder."""
    for folder in runtime_folder().glob(f"{FOLDER}*-*"):
        number = folder.name.removeprefix(FOLDER).partition("-")[0]
        if number.isdigit() and not alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process of that number runs."""
    if sys.platform == "win32":
        # There, signal 0 is Ctrl-C.
        import ctypes

        query = 0x1000
        handle = ctypes.windll.kernel32.OpenProcess(query, False, pid)
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
