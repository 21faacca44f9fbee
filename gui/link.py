"""The way to one host: a WebSocket that hears every value and carries orders, opened again whenever it breaks."""

import asyncio
import contextlib
import ipaddress
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from .. import DuendeError
from ..engine.control.osc import Message, decode, encode
from .mirror import PREFIX, Mirror, Value
from .target import Target

REPLY, ERROR = f"{PREFIX}/reply", f"{PREFIX}/error"
SUBSCRIBE, UNSUBSCRIBE = f"{PREFIX}/subscribe", f"{PREFIX}/unsubscribe"
LEASE_S, RENEW_S = 300.0, 120.0
ALIVE_S = 4.0
ANSWER_S = 20.0
RETRY_S = (0.2, 0.5, 1.0, 2.0)
SETTLE_S = 0.03
CONNECT_S = 5.0
TRANSFER_S = 120.0
MAX_TREE = 8 << 20
MAX_FRAME = 1 << 20
MAX_FETCH = 256 << 20
CHUNK = 1 << 16

log = logging.getLogger("duende.gui")


class Link:
    """Keeps up the connection while `run` runs, and the mirror up to date.

    find:    says where the host is, each time that it is looked for; DuendeError says why it is nowhere.
    changed: told when the connection comes or goes and when the tree is another; failed: told what went wrong with
             orders that nobody waits for, as one line.
    """

    def __init__(self, find: Callable[[], Target]) -> None:
        self.mirror = Mirror()
        self.changed: list[Callable[[], None]] = []
        self.failed: list[Callable[[str], None]] = []
        self.up = False
        self.trouble = "looking for the host"
        self.target = Target()
        self.name = ""
        self._find = find
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._receipts = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}
        self._listening: set[str] = set()
        self._following = True
        self._outbox: asyncio.Queue[bytes | str] = asyncio.Queue(maxsize=4096)
        self._refresh = asyncio.Event()

    @property
    def local(self) -> bool:
        """Whether the host runs on this machine."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.target.host).is_loopback
        return self.target.host == "localhost"

    # -- orders --------------------------------------------------------------------------------------------------

    def send(self, address: str, *values: Value) -> None:
        """Set or do something without waiting; what fails is told to `failed`. Lost while the host is away."""
        if not self.up:
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._outbox.put_nowait(encode(address, list(values), self._types(address)))

    async def ask(self, address: str, *values: Value) -> list[Any]:
        """Do something, or ask a value, and return what the host answers; DuendeError, one line, where it refuses."""
        if not self.up:
            raise DuendeError(f"the host is not there: {self.trouble}")
        receipt = f"#gui{next(self._receipts)}"
        packet = encode(address, [*values, receipt], self._types(address)[: len(values)])
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[receipt] = answer
        try:
            self._outbox.put_nowait(packet)
            return await asyncio.wait_for(answer, ANSWER_S)
        except asyncio.QueueFull:
            raise DuendeError("too many orders wait for the host") from None
        except TimeoutError:
            raise DuendeError(f"{address}: the host does not answer") from None
        finally:
            self._waiting.pop(receipt, None)

    async def order(self, address: str, *values: Value) -> None:
        """Do something; DuendeError, one line, where the host refuses."""
        await self.ask(address, *values)

    def listen(self, addresses: set[str]) -> None:
        """Hear these streams, beside what every subscriber hears, and no longer those named before."""
        for command, those in (("LISTEN", addresses - self._listening), ("IGNORE", self._listening - addresses)):
            for address in sorted(those):
                if self.up:
                    with contextlib.suppress(asyncio.QueueFull):
                        self._outbox.put_nowait(json.dumps({"COMMAND": command, "DATA": address}))
        self._listening = set(addresses)

    def follow(self, wanted: bool) -> None:
        """Whether to hear values and meters: while nobody watches, they would cost host and GUI for nothing."""
        if wanted == self._following:
            return
        self._following = wanted
        if self.up and wanted:
            self._subscribe()
        elif self.up:
            with contextlib.suppress(asyncio.QueueFull):
                self._outbox.put_nowait(encode(UNSUBSCRIBE, [0]))

    async def fetch(self, path: str) -> bytes:
        """GET a path of the host's HTTP server; DuendeError with the host's own line where it refuses."""
        parts = []
        size = 0
        async for part in self.stream(path):
            size += len(part)
            if size > MAX_FETCH:
                raise DuendeError(f"{path}: more than {MAX_FETCH >> 20} MiB")
            parts.append(part)
        return b"".join(parts)

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """GET a path piece by piece; DuendeError as `fetch`."""
        with _told(self):
            async with self._session().get(self.target.base + path, headers=self._headers()) as response:
                await _check(response)
                async for part in response.content.iter_chunked(CHUNK):
                    yield part

    async def upload(self, path: str, data: Path | AsyncIterator[bytes]) -> dict[str, Any]:
        """POST bytes, of a file or as they come; the host's JSON answer. DuendeError with its own line."""
        body = _pieces(data) if isinstance(data, Path) else data
        with _told(self):
            async with self._session().post(self.target.base + path, data=body, headers=self._headers()) as response:
                await _check(response)
                answer = await response.json(content_type=None)
                return dict(answer) if isinstance(answer, dict) else {}

    # -- connection ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=TRANSFER_S)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as self._http:
            attempt = 0
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    await self._attend()
                    trouble = "the host closed the connection"
                except DuendeError as error:
                    trouble = str(error)
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    trouble = f"{self.target.base}: {_reason(error)}"
                finally:
                    self._down()
                if asyncio.get_running_loop().time() - began > RETRY_S[-1]:
                    attempt = 0
                self._say(trouble)
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1

    async def _attend(self) -> None:
        """One connection, from first to last word."""
        # Finding may read files.
        self.target = await asyncio.to_thread(self._find)
        await self._read_tree()
        async with self._session().ws_connect(
            self.target.base, headers=self._headers(), heartbeat=ALIVE_S, max_msg_size=MAX_FRAME
        ) as socket:
            self._socket = socket
            while not self._outbox.empty():
                self._outbox.get_nowait()
            self._subscribe()
            for address in sorted(self._listening):
                self._outbox.put_nowait(json.dumps({"COMMAND": "LISTEN", "DATA": address}))
            self.up, self.trouble = True, ""
            self._refresh.clear()
            self._tell()
            tasks = [asyncio.create_task(work(socket)) for work in (self._read, self._write, self._renew, self._reread)]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.BINARY:
                with contextlib.suppress(DuendeError):
                    for message in decode(frame.data):
                        self._hear(message)
            elif frame.type is aiohttp.WSMsgType.TEXT and '"PATH_' in frame.data:
                self._refresh.set()

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            frame = await self._outbox.get()
            if isinstance(frame, str):
                await socket.send_str(frame)
            else:
                await socket.send_bytes(frame)

    async def _renew(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            self._subscribe()

    async def _reread(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Fetch the tree again after it has changed; many changes come at once."""
        while True:
            await self._refresh.wait()
            await asyncio.sleep(SETTLE_S)
            self._refresh.clear()
            await self._read_tree()
            self._tell()

    async def _read_tree(self) -> None:
        async with self._session().get(self.target.base + "/", headers=self._headers()) as response:
            await _check(response)
            self.mirror.tree(_object(await _bounded(response, MAX_TREE), self.target.base))
        if not self.mirror.nodes:
            raise DuendeError(f"{self.target.base} is no host of duende")
        if not self.up:
            async with self._session().get(self.target.base + "/?HOST_INFO", headers=self._headers()) as response:
                await _check(response)
                about = _object(await _bounded(response, MAX_TREE), self.target.base)
                self.name = str(about.get("NAME", ""))[:80]

    def _subscribe(self) -> None:
        if not self._following:
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._outbox.put_nowait(encode(SUBSCRIBE, [0, "", LEASE_S]))

    def _hear(self, message: Message) -> None:
        values = message.values
        if message.address == REPLY:
            if len(values) > 1 and str(values[1]) in self._waiting:
                answer = self._waiting.pop(str(values[1]))
                if not answer.done():
                    answer.set_result(list(values[2:]))
        elif message.address == ERROR:
            receipt = str(values[3]) if len(values) > 3 else ""
            text = str(values[2]) if len(values) > 2 else "the host refused"
            if receipt in self._waiting:
                answer = self._waiting.pop(receipt)
                if not answer.done():
                    answer.set_exception(DuendeError(text))
            else:
                for listener in self.failed:
                    listener(text)
        else:
            self.mirror.heard(message.address, values)

    def _down(self) -> None:
        self._socket = None
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(DuendeError("the host went away"))
        self.up = False

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            log.info("%s", trouble)
        self._tell()

    def _tell(self) -> None:
        for listener in self.changed:
            listener()

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise DuendeError("the connection is not running")
        return self._http

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.target.token}"} if self.target.token else {}

    def _types(self, address: str) -> str:
        node = self.mirror.nodes.get(address)
        return "" if node is None else str(node["types"])


@contextlib.contextmanager
def _told(link: Link) -> Any:
    """Failures of the network as one line."""
    try:
        yield
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise DuendeError(f"{link.target.base}: {_reason(error)}") from error


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        if response.status == 401:
            raise DuendeError("the host asks for another token: start the GUI with --host-token")
        line = " ".join((await response.content.read(2048)).decode("utf-8", "replace").split())[:400]
        raise RefusedError(response.status, line or f"the host answered {response.status}")


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    data = await response.content.read(most)
    while len(data) < most:
        more = await response.content.read(most - len(data))
        if not more:
            return data
        data += more
    raise DuendeError(f"the host's answer has more than {most >> 20} MiB")


def _object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object that a host answers with; DuendeError where it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DuendeError(f"{where} is no host of duende")
    return found


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK):
            yield piece


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nothing answers there; start it with `duende live`"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"it answered {error.status}"
    return str(error) or type(error).__name__


class RefusedError(DuendeError):
    """The host refused a request. status: of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def values_of(raw: Sequence[Any]) -> list[Value]:
    """Arguments that came from a page; DuendeError where they are no OSC values."""
    if len(raw) > 8 or not all(isinstance(value, bool | int | float | str) for value in raw):
        raise DuendeError("an order takes at most 8 numbers and texts")
    for value in raw:
        if isinstance(value, str) and (len(value) > 1024 or value.startswith("#")):
            raise DuendeError("a text has at most 1024 characters and begins with no #")
    return list(raw)
