"""Workers on this machine: a process each, fed through pipes with JSON, replaced when one dies."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ... import DuendeError
from .frames import Frames, write_frame
from .hand import INSIDE, THREADS
from .here import at_hand
from .kinds import KINDS, Kind
from .runner import Died, Done
from .task import Task

FALSE_STARTS = 3
"""Workers in a row that may die before they can take an order."""

_PIECE = 1 << 16
_END_S = 2.0


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    ready: bool = False
    frames: Frames = field(default_factory=Frames)


class Pool:
    """So many processes. staging: folder for files of the store that takes the results (`Store.staging`)."""

    depth = 2

    def __init__(self, workers: int, staging: Path, kinds: Mapping[str, Kind] = KINDS) -> None:
        if not 1 <= workers <= 1024:
            raise DuendeError(f"--workers {workers} is out of range: 1 to 1024")
        self._count, self._staging, self._kinds = workers, staging, kinds
        self._selector = selectors.DefaultSelector()
        self._workers: dict[str, _Worker] = {}
        self._started = self._false_starts = 0
        self._retired = False

    def workers(self) -> Sequence[str]:
        return [name for name, one in self._workers.items() if one.ready]

    @property
    def hopeful(self) -> bool:
        return bool(self._workers)

    def pid(self, worker: str) -> int:
        """The process of a worker."""
        return self._workers[worker].process.pid

    def give(self, worker: str, task: Task) -> None:
        inputs = {slot: (str(at_hand(one, self._staging)), one.digest) for slot, one in task.inputs.items()}
        order = {"key": task.key, "kind": task.kind, "parameters": task.parameters, "inputs": inputs}
        pipe = self._workers[worker].process.stdin
        assert pipe is not None
        # Where it is dead already, its end of the answers' pipe says so.
        with contextlib.suppress(OSError):
            write_frame(pipe, order)  # type: ignore[arg-type]

    def wait(self, seconds: float) -> list[Done | Died]:
        found: list[Done | Died] = []
        for key, _ in self._selector.select(seconds):
            name: str = key.data
            worker = self._workers[name]
            try:
                data = os.read(key.fd, _PIECE)
                messages = worker.frames.add(data)
            except (OSError, ValueError):
                data, messages = b"", []
            for message in messages:
                if "ready" in message:
                    worker.ready, self._false_starts = True, 0
                else:
                    contents = {one: Path(path) for one, path in message["files"].items()}
                    found.append(Done(name, message["answer"], contents))
            if not data:
                found.append(Died(name, self._bury(name)))
                self._start()
        return found

    def retire(self, worker: str) -> None:
        self._retired = True
        self._end()

    def __enter__(self) -> Self:
        self._staging.mkdir(parents=True, exist_ok=True)
        try:
            for _ in range(self._count):
                self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._selector.close()

    def _start(self) -> None:
        if self._retired or len(self._workers) >= self._count:
            return
        self._started += 1
        log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the worker lives
        environment = os.environ | dict.fromkeys((*THREADS, INSIDE), "1")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the driver
        )
        name = f"worker {self._started}"
        self._workers[name] = _Worker(process, log)
        assert process.stdout is not None
        assert process.stdin is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, name)
        hello: dict[str, Any] = {"staging": str(self._staging.resolve()), "kinds": dict(self._kinds)}
        with contextlib.suppress(OSError):
            write_frame(process.stdin, hello)  # type: ignore[arg-type]

    def _bury(self, name: str) -> str:
        """Why it died."""
        worker = self._workers.pop(name)
        self._forget(worker)
        code = worker.process.returncode
        said = _last_line(worker.log)
        worker.log.close()
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                raise DuendeError(f"workers cannot be started: {said or f'exit status {code}'}")
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += " (is there memory enough?)"
        else:
            how = f"ended with status {code}" + (f": {said}" if said else "")
        return f"the worker {how}"

    def _forget(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        assert worker.process.stdin is not None
        self._selector.unregister(worker.process.stdout)
        worker.process.stdout.close()
        with contextlib.suppress(OSError):
            worker.process.stdin.close()
        try:
            worker.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()

    def _end(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            self._forget(worker)
            worker.log.close()
        self._workers.clear()


def _last_line(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 4096))
    lines = log.read().decode(errors="replace").strip().splitlines()
    return " ".join(lines[-1].split())[:300] if lines else ""
