"""The show as control knows it: which preset plays, its parameters, snapshots and tempo; orders to the engine.

Everything here runs on control's one event loop.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from ... import DuendeError
from ...presets.cabinets import Cabinets
from ...presets.captures import Captures
from ...presets.format import FORMAT, MODELS, SNAPSHOTS, TEMPO_BPM, Preset, SlotPreset, hash_of, write_atomically
from ...presets.library import Entry, Library, check_name
from ..messages import Done, Play, Played, Preload, SlotPlan
from ..model import load_model
from ..params import GLOBALS, Parameter, ParameterTable, control_parameter
from ..response import Responses
from ..shared import PAGES, SharedState
from ..slots import slot_controls
from ..spec import Control
from ..split import layout
from ..waveform_model import open_waveform
from ..waveform_spec import waveform_controls
from .history import History, Moved

SIDES = ("a", "b")
GLIDE_STEP_S = 0.01
CHECK_HZ = 48000.0


class EngineLink(Protocol):
    """Control's end of the way to the engine."""

    async def ask(self, order: Play | Preload) -> Played | Done:
        """Carry out an order; DuendeError if the engine refuses, is restarted meanwhile, or does not answer."""
        ...


class SlotState(msgspec.Struct):
    """A slot that plays: its name, its file (none for effects), the styles that a model mixes, its kind and branch.

    controls: of a capture, as its file says.
    """

    name: str
    path: str
    styles: list[str]
    kind: str = "style"
    branch: str = ""
    controls: list[Control] = []


class ShowState(msgspec.Struct):
    """What control has to know after a restart, beside the values in the shared state."""

    preset: str
    page: int
    slots: list[SlotState]
    snapshots: dict[int, dict[str, float]] = {}
    tempo: float = 120.0
    latency: list[int] = []
    reblocking: int = 0
    set_list: str = ""
    listed: list[str] = []
    place: int = -1


@dataclass(frozen=True)
class _Show:
    """All that undo has to bring back of a preset or chain."""

    preset: str
    slots: list[SlotState]
    values: dict[str, float]
    snapshots: dict[int, dict[str, float]]
    tempo: float
    place: int


