"""The examples: the generated ones are current and fit the nodes, the others run against a host."""

import asyncio
import json
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from configparser import ConfigParser
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.main import get_command

from duende.commands.app import app
from duende.engine.control.commands import session_nodes
from duende.engine.control.dispatch import Dispatcher
from duende.engine.control.namespace import Namespace, Node
from duende.engine.control.osc import Message
from duende.engine.control.patches import EXAMPLES, generate
from duende.engine.control.reference import example_nodes
from duende.engine.control.session import Session
from duende.engine.control.subscriptions import Subscriptions
from duende.engine.control.transport import OscServer
from duende.presets.format import FORMAT, Preset
from duende.presets.library import HOME_VARIABLE, Library
from sessions import tiny_session
from signals import tone


@pytest.fixture(scope="module")
def nodes() -> dict[str, Node]:
    return {node.address: node for node in example_nodes()}


def test_the_committed_files_are_current() -> None:
    for path, content in generate(example_nodes()).items():
        assert (EXAMPLES / path).read_bytes() == content, f"{path}: run `python -m duende.engine.control.patches`"


# -- Open Stage Control ----------------------------------------------------------------------------------------------


def widgets() -> list[dict[str, Any]]:
    session = json.loads((EXAMPLES / "open-stage-control/duende.json").read_text())
    assert (session["type"], session["content"]["type"]) == ("session", "root")
    found = session["content"]["widgets"]
    assert isinstance(found, list)
    return found


def test_the_surface_speaks_to_addresses_that_there_are(nodes: dict[str, Node]) -> None:
    kinds = set()
    for widget in widgets():
        if widget["address"] == "auto":
            continue
        node = nodes[widget["address"]]
        kinds.add(widget["type"])
        if widget["type"] == "fader":
            assert (widget["range"]["min"], widget["range"]["max"]) == (node.ranges[0].minimum, node.ranges[0].maximum)
        elif widget["type"] == "button":
            pressed = [widget["preArgs"]] if "preArgs" in widget else []
            pressed += [widget["on"]] if "on" in widget else []
            assert list(node.check(pressed)) == pressed
            assert node.types.startswith(widget.get("typeTags", ""))
        elif widget["type"] == "canvas":
            assert widget["valueLength"] == len(node.types) == len(widget["default"])
    assert kinds == {"fader", "button", "xy", "text", "canvas"}


def test_the_surface_has_all_that_is_played_with(nodes: dict[str, Node]) -> None:
    addresses = [widget["address"] for widget in widgets()]
    plain = {address for address in nodes if not address.endswith("/normalized")}
    assert {address for address in plain if "parameter" in nodes[address].tags and "/slot/" not in address} <= {
        *addresses
    }
    assert {address for address in plain if address.startswith("/duende/style/")} <= {*addresses}
    read = nodes["/duende/preset/list"].read
    assert read is not None
    assert [w["preArgs"] for w in widgets() if w["address"] == "/duende/preset/load"] == list(read())
    assert addresses.count("/duende/snapshot/recall") == 8


def test_the_surface_is_laid_out_side_by_side() -> None:
    found = widgets()
    assert len({widget["id"] for widget in found}) == len(found)
    for one, other in combinations(found, 2):
        apart = (
            one["left"] + one["width"] <= other["left"]
            or other["left"] + other["width"] <= one["left"]
            or one["top"] + one["height"] <= other["top"]
            or other["top"] + other["height"] <= one["top"]
        )
        assert apart, (one["id"], other["id"])


# -- Max -------------------------------------------------------------------------------------------------------------


def chunks(content: bytes) -> dict[bytes, bytes]:
    found = {}
    while content:
        name, (size,) = content[:4], struct.unpack_from("<I", content, 4)
        found[name] = content[8 : 8 + size]
        assert len(found[name]) == size
        content = content[8 + size :]
    return found


def patcher(path: str) -> dict[str, Any]:
    content = (EXAMPLES / path).read_bytes()
    if path.endswith(".amxd"):
        device = chunks(content)
        assert list(device) == [b"ampf", b"meta", b"ptch"]
        assert device[b"ampf"] == b"aaaa"
        assert device[b"ptch"].endswith(b"}\n\0")
        content = device[b"ptch"][:-1]
    found = json.loads(content)["patcher"]
    assert isinstance(found, dict)
    return found


