"""How well an output keeps the player and takes the style: measures of (input guitar, output, style clip).

All audio is mono float [samples] at one rate (48 kHz unless said), input and output aligned to the sample and
of equal length. Nothing here was a training target: the style distance uses filters and scales of its own.
Every measure is deterministic and independent of the output's overall level, except the one after silence.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import mir_eval
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
import scipy.signal
import torch

from ..engine.bands import erb_bands, hz_to_erb
from .librosa_import import load_librosa
from .statistics import Analysis, StyleView, normalise_level, random_filters, style_distances

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

HELD_OUT_SCALES = ((2048, 256), (8192, 1024))
HELD_OUT_SEEDS = (770001, 770002, 770003)
EQ_BOUND_DB = 24.0
UNTOUCHED, MATCHED_EQ, FLOOR = "untouched input", "matched EQ", "floor"


@dataclass(frozen=True)
class Measures:
    """Everything measured on one output. Not-a-number where the material gives no answer.

    style_distance:  pitch-blind Gram distance to the style clip, 0 = equal (held-out filters).
    envelope_error:  squared nepers between the band-envelope statistics of output and clip.
    chroma:          -1..1, level-weighted cosine of harmonic chroma with the input.
    multi_pitch:     0..1, F-measure of the sounding pitches against the input's.
    onset_f1:        0..1, onsets within 50 ms of the input's.
    loudness:        -1..1, correlation of log frame levels with the input.
    harmonic_share:  0..1, power in steady partials, mean over ERB bands 100 Hz..8 kHz.
    drone_db:        energy at pitch classes of the clip which are not being played, over the input's.
    silence_dbfs:    loudest output level once the input has been silent for 0.3 s.
    style_ratio, envelope_ratio: the two distances over those of the matched EQ.
    """

    style_distance: float
    envelope_error: float
    chroma: float = np.nan
    multi_pitch: float = np.nan
    onset_f1: float = np.nan
    loudness: float = np.nan
    harmonic_share: float = np.nan
    drone_db: float = np.nan
    silence_dbfs: float = np.nan
    style_ratio: float = np.nan
    envelope_ratio: float = np.nan


def _tensor(audio: npt.ArrayLike) -> torch.Tensor:
    return normalise_level(torch.from_numpy(np.array(audio, dtype=np.float32))[None])


class StyleTarget:
    """The held-out statistics of a style clip, computed once; `distances` compares audio with them."""

    def __init__(self, style: npt.ArrayLike, sample_rate: int = 48000) -> None:
        scales = [Analysis(sample_rate=sample_rate, n_fft=n_fft, hop=hop) for n_fft, hop in HELD_OUT_SCALES]
        filters = [random_filters(seed) for seed in HELD_OUT_SEEDS]
        self._view = StyleView(scales, [filters] * len(scales))
        with torch.no_grad():
            self._wanted: tuple[torch.Tensor, torch.Tensor] = self._view(_tensor(style))

    @torch.no_grad()
    def distances(self, audio: npt.ArrayLike) -> tuple[float, float]:
        """(style distance, envelope error) of audio [samples] against the clip."""
        style, envelope = style_distances(self._view(_tensor(audio)), self._wanted)
        return float(style), float(envelope)


def floor_distance(style: npt.ArrayLike, sample_rate: int = 48000) -> tuple[float, float]:
    """(style distance, envelope error) between the two halves of a clip, mean of both directions.

    No output can be expected to come nearer to the clip than the clip comes to itself.
    """
    clip = np.asarray(style, dtype=np.float32)
    first, second = clip[: len(clip) // 2], clip[len(clip) // 2 :]
    there = StyleTarget(first, sample_rate).distances(second)
    back = StyleTarget(second, sample_rate).distances(first)
    return (there[0] + back[0]) / 2.0, (there[1] + back[1]) / 2.0


def _long_term_power(audio: npt.ArrayLike, n_fft: int) -> Float64:
    """Mean power spectrum of Hann frames with 75 % overlap, of audio scaled to RMS 1: float64 [bins]."""
    samples = np.asarray(audio, dtype=np.float64)
    samples = np.pad(samples, (0, max(0, n_fft - len(samples))))
    samples = samples / np.sqrt(np.mean(samples**2) + 1e-12)
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[:: n_fft // 4]
    window = scipy.signal.get_window("hann", n_fft)
    power = np.abs(scipy.fft.rfft(frames * window, axis=1)) ** 2
    return np.asarray(power.mean(axis=0) / np.sum(window**2))


def matched_eq_gains_db(
    guitar: npt.ArrayLike, style: npt.ArrayLike, sample_rate: int = 48000
) -> tuple[Float64, Float64]:
    """Band centres in Hz and gains in dB (within +-24), each float64 [48], from guitar to style.

    Both are brought to the same level first, so the bound is spent on the spectrum and not on loudness.
    """
    n_fft = 4096 * max(1, round(sample_rate / 48000))
    bands = erb_bands(sample_rate, n_fft)
    powers = [_long_term_power(audio, n_fft)[: bands.bins] @ bands.pooling for audio in (guitar, style)]
    gains_db = 10.0 * np.log10((powers[1] + 1e-12) / (powers[0] + 1e-12))
    return bands.centres_hz, np.clip(gains_db, -EQ_BOUND_DB, EQ_BOUND_DB)


def matched_eq(guitar: npt.ArrayLike, style: npt.ArrayLike, sample_rate: int = 48000) -> Float32:
    """The baseline: what a match-EQ plug-in makes of guitar [samples], float32 [samples] at the guitar's RMS.

    Gains of 48 ERB bands, 60 Hz..18 kHz, from the long-term power of guitar and clip, linear in log gain
    between band centres on the ERB axis and level outside, within +-24 dB; zero phase, no latency; it knows
    the whole take.
    """
    samples = np.asarray(guitar, dtype=np.float64)
    centres_hz, gains_db = matched_eq_gains_db(samples, style, sample_rate)
    size = scipy.fft.next_fast_len(len(samples) + sample_rate, real=True)
    bins_hz = scipy.fft.rfftfreq(size, 1.0 / sample_rate)
    gain = 10.0 ** (np.interp(hz_to_erb(bins_hz), hz_to_erb(centres_hz), gains_db) / 20.0)
    output = scipy.fft.irfft(scipy.fft.rfft(samples, size) * gain, size)[: len(samples)]
    level = np.sqrt(np.mean(samples**2) / (np.mean(output**2) + 1e-20))
    return np.asarray(output * level, dtype=np.float32)


def _spectrum(audio: npt.ArrayLike, n_fft: int, hop: int, bins: int) -> Float32:
    """Hann magnitudes [bins, frames] of audio brought to RMS 0.1, a sine of amplitude 1 reading 1."""
    samples = np.asarray(audio, dtype=np.float32)
    samples = samples * np.float32(0.1 / np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-10))
    spectrum = load_librosa().stft(samples, n_fft=n_fft, hop_length=hop, pad_mode="reflect")[:bins]
    return np.asarray(np.abs(spectrum) * (4.0 / n_fft), dtype=np.float32)


def _frame_level(audio: npt.ArrayLike, frame: int, hop: int) -> Float64:
    """RMS of centred frames, float64 [1 + samples // hop]."""
    samples = np.asarray(audio, dtype=np.float32)
    return np.asarray(load_librosa().feature.rms(y=samples, frame_length=frame, hop_length=hop)[0], dtype=np.float64)


@functools.lru_cache(maxsize=4)
def _semitone_bank(sample_rate: int, n_fft: int, low: int, high: int) -> Float32:
    """Gaussians of 25 cents deviation at MIDI notes low..high-1: float32 [notes, bins], peak 1.

    The bins go half an octave beyond the highest note.
    """
    bins = int(440.0 * 2.0 ** ((high + 6 - 69) / 12.0) * n_fft / sample_rate)
    hz = np.maximum(np.arange(bins) * sample_rate / n_fft, 1.0)
    distance = (69.0 + 12.0 * np.log2(hz / 440.0))[None, :] - np.arange(low, high)[:, None]
    # A note lower than the resolution of the transform would miss the bins: let it reach the nearest one.
    width = np.maximum(0.25, 12.0 / np.log(2.0) * 0.5 * sample_rate / n_fft / hz)
    return np.asarray(np.exp(-0.5 * (distance / width[None, :]) ** 2), dtype=np.float32)


def _sharpened(magnitude: Float32) -> Float32:
    """Spectral peaks above their neighbourhood, in nepers over a local mean: timbre and level fall out.

    The neighbourhood is Gaussian over +-(about half an octave) on a log axis, taken from cumulative sums.
    """
    log = np.log(magnitude + 1e-5)
    bins = np.arange(log.shape[0])
    low = np.floor(bins / 1.4).astype(int)
    high = np.minimum(np.ceil(bins * 1.4).astype(int) + 2, log.shape[0])
    total = np.concatenate((np.zeros((1, log.shape[1])), np.cumsum(log, axis=0, dtype=np.float64)))
    mean = (total[high] - total[low]) / (high - low)[:, None]
    return np.asarray(np.maximum(0.0, log - mean - 0.5), dtype=np.float32)


N_FFT, HOP = 8192, 2048
LOW_NOTE, HIGH_NOTE = 40, 96


def _note_strengths(audio: npt.ArrayLike, sample_rate: int) -> Float32:
    """Strength of the partials at each semitone of E2..B6: float32 [notes, frames]."""
    bank = _semitone_bank(sample_rate, N_FFT, LOW_NOTE, HIGH_NOTE)
    spectrum = _spectrum(audio, N_FFT, HOP, bank.shape[1])
    harmonic = load_librosa().decompose.hpss(spectrum, kernel_size=(9, 31))[0]
    return np.asarray(bank @ _sharpened(harmonic))


def _salience(notes: Float32) -> Float32:
    """Harmonic sum over five partials, none counted above twice the first: float32 [notes, frames]."""
    padded = np.pad(notes, ((0, 36), (0, 0)))
    count = notes.shape[0]
    weights = {0: 1.0, 12: 0.7, 19: 0.5, 24: 0.4, 28: 0.3}
    summed = sum(weight * np.minimum(padded[step : step + count], 2.0 * notes) for step, weight in weights.items())
    return np.asarray(np.where(notes > 0.0, summed, 0.0), dtype=np.float32)


def _sounding_notes(notes: Float32) -> npt.NDArray[np.bool_]:
    """The strongest local maxima of the salience, six at most and 40 % of the best one at least: bool."""
    salience = _salience(notes)
    peak = salience >= scipy.ndimage.maximum_filter1d(salience, 3, axis=0, mode="constant")
    candidates = np.where(peak, salience, 0.0)
    sixth = np.sort(candidates, axis=0)[-6]
    best = candidates.max(axis=0)
    return np.asarray((candidates > 0.0) & (candidates >= np.maximum(sixth, 0.4 * best)))


def _chroma(notes: Float32) -> Float32:
    """Fold semitones to pitch classes, C first: float32 [12, frames]."""
    folded = np.zeros((12, notes.shape[1]), dtype=np.float32)
    np.add.at(folded, (LOW_NOTE + np.arange(notes.shape[0])) % 12, notes)
    return folded


def _level_weights(audio: npt.ArrayLike, frames: int) -> Float64:
    """Frame RMS of the input on the pitch grid, 0 where 40 dB under the loudest: float64 [frames]."""
    level = _frame_level(audio, N_FFT, HOP)[:frames]
    return np.where(level > 0.01 * level.max(initial=1e-9), level, 0.0)


def chroma_agreement(guitar: npt.ArrayLike, output: npt.ArrayLike, sample_rate: int = 48000) -> float:
    """Cosine of the harmonic chroma of input and output, weighted by the input's level: -1..1.

    Chroma of the horizontally median-filtered spectrogram's peaks (Fitzgerald 2010), each peak counted by its
    height over its half-octave neighbourhood; 82 Hz..2 kHz, 171 ms frames; mean over classes removed.
    """
    return _chroma_cosine(_note_strengths(guitar, sample_rate), _note_strengths(output, sample_rate), guitar)


def _chroma_cosine(played: Float32, heard: Float32, guitar: npt.ArrayLike) -> float:
    a, b = _chroma(played), _chroma(heard)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    cosine = (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0) + 1e-9)
    weight = _level_weights(guitar, len(cosine))
    return float((cosine * weight).sum() / (weight.sum() + 1e-12))


