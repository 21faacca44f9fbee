"""A SoundFont (.sf2): its presets and samples read within bounds, and one note of a preset played.

After the SoundFont technical specification 2.04. Played are key and velocity zones, tuning, loops, the volume envelope,
attenuation and the low-pass filter, whose cutoff follows the velocity. Modulators, LFOs, the modulation envelope and
panning are passed over: a note is mono.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal
import soxr

from ... import DuendeError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Records = npt.NDArray[np.void]

MOST_BYTES = 2 << 30
MOST_RECORD_BYTES = 64 << 20
MOST_CHUNKS = 64
MOST_VOICES = 16
MOST_ZONES = 4096
FULL_DB = 100.0
"""What the volume envelope's decay and release times are counted over."""

_FIELDS: dict[str, Any] = {
    "phdr": [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "V12")],
    "pbag": [("gen", "<u2"), ("mod", "<u2")],
    "pgen": [("what", "<u2"), ("amount", "<i2")],
    "inst": [("name", "S20"), ("bag", "<u2")],
    "ibag": [("gen", "<u2"), ("mod", "<u2")],
    "igen": [("what", "<u2"), ("amount", "<i2")],
    "shdr": [
        *[("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop", "<u4"), ("loop_end", "<u4"), ("rate", "<u4")],
        *[("pitch", "u1"), ("correction", "i1"), ("link", "<u2"), ("kind", "<u2")],
    ],
}
_START, _END, _LOOP, _LOOP_END = (0, 4), (1, 12), (2, 45), (3, 50)
"""Fine and coarse (32768 samples) shifts of a sample's ends."""

_CUTOFF, _RESONANCE = 8, 9
_DELAY, _ATTACK, _HOLD, _DECAY, _SUSTAIN, _RELEASE, _KEY_HOLD, _KEY_DECAY = range(33, 41)
_INSTRUMENT, _KEYS, _VELOCITIES, _ATTENUATION = 41, 43, 44, 48
_COARSE, _FINE, _SAMPLE, _MODES, _SCALE, _ROOT = 51, 52, 53, 54, 56, 58
_AT_REST: dict[int, int] = {_CUTOFF: 13500, _SCALE: 100, _ROOT: -1}
_AT_REST |= dict.fromkeys((_DELAY, _ATTACK, _HOLD, _DECAY, _RELEASE), -12000)
_NOT_ADDED = {_INSTRUMENT, _SAMPLE, _KEYS, _VELOCITIES, _MODES, _ROOT, *range(5), 12, 45, 50}
_ROM = 0x8000
_LOWEST_CENTS, _HIGHEST_CENTS = -16000, 8000


@dataclass(frozen=True)
class Preset:
    """One preset by its name, bank and program; place: its number in the file."""

    name: str
    bank: int
    program: int
    place: int


@dataclass(frozen=True)
class _Voice:
    sample: int
    values: Mapping[int, int]

    def value(self, what: int) -> int:
        return self.values.get(what, _AT_REST.get(what, 0))

    def seconds(self, what: int, key: int = 60, by_key: int | None = None) -> float:
        cents = self.value(what) + (0 if by_key is None else (60 - key) * self.value(by_key))
        return float(2.0 ** (min(max(cents, _LOWEST_CENTS), _HIGHEST_CENTS) / 1200.0))

    def shift(self, what: tuple[int, int]) -> int:
        fine, coarse = what
        return self.value(fine) + 32768 * self.value(coarse)


