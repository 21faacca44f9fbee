"""Gives inputs to a target one after the other, and keeps what should not have happened: each fault once.

A fault is whatever is raised but DuendeError, and an input that takes more than SLOW_S of processor time. Memory is
bounded for the whole process (`bound_memory`), so that asking for too much is a fault like any other.
"""

import hashlib
import mmap
import random
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing.targets import CORPUS, Harness, Target

SLOW_S = 1.0
MEMORY_BYTES = 1 << 30
"""More than the process has when it begins."""
LARGEST = 1 << 20
HEAD = 16


@dataclass
class Find:
    """A fault: what was raised and where, and the input."""

    text: str
    data: bytes
    details: str = ""


@dataclass
class Examiner:
    """Runs a harness, and remembers. finds: by place of the fault; accepted: inputs; slowest_s: processor time."""

    harness: Harness
    last: Path | None = None
    executions: int = 0
    slowest_s: float = 0.0
    finds: dict[str, Find] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._shown: mmap.mmap | None = None
        if self.last is not None:
            self.last.write_bytes(bytes(LARGEST + HEAD))
            with self.last.open("r+b") as file:
                self._shown = mmap.mmap(file.fileno(), 0)

    def __call__(self, data: bytes) -> Find | None:
        """Run one input; the fault, if it is one that was not seen before."""
        if self._shown is not None:
            part = data[:LARGEST]
            self._shown[:HEAD] = self.executions.to_bytes(8, "little") + len(part).to_bytes(8, "little")
            self._shown[HEAD : HEAD + len(part)] = part
        self.executions += 1
        began = time.process_time()
        try:
            self.harness(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - all that comes out is a fault
            return self._found(_place(error), f"{type(error).__name__}: {error}"[:300], data, traceback.format_exc())
        seconds = time.process_time() - began
        if seconds > SLOW_S:
            # Once more: other threads of the process may have had the time.
            began = time.process_time()
            self.harness(data)
            seconds = min(seconds, time.process_time() - began)
        self.slowest_s = max(self.slowest_s, seconds)
        return self._found("slow", f"{seconds:.1f} s of processor time", data) if seconds > SLOW_S else None

    def _found(self, place: str, text: str, data: bytes, details: str = "") -> Find | None:
        if place in self.finds:
            return None
        found = self.finds[place] = Find(f"{place}: {text}", data, details)
        return found


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename]
    last = (ours or frames)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"


def kept(target: Target) -> list[bytes]:
    """The inputs in the repository, by name."""
    folder = CORPUS / target.name
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def inputs(target: Target, seed: int, more: list[bytes] | None = None) -> Iterator[bytes]:
    """First the examples and what is kept, then endless spoiled ones, the same for the same seed."""
    known = [*target.seeds(), *kept(target), *(more or [])]
    yield from known
    rng = random.Random(f"{target.name} {seed}")
    while True:
        data = rng.choice(known)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = target.mutate(data, rng)
        yield data


@contextmanager
def bounded_memory(extra: int = MEMORY_BYTES) -> Iterator[None]:
    """What this process may have, beyond what it has now, while it lasts; where the system can bound it (Linux)."""
    if sys.platform != "linux":
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def last_of(path: Path) -> tuple[int, bytes]:
    """What an examiner shows in its file `last`: how many inputs came before, and the one it is at."""
    held = path.read_bytes()
    return int.from_bytes(held[:8], "little"), held[HEAD : HEAD + int.from_bytes(held[8:HEAD], "little")]


def name_of(data: bytes) -> str:
    """A name for an input that is kept."""
    return hashlib.sha256(data).hexdigest()[:12]