@dataclass
class Session:
    """The show.

    shared:  the parameters' targets; control writes, the engine reads.
    memory:  file in which the show's state outlives control; None keeps it in this process only.
    cabinets, captures: the player's impulse responses, and models of amps and pedals.
    changed: told the names of parameters whose target is another now, and structured: that the
             preset or its slots are others.
    noticed: told what the engine has to say of a chain and did not say of the one before, a line each.
    """

    shared: SharedState
    engine: EngineLink
    library: Library
    memory: Path | None = None
    changed: list[Callable[[Sequence[str]], None]] = field(default_factory=list)
    structured: list[Callable[[], None]] = field(default_factory=list)
    noticed: list[Callable[[str], None]] = field(default_factory=list)
    state: ShowState = field(default_factory=lambda: ShowState("", 0, []))
    cabinets: Cabinets = field(default_factory=Cabinets)
    captures: Captures = field(default_factory=Captures)

    def __post_init__(self) -> None:
        self.table = ParameterTable()
        self.history: History[_Show] = History()
        self.side = SIDES[0]
        self._aside: _Show | None = None
        self._requests = itertools.count(1)
        self._changing = asyncio.Lock()
        self._newest = 0
        self._moved: dict[str, float] | None = None
        self._glide: asyncio.Task[None] | None = None
        # Where the glide goes, from and to, by name; what the player moves himself is taken out.
        self._gliding: dict[str, tuple[float, float]] = {}
        # What the player moved while the engine was making ready what comes next.
        self._meanwhile: dict[str, float] = {}
        self._refused: int | None = None
        self._models: dict[tuple[str, int], list[str]] = {}
        self._controls: dict[tuple[str, int], list[Control]] = {}
        self._noticed: list[str] = []
        self._responses = Responses()
        if self.memory is None or not self._remember():
            for place, row in enumerate(GLOBALS):
                self.shared.pages[0][place] = row.default

    # -- values --------------------------------------------------------------------------------------------------

    def get(self, name: str) -> float:
        """The target of a parameter in its unit."""
        return float(self._targets[self.table.find(name)[0]])

    def set(self, name: str, value: float) -> float:
        """Change a target at once; values out of range are clamped. Returns what it is now. Can be undone.

        A glide leaves it alone from then on, and a chain that is being made ready comes with it.
        """
        with self._step(name):
            clamped = self._put(name, value)
        row = self.table.find(name)[1]
        self._gliding.pop(row.name, None)
        self._meanwhile[row.name] = clamped
        return clamped

    @contextlib.contextmanager
    def _step(self, key: str) -> Iterator[None]:
        """What is set in here is one step of the history, with those of the same key a moment ago."""
        if self._moved is not None:
            yield
            return
        self._moved = {}
        try:
            yield
        finally:
            before, self._moved = self._moved, None
            if before:
                self.history.moved(key, before, {name: self.get(name) for name in before})

    def _put(self, name: str, value: float) -> float:
        place, row = self.table.find(name)
        if not np.isfinite(value):
            raise DuendeError(f"{name}: {value} is no number to set")
        clamped = min(row.maximum, max(row.minimum, float(value)))
        if row.kind == "switch":
            clamped = float(round(clamped))
        if clamped != self._targets[place]:
            if self._moved is not None and not _momentary(row.name):
                self._moved.setdefault(row.name, float(self._targets[place]))
            self._targets[place] = clamped
            self._tell([row.name])
        return clamped

    def values(self) -> dict[str, float]:
        """All parameters by name."""
        return {row.name: self.get(row.name) for row in self.table.rows()}

    def style_rows(self) -> dict[str, Parameter]:
        """The weight of each style, by style name; of the first slot that has it."""
        found: dict[str, Parameter] = {}
        for number, slot in enumerate(self.state.slots, start=1):
            if len(slot.styles) > 1:
                for style in slot.styles:
                    found.setdefault(style, self.table.find(f"slot/{number}/{style}")[1])
        return found

    def set_xy(self, x: float, y: float) -> None:
        """Weights of the first four styles from a place in a square: corners (0,0), (1,0), (0,1), (1,1)."""
        rows = list(self.style_rows().values())[:4]
        if len(rows) < 2:
            raise DuendeError("style/xy: the preset has no styles to morph between")
        x, y = min(1.0, max(0.0, x)), min(1.0, max(0.0, y))
        weights = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]
        if len(rows) == 2:
            weights = [1 - x, x]
        elif len(rows) == 3:
            weights = [weights[0], weights[1], weights[2] + weights[3]]
        with self._step("style/xy"):
            for row, weight in zip(rows, weights, strict=True):
                self.set(row.name, weight)

    # -- presets -------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The presets in order: of the set list while one is loaded, as its file is now, else of the library."""
        if self.state.set_list:
            with contextlib.suppress(DuendeError):
                self.state.listed = self.library.set_lists.read(self.state.set_list)
            return list(self.state.listed)
        return [entry.name for entry in self.library.entries()]

    async def load(self, preset: str | int) -> Played:
        """Switch to a preset by name, or by its place in the list from 0; returns when it is heard."""
        place = -1
        if isinstance(preset, int):
            names, place = self.names(), preset
            if not 0 <= place < len(names):
                raise DuendeError(f"preset {place}: there are {len(names)}, counted from 0")
            preset = names[place]
        entry = self.library.find(preset)
        content = entry.read()
        slots = [_slot_state(entry, slot) for slot in content.slots]
        values = {
            f"slot/{number}/{control}": value
            for number, slot in enumerate(content.slots, start=1)
            for control, value in {"bypass": float(slot.bypass), "mix": slot.mix, **slot.values}.items()
        }
        show = _Show(
            preset,
            slots,
            values | content.values,
            content.snapshots,
            self.state.tempo if content.tempo is None else content.tempo,
            place,
        )
        played = await self._play(show)
        self._refused = None
        return played

    async def step(self, by: int) -> Played:
        """Switch to the preset that lies so many places on, around the end of the list.

        After one that cannot be played the next step goes on from there: it is not in the way of the others.
        """
        names = self.names()
        if not names:
            raise DuendeError("there are no presets")
        here = self.state.place
        # What plays may have been renamed: then the place says where in the set list.
        if not 0 <= here < len(names) or (names[here] != self.state.preset and self.state.preset in names):
            here = names.index(self.state.preset) if self.state.preset in names else -by
        there = (here if self._refused is None else self._refused) + by
        try:
            played = await self.load(there % len(names))
        except DuendeError:
            self._refused = there % len(names)
            raise
        return played

    async def load_set_list(self, name: str) -> list[str]:
        """Let next, previous and numbers follow a set list, whose presets are opened now; the presets."""
        listed = self.library.set_lists.read(name)
        await self.preload(list(dict.fromkeys(listed)))
        self._follow(name, listed)
        return listed

    def leave_set_list(self) -> None:
        """Let next, previous and numbers follow the whole library again."""
        self._follow("", [])

    def _follow(self, name: str, listed: list[str]) -> None:
        self.state.set_list, self.state.listed, self.state.place = name, listed, -1
        self._refused = None
        self._keep()
        for listener in self.structured:
            listener()

    async def preload(self, presets: Sequence[str]) -> None:
        """Have the engine open the files of presets, so that a switch to them costs nothing."""
        slots: list[SlotState] = []
        for name in presets:
            entry = self.library.find(name)
            slots += [_slot_state(entry, slot) for slot in entry.read().slots]
        plans = [SlotPlan(slot.name, slot.path, slot.kind) for slot in slots if slot.path]
        await self.engine.ask(Preload(next(self._requests), list(dict.fromkeys(plans))))

    def save(self, name: str) -> Entry:
        """Store what plays, as it is now, under a name in the player's library; replaces one of his own."""
        check_name(name)
        if not (self.state.slots or self.state.preset):
            raise DuendeError("preset/save: nothing plays")
        models: dict[str, bytes] = {}
        slots = []
        for number, slot in enumerate(self.state.slots, start=1):
            file = _keep_file(models, Path(slot.path)) if slot.path else ""
            controls = {
                row.name.removeprefix(f"slot/{number}/"): _short(self.get(row.name))
                for row in self.table.rows()
                if row.name.startswith(f"slot/{number}/")
            }
            bypass, mix = controls.pop("bypass"), controls.pop("mix")
            effect = "" if file else slot.name
            slots.append(SlotPreset(slot.kind, file, bool(bypass), mix, controls, effect=effect, branch=slot.branch))
        plain = {row.name: _short(self.get(row.name)) for row in GLOBALS if row.name not in ("bypass", "mute")}
        kept = self._description(name)
        preset = Preset(FORMAT, name, slots, plain, kept.tags, kept.description, kept.author)
        tempo_matters = kept.tempo is not None or any(row.name.endswith("/tempo") for row in self.table.rows())
        preset.tempo = _short(self.state.tempo) if tempo_matters else None
        preset.snapshots = {
            place: {name: _short(value) for name, value in values.items()}
            for place, values in self.state.snapshots.items()
        }
        entry = self.library.save(name, preset, models, force=True)
        self.state.preset = name
        self._keep()
        for listener in self.structured:
            listener()
        return entry

    def _description(self, name: str) -> Preset:
        for candidate in (name, self.state.preset):
            try:
                return self.library.find(candidate).read()
            except DuendeError:
                continue
        return Preset(FORMAT, name, [])

    def renamed(self, name: str, to: str) -> None:
        """A preset of the library is called something else now."""
        state = self.state
        state.listed = [to if one == name else one for one in state.listed]
        state.preset = to if state.preset == name else state.preset
        self._keep()
        for listener in self.structured:
            listener()

    # -- slots ---------------------------------------------------------------------------------------------------

    async def add_slot(self, source: str) -> Played:
        """Append a slot to the chain: KIND:NAME ("fx:delay", "capture:twin"), or a preset, for its first slot."""
        return await self._rebuild([*range(len(self.state.slots)), source])

    async def load_slot(self, number: int, source: str) -> Played:
        """Let another source, as for add_slot, play in slot number (from 1)."""
        order: list[int | str] = list(range(len(self.state.slots)))
        order[self._place(number)] = source
        return await self._rebuild(order, [slot.branch for slot in self.state.slots])

    async def place_slot(self, number: int, branch: str) -> Played:
        """Put slot number (from 1) into branch "a" or "b" of the split, or into the trunk ("")."""
        branches = [slot.branch for slot in self.state.slots]
        branches[self._place(number)] = branch
        return await self._rebuild(list(range(len(branches))), branches)

    async def move_slot(self, number: int, to: int) -> Played:
        """Move slot number (from 1) to another place.

        It stays in its branch or in the trunk, unless that would cut the split in two: then it joins the slot whose
        place it takes.
        """
        order = list(range(len(self.state.slots)))
        place, goal = self._place(number), self._place(to)
        order.insert(goal, order.pop(place))
        branches = [self.state.slots[one].branch for one in order]
        try:
            layout(branches)
        except DuendeError:
            branches[goal] = self.state.slots[goal].branch
        return await self._rebuild(order, branches)

    async def remove_slot(self, number: int) -> Played:
        """Take slot number (from 1) out of the chain."""
        order: list[int | str] = list(range(len(self.state.slots)))
        order.pop(self._place(number))
        return await self._rebuild(order)

    def _place(self, number: int) -> int:
        if not 1 <= number <= len(self.state.slots):
            raise DuendeError(f"slot {number}: there are {len(self.state.slots)}, counted from 1")
        return number - 1

    async def _rebuild(self, order: Sequence[int | str], branches: Sequence[str] | None = None) -> Played:
        """Slots by their present place (from 0), which keep their values, or by source, in this order.

        branches: where they stand; None: as before, new ones in the trunk.
        """
        slots: list[SlotState] = []
        values: dict[str, float] = {}
        for number, one in enumerate(order, start=1):
            if isinstance(one, int):
                slots.append(self.state.slots[one])
                prefix = f"slot/{one + 1}/"
                values |= {
                    f"slot/{number}/{row.name.removeprefix(prefix)}": self.get(row.name)
                    for row in self.table.rows()
                    if row.name.startswith(prefix)
                }
                continue
            slot, set_values = self._source(one)
            slots.append(slot)
            values |= {f"slot/{number}/{control}": value for control, value in set_values.items()}
        if branches is not None:
            slots = [msgspec.structs.replace(slot, branch=one) for slot, one in zip(slots, branches, strict=True)]
        # Snapshots follow the slots; of what is gone nothing is kept.
        came = {one + 1: number for number, one in enumerate(order, start=1) if isinstance(one, int)}
        snapshots = {
            place: {moved: value for name, value in kept.items() if (moved := _moved_name(name, came))}
            for place, kept in self.state.snapshots.items()
        }
        show = _Show(self.state.preset, slots, values, snapshots, self.state.tempo, self.state.place)
        return await self._play(show, came)

    # -- undo ----------------------------------------------------------------------------------------------------

    async def undo(self) -> str:
        """Take back the last step, of values or of structure; what it was, in words."""
        step = self.history.last_done()
        if isinstance(step, Moved):
            self._restore(step.before)
        else:
            await self._play(step.before, record=False)
        self.history.undone(step)
        return step.key if isinstance(step, Moved) else step.after.preset

    async def redo(self) -> str:
        """Do again what was taken back last; what it was, in words."""
        step = self.history.last_undone()
        if isinstance(step, Moved):
            self._restore(step.after)
        else:
            await self._play(step.after, record=False)
        self.history.redone(step)
        return step.key if isinstance(step, Moved) else step.after.preset

    # -- two sides to compare ------------------------------------------------------------------------------------

    async def compare(self, side: str) -> None:
        """Keep what plays under the side that is heard, and play what the other one holds: at first, the same."""
        if side == self.side:
            return
        here, there = self._show(), self._aside
        if there is not None and (there.preset, there.slots) == (here.preset, here.slots):
            self._stop_glide()
            with self._step(f"side {side}"):
                for name, value in there.values.items():
                    self.set(name, value)
                if there.tempo != here.tempo:
                    self.set_tempo(there.tempo)
        elif there is not None:
            await self._play(there)
        self.side, self._aside = side, here

    def copy_side(self) -> None:
        """Let the side that is not heard be like the one that is."""
        self._aside = None

    def _restore(self, values: Mapping[str, float]) -> None:
        self._stop_glide()
        there = {row.name for row in self.table.rows()}
        for name, value in values.items():
            if name in there:
                self._put(name, value)

    def _show(self) -> _Show:
        """What plays, for the history."""
        values = {name: value for name, value in self.values().items() if not _momentary(name)}
        state = self.state
        return _Show(state.preset, list(state.slots), values, state.snapshots, state.tempo, state.place)

    def _source(self, source: str) -> tuple[SlotState, dict[str, float]]:
        """A slot and its values by control name, from KIND:NAME ("fx:delay") or a preset, whose first slot it is."""
        kind, colon, name = source.partition(":")
        if colon and kind != "style":
            # No preset's name holds a colon. What does not exist is refused here, before the engine hears of it.
            if kind == "capture":
                return SlotState(name, str(self.captures.find(name)), [], kind), {}
            controls = slot_controls(kind, name)
            file = self.cabinets.find(name) if kind == "cabinet" else None
            follows = any(control.name == "tempo" for control in controls)
            values = {"tempo": self.state.tempo} if follows else {}
            return SlotState(name, "" if file is None else str(file), [], kind), values
        entry = self.library.find(source)
        content = entry.read()
        if not content.slots:
            raise DuendeError(f"preset {source!r} has no slot to take")
        first = content.slots[0]
        return _slot_state(entry, first), {"mix": first.mix, **first.values}

    # -- snapshots and tempo -------------------------------------------------------------------------------------

    def store_snapshot(self, number: int) -> None:
        """Keep all values under a number from 1, with the preset once that is saved."""
        values = {name: value for name, value in self.values().items() if name != "mute"}
        self._hold(self.state.snapshots | {_snapshot(number): values})

    def clear_snapshot(self, number: int) -> None:
        """Forget a snapshot; nothing where there is none."""
        kept = dict(self.state.snapshots)
        if kept.pop(_snapshot(number), None) is not None:
            self._hold(kept)

    def _hold(self, snapshots: dict[int, dict[str, float]]) -> None:
        self.state.snapshots = snapshots
        self._keep()
        for listener in self.structured:
            listener()

    def recall_snapshot(self, number: int, seconds: float = 0.0) -> None:
        """Go to the values of a snapshot, at once or gliding; what is not there any more is passed over.

        A glide ends where another preset is loaded or a step is undone; what the player moves meanwhile is his.
        """
        kept = self.state.snapshots.get(_snapshot(number))
        if kept is None:
            raise DuendeError(f"snapshot {number} is empty: store it first")
        names = {row.name: row for row in self.table.rows()}
        goal = {name: value for name, value in kept.items() if name in names}
        self._stop_glide()
        if seconds <= 0.0:
            with self._step(f"snapshot {number}"):
                for name, value in goal.items():
                    self.set(name, value)
            return
        before = {name: self.get(name) for name, value in goal.items() if self.get(name) != value}
        if before:
            self.history.moved(f"snapshot {number}", before, {name: goal[name] for name in before})
        self._gliding = {name: (value, goal[name]) for name, value in before.items()}
        self._glide = asyncio.get_running_loop().create_task(self._go_on_gliding(seconds))

    def _stop_glide(self) -> None:
        self._gliding = {}
        if self._glide is not None:
            self._glide.cancel()

    async def _go_on_gliding(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        share = 0.0
        while share < 1.0 and self._gliding:
            await asyncio.sleep(GLIDE_STEP_S)
            share = min(1.0, (loop.time() - began) / seconds)
            for name, (start, goal) in list(self._gliding.items()):
                self._put(name, goal if share == 1.0 else start + share * (goal - start))
        self._gliding = {}

    def set_tempo(self, bpm: float) -> float:
        """Beats per minute, within TEMPO_BPM; controls called tempo follow."""
        self.state.tempo = min(TEMPO_BPM[1], max(TEMPO_BPM[0], float(bpm)))
        for row in self.table.rows():
            if row.name.startswith("slot/") and row.name.endswith("/tempo"):
                self.set(row.name, self.state.tempo)
        self._keep()
        return self.state.tempo

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _targets(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return self.shared.pages[self.state.page]  # type: ignore[no-any-return]

    async def _play(self, show: _Show, came: Mapping[int, int] | None = None, *, record: bool = True) -> Played:
        """Write a page with these values, have the engine fade to it, and take it for the show's state.

        came: of a chain that was rearranged, where its slots are now by where they were; None where it is another.
        """
        self._newest += 1
        turn = self._newest
        async with self._changing:
            if turn != self._newest:
                raise DuendeError(f"{show.preset}: another change was asked for in the meantime")
            layout([slot.branch for slot in show.slots])
            opened = [await self._open(slot) for slot in show.slots]
            table = _table(opened)
            page = (self.state.page + 1) % PAGES
            before = self.state
            self._meanwhile = {}
            self._write_page(page, table, show.values)
            plan = [SlotPlan(slot.name, slot.path, slot.kind, slot.branch) for slot in opened]
            played = await self.engine.ask(Play(next(self._requests), page, plan))
            assert isinstance(played, Played)
            last = self._show()
            self.state = ShowState(
                show.preset,
                page,
                opened,
                show.snapshots,
                before.tempo,
                played.latency,
                played.reblocking,
                before.set_list,
                before.listed,
                show.place,
            )
            self.table = table
            self._follow_player(came)
            self._keep()
            if record and (last.slots or last.preset):
                self.history.rebuilt(last, self._show())
            if show.tempo != self.state.tempo:
                self.set_tempo(show.tempo)
        for text in played.notices:
            if text not in self._noticed:
                for hearer in self.noticed:
                    hearer(text)
        self._noticed = played.notices
        for listener in self.structured:
            listener()
        self._tell([row.name for row in table.rows()])
        return played

    def _follow_player(self, came: Mapping[int, int] | None) -> None:
        """Take what he moved during a change, and a glide, along to the chain that plays now."""
        for name, value in self._meanwhile.items():
            if moved := _moved_name(name, came or {}):
                self._put(moved, value)
        if came is None:
            self._stop_glide()
        else:
            moved_to = {_moved_name(name, came): way for name, way in self._gliding.items()}
            self._gliding = {name: way for name, way in moved_to.items() if name}

    def _write_page(self, page: int, table: ParameterTable, values: Mapping[str, float]) -> None:
        for row in table.rows():
            place, _ = table.find(row.name)
            shared = row.name in {one.name for one in GLOBALS}
            self.shared.pages[page][place] = self.get(row.name) if shared else row.default
        for name, value in values.items():
            place, row = table.find(name)
            self.shared.pages[page][place] = row.check(value)

    async def _open(self, slot: SlotState) -> SlotState:
        """The slot with name and styles of its model, which is checked in this process so that the engine need not."""
        if slot.kind == "cabinet":
            await asyncio.to_thread(self._responses.open, slot.path, CHECK_HZ)
        if slot.kind not in MODELS:
            return slot
        path, file = slot.path, Path(slot.path)
        try:
            key = (path, file.stat().st_mtime_ns)
        except OSError as error:
            raise DuendeError(f"cannot read the model {file.name}: {error.strerror or error}") from error
        if slot.kind == "capture":
            if key not in self._controls:
                checked = await asyncio.to_thread(open_waveform, file)
                self._controls[key] = waveform_controls(checked.spec)
            return msgspec.structs.replace(slot, controls=self._controls[key])
        if key not in self._models:
            model = await asyncio.to_thread(load_model, file)
            self._models[key] = [model.spec.name, *model.spec.styles]
        name, *styles = self._models[key]
        return msgspec.structs.replace(slot, name=name, styles=styles)

    def _tell(self, names: Sequence[str]) -> None:
        for listener in self.changed:
            listener(names)

    def _keep(self) -> None:
        if self.memory is not None:
            write_atomically(self.memory, msgspec.json.encode(self.state))

    def _remember(self) -> bool:
        """Take up the show where the control process before left it; False where there is nothing to go by."""
        assert self.memory is not None
        try:
            state = msgspec.json.decode(self.memory.read_bytes(), type=ShowState)
            table = _table(state.slots)
        except (OSError, msgspec.DecodeError, DuendeError):
            return False
        if not 0 <= state.page < PAGES:
            return False
        self.state, self.table = state, table
        # A control that died while it muted for the tuner must not leave the show silent.
        self.shared.pages[state.page][table.find("mute")[0]] = 0.0
        return True


def _table(slots: Sequence[SlotState]) -> ParameterTable:
    """Rows of the chain that these slots make."""
    table = ParameterTable()
    for place, slot in enumerate(slots):
        controls = slot_controls(slot.kind, slot.name, slot.styles, slot.controls)
        table.set_slot(place, [control_parameter(place + 1, slot.name, control) for control in controls])
    return table


def _slot_state(entry: Entry, slot: SlotPreset) -> SlotState:
    """A slot of a preset, not yet opened; DuendeError where its file is missing or another."""
    path = entry.file_of(slot)
    name = slot.effect or (path.stem if path is not None and slot.kind != "style" else "")
    return SlotState(name, str(path or ""), [], slot.kind, slot.branch)


def _momentary(name: str) -> bool:
    """What is no step of the history: muting to tune, and what follows the tempo."""
    return name == "mute" or name.endswith("/tempo")


def _moved_name(name: str, came: Mapping[int, int]) -> str:
    """A parameter's name after its slot went to another place (came: new place by old one); empty if it is gone."""
    head, _, rest = name.partition("/")
    if head != "slot":
        return name
    number, _, control = rest.partition("/")
    place = came.get(int(number)) if number.isdecimal() else None
    return f"slot/{place}/{control}" if place is not None else ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DuendeError(f"cannot read {path.name}: {error.strerror or error}") from error


def _keep_file(files: dict[str, bytes], path: Path) -> str:
    """Put a slot's file with those to be stored, and the name under which it is: not that of another one's bytes."""
    data, name = _read(path), path.name
    if files.setdefault(name, data) != data:
        name = f"{path.stem[:180]}-{hash_of(data)[:12]}{path.suffix}"
        files[name] = data
    return name


def _short(value: float) -> float:
    """A number that came over OSC as 0.33000001311302185 as the 0.33 that was meant: the same in 32 bits."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return float(str(single)) if float(single) == value else value


def _snapshot(number: int) -> int:
    if not 1 <= number <= SNAPSHOTS:
        raise DuendeError(f"snapshot {number}: there are {SNAPSHOTS}, counted from 1")
    return number