class SoundFont:
    """An open file. DuendeError for what is no SoundFont, and where its tables contradict themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size > MOST_BYTES:
                raise DuendeError(f"{path}: larger than {MOST_BYTES >> 30} GiB")
            with path.open("rb") as file:
                chunks = dict(_chunks(file, path))
                tables = {name: _table(file, path, name, chunks) for name in _FIELDS}
        except OSError as error:
            raise DuendeError(f"{path}: {error.strerror or error}") from error
        self._tables = tables
        if "smpl" not in chunks:
            raise DuendeError(f"{path}: a SoundFont without samples")
        start, size = chunks["smpl"]
        if size < 2:
            raise DuendeError(f"{path}: a SoundFont without samples")
        self._samples = np.memmap(path, "<i2", "r", start, (size // 2,))

    @cached_property
    def presets(self) -> list[Preset]:
        """In the order of bank and program; the last record, which ends the list, left out."""
        rows = self._tables["phdr"][:-1]
        found = [
            Preset(_text(row["name"]), int(row["bank"]), int(row["program"]), place) for place, row in enumerate(rows)
        ]
        return sorted(found, key=lambda one: (one.bank, one.program, one.place))

    def samples_of(self, preset: Preset) -> frozenset[int]:
        """Numbers of the samples that a preset is made of."""
        return frozenset(voice.sample for voice in self._voices(preset.place, None, None))

    def reach(self, preset: Preset, key: int, velocity: int) -> float:
        """Semitones from the nearest of the samples that a key plays to the key; infinite where none sounds."""
        away = [abs(key - self._root(voice)) for voice in self._voices(preset.place, key, velocity)]
        return float(min(away)) if away else np.inf

    def play(
        self,
        preset: Preset,
        key: int,
        velocity: int,
        sample_rate: int,
        held_s: float,
        length_s: float,
        release_s: float | None = None,
    ) -> Float32:
        """A note [samples], mono, let go after `held_s`: MIDI key and velocity; silence where no zone is for them.

        The level is the file's own. release_s: time in which it falls by 100 dB, else what the zones say.
        """
        samples = round(length_s * sample_rate)
        audio = np.zeros(samples)
        for number, voice in enumerate(self._voices(preset.place, key, velocity)):
            if number >= MOST_VOICES:
                break
            audio += self._play(voice, key, velocity, sample_rate, held_s, samples, release_s)
        return audio.astype(np.float32)

    def _play(
        self, voice: _Voice, key: int, velocity: int, rate: int, held_s: float, samples: int, release_s: float | None
    ) -> Float64:
        head = self._tables["shdr"][voice.sample]
        cents = voice.value(_SCALE) * (key - self._root(voice)) + 100 * voice.value(_COARSE) + voice.value(_FINE)
        own_rate = float(head["rate"]) * 2.0 ** ((cents + int(head["correction"])) / 1200.0)
        if not 0.01 < own_rate / rate < 100.0:
            raise DuendeError(f"{self.path}: sample {_text(head['name'])!r} is tuned out of range at key {key}")
        wave = self._wave(voice, int(samples * own_rate / rate) + 64)
        heard = soxr.resample(wave, own_rate, rate).astype(np.float64)[:samples]
        audio = np.pad(heard, (0, samples - len(heard)))
        cutoff = 8.176 * 2.0 ** ((voice.value(_CUTOFF) - 2400.0 * (1.0 - velocity / 127.0)) / 1200.0)
        if 20.0 < cutoff < 0.45 * rate:
            audio = _low_pass(audio, cutoff, 0.1 * max(voice.value(_RESONANCE), 0), rate)
        gain = 10.0 ** (-0.4 * 0.1 * max(voice.value(_ATTENUATION), 0) / 20.0)
        shape = _envelope(voice, key, rate, samples, held_s, release_s)
        return np.asarray(gain * audio * shape, dtype=np.float64)

    def _wave(self, voice: _Voice, count: int) -> Float32:
        """So many samples of a zone, its loop gone round as often as it takes; the release is looped, too."""
        head = self._tables["shdr"][voice.sample]
        start = int(head["start"]) + voice.shift(_START)
        end = min(int(head["end"]) + voice.shift(_END), len(self._samples))
        loop, loop_end = int(head["loop"]) + voice.shift(_LOOP), int(head["loop_end"]) + voice.shift(_LOOP_END)
        if int(head["kind"]) & _ROM or not 0 <= start < end or not head["rate"]:
            return np.zeros(count, dtype=np.float32)
        places = start + np.arange(count)
        if voice.value(_MODES) in (1, 3) and start <= loop and loop + 8 <= loop_end <= end:
            places = np.where(places < loop_end, places, loop + (places - loop) % (loop_end - loop))
        else:
            places = places[: end - start]
        return np.asarray(self._samples[places], dtype=np.float32) / np.float32(32768.0)

    def _root(self, voice: _Voice) -> int:
        own, given = int(self._tables["shdr"][voice.sample]["pitch"]), voice.value(_ROOT)
        return given if 0 <= given <= 127 else own if own <= 127 else 60

    def _voices(self, place: int, key: int | None, velocity: int | None) -> list[_Voice]:
        """What sounds for a key and a velocity; every zone where they are None."""
        found: list[_Voice] = []
        for outer in self._zones("phdr", "pbag", "pgen", place, _INSTRUMENT):
            if not _meant(outer, key, velocity):
                continue
            for inner in self._zones("inst", "ibag", "igen", outer[_INSTRUMENT] & 0xFFFF, _SAMPLE):
                sample = inner[_SAMPLE] & 0xFFFF
                if not _meant(inner, key, velocity):
                    continue
                if len(found) >= MOST_ZONES:
                    raise DuendeError(f"{self.path}: a preset of more than {MOST_ZONES} zones")
                if sample >= len(self._tables["shdr"]) - 1:
                    raise DuendeError(f"{self.path}: a zone names sample {sample}, which is not in the file")
                values = dict(inner)
                for what, amount in outer.items():
                    if what not in _NOT_ADDED:
                        values[what] = values.get(what, _AT_REST.get(what, 0)) + amount
                found.append(_Voice(sample, values))
        return found

    def _zones(self, heads: str, bags: str, gens: str, place: int, last: int) -> Iterator[dict[int, int]]:
        """Generators of every zone of a preset or an instrument, the global zone's under them."""
        tables = self._tables
        if place + 1 >= len(tables[heads]):
            raise DuendeError(f"{self.path}: a zone names instrument {place}, which is not in the file")
        common: dict[int, int] = {}
        first, end = (int(tables[heads][one]["bag"]) for one in (place, place + 1))
        for number in range(first, min(end, first + MOST_ZONES)):
            if number + 1 >= len(tables[bags]):
                raise DuendeError(f"{self.path}: its table {bags} is too short")
            low, high = (int(tables[bags][one]["gen"]) for one in (number, number + 1))
            zone = {int(row["what"]): int(row["amount"]) for row in tables[gens][low:high]}
            if last in zone:
                yield {**common, **zone}
            elif number == first:
                common = zone


