"""How well a backend follows the words: descriptors with and without a word, and what a listener hears."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from .backend import Backend
from .features import features_of
from .models import Listener
from .vocabulary import FAMILIES, QUALITIES, SOURCES, WORDS, understand

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_SIZE, _HOP = 4096, 1024
_LOW_PARTIALS = 6


@dataclass(frozen=True)
class Follows:
    """One word's effect on one descriptor over n pairs of prompts, each with the word and without it, of one seed.

    right: share of the pairs in which it went the right way. median: of the ratio with / without.
    low, high: 95 % interval of the median (bootstrap).
    """

    word: str
    descriptor: str
    rises: bool
    n: int
    right: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Told:
    """How often a listener picked the right word of so many: share, chance (of guessing), n, 95 % interval (Wilson)."""

    what: str
    share: float
    chance: float
    n: int
    low: float
    high: float


def centroid_hz(audio: Float32, sample_rate: int) -> float:
    """Centre of the mean magnitude spectrum, in Hz."""
    power = _power(audio)
    magnitude = np.sqrt(power.mean(axis=0))
    return float(magnitude @ np.fft.rfftfreq(_SIZE, 1.0 / sample_rate) / max(float(magnitude.sum()), 1e-12))


def fall_s(audio: Float32, sample_rate: int) -> float:
    """How long after its loudest moment the sound has fallen by 20 dB for good (s); its whole rest where it has not."""
    hop = sample_rate // 100
    frames = audio[: len(audio) // hop * hop].reshape(-1, hop).astype(np.float64)
    level = np.convolve((frames**2).mean(axis=1), np.ones(5) / 5.0, mode="same")
    top = int(level.argmax())
    above = np.flatnonzero(level > 0.01 * level[top])
    return float((above[-1] - top + 1) * hop / sample_rate)


def strong_harmonics(audio: Float32, sample_rate: int, f0: float) -> float:
    """How many harmonics of f0 (Hz) lie within 40 dB of the strongest, over the first half second."""
    start = np.flatnonzero(np.abs(audio) > 0.05 * np.abs(audio).max())[0]
    piece = audio[start : start + sample_rate // 2].astype(np.float64)
    spectrum = np.abs(scipy.fft.rfft(piece * np.hanning(len(piece)), 1 << 16))
    width = sample_rate / (1 << 16)
    peaks = []
    for number in range(1, int(min(0.45 * sample_rate, 16000.0) / f0)):
        middle, reach = round(number * f0 / width), round(0.1 * f0 / width)
        peaks.append(spectrum[middle - reach : middle + reach].max())
    return float(np.sum(np.array(peaks) > 0.01 * max(peaks)))


def tail_s(audio: Float32, sample_rate: int) -> float:
    """How long after the key was let go (3 s) the sound stays within 30 dB of what it was then (s), plus 10 ms."""
    hop = sample_rate // 100
    frames = audio[: len(audio) // hop * hop].reshape(-1, hop).astype(np.float64)
    level = np.convolve((frames**2).mean(axis=1), np.ones(5) / 5.0, mode="same")
    above = np.flatnonzero(level[300:] > 1e-3 * level[285:295].mean())
    return float((above[-1] + 1 if len(above) else 0) * 0.01 + 0.01)


def swaying(audio: Float32, sample_rate: int) -> float:
    """Depth of level changes at 2 to 8 Hz while the key is held: RMS in dB."""
    hop = sample_rate // 100
    frames = audio[: 3 * sample_rate // hop * hop].reshape(-1, hop).astype(np.float64)
    level = 10.0 * np.log10((frames**2).mean(axis=1) + 1e-4 * (frames**2).mean())[20:]
    slope = np.polyfit(np.arange(len(level)), level, 3)
    flat = (level - np.polyval(slope, np.arange(len(level)))) * np.hanning(len(level))
    spectrum = np.abs(np.fft.rfft(flat)) ** 2
    rates = np.fft.rfftfreq(len(flat), 0.01)
    return float(np.sqrt(spectrum[(rates >= 2.0) & (rates <= 8.0)].sum() * 2.0) / len(level))


@dataclass(frozen=True)
class Sounding:
    """What can be said of a note without words.

    cents: off the pitch that was asked for. rise_ms: from the first sound to 90 % of the greatest level. bed_db: what
    lies between the partials, against them, while the note is loud. rest_db: the last 50 ms, against the loudest.
    """

    cents: float
    rise_ms: float
    bed_db: float
    rest_db: float


def sounding(audio: Float32, sample_rate: int, f0: float) -> Sounding:
    """Of a note [samples] at f0 (Hz)."""
    hop = sample_rate // 200
    frames = audio[: len(audio) // hop * hop].reshape(-1, hop).astype(np.float64)
    level = np.sqrt((frames**2).mean(axis=1))
    size = round(0.5 * sample_rate)
    total = np.concatenate([[0.0], np.cumsum(audio.astype(np.float64) ** 2)])
    start = int((total[size:] - total[:-size]).argmax())
    spectrum = np.abs(scipy.fft.rfft(audio[start : start + size] * np.hanning(size), 8 * size))
    width = sample_rate / (8 * size)
    cents, weights, tones, between = [], [], 0.0, []
    for number in range(1, min(40, int(0.45 * sample_rate / f0))):
        low, high = (round(number * f0 * factor / width) for factor in (0.97, 1.03))
        peak = low + int(spectrum[low:high].argmax())
        if number <= _LOW_PARTIALS:
            cents.append(1200.0 * math.log2(peak * width / (number * f0)))
            weights.append(float(spectrum[peak]))
        low, middle, high = (round((number + part) * f0 / width) for part in (-0.2, 0.2, 0.8))
        tones += float((spectrum[low:middle] ** 2).sum())
        # The middle of what lies between, over the whole width: single partials of a bell are no bed.
        between.append(float(np.median(spectrum[middle:high] ** 2)) / math.log(2.0) * (high - low))
    order = np.argsort(cents)
    at = np.searchsorted(np.cumsum(np.array(weights)[order]), 0.5 * sum(weights))
    top = level.max()
    rise = np.flatnonzero(level >= 0.9 * top)[0] - np.flatnonzero(level > 1e-3 * top)[0]
    rest = float(np.sqrt(np.mean(audio[-sample_rate // 20 :].astype(np.float64) ** 2)))
    return Sounding(
        float(np.array(cents)[order][at]),
        float(rise) * 5.0,
        10.0 * math.log10(max(sum(between), 1e-20) / max(tones, 1e-12)),
        20.0 * math.log10(max(rest, 1e-8) / max(float(top), 1e-8)),
    )


DESCRIPTORS: dict[str, tuple[str, bool, Callable[[Float32, int, float], float]]] = {
    "bright": ("spectral centroid", True, lambda audio, rate, f0: centroid_hz(audio, rate)),
    "dark": ("spectral centroid", False, lambda audio, rate, f0: centroid_hz(audio, rate)),
    "fast_decay": ("time to fall by 20 dB", False, lambda audio, rate, f0: fall_s(audio, rate)),
    "distortion": ("harmonics within 40 dB", True, strong_harmonics),
    "long_release": ("tail after the release", True, lambda audio, rate, f0: tail_s(audio, rate)),
    "reverb": ("tail after the release", True, lambda audio, rate, f0: tail_s(audio, rate)),
    "tempo-synced": ("sway of the level, 2 to 8 Hz", True, lambda audio, rate, f0: swaying(audio, rate)),
}
"""What each of these words should raise (True) or lower."""


def follows(backend: Backend, word: str, pairs: int, seed: int = 1, pitch: int = 57) -> Follows:
    """The effect of a word: prompts of a source and a family drawn at random, with it and without."""
    name, rises, measure = DESCRIPTORS[word]
    rng = np.random.default_rng((seed, WORDS.index(word)))
    f0 = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
    ratios = []
    for number in range(pairs):
        source, family = str(rng.choice(SOURCES)), str(rng.choice(FAMILIES))
        heard = []
        for text in (f"{source} {family}", f"{source} {word} {family}"):
            sound = backend.make(text, 1000 * seed + number, 4.0, {"pitch": str(pitch)}, _quiet)
            heard.append(measure(sound.audio, sound.sample_rate, f0))
        ratios.append(heard[1] / max(heard[0], 1e-6))
    found = np.array(ratios)
    drawn = np.median(rng.choice(found, (2000, len(found))), axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    right = float(np.mean(found > 1.0 if rises else found < 1.0))
    return Follows(word, name, rises, pairs, right, float(np.median(found)), float(low), float(high))


def sounds_judged(audios: Sequence[tuple[Float32, int]], listener: Listener) -> Float32:
    """Logits [n, WORDS] of sounds and their rates."""
    return listener.judged(np.stack([features_of(audio, rate) for audio, rate in audios]))


def told(judged: Float32, prompts: Sequence[str]) -> list[Told]:
    """Source and family by the highest logit; each quality present or absent, balanced: mean of both rates."""
    wanted = np.stack([understand(text).vector for text in prompts])
    rows = []
    at = 0
    for what, words in (("source", SOURCES), ("family", FAMILIES)):
        part = slice(at, at + len(words))
        given = wanted[:, part].any(axis=1)
        hits = (judged[:, part].argmax(axis=1) == wanted[:, part].argmax(axis=1))[given]
        rows.append(_told(what, hits, 1.0 / len(words)))
        at += len(words)
    for word in QUALITIES:
        place = WORDS.index(word)
        there = wanted[:, place] > 0
        if there.any() and not there.all():
            # With so few that are, what counts is the order: how often one that is outranks one that is not.
            order = judged[there, place][:, None] > judged[~there, place][None]
            rows.append(Told(f"{word} (rank)", float(order.mean()), 0.5, int(there.sum()), math.nan, math.nan))
    return rows


def _told(what: str, hits: npt.NDArray[np.bool_], chance: float) -> Told:
    n, share, z = len(hits), float(np.mean(hits)), 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Told(what, share, chance, n, middle - half, middle + half)


def _power(audio: Float32) -> Float64:
    padded = np.zeros(max(len(audio), _SIZE), dtype=np.float32)
    padded[: len(audio)] = audio
    frames = np.lib.stride_tricks.sliding_window_view(padded, _SIZE)[::_HOP]
    return np.asarray(np.abs(scipy.fft.rfft(frames * np.hanning(_SIZE), axis=1)) ** 2, dtype=np.float64)


def _quiet(done: int, total: int, doing: str) -> None:
    """Says nothing."""
