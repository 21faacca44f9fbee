"""The library over the network: found by words, described, copied, renamed, removed; and told when it changes."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import cast

import msgspec
import pytest

from captures import tiny_captures
from duende import DuendeError
from duende.engine.control.namespace import Node, RefusedError, Value, Values
from duende.engine.control.news import News
from duende.engine.control.session import Session
from duende.engine.control.shelf import REVISION, Shelf
from duende.presets.captures import Captures
from sessions import tiny_session


class Desk:
    """A shelf over a library of three presets, of which `duo` has words about it."""

    def __init__(self, folder: Path) -> None:
        self.session: Session = tiny_session(folder)
        self.session.captures = Captures(folder / "captures")
        library = self.session.library
        library.describe("duo", "Two bows, one string", ["Bowed", "morph"])
        self.news = News()
        self.told: list[str] = []
        self.news.changed.append(self.told.extend)
        self.shelf = Shelf(self.session, self.news)

    def do(self, address: str, *values: Value) -> Values | None:
        node = next(node for node in self.shelf.nodes() if node.address == f"/duende/{address}")
        assert node.write is not None
        arguments = node.check(values)

        async def run() -> Values | None:
            assert node.write is not None
            return await cast("Awaitable[Values | None]", node.write(arguments))

        return asyncio.run(run())

    def names(self) -> list[str]:
        return [entry.name for entry in self.session.library.entries()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["duo", "solo", "wire"]),
        ("DU", ["duo"]),
        ("bow string", ["duo"]),
        ("bow wire", []),
        ("tag:bowed", ["duo"]),
        ("tag:bow", []),
        ("tag:morph two", ["duo"]),
        ("nowhere", []),
    ],
)
def test_presets_are_found_by_words(desk: Desk, text: str, names: list[str]) -> None:
    assert desk.do("preset/find", text) == names


def test_a_page_begins_where_it_is_asked_to(desk: Desk) -> None:
    assert desk.do("preset/find", "", 1) == ["solo", "wire"]
    assert desk.do("preset/find", "", 3) == []
    with pytest.raises(RefusedError, match="out of range"):
        desk.do("preset/find", "", -1)


def test_what_a_preset_says_of_itself(desk: Desk) -> None:
    assert desk.do("preset/info", "duo") == ["duo", "own", "", "Two bows, one string", "Bowed", "morph"]
    with pytest.raises(DuendeError, match="no preset 'none'"):
        desk.do("preset/info", "none")
    with pytest.raises(DuendeError, match="preset name"):
        desk.do("preset/info", "../duo")


def test_an_answer_fits_into_a_datagram(desk: Desk) -> None:
    desk.do("preset/describe", "duo", "x" * 1999, ",".join(f"{number:03}" + "y" * 60 for number in range(32)))
    answer = desk.do("preset/info", "duo")
    assert answer is not None
    assert 10 < len(answer) < 36
    assert sum(len(str(value)) for value in answer) < 2200
    listed = asyncio.run(desk.shelf.presets())
    assert len(listed[0].as_json()["tags"]) == 32  # type: ignore[arg-type]


def test_other_words(desk: Desk) -> None:
    desk.do("preset/describe", "solo", "quiet", " one ,two words,, ")
    preset = desk.session.library.find("solo").read()
    assert (preset.description, preset.tags) == ("quiet", ["one", "two words"])
    assert preset.slots[0].file == "solo.onnx"
    with pytest.raises(DuendeError, match="2001 letters"):
        desk.do("preset/describe", "solo", "x" * 2001, "")
    assert desk.session.library.find("solo").read().description == "quiet"


def test_a_copy_stands_by_itself(desk: Desk) -> None:
    desk.do("preset/duplicate", "duo", "pair")
    desk.do("preset/delete", "duo")
    assert desk.names() == ["pair", "solo", "wire"]
    found = desk.session.library.find("pair")
    assert found.read().description == "Two bows, one string"
    assert found.file_of(found.read().slots[0]) is not None
    asyncio.run(desk.session.load("pair"))
    with pytest.raises(DuendeError, match="'solo' already"):
        desk.do("preset/duplicate", "pair", "solo")
    with pytest.raises(DuendeError, match="preset name"):
        desk.do("preset/duplicate", "pair", "a/b")


def test_what_plays_is_renamed_while_it_plays(desk: Desk) -> None:
    asyncio.run(desk.session.load("duo"))
    desk.session.library.set_lists.write("gig", ["duo", "solo", "duo"])
    asyncio.run(desk.session.load_set_list("gig"))
    desk.do("preset/rename", "duo", "pair")
    assert desk.session.state.preset == "pair"
    assert desk.session.names() == ["pair", "solo", "pair"]
    asyncio.run(desk.session.step(1))
    assert desk.session.state.preset == "solo"
    with pytest.raises(DuendeError, match="no preset 'duo'"):
        desk.do("preset/rename", "duo", "x")


def test_what_plays_is_not_deleted(desk: Desk) -> None:
    asyncio.run(desk.session.load("duo"))
    with pytest.raises(DuendeError, match="'duo' plays"):
        desk.do("preset/delete", "duo")
    assert "duo" in desk.names()
    asyncio.run(desk.session.load("solo"))
    desk.do("preset/delete", "duo")
    assert "duo" not in desk.names()


def test_what_comes_and_goes_is_told_whoever_did_it(desk: Desk) -> None:
    desk.shelf.watch()
    assert (desk.told, desk.shelf.revision) == ([], 0)
    desk.session.library.duplicate("duo", "pair")
    _age(desk.session.library.own)
    desk.shelf.watch()
    assert desk.shelf.revision == 1
    assert {REVISION, "/duende/preset/list"} <= set(desk.told)
    desk.do("preset/delete", "pair")
    assert desk.shelf.revision == 2
    desk.session.captures.folder.mkdir()
    desk.shelf.watch()
    assert desk.shelf.revision == 3


def test_a_list_tells_what_cannot_be_read(desk: Desk) -> None:
    (desk.session.library.own / "bad.toml").write_text("format = 9")
    listed = {str(one["name"]): one for one in (found.as_json() for found in asyncio.run(desk.shelf.presets()))}
    assert list(listed) == ["bad", "duo", "solo", "wire"]
    assert "format 9" in str(listed["bad"]["trouble"])
    assert listed["duo"] == {
        "name": "duo",
        "own": True,
        "tags": ["Bowed", "morph"],
        "description": "Two bows, one string",
        "author": "",
        "plays": ["duo"],
        "picture": False,
        "trouble": "",
    }
    assert desk.do("preset/find", "") == ["bad", "duo", "solo", "wire"]


def test_a_changed_preset_is_read_anew(desk: Desk) -> None:
    assert desk.do("preset/find", "loud") == []
    preset = desk.session.library.find("solo").read()
    content = desk.session.library.find("solo").model_path("solo.onnx").read_bytes()
    loud = msgspec.structs.replace(preset, tags=["loud"])
    desk.session.library.save("solo", loud, {"solo.onnx": content}, force=True)
    _age(desk.session.library.find("solo").path)
    assert desk.do("preset/find", "loud") == ["solo"]


def test_captures_that_cannot_be_read(desk: Desk) -> None:
    folder = desk.session.captures.folder
    folder.mkdir()
    (folder / "bad.onnx").write_bytes(b"rubbish")
    assert asyncio.run(desk.shelf.captures()) == [
        {"name": "bad", "trouble": "bad.onnx: not an ONNX file, or cut short"}
    ]
    with pytest.raises(DuendeError, match="not an ONNX file"):
        desk.do("capture/info", "bad")
    with pytest.raises(DuendeError, match="no capture 'none'"):
        desk.do("capture/info", "none")
    with pytest.raises(DuendeError):
        desk.do("capture/info", "../bad")


def test_captures_tell_what_they_are(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.session.captures = tiny_captures(tmp_path)
    desk.shelf = Shelf(desk.session, desk.news)
    listed = asyncio.run(desk.shelf.captures())
    assert [one["name"] for one in listed] == list(desk.session.captures.entries())
    tags = {str(one["name"]): one["tags"] for one in listed}
    assert tags["half"] == {"gear_make": "Fender", "gear_model": "Twin", "gear_type": "amp", "tone_type": "clean"}
    for one in listed:
        name = str(one["name"])
        said = desk.do("capture/info", name)
        assert said is not None
        assert said[:3] == [name, one["architecture"], f"{one['sample_rate']:g}"]
        assert one["trouble"] == ""
        assert said[5:] == [f"{key}={value}" for key, value in cast("dict[str, str]", one["tags"]).items()]


def _age(path: Path) -> None:
    """Another time than before, however coarse the clock of the disk is."""
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now, now + 10**9))


def test_every_address_is_an_order_or_a_number(desk: Desk) -> None:
    nodes: list[Node] = desk.shelf.nodes()
    assert [node.address for node in nodes if node.access != 2] == [REVISION]
