"""One flat, versioned buffer for everything that control and audio exchange: parameter targets and telemetry."""

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .params import PARAMETER_COUNT
from .telemetry import COUNTERS, HISTOGRAM_BINS, LEVELS, RECENT_BLOCKS

MAGIC = 0x646E6465
VERSION = 1
HEADER = 8
FLOATS = PARAMETER_COUNT + len(LEVELS) + RECENT_BLOCKS
INTEGERS = HEADER + len(COUNTERS) + HISTOGRAM_BINS
SIZE_BYTES = 8 * (FLOATS + INTEGERS)


class SharedState:
    """Named views of a buffer of SIZE_BYTES bytes: an array in one process, a mapped file between two.

    targets:   float64 [PARAMETER_COUNT], written by control.
    counters:  int64 [COUNTERS], histogram: int64 [HISTOGRAM_BINS], levels: float64 [LEVELS] and
    durations: float64 [RECENT_BLOCKS], written by audio.
    fresh:     nobody had used the buffer before; its targets mean nothing yet.
    """

    def __init__(self, buffer: npt.NDArray[np.uint8] | None = None) -> None:
        memory = np.zeros(SIZE_BYTES, dtype=np.uint8) if buffer is None else buffer
        if memory.dtype != np.uint8 or memory.shape != (SIZE_BYTES,):
            raise ValueError(f"shared state needs uint8 [{SIZE_BYTES}], got {memory.dtype} {memory.shape}")
        integers = memory[: 8 * INTEGERS].view(np.int64)
        floats = memory[8 * INTEGERS :].view(np.float64)
        self.header = integers[:HEADER]
        self.counters = integers[HEADER : HEADER + len(COUNTERS)]
        self.histogram = integers[HEADER + len(COUNTERS) :]
        self.targets = floats[:PARAMETER_COUNT]
        self.levels = floats[PARAMETER_COUNT : PARAMETER_COUNT + len(LEVELS)]
        self.durations = floats[PARAMETER_COUNT + len(LEVELS) :]
        self.fresh = not self.header[0]
        if self.fresh:
            self.header[:3] = (MAGIC, VERSION, SIZE_BYTES)
        if tuple(self.header[:3]) != (MAGIC, VERSION, SIZE_BYTES):
            raise DuendeError(
                f"shared state of version {self.header[1]} and {self.header[2]} bytes; "
                f"this program uses version {VERSION} and {SIZE_BYTES} bytes: restart both sides"
            )
