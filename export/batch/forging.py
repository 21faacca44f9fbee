"""Many styles forged from a list: `duende forge --batch styles.toml`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ... import DuendeError
from ...presets.format import decode_preset, encode_preset, hash_of
from ...presets.library import HOME_VARIABLE, Entry, Library, check_name
from ..work.driver import Item
from ..work.kinds import Given, Made
from ..work.store import Result, Store
from ..work.task import Source, Task
from .sounds import sounds_below

MOST_BYTES = 4 << 20
MOST_STYLES = 10_000
PICTURE = "picture"


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """One preset of the list. files: recordings of one style; voices: several styles by name, that morph.

    Folders and files are relative to the list. Others as `forge.ForgeRequest`; steps, not minutes, so that every
    machine makes the same.
    """

    files: list[str] = []
    voices: dict[str, list[str]] = {}
    mode: str = "timbre"
    teacher: str = ""
    steps: int | None = None
    seed: int = 1
    precision: str = "float32"
    content: str = ""
    licence: str = "unknown"
    description: str = ""


class Listed(msgspec.Struct, forbid_unknown_fields=True):
    """styles.toml. defaults: what holds where a style says nothing else."""

    styles: dict[str, dict[str, Any]]
    defaults: dict[str, Any] = {}


def read_list(path: Path) -> dict[str, Asked]:
    """The presets that a list asks for, by name. DuendeError that names what does not fit."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DuendeError(f"{path}: larger than {MOST_BYTES >> 20} MiB")
        listed = msgspec.toml.decode(path.read_bytes(), type=Listed)
    except OSError as error:
        raise DuendeError(f"{path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise DuendeError(f"{path}: {error}") from error
    if not 1 <= len(listed.styles) <= MOST_STYLES:
        raise DuendeError(f"{path}: {len(listed.styles)} styles; 1 to {MOST_STYLES}, each as [styles.NAME]")
    found = {}
    for name, said in listed.styles.items():
        check_name(name)
        try:
            one = msgspec.convert(listed.defaults | said, Asked)
        except msgspec.ValidationError as error:
            raise DuendeError(f"{path}: style {name!r}: {error}") from error
        if bool(one.files) == bool(one.voices):
            raise DuendeError(f"{path}: style {name!r}: give files, or voices, and not both")
        if one.steps is not None and not 1 <= one.steps <= 20000:
            raise DuendeError(f"{path}: style {name!r}: steps {one.steps} is out of range: 1 to 20000")
        found[name] = one
    return found


def forging_items(listed: Path, library: Library, store: Store, *, force: bool = False) -> tuple[int, Iterator[Item]]:
    """How many, and one by one: every preset of a list; `keep_preset` stores what was made.

    A preset of that name in the library is an item that fails, unless force, or what it holds was made by this list.
    """
    asked = read_list(listed)

    def items() -> Iterator[Item]:
        for name, one in asked.items():
            try:
                task = _task(name, one, listed.parent)
                taken = Entry(name, library.own, factory=False).path.exists()
                if taken and not force and store.find(task.key) is None:
                    raise DuendeError(f"there is a preset {name!r} already: rename one, or replace it with --force")
            except DuendeError as error:
                yield Item(name, None, str(error))
                continue
            yield Item(name, task)

    return len(asked), items()


def keep_preset(item: Item, result: Result, library: Library, *, force: bool = False) -> Entry:
    """Store a preset that was made; one that is there already from the same result stays as it is.

    DuendeError where another one has its name.
    """
    name = item.name
    made = {file: result.read(file) for file in result.files}
    folder_name = f"{name}.toml"
    picture = made.pop(PICTURE, None)
    preset = decode_preset(made.pop(folder_name), folder_name)
    entry = Entry(name, library.own, factory=False)
    if entry.path.exists() and not force:
        there = entry.read()
        hashes = {slot.sha256 for slot in there.slots if slot.file}
        if hashes == {hash_of(data) for data in made.values()}:
            return entry
    return library.save(name, preset, made, picture, force=force)


def work(given: Given) -> Made:
    """Forge one preset."""
    from ..forge import ForgeRequest, StyleSource, forge

    asked = given.parameters
    sources = tuple(StyleSource(name, tuple(given.inputs[slot] for slot in slots)) for name, slots in asked["voices"])
    content = None
    for slot, path in given.inputs.items():
        if slot.startswith("content:"):
            content = given.folder / "content"
            content.mkdir(exist_ok=True)
            (content / f"{slot.partition(':')[2]}-{path.name}").symlink_to(path)
    request = ForgeRequest(
        sources,
        asked["name"],
        content=content,
        mode=asked["mode"],
        teacher=asked["teacher"] or None,
        steps=asked["steps"],
        precision=asked["precision"],
        seed=asked["seed"],
        licence=asked["licence"],
        description=asked["description"],
    )
    library = Library(given.folder / "own", given.folder / "none")
    with _home(given.folder / "home"):
        forged = forge(request, library, report=given.report)
    preset = forged.entry.read()
    files: dict[str, bytes | Path] = {f"{asked['name']}.toml": encode_preset(preset)}
    files |= {slot.file: forged.entry.model_path(slot.file) for slot in preset.slots if slot.file}
    if forged.entry.picture_path.is_file():
        files[PICTURE] = forged.entry.picture_path
    ratios = {
        style: {title: round(float(ours.style_ratio), 4) for title, (ours, _) in by_judge.items()}
        for style, by_judge in forged.measured.items()
    }
    data = {"style_ratio": ratios, "steps": len(forged.history), "notices": forged.notices}
    return Made(files, data, {"seconds": forged.seconds})


def _task(name: str, one: Asked, base: Path) -> Task:
    inputs: dict[str, Source] = {}
    voices = []
    for number, (voice, files) in enumerate(one.voices.items() if one.voices else [(name, one.files)]):
        if not files:
            raise DuendeError(f"voice {voice!r} has no files")
        slots = []
        for place, file in enumerate(files):
            slot = f"style:{number}.{place}"
            inputs[slot] = Source.of_file(base / file)
            slots.append(slot)
        voices.append([voice, slots])
    if one.content:
        folder = base / one.content
        for place, sound in enumerate(sounds_below(folder)):
            inputs[f"content:{place:05d}"] = Source.of_file(folder / sound)
    steps = one.steps
    if steps is None:
        from ..distill import DistillConfig
        from ..texture.distill import TextureConfig

        texture = TextureConfig()
        if one.mode == "texture":
            steps = texture.steps + texture.steps_per_further_style * (len(voices) - 1)
        else:
            steps = DistillConfig().steps * len(voices)
    parameters = {
        "name": name,
        "voices": voices,
        "mode": one.mode,
        "teacher": one.teacher,
        "steps": steps,
        "seed": one.seed,
        "precision": one.precision,
        "licence": one.licence,
        "description": one.description,
    }
    return Task(name, "forge", parameters, inputs)


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """The player's folder somewhere else: states and caches of workers do not meet there."""
    before = os.environ.get(HOME_VARIABLE)
    os.environ[HOME_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[HOME_VARIABLE]
        else:
            os.environ[HOME_VARIABLE] = before
