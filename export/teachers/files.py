"""A transfer between sound files: out comes a sound that says what it was made from, a picture, and a record.

Beside TARGET.wav stand TARGET.png (errors, correlation, spectrograms) and TARGET.json (all settings, hashes of the
sources, forecast and cost, history, measures). None is ever half written; the sound comes last.
"""

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from ... import DuendeError, __version__
from ...presets.format import write_atomically
from ..provenance import Provenance, Source, provenance, sound_bytes, source_of
from ..sounds import LONGEST_S, load_channels, load_sound
from .picture import load_matplotlib, transfer_picture
from .resume import error_names
from .teacher import Step, StyleSound
from .transfer import Choice, Options, Progress, Transferred, described, transfer

Float32 = npt.NDArray[np.float32]
Tell = Callable[[str], None]

FORMAT = 1
LONGEST_CONTENT_S = 1800.0
MEASURED_S = 30.0
MEASURING_HZ = 48000
FORMATS: dict[str, tuple[str, str]] = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".aif": ("AIFF", "PCM_24"),
    ".aiff": ("AIFF", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
_MP3_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class StyleFile:
    """A recording to take the style from, and its weight beside others."""

    path: Path
    weight: float = 1.0


@dataclass(frozen=True)
class TransferredFile:
    """What was written, and what the user should know about it. measures: rows by name, empty where not measured."""

    transferred: Transferred
    sound: Path
    picture: Path
    record: Path
    notices: list[str]
    measures: dict[str, dict[str, float | None]]


def transfer_file(
    content: Path,
    styles: Sequence[StyleFile],
    target: Path,
    choice: Choice,
    options: Options | None = None,
    *,
    rate: int | None = None,
    licence: str = "",
    measure: bool = True,
    report: Callable[[Progress], None] | None = None,
    note: Tell | None = None,
) -> TransferredFile:
    """`transfer.transfer` between sound files of any format, rate and number of channels that libsndfile reads.

    target: wav, flac, aiff, ogg or mp3, at the system's rate, or at `rate` (Hz). licence: of the result, for its
    metadata. report: told every step. note: told each notice at once, before the work begins what it will cost.
    Raises DuendeError, before the work begins where that is possible.
    """
    options = options or Options()
    container, subtype = checked_target(target, [content, *(style.path for style in styles)])
    written = _checked_rate(rate, choice.sample_rate, container)
    load_matplotlib()
    origin = origin_of(content, styles, choice, options.seed, licence)
    notices: list[str] = []

    def tell(text: str) -> None:
        notices.append(text)
        if note is not None:
            note(text)

    played, wanted = load_pair(content, styles, choice.sample_rate)
    done = transfer(played, wanted, choice, options, report, tell)
    audio = done.audio
    if written != choice.sample_rate:
        audio = np.asarray(soxr.resample(audio, choice.sample_rate, written), dtype=np.float32)
    else:
        tell(f"{target.name}: written at the {written} Hz of {choice.system.name}; --rate makes another")
    audio = _held(audio, target.name, tell)
    measured = measured_rows(content, styles, done, tell) if measure else {}
    mono = done.audio if done.audio.ndim == 1 else done.audio.mean(axis=1)
    names = " + ".join(style.path.name for style in styles)
    sounds = [(content.name, done.content), (names, done.styles[0].audio), (f"{target.name}: {choice.title}", mono)]
    pictured = transfer_picture(sounds, done.history, choice.sample_rate)
    record = record_of(origin, choice, options, done, written, measured, notices)
    sound = sound_bytes(audio, written, container, subtype, origin)
    picture, beside = target.with_suffix(".png"), target.with_suffix(".json")
    write_atomically(picture, pictured)
    write_atomically(beside, (json.dumps(record, indent=1) + "\n").encode("utf-8"))
    write_atomically(target, sound)
    return TransferredFile(done, target, picture, beside, notices, measured)


def load_pair(content: Path, styles: Sequence[StyleFile], sample_rate: int) -> tuple[Float32, list[StyleSound]]:
    """Content [samples, channels] and styles at a rate. DuendeError for files that cannot be used."""
    played = load_channels(content, sample_rate, use="a transfer", longest_s=LONGEST_CONTENT_S)
    wanted = [
        StyleSound(load_sound(one.path, sample_rate, longest_s=LONGEST_S), one.weight, one.path.name) for one in styles
    ]
    return played, wanted


def checked_target(target: Path, sources: Sequence[Path]) -> tuple[str, str]:
    """libsndfile's format and subtype for a path that can be written. DuendeError where it cannot, or is a source."""
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise DuendeError(f"{target}: cannot write {suffix or 'a file without an ending'}: use {', '.join(FORMATS)}")
    check_place(target, sources)
    return FORMATS[suffix]


def check_place(target: Path, sources: Sequence[Path]) -> None:
    """DuendeError for a path where no file can be written, and for one of the sources."""
    if target.is_dir():
        raise DuendeError(f"{target} is a folder: name a file")
    if not target.parent.is_dir():
        raise DuendeError(f"{target.parent}: no such folder to write to")
    for source in sources:
        if target.exists() and source.exists() and target.samefile(source):
            raise DuendeError(f"{target} is what is to be read: name another file to write")


def origin_of(content: Path, styles: Sequence[StyleFile], choice: Choice, seed: int, licence: str = "") -> Provenance:
    """What a result is made from, for the metadata of its file."""
    for path in (content, *(style.path for style in styles)):
        if not path.is_file():
            raise DuendeError(f"{path}: no such file")
    sources: list[Source] = [source_of(content, "content"), *(source_of(style.path, "style") for style in styles)]
    return provenance(choice.title, seed, sources, licence)


def measured_rows(
    content: Path, styles: Sequence[StyleFile], done: Transferred, note: Tell
) -> dict[str, dict[str, float | None]]:
    """Measures of content, matched EQ and result against the weightiest style, at 48 kHz, of the first 30 s.

    Empty, with a note, where the sounds are too short or torch is missing.
    """
    heaviest = max(styles, key=lambda style: style.weight)
    mono = done.audio if done.audio.ndim == 1 else done.audio.mean(axis=1)
    longest = round(MEASURED_S * MEASURING_HZ)
    made = soxr.resample(mono, done.sample_rate, MEASURING_HZ)[:longest]
    guitar = load_sound(content, MEASURING_HZ, use="a transfer", longest_s=LONGEST_CONTENT_S)[: len(made)]
    clip = load_sound(heaviest.path, MEASURING_HZ)[:longest]
    return measured_pair(guitar, clip, {"result": fitted(made, len(guitar))}, note)


def measured_pair(
    guitar: Float32, clip: Float32, outputs: Mapping[str, Float32], note: Tell
) -> dict[str, dict[str, float | None]]:
    """`measures.table` and `descriptors` of outputs by name, all mono [samples] at 48 kHz, as plain values."""
    try:
        measures = importlib.import_module("duende.export.measures")
        descriptors = importlib.import_module("duende.export.descriptors")
    except ImportError as error:
        note(f"not measured: that needs {error.name}: pip install 'duende[train]'")
        return {}
    try:
        found = {name: asdict(row) for name, row in measures.table(guitar, outputs, clip, MEASURING_HZ).items()}
        for name, output in outputs.items():
            beside = descriptors.describe(guitar, clip, output, MEASURING_HZ)
            found[name] |= beside["result"]
            found[measures.UNTOUCHED] |= beside["content"]
            found["style clip"] = beside["style"]
    except (DuendeError, ValueError) as error:
        note(f"not measured: {error}")
        return {}
    return {name: {key: _plain(value) for key, value in row.items()} for name, row in found.items()}


def fitted(audio: Float32, length: int) -> Float32:
    """Cut, or filled with silence."""
    return np.asarray(np.pad(audio, (0, max(0, length - len(audio))))[:length], dtype=np.float32)


def record_of(
    origin: Provenance,
    choice: Choice,
    options: Options,
    done: Transferred,
    rate: int,
    measured: Mapping[str, Mapping[str, float | None]],
    notices: Sequence[str],
) -> dict[str, Any]:
    """Everything that decides a result and everything measured on it, as plain values."""
    surrounding = asdict(options)
    for name in ("checkpoint", "resume"):
        surrounding.pop(name)
    return {
        "format": FORMAT,
        "program": f"duende {__version__}",
        **described(choice),
        "options": surrounding,
        "sources": [{"role": one.role, "name": one.name, "sha256": one.sha256} for one in origin.sources],
        "weights": [round(style.weight, 6) for style in done.styles],
        "sample_rate": rate,
        "seconds": round(len(done.audio) / done.sample_rate, 3),
        "parts": done.parts,
        "forecast": {"seconds": round(done.forecast.seconds, 1), "memory_bytes": int(done.forecast.memory)},
        "took": {"seconds": round(done.seconds, 1), "memory_bytes": int(done.memory)},
        "history": history_columns(done.history),
        "details": json.loads(json.dumps(done.details, default=str)),
        "measures": measured,
        "notices": list(notices),
    }


def history_columns(history: Sequence[Step]) -> dict[str, Any]:
    """A history by columns: iteration, seconds, correlation, and each error."""
    names = error_names(history)
    return {
        "iteration": [step.iteration for step in history],
        "seconds": [round(step.seconds, 2) for step in history],
        "correlation": [_plain(step.correlation) for step in history],
        "errors": {name: [_plain(step.errors.get(name, math.nan)) for step in history] for name in names},
    }


def _plain(value: float | None) -> float | None:
    """A number that JSON knows."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _held(audio: Float32, name: str, tell: Tell) -> Float32:
    """Within full scale."""
    peak = float(np.abs(audio).max(initial=0.0))
    if peak <= 1.0:
        return audio
    tell(f"{name}: made {20.0 * np.log10(peak / 0.99):.1f} dB quieter, or it would clip")
    return np.asarray(audio * np.float32(0.99 / peak), dtype=np.float32)


def _checked_rate(rate: int | None, own: int, container: str) -> int:
    wanted = own if rate is None else rate
    if not 8000 <= wanted <= 192_000:
        raise DuendeError(f"rate {wanted} is out of range: 8000 to 192000 Hz")
    if container == "MP3" and wanted not in _MP3_HZ:
        raise DuendeError(f"mp3 knows no {wanted} Hz: give --rate, one of {', '.join(map(str, _MP3_HZ))}")
    return wanted
