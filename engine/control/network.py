"""The ways to a session: OSC, OSCQuery, MIDI and discovery, all on one tree of addresses."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from ... import DuendeError
from ..messages import Lost, Notice, Opened
from . import oscquery
from .access import parse_networks
from .commands import CURRENT, LIST, SET_LIST, STORED, addresses_of
from .discovery import Discovery
from .files import Files
from .meters import READS_PER_S
from .midi_map import MidiMap
from .midi_ports import MidiPorts, Mido
from .oscquery import OscQuery
from .parts import Parts
from .session import Session
from .settings import Settings
from .subscriptions import Subscriptions
from .transport import OscServer

OSC_PORT, HTTP_PORT, PORT_STEP, INSTANCES = 7700, 7701, 10, 10


class Network:
    """The servers and what they offer. `start` makes one; all methods belong to its event loop."""

    def __init__(self, session: Session, settings: Settings, notice: Callable[[str], None]) -> None:
        self.session, self.settings, self._notice = session, settings, notice
        loop = asyncio.get_running_loop()
        bindings = MidiMap.from_list(settings.midi.map)
        self.parts = Parts.build(session, loop.call_soon_threadsafe, settings.device.safety, bindings)
        self.discovery = Discovery(notice)
        self._tasks: list[asyncio.Task[Any]] = []

    @classmethod
    async def start(
        cls,
        session: Session,
        settings: Settings,
        notice: Callable[[str], None],
        before: tuple[int, int] | None = None,
    ) -> "Network":
        """Listen, and tell others; DuendeError where a port cannot be had.

        before: ports for OSC and HTTP that this host had before its control was started again.
        """
        network = cls(session, settings, notice)
        await network._listen(before)
        network._join()
        network._tasks.append(asyncio.create_task(network.parts.recorder.recover()))
        return network

    @property
    def osc_port(self) -> int:
        return self.osc.port

    @property
    def http_port(self) -> int:
        return self.query.port

    def told(self, message: Opened | Lost | Notice) -> None:
        """News of the engine."""
        if isinstance(message, Opened):
            self.parts.meters.opened(message)
        elif isinstance(message, Lost):
            self.parts.meters.lost(message.text)
            self._notice(message.text)
        else:
            self._notice(message.text)

    def midi_map(self) -> list[dict[str, Any]]:
        """What MIDI controllers are bound to, for the settings."""
        return self.parts.midi.map.to_list()

    async def stop(self) -> None:
        """Close all ports, and take back the names."""
        await self.parts.recorder.end()
        for task in self._tasks:
            task.cancel()
        self.osc.close()
        await asyncio.gather(self.parts.dispatcher.close(), self.query.stop(), self.discovery.stop())

    # -- inside --------------------------------------------------------------------------------------------------

    async def _listen(self, before: tuple[int, int] | None) -> None:
        """Take the ports that were asked for; else, of several instances, each the first pair that is free.

        before: as for `start`; tried first.
        """
        asked = self.settings.network
        networks, dispatcher = parse_networks(asked.allow), self.parts.dispatcher
        order = list(range(INSTANCES))
        if before is not None:
            # Clients know it by these ports.
            osc, http = before
            steps = {osc - OSC_PORT, http - HTTP_PORT}
            order.sort(key=lambda instance: instance * PORT_STEP not in steps)
        for instance in order:
            step = instance * PORT_STEP
            osc_port = OSC_PORT + step if asked.osc_port is None else asked.osc_port
            http_port = HTTP_PORT + step if asked.http_port is None else asked.http_port
            free = asked.osc_port is None or asked.http_port is None
            try:
                self.osc = await OscServer.start(
                    dispatcher.receive,
                    asked.host,
                    osc_port,
                    allow=networks,
                    counters=self.parts.dispatcher.counters,
                )
            except DuendeError:
                if asked.osc_port is not None or instance == order[-1]:
                    raise
                continue
            name = asked.name if instance == 0 else f"{asked.name} {instance + 1}"
            self.query = OscQuery(
                self.parts.namespace,
                dispatcher.receive,
                oscquery.Settings(
                    name=name,
                    osc_port=self.osc.port,
                    token=asked.token,
                    allow=networks,
                    hosts=frozenset(asked.hosts),
                    origins=frozenset(asked.origins),
                ),
                Files(self.parts.shelf, self.parts.played),
            )
            try:
                await self.query.serve(asked.host, http_port)
            except DuendeError:
                self.osc.close()
                if not free or asked.http_port is not None or instance == order[-1]:
                    raise
                continue
            self.name = name
            return

    def _join(self) -> None:
        """Let every part know what it has to of the others."""
        loop = asyncio.get_running_loop()
        allow = parse_networks(self.settings.network.allow)
        parts, query = self.parts, self.query
        subscriptions = Subscriptions(parts.namespace, loop, self.osc.udp_peer, allow)
        subscriptions.join(parts.dispatcher, self.session)
        self.session.changed.append(lambda names: query.publish(addresses_of(self.session, names)))
        self.session.structured += [parts.renew, lambda: query.publish([CURRENT, LIST, SET_LIST, STORED])]
        parts.dispatcher.written.append(lambda address: query.publish([address]))
        parts.news.changed += [subscriptions.touch, query.publish]
        parts.news.streamed += [subscriptions.stream, query.stream]
        parts.spectrum.looked = query.listens
        parts.renew()
        self._tasks.append(loop.create_task(self._meter()))
        self._join_midi()
        if self.settings.network.zeroconf:
            host = self.settings.network.host
            self._tasks.append(loop.create_task(self.discovery.start(self.name, host, self.osc.port, self.query.port)))

    def _join_midi(self) -> None:
        """Listen to MIDI where its packages are installed; it is an extra."""
        midi = self.parts.midi
        try:
            backend = Mido()
        except DuendeError:
            return
        ports = MidiPorts(backend, midi.receive, self.parts.news, self.settings.midi.ports)
        midi.ports = lambda: ports.names
        self._tasks.append(asyncio.get_running_loop().create_task(ports.run()))

    async def _meter(self) -> None:
        for turn in itertools.count():
            await asyncio.sleep(1.0 / READS_PER_S)
            with contextlib.suppress(DuendeError):
                self.parts.news.stream(self.parts.meters.read())
                self._look()
            self.parts.played.keep()
            if turn % READS_PER_S == 0:
                self.parts.shelf.watch()

    def _look(self) -> None:
        """The spectrum, for those who asked for it."""
        spectrum = self.parts.spectrum
        if messages := spectrum.read():
            (self.parts.news.stream if spectrum.on else self.query.stream)(messages)
