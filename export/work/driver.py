"""Drives a batch: what is there already is not made again, the rest is spread, failures are gathered, nothing is lost.

A driver that is killed leaves a store in which every finished result is whole; the same command goes on from there.
"""

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import DuendeError
from .hand import is_of_the_node
from .runner import Died, Done, Runner
from .store import Result, Store
from .task import Task

TRIES = 3
WAIT_S = 0.25
START_S = 180.0
AHEAD = 2
"""Items that are looked at beforehand, as a multiple of what the workers hold."""


@dataclass(frozen=True)
class Item:
    """Something to be made. task: None where it cannot even be asked for; reason: why.

    places: where the results' files go, by name; those that are there already count.
    """

    name: str
    task: Task | None
    reason: str = ""
    places: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """Told whenever it changes: items in all, made now, there before, failed; seconds left, None where unknown."""

    total: int
    made: int
    there: int
    failed: int
    left_s: float | None
    workers: int

    @property
    def done(self) -> int:
        return self.made + self.there + self.failed


@dataclass
class Summary:
    """How a batch went. failed: (item, reason), in the order in which they failed.

    seconds: by the clock. busy_s, processor_s: of all workers together, by the clock and of their processors.
    """

    made: int = 0
    there: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    busy_s: float = 0.0
    processor_s: float = 0.0


@dataclass
class _Job:
    task: Task
    items: list[Item]
    tries: int = 0


class _Journal:
    """What was done, a line each, at the end of a file; for people, and for the forecast of the next run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise DuendeError(f"cannot write {path}: {error.strerror or error}") from error

    def add(self, **line: Any) -> None:
        try:
            self._file.write(json.dumps({"at": round(time.time(), 3), **line}) + "\n")
            self._file.flush()
        except OSError as error:
            raise DuendeError(f"cannot write {self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        self._file.close()


def run_batch(
    items: Iterable[Item],
    runner: Runner,
    store: Store,
    total: int,
    *,
    finish: Callable[[Item, Result], None] = lambda item, result: None,
    tell: Callable[[State], None] = lambda state: None,
    say: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Make all items with a runner that is open, in a store that is held; the items are asked for one by one.

    finish: given every item with its result, in this thread; a DuendeError of it is that item's failure. say: told
    what befell workers. A task whose worker dies is tried three times in all; a machine that is full gets no more.
    DuendeError where no worker is left, and where the store itself cannot be written. Ctrl-C is passed on as it is.
    """
    journal = _Journal(store.journal)
    journal.add(state="begun", total=total)
    run = _Run(iter(items), runner, store, total, finish, tell, say, journal)
    try:
        return run.all()
    except BaseException as error:
        journal.add(state="stopped", reason=str(error) or type(error).__name__)
        raise
    finally:
        journal.close()


