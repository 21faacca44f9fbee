"""Captures in a running show: found and put into slots by name, with their own controls."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import soundfile

from captures import damage, slimmable_nam, tiny_captures, write
from duende import DuendeError
from duende.engine.control.commands import PAGE, session_nodes
from duende.engine.control.osc import MAX_PACKET, Message, encode
from duende.engine.control.session import Session
from duende.engine.messages import Play, Preload, SlotPlan
from duende.engine.model import load_model
from duende.engine.preset import build_rig, load_rig, processors_for
from duende.engine.processor import StreamSpec
from duende.engine.render import render_array, render_file
from duende.engine.slots import make_processor
from duende.engine.waveform_model import RESERVED_KNOBS, open_waveform
from duende.export.captures.install import import_capture
from duende.presets.captures import Captures
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import Library
from osc_peers import Desk
from sessions import QuickEngine, tiny_session
from signals import noise


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.session.captures = Captures(tmp_path / "captures")
    desk.session.cabinets.folder = tmp_path / "cabinets"
    desk.renew()
    return desk


def test_captures_and_cabinets_are_found_over_osc(desk: Desk) -> None:
    address = "/duende/capture/find"
    assert desk.send(address, "", "#0") == [Message("/duende/reply", [address, "#0"])]
    for number in range(250):
        desk.session.captures.add(f"amp-{number:03d}{'-long' * 11}", b"")
    desk.session.captures.add("twin-clean", b"")
    assert desk.send(address, "CLEAN", "#1") == [Message("/duende/reply", [address, "#1", "twin-clean"])]
    found: list[str] = []
    while True:
        (answer,) = desk.send(address, "", len(found), "#2")
        if len(answer.values) == 2:
            break
        assert len(encode(answer.address, answer.values)) < MAX_PACKET
        assert len(answer.values) - 2 <= PAGE
        found += [str(name) for name in answer.values[2:]]
    assert found == list(desk.session.captures.entries())
    assert len(found) == 251
    address = "/duende/cabinet/find"
    assert desk.send(address, "4x", "#3") == [Message("/duende/reply", [address, "#3", "4x12"])]


@pytest.mark.parametrize("name", ["twin", "../captures/twin", "/etc/passwd", "", "twin.onnx"])
def test_what_is_no_capture_of_the_library_is_refused(name: str, desk: Desk) -> None:
    with pytest.raises(DuendeError, match="no capture"):
        asyncio.run(desk.session.add_slot(f"capture:{name}"))
    assert not desk.session.engine.orders  # type: ignore[attr-defined]


# -- in slots ----------------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session whose player has the captures `half`, `bent` and `knobby`; its show outlives it."""
    session = tiny_session(tmp_path / "library", tmp_path / "show")
    session.captures = tiny_captures(tmp_path)
    return session


def orders(session: Session) -> list[Play | Preload]:
    assert isinstance(session.engine, QuickEngine)
    return session.engine.orders


def test_a_capture_comes_with_its_own_controls(session: Session) -> None:
    asyncio.run(session.add_slot("capture:knobby"))
    asyncio.run(session.add_slot("capture:half"))
    order = orders(session)[-1]
    assert isinstance(order, Play)
    assert order.slots == [SlotPlan(name, str(session.captures.find(name)), "capture") for name in ("knobby", "half")]
    names = [row.name for row in session.table.rows() if row.name.startswith("slot/")]
    assert names == [
        *(f"slot/1/{control}" for control in ("bypass", "mix", "drive", "input", "output", "normalize")),
        *(f"slot/2/{control}" for control in ("bypass", "mix", "input", "output", "normalize")),
    ]
    assert session.get("slot/1/drive") == 0.5
    assert session.set("slot/1/drive", 0.8) == 0.8
    assert session.set("slot/2/input", 99.0) == 24.0
    read = {node.address: node for node in session_nodes(session)}["/duende/slot/1/name"].read
    assert read is not None
    assert list(read()) == ["knobby"]
    asyncio.run(session.move_slot(1, 2))
    assert session.get("slot/2/drive") == 0.8
    asyncio.run(session.load_slot(2, "capture:bent"))
    assert "slot/2/drive" not in session.values()
    asyncio.run(session.undo())
    assert session.get("slot/2/drive") == 0.8


def test_control_comes_back_to_a_show_with_captures(session: Session, tmp_path: Path) -> None:
    asyncio.run(session.load("solo"))
    asyncio.run(session.add_slot("capture:knobby"))
    session.set("slot/2/drive", 0.25)
    # Even where the library has lost it meanwhile: it plays on.
    session.captures.remove("knobby")
    again = Session(session.shared, session.engine, session.library, tmp_path / "show")
    assert again.state == session.state
    assert again.get("slot/2/drive") == 0.25


