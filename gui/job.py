"""A forging in a process of its own, at the lowest priority: what it tells line by line, and how it is ended."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import DuendeError

NICENESS = 19
LINE_BYTES = 2**20
KEPT_BYTES = 2**14
GRACE_S = 3.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
DUENDE = (sys.executable, "-P", "-m", "duende")


class Job:
    """One run of a program that tells how it goes as lines of JSON.

    single: on one thread, since sound is made on the same machine.
    """

    def __init__(self, home: Path, *, single: bool) -> None:
        self._home, self._single = home, single
        self._process: asyncio.subprocess.Process | None = None
        self._ended = False

    async def run(self, command: Sequence[str], hear: Callable[[Mapping[str, Any]], object]) -> None:
        """Until it ends, hear its lines; DuendeError with the last line that it said of its failure.

        CancelledError, if it is ended by `end`.
        """
        environment = os.environ | {"DUENDE_HOME": str(self._home), "PYTHONUNBUFFERED": "1"}
        if self._single:
            environment |= dict.fromkeys(THREADS, "1")
        if self._ended:
            raise asyncio.CancelledError
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._home,
                env=environment,
                limit=LINE_BYTES,
                creationflags=getattr(subprocess, "IDLE_PRIORITY_CLASS", 0),
            )
        except OSError as error:
            raise DuendeError(f"cannot start the forge: {error.strerror or error}") from error
        with contextlib.suppress(OSError, AttributeError):
            # Threads that it makes later are as patient as it is.
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        try:
            said, _ = await asyncio.gather(self._complaints(process), self._lines(process, hear))
            code = await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._ended:
            raise asyncio.CancelledError
        if code:
            raise DuendeError(said or f"the forge ended with status {code}")

    def finish(self) -> None:
        """Let it keep what it has learned so far, and come to an end."""
        self._signal(signal.SIGINT)

    async def end(self) -> None:
        """Stop it; nothing is kept."""
        self._ended = True
        self._signal(signal.SIGTERM)
        process = self._process
        if process is not None and process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), GRACE_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, ValueError):
                self._process.send_signal(number)

    async def _lines(self, process: asyncio.subprocess.Process, hear: Callable[[Mapping[str, Any]], object]) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                raise DuendeError(f"the forge said a line of more than {LINE_BYTES >> 20} MiB") from None
            if not line:
                return
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                hear(found)

    async def _complaints(self, process: asyncio.subprocess.Process) -> str:
        """The last line on standard error that says something."""
        assert process.stderr is not None
        said = b""
        while chunk := await process.stderr.read(KEPT_BYTES):
            said = (said + chunk)[-KEPT_BYTES:]
        lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("duende: ")[:400] if lines else ""
