"""A Ray cluster of two workers on this machine: the same results as here, whoever is killed."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duende import DuendeError
from duende.export.work import cluster as module
from duende.export.work.cluster import Cluster, connected
from duende.export.work.driver import Item, Summary, run_batch
from duende.export.work.here import Here
from duende.export.work.store import Result, Store
from duende.export.work.task import Source, Task
from test_work import gone, times, until
from work_kinds import TEST_KINDS

HERE = Path(__file__).parent


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a cluster of two processors, on loopback alone, with a token of its own."""
    # Ray looks at these variables when it is loaded: not before they are set.
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install 'duende[cluster]'")
    with pytest.MonkeyPatch.context() as patch:
        token = tmp_path_factory.mktemp("token") / "token"
        token.write_text("0123456789abcdef" * 4)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(module.LOOPBACK, "0")
        patch.setenv("PYTHONPATH", str(HERE))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ray = str(Path(sys.executable).with_name("ray"))
        command = [ray, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=200000000", "--disable-usage-stats"]
        head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            for _ in range(1200):
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            try:
                head.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)
                head.wait()


def item(number: int, log: Path, **parameters: Any) -> Item:
    inputs = {"a": Source.of_bytes(b"input", "input.bin")}
    given = {"name": f"n{number}", "log": str(log), **parameters}
    return Item(f"item {number}", Task(f"item {number}", "echo", given, inputs, TEST_KINDS))


def sums(seed: int) -> Item:
    return Item(f"s{seed}", Task(f"s{seed}", "sums", {"seed": seed}, {}, TEST_KINDS))


def made(items: list[Item], store: Store, runner: Any, **more: Any) -> tuple[Summary, dict[str, Result]]:
    found: dict[str, Result] = {}
    summary = run_batch(
        iter(items), runner, store, len(items), finish=lambda one, result: found.update({one.name: result}), **more
    )
    return summary, found


@pytest.mark.alone
def test_two_workers_with_kills_give_what_one_process_gives(cluster: str, tmp_path: Path, log: Path) -> None:
    store, plain = Store(tmp_path / "store"), Store(tmp_path / "plain")
    said: list[str] = []
    items = [sums(0), sums(1), item(0, log, how="refuse"), item(1, log, how="bug"), item(2, log, how="die once")]
    items += [item(number, log) for number in range(3, 25)]
    with plain.held(), Here(plain.staging) as here:
        _, expected = made([sums(0), sums(1), *(item(number, log) for number in range(3, 25))], plain, here)
    before = times(log)
    with store.held(), Cluster(cluster, 2, TEST_KINDS) as runner:
        while len(runner.workers()) < 2:
            runner.wait(0.1)
        assert len({runner.said(worker)["pid"] for worker in runner.workers()}) == 2
        summary, found = made(items, store, runner, say=said.append)
        assert dict(summary.failed) == {"item 0": "it is poisoned", "item 1": "KeyError: 'forgotten'"}
        assert summary.made == len(items) - 2
        for name, result in expected.items():
            assert result.digests == found[name].digests
            assert result.read("out") == found[name].read("out")
            assert result.data == found[name].data
        done = times(log) - before
        assert done["n2"] == 2
        assert {done[f"n{number}"] for number in range(3, 25)} == {1}
        assert any("died" in line for line in said)
        # A worker that is killed from outside in the midst of its work: what it held is done elsewhere.
        slow = [item(number, log, sleep=0.3) for number in range(30, 36)]
        while len(runner.workers()) < 2:
            runner.wait(0.1)
        victim = runner.said(runner.workers()[0])["pid"]
        states: list[int] = []

        def kill(state: Any) -> None:
            states.append(state.made)
            if state.made == 1 and states.count(1) == 1:
                os.kill(victim, signal.SIGKILL)

        summary, _ = made(slow, store, runner, tell=kill, say=said.append)
        assert (summary.made, summary.failed) == (6, [])
        # All that is there is not made again.
        summary, _ = made(items, store, runner)
        assert summary.there == len(items) - 2
        # One machine, and its disk is full: nobody is left.
        with pytest.raises(DuendeError, match="no worker is left: No space left on device"):
            made([item(50, log, how="full"), item(51, log)], store, runner)


@pytest.mark.alone
def test_a_driver_that_is_killed_goes_on(cluster: str, tmp_path: Path, log: Path) -> None:
    command = [sys.executable, str(HERE / "work_run.py"), str(tmp_path / "store"), str(log), "10", "0.3", cluster]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    until(log, 4)
    driver.kill()
    driver.communicate(timeout=60)
    assert gone({int(path.name.split(".")[1]) for path in log.iterdir()})
    notes = len(list((tmp_path / "store" / "results").rglob("*.json")))
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {"made": 10 - notes, "there": notes, "failed": []}
    # Each of the two had two in its hands.
    assert 10 <= sum(times(log).values()) <= 14


def test_a_cluster_that_cannot_be_reached_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for address, message in (
            (f"127.0.0.1:{port}", "cannot be reached"),
            ("no-such-host.invalid:6379", "cannot be reached"),
            ("10.0.0.1", "write HOST:PORT"),
            ("10.0.0.1:many", "write HOST:PORT"),
            ("ray://10.0.0.1:10001", "on a machine of the cluster"),
        ):
            with pytest.raises(DuendeError, match=message) as caught:
                connected(address, None)
            assert "\n" not in str(caught.value)
    with pytest.raises(DuendeError, match="--workers 0 is out of range"):
        Cluster("auto", 0)


def test_a_cluster_of_this_machine_alone_is_told_from_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as alone, socket.socket() as open_to_all:
        alone.bind(("127.0.0.1", 0))
        open_to_all.bind(("0.0.0.0", 0))
        for one in (alone, open_to_all):
            one.listen()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                asked.connect(("192.0.2.1", 9))
                elsewhere = not asked.getsockname()[0].startswith("127.")
            except OSError:
                elsewhere = False
        assert module._is_loopback_alone(f"127.0.0.1:{alone.getsockname()[1]}") is elsewhere or not elsewhere
        assert module._is_loopback_alone(f"127.0.0.1:{open_to_all.getsockname()[1]}") is not elsewhere
        assert not module._is_loopback_alone("10.0.0.2:6379")


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    for name in (module.LOOPBACK, "RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(DuendeError, match=r"--cluster needs Ray: pip install 'duende\[cluster\]'"):
        connected("auto", None)


def test_ray_is_loaded_for_a_cluster_alone() -> None:
    code = (
        "import sys; import duende.__main__, duende.export.work.pool, duende.export.work.open, "
        "duende.export.work.cluster; print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["lab.yaml", "cloud.yaml"])
def test_the_cluster_files_are_what_ray_takes(name: str) -> None:
    # Ray's own schema, without loading Ray.
    spec = importlib.util.find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs Ray: pip install 'duende[cluster]'")
    schema = json.loads((Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json").read_text())
    text = (HERE.parent / "examples" / "cluster" / name).read_text()
    jsonschema, yaml = importlib.import_module("jsonschema"), importlib.import_module("yaml")
    found = yaml.safe_load(text)
    jsonschema.validate(found, schema)
    for lines in (found["head_start_ray_commands"], found["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in lines[-1]
    assert "--include-dashboard=false" in found["head_start_ray_commands"][-1]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"dashboard": "open"}, schema)
