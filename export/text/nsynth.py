"""NSynth in its published forms, `examples.json` beside `audio/NOTE.wav` or TFRecord: read, checked, split; one made.

The data set: Engel et al., "Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders" (2017), CC BY 4.0.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile

from ... import DuendeError
from ...presets.format import write_atomically
from ..sound_file import read_samples
from . import tfrecord
from .font_notes import chosen_presets, font_notes
from .sound_font import SoundFont
from .synthesis import drawn_instruments
from .vocabulary import FAMILIES, QUALITIES, SOURCES, prompt_of

Float32 = npt.NDArray[np.float32]
Split = Literal["train", "valid", "test"]

INDEX, AUDIO = "examples.json", "audio"
RATE = 16000
RATES = (1000, 192000)
RECORDS = ".tfrecord"
LONGEST_S = 10.0
MOST_BYTES = 512 << 20
"""The index of the full training set has 180 MB."""
LOWEST, HIGHEST = 40, 84
MOST_INSTRUMENTS, MOST_NOTES, MOST_VARIANTS = 5000, HIGHEST - LOWEST, 16
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class _Example(msgspec.Struct):
    """What is read of an example; NSynth's other fields say the same again."""

    pitch: int
    velocity: int
    instrument_str: str
    instrument_family_str: str
    instrument_source_str: str
    qualities_str: list[str]


@dataclass(frozen=True)
class Note:
    """One note of a data set: its name, where its sound lies, MIDI pitch and velocity, and its words."""

    name: str
    path: Path
    pitch: int
    velocity: int
    instrument: str
    source: str
    family: str
    qualities: tuple[str, ...]
    record: tuple[int, int] | None = None
    """Where in a TFRecord file its message lies, and the size of that; None: `path` is the sound itself."""

    rate: int = 0
    """Of a record's sound, in Hz."""

    @property
    def prompt(self) -> str:
        """Source, qualities, family: the prompt as published."""
        return prompt_of(self.source, self.qualities, self.family)

    @property
    def split(self) -> Split:
        """By instrument: 80 % train, 10 % valid, 10 % test, the same on every machine."""
        place = hashlib.sha256(self.instrument.encode()).digest()[0] / 256.0
        return "train" if place < 0.8 else "valid" if place < 0.9 else "test"

    def audio(self) -> tuple[Float32, int]:
        """Samples [n], mono, and rate in Hz. DuendeError where the sound is missing, silent or no sound."""
        if self.record is None:
            samples, rate = read_samples(self.path, LONGEST_S)
            mono = samples.mean(axis=1, dtype=np.float32)
        else:
            rate = self.rate
            mono = tfrecord.audio_of(self.path, *self.record)[: round(LONGEST_S * rate)]
        if not len(mono) or not np.isfinite(mono).all():
            raise DuendeError(f"{self.path}: no samples, or some that are no numbers")
        if not np.any(mono):
            raise DuendeError(f"{self.path}: silent")
        return mono, rate

    def as_file(self, folder: Path) -> "Note":
        """The same as a sound file: itself, or the sound of its record written into a folder."""
        if self.record is None:
            return self
        audio, rate = self.audio()
        file = io.BytesIO()
        soundfile.write(file, audio, rate, subtype="FLOAT", format="WAV")
        path = folder / f"{self.name}.wav"
        write_atomically(path, file.getvalue())
        return replace(self, path=path, record=None)


@dataclass(frozen=True)
class DataSet:
    """Notes in the order of their names. skipped: entries that could not be used, a line each."""

    folder: Path
    notes: list[Note]
    skipped: list[str] = field(default_factory=list)

    def part(self, split: Split) -> list[Note]:
        """Notes of the instruments of one split."""
        return [note for note in self.notes if note.split == split]


def read_nsynth(folder: Path) -> DataSet:
    """The data set in a folder, or in one .tfrecord file. Entries that do not fit are skipped and named.

    DuendeError where nothing is left.
    """
    if folder.suffix == RECORDS:
        return _read_records(folder, [folder])
    index = folder / INDEX
    files = sorted(folder.glob(f"*{RECORDS}")) if not index.exists() and folder.is_dir() else []
    if files:
        return _read_records(folder, files)
    try:
        if index.stat().st_size > MOST_BYTES:
            raise DuendeError(f"{index}: larger than {MOST_BYTES >> 20} MiB")
        raw = msgspec.json.decode(index.read_bytes(), type=dict[str, msgspec.Raw])
    except OSError as error:
        raise DuendeError(
            f"{index}: {error.strerror or error}; a folder of NSynth holds {INDEX} and {AUDIO}/, or {RECORDS} files"
        ) from error
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise DuendeError(f"{index}: not an index of NSynth ({error})") from error
    notes, skipped = [], []
    for name in sorted(raw):
        try:
            notes.append(_note(folder, name, msgspec.json.decode(raw[name], type=_Example)))
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, DuendeError) as error:
            skipped.append(f"{name[:100]!r}: {error}")
    if not notes:
        raise DuendeError(
            f"{index}: not one of {len(raw)} entries can be used" + (f": {skipped[0]}" if skipped else "")
        )
    return DataSet(folder, notes, skipped)


