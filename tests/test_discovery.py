"""Zeroconf: found by another's browser, under another name where one is taken; never fatal."""

import asyncio
import socket

import pytest
from zeroconf import IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from duende.engine.control import discovery
from duende.engine.control.discovery import MAX_NAME, OSC_TYPE, OSCQUERY_TYPE, Discovery, label


class Browser:
    """Looks around on loopback and keeps what is there."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.changed = asyncio.Event()
        self.zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
        self.browser = AsyncServiceBrowser(self.zeroconf.zeroconf, [OSC_TYPE, OSCQUERY_TYPE], handlers=[self.hear])

    def hear(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:  # names as zeroconf calls them
        if state_change is ServiceStateChange.Removed:
            self.there.discard(name)
        else:
            self.there.add(name)
        self.changed.set()

    async def until(self, *, there: frozenset[str] = frozenset(), gone: frozenset[str] = frozenset()) -> None:
        async with asyncio.timeout(10):
            while not there <= self.there or gone & self.there:
                self.changed.clear()
                await self.changed.wait()

    async def look_up(self, kind: str, name: str) -> ServiceInfo:
        found = await self.zeroconf.async_get_service_info(kind, f"{name}.{kind}", 5000)
        assert found is not None
        return found

    async def close(self) -> None:
        await self.browser.async_cancel()
        await self.zeroconf.async_close()


@pytest.mark.live
def test_a_browser_finds_both_ports_and_sees_them_go() -> None:
    async def test() -> None:
        notices: list[str] = []
        first, second, browser = Discovery(notices.append), Discovery(notices.append), Browser()
        name = f"duende {socket.gethostname()} test"
        try:
            assert await first.start(name, "127.0.0.1", 7700, 7701)
            both = frozenset({f"{label(name)}.{OSC_TYPE}", f"{label(name)}.{OSCQUERY_TYPE}"})
            await browser.until(there=both)
            query = await browser.look_up(OSCQUERY_TYPE, label(name))
            assert (query.port, query.parsed_addresses()) == (7701, ["127.0.0.1"])
            assert (await browser.look_up(OSC_TYPE, label(name))).port == 7700
            assert await second.start(name, "127.0.0.1", 7710, 7711)
            assert second.names == [f"{label(name)}-2"] * 2
            assert (await browser.look_up(OSCQUERY_TYPE, second.names[1])).port == 7711
            loop = asyncio.get_running_loop()
            began = loop.time()
            await first.stop()
            await second.stop()
            assert loop.time() - began < 2.0
            await browser.until(gone=both)
        finally:
            await first.stop()
            await second.stop()
            await browser.close()
        assert notices == []

    asyncio.run(test())


def test_what_cannot_be_announced_is_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: object) -> AsyncZeroconf:
        raise OSError(19, "No such device")

    async def test(host: str) -> list[str]:
        notices: list[str] = []
        entry = Discovery(notices.append)
        assert not await entry.start("duende", host, 7700, 7701)
        await entry.stop()
        assert entry.names == []
        return notices

    (told,) = asyncio.run(test("no number"))
    assert "no IPv4 address" in told
    monkeypatch.setattr(discovery, "AsyncZeroconf", refuse)
    assert asyncio.run(test("127.0.0.1")) == [
        "others cannot find this host by its name (No such device): give them address and port"
    ]


def test_one_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        zeroconf = None

        def __init__(self, *given: object, **settings: object) -> None:
            pass

        async def async_cancel(self) -> None:
            pass

        async def async_register_service(self, service: object, **settings: object) -> None:
            await asyncio.sleep(3600)

        async def async_close(self) -> None:
            await asyncio.sleep(3600)

    async def test() -> list[str]:
        notices: list[str] = []
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert not await Discovery(notices.append).start("duende", "127.0.0.1", 7700, 7701)
        assert loop.time() - began < 1.0
        return notices

    for name in ("AsyncZeroconf", "AsyncServiceBrowser"):
        monkeypatch.setattr(discovery, name, Stuck)
    monkeypatch.setattr(discovery, "START_S", 0.05)
    monkeypatch.setattr(discovery, "LISTEN_S", 0.0)
    monkeypatch.setattr(discovery, "STOP_S", 0.05)
    notices = asyncio.run(test())
    assert [("no answer in time" in notice, "\n" in notice) for notice in notices] == [(True, False)] * 2


@pytest.mark.parametrize(
    ("name", "entry"),
    [("duende", "duende"), ("stage.left", "stage-left"), ("a\nb\0", "a-b-"), ("  ", "duende"), ("", "duende")],
)
def test_names_become_entries(name: str, entry: str) -> None:
    assert label(name) == entry


def test_long_names_are_cut_between_characters() -> None:
    assert len(label("ñ" * 100).encode()) <= MAX_NAME
    assert set(label("x" + "ñ" * 100)[1:]) == {"ñ"}
    assert label("\ud800x")