PATCHES = ("max/duende.maxpat", "ableton/duende.amxd")


@pytest.mark.parametrize("path", PATCHES)
def test_lines_join_outlets_to_inlets(path: str) -> None:
    patch = patcher(path)
    boxes = {box["box"]["id"]: box["box"] for box in patch["boxes"]}
    assert len(boxes) == len(patch["boxes"])
    joined = set()
    for line in patch["lines"]:
        (source, outlet), (goal, inlet) = line["patchline"]["source"], line["patchline"]["destination"]
        assert outlet < boxes[source]["numoutlets"]
        assert inlet < boxes[goal]["numinlets"]
        joined |= {source, goal}
    assert {name for name, box in boxes.items() if box["maxclass"] != "comment"} == joined


@pytest.mark.parametrize("path", PATCHES)
def test_patches_speak_to_addresses_that_there_are(path: str, nodes: dict[str, Node]) -> None:
    texts = [box["box"].get("text", "") for box in patcher(path)["boxes"] if box["box"]["maxclass"] != "comment"]
    sent = [text.removeprefix("prepend ").split() for text in texts if text.startswith(("prepend /", "/duende"))]
    for address, *arguments in sent:
        assert nodes[address].write is not None or address.endswith("subscribe")
        if arguments:
            nodes[address].check([float(argument) for argument in arguments])
    (heard,) = (text.split()[1:] for text in texts if text.startswith("route "))
    assert set(heard) - {"/duende/error"} <= set(nodes)
    values = {text.removeprefix("prepend ") for text in texts if text.startswith("prepend /")}
    assert {address for address in heard if nodes.get(address, nodes["/duende/meter"]).access == 3} <= values


def test_the_device_has_parameters_to_automate(nodes: dict[str, Node]) -> None:
    patch = patcher("ableton/duende.amxd")
    boxes = {box["box"]["id"]: box["box"] for box in patch["boxes"]}
    described = [box["saved_attribute_attributes"]["valueof"] for box in boxes.values() if "parameter_enable" in box]
    assert len({one["parameter_longname"] for one in described}) == len(described) > 10
    gain = next(one for one in described if one["parameter_shortname"] == "output gain")
    bounds = nodes["/duende/output/gain"].ranges[0]
    assert (gain["parameter_mmin"], gain["parameter_mmax"]) == (bounds.minimum, bounds.maximum)
    audio = [
        line["patchline"] for line in patch["lines"] if boxes[line["patchline"]["source"][0]].get("text") == "plugin~"
    ]
    assert [(line["source"][1], line["destination"][1]) for line in audio] == [(0, 0), (1, 1)]
    assert all(boxes[line["destination"][0]]["text"] == "plugout~" for line in audio)


# -- those that run --------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """A session behind OSC, with an engine that answers at once."""

    session: Session
    server: OscServer
    subscriptions: Subscriptions
    dispatcher: Dispatcher


@asynccontextmanager
async def hosted(folder: Path) -> AsyncIterator[Host]:
    session, namespace = tiny_session(folder), Namespace()
    await session.load("duo")
    dispatcher = Dispatcher(namespace)
    server = await OscServer.start(dispatcher.receive, port=0)
    subscriptions = Subscriptions(namespace, asyncio.get_running_loop(), server.udp_peer)
    subscriptions.join(dispatcher, session)
    namespace.replace(
        [*session_nodes(session), *dispatcher.nodes(), Node("/duende/meter", "ffffii", "levels", stream=True)]
    )
    try:
        yield Host(session, server, subscriptions, dispatcher)
    finally:
        await dispatcher.close()
        server.close()


