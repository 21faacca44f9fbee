"""Who may open the GUI: names and numbers of this machine, pages of its own, and on a network who knows the token."""

import asyncio
import hashlib
import hmac
import html
import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

WRONG_S = 0.5
"""After a wrong token the answer takes so long, one at a time: guessing is slow."""
MAX_FORM = 4096
MAX_AGE_S = 180 * 24 * 3600
LOGIN = "/login"

HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Gate:
    """ASGI middleware around the whole GUI, WebSockets included.

    token: what a browser has to give once, as ?token=... or in the form; "" lets all in who reach the port.
    names: beside numbers, localhost and this machine's own, under which browsers may reach it.
    """

    def __init__(self, app: ASGIApp, token: str = "", port: int = 7702, names: frozenset[str] = frozenset()) -> None:
        self._app, self._token = app, token
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local"} | {name.lower() for name in names}
        # Cookies know no ports: two GUIs on a machine must not log each other out.
        self._cookie = f"duende_{port}"
        self._secret = hmac.new(token.encode(), b"duende gui", hashlib.sha256).hexdigest()
        self._guessing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may, answer the rest."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refusal = self._foreign(connection)
        if refusal is None and self._token and not self._known(connection):
            refusal = await self._introduce(scope, receive)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            refusal.headers.update(HEADERS)
            await refusal(scope, receive, send)

    def _foreign(self, connection: HTTPConnection) -> Response | None:
        """What another site's page, or a foreign name for this machine, is told."""
        host = _host_of(f"//{connection.headers.get('host', '')}")
        if not _is_number(host) and host not in self._names:
            return PlainTextResponse("this GUI does not answer to that name", 403)
        changes = connection.scope["type"] == "websocket" or connection.scope["method"] not in ("GET", "HEAD")
        if changes and not _same_site(connection.headers):
            return PlainTextResponse("pages from elsewhere may not do that", 403)
        return None

    def _known(self, connection: HTTPConnection) -> bool:
        try:
            cookie = SimpleCookie(connection.headers.get("cookie", "")[:8192])
        except CookieError:
            return False
        given = cookie[self._cookie].value if self._cookie in cookie else ""
        return hmac.compare_digest(given.encode(), self._secret.encode())

    async def _introduce(self, scope: Scope, receive: Receive) -> Response:
        """Let in who gives the token, ask the others for it."""
        if scope["type"] == "websocket":
            return PlainTextResponse("a token is needed", 401)
        request = Request(scope, receive)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        if given is None and request.method == "POST" and scope["path"] == LOGIN:
            given = await _form_token(request)
        if given is None:
            if request.method == "GET" and scope["path"] == "/":
                return HTMLResponse(_form(""), 401)
            return PlainTextResponse("a token is needed", 401)
        async with self._guessing:
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                await asyncio.sleep(WRONG_S)
                return HTMLResponse(_form("That is another token."), 401)
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" if scope["path"] == LOGIN or not scope["path"].startswith("/") else "/" + scope["path"].lstrip("/")
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(self._cookie, self._secret, MAX_AGE_S, path="/", httponly=True, samesite="strict")
        return answer


async def _form_token(request: Request) -> str | None:
    size = request.headers.get("content-length", "")
    if not size.isdecimal() or int(size) > MAX_FORM:
        return None
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_FORM:
            return None
    return parse_qs(data.decode("latin-1")).get("token", [""])[0]


def _with_headers(send: Send) -> Send:
    async def sent(message: dict) -> None:  # type: ignore[type-arg]
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", []),
                *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
            ]
        await send(message)

    return sent  # type: ignore[return-value]


def _same_site(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is None:
        # A browser names it wherever it matters; `Sec-Fetch-Site` says so where it does not.
        return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return _place_of(origin) == _place_of(f"http://{headers.get('host', '')}")


def _place_of(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", None


def _host_of(url: str) -> str:
    return _place_of(url)[0]


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _form(text: str) -> str:
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>duende</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: #0d0b0a; color: #f4ece4;
  font: 600 20px/1.4 Roboto, "Helvetica Neue", system-ui, sans-serif }}
form {{ display: grid; gap: 16px; width: min(88vw, 360px) }}
h1 {{ font-size: 44px; font-weight: 800; letter-spacing: -.03em; margin: 0; color: #ff7a3d }}
input, button {{ font: inherit; padding: 16px; border-radius: 14px; border: 0; min-width: 0 }}
input {{ background: #211c19; color: inherit }}
button {{ background: #ff7a3d; color: #190a02; font-weight: 800 }}
p {{ margin: 0; color: #ffb08a; min-height: 1.4em }}
</style>
<form method="post" action="{LOGIN}"><h1>duende</h1>
<label for="token">Token of this host</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Play</button><p role="alert">{html.escape(text)}</p></form></html>"""
