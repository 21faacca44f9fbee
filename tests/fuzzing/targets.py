"""Everything that takes bytes from outside: how it is given them, good examples to begin from, how to spoil those.

A target opens, in a folder of its own, a function that is given bytes. It returns, whatever they are; what a user is
told as `DuendeError` counts as returning. It raises AssertionError where an answer is not as it should be, and lets
out whatever else is raised: both are finds.
"""

import asyncio
import functools
import io
import json
import logging
import os
import random
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mido
import msgspec
import numpy as np
import soundfile
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from duende import DuendeError
from duende.engine.control.access import parse_networks
from duende.engine.control.files import Files
from duende.engine.control.framing import Framing
from duende.engine.control.midi_map import Binding, MidiMap
from duende.engine.control.osc import Message, bundle, decode, encode
from duende.engine.control.oscquery import OscQuery
from duende.engine.control.parts import Parts
from duende.engine.control.settings import read_settings
from duende.engine.control.subscriptions import Subscriptions
from duende.engine.model import ALLOWED_OPS, load_model
from duende.engine.processor import StreamSpec
from duende.engine.response import load_response
from duende.engine.slots import kind_of, processor_for
from duende.engine.spec import METADATA_KEY
from duende.engine.waveform import WaveformProcessor
from duende.engine.waveform_model import ALLOWED_OPS as WAVEFORM_OPS
from duende.engine.waveform_model import open_waveform
from duende.export.captures.graph import convert
from duende.export.captures.read import read_capture
from duende.export.sounds import load_sound
from duende.gui.clip import take_in
from duende.gui.gate import Gate
from duende.gui.link import Link
from duende.gui.mirror import Mirror
from duende.gui.pages import Page, Pages
from duende.gui.target import Target as HostTarget
from duende.presets.format import FORMAT, Preset, SlotPreset, decode_preset, encode_preset, hash_of
from duende.presets.library import Library
from duende.presets.pack import MANIFEST, Manifest, install
from duende.presets.set_list import SetLists
from fuzzing.mutators import (
    Mutator,
    bytes_with,
    mutate_bytes,
    mutate_json,
    mutate_sound,
    mutate_toml,
    onnx_with,
    zip_of,
    zip_with,
)
from models import tiny_model, tiny_texture, tiny_weights, write_model
from networks import FEATURES, capture, wavenet
from osc_peers import DeskClock, DeskPeer
from sessions import tiny_session

Harness = Callable[[bytes], None]

CORPUS = Path(__file__).parents[1] / "corpus" / "fuzz"
"""Per target a folder of inputs that once broke it, or that reach what the examples do not."""


@dataclass(frozen=True)
class Target:
    """name; what: in words; open: makes the harness in a folder; seeds: good inputs; mutate: spoils one.

    code: parts of the package whose lines it is to reach.
    """

    name: str
    what: str
    open: Callable[[Path], AbstractContextManager[Harness]]
    seeds: Callable[[], list[bytes]]
    mutate: Mutator
    code: tuple[str, ...]


# -- control: OSC, HTTP, WebSockets, MIDI ------------------------------------------------------------------------------


