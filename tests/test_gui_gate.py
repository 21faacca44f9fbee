"""Who gets into the GUI: tokens, foreign names, foreign pages; HTTP and WebSockets alike."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message, Scope
from starlette.websockets import WebSocket

from duende.gui import gate
from duende.gui.gate import Gate

PORT = 7702


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("in")


async def live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


def guarded(token: str = "") -> Gate:
    routes = [Route("/{rest:path}", home, methods=["GET", "POST"]), WebSocketRoute("/live", live)]
    return Gate(Starlette(routes=routes), token, PORT, frozenset({"stage.box"}))


def client(gate: Gate, host: str = "127.0.0.1") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=gate), base_url=f"http://{host}:{PORT}")


def socket_answer(app: Gate, headers: dict[str, str]) -> str:
    """What a WebSocket's handshake is answered with."""
    scope: Scope = {
        "type": "websocket", "path": "/live", "raw_path": b"/live", "query_string": b"", "scheme": "ws",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()], "subprotocols": [],
        "client": ("127.0.0.1", 5), "server": ("127.0.0.1", PORT), "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return str(sent[0].get("status", sent[0]["type"]))


def test_without_a_token_this_machine_gets_in() -> None:
    async def go() -> None:
        async with client(guarded()) as one:
            answer = await one.get("/")
            assert (answer.status_code, answer.text) == (200, "in")
            assert answer.headers["x-frame-options"] == "DENY"

    asyncio.run(go())


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_a_foreign_name_for_this_machine_does_not(host: str) -> None:
    async def go() -> int:
        async with client(guarded()) as one:
            return (await one.get("/", headers={"host": host})).status_code

    assert asyncio.run(go()) == 403


@pytest.mark.parametrize("host", ["localhost:7702", "192.168.1.9:7702", "[::1]:7702", "stage.box"])
def test_numbers_and_its_own_names_do(host: str) -> None:
    async def go() -> int:
        async with client(guarded()) as one:
            return (await one.get("/", headers={"host": host})).status_code

    assert asyncio.run(go()) == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"http://127.0.0.1:{PORT}", 200),
        ("http://127.0.0.1:9999", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_pages_from_elsewhere_change_nothing(origin: str, status: int) -> None:
    async def go() -> int:
        async with client(guarded()) as one:
            return (await one.post("/host/presets", headers={"origin": origin})).status_code

    assert asyncio.run(go()) == status
    answer = socket_answer(guarded(), {"host": f"127.0.0.1:{PORT}", "origin": origin})
    assert answer == ("websocket.accept" if status == 200 else "403")


def test_a_form_sent_without_an_origin_from_elsewhere_is_refused() -> None:
    async def go() -> int:
        async with client(guarded()) as one:
            return (await one.post("/", headers={"sec-fetch-site": "cross-site"})).status_code

    assert asyncio.run(go()) == 403


def test_the_token_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WRONG_S", 0.0)

    async def go() -> None:
        async with client(guarded("secret")) as one:
            assert (await one.get("/")).status_code == 401
            assert (await one.get("/host/presets")).status_code == 401
            assert (await one.get("/?token=wrong")).status_code == 401
            assert (await one.post("/login", data={"token": "wrong"})).status_code == 401
            given = await one.get("/?view=chain&token=secret")
            assert (given.status_code, given.headers["location"]) == (303, "/?view=chain")
            assert "httponly" in given.headers["set-cookie"].lower()
            assert "samesite=strict" in given.headers["set-cookie"].lower()
            assert "secret" not in given.headers["set-cookie"]
            assert (await one.get("/")).text == "in"
        async with client(guarded("secret")) as other:
            assert (await other.post("/login", data={"token": "secret"})).status_code == 303
            assert (await other.get("/")).text == "in"
        async with client(guarded("another")) as third:
            third.cookies = other.cookies
            assert (await third.get("/")).status_code == 401

    asyncio.run(go())


def test_a_websocket_needs_the_cookie() -> None:
    app = guarded("secret")
    own = {"host": f"127.0.0.1:{PORT}", "origin": f"http://127.0.0.1:{PORT}"}
    assert socket_answer(app, own) == "401"
    assert socket_answer(app, own | {"cookie": f"duende_{PORT}=guess"}) == "401"

    async def cookie() -> str:
        async with client(app) as one:
            return (await one.get("/?token=secret")).headers["set-cookie"].split(";")[0]

    assert socket_answer(app, own | {"cookie": asyncio.run(cookie())}) == "websocket.accept"


def test_the_token_sends_nobody_elsewhere() -> None:
    async def go() -> str:
        async with client(guarded("secret")) as one:
            answer = await one.get(f"http://127.0.0.1:{PORT}//evil.example/x?token=secret")
            return str(answer.headers["location"])

    assert asyncio.run(go()) == "/evil.example/x"
