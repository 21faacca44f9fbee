"""What an operating system lets a thread ask for: real-time priority, and cores of its own."""

import contextlib
import os
import sys
from collections.abc import Sequence

SWITCH_INTERVAL_S = 5e-4
BESIDE = 1
"""Real-time priority of what shares the interpreter with an audio thread.

A thread that is put aside for another program while it holds the interpreter's lock lets the audio thread wait for it,
whatever that one's own priority. So it keeps this one for good: going back to none is a moment of holding it, too.
"""


def raise_priority(priority: int) -> str | None:
    """Give the calling thread real-time priority (Linux: SCHED_FIFO, 1 to 99); a notice where that is not allowed.

    A thread that has as much already, from its sound server, keeps it.
    """
    if not hasattr(os, "sched_setscheduler"):
        return None
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR) and os.sched_getparam(0).sched_priority >= priority:
        return None
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return (
            "real-time priority is not allowed: blocks may come late under load (allow it with "
            "'@audio - rtprio 95' in /etc/security/limits.d/audio.conf and the group audio)"
        )
    return None


def work_beside() -> None:
    """Give the calling thread BESIDE, and with it all threads that it begins from now on.

    Nothing happens where that is not allowed, or where the system ends a process that works for long at real-time
    priority (RLIMIT_RTTIME): to open a model takes a while.
    """
    try:
        import resource

        if resource.getrlimit(resource.RLIMIT_RTTIME)[0] != resource.RLIM_INFINITY:
            return
    except (ImportError, AttributeError):
        # Linux alone has that limit, and this priority.
        return
    raise_priority(BESIDE)


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
