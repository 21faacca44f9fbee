"""OSC clients that are not ours: liblo's `oscsend` sets values, `oscdump` shows what subscribers are sent."""

import asyncio
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from duende.engine.control.commands import session_nodes
from duende.engine.control.dispatch import Dispatcher
from duende.engine.control.namespace import Namespace
from duende.engine.control.osc import Message
from duende.engine.control.session import Session
from duende.engine.control.subscriptions import Subscriptions
from duende.engine.control.transport import OscServer
from sessions import tiny_session

PATIENCE_S = 20.0

pytestmark = pytest.mark.live("oscsend", "oscdump")


@dataclass
class Host:
    """A session that listens."""

    session: Session
    dispatcher: Dispatcher
    subscriptions: Subscriptions
    port: int

    async def oscsend(self, *words: str, way: str = "udp") -> None:
        """Run oscsend: address, types, values."""
        process = await asyncio.create_subprocess_exec("oscsend", f"osc.{way}://127.0.0.1:{self.port}", *words)
        assert await process.wait() == 0


@asynccontextmanager
async def hosting(folder: Path) -> AsyncIterator[Host]:
    session, namespace = tiny_session(folder), Namespace()
    await session.load("duo")
    dispatcher = Dispatcher(namespace)
    server = await OscServer.start(dispatcher.receive, port=0, counters=dispatcher.counters)
    subscriptions = Subscriptions(namespace, asyncio.get_running_loop(), server.udp_peer)
    subscriptions.join(dispatcher, session)
    namespace.replace([*session_nodes(session), *dispatcher.nodes()])
    try:
        yield Host(session, dispatcher, subscriptions, server.port)
    finally:
        server.close()
        await dispatcher.close()


@asynccontextmanager
async def oscdump(port: int) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec("oscdump", "-L", str(port), stdout=PIPE, stderr=DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def shown(process: Process, *wanted: str) -> list[str]:
    """Lines of oscdump, without their dates, up to the one that begins with the wanted address and types."""
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            line = (await process.stdout.readline()).decode().split()[1:]
            lines.append(" ".join(line))
            if line[: len(wanted)] == list(wanted):
                return lines


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        return int(other.getsockname()[1])


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_oscsend_sets_values_of_every_type(tmp_path: Path, way: str) -> None:
    async def talk() -> None:
        async with hosting(tmp_path) as host:
            for types, value, held in (("f", ["0.25"], 0.25), ("i", ["1"], 1.0), ("d", ["0.5"], 0.5), ("F", [], 0.0)):
                await host.oscsend("/duende/slot/1/mix", types, *value, way=way)
                await until(lambda held=held: host.session.get("slot/1/mix") == held)  # type: ignore[misc]
            await host.oscsend("/duende/slot/*/bypass", "T", way=way)
            await until(lambda: host.session.get("slot/1/bypass") == 1.0)
            await host.oscsend("/duende/preset/load", "s", "solo", way=way)
            await until(lambda: host.session.state.preset == "solo")
            await host.oscsend("/duende/preset/next", way=way)
            await until(lambda: host.session.state.preset == "wire")
            await host.oscsend("/duende/mix", "s", "loud", way=way)
            await until(lambda: host.dispatcher.counters["refused"] == 1)
            assert host.dispatcher.counters["malformed"] == 0

    asyncio.run(talk())


def test_oscdump_is_sent_values_changes_and_meters(tmp_path: Path) -> None:
    async def talk() -> None:
        port = free_port()
        async with hosting(tmp_path) as host, oscdump(port) as process:

            async def renew() -> None:
                """It does not say when it listens; so until then the first values go nowhere."""
                while True:
                    await host.oscsend("/duende/subscribe", "i", str(port))
                    await asyncio.sleep(0.2)

            renewing = asyncio.create_task(renew())
            lines = await shown(process, "/duende/preset/current", "s", '"duo"')
            renewing.cancel()
            assert any(line.startswith("/duende/slot/1/amount f 0.75") for line in lines)
            await host.oscsend("/duende/output/gain", "i", "99")
            await shown(process, "/duende/output/gain", "f", "20.000000")
            await host.oscsend("/duende/bypass", "f", "1")
            await shown(process, "/duende/bypass", "i", "1")
            host.subscriptions.stream([Message("/duende/meter", [-6.0, -12.5]), Message("/duende/status/late", [3])])
            lines = await shown(process, "/duende/status/late", "i", "3")
            assert lines[-2] == "/duende/meter ff -6.000000 -12.500000"
            await host.oscsend("/duende/unsubscribe", "i", str(port))
            await until(lambda: len(host.subscriptions) == 0)

    asyncio.run(talk())