class _Alarm(logging.Handler):
    """Raises, in the end, what the program logs as its own fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def check(self) -> None:
        if self.texts:
            text, self.texts = self.texts[0], []
            raise AssertionError(text)


class _Control:
    """Control without sound or sockets: the parts on a session, and an event loop that turns while there is work."""

    def __init__(self, folder: Path) -> None:
        os.environ["DUENDE_HOME"] = str(folder / "home")
        self.folder = folder
        self.alarm = _Alarm()
        for name in ("duende", "uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(self.alarm)
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._escaped)
        self.session = tiny_session(folder)
        bindings = [Binding("mix", "control", 7), Binding("amount", "control14", 1), Binding("tap", "note", 36)]
        bindings += [Binding("mute", "control", 64, curve="toggle"), Binding("output/gain", "control", 8, pickup=True)]
        self.parts = Parts.build(self.session, self.loop.call_soon, 0, MidiMap(bindings))
        self.peer = DeskPeer()
        self.clock = DeskClock()
        self.others: dict[tuple[str, int], DeskPeer] = {}
        Subscriptions(self.parts.namespace, self.clock, self._other).join(self.parts.dispatcher, self.session)
        self.session.structured.append(self.parts.renew)
        self.do(self.session.load("duo"))
        self.parts.renew()

    def _other(self, host: str, port: int) -> DeskPeer:
        self.others = {} if len(self.others) > 64 else self.others
        return self.others.setdefault((host, port), DeskPeer(host=host, port=port))

    def _escaped(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.alarm.texts.append(f"{context.get('message')}: {context.get('exception')!r}")

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def turn(self) -> None:
        """Let everything come to its end that was begun."""

        async def settle() -> None:
            await asyncio.sleep(0)
            tasks = self.parts.dispatcher._tasks
            if tasks:
                _, late = await asyncio.wait(set(tasks), timeout=20.0)
                assert not late, f"orders that do not end: {late}"

        self.do(settle())
        self.clock.turn(0.02)

    def check(self) -> None:
        """Nothing failed by a fault of the program, and every answer is OSC that a client can read."""
        self.alarm.check()
        for peer in (self.peer, *self.others.values()):
            packets, peer.packets = peer.packets, []
            for packet in packets:
                decode(packet)
        counters = self.parts.dispatcher.counters
        failed, counters["failed"] = counters["failed"], 0
        assert not failed, "a fault of the host"
        for file in (self.folder / "home" / "recordings").glob("*"):
            file.unlink()

    def close(self) -> None:
        for name in ("duende", "uvicorn.error", "asyncio"):
            logging.getLogger(name).removeHandler(self.alarm)
        self.do(self.parts.recorder.end())
        self.do(self.parts.dispatcher.close())
        self.do(self.loop.shutdown_default_executor())
        self.loop.close()


@contextmanager
def _control(folder: Path) -> Iterator[_Control]:
    before = os.environ.get("DUENDE_HOME")
    control = _Control(folder)
    try:
        yield control
    finally:
        control.close()
        if before is None:
            del os.environ["DUENDE_HOME"]
        else:
            os.environ["DUENDE_HOME"] = before


@contextmanager
def _osc(folder: Path) -> Iterator[Harness]:
    with _control(folder) as control:

        async def receive(data: bytes) -> int:
            return control.parts.dispatcher.receive(data, control.peer)

        def fuzz(data: bytes) -> None:
            work = control.do(receive(data))
            assert 1 <= work <= 65536, f"work {work}"
            control.turn()
            control.check()

        yield fuzz


@functools.cache
def _osc_seeds() -> list[bytes]:
    messages: list[tuple[str, list[Any]]] = [
        ("/duende/amount", [0.5]),
        ("/duende/slot/1/mix", []),
        ("/duende/slot/*/bypass", [True]),
        ("/duende/{mix,am*}/normalized", [0.25, "#7"]),
        ("/duende/style/xy", [0.25, 0.75]),
        ("/duende/preset/load", ["solo", "#load"]),
        ("/duende/preset/load", [1]),
        ("/duende/preset/save", ["mine"]),
        ("/duende/preset/find", ["tag:x duo", 0, "#1"]),
        ("/duende/preset/info", ["duo", "#1"]),
        ("/duende/preset/describe", ["mine", "words", "a,b"]),
        ("/duende/preset/duplicate", ["duo", "mine2"]),
        ("/duende/preset/delete", ["mine"]),
        ("/duende/preset/preload", ["duo solo wire"]),
        ("/duende/setlist/load", ["none"]),
        ("/duende/snapshot/store", [3]),
        ("/duende/snapshot/recall", [3, 0.5]),
        ("/duende/slot/add", ["duo"]),
        ("/duende/slot/add", ["fx:delay"]),
        ("/duende/slot/1/load", ["cabinet:4x12"]),
        ("/duende/slot/1/branch", ["a"]),
        ("/duende/slot/1/move", [1]),
        ("/duende/slot/1/remove", []),
        ("/duende/undo", []),
        ("/duende/redo", []),
        ("/duende/compare", ["b"]),
        ("/duende/compare/copy", []),
        ("/duende/tempo", [120.0]),
        ("/duende/tap", []),
        ("/duende/tuner", [1]),
        ("/duende/midi/learn", ["mix"]),
        ("/duende/midi/bind", ["mix", "control", 7, 1, 0.0, 1.0, "toggle"]),
        ("/duende/midi/forget", ["mix"]),
        ("/duende/fx/find", ["de", 0, "#1"]),
        ("/duende/capture/find", ["", 0, "#1"]),
        ("/duende/capture/info", ["x", "#1"]),
        ("/duende/cabinet/find", ["", 0, "#1"]),
        ("/duende/subscribe", [9000, "", 60.0]),
        ("/duende/subscribe", [0]),
        ("/duende/unsubscribe", [9000]),
        ("/duende/spectrum", [1]),
        ("/duende/status/reset", []),
        ("/duende/status/osc", []),
        ("/duende/record/keep", [1.5]),
        ("/duende/ping", []),
    ]
    packets = [encode(address, values) for address, values in messages]
    packets += [bundle(packets[:6]), bundle([bundle(packets[2:4]), packets[0]])]
    packets.append(b"/x\0\0,sfihdTFNItcrmb[i]\0\0\0" + bytes(80))
    return packets


@contextmanager
def _framing(folder: Path) -> Iterator[Harness]:
    def fuzz(data: bytes) -> None:
        if not data:
            return
        framing, step, got = Framing(), 1 + data[0] * 7, 0
        for at in range(1, len(data), step):
            try:
                packets = framing.feed(data[at : at + step])
            except DuendeError:
                return
            for packet in packets:
                got += len(packet)
                with suppress(DuendeError):
                    for message in decode(packet):
                        answer = framing.frame(encode("/a", [message.address]))
                        assert answer
        assert got <= len(data)

    yield fuzz


@functools.cache
def _framing_seeds() -> list[bytes]:
    packets = _osc_seeds()
    found = []
    for sized in (False, True):
        for step in (0, 1, 40):
            framing = Framing()
            framing.sized = sized
            found.append(bytes([step]) + b"".join(framing.frame(packet) for packet in packets[step : step + 5]))
    return found


class _Wire(asyncio.Transport):
    """A connection to nowhere, which keeps what it is to carry."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 7701)})
        self.protocol: Any = None
        self.sent = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def pause_reading(self) -> None:
        """Nothing more comes anyway."""

    def resume_reading(self) -> None:
        """Nothing more comes anyway."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Everything is taken at once."""

    def get_write_buffer_size(self) -> int:
        return 0


