"""The forge page: a recording goes in, a style is learned from it in sight of all, and the host plays it.

The work is done by `duende forge` in a process of its own (`job.py`), in a library of its own; what comes of it goes to
the host as a packed preset, like any other. So the page works on whatever machine the host is. One forging at a time;
every open page shows the same one.
"""

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import msgspec
from nicegui import app, ui
from nicegui.element import Element
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .. import DuendeError
from .clip import Clip, suffix_of, take_in
from .job import DUENDE, Job

MAX_UPLOAD = 192 << 20
MAX_ORDER = 4096
MAX_PAGES = 32
TELL_S = 0.2
KEPT_STEPS = 20000
STEPS = {
    "timbre": {"quick": 200, "good": 500, "best": 1200},
    "texture": {"quick": 100, "good": 200, "best": 500},
}
"""Of training, by mode and quality. Not minutes: at the lowest priority nobody knows what a minute is worth."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
PACKED = "forged.duende"
STATIC = Path(__file__).parent / "static"
CURVES = (("gram", ("gram",)), ("envelope", ("envelope", "short")))
"""What is drawn of the losses: the distance in style, and the error in level by band; textures call it otherwise."""


class ForgeHost(Protocol):
    """What the forge needs of the connection to the host; all raise DuendeError, one line."""

    @property
    def local(self) -> bool:
        """Whether the host runs on this machine."""
        ...

    async def fetch(self, path: str) -> bytes:
        """GET a path on the host."""
        ...

    async def upload(self, path: str, data: Path) -> dict[str, Any]:
        """POST the bytes of a file."""
        ...

    async def order(self, address: str, *values: float | str) -> None:
        """Have the host do something, and wait until it is done."""
        ...


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a page asks to be forged. mode, quality: as in STEPS; replace: a preset of the same name."""

    name: str
    mode: str = "timbre"
    quality: str = "good"
    replace: bool = False


class State(msgspec.Struct):
    """Where things stand, as pages are told.

    phase: empty, taking, ready (a recording is there), forging, installing, done or failed. run: another number where
    curves and pictures begin anew. local: the sound is made on the same machine.
    """

    phase: str = "empty"
    title: str = ""
    suggested: str = ""
    seconds: float = 0.0
    level: float = 0.0
    outline: list[float] = []
    name: str = ""
    mode: str = "timbre"
    doing: str = ""
    step: int = 0
    steps: int = 0
    spent: float = 0.0
    trouble: str = ""
    notices: list[str] = []
    local: bool = False
    run: int = 0


class ForgeView(Element, component="static/forge.js"):
    """The page's picture of it; draws itself from what /forge/live tells."""


