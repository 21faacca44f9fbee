"""The control process: the session with everything that can reach it, on one event loop."""

import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ... import DuendeError
from ...presets.format import write_atomically
from ...presets.library import Library
from ..messages import Lost, Message, Notice, Opened, Stop
from ..shared import CONTROL_BEAT, map_state
from ..wire import Wire, read_setup
from .instances import INFO, InstanceInfo
from .link import RemoteEngine
from .log import configure_log
from .session import Session
from .settings import ControlSetup, write_settings

if TYPE_CHECKING:
    from .network import Network

BEAT_S = 0.1
KEEP_S = 1.0
END_S = 0.4
SHOW = "show.json"

log = logging.getLogger("duende.control")


class Control:
    """Everything of the control process, started in the order in which it is needed: sound first."""

    def __init__(self, setup: ControlSetup, wire: Wire) -> None:
        self._setup, self._wire = setup, wire
        self._folder = Path(setup.folder)
        self._settings = setup.settings
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.engine = RemoteEngine(wire.send, self._told)
        shared = map_state(self._folder / "state")
        self.session = Session(shared, self.engine, Library(), self._folder / SHOW)
        self.session.noticed.append(self.notice)
        self._network: Network | None = None
        self._waiting: list[Opened | Lost | Notice] = []
        self._saved = b""

    async def run(self) -> None:
        """Until the parent says so, or is gone."""
        self._tasks.append(asyncio.create_task(self._beat()))
        await self._first_preset()
        try:
            # Its imports would hold up the first sound, and on a busy machine the signs of life.
            network = await asyncio.to_thread(importlib.import_module, ".network", __package__)
            before = _ports_before(self._folder / INFO)
            self._network = await network.Network.start(self.session, self._settings, self.notice, before)
        except DuendeError as error:
            self._wire.send(Stop(str(error)))
            await self._ended.wait()
            return
        assert self._network is not None
        for message in self._waiting:
            self._network.told(message)
        self._tell_where(self._network)
        self._tasks.append(asyncio.create_task(self._keep()))
        await self._ended.wait()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._network.stop()
        self._save()

    def hear(self, message: Message | None) -> None:
        """A message from the parent; None when it is gone."""
        if message is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._ended.set()
        elif isinstance(message, Stop):
            self._ended.set()
        else:
            self.engine.hear(message)

    def notice(self, text: str) -> None:
        """A line for the log and for whoever watches."""
        log.warning("%s", text)

    def _told(self, message: Opened | Lost | Notice) -> None:
        if self._network is None:
            self._waiting.append(message)
        else:
            self._network.told(message)

    async def _first_preset(self) -> None:
        """Play what is to be played first; nothing where a control process before this one has done so."""
        if self.session.state.preset:
            return
        try:
            await self.session.load(self._settings.preset)
            for name, value in self._setup.values.items():
                self.session.table.find(name)[1].check(value)
                self.session.set(name, value)
        except DuendeError as error:
            self._wire.send(Stop(str(error)))
            return

    async def _beat(self) -> None:
        while True:
            self.session.shared.header[CONTROL_BEAT] += 1
            await asyncio.sleep(BEAT_S)

    async def _keep(self) -> None:
        """Store the settings when they have changed."""
        while True:
            await asyncio.sleep(KEEP_S)
            self._save()

    def _save(self) -> None:
        if self._setup.settings_path is None or not self.session.state.preset:
            return
        self._settings.preset = self.session.state.preset
        if self._network is not None:
            self._settings.midi.map = self._network.midi_map()
        now = msgspec.json.encode(self._settings)
        if now == self._saved:
            return
        try:
            write_settings(Path(self._setup.settings_path), self._settings)
        except DuendeError as error:
            self.notice(str(error))
        self._saved = now

    def _tell_where(self, network: "Network") -> None:
        asked = self._settings.network
        info = InstanceInfo(
            self._setup.pid, network.name, asked.host, network.osc_port, network.http_port, bool(asked.token)
        )
        write_atomically(self._folder / INFO, msgspec.json.encode(info))
        self._wire.send(
            Notice(f"OSC on {info.host}:{info.osc_port} (UDP, TCP), OSCQuery on http://{info.host}:{info.http_port}")
        )


def _ports_before(path: Path) -> tuple[int, int] | None:
    """Ports for OSC and HTTP of the control process before this one; None where there was none."""
    try:
        info = msgspec.json.decode(path.read_bytes(), type=InstanceInfo)
    except (OSError, msgspec.DecodeError):
        return None
    return info.osc_port, info.http_port


async def _run(setup: ControlSetup) -> None:
    loop = asyncio.get_running_loop()
    control: list[Control] = []

    def deliver(message: Message | None) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(control[0].hear, message)

    wire = Wire(os.dup(0), os.dup(1), deliver)
    # What libraries print must not get between the messages.
    os.dup2(2, 1)
    control.append(Control(setup, wire))
    wire.start()
    await control[0].run()


def main() -> None:
    """Run control, with the parent on standard input and output; its setup, which holds the token, comes first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        setup = msgspec.json.decode(read_setup(0), type=ControlSetup)
    except EOFError:
        # The parent found that nothing is to be played.
        return
    configure_log(setup.log_file)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(setup))
    os._exit(0)


if __name__ == "__main__":
    main()
