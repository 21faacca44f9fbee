"""The test signal that a capture plays through the amplifier: blips, sweeps, noise, and guitar playing.

Its layout follows from its version and length alone, and its first blips say the version: so a recording of it needs
no sidecar. Sections, in order: blips (alignment), silence (noise floor), sweeps at four levels, noise in steps of
level, the phrase for the first time, playing to learn from, playing to judge by, the same phrase again, blips.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile

from ... import DuendeError
from ..corpus import Augmentation, augment, phrases

Float32 = npt.NDArray[np.float32]

VERSION = 1
RATE = 48000
SECONDS = 180
SHORTEST_S, LONGEST_S = 30, 600

BLIPS_S, SILENCE_S, PHRASE_S, TAIL_S = 2, 2, 4, 2
BLIP_PEAK = 0.9
_BLIP_SAMPLES = 9
_FIRST_BLIP_S = 0.5
_VERSION_STEP_S = 0.02
_GAP_S = 0.4
_SWEEPS_DBFS = (-36.0, -24.0, -12.0, -1.0)
_SWEEP_HZ = (20.0, 20000.0)
_NOISE_DBFS = tuple(range(-54, -5, 6))
_PLAYING_DBFS = (-1.0, -14.0, -7.0, -22.0, -3.0, -18.0, -10.0, -30.0, -5.0)
_VARIED = Augmentation(0.0, 0.5, 0.3, 0.2, 0.0, 0.0, 0.0, 0.3, 0.0)
_BRIGHTER = (0.0, 5.0)
"""Real guitars are brighter, duller, noisier and at other levels than one built-in instrument."""
_PIECE_S = 7.0
_FADE_S = 0.01
_SEED = 20


@dataclass(frozen=True)
class Section:
    """A stretch [start, stop) of the signal, in samples."""

    start: int
    stop: int

    def of(self, samples: Float32) -> Float32:
        """What lies in the section of samples [n]."""
        return samples[self.start : self.stop]


@dataclass(frozen=True)
class Layout:
    """Where everything is in a signal of so many whole seconds at RATE.

    blips: the sample at the middle of each, two at the start and two at the end.
    """

    version: int
    seconds: int
    blips: tuple[int, int, int, int]
    silence: Section
    sweeps: Section
    noise: Section
    phrase: Section
    playing: Section
    validation: Section
    again: Section

    @property
    def samples(self) -> int:
        """Length of the whole signal."""
        return self.seconds * RATE


def layout(seconds: int = SECONDS, version: int = VERSION) -> Layout:
    """The layout of a signal of 30 to 600 s; DuendeError for other lengths."""
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise DuendeError(f"--seconds {seconds} is out of range: {SHORTEST_S} to {LONGEST_S}")
    lengths = {
        "silence": SILENCE_S,
        "sweeps": max(2, seconds // 18),
        "noise": max(2, seconds // 18),
        "phrase": PHRASE_S,
        "playing": 0,
        "validation": max(4, seconds // 15),
        "again": PHRASE_S,
    }
    lengths["playing"] = seconds - BLIPS_S - TAIL_S - sum(lengths.values())
    sections, time = {}, BLIPS_S
    for name, length in lengths.items():
        sections[name] = Section(time * RATE, (time + length) * RATE)
        time += length
    first, gap = round(_FIRST_BLIP_S * RATE), round((_GAP_S + _VERSION_STEP_S * version) * RATE)
    last = (seconds - TAIL_S) * RATE + first
    return Layout(version, seconds, (first, first + gap, last, last + gap), **sections)


def make_signal(seconds: int = SECONDS) -> Float32:
    """The test signal, float32 [seconds * RATE], within +-0.95; always the same for one length.

    DuendeError as `layout`.
    """
    plan = layout(seconds)
    signal = np.zeros(plan.samples, dtype=np.float32)
    for middle in plan.blips:
        _add(signal, middle - _BLIP_SAMPLES // 2, _blip())
    _fill(signal, plan.sweeps, _sweeps(plan.sweeps.stop - plan.sweeps.start))
    _fill(signal, plan.noise, _noise(plan.noise.stop - plan.noise.start))
    phrase = _playing(PHRASE_S * RATE, _SEED, (-6.0,))
    _fill(signal, plan.phrase, phrase)
    _fill(signal, plan.again, phrase)
    _fill(signal, plan.playing, _playing(plan.playing.stop - plan.playing.start, _SEED + 1, _PLAYING_DBFS))
    _fill(signal, plan.validation, _playing(plan.validation.stop - plan.validation.start, _SEED + 2, (-4.0, -18.0)))
    return signal


def write_signal(path: Path, seconds: int = SECONDS) -> Layout:
    """Write the test signal as a WAV file of 24 bit; DuendeError where the name or place is wrong."""
    if path.suffix.lower() != ".wav":
        raise DuendeError(f"{path}: the test signal is a WAV file; give a name that ends in .wav")
    plan, signal = layout(seconds), make_signal(seconds)
    temporary = path.with_name(f".{path.name}.part")
    try:
        soundfile.write(temporary, signal, RATE, subtype="PCM_24", format="WAV")
        temporary.replace(path)
    except (OSError, soundfile.LibsndfileError) as error:
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).strip().rstrip(".")
        raise DuendeError(f"cannot write {path}: {reason}") from error
    return plan


def recognise(dry: Float32, sample_rate: float) -> Layout | None:
    """The layout of a dry file [samples] that is this signal, at any level; None for everything else.

    A signal that was cut or moved is not recognised: the layout would lie.
    """
    seconds = len(dry) // RATE
    if sample_rate != RATE or len(dry) % RATE or not SHORTEST_S <= seconds <= LONGEST_S:
        return None
    for version in range(1, VERSION + 1):
        plan = layout(seconds, version)
        reference = np.zeros(BLIPS_S * RATE, dtype=np.float32)
        for middle in plan.blips[:2]:
            _add(reference, middle - _BLIP_SAMPLES // 2, _blip())
        tail = np.roll(reference, plan.blips[2] - (seconds - TAIL_S) * RATE - plan.blips[0])
        if _alike(dry[: len(reference)], reference) and _alike(dry[-len(reference) :], tail):
            return plan
    return None


def _alike(samples: Float32, reference: Float32) -> bool:
    """Whether samples are the reference at some level, but for what quantisation and dither leave."""
    gain = float(samples @ reference) / float(reference @ reference)
    return 1e-3 < gain < 10.0 and float(np.abs(samples - gain * reference).max()) < 2e-3 * gain * BLIP_PEAK


def _blip() -> Float32:
    return np.asarray(BLIP_PEAK * np.hanning(_BLIP_SAMPLES + 2)[1:-1], dtype=np.float32)


def _sweeps(count: int) -> Float32:
    """One exponential sweep after the other, each louder: float32 [count]."""
    parts = []
    for part, level in zip(np.array_split(np.arange(count), len(_SWEEPS_DBFS)), _SWEEPS_DBFS, strict=True):
        time = np.arange(len(part)) / RATE
        sweep = scipy.signal.chirp(time, _SWEEP_HZ[0], time[-1], _SWEEP_HZ[1], method="logarithmic", phi=-90)
        parts.append(_faded(10.0 ** (level / 20.0) * sweep))
    return np.concatenate(parts).astype(np.float32)


def _noise(count: int) -> Float32:
    """Bursts of noise with the spectrum of a guitar's, each 6 dB louder than the one before: float32 [count]."""
    rng = np.random.default_rng(_SEED + 3)
    parts = []
    for part, level in zip(np.array_split(np.arange(count), len(_NOISE_DBFS)), _NOISE_DBFS, strict=True):
        burst = scipy.signal.lfilter(
            *scipy.signal.butter(1, (80.0, 2500.0), "band", fs=RATE), rng.standard_normal(len(part))
        )
        parts.append(_faded(10.0 ** (level / 20.0) * burst / np.abs(burst).max()))
    return np.concatenate(parts).astype(np.float32)


