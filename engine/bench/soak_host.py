"""The host that a soak plays: parent, engine, spare and control as `duende live` has them, with a phrase as its input.

Run: ``python -m duende.engine.bench.soak_host``, with `HostSetup` as one line of JSON on standard input. It keeps no
settings, and ends when its input does.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from ... import DuendeError
from ..control.settings import ControlSetup, NetworkSettings, Settings
from ..control.supervisor import Supervisor
from ..messages import EngineSetup

NAME = "soak"


class HostSetup(msgspec.Struct, frozen=True):
    """engine: how to play, as for `EngineSetup`; preset: that is played first."""

    engine: EngineSetup
    preset: str


def supervise(setup: HostSetup, done: threading.Event) -> str | None:
    """Play until `done`; why it could not go on, or None."""
    network = NetworkSettings(name=NAME, zeroconf=False)
    settings = Settings(preset=setup.preset, network=network)

    def control(folder: Path) -> bytes:
        return msgspec.json.encode(ControlSetup(str(folder), settings, None, {}, os.getpid()))

    return Supervisor(setup.engine, control).run(done)


def main() -> None:
    """Play until standard input ends."""
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=HostSetup)
    # Ctrl-C belongs to whoever measures.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: done.set())

    def watch() -> None:
        sys.stdin.buffer.read()
        done.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        failure = supervise(setup, done)
    except DuendeError as error:
        failure = str(error)
    if failure is not None:
        sys.stderr.write(f"{failure}\n")
    sys.stderr.flush()
    # The thread that reads standard input holds its lock.
    os._exit(0 if failure is None else 1)


if __name__ == "__main__":
    main()
