"""Workers on a Ray cluster: an actor each, with one processor; machines need no disk in common.

Orders, answers and files cross as JSON and bytes. Ray itself pickles the name of the actor's class and these bytes, so
whoever can reach a cluster's ports can run code in it: docs/scale.md says how to keep strangers out. Needs the extra
`cluster`; nothing else of this package imports Ray.
"""

import contextlib
import importlib
import json
import os
import platform
import socket
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ... import DuendeError, __version__
from .hand import INSIDE, THREADS, Answer, Inputs, work
from .kinds import KINDS, Kind
from .runner import Died, Done
from .task import Source, Task

FALSE_STARTS = 3
REACH_S = 5.0
HELD_BYTES = 1 << 30
"""Inputs that are kept in the cluster's object store beside those under way."""

CURRENT = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` writes the address of this machine's cluster."""

JOIN = "RAY_gcs_server_port_wait_time_s"
"""How often Ray knocks at a port that answers, but not as a cluster does, half a minute each time."""

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's own switch: 0 makes a cluster of this machine alone, all ports on 127.0.0.1."""


class Hand:
    """The actor: `hand.work` behind Ray, with a folder for inputs that came."""

    def __init__(self, kinds: list[tuple[str, str, int]]) -> None:
        # For what is loaded later; what is loaded already is held to one thread by `hand.work`.
        os.environ.update(dict.fromkeys((*THREADS, INSIDE), "1"))
        self._kinds = {name: Kind(place, version) for name, place, version in kinds}
        self._inputs: Inputs | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def hello(self) -> str:
        """Who is there, as JSON."""
        ray = _ray()
        told = {"duende": __version__, "python": platform.python_version(), "host": socket.gethostname()}
        return json.dumps({**told, "node": ray.get_runtime_context().get_node_id(), "pid": os.getpid()})

    def do(self, order: str, *parts: Any) -> list[bytes]:
        """An answer as JSON, then its files in the order in which it names them. parts: in lists, where inputs lie."""
        asked = json.loads(order)
        contents: dict[str, bytes] = {}

        def keep(name: str, content: bytes | Path) -> None:
            contents[name] = content if isinstance(content, bytes) else content.read_bytes()

        try:
            inputs = self._fetched(asked["inputs"], parts)
            kind = self._kinds[asked["kind"]]
            answer = work(asked["key"], kind, asked["parameters"], inputs, keep)
        except (OSError, DuendeError) as error:
            answer = _refused(asked["key"], f"{socket.gethostname()}: {error}")
        return [json.dumps({"answer": answer, "files": list(contents)}).encode(), *contents.values()]

    def _fetched(self, wanted: dict[str, list[str]], parts: Sequence[Any]) -> dict[str, tuple[Path, str]]:
        if self._inputs is None:
            self._folder = tempfile.TemporaryDirectory(prefix="duende-inputs-")
            self._inputs = Inputs(Path(self._folder.name))
        self._inputs.trim()
        found = {}
        for (slot, (digest, name)), [reference] in zip(wanted.items(), parts, strict=True):

            def fetch(reference: Any = reference) -> bytes:
                return bytes(_ray().get(reference))

            found[slot] = (self._inputs.get(digest, name, fetch), digest)
        return found


@dataclass
class _Worker:
    actor: Any
    hello: Any
    node: str = ""
    said: dict[str, Any] = field(default_factory=dict)
    orders: dict[Any, str] = field(default_factory=dict)


class Cluster:
    """Workers of a cluster: HOST:PORT, or "auto": the one that this machine belongs to, else one of this machine alone.

    workers: how many; None: one for every processor that the cluster has.
    """

    depth = 2

    def __init__(self, address: str, workers: int | None = None, kinds: Mapping[str, Kind] = KINDS) -> None:
        if workers is not None and not 1 <= workers <= 100_000:
            raise DuendeError(f"--workers {workers} is out of range: 1 to 100000")
        self._address, self._count, self._kinds = address, workers, kinds
        self._workers: dict[str, _Worker] = {}
        self._sent: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bad: set[str] = set()
        self._started = self._false_starts = 0
        self._ray: Any = None
        self._actor: Any = None

    def workers(self) -> Sequence[str]:
        return [name for name, one in self._workers.items() if one.node]

    @property
    def hopeful(self) -> bool:
        return bool(self._workers)

    def said(self, worker: str) -> dict[str, Any]:
        """What a worker told of itself: duende, python, host, node, pid."""
        return self._workers[worker].said

    def give(self, worker: str, task: Task) -> None:
        inputs = {slot: (one.digest, one.name) for slot, one in task.inputs.items()}
        order = {"key": task.key, "kind": task.kind, "parameters": task.parameters, "inputs": inputs}
        # In lists, so that the worker fetches only what it does not have yet.
        parts = [[self._reference(one)] for one in task.inputs.values()]
        one = self._workers[worker]
        one.orders[one.actor.do.remote(json.dumps(order), *parts)] = task.key

    def wait(self, seconds: float) -> list[Done | Died]:
        pending = {one.hello: name for name, one in self._workers.items() if not one.node}
        pending |= {reference: name for name, one in self._workers.items() for reference in one.orders}
        if not pending:
            time.sleep(min(seconds, 0.05))
            return []
        ready, _ = self._ray.wait(list(pending), num_returns=1, timeout=seconds)
        if ready:
            # Whatever else is ready by now comes with it.
            ready, _ = self._ray.wait(list(pending), num_returns=len(pending), timeout=0)
        found: list[Done | Died] = []
        for reference in ready:
            name = pending[reference]
            if name in self._workers:
                found += self._heard(name, reference)
        return found

    def retire(self, worker: str) -> None:
        node = self._workers[worker].node
        self._bad.add(node)
        for name in [name for name, one in self._workers.items() if one.node == node]:
            self._kill(name)
        if self._good_nodes():
            self._start()

    def __enter__(self) -> Self:
        self._ray = connected(self._address, self._count)
        try:
            table = [(name, kind.place, kind.version) for name, kind in self._kinds.items()]
            remote = self._ray.remote(num_cpus=1, max_restarts=0)(Hand)
            self._actor = lambda **options: remote.options(**options).remote(table)
            processors = int(self._ray.cluster_resources().get("CPU", 1))
            for _ in range(self._count or max(1, processors)):
                self._start()
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._workers):
            self._kill(name)
        self._sent.clear()
        self._ray.shutdown()

    def _heard(self, name: str, reference: Any) -> list[Done | Died]:
        worker = self._workers[name]
        try:
            got = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return self._lost(name, error)
        if reference == worker.hello:
            self._welcome(name, json.loads(got))
            return []
        key = worker.orders.pop(reference)
        told = json.loads(got[0])
        answer: Answer = told["answer"]
        assert answer["key"] == key
        return [Done(name, answer, dict(zip(told["files"], got[1:], strict=True)))]

    def _welcome(self, name: str, said: dict[str, Any]) -> None:
        worker = self._workers[name]
        if said["duende"] != __version__:
            raise DuendeError(
                f"{said['host']} has duende {said['duende']}, this machine {__version__}: install the same version"
            )
        self._false_starts = 0
        worker.said = said
        if said["node"] in self._bad:
            self._kill(name)
            if self._good_nodes():
                self._start()
        else:
            worker.node = said["node"]

    def _lost(self, name: str, error: Exception) -> list[Done | Died]:
        begun = bool(self._workers[name].node)
        host = self._workers[name].said.get("host", "the cluster")
        reason = f"a worker on {host} died ({_short(error)})"
        self._kill(name)
        if not begun:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                raise DuendeError(f"workers cannot be started: {_short(error)}")
        self._start()
        return [Died(name, reason)]

    def _start(self) -> None:
        options: dict[str, Any] = {"scheduling_strategy": "SPREAD"}
        if self._bad:
            # Away from the machines that are full: to the others in turn.
            good = self._good_nodes()
            affinity = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
            options["scheduling_strategy"] = affinity(good[self._started % len(good)], soft=False)
        self._started += 1
        actor = self._actor(**options)
        self._workers[f"worker {self._started}"] = _Worker(actor, actor.hello.remote())

    def _kill(self, name: str) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(self._workers[name].actor)
        del self._workers[name]

    def _good_nodes(self) -> list[str]:
        return sorted(
            node["NodeID"]
            for node in self._ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU") and node["NodeID"] not in self._bad
        )

    def _reference(self, source: Source) -> Any:
        """The bytes of an input in the object store: sent once, as long as it is used again and again."""
        if source.digest in self._sent:
            self._sent.move_to_end(source.digest)
            return self._sent[source.digest][0]
        reference = self._ray.put(source.read())
        self._sent[source.digest] = (reference, source.size)
        while len(self._sent) > 1 and sum(size for _, size in self._sent.values()) > HELD_BYTES:
            self._sent.popitem(last=False)
        return reference


def connected(address: str, workers: int | None) -> Any:
    """Ray, joined to a cluster. DuendeError, one line, where it is not installed or nobody answers there."""
    if "://" in address:
        raise DuendeError(
            f"--cluster {address}: run this on a machine of the cluster, with --cluster auto or its HOST:PORT"
        )
    target = _found(address)
    if target is None:
        os.environ.setdefault(LOOPBACK, "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    else:
        _check_reached(target)
        os.environ.setdefault(JOIN, "1")
        if _is_loopback_alone(target):
            os.environ.setdefault(LOOPBACK, "0")
    ray = _ray()
    quiet = {"logging_level": "ERROR", "log_to_driver": False, "namespace": "duende"}
    try:
        if target is None:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address=target, **quiet)
    except Exception as error:  # Ray raises plain ones, too
        where = "a cluster on this machine cannot be started" if target is None else f"cluster {target}: cannot join"
        raise DuendeError(f"{where}: {_short(error)}") from error
    return ray


def _found(address: str) -> str | None:
    """HOST:PORT of the cluster that is meant; None: there is none, and one of this machine will do."""
    if address != "auto":
        return address
    named = os.environ.get("RAY_ADDRESS", "")
    if named:
        return None if named == "local" else named
    try:
        current = CURRENT.read_text().strip()
        _check_reached(current)
    except (OSError, DuendeError):
        return None
    return current


def _check_reached(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise DuendeError(f"--cluster {address!r}: write HOST:PORT, as 10.0.0.2:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except OSError as error:
        said = error.strerror or str(error) or type(error).__name__
        raise DuendeError(
            f"cluster {address} cannot be reached ({said}): does `ray start --head` run there, is the port open?"
        ) from error


def _is_loopback_alone(address: str) -> bool:
    """Whether a cluster listens on 127.0.0.1 and not on this machine's address, which Ray would take in its place."""
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # says which address would be used; nothing is sent
            own = asked.getsockname()[0]
        except OSError:
            return True
    with socket.socket() as tried:
        tried.settimeout(REACH_S)
        return tried.connect_ex((own, int(port))) != 0


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise DuendeError(
            "--cluster needs Ray: pip install 'duende[cluster]'; without it, --workers N uses this machine's processors"
        ) from error


def _refused(key: str, reason: str) -> Answer:
    return {
        "key": key,
        "fault": "node",
        "reason": reason,
        "trace": "",
        "data": None,
        "cost": {},
        "seconds": 0.0,
        "processor_s": 0.0,
    }


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
