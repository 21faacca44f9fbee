"""Undo and redo, snapshots that live in presets, and set lists: what a session remembers."""

import asyncio
from pathlib import Path

import pytest

from duende import DuendeError
from duende.engine.control.commands import session_nodes
from duende.engine.control.history import STEPS, History, Moved, Rebuilt
from duende.engine.control.session import Session
from duende.engine.messages import Preload
from duende.presets.format import SlotPreset
from sessions import QuickEngine, tiny_session


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(tmp_path: Path, clock: Clock) -> Session:
    """A session that plays `duo`."""
    session = tiny_session(tmp_path)
    session.history = History(clock)
    asyncio.run(session.load("duo"))
    return session


def _engine(session: Session) -> QuickEngine:
    assert isinstance(session.engine, QuickEngine)
    return session.engine


def undo(session: Session) -> str:
    return asyncio.run(session.undo())


def redo(session: Session) -> str:
    return asyncio.run(session.redo())


def test_one_move_is_one_step(session: Session, clock: Clock) -> None:
    for step in range(10):
        clock.now += 0.4
        session.set("mix", 0.9 - 0.05 * step)
    clock.now += 0.6
    session.set("mix", 0.1)
    session.set("output/gain", -3.0)
    session.set("mix", 0.2)
    found = []
    for _ in range(4):
        undo(session)
        found.append((session.get("mix"), session.get("output/gain")))
    assert found == [(0.1, -3.0), (0.1, 0.0), (pytest.approx(0.45), 0.0), (1.0, 0.0)]
    with pytest.raises(DuendeError, match="nothing is left"):
        undo(session)
    for wanted in (0.45, 0.1, 0.1, 0.2):
        redo(session)
        assert session.get("mix") == pytest.approx(wanted)
    with pytest.raises(DuendeError, match="redo: nothing"):
        redo(session)


def test_what_is_done_after_an_undo_ends_the_redo(session: Session) -> None:
    session.set("mix", 0.5)
    assert undo(session) == "mix"
    session.set("mix", 0.7)
    with pytest.raises(DuendeError, match="redo: nothing"):
        redo(session)
    undo(session)
    assert session.get("mix") == 1.0


def test_structure_comes_back_with_its_values(session: Session) -> None:
    session.set("slot/1/style1", 0.25)
    session.store_snapshot(3)
    asyncio.run(session.add_slot("solo"))
    session.set("slot/2/amount", 0.1)
    asyncio.run(session.load("wire"))
    assert (session.state.slots, session.state.snapshots) == ([], {})
    undo(session)
    assert (session.state.preset, len(session.state.slots)) == ("duo", 2)
    assert (session.get("slot/1/style1"), session.get("slot/2/amount")) == (0.25, 0.1)
    assert session.state.snapshots[3]["slot/1/style1"] == 0.25
    undo(session)
    assert session.get("slot/2/amount") == 0.75
    undo(session)
    assert len(session.state.slots) == 1
    for _ in range(3):
        redo(session)
    assert session.state.preset == "wire"


def test_what_the_engine_refuses_to_take_back_can_be_taken_back_later(session: Session) -> None:
    asyncio.run(session.load("wire"))
    assert isinstance(session.engine, QuickEngine)
    session.engine.failure = DuendeError("no")
    with pytest.raises(DuendeError, match="no"):
        undo(session)
    assert session.state.preset == "wire"
    undo(session)
    assert session.state.preset == "duo"


def test_groups_are_one_step(session: Session, clock: Clock) -> None:
    for x in (0.2, 0.4, 0.6):
        session.set_xy(x, 0.0)
        clock.now += 0.1
    assert undo(session) == "style/xy"
    assert (session.get("slot/1/style0"), session.get("slot/1/style1")) == (1.0, 0.0)
    session.store_snapshot(1)
    session.set("mix", 0.5)
    clock.now += 1.0
    session.set("output/gain", -9.0)
    session.recall_snapshot(1)
    assert session.get("mix") == 1.0
    assert undo(session) == "snapshot 1"
    assert (session.get("mix"), session.get("output/gain")) == (0.5, -9.0)


def test_a_glide_is_one_step(session: Session) -> None:
    async def glide() -> None:
        session.store_snapshot(1)
        session.set("mix", 0.0)
        session.recall_snapshot(1, 0.05)
        while session.get("mix") < 1.0:
            await asyncio.sleep(0.01)
        await session.undo()
        assert session.get("mix") == 0.0
        await session.redo()
        assert session.get("mix") == 1.0

    asyncio.run(glide())


def test_muting_is_no_step(session: Session) -> None:
    session.set("mute", 1.0)
    with pytest.raises(DuendeError, match="nothing is left"):
        undo(session)


