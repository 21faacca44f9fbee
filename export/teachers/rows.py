"""One transfer of a sweep or a comparison as a piece of work: files and settings in, sound, course and cost out."""

import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import DuendeError
from ..work.driver import Item
from ..work.kinds import Given, Made
from ..work.store import Result
from ..work.task import Source, Task
from .files import StyleFile, load_pair
from .registry import settings_of, teacher
from .resume import steps_of, table_of
from .settings import plain, with_plain
from .teacher import Cost, StyleSound
from .transfer import Choice, Options, Transferred, transfer

MEMORY_GIB = 4.0
"""Of one row, where nothing else is asked for: what is free on a machine must not decide where a content is cut."""

CONTENT, SOUND = "content", "sound"
OPTIONS = ("stereo", "tempo", "key", "trim", "pool", "chunk_s", "max_memory", "seed", "device")


def row_items(
    content: Path, styles: Sequence[StyleFile], rows: Sequence[tuple[str, Choice]], options: Options
) -> Iterator[Item]:
    """Every row as an item of its title. DuendeError for files that cannot be read."""
    inputs = {CONTENT: Source.of_file(content)}
    inputs |= {f"style:{place}": Source.of_file(style.path) for place, style in enumerate(styles)}
    around = {name: getattr(options, name) for name in OPTIONS}
    if around["max_memory"] is None:
        around["max_memory"] = MEMORY_GIB
    weights = [style.weight for style in styles]
    for title, choice in rows:
        values = plain(choice.settings)
        # Files of weights are inputs: a worker has no disk of ours.
        files = {
            f"setting:{one.name}": Source.of_file(getattr(choice.settings, one.name))
            for one in dataclasses.fields(choice.settings)
            if isinstance(getattr(choice.settings, one.name), Path)
        }
        for slot in files:
            values[slot.partition(":")[2]] = None
        parameters = {
            "teacher": choice.system.name,
            "form": choice.form,
            "settings": values,
            "options": around,
            "weights": weights,
        }
        yield Item(title, Task(title, "transfer", parameters, inputs | files))


def work(given: Given) -> Made:
    """Make one row (kind "transfer")."""
    asked = given.parameters
    system = teacher(asked["teacher"])
    values = dict(asked["settings"])
    for slot, path in given.inputs.items():
        if slot.startswith("setting:"):
            values[slot.partition(":")[2]] = str(path)
    choice = Choice(system, asked["form"], with_plain(settings_of(system, asked["form"]), values))
    styles = [StyleFile(given.inputs[f"style:{place}"], weight) for place, weight in enumerate(asked["weights"])]
    played, wanted = load_pair(given.inputs[CONTENT], styles, choice.sample_rate)
    made = transfer(played, wanted, choice, Options(**asked["options"]), given.report)
    names, table = table_of(made.history)
    table[:, 2] = 0.0  # seconds: the only thing here that differs from machine to machine
    arrays: dict[str, Any] = {"audio": made.audio, "content": made.content, "history": table}
    arrays |= {f"style{place}": style.audio for place, style in enumerate(made.styles)}
    file = io.BytesIO()
    np.savez(file, **arrays)
    data = {
        "sample_rate": made.sample_rate,
        "errors": names,
        "styles": [[style.name, style.weight] for style in made.styles],
        "parts": made.parts,
        "forecast": list(dataclasses.astuple(made.forecast)),
        "notices": made.notices,
        "details": json.loads(json.dumps(made.details, default=str)),
    }
    return Made({SOUND: file.getvalue()}, data, {"seconds": made.seconds, "memory": made.memory})


def row_of(result: Result) -> Transferred:
    """What a row made. DuendeError where the store's file is damaged."""
    data = result.data
    try:
        with np.load(io.BytesIO(result.read(SOUND)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DuendeError(f"{result.files[SOUND]}: not a row's sound ({error})") from error
    styles = [StyleSound(arrays[f"style{place}"], weight, name) for place, (name, weight) in enumerate(data["styles"])]
    return Transferred(
        audio=arrays["audio"],
        sample_rate=data["sample_rate"],
        content=arrays["content"],
        styles=tuple(styles),
        history=steps_of(arrays["history"], data["errors"]),
        parts=data["parts"],
        forecast=Cost(*data["forecast"]),
        seconds=result.cost["seconds"],
        memory=int(result.cost["memory"]),
        notices=data["notices"],
        details=data["details"],
    )
