"""Meters: levels, load and counts as the audio thread left them, when they are sent, and what the nodes say."""

import asyncio
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.control.meters import READS_PER_S, Meters
from duende.engine.control.namespace import Values
from duende.engine.control.parts import Parts
from duende.engine.control.session import SlotState
from duende.engine.fx.table import EFFECTS
from duende.engine.messages import Opened
from duende.engine.telemetry import Telemetry
from sessions import tiny_session
from signals import tone

Float32 = npt.NDArray[np.float32]

DEVICE = Opened("jack: system", 48000.0, 128, 5.5, False)


class Desk:
    """Meters, and the audio thread that they watch."""

    def __init__(self, folder: Path, safety: int = 0) -> None:
        self.session = tiny_session(folder)
        self.meters = Meters(self.session, safety)
        self.audio = Telemetry(self.session.shared)

    def play(self, dry: Float32, wet: Float32) -> None:
        """What the host does in its callback, in blocks of 128."""
        for block, result in zip(dry.reshape(-1, 128, 1), wet.reshape(-1, 128, 1), strict=True):
            self.session.shared.keep(block, result)
            self.audio.raise_level("input_peak", float(np.abs(block).max()))
            self.audio.raise_level("output_peak", float(np.abs(result).max()))

    def read(self) -> dict[str, Values]:
        return dict(self.meters.read())


