"""What a host has to bear in a soak: orders without end, listeners, a page that is open, other presets, a forge."""

import contextlib
import importlib.util
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from ... import DuendeError
from ...presets.library import HOME_VARIABLE
from ..control.client import ask
from ..control.instances import InstanceInfo
from ..control.osc import encode

STEP_S = 0.01
LEASE_S = 600.0
RENEW_S = 60.0
METER = b"/duende/meter"
SILENT_S = 5.0
"""A listener or page that hears nothing for so long has been forgotten."""
PAGE_START_S = 30.0
FORGE_MINUTES = 3.0
FORGE_NICE = 19
END_S = 5.0
RANGES = {"mix": (0.2, 1.0), "amount": (0.2, 1.0), "output/gain": (-12.0, 0.0), "slot/1/mix": (0.0, 1.0)}
"""Parameters that are set all the time, and between what."""


class Burden:
    """One thread that works until it is told to stop; what goes wrong is counted and kept in words."""

    name = ""

    def __init__(self) -> None:
        self.done = 0
        self.failures: list[str] = []
        self.failed = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it, within a moment."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(END_S)

    def fail(self, text: str) -> None:
        """Note that something went wrong; only the first of many are kept in words."""
        if self._ended.is_set():
            return
        self.failed += 1
        if len(self.failures) < 5:
            self.failures.append(text)

    def _run(self) -> None:
        try:
            self.work()
        except Exception as error:  # noqa: BLE001  a soak goes on, and tells in the end
            self.fail(f"{type(error).__name__}: {error}")

    def work(self) -> None:
        """Until `_ended`."""
        raise NotImplementedError


class Flood(Burden):
    """Sets parameters by UDP, so many messages a second."""

    name = "messages sent"

    def __init__(self, info: InstanceInfo, per_s: int) -> None:
        super().__init__()
        self._to, self._per_s = (info.address, info.osc_port), per_s
        steps = np.linspace(0.0, 1.0, 16)
        self._packets = [
            encode(f"/duende/{name}", [float(low + (high - low) * step)], "f")
            for step in steps
            for name, (low, high) in RANGES.items()
        ]

    def work(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            begun = time.monotonic()
            while not self._ended.wait(STEP_S):
                due = int((time.monotonic() - begun) * self._per_s)
                while self.done < due:
                    with contextlib.suppress(OSError):
                        sock.sendto(self._packets[self.done % len(self._packets)], self._to)
                    self.done += 1


class Listeners(Burden):
    """Subscribes so many times, and counts the meters that come. heard: by listener."""

    name = "bundles of meters heard"

    def __init__(self, info: InstanceInfo, count: int) -> None:
        super().__init__()
        self._to, self._count = (info.address, info.osc_port), count
        self.heard = [0] * count

    def work(self) -> None:
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(self._count)]
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            for number, sock in enumerate(socks):
                stack.enter_context(sock)
                sock.bind(("127.0.0.1" if self._to[0].startswith("127.") else "", 0))
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ, number)
            last = [time.monotonic()] * self._count
            renew = 0.0
            while not self._ended.is_set():
                now = time.monotonic()
                if now >= renew:
                    renew = now + RENEW_S
                    for sock in socks:
                        sock.sendto(encode("/duende/subscribe", [0, "", LEASE_S], "isf"), self._to)
                for key, _ in selector.select(0.2):
                    with contextlib.suppress(OSError):
                        if METER in key.fileobj.recv(65536):  # type: ignore[union-attr]
                            self.heard[key.data] += 1
                            self.done += 1
                            last[key.data] = now
                for number, before in enumerate(last):
                    if now - before > SILENT_S:
                        self.fail(f"listener {number + 1} heard nothing for {SILENT_S:g} s")
                        last[number] = now
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.sendto(encode("/duende/unsubscribe", [0], "i"), self._to)


class Presets(Burden):
    """Loads another preset every so many seconds. slowest_s: the longest time from an order to its answer."""

    name = "presets loaded"

    def __init__(self, info: InstanceInfo, presets: Sequence[str], every_s: float) -> None:
        super().__init__()
        self._info, self._presets, self._every_s = info, presets, every_s
        self.slowest_s = 0.0

    def work(self) -> None:
        turn, due = 0, time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._every_s, time.monotonic())
            turn += 1
            begun = time.monotonic()
            try:
                ask(self._info, "/duende/preset/load", [self._presets[turn % len(self._presets)]])
            except DuendeError as error:
                self.fail(str(error))
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            self.done += 1


