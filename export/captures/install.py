"""Captures of others into the library: read, converted, checked, and only then stored under their names."""

import functools
import os
import tempfile
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ... import DuendeError
from ...engine.graph_check import parse, read_bytes
from ...engine.spec import METADATA_KEY
from ...engine.waveform_model import open_waveform
from ...presets.captures import ENDING, Captures, free_name
from .described import UNKNOWN, Described, decibels, describe, plain
from .graph import convert
from .network import Capture
from .read import CONFIG, MAX_BYTES, WEIGHTS, read_capture

NAMED = (".nam",)
MAYBE = (".json", ".aidax", ".aidadspmodel")
MARKS = (b'"architecture"', b'"model_data"', b'"in_shape"', b'"layers"', b".weight")
"""One of these stands in every capture; a .json file in a folder may be anything."""
MOST = 10_000
DEEPEST = 32
LONGEST_LICENCE = 200


@dataclass(frozen=True)
class Imported:
    """A capture that is in the library now. known: it was there before, from the same bytes, and was left alone."""

    source: Path
    capture: Described
    known: bool = False

    def line(self) -> str:
        """What was found, in one line."""
        one, spec = self.capture, self.capture.spec
        said = [one.network, f"{spec.sample_rate / 1000:g} kHz"]
        loudness = decibels(spec.loudness_db, spec.loudness_measured)
        said.append(f"loudness {loudness or UNKNOWN}")
        said.append(f"gain {UNKNOWN if spec.gain is None else f'{spec.gain:.2f}'}")
        said += [text for text in (one.gear, one.tone) if text]
        if spec.knobs:
            said.append(f"knobs {' '.join(plain(knob.name) for knob in spec.knobs)}")
        said.append(f"licence {one.licence}")
        notes = [*(["it was there already"] if self.known else []), *one.notes]
        return f"{one.name}: {', '.join(said)}" + (f" ({'; '.join(notes)})" if notes else "")


@dataclass(frozen=True)
class Failed:
    """A file that was not imported, and why, in one line."""

    source: Path
    text: str

    def line(self) -> str:
        """The reason, which names the file."""
        return f"failed: {self.text}"


def import_capture(
    source: Path,
    captures: Captures,
    *,
    name: str | None = None,
    licence: str | None = None,
    force: bool = False,
    taken: Container[str] = (),
) -> Imported:
    """Bring one capture, a file or an old NAM directory, into the library; all of it or nothing.

    A model file of duende's own (.onnx), from another library, is checked and copied.

    name:    its name there; without one, the file's in allowed letters, with a number where that is among `taken`.
    licence: what it may be used under, where its file does not say so, or says otherwise.
    force:   put it into the place of another capture of that name.
    DuendeError, one line, for what `read_capture` and `convert` refuse, and for a name that is taken. What is in the
    library from the same bytes stays as it is.
    """
    if licence is not None:
        licence = _checked_licence(licence)
    make: Callable[[], bytes]
    if source.suffix.lower() == ENDING and source.is_file():
        digest, make = _own(source, licence)
    else:
        capture = read_capture(source)
        if licence is not None:
            capture = replace(capture, licence=licence)
        digest, make = capture.source.sha256, functools.partial(_converted, capture)
    if name is None:
        name = free_name(captures.name_for(source.name if source.is_dir() else source.stem), taken)
    path = captures.path_of(name)
    if path.is_file() and not force:
        known = _known(name, path, digest, licence)
        if known is not None:
            return Imported(source, known, known=True)
        raise DuendeError(
            f"{source.name}: there is a capture {name!r} already: choose another name (--name), or replace it with "
            f"--force"
        )
    return Imported(source, describe(name, captures.add(name, make(), force=force)))