def test_history_is_bounded(clock: Clock) -> None:
    history: History[int] = History(clock)
    for number in range(STEPS + 10):
        history.rebuilt(number, number + 1)
    for number in reversed(range(10, STEPS + 10)):
        step = history.last_done()
        assert step == Rebuilt(number, number + 1)
        history.undone(step)
    with pytest.raises(DuendeError, match="the last 64 steps"):
        history.last_done()


def test_a_step_that_was_redone_is_closed(clock: Clock) -> None:
    history: History[int] = History(clock)
    history.moved("mix", {"mix": 1.0}, {"mix": 0.5})
    history.undone(history.last_done())
    history.redone(history.last_undone())
    history.moved("mix", {"mix": 0.5}, {"mix": 0.2})
    assert history.last_done() == Moved("mix", {"mix": 0.5}, {"mix": 0.2}, 0.0)


def test_snapshots_are_saved_and_loaded_with_presets(session: Session) -> None:
    session.set("slot/1/style1", 0.5)
    session.set("mute", 1.0)
    session.store_snapshot(8)
    session.set_tempo(90.0)
    session.save("mine")
    saved = session.library.find("mine").read()
    assert saved.snapshots[8]["slot/1/style1"] == 0.5
    assert "mute" not in saved.snapshots[8]
    assert saved.tempo is None, "nothing in it follows the tempo"
    asyncio.run(session.load("duo"))
    with pytest.raises(DuendeError, match="snapshot 8 is empty"):
        session.recall_snapshot(8)
    asyncio.run(session.load("mine"))
    session.set("slot/1/style1", 0.0)
    session.recall_snapshot(8)
    assert session.get("slot/1/style1") == 0.5


def test_snapshots_follow_the_slots(session: Session) -> None:
    session.set("slot/1/style1", 0.5)
    session.store_snapshot(1)
    asyncio.run(session.add_slot("solo"))
    asyncio.run(session.move_slot(1, 2))
    assert session.state.snapshots[1]["slot/2/style1"] == 0.5
    assert "slot/1/style1" not in session.state.snapshots[1]
    asyncio.run(session.remove_slot(2))
    assert not any(name.startswith("slot/") for name in session.state.snapshots[1])
    assert session.state.snapshots[1]["mix"] == 1.0


def test_a_preset_brings_its_tempo(session: Session) -> None:
    entry = session.library.find("duo")
    preset = entry.read()
    preset.tempo = 77.0
    session.library.save("slow", preset, {"duo.onnx": entry.model_path("duo.onnx").read_bytes()})
    asyncio.run(session.load("slow"))
    assert session.state.tempo == 77.0
    session.set_tempo(100.0)
    asyncio.run(session.load("duo"))
    assert session.state.tempo == 100.0


def test_a_preset_whose_model_is_another_is_refused(session: Session) -> None:
    preset = session.library.find("solo").read()
    preset.slots = [SlotPreset("style", "solo.onnx", sha256="0" * 64)]
    session.library.save("wrong", preset, {})
    with pytest.raises(DuendeError, match=r"wrong\.toml: solo\.onnx .* expected 000"):
        asyncio.run(session.load("wrong"))
    assert session.state.preset == "duo"


def test_next_and_numbers_follow_the_set_list(session: Session) -> None:
    lists = session.library.set_lists
    lists.write("evening", ["wire", "duo", "wire", "solo"])
    assert asyncio.run(session.load_set_list("evening")) == ["wire", "duo", "wire", "solo"]
    assert isinstance(session.engine, QuickEngine)
    preloaded = session.engine.orders[-1]
    assert isinstance(preloaded, Preload)
    assert [Path(slot.path).name for slot in preloaded.slots] == ["duo.onnx", "solo.onnx"]
    heard = []

    async def play() -> None:
        await session.load(0)
        for _ in range(5):
            heard.append(session.state.preset)
            await session.step(1)
        await session.step(-1)
        heard.append(session.state.preset)
        await session.load(3)
        heard.append(session.state.preset)

    asyncio.run(play())
    assert heard == ["wire", "duo", "wire", "solo", "wire", "wire", "solo"]
    with pytest.raises(DuendeError, match="preset 4: there are 4"):
        asyncio.run(session.load(4))
    session.leave_set_list()
    assert session.names() == ["duo", "solo", "wire"]


