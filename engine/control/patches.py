"""Control surfaces written from the same nodes that answer: for Open Stage Control, Max, and Max for Live.

`python -m duende.engine.control.patches` writes them anew into examples/.
"""

import json
import struct
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from ...presets.format import SNAPSHOTS, write_atomically
from .namespace import NORMALIZED, PREFIX, Node
from .reference import example_nodes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HOST = "127.0.0.1"
PORT = 7700
MAX_PORT = 7710
LIVE_PORT = 7711
"""Where the patches listen: each has its own, so that they can run side by side."""
RENEW_MS = 20000
METER_DBFS = (-60.0, 0.0)
AUDIO_EFFECT = b"aaaa"
"""What a Max for Live file says it is."""

Json = bool | int | float | str | None | Sequence["Json"] | dict[str, "Json"]
Box = dict[str, Json]


def generate(nodes: Sequence[Node]) -> dict[str, bytes]:
    """The generated files' contents, by their path in examples/."""
    surface = Surface(nodes)
    return {
        "open-stage-control/duende.json": _text(open_stage_control(surface)),
        "max/duende.maxpat": _text(max_patch(surface)),
        "ableton/duende.amxd": max_for_live(surface),
    }


class Surface:
    """What a control surface shows of the nodes: parameters of the whole chain, styles, presets."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        plain = [node for node in nodes if not node.address.endswith(NORMALIZED)]
        chain = [node for node in plain if "parameter" in node.tags and not node.address.startswith(f"{PREFIX}/slot/")]
        self.faders = [node for node in chain if node.types == "f"]
        self.switches = [node for node in chain if node.types == "i"]
        self.styles = [node for node in plain if "alias" in node.tags]
        (names,) = (node.read for node in plain if node.address == f"{PREFIX}/preset/list")
        self.presets = [] if names is None else [str(name) for name in names()]


def label(node: Node) -> str:
    """A short name for a node: its address without what all have."""
    return node.address.removeprefix(f"{PREFIX}/").removeprefix("style/").replace("/", " ")


def bounds(node: Node) -> tuple[float, float]:
    """Least and greatest value of a node's argument."""
    (limits,) = node.ranges
    assert limits.minimum is not None
    assert limits.maximum is not None
    return limits.minimum, limits.maximum


# -- Open Stage Control ----------------------------------------------------------------------------------------------

METERS_SCRIPT = f"""\
for (var i = 0; i < 2; i++) {{
  var low = {METER_DBFS[0]:g}, rms = value[2 * i + 1], peak = value[2 * i], x = i * width / 2
  var share = (dbfs) => Math.max(0, Math.min(1, (dbfs - low) / ({METER_DBFS[1]:g} - low)))
  ctx.fillStyle = value[4 + i] ? 'red' : cssVars.colorFill
  ctx.fillRect(x + 4, height * (1 - share(rms)), width / 2 - 8, height * share(rms))
  ctx.fillRect(x + 4, height * (1 - share(peak)), width / 2 - 8, 2)
}}
"""


