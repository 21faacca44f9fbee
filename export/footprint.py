"""Memory: what can be had, and what a piece of work takes at its peak."""

import math
import os
import sys
import threading
from pathlib import Path
from types import TracebackType

_PERIOD_S = 0.05


def memory_free() -> float:
    """Bytes of memory that can still be had, infinite where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024.0 * float(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pages = getattr(os, "sysconf_names", {})
        return (
            float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
            if "SC_AVPHYS_PAGES" in pages
            else math.inf
        )


class PeakMemory:
    """Within it, `bytes` grows to the largest resident memory of this process; 0 where the system does not say.

    Looked at 20 times a second by a thread of its own; `grown` is what came on top of what was taken at the beginning.
    """

    def __init__(self) -> None:
        self.bytes = self._before = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    @property
    def grown(self) -> int:
        return self.bytes - self._before

    def __enter__(self) -> "PeakMemory":
        self.bytes = self._before = _resident()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self.bytes = max(self.bytes, _resident())

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD_S):
            self.bytes = max(self.bytes, _resident())


def _resident() -> int:
    """Bytes of this process in memory."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