class _Run:
    """One batch under way."""

    def __init__(
        self,
        items: Iterator[Item],
        runner: Runner,
        store: Store,
        total: int,
        finish: Callable[[Item, Result], None],
        tell: Callable[[State], None],
        say: Callable[[str], None],
        journal: _Journal,
    ) -> None:
        self._items, self._runner, self._store, self._total = items, runner, store, total
        self._finish, self._tell, self._say, self._journal = finish, tell, say, journal
        self._summary = Summary()
        self._waiting: deque[_Job] = deque()
        self._held: dict[str, list[_Job]] = {}
        self._jobs: dict[str, _Job] = {}
        self._more = True
        self._trouble = ""
        self._began = time.perf_counter()

    def all(self) -> Summary:
        heard = time.perf_counter()
        self._told()
        while True:
            self._look_ahead()
            self._hand_out()
            if not self._more and not self._jobs:
                break
            if not self._runner.hopeful:
                raise DuendeError(f"no worker is left{self._trouble and ': ' + self._trouble}")
            events = self._runner.wait(WAIT_S if self._jobs else 0.0)
            for event in events:
                if isinstance(event, Done):
                    self._done(event)
                else:
                    self._died(event)
            if events or self._runner.workers():
                heard = time.perf_counter()
            elif time.perf_counter() - heard > START_S:
                raise DuendeError(f"no worker has come up in {START_S:.0f} s: is a processor free in the cluster?")
        self._summary.seconds = time.perf_counter() - self._began
        self._journal.add(
            state="ended", made=self._summary.made, there=self._summary.there, failed=len(self._summary.failed)
        )
        return self._summary

    def _look_ahead(self) -> None:
        """Take items until there is enough to hand out; what is there already, or cannot be made, is done with."""
        enough = AHEAD * self._runner.depth * max(1, len(self._runner.workers()))
        while self._more and len(self._waiting) < enough:
            item = next(self._items, None)
            if item is None:
                self._more = False
                return
            task = item.task
            if task is None:
                self._fail(item, item.reason)
                continue
            job = self._jobs.get(task.key)
            if job is not None:
                job.items.append(item)
                continue
            found = self._store.find(task.key, item.places)
            if found is not None:
                self._complete(item, found, last=True, new=False)
                continue
            job = _Job(task, [item])
            self._jobs[task.key] = job
            self._waiting.append(job)

    def _hand_out(self) -> None:
        """One to every worker before any gets a second: nobody waits behind a long one while others are idle."""
        for depth in range(1, self._runner.depth + 1):
            for worker in self._runner.workers():
                while self._waiting and len(self._held.setdefault(worker, [])) < depth:
                    job = self._waiting.popleft()
                    try:
                        self._runner.give(worker, job.task)
                    except DuendeError as error:
                        self._end(job, str(error))
                        continue
                    self._held[worker].append(job)

    def _done(self, event: Done) -> None:
        answer = event.answer
        job = next((one for one in self._held.get(event.worker, []) if one.task.key == answer["key"]), None)
        if job is None:
            return
        self._held[event.worker].remove(job)
        self._summary.busy_s += answer["seconds"]
        self._summary.processor_s += answer["processor_s"]
        if answer["fault"] == "node":
            self._trouble = answer["reason"]
            self._say(f"a machine gets no more work: {answer['reason']}")
            self._discard(event)
            lost = [one for held in self._retired(event.worker) for one in held]
            self._waiting.extendleft(reversed([job, *lost]))
            return
        if answer["fault"]:
            self._discard(event)
            self._end(job, answer["reason"], answer["trace"])
            return
        result = self._store.keep(answer["key"], event.contents, answer["data"], answer["cost"])
        self._discard(event)
        del self._jobs[job.task.key]
        self._journal.add(state="made", name=job.task.name, key=job.task.key, seconds=round(answer["seconds"], 3))
        for place, item in enumerate(job.items):
            self._complete(item, result, last=place == len(job.items) - 1, new=place == 0)

    def _died(self, event: Died) -> None:
        """The oldest order was worked on: it may be to blame. The others go on elsewhere."""
        held = self._held.pop(event.worker, [])
        if not held:
            return
        self._say(f"{event.reason}, at {held[0].task.name}")
        self._journal.add(state="died", name=held[0].task.name, reason=event.reason)
        self._waiting.extendleft(reversed(held[1:]))
        first = held[0]
        first.tries += 1
        if first.tries >= TRIES:
            self._end(first, f"{event.reason}; {TRIES} tries")
        else:
            self._waiting.append(first)

    def _retired(self, worker: str) -> list[list[_Job]]:
        """Use a machine no more; what its workers held."""
        self._runner.retire(worker)
        left = set(self._runner.workers())
        return [self._held.pop(one) for one in list(self._held) if one not in left]

    def _complete(self, item: Item, result: Result, *, last: bool, new: bool) -> None:
        try:
            for name, place in item.places.items():
                self._store.deliver(result, name, place, last=last)
            self._finish(item, result)
        except DuendeError as error:
            if is_of_the_node(error):  # every other item would fail alike
                raise
            self._fail(item, str(error))
            return
        if new:
            self._summary.made += 1
        else:
            self._summary.there += 1
        self._told()

    def _end(self, job: _Job, reason: str, trace: str = "") -> None:
        del self._jobs[job.task.key]
        for item in job.items:
            self._fail(item, reason, trace)

    def _fail(self, item: Item, reason: str, trace: str = "") -> None:
        self._summary.failed.append((item.name, reason))
        self._journal.add(state="failed", name=item.name, reason=reason, **({"trace": trace} if trace else {}))
        self._told()

    def _discard(self, event: Done) -> None:
        """Files that a worker left."""
        for path in event.contents.values():
            if isinstance(path, Path):
                shutil.rmtree(path.parent, ignore_errors=True)

    def _told(self) -> None:
        summary = self._summary
        workers = max(1, len(self._runner.workers()))
        left = None
        if summary.made:
            rest = self._total - summary.made - summary.there - len(summary.failed)
            left = max(0, rest) * (time.perf_counter() - self._began) / summary.made
        self._tell(State(self._total, summary.made, summary.there, len(summary.failed), left, workers))
