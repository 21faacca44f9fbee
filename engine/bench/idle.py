"""A callback that does nothing, on a clock in a process of its own: what comes late there is the machine's fault.

Run: ``python -m duende.engine.bench.idle BLOCK RATE PRIORITY``. Every line on standard input is answered with three
numbers, counted since the beginning: callbacks, those that took longer than a block, and those that ended when the next
was due, or later. Its input's end ends it.
"""

import gc
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from ... import DuendeError
from ..device import ClockDevice, Float32
from ..realtime import raise_priority, yield_quickly


@dataclass(frozen=True)
class Counts:
    """Callbacks so far; late: that took longer than their period; missed: that ended when the next was due."""

    callbacks: int = 0
    late: int = 0
    missed: int = 0

    def since(self, before: "Counts") -> "Counts":
        """What has come since."""
        return Counts(self.callbacks - before.callbacks, self.late - before.late, self.missed - before.missed)


class Idle:
    """The callback: copies its input, as a wire would, and counts."""

    def __init__(self, block: int, rate: float, priority: int) -> None:
        self.callbacks = self.late = self.missed = 0
        self._period, self._priority = block / rate, priority
        self._ready = priority == 0

    def callback(self, block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        """Audio thread."""
        begun = time.perf_counter()
        if not self._ready:
            raise_priority(self._priority)
            self._ready = True
        out[:] = block
        self.callbacks += 1
        self.missed += output_xrun
        self.late += time.perf_counter() - begun > self._period


class IdleProcess:
    """The process, from the outside."""

    def __init__(self, block: int, rate: float, priority: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "duende.engine.bench.idle", str(block), str(rate), str(priority)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C belongs to whoever measures.
            start_new_session=os.name == "posix",
        )
        self.counts()

    def counts(self) -> Counts:
        """What was counted so far; DuendeError where the process is gone."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            return Counts(*map(int, process.stdout.readline().split()))
        except (OSError, ValueError, TypeError) as error:
            raise DuendeError("the callback to compare with has ended") from error

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Count, and answer."""
    block, rate, priority = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    yield_quickly()
    idle = Idle(block, rate, priority)
    device = ClockDevice(rate, block)
    gc.freeze()
    gc.disable()
    device.start(idle.callback)
    for _ in sys.stdin:
        sys.stdout.write(f"{idle.callbacks} {idle.late} {idle.missed}\n")
        sys.stdout.flush()
    device.stop()


if __name__ == "__main__":
    main()
