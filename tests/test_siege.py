"""A host with everything that belongs to it plays on while hostile packets come from all sides, and answers after."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzzing.siege import SilentHost, besiege

COUNT = 1000


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentHost]:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path))
    one = SilentHost(tmp_path)
    yield one
    one.end()


@pytest.mark.skipif(sys.platform != "linux" or os.name != "posix", reason="reads /proc")
def test_a_host_under_siege_plays_on(host: SilentHost) -> None:
    # What is made when it is first asked for is no leak.
    for warm in (3, 4):
        besiege(host, COUNT // 2, seed=warm)
    outcome = besiege(host, COUNT, seed=2)
    assert outcome.taken >= COUNT
    assert outcome.malformed > COUNT // 10
    assert outcome.failed == 0
    assert outcome.restarts == 0
    assert outcome.samples > 0
    assert outcome.grown_mib < 48
    assert host.ask("preset/load", "wire") is not None
    assert host.ask("amount", 0.25) is not None
    assert host.ask("amount") == [0.25]
