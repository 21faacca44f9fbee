"""Who does the work: the few things that the driver asks of workers, in this process, on this machine or elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from .hand import Answer
from .task import Task


@dataclass(frozen=True)
class Done:
    """An order's answer. contents: files by name, as bytes or as files of the store's staging folder."""

    worker: str
    answer: Answer
    contents: Mapping[str, bytes | Path]


@dataclass(frozen=True)
class Died:
    """A worker that is no more; its orders are lost. reason: for people."""

    worker: str
    reason: str


class Runner(Protocol):
    """Workers. depth: orders that one may hold; it works on the oldest. Closed when it is left."""

    depth: int

    def workers(self) -> Sequence[str]:
        """Names of those that take orders. One that died is replaced by another of another name."""

    @property
    def hopeful(self) -> bool:
        """Whether there are workers, or some to come."""

    def give(self, worker: str, task: Task) -> None:
        """Let a worker do a task. DuendeError where an input cannot be read any more."""

    def wait(self, seconds: float) -> list[Done | Died]:
        """What happened; waits for so long at most. DuendeError where no worker can be started at all."""

    def retire(self, worker: str) -> None:
        """Use no worker of that one's machine any more; what they held is lost without a `Died`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