async def printed(command: list[str], host: Host, until: Callable[[str], bool]) -> str:
    """What a command prints until that is enough; meters are sent meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    text = ""

    async def meter() -> None:
        while True:
            host.subscriptions.stream([Message("/duende/meter", [-12.0, -18.0, -9.0, -15.0, 0, 0])])
            await asyncio.sleep(0.02)

    metering = asyncio.create_task(meter())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                while not until(text) and (line := await process.stdout.readline()):
                    text += line.decode()
    finally:
        metering.cancel()
        if process.returncode is None:
            process.kill()
        await process.wait()
    return text


def script(name: str, host: Host, *options: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / "python" / name), "--port", str(host.server.port), *options]


def test_a_script_sets_a_value_and_shows_meters(tmp_path: Path) -> None:
    async def test() -> None:
        async with hosted(tmp_path) as host:
            text = await printed(script("meters.py", host, "--amount", "0.25"), host, lambda text: "dBFS" in text)
            assert "in  -12.0 dBFS   out   -9.0 dBFS" in text
            assert "amount 0.25" in text
            assert host.session.get("amount") == 0.25

    asyncio.run(test())


def test_a_script_morphs(tmp_path: Path) -> None:
    async def test() -> None:
        async with hosted(tmp_path) as host:
            seen: set[float] = set()
            host.session.changed.append(lambda names: seen.add(host.session.get("slot/1/style1")))
            await printed(script("morph.py", host, "--period", "0.4", "--seconds", "0.5"), host, lambda text: False)
            assert len(seen) > 5
            assert min(seen) < 0.2
            assert max(seen) > 0.8
            assert host.dispatcher.counters["failed"] == host.dispatcher.counters["refused"] == 0

    asyncio.run(test())


def test_a_script_plays_a_recording_through_every_preset(tmp_path: Path) -> None:
    home = tmp_path / "home"
    library = Library(home / "presets")
    library.save("wire", Preset(FORMAT, "wire", []), {})
    (home / "presets" / "broken.toml").write_text("broken")
    soundfile.write(tmp_path / "in.wav", tone(220.0, 480), 48000)
    command = [sys.executable, str(EXAMPLES / "python" / "every_preset.py"), "in.wav", "--output", "out"]
    environment = os.environ | {HOME_VARIABLE: str(home)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "broken: broken.toml" in done.stdout
    assert {path.stem for path in (tmp_path / "out").iterdir()} >= {"wire", "cello", "rain"}
    played, _ = soundfile.read(tmp_path / "out" / "wire.wav")
    np.testing.assert_allclose(played[:480], tone(220.0, 480), atol=2.0**-14)


def test_the_unit_starts_a_command_that_there_is() -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.read_string((EXAMPLES / "systemd" / "duende.service").read_text())
    program, command, *words = unit["Service"]["ExecStart"].split()
    assert program.endswith("/bin/duende")
    known = {name for one in get_command(app).commands[command].params for name in one.opts}  # type: ignore[attr-defined]
    assert {word for word in words if word.startswith("-")} <= known


NODE = """
const sent = [], timers = [];
globalThis.send = (...words) => sent.push(words);
globalThis.setInterval = (call, wait) => timers.push([call, wait]);
const custom = require(process.argv[1]);
custom.init(); timers[0][0](); custom.unload();
console.log(JSON.stringify({sent, wait: timers[0][1]}));
"""


@pytest.mark.live("node")
def test_the_module_of_open_stage_control_stays_subscribed(nodes: dict[str, Node]) -> None:
    command = ["node", "-e", NODE, str(EXAMPLES / "open-stage-control" / "duende.js")]
    done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    addresses = [words[2] for words in done["sent"]]
    assert addresses == ["/duende/subscribe", "/duende/subscribe", "/duende/unsubscribe"]
    for words in done["sent"]:
        assert words[:2] == ["127.0.0.1", 7700]
        assert list(nodes[words[2]].check([words[3]["value"]])) == [0]
    assert done["wait"] < 60000


@pytest.mark.live("pd")
def test_the_pd_patch_sets_a_value_and_hears_the_others(tmp_path: Path) -> None:
    async def test() -> None:
        async with hosted(tmp_path) as host:
            listening = await OscServer.start(lambda packet, peer: 1, port=0)
            free = listening.port
            listening.close()
            patch = tmp_path / "duende.pd"
            text = (EXAMPLES / "pd" / "duende.pd").read_text()
            patch.write_text(text.replace("7700", str(host.server.port)).replace("7712", str(free)))
            host.session.set("amount", 0.125)
            command = ["pd", "-nogui", "-noaudio", "-nomidi", "-nrt", "-stderr", "-open", str(patch)]
            heard = await printed(command, host, lambda text: "amount 0.5" in text and "tempo 120" in text)
            assert {"duende: amount 0.5", "duende: tempo 120", "duende: preset current duo"} <= {*heard.splitlines()}
            assert host.session.get("amount") == 0.5
            assert len(host.subscriptions) == 1
            assert host.dispatcher.counters["refused"] == 0

    asyncio.run(test())
