"""Zeroconf: makes the host's OSC and OSCQuery ports known by name to whoever looks for them."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

from zeroconf import (  # type: ignore[attr-defined]
    DNSQuestionType,
    Error,
    InterfaceChoice,
    IPVersion,
    ServiceInfo,
    get_all_addresses,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from ... import DuendeError
from .access import is_loopback, parse_host

OSC_TYPE = "_osc._udp.local."
OSCQUERY_TYPE = "_oscjson._tcp.local."
START_S = 5.0
LISTEN_S = 1.2
"""So long names are listened for that are taken: who has told one may keep quiet about it for a second."""
STOP_S = 1.0
MAX_NAME = 56
"""Bytes of a name; DNS allows 63, and a number is put behind one that is taken."""


class Discovery:
    """The host's entries in the local network's directory, or only this machine's where it is bound to loopback.

    notice: told in one line what could not be done; nothing here is fatal.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._zeroconf: AsyncZeroconf | None = None
        self._services: list[ServiceInfo] = []

    @property
    def names(self) -> list[str]:
        """Under which names the ports are known now: that asked for, with a number behind it where it was taken."""
        return [service.name.removesuffix("." + service.type) for service in self._services]

    async def start(self, name: str, host: str, osc_port: int, http_port: int) -> bool:
        """Make the ports known under a name, on the networks of the host address they are bound to; takes 3 s.

        Whether it could be done; where not, notice tells why.
        """
        await self.stop()
        try:
            async with asyncio.timeout(START_S):
                await self._register(label(name), host, {OSC_TYPE: osc_port, OSCQUERY_TYPE: http_port})
        except (OSError, Error, DuendeError, TimeoutError) as error:
            self._notice(f"others cannot find this host by its name ({_why(error)}): give them address and port")
            await self.stop()
            return False
        return True

    async def stop(self) -> None:
        """Take the entries back; takes a second at most."""
        if self._zeroconf is None:
            return
        zeroconf, self._zeroconf = self._zeroconf, None
        self._services = []
        try:
            async with asyncio.timeout(STOP_S):
                await zeroconf.async_close()
        except (OSError, Error, TimeoutError) as error:
            self._notice(f"the name of this host could not be taken back ({_why(error)}): it will fade in minutes")

    async def _register(self, name: str, host: str, ports: dict[str, int]) -> None:
        address = str(parse_host(host))
        everywhere = IPv4Address(address).is_unspecified
        self._zeroconf = AsyncZeroconf(
            interfaces=InterfaceChoice.All if everywhere else [address], ip_version=IPVersion.V4Only
        )
        addresses = [one for one in get_all_addresses() if not is_loopback(one)] if everywhere else [address]
        machine = f"{label(socket.gethostname())}-duende.local."
        services = [
            ServiceInfo(kind, f"{name}.{kind}", port, parsed_addresses=addresses or ["127.0.0.1"], server=machine)
            for kind, port in ports.items()
        ]
        # The answer to a registration's own probe goes to one socket of this machine, whosesoever, so that another
        # host beside this one would not be noticed. What is asked like this is answered to all.
        kinds, question = list(ports), DNSQuestionType.QM
        listener = AsyncServiceBrowser(self._zeroconf.zeroconf, kinds, handlers=[_remember], question_type=question)
        try:
            await asyncio.sleep(LISTEN_S)
            await asyncio.gather(*(self._announce(self._zeroconf, service) for service in services))
        finally:
            await listener.async_cancel()
        self._services = services

    async def _announce(self, zeroconf: AsyncZeroconf, service: ServiceInfo) -> None:
        await (await zeroconf.async_register_service(service, allow_name_change=True))


def label(name: str) -> str:
    """A name as a directory entry can carry it: no dots, nothing that cannot be printed, at most MAX_NAME bytes."""
    shown = "".join(character if character.isprintable() and character != "." else "-" for character in name)
    cut = shown.encode(errors="replace")[:MAX_NAME].decode(errors="ignore").strip()
    return cut or "duende"


def _remember(**heard: object) -> None:
    """What is heard is kept by zeroconf itself."""


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
