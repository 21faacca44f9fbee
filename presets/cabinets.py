"""The player's cabinets: impulse responses by name in a folder of the library, and no way out of it."""

from pathlib import Path

from .. import DuendeError
from .format import name_from, write_atomically
from .library import NAME, home

BUILT_IN = "4x12"
ENDINGS = (".wav", ".flac", ".aif", ".aiff")


class Cabinets:
    """Cabinets by name: files under folder, and BUILT_IN, which the engine makes itself."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (home() / "cabinets") if folder is None else folder

    def entries(self) -> dict[str, Path | None]:
        """Files by name, sorted; None for the built-in one."""
        found: dict[str, Path | None] = {BUILT_IN: None}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.suffix in ENDINGS and NAME.fullmatch(path.stem) and path.stem != BUILT_IN:
                    found[path.stem] = path
        return dict(sorted(found.items()))

    def find(self, name: str) -> Path | None:
        """The file of a cabinet, None for the built-in one; DuendeError that lists what there is."""
        entries = self.entries()
        if name not in entries:
            raise DuendeError(f"no cabinet {name!r}; there are: {', '.join(entries)}")
        return entries[name]

    def add(self, source: Path, name: str | None = None, *, force: bool = False) -> str:
        """Copy a file, which was checked before, under a name, or its own put into allowed letters; returns the name.

        DuendeError for an ending or a name that does not do, or one that is taken and not to be replaced.
        """
        if name is None:
            name = name_from(source.stem)
        if not NAME.fullmatch(name):
            raise DuendeError(
                f"cabinet name {name!r}: 1 to 63 lower-case letters, digits, '-' and '_', the first a letter or digit"
            )
        ending = source.suffix.lower()
        if ending not in ENDINGS:
            raise DuendeError(f"{source.name}: the name of a cabinet's file must end in {', '.join(ENDINGS)}")
        if name == BUILT_IN:
            raise DuendeError(f"cabinet {name!r} is built in: choose another name (--name)")
        taken = self.entries().get(name)
        if taken is not None and not force:
            raise DuendeError(
                f"there is a cabinet {name!r} already: choose another name (--name), or replace it with --force"
            )
        try:
            data = source.read_bytes()
        except OSError as error:
            raise DuendeError(f"cannot read {source.name}: {error.strerror or error}") from error
        target = self.folder / f"{name}{ending}"
        write_atomically(target, data)
        if taken is not None and taken != target:
            taken.unlink(missing_ok=True)
        return name

    def remove(self, name: str) -> None:
        """Delete a cabinet's file; DuendeError for the built-in one and for what there is not."""
        path = self.find(name)
        if path is None:
            raise DuendeError(f"cabinet {name!r} is built in: it cannot be removed")
        try:
            path.unlink()
        except OSError as error:
            raise DuendeError(f"cannot remove {path.name}: {error.strerror or error}") from error