def multi_pitch_agreement(guitar: npt.ArrayLike, output: npt.ArrayLike, sample_rate: int = 48000) -> float:
    """F-measure of the sounding semitones of output and input, weighted by the input's level: 0..1.

    Notes are peaks of a harmonic sum over whitened partials, estimated alike in both.
    """
    return _note_agreement(_note_strengths(guitar, sample_rate), _note_strengths(output, sample_rate), guitar)


def _note_agreement(played: Float32, heard: Float32, guitar: npt.ArrayLike) -> float:
    a, b = _sounding_notes(played), _sounding_notes(heard)
    weight = _level_weights(guitar, a.shape[1])
    both, either = (a & b).sum(axis=0) @ weight, (a.sum(axis=0) + b.sum(axis=0)) @ weight
    return float(2.0 * both / (either + 1e-12))


def onset_times(audio: npt.ArrayLike, sample_rate: int = 48000) -> Float64:
    """Onsets in seconds: peaks of the positive mel flux, one fixed setting for every signal (librosa)."""
    samples = np.asarray(audio, dtype=np.float32)
    samples = samples * np.float32(0.1 / np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-10))
    times = load_librosa().onset.onset_detect(y=samples, sr=sample_rate, hop_length=512, units="time", backtrack=False)
    return np.asarray(times, dtype=np.float64)