def test_a_capture_that_is_damaged_never_reaches_the_engine(session: Session) -> None:
    asyncio.run(session.load("solo"))
    path = session.captures.find("bent")
    path.write_bytes(path.read_bytes()[:-40])
    before, state = len(orders(session)), session.state
    with pytest.raises(DuendeError, match=r"bent\.onnx: ") as caught:
        asyncio.run(session.add_slot("capture:bent"))
    assert "\n" not in str(caught.value)
    damage(session.captures.find("half"))
    with pytest.raises(DuendeError, match=r"half\.onnx: golden pair missed"):
        asyncio.run(session.add_slot("capture:half"))
    path.write_bytes(session.library.find("solo").model_path("solo.onnx").read_bytes())
    with pytest.raises(DuendeError, match=r"bent\.onnx: a model of kind 'mixer', not a capture"):
        asyncio.run(session.load_slot(1, "capture:bent"))
    assert (len(orders(session)), session.state) == (before, state)


def test_presets_keep_captures_with_their_values(session: Session) -> None:
    asyncio.run(session.load("wire"))
    for source in ("capture:knobby", "cabinet:4x12", "fx:delay"):
        asyncio.run(session.add_slot(source))
    session.set("slot/1/drive", 0.75)
    session.set("slot/1/output", -3.0)
    session.store_snapshot(1)
    entry = session.save("rig")
    first = entry.read().slots[0]
    assert (first.kind, first.file, first.values["drive"], first.values["output"]) == (
        "capture",
        "knobby.onnx",
        0.75,
        -3.0,
    )
    # The preset has a copy of its own.
    session.captures.remove("knobby")
    asyncio.run(session.load("wire"))
    asyncio.run(session.load("rig"))
    order = orders(session)[-1]
    assert isinstance(order, Play)
    assert order.slots[0] == SlotPlan("knobby", str(entry.folder / "knobby.onnx"), "capture")
    assert session.get("slot/1/drive") == 0.75
    session.set("slot/1/drive", 0.0)
    session.recall_snapshot(1)
    assert session.get("slot/1/drive") == 0.75
    asyncio.run(session.preload(["rig"]))
    order = orders(session)[-1]
    assert isinstance(order, Preload)
    assert order.slots == [SlotPlan("knobby", str(entry.folder / "knobby.onnx"), "capture")]


def test_a_presets_first_slot_may_be_a_capture(session: Session) -> None:
    slot = SlotPreset("capture", "bent.onnx", mix=0.5, values={"input": 6.0})
    data = session.captures.find("bent").read_bytes()
    session.library.save("amp", Preset(FORMAT, "amp", [slot]), {"bent.onnx": data})
    asyncio.run(session.load("solo"))
    asyncio.run(session.add_slot("amp"))
    assert [one.kind for one in session.state.slots] == ["style", "capture"]
    assert (session.get("slot/2/mix"), session.get("slot/2/input")) == (0.5, 6.0)


def test_what_the_engine_says_of_a_chain_is_told_once(session: Session) -> None:
    told: list[str] = []
    session.noticed.append(told.append)
    engine = session.engine
    assert isinstance(engine, QuickEngine)
    engine.notices = ["knobby: 33 samples late"]
    asyncio.run(session.add_slot("capture:knobby"))
    asyncio.run(session.add_slot("capture:half"))
    assert told == ["knobby: 33 samples late"]
    engine.notices = []
    asyncio.run(session.remove_slot(1))
    engine.notices = ["knobby: 33 samples late"]
    asyncio.run(session.undo())
    assert told == ["knobby: 33 samples late"] * 2


# -- the sound ---------------------------------------------------------------------------------------------------


def test_a_slot_of_kind_capture_plays(tmp_path: Path, rng: np.random.Generator) -> None:
    captures = tiny_captures(tmp_path)

    def nothing(*arguments: object) -> None:
        raise AssertionError(arguments)

    plan = SlotPlan("half", str(captures.find("half")), "capture")
    processor = make_processor(plan, nothing, nothing, open_waveform)  # type: ignore[arg-type]
    processor.prepare(StreamSpec(48000.0, 1, 64))
    processor.values[:] = [0.0, 0.0, 0.0]
    block, out = noise(rng, 64)[:, None], np.zeros((64, 1), dtype=np.float32)
    processor.process(block, out)
    assert np.abs(out - 0.5 * block).max() <= 1e-7


