"""The open pages: each hears in one small message per frame what changed, and orders what a hand has moved."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from .. import DuendeError
from .link import Link, values_of
from .mirror import PREFIX

FRAMES_PER_S = 30
TOGETHER_S = 0.003
MAX_PAGES = 32
MAX_TEXT = 8192
MAX_BEHIND = 4
"""Frames that may wait for a page; one that is further behind gets everything anew once it reads again."""
MAX_WAITING = 64
"""Orders of one page that may wait for their answer."""
WORK_PER_S, WORK_BURST = 400.0, 400.0
FORBIDDEN = (f"{PREFIX}/subscribe", f"{PREFIX}/unsubscribe")

_encode = msgspec.json.Encoder().encode


class Order(msgspec.Struct):
    """What a page sends. a: address, v: arguments, id: of the answer wanted (0: none); look: streams it shows now."""

    a: str = ""
    v: list[Any] = []
    id: int = 0
    look: list[str] | None = None


@dataclass(eq=False)
class Page:
    """One browser tab. frames: what is to be sent; `stale`: it has missed something."""

    socket: WebSocket
    frames: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(MAX_BEHIND + MAX_WAITING))
    stale: bool = False
    looks: set[str] = field(default_factory=set)
    orders: set[asyncio.Task[None]] = field(default_factory=set)

    def put(self, frame: str) -> None:
        """Send in its turn; where too much waits, everything is sent anew later."""
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.stale = True

    def frame(self, frame: str) -> None:
        """Send one of the thirty a second, or leave it out where the page does not keep up."""
        if self.frames.qsize() >= MAX_BEHIND:
            self.stale = True
        else:
            self.put(frame)


class Pages:
    """All pages on one link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._pages: set[Page] = set()
        link.follow(False)
        link.changed.append(self._whole)
        link.failed.append(lambda text: self._all(_text({"error": text})))

    def __len__(self) -> int:
        return len(self._pages)

    async def run(self) -> None:
        """Send what changed, FRAMES_PER_S times a second at most, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.link.mirror.fresh.wait()
            # Meters, spectra and echoes of one moment come as several messages.
            await asyncio.sleep(max(TOGETHER_S, due - loop.time()))
            due = loop.time() + 1.0 / FRAMES_PER_S - TOGETHER_S
            changed = self.link.mirror.take()
            if not changed or not self._pages:
                continue
            frame = _text({"v": changed})
            for page in self._pages:
                if page.stale and page.frames.empty():
                    page.stale = False
                    page.put(self._everything())
                else:
                    page.frame(frame)

    async def attend(self, socket: WebSocket) -> None:
        """One page's WebSocket, from open to close."""
        if len(self._pages) >= MAX_PAGES:
            await socket.close(1013, f"{MAX_PAGES} pages are open")
            return
        await socket.accept()
        page = Page(socket)
        page.put(self._everything())
        self._pages.add(page)
        # Values may have moved since anybody watched; all of them come first.
        self.link.follow(True)
        writing = asyncio.create_task(_write(page))
        loop = asyncio.get_running_loop()
        allowance, last = WORK_BURST, loop.time()
        try:
            while True:
                text = await socket.receive_text()
                now = loop.time()
                allowance, last = min(WORK_BURST, allowance + (now - last) * WORK_PER_S) - 1.0, now
                if allowance < 0.0:
                    await asyncio.sleep(-allowance / WORK_PER_S)
                self._obey(page, text)
        except (WebSocketDisconnect, RuntimeError, KeyError, OSError):
            pass
        finally:
            self._pages.discard(page)
            writing.cancel()
            for task in page.orders:
                task.cancel()
            self._look()
            self.link.follow(bool(self._pages))

    # -- inside --------------------------------------------------------------------------------------------------

    def _obey(self, page: Page, text: str) -> None:
        try:
            if len(text) > MAX_TEXT:
                raise DuendeError(f"an order has at most {MAX_TEXT} characters")
            order = msgspec.json.decode(text, type=Order)
            if order.look is not None:
                page.looks = {address for address in order.look[:16] if address in self.link.mirror.nodes}
                self._look()
                return
            if order.a in FORBIDDEN or order.a not in self.link.mirror.nodes:
                raise DuendeError(f"{order.a:.80}: the host has no such address now")
            values = values_of(order.v)
            if not order.id:
                self.link.send(order.a, *values)
                return
            if len(page.orders) >= MAX_WAITING:
                raise DuendeError(f"{MAX_WAITING} orders wait for their answer")
        except (DuendeError, msgspec.DecodeError, RecursionError) as error:
            page.put(_text({"error": str(error)}))
            return
        task = asyncio.create_task(self._ask(page, order, values))
        page.orders.add(task)
        task.add_done_callback(page.orders.discard)

    async def _ask(self, page: Page, order: Order, values: list[Any]) -> None:
        try:
            answer = await self.link.ask(order.a, *values)
            page.put(_text({"id": order.id, "ok": [None if isinstance(one, bytes) else one for one in answer]}))
        except DuendeError as error:
            page.put(_text({"id": order.id, "no": str(error)}))

    def _look(self) -> None:
        """Hear the streams that some page shows."""
        self.link.listen(set().union(*(page.looks for page in self._pages)))

    def _whole(self) -> None:
        self._all(self._everything())

    def _everything(self) -> str:
        link = self.link
        state = {"up": link.up, "name": link.name, "where": f"{link.target.host}:{link.target.port}"}
        return _text({"link": state | {"trouble": link.trouble}, "tree": link.mirror.nodes, "all": link.mirror.values})

    def _all(self, frame: str) -> None:
        for page in self._pages:
            page.put(frame)


async def _write(page: Page) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
        while True:
            await page.socket.send_text(await page.frames.get())


def _text(content: dict[str, Any]) -> str:
    return _encode(content).decode()
