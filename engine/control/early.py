"""Processes that are begun before it is known what they are to do, since their imports take longer than finding out."""

import signal
import subprocess
import sys

ENGINE, CONTROL = "duende.engine.player", "duende.engine.control.main"


class Early:
    """Processes that import what they need and wait for their setup on standard input; they end with it."""

    def __init__(self, *modules: str) -> None:
        """modules: one process is begun for each."""
        self._begun: dict[str, subprocess.Popen[bytes]] = {}
        # Ctrl-C is for the parent, also while they still import.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if modules else None
        try:
            for module in modules:
                self._begun[module] = begin(module)
        finally:
            if modules:
                signal.signal(signal.SIGINT, before)

    @classmethod
    def live(cls) -> "Early":
        """Those of a host."""
        return cls(ENGINE, CONTROL)

    def take(self, module: str) -> "subprocess.Popen[bytes]":
        """The process of a module, begun now where it was not before."""
        begun = self._begun.pop(module, None)
        return begun if begun is not None and begun.poll() is None else begin(module)

    def close(self) -> None:
        """End those that nobody has taken."""
        for process in self._begun.values():
            process.kill()
            process.communicate()
        self._begun.clear()


def begin(module: str) -> "subprocess.Popen[bytes]":
    """A process of a module, with pipes to it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
