"""Captures in a running show: found and put into slots by name, with their own controls."""

import asyncio
from pathlib import Path

import pytest

from duende import DuendeError
from duende.engine.control.commands import PAGE
from duende.engine.control.osc import MAX_PACKET, Message, encode
from duende.presets.captures import Captures
from osc_peers import Desk


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