def test_a_set_list_that_is_not_right_changes_nothing(session: Session) -> None:
    lists = session.library.set_lists
    with pytest.raises(DuendeError, match="no set list 'none'; there are: none"):
        asyncio.run(session.load_set_list("none"))
    lists.write("gone", ["duo", "lost"])
    with pytest.raises(DuendeError, match="no preset 'lost'"):
        asyncio.run(session.load_set_list("gone"))
    for text, words in (
        (b"format = 2\npresets = ['duo']", "format 2"),
        (b"format = 1\npresets = []", "0, a set list has 1 to 128"),
        (b"format = 1\npresets = ['../x']", "preset name"),
        (b"format = 1\npresets = 'duo'", "presets"),
        (b"\xff", "not a set list"),
        (b"a." * 1000 + b"a = 1", "dots"),
    ):
        (lists.folder / "bad.toml").write_bytes(text)
        with pytest.raises(DuendeError, match=rf"bad\.toml: .*{words}"):
            asyncio.run(session.load_set_list("bad"))
    assert session.state.set_list == ""
    with pytest.raises(DuendeError, match=r"preset name '\.\./x'"):
        lists.write("../x", ["duo"])


def test_two_sides_of_values_are_compared_at_once(session: Session) -> None:
    asyncio.run(session.load("duo"))
    session.set("slot/1/amount", 0.2)
    orders = len(_engine(session).orders)
    asyncio.run(session.compare("b"))
    assert session.get("slot/1/amount") == 0.2, "a side where nobody was is like the other"
    session.set("slot/1/amount", 0.9)
    session.set("output/gain", -6.0)
    session.set_tempo(90.0)
    for _ in range(2):
        asyncio.run(session.compare("a"))
        assert (session.get("slot/1/amount"), session.get("output/gain"), session.state.tempo) == (0.2, 0.0, 120.0)
        asyncio.run(session.compare("a"))
        assert session.get("slot/1/amount") == 0.2, "once more changes nothing"
        asyncio.run(session.compare("b"))
        assert (session.get("slot/1/amount"), session.get("output/gain"), session.state.tempo) == (0.9, -6.0, 90.0)
    assert len(_engine(session).orders) == orders, "the chain was not built anew"


def test_two_sides_may_be_other_presets(session: Session) -> None:
    asyncio.run(session.load("duo"))
    session.set("slot/1/amount", 0.2)
    asyncio.run(session.compare("b"))
    asyncio.run(session.load("solo"))
    session.set("slot/1/amount", 0.6)
    asyncio.run(session.compare("a"))
    assert (session.state.preset, session.get("slot/1/amount")) == ("duo", 0.2)
    asyncio.run(session.compare("b"))
    assert (session.state.preset, session.get("slot/1/amount")) == ("solo", 0.6)
    asyncio.run(session.undo())
    assert (session.state.preset, session.get("slot/1/amount")) == ("duo", 0.2)


def test_a_side_is_copied_to_the_other(session: Session) -> None:
    asyncio.run(session.load("duo"))
    asyncio.run(session.compare("b"))
    session.set("slot/1/amount", 0.3)
    session.copy_side()
    asyncio.run(session.compare("a"))
    assert session.get("slot/1/amount") == 0.3


def test_a_side_that_cannot_be_played_leaves_everything_as_it_was(session: Session) -> None:
    asyncio.run(session.load("duo"))
    asyncio.run(session.compare("b"))
    asyncio.run(session.load("solo"))
    _engine(session).failure = DuendeError("no")
    with pytest.raises(DuendeError, match="no"):
        asyncio.run(session.compare("a"))
    assert (session.side, session.state.preset) == ("b", "solo")
    asyncio.run(session.compare("a"))
    assert (session.side, session.state.preset) == ("a", "duo")


def test_switching_sides_is_taken_back_in_one_step(session: Session) -> None:
    asyncio.run(session.load("duo"))
    asyncio.run(session.compare("b"))
    session.set("slot/1/amount", 0.9)
    session.set("output/gain", -6.0)
    asyncio.run(session.compare("a"))
    asyncio.run(session.undo())
    assert (session.get("slot/1/amount"), session.get("output/gain")) == (0.9, -6.0)


def test_snapshots_are_listed_and_cleared(session: Session) -> None:
    told: list[int] = []
    asyncio.run(session.load("duo"))
    session.structured.append(lambda: told.append(len(session.state.snapshots)))
    session.store_snapshot(5)
    session.store_snapshot(2)
    nodes = {node.address: node for node in session_nodes(session)}
    stored, clear = nodes["/duende/snapshot/stored"], nodes["/duende/snapshot/clear"]
    assert stored.read is not None
    assert clear.write is not None
    assert stored.read() == [2, 5]
    clear.write(clear.check([5]))
    clear.write(clear.check([8]))
    assert stored.read() == [2]
    assert told == [1, 2, 1]
    with pytest.raises(DuendeError, match="out of range"):
        clear.check([9])
