"""Serves a listening test to browsers: on this machine alone, or with a word (token) on a network."""

import asyncio
import hashlib
import hmac
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import DuendeError
from ..engine.control.access import is_loopback, parse_host
from ..engine.control.web import Bounds, WebServer
from .captures.heard import RATE, loudness_lufs
from .listen import Listener, Pair, Study, answers_csv, results
from .listen_page import done_page, item_page, refusal_page, results_page, start_page, token_page

Float32 = npt.NDArray[np.float32]

PORT = 7704
LONGEST_S, SHORTEST_S = 120.0, 0.2
TARGET_LUFS, LOUDEST = -23.0, 0.97
MOST_FORM = 4096
WRONG_S = 0.5
"""After a wrong word the answer takes so long, one at a time."""

_BOUNDS = Bounds(connections=256, request_s=60.0)
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none at all, a form's origin reads "null"
}


@dataclass(frozen=True)
class Options:
    """title: of the pages. host: IPv4; others than this machine's own need a token. port: 0 takes a free one."""

    title: str = "Listening test"
    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""
    bounds: Bounds = field(default_factory=lambda: _BOUNDS)

    def __post_init__(self) -> None:
        if not is_loopback(str(parse_host(self.host))) and not self.token:
            raise DuendeError(
                f"--host {self.host} would open the test to the network: give a --token, or stay on 127.0.0.1"
            )
        if not 0 <= self.port <= 65535:
            raise DuendeError(f"--port {self.port} is out of range: 0 to 65535")


def prepare_sounds(pairs: Sequence[Pair], folder: Path) -> dict[Path, str]:
    """Write what is heard into a folder: sound -> name there, which says nothing of its origin.

    48 kHz, 16 bits, one or two channels, without the file's metadata; all sounds of a pair as loud (ITU-R BS.1770-4,
    -23 LUFS, or as much less as the highest peak asks for). DuendeError for what cannot be heard.
    """
    names: dict[Path, str] = {}
    for pair in pairs:
        sounds = {path: _heard(path) for path in (pair.content, pair.style, *pair.results.values())}
        levels = {path: loudness_lufs(audio.mean(axis=1)) for path, audio in sounds.items()}
        for path, level in levels.items():
            if not np.isfinite(level):
                raise DuendeError(f"{path}: silent; there is nothing to hear")
        room = min(-20.0 * np.log10(float(np.abs(audio).max())) + levels[path] for path, audio in sounds.items())
        target = min(TARGET_LUFS, float(room) + 20.0 * np.log10(LOUDEST))
        for path, audio in sounds.items():
            names[path] = f"{secrets.token_hex(8)}.wav"
            gain = np.float32(10.0 ** ((target - levels[path]) / 20.0))
            soundfile.write(folder / names[path], audio * gain, RATE, "PCM_16")
    return names


def listening_app(study: Study, options: Options, sounds: Mapping[Path, str], folder: Path, key: str) -> ASGIApp:
    """The test as an ASGI app. sounds, folder: of `prepare_sounds`; key: opens the results."""
    return _Gate(Starlette(routes=_Pages(study, options, sounds, folder, key).routes()), options)


def serve(study: Study, options: Options, done: threading.Event, say: Callable[[str], None]) -> None:
    """Serve until `done` is set; tells the addresses of the test and of its results. DuendeError without the port."""
    with tempfile.TemporaryDirectory(prefix="duende-listen-") as place:
        folder = Path(place)
        sounds = prepare_sounds(list(study.pairs.values()), folder)
        key = secrets.token_urlsafe(9)
        asyncio.run(_serve(listening_app(study, options, sounds, folder, key), options, key, done, say))


async def _serve(app: ASGIApp, options: Options, key: str, done: threading.Event, say: Callable[[str], None]) -> None:
    web = WebServer(app, options.bounds)
    port = await web.start(options.host, options.port)
    address = f"http://{options.host}:{port}/"
    word = f"?token={quote(options.token)}" if options.token else ""
    say(f"listeners open {address}{word}")
    say(f"results, for you alone: {address}results?key={key}{word.replace('?', '&')}")
    try:
        while not done.is_set():
            await asyncio.sleep(0.1)
    finally:
        await web.stop()