def _playing(count: int, seed: int, levels_dbfs: tuple[float, ...]) -> Float32:
    """Pieces of guitar playing, on various instruments and tone controls, their peaks at the levels in turn.

    float32 [count].
    """
    rng = np.random.default_rng(seed)
    pieces = max(1, round(count / (_PIECE_S * RATE)))
    parts = []
    for number, part in enumerate(np.array_split(np.arange(count), pieces)):
        piece = phrases(len(part) / RATE, rng, RATE)[: len(part)]
        treble = scipy.signal.lfilter(*scipy.signal.butter(1, 1000.0, "high", fs=RATE), piece)
        piece = augment((piece + rng.uniform(*_BRIGHTER) * treble).astype(np.float32), RATE, rng, _VARIED)
        level = levels_dbfs[number % len(levels_dbfs)]
        parts.append(_faded(10.0 ** (level / 20.0) * piece / np.abs(piece).max()))
    return np.concatenate(parts).astype(np.float32)


def _faded(samples: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Samples with 10 ms of fade at both ends."""
    fade = np.minimum(1.0, (np.arange(len(samples)) + 1) / (_FADE_S * RATE))
    return samples * fade * fade[::-1]


def _add(signal: Float32, start: int, samples: Float32) -> None:
    signal[start : start + len(samples)] += samples


def _fill(signal: Float32, section: Section, samples: Float32) -> None:
    signal[section.start : section.stop] = samples
