"""Impulse responses of cabinets: read from files within bounds, or made in code, at the stream's rate and level."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .. import DuendeError
from ..presets.cabinets import BUILT_IN
from .body import minimum_phase

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SHORTEST_S = 0.001
LONGEST_S = 2.0
LEADING_S = 1.0
FADE_S = 0.05
LEAD_S = 0.02
PRE_RINGING_S = 0.00025
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF")
FILE_RATES = (8000, 384000)
MAX_BYTES = 2**25
ONSET = 1e-3
SILENT = 1e-6
LOUDEST = 1e6
REMAINDER = 1e-6
THIRD_OCTAVES_HZ = (31.5, 16000.0)
KEPT_RESPONSES = 16


@dataclass(frozen=True)
class Response:
    """What a cabinet does to a sound.

    taps: float32 [1 or 2, samples] at sample_rate (Hz); the loudest third-octave of the louder channel is at 0 dB.
    notices: what was changed on the way, a line each.
    """

    name: str
    taps: Float32
    sample_rate: float
    notices: tuple[str, ...] = ()

    @property
    def memory_samples(self) -> int:
        """After how many samples all but -60 dB of the energy has come."""
        left = np.cumsum(np.sum(self.taps.astype(np.float64) ** 2, axis=0)[::-1])[::-1]
        return int(np.count_nonzero(left > REMAINDER * left[0]))


class Responses:
    """Opens responses, and keeps the last ones by file, time of its last change, and rate."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, float], Response] = {}

    def open(self, path: str, sample_rate: float) -> Response:
        """The response of a file, or the built-in one for an empty path; DuendeError as `load_response`."""
        if not path:
            key = ("", 0, sample_rate)
        else:
            try:
                key = (path, Path(path).stat().st_mtime_ns, sample_rate)
            except OSError as error:
                raise DuendeError(f"cannot read the cabinet {Path(path).name}: {error.strerror or error}") from error
        if key not in self._kept:
            found = load_response(Path(path), sample_rate) if path else built_in_response(sample_rate)
            while len(self._kept) >= KEPT_RESPONSES:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = found
        return self._kept[key]


def load_response(path: Path, sample_rate: float) -> Response:
    """Read an impulse response, wav, flac or aiff, mono or stereo, of 1 ms to 2 s, and convert it to sample_rate (Hz).

    What comes before the first sample above -60 dB of the peak is cut off, so that the response delays nothing and
    does not comb with the dry sound; what comes later than 2 s after it is faded out, with a notice. Resampled at
    soxr's best quality; of the ringing before the onset that this brings, 0.25 ms are kept at most. DuendeError names
    the field of the file that does not do.
    """
    samples, rate, more = _read(path)
    samples, longest = _from_onset(samples), round(LONGEST_S * rate)
    notices = []
    if more or samples.shape[1] > longest:
        notices.append(f"{path.name}: longer than {LONGEST_S:g} s: what comes later is faded out")
        samples = samples[:, :longest].copy()
        fade = min(samples.shape[1], round(FADE_S * rate))
        samples[:, -fade:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / fade)
    energy = float(np.sum(samples**2, axis=1).max()) * sample_rate / rate
    taps = _at_unity(path.name, _resample(samples, rate, sample_rate), sample_rate, energy)
    return Response(path.stem, taps, sample_rate, tuple(notices))


