"""The sound files of a folder, as items of a batch."""

import os
from collections.abc import Iterable
from pathlib import Path

from ... import DuendeError

ENDINGS = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".mp3")
MOST = 1_000_000


def sounds_below(folder: Path, without: Path | None = None) -> list[Path]:
    """The sound files below a folder by their endings, relative to it, sorted. without: a folder that is left out.

    Hidden ones are passed over, and links to folders. DuendeError where there is none, or more than a million.
    """
    if not folder.is_dir():
        raise DuendeError(f"{folder}: no such folder")
    left_out = None if without is None else without.resolve()
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(one for one in folders if not one.startswith(".") and (here / one).resolve() != left_out)
        found += [
            (here / one).relative_to(folder)
            for one in files
            if not one.startswith(".") and one.lower().endswith(ENDINGS)
        ]
        if len(found) > MOST:
            raise DuendeError(f"{folder}: more than {MOST} sound files: take parts of it")
    if not found:
        raise DuendeError(f"{folder}: no sound file in it: {', '.join(ENDINGS)}")
    return sorted(found)


def twice(targets: Iterable[Path]) -> set[Path]:
    """Those that are there more than once, upper and lower case alike."""
    seen: dict[str, Path] = {}
    found = set()
    for one in targets:
        first = seen.setdefault(str(one).lower(), one)
        if first is not one:
            found |= {first, one}
    return found