def import_folder(
    folder: Path,
    captures: Captures,
    *,
    licence: str | None = None,
    force: bool = False,
    tell: Callable[[Imported | Failed, float], None] | None = None,
) -> list[Imported | Failed]:
    """Bring every capture below a folder into the library; what fails is told and leaves nothing behind.

    tell: is given each outcome as it comes, and the share done. DuendeError where there is no capture, or too many.
    """
    if licence is not None:
        _checked_licence(licence)
    sources = list(found_below(folder))
    if not sources:
        raise DuendeError(f"{folder.name}: no captures in this folder: files ending in {', '.join(NAMED + MAYBE)}")
    outcomes: list[Imported | Failed] = []
    taken: set[str] = set()
    for done, source in enumerate(sources, start=1):
        outcome: Imported | Failed
        try:
            outcome = import_capture(source, captures, licence=licence, force=force, taken=taken)
            taken.add(outcome.capture.name)
        except DuendeError as error:
            outcome = Failed(source, str(error))
        outcomes.append(outcome)
        if tell is not None:
            tell(outcome, done / len(sources))
    return outcomes


def is_capture_folder(folder: Path) -> bool:
    """Whether a folder is one capture in NAM's old form, rather than one with captures in it."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def found_below(folder: Path) -> Iterator[Path]:
    """The captures in a folder and the folders in it, sorted; links to folders are not followed.

    A .nam file always is one; of others, those that hold what all captures hold. DuendeError where there are more
    than MOST, or folders DEEPEST deep.
    """
    found = 0
    depth = len(folder.parts)
    for place, folders, files in os.walk(folder, onerror=_unreadable):
        here = Path(place)
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if len(here.parts) - depth > DEEPEST:
            raise DuendeError(f"{folder.name}: folders nested more than {DEEPEST} deep: import parts of it")
        whole = is_capture_folder(here)
        candidates = [here] if whole else []
        candidates += [here / one for one in sorted(files) if not (one.startswith(".") or (whole and one == CONFIG))]
        for path in candidates:
            if path == here or _looks_like_one(path):
                found += 1
                if found > MOST:
                    raise DuendeError(f"{folder.name}: more than {MOST} captures: import parts of it")
                yield path


def _converted(capture: Capture) -> bytes:
    """The model file of a capture, opened as the engine does, golden pair included, before anybody can play it."""
    data = convert(capture)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted.onnx"
        path.write_bytes(data)
        try:
            open_waveform(path)
        except DuendeError as error:
            raise DuendeError(f"{capture.source.file}: converted, it does not play: {error}") from error
    return data


def _own(source: Path, licence: str | None) -> tuple[str, Callable[[], bytes]]:
    """Hash of what a model file of duende's own was made of, and the file, checked, with another licence if given."""
    spec = open_waveform(source).spec

    def make() -> bytes:
        data = read_bytes(source)
        if licence is None:
            return data
        graph, _ = parse(data, source.name)
        provenance = msgspec.structs.replace(spec.provenance, licence=licence)
        for entry in graph.metadata_props:
            if entry.key == METADATA_KEY:
                entry.value = msgspec.structs.replace(spec, provenance=provenance).encode()
        return bytes(graph.SerializeToString())

    return spec.provenance.sha256, make


def _known(name: str, path: Path, digest: str, licence: str | None) -> Described | None:
    """What stands in the library under a name, if it was made of the very same file, of that hash."""
    try:
        there = describe(name, path)
    except DuendeError:
        return None
    origin = there.spec.provenance
    same = origin.sha256 == digest and (licence is None or origin.licence == licence)
    return there if same else None


def _checked_licence(text: str) -> str:
    shown = plain(text)
    if not 1 <= len(shown) <= LONGEST_LICENCE:
        raise DuendeError(f"--licence: {len(shown)} letters: 1 to {LONGEST_LICENCE}, as CC-BY-4.0")
    return shown


def _looks_like_one(path: Path) -> bool:
    ending = path.suffix.lower()
    if ending in NAMED:
        return True
    if ending not in MAYBE or not path.is_file():
        return False
    if ending != ".json":
        return True
    try:
        # What is too large is said when it is read.
        if path.stat().st_size > MAX_BYTES:
            return True
        data = path.read_bytes()
    except OSError:
        return True
    return any(mark in data for mark in MARKS)


def _unreadable(error: OSError) -> None:
    raise DuendeError(f"cannot read the folder {Path(error.filename).name}: {error.strerror or error}") from error
