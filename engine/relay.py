"""The relay: work on audio blocks done by a thread of its own, a fixed number of blocks behind the device."""

import contextlib
import os
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .cover import Cover
from .denormals import flush_denormals
from .history import History
from .realtime import raise_priority

Float32 = npt.NDArray[np.float32]

COVER_BLOCKS = 4
PRIORITY = 60


class Relay:
    """Hands blocks to a worker and returns its results `blocks` later; what is not ready then is the aligned dry sound.

    work: (block [frames, inputs], out [frames, outputs]), run by the worker, every block in order; outputs are as many
    as inputs, or more of one. block: frames, fixed.
    latency: samples by which work delays, so that dry and worked sound are aligned. A result that comes late is
    dropped; a worker that falls too far behind skips what it cannot catch up with. Jumps between the two are covered
    by their difference, fading out.

    `exchange` belongs to the audio thread: no lock, no waiting.
    """

    def __init__(
        self,
        work: Callable[[Float32, Float32], None],
        block: int | None,
        blocks: int,
        latency: int,
        inputs: int = 1,
        outputs: int = 1,
    ) -> None:
        if block is None:
            raise DuendeError("--safety needs device blocks of a fixed size: give --block")
        if not 1 <= blocks <= 16:
            raise DuendeError(f"--safety {blocks}: choose 1 to 16 blocks")
        self._work, self._block, self._blocks = work, block, blocks
        self.delay_samples = block * blocks
        size = 2 * blocks + 2
        self._in = np.zeros((size, block, inputs), dtype=np.float32)
        self._out = np.zeros((size, block, outputs), dtype=np.float32)
        # The number of the block that each place holds the result of.
        self._holds = np.full(size, -1, dtype=np.int64)
        self._plain = History(inputs, latency + self.delay_samples, block)
        self._cover = Cover(COVER_BLOCKS * block, block, outputs)
        self._last = np.zeros((1, outputs), dtype=np.float32)
        self._on_time = True
        self._fed = 0
        self.skipped = 0
        self._running = False
        self._thread: threading.Thread | None = None
        self._bell_out, self._bell_in = os.pipe()
        os.set_blocking(self._bell_in, False)

    def start(self) -> None:
        """Start the worker."""
        self._running = True
        self._thread = threading.Thread(target=self._labour, name="relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the worker and wait for it."""
        self._running = False
        self._ring()
        if self._thread is not None:
            self._thread.join(2.0)
        os.close(self._bell_in)
        os.close(self._bell_out)

    def exchange(self, block: Float32, out: Float32) -> bool:
        """Audio thread: take a block [frames, inputs], give the result that is due; False where it was not ready."""
        size, number = len(self._holds), self._fed
        np.copyto(self._in[number % size], block)
        self._plain.push(block.T)
        self._fed = number + 1
        self._ring()
        due = number - self._blocks
        ready = due >= 0 and self._holds[due % size] == due
        if ready:
            np.copyto(out, self._out[due % size])
        else:
            out.T[:] = self._plain.last(len(block))
            if due < 0:
                ready = True
        if ready != self._on_time:
            self._on_time = ready
            self._cover.begin(self._last, out[:1])
        self._cover.process(out)
        self._last[:] = out[-1:]
        return bool(ready)

    def _ring(self) -> None:
        # A full pipe means that the worker is awake anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell_in, b"\0")

    def _labour(self) -> None:
        """Worker: every block in order; where it is hopelessly behind, from the newest one on."""
        flush_denormals()
        raise_priority(PRIORITY)
        size, number = len(self._holds), 0
        block, result = np.zeros_like(self._in[0]), np.zeros_like(self._out[0])
        while self._running:
            if number >= self._fed:
                os.read(self._bell_out, 1024)
                continue
            if self._fed - number > self._blocks + 1:
                self.skipped += self._fed - 1 - number
                number = self._fed - 1
            np.copyto(block, self._in[number % size])
            try:
                self._work(block, result)
            except Exception:  # noqa: BLE001  the dry sound stands in; the host counts the block as late
                number += 1
                continue
            np.copyto(self._out[number % size], result)
            self._holds[number % size] = number
            number += 1
