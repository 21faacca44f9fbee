"""Freed memory that stays with the process, for work that asks for the same sizes again and again."""

import ctypes
import os
import sys

# malloc.h of glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
KEPT = 2**30
"""Bytes that may lie free at the end of the heap before any of them go back to the system."""
LARGEST = 2**25
"""Bytes; more at once is a mapping of its own, as glibc has it on 64 bits."""
STEP = 2**26


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, up to KEPT bytes; False where nothing happens: without glibc.

    A step of training frees hundreds of megabytes, and the next one asks for them again: given back in between, each
    page of them is cleared and mapped anew, which is a tenth of the whole time. Nor does anything happen in a process
    that gives way to others (a niceness above 0): it would use caches and memory the more, and sound that is played
    beside it came late twice as often. Of the whole process: for programs, not for libraries.
    """
    if sys.platform != "linux" or os.getpriority(os.PRIO_PROCESS, 0) > 0:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = [mallopt(_TRIM_THRESHOLD, KEPT), mallopt(_MMAP_THRESHOLD, LARGEST), mallopt(_TOP_PAD, STEP)]
    return all(kept)