def built_in_response(sample_rate: float) -> Response:
    """A closely miked 4x12 in code: 80 Hz to 5 kHz, the box's and the cones' resonances, nobody's recording."""
    size = 2 ** int(np.ceil(np.log2(sample_rate / 3.0)))
    hertz = np.maximum(np.arange(size // 2 + 1) * sample_rate / size, 1.0)
    octaves = np.log2(hertz)
    # Fourth-order high-pass and sixth-order low-pass of Butterworth's kind.
    decibels = -10.0 * np.log10(1.0 + (80.0 / hertz) ** 8) - 10.0 * np.log10(1.0 + (hertz / 5000.0) ** 12)
    # Hz, dB, width in octaves: the box, the dip above it, presence, the edge of the cone.
    for centre, height, width in ((115.0, 4.0, 0.5), (430.0, -4.0, 0.8), (2500.0, 6.0, 0.7), (3900.0, 3.0, 0.2)):
        decibels += height * np.exp(-0.5 * ((octaves - np.log2(centre)) / (0.5 * width)) ** 2)
    rng = np.random.default_rng(412)
    for _ in range(24):
        # Where the cones break up, and neighbours interfere.
        centre, height, width = 2.0 ** rng.uniform(8.0, 12.6), rng.uniform(-3.0, 3.0), rng.uniform(0.06, 0.2)
        decibels += height * np.exp(-0.5 * ((octaves - np.log2(centre)) / (0.5 * width)) ** 2)
    log_magnitude = np.maximum(decibels, -100.0) * np.log(10.0) / 20.0
    taps = minimum_phase(log_magnitude, size // 4)
    return Response(BUILT_IN, _at_unity(BUILT_IN, taps[None], sample_rate, float(np.sum(taps**2))), sample_rate)


def _read(path: Path) -> tuple[Float64, int, bool]:
    """Samples [channels, frames] of a file, its rate, and whether it holds more than was read."""
    name = path.name
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DuendeError(f"{name}: not a file")
        if size > MAX_BYTES:
            raise DuendeError(f"{name}: {size / 2**20:.0f} MB: an impulse response has {MAX_BYTES >> 20} MB at most")
        found = soundfile.info(str(path))
        if found.format not in FORMATS:
            raise DuendeError(f"{name}: format {found.format}: convert it to wav, flac or aiff")
        if not FILE_RATES[0] <= found.samplerate <= FILE_RATES[1]:
            low, high = FILE_RATES
            raise DuendeError(f"{name}: sample rate {found.samplerate} Hz is out of range: {low} to {high} Hz")
        if found.channels not in (1, 2):
            raise DuendeError(f"{name}: {found.channels} channels: mix it down to mono or stereo")
        most = round((LEADING_S + LONGEST_S) * found.samplerate)
        samples, rate = soundfile.read(str(path), frames=min(most, found.frames), dtype="float64", always_2d=True)
    except OSError as error:
        raise DuendeError(f"cannot read the cabinet {name}: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        raise DuendeError(f"{name}: not a sound file: {error.error_string}") from error
    if len(samples) < SHORTEST_S * rate:
        raise DuendeError(f"{name}: length {1e3 * len(samples) / rate:.2f} ms is out of range: 1 ms to 2 s")
    if not np.isfinite(samples).all():
        raise DuendeError(f"{name}: holds samples that are no numbers: write the file again")
    peak = float(np.abs(samples).max())
    if not SILENT < peak < LOUDEST:
        within = f" within its first {LEADING_S + LONGEST_S:g} s" if found.frames > most else ""
        word = "silent" if peak <= SILENT else f"louder than {LOUDEST:g}"
        raise DuendeError(f"{name}: is {word}{within}: peak {peak:g}, from {SILENT:g} to {LOUDEST:g} will do")
    return np.ascontiguousarray(samples.T), rate, found.frames > most


def _from_onset(samples: Float64) -> Float64:
    """Samples [channels, n] without what comes before the first one above -60 dB of the peak."""
    peaks = np.abs(samples).max(axis=0)
    return samples[:, int(np.argmax(peaks > ONSET * peaks.max())) :]


def _resample(samples: Float64, rate: int, wanted: float) -> Float64:
    """Samples [channels, n] at another rate, with the last PRE_RINGING_S of what rings before the first one."""
    if rate == wanted:
        return samples
    lead = round(LEAD_S * rate)
    padded = np.pad(samples, ((0, 0), (lead, 0)))
    out = np.stack([np.asarray(soxr.resample(row, rate, wanted, quality="VHQ")) for row in padded])
    kept = round(PRE_RINGING_S * wanted)
    out = out[:, round(lead * wanted / rate) - kept :]
    out[:, :kept] *= np.sin(0.5 * np.pi * (np.arange(kept) + 0.5) / kept) ** 2
    return _from_onset(out)[:, : round(LONGEST_S * wanted)]


def _at_unity(name: str, taps: Float64, sample_rate: float, energy: float) -> Float32:
    """Taps [channels, n] scaled so that the loudest third-octave of any channel passes at 0 dB.

    energy: of the louder channel before it was resampled, at this rate. DuendeError where next to none of it is heard.
    """
    # Whole seconds: the usual rates have small prime factors only.
    size = round(sample_rate) * math.ceil(taps.shape[1] / round(sample_rate))
    power = np.abs(np.fft.rfft(taps, size)) ** 2
    sums = np.concatenate([np.zeros((len(taps), 1)), np.cumsum(power, axis=1)], axis=1)
    low, high = THIRD_OCTAVES_HZ
    centres = low * 2.0 ** (np.arange(1 + round(3 * np.log2(high / low))) / 3.0)
    edges = np.minimum(np.outer(centres, 2.0 ** np.array([-1 / 6, 1 / 6])), 0.5 * sample_rate)
    first, last = np.ceil(edges * size / sample_rate).astype(int).T
    last = np.maximum(last, first + 1)
    means = (sums[:, last] - sums[:, first]) / (last - first)
    if means.max() <= REMAINDER * energy:
        raise DuendeError(
            f"{name}: next to nothing between {low:g} Hz and {high / 1e3:g} kHz: not a cabinet's response"
        )
    return np.asarray(taps / np.sqrt(means.max()), dtype=np.float32)
