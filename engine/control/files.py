"""Files over HTTP, beside the tree of addresses: presets packed and installed, pictures, lists, and what was played.

    GET  /files/presets                 what there is, as JSON
    GET  /files/presets/NAME.duende     a packed preset
    POST /files/presets[?force=1]       install one: the bytes of the file are the body
    GET  /files/presets/NAME.png        the picture of its style
    GET  /files/captures                what there is, as JSON
    GET  /files/played.wav              what was played last

Names are names in the library; nothing else in a URL becomes a path. What is refused is refused in one line of text.
Who may ask at all was decided before.
"""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ... import DuendeError
from ...presets.library import NameTakenError
from ...presets.pack import MAX_TOTAL_BYTES, PACK_SUFFIX
from .played import Played
from .shelf import Shelf
from .web import EXTEND

FILES = "/files"
PICTURE_SUFFIX = ".png"
UPLOADS = 2
"""That are taken in at a time."""
STEP_BYTES = 2**18
"""Whoever sends or takes fewer than these in the time that a request may last is cut off."""
DRAIN_S = 3.0
PLAIN = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class _RefusedError(Exception):
    """What is answered instead: an HTTP status and one line."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers or {}


class Files:
    """An ASGI application for everything below FILES. most: bytes that an upload may have."""

    def __init__(self, shelf: Shelf, played: Played, most: int = MAX_TOTAL_BYTES) -> None:
        self._shelf, self._played, self._most = shelf, played, most
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        extend: Callable[[], None] = scope.get("state", {}).get(EXTEND, lambda: None)

        async def send_on(message: Message) -> None:
            await send(message)
            extend()

        request = Request(scope, receive)
        with tempfile.TemporaryDirectory(prefix="duende-") as folder:
            try:
                response = await self._answer(request, Path(folder), extend)
            except _RefusedError as refused:
                response = PlainTextResponse(refused.text, refused.status, refused.headers)
            except ClientDisconnect:
                return
            response.headers.update(PLAIN)
            await response(scope, receive, send_on)

    async def _answer(self, request: Request, folder: Path, extend: Callable[[], None]) -> Response:
        path = request.scope["path"].removeprefix(FILES).strip("/")
        shelf, name = self._shelf, path.removeprefix("presets/")
        if path == "presets" and request.method == "POST":
            return await self._install(request, folder, extend)
        if request.method not in ("GET", "HEAD"):
            raise _RefusedError(405, "only GET", {"Allow": "GET, HEAD, POST" if path == "presets" else "GET, HEAD"})
        if path == "presets":
            return JSONResponse([one.as_json() for one in await shelf.presets()])
        if path == "captures":
            return JSONResponse(await shelf.captures())
        if path == "played.wav":
            try:
                sound = await asyncio.to_thread(self._played.wav())
            except DuendeError as error:
                raise _RefusedError(409, _line(error)) from error
            return Response(sound, media_type="audio/wav")
        if path.startswith("presets/") and name.endswith(PACK_SUFFIX):
            return await self._pack(name.removesuffix(PACK_SUFFIX), folder)
        if path.startswith("presets/") and name.endswith(PICTURE_SUFFIX):
            return self._picture(name.removesuffix(PICTURE_SUFFIX))
        raise _RefusedError(404, "no such file: /files/presets and /files/captures say what there is")

    async def _pack(self, name: str, folder: Path) -> Response:
        try:
            target = await self._shelf.pack(name, folder / f"packed{PACK_SUFFIX}")
        except DuendeError as error:
            raise _RefusedError(404, _line(error)) from error
        return FileResponse(target, media_type="application/zip", filename=f"{name}{PACK_SUFFIX}")

    def _picture(self, name: str) -> Response:
        try:
            picture = self._shelf.picture(name)
        except DuendeError as error:
            raise _RefusedError(404, _line(error)) from error
        if picture is None:
            raise _RefusedError(404, f"preset {name!r} has no picture")
        return FileResponse(picture, media_type="image/png")

    async def _install(self, request: Request, folder: Path, extend: Callable[[], None]) -> Response:
        force = dict(parse_qsl(request.url.query)).get("force", "") not in ("", "0")
        if self._uploads >= UPLOADS:
            raise _RefusedError(503, "other files are being taken in: try again in a moment", {"Retry-After": "5"})
        self._uploads += 1
        try:
            # The one name that a file from the network is ever given.
            path = folder / f"upload{PACK_SUFFIX}"
            await self._take_in(request, path, extend)
            name = await self._shelf.install(path, force=force)
        except NameTakenError as error:
            raise _RefusedError(409, _line(error)) from error
        except DuendeError as error:
            raise _RefusedError(400, _line(error)) from error
        finally:
            self._uploads -= 1
        return JSONResponse({"name": name}, 201)

    async def _take_in(self, request: Request, path: Path, extend: Callable[[], None]) -> None:
        """Write the body to a file, as it comes."""
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said) > self._most:
            await self._turn_away(request)
        size = since = 0
        try:
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size, since = size + len(chunk), since + len(chunk)
                    if size > self._most:
                        await self._turn_away(request)
                    if since >= STEP_BYTES:
                        since = 0
                        extend()
                    await asyncio.to_thread(file.write, chunk)
        except OSError as error:
            raise _RefusedError(507, f"there is no room for the file ({error.strerror or error})") from error
        if not size:
            raise _RefusedError(400, "nothing came: the bytes of a packed preset are the body")

    async def _turn_away(self, request: Request) -> None:
        """Hear the rest out for a moment: many clients read no answer before they have said all."""
        try:
            async with asyncio.timeout(DRAIN_S):
                async for _ in request.stream():
                    pass
        except (TimeoutError, RuntimeError):
            pass
        raise _RefusedError(413, f"the file is too large: at most {self._most / 2**20:g} MiB are taken in")


def _line(error: DuendeError) -> str:
    return " ".join(str(error).split())
