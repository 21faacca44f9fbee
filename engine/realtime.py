"""What an operating system lets a thread ask for: real-time priority, and cores of its own."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

SWITCH_INTERVAL_S = 5e-4


def raise_priority(priority: int) -> str | None:
    """Give the calling thread real-time priority (Linux: SCHED_FIFO, 1 to 99); a notice where that is not allowed.

    A thread that has real-time priority already, from its sound server, keeps it.
    """
    if not hasattr(os, "sched_setscheduler"):
        return None
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        return None
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return (
            "real-time priority is not allowed: blocks may come late under load (allow it with "
            "'@audio - rtprio 95' in /etc/security/limits.d/audio.conf and the group audio)"
        )
    return None


@contextlib.contextmanager
def before_others(priority: int = 1) -> Iterator[None]:
    """Let the calling thread, which shares the interpreter with the audio thread, wait for no other program in here.

    Where it is put aside while it holds the interpreter's lock, the audio thread waits for it, whatever its own
    priority. Nothing happens where that is not allowed, or for a thread that has real-time priority already.
    """
    if not hasattr(os, "sched_setscheduler") or os.sched_getscheduler(0) != os.SCHED_OTHER or raise_priority(priority):
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def lower_priority(niceness: int) -> None:
    """Let the process give way to others; nothing happens where that cannot be asked for."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(niceness)


def pin(cores: Sequence[int]) -> str | None:
    """Keep the process on these cores; a notice where that cannot be done."""
    if not hasattr(os, "sched_setaffinity"):
        return f"cores {', '.join(map(str, cores))}: this system does not pin processes"
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, ValueError) as error:
        have = sorted(os.sched_getaffinity(0))
        return f"cores {', '.join(map(str, cores))} cannot be had ({error}); there are {', '.join(map(str, have))}"
    return None


def yield_quickly() -> None:
    """Let threads of this process wait for each other no longer than half a millisecond."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
