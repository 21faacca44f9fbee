"""Where a made sound comes from, written into the sound file itself, and read from it again.

The comment of the file (wav: LIST INFO ICMT; aiff: ANNO; flac and ogg: COMMENT; mp3: ID3 COMM) holds one line of JSON;
title and software say the same in words to programs that know nothing of it. Every file that a transfer writes is
marked so.
"""

import datetime
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile

from .. import DuendeError, __version__
from ..presets.format import write_atomically

Float32 = npt.NDArray[np.float32]

FORMAT = 1
MADE = "synthetic: "
SYNTHETIC = f"{MADE}style transfer"
LONGEST = 1900
"""Bytes of the comment at most: libsndfile loses everything behind 2046 of a wav's."""

LONGEST_NAME = 80
LONGEST_LICENCE = 200
_HASHED_AT_ONCE = 1 << 20
_SHORT_HASH = 16
_LARGEST = 1 << 16


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sound that another was made from.

    role: content or style. name: of the file, without its folder. sha256: of the file's bytes, hex; in a file with many
    sources the first 16 digits. licence: what the user says of it. synthetic: how it was made itself, where its own
    file says that it was.
    """

    role: str
    name: str
    sha256: str
    licence: str = ""
    synthetic: str = ""


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file says of its origin.

    duende: version of this format. what: SYNTHETIC. by: program and version. system: the teacher and its form.
    created: day, ISO 8601.
    licence: of the file itself, as the user gives it. omitted: how many sources found no room.
    """

    duende: int
    what: str
    by: str
    system: str
    seed: int
    sources: tuple[Source, ...]
    created: str
    licence: str = ""
    omitted: int = 0

    @property
    def summary(self) -> str:
        """One line for people."""
        parts = ", ".join(f"{one.role} {one.name}" for one in self.sources)
        return f"{self.what}, by {self.by} ({self.system}) from {parts}"


def provenance(system: str, seed: int, sources: Sequence[Source], licence: str = "") -> Provenance:
    """Of a sound that is made now, by this version."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Provenance(FORMAT, SYNTHETIC, f"duende {__version__}", system, seed, tuple(sources), today, _line(licence))


def source_of(path: Path, role: str, licence: str = "") -> Source:
    """A file as a source: name, hash, and whether it says of itself that it was made. DuendeError if unreadable."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_HASHED_AT_ONCE):
                digest.update(part)
    except OSError as error:
        raise DuendeError(f"{path}: cannot be read ({error.strerror or error})") from error
    own = read_provenance(path)
    made = "" if own is None else f"{own.what}, by {own.by} ({own.system})"
    return Source(role, _line(path.name, LONGEST_NAME), digest.hexdigest(), _line(licence), _line(made, LONGEST_NAME))


def sound_bytes(audio: Float32, sample_rate: int, container: str, subtype: str, origin: Provenance) -> bytes:
    """A sound file with its origin in it.

    audio: [samples] or [samples, channels]; container, subtype: libsndfile's, as ("WAV", "PCM_24"). DuendeError where
    libsndfile cannot write that.
    """
    file = io.BytesIO()
    try:
        channels = 1 if audio.ndim == 1 else audio.shape[1]
        with soundfile.SoundFile(file, "w", sample_rate, channels, subtype, format=container) as sound:
            sound.title = f"{origin.what.removeprefix(MADE)} ({origin.system})"
            sound.software = origin.by
            sound.comment = comment(origin)
            if container != "AIFF":  # it has no place for a date
                sound.date = origin.created
            if origin.licence:
                # An aiff's copyright is ASCII; the comment holds every letter.
                sound.copyright = origin.licence.encode("ascii", "replace").decode("ascii")
            sound.write(audio)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise DuendeError(f"cannot write {container}: {str(error).strip().rstrip('.')}") from error
    return file.getvalue()


def write_sound(path: Path, audio: Float32, sample_rate: int, container: str, subtype: str, origin: Provenance) -> None:
    """`sound_bytes`, written whole or not at all."""
    write_atomically(path, sound_bytes(audio, sample_rate, container, subtype, origin))


def comment(origin: Provenance) -> str:
    """The origin as one line of JSON, at most LONGEST bytes: hashes are cut for it, then the last sources counted."""
    text = _encoded(origin)
    if len(text) > LONGEST:
        shorter = tuple(_shortened(one) for one in origin.sources)
        origin = replace_sources(origin, shorter, 0)
        text = _encoded(origin)
        kept = len(shorter)
        while len(text) > LONGEST and kept > 1:
            kept -= 1
            text = _encoded(replace_sources(origin, shorter[:kept], len(shorter) - kept))
    if len(text) > LONGEST:
        raise DuendeError(f"the origin takes {len(text)} bytes of a file's comment, more than {LONGEST}: shorten names")
    return text.decode("ascii")


def replace_sources(origin: Provenance, sources: tuple[Source, ...], omitted: int) -> Provenance:
    """The same origin with other sources."""
    return msgspec.structs.replace(origin, sources=sources, omitted=omitted)


def read_provenance(path: Path) -> Provenance | None:
    """What a sound file says of its origin; None where it says nothing that this program wrote.

    DuendeError for what is no sound file. What a file says is a claim: anybody can write or remove it.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            text = sound.comment
    except (soundfile.LibsndfileError, OSError) as error:
        raise DuendeError(f"{path}: not a readable sound file ({str(error).strip().rstrip('.')})") from error
    return parse_comment(text)


def parse_comment(text: str) -> Provenance | None:
    """The origin that a comment holds, or None for any other comment."""
    if len(text) > _LARGEST or not text.startswith("{"):
        return None
    try:
        found = msgspec.json.decode(text.encode("utf-8", "replace"), type=Provenance)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None
    return found if found.duende == FORMAT else None


def rows(origin: Provenance) -> list[tuple[str, str]]:
    """What there is to read, as pairs of text."""
    found = [("what", origin.what), ("made by", f"{origin.by}, {origin.system}, seed {origin.seed}")]
    found.append(("on", origin.created))
    for one in origin.sources:
        text = f"{one.name}, sha256 {one.sha256}"
        text += f", {one.licence}" if one.licence else ", licence not given"
        found.append((one.role, text + (f"; itself {one.synthetic}" if one.synthetic else "")))
    if origin.omitted:
        found.append(("and", f"{origin.omitted} more sources that found no room"))
    found.append(("licence", origin.licence or "not given"))
    return found


def _shortened(one: Source) -> Source:
    return msgspec.structs.replace(
        one,
        name=_line(one.name, LONGEST_NAME // 2),
        sha256=one.sha256[:_SHORT_HASH],
        licence=_line(one.licence, LONGEST_NAME // 2),
    )


def _encoded(origin: Provenance) -> bytes:
    """In ASCII: an mp3 gives back no other letters."""
    plain = msgspec.to_builtins(origin)
    return json.dumps(plain, separators=(",", ":")).encode("ascii")


def _line(text: str, longest: int = LONGEST_LICENCE) -> str:
    """Text as one line of so many characters at most, without what a terminal or a reader would act on."""
    plain = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"