class _Web:
    """The OSCQuery server with the real parsers of HTTP and WebSockets, fed by hand."""

    def __init__(self, control: _Control) -> None:
        self.control = control
        parts = control.parts
        self.query = OscQuery(
            parts.namespace, parts.dispatcher.receive, None, Files(parts.shelf, parts.played, most=1 << 18)
        )
        control.do(self.query.serve(port=0))
        assert self.query._web is not None
        self.server = self.query._web._server

    def talk(self, *pieces: bytes) -> bytes:
        """What one connection is answered to these pieces, which come one after the other, and then no more."""
        control = self.control

        async def run() -> bytes:
            kind: Any = self.server.config.http_protocol_class
            protocol = kind(config=self.server.config, server_state=self.server.server_state, app_state={})
            wire = _Wire()
            wire.protocol = protocol
            protocol.connection_made(wire)
            tasks = self.server.server_state.tasks
            try:
                for piece in pieces:
                    # A real connection never brings nothing.
                    if piece and not wire.closed:
                        wire.protocol.data_received(piece)
                    for _ in range(6):
                        await asyncio.sleep(0)
                for _ in range(40):
                    if not tasks or wire.closed:
                        break
                    await asyncio.sleep(0)
            finally:
                wire.protocol.connection_lost(None)
            if tasks:
                _, late = await asyncio.wait(set(tasks), timeout=20.0)
                assert not late, f"a request that does not end: {late}"
            return bytes(wire.sent)

        answer: bytes = control.do(run())
        control.turn()
        control.check()
        assert not self.query.clients, "a WebSocket is still counted"
        assert not self.server.server_state.connections
        return answer

    def close(self) -> None:
        self.control.do(self.query.stop())


@contextmanager
def _http(folder: Path) -> Iterator[Harness]:
    with _control(folder) as control:
        web = _Web(control)

        def fuzz(data: bytes) -> None:
            middle = len(data) // 2 if len(data) % 3 == 0 else len(data)
            answer = web.talk(data[:middle], data[middle:]) if data[middle:] else web.talk(data)
            if answer:
                assert answer.startswith(b"HTTP/1.1 "), answer[:80]
                assert answer[9:12] != b"500", answer[:400]

        yield fuzz
        web.close()


