"""The session: values, presets, slots and snapshots, with an engine that answers at once."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from duende import DuendeError
from duende.engine.control.commands import session_nodes
from duende.engine.control.namespace import Namespace
from duende.engine.control.session import GLIDE_STEP_S, Session
from duende.engine.messages import Play, decode, encode
from duende.presets.format import FORMAT, Preset, SlotPreset
from sessions import QuickEngine, tiny_library, tiny_session


def test_a_preset_brings_its_values_and_leaves_the_rest(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    session.set("output/gain", -6.0)
    played = asyncio.run(session.load("duo"))
    assert played.seamless
    assert session.state.preset == "duo"
    assert session.get("output/gain") == -6.0
    assert session.get("slot/1/amount") == 0.75
    assert session.get("slot/1/style0") == 1.0
    assert session.get("slot/1/style1") == 0.0


def test_each_chain_has_a_page_of_its_own(tmp_path: Path) -> None:
    """What fades out keeps the values it was played with."""
    session = tiny_session(tmp_path)
    asyncio.run(session.load("duo"))
    before = session.state.page
    place = session.table.find("slot/1/amount")[0]
    asyncio.run(session.load("solo"))
    session.set("slot/1/amount", 0.1)
    assert session.state.page != before
    assert session.shared.pages[before][place] == 0.75


def test_what_the_engine_refuses_leaves_everything_as_it_was(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    asyncio.run(session.load("duo"))
    state, values = session.state, session.values()
    assert isinstance(session.engine, QuickEngine)
    session.engine.failure = DuendeError("no")
    with pytest.raises(DuendeError, match="no"):
        asyncio.run(session.load("solo"))
    assert session.state == state
    assert session.values() == values


def test_values_are_clamped_and_told(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    told: list[str] = []
    session.changed.append(told.extend)
    assert session.set("output/gain", 99.0) == 20.0
    assert session.set("bypass", 0.7) == 1.0
    assert told == ["output/gain", "bypass"]
    with pytest.raises(DuendeError, match="no number"):
        session.set("mix", float("nan"))


def test_control_comes_back_to_the_same_show(tmp_path: Path) -> None:
    session = tiny_session(tmp_path, tmp_path / "show")
    asyncio.run(session.load("duo"))
    session.set("slot/1/style1", 0.5)
    session.store_snapshot(2)
    session.set("mute", 1.0)
    again = type(session)(session.shared, session.engine, session.library, tmp_path / "show")
    assert again.state == session.state
    assert again.get("mute") == 0.0
    assert again.get("slot/1/style1") == 0.5
    (tmp_path / "show").write_bytes(b"{half")
    fresh = type(session)(session.shared, session.engine, session.library, tmp_path / "show")
    assert fresh.state.preset == ""


def test_slots_keep_their_values_when_they_move(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def build() -> None:
        await session.load("duo")
        session.set("slot/1/style1", 0.25)
        await session.add_slot("solo")
        await session.move_slot(1, 2)

    asyncio.run(build())
    assert [len(slot.styles) for slot in session.state.slots] == [1, 2]
    assert session.get("slot/2/style1") == 0.25
    asyncio.run(session.remove_slot(1))
    assert session.get("slot/1/style1") == 0.25
    with pytest.raises(DuendeError, match="slot 2: there are 1"):
        asyncio.run(session.remove_slot(2))


def test_effects_are_added_by_name_and_follow_the_tempo(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def build() -> None:
        session.set_tempo(90.0)
        await session.load("solo")
        await session.add_slot("fx:delay")
        await session.load_slot(1, "fx:reverb")

    asyncio.run(build())
    assert [(slot.kind, slot.name, slot.path) for slot in session.state.slots] == [
        ("fx", "reverb", ""),
        ("fx", "delay", ""),
    ]
    assert session.get("slot/1/decay") == 1.8
    assert session.get("slot/2/tempo") == 90.0
    session.set_tempo(150.0)
    assert session.get("slot/2/tempo") == 150.0


@pytest.mark.parametrize("source", ["fx:fuzz", "sound:x", "style:solo", ":x", "nothing"])
def test_sources_that_do_not_exist_are_refused_before_the_engine_hears_of_them(source: str, tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    with pytest.raises(DuendeError) as caught:
        asyncio.run(session.add_slot(source))
    assert "\n" not in str(caught.value)
    assert not session.engine.orders  # type: ignore[attr-defined]


def test_a_slot_goes_into_a_branch_and_stays_there(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def build() -> None:
        await session.load("duo")
        session.set("slot/1/style1", 0.25)
        await session.add_slot("solo")
        await session.add_slot("solo")
        await session.place_slot(1, "a")
        await session.place_slot(2, "b")

    asyncio.run(build())
    assert [slot.branch for slot in session.state.slots] == ["a", "b", ""]
    assert session.get("slot/1/style1") == 0.25
    nodes = {node.address: node for node in session_nodes(session)}
    read = nodes["/duende/slot/2/branch"].read
    assert read is not None
    assert read() == ["b"]
    with pytest.raises(DuendeError, match="choose one of , a, b"):
        nodes["/duende/slot/2/branch"].check(["c"])
    asyncio.run(session.load_slot(1, "solo"))
    assert [slot.branch for slot in session.state.slots] == ["a", "b", ""]
    asyncio.run(session.move_slot(3, 1))
    assert [slot.branch for slot in session.state.slots] == ["", "a", "b"]
    asyncio.run(session.remove_slot(1))
    assert [slot.branch for slot in session.state.slots] == ["a", "b"]
    session.save("split")
    asyncio.run(session.load("duo"))
    assert [slot.branch for slot in session.state.slots] == [""]
    asyncio.run(session.load("split"))
    assert [slot.branch for slot in session.state.slots] == ["a", "b"]
    assert asyncio.run(session.place_slot(1, "b")).delay == 256
    assert asyncio.run(session.place_slot(1, "a")).delay == 128


def test_only_the_latest_of_many_switches_is_carried_out(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def flood() -> list[object]:
        return await asyncio.gather(*(session.load(n) for n in ("duo", "solo", "wire") * 5), return_exceptions=True)

    results = asyncio.run(flood())
    assert session.state.preset == "wire"
    assert sum(isinstance(result, DuendeError) for result in results) >= 13


def test_a_saved_preset_plays_as_it_was(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    asyncio.run(session.load("duo"))
    session.set("slot/1/style1", 0.5)
    session.set("output/gain", -3.0)
    values = session.values()
    session.save("mine")
    session.set("slot/1/style1", 0.0)
    asyncio.run(session.load("mine"))
    assert session.values() == values


def test_a_snapshot_is_glided_to(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def glide() -> list[float]:
        session.set("mix", 0.0)
        session.store_snapshot(1)
        session.set("mix", 1.0)
        session.recall_snapshot(1, 0.1)
        seen = []
        while session.get("mix") > 0.0:
            seen.append(session.get("mix"))
            await asyncio.sleep(0.01)
        return seen

    seen = asyncio.run(glide())
    assert len(set(seen)) > 3
    assert seen == sorted(seen, reverse=True)
    with pytest.raises(DuendeError, match="snapshot 2 is empty"):
        session.recall_snapshot(2)


async def _passes(session: Session, steps: int = 5) -> None:
    """Time for a glide to take some steps."""
    for _ in range(steps):
        await asyncio.sleep(GLIDE_STEP_S)


def _gliding(session: Session) -> None:
    """mix and output/gain on a way of ten minutes, from 1 to 0 and from 0 to -60 dB."""
    session.set("mix", 0.0)
    session.set("output/gain", -60.0)
    session.store_snapshot(1)
    session.set("mix", 1.0)
    session.set("output/gain", 0.0)
    session.recall_snapshot(1, 600.0)


def test_what_the_player_moves_during_a_glide_is_his(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def play() -> None:
        _gliding(session)
        await _passes(session)
        session.set("mix", 0.25)
        there = session.get("output/gain")
        await _passes(session)
        assert session.get("mix") == 0.25
        assert session.get("output/gain") < there < 0.0

    asyncio.run(play())


def test_a_glide_ends_with_the_preset(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def play() -> None:
        await session.load("duo")
        _gliding(session)
        await _passes(session)
        await session.load("solo")
        there = session.values()
        await _passes(session)
        assert session.values() == there

    asyncio.run(play())


def test_a_glide_goes_on_in_a_chain_that_is_rearranged(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)

    async def play() -> None:
        await session.load("duo")
        session.set("slot/1/amount", 0.0)
        session.store_snapshot(1)
        session.set("slot/1/amount", 1.0)
        session.recall_snapshot(1, 600.0)
        await _passes(session)
        await session.add_slot("fx:delay")
        await session.move_slot(1, 2)
        assert session.state.slots[0].name == "delay"
        there = session.get("slot/2/amount")
        await _passes(session)
        assert session.get("slot/2/amount") < there < 1.0
        await session.remove_slot(2)
        await _passes(session)

    asyncio.run(play())


def test_what_the_player_moves_while_a_preset_is_made_ready_comes_with_him(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    engine = session.engine
    assert isinstance(engine, QuickEngine)

    async def play() -> None:
        await session.load("duo")
        engine.meanwhile = lambda: session.set("output/gain", -9.0)
        await session.load("solo")
        assert session.get("output/gain") == -9.0
        engine.meanwhile = lambda: session.set("slot/1/mix", 0.5)
        await session.add_slot("fx:delay")
        assert session.get("slot/1/mix") == 0.5
        engine.meanwhile = lambda: session.set("slot/1/mix", 0.25)
        await session.load("duo")
        assert session.get("slot/1/mix") == 1.0

    asyncio.run(play())


def test_the_square_morphs(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    with pytest.raises(DuendeError, match="no styles"):
        session.set_xy(0.5, 0.5)
    asyncio.run(session.load("duo"))
    session.set_xy(0.25, 1.0)
    assert (session.get("slot/1/style0"), session.get("slot/1/style1")) == (0.75, 0.25)


def test_addresses_come_and_go_with_the_slots(tmp_path: Path) -> None:
    session, namespace = tiny_session(tmp_path), Namespace()
    told: list[tuple[list[str], list[str], list[str]]] = []
    namespace.listeners.append(lambda *news: told.append(news))
    namespace.replace(session_nodes(session))
    asyncio.run(session.load("duo"))
    namespace.replace(session_nodes(session))
    added, removed, _ = told[-1]
    assert {"/duende/slot/1/style1", "/duende/style/style1/normalized", "/duende/style/xy"} <= set(added)
    assert removed == []
    asyncio.run(session.load("wire"))
    namespace.replace(session_nodes(session))
    assert "/duende/slot/1/style1" in told[-1][1]
    with pytest.raises(DuendeError, match="no such address"):
        namespace.find("/duende/slot/1/style1")


def test_arguments_are_checked(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    nodes = {node.address: node for node in session_nodes(session)}
    assert nodes["/duende/mix"].check([2]) == [1.0]
    assert nodes["/duende/bypass"].check([True]) == [1]
    assert nodes["/duende/preset/load"].check([3.0]) == [3]
    for address, arguments, words in (
        ("/duende/mix", ["loud"], "'loud' is no number"),
        ("/duende/mix", [float("inf")], "no number to set"),
        ("/duende/mix", [], "0 arguments, it takes 1"),
        ("/duende/preset/load", [b"x"], "a blob is no text"),
        ("/duende/preset/load", [1.5], "not a whole number"),
        ("/duende/snapshot/store", [9], "out of range: 1 to 8"),
        ("/duende/snapshot/recall", [1, 2, 3], "it takes 1 to 2"),
    ):
        with pytest.raises(DuendeError, match=words):
            nodes[address].check(arguments)


def test_messages_survive_the_pipe_and_rubbish_does_not() -> None:
    play = Play(3, 1, [])
    assert decode(encode(play)) == play
    for rubbish in (b"", b"\x00", b"\xc1" * 40, encode(play)[:-1], bytes(2**17)):
        with pytest.raises(DuendeError):
            decode(rubbish)


@pytest.mark.parametrize(
    ("branches", "number", "to", "wanted"),
    [
        # From the trunk into the split: it joins the slot whose place it takes.
        (["", "a", "b", ""], 4, 3, "0- 1a 3b 2b"),
        (["", "a", "b", ""], 1, 2, "1a 0a 2b 3-"),
        (["a", "a", "b", ""], 4, 2, "0a 3a 1a 2b"),
        # Only past it: it stays in the trunk.
        (["", "a", "b", ""], 1, 3, "1a 2b 0- 3-"),
        (["", "a", "b", ""], 4, 2, "0- 3- 1a 2b"),
        (["", "a", "b", ""], 1, 4, "1a 2b 3- 0-"),
        # Out of the split: it joins the trunk; within it, it stays in its branch.
        (["", "a", "b", ""], 3, 1, "2- 0- 1a 3-"),
        (["", "a", "b", ""], 2, 4, "0- 2b 3- 1-"),
        (["", "a", "b", ""], 2, 3, "0- 2b 1a 3-"),
    ],
)
def test_a_slot_that_is_moved_joins_its_new_neighbours_where_it_must(
    tmp_path: Path, branches: list[str], number: int, to: int, wanted: str
) -> None:
    session = tiny_session(tmp_path)

    async def build() -> None:
        await session.load("solo")
        for _ in branches[1:]:
            await session.add_slot("solo")
        for place, branch in enumerate(branches, start=1):
            if branch:
                await session.place_slot(place, branch)
        for place in range(len(branches)):
            session.set(f"slot/{place + 1}/amount", place / 8)
        await session.move_slot(number, to)

    asyncio.run(build())
    found = [
        f"{8 * session.get(f'slot/{place}/amount'):g}{slot.branch or '-'}"
        for place, slot in enumerate(session.state.slots, start=1)
    ]
    assert " ".join(found) == wanted


def test_numbers_are_saved_as_they_were_meant(tmp_path: Path) -> None:
    """OSC's 32 bits make 0.33000001311302185 of 0.33."""
    session = tiny_session(tmp_path)
    asyncio.run(session.load("solo"))
    session.set("slot/1/amount", float(np.float32(0.33)))
    session.set("output/gain", -5.123456789012)
    session.store_snapshot(1)
    preset = session.save("mine").read()
    assert preset.slots[0].values["amount"] == 0.33
    assert preset.values["output/gain"] == -5.123456789012
    assert preset.snapshots[1]["slot/1/amount"] == 0.33


