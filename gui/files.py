"""Files between browser and host: passed on piece by piece, never stored here, under names that the host checks."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from .. import DuendeError
from .link import Link, RefusedError

MAX_PACK = 256 << 20
KINDS = {"duende": "application/octet-stream", "png": "image/png"}


def join_files(app: FastAPI, link: Link) -> None:
    """Offer /host/presets, /host/captures, and packs by name.

    Everything goes to the host's own /files, which looks names up in its library and refuses what is none.
    """

    @app.get("/host/{what}")
    async def listed(what: str) -> Response:
        if what not in ("presets", "captures"):
            return PlainTextResponse("no such list", 404)
        return await _passed(link, f"/files/{what}", "application/json")

    @app.get("/host/presets/{name}.{kind}")
    async def packed(name: str, kind: str) -> Response:
        if kind not in KINDS or len(name) > 200:
            return PlainTextResponse("no such file", 404)
        answer = await _passed(link, f"/files/presets/{quote(name, safe='')}.{kind}", KINDS[kind])
        if kind == "duende" and answer.status_code == 200:
            answer.headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}.duende"
        return answer

    @app.post("/host/presets")
    async def install(request: Request, force: int = 0) -> Response:
        size = request.headers.get("content-length", "")
        if not size.isdecimal():
            return PlainTextResponse("say how long the file is", 411)
        if int(size) > MAX_PACK:
            return PlainTextResponse(f"a preset has at most {MAX_PACK >> 20} MiB", 413)
        try:
            made: dict[str, Any] = await link.upload(f"/files/presets?force={int(bool(force))}", _bounded(request))
        except RefusedError as error:
            return PlainTextResponse(str(error), error.status)
        except DuendeError as error:
            return PlainTextResponse(str(error), 502)
        return Response(str(made.get("name", "")), 201, media_type="text/plain")


async def _passed(link: Link, path: str, kind: str) -> Response:
    """The host's answer as it comes; its refusal is known before the first piece is sent on."""
    pieces = link.stream(path)
    try:
        first = await anext(pieces, b"")
    except RefusedError as error:
        return PlainTextResponse(str(error), error.status)
    except DuendeError as error:
        return PlainTextResponse(str(error), 502)

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return StreamingResponse(rest(), media_type=kind, headers={"Cache-Control": "no-store"})


async def _bounded(request: Request) -> AsyncIterator[bytes]:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_PACK:
            raise DuendeError(f"a preset has at most {MAX_PACK >> 20} MiB")
        yield piece
