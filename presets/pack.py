"""A preset as one file to hand on: a zip with its models and responses, and a manifest of hashes."""

import io
import stat
import zipfile
import zlib
from pathlib import Path

import msgspec

from .. import DuendeError
from .format import (
    ENDINGS,
    PLAIN,
    SUFFIX,
    Preset,
    check_file_name,
    decode_preset,
    encode_preset,
    hash_of,
    write_atomically,
)
from .library import Entry, Library, check_name

PACK_FORMAT = 1
PACK_SUFFIX = ".duende"
MANIFEST = "manifest.toml"
MAX_FILES = 40
MAX_FILE_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 256 * 2**20
MAX_DIRECTORY_BYTES = 64 * 2**10
"""Of the zip's own list of files."""

END = b"PK\x05\x06"
END_BYTES = 22
LARGE_END = b"PK\x06\x07"
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, OverflowError)


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """What a pack holds. preset: its name in the library; files: SHA-256 of every other file by name."""

    format: int
    preset: str
    files: dict[str, str]


class _Version(msgspec.Struct):
    format: int


def pack(entry: Entry, target: Path, *, force: bool = False) -> Path:
    """Write a preset with all that it needs to one file; DuendeError where its files are missing or are others."""
    check_name(entry.name)
    if target.suffix != PACK_SUFFIX:
        raise DuendeError(f"{target}: a packed preset ends in {PACK_SUFFIX}")
    if target.exists() and not force:
        raise DuendeError(f"there is a file {target} already: choose another name, or replace it with --force")
    preset = entry.read()
    files: dict[str, bytes] = {}
    slots = []
    for slot in preset.slots:
        if slot.file:
            files[slot.file] = entry.read_file(slot)
        slots.append(
            msgspec.structs.replace(slot, sha256=hash_of(files[slot.file]) if slot.file else "", values=slot.values)
        )
    files[f"{entry.name}{SUFFIX}"] = encode_preset(msgspec.structs.replace(preset, slots=slots))
    if entry.picture_path.is_file():
        files[entry.picture_path.name] = entry.picture_path.read_bytes()
    manifest = Manifest(PACK_FORMAT, entry.name, {name: hash_of(data) for name, data in files.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in ((MANIFEST, msgspec.toml.encode(manifest)), *files.items()):
            # The same preset always makes the same bytes.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    write_atomically(target, buffer.getvalue())
    return target


def install(library: Library, path: Path, *, force: bool = False) -> Entry:
    """Put a packed preset into the player's library, all of it or nothing; DuendeError for a file that is not right.

    force: replace a preset of the player's of the same name.
    """
    files = _unzip(path)
    try:
        manifest = _manifest(files.pop(MANIFEST, b""))
        _check_hashes(manifest, files)
        name = check_name(manifest.preset)
        if f"{name}{SUFFIX}" not in files:
            raise DuendeError(f"{name}{SUFFIX} is missing")
        preset = decode_preset(files.pop(f"{name}{SUFFIX}"), f"{name}{SUFFIX}")
        picture = files.pop(f"{name}.png", None)
        _check_slots(preset, files)
    except DuendeError as error:
        raise DuendeError(f"{path.name}: {error}") from error
    return library.save(name, preset, files, picture, force=force)


def _manifest(data: bytes) -> Manifest:
    if not data:
        raise DuendeError(f"not a packed preset: it has no {MANIFEST}")
    try:
        if len(data) > MAX_DIRECTORY_BYTES or any(line.count(b".") > 64 for line in data.splitlines()):
            raise DuendeError(f"{MANIFEST}: too large")
        found = msgspec.toml.decode(data, type=_Version).format
        if found != PACK_FORMAT:
            raise DuendeError(f"{MANIFEST}: format {found}, this version of duende reads {PACK_FORMAT}")
        return msgspec.toml.decode(data, type=Manifest)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise DuendeError(f"{MANIFEST}: {' '.join(str(error).split())}") from error


def _check_hashes(manifest: Manifest, files: dict[str, bytes]) -> None:
    for name in sorted(manifest.files.keys() ^ files.keys()):
        where = "is missing" if name in manifest.files else f"is not in {MANIFEST}"
        raise DuendeError(f"{name!r} {where}")
    for name, data in files.items():
        if (found := hash_of(data)) != manifest.files[name]:
            raise DuendeError(f"{name}: sha256 expected {manifest.files[name]!r}, found {found}; it was damaged")


def _check_slots(preset: Preset, files: dict[str, bytes]) -> None:
    used = set()
    for number, slot in enumerate(preset.slots, start=1):
        if not slot.file:
            continue
        check_file_name(slot.file, ENDINGS[slot.kind])
        if slot.file not in files:
            raise DuendeError(f"slot {number}: file {slot.file!r} is missing")
        if slot.sha256 != hash_of(files[slot.file]):
            raise DuendeError(f"slot {number}: sha256 of {slot.file!r} is not that of the file")
        used.add(slot.file)
    for name in sorted(files.keys() - used):
        raise DuendeError(f"{name!r} belongs to no slot")


def _unzip(path: Path) -> dict[str, bytes]:
    """All files of a zip by name, after everything that can be known without unpacking was checked."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_TOTAL_BYTES:
            raise DuendeError(f"{path.name}: not a packed preset: a file of at most {MAX_TOTAL_BYTES} bytes is needed")
        data = path.read_bytes()
    except OSError as error:
        raise DuendeError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        _check_end(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            return {entry.filename: _unpack(archive, entry) for entry in entries}
    except DuendeError as error:
        raise DuendeError(f"{path.name}: {error}") from error
    except DAMAGED as error:
        raise DuendeError(f"{path.name}: not a packed preset: {' '.join(str(error).split())}") from error


def _check_end(data: bytes) -> None:
    """A plain end, without comment and 64-bit sizes: then the list of files is as long as it says."""
    end = data[-END_BYTES:]
    if len(end) < END_BYTES or not end.startswith(END) or end[-2:] != b"\0\0":
        raise DuendeError("not a packed preset: it does not end as a zip file without comment does")
    if data[-END_BYTES - 20 :].startswith(LARGE_END):
        raise DuendeError("not a packed preset: a zip file with 64-bit sizes")
    listed = int.from_bytes(end[12:16], "little")
    if listed > MAX_DIRECTORY_BYTES:
        raise DuendeError(f"its list of files has {listed} bytes, at most {MAX_DIRECTORY_BYTES} are allowed")


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES:
        raise DuendeError(f"{len(entries)} files, at most {MAX_FILES} are allowed")
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        if name != entry.orig_filename or not PLAIN.fullmatch(name):
            raise DuendeError(f"{entry.orig_filename!r}: plain file names only, no folders and no paths")
        if name.casefold() in seen:
            raise DuendeError(f"{name!r} is in it twice")
        seen.add(name.casefold())
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise DuendeError(f"{name!r} is a link or another special file")
        if entry.flag_bits & 0x1:
            raise DuendeError(f"{name!r} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DuendeError(f"{name!r} is compressed by method {entry.compress_type}: only deflate is known")
        if entry.file_size > MAX_FILE_BYTES:
            raise DuendeError(f"{name!r} has {entry.file_size} bytes, at most {MAX_FILE_BYTES} are allowed")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise DuendeError(f"{total} bytes in all, at most {MAX_TOTAL_BYTES} are allowed")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry, never more than it declares."""
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise DuendeError(f"{entry.filename!r} has another size than it says")
    return data
