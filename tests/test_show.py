"""`duende live` on JACK's dummy driver, while something kills its parts, its device and itself."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from duende.engine.control.client import ask
from duende.engine.control.instances import InstanceInfo, instances
from duende.engine.control.osc import encode
from duende.engine.control.supervisor import FOLDER, runtime_folder
from duende.engine.shared import SharedState, map_state
from duende.engine.telemetry import Telemetry
from jackd import Server
from sessions import tiny_library
from waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.live

PERIOD = 128


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.mktemp("show")
    tiny_library(own)
    return own


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(f"duende-show-{os.getpid()}", PERIOD)
    running.start()
    yield running
    running.stop()


class Program:
    """`duende live` in a process."""

    def __init__(self, server: Server, home: Path, *options: str) -> None:
        self._known = {info.pid for info in instances()}
        self.log: list[str] = []
        command = [sys.executable, "-m", "duende", "live", "--input", "system", "--block", str(PERIOD)]
        self.process = subprocess.Popen(
            [*command, "--name", "test", "--preset", "duo", *options],
            env=server.environment | {"DUENDE_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_until(lambda: bool(self._mine()) or self.process.poll() is not None)
        except BaseException:
            self.process.kill()
            raise
        assert self.process.poll() is None, self._output.read()
        self.folder = next(runtime_folder().glob(f"{FOLDER}{self.info.pid}-*"))
        self.shared: SharedState = map_state(self.folder / "state")

    @property
    def info(self) -> InstanceInfo:
        """Where it is reached now: control that starts again may find its port taken."""
        return self._mine()[0]

    @property
    def _output(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def _mine(self) -> list[InstanceInfo]:
        return [info for info in instances() if info.pid not in self._known and info.pid == self.process.pid]

    def children(self) -> dict[str, list[int]]:
        """Process numbers of the children by module."""
        found: dict[str, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                words = (path.parent / "cmdline").read_text().split("\0")
            except (OSError, IndexError, ValueError):
                continue
            if parent == self.process.pid and "-m" in words:
                module = words[words.index("-m") + 1]
                found.setdefault(module.rpartition(".")[2], []).append(int(path.parent.name))
        return found

    def sounds(self) -> bool:
        """Whether blocks are delivered now."""
        before = self.shared.written
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            if self.shared.written > before:
                return True
            time.sleep(0.001)
        return False

    def engine(self) -> int:
        """The engine that plays (the spare one has no thread of a device's); 0 while there is none."""
        return max(self.children().get("player", []), key=_threads, default=0)

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Its last words."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            words, _ = self.process.communicate(timeout=PATIENCE_S)
        finally:
            self.process.kill()
        return words


def _threads(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0


@pytest.fixture
def program(server: Server, home: Path) -> Iterator[Program]:
    one = Program(server, home)
    yield one
    one.end()
    assert not one.folder.exists()


def test_a_show_survives_the_death_of_its_parts(program: Program) -> None:
    assert program.sounds()
    ask(program.info, "/duende/amount", [0.5])
    ask(program.info, "/duende/preset/load", ["solo"])
    first = program.engine()
    # To kill process 0 would be to kill one's own group.
    assert first > 1
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: program.engine() not in (0, first) and program.sounds())
    assert ask(program.info, "/duende/preset/current") == ["solo"]
    (control,) = program.children()["main"]
    os.kill(control, signal.SIGKILL)
    written = program.shared.written
    wait_until(lambda: program.children().get("main", [control]) != [control])
    assert program.shared.written > written
    wait_until(lambda: _answers(program))
    assert ask(program.info, "/duende/preset/current") == ["solo"]
    assert ask(program.info, "/duende/amount") == [0.5]


def _answers(program: Program) -> bool:
    try:
        return bool(ask(program.info, "/duende/ping"))
    except Exception:  # noqa: BLE001
        return False


def test_rubbish_floods_and_half_requests_are_not_heard(program: Program) -> None:
    rng = np.random.default_rng(4)
    address = (program.info.address, program.info.osc_port)
    half = [socket.create_connection((program.info.address, program.info.http_port)) for _ in range(20)]
    for connection in half:
        connection.sendall(b"GET /duende HTTP/1.1\r\nHost:")
    written = program.shared.written
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(3000):
            sock.sendto(rng.bytes(int(rng.integers(0, 200))), address)
            sock.sendto(encode("/duende/mix", [number / 3000.0]), address)
            sock.sendto(encode("/duende/preset/load", ["../../etc/passwd"]), address)
            sock.sendto(encode("/duende/slot/*/bypass", [float("nan")]), address)
            if number % 50 == 0:
                time.sleep(0.01)
    with socket.create_connection(address) as stream:
        stream.sendall(rng.bytes(20000))
    for connection in half:
        connection.close()
    wait_until(lambda: _answers(program))
    # What still waits in the socket comes first.
    wait_until(lambda: ask(program.info, "/duende/mix", [0.5]) == ask(program.info, "/duende/mix") == [0.5])
    assert ask(program.info, "/duende/preset/current") == ["duo"]
    assert program.shared.written > written
    telemetry = Telemetry(program.shared)
    assert telemetry.count("faults") == telemetry.count("failed") == 0
    assert len(program.children()["player"]) == 2


def test_the_sound_comes_back_with_its_server(program: Program, server: Server) -> None:
    assert program.sounds()
    server.kill()
    wait_until(lambda: not program.sounds() or program.shared.written == 0)
    server.start()
    wait_until(lambda: "system" in str(ask(program.info, "/duende/status/device")[0]) and program.sounds())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_asked_and_leaves_nothing(server: Server, home: Path, number: signal.Signals) -> None:
    program = Program(server, home)
    assert program.sounds()
    wait_until(lambda: len(program.children().get("player", [])) == 2)
    children = [pid for pids in program.children().values() for pid in pids]
    words = program.end(number)
    assert program.process.returncode == 0
    assert "blocks, median" in words
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert not program.folder.exists()


def test_when_it_is_killed_its_children_end(server: Server, home: Path) -> None:
    program = Program(server, home)
    children = [pid for pids in program.children().values() for pid in pids]
    program.end(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    wait_until(lambda: not program.folder.exists())


def test_two_instances_have_ports_of_their_own_and_settings_last(server: Server, home: Path) -> None:
    first = Program(server, home)
    second = Program(server, home, "--safety", "2")
    assert first.info.osc_port != second.info.osc_port
    assert first.info.http_port != second.info.http_port
    assert second.sounds()
    late = ask(second.info, "/duende/status/latency")
    assert late[2] == 128 + 2 * PERIOD
    second.end()
    first.end()
    assert "safety = 2" in (home / "settings.toml").read_text()
