"""Everything through which a session is reached: OSC, OSCQuery, discovery, meters, tuner; one namespace for all."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from ... import DuendeError
from ..messages import Lost, Notice, Opened
from . import oscquery
from .access import parse_networks
from .commands import CURRENT, LIST, addresses_of, session_nodes
from .discovery import Discovery
from .dispatch import Dispatcher
from .meters import READS_PER_S, Meters
from .namespace import Namespace, Node
from .news import News
from .oscquery import OscQuery
from .session import Session
from .settings import Settings
from .subscriptions import Subscriptions
from .transport import OscServer
from .tuner import Tuner

OSC_PORT, HTTP_PORT, PORT_STEP, INSTANCES = 7700, 7701, 10, 10


class Network:
    """The servers and what they offer. `start` makes one; all methods belong to its event loop."""

    def __init__(self, session: Session, settings: Settings, notice: Callable[[str], None]) -> None:
        self.session, self.settings, self._notice = session, settings, notice
        self.namespace = Namespace()
        self.news = News()
        self.meters = Meters(session, settings.device.safety)
        self.tuner = Tuner(session, lambda: self.meters.rate, self.news)
        self.dispatcher = Dispatcher(self.namespace)
        self.discovery = Discovery(notice)
        self._tasks: list[asyncio.Task[Any]] = []

    @classmethod
    async def start(cls, session: Session, settings: Settings, notice: Callable[[str], None]) -> "Network":
        """Listen, and tell others; DuendeError where a port cannot be had."""
        network = cls(session, settings, notice)
        await network._listen()
        network._join()
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
            self.meters.opened(message)
            for text in message.notices:
                self._notice(text)
        elif isinstance(message, Lost):
            self.meters.lost(message.text)
            self._notice(message.text)
        else:
            self._notice(message.text)

    def midi_map(self) -> list[dict[str, Any]]:
        """What MIDI controllers are bound to, for the settings."""
        return self.settings.midi.map

    async def stop(self) -> None:
        """Close all ports, and take back the names."""
        for task in self._tasks:
            task.cancel()
        self.osc.close()
        await asyncio.gather(self.dispatcher.close(), self.query.stop(), self.discovery.stop())

    # -- inside --------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Take the ports that were asked for; else, of several instances, each the first pair that is free."""
        asked = self.settings.network
        networks = parse_networks(asked.allow)
        for instance in range(INSTANCES):
            step = instance * PORT_STEP
            osc_port = OSC_PORT + step if asked.osc_port is None else asked.osc_port
            http_port = HTTP_PORT + step if asked.http_port is None else asked.http_port
            free = asked.osc_port is None or asked.http_port is None
            try:
                self.osc = await OscServer.start(
                    self.dispatcher.receive, asked.host, osc_port, allow=networks, counters=self.dispatcher.counters
                )
            except DuendeError:
                if asked.osc_port is not None or instance == INSTANCES - 1:
                    raise
                continue
            name = asked.name if instance == 0 else f"{asked.name} {instance + 1}"
            self.query = OscQuery(
                self.namespace,
                self.dispatcher.receive,
                oscquery.Settings(
                    name=name,
                    osc_port=self.osc.port,
                    token=asked.token,
                    allow=networks,
                    hosts=frozenset(asked.hosts),
                    origins=frozenset(asked.origins),
                ),
            )
            try:
                await self.query.serve(asked.host, http_port)
            except DuendeError:
                self.osc.close()
                if not free or asked.http_port is not None or instance == INSTANCES - 1:
                    raise
                continue
            self.name = name
            return

    def _join(self) -> None:
        """Let every part know what it has to of the others."""
        loop = asyncio.get_running_loop()
        allow = parse_networks(self.settings.network.allow)
        self.subscriptions = Subscriptions(self.namespace, loop, self.osc.udp_peer, allow)
        self.subscriptions.join(self.dispatcher, self.session)
        query, subscriptions = self.query, self.subscriptions
        self.session.changed.append(lambda names: query.publish(addresses_of(self.session, names)))
        self.session.structured.append(self._restructured)
        self.dispatcher.written.append(lambda address: query.publish([address]))
        self.news.changed += [subscriptions.touch, query.publish]
        self.news.streamed += [subscriptions.stream, query.stream]
        self.namespace.replace(self._nodes())
        self._tasks.append(loop.create_task(self._meter()))
        if self.settings.network.zeroconf:
            host = self.settings.network.host
            self._tasks.append(loop.create_task(self.discovery.start(self.name, host, self.osc.port, self.query.port)))

    def _nodes(self) -> Sequence[Node]:
        parts = (self.dispatcher, self.meters, self.tuner)
        return [*session_nodes(self.session), *(node for part in parts for node in part.nodes())]

    def _restructured(self) -> None:
        self.namespace.replace(self._nodes())
        self.query.publish([CURRENT, LIST])

    async def _meter(self) -> None:
        while True:
            await asyncio.sleep(1.0 / READS_PER_S)
            with contextlib.suppress(DuendeError):
                self.news.stream(self.meters.read())
