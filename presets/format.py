"""The preset: which processors stand in which slots, their values and snapshots; one TOML file."""

import hashlib
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .. import DuendeError

FORMAT = 2
SUFFIX = ".toml"
FORMAT_1_SUFFIX = ".json"
SNAPSHOTS = 8
MAX_SLOTS = 16
MAX_BYTES = 256 * 1024
"""A preset file may have; a model 64 MiB (`presets.pack`)."""
MAX_VALUES = 512
MAX_TAGS = 32
MAX_TEXT = 2000
TEMPO_BPM = (30.0, 300.0)
MODEL_ENDINGS = (".onnx",)
RESPONSE_ENDINGS = (".wav", ".flac", ".aif", ".aiff")
ENDINGS = {"style": MODEL_ENDINGS, "capture": MODEL_ENDINGS, "cabinet": RESPONSE_ENDINGS, "fx": ()}
"""What the file of a slot may end in, by kind."""
MODELS = ("style", "capture")
"""Kinds that play nothing but a file."""

PLAIN = re.compile(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,199}")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
HASH = re.compile(r"[0-9a-f]{64}")
MAX_DOTS = 64
"""In one line; Python's reader of TOML takes memory with the square of the names in a dotted key."""


class SlotPreset(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One slot. values: by control name, in the control's unit.

    kind:   "style" or "capture" (file: a model), "cabinet" (file: a response; or effect: a built-in one) or "fx"
            (effect).
    file:   name beside the preset, no path. sha256: of its bytes, in hexadecimal; empty where nobody says.
    effect: name of what plays without a file. mix: 0 to 1. branch: "a" or "b" of a split; empty: in series.
    """

    kind: str
    file: str = ""
    bypass: bool = False
    mix: float = 1.0
    values: dict[str, float] = {}
    sha256: str = ""
    effect: str = ""
    branch: str = ""


class Preset(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A whole sound. values: global parameters by name, as in the parameter table.

    snapshots: by number, 1 to 8: parameters by name, of slots, too ("slot/1/amount"). tempo: in bpm, 30 to 300.
    """

    format: int
    name: str
    slots: list[SlotPreset]
    values: dict[str, float] = {}
    tags: list[str] = []
    description: str = ""
    author: str = ""
    tempo: float | None = None
    snapshots: dict[int, dict[str, float]] = {}


class _Version(msgspec.Struct):
    format: int


class _Slot1(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    model: str
    bypass: bool = False
    mix: float = 1.0
    values: dict[str, float] = {}


class _Preset1(msgspec.Struct, forbid_unknown_fields=True):
    """Format 1, JSON: models only, without hashes."""

    format: int
    name: str
    slots: list[_Slot1]
    values: dict[str, float] = {}
    tags: list[str] = []
    description: str = ""


def read_preset(path: Path) -> Preset:
    """Read and check a preset file, TOML or, by its ending, JSON of format 1; DuendeError names file and key.

    What is returned is of format 2.
    """
    return decode_preset(read_bounded(path, "preset"), path.name)


def read_bounded(path: Path, what: str) -> bytes:
    """The bytes of a small file; DuendeError where it cannot be read or is larger than MAX_BYTES."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DuendeError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise DuendeError(f"{path.name}: a {what} may have {MAX_BYTES} bytes, this one has more")
    return data


def decode_preset(data: bytes, name: str) -> Preset:
    """A preset from a file's bytes; name: the file's, whose ending says the format, and for messages."""
    try:
        if name.endswith(FORMAT_1_SUFFIX):
            _check_version(msgspec.json.decode(data, type=_Version).format, 1, name)
            preset, key = _upgraded(msgspec.json.decode(data, type=_Preset1)), "model"
        else:
            if any(line.count(b".") > MAX_DOTS for line in data.splitlines()):
                raise DuendeError(f"{name}: not a preset: a line with more than {MAX_DOTS} dots")
            # The format first: another one may well have other keys.
            _check_version(msgspec.toml.decode(data, type=_Version).format, FORMAT, name)
            preset, key = msgspec.toml.decode(data, type=Preset), "file"
    # What the readers of TOML and JSON raise: of too many digits, of too many brackets.
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise DuendeError(f"{name}: not a preset: {' '.join(str(error).split())}") from error
    try:
        _check(preset, key)
    except DuendeError as error:
        raise DuendeError(f"{name}: {error}") from error
    return preset


def _check_version(found: int, known: int, name: str) -> None:
    if found != known:
        raise DuendeError(f"{name}: preset format {found}, this version of duende reads {FORMAT} as TOML and 1 as JSON")


def _upgraded(old: _Preset1) -> Preset:
    slots = [SlotPreset(slot.kind, slot.model, slot.bypass, slot.mix, slot.values) for slot in old.slots]
    return Preset(FORMAT, old.name, slots, old.values, old.tags, old.description)


def _check(preset: Preset, key: str) -> None:
    """What the types do not say; key: how the format calls the file of a slot."""
    for field, text in (("name", preset.name), ("description", preset.description), ("author", preset.author)):
        _check_text(field, text)
    if len(preset.tags) > MAX_TAGS:
        raise DuendeError(f"tags: {len(preset.tags)}, at most {MAX_TAGS} are allowed")
    for tag in preset.tags:
        _check_text("tags", tag)
    if len(preset.slots) > MAX_SLOTS:
        raise DuendeError(f"slots: {len(preset.slots)}, a chain has at most {MAX_SLOTS}")
    for number, slot in enumerate(preset.slots, start=1):
        _check_slot(slot, number, key)
    _check_values("values", preset.values)
    if preset.tempo is not None and not TEMPO_BPM[0] <= preset.tempo <= TEMPO_BPM[1]:
        raise DuendeError(f"tempo {preset.tempo:g} is out of range: {TEMPO_BPM[0]:g} to {TEMPO_BPM[1]:g} bpm")
    for place, values in preset.snapshots.items():
        if not 1 <= place <= SNAPSHOTS:
            raise DuendeError(f"snapshots: number {place} is out of range: 1 to {SNAPSHOTS}")
        _check_values(f"snapshots.{place}", values)


def _check_slot(slot: SlotPreset, number: int, key: str) -> None:
    where = f"slot {number}"
    if slot.kind not in ENDINGS:
        known = ", ".join(repr(kind) for kind in ENDINGS)
        raise DuendeError(f"{where} is of kind {slot.kind!r}, this version knows {known}")
    if slot.kind == "fx" and slot.file:
        raise DuendeError(f"{where}: file {slot.file!r}: an effect has none")
    if slot.kind in MODELS and slot.effect:
        raise DuendeError(f"{where}: effect {slot.effect!r}: a {slot.kind} has a file instead")
    if slot.file and slot.effect:
        raise DuendeError(f"{where}: file {slot.file!r} and effect {slot.effect!r}: only one of them can be")
    if slot.effect or slot.kind == "fx":
        if not PLAIN.fullmatch(slot.effect):
            raise DuendeError(f"{where}: effect {slot.effect!r}: the name of an effect is needed")
    else:
        try:
            check_file_name(slot.file, ENDINGS[slot.kind], key)
        except DuendeError as error:
            raise DuendeError(f"{where}: {error}") from error
    if slot.sha256 and not (slot.file and HASH.fullmatch(slot.sha256)):
        raise DuendeError(f"{where}: sha256 {slot.sha256!r}: 64 hexadecimal digits in lower case, beside a file")
    if slot.branch not in ("", "a", "b"):
        raise DuendeError(f"{where}: branch {slot.branch!r}: write a or b, or leave it out")
    if not 0.0 <= slot.mix <= 1.0:
        raise DuendeError(f"{where}: mix {slot.mix:g} is out of range: 0 to 1")
    _check_values(f"{where}: values", slot.values)


def _check_values(where: str, values: Mapping[str, float]) -> None:
    if len(values) > MAX_VALUES:
        raise DuendeError(f"{where}: {len(values)}, at most {MAX_VALUES} are allowed")
    for name, value in values.items():
        if not math.isfinite(value):
            raise DuendeError(f"{where}: {name!r} is {value}: a number is needed")


def _check_text(field: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        raise DuendeError(f"{field}: {len(text)} letters, at most {MAX_TEXT} are allowed")


def check_file_name(name: str, endings: tuple[str, ...] = MODEL_ENDINGS, key: str = "file") -> str:
    """The name itself; DuendeError unless it is a plain file name on every system, with one of these endings."""
    if not PLAIN.fullmatch(name) or not name.lower().endswith(endings):
        raise DuendeError(f"{key} {name!r} must be a plain name ending in {' or '.join(endings)}")
    return name


def check_name(name: str) -> str:
    """The name itself; DuendeError unless it can be a file name on every system."""
    if not NAME.fullmatch(name):
        raise DuendeError(
            f"preset name {name!r}: 1 to 63 lower-case letters, digits, '-' and '_', the first a letter or digit"
        )
    return name


def name_from(text: str) -> str:
    """A name as files of the library have them, made of any text; empty where nothing of it can be kept."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")[:63].rstrip("-_")


def hash_of(data: bytes) -> str:
    """SHA-256 of a file's bytes, as it stands in presets and packs."""
    return hashlib.sha256(data).hexdigest()


def encode_preset(preset: Preset) -> bytes:
    """The bytes of a TOML file of format 2."""
    plain = msgspec.to_builtins(msgspec.structs.replace(preset, format=FORMAT), str_keys=True)
    # TOML has no word for nothing: what is not set is left out.
    return msgspec.toml.encode({key: value for key, value in plain.items() if value is not None})


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file so that it is either the old or the new one, never half of it; DuendeError where it cannot be.

    private: only its owner may read it; else all may.
    """
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
        if not private:
            Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise DuendeError(f"cannot write {path}: {error.strerror or error}") from error
