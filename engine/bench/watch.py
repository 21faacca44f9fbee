"""What processes hold: memory, threads, open files and mappings, read from /proc."""

import sys
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
ROLES = {"duende.engine.player": "engine", "duende.engine.control.main": "control"}


@dataclass(frozen=True)
class Holding:
    """Of one process: memory in use in MB (10^6 bytes), threads, open files, mappings of memory."""

    memory_mb: float
    threads: int
    files: int
    mappings: int


def watchable() -> bool:
    """Whether this system tells."""
    return sys.platform == "linux" and (PROC / "self" / "status").exists()


def holding(pid: int) -> Holding | None:
    """What a process holds now; None where it is gone."""
    place = PROC / str(pid)
    try:
        fields = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
        if "VmRSS" not in fields:
            return None
        with (place / "maps").open("rb") as maps:
            mappings = sum(1 for _ in maps)
        files = sum(1 for _ in (place / "fd").iterdir())
    except OSError:
        return None
    return Holding(1024e-6 * int(fields["VmRSS"].split()[0]), int(fields["Threads"]), files, mappings)


def children(parent: int) -> dict[int, str]:
    """Modules that the children of a process run, by process number; only those started by `python -m`."""
    found = {}
    for path in PROC.glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            words = (path.parent / "cmdline").read_text().split("\0")
        except (OSError, IndexError, ValueError):
            continue
        if "-m" in words[:-1]:
            found[int(path.parent.name)] = words[words.index("-m") + 1]
    return found


def host_processes(parent: int) -> dict[str, int]:
    """Process numbers of a host by what they are: parent, engine, spare, control.

    The engine that plays has more threads than the spare one.
    """
    found = {"parent": parent}
    players = []
    for pid, module in children(parent).items():
        role = ROLES.get(module)
        if role == "engine":
            players.append(pid)
        elif role is not None:
            found[role] = pid
    players.sort(key=lambda pid: -(threads(pid)))
    found.update(zip(("engine", "spare"), players, strict=False))
    return found


def threads(pid: int) -> int:
    """How many threads a process has now; 0 where it is gone."""
    try:
        return sum(1 for _ in (PROC / str(pid) / "task").iterdir())
    except OSError:
        return 0