class _Pages:
    """What is answered to whom."""

    def __init__(self, study: Study, options: Options, sounds: Mapping[Path, str], folder: Path, key: str) -> None:
        self._study, self._options, self._sounds, self._folder, self._key = study, options, sounds, folder, key
        self._names = frozenset(sounds.values())
        # Cookies know no ports.
        self._cookie = f"duende_listener_{options.port}"

    def routes(self) -> list[Route]:
        return [
            Route("/", self._start),
            Route("/start", self._begin, methods=["POST"]),
            Route("/item/{place:int}", self._item, methods=["GET", "HEAD"]),
            Route("/item/{place:int}", self._answer, methods=["POST"]),
            Route("/sound/{name}", self._sound),
            Route("/leave", self._leave, methods=["POST"]),
            Route("/results", self._results),
            Route("/answers.csv", self._csv),
        ]

    def _start(self, request: Request) -> Response:
        listener = self._listener(request)
        if listener is not None:
            return self._onward(listener)
        return HTMLResponse(self._start_text(""))

    async def _begin(self, request: Request) -> Response:
        form = await _form(request)
        try:
            listener = await asyncio.to_thread(self._study.begin, form.get("name", ""))
        except DuendeError as error:
            return HTMLResponse(self._start_text(str(error)), 400)
        answer = self._onward(listener)
        answer.set_cookie(self._cookie, listener.key, 90 * 24 * 3600, path="/", httponly=True, samesite="strict")
        return answer

    def _item(self, request: Request) -> Response:
        listener = self._listener(request)
        if listener is None:
            return RedirectResponse("/", 303)
        place = request.path_params["place"]
        if place not in self._study.places(listener):
            return self._onward(listener)
        return HTMLResponse(self._item_text(listener, place))

    async def _answer(self, request: Request) -> Response:
        listener = self._listener(request)
        if listener is None:
            return RedirectResponse("/", 303)
        place, form = request.path_params["place"], await _form(request)
        values = {name: int(text) for name, text in form.items() if text.isdecimal() and len(text) < 6}
        try:
            listener = await asyncio.to_thread(self._study.answer, listener.key, place, values)
        except DuendeError as error:
            if place not in self._study.places(listener):
                return HTMLResponse(refusal_page(self._options.title, str(error)), 404)
            return HTMLResponse(self._item_text(listener, place, str(error)), 400)
        return self._onward(listener)

    def _sound(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._names:
            return PlainTextResponse("no such sound", 404)
        return FileResponse(self._folder / name, media_type="audio/wav")

    async def _leave(self, request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self._cookie, path="/", httponly=True, samesite="strict")
        return answer

    def _results(self, request: Request) -> Response:
        if not self._may(request):
            return HTMLResponse(refusal_page(self._options.title, "Results need the key that the program told."), 403)
        found = results(self._study.listeners, self._study.scales)
        text = results_page(
            f"{self._options.title}: results", found, self._study.scales, f"/answers.csv?key={self._key}"
        )
        return HTMLResponse(text)

    def _csv(self, request: Request) -> Response:
        if not self._may(request):
            return PlainTextResponse("a key is needed", 403)
        text = answers_csv(self._study.listeners, self._study.scales)
        headers = {"Content-Disposition": 'attachment; filename="answers.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    def _listener(self, request: Request) -> Listener | None:
        return self._study.find(request.cookies.get(self._cookie, ""))

    def _may(self, request: Request) -> bool:
        return hmac.compare_digest(request.query_params.get("key", "").encode(), self._key.encode())

    def _onward(self, listener: Listener) -> Response:
        place = self._study.next_place(listener)
        if place is not None:
            return RedirectResponse(f"/item/{place}", 303)
        return HTMLResponse(done_page(self._options.title, len(self._study.places(listener))))

    def _start_text(self, trouble: str) -> str:
        count = sum(len(pair.results) for pair in self._study.pairs.values())
        return start_page(self._options.title, count, self._study.scales, trouble)

    def _item_text(self, listener: Listener, place: int, trouble: str = "") -> str:
        pair_name, system = listener.order[place - 1]
        pair, places = self._study.pairs[pair_name], self._study.places(listener)
        given = self._study.answer_at(listener, place)
        at = places.index(place)
        paths = {"content": pair.content, "style": pair.style, "result": pair.results[system]}
        return item_page(
            self._options.title,
            place,
            at + 1,
            sum(self._study.answer_at(listener, one) is not None for one in places),
            len(places),
            self._study.scales,
            {name: f"/sound/{self._sounds[path]}" for name, path in paths.items()},
            None if given is None else given.values,
            places[at - 1] if at else None,
            trouble,
        )


class _Gate:
    """Lets in who may: under numbers or localhost, from pages of its own, with the token where there is one."""

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self._app, self._options = app, options
        self._cookie = f"duende_listen_word_{options.port}"
        self._secret = hmac.new(options.token.encode(), b"duende listen", hashlib.sha256).hexdigest()
        self._guessing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer: ASGIApp = self._foreign(request) or await self._asked(request) or self._app

        async def with_headers(message: dict) -> None:  # type: ignore[type-arg]
            if message["type"] == "http.response.start":
                kept = "private, max-age=3600" if request.url.path.startswith("/sound/") else "no-store"
                own = {**_HEADERS, "Cache-Control": kept}
                added = [(name.lower().encode(), value.encode()) for name, value in own.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await answer(scope, receive, with_headers)  # type: ignore[arg-type]

    def _foreign(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not _is_number(_name_of(f"//{host}")) and _name_of(f"//{host}") != "localhost":
            return PlainTextResponse("open this test under its number", 403)
        if request.method not in ("GET", "HEAD"):
            origin = request.headers.get("origin")
            site = request.headers.get("sec-fetch-site", "same-origin")
            if (origin is not None and origin != f"http://{host}") or site not in ("same-origin", "none"):
                return PlainTextResponse("pages from elsewhere may not do that", 403)
        return None

    async def _asked(self, request: Request) -> Response | None:
        """What who has not given the token gets; None for the others."""
        if not self._options.token:
            return None
        if hmac.compare_digest(request.cookies.get(self._cookie, "").encode(), self._secret.encode()):
            return None
        given = request.query_params.get("token")
        if given is None:
            return HTMLResponse(token_page(self._options.title), 401)
        async with self._guessing:
            if not hmac.compare_digest(given.encode(), self._options.token.encode()):
                await asyncio.sleep(WRONG_S)
                return HTMLResponse(token_page(self._options.title, "That is another word."), 401)
        key = request.query_params.get("key", "")
        path = f"/results?key={quote(key)}" if request.url.path == "/results" else "/"
        answer = RedirectResponse(path, 303)
        answer.set_cookie(self._cookie, self._secret, 90 * 24 * 3600, path="/", httponly=True, samesite="strict")
        return answer


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; none of a larger one."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_FORM:
            return {}
    try:
        fields = parse_qs(data.decode("ascii"), max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _heard(path: Path) -> Float32:
    """A sound [samples, channels] at RATE, one or two channels."""
    try:
        with soundfile.SoundFile(path) as sound:
            seconds = sound.frames / sound.samplerate
            if not SHORTEST_S <= seconds <= LONGEST_S:
                raise DuendeError(f"{path}: {seconds:.2f} s long; a test takes {SHORTEST_S:g} to {LONGEST_S:g} s")
            audio, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise DuendeError(f"{path}: not a readable sound file ({str(error).strip().rstrip('.')})") from error
    if not np.isfinite(audio).all():
        raise DuendeError(f"{path}: holds samples that are not numbers")
    kept = audio if audio.shape[1] <= 2 else audio.mean(axis=1, keepdims=True)
    return np.asarray(kept if rate == RATE else soxr.resample(kept, rate, RATE), dtype=np.float32)


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _is_number(name: str) -> bool:
    try:
        parse_host(name)
    except DuendeError:
        return False
    return True