@functools.cache
def _http_seeds() -> list[bytes]:
    head = b"Host: 127.0.0.1:7701\r\n"
    paths = (
        *("/", "/?HOST_INFO", "/duende/amount?VALUE", "/duende/slot", "/duende/slot/1/mix?RANGE", "/nothing"),
        *(
            "/files/presets",
            "/files/captures",
            "/files/played.wav",
            "/files/presets/duo.duende",
            "/files/presets/duo.png",
        ),
        *("/files/presets/..%2F..%2Fx.duende", "//files//presets/", "/duende/%61mount?VALUE&token=x"),
    )
    requests = [f"GET {path} HTTP/1.1\r\n".encode() + head + b"\r\n" for path in paths]
    requests.append(b"HEAD / HTTP/1.0\r\n" + head + b"Authorization: Bearer x\r\nOrigin: http://127.0.0.1:7701\r\n\r\n")
    pack = _pack_seeds()[0]
    length = f"Content-Length: {len(pack)}\r\n\r\n".encode()
    requests.append(b"POST /files/presets?force=1 HTTP/1.1\r\n" + head + length + pack)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(pack), pack)
    requests.append(b"POST /files/presets HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    requests.append(requests[0] + requests[1])
    requests.append(_UPGRADE)
    return requests


_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:7701\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@contextmanager
def _websocket(folder: Path) -> Iterator[Harness]:
    with _control(folder) as control:
        web = _Web(control)

        def fuzz(data: bytes) -> None:
            answer = web.talk(_UPGRADE, data)
            assert answer.startswith(b"HTTP/1.1 101 "), answer[:80]

        yield fuzz
        web.close()


def _frame(payload: bytes, code: int = 2) -> bytes:
    """A client's frame; with a mask of zeros, so that what it says can be seen and changed."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([0x80 | code]) + size + bytes(4) + payload


@functools.cache
def _websocket_seeds() -> list[bytes]:
    orders = [
        json.dumps({"COMMAND": command, "DATA": address}).encode()
        for command in ("LISTEN", "IGNORE")
        for address in ("/duende/amount", "/duende/preset/list", "/duende/meter")
    ]
    frames = [_frame(order, 1) for order in orders] + [_frame(packet) for packet in _osc_seeds()[::3]]
    return [*frames, b"".join(frames[:6]), _frame(b"hello", 9), _frame(b"\x03\xe8bye", 8)]


@contextmanager
def _midi(folder: Path) -> Iterator[Harness]:
    with _control(folder) as control:

        async def carry_out() -> None:
            control.parts.midi.carry_out()

        def fuzz(data: bytes) -> None:
            parser = mido.Parser()
            for at in range(0, len(data), 3):
                parser.feed(data[at : at + 3])
                for message in parser:
                    control.parts.midi.receive(message)
            control.do(carry_out())
            tasks = control.parts.midi._tasks
            if tasks:
                control.do(asyncio.wait(set(tasks), timeout=20.0))
            control.turn()
            control.check()

        yield fuzz


@functools.cache
def _midi_seeds() -> list[bytes]:
    plain = [
        b"\xb0\x07\x40",
        b"\xb0\x01\x10\xb0\x21\x7f",
        b"\x90\x24\x7f\x80\x24\x00",
        b"\xc0\x01",
        b"\xb0\x40\x7f\xb0\x40\x00",
    ]
    return [
        *plain,
        b"\xf8" * 24,
        b"\xfa\xfc\xfb",
        b"\xf0\x7e\x7f\x06\x01\xf7",
        b"".join(plain),
        b"\xe0\x00\x40\xd0\x01",
    ]


# -- the GUI's own server ----------------------------------------------------------------------------------------------


@contextmanager
def _gate(folder: Path) -> Iterator[Harness]:
    async def home(request: Any) -> PlainTextResponse:
        return PlainTextResponse("in")

    gate = Gate(Starlette(routes=[Route("/{rest:path}", home, methods=["GET", "POST"])]), "secret", 7702)
    # A wrong token takes half a second of nothing, on purpose.
    sleep, loop = asyncio.sleep, asyncio.new_event_loop()

    async def at_once(seconds: float, result: Any = None) -> None:
        await sleep(0)

    async def run(data: bytes) -> None:
        head, _, body = data.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        kind, _, rest = first.partition(b" ")
        path, _, query = rest.partition(b"?")
        headers = [(name.strip().lower(), value) for name, _, value in (line.partition(b":") for line in lines)]
        scope: dict[str, Any] = {
            "type": "websocket" if kind == b"WS" else "http", "method": kind.decode("latin-1"), "scheme": "http",
            "path": path.decode("utf-8", "replace"), "raw_path": path, "query_string": query, "headers": headers,
            "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 7702), "http_version": "1.1", "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        sent: list[Any] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return waiting.pop() if waiting else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await gate(scope, receive, send)
        inside = b"".join(one.get("body", b"") for one in sent) == b"in"
        assert not inside or gate._secret.encode() in data, "somebody got in without the cookie"

    asyncio.sleep = at_once  # type: ignore[assignment]
    try:
        yield lambda data: loop.run_until_complete(run(data))
    finally:
        asyncio.sleep = sleep
        loop.close()


@functools.cache
def _gate_seeds() -> list[bytes]:
    host = b"host: 127.0.0.1:7702\n"
    return [
        b"GET /\n" + host,
        b"GET /?token=secret&x=1\n" + host,
        b"GET /x?token=wrong\n" + host + b"cookie: duende_7702=0123; a=b\n",
        b"POST /login\n" + host + b"origin: http://127.0.0.1:7702\ncontent-length: 12\n\ntoken=secret",
        b"POST /login\n" + host + b"sec-fetch-site: cross-site\ncontent-length: 11\n\ntoken=wrong",
        b"WS /live\n" + host + b"origin: http://[::1%25eth0]:7702\n",
        b"GET /\nhost: [fe80::1%eth0]:7702\nauthorization: Bearer x\n",
    ]


@contextmanager
def _page(folder: Path) -> Iterator[Harness]:
    """Orders of a page, and the tree that a host hands out."""
    loop = asyncio.new_event_loop()
    tree = json.loads(_page_seeds()[-1])

    async def run(data: bytes) -> None:
        link = Link(HostTarget)
        link.up = True
        link.mirror.tree(tree)
        pages = Pages(link)
        page = Page(None)  # type: ignore[arg-type]
        text = data.decode("utf-8", "replace")
        pages._obey(page, text)
        for task in list(page.orders):
            task.cancel()
        await asyncio.gather(*page.orders, return_exceptions=True)
        while not page.frames.empty():
            json.loads(page.frames.get_nowait())
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(given, dict):
            mirror = Mirror()
            mirror.tree(given)
            for address in list(mirror.nodes)[:4]:
                mirror.heard(address, [1, 0.5, "x", b"", None, True])
            msgspec.json.encode({"tree": mirror.nodes, "all": mirror.values})

    yield lambda data: loop.run_until_complete(run(data))
    loop.close()


@functools.cache
def _page_seeds() -> list[bytes]:
    gain = {
        "FULL_PATH": "/duende/amount", "TYPE": "f", "ACCESS": 3, "VALUE": [0.5], "RANGE": [{"MIN": 0.0, "MAX": 1.0}],
        "UNIT": ["gain.db"], "TAGS": ["parameter"], "DEFAULT": [1.0], "DESCRIPTION": "text",
    }  # fmt: skip
    choice = {"FULL_PATH": "/duende/compare", "TYPE": "s", "ACCESS": 3, "VALUE": ["a"], "RANGE": [{"VALS": ["a", "b"]}]}
    tree = {"FULL_PATH": "/", "CONTENTS": {"duende": {"CONTENTS": {"amount": gain, "compare": choice}}}}
    orders: list[Any] = [
        {"a": "/duende/amount", "v": [0.5]},
        {"a": "/duende/amount", "v": [], "id": 3},
        {"a": "/duende/compare", "v": ["b"], "id": 4},
        {"look": ["/duende/amount", "/x"]},
        tree,
    ]
    return [json.dumps(order).encode() for order in orders]


# -- files: presets, set lists, settings -------------------------------------------------------------------------------


@contextmanager
def _preset(folder: Path) -> Iterator[Harness]:
    def fuzz(data: bytes) -> None:
        for name in ("x.toml", "x.json"):
            with suppress(DuendeError):
                preset = decode_preset(data, name)
                assert decode_preset(encode_preset(preset), "x.toml").name == preset.name

    yield fuzz


@functools.cache
def _preset_seeds() -> list[bytes]:
    full = Preset(
        FORMAT,
        "my-cello",
        [
            SlotPreset("style", "instruments.onnx", mix=0.9, values={"amount": 0.95, "cello": 1.0}, sha256="ab" * 32),
            SlotPreset("fx", effect="delay", values={"feedback": 0.4}, branch="a"),
            SlotPreset("cabinet", "room.wav", bypass=True, branch="b"),
            SlotPreset("capture", "amp.onnx"),
        ],
        {"output/gain": -5.3},
        ["timbre", "slow"],
        "a cello",
        "somebody",
        92.0,
        {1: {"mix": 1.0, "slot/1/amount": 0.5}, 8: {}},
    )
    slot = {"kind": "style", "model": "x.onnx", "bypass": False, "mix": 0.5, "values": {"amount": 1.0}}
    old = {"format": 1, "name": "old", "slots": [slot], "values": {"mix": 0.5}, "tags": ["a"], "description": "text"}
    return [encode_preset(full), encode_preset(Preset(FORMAT, "wire", [])), json.dumps(old).encode()]


def _mutate_preset(data: bytes, rng: random.Random) -> bytes:
    return (mutate_json if data.lstrip().startswith(b"{") else mutate_toml)(data, rng)


@contextmanager
def _pack(folder: Path) -> Iterator[Harness]:
    library = Library(folder / "presets", folder / "none")
    path = folder / "upload.duende"

    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        before = set(folder.rglob("*"))
        try:
            entry = install(library, path, force=True)
        except DuendeError:
            assert set(folder.rglob("*")) <= before | {library.own}, "a refused pack left something behind"
            return
        for slot in entry.read().slots:
            entry.file_of(slot)
        assert all(one.parent == library.own for one in set(folder.rglob("*")) - before - {library.own})
        for one in library.own.iterdir():
            one.unlink()

    yield fuzz


def _manifested(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files of a pack with the right sums, in the preset and in the manifest; whatever of it can still be read."""
    others = {name: data for name, data in files.items() if name != MANIFEST}
    name = next((name.removesuffix(".toml") for name in others if name.endswith(".toml")), "wire")
    with suppress(DuendeError, KeyError):
        preset = decode_preset(others[f"{name}.toml"], "x.toml")
        for slot in preset.slots:
            slot.sha256 = hash_of(others[slot.file]) if slot.file in others else ""
        others[f"{name}.toml"] = encode_preset(preset)
    manifest = Manifest(1, name, {one: hash_of(data) for one, data in others.items()})
    return {MANIFEST: msgspec.toml.encode(manifest), **others}


@functools.cache
def _pack_seeds() -> list[bytes]:
    slots = [SlotPreset("style", "a.onnx"), SlotPreset("cabinet", "b.wav"), SlotPreset("fx", effect="delay")]
    full = encode_preset(Preset(FORMAT, "full", slots))
    return [
        zip_of(_manifested({"wire.toml": encode_preset(Preset(FORMAT, "wire", []))})),
        zip_of(_manifested({"full.toml": full, "a.onnx": b"model", "b.wav": b"RIFF", "full.png": b"\x89PNG"})),
    ]


@contextmanager
def _set_list(folder: Path) -> Iterator[Harness]:
    lists = SetLists(folder)

    def fuzz(data: bytes) -> None:
        (folder / "evening.toml").write_bytes(data)
        with suppress(DuendeError):
            lists.write("evening", lists.read("evening"))
        lists.naming("cello")

    yield fuzz


@functools.cache
def _set_list_seeds() -> list[bytes]:
    return [b'format = 1\npresets = ["cello", "sax", "cello"]\n', b'format = 1\npresets = ["a"]\n']


@contextmanager
def _settings(folder: Path) -> Iterator[Harness]:
    path = folder / "settings.toml"

    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DuendeError):
            settings = read_settings(path)
            parse_networks(settings.network.allow)
            MidiMap.from_list(settings.midi.map)

    yield fuzz


