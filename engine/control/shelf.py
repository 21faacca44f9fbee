"""The library as the network sees it: presets found, described, copied, renamed, removed; captures described.

What reads or writes many files runs on another thread, one order after the other.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ... import DuendeError
from ...presets.format import Preset, check_name
from ...presets.library import Entry
from ...presets.pack import install, pack
from ..graph_check import parse, read_bytes
from ..waveform_spec import WaveformSpec, decode_waveform_spec
from .commands import CURRENT, LIST, PAGE, SET_LIST
from .namespace import PREFIX, Node, Range, Values
from .news import News
from .session import Session
from .tree import Json

REVISION = f"{PREFIX}/library/revision"
SET_LISTS = f"{PREFIX}/setlist/list"
TAG = "tag:"
SHOWN = 1000
"""Letters of a description in one answer, and of all tags: more would not fit into a datagram."""

Read = TypeVar("Read")


@dataclass(frozen=True)
class Described:
    """A preset of the library; where it cannot be read, why."""

    entry: Entry
    preset: Preset | None
    trouble: str = ""

    def fits(self, words: Sequence[str]) -> bool:
        """Whether each word is in its name, tags, author or description; "tag:X": X is one of its tags."""
        found = self.preset
        tags = [] if found is None else [tag.casefold() for tag in found.tags]
        said = [] if found is None else [found.author, found.description]
        text = " ".join([self.entry.name, *tags, *said]).casefold()
        return all(word.removeprefix(TAG) in tags if word.startswith(TAG) else word in text for word in words)

    def as_json(self) -> dict[str, Json]:
        """All that is known, for programs."""
        found = Preset(0, "", []) if self.preset is None else self.preset
        return {
            "name": self.entry.name,
            "own": not self.entry.factory,
            "tags": list(found.tags),
            "description": found.description,
            "author": found.author,
            "plays": [slot.effect or Path(slot.file).stem for slot in found.slots],
            "picture": self.entry.picture_path.is_file(),
            "trouble": self.trouble,
        }


class Shelf:
    """What can be done to the library while one plays. All in the event loop's thread, but for the disk."""

    def __init__(self, session: Session, news: News) -> None:
        self.revision = 0
        self._session, self._library, self._news = session, session.library, news
        self._changing = asyncio.Lock()
        self._presets: dict[Path, tuple[int, Described]] = {}
        self._captures: dict[Path, tuple[int, dict[str, Json]]] = {}
        self._marks = self._look()

    # -- news ----------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Tell whoever listens when something came or went on the disk, by whoever it was."""
        marks = self._look()
        if marks != self._marks:
            self._marks = marks
            self.revision += 1
            self._news.touch(REVISION, LIST, SET_LISTS, SET_LIST, CURRENT)

    def _look(self) -> list[int]:
        """When the folders changed last: files come into them by being renamed."""
        library = self._library
        shelves = (library.own, library.factory, library.set_lists.folder, self._session.captures.folder)
        return [_changed(folder) for folder in (*shelves, self._session.cabinets.folder)]

    # -- presets -------------------------------------------------------------------------------------------------

    async def presets(self) -> list[Described]:
        """All presets, sorted by name."""
        return await asyncio.to_thread(self._read_presets)

    async def find(self, text: str) -> list[str]:
        """Names of the presets that every word of a text fits."""
        words = text.casefold().split()
        return [one.entry.name for one in await self.presets() if one.fits(words)]

    async def duplicate(self, name: str, to: str) -> None:
        """Store a copy of a preset under another name; DuendeError where that is taken."""
        await self._change(lambda: self._library.duplicate(name, to))

    async def rename(self, name: str, to: str) -> None:
        """Call one of the player's presets something else; DuendeError for the factory's, and where `to` is taken."""
        await self._change(lambda: self._library.rename(name, to))
        self._session.renamed(name, to)

    async def delete(self, name: str) -> None:
        """Remove one of the player's presets; DuendeError for the one that plays, and where a set list names it."""
        if name == self._session.state.preset and not self._library.find(name).factory:
            raise DuendeError(f"preset {name!r} plays: switch to another one before it is deleted")
        await self._change(lambda: self._library.delete(name))

    async def describe(self, name: str, description: str, tags: str) -> None:
        """Write other words about one of the player's presets; tags with commas between."""
        words = [tag.strip() for tag in tags.split(",") if tag.strip()]
        await self._change(lambda: self._library.describe(name, description, words))

    async def install(self, path: Path, *, force: bool) -> str:
        """Put a packed preset into the library; its name. DuendeError as `presets.pack.install` has it."""
        return (await self._change(lambda: install(self._library, path, force=force))).name

    async def pack(self, name: str, target: Path) -> Path:
        """Pack a preset into a file."""
        entry = self._library.find(check_name(name))
        return await asyncio.to_thread(pack, entry, target)

    def picture(self, name: str) -> Path | None:
        """Where the picture of a preset's style lies; None where there is none. DuendeError for no preset."""
        path = self._library.find(check_name(name)).picture_path
        return path if path.is_file() else None

    # -- captures ------------------------------------------------------------------------------------------------

    async def captures(self) -> list[dict[str, Json]]:
        """What every capture's file says of itself, sorted by name."""
        return await asyncio.to_thread(self._read_captures)

    async def capture(self, name: str) -> dict[str, Json]:
        """What one capture's file says; DuendeError where there is none, or it cannot be read."""
        path = self._session.captures.find(name)
        found = await asyncio.to_thread(self._told, name, path)
        if found["trouble"]:
            raise DuendeError(str(found["trouble"]))
        return found

    # -- addresses -----------------------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        """The library's addresses."""

        async def find(values: Values) -> Values:
            first = int(values[1]) if len(values) > 1 else 0  # type: ignore[arg-type]
            return (await self.find(str(values[0])))[first : first + PAGE]

        async def info(values: Values) -> Values:
            name = check_name(str(values[0]))
            entry = self._library.find(name)
            found = await asyncio.to_thread(entry.read)
            tags = _some(found.tags)
            origin = "factory" if entry.factory else "own"
            return [name, origin, _short(found.author), _short(found.description), *tags]

        async def describe_capture(values: Values) -> Values:
            found = await self.capture(str(values[0]))
            numbers = [found[key] for key in ("sample_rate", "loudness_db", "gain")]
            shown = ["" if number is None else f"{number:g}" for number in numbers]
            tags = found["tags"]
            assert isinstance(tags, dict)
            named = _some([f"{key}={value}" for key, value in tags.items()])
            return [str(found["name"]), _short(str(found["architecture"])), *shown, *named]

        async def duplicate(values: Values) -> None:
            await self.duplicate(str(values[0]), str(values[1]))

        async def rename(values: Values) -> None:
            await self.rename(str(values[0]), str(values[1]))

        async def delete(values: Values) -> None:
            await self.delete(str(values[0]))

        async def describe(values: Values) -> None:
            await self.describe(str(values[0]), str(values[1]), str(values[2]))

        base = f"{PREFIX}/preset"
        return [
            Node(
                f"{base}/find",
                "si",
                f"answers its receipt with the presets that a text fits: {PAGE} of them, from a number on; each word "
                f"is looked for in name, tags, author and description, {TAG}WORD among the tags alone",
                ranges=(Range(), Range(0)),
                optional=1,
                write=find,
            ),
            Node(
                f"{base}/info",
                "s",
                "answers its receipt with a preset's name, own or factory, author, description and tags",
                write=info,
            ),
            Node(f"{base}/duplicate", "ss", "store a copy of a preset under another name", write=duplicate),
            Node(f"{base}/rename", "ss", "call a preset of the player's something else", write=rename),
            Node(f"{base}/delete", "s", "remove a preset of the player's that does not play", write=delete),
            Node(
                f"{base}/describe",
                "sss",
                "write another description of a preset of the player's, and other tags, with commas between",
                write=describe,
            ),
            Node(
                f"{PREFIX}/capture/info",
                "s",
                "answers its receipt with a capture's name, architecture, sample rate in Hz, loudness in dB and gain "
                "(empty: not known), then key=value for each tag",
                write=describe_capture,
            ),
            Node(
                REVISION,
                "i",
                "another number than before once presets, set lists, captures or cabinets on the disk have changed",
                read=lambda: [self.revision],
            ),
        ]

    # -- inside --------------------------------------------------------------------------------------------------

    async def _change(self, work: Callable[[], Read]) -> Read:
        async with self._changing:
            try:
                return await asyncio.to_thread(work)
            finally:
                self.watch()

    def _read_presets(self) -> list[Described]:
        entries = self._library.entries()
        found = {entry.path: self._described(entry) for entry in entries}
        self._presets = found
        return [described for _, described in found.values()]

    def _described(self, entry: Entry) -> tuple[int, Described]:
        mark = _changed(entry.path)
        known = self._presets.get(entry.path)
        if known is not None and known[0] == mark and known[1].entry == entry:
            return known
        try:
            return mark, Described(entry, entry.read())
        except DuendeError as error:
            return mark, Described(entry, None, str(error))

    def _read_captures(self) -> list[dict[str, Json]]:
        entries = self._session.captures.entries()
        there = set(entries.values())
        self._captures = {path: kept for path, kept in self._captures.items() if path in there}
        return [self._told(name, path) for name, path in entries.items()]

    def _told(self, name: str, path: Path) -> dict[str, Json]:
        """What the file says, which nobody has checked, or why it cannot be read; nothing in it is executed."""
        mark = _changed(path)
        known = self._captures.get(path)
        if known is None or known[0] != mark:
            try:
                _, text = parse(read_bytes(path), path.name)
                known = mark, _capture(name, decode_waveform_spec(text, path.name))
            except DuendeError as error:
                known = mark, {"name": name, "trouble": str(error)}
            self._captures[path] = known
        return known[1]


def _capture(name: str, spec: WaveformSpec) -> dict[str, Json]:
    tags: Mapping[str, Json] = spec.tags
    return {
        "name": name,
        "architecture": spec.architecture,
        "sample_rate": spec.sample_rate,
        "loudness_db": spec.loudness_db,
        "gain": spec.gain,
        "tags": dict(tags),
        "knobs": [knob.name for knob in spec.knobs],
        "licence": spec.provenance.licence,
        "trouble": "",
    }


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _short(text: str) -> str:
    """A text of a stranger's file, as OSC can carry it."""
    return text.replace("\0", " ").encode(errors="replace").decode()[:SHOWN]


def _some(texts: Sequence[str]) -> list[str]:
    """As many as have room."""
    shown: list[str] = []
    room = SHOWN
    for text in map(_short, texts):
        room -= len(text) + 8
        if room < 0:
            break
        shown.append(text)
    return shown
