"""A meter for what repeated calls ask for: memory within a call, memory kept, arrays kept, and garbage."""

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class Memory:
    """What calls asked for: the most at a time within one call, what was left in the end, and of that, arrays."""

    transient_bytes: int
    kept_bytes: int
    kept_array_bytes: int
    garbage: int


def measure(call: Callable[[], object], calls: int) -> Memory:
    """Run call so many times under tracemalloc, the collector off, and count its garbage afterwards."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        # Objects that Python keeps for reuse are made, and seen, in the first calls.
        for _ in range(min(100, calls)):
            call()
        start = tracemalloc.get_traced_memory()[0]
        transient = 0
        for _ in range(calls):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            call()
            transient = max(transient, tracemalloc.get_traced_memory()[1] - before)
        kept = tracemalloc.get_traced_memory()[0] - start
        arrays = (tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain),)
        traces = tracemalloc.take_snapshot().filter_traces(arrays).traces
        kept_arrays = sum(trace.size for trace in traces)
        tracemalloc.stop()
        garbage = gc.collect()
        if garbage:
            # Another test may have left it: what the calls leave comes again.
            for _ in range(calls):
                call()
            garbage = garbage if gc.collect() else 0
    finally:
        tracemalloc.stop()
        gc.enable()
    return Memory(transient, kept, kept_arrays, garbage)
