"""The engine's orders, in this process and played to a clock: what cannot be played is refused, and nothing else is."""

import gc
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from captures import tiny_captures
from duende import DuendeError
from duende.engine.device import ClockDevice, Device
from duende.engine.messages import (
    Done,
    EngineSetup,
    Lost,
    Message,
    Opened,
    Play,
    Played,
    Preload,
    Refused,
    SlotPlan,
    Stop,
)
from duende.engine.params import GLOBALS
from duende.engine.player import LOST, Player
from duende.engine.shared import map_state


class DeskWire:
    """Keeps what the engine says."""

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def send(self, message: Message) -> None:
        self.sent.put(message)


@pytest.fixture
def wire() -> DeskWire:
    return DeskWire()


def _player(folder: Path, wire: DeskWire, **options: object) -> Player:
    shared = map_state(folder / "state", create=True)
    for place, row in enumerate(GLOBALS):
        shared.pages[:, place] = row.default
    return Player(EngineSetup(str(folder / "state"), **{"silent": True, **options}), wire)  # type: ignore[arg-type]


@pytest.fixture
def player(tmp_path: Path, wire: DeskWire) -> Iterator[Player]:
    one = _player(tmp_path, wire)
    yield one
    one.stop()
    gc.enable()
    gc.unfreeze()


def _bad_cabinet(folder: Path) -> SlotPlan:
    file = folder / "silent.wav"
    soundfile.write(file, np.zeros(4800), 48000)
    return SlotPlan("silent", str(file), "cabinet")


def test_a_cabinet_that_does_not_do_is_refused_and_the_device_is_not_lost(
    player: Player, wire: DeskWire, tmp_path: Path
) -> None:
    assert player._carry_out(Play(1, 0, [_bad_cabinet(tmp_path)]))
    refused = wire.sent.get_nowait()
    assert isinstance(refused, Refused)
    assert refused.request == 1
    assert "silent.wav" in refused.text
    assert wire.sent.empty()
    # The next order finds everything as it was.
    assert player._carry_out(Play(2, 0, [SlotPlan("4x12", "", "cabinet")]))
    assert isinstance(wire.sent.get_nowait(), Opened)
    played = wire.sent.get_nowait()
    assert isinstance(played, Played)
    assert played.request == 2


def test_a_cabinet_that_does_not_do_leaves_what_plays(player: Player, wire: DeskWire, tmp_path: Path) -> None:
    assert player._carry_out(Play(1, 0, []))
    wire.sent.get_nowait()
    wire.sent.get_nowait()
    assert player._carry_out(Play(2, 1, [_bad_cabinet(tmp_path)]))
    assert isinstance(wire.sent.get_nowait(), Refused)
    host = player._host
    assert host is not None
    assert host.device.running
    assert not host.switching


def test_a_device_that_cannot_be_had_is_lost(tmp_path: Path, wire: DeskWire) -> None:
    player = _player(tmp_path, wire, silent=False, source="no device has this name")
    assert not player._carry_out(Play(1, 0, []))
    assert isinstance(wire.sent.get_nowait(), Lost)


def test_an_order_that_searches_waits_for_its_device(
    tmp_path: Path, wire: DeskWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look starts the sound library anew; the newest order is the one that is heard."""
    player = _player(tmp_path, wire, silent=False)
    present, looks = False, [0]

    def device() -> tuple[Device, str]:
        if not present:
            raise DuendeError("no such device")
        return ClockDevice(48000.0, 256, 1), "a clock"

    monkeypatch.setattr(player, "_device", device)
    monkeypatch.setattr("duende.engine.player.look_again", lambda: looks.append(looks[-1] + 1))
    monkeypatch.setattr("duende.engine.player.LOOK_S", 0.0)
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    inbox.put(Play(1, 0, [], search=True))
    inbox.put(Play(2, 1, [], search=True))
    running = threading.Thread(target=player.run, args=(inbox,), daemon=True)
    running.start()
    for _ in range(4):
        assert isinstance(wire.sent.get(timeout=10.0), Lost)
    present = True
    while isinstance(said := wire.sent.get(timeout=10.0), Lost):
        pass
    assert isinstance(said, Opened)
    played = wire.sent.get(timeout=10.0)
    assert isinstance(played, Played)
    assert (played.request, played.page) == (2, 1)
    found = looks[-1]
    assert found >= 1
    inbox.put(Stop())
    running.join(10.0)
    assert not running.is_alive()
    assert looks[-1] == found
    player.stop()
    gc.enable()
    gc.unfreeze()


def test_a_search_ends_before_sound_libraries_have_lost_much(
    tmp_path: Path, wire: DeskWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = _player(tmp_path, wire, silent=False, source="no device has this name")
    monkeypatch.setattr("duende.engine.player.look_again", lambda: None)
    monkeypatch.setattr("duende.engine.player.LOOK_S", 0.0)
    monkeypatch.setattr("duende.engine.player.LOOKS", 3)
    monkeypatch.setattr("duende.engine.player.BEAT_S", 0.0)
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    inbox.put(Play(1, 0, [], search=True))
    assert player.run(inbox) == LOST
    assert wire.sent.qsize() == 4


def test_captures_are_opened_beforehand_and_say_what_is_resampled(
    player: Player, wire: DeskWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures = tiny_captures(tmp_path)
    plans = [SlotPlan(name, str(captures.find(name)), "capture") for name in ("knobby", "half")]
    assert player._carry_out(Preload(1, plans))
    assert isinstance(wire.sent.get_nowait(), Done)
    opened = [player._capture(plan.path) for plan in plans]

    def never(*arguments: object, **more: object) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr("duende.engine.player.open_waveform", never)
    assert player._carry_out(Play(2, 0, plans))
    assert isinstance(wire.sent.get_nowait(), Opened)
    played = wire.sent.get_nowait()
    assert isinstance(played, Played)
    assert [player._capture(plan.path) for plan in plans] == opened
    assert played.latency[0] > 0 == played.latency[1]
    assert len(played.notices) == 1
    assert f"{played.latency[0]} samples" in played.notices[0]
    monkeypatch.undo()
    # A file that is gone is refused; what plays goes on.
    gone = SlotPlan("gone", str(tmp_path / "gone.onnx"), "capture")
    for order in (Preload(3, [gone]), Play(4, 1, [gone])):
        assert player._carry_out(order)
        refused = wire.sent.get_nowait()
        assert isinstance(refused, Refused)
        assert "gone.onnx" in refused.text
