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
        path = self._path(name)
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
        path = self._path(check_name(name))
        write_atomically(path, _encode(presets))
        return path

    def naming(self, preset: str) -> list[str]:
        """The set lists that name a preset; those that cannot be read are passed over."""
        return [name for name in self.names() if preset in self._readable(name)]

    def renamed(self, preset: str, to: str) -> dict[Path, bytes]:
        """What the files of the set lists that name a preset hold once it is called something else."""
        return {
            self._path(name): _encode([to if one == preset else one for one in self.read(name)])
            for name in self.naming(preset)
        }

    def without(self, preset: str) -> tuple[dict[Path, bytes], list[Path]]:
        """What the files of those set lists hold without the preset; and files of lists that nothing is left of."""
        left = {self._path(name): [one for one in self.read(name) if one != preset] for name in self.naming(preset)}
        return (
            {path: _encode(presets) for path, presets in left.items() if presets},
            [path for path, presets in left.items() if not presets],
        )

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _readable(self, name: str) -> list[str]:
        try:
            return self.read(name)
        except DuendeError:
            return []


def _encode(presets: Sequence[str]) -> bytes:
    _check(presets)
    return msgspec.toml.encode(SetList(SET_LIST_FORMAT, list(presets)))


def _check(presets: Sequence[str]) -> None:
    if not 1 <= len(presets) <= MAX_PRESETS:
        raise DuendeError(f"presets: {len(presets)}, a set list has 1 to {MAX_PRESETS}")
    for preset in presets:
        check_name(preset)