def _chunks(file: Any, path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Names, places and sizes of the chunks within the three lists; the last of two that are called alike counts."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise DuendeError(f"{path}: not a SoundFont (.sf2)")
    whole = path.stat().st_size
    at, lists = 12, 0
    while at + 12 <= whole and lists < MOST_CHUNKS:
        file.seek(at)
        head = file.read(12)
        size = int.from_bytes(head[4:8], "little")
        lists += 1
        inner, end = at + 12, min(at + 8 + size, whole)
        count = 0
        while head[:4] == b"LIST" and inner + 8 <= end and count < MOST_CHUNKS:
            file.seek(inner)
            name = file.read(8)
            length = int.from_bytes(name[4:], "little")
            if inner + 8 + length > whole:
                raise DuendeError(f"{path}: broken off: its chunk {name[:4]!r} goes beyond the end")
            yield name[:4].decode("latin-1"), (inner + 8, length)
            inner += 8 + length + (length & 1)
            count += 1
        at += 8 + size + (size & 1)


def _table(file: Any, path: Path, name: str, chunks: Mapping[str, tuple[int, int]]) -> Records:
    if name not in chunks:
        raise DuendeError(f"{path}: a SoundFont without its table {name}")
    start, size = chunks[name]
    kind = np.dtype(_FIELDS[name])
    if size > MOST_RECORD_BYTES or size < kind.itemsize or size % kind.itemsize:
        raise DuendeError(f"{path}: its table {name} has {size} bytes, which is no size for it")
    file.seek(start)
    return np.frombuffer(file.read(size), dtype=kind)


def _meant(zone: Mapping[int, int], key: int | None, velocity: int | None) -> bool:
    for what, value in ((_KEYS, key), (_VELOCITIES, velocity)):
        spread = zone.get(what)
        if value is not None and spread is not None and not spread & 0xFF <= value <= (spread >> 8) & 0xFF:
            return False
    return True


def _envelope(voice: _Voice, key: int, rate: int, samples: int, held_s: float, release_s: float | None) -> Float64:
    """The volume envelope [samples], linear: attack straight, decay and release straight in dB."""
    time = np.arange(samples) / rate
    delay, attack = voice.seconds(_DELAY), voice.seconds(_ATTACK)
    hold, decay = voice.seconds(_HOLD, key, _KEY_HOLD), voice.seconds(_DECAY, key, _KEY_DECAY)
    sustain = min(max(0.1 * voice.value(_SUSTAIN), 0.0), FULL_DB)
    since = time - delay - attack - hold
    fallen = np.clip(since, 0.0, None) / max(decay, 1e-3) * FULL_DB
    level = -np.minimum(fallen, sustain)
    release = voice.seconds(_RELEASE) if release_s is None else release_s
    level -= np.maximum(0.0, time - held_s) / max(release, 0.01) * FULL_DB
    rise = np.clip((time - delay) / attack, 0.0, 1.0)
    return np.asarray(rise * np.where(level > -FULL_DB, 10.0 ** (level / 20.0), 0.0))


def _low_pass(audio: Float64, cutoff: float, resonance_db: float, rate: int) -> Float64:
    """Two poles, their peak `resonance_db` over the pass band."""
    w = 2.0 * np.pi * cutoff / rate
    alpha = np.sin(w) / (2.0 * max(10.0 ** (resonance_db / 20.0), 0.7071))
    b = np.array([0.5, 1.0, 0.5]) * (1.0 - np.cos(w)) / (1.0 + alpha)
    a = np.array([1.0, -2.0 * np.cos(w) / (1.0 + alpha), (1.0 - alpha) / (1.0 + alpha)])
    return np.asarray(scipy.signal.lfilter(b, a, audio), dtype=np.float64)


def _text(name: bytes) -> str:
    return name.split(b"\0")[0].decode("latin-1").strip()
