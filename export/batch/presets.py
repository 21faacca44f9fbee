"""A preset as the inputs of a task, and a preset again on the worker."""

import shutil
from pathlib import Path

from ...presets.library import Entry
from ..work.kinds import Given
from ..work.task import Source

PRESET, FILE = "preset", "file:"


def preset_inputs(entry: Entry) -> dict[str, Source]:
    """A preset's file and those of its slots. DuendeError where one is missing or is not what the preset means."""
    inputs = {PRESET: Source.of_file(entry.path)}
    for slot in entry.read().slots:
        path = entry.file_of(slot)
        if path is not None:
            inputs[f"{FILE}{slot.file}"] = Source.of_file(path, slot.file)
    return inputs


def preset_given(given: Given) -> Entry:
    """The preset that a task was given, in a folder of its own."""
    folder = given.folder / "preset"
    folder.mkdir()
    for slot, path in given.inputs.items():
        if slot == PRESET or slot.startswith(FILE):
            _beside(path, folder / path.name)
    return Entry(given.inputs[PRESET].stem, folder, factory=False)


def _beside(source: Path, target: Path) -> None:
    """A link where the system has them, else a copy."""
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