class Forge:
    """The forge of this process. command: runs duende, None: this one. to: where the page's requests are answered."""

    def __init__(self, host: ForgeHost, command: Sequence[str] | None = None, to: Starlette = app) -> None:
        self.state = State()
        self._host, self._command = host, tuple(DUENDE if command is None else command)
        self._folder: Path | None = None
        self._job: Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._run = 0
        self._points: list[list[float]] = []
        self._pictures: dict[str, dict[str, Any]] = {}
        self._pages: set[_Page] = set()
        self._teller: asyncio.TimerHandle | None = None
        self._join(to)

    def page(self) -> None:
        """Build it inside the element that is being filled."""
        ui.add_head_html(f"<style>{(STATIC / 'forge.css').read_text(encoding='utf-8')}</style>")
        ForgeView()

    # -- orders --------------------------------------------------------------------------------------------------

    async def take(self, name: str, write: Callable[[Path], Awaitable[None]]) -> None:
        """A recording that `write` brings, called `name` where it came from; DuendeError where it does not do."""
        self._must_rest()
        before = self.state
        folder = self._fresh_folder()
        self.state = State("taking", title=name, local=self._host.local)
        self._tell()
        source, fresh = folder / f"source{suffix_of(name)}", folder / "fresh.wav"
        try:
            await write(source)
            clip = await asyncio.to_thread(take_in, source, fresh)
            fresh.replace(folder / "style.wav")
        except BaseException:
            self.state = before
            raise
        finally:
            for left in (source, fresh):
                left.unlink(missing_ok=True)
            self._tell()
        self.state = _ready(name, clip)
        self._clear()

    async def take_played(self) -> None:
        """The last half minute of what the host heard."""

        async def write(path: Path) -> None:
            path.write_bytes(await self._host.fetch("/files/played.wav"))

        await self.take("what was played.wav", write)

    async def start(self, order: Order) -> None:
        """Begin to forge; DuendeError where that cannot be."""
        self._must_rest()
        if self._folder is None or self.state.phase == "empty":
            raise DuendeError("there is no recording yet: drop one, or take what was played")
        if not NAME.fullmatch(order.name):
            raise DuendeError("a name has 1 to 63 small letters, digits, - and _, the first a letter or digit")
        if order.mode not in STEPS:
            raise DuendeError(f"mode {order.mode!r}: choose {' or '.join(STEPS)}")
        if order.quality not in STEPS[order.mode]:
            raise DuendeError(f"quality {order.quality!r}: choose {', '.join(STEPS[order.mode])}")
        if not order.replace:
            if order.name in _names(await self._host.fetch("/files/presets")):
                raise TakenError(f"there is a preset {order.name!r} already: replace it, or choose another name")
            self._must_rest()
        self._clear()
        self._set(phase="forging", name=order.name, mode=order.mode, doing="starting", step=0, steps=0, spent=0.0)
        self._set(trouble="", notices=[])
        self._task = asyncio.get_running_loop().create_task(self._forge(order, self._folder))

    def finish(self) -> None:
        """Keep what was learned so far."""
        if self._job is None or self.state.phase != "forging":
            raise DuendeError("nothing is being forged")
        self._job.finish()
        self._set(doing="finishing with the best so far")

    async def cancel(self) -> None:
        """Give it up."""
        if self._job is not None:
            await self._job.end()
        task = self._task
        if task is not None and self.state.phase in ("forging", "installing"):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def play(self) -> None:
        """Have the host play what was forged."""
        if self.state.phase != "done":
            raise DuendeError("nothing is forged yet")
        await self._host.order("/duende/preset/load", self.state.name)

    async def close(self) -> None:
        """End everything, and leave nothing behind."""
        await self.cancel()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- the work ------------------------------------------------------------------------------------------------

    async def _forge(self, order: Order, folder: Path) -> None:
        home = folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        job = self._job = Job(home, single=self._host.local)
        steps = STEPS[order.mode][order.quality]
        wanted = ("--name", order.name, "--mode", order.mode, "--steps", str(steps), "--progress-json")
        packed = home / PACKED
        try:
            await job.run([*self._command, "forge", str(folder / "style.wav"), *wanted], self._hear)
            self._set(phase="installing", doing="packing")
            await job.run([*self._command, "preset", "pack", order.name, str(packed)], lambda line: None)
            self._set(doing="on its way to the host")
            await self._host.upload(f"/files/presets{'?force=1' if order.replace else ''}", packed)
            self._set(phase="done", doing="")
        except DuendeError as error:
            self._set(phase="failed", doing="", trouble=str(error))
        except asyncio.CancelledError:
            self._set(phase="ready", doing="", trouble="")
        except Exception as error:
            self._set(phase="failed", doing="", trouble=f"a fault of the forge page: {error!r:.200}")
            raise
        finally:
            self._job = None
            shutil.rmtree(home, ignore_errors=True)

    def _hear(self, line: Mapping[str, Any]) -> None:
        """A line of the forge, which is our own program; what does not fit is passed over."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            event = line["event"]
            if event == "doing":
                self._set(doing=str(line["text"])[:200])
            elif event == "notice":
                self._set(notices=[*self.state.notices[-8:], str(line["text"])[:400]])
            elif event in ("style", "sound"):
                self._pictures[event] = {
                    "which": event,
                    "rows": int(line["rows"]),
                    "frames": int(line["frames"]),
                    "seconds": float(line["seconds"]),
                    "step": int(line.get("step", 0)),
                    "picture": str(line["picture"]),
                }
                self._tell()
            elif event == "step":
                losses = line["losses"]
                curves = [next((losses[name] for name in names if name in losses), 0.0) for _, names in CURVES]
                if len(self._points) < KEPT_STEPS:
                    self._points.append([float(line["step"]), *(round(float(value), 4) for value in curves)])
                self._set(
                    doing="learning", step=int(line["step"]), steps=int(line["steps"]), spent=float(line["seconds"])
                )

    def _must_rest(self) -> None:
        if self.state.phase in ("taking", "forging", "installing"):
            raise DuendeError("the forge is at work: wait until it is done, or cancel it")

    def _fresh_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="duende-forge-"))
        return self._folder

    # -- telling -------------------------------------------------------------------------------------------------

    def _set(self, **changes: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **changes, local=self._host.local, run=self._run)
        self._tell()

    def _clear(self) -> None:
        """Curves and pictures begin anew."""
        self._run += 1
        self._points.clear()
        self._pictures.clear()
        self._set()

    def _tell(self) -> None:
        """Let all pages know soon; a few times a second is enough."""
        if self._teller is None and self._pages:
            self._teller = asyncio.get_running_loop().call_later(TELL_S, self._tell_now)

    def _tell_now(self) -> None:
        self._teller = None
        for page in self._pages:
            page.news.set()

    async def _attend(self, socket: WebSocket) -> None:
        if len(self._pages) >= MAX_PAGES:
            await socket.close(1013)
            return
        await socket.accept()
        page = _Page()
        self._pages.add(page)
        sending = asyncio.create_task(self._send(socket, page))
        try:
            while True:
                await socket.receive_text()
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass
        finally:
            self._pages.discard(page)
            sending.cancel()

    async def _send(self, socket: WebSocket, page: "_Page") -> None:
        """Tell one page what it does not know yet; a slow one is told less often."""
        with contextlib.suppress(WebSocketDisconnect, OSError, RuntimeError):
            while True:
                page.news.clear()
                state = self.state
                if page.run != state.run:
                    page.run, page.told, page.seen = state.run, 0, {}
                told = page.told
                points = self._points[told:]
                page.told = told + len(points)
                message: dict[str, Any] = {"state": state, "from": told, "points": points}
                for which, picture in self._pictures.items():
                    if page.seen.get(which) is not picture:
                        page.seen[which] = picture
                        message.setdefault("pictures", []).append(picture)
                await socket.send_text(msgspec.json.encode(message).decode())
                await page.news.wait()

    # -- the way in ----------------------------------------------------------------------------------------------

    def _join(self, to: Starlette) -> None:
        async def bring(request: Request) -> Response:
            return await _answered(self._bring(request))

        async def take_played(request: Request) -> Response:
            return await _answered(self.take_played())

        async def start(request: Request) -> Response:
            return await _answered(self._start(request))

        async def finish(request: Request) -> Response:
            async def work() -> None:
                self.finish()

            return await _answered(work())

        async def cancel(request: Request) -> Response:
            return await _answered(self.cancel())

        async def play(request: Request) -> Response:
            return await _answered(self.play())

        async def style(request: Request) -> Response:
            path = None if self._folder is None else self._folder / "style.wav"
            if path is None or not path.is_file():
                return PlainTextResponse("there is no recording yet", 404)
            return FileResponse(path, media_type="audio/wav", headers={"Cache-Control": "no-store"})

        orders = (("style", bring), ("played", take_played), ("start", start), ("finish", finish), ("cancel", cancel))
        to.router.routes += [
            *(Route(f"/forge/{name}", work, methods=["POST"]) for name, work in (*orders, ("play", play))),
            Route("/forge/style.wav", style, methods=["GET"]),
            WebSocketRoute("/forge/live", self._attend),
        ]
        if hasattr(to, "on_shutdown"):
            to.on_shutdown(self.close)

    async def _bring(self, request: Request) -> None:
        """A file as the body. Its name says only which of the known endings it is stored under, and what is shown."""
        said = request.headers.get("content-length", "")
        if not said.isdecimal() or int(said) > MAX_UPLOAD:
            raise TooMuchError(f"a recording has at most {MAX_UPLOAD >> 20} MiB")

        async def write(path: Path) -> None:
            size = 0
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > MAX_UPLOAD:
                        raise TooMuchError(f"a recording has at most {MAX_UPLOAD >> 20} MiB")
                    await asyncio.to_thread(file.write, chunk)

        try:
            await self.take(request.query_params.get("name", "")[-120:] or "a recording", write)
        except ClientDisconnect:
            raise DuendeError("the recording did not come whole") from None
        except OSError as error:
            raise DuendeError(f"there is no room for it ({error.strerror or error})") from error

    async def _start(self, request: Request) -> None:
        said = request.headers.get("content-length", "")
        if not said.isdecimal() or int(said) > MAX_ORDER:
            raise TooMuchError("that is no order")
        try:
            order = msgspec.json.decode(await request.body(), type=Order)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise DuendeError(f"that is no order: {error}") from error
        await self.start(order)


def _names(listed: bytes) -> set[str]:
    """The names in a host's list of presets; DuendeError where it is none."""
    try:
        return {one["name"] for one in msgspec.json.decode(listed, type=list[dict[str, Any]])}
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DuendeError("the host's list of presets cannot be read") from error


class TakenError(DuendeError):
    """The host has a preset of that name."""


class TooMuchError(DuendeError):
    """More bytes than are taken in."""


class _Page:
    """One open page. told: points of this run that it knows; seen: pictures by name."""

    def __init__(self) -> None:
        self.run = self.told = 0
        self.seen: dict[str, dict[str, Any]] = {}
        self.news = asyncio.Event()


def _ready(name: str, clip: Clip) -> State:
    """What a page is told of a recording that has been taken in."""
    title = "".join(letter for letter in name if letter.isprintable())
    stem = PurePosixPath(title.lower().replace("\\", "/")).stem
    plain = re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:40].strip("-_")
    return State("ready", title, plain or "style", clip.seconds, clip.level_dbfs, clip.outline)


async def _answered(work: Awaitable[None]) -> Response:
    """Nothing where it went well, else one line."""
    try:
        await work
    except TakenError as error:
        return PlainTextResponse(str(error), 409)
    except TooMuchError as error:
        return PlainTextResponse(str(error), 413)
    except DuendeError as error:
        return PlainTextResponse(" ".join(str(error).split()), 400)
    return Response(status_code=204)
