"""OSCQuery: the tree of addresses over HTTP, and values, news of the tree and OSC itself over WebSockets."""

import asyncio
import hmac
import ipaddress
import json
import logging
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Scope, Send
from starlette.types import Receive as AsgiReceive
from starlette.websockets import WebSocket, WebSocketDisconnect

from ... import DuendeError
from .access import Bucket, is_loopback, is_within, parse_host
from .files import FILES
from .namespace import NORMALIZED, Namespace
from .osc import Message, encode
from .peer import Receive
from .transport import TURN
from .tree import ATTRIBUTES, Tree, current, host_info, types_of
from .web import ABORT, Bounds, WebServer

FLUSH_S = 0.01
MAX_SOCKETS = 64
MAX_URL = 2048
MAX_QUEUE = 1 << 20
"""Bytes that may wait for one WebSocket, values it listens to not counted: of those only the last one waits."""
STUCK_S = 10.0
WORK_RATE = 20_000.0
WORK_BURST = 20_000.0
"""Work that one WebSocket may cause, in a second and at once, as Receive counts it; beyond that it is read slowly."""
OVERHEAD = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the host calls itself, and whom it answers.

    osc_port: where OSC is heard (UDP), on osc_host if that is another than this server's.
    token:    clients must give it (`?token=...` or `Authorization: Bearer ...`); "" asks for none.
    allow:    networks whose hosts may ask, beside this machine; none: everybody who can reach the host.
    hosts:    names, beside numbers and this machine's own, under which clients may reach it (Host header).
    origins:  web pages (`http://host:port`), beside those of the host itself, that may open WebSockets.
    """

    name: str = "duende"
    osc_port: int = 7700
    osc_host: str = ""
    token: str = ""
    allow: Sequence[IPv4Network] = ()
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    sockets: int = MAX_SOCKETS
    bounds: Bounds = field(default_factory=Bounds)


@dataclass
class Counts:
    """What went wrong since the start: clients refused, frames not understood, slow readers dropped, packets lost."""

    refused: int = 0
    malformed: int = 0
    slow: int = 0
    lost: int = 0


class OscQuery:
    """Serves a namespace. All methods belong to the event loop that it is served in.

    receive: is given OSC packets that come over WebSockets, and the peer to answer to.
    files:   answers requests below FILES of those who may ask.
    """

    def __init__(
        self,
        namespace: Namespace,
        receive: Receive,
        settings: Settings | None = None,
        files: ASGIApp | None = None,
    ) -> None:
        self.settings = Settings() if settings is None else settings
        self.counts = Counts()
        self.port = 0
        self._namespace = namespace
        self._receive = receive
        self._files = files
        self._tree = Tree(namespace)
        self._web: WebServer | None = None
        self._names: frozenset[str] = frozenset()
        self._clients: set[Client] = set()
        self._changed: dict[str, None] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._flushed = 0.0

    @property
    def clients(self) -> int:
        """WebSockets that are open."""
        return len(self._clients)

    async def serve(self, host: str = "127.0.0.1", port: int = 7701) -> int:
        """Listen on an IPv4 address until `stop`; port 0 takes a free one. Returns the port.

        DuendeError where the port cannot be had, or others could reach it and there is no token.
        """
        local = is_loopback(str(parse_host(host)))
        if not local and not self.settings.token:
            raise DuendeError(f"OSCQuery on {host} would be open to the network: give a token, or stay on 127.0.0.1")
        web = WebServer(self, self.settings.bounds)
        self.port = await web.start(host, port)
        self._web = web
        own = set() if local else {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        self._names = frozenset({"localhost"} | own | {name.lower() for name in self.settings.hosts})
        self._namespace.listeners.append(self._restructured)
        return self.port

    async def stop(self) -> None:
        """Say goodbye to all clients and close the port; takes less than a second."""
        if self._web is None:
            return
        self._namespace.listeners.remove(self._restructured)
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        web, self._web = self._web, None
        await web.stop()

    def publish(self, addresses: Iterable[str]) -> None:
        """Values changed: sent to those who listen, 10 ms after the last ones at the soonest, only as they are then."""
        if not self._clients:
            return
        for address in addresses:
            self._changed[address] = None
            self._changed[address + NORMALIZED] = None
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_at(max(loop.time(), self._flushed + FLUSH_S), self._send_changed)

    def stream(self, messages: Iterable[Message]) -> None:
        """Values that nobody can read later, as of meters: sent to those who listen, as they are."""
        for address, values in messages:
            node = self._namespace.nodes.get(address)
            listening = [client for client in self._clients if address in client.listens]
            if node is not None and listening:
                with suppress(DuendeError):
                    packet = encode(address, values, node.types)
                    for client in listening:
                        client.value(address, packet)

    def packet(self, address: str) -> bytes | None:
        """The value of an address as an OSC message; None where there is none."""
        node = self._namespace.nodes.get(address)
        values = None if node is None else current(node)
        if node is None or values is None:
            return None
        with suppress(DuendeError):
            return encode(address, values, types_of(node, values))
        return None

    def listens(self, address: str) -> bool:
        """Whether somebody listens to an address."""
        return any(address in client.listens for client in self._clients)

    # -- news ----------------------------------------------------------------------------------------------------

    def _send_changed(self) -> None:
        self._flush = None
        self._flushed = asyncio.get_running_loop().time()
        changed, self._changed = self._changed, {}
        for address in changed:
            listening = [client for client in self._clients if address in client.listens]
            packet = self.packet(address) if listening else None
            if packet is not None:
                for client in listening:
                    client.value(address, packet)

    def _restructured(self, added: list[str], removed: list[str], changed: list[str]) -> None:
        for command, addresses in (("PATH_REMOVED", removed), ("PATH_ADDED", added), ("PATH_CHANGED", changed)):
            frames = [json.dumps({"COMMAND": command, "DATA": address}) for address in addresses]
            for client in list(self._clients):
                client.listens.difference_update(removed)
                for frame in frames:
                    client.post(frame)

    # -- requests ------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: AsgiReceive, send: Send) -> None:
        """Answer a request, as an ASGI application."""
        if scope["type"] == "http" and self._files is not None and f"{scope['path']}/".startswith(f"{FILES}/"):
            await self._hand_over(self._files, scope, receive, send)
        elif scope["type"] == "http":
            try:
                response = self._look_up(HTTPConnection(scope))
            except Exception:
                log.exception("OSCQuery: %s could not be answered", scope["path"])
                response = PlainTextResponse("this is a fault of the host", 500)
            await response(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._attend(WebSocket(scope, receive, send))

    async def _hand_over(self, files: ASGIApp, scope: Scope, receive: AsgiReceive, send: Send) -> None:
        request = HTTPConnection(scope)
        refusal = self._refusal(request)
        if refusal is None and scope["method"] not in ("GET", "HEAD") and not self._same_site(request.headers):
            self.counts.refused += 1
            refusal = PlainTextResponse("pages from elsewhere may change nothing", 403)
        await (files if refusal is None else refusal)(scope, receive, send)

    def _look_up(self, request: HTTPConnection) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if request.scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("only GET", 405, {"Allow": "GET, HEAD"})
        path = request.scope["path"]
        asked = [name for name, _ in _query(request) if name != "token"]
        if asked == ["HOST_INFO"]:
            return JSONResponse(self._host_info(request))
        found = self._tree.find(path, deep=asked in ([], ["CONTENTS"]))
        if found is None:
            return PlainTextResponse("no such address", 404)
        if not asked:
            return JSONResponse(found)
        if len(asked) > 1 or asked[0] not in ATTRIBUTES:
            return PlainTextResponse(f"ask for one of {', '.join(ATTRIBUTES)} or HOST_INFO", 400)
        return JSONResponse({asked[0]: found[asked[0]]}) if asked[0] in found else Response(status_code=204)

    def _host_info(self, request: HTTPConnection) -> object:
        address = request.scope["server"][0]
        info = dict(host_info(self.settings.name, address, self.settings.osc_port, self.port))
        return info | ({"OSC_IP": self.settings.osc_host} if self.settings.osc_host else {})

    def _refusal(self, request: HTTPConnection) -> Response | None:
        """What a client is told that may not ask; None where it may."""
        if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > MAX_URL:
            self.counts.refused += 1
            return PlainTextResponse(f"the URL has more than {MAX_URL} bytes", 414)
        client = request.client.host if request.client else ""
        if self.settings.allow and not is_loopback(client) and not is_within(client, self.settings.allow):
            self.counts.refused += 1
            return PlainTextResponse("this host does not answer to you", 403)
        if not self._named(_host_of(f"//{request.headers.get('host', '')}")):
            self.counts.refused += 1
            return PlainTextResponse("this host does not answer to that name", 403)
        if self.settings.token and not _may(request, self.settings.token):
            self.counts.refused += 1
            return PlainTextResponse("a token is needed", 401, {"WWW-Authenticate": "Bearer"})
        return None

    def _named(self, host: str) -> bool:
        """Whether a Host header names this machine; a number does, as no foreign name was looked up for it."""
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return host in self._names
        return True

    def _same_site(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self.settings.origins:
            return True
        site = _host_of(origin)
        return bool(site) and site == _host_of(f"//{headers.get('host', '')}")

    # -- WebSockets ----------------------------------------------------------------------------------------------

    async def _attend(self, websocket: WebSocket) -> None:
        refusal = self._refusal(websocket)
        if refusal is None and not self._same_site(websocket.headers):
            self.counts.refused += 1
            refusal = PlainTextResponse("pages from elsewhere may not open WebSockets", 403)
        if refusal is None and len(self._clients) >= self.settings.sockets:
            self.counts.refused += 1
            refusal = PlainTextResponse(f"{self.settings.sockets} WebSockets are open", 503)
        if refusal is not None:
            await websocket.send_denial_response(refusal)
            return
        client = Client(websocket, self.counts)
        self._clients.add(client)
        writing: asyncio.Task[None] | None = None
        try:
            await websocket.accept()
            writing = asyncio.create_task(client.write())
            loop = asyncio.get_running_loop()
            allowance = Bucket(WORK_RATE, WORK_BURST, loop.time())
            done = 0
            while (message := await websocket.receive())["type"] != "websocket.disconnect":
                if message.get("bytes") is not None:
                    work = self._receive(message["bytes"], client)
                else:
                    work = self._command(message.get("text") or "", client)
                allowance.spend(work)
                done += work
                if not allowance.is_open(loop.time()):
                    await asyncio.sleep(allowance.wait)  # nothing is lost: the other end has to wait, too
                elif done >= TURN:
                    done = 0
                    await asyncio.sleep(0)  # frames that are there already come without a turn of the loop
        except (WebSocketDisconnect, OSError):
            pass
        except Exception:
            log.exception("OSCQuery: a WebSocket was given up")
            client.drop()
        finally:
            client.closed = True
            self._clients.discard(client)
            if writing is not None:
                writing.cancel()

    def _command(self, text: str, client: "Client") -> int:
        """Carry out what a text frame asks for; returns the work, as Receive does."""
        try:
            asked = json.loads(text)
            command, address = asked["COMMAND"], asked["DATA"]
        except (ValueError, TypeError, KeyError, RecursionError):
            command = address = None
        if not isinstance(address, str) or command not in ("LISTEN", "IGNORE"):
            self.counts.malformed += 1
            return 1
        address = "/" + address.strip("/")
        if command == "IGNORE":
            client.ignore(address)
        elif address in self._namespace.nodes:
            client.listens.add(address)
            packet = self.packet(address)
            if packet is not None:
                client.value(address, packet)
        else:
            self.counts.malformed += 1
        return 1 + len(text) // 1024


class Client:
    """One WebSocket: what it listens to, and what waits to be sent to it. A Peer to those who answer OSC."""

    kind = "ws"

    def __init__(self, websocket: WebSocket, counts: Counts) -> None:
        self.host, self.port = (websocket.client.host, websocket.client.port) if websocket.client else ("", 0)
        self.listens: set[str] = set()
        self.closed = False
        self._websocket = websocket
        self._counts = counts
        self._values: dict[str, bytes] = {}
        self._frames: deque[bytes | str] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()

    @property
    def local(self) -> bool:
        """Whether the other end is on this machine."""
        return is_loopback(self.host)

    def send(self, packet: bytes) -> None:
        """Send one OSC packet, after those before it."""
        self.post(packet)

    def post(self, frame: bytes | str) -> None:
        """Send a frame, binary or text; a client that lets too much wait is dropped."""
        if self.closed:
            self._counts.lost += 1
            return
        self._waiting += len(frame) + OVERHEAD
        if self._waiting > MAX_QUEUE:
            self._counts.slow += 1
            self.drop()
            return
        self._frames.append(frame)
        self._wake.set()

    def value(self, address: str, packet: bytes) -> None:
        """Send what an address holds now, in place of what may still wait there."""
        if not self.closed:
            self._values[address] = packet
            self._wake.set()

    def ignore(self, address: str) -> None:
        """Send no more values of an address."""
        self.listens.discard(address)
        self._values.pop(address, None)

    def drop(self) -> None:
        """Close the connection at once; what waits is lost."""
        self.closed = True
        self._counts.lost += len(self._frames)
        self._frames.clear()
        self._values.clear()
        self._websocket.scope["state"][ABORT]()

    async def write(self) -> None:
        """Send what is posted, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._frames or self._values:
                    async with asyncio.timeout(STUCK_S):
                        await self._next()
        except TimeoutError:
            self._counts.slow += 1
            self.drop()
        except (WebSocketDisconnect, OSError, RuntimeError):
            self.closed = True

    async def _next(self) -> None:
        if self._frames:
            frame = self._frames.popleft()
            self._waiting -= len(frame) + OVERHEAD
        else:
            frame = self._values.pop(next(iter(self._values)))
        if isinstance(frame, str):
            await self._websocket.send_text(frame)
        else:
            await self._websocket.send_bytes(frame)


def _query(request: HTTPConnection) -> list[tuple[str, str]]:
    query = request.scope["query_string"].decode("latin-1")
    return parse_qsl(query, keep_blank_values=True)


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _may(request: HTTPConnection, token: str) -> bool:
    given = [value for name, value in _query(request) if name == "token"]
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given.append(value.strip())
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)
