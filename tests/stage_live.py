"""`duende live --gui` on JACK's dummy driver with a guitar plugged in, whose output is heard."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duende.engine.control.client import ask
from duende.engine.control.instances import InstanceInfo
from duende.engine.control.namespace import Value
from jackd import RATE, Server
from stage import free_port
from waiting import PATIENCE_S, wait_until

Float32 = npt.NDArray[np.float32]


class Guitar:
    """A JACK client that plays a sound over and over into the host, in place of the driver's, and hears its output.

    heard: RMS of each of the last blocks that came out.
    """

    BLOCKS = 64

    def __init__(self, server: Server, sound: Float32) -> None:
        import jack

        os.environ.update({name: server.environment[name] for name in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER")})
        self.client = jack.Client("guitar", no_start_server=True)
        self._out = self.client.outports.register("out")
        self._in = self.client.inports.register("in")
        self._sound, self._at = np.concatenate([sound, sound[:8192]]), 0
        self._length = len(sound)
        self.heard = np.zeros(self.BLOCKS)
        self.blocks = 0
        self.client.set_process_callback(self._process)
        self.client.activate()

    def _process(self, frames: int) -> None:
        self._out.get_array()[:] = self._sound[self._at : self._at + frames]
        self._at = (self._at + frames) % self._length
        block = self._in.get_array()
        self.heard[self.blocks % self.BLOCKS] = float(np.sqrt(np.mean(np.square(block))))
        self.blocks += 1

    def plug_in(self) -> None:
        """Before and behind the host."""
        for place, capture in enumerate(self.client.get_ports("system:capture_.*")):
            for port in self.client.get_all_connections(capture):
                self.client.disconnect(capture, port)
                if place == 0:
                    self.client.connect(self._out, port)
        playback = self.client.get_ports("system:playback_.*")[0]
        for port in self.client.get_all_connections(playback):
            self.client.connect(port, self._in)

    def level_db(self) -> float:
        """Of what has come out during the next BLOCKS blocks, in dBFS."""
        until = self.blocks + self.BLOCKS + 2
        wait_until(lambda: self.blocks >= until, "blocks")
        return float(20.0 * np.log10(max(1e-9, np.sqrt(np.mean(np.square(self.heard))))))

    def end(self) -> None:
        self.client.deactivate()
        self.client.close()


class Rig:
    """Server, guitar, host and GUI; all end with `end`."""

    def __init__(
        self, home: Path, sound: Float32, preset: str, *options: str, period: int = 256, gui: bool = True
    ) -> None:
        self._server = Server(f"duende-gui-{os.getpid()}", period)
        self._server.start()
        self.osc_port, self.http_port, self.gui_port = free_port(), free_port(), free_port()
        command = [
            sys.executable,
            "-m",
            "duende",
            "live",
            "--input",
            "system",
            "--block",
            str(period),
            "--name",
            "stage",
        ]
        command += ["--preset", preset, "--osc-port", str(self.osc_port), "--http-port", str(self.http_port)]
        command += [*(["--gui", "--gui-port", str(self.gui_port)] if gui else []), *options]
        keep = {name: value for name, value in self._server.environment.items() if not name.startswith("PYTEST")}
        self.process = subprocess.Popen(
            command,
            env=keep | {"DUENDE_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.guitar: Guitar | None = None
        try:
            wait_until(self._plays, "the host plays", 2 * PATIENCE_S)
            self.guitar = Guitar(self._server, sound)
            self.guitar.plug_in()
        except BaseException:
            self.end()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gui_port}/"

    def _plays(self) -> bool:
        assert self.process.poll() is None, "the host has ended"
        try:
            device = self.ask("status/device")
        except Exception:  # noqa: BLE001 - it is not up yet
            time.sleep(0.2)
            return False
        return "system" in str(device[0]) and not device[3]

    def ask(self, address: str, *values: Value) -> list[Value]:
        """Set, do or ask over OSC."""
        info = InstanceInfo(0, "stage", "127.0.0.1", self.osc_port, self.http_port)
        return ask(info, f"/duende/{address}", values, PATIENCE_S)

    def processes(self) -> dict[str, int]:
        """Process numbers by what they are: engine (with the spare one behind it), control and gui."""
        found: dict[str, int] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
                words = (path.parent / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if int(fields[1]) != self.process.pid:
                continue
            names = {"duende.engine.player": "engine", "duende.engine.control.main": "control", "duende": "gui"}
            name = names.get(words[words.index("-m") + 1] if "-m" in words else "")
            if name == "engine" and name in found:
                # The one that plays has used more time.
                pids = (found[name], int(path.parent.name))
                found["spare"], found[name] = sorted(pids, key=cpu_s)
            elif name is not None:
                found[name] = int(path.parent.name)
        return found

    def end(self) -> None:
        if self.guitar is not None:
            self.guitar.end()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self._server.stop()


def cpu_s(pid: int) -> float:
    """Processor time that a process, with the children it has waited for, has used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks: Any = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / float(ticks)


def tone(hertz: float, seconds: float, level: float) -> Float32:
    """A sine of whole periods, float32."""
    count = round(seconds * hertz) * round(RATE / hertz)
    return np.asarray(level * np.sin(2.0 * np.pi * hertz * np.arange(count) / RATE), dtype=np.float32)