@pytest.mark.parametrize("rate", [44100, 96000])
def test_a_capture_plays_at_other_rates(rate: int, tmp_path: Path) -> None:
    """What is below 18 kHz comes through, aligned, at any rate of the device."""
    captures = tiny_captures(tmp_path)
    rig = build_rig(processors_for([SlotPlan("half", str(captures.find("half")), "capture")]))
    rig.bank.set("slot/1/normalize", 0.0)
    seconds = np.arange(rate // 2) / rate
    sines = sum(np.sin(2.0 * np.pi * hertz * seconds + hertz) for hertz in (82.0, 1000.0, 9000.0, 15000.0))
    sound = np.asarray(0.2 * sines * np.hanning(len(seconds)), dtype=np.float32)
    played = render_array(rig, sound, rate)[: len(sound)]
    assert rig.chain.latency.samples > 0
    assert np.abs(played - 0.5 * sound).max() <= 1e-3


def test_presets_with_captures_are_rendered(tmp_path: Path, rng: np.random.Generator) -> None:
    captures, library = tiny_captures(tmp_path), Library(tmp_path / "presets", tmp_path / "none")
    slots = [
        SlotPreset("capture", "half.onnx", values={"normalize": 0.0, "output": 6.0}),
        SlotPreset("capture", "knobby.onnx", values={"normalize": 0.0, "drive": 1.0}),
    ]
    files = {f"{name}.onnx": captures.find(name).read_bytes() for name in ("half", "knobby")}
    entry = library.save("rig", Preset(FORMAT, "rig", slots), files)
    guitar = 0.3 * noise(rng, 4800)
    rig = load_rig(entry)
    played = render_array(rig, guitar, 48000)[:4800]
    plain = build_rig(processors_for([SlotPlan("k", str(captures.find("knobby")), "capture")]))
    plain.bank.set("slot/1/normalize", 0.0)
    plain.bank.set("slot/1/drive", 1.0)
    wanted = render_array(plain, guitar * np.float32(0.5 * 10**0.3), 48000)[:4800]
    # Trained at 44.1 kHz: it is resampled, which takes time.
    assert rig.chain.latency.slots[0][1] == 0 < rig.chain.latency.slots[1][1] < 48
    assert np.abs(played - wanted).max() <= 1e-6
    assert np.abs(wanted).max() > 0.05
    with pytest.raises(DuendeError, match=r"drive = 2 is out of range: 0 to 1"):
        load_rig(entry, values={"slot/2/drive": 2.0})


def test_rendering_says_what_is_resampled(tmp_path: Path, rng: np.random.Generator) -> None:
    captures = tiny_captures(tmp_path)
    soundfile.write(tmp_path / "in.wav", 0.3 * noise(rng, 4800), 48000)
    rig = build_rig(processors_for([SlotPlan(name, str(path), "capture") for name, path in captures.entries().items()]))
    report = render_file(rig, tmp_path / "in.wav", tmp_path / "out.wav")
    late = rig.chain.latency.slots[2][1]
    assert report.latency_samples == late
    assert report.notices == [
        f"knobby: made at 44.1 kHz, played at 48 kHz: it is resampled, {late} samples ({late / 48:.2f} ms) late"
    ]


def test_a_preset_begins_at_its_own_quality(tmp_path: Path, rng: np.random.Generator) -> None:
    captures, library = Captures(tmp_path / "captures"), Library(tmp_path / "presets", tmp_path / "none")
    import_capture(write(tmp_path / "slim.nam", slimmable_nam(0.25, 0.5)), captures)
    guitar = 0.3 * noise(rng, 9600)
    for quality, gain in ((0.0, 0.25), (1.0, 0.5)):
        slot = SlotPreset("capture", "slim.onnx", values={"normalize": 0.0, "quality": quality})
        files = {"slim.onnx": captures.find("slim").read_bytes()}
        rig = load_rig(library.save("slim", Preset(FORMAT, "slim", [slot]), files, force=True))
        assert np.abs(render_array(rig, guitar, 48000)[:9600] - gain * guitar).max() <= 1e-6


def test_knobs_take_no_address_of_their_slot(session: Session) -> None:
    """What a slot has at its addresses is none of its capture's controls."""
    asyncio.run(session.add_slot("capture:knobby"))
    asyncio.run(session.add_slot("fx:delay"))
    own = {
        node.address.split("/")[4]
        for node in session_nodes(session)
        if node.address.startswith("/duende/slot/1/") and "parameter" not in node.tags and "normalized" not in node.tags
    }
    assert own >= {"name", "load", "remove"}
    assert own <= RESERVED_KNOBS


def test_a_capture_is_no_style(session: Session) -> None:
    with pytest.raises(DuendeError, match=r"half\.onnx: a capture, not a style"):
        load_model(session.captures.find("half"))
