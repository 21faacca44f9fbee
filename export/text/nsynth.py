"""NSynth in its published form, `examples.json` beside `audio/NOTE.wav`: read, checked, split, and a small one made.

The data set: Engel et al., "Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders" (2017), CC BY 4.0.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile

from ... import DuendeError
from ...presets.format import write_atomically
from ..sound_file import read_samples
from .synthesis import drawn_instruments
from .vocabulary import FAMILIES, QUALITIES, SOURCES, prompt_of

Float32 = npt.NDArray[np.float32]
Split = Literal["train", "valid", "test"]

INDEX, AUDIO = "examples.json", "audio"
RATE = 16000
LONGEST_S = 10.0
MOST_BYTES = 512 << 20
"""The index of the full training set has 180 MB."""
LOWEST, HIGHEST = 40, 84
MOST_INSTRUMENTS, MOST_NOTES = 5000, HIGHEST - LOWEST
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
        samples, rate = read_samples(self.path, LONGEST_S)
        mono = samples.mean(axis=1, dtype=np.float32)
        if not len(mono) or not np.isfinite(mono).all():
            raise DuendeError(f"{self.path}: no samples, or some that are no numbers")
        if not np.any(mono):
            raise DuendeError(f"{self.path}: silent")
        return mono, rate


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
    """The data set in a folder. Entries that do not fit are skipped and named; DuendeError where nothing is left."""
    index = folder / INDEX
    try:
        if index.stat().st_size > MOST_BYTES:
            raise DuendeError(f"{index}: larger than {MOST_BYTES >> 20} MiB")
        raw = msgspec.json.decode(index.read_bytes(), type=dict[str, msgspec.Raw])
    except OSError as error:
        raise DuendeError(
            f"{index}: {error.strerror or error}; a folder of NSynth holds {INDEX} and {AUDIO}/"
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


def check_sounds(data: DataSet, report: Callable[[int, int], None] | None = None) -> DataSet:
    """The same with every sound opened: those that are missing, broken or silent are skipped and named."""
    notes, skipped = [], list(data.skipped)
    for place, note in enumerate(data.notes):
        try:
            note.audio()
            notes.append(note)
        except DuendeError as error:
            skipped.append(f"{note.name!r}: {error}")
        if report is not None:
            report(place + 1, len(data.notes))
    return DataSet(data.folder, notes, skipped)


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
) -> DataSet:
    """A small set of our own synthesis in NSynth's form; the same files for the same numbers.

    notes: of each instrument, spread over MIDI 40 to 84. rate: in Hz; NSynth's is 16000. The index is written last, so
    that a folder that has one is complete. DuendeError for numbers out of range, or a folder that holds another set.
    """
    if not 1 <= instruments <= MOST_INSTRUMENTS or not 1 <= notes <= MOST_NOTES:
        raise DuendeError(
            f"{instruments} instruments of {notes} notes: 1 to {MOST_INSTRUMENTS} instruments, 1 to {MOST_NOTES} notes"
        )
    if not 8000 <= rate <= 48000:
        raise DuendeError(f"a rate of {rate} Hz is out of range: 8000 to 48000")
    if (folder / INDEX).exists():
        raise DuendeError(f"{folder} holds a data set already: choose another folder")
    index: dict[str, dict[str, object]] = {}
    rng = np.random.default_rng((seed, 1))
    counts: Counter[str] = Counter()
    for number, one in enumerate(drawn_instruments(instruments, seed, FAMILIES, SOURCES)):
        kind = f"{one.family}_{one.source}"
        name = f"{kind}_{counts[kind]:03d}"
        counts[kind] += 1
        for place in range(notes):
            low, high = (round(LOWEST + (HIGHEST - LOWEST) * part / notes) for part in (place, place + 1))
            pitch = int(rng.integers(low, high))
            velocity = int(rng.choice((25, 50, 75, 100, 127)))
            text = f"{name}-{pitch:03d}-{velocity:03d}"
            file = io.BytesIO()
            soundfile.write(file, one.play(pitch, velocity, rate), rate, subtype="PCM_16", format="WAV")
            write_atomically(folder / AUDIO / f"{text}.wav", file.getvalue())
            index[text] = {
                "note": number * notes + place,
                "note_str": text,
                "instrument": number,
                "instrument_str": name,
                "pitch": pitch,
                "velocity": velocity,
                "sample_rate": rate,
                "qualities": [int(word in one.qualities) for word in QUALITIES],
                "qualities_str": list(one.qualities),
                "instrument_family": FAMILIES.index(one.family),
                "instrument_family_str": one.family,
                "instrument_source": SOURCES.index(one.source),
                "instrument_source_str": one.source,
            }
        if report is not None:
            report(number + 1, instruments)
    write_atomically(folder / INDEX, json.dumps(index, indent=1).encode())
    return read_nsynth(folder)


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
