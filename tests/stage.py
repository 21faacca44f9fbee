"""What the tests of the GUI play on: control without sound in this process, the GUI as a program, and a browser."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from duende.engine.control.client import ask
from duende.engine.control.instances import InstanceInfo
from duende.engine.control.namespace import Value
from duende.engine.control.network import Network
from duende.engine.control.session import Session
from duende.engine.control.settings import NetworkSettings, Settings
from duende.presets.format import FORMAT, Preset, SlotPreset
from models import tiny_model, tiny_weights
from sessions import tiny_session
from waiting import PATIENCE_S, wait_until

SIZES = {"phone": (390, 844), "tablet": (1024, 768), "desktop": (1440, 900)}

T = TypeVar("T")


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reachable(url: str) -> bool:
    """Whether HTTP is answered there."""
    return status_of(url) > 0


def status_of(url: str) -> int:
    """What a page is answered with; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


class Host:
    """Everything of the control process on an event loop of its own; an engine that answers at once stands behind it.

    Its presets are duo, quad (four styles), solo and wire.
    """

    def __init__(self, folder: Path, token: str = "") -> None:
        self.session: Session = tiny_session(folder)
        (folder / "quad").mkdir()
        model = tiny_model(folder / "quad", tiny_weights(styles=4))
        preset = Preset(FORMAT, "quad", [SlotPreset("style", "quad.onnx")])
        self.session.library.save("quad", preset, {"quad.onnx": model.path.read_bytes()})
        self.osc_port, self.http_port = free_port(), free_port()
        self._token = token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._network: Network | None = None
        self.call(self.session.load("duo"))
        self.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on its event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def start(self) -> None:
        """Open the ports; always the same ones."""
        network = NetworkSettings(
            name="test", osc_port=self.osc_port, http_port=self.http_port, token=self._token, zeroconf=False
        )
        self._network = self.call(Network.start(self.session, Settings(network=network), lambda text: None))

    def stop(self) -> None:
        """Close the ports, and every connection."""
        if self._network is not None:
            self.call(self._network.stop())
            self._network = None

    def end(self) -> None:
        """For good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def ask(self, address: str, *values: Value) -> list[Value]:
        """Set, do or ask over OSC."""
        info = InstanceInfo(0, "test", "127.0.0.1", self.osc_port, self.http_port)
        return ask(info, f"/duende/{address}", values, PATIENCE_S)

    def midi(self, message: Any) -> None:
        """As if it came from a MIDI port."""
        assert self._network is not None
        self._network.parts.midi.receive(message)

    def value(self, address: str) -> Value:
        """The first value of an address."""
        return self.ask(address)[0]


class Gui:
    """`duende gui` in a process; port 0 takes a free one."""

    def __init__(self, connect: str, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        command = [sys.executable, "-m", "duende", "gui", "--connect", connect, "--port", str(self.port), *options]
        # NiceGUI behaves differently where it takes itself to be under test.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_until(lambda: reachable(self.url) or self.process.poll() is not None, "the GUI answers")
        assert self.process.poll() is None, self.process.communicate()[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def end(self) -> str:
        """What it has said."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            words, _ = self.process.communicate(timeout=PATIENCE_S)
        finally:
            self.process.kill()
        return words


class Browser:
    """Debian's chromium without a window, in the size of a phone, tablet or desktop."""

    def __init__(self, folder: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        flags = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage", "--mute-audio"]
        flags += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        for flag in [*flags, f"--user-data-dir={folder}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.resize("desktop")

    def resize(self, size: str) -> None:
        """To one of SIZES; phone and tablet have touch."""
        width, height = SIZES[size]
        phone = size == "phone"
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, url: str, view: str = "play") -> None:
        """Load the page afresh and wait until it hears the host."""
        self.driver.get("about:blank")
        self.driver.get(f"{url}#{view}")
        wait_until(lambda: bool(self.up), "the page hears the host")

    @property
    def up(self) -> bool:
        return bool(self.script("return document.querySelector('.duende')?.dataset.up === 'true'"))

    def go(self, view: str) -> None:
        """To another view by the bar."""
        self.find(f"nav .to-{view}").click()
        wait_until(lambda: bool(self.all(f".duende[data-view={view}]")), view)

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector, once there is one."""
        wait_until(lambda: bool(self.all(selector)), selector)
        return self.all(selector)[0]

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def text(self, selector: str) -> str:
        """What is written in the first element of a selector; empty without one."""
        found = self.script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        return str(found)

    def dial(self, address: str) -> Any:
        """The control of an address."""
        where = f'[data-address="/duende/{address}"]'
        return self.find(f"{where} [role=slider], {where}[role=slider]")

    def turned(self, address: str) -> float:
        """Where that control stands."""
        return float(self.dial(address).get_attribute("aria-valuenow"))

    def touch(self, points: Sequence[tuple[float, float]]) -> None:
        """A finger goes down at the first point, over the others, and up at the last."""
        kinds = ["touchStart", *["touchMove"] * (len(points) - 1), "touchEnd"]
        for kind, place in zip(kinds, [*points, None], strict=True):
            touches = [] if place is None else [{"x": place[0], "y": place[1]}]
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def box(self, element: Any) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window."""
        found = self.script(
            "const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width, b.height]", element
        )
        return tuple(map(float, found))  # type: ignore[return-value]

    def keys(self, *keys: str) -> None:
        """Typed into whatever has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def complaints(self) -> list[str]:
        """What scripts have complained about since the last time."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if entry["source"] in ("javascript", "console-api", "security")]

    def quit(self) -> None:
        self.driver.quit()
