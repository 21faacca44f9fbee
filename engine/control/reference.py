"""docs/osc.md, written from the very nodes that answer: what a client may send, and what it hears."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from ... import DuendeError
from ...presets.format import write_atomically
from ...presets.library import Library
from ..messages import Done, Play, Played, Preload
from ..shared import SharedState
from .namespace import NORMALIZED, PREFIX, Node, Range
from .parts import Parts
from .session import Session, ShowState, SlotState
from .subscriptions import Subscriptions

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "osc.md"
STYLES = ("cello", "sax", "strings", "piano")
"""Those of the preset that the tables are made with."""

SECTIONS = (
    ("The whole chain", ("input", "output", "mix", "amount", "bypass", "mute", "split")),
    ("Styles of the preset that plays", ("style",)),
    ("Slots", ("slot",)),
    ("Effects, captures and cabinets", ("fx", "capture", "cabinet")),
    ("Presets", ("preset", "library")),
    ("Set lists", ("setlist",)),
    ("Snapshots", ("snapshot",)),
    ("Undo and comparing", ("undo", "redo", "compare")),
    ("Tempo", ("tempo", "tap")),
    ("Tuner and recording", ("tuner", "record", "played")),
    ("MIDI", ("midi",)),
    ("Meters and status", ("meter", "spectrum", "status")),
    ("Clients", ("subscribe", "unsubscribe", "ping", "reply", "error")),
)
OTHERS = "Others"

INTRODUCTION = f"""\
# Control over OSC

duende listens for OSC on port 7700, UDP and TCP alike, and serves OSCQuery (HTTP and WebSocket) on port 7701. A
second instance takes other ports and says so. This page is written from the table that the host itself goes by:
`python -m duende.engine.control.reference`.

    oscsend localhost 7700 {PREFIX}/amount f 0.5
    oscsend localhost 7700 {PREFIX}/preset/load s cello
    curl http://127.0.0.1:7701{PREFIX}/amount?VALUE

## How it works

- **Values** are in their own unit: decibels, seconds, 0 or 1 for switches. Beside each of those marked with a star
  lies `/normalized`, the same from 0 to 1 (`{PREFIX}/output/gain{NORMALIZED}`). What is out of range is taken to the
  nearest bound; commands refuse it. Numbers may come as `i`, `f`, `h`, `d`, `T` or `F`, but not NaN or infinity.
- **Asking**: an address without arguments is a question, if it can be asked; the answer comes on the same address to
  where the question came from.
- **Patterns** (`{PREFIX}/slot/*/bypass 1`) set or ask everything that they match. Commands (use: do) need their own
  address.
- **Receipts**: put a text that begins with `#` behind the arguments, and the sender is told when it is done:
  `{PREFIX}/preset/load cello #7` is answered by `{PREFIX}/reply {PREFIX}/preset/load #7 cello 1216 T` (address,
  receipt, what came of it). Without one, only failures are answered.
- **Failures** come as `{PREFIX}/error address code text [receipt]`, to the sender. Codes: `unknown` (no such
  address), `type` (number or kind of arguments), `range`, `refused` (not possible now; the text says why),
  `malformed` (no OSC), `limit` (too much at once), `failed` (a fault of the host; its log tells more).
- **Hearing**: `{PREFIX}/subscribe 9000` sends everything that changes, and the meters, to port 9000 of the host that
  the message came from; 0 stands for the port that it came from. All values come first, then each change,
  at most every 10 ms and only as it is then; one's own changes come back, too. It lasts 60 s or as long as the third
  argument says (`{PREFIX}/subscribe 9000 "" 300`): renew it in time. Max and Pd send from another port than the one
  they listen on, so they have to name it.
- **Time tags** are passed over: what arrives is done at once, in its order.
- **Nothing lost**: UDP may lose messages. The same packets go over TCP, framed by SLIP (OSC 1.1) or with their size
  in front (OSC 1.0), whichever the client begins with, and over WebSockets.

## OSCQuery

`http://127.0.0.1:7701/` is the whole tree in JSON, any address in it that part, `?VALUE` (or another attribute) one
of its attributes, `?HOST_INFO` the ports and extensions. On the WebSocket of the same port, binary frames are OSC
packets in both directions; `{{"COMMAND": "LISTEN", "DATA": "{PREFIX}/amount"}}` sends the value of an address, then
each change, until `IGNORE`. `PATH_ADDED`, `PATH_REMOVED` and `PATH_CHANGED` tell of addresses that come and go with
presets and slots. `DEFAULT` stands beside the attributes that OSCQuery names. Zeroconf makes the ports known as
`_osc._udp` and `_oscjson._tcp`.

## Files

The same port hands out and takes in files, below `/files`; the same tokens and checks hold, and web pages from
elsewhere may change nothing. What is refused comes as one line of text.

