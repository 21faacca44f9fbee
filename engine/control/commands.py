"""The addresses that a session offers: its parameters, and what can be done to presets, slots, snapshots and tempo."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from ...presets.format import SNAPSHOTS, TEMPO_BPM
from ..fx.table import EFFECTS
from ..messages import Played
from ..split import BRANCHES
from .namespace import PREFIX, Answer, Node, Range, Value, Values, parameter_nodes
from .session import SIDES, Session

CURRENT = f"{PREFIX}/preset/current"
LIST = f"{PREFIX}/preset/list"
SET_LIST = f"{PREFIX}/setlist/current"
COMPARE = f"{PREFIX}/compare"
STORED = f"{PREFIX}/snapshot/stored"
_PLURAL = {"capture": "captures", "cabinet": "cabinets", "fx": "effects"}
PAGE = 100
"""Names in one answer: more would not fit into a datagram."""


def session_nodes(session: Session) -> list[Node]:
    """Every address of the session as it is now; made anew after each change of its slots."""
    return [
        *_parameters(session),
        *_styles(session),
        *_presets(session),
        *_set_lists(session),
        *_slots(session),
        *_files(session),
        *_rest(session),
        *_history(session),
        *_sides(session),
    ]


def _parameters(session: Session) -> list[Node]:
    nodes = []
    for row in session.table.rows():
        nodes += parameter_nodes(row, _reader(session, row.name), _writer(session, row.name))
    return nodes


def _styles(session: Session) -> list[Node]:
    nodes = []
    for style, row in session.style_rows().items():
        for node in parameter_nodes(row, _reader(session, row.name), _writer(session, row.name)):
            address = node.address.replace(row.address, f"{PREFIX}/style/{style}", 1)
            nodes.append(
                Node(
                    address, node.types, node.description, node.unit, node.ranges, clip=True, read=node.read,
                    write=node.write, tags=("alias",), default=node.default,
                )
            )  # fmt: skip
    if session.style_rows():
        nodes.append(
            Node(
                f"{PREFIX}/style/xy",
                "ff",
                "morph between the first four styles, in the corners of a square",
                ranges=(Range(0.0, 1.0), Range(0.0, 1.0)),
                clip=True,
                write=lambda values: session.set_xy(_float(values[0]), _float(values[1])),
            )
        )
    return nodes


def _presets(session: Session) -> list[Node]:
    async def load(values: Values) -> Values:
        which = values[0]
        return _heard(session, await session.load(which if isinstance(which, str) else int(_float(which))))

    async def step(by: int) -> Values:
        return _heard(session, await session.step(by))

    async def preload(values: Values) -> Values:
        names = str(values[0]).split()
        await session.preload(names)
        return list(names)

    def save(values: Values) -> Values:
        return [session.save(str(values[0])).name]

    base = f"{PREFIX}/preset"
    return [
        Node(
            f"{base}/load",
            "s",
            "switch to a preset by name, or by its place in the list, from 0",
            overload="i",
            write=load,
        ),
        Node(f"{base}/next", "", "switch to the next preset", write=lambda values: step(1)),
        Node(f"{base}/previous", "", "switch to the previous preset", write=lambda values: step(-1)),
        Node(f"{base}/preload", "s", "open the models of presets (names with spaces between) for later", write=preload),
        Node(f"{base}/save", "s", "store what plays, as it is now, under a name", write=save),
        Node(CURRENT, "s", "the preset that plays", read=lambda: [session.state.preset]),
        Node(LIST, "s", "the presets of the set list or, without one, all; each as an argument", read=session.names),
    ]


def _set_lists(session: Session) -> list[Node]:
    async def load(values: Values) -> Values:
        return list(await session.load_set_list(str(values[0])))

    base = f"{PREFIX}/setlist"
    return [
        Node(
            f"{base}/load",
            "s",
            "let next, previous and program changes follow a set list; opens its presets",
            write=load,
        ),
        Node(f"{base}/leave", "", "follow the whole library again", write=lambda values: session.leave_set_list()),
        Node(SET_LIST, "s", "the set list that is followed; empty: none", read=lambda: [session.state.set_list]),
        Node(f"{base}/list", "s", "the set lists there are, each as an argument", read=session.library.set_lists.names),
    ]


def _history(session: Session) -> list[Node]:
    async def undo(values: Values) -> Values:
        return [await session.undo()]

    async def redo(values: Values) -> Values:
        return [await session.redo()]

    return [
        Node(f"{PREFIX}/undo", "", "take back the last change of values, slots or preset", write=undo),
        Node(f"{PREFIX}/redo", "", "do again what was taken back last", write=redo),
    ]


def _sides(session: Session) -> list[Node]:
    async def compare(values: Values) -> Values:
        await session.compare(str(values[0]))
        return [session.side]

    return [
        Node(
            COMPARE,
            "s",
            "two whole sounds to compare: the other side keeps its preset, slots and values, at first the same ones",
            ranges=(Range(allowed=SIDES),),
            read=lambda: [session.side],
            write=compare,
        ),
        Node(
            f"{COMPARE}/copy",
            "",
            "let the side that is not heard be like the one that is",
            write=lambda values: session.copy_side(),
        ),
    ]


def _slots(session: Session) -> list[Node]:
    async def add(values: Values) -> Values:
        return _heard(session, await session.add_slot(str(values[0])))

    nodes = [
        Node(
            f"{PREFIX}/slot/add",
            "s",
            "append a slot: fx:NAME, capture:NAME, cabinet:NAME or a preset (its first)",
            write=add,
        )
    ]
    for number, slot in enumerate(session.state.slots, start=1):
        base = f"{PREFIX}/slot/{number}"
        nodes += [
            Node(f"{base}/name", "s", "what plays in the slot", read=_constant(slot.name)),
            Node(f"{base}/kind", "s", "what kind that is: style, capture, cabinet or fx", read=_constant(slot.kind)),
            Node(f"{base}/load", "s", "play another source here, as for slot/add", write=_load_slot(session, number)),
            Node(
                f"{base}/move",
                "i",
                "move the slot to another place",
                ranges=(Range(1, len(session.state.slots)),),
                write=_move_slot(session, number),
            ),
            Node(
                f"{base}/branch",
                "s",
                "where the slot stands: branch a or b of the split, or the trunk (empty), before or after both",
                ranges=(Range(allowed=BRANCHES),),
                read=_constant(slot.branch),
                write=_place_slot(session, number),
            ),
            Node(f"{base}/remove", "", "take the slot out", write=_remove_slot(session, number)),
        ]
        if number <= len(session.state.latency):
            nodes.append(
                Node(f"{base}/latency", "i", "its delay", "samples", read=_constant(session.state.latency[number - 1]))
            )
    return nodes


def _files(session: Session) -> list[Node]:
    """What there is to put into slots, a page at a time: there may be thousands."""

    def find(names: Callable[[], Iterable[str]]) -> Callable[[Values], Answer]:
        def answer(values: Values) -> Values:
            text = str(values[0]).lower()
            first = int(_float(values[1])) if len(values) > 1 else 0
            return [name for name in names() if text in name][first : first + PAGE]

        return answer

    return [
        Node(
            f"{PREFIX}/{what}/find",
            "si",
            f"answers its receipt with the {_PLURAL[what]} whose name holds a text: {PAGE} of them, from a number on",
            ranges=(Range(), Range(0)),
            optional=1,
            write=find(names),
        )
        for what, names in (
            ("capture", session.captures.entries),
            ("cabinet", session.cabinets.entries),
            ("fx", lambda: list(EFFECTS)),
        )
    ]


def _rest(session: Session) -> list[Node]:
    def recall(values: Values) -> None:
        session.recall_snapshot(int(_float(values[0])), _float(values[1]) if len(values) > 1 else 0.0)

    def tempo(values: Values) -> None:
        session.set_tempo(_float(values[0]))

    numbers = Range(1, SNAPSHOTS)
    return [
        Node(
            f"{PREFIX}/snapshot/store",
            "i",
            "keep all values under a number, with the preset once that is saved",
            ranges=(numbers,),
            write=lambda values: session.store_snapshot(int(_float(values[0]))),
        ),
        Node(
            f"{PREFIX}/snapshot/recall",
            "if",
            "go back to the values of a snapshot, in so many seconds; what you move meanwhile is left to you",
            "s",
            (numbers, Range(0.0, 600.0)),
            optional=1,
            write=recall,
        ),
        Node(
            f"{PREFIX}/snapshot/clear",
            "i",
            "forget what a number holds",
            ranges=(numbers,),
            write=lambda values: session.clear_snapshot(int(_float(values[0]))),
        ),
        Node(
            STORED,
            "i",
            "the numbers that hold something, each as an argument",
            read=lambda: sorted(session.state.snapshots),
        ),
        Node(
            f"{PREFIX}/tempo",
            "f",
            "beats per minute",
            "bpm",
            (Range(*TEMPO_BPM),),
            clip=True,
            read=lambda: [session.state.tempo],
            write=tempo,
        ),
    ]


def _heard(session: Session, played: Played) -> Values:
    """What a reply says of a switch: the preset, its delay in samples, and whether it was crossfaded."""
    return [session.state.preset, played.delay, played.seamless]


def _reader(session: Session, name: str) -> Callable[[], float]:
    return lambda: session.get(name)


def _writer(session: Session, name: str) -> Callable[[float], None]:
    def write(value: float) -> None:
        session.set(name, value)

    return write


def _constant(value: Value) -> Callable[[], Values]:
    return lambda: [value]


def _load_slot(session: Session, number: int) -> Callable[[Values], Answer]:
    async def load(values: Values) -> Values:
        return _heard(session, await session.load_slot(number, str(values[0])))

    return load


def _move_slot(session: Session, number: int) -> Callable[[Values], Answer]:
    async def move(values: Values) -> Values:
        return _heard(session, await session.move_slot(number, int(_float(values[0]))))

    return move


def _place_slot(session: Session, number: int) -> Callable[[Values], Answer]:
    async def place(values: Values) -> Values:
        return _heard(session, await session.place_slot(number, str(values[0])))

    return place


def _remove_slot(session: Session, number: int) -> Callable[[Values], Awaitable[Values]]:
    async def remove(values: Values) -> Values:
        return _heard(session, await session.remove_slot(number))

    return remove


def _float(value: Value) -> float:
    assert isinstance(value, bool | int | float)
    return float(value)


def addresses_of(session: Session, names: Sequence[str]) -> list[str]:
    """The addresses, aliases included, whose value changes with these parameters; natural units only."""
    aliases = {row.name: f"{PREFIX}/style/{style}" for style, row in session.style_rows().items()}
    found = [f"{PREFIX}/{name}" for name in names]
    return found + [aliases[name] for name in names if name in aliases]
