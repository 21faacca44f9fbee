"""`duende gui` from the command line: what it refuses in one line, and how it ends."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from duende import DuendeError
from duende.gui.app import Options, run_gui
from duende.gui.target import Target
from stage import Gui, free_port, reachable, status_of
from waiting import wait_until


def gui(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "duende", "gui", *options]
    return subprocess.run(command, env=keep | environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "give a --token"),
        (["--host", "somewhere"], "write an address"),
        (["--connect", "http://a/b"], "write HOST or HOST:PORT"),
    ],
)
def test_what_it_cannot_do_is_one_line(options: list[str], words: str) -> None:
    done = gui(*options)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DuendeError, match=rf"127\.0\.0\.1:{port} .*choose another --port"):
            run_gui(Target, Options(port=port), print)


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(DuendeError, match=r"duende\[gui\]"):
        run_gui(Target, Options(port=free_port()), print)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_without_a_word(number: signal.Signals) -> None:
    pytest.importorskip("nicegui")
    one = Gui("127.0.0.1:9")
    one.process.send_signal(number)
    words = one.end()
    assert words.strip() == f"GUI on http://127.0.0.1:{one.port}"
    assert not reachable(one.url)


def test_beside_a_host_it_ends_with_it() -> None:
    pytest.importorskip("nicegui")
    port = free_port()
    command = [sys.executable, "-m", "duende", "gui", "--port", str(port), "--beside", str(os.getpid())]
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    process = subprocess.Popen(command, env=keep, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    wait_until(lambda: reachable(f"http://127.0.0.1:{port}/"), "the GUI")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0


def test_a_token_from_the_environment_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nicegui")
    monkeypatch.setenv("DUENDE_GUI_TOKEN", "secret")
    one = Gui("127.0.0.1:9")
    try:
        assert status_of(one.url) == 401
        assert status_of(f"{one.url}host/presets") == 401
        assert status_of(f"{one.url}_nicegui_ws/socket.io/?EIO=4&transport=polling") == 401
    finally:
        one.end()