def onset_f1(guitar: npt.ArrayLike, output: npt.ArrayLike, sample_rate: int = 48000) -> float:
    """F-measure of the output's onsets against the input's, within 50 ms (mir_eval): 0..1, or nan."""
    return _onset_score(onset_times(guitar, sample_rate), onset_times(output, sample_rate))


def _onset_score(played: Float64, heard: Float64) -> float:
    if len(played) == 0:
        return float("nan")
    if len(heard) == 0:
        return 0.0
    return float(mir_eval.onset.f_measure(played, heard, window=0.05)[0])


def loudness_correlation(guitar: npt.ArrayLike, output: npt.ArrayLike) -> float:
    """Correlation of the log RMS of 43 ms frames, each floored 50 dB under its loudest frame: -1..1."""
    levels = []
    for audio in (guitar, output):
        level = _frame_level(audio, 2048, 512)
        levels.append(np.log(np.maximum(level, level.max(initial=1e-9) * 10.0**-2.5)))
    a, b = (level - level.mean() for level in levels)
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum() + 1e-12))


def harmonic_share(audio: npt.ArrayLike, sample_rate: int = 48000) -> float:
    """Power in steady partials over all power, mean over ERB bands from 100 Hz to 8 kHz: 0..1.

    A bin is harmonic where the median over +-180 ms exceeds twice the median over +-90 Hz (85 ms frames;
    Fitzgerald 2010): white noise reads about 0.05, a steady tone 1. Bands 40 dB under the loudest are left
    out.
    """
    n_fft, hop = 4096, 1024
    bands = erb_bands(sample_rate, n_fft, low_hz=100.0, high_hz=8000.0)
    spectrum = _spectrum(audio, n_fft, hop, bands.bins + 8)
    if spectrum.shape[1] > 8:  # the frames that hold padding are broadband whatever the sound
        spectrum = spectrum[:, 2:-2]
    harmonic = load_librosa().decompose.hpss(spectrum, kernel_size=(17, 17), margin=(2.0, 1.0))[0]
    total = (spectrum[: bands.bins] ** 2).mean(axis=1) @ bands.pooling
    steady = (harmonic[: bands.bins] ** 2).mean(axis=1) @ bands.pooling
    loud = total > 1e-4 * total.max(initial=1e-12)
    return float(np.mean(steady[loud] / total[loud])) if loud.any() else float("nan")


