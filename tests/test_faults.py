"""Faults of the machine around a host: no space for what is shared, a clock that jumps, ports that were another's."""

import ast
import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from duende import DuendeError
from duende.engine.control import network as network_module
from duende.engine.control import supervisor as supervisor_module
from duende.engine.control.network import Network
from duende.engine.control.settings import NetworkSettings, Settings
from duende.engine.control.supervisor import Supervisor
from duende.engine.messages import EngineSetup, Play
from duende.engine.shared import SIZE_BYTES, map_state
from sessions import tiny_session

ROOT = Path(__file__).resolve().parents[1]
DATES = {
    "engine/bench/results.py",
    "engine/bench/soak_results.py",
    "engine/control/recorder.py",
    "export/provenance.py",
}
"""Where a date is written down for people to read; nothing waits for it."""
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def wall_clocks(source: str) -> list[str]:
    """Calls that ask for the time of day, which may jump."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ".".join(ast.unparse(node.func).split(".")[-2:])
            found += [name] if name in WALL else []
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"time.{one.name}" for one in node.names if f"time.{one.name}" in WALL]
    return found


def test_what_asks_for_the_time_of_day_is_found() -> None:
    source = "def f():\n    time.sleep(1); time.monotonic()\n    return time.time() + datetime.datetime.now(UTC)"
    assert wall_clocks(source) == ["time.time", "datetime.now"]
    assert wall_clocks("from time import time, sleep") == ["time.time"]


@pytest.mark.parametrize("folder", ["engine", "presets", "gui", "commands"])
def test_nothing_that_plays_or_waits_asks_for_the_time_of_day(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    asking = {
        str(path.relative_to(ROOT)): found for path in paths if (found := wall_clocks(path.read_text(encoding="utf-8")))
    }
    assert set(asking) <= DATES, asking


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space is not asked for beforehand here")
def test_no_space_for_what_is_shared_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole in a file on a full disk kills whoever writes to it."""
    map_state(tmp_path / "state", create=True)
    assert (tmp_path / "state").stat().st_blocks * 512 >= SIZE_BYTES

    def full(*values: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(supervisor_module, "runtime_folder", lambda: tmp_path / "run")
    (tmp_path / "run").mkdir()
    with pytest.raises(DuendeError, match=r"no space for the shared state.*XDG_RUNTIME_DIR") as raised:
        Supervisor(EngineSetup(state="", silent=True), None)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "run").iterdir())


def test_the_device_is_searched_for_though_the_clock_has_not_begun() -> None:
    """On a busy machine an engine takes longer to start than the search waits."""
    supervisor = Supervisor(EngineSetup(state="", source="nosuch"), None)
    try:
        supervisor._last = Play(1, 0, [])
        supervisor._start_engine(supervisor._spawn_engine(silent=True))
        supervisor._search()
        assert supervisor._searcher is not None
        assert supervisor._spare is not None, "the next try need not wait for imports"
    finally:
        supervisor._end()


def free_ports(count: int) -> int:
    """The first of so many in a row, below those that systems hand out."""
    for base in range(21000 + os.getpid() % 100 * 50, 30000, 50):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


def test_control_that_is_started_again_has_the_ports_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though others that came before it are gone by now."""
    base = free_ports(6)
    monkeypatch.setattr(network_module, "OSC_PORT", base)
    monkeypatch.setattr(network_module, "HTTP_PORT", base + 1)
    monkeypatch.setattr(network_module, "PORT_STEP", 2)
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path / "home"))
    settings = Settings(network=NetworkSettings(zeroconf=False))

    async def ports(before: tuple[int, int] | None) -> tuple[int, int]:
        session = tiny_session(tmp_path / str(before))
        await session.load("wire")
        network = await Network.start(session, settings, lambda text: None, before)
        try:
            return network.osc_port, network.http_port
        finally:
            await network.stop()

    first = asyncio.run(ports(None))
    later = (first[0] + 4, first[1] + 4)
    assert asyncio.run(ports(later)) == later
    assert asyncio.run(ports((1, 2))) == first


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_model_replaced_while_it_is_loaded_is_not_heard() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "faults.py"), "--clock", "--times", "1", "--only", "a model", "--print"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| a model is replaced")]
    assert [cell.strip() for cell in row.split("|")[5:7]] == ["0", "1 of 1"]
