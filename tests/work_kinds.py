"""Kinds of work for tests: what they make is known, and they fail, die or fill a disk when they are told to."""

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np

from duende import DuendeError
from duende.export.work.kinds import KINDS, Given, Kind, Made
from duende.export.work.pool import Pool

TEST_KINDS = {
    **KINDS,
    "echo": Kind("work_kinds:echo"),
    "sums": Kind("work_kinds:sums"),
}


def echo(given: Given) -> Made:
    """Its input and parameters back; a mark in the folder `log` for every time that it is done."""
    log = Path(str(given.parameters["log"])) if "log" in given.parameters else None
    name = str(given.parameters.get("name", "x"))
    if log is not None:
        (log / f"{name}.{os.getpid()}.{time.monotonic_ns()}").touch()
    time.sleep(float(given.parameters.get("sleep", 0.0)))
    _misbehave(str(given.parameters.get("how", "")), log)
    data = b"".join(path.read_bytes() for _, path in sorted(given.inputs.items()))
    print("noise that must not reach the answers")
    (given.folder / "made").write_bytes(data + name.encode())
    return Made(
        {"out": given.folder / "made", "note": name.encode()},
        {"name": name, "inputs": {slot: path.name for slot, path in given.inputs.items()}},
        {"pid": float(os.getpid())},
    )


def _misbehave(how: str, log: Path | None) -> None:
    if how == "refuse":
        raise DuendeError("it is poisoned")
    if how == "bug":
        raise KeyError("forgotten")
    if how == "nan":
        raise ValueError("a\nb")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "die once":
        assert log is not None
        mark = log.parent / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if how == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "full once":
        # The first process that comes by is the machine whose disk is full, for ever.
        assert log is not None
        try:
            with (log.parent / "full").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            pass
        if (log.parent / "full").read_text() == str(os.getpid()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sums(given: Given) -> Made:
    """Numbers that depend on the order of additions, and so on threads and on flush-to-zero."""
    rng = np.random.default_rng(int(given.parameters["seed"]))
    wide = rng.standard_normal((400, 400)).astype(np.float32)
    small = np.float32(1e-20) * rng.standard_normal(1000).astype(np.float32)
    product = wide @ wide.T @ wide
    return Made({"out": product.tobytes() + (small * small).tobytes()})


class Machines(Pool):
    """A pool in which every process is a machine of its own: one that is retired leaves the others."""

    def retire(self, worker: str) -> None:
        self._count -= 1
        one = self._workers.pop(worker)
        one.process.kill()
        self._forget(one)
        one.log.close()
