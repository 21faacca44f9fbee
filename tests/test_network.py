"""All of control on its ports: who looks at the spectrum is sent it, and what comes onto the disk is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect

from duende.engine.control.network import Network
from duende.engine.control.osc import decode, encode
from duende.engine.control.session import Session
from duende.engine.control.settings import NetworkSettings, Settings
from sessions import tiny_library, tiny_session
from signals import tone

PATIENCE_S = 30.0
SPECTRUM = {"/duende/spectrum/input", "/duende/spectrum/output"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path / "home"))


@contextlib.asynccontextmanager
async def joined(session: Session) -> AsyncIterator[ClientConnection]:
    """A WebSocket to a host of this session."""
    settings = Settings(network=NetworkSettings(osc_port=0, http_port=0, zeroconf=False))
    network = await Network.start(session, settings, lambda text: None)
    try:
        async with asyncio.timeout(PATIENCE_S), connect(f"ws://127.0.0.1:{network.http_port}", proxy=None) as socket:
            yield socket
    finally:
        await network.stop()


async def listen(socket: ClientConnection, *addresses: str, command: str = "LISTEN") -> None:
    for address in addresses:
        await socket.send(json.dumps({"COMMAND": command, "DATA": address}))


Heard = dict[str, list[object]]


def loudest(heard: Heard, address: str) -> float:
    return max((float(str(value)) for value in heard.get(address, [])), default=-200.0)


async def heard_until(socket: ClientConnection, enough: Callable[[Heard], bool]) -> Heard:
    """The last values of all addresses that were heard of, once they are enough."""
    heard: Heard = {}
    while not enough(heard):
        frame = await socket.recv()
        if isinstance(frame, bytes):
            heard |= {address: list(values) for address, values in decode(frame)}
    return heard


def test_only_who_looks_is_sent_the_spectrum(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    block = tone(1000.0, 48000, level_dbfs=-6.0)[:, np.newaxis]

    async def test() -> None:
        async with joined(session) as socket:
            session.shared.keep(block, 0.1 * block)
            await listen(socket, *SPECTRUM)
            loud = await heard_until(socket, lambda heard: min(loudest(heard, one) for one in SPECTRUM) > -50.0)
            peaks = [loudest(loud, address) for address in sorted(SPECTRUM)]
            assert peaks[0] - peaks[1] == pytest.approx(20.0, abs=0.1)
            await listen(socket, *SPECTRUM, command="IGNORE")
            async with connect(f"ws://127.0.0.1:{socket.remote_address[1]}", proxy=None) as another:
                await listen(another, *SPECTRUM)
                await heard_until(another, lambda heard: set(heard) >= SPECTRUM)
                await meters_without_spectrum(socket)
            await socket.send(encode("/duende/spectrum", [1]))
            await heard_until(socket, lambda heard: set(heard) >= SPECTRUM)

    asyncio.run(test())


async def meters_without_spectrum(socket: ClientConnection) -> None:
    """A subscriber hears meters, though not what others look at."""
    await socket.send(encode("/duende/subscribe", [0, "", 60.0]))
    await socket.send(encode("/duende/ping", ["#sent"]))
    await heard_until(socket, lambda heard: "/duende/reply" in heard)
    meters = 0

    def ten_meters(heard: Heard) -> bool:
        nonlocal meters
        meters += heard.pop("/duende/meter", None) is not None
        return meters == 10

    assert not SPECTRUM & set(await heard_until(socket, ten_meters))


def test_what_another_program_stores_is_told(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    other = tiny_library(tmp_path / "other")

    async def test() -> None:
        async with joined(session) as socket:
            await listen(socket, "/duende/library/revision", "/duende/preset/list")
            await heard_until(socket, lambda heard: len(heard) == 2)
            preset = other.find("solo").read()
            model = other.find("solo").model_path("solo.onnx").read_bytes()
            session.library.save("brought", preset, {"solo.onnx": model})
            told = await heard_until(socket, lambda heard: "brought" in heard.get("/duende/preset/list", []))
            assert told["/duende/preset/list"] == ["brought", "duo", "solo", "wire"]

    asyncio.run(test())