@functools.cache
def _settings_seeds() -> list[bytes]:
    return [
        b"""preset = "cello"

[device]
input = "Scarlett"
in_channel = 2
channels = "wide"
rate = 48000.0
block = 128
cores = [2, 3]

[network]
name = "box"
host = "0.0.0.0"
osc_port = 7700
allow = ["192.168.1.0/24", "10.0.0.1"]
token = "secret"
hosts = ["stage.box"]
zeroconf = true

[midi]
ports = ["nano"]

[[midi.map]]
address = "slot/1/amount"
kind = "control14"
number = 1
channel = 3
minimum = 0.0
maximum = 1.0
curve = "toggle"
pickup = true
""",
        b'[midi]\nmap = [{address = "tap", kind = "note", number = 60}]\n',
    ]


# -- files: models and captures ----------------------------------------------------------------------------------------


def _blocks(count: int, size: int) -> list[Any]:
    rng = np.random.default_rng(1)
    return [0.3 * rng.standard_normal((size, 1)).astype(np.float32) for _ in range(count)]


@contextmanager
def _model(folder: Path) -> Iterator[Harness]:
    path = folder / "x.onnx"
    blocks = _blocks(3, 128)

    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        try:
            kind_of(path)
            processor = processor_for(load_model(path))
            processor.prepare(StreamSpec(48000.0, 1, 128))
        except DuendeError:
            return
        out = np.empty_like(blocks[0])
        for block in blocks:
            processor.process(block, out)

    yield fuzz