def _read_records(place: Path, files: Sequence[Path]) -> DataSet:
    notes: dict[str, Note] = {}
    skipped: list[str] = []
    for path in files:
        for record in tfrecord.records(path):
            if isinstance(record, str):
                skipped.append(record)
                continue
            name = _text(record.features.get("note_str"))[:100]
            try:
                values = {field: _whole(record.features.get(field)) for field in ("pitch", "velocity", "sample_rate")}
                if not RATES[0] <= values["sample_rate"] <= RATES[1]:
                    raise DuendeError(f"a rate of {values['sample_rate']} Hz is out of range: {RATES[0]} to {RATES[1]}")
                texts = (_text(record.features.get(f"instrument{what}_str")) for what in ("", "_family", "_source"))
                words = _qualities(record.features)
                instrument, family, source = texts
                example = _Example(values["pitch"], values["velocity"], instrument, family, source, words)
                note = replace(
                    _note(path.parent, name, example),
                    path=path,
                    record=(record.start, record.size),
                    rate=values["sample_rate"],
                )
                if name in notes:
                    raise DuendeError("there twice")
                notes[name] = note
            except DuendeError as error:
                skipped.append(f"{name!r}: {error}")
    if not notes:
        raise DuendeError(f"{place}: not one record can be used" + (f": {skipped[0]}" if skipped else ""))
    return DataSet(place, [notes[name] for name in sorted(notes)], skipped)


def _list(values: tfrecord.Values | None) -> list[bytes]:
    return [one for one in values or () if isinstance(one, bytes)]


def _text(values: tfrecord.Values | None) -> str:
    found = _list(values)
    return found[0].decode("utf-8", "replace") if found else ""


def _qualities(features: Mapping[str, tfrecord.Values]) -> list[str]:
    """By their names; by their places where those are not there."""
    if "qualities_str" in features:
        return [one.decode("utf-8", "replace") for one in _list(features["qualities_str"])]
    return [word for word, there in zip(QUALITIES, features.get("qualities", ()), strict=False) if there]


def _whole(values: tfrecord.Values | None) -> int:
    return values[0] if values and isinstance(values[0], int) else -1


def check_sounds(data: DataSet, report: Callable[[int, int], None] | None = None) -> DataSet:
    """The same with every sound opened: those that are missing, broken or silent are skipped and named."""
    skipped = list(data.skipped)
    tell = report or (lambda done, total: None)
    notes = [note for note, _, _ in heard(data.notes, skipped, lambda done, total, doing: tell(done, total))]
    return DataSet(data.folder, notes, skipped)


def heard(
    notes: Sequence[Note], skipped: list[str], report: Callable[[int, int, str], None]
) -> Iterator[tuple[Note, Float32, int]]:
    """Notes with their sounds and rates; those that cannot be heard are named in `skipped`, a line each."""
    for place, note in enumerate(notes):
        try:
            audio, rate = note.audio()
        except DuendeError as error:
            skipped.append(f"{note.name!r}: {error}")
            continue
        yield note, audio, rate
        report(place + 1, len(notes), "hearing the notes")


def summary(data: DataSet) -> list[tuple[str, str]]:
    """What a data set holds, as pairs of text."""

    def counted(words: Sequence[str], found: Counter[str]) -> str:
        return ", ".join(f"{word} {found[word]}" for word in words if found[word])

    rows = [("notes", str(len(data.notes))), ("instruments", str(len({note.instrument for note in data.notes})))]
    for split in ("train", "valid", "test"):
        part = [note for note in data.notes if note.split == split]
        rows.append((split, f"{len(part)} notes of {len({note.instrument for note in part})} instruments"))
    rows.append(("sources", counted(SOURCES, Counter(note.source for note in data.notes))))
    rows.append(("families", counted(FAMILIES, Counter(note.family for note in data.notes))))
    rows.append(("qualities", counted(QUALITIES, Counter(word for note in data.notes for word in note.qualities))))
    rows.append(("skipped", str(len(data.skipped))))
    return rows


