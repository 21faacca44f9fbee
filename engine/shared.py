"""One flat, versioned buffer for everything that control and audio exchange; an array, or a file that both map."""

import errno
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .params import MAX_SLOTS, PARAMETER_COUNT
from .telemetry import COUNTERS, HISTOGRAM_BINS, LEVELS, RECENT_BLOCKS

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MAGIC = 0x646E6465
VERSION = 6
PAGES = 3
RING_FRAMES = 2**18
HEADER = 8
CONTROL_BEAT, WRITTEN, DRY_CHANNELS, WET_CHANNELS = range(3, 7)
MOST_CHANNELS = 2
INTEGERS = HEADER + len(COUNTERS) + HISTOGRAM_BINS
FLOATS = PAGES * PARAMETER_COUNT + len(LEVELS) + RECENT_BLOCKS + 2 * MAX_SLOTS
SIZE_BYTES = 8 * (FLOATS + INTEGERS) + 2 * 4 * RING_FRAMES * MOST_CHANNELS


class SharedState:
    """Named views of a buffer of SIZE_BYTES bytes: an array in one process, a mapped file between several.

    pages:     float64 [PAGES, PARAMETER_COUNT], parameter targets, written by control. A chain reads one page; while
               one chain fades into the next, each has its own.
    counters:  int64 [COUNTERS], histogram: int64 [HISTOGRAM_BINS], levels: float64 [LEVELS] and
    durations: float64 [RECENT_BLOCKS], written by audio.
    slot_times: float64 [MAX_SLOTS, 2], mean and peak share of the time there is, written by audio.
    dry, wet:  float32 [RING_FRAMES, MOST_CHANNELS], the last seconds of input and output, written by audio; one channel
               is in both columns. `recent` reads them.
    fresh:     nobody had used the buffer before; its targets mean nothing yet.
    """

    def __init__(self, buffer: npt.NDArray[np.uint8] | None = None) -> None:
        memory = np.zeros(SIZE_BYTES, dtype=np.uint8) if buffer is None else buffer
        if memory.dtype != np.uint8 or memory.shape != (SIZE_BYTES,):
            raise ValueError(f"shared state needs uint8 [{SIZE_BYTES}], got {memory.dtype} {memory.shape}")
        integers, floats, rings = np.split(memory, [8 * INTEGERS, 8 * (INTEGERS + FLOATS)])
        self.header, self.counters, self.histogram = np.split(integers.view(np.int64), [HEADER, HEADER + len(COUNTERS)])
        ends = np.cumsum([PAGES * PARAMETER_COUNT, len(LEVELS), RECENT_BLOCKS])
        pages, self.levels, self.durations, times = np.split(floats.view(np.float64), ends)
        self.slot_times: Float64 = times.reshape(MAX_SLOTS, 2)
        self.pages: Float64 = pages.reshape(PAGES, PARAMETER_COUNT)
        self.dry, self.wet = np.split(rings.view(np.float32).reshape(-1, MOST_CHANNELS), 2)
        self.fresh = not self.header[0]
        if self.fresh:
            self.header[:3] = (MAGIC, VERSION, SIZE_BYTES)
        if tuple(self.header[:3]) != (MAGIC, VERSION, SIZE_BYTES):
            raise DuendeError(
                f"shared state of version {self.header[1]} and {self.header[2]} bytes; "
                f"this program uses version {VERSION} and {SIZE_BYTES} bytes: restart both sides"
            )

    @property
    def written(self) -> int:
        """Frames that have been written to `dry` and `wet` since the beginning."""
        return int(self.header[WRITTEN])

    def channels(self) -> tuple[int, int]:
        """How many channels input and output have."""
        return max(1, int(self.header[DRY_CHANNELS])), max(1, int(self.header[WET_CHANNELS]))

    def keep(self, dry: Float32, wet: Float32) -> None:
        """Audio thread: append a block [frames, channels] of input and output; at most RING_FRAMES."""
        count, at = len(dry), int(self.header[WRITTEN]) % RING_FRAMES
        first = min(count, RING_FRAMES - at)
        for ring, block in ((self.dry, dry), (self.wet, wet)):
            np.copyto(ring[at : at + first], block[:first])
            if first < count:
                np.copyto(ring[: count - first], block[first:])
        self.header[WRITTEN] += count

    def copy_dry(self, start: int, out: Float32) -> None:
        """Copy input from a frame number on into out [frames, channels], without allocating; it must be there."""
        at, count = start % RING_FRAMES, len(out)
        first, dry = min(count, RING_FRAMES - at), self.dry[:, : out.shape[1]]
        np.copyto(out[:first], dry[at : at + first])
        if first < count:
            np.copyto(out[first:], dry[: count - first])

    def recent(self, start: int, stop: int) -> tuple[Float32, Float32]:
        """Copies of input and output [stop - start, channels] by frame number; ValueError for what is not there."""
        if not (0 <= start <= stop <= self.written and self.written - start <= RING_FRAMES):
            raise ValueError(f"frames {start} to {stop}: {self.written - RING_FRAMES} to {self.written} are there")
        places = np.arange(start, stop) % RING_FRAMES
        dry, wet = (ring[places, :count] for ring, count in zip((self.dry, self.wet), self.channels(), strict=True))
        if self.written - start > RING_FRAMES:
            raise ValueError(f"frames from {start} on were written over while they were read")
        return dry, wet


def map_state(path: Path, *, create: bool = False) -> SharedState:
    """The state in a file that other processes map, too; create makes it, empty. DuendeError where it cannot be."""
    try:
        if create:
            with path.open("xb") as file:
                file.truncate(SIZE_BYTES)
                if hasattr(os, "posix_fallocate"):
                    # Without the space, whoever writes to a page of it later would be killed (SIGBUS).
                    os.posix_fallocate(file.fileno(), 0, SIZE_BYTES)
        memory = np.memmap(path, dtype=np.uint8, mode="r+", shape=(SIZE_BYTES,))
    except (OSError, ValueError) as error:
        if create and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DuendeError(
                f"no space for the shared state, {SIZE_BYTES / 1e6:.1f} MB in {path.parent}: make room there, or let "
                "XDG_RUNTIME_DIR name another folder"
            ) from error
        raise DuendeError(f"cannot map the shared state {path}: {error}") from error
    return SharedState(np.asarray(memory))
