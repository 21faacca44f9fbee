"""A worker process of this machine: orders on standard input, answers on standard output (`pool` starts it)."""

import os
import queue
import signal
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from .frames import read_frame, write_frame
from .hand import work
from .kinds import Kind


def main() -> None:
    """Work until the pipe is closed; the program that holds its other end is gone then, and nobody waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints must not fall between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    hello = read_frame(sys.stdin.buffer)
    staging, kinds = Path(hello["staging"]), {name: Kind(*kind) for name, kind in hello["kinds"].items()}
    threading.Thread(target=_listen, args=(sys.stdin.buffer, orders), name="orders", daemon=True).start()
    write_frame(answers, {"ready": os.getpid()})
    while True:
        _do(orders.get(), staging, kinds, answers)


def _listen(file: BinaryIO, orders: "queue.SimpleQueue[Any]") -> None:
    try:
        while True:
            orders.put(read_frame(file))
    except (EOFError, OSError, ValueError):
        os._exit(0)


def _do(order: Any, staging: Path, kinds: dict[str, Kind], answers: BinaryIO) -> None:
    folder = staging / uuid.uuid4().hex
    files: dict[str, str] = {}

    def keep(name: str, content: bytes | Path) -> None:
        folder.mkdir(exist_ok=True)
        path = folder / uuid.uuid4().hex
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            _move(content, path)
        files[name] = str(path)

    inputs = {slot: (Path(path), digest) for slot, (path, digest) in order["inputs"].items()}
    answer = work(order["key"], kinds[order["kind"]], order["parameters"], inputs, keep)
    write_frame(answers, {"answer": answer, "files": files})


def _move(source: Path, target: Path) -> None:
    """Also to another file system."""
    try:
        source.replace(target)
    except OSError:
        target.write_bytes(source.read_bytes())


if __name__ == "__main__":
    main()
