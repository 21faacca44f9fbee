"""A web server inside a running event loop, with bounds: connections, sizes, and the time that a request may take."""

import asyncio
import os
import socket
from asyncio import TimerHandle
from dataclasses import dataclass
from typing import Any

from h11 import LocalProtocolError
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from ... import DuendeError

ABORT = "abort"
"""In the state of a WebSocket's scope: a function that drops the connection at once, whatever waits in it."""

EXTEND = "extend"
"""In the state of a request's scope: a function that gives the request its whole time again, as it gets on."""


@dataclass(frozen=True)
class Bounds:
    """What one client, or many, may take: open connections, bytes of a request's head and of a frame, seconds."""

    connections: int = 128
    head: int = 16384
    frame: int = 65536
    request_s: float = 10.0
    idle_s: int = 5
    stop_s: float = 0.5


class WebServer:
    """Serves an app, HTTP and WebSocket on one port, until it is stopped; handles no signals and prints nothing."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._bounds = bounds
        self._socket: socket.socket | None = None
        config = Config(
            app,
            http=_limited(bounds),
            ws=_Sockets,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            ws_max_size=bounds.frame,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=bounds.head,
            backlog=256,
            timeout_keep_alive=bounds.idle_s,
        )
        config.load()
        self._server = Server(config)
        self._server.lifespan = config.lifespan_class(config)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections)

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port; DuendeError where it cannot be had."""
        self._socket = await _bind(host, port)
        await self._server.startup(sockets=[self._socket])
        return int(self._socket.getsockname()[1])

    async def stop(self) -> None:
        """Close everything: politely, and what is still open after `stop_s` at once."""
        if self._socket is None:
            return
        closing = asyncio.create_task(self._server.shutdown(sockets=[self._socket]))
        self._socket = None
        await asyncio.wait([closing], timeout=self._bounds.stop_s)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        for task in list(self._server.server_state.tasks):
            task.cancel()
        await closing


class _Sockets(WebSocketsSansIOProtocol):
    """Hands the app a way to drop a connection whose client does not read; drops one that talks on when refused."""

    async def run_asgi(self) -> None:
        self.scope["state"][ABORT] = self.transport.abort
        await super().run_asgi()

    def handle_events(self) -> None:
        try:
            super().handle_events()
        except InvalidState:
            # More came, in the same piece, behind text that is no UTF-8.
            self.transport.abort()


def _limited(bounds: Bounds) -> type[asyncio.Protocol]:
    waiting: dict[asyncio.Protocol, asyncio.Transport] = {}

    class Limited(H11Protocol):
        """Drops connections whose request or answer takes too long, and the oldest such where there are too many."""

        _deadline: TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, EXTEND: self._extend}
            self._arm()
            if len(self.connections) > bounds.connections:
                waiting.pop(next(iter(waiting))).abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            try:
                super().handle_events()
            except LocalProtocolError:
                # What is no HTTP came behind a request that was answered before all of it was there.
                self.transport.abort()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._disarm()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            self._disarm()
            self._arm()
            super().on_response_complete()

        def _arm(self) -> None:
            waiting[self] = self.transport
            self._deadline = self.loop.call_later(bounds.request_s, self.transport.abort)

        def _extend(self) -> None:
            if self._deadline is not None:
                self._disarm()
                self._arm()

        def _disarm(self) -> None:
            waiting.pop(self, None)
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Limited


async def _bind(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    listener: socket.socket | None = None
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it would let two programs have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise DuendeError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): choose another host or port"
        ) from error
    return listener
