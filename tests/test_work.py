"""Work in tasks: made once, the same everywhere, and nothing lost whoever dies."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duende import DuendeError
from duende.export.work.driver import Item, State, Summary, run_batch
from duende.export.work.frames import Frames
from duende.export.work.hand import Inputs
from duende.export.work.here import Here
from duende.export.work.kinds import KINDS, function_of
from duende.export.work.pool import Pool
from duende.export.work.runner import Runner
from duende.export.work.store import Result, Store
from duende.export.work.task import Source, Task
from work_kinds import TEST_KINDS, Machines

HERE = Path(__file__).parent
FILE = Source.of_bytes(b"hello", "a.txt")


@pytest.fixture(autouse=True)
def kinds_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def item(number: int, log: Path | None = None, **parameters: Any) -> Item:
    given = {"name": f"n{number}", **parameters} | ({} if log is None else {"log": str(log)})
    return Item(f"item {number}", Task(f"item {number}", "echo", given, {"a": FILE}, TEST_KINDS))


def runner_of(name: str, store: Store) -> Runner:
    return Here(store.staging) if name == "here" else Pool(int(name), store.staging, TEST_KINDS)


def made(items: list[Item], store: Store, name: str = "here", **more: Any) -> tuple[Summary, dict[str, Result]]:
    found: dict[str, Result] = {}
    with store.held(), runner_of(name, store) as runner:
        summary = run_batch(
            iter(items), runner, store, len(items), finish=lambda one, result: found.update({one.name: result}), **more
        )
    return summary, found


def times(log: Path) -> Counter[str]:
    """How often each was done."""
    return Counter(path.name.partition(".")[0] for path in log.iterdir())


def test_a_key_knows_all_that_decides_a_result(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello")
    of_file = Source.of_file(tmp_path / "a.txt")
    base = Task("x", "echo", {"b": 1, "a": 2.0}, {"a": of_file}, TEST_KINDS)
    assert base.key == Task("other name", "echo", {"a": 2.0, "b": 1}, {"a": FILE}, TEST_KINDS).key
    newer = {**TEST_KINDS, "echo": TEST_KINDS["echo"]._replace(version=2)}
    others = [
        Task("x", "sums", {"b": 1, "a": 2.0}, {"a": FILE}, TEST_KINDS),
        Task("x", "echo", {"b": 2, "a": 2.0}, {"a": FILE}, TEST_KINDS),
        Task("x", "echo", {"b": 1, "a": 2.0}, {"b": FILE}, TEST_KINDS),
        Task("x", "echo", {"b": 1, "a": 2.0}, {"a": Source.of_bytes(b"hello", "b.txt")}, TEST_KINDS),
        Task("x", "echo", {"b": 1, "a": 2.0}, {"a": Source.of_bytes(b"hell", "a.txt")}, TEST_KINDS),
        Task("x", "echo", {"b": 1, "a": 2.0}, {"a": FILE}, newer),
    ]
    assert len({base.key, *(one.key for one in others)}) == 7
    with pytest.raises(DuendeError, match="gone"):
        Source.of_file(tmp_path / "gone")


def test_every_kind_can_be_imported() -> None:
    for name, kind in KINDS.items():
        assert callable(function_of(kind)), name


@pytest.mark.parametrize("name", ["here", "1", "2"])
def test_results_are_the_same_wherever_they_are_made(tmp_path: Path, name: str) -> None:
    items = [Item(f"s{seed}", Task(f"s{seed}", "sums", {"seed": seed}, {}, TEST_KINDS)) for seed in range(4)]
    _, plain = made(items, Store(tmp_path / "plain"))
    summary, found = made(items, Store(tmp_path / "other"), name)
    assert summary.made == 4
    for one in items:
        assert found[one.name].read("out") == plain[one.name].read("out")


def test_what_is_there_is_not_made_again(tmp_path: Path, log: Path) -> None:
    store = Store(tmp_path / "store")
    first, found = made([item(number, log) for number in range(5)], store, "2")
    again, same = made([item(number, log) for number in range(7)], store)
    assert (first.made, first.there, again.made, again.there) == (5, 0, 2, 5)
    assert set(times(log).values()) == {1}
    assert found["item 3"].read("out") == same["item 3"].read("out") == b"hellon3"
    assert same["item 3"].data == {"name": "n3", "inputs": {"a": "a.txt"}}
    # What depends on the machine stands apart.
    assert found["item 3"].cost["pid"] != os.getpid()


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "note cut", "note changed", "note of another"])
def test_what_is_damaged_is_made_anew(tmp_path: Path, log: Path, damage: str) -> None:
    store = Store(tmp_path / "store")
    _, found = made([item(0, log), item(1, log)], store)
    blob = found["item 0"].files["out"]
    one, other = (item(number, log).task for number in (0, 1))
    assert one is not None
    assert other is not None
    note, foreign = (store.folder / "results" / task.key[:2] / f"{task.key}.json" for task in (one, other))
    if damage == "gone":
        blob.unlink()
    elif damage in ("cut", "flipped"):
        blob.write_bytes(b"hello" if damage == "cut" else b"Hellon0")
    elif damage == "note of another":
        note.write_bytes(foreign.read_bytes())
    else:
        text = note.read_bytes()
        note.write_bytes(text[:50] if damage == "note cut" else text.replace(b"n0", b"n9"))
    summary, again = made([item(0, log)], store)
    assert (summary.made, summary.there) == (1, 0)
    assert times(log)["n0"] == 2
    assert again["item 0"].read("out") == b"hellon0"


def test_results_go_where_they_belong_and_count_there(tmp_path: Path, log: Path) -> None:
    store, places = Store(tmp_path / "store"), [tmp_path / "out" / "a", tmp_path / "out" / "deep" / "b"]
    task = item(0, log).task
    items = [Item(f"to {place.name}", task, places={"out": place}) for place in places]
    summary, _ = made(items, store)
    assert [place.read_bytes() for place in places] == [b"hellon0"] * 2
    assert summary.made + summary.there == 2
    assert times(log) == {"n0": 1}
    assert not [
        path for path in (store.folder / "files").rglob("*") if path.is_file() and b"hello" in path.read_bytes()
    ]
    # The file that was delivered is the one that is kept.
    summary, _ = made(items, store)
    assert (summary.made, summary.there) == (0, 2)
    places[0].write_bytes(b"somebody wrote over it")
    summary, _ = made(items[:1], store)
    assert summary.made == 1
    assert places[0].read_bytes() == b"hellon0"


def test_failures_are_gathered_with_their_reasons(tmp_path: Path, log: Path) -> None:
    items = [item(0, log), item(1, log, how="refuse"), item(2, log, how="bug"), Item("lost", None, "no such file")]
    items += [item(3, log, how="die"), item(4, log, how="die once"), *(item(number, log) for number in range(5, 15))]
    said: list[str] = []
    store = Store(tmp_path / "store")
    summary, found = made(items, store, "2", say=said.append)
    reasons = dict(summary.failed)
    assert set(reasons) == {"item 1", "item 2", "item 3", "lost"}
    assert reasons["item 1"] == "it is poisoned"
    assert reasons["item 2"] == "KeyError: 'forgotten'"
    assert "SIGKILL" in reasons["item 3"]
    assert "3 tries" in reasons["item 3"]
    assert len(found) == summary.made == 12
    done = times(log)
    assert (done["n1"], done["n3"], done["n4"]) == (1, 3, 2)
    assert {done[f"n{number}"] for number in range(5, 15)} == {1}
    assert sum("SIGKILL" in line for line in said) == 4
    lines = [json.loads(line) for line in store.journal.read_text().splitlines()]
    assert Counter(line["state"] for line in lines) == {"begun": 1, "made": 12, "failed": 4, "died": 4, "ended": 1}
    assert any("work_kinds.py" in line.get("trace", "") for line in lines)
    assert list((store.folder / "staging").iterdir()) == []


def test_a_machine_that_is_full_gets_no_more(tmp_path: Path, log: Path) -> None:
    store, said = Store(tmp_path / "store"), list[str]()
    items = [item(number, log, how="full once", sleep=0.02) for number in range(12)]
    with store.held(), Machines(2, store.staging, TEST_KINDS) as runner:
        summary = run_batch(iter(items), runner, store, 12, say=said.append)
        assert len(runner.workers()) == 1
    assert (summary.made, summary.failed) == (12, [])
    assert said == ["a machine gets no more work: No space left on device"]


def test_where_all_are_full_it_ends_in_one_line(tmp_path: Path, log: Path) -> None:
    store = Store(tmp_path / "store")
    for name in ("here", "2"):
        with pytest.raises(DuendeError, match=r"^no worker is left: No space left on device$"):
            made([item(0), item(1), item(2, log, how="full"), item(3, log, how="full")], store, name)
    summary, _ = made([item(0), item(1)], store)
    assert summary.there == 2


def test_a_full_disk_of_the_store_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, **more: Any) -> None:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise DuendeError(f"cannot write {path}: {error.strerror}") from error

    store = Store(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr("duende.export.work.store.write_atomically", full)
        with pytest.raises(DuendeError, match="No space left"):
            made([item(0)], store)
    assert made([item(0)], store)[0].made == 1


def test_an_input_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "input.bin"
    path.write_bytes(b"one")
    task = Task("x", "echo", {}, {"a": Source.of_file(path)}, TEST_KINDS)
    path.write_bytes(b"two")
    for name in ("here", "1"):
        summary, _ = made([Item("x", task)], Store(tmp_path / name), name)
        assert summary.failed == [("x", "input.bin: changed since the work began; start it again")]


def test_items_are_asked_for_as_they_can_be_made(tmp_path: Path) -> None:
    asked, most = 0, 0
    states: list[State] = []

    def items() -> Iterator[Item]:
        nonlocal asked
        for number in range(60):
            asked += 1
            yield item(number)

    def tell(state: State) -> None:
        nonlocal most
        states.append(state)
        most = max(most, asked - state.done)

    store = Store(tmp_path / "store")
    with store.held(), Pool(2, store.staging, TEST_KINDS) as runner:
        run_batch(items(), runner, store, 60, tell=tell)
    assert most <= 3 * 2 * runner.depth + 1
    assert states[-1] == State(60, 60, 0, 0, 0.0, 2)
    assert all(state.left_s is None or state.left_s >= 0.0 for state in states)
    assert any(state.left_s for state in states)


def test_two_programs_do_not_share_a_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.held():
        with pytest.raises(DuendeError, match="another duende works in this store"), Store(store.folder).held():
            pass
        with Store(store.folder).held(alone=False):
            assert len(list((store.folder / "staging").iterdir())) == 2
    (store.folder / "staging" / "left by a dead one").mkdir()
    with store.held():
        assert [path.name for path in (store.folder / "staging").iterdir()] == [store.staging.name]
    (tmp_path / "file").touch()
    with pytest.raises(DuendeError, match="cannot write"), Store(tmp_path / "file" / "store").held():
        pass


def test_workers_that_cannot_start_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(DuendeError, match="workers cannot be started"):
        made([item(0)], Store(tmp_path / "store"), "2")
    with pytest.raises(DuendeError, match="--workers 0 is out of range"):
        Pool(0, tmp_path)


def test_frames_come_in_pieces() -> None:
    text = b"\0\0\0\x08" + b'{"a": 1}'
    frames = Frames()
    found = [message for byte in text * 3 for message in frames.add(bytes([byte]))]
    assert found == [{"a": 1}] * 3
    with pytest.raises(ValueError, match="a message of"):
        Frames().add(b"\xff\xff\xff\xff")


def test_inputs_that_came_are_kept_up_to_a_bound(tmp_path: Path) -> None:
    held = Inputs(tmp_path, most=10)
    fetched: list[str] = []

    def get(source: Source) -> Path:
        def fetch() -> bytes:
            fetched.append(source.name)
            return source.read()

        return held.get(source.digest, source.name, fetch)

    sources = [Source.of_bytes(bytes([number]) * 6, f"{number}.bin") for number in range(3)]
    for source in [sources[0], sources[0], sources[1], sources[0]]:
        assert get(source).read_bytes() == source.data
        held.trim()
    assert fetched == ["0.bin", "1.bin", "0.bin"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    with pytest.raises(DuendeError, match="came damaged"):
        held.get(sources[2].digest, "2.bin", lambda: b"other")


def started(store: Path, log: Path, count: int, sleep: float) -> "subprocess.Popen[str]":
    command = [sys.executable, str(HERE / "work_run.py"), str(store), str(log), str(count), str(sleep)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def until(log: Path, count: int) -> None:
    for _ in range(3000):
        if len(list(log.iterdir())) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("nothing happens")


def gone(pids: set[int]) -> bool:
    for _ in range(1000):
        alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        if not alive:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_goes_on_where_it_was(tmp_path: Path, log: Path, number: signal.Signals) -> None:
    driver = started(tmp_path / "store", log, 14, 0.15)
    until(log, 5)
    driver.send_signal(number)
    driver.communicate(timeout=60)
    assert driver.returncode == (130 if number is signal.SIGINT else -number)
    if number is signal.SIGINT:
        assert '"state": "stopped"' in (tmp_path / "store" / "journal.jsonl").read_text()
    workers = {int(path.name.split(".")[1]) for path in log.iterdir()}
    assert gone(workers)
    before = times(log)
    notes = len(list((tmp_path / "store" / "results").rglob("*.json")))
    resumed = started(tmp_path / "store", log, 14, 0.15)
    found = json.loads(resumed.communicate(timeout=120)[0])
    assert found["failed"] == []
    assert resumed.returncode == 0
    assert found["there"] == notes >= 1
    assert found["made"] == 14 - notes
    # Only what was in the workers' hands was done twice.
    assert sum((times(log) - before).values()) == 14 - notes
    assert sum(times(log).values()) <= 14 + 2 * 2
