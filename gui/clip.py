"""A sound file of a stranger's, made into the one file that a style is learned from."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from .. import DuendeError

SHORTEST_S, LONGEST_S = 1.0, 300.0
QUIETEST_DBFS = -70.0
RATES = (8000, 192000)
MOST_CHANNELS = 8
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".caf", ".au", ".w64")
"""What a file may be called, as far as that tells libsndfile anything."""
OUTLINE = 160
BLOCK = 2**14


@dataclass(frozen=True)
class Clip:
    """What was taken in: its length, RMS level, and the outline of its waveform: OUTLINE peaks, the highest 1."""

    seconds: float
    level_dbfs: float
    outline: list[float]


def suffix_of(name: str) -> str:
    """The ending that a file is stored under, one of SUFFIXES, whatever a browser calls it."""
    ending = Path(name[-16:]).suffix.lower()
    return ending if ending in SUFFIXES else SUFFIXES[0]


def take_in(source: Path, target: Path) -> Clip:
    """Decode a file to mono float wav, piece by piece; DuendeError, one line, where it does not do as a style."""
    peaks: list[float] = []
    energy, total = 0.0, 0
    try:
        with soundfile.SoundFile(source) as file:
            rate = file.samplerate
            if not (RATES[0] <= rate <= RATES[1] and 1 <= file.channels <= MOST_CHANNELS):
                raise DuendeError(f"{rate} Hz and {file.channels} channels: that is no recording that can be used")
            with soundfile.SoundFile(target, "w", rate, 1, "FLOAT", format="WAV") as out:
                # Until nothing more comes: what the head says of the length may be wrong.
                while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                    mono = block.mean(axis=1)
                    total += len(mono)
                    if total > LONGEST_S * rate:
                        raise DuendeError(f"longer than {LONGEST_S:g} s: cut out the best of it")
                    energy += float(np.sum(np.square(mono, dtype=np.float64)))
                    if not math.isfinite(energy):
                        raise DuendeError("it holds samples that are no numbers")
                    peaks += [float(np.abs(part).max()) for part in np.array_split(mono, -(-len(mono) // 1024))]
                    out.write(mono)
    except (soundfile.LibsndfileError, OSError, RuntimeError, AssertionError) as error:
        raise DuendeError("no sound file that can be read: use wav, flac, ogg, mp3 or aiff") from error
    seconds = total / rate
    if seconds < SHORTEST_S:
        raise DuendeError(f"{seconds:.2f} s long: a style needs {SHORTEST_S:g} to {LONGEST_S:g} s of sound")
    level = 10.0 * math.log10(energy / total + 1e-20)
    if level < QUIETEST_DBFS:
        raise DuendeError(f"silent ({level:.0f} dBFS): a style needs something to hear")
    highest = max(peaks)
    parts = np.array_split(np.asarray(peaks), min(OUTLINE, len(peaks)))
    return Clip(seconds, level, [round(float(part.max()) / highest, 3) for part in parts])
