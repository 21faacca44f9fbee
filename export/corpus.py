"""Training content: dense guitar phrases, of the built-in instrument or of a player's recordings, much varied.

The variety is what makes a student work on guitars it has never heard, and the density matters as much: someone
who plays fills the time, and a student trained on rests learns about rests. `level_statistics` says how dense.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
import scipy.signal
import soxr

from .. import DuendeError
from .pluck import INSTRUMENTS, Articulation, Instrument, Note, render_notes, strum
from .sound_file import read_samples

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

NOMINAL_RMS = 0.1
_WORKERS = 2
_COLD_STARTS = 0.12
_OWN_SHARE = 0.7
_ATTEMPTS = 6
_MAJOR, _MINOR = (0, 7, 12, 16, 19, 24), (0, 7, 12, 15, 19, 24)
_FIVE, _SEVENTH, _FOURTH = (0, 7, 12), (0, 7, 10, 16, 19), (0, 7, 12, 17, 19)
_CHORDS = (_MAJOR, _MINOR, _MAJOR[:5], _MINOR[:5], _FIVE, _SEVENTH, _FOURTH)
_SCALES = ((0, 3, 5, 7, 10), (0, 2, 4, 7, 9), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 11))


def _rms(audio: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)) + 1e-12))


def level_statistics(audio: npt.ArrayLike, sample_rate: float, skip_seconds: float = 1.0) -> tuple[float, float]:
    """Mean and deviation, in nepers, of the log level (21 ms RMS) over its slow average (1.5 s): how densely one plays.

    Frames 60 dB under the loudest count as that far under. Recorded guitars have a mean of about -0.1..0.1 and a
    deviation of 0.4..0.7. The first skip_seconds let the slow average settle.
    """
    samples = np.asarray(audio, dtype=np.float64)
    hop = max(1, round(sample_rate * 0.005))
    frame = round(sample_rate * 1024 / 48000)
    power = scipy.ndimage.uniform_filter1d(samples**2, frame, mode="nearest")[::hop]
    power = np.maximum(power, 1e-6 * power.max(initial=1e-12))
    keep = np.exp(-0.005 / 1.5)
    slow = scipy.signal.lfilter([1.0 - keep], [1.0, -keep], power)
    slow = slow / (1.0 - keep ** np.arange(1, len(power) + 1))
    ratio = 0.5 * np.log(power / slow)[round(skip_seconds / 0.005) :]
    return float(ratio.mean()), float(ratio.std())


def _any_instrument(rng: np.random.Generator) -> Instrument:
    """One of the instruments with other strings, another hand, another pick-up position."""
    base = INSTRUMENTS[rng.choice(sorted(INSTRUMENTS))]
    pickup = None if base.pickup_position is None else float(rng.uniform(0.04, 0.3))
    return replace(
        base,
        inharmonicity=base.inharmonicity * float(rng.uniform(0.4, 2.5)),
        damping=base.damping * float(rng.uniform(0.6, 1.8)),
        treble_damping=base.treble_damping * float(rng.uniform(0.5, 2.5)),
        pluck_position=float(rng.uniform(0.06, 0.35)),
        pluck_width_ms=base.pluck_width_ms * float(rng.uniform(0.5, 1.8)),
        pick_noise=base.pick_noise * float(rng.uniform(0.2, 2.5)),
        pickup_position=pickup,
        pickup_hz=float(rng.uniform(2000.0, 6000.0)),
        pickup_q=float(rng.uniform(0.7, 2.8)),
        body_hz=tuple(hz * float(rng.uniform(0.85, 1.2)) for hz in base.body_hz),
        detune_cents=float(rng.uniform(0.5, 6.0)),
    )


def _chord(rng: np.random.Generator) -> list[float]:
    shape = _CHORDS[rng.integers(len(_CHORDS))]
    root = float(rng.integers(40, 53))
    return [root + step for step in shape]


def _accent(rng: np.random.Generator, strong: bool) -> float:
    return float(np.clip(rng.normal(0.85 if strong else 0.68, 0.08), 0.3, 1.0))


def _riff(start: float, step: float, rng: np.random.Generator) -> list[Note]:
    """Eight steps of a scale, some hammered, slid or bent, now and then doubled by a lower string."""
    scale = np.asarray(_SCALES[rng.integers(len(_SCALES))])
    ladder = np.concatenate([scale + 12 * octave for octave in range(3)]) + rng.integers(40, 53)
    place = int(rng.integers(2, len(ladder) - 4))
    notes: list[Note] = []
    index = 0
    while index < 8:
        long = int(rng.choice((1, 1, 1, 2)))
        place = int(np.clip(place + rng.integers(-2, 3), 0, len(ladder) - 1))
        how = Articulation.PLUCKED
        if long == 2 and rng.random() < 0.5:
            how = Articulation.BENT if rng.random() < 0.6 else Articulation.SLID
        elif notes and rng.random() < 0.15:
            how = Articulation.HAMMERED
        interval = float(rng.choice((1.0, 2.0, 2.0, -2.0 if how is Articulation.SLID else 2.0)))
        onset = start + step * index + float(rng.normal(0.0, 0.006))
        velocity = _accent(rng, index % 2 == 0)
        notes.append(Note(onset, step * long * 1.02, float(ladder[place]), velocity, how, interval))
        if rng.random() < 0.25:
            notes.append(Note(onset, step * long, float(ladder[place]) - rng.choice((5.0, 7.0, 12.0)), 0.8 * velocity))
        index += long
    return notes


def _arpeggio(start: float, step: float, rng: np.random.Generator) -> list[Note]:
    """Eight broken-chord notes that ring on until the chord ends."""
    chord = _chord(rng)
    order = [*range(len(chord)), *range(len(chord) - 2, 0, -1)]
    if rng.random() < 0.4:
        order = [0, *(int(i) for i in rng.integers(1, len(chord), 7))]
    notes = []
    for index in range(8):
        left = step * (8 - index)
        pitch = chord[order[index % len(order)]]
        notes.append(Note(start + step * index + rng.normal(0.0, 0.006), left, pitch, _accent(rng, index % 4 == 0)))
    return notes


def _strums(start: float, step: float, rng: np.random.Generator) -> list[Note]:
    """Two chords strummed down and up in a rhythm."""
    notes: list[Note] = []
    for half in range(2):
        chord = _chord(rng)
        hits = [0, *(i for i in (1, 2, 3) if rng.random() < 0.6), 4]
        for hit, following in itertools.pairwise(hits):
            down = hit % 2 == 0
            strings = chord if down else chord[::-1][:4]
            onset = start + step * (4 * half + hit)
            length = step * (following - hit) * 1.01
            spread = min(float(rng.uniform(0.003, 0.016)), 0.3 * length / len(strings))
            notes += strum(strings, onset, length, _accent(rng, down), spread)
    return notes


def _chugs(start: float, step: float, rng: np.random.Generator) -> list[Note]:
    """Eight palm-muted power chords or low notes, one or two of them left ringing."""
    root = float(rng.integers(40, 50))
    strings = (0.0, 7.0, 12.0)[: int(rng.integers(1, 4))]
    notes: list[Note] = []
    for index in range(8):
        root = root if rng.random() < 0.8 else float(rng.integers(40, 50))
        how = Articulation.PLUCKED if rng.random() < 0.3 else Articulation.PALM_MUTED
        for place, interval in enumerate(strings):
            onset = start + step * index + 0.004 * place
            notes.append(Note(onset, step * 0.98, root + interval, _accent(rng, index % 2 == 0), how))
    return notes


def _held(start: float, step: float, rng: np.random.Generator) -> list[Note]:
    """One chord or double stop struck twice and left to ring."""
    chord = _chord(rng)[: int(rng.integers(2, 7))]
    return [
        note
        for half in (0, 4)
        for note in strum(chord, start + step * half, 4.02 * step, _accent(rng, half == 0), 0.015)
    ]


_FIGURES: tuple[tuple[float, Callable[[float, float, np.random.Generator], list[Note]]], ...] = (
    (0.3, _riff),
    (0.22, _arpeggio),
    (0.28, _strums),
    (0.1, _chugs),
    (0.1, _held),
)


def phrases(seconds: float, rng: np.random.Generator, sample_rate: float = 48000) -> Float32:
    """Random guitar playing without rests, on one random instrument: float32 [seconds * sample_rate], RMS 0.1.

    Figures of eight steps follow one another: riffs with bends, slides and hammer-ons, arpeggios, strummed
    chords, palm-muted chugs, held chords.
    """
    chances = np.asarray([chance for chance, _ in _FIGURES])
    notes: list[Note] = []
    time = -float(rng.uniform(0.0, 1.0))
    while time < seconds:
        figure = _FIGURES[rng.choice(len(_FIGURES), p=chances / chances.sum())][1]
        step = float(np.exp(rng.uniform(np.log(0.13), np.log(0.3))))
        notes += figure(time, step, rng)
        time += 8.0 * step
    audio = render_notes(notes, _any_instrument(rng), sample_rate, seconds, rng)
    return np.asarray(audio * np.float32(NOMINAL_RMS / _rms(audio)), dtype=np.float32)


def load_folder(path: str | Path, sample_rate: float = 48000) -> list[Float32]:
    """Every recording in a folder and its subfolders, mixed to mono at sample_rate: float32 [samples] each.

    Any format and rate that libsndfile reads; other files are passed over. Raises `DuendeError` when the folder
    does not exist or holds no audio.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DuendeError(f"{folder} is not a folder: name the folder that holds the recordings")
    recordings = []
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        try:
            audio, rate = read_samples(file)
        except DuendeError:
            continue
        mono = np.asarray(audio.mean(axis=1), dtype=np.float32)
        if mono.size and np.isfinite(mono).all() and np.any(mono):
            recordings.append(mono if rate == sample_rate else soxr.resample(mono, rate, sample_rate))
    if not recordings:
        raise DuendeError(f"no audio in {folder}: put WAV, FLAC, OGG, AIFF or MP3 files of your playing there")
    return recordings