class OpenPage(Burden):
    """`duende gui` in a process of its own, and a client that has its page open: page by HTTP, values by WebSocket."""

    name = "pictures that the page got"
    role = "gui"

    def __init__(self, info: InstanceInfo) -> None:
        super().__init__()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind(("127.0.0.1", 0))
            self._port = int(sock.getsockname()[1])
        command = [sys.executable, "-P", "-m", "duende", "gui", "--connect", f"{info.address}:{info.http_port}"]
        # NiceGUI behaves differently where it takes itself to be under test.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        self.process = subprocess.Popen(
            # Its input's end ends it.
            [*command, "--port", str(self._port), "--beside", str(info.pid)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=os.name == "posix",
        )

    @staticmethod
    def possible() -> bool:
        """Whether the extra `gui` is installed."""
        return importlib.util.find_spec("nicegui") is not None

    def work(self) -> None:
        from websockets.sync.client import connect

        place = f"127.0.0.1:{self._port}"
        until = time.monotonic() + PAGE_START_S
        while not self._ended.is_set():
            try:
                with urllib.request.urlopen(f"http://{place}/", timeout=10) as answer:
                    answer.read()
                break
            except (OSError, urllib.error.URLError):
                if time.monotonic() > until:
                    self.fail(f"the GUI did not answer within {PAGE_START_S:g} s")
                    return
                self._ended.wait(0.1)
        while not self._ended.is_set():
            try:
                with connect(f"ws://{place}/live", max_size=2**24) as page:
                    while not self._ended.is_set():
                        page.recv(timeout=SILENT_S)
                        self.done += 1
            except TimeoutError:
                self.fail(f"the page heard nothing for {SILENT_S:g} s")
            except Exception as error:  # noqa: BLE001  the page is opened again, as a browser would
                self.fail(f"the page was closed: {error}")
                self._ended.wait(1.0)

    def stop(self) -> None:
        super().stop()
        process = self.process
        process.terminate()
        try:
            process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class Forge(Burden):
    """Forges a style over and over at the lowest priority, into a library of its own that is removed."""

    name = "styles begun in the forge"

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def possible() -> bool:
        """Whether the extra `train` is installed."""
        return importlib.util.find_spec("torch") is not None

    def work(self) -> None:
        with tempfile.TemporaryDirectory(prefix="duende-soak-") as folder:
            clip = Path(folder) / "clip.wav"
            rng = np.random.default_rng(5)
            time_s = np.arange(10 * 48000) / 48000.0
            tones = sum(np.sin(2.0 * np.pi * 196.0 * k * time_s) / k for k in range(1, 12))
            sound = 0.1 * tones * (1.0 + np.sin(2.0 * np.pi * 0.7 * time_s)) + 1e-3 * rng.standard_normal(len(time_s))
            soundfile.write(clip, sound, 48000)
            words = ["forge", str(clip), "--name", "soak", "--minutes", str(FORGE_MINUTES), "--force"]
            environment = os.environ | {HOME_VARIABLE: folder}
            while not self._ended.is_set():
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "duende", *words],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=os.name == "posix",
                )
                self.done += 1
                # Its threads inherit it.
                with contextlib.suppress(OSError, AttributeError):
                    os.setpriority(os.PRIO_PROCESS, self._process.pid, FORGE_NICE)
                _, said = self._process.communicate()
                if self._process.returncode != 0 and not self._ended.is_set():
                    self.fail(f"the forge ended: {said.decode(errors='replace').strip()[-200:]}")
                    self._ended.wait(10.0)

    def stop(self) -> None:
        self._ended.set()
        if self._process is not None and self._process.poll() is None:
            # Nothing of it is kept.
            self._process.kill()
        super().stop()


@contextlib.contextmanager
def raging(burdens: Sequence[Burden]) -> Iterator[None]:
    """All of them at once, until the end of the block."""
    try:
        for burden in burdens:
            burden.start()
        yield
    finally:
        for burden in burdens:
            burden.stop()