@functools.cache
def _model_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small = tiny_weights(width=4, excitations=1, dilations=(1,), levels=(0.0,))
        seeds = [write_model(folder / "a.onnx", small, excitations=("dry@1",)).read_bytes()]
        seeds.append(tiny_model(folder, tiny_weights(width=6, styles=2)).path.read_bytes())
        seeds.append(tiny_texture(folder).path.read_bytes())
    return seeds


@contextmanager
def _waveform(folder: Path) -> Iterator[Harness]:
    path = folder / "x.onnx"
    blocks = _blocks(2, 64)

    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        try:
            kind_of(path)
            processor = WaveformProcessor(open_waveform(path))
            processor.prepare(StreamSpec(48000.0, 1, 64))
        except DuendeError:
            return
        out = np.empty_like(blocks[0])
        for block in blocks:
            processor.process(block, out)

    yield fuzz


@functools.cache
def _waveform_seeds() -> list[bytes]:
    kinds = ("lstm", "gru and knob", "mixed", "linear")
    made = [convert(FEATURES[kind]()) for kind in kinds]
    small = wavenet(1, channels=(2,), dilations=(1, 2))
    return [*made, convert(capture(small)), convert(capture(small, wavenet(2, channels=(3,), dilations=(1,))))]


@contextmanager
def _capture(folder: Path) -> Iterator[Harness]:
    path = folder / "x.nam"

    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DuendeError):
            read = read_capture(path)
            if sum(one.network.memory_values for one in read.variants) < 4096:
                convert(read)

    yield fuzz