def _tonal_chroma(audio: npt.ArrayLike, sample_rate: int) -> Float64:
    """Power of steady partials per pitch class, 110 Hz..2.8 kHz, 341 ms frames: float64 [12, frames]."""
    n_fft, hop = 16384, 4096
    bank = _semitone_bank(sample_rate, n_fft, 45, 102)
    spectrum = _spectrum(audio, n_fft, hop, bank.shape[1])
    harmonic = load_librosa().decompose.hpss(spectrum, kernel_size=(5, 41), margin=(1.5, 1.0))[0]
    notes = bank**2 @ harmonic**2
    folded = np.zeros((12, notes.shape[1]))
    np.add.at(folded, (45 + np.arange(notes.shape[0])) % 12, notes)
    return folded


def drone_db(guitar: npt.ArrayLike, output: npt.ArrayLike, style: npt.ArrayLike, sample_rate: int = 48000) -> float:
    """Does the output sound the clip's notes whatever is played? In dB; 0 = no more than the guitar alone.

    For each pitch class of the clip (those above 1.5 times the mean class, three at most): its share of the
    tonal power in frames where the guitar, within +-0.17 s, holds less than 5 % of its own there; over the
    same share of the guitar brought to the long-term band spectrum of the output, so that a mere equaliser
    reads about 0. Mean of the dB, weighted by the clip's power in the classes. Not-a-number when the clip has
    no pitch or the guitar plays those classes all the time.
    """
    clip = _tonal_chroma(style, sample_rate).sum(axis=1)
    chosen = [c for c in np.argsort(clip)[::-1][:3] if clip[c] > 1.5 * clip.mean()]
    played = _tonal_chroma(matched_eq(guitar, output, sample_rate), sample_rate)
    heard = _tonal_chroma(output, sample_rate)
    loud = played.sum(axis=0) > 1e-4 * played.sum(axis=0).max(initial=1e-12)
    # A note that has just ended or is about to begin counts as played: output and input need not decay alike.
    sounding = scipy.ndimage.maximum_filter1d(played / (played.sum(axis=0) + 1e-12), 5, axis=1)
    total = weights = 0.0
    for pitch_class in chosen:
        rest = loud & (sounding[pitch_class] < 0.05)
        if not rest.any():
            continue
        before, after = (x[pitch_class, rest].sum() / (x[:, rest].sum() + 1e-12) for x in (played, heard))
        total += clip[pitch_class] * 10.0 * np.log10((after + 1e-4) / (before + 1e-4))
        weights += clip[pitch_class]
    return float(total / weights) if weights > 0.0 else float("nan")


