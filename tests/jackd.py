"""A private JACK server on its dummy driver, that can be killed and started again under the same name."""

import os
import subprocess

RATE = 48000


class Server:
    """environment: what clients need to reach it."""

    def __init__(self, name: str, period: int = 256) -> None:
        base = os.environ | {"JACK_NO_AUDIO_RESERVATION": "1"}
        self.environment = base | {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1"}
        self._base, self._name = base, name
        self._driver = ["-d", "dummy", "-r", str(RATE), "-p", str(period), "-C", "2", "-P", "2"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with real-time priority where that is allowed; returns when it answers."""
        for realtime in (["--realtime", "-P70"], ["--no-realtime"]):
            self._process = subprocess.Popen(
                ["jackd", *realtime, "-n", self._name, *self._driver],
                env=self._base,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            ready = subprocess.run(
                ["jack_wait", "-w", "-t", "10"], env=self.environment, capture_output=True, timeout=20, check=False
            )
            if self._process.poll() is None and ready.returncode == 0:
                return
            self.kill()
        raise AssertionError("jackd did not start")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