@functools.cache
def _capture_seeds() -> list[bytes]:
    def numbers(count: int) -> list[float]:
        return [round(float(one), 4) for one in np.random.default_rng(count).uniform(-0.5, 0.5, count)]

    head: dict[str, Any] = {"version": "0.5.4", "sample_rate": 48000, "metadata": {"name": "amp", "gain": 0.5}}
    lstm = {"architecture": "LSTM", "config": {"input_size": 1, "hidden_size": 2, "num_layers": 1}}
    array = {
        "input_size": 1, "condition_size": 1, "head_size": 1, "channels": 2, "kernel_size": 2, "dilations": [1, 2],
        "activation": "Tanh", "gated": False, "head_bias": False,
    }  # fmt: skip
    wave = {"architecture": "WaveNet", "config": {"layers": [array], "head": None, "head_scale": 0.5}}
    linear = {"architecture": "Linear", "config": {"receptive_field": 3, "bias": True}}
    conv = {
        "architecture": "ConvNet",
        "config": {"channels": 2, "dilations": [1, 2], "batchnorm": True, "activation": "ReLU"},
    }
    slim = {
        "architecture": "SlimmableContainer", "weights": [],
        "config": {"submodels": [{"max_value": 1.0, "model": {**head, **linear, "weights": numbers(4)}}]},
    }  # fmt: skip
    keras = {
        "in_shape": [None, None, 1], "in_skip": 1, "in_gain": 3.0, "out_gain": -3.0, "samplerate": 48000,
        "layers": [
            {"type": "conv1d", "activation": "tanh", "shape": [None, None, 2], "kernel_size": [2], "dilation": [2],
             "groups": 1, "weights": [[[[0.1, 0.2]], [[0.3, 0.4]]], [0.0, 0.1]]},
            {"type": "prelu", "shape": [None, None, 2], "weights": [[0.1, 0.2]]},
            {"type": "batchnorm", "shape": [None, None, 2], "weights": [[1, 1], [0, 0], [0, 0], [1, 1]]},
            {"type": "gru", "shape": [None, None, 1],
             "weights": [[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]], [[0.1, 0.2, 0.3]], [[0, 0, 0], [0, 0, 0]]]},
            {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [[[1.0]], [0.0]]},
        ],
    }  # fmt: skip
    tensors = {
        "rec.weight_ih_l0": [[0.1]] * 8, "rec.weight_hh_l0": [[0.1, 0.2]] * 8, "rec.bias_ih_l0": [0.0] * 8,
        "rec.bias_hh_l0": [0.0] * 8, "lin.weight": [[0.5, 0.5]], "lin.bias": [0.0],
    }  # fmt: skip
    proteus = {
        "model_data": {"model": "SimpleRNN", "input_size": 1, "skip": 1, "output_size": 1, "unit_type": "LSTM",
                       "num_layers": 1, "hidden_size": 2, "bias_fl": True},
        "state_dict": tensors,
    }  # fmt: skip
    found = [
        {**head, **lstm, "weights": numbers(39)},
        {**head, **linear, "weights": numbers(4)},
        {**head, **conv, "weights": [abs(one) for one in numbers(33)]},
        {**head, **wave, "weights": numbers(41)},
        {**head, **slim}, keras, {"state_dict": tensors}, proteus,
    ]  # fmt: skip
    return [json.dumps(one).encode() for one in found]


# -- files: sound ------------------------------------------------------------------------------------------------------


@contextmanager
def _sound(folder: Path) -> Iterator[Harness]:
    path, target = folder / "x.wav", folder / "y.wav"

    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DuendeError):
            sound = load_sound(path, 48000)
            assert np.isfinite(sound).all()
            assert sound.ndim == 1
        with suppress(DuendeError):
            take_in(path, target)

    yield fuzz


@contextmanager
def _response(folder: Path) -> Iterator[Harness]:
    path = folder / "x.wav"

    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DuendeError):
            response = load_response(path, 48000.0)
            assert np.isfinite(response.taps).all()
            assert response.taps.shape[1] <= 2 * 48000 + 1

    yield fuzz


def _encoded(seconds: float, kinds: Sequence[tuple[str, str, int, int]]) -> list[bytes]:
    found = []
    for container, coding, rate, channels in kinds:
        time = np.arange(round(seconds * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * 220.0 * time) * np.exp(-3.0 * time)
        buffer = io.BytesIO()
        soundfile.write(buffer, np.repeat(tone[:, None], channels, axis=1), rate, coding, format=container)
        found.append(buffer.getvalue())
    return found


@functools.cache
def _sound_seeds() -> list[bytes]:
    kinds = (
        *(
            ("WAV", "PCM_16", 8000, 1),
            ("WAV", "FLOAT", 8000, 1),
            ("WAV", "IMA_ADPCM", 8000, 1),
            ("WAV", "ULAW", 8000, 2),
        ),
        *(
            ("RF64", "PCM_24", 8000, 1),
            ("FLAC", "PCM_16", 8000, 1),
            ("OGG", "VORBIS", 8000, 1),
            ("OGG", "OPUS", 8000, 1),
        ),
        *(("MP3", "MPEG_LAYER_III", 8000, 1), ("AIFF", "PCM_16", 8000, 2), ("AU", "PCM_16", 8000, 1)),
        *(("CAF", "ALAC_16", 8000, 1), ("W64", "PCM_U8", 8000, 1), ("WAVEX", "DOUBLE", 8000, 1)),
    )
    return _encoded(1.1, kinds)


@functools.cache
def _response_seeds() -> list[bytes]:
    kinds = (("WAV", "PCM_24", 48000, 1), ("WAV", "FLOAT", 44100, 2), ("FLAC", "PCM_16", 44100, 1))
    return _encoded(0.03, (*kinds, ("AIFF", "PCM_16", 48000, 1), ("RF64", "PCM_16", 96000, 1)))


_OSC_WORDS = (
    b"#bundle\0",
    bytes(7) + b"\1",
    b"/duende/",
    b",",
    b"/normalized",
    b"*",
    b"{a,b}",
    b"[!a-z]",
    b"?",
    b"#1\0\0",
)
_HTTP_WORDS = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: 99999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(
        b"Host: ",
        b"Origin: null\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: close\r\n",
        b"%2e%2e%2f",
        b"%00",
        b"?VALUE",
        b"/../",
    ),
    *(
        b"Sec-WebSocket-Version: 13\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"HTTP/1.0",
        b"PUT",
        b"\xff",
        b"[::1]",
        b"?a" * 99,
    ),
)
_FRAME_WORDS = (
    b"\x81\x80",
    b"\x01\x80",
    b"\x80\x80",
    b"\xfe\xff\xff",
    b"\xff" + bytes(7),
    b"\x88",
    b'{"COMMAND"',
    b"\xed\xa0\x80",
)
_MIDI_WORDS = (
    b"\xb0\x07\x7f",
    b"\xc0\x7f",
    b"\x90\x24\x7f",
    b"\xf8",
    b"\xf0",
    b"\xf7",
    b"\xff",
    b"\xb0\x01\x00\xb0\x21\x00",
)
_GATE_WORDS = (
    b"token=",
    b"\n",
    b"\n\n",
    b"cookie: ",
    b"duende_7702=",
    b"host: ",
    b"origin: ",
    b"%ff",
    b"\xff",
    b";",
    b"//",
    b"WS",
)

