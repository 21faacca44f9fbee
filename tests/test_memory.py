"""Freed memory stays with a process that asks for it again."""

import os
import platform
import subprocess
import sys

import pytest

from duende.export.memory import keep_freed_memory

CODE = """
import os, resource, sys
import numpy as np
from duende.export.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
if sys.argv[1] == "beside others":
    os.nice(1)
    assert not keep_freed_memory()
def work():
    parts = [np.ones(2**20, dtype=np.uint8) for _ in range(32)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or os.getpriority(os.PRIO_PROCESS, 0) > 0, reason="nothing is kept here"
)
def test_what_is_freed_is_not_mapped_anew_but_for_who_gives_way() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    kept = faults("kept")
    assert 8 * kept < faults("given back")
    assert 8 * kept < faults("beside others")


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
