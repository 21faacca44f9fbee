"""NSynth's qualities put upon a note that has been played: each an audible effect, drawn once for an instrument."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import soxr

from .vocabulary import QUALITIES

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

CONTRARY = (
    ("bright", "dark"),
    ("fast_decay", "long_release"),
    ("fast_decay", "nonlinear_env"),
    ("percussive", "nonlinear_env"),
    ("fast_decay", "reverb"),
    ("fast_decay", "tempo-synced"),
)
"""Pairs of which a drawn instrument has one at most."""

BEAT_HZ = 4.0
"""Eighth notes at 120 a minute."""

_INTERVALS = (3, 4, 6)
_LOUD_S = 0.5


@dataclass(frozen=True)
class Effects:
    """What the words of one instrument do to all its notes; 0 or None where a word is not there.

    tilt: dB an octave over 300 Hz. drive: of the saturation. decay: s. release: s to fall by 100 dB, after the key is
    let go. second: semitones to a second pitch. swell: s. click: dB over the note's level. hall: s to fall by 60 dB.
    depth: of the beat, 0 to 1.
    """

    tilt: float = 0.0
    drive: float = 0.0
    decay: float = 0.0
    release: float | None = None
    second: int = 0
    swell: float = 0.0
    click: float | None = None
    hall: float = 0.0
    depth: float = 0.0

    @classmethod
    def drawn(cls, qualities: Sequence[str], rng: np.random.Generator) -> "Effects":
        """At random within what makes a quality plain to hear."""
        has = frozenset(qualities)
        part = rng.uniform(0.0, 1.0, 9)
        tilt = (2.5 + 2.0 * part[0]) * ("bright" in has) - (5.0 + 4.0 * part[0]) * ("dark" in has)
        return cls(
            tilt=tilt,
            drive=(6.0 + 14.0 * part[1]) * ("distortion" in has),
            decay=(0.05 + 0.12 * part[2]) * ("fast_decay" in has),
            release=2.5 + 3.0 * part[3] if "long_release" in has else None,
            second=_INTERVALS[int(3 * part[4])] * ("multiphonic" in has),
            swell=(0.6 + 1.0 * part[5]) * ("nonlinear_env" in has),
            click=-14.0 + 8.0 * part[6] if "percussive" in has else None,
            hall=(1.2 + 1.4 * part[7]) * ("reverb" in has),
            depth=(0.7 + 0.25 * part[8]) * ("tempo-synced" in has),
        )

    def played(
        self, play: Callable[[int, float | None], Float32], sample_rate: int, rng: np.random.Generator
    ) -> Float32:
        """A note [samples]. play: gives it dry, so many semitones higher, with a release in s or its own."""
        audio = play(0, self.release).astype(np.float64)
        time = np.arange(len(audio)) / sample_rate
        if self.second:
            audio = audio + 0.7 * play(self.second, self.release)
        audio /= _loudness(audio, sample_rate)
        if self.swell:
            audio *= 0.06 + 0.94 * np.minimum(1.0, time / self.swell) ** 2
        if self.decay:
            audio *= np.exp(-time / self.decay)
        if self.click is not None:
            burst = rng.standard_normal(len(audio)) * np.exp(-time / 0.008) * 10.0 ** (self.click / 20.0)
            audio = audio * (1.0 + 1.5 * np.exp(-time / 0.06)) + 4.0 * burst
        if self.drive:
            audio = _driven(audio, self.drive, sample_rate)
        if self.tilt:
            audio = _tilted(audio, self.tilt, sample_rate)
        if self.depth:
            audio *= 1.0 - self.depth * (0.5 - 0.5 * np.cos(2.0 * np.pi * BEAT_HZ * time))
        if self.hall:
            audio = _in_a_hall(audio, self.hall, time, rng)
        return (audio / _loudness(audio, sample_rate)).astype(np.float32)


def drawn_qualities(most: int, rng: np.random.Generator, given: Sequence[str] = ()) -> tuple[str, ...]:
    """Those given and one to `most` others that do not contradict one another, in the order of QUALITIES."""
    wanted = list(given)
    for place in rng.permutation(len(QUALITIES))[: int(rng.integers(1, most + 1))]:
        word = QUALITIES[place]
        if not any(word in pair and (set(pair) - {word}) & set(wanted) for pair in CONTRARY):
            wanted.append(word)
    return tuple(word for word in QUALITIES if word in wanted)


def _loudness(audio: Float64, sample_rate: int) -> float:
    """RMS of the loudest half second."""
    size = max(1, min(len(audio), round(_LOUD_S * sample_rate)))
    total = np.concatenate([[0.0], np.cumsum(audio**2)])
    return float(np.sqrt((total[size:] - total[:-size]).max() / size)) + 1e-9


def _driven(audio: Float64, drive: float, sample_rate: int) -> Float64:
    """Saturated at twice the rate, then a loudspeaker that ends at 5 kHz."""
    hot = soxr.resample(drive * audio, sample_rate, 2 * sample_rate)
    out = soxr.resample(np.tanh(hot), 2 * sample_rate, sample_rate)[: len(audio)]
    out = np.pad(out, (0, len(audio) - len(out)))
    return _shaped(out - out.mean(), lambda hz: -10.0 * np.log10(1.0 + (hz / 5000.0) ** 6), sample_rate)


def _tilted(audio: Float64, tilt: float, sample_rate: int) -> Float64:
    octaves = 4.0 if tilt > 0.0 else 8.0  # what lies under the hiss is not raised any more
    return _shaped(audio, lambda hz: tilt * np.clip(np.log2(np.maximum(hz, 1.0) / 300.0), 0.0, octaves), sample_rate)


def _shaped(audio: Float64, level_db: Callable[[Float64], Float64], sample_rate: int) -> Float64:
    """Filtered by a gain in dB over Hz, with minimum phase so that nothing sounds before its time."""
    size = 4096
    hz = np.asarray(np.fft.rfftfreq(size, 1.0 / sample_rate), dtype=np.float64)
    cepstrum = scipy.fft.irfft(level_db(hz) * np.log(10.0) / 20.0, size)
    cepstrum[1 : size // 2] *= 2.0
    cepstrum[size // 2 + 1 :] = 0.0
    response = scipy.fft.irfft(np.exp(scipy.fft.rfft(cepstrum, size)), size)[: size // 2]
    return _convolved(audio, response)


def _in_a_hall(audio: Float64, seconds: float, time: Float64, rng: np.random.Generator) -> Float64:
    """With noise behind it that fades, its highs sooner; it begins 15 ms later."""
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / seconds) * (time > 0.015)
    soft = np.convolve(tail, np.ones(6) / 6.0, mode="same")
    tail = soft + (tail - soft) * np.exp(-time / 0.25)
    behind = _convolved(audio, tail / np.sqrt(np.sum(tail**2)))
    return np.asarray(0.6 * audio + 0.7 * behind)


def _convolved(audio: Float64, response: Float64) -> Float64:
    size = scipy.fft.next_fast_len(len(audio) + len(response), real=True)
    product = scipy.fft.rfft(audio, size) * scipy.fft.rfft(response, size)
    return np.asarray(scipy.fft.irfft(product, size)[: len(audio)], dtype=np.float64)