TARGETS = {
    target.name: target
    for target in (
        Target(
            "osc",
            "OSC packets, carried out",
            _osc,
            _osc_seeds,
            bytes_with(*_OSC_WORDS),
            ("engine/control/",),
        ),
        Target(
            "framing",
            "OSC over TCP: SLIP and sizes",
            _framing,
            _framing_seeds,
            bytes_with(b"\xc0", b"\xdb\xdc", b"\xdb"),
            ("engine/control/framing", "engine/control/osc"),
        ),
        Target(
            "http",
            "OSCQuery and files over HTTP",
            _http,
            _http_seeds,
            bytes_with(*_HTTP_WORDS),
            ("engine/control/oscquery", "engine/control/files", "engine/control/web", "engine/control/tree"),
        ),
        Target(
            "websocket",
            "OSCQuery over WebSockets",
            _websocket,
            _websocket_seeds,
            bytes_with(*_FRAME_WORDS),
            ("engine/control/oscquery", "engine/control/dispatch", "engine/control/web"),
        ),
        Target(
            "midi",
            "MIDI",
            _midi,
            _midi_seeds,
            bytes_with(*_MIDI_WORDS),
            ("engine/control/midi", "engine/control/tempo"),
        ),
        Target(
            "gate",
            "the GUI's door",
            _gate,
            _gate_seeds,
            bytes_with(*_GATE_WORDS),
            ("gui/gate",),
        ),
        Target(
            "page",
            "the GUI's pages and its host",
            _page,
            _page_seeds,
            mutate_json,
            ("gui/pages", "gui/mirror", "gui/link"),
        ),
        Target(
            "preset",
            "presets, TOML and JSON",
            _preset,
            _preset_seeds,
            _mutate_preset,
            ("presets/format",),
        ),
        Target(
            "pack",
            "packed presets, zip",
            _pack,
            _pack_seeds,
            zip_with(_manifested),
            ("presets/",),
        ),
        Target(
            "set_list",
            "set lists",
            _set_list,
            _set_list_seeds,
            mutate_toml,
            ("presets/set_list",),
        ),
        Target(
            "settings",
            "settings and MIDI map",
            _settings,
            _settings_seeds,
            mutate_toml,
            ("engine/control/settings", "engine/control/midi_map"),
        ),
        Target(
            "model",
            "models of styles",
            _model,
            _model_seeds,
            onnx_with(METADATA_KEY, sorted(ALLOWED_OPS)),
            ("engine/model", "engine/graph_check", "engine/spec"),
        ),
        Target(
            "waveform",
            "models of captures",
            _waveform,
            _waveform_seeds,
            onnx_with(METADATA_KEY, sorted(WAVEFORM_OPS)),
            ("engine/waveform", "engine/graph_check", "engine/blocked"),
        ),
        Target(
            "capture",
            ".nam, AIDA-X, Proteus",
            _capture,
            _capture_seeds,
            mutate_json,
            ("export/captures/",),
        ),
        Target(
            "sound",
            "recordings",
            _sound,
            _sound_seeds,
            mutate_sound,
            ("export/sounds", "gui/clip"),
        ),
        Target(
            "response",
            "impulse responses",
            _response,
            _response_seeds,
            mutate_sound,
            ("engine/response",),
        ),
    )
}
__all__ = ["CORPUS", "TARGETS", "Harness", "Message", "Target", "mutate_bytes"]