def make_nsynth(
    folder: Path,
    instruments: int = 66,
    notes: int = 4,
    seed: int = 1,
    rate: int = RATE,
    report: Callable[[int, int], None] | None = None,
    *,
    font: Path | None = None,
    variants: int = 4,
) -> DataSet:
    """A small set in NSynth's form, of our own synthesis or of a sound font; the same files for the same numbers.

    instruments: of our own synthesis; beside a font they fill its gaps, and may be none. notes: of each instrument,
    spread over MIDI 40 to 84. rate: in Hz; NSynth's is 16000. font: a General MIDI .sf2, each preset of which becomes
    an instrument in `variants` kinds of `notes` notes (`font_notes`). The index is written last, so that a folder that
    has one is complete. DuendeError for numbers out of range, or a folder that holds another set.
    """
    fewest = 1 if font is None else 0
    if not fewest <= instruments <= MOST_INSTRUMENTS or not 1 <= notes <= MOST_NOTES:
        raise DuendeError(
            f"{instruments} instruments of {notes} notes: {fewest} to {MOST_INSTRUMENTS} instruments, "
            f"1 to {MOST_NOTES} notes"
        )
    if not 1 <= variants <= MOST_VARIANTS:
        raise DuendeError(f"{variants} kinds of every preset: 1 to {MOST_VARIANTS}")
    if not 8000 <= rate <= 48000:
        raise DuendeError(f"a rate of {rate} Hz is out of range: 8000 to 48000")
    if (folder / INDEX).exists():
        raise DuendeError(f"{folder} holds a data set already: choose another folder")
    tell = report or (lambda done, total: None)
    writer = _Writer(folder, rate)
    opened = None if font is None else SoundFont(font)
    presets = 0 if opened is None else len(chosen_presets(opened))
    if opened is not None:
        if not presets:
            raise DuendeError(f"{font}: none of its presets has a place in NSynth: take a General MIDI font")
        for one in font_notes(opened, instruments, variants, notes, seed, rate):
            writer.add(one.instrument, one.source, one.family, one.qualities, one.pitch, one.velocity, one.audio)
            tell(one.instrument, presets + instruments)
        writer.close()
        return read_nsynth(folder)
    rng = np.random.default_rng((seed, 1))
    for number, made in enumerate(drawn_instruments(instruments, seed, FAMILIES, SOURCES)):
        for place in range(notes):
            low, high = (round(LOWEST + (HIGHEST - LOWEST) * part / notes) for part in (place, place + 1))
            pitch = int(rng.integers(low, high))
            velocity = int(rng.choice((25, 50, 75, 100, 127)))
            audio = made.play(pitch, velocity, rate)
            writer.add(number, made.source, made.family, made.qualities, pitch, velocity, audio)
        tell(number + 1, instruments)
    writer.close()
    return read_nsynth(folder)


class _Writer:
    """Notes into a folder, one after the other."""

    def __init__(self, folder: Path, rate: int) -> None:
        self._folder, self._rate = folder, rate
        self._names: dict[int, str] = {}
        self._counts: Counter[str] = Counter()
        self._index: dict[str, dict[str, object]] = {}

    def add(
        self,
        instrument: int,
        source: str,
        family: str,
        qualities: tuple[str, ...],
        pitch: int,
        velocity: int,
        audio: Float32,
    ) -> None:
        if instrument not in self._names:
            kind = f"{family}_{source}"
            self._names[instrument] = f"{kind}_{self._counts[kind]:03d}"
            self._counts[kind] += 1
        name = self._names[instrument]
        text = f"{name}-{pitch:03d}-{velocity:03d}"
        file = io.BytesIO()
        soundfile.write(file, audio, self._rate, subtype="PCM_16", format="WAV")
        write_atomically(self._folder / AUDIO / f"{text}.wav", file.getvalue())
        self._index[text] = {
            "note": len(self._index),
            "note_str": text,
            "instrument": instrument,
            "instrument_str": name,
            "pitch": pitch,
            "velocity": velocity,
            "sample_rate": self._rate,
            "qualities": [int(word in qualities) for word in QUALITIES],
            "qualities_str": list(qualities),
            "instrument_family": FAMILIES.index(family),
            "instrument_family_str": family,
            "instrument_source": SOURCES.index(source),
            "instrument_source_str": source,
        }

    def close(self) -> None:
        write_atomically(self._folder / INDEX, json.dumps(self._index, indent=1).encode())


def _note(folder: Path, name: str, found: _Example) -> Note:
    if not _NAME.fullmatch(name):
        raise DuendeError("not the name of a note")
    if not 0 <= found.pitch <= 127 or not 0 <= found.velocity <= 127:
        raise DuendeError(f"pitch {found.pitch} or velocity {found.velocity} is out of range: 0 to 127")
    if found.instrument_source_str not in SOURCES:
        raise DuendeError(f"unknown source {found.instrument_source_str[:40]!r}")
    if found.instrument_family_str not in FAMILIES:
        raise DuendeError(f"unknown family {found.instrument_family_str[:40]!r}")
    strange = [word for word in found.qualities_str if word not in QUALITIES]
    if strange:
        raise DuendeError(f"unknown quality {strange[0][:40]!r}")
    return Note(
        name,
        folder / AUDIO / f"{name}.wav",
        found.pitch,
        found.velocity,
        found.instrument_str,
        found.instrument_source_str,
        found.instrument_family_str,
        tuple(found.qualities_str),
    )