def test_a_chain_without_slots_can_be_saved(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    with pytest.raises(DuendeError, match="nothing plays"):
        session.save("empty")

    async def empty() -> None:
        await session.load("solo")
        await session.remove_slot(1)

    asyncio.run(empty())
    assert session.save("empty").read().slots == []
    assert session.names() == ["duo", "empty", "solo", "wire"]


def test_two_files_of_one_name_are_both_saved(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    other = tiny_library(tmp_path / "elsewhere")
    file = other.own / "solo.onnx"
    file.write_bytes((session.library.own / "duo.onnx").read_bytes())

    async def build() -> None:
        await session.load("solo")
        own = session.library
        session.library = other
        other.save("solo", Preset(FORMAT, "solo", [SlotPreset("style", "solo.onnx")]), {}, force=True)
        await session.add_slot("solo")
        session.library = own

    asyncio.run(build())
    entry = session.save("both")
    first, second = entry.read().slots
    assert first.file == "solo.onnx"
    assert entry.read_file(second) == file.read_bytes() != entry.read_file(first)


def test_the_set_list_that_is_followed_is_that_of_the_disk(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    session.library.set_lists.write("evening", ["wire", "solo", "duo"])

    async def play() -> None:
        await session.load_set_list("evening")
        await session.load(1)
        session.library.rename("solo", "alone")
        assert session.names() == ["wire", "alone", "duo"]
        await session.step(1)

    asyncio.run(play())
    assert session.state.preset == "duo"


def test_a_preset_that_cannot_be_played_is_not_in_the_way_of_the_others(tmp_path: Path) -> None:
    session = tiny_session(tmp_path)
    (session.library.own / "even.toml").write_text("broken")
    (session.library.own / "pyo.toml").write_bytes((session.library.own / "wire.toml").read_bytes())
    assert session.names() == ["duo", "even", "pyo", "solo", "wire"]
    engine = session.engine
    assert isinstance(engine, QuickEngine)

    async def play() -> None:
        await session.load("duo")
        with pytest.raises(DuendeError, match=r"even\.toml"):
            await session.step(1)
        assert session.state.preset == "duo"
        engine.failure = DuendeError("effects need pyo")
        with pytest.raises(DuendeError, match="need pyo"):
            await session.step(1)
        await session.step(1)
        assert session.state.preset == "solo"
        await session.step(-1)
        assert session.state.preset == "pyo"
        with pytest.raises(DuendeError, match=r"even\.toml"):
            await session.step(-1)
        await session.load("wire")
        await session.step(-1)
        assert session.state.preset == "solo", "what is loaded by name is where the next step begins"

    asyncio.run(play())
