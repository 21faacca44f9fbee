"""The kinds of work by name: which function does them, and the version of what it makes."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from ... import DuendeError


class Kind(NamedTuple):
    """A function as module:name. version: raise it with every change of what it makes; older results then go stale."""

    place: str
    version: int = 1


KINDS: Mapping[str, Kind] = {
    "capture": Kind("duende.export.batch.captures:work"),
    "evaluate": Kind("duende.export.batch.judging:work"),
    "forge": Kind("duende.export.batch.forging:work"),
    "notes": Kind("duende.export.batch.notes:work"),
    "render": Kind("duende.export.batch.rendering:work"),
    "target": Kind("duende.export.teachers.targets:work", 3),
    "transfer": Kind("duende.export.teachers.rows:work"),
}


@dataclass(frozen=True)
class Given:
    """What a kind's function is given.

    parameters: as the task has them. inputs: files by the task's names for them. folder: an empty one, which is gone
    afterwards. report: told what the work wants to tell on the way; heard only in the same process.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, Path]
    folder: Path
    report: Callable[[Any], None] = lambda what: None


@dataclass(frozen=True)
class Made:
    """What a kind's function gives back: files by name, as bytes or where they lie, and plain data.

    Both depend on the parameters and inputs alone. cost: what was measured on the way, which may differ.
    """

    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    data: Any = None
    cost: Mapping[str, float] = field(default_factory=dict)


def function_of(kind: Kind) -> Callable[[Given], Made]:
    """Import it. DuendeError where a library that it needs is not installed."""
    module, _, name = kind.place.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DuendeError(f"needs {error.name}: pip install 'duende[train]'") from error
    return cast(Callable[[Given], Made], getattr(found, name))