def _is_dense(audio: Float32, sample_rate: float) -> bool:
    """The 25th percentile of the 50 ms level lies at most 14 dB under the RMS."""
    frame = round(0.05 * sample_rate)
    levels = np.sqrt(np.mean(audio[: len(audio) // frame * frame].reshape(-1, frame) ** 2, axis=1))
    return bool(np.percentile(levels, 25.0) > _rms(audio) * 10.0 ** (-14.0 / 20.0))


def _cut(recordings: Sequence[Float32], seconds: float, sample_rate: float, rng: np.random.Generator) -> Float32:
    """A random stretch of the recordings at RMS 0.1; a short recording is repeated. Dense if one is found."""
    count = round(seconds * sample_rate)
    lengths = np.asarray([len(x) for x in recordings], dtype=np.float64)
    piece = np.zeros(count, dtype=np.float32)
    for _ in range(_ATTEMPTS):
        recording = recordings[rng.choice(len(recordings), p=lengths / lengths.sum())]
        start = int(rng.integers(0, max(1, len(recording) - count)))
        candidate = (
            np.resize(recording[start:], count) if len(recording) - start < count else recording[start : start + count]
        )
        if _rms(candidate) > 1e-5:
            piece = np.asarray(candidate * np.float32(NOMINAL_RMS / _rms(candidate)), dtype=np.float32)
        if np.any(piece) and _is_dense(piece, sample_rate):
            break
    return piece


def _equalised(audio: Float32, sample_rate: float, rng: np.random.Generator) -> Float32:
    """Tilt -4.5..3 dB per octave about 600 Hz, one to four bells within +-12 dB, perhaps low- and high-pass."""
    size = scipy.fft.next_fast_len(len(audio) + round(0.1 * sample_rate), real=True)
    hz = np.maximum(scipy.fft.rfftfreq(size, 1.0 / sample_rate), 1.0)
    octaves = np.log2(hz / 600.0)
    gain_db = rng.uniform(-4.5, 3.0) * np.clip(octaves, -3.5, 4.5)
    for _ in range(rng.integers(1, 5)):
        centre, width = rng.uniform(-3.0, 4.0), rng.uniform(0.2, 1.0)
        gain_db = gain_db + rng.uniform(-12.0, 12.0) * np.exp(-0.5 * ((octaves - centre) / width) ** 2)
    if rng.random() < 0.5:
        order, edge_hz = rng.choice((2, 4, 10)), np.exp(rng.uniform(np.log(2500.0), np.log(12000.0)))
        gain_db = gain_db - 10.0 * np.log10(1.0 + (hz / edge_hz) ** (2.0 * order))
    if rng.random() < 0.3:
        edge_hz = np.exp(rng.uniform(np.log(60.0), np.log(200.0)))
        gain_db = gain_db - 10.0 * np.log10(1.0 + (edge_hz / hz) ** 4.0)
    gain = (10.0 ** (np.maximum(gain_db, -90.0) / 20.0)).astype(np.float32)
    return np.asarray(scipy.fft.irfft(scipy.fft.rfft(audio, size) * gain, size)[: len(audio)], dtype=np.float32)


def _compressed(audio: Float32, sample_rate: float, rng: np.random.Generator) -> Float32:
    """The level over half a second raised to a power of 0.6..1.8: slow compression or expansion."""
    power = scipy.ndimage.uniform_filter1d(audio.astype(np.float64) ** 2, round(rng.uniform(0.2, 0.8) * sample_rate))
    relative = np.sqrt(np.maximum(power, 0.0)) / _rms(audio) + 0.03
    return np.asarray(audio * relative ** (rng.uniform(0.6, 1.8) - 1.0), dtype=np.float32)


def _in_a_room(audio: Float32, sample_rate: float, rng: np.random.Generator) -> Float32:
    """Mixed with 300 ms of decaying, darkened noise for a room."""
    time = np.arange(round(0.3 * sample_rate)) / sample_rate
    response = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(0.03, 0.09))
    response[: round(rng.uniform(0.002, 0.015) * sample_rate)] = 0.0
    low_pass = scipy.signal.butter(1, rng.uniform(2000.0, 8000.0), fs=sample_rate)
    response = scipy.signal.lfilter(*low_pass, response)
    response = (response * rng.uniform(0.1, 0.5) / np.sqrt(np.sum(response**2))).astype(np.float32)
    return np.asarray(audio + scipy.signal.fftconvolve(audio, response)[: len(audio)], dtype=np.float32)


@dataclass(frozen=True)
class Augmentation:
    """How often each change is made to a piece of content, 0 to 1; `speed` changes tempo and tuning alike."""

    speed: float = 0.6
    polarity: float = 0.5
    equaliser: float = 0.8
    comb: float = 0.4
    clipping: float = 0.3
    compression: float = 0.3
    room: float = 0.3
    noise: float = 1.0
    level: float = 1.0


AS_USUAL = Augmentation()
UNALTERED = Augmentation(*[0.0] * 9)


def augment(audio: Float32, sample_rate: float, rng: np.random.Generator, chances: Augmentation = AS_USUAL) -> Float32:
    """Another pick-up, cable, amplifier, room and volume for audio [samples]: float32, as long, finite.

    Polarity, equaliser, comb, soft clipping, slow compression or expansion, room, each by chance; a noise floor of
    -95..-45 dBFS under an RMS of -20 dBFS, then -20..+6 dB of level.
    """
    if rng.random() < chances.polarity:
        audio = -audio
    if rng.random() < chances.equaliser:
        audio = _equalised(audio, sample_rate, rng)
    if rng.random() < chances.comb:
        delay = round(rng.uniform(20.0, 260.0) * sample_rate / 48000)
        echo = np.float32(rng.uniform(0.2, 0.8) * rng.choice((-1.0, 1.0)))
        audio = audio + echo * np.concatenate((np.zeros(delay, dtype=np.float32), audio[:-delay]))
    if rng.random() < chances.clipping:
        drive = np.float32(np.exp(rng.uniform(np.log(0.3), np.log(3.0))) / _rms(audio))
        audio = np.tanh(drive * audio)
    if rng.random() < chances.compression:
        audio = _compressed(audio, sample_rate, rng)
    if rng.random() < chances.room:
        audio = _in_a_room(audio, sample_rate, rng)
    audio = audio * np.float32(NOMINAL_RMS / _rms(audio))
    if rng.random() < chances.noise:
        noise = rng.standard_normal(len(audio)).astype(np.float32)
        if rng.random() < 0.5:
            noise = np.asarray(scipy.signal.lfilter([1.0], [1.0, -0.95], noise), dtype=np.float32)
        audio = audio + noise * np.float32(10.0 ** (rng.uniform(-95.0, -45.0) / 20.0) / _rms(noise))
    level_db = rng.uniform(-20.0, 6.0) if rng.random() < chances.level else 0.0
    return np.asarray(audio * np.float32(10.0 ** (level_db / 20.0)), dtype=np.float32)


def _source(
    seconds: float,
    sample_rate: float,
    recordings: Sequence[Float32],
    rng: np.random.Generator,
    other_speed: float = AS_USUAL.speed,
) -> Float32:
    """Playing at RMS 0.1 for exactly `seconds`, now and then at another speed and pitch (2/3 to 3/2)."""
    speed = float(np.exp(rng.uniform(-1.0, 1.0) * np.log(1.5))) if rng.random() < other_speed else 1.0
    count = round(seconds * sample_rate)
    own = bool(recordings) and rng.random() < _OWN_SHARE
    longer = seconds * speed + 0.05
    audio = _cut(recordings, longer, sample_rate, rng) if own else phrases(longer, rng, sample_rate)
    if speed != 1.0:
        audio = np.asarray(soxr.resample(audio, sample_rate * speed, sample_rate, quality="MQ"), dtype=np.float32)
    return audio[:count]


def _piece(
    seconds: float,
    run_in_seconds: float,
    sample_rate: float,
    recordings: Sequence[Float32],
    seed: np.random.SeedSequence,
    chances: Augmentation,
) -> Float32:
    """One augmented piece with its run-in; the densest of a few attempts."""
    rng = np.random.default_rng(seed)
    total = seconds + run_in_seconds
    run_in = round(run_in_seconds * sample_rate)
    for _ in range(_ATTEMPTS):
        audio = _source(total, sample_rate, recordings, rng, chances.speed)
        if rng.random() < 0.35:
            second = _source(total, sample_rate, recordings, rng, chances.speed)
            audio = audio + np.float32(10.0 ** (rng.uniform(-12.0, 0.0) / 20.0)) * second
        if _is_dense(audio[run_in:], sample_rate):
            break
    audio = augment(audio, sample_rate, rng, chances)
    if rng.random() < _COLD_STARTS:
        audio[:run_in] = 0.0
    return audio


def content_pieces(
    count: int,
    seconds: float,
    run_in_seconds: float,
    sample_rate: float = 48000,
    seed: int = 0,
    recordings: Sequence[Float32] = (),
    chances: Augmentation = AS_USUAL,
) -> Float32:
    """The content to train on: float32 [count, (run_in_seconds + seconds) * sample_rate].

    The first run_in_seconds of a piece let slow levels settle; in 12 % of the pieces they are silent, a cold
    start. With recordings [samples], 70 % of the sources are cut from those. Depends on the arguments alone, not on the
    number of processors.
    """
    if count < 1 or seconds <= 0.0 or run_in_seconds < 0.0:
        raise ValueError(f"{count} pieces of {seconds} s after {run_in_seconds} s: give at least one, longer than 0 s")
    seeds = np.random.SeedSequence(seed).spawn(count)
    workers = min(_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        pieces = pool.map(lambda s: _piece(seconds, run_in_seconds, sample_rate, recordings, s, chances), seeds)
        return np.stack(list(pieces))
