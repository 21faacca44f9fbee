"""The player's captures: models of amps and pedals by name in a folder of the library, and no way out of it."""

import difflib
from collections.abc import Container
from pathlib import Path

from .. import DuendeError
from .format import MODEL_ENDINGS, name_from, write_atomically
from .library import NAME, home

ENDING = MODEL_ENDINGS[0]
SHOWN = 12


class Captures:
    """Captures by name: the files NAME.onnx under folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (home() / "captures") if folder is None else folder

    def entries(self) -> dict[str, Path]:
        """Files by name, sorted."""
        if not self.folder.is_dir():
            return {}
        files = (path for path in self.folder.iterdir() if path.suffix == ENDING and NAME.fullmatch(path.stem))
        return dict(sorted((path.stem, path) for path in files))

    def find(self, name: str) -> Path:
        """The file of a capture; DuendeError that says which names are like it."""
        path = self.path_of(name) if NAME.fullmatch(name) else None
        if path is None or not path.is_file():
            raise DuendeError(f"no capture {name!r}; {self._what_there_is(name)}")
        return path

    def path_of(self, name: str) -> Path:
        """Where a capture of that name lies, or would; DuendeError for what is no name."""
        if not NAME.fullmatch(name):
            raise DuendeError(
                f"capture name {name!r}: 1 to 63 lower-case letters, digits, '-' and '_', the first a letter or digit"
            )
        return self.folder / f"{name}{ENDING}"

    def name_for(self, text: str) -> str:
        """A name made of any text, as of another program's file; DuendeError where nothing of it can be kept."""
        name = name_from(text)
        if not name:
            raise DuendeError(f"{text!r}: no letter of it can stand in a name: choose one (--name)")
        return name

    def add(self, name: str, data: bytes, *, force: bool = False) -> Path:
        """Store a model file, which was checked before; DuendeError where the name is taken and not to be replaced."""
        path = self.path_of(name)
        if path.exists() and not force:
            raise DuendeError(
                f"there is a capture {name!r} already: choose another name (--name), or replace it with --force"
            )
        write_atomically(path, data)
        return path

    def remove(self, name: str) -> None:
        """Delete a capture; presets that play it have files of their own. DuendeError for what there is not."""
        path = self.find(name)
        try:
            path.unlink()
        except OSError as error:
            raise DuendeError(f"cannot remove {path.name}: {error.strerror or error}") from error

    def _what_there_is(self, name: str) -> str:
        """In one line, however many there are: those that share a part with the name, or how many there are."""
        names = list(self.entries())
        if not names:
            return "there are none: duende import FILE"
        near = difflib.get_close_matches(name[:63], names, SHOWN, 0.5)
        if len(names) <= SHOWN:
            return f"there are: {', '.join(names)}"
        like = f"near it: {', '.join(near)}; " if near else ""
        return f"{like}`duende captures list` shows all {len(names)}"


def free_name(name: str, taken: Container[str]) -> str:
    """The name, or with the first number behind it that nobody has taken."""
    free, number = name, 2
    while free in taken:
        ending = f"-{number}"
        free, number = name[: 63 - len(ending)] + ending, number + 1
    return free