def open_stage_control(surface: Surface) -> Json:
    """A session file: faders, switches, presets, snapshots, a square to morph in, meters."""
    widgets: list[Json] = []

    def add(kind: str, name: str, rect: tuple[int, int, int, int], address: str, **more: Json) -> None:
        left, top, width, height = rect
        place: Box = {"left": left, "top": top, "width": width, "height": height}
        widgets.append({"type": kind, "id": name, "address": address} | place | more)

    def caption(text: str, rect: tuple[int, int, int, int]) -> None:
        add("text", f"caption {text}", rect, "auto", default=text, bypass=True, interaction=False)

    for place, node in enumerate([*surface.faders, *surface.styles]):
        low, high = bounds(node)
        left = 10 + 90 * place
        caption(label(node), (left, 10, 80, 30))
        limits: Json = {"min": low, "max": high}
        add("fader", label(node), (left, 40, 80, 260), node.address, range=limits, decimals=3, typeTags="f", pips=True)
    right = 20 + 90 * (len(surface.faders) + len(surface.styles))
    caption("in  out", (right, 10, 100, 30))
    add(
        "canvas", "meters", (right, 40, 100, 260), f"{PREFIX}/meter", valueLength=6, onDraw=METERS_SCRIPT, bypass=True,
        default=[METER_DBFS[0]] * 4 + [0, 0],
    )  # fmt: skip
    for place, node in enumerate(surface.switches):
        add(
            "button", label(node), (right + 110, 40 + 70 * place, 110, 60), node.address, on=1, off=0, typeTags="i",
            label=label(node),
        )  # fmt: skip
    add("xy", "morph", (10, 310, 260, 260), f"{PREFIX}/style/xy", decimals=3, typeTags="f", snap=True)
    add("text", "preset", (280, 310, 230, 40), f"{PREFIX}/preset/current", interaction=False)
    for place, step in enumerate(("previous", "next")):
        rect = (280 + 120 * place, 360, 110, 50)
        add("button", step, rect, f"{PREFIX}/preset/{step}", mode="momentary", label=step)
    below = 440
    for place, name in enumerate(surface.presets):
        rect = (520 + 120 * (place % 4), 310 + 60 * (place // 4), 110, 50)
        below = max(below, rect[1] + 70)
        load = f"{PREFIX}/preset/load"
        add("button", f"preset {name}", rect, load, mode="momentary", preArgs=name, typeTags="s", label=name)
    for row, verb in enumerate(("store", "recall")):
        for number in range(1, SNAPSHOTS + 1):
            rect = (280 + 90 * (number - 1), below + 70 * row, 80, 60)
            add(
                "button", f"{verb} {number}", rect, f"{PREFIX}/snapshot/{verb}", mode="momentary", preArgs=number,
                typeTags="i", label=f"{verb} {number}",
            )  # fmt: skip
    root: Json = {"type": "root", "id": "root", "layout": "default", "widgets": widgets, "tabs": []}
    return {"createdWith": "Open Stage Control", "version": "1.26.0", "type": "session", "content": root}


# -- Max -------------------------------------------------------------------------------------------------------------


class Patcher:
    """A Max patch in the making: boxes by number, and lines between their outlets and inlets."""

    def __init__(self) -> None:
        self._boxes: list[Json] = []
        self._lines: list[Json] = []

    def add(self, kind: str, rect: tuple[float, float, float, float], ports: tuple[int, int], **more: Json) -> str:
        """A box with so many (inlets, outlets); returns its name."""
        name = f"obj-{len(self._boxes) + 1}"
        inlets, outlets = ports
        box: Box = {
            "id": name,
            "maxclass": kind,
            "numinlets": inlets,
            "numoutlets": outlets,
            "outlettype": [""] * outlets,
            "patching_rect": list(rect),
        }
        self._boxes.append({"box": box | more})
        return name

    def object(self, text: str, left: float, top: float, ports: tuple[int, int] = (1, 1)) -> str:
        """An object written as text."""
        return self.add("newobj", (left, top, max(40.0, 6.5 * len(text)), 22.0), ports, text=text)

    def message(self, text: str, left: float, top: float) -> str:
        """A message box."""
        return self.add("message", (left, top, max(40.0, 6.5 * len(text)), 22.0), (2, 1), text=text)

    def comment(self, text: str, left: float, top: float, **more: Json) -> str:
        """Words on the patch."""
        return self.add("comment", (left, top, 8.0 * len(text) + 10.0, 20.0), (1, 0), text=text, **more)

    def wire(self, *chain: str | tuple[str, int], inlet: int = 0) -> None:
        """Connect boxes one after the other, from outlet 0 or the one named; the last one at an inlet."""
        for place, (one, other) in enumerate(pairwise(chain)):
            source, outlet = one if isinstance(one, tuple) else (one, 0)
            goal = other[0] if isinstance(other, tuple) else other
            last = place == len(chain) - 2
            line: Json = {"source": [source, outlet], "destination": [goal, inlet if last else 0]}
            self._lines.append({"patchline": line})

    def document(self, **more: Json) -> Json:
        """The patch as Max stores it."""
        patcher: Box = {
            "fileversion": 1,
            "appversion": {"major": 8, "minor": 5, "revision": 6, "architecture": "x64", "modernui": 1},
            "classnamespace": "box",
            "rect": [60.0, 100.0, 1240.0, 620.0],
            "boxes": self._boxes,
            "lines": self._lines,
        }
        return {"patcher": patcher | more}


def max_patch(surface: Surface) -> Json:
    """A Max patch: dials for the values, a menu of presets, a square to morph in, meters, all following the host."""
    patch = Patcher()
    patch.comment(f"duende at {HOST} {PORT}; its answers come to port {MAX_PORT}", 20.0, 10.0)
    send, route = _ends(patch, surface, MAX_PORT)

    def dial(node: Node, left: float) -> str:
        low, high = bounds(node)
        size = high - low
        return patch.add(
            "dial", (left, 110.0, 50.0, 50.0), (1, 1), floatoutput=1, min=low, size=size, outlettype=["float"]
        )

    def switch(node: Node, left: float) -> str:
        return patch.add("toggle", (left, 110.0, 30.0, 30.0), (1, 1), outlettype=["int"])

    left = _controls(patch, surface, send, route, dial, switch)
    menu: list[Json] = []
    for name in surface.presets:
        menu += [name, ","]
    presets = patch.add(
        "umenu", (left, 110.0, 120.0, 22.0), (1, 3), items=menu[:-1], outlettype=["int", "", ""], parameter_enable=0
    )
    patch.comment("preset", left, 85.0)
    patch.wire((presets, 1), patch.object(f"prepend {PREFIX}/preset/load", left, 180.0), send)
    patch.wire((route, _outlet(surface, "preset")), patch.object("prepend setsymbol", left, 480.0), presets)
    pad = patch.add("pictslider", (left + 140.0, 110.0, 100.0, 100.0), (2, 2), outlettype=["int", "int"])
    patch.comment("morph", left + 140.0, 85.0)
    both = patch.object("pak 0. 0.", left + 140.0, 250.0, (2, 1))
    for outlet in range(2):
        share = patch.object("/ 127.", left + 140.0 + 60.0 * outlet, 220.0, (2, 1))
        patch.wire((pad, outlet), share, both, inlet=outlet)
    patch.wire(both, patch.object(f"prepend {PREFIX}/style/xy", left + 140.0, 280.0), send)
    for place, step in enumerate(("previous", "next")):
        patch.wire(patch.message(f"{PREFIX}/preset/{step}", left, 220.0 + 30.0 * place), send)
    for place, verb in enumerate(("store", "recall")):
        patch.wire(patch.message(f"{PREFIX}/snapshot/{verb} 1", left, 290.0 + 30.0 * place), send)
    return patch.document()


def max_for_live(surface: Surface) -> bytes:
    """A Max for Live audio effect: passes its track through, its parameters can be automated and mapped."""
    patch = Patcher()
    send, route = _ends(patch, surface, LIVE_PORT)
    plugin, plugout = patch.object("plugin~", 900.0, 10.0, (2, 2)), patch.object("plugout~", 900.0, 60.0, (2, 2))
    for channel in range(2):
        patch.wire((plugin, channel), plugout, inlet=channel)
    column = iter(range(100))

    def shown(width: float) -> Box:
        return {"presentation": 1, "presentation_rect": [8.0 + 50.0 * next(column), 24.0, width, 48.0]}

    def parameter(name: str, **values: Json) -> Box:
        described: Box = {"parameter_longname": f"duende {name}", "parameter_shortname": name, **values}
        return {"parameter_enable": 1, "varname": name, "saved_attribute_attributes": {"valueof": described}}

    def dial(node: Node, left: float) -> str:
        low, high = bounds(node)
        style = 4 if node.unit == "dB" else 1
        values = parameter(
            label(node), parameter_type=0, parameter_mmin=low, parameter_mmax=high, parameter_unitstyle=style
        )
        rect = (left, 110.0, 44.0, 48.0)
        return patch.add("live.dial", rect, (1, 2), outlettype=["", "float"], **values, **shown(44.0))

    def switch(node: Node, left: float) -> str:
        values = parameter(label(node), parameter_type=2, parameter_enum=["off", "on"], parameter_mmax=1)
        rect = (left, 110.0, 44.0, 20.0)
        return patch.add("live.text", rect, (1, 2), text=label(node), texton=label(node), **values, **shown(44.0))

    left = _controls(patch, surface, send, route, dial, switch)
    values = parameter(
        "preset", parameter_type=2, parameter_enum=surface.presets, parameter_mmax=len(surface.presets) - 1
    )
    rect = (left, 110.0, 100.0, 20.0)
    presets = patch.add("live.menu", rect, (1, 3), outlettype=["", "", "float"], **values, **shown(100.0))
    patch.wire((presets, 1), patch.object(f"prepend {PREFIX}/preset/load", left, 180.0), send)
    width = 8.0 + 50.0 * (next(column) + 2)
    project: Json = {"version": 1, "amxdtype": int.from_bytes(AUDIO_EFFECT, "little")}
    device = patch.document(openinpresentation=1, devicewidth=width, project=project)
    return (
        _chunk(b"ampf", AUDIO_EFFECT) + _chunk(b"meta", struct.pack("<I", 1)) + _chunk(b"ptch", _text(device) + b"\0")
    )


def _ends(patch: Patcher, surface: Surface, port: int) -> tuple[str, str]:
    """What both Max patches begin and end with; returns the objects that send, and that sort what comes in."""
    send = patch.object(f"udpsend {HOST} {PORT}", 20.0, 380.0, (1, 0))
    start, every = patch.object("loadbang", 20.0, 230.0), patch.object("t 1", 20.0, 260.0)
    again = patch.object(f"metro {RENEW_MS}", 20.0, 290.0, (2, 1))
    patch.wire(start, every, again, patch.message(f"{PREFIX}/subscribe {port}", 20.0, 320.0), send)
    patch.wire(
        patch.object("closebang", 20.0, 200.0), patch.message(f"{PREFIX}/unsubscribe {port}", 100.0, 200.0), send
    )
    heard = _heard(surface)
    receive = patch.object(f"udpreceive {port}", 20.0, 420.0)
    route = patch.object("route " + " ".join(heard), 20.0, 450.0, (1, len(heard) + 1))
    patch.wire(receive, route)
    patch.wire((route, _outlet(surface, "error")), patch.object("print duende", 20.0, 580.0, (1, 0)))
    levels = patch.object("unpack 0. 0. 0. 0. 0 0", 140.0, 510.0, (1, 6))
    patch.wire((route, _outlet(surface, "meter")), levels)
    low, high = METER_DBFS
    for place, outlet in enumerate((0, 2)):
        rect = (140.0 + 40.0 * place, 540.0, 20.0, 70.0)
        meter = patch.add("slider", rect, (1, 1), floatoutput=1, min=low, size=high - low)
        patch.wire((levels, outlet), meter)
    delay = patch.object("unpack 0. 0. 0", 260.0, 510.0, (1, 3))
    patch.wire((route, _outlet(surface, "latency")), delay)
    for outlet, words in enumerate(("ms added", "ms of the device")):
        patch.wire((delay, outlet), patch.add("flonum", (260.0, 540.0 + 25.0 * outlet, 60.0, 22.0), (1, 2)))
        patch.comment(words, 325.0, 540.0 + 25.0 * outlet)
    return send, route


def _controls(
    patch: Patcher,
    surface: Surface,
    send: str,
    route: str,
    dial: Callable[[Node, float], str],
    switch: Callable[[Node, float], str],
) -> float:
    """A control for each value, which sends what is set and shows what is heard; returns where the next has room."""
    left = 200.0
    for outlet, node in enumerate([*surface.faders, *surface.styles, *surface.switches]):
        control = switch(node, left) if node in surface.switches else dial(node, left)
        patch.comment(label(node), left, 85.0)
        patch.wire(control, patch.object(f"prepend {node.address}", left, 180.0 + 30.0 * (outlet % 5)), send)
        patch.wire((route, outlet), patch.object("prepend set", left, 480.0), control)
        left += 80.0
    return left


def _heard(surface: Surface) -> list[str]:
    values = [node.address for node in (*surface.faders, *surface.styles, *surface.switches)]
    return [*values, *(f"{PREFIX}/{name}" for name in ("preset/current", "meter", "status/latency", "error"))]


def _outlet(surface: Surface, what: str) -> int:
    """The outlet of the sorting object for one of the last addresses that it knows."""
    return next(place for place, address in enumerate(_heard(surface)) if what in address.split("/")[2:])


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


def _text(document: Json) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def main() -> None:
    """Write the generated files of examples/ anew."""
    if not EXAMPLES.is_dir():
        sys.exit(f"there is no {EXAMPLES}: run this in a checkout")
    for path, content in generate(example_nodes()).items():
        (EXAMPLES / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(EXAMPLES / path, content)


if __name__ == "__main__":
    main()
