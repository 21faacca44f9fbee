"""What every worker does with an order, wherever it runs: one thread, the same state of the processor, an answer.

An order and an answer are JSON; files cross as files of one disk, or as bytes. Nothing is pickled here.
"""

import contextlib
import errno
import hashlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from threadpoolctl import threadpool_limits

from ... import DuendeError
from ...engine.denormals import flush_denormals
from .kinds import Given, Kind, Made, function_of
from .task import canonical, digest_of

INSIDE = "DUENDE_WORKER"
"""Set in workers, which start none of their own."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Variables that a worker is started with, each 1."""

FULL = (errno.ENOSPC, errno.EDQUOT)
Fault = Literal["", "task", "node"]


class Answer(TypedDict):
    """What came of an order.

    fault: "" where all went well; "task": the same everywhere; "node": this machine is at fault (disk, memory), another
    may do it. reason: one line. trace: of an error that nobody foresaw. seconds: that it took by the
    clock; processor_s: of the processor, whoever else is at work.
    """

    key: str
    fault: Fault
    reason: str
    trace: str
    data: Any
    cost: dict[str, float]
    seconds: float
    processor_s: float


def work(
    key: str,
    kind: Kind,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, tuple[Path, str]],
    keep: Callable[[str, bytes | Path], None],
    report: Callable[[Any], None] = lambda what: None,
) -> Answer:
    """Do one task. inputs: (file, its hash) by name; a file that is another one by now is refused.

    keep: given every file that was made, by name, while it still lies where it was made.
    """
    started, spent = time.perf_counter(), time.process_time()
    answer: Answer = {
        "key": key,
        "fault": "",
        "reason": "",
        "trace": "",
        "data": None,
        "cost": {},
        "seconds": 0.0,
        "processor_s": 0.0,
    }
    try:
        with tempfile.TemporaryDirectory(prefix="duende-work-") as folder, _fixed():
            for path, digest in inputs.values():
                if digest_of(path) != digest:
                    raise DuendeError(f"{path}: changed since the work began; start it again")
            files = {slot: path for slot, (path, _) in inputs.items()}
            made: Made = function_of(kind)(Given(parameters, files, Path(folder), report))
            for name, content in made.files.items():
                keep(name, content)
        answer["data"], answer["cost"] = json.loads(canonical(made.data)), dict(made.cost)
    except DuendeError as error:
        answer["fault"] = "node" if is_of_the_node(error) else "task"
        answer["reason"] = _shown(str(error), inputs)
    except (OSError, MemoryError) as error:
        answer["fault"] = "node" if is_of_the_node(error) else "task"
        said = getattr(error, "strerror", None) or str(error) or "out of memory"
        file = getattr(error, "filename", None)
        answer["reason"] = _shown(f"{file}: {said}" if file else said, inputs)
    except Exception as error:  # noqa: BLE001  # one bad file must not end the work on all the others
        answer["fault"] = "task"
        lines = str(error).strip().splitlines()
        answer["reason"] = _shown(f"{type(error).__name__}: {lines[0] if lines else ''}", inputs)
        answer["trace"] = traceback.format_exc()
    answer["seconds"], answer["processor_s"] = time.perf_counter() - started, time.process_time() - spent
    return answer


class Inputs:
    """Inputs that came as bytes, kept as files by hash for the orders to come; the oldest go beyond `most` bytes."""

    def __init__(self, folder: Path, most: int = 1 << 30) -> None:
        self._folder, self._most = folder, most
        self._held: dict[str, int] = {}

    def get(self, digest: str, name: str, fetch: Callable[[], bytes]) -> Path:
        """The file, named as it should be. DuendeError where what was fetched is not what was asked for."""
        path = self._folder / digest / Path(name).name
        if digest in self._held and path.is_file():
            self._held[digest] = self._held.pop(digest)
            return path
        data = fetch()
        if hashlib.sha256(data).hexdigest() != digest:
            raise DuendeError(f"{name}: came damaged from the cluster")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._held[digest] = len(data)
        return path

    def trim(self) -> None:
        """Forget what goes beyond the bound; between two orders."""
        while sum(self._held.values()) > self._most and len(self._held) > 1:
            digest = next(iter(self._held))
            del self._held[digest]
            for path in (self._folder / digest).iterdir():
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _fixed() -> Iterator[None]:
    """One thread and flush-to-zero, so that sums come out the same wherever and after whatever they are made."""
    flush_denormals()
    torch: Any = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    if torch is not None:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def is_of_the_node(error: BaseException) -> bool:
    """Whether an error, or what it came from, is a full disk or a lack of memory."""
    seen: BaseException | None = error
    for _ in range(8):
        if isinstance(seen, MemoryError) or (isinstance(seen, OSError) and seen.errno in FULL):
            return True
        if seen is None:
            break
        seen = seen.__cause__ or seen.__context__
    return False


def _shown(text: str, inputs: Mapping[str, tuple[Path, str]]) -> str:
    """One line, files by their names."""
    for path, _ in inputs.values():
        text = text.replace(str(path), path.name)
    return " ".join(text.split())[:2000]
