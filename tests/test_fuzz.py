"""A short run of the fuzzers (scripts/fuzz.py has the long one), and that they would notice."""

import itertools
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duende import DuendeError
from fuzzing.run import Examiner, bounded_memory, inputs, last_of
from fuzzing.targets import CORPUS, TARGETS

SHORT = Path(__file__).parent / "fuzzing" / "short.py"
COUNT, SEED = 200, 1


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Any]:
    """By target, from one process: what breaks it breaks no other test, and its memory can be bounded."""
    done = subprocess.run([sys.executable, SHORT, str(COUNT), str(SEED)], capture_output=True, text=True, check=False)
    found = {one["target"]: one for one in map(json.loads, done.stdout.splitlines())}
    return found | {"end": f"the process ended with {done.returncode}\n{done.stderr[-4000:]}"}


@pytest.mark.parametrize("name", TARGETS)
def test_what_comes_in_is_refused_or_works(outcomes: dict[str, Any], name: str) -> None:
    assert name in outcomes, outcomes["end"]
    one = outcomes[name]
    assert one["finds"] == [], "\n".join(one["finds"])
    assert one["given"] >= one["known"] + COUNT // 4


def test_every_kept_input_belongs_to_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= set(TARGETS)
    assert all(path.stat().st_size <= 1 << 16 for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_the_same_seed_spoils_alike(name: str) -> None:
    target = TARGETS[name]
    count = len(target.seeds()) + 12
    first, second = (list(itertools.islice(inputs(target, 5), count)) for _ in range(2))
    assert first == second
    assert len(set(first[-12:])) > 4
    assert target.mutate(b"", random.Random(1)) is not None


def test_the_examples_are_good_ones(tmp_path: Path) -> None:
    """Fuzzing that begins with refused inputs would stay at the door."""
    refused = {}
    for name in ("preset", "pack", "set_list", "settings", "model", "waveform", "capture", "response"):
        target = TARGETS[name]
        (tmp_path / name).mkdir()
        with target.open(tmp_path / name) as harness:
            refused[name] = [refusal for data in target.seeds() if (refusal := _refusal(harness, data))]
    # A preset is read as TOML and as JSON, of which one fails.
    assert {name: texts for name, texts in refused.items() if texts and name != "preset"} == {}


def _refusal(harness: Any, data: bytes) -> str:
    """The first DuendeError that the harness meets, handled or not."""
    met: list[str] = []
    before = DuendeError.__init__

    def note(self: DuendeError, *arguments: object) -> None:
        met.append(str(arguments))
        before(self, *arguments)

    DuendeError.__init__ = note  # type: ignore[assignment,method-assign]
    try:
        harness(data)
    finally:
        DuendeError.__init__ = before  # type: ignore[method-assign]
    return met[0] if met else ""


# -- they would notice -------------------------------------------------------------------------------------------------


def test_a_fault_is_found_once_for_each_place() -> None:
    def harness(data: bytes) -> None:
        if data.startswith(b"a"):
            raise KeyError("a")
        if data.startswith(b"b"):
            raise RecursionError("b")

    examine = Examiner(harness)
    assert [examine(data) is not None for data in (b"x", b"a1", b"a2", b"b")] == [False, True, False, True]
    assert [find.data for find in examine.finds.values()] == [b"a1", b"b"]
    assert all("test_fuzz.py" in find.text for find in examine.finds.values())


def test_an_input_that_takes_its_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=2)
    monkeypatch.setattr(time, "process_time", lambda: float(next(clock)))
    found = Examiner(lambda data: None)(b"x")
    assert found is not None
    assert "2.0 s of processor time" in found.text


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only")
def test_an_input_that_asks_for_memory_is_found() -> None:
    asked = []

    def harness(data: bytes) -> None:
        asked.append(np.empty(1 << 31, dtype=np.uint8))

    with bounded_memory():
        found = Examiner(harness)(b"x")
    assert found is not None
    assert "MemoryError" in found.text


def test_the_input_at_hand_is_left_on_the_disk(tmp_path: Path) -> None:
    seen = []
    examine = Examiner(lambda data: seen.append(last_of(tmp_path / "last")), tmp_path / "last")
    for data in (b"first", b"", b"third"):
        examine(data)
    assert seen == [(0, b"first"), (1, b""), (2, b"third")]
