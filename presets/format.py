"""The preset: which processors stand in which slots, and their values; one JSON file."""

import os
import re
import tempfile
from pathlib import Path

import msgspec

from .. import DuendeError

FORMAT = 1
SUFFIX = ".json"
MODEL_NAME = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*\.onnx")


class SlotPreset(msgspec.Struct, forbid_unknown_fields=True):
    """One slot. model: file name beside the preset, no path. values: by control name, in the control's unit."""

    kind: str
    model: str
    bypass: bool = False
    mix: float = 1.0
    values: dict[str, float] = {}


class Preset(msgspec.Struct, forbid_unknown_fields=True):
    """A whole sound. values: global parameters by name, as in the parameter table."""

    format: int
    name: str
    slots: list[SlotPreset]
    values: dict[str, float] = {}
    tags: list[str] = []
    description: str = ""


class _Version(msgspec.Struct):
    format: int


def read_preset(path: Path) -> Preset:
    """Read and check a preset file; DuendeError names file and key."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DuendeError(f"cannot read the preset {path}: {error.strerror or error}") from error
    try:
        # The format first: another one may well have other keys.
        found = msgspec.json.decode(data, type=_Version).format
        if found != FORMAT:
            raise DuendeError(f"{path.name}: preset format {found}, this version of duende reads {FORMAT}")
        preset = msgspec.json.decode(data, type=Preset)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DuendeError(f"{path.name}: not a preset: {error}") from error
    for number, slot in enumerate(preset.slots, start=1):
        if slot.kind != "style":
            raise DuendeError(f"{path.name}: slot {number} is of kind {slot.kind!r}, this version knows 'style'")
        try:
            check_model_name(slot.model)
        except DuendeError as error:
            raise DuendeError(f"{path.name}: slot {number}: {error}") from error
        if not 0.0 <= slot.mix <= 1.0:
            raise DuendeError(f"{path.name}: slot {number}: mix {slot.mix:g} is out of range: 0 to 1")
    return preset


def check_model_name(name: str) -> str:
    """The name itself; DuendeError unless it is a plain file name on every system, with the ending of a model."""
    if not MODEL_NAME.fullmatch(name):
        raise DuendeError(f"model {name!r} must be a plain name ending in .onnx")
    return name


def encode_preset(preset: Preset) -> bytes:
    """The file's bytes, indented for people."""
    return msgspec.json.format(msgspec.json.encode(preset), indent=2) + b"\n"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either the old or the new one, never half of it; DuendeError where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise DuendeError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a preset may be read by all.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise DuendeError(f"cannot write {path}: {error.strerror or error}") from error
