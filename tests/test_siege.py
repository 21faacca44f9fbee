"""A host with everything that belongs to it plays on while hostile packets come from all sides, and answers after."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from duende import DuendeError
from duende.engine.control.framing import Framing
from duende.engine.control.osc import encode
from duende.engine.control.peer import Peer
from duende.engine.control.transport import TURN, OscServer
from fuzzing.siege import SilentHost, besiege
from waiting import wait_until

COUNT = 1000


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentHost]:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path))
    one = SilentHost(tmp_path)
    yield one
    one.end()


@pytest.mark.skipif(sys.platform != "linux" or os.name != "posix", reason="reads /proc")
def test_a_host_under_siege_plays_on(host: SilentHost) -> None:
    # What is made when it is first asked for is no leak.
    for warm in (3, 4):
        besiege(host, COUNT // 2, seed=warm)
    outcome = besiege(host, COUNT, seed=2)
    assert outcome.taken >= COUNT
    assert outcome.malformed > COUNT // 10
    assert outcome.failed == 0
    assert outcome.restarts == 0
    assert outcome.samples > 0
    assert outcome.grown_mib < 48
    wait_until(lambda: loads(host), "a preset can be loaded")
    assert host.ask("amount", 0.25) is not None
    assert host.ask("amount") == [0.25]


def loads(host: SilentHost) -> bool:
    """Whether a preset is loaded when asked for; the last orders of the siege may still come between."""
    try:
        return host.ask("preset/load", "wire") is not None and host.ask("preset/current") == ["wire"]
    except DuendeError:
        return False


def test_one_connection_does_not_keep_the_loop_to_itself() -> None:
    """Signs of life come from the same loop: who sends thousands of packets at once must not silence them."""
    taken, between = [0], [0]

    def receive(packet: bytes, peer: Peer) -> int:
        taken[0] += 1
        return 1

    async def beat() -> None:
        before = 0
        while True:
            await asyncio.sleep(0)
            between[0], before = max(between[0], taken[0] - before), taken[0]

    async def run() -> None:
        server = await OscServer.start(receive, port=0)
        beating = asyncio.create_task(beat())
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        framing = Framing()
        framing.sized = True
        writer.write(framing.frame(encode("/a")) * 4000)
        async with asyncio.timeout(20):
            while taken[0] < 4000:
                await asyncio.sleep(0)
        writer.close()
        beating.cancel()
        server.close()
        await asyncio.gather(beating, return_exceptions=True)

    asyncio.run(run())
    assert taken[0] == 4000
    assert between[0] <= TURN