def test_levels_are_those_of_what_was_played(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.read()["/duende/meter"] == [-120.0] * 4 + [0, 0]
    desk.play(tone(1000.0, 4800, level_dbfs=-6.0)[: 128 * 37], tone(1000.0, 4800, level_dbfs=-20.0)[: 128 * 37])
    levels = desk.read()["/duende/meter"]
    assert levels[:4] == pytest.approx([-6.0, -9.01, -20.0, -23.01], abs=0.02)
    assert levels[4:] == [0, 0]


def test_a_peak_is_seen_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    click = np.zeros(1280, dtype=np.float32)
    click[3] = 0.5
    desk.play(click, 0.1 * click)
    assert desk.read()["/duende/meter"][0] == pytest.approx(-6.02, abs=0.01)
    desk.play(0 * click, 0 * click)
    assert desk.read()["/duende/meter"][0] == -120.0


def test_between_long_blocks_a_level_stands_and_then_falls(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(tone(1000.0, 1280), tone(1000.0, 1280))
    first = desk.read()["/duende/meter"]
    assert [desk.read()["/duende/meter"] for _ in range(9)] == [first] * 9
    assert desk.read()["/duende/meter"] == [-120.0] * 4 + [0, 0]


def test_what_was_too_loud_is_shown_for_half_a_second(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    silence = np.zeros(128, dtype=np.float32)
    desk.play(silence + 1.0, silence)
    assert desk.read()["/duende/meter"][4:] == [1, 0]
    desk.audio.add("ceiling")
    shown = []
    for _ in range(20):
        desk.play(silence, silence)
        shown.append(desk.read()["/duende/meter"][4:])
    assert [one[0] for one in shown] == [1] * 14 + [0] * 6
    assert [one[1] for one in shown] == [1] * 15 + [0] * 5


def test_rubbish_in_the_buffer_makes_numbers(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    rubbish = np.full(128, np.nan, dtype=np.float32)
    desk.play(rubbish, rubbish * np.float32(np.inf))
    desk.audio.set_level("input_peak", math.inf)
    assert all(math.isfinite(float(str(value))) for value in desk.read()["/duende/meter"])


def test_load_is_shares_of_the_period(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.read()["/duende/status/load"] == [0.0, 0.0, 0.0]
    desk.audio.set_level("period_us", 2000.0)
    for time_us in (200.0, 400.0, 300.0, 3000.0, 300.0):
        desk.audio.block_done(time_us)
        desk.audio.add("callbacks")
    median, p99, worst = desk.read()["/duende/status/load"]
    assert (median, worst) == (0.15, 1.5)
    assert p99 == pytest.approx(np.percentile([200, 400, 300, 3000, 300], 99) / 2000.0)


def test_counts_are_sent_when_they_change_and_once_a_second(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    names = ("latency", "parts", "xruns", "late", "rests", "faults", "device", "histogram")
    slow = {f"/duende/status/{name}" for name in names}
    often = {"/duende/meter", "/duende/status/load"}
    assert set(desk.read()) == slow | often
    assert set(desk.read()) == often
    desk.audio.add("late", 3)
    desk.audio.add("output_xruns")
    changed = desk.read()
    assert set(changed) - often == {"/duende/status/late", "/duende/status/xruns"}
    assert (changed["/duende/status/late"], changed["/duende/status/xruns"]) == ([3], [0, 1])
    sent = [set(desk.read()) for _ in range(2 * READS_PER_S)]
    assert sum(one == slow | often for one in sent) == 2
    assert sum(one == often for one in sent) == 2 * READS_PER_S - 2
    desk.audio.add("rests")
    desk.audio.add("faults")
    desk.audio.add("failed")
    changed = desk.read()
    assert (changed["/duende/status/rests"], changed["/duende/status/faults"]) == ([1], [2])


def test_what_a_slot_takes_is_told_five_times_a_second(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    asyncio.run(desk.session.load("duo"))
    for _ in range(2000):
        desk.audio.slot_done(0, 0.25e-3, 1e-3)
    desk.audio.slot_done(0, 0.75e-3, 1e-3)
    sent = [desk.read().get("/duende/slot/1/usage") for _ in range(READS_PER_S)]
    shown = [values for values in sent if values is not None]
    assert len(shown) == 5
    assert shown[0][0] == pytest.approx(0.25, abs=0.01)
    assert shown[0][1] == pytest.approx(0.75)
    nodes = {node.address: node for node in desk.meters.nodes()}
    read = nodes["/duende/slot/1/usage"].read
    assert read is not None
    assert read() == shown[0]
    assert "/duende/slot/2/usage" not in nodes


def test_device_and_latency(tmp_path: Path) -> None:
    desk = Desk(tmp_path, safety=2)
    assert desk.read()["/duende/status/device"] == ["", 0.0, 0, 0, "not open yet"]
    assert desk.meters.rate == 48000.0
    desk.session.state.latency, desk.session.state.reblocking = [128], 64
    desk.meters.opened(DEVICE)
    said = desk.read()
    assert said["/duende/status/device"] == ["jack: system", 48000.0, 128, 0, ""]
    assert said["/duende/status/latency"] == [pytest.approx(1000.0 * 448 / 48000.0), 5.5, 448]
    desk.session.state.slots = [SlotState(name, "", [], branch=name) for name in ("a", "b")]
    desk.session.state.latency = [128, 160]
    assert desk.read()["/duende/status/latency"][2] == 480, "the branch that is later counts"
    desk.meters.lost("the device is gone")
    assert desk.read()["/duende/status/device"][-1] == "the device is gone"
    desk.meters.opened(Opened("clock", 44100.0, 0, None, True))
    said = desk.read()
    assert said["/duende/status/device"] == ["clock", 44100.0, 0, 1, ""]
    assert said["/duende/status/latency"][1] == -1.0
    assert desk.meters.rate == 44100.0


def test_nodes_can_be_read_without_taking_anything(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(tone(1000.0, 1280), tone(1000.0, 1280))
    desk.meters.opened(DEVICE)
    sent = desk.read()
    nodes = {node.address: node for node in desk.meters.nodes()}
    assert nodes.pop("/duende/status/reset").access == 2
    assert set(nodes) == {*sent, *(f"/duende/status/{name}" for name in ("device", "latency", "parts"))}
    for node in nodes.values():
        assert node.read is not None
        assert node.stream
        assert node.access == 1
        values = node.read()
        types = node.types * len(values) if len(node.types) == 1 else node.types
        assert len(values) == len(types)
        assert all(
            isinstance(value, {"f": float, "i": int, "s": str}[tag]) for value, tag in zip(values, types, strict=True)
        )
        assert values == node.read() == sent[node.address]


def test_counts_begin_anew_when_they_are_told_to(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    nodes = {node.address: node for node in desk.meters.nodes()}
    reset = nodes["/duende/status/reset"].write
    assert reset is not None
    for name, times in (("late", 3), ("input_xruns", 2), ("rests", 1), ("faults", 4), ("failed", 5)):
        desk.audio.add(name, times)
    desk.audio.block_done(120.0)
    desk.read()
    reset([])
    told = desk.read()
    for name, values in (("late", [0]), ("xruns", [0, 0]), ("rests", [0]), ("faults", [0])):
        assert told[f"/duende/status/{name}"] == values
    assert sum(map(float, map(str, told["/duende/status/histogram"][2:]))) == 0.0
    desk.audio.add("late")
    desk.audio.block_done(120.0)
    assert desk.read()["/duende/status/late"] == [1]
    assert desk.meters.histogram()[2:6] == [0.0, 0.0, 1.0, 0.0]
    assert desk.audio.count("late") == 4, "the audio thread's own count is nobody else's"


def test_another_engine_counts_from_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.audio.add("late", 3)
    desk.audio.block_done(120.0)
    desk.meters.reset()
    desk.audio.clear()
    desk.audio.add("late")
    desk.audio.block_done(30.0)
    assert desk.read()["/duende/status/late"] == [1]
    assert desk.meters.histogram()[2:6] == [1.0, 0.0, 0.0, 0.0]


def test_the_histogram_holds_every_block(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.audio.set_level("period_us", 2666.0)
    for time_us in (10.0, 40.0, 60.0, 1e9):
        desk.audio.block_done(time_us)
    period, step, *counts = desk.meters.histogram()
    assert (period, step) == (2666.0, 50.0)
    assert counts == [2.0, 1.0] + 125 * [0.0] + [1.0]


def test_delay_is_told_by_part(tmp_path: Path) -> None:
    desk = Desk(tmp_path, safety=2)
    desk.session.state.latency, desk.session.state.reblocking = [128, 0], 64
    assert desk.read()["/duende/status/parts"] == [-1.0, *(pytest.approx(n / 48.0) for n in (64, 0, 128, 0))]
    desk.meters.opened(DEVICE)
    assert desk.read()["/duende/status/parts"] == [5.5, *(pytest.approx(n / 48.0) for n in (64, 256, 128, 0))]


def test_no_meter_hides_a_parameter_of_what_a_slot_may_play(tmp_path: Path) -> None:
    # Addresses are the keys of the tree: of two alike the later one would be all that is reached.
    show = tiny_session(tmp_path)
    parts = Parts.build(show, lambda call: None)
    for source in [*(f"fx:{name}" for name in EFFECTS), *(f"cabinet:{name}" for name in show.cabinets.entries())]:
        asyncio.run(show.load("wire"))
        asyncio.run(show.add_slot(source))
        addresses = [node.address for node in parts.nodes()]
        assert sorted(set(addresses)) == sorted(addresses), source
