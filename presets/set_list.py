"""A set list: presets in the order of an evening, under a name; one TOML file in the player's folder."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from .. import DuendeError
from .format import MAX_DOTS, SUFFIX, check_name, read_bounded, write_atomically

SET_LIST_FORMAT = 1
MAX_PRESETS = 128
"""As many as MIDI has programs."""


class SetList(msgspec.Struct, forbid_unknown_fields=True):
    """presets: by name; one may come several times."""

    format: int
    presets: list[str]


class SetLists:
    """The player's set lists, each NAME.toml in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Those there are, sorted."""
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))

    def read(self, name: str) -> list[str]:
        """The presets of a set list; DuendeError that lists what there is, or names what is wrong."""
        if name not in self.names():
            raise DuendeError(f"no set list {name!r}; there are: {', '.join(self.names()) or 'none'}")
        path = self.folder / f"{name}{SUFFIX}"
        data = read_bounded(path, "set list")
        try:
            if any(line.count(b".") > MAX_DOTS for line in data.splitlines()):
                raise DuendeError(f"{path.name}: not a set list: a line with more than {MAX_DOTS} dots")
            found = msgspec.toml.decode(data, type=SetList)
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
            raise DuendeError(f"{path.name}: not a set list: {' '.join(str(error).split())}") from error
        if found.format != SET_LIST_FORMAT:
            raise DuendeError(
                f"{path.name}: set list format {found.format}, this version of duende reads {SET_LIST_FORMAT}"
            )
        try:
            _check(found.presets)
        except DuendeError as error:
            raise DuendeError(f"{path.name}: {error}") from error
        return found.presets

    def write(self, name: str, presets: Sequence[str]) -> Path:
        """Store a set list, in the place of one of the same name."""
        _check(presets)
        path = self.folder / f"{check_name(name)}{SUFFIX}"
        write_atomically(path, msgspec.toml.encode(SetList(SET_LIST_FORMAT, list(presets))))
        return path


def _check(presets: Sequence[str]) -> None:
    if not 1 <= len(presets) <= MAX_PRESETS:
        raise DuendeError(f"presets: {len(presets)}, a set list has 1 to {MAX_PRESETS}")
    for preset in presets:
        check_name(preset)
