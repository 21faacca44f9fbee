"""The library: factory presets that come with the program, and the player's own on disk."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from .. import DuendeError
from .format import (
    ENDINGS,
    FORMAT_1_SUFFIX,
    MODELS,
    NAME,
    SUFFIX,
    Preset,
    SlotPreset,
    check_file_name,
    check_name,
    decode_preset,
    encode_preset,
    hash_of,
    read_preset,
)
from .set_list import SetLists
from .together import write_together

HOME_VARIABLE = "DUENDE_HOME"
__all__ = ["HOME_VARIABLE", "NAME", "Entry", "Library", "NameTakenError", "check_name", "home"]


class NameTakenError(DuendeError):
    """There is a preset of that name, and nobody said that it may be replaced."""


@dataclass(frozen=True)
class Entry:
    """A preset that can be loaded by name. folder holds its files; factory: it came with the program."""

    name: str
    folder: Path
    factory: bool

    @property
    def path(self) -> Path:
        """The preset's file; one of format 1 where there is no newer."""
        new, old = (self.folder / f"{self.name}{suffix}" for suffix in (SUFFIX, FORMAT_1_SUFFIX))
        return old if old.is_file() and not new.is_file() else new

    @property
    def picture_path(self) -> Path:
        """The spectrogram of its style clip, where there is one."""
        return self.folder / f"{self.name}.png"

    def read(self) -> Preset:
        return read_preset(self.path)

    def model_path(self, model: str) -> Path:
        """Where a model or response named by the preset lies."""
        return self.folder / model

    def read_file(self, slot: SlotPreset) -> bytes:
        """The bytes of a slot's file; DuendeError where it is missing, or is not the one that the preset means."""
        try:
            data = self.model_path(slot.file).read_bytes()
        except OSError as error:
            raise DuendeError(f"{self.path.name}: cannot read {slot.file}: {error.strerror or error}") from error
        found = hash_of(data)
        if slot.sha256 and found != slot.sha256:
            raise DuendeError(
                f"{self.path.name}: {slot.file} is another file than the preset was made with: sha256 expected "
                f"{slot.sha256}, found {found}; bring the right file, or save the preset anew"
            )
        return data

    def file_of(self, slot: SlotPreset) -> Path | None:
        """Where a slot's file lies, None for effects; DuendeError as for `read_file`."""
        if not slot.file:
            return None
        self.read_file(slot)
        return self.model_path(slot.file)


