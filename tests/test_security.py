"""What docs/security.md says is so: its bounds are the program's, and nothing listens that it does not name."""

import importlib
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from duende import DuendeError
from duende.engine.control.settings import NetworkSettings, Settings, read_settings, write_settings
from fuzzing.siege import SilentHost

PAGE = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
BOUNDS = re.findall(r"^\| [^|]+ \| `([a-z_.]+):([A-Za-z_.]+)` \| (\d+) \|$", PAGE, re.M)


def test_the_table_was_found() -> None:
    assert len(BOUNDS) > 40
    rows = PAGE.partition("## Bounds")[2].partition("##")[0].strip().splitlines()
    assert len(BOUNDS) == len(rows) - 2


@pytest.mark.parametrize(("module", "name", "value"), BOUNDS)
def test_a_bound_is_the_one_in_the_program(module: str, name: str, value: str) -> None:
    found: Any = importlib.import_module(f"duende.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    assert found == int(value)


@pytest.mark.skipif(sys.platform == "win32", reason="files have other owners there")
def test_the_token_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("")
    path.chmod(0o644)
    write_settings(path, Settings(network=NetworkSettings(token="secret")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_settings(path).network.token == "secret"


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "a." * 70 + "a = 1", "x = " + "[" * 3000, "#" * 300_000])
def test_settings_that_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(DuendeError, match="mend it") as caught:
        read_settings(path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_control_listens_and_only_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path))
    host = SilentHost(tmp_path)
    try:
        supervisor = host.supervisor
        children = {"engine": supervisor._engine, "spare": supervisor._spare, "control": supervisor._control}
        heard = {name: listening(child.process.pid) for name, child in children.items() if child is not None}
        assert stat.S_IMODE(supervisor.folder.stat().st_mode) == 0o700
    finally:
        host.end()
    osc, http = ("127.0.0.1", host.info.osc_port), ("127.0.0.1", host.info.http_port)
    assert heard.pop("control") == {("tcp", *osc), ("udp", *osc), ("tcp", *http)}
    assert heard["engine"] == set()
    assert not any(heard.values())


def listening(pid: int) -> set[tuple[str, str, int]]:
    """Kind, address and port of every socket of a process that waits for others (TCP) or for anything (UDP)."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(link.readlink()))
        except OSError:
            continue
    found = set()
    for kind, state in (("tcp", "0A"), ("udp", "07"), ("tcp6", "0A"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and f"socket:[{fields[9]}]" in sockets:
                address, _, port = fields[1].partition(":")
                numbers = bytes.fromhex(address)[::-1] if len(address) == 8 else b""
                found.add((kind, ".".join(map(str, numbers)) or address, int(port, 16)))
    return found


def test_nothing_here_runs_what_a_file_says() -> None:
    """No pickle, eval, exec, yaml or shell in what reads files and packets."""
    words = re.compile(
        r"\b(pickle|marshal|shelve|yaml)\b|(?<![.\w])(eval|exec)\(|shell=True|allow_pickle=True|os\.system"
    )
    root = Path(__file__).parents[1]
    files = subprocess.run(
        ["git", "ls-files", "engine", "presets", "export", "gui"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    found = {
        file: match[0]
        for file in files
        if file.endswith(".py")
        for line in (root / file).read_text().splitlines()
        if (match := words.search(line.partition("#")[0])) and '"""' not in line
    }
    assert len(files) > 100
    assert found == {}