| request | what |
|---|---|
| `GET /files/presets` | the presets with tags, description and slots, as JSON; `GET /files/captures` the captures |
| `GET /files/presets/NAME.duende` | a preset with its models, packed; `NAME.png` the picture of its style |
| `POST /files/presets` | installs a packed preset, the body; 409: its name is taken (`?force=1` replaces it) |
| `GET /files/played.wav` | the last 30 s of the input, or what there is |

    curl --data-binary @lead.duende http://127.0.0.1:7701/files/presets

## Who may

Without `--host` only this machine reaches the host. On a network (`--host 0.0.0.0`), OSC has no passwords: whoever
can send a packet can play along, unless the host is told which networks may. OSCQuery then asks for a token
(`?token=...`, or `Authorization: Bearer ...`), answers only to its own names and numbers, and opens WebSockets to no
web page but its own. Presets are named, never files; subscriptions go only to the host that asks; each sender may
cause so much work per second and no more.

## Addresses

The tables are those of a preset with one slot that morphs between {", ".join(STYLES[:-1])} and {STYLES[-1]}; other
presets have other slots and styles. Slots are counted from 1. Arguments: `f` number, `i` whole number, `s` text;
those in brackets may be left out. Use: *set* and *ask* a value, *do* something, or *told* to those who subscribe.
"""


def document(nodes: Sequence[Node]) -> str:
    """The reference as Markdown."""
    starred = {node.address.removesuffix(NORMALIZED) for node in nodes if node.address.endswith(NORMALIZED)}
    shown = [node for node in nodes if not node.address.endswith(NORMALIZED)]
    shown.sort(key=_place)
    parts = [INTRODUCTION]
    for title, group in groupby(shown, key=lambda node: _place(node)[1]):
        rows = [_row(node, starred=node.address in starred) for node in group]
        head = ["| address | arguments | range | unit | use | what |", "|---|---|---|---|---|---|"]
        parts.append("\n".join([f"### {title}", "", *head, *rows, ""]))
    return "\n".join(parts)


def example_nodes() -> list[Node]:
    """The addresses of a made-up show: one slot with STYLES, the presets that come with duende, default values."""
    with tempfile.TemporaryDirectory() as folder:
        memory = Path(folder) / "show"
        slot = SlotState("instruments", "instruments.onnx", list(STYLES))
        write_atomically(memory, msgspec.json.encode(ShowState(STYLES[0], 0, [slot], latency=[0])))
        session = Session(SharedState(), _NoEngine(), Library(Path(folder) / "none"), memory)
        session.memory = None
    for row in session.table.rows():
        session.set(row.name, row.default)
    parts = Parts.build(session, lambda call: None)
    Subscriptions(parts.namespace, _NoTime()).join(parts.dispatcher, session)
    return list(parts.nodes())


class _NoTime:
    def time(self) -> float:
        return 0.0

    def call_at(self, when: float, callback: Callable[[], object]) -> None:
        pass


class _NoEngine:
    async def ask(self, order: Play | Preload) -> Played | Done:
        raise DuendeError("nothing plays here")


def _place(node: Node) -> tuple[int, str, int]:
    """Where a row stands: section (number and title), and place in it."""
    first = node.address.removeprefix(PREFIX + "/").split("/")[0]
    for number, (title, names) in enumerate(SECTIONS):
        if first in names:
            return number, title, names.index(first)
    return len(SECTIONS), OTHERS, 0


def _row(node: Node, *, starred: bool) -> str:
    address = f"`{node.address}`" + (" *" if starred else "")
    cells = (address, _arguments(node), _ranges(node), node.unit, _use(node), node.description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _arguments(node: Node) -> str:
    needed = len(node.types) - node.optional
    shown = " ".join([*node.types[:needed], *(f"[{tag}]" for tag in node.types[needed:])])
    return f"{shown} or {' '.join(node.overload)}" if node.overload else shown


def _ranges(node: Node) -> str:
    shown = [_range(bounds) for bounds in node.ranges]
    return ", ".join(text or "any" for text in shown) if any(shown) else ""


def _range(bounds: Range) -> str:
    if bounds.allowed:
        return " ".join(bounds.allowed)
    low, high = bounds.minimum, bounds.maximum
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"from {low:g}" if low is not None else f"to {high:g}" if high is not None else ""


def _use(node: Node) -> str:
    if node.stream:
        return "told" if node.read is None else "told, ask"
    return {0: "told", 1: "ask", 2: "do", 3: "set, ask"}[node.access]


def main() -> None:
    """Write docs/osc.md of the checkout anew."""
    if not DOCUMENT.parent.is_dir():
        sys.exit(f"there is no {DOCUMENT.parent}: run this in a checkout")
    write_atomically(DOCUMENT, document(example_nodes()).encode())


if __name__ == "__main__":
    main()
