"""The library: factory presets that come with the program, and the player's own on disk."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from .. import DuendeError
from .format import SUFFIX, Preset, check_model_name, encode_preset, read_preset, write_atomically

HOME_VARIABLE = "DUENDE_HOME"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Entry:
    """A preset that can be loaded by name. folder holds its files; factory: it came with the program."""

    name: str
    folder: Path
    factory: bool

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}{SUFFIX}"

    @property
    def picture_path(self) -> Path:
        """The spectrogram of its style clip, where there is one."""
        return self.folder / f"{self.name}.png"

    def read(self) -> Preset:
        return read_preset(self.path)

    def model_path(self, model: str) -> Path:
        """Where a model named by the preset lies."""
        return self.folder / model


def home() -> Path:
    """The player's folder: $DUENDE_HOME, else the platform's place for user data."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("duende", appauthor=False))


class Library:
    """Presets by name; the player's own hide factory presets of the same name."""

    def __init__(self, own: Path | None = None, factory: Path | None = None) -> None:
        self.own = (home() / "presets") if own is None else own
        self.factory = Path(__file__).parent if factory is None else factory

    def entries(self) -> list[Entry]:
        """All presets, sorted by name."""
        found: dict[str, Entry] = {}
        for folder, factory in ((self.factory, True), (self.own, False)):
            if folder.is_dir():
                for path in folder.glob(f"*{SUFFIX}"):
                    found[path.stem] = Entry(path.stem, folder, factory)
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> Entry:
        """The preset of that name; DuendeError that lists what there is."""
        entries = {entry.name: entry for entry in self.entries()}
        if name not in entries:
            raise DuendeError(f"no preset {name!r}; there are: {', '.join(entries) or 'none'}")
        return entries[name]

    def save(
        self, name: str, preset: Preset, models: dict[str, bytes], picture: bytes | None = None, *, force: bool = False
    ) -> Entry:
        """Store a preset, its model files and a PNG of its style under the player's folder, the preset last.

        Where one of the files cannot be written, the new ones are taken away again.
        """
        check_name(name)
        for file in (*models, *(slot.model for slot in preset.slots)):
            check_model_name(file)
        entry = Entry(name, self.own, factory=False)
        if entry.path.exists() and not force:
            raise DuendeError(f"there is a preset {name!r} already: choose another name, or replace it with --force")
        files = {self.own / file: data for file, data in models.items()}
        if picture is not None:
            files[entry.picture_path] = picture
        files[entry.path] = encode_preset(preset)
        new = [path for path in files if not path.exists()]
        try:
            for path, data in files.items():
                write_atomically(path, data)
        except DuendeError:
            # What is there is a whole preset, or none of it.
            for path in new:
                path.unlink(missing_ok=True)
            raise
        return entry


def check_name(name: str) -> str:
    """The name itself; DuendeError unless it can be a file name on every system."""
    if not NAME.fullmatch(name):
        raise DuendeError(
            f"preset name {name!r}: 1 to 63 lower-case letters, digits, '-' and '_', the first a letter or digit"
        )
    return name
