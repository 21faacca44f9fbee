"""The runner without workers: one task after the other, in this process."""

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .hand import work
from .runner import Died, Done
from .task import Source, Task

NAME = "here"


class Here:
    """Works while it is waited for. report: hears what tasks tell on the way."""

    depth = 1

    def __init__(self, staging: Path, report: Callable[[Any], None] = lambda what: None) -> None:
        self._staging, self._report = staging, report
        self._orders: deque[Task] = deque()
        self._retired = False

    def workers(self) -> Sequence[str]:
        return () if self._retired else (NAME,)

    @property
    def hopeful(self) -> bool:
        return not self._retired

    def give(self, worker: str, task: Task) -> None:
        self._orders.append(task)

    def wait(self, seconds: float) -> list[Done | Died]:
        if not self._orders:
            return []
        task = self._orders.popleft()
        contents: dict[str, bytes | Path] = {}
        folder = self._staging / uuid.uuid4().hex
        folder.mkdir(parents=True)

        def keep(name: str, content: bytes | Path) -> None:
            contents[name] = content if isinstance(content, bytes) else content.replace(folder / uuid.uuid4().hex)

        inputs = {slot: (at_hand(source, self._staging), source.digest) for slot, source in task.inputs.items()}
        answer = work(task.key, task.kinds[task.kind], task.parameters, inputs, keep, self._report)
        return [Done(NAME, answer, contents)]

    def retire(self, worker: str) -> None:
        self._retired = True
        self._orders.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orders.clear()


def at_hand(source: Source, staging: Path) -> Path:
    """The file of an input; bytes are written into the staging folder once."""
    if source.path is not None:
        return source.path
    path = staging / "inputs" / source.digest / Path(source.name).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(uuid.uuid4().hex)
        beside.write_bytes(source.read())
        beside.replace(path)
    return path