def silence_dbfs(guitar: npt.ArrayLike, output: npt.ArrayLike, sample_rate: int = 48000) -> float:
    """Loudest 43 ms level of the output, dBFS, once the input was under -80 dBFS for 0.3 s; nan if never."""
    quiet = _frame_level(guitar, 2048, 512) < 1e-4
    wait = int(0.3 * sample_rate / 512)
    # True where this frame and all of the 0.3 s before it are quiet.
    settled = scipy.ndimage.minimum_filter1d(
        quiet.astype(np.uint8), wait + 1, origin=wait // 2, mode="constant", cval=0
    ).astype(bool)
    if not settled.any():
        return float("nan")
    level = _frame_level(output, 2048, 512)[: len(settled)]
    return float(20.0 * np.log10(level[settled[: len(level)]].max() + 1e-12))


class Judge:
    """Measures outputs of one guitar take against one style clip; keeps what depends on those two."""

    def __init__(self, guitar: npt.ArrayLike, style: npt.ArrayLike, sample_rate: int = 48000) -> None:
        self.sample_rate = sample_rate
        self.guitar = np.asarray(guitar, dtype=np.float32)
        self.style = np.asarray(style, dtype=np.float32)
        if self.guitar.ndim != 1 or self.style.ndim != 1:
            raise ValueError("guitar and style must be mono: one-dimensional arrays")
        self._target = StyleTarget(self.style, sample_rate)
        self._notes = _note_strengths(self.guitar, sample_rate)
        self._onsets = onset_times(self.guitar, sample_rate)
        self.matched_eq = matched_eq(self.guitar, self.style, sample_rate)
        self._eq_distances = self._target.distances(self.matched_eq)

    def measure(self, output: npt.ArrayLike) -> Measures:
        """All measures of an output [samples], aligned with the guitar and equally long."""
        heard = np.asarray(output, dtype=np.float32)
        if heard.shape != self.guitar.shape:
            raise ValueError(f"the output has shape {heard.shape}, the guitar {self.guitar.shape}: align them")
        style, envelope = self._target.distances(heard)
        notes = _note_strengths(heard, self.sample_rate)
        return Measures(
            style_distance=style,
            envelope_error=envelope,
            chroma=_chroma_cosine(self._notes, notes, self.guitar),
            multi_pitch=_note_agreement(self._notes, notes, self.guitar),
            onset_f1=_onset_score(self._onsets, onset_times(heard, self.sample_rate)),
            loudness=loudness_correlation(self.guitar, heard),
            harmonic_share=harmonic_share(heard, self.sample_rate),
            drone_db=drone_db(self.guitar, heard, self.style, self.sample_rate),
            silence_dbfs=silence_dbfs(self.guitar, heard, self.sample_rate),
            style_ratio=style / (self._eq_distances[0] + 1e-9),
            envelope_ratio=envelope / (self._eq_distances[1] + 1e-9),
        )

    def floor(self) -> Measures:
        """The clip against itself: its two halves."""
        style, envelope = floor_distance(self.style, self.sample_rate)
        return Measures(
            style_distance=style,
            envelope_error=envelope,
            style_ratio=style / (self._eq_distances[0] + 1e-9),
            envelope_ratio=envelope / (self._eq_distances[1] + 1e-9),
        )


def table(
    guitar: npt.ArrayLike,
    outputs: Mapping[str, npt.ArrayLike],
    style: npt.ArrayLike,
    sample_rate: int = 48000,
) -> dict[str, Measures]:
    """Measures of every output by name, after the untouched input, the matched EQ and the floor."""
    for name, output in outputs.items():
        if np.shape(output) != np.shape(guitar):
            raise ValueError(f"{name} has shape {np.shape(output)}, the guitar {np.shape(guitar)}: align them")
    judge = Judge(guitar, style, sample_rate)
    rows = {
        UNTOUCHED: judge.measure(judge.guitar),
        MATCHED_EQ: judge.measure(judge.matched_eq),
        FLOOR: judge.floor(),
    }
    return rows | {name: judge.measure(output) for name, output in outputs.items()}


def format_table(rows: Mapping[str, Measures]) -> str:
    """A Markdown table of `table`'s result; a dash where there is no answer."""
    names = [field.name for field in fields(Measures)]
    lines = ["| output | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|---|" + "---|" * len(names))
    for title, measures in rows.items():
        cells = ["-" if np.isnan(value) else f"{value:.3g}" for value in asdict(measures).values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