def home() -> Path:
    """The player's folder: $DUENDE_HOME, else the platform's place for user data."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("duende", appauthor=False))


class Library:
    """Presets by name; the player's own hide factory presets of the same name."""

    def __init__(self, own: Path | None = None, factory: Path | None = None) -> None:
        self.own = (home() / "presets") if own is None else own
        self.factory = Path(__file__).parent if factory is None else factory

    @property
    def set_lists(self) -> SetLists:
        """The player's set lists, in a folder beside his presets."""
        return SetLists(self.own.parent / "setlists")

    def entries(self) -> list[Entry]:
        """All presets, sorted by name."""
        found: dict[str, Entry] = {}
        for folder, factory in ((self.factory, True), (self.own, False)):
            if folder.is_dir():
                for path in sorted(folder.iterdir()):
                    if path.suffix in (SUFFIX, FORMAT_1_SUFFIX) and not path.name.startswith("."):
                        found[path.stem] = Entry(path.stem, folder, factory)
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> Entry:
        """The preset of that name; DuendeError that lists what there is."""
        entries = {entry.name: entry for entry in self.entries()}
        if name not in entries:
            raise DuendeError(f"no preset {name!r}; there are: {', '.join(entries) or 'none'}")
        return entries[name]

    def save(
        self,
        name: str,
        preset: Preset,
        files: Mapping[str, bytes],
        picture: bytes | None = None,
        *,
        force: bool = False,
    ) -> Entry:
        """Store a preset, its models and responses by name and a PNG of its style for the player; or nothing.

        The slots take over the hashes. A file whose name another preset of the player's uses for other bytes gets a
        name of its own.
        """
        check_name(name)
        for slot in preset.slots:
            if slot.file or slot.kind in MODELS:
                check_file_name(slot.file, ENDINGS[slot.kind])
        every = tuple(ending for endings in ENDINGS.values() for ending in endings)
        for file in files:
            if file not in {slot.file for slot in preset.slots}:
                check_file_name(file, every)
        entry = Entry(name, self.own, factory=False)
        if entry.path.exists() and not force:
            raise NameTakenError(f"there is a preset {name!r} already: choose another name, or replace it with --force")
        others = self._used_by_others(name)
        names = {file: self._free_name(file, data, others) for file, data in files.items()}
        slots = [
            msgspec.structs.replace(slot, file=names[slot.file], sha256=hash_of(files[slot.file]))
            if slot.file in files
            else slot
            for slot in preset.slots
        ]
        written = {self.own / names[file]: data for file, data in files.items()}
        if picture is not None:
            written[entry.picture_path] = picture
        written = {path: data for path, data in written.items() if not _holds(path, data)}
        # Last: what is there then is a whole preset.
        written[self.own / f"{name}{SUFFIX}"] = encode_preset(msgspec.structs.replace(preset, slots=slots))
        kept = {slot.file for slot in slots}
        unused = [path for path in self._files_of(entry, others) if path.name not in kept]
        write_together(written, [self.own / f"{name}{FORMAT_1_SUFFIX}", *unused])
        return entry

    def rename(self, name: str, to: str) -> Entry:
        """Call one of the player's presets something else, in his set lists, too; or nothing changes.

        DuendeError for the factory's, and where `to` is taken.
        """
        entry, preset = self._own(name, "renamed"), self.find(name).read()
        goal = Entry(check_name(to), self.own, factory=False)
        if goal.path.exists():
            raise DuendeError(f"there is a preset {to!r} already: choose another name, or delete it first")
        written = {self.own / f"{to}{SUFFIX}": encode_preset(msgspec.structs.replace(preset, name=to))}
        if entry.picture_path.is_file():
            written[goal.picture_path] = entry.picture_path.read_bytes()
        write_together(written | self.set_lists.renamed(name, to), [entry.path, entry.picture_path])
        return goal

    def duplicate(self, name: str, to: str) -> Entry:
        """Store a preset with all its files as another of the player's; DuendeError where `to` is taken."""
        entry = self.find(name)
        preset = entry.read()
        files = {slot.file: entry.read_file(slot) for slot in preset.slots if slot.file}
        picture = entry.picture_path.read_bytes() if entry.picture_path.is_file() else None
        return self.save(to, msgspec.structs.replace(preset, name=to), files, picture)

    def describe(self, name: str, description: str, tags: Sequence[str]) -> Entry:
        """Write other words about one of the player's presets; DuendeError for the factory's and for too many."""
        entry = self._own(name, "described anew")
        words = msgspec.structs.replace(entry.read(), name=name, description=description, tags=list(tags))
        data = encode_preset(words)
        decode_preset(data, f"{name}{SUFFIX}")
        write_together({self.own / f"{name}{SUFFIX}": data}, [self.own / f"{name}{FORMAT_1_SUFFIX}"])
        return entry

    def delete(self, name: str, *, force: bool = False) -> list[str]:
        """Remove one of the player's presets, with the files that no other of his uses; the names of what is gone.

        DuendeError where a set list names it, unless `force` takes it out there, too; a list that named nothing else
        goes with it. A factory preset that it hid stands in for it.
        """
        entry = self._own(name, "deleted")
        lists = [] if self._is_factory(name) else self.set_lists.naming(name)
        if lists and not force:
            raise DuendeError(
                f"preset {name!r} is in the set list{'s' if len(lists) > 1 else ''} {', '.join(lists)}: "
                f"write them anew without it (duende setlist), or take it out there, too, with --force"
            )
        changed, empty = self.set_lists.without(name) if lists else ({}, [])
        files = self._files_of(entry, self._used_by_others(name))
        gone = [path for path in (entry.path, entry.picture_path, *files, *empty) if path.exists()]
        write_together(changed, gone)
        return [path.name for path in gone]

    def _is_factory(self, name: str) -> bool:
        return any((self.factory / f"{name}{suffix}").is_file() for suffix in (SUFFIX, FORMAT_1_SUFFIX))

    def _own(self, name: str, what: str) -> Entry:
        entry = self.find(name)
        if entry.factory:
            raise DuendeError(
                f"{name!r} comes with duende and cannot be {what}; a preset of your own with its name hides it "
                f"(duende preset save {name})"
            )
        return entry

    def _used_by_others(self, name: str) -> set[str] | None:
        """Files of the player's presets other than that one; None where one of them cannot be read."""
        used: set[str] = set()
        for entry in self.entries():
            if entry.factory or entry.name == name:
                continue
            try:
                used |= {slot.file for slot in entry.read().slots}
            except DuendeError:
                return None
        return used

    def _files_of(self, entry: Entry, others: set[str] | None) -> list[Path]:
        """What a preset of the player's has for itself; nothing where that cannot be known."""
        if others is None or not entry.path.is_file():
            return []
        try:
            files = {slot.file for slot in entry.read().slots if slot.file}
        except DuendeError:
            return []
        return [self.own / file for file in sorted(files - others) if (self.own / file).is_file()]

    def _free_name(self, file: str, data: bytes, others: set[str] | None) -> str:
        """The name under which a file can be stored without taking another from a preset."""
        path, found = self.own / file, hash_of(data)
        if others is not None and file not in others:
            return file
        if not path.is_file() or hash_of(path.read_bytes()) == found:
            return file
        return f"{path.stem[:180]}-{found[:12]}{path.suffix}"


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
