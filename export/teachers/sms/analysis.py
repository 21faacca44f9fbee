"""Sinusoidal analysis: spectral peaks of every frame, joined to tracks.

After McAulay and Quatieri (1986) and Serra and Smith (1990): a window centred on its frame, so that a peak's phase is
that of the sinusoid at the frame's centre; peaks are local maxima above a threshold, placed by a parabola through the
log magnitudes; a peak goes on with the nearest track of the frame before, the loudest peak choosing first.
"""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from .... import DuendeError
from ..settings import check_ranges

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

QUIETEST_DB = -200.0
_BLOCK = 512  # frames that are transformed together: bounds memory


@dataclass(frozen=True)
class SineAnalysis:
    """The published configuration (Ordiales and Barrera 2019) but for `corrected`.

    sample_rate: Hz. window: Blackman, samples, odd. n_fft: a power of two, the window zero-padded to it. hop: samples.
    threshold_db: a peak's least amplitude, of a sine of full scale 0. sines: tracks at most.
    shortest_s: tracks that do not last longer are removed. offset_hz, slope: a track moves by less than
        offset_hz + slope * frequency from one frame to the next.
    corrected: takes what the parabola is wrong by, known from the window's own transform, off frequency and level.
    """

    sample_rate: int = 44100
    window: int = 2001
    n_fft: int = 2048
    hop: int = 128
    threshold_db: float = -90.0
    sines: int = 150
    shortest_s: float = 0.01
    offset_hz: float = 20.0
    slope: float = 0.02
    corrected: bool = True

    def __post_init__(self) -> None:
        check_ranges(
            ("sample_rate", self.sample_rate, 4000, 192_000),
            ("window", self.window, 63, 16_383),
            ("n_fft", self.n_fft, self.window, 65_536),
            ("hop", self.hop, 16, self.window // 2),
            ("threshold_db", self.threshold_db, -160.0, 0.0),
            ("sines", self.sines, 1, 1000),
            ("shortest_s", self.shortest_s, 0.0, 1.0),
            ("offset_hz", self.offset_hz, 0.1, 1000.0),
            ("slope", self.slope, 0.0, 0.5),
        )
        if self.window % 2 == 0:
            raise DuendeError(f"window {self.window} is even: its centre must be a sample, take {self.window + 1}")
        if self.n_fft & (self.n_fft - 1):
            raise DuendeError(f"n_fft {self.n_fft} is no power of two: take {1 << self.n_fft.bit_length()}")

    def frames(self, samples: int) -> int:
        """Frames of a sound: the first is centred on sample 0, the last at most a hop before the end or on it."""
        return samples // self.hop + 1


@dataclass(frozen=True)
class Tracks:
    """Sinusoids over time, each array float64 [frames, slots].

    hz: frequencies, 0 where a slot is empty. db: amplitudes, a sine of full scale is 0, QUIETEST_DB where empty.
    phase: of a cosine at the frame's centre, radians in -pi..pi. A track stays in its slot as long as it lasts.
    """

    hz: Float64
    db: Float64
    phase: Float64

    @property
    def active(self) -> Bool:
        return self.hz > 0.0

    def amplitudes(self) -> Float64:
        """Linear, 0 where empty."""
        return np.where(self.active, 10.0 ** (self.db / 20.0), 0.0)


@functools.lru_cache(maxsize=8)
def _window(length: int) -> Float64:
    """Blackman, of sum 2: a sine of amplitude 1 has a peak of 1."""
    window = scipy.signal.get_window("blackman", length, fftbins=False)
    return np.asarray(2.0 * window / window.sum())


@functools.lru_cache(maxsize=8)
def _correction(length: int, n_fft: int) -> tuple[Float64, Float64, Float64]:
    """(what a parabola finds, true offset in bins, dB that it reads too little) for sines between two bins."""
    window, time = _window(length), np.arange(length) - length // 2
    offsets = np.linspace(-0.52, 0.52, 209)
    bins = np.array([-1.0, 0.0, 1.0])
    phase = 2.0 * np.pi * (offsets[:, None, None] - bins[None, :, None]) / n_fft * time
    below, middle, above = 20.0 * np.log10(np.abs(0.5 * np.cos(phase) @ window)).T
    found, level = _parabola(below, middle, above)
    return found, offsets, -level


def _parabola(below: Float64, middle: Float64, above: Float64) -> tuple[Float64, Float64]:
    """Place in bins from the middle, and height, of the vertex through three values one bin apart."""
    bend = below - 2.0 * middle + above
    place = 0.5 * (below - above) / np.where(bend < 0.0, bend, -1e-12)
    place = np.clip(place, -0.5, 0.5)
    return place, middle - 0.25 * (below - above) * place


def spectra(audio: Float32, analysis: SineAnalysis, first: int, last: int) -> npt.NDArray[np.complex128]:
    """Zero-phase spectra [frames, bins] of the frames first..last-1; zeros outside the sound."""
    half = analysis.window // 2
    start, stop = first * analysis.hop - half, (last - 1) * analysis.hop + half + 1
    part = np.zeros(stop - start)
    inside = audio[max(0, start) : max(0, min(stop, len(audio)))]
    at = max(0, -start)
    part[at : at + len(inside)] = inside
    frames = np.lib.stride_tricks.sliding_window_view(part, analysis.window)[:: analysis.hop] * _window(analysis.window)
    padded = np.zeros((len(frames), analysis.n_fft))
    padded[:, : half + 1] = frames[:, half:]
    padded[:, -half:] = frames[:, :half]
    return np.asarray(scipy.fft.rfft(padded, axis=1))


class _Peaks:
    """The loudest peaks of each frame, in falling order of level: arrays [frames, sines], hz 0 where there is none."""

    def __init__(self, frames: int, sines: int) -> None:
        self.hz, self.phase = np.zeros((frames, sines)), np.zeros((frames, sines))
        self.db = np.full((frames, sines), QUIETEST_DB)


def _find_peaks(audio: Float32, analysis: SineAnalysis) -> _Peaks:
    count = analysis.frames(len(audio))
    found = _Peaks(count, analysis.sines)
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        spectrum = spectra(audio, analysis, first, last)
        db = 20.0 * np.log10(np.maximum(np.abs(spectrum), 1e-10))
        middle = db[:, 1:-1]
        is_peak = (middle > analysis.threshold_db) & (middle > db[:, :-2]) & (middle >= db[:, 2:])
        level = np.where(is_peak, middle, QUIETEST_DB)
        columns = min(analysis.sines, level.shape[1])
        order = np.argsort(-level, axis=1, kind="stable")[:, :columns]
        rows = np.arange(last - first)[:, None]
        kept, bins = np.take_along_axis(is_peak, order, axis=1), order + 1
        place, height = _parabola(db[rows, bins - 1], db[rows, bins], db[rows, bins + 1])
        # Around a peak the phase is even: what little it turns goes in a straight line to the neighbour.
        side = np.where(place < 0.0, bins - 1, bins + 1)
        turn = np.angle(spectrum[rows, side] * np.conj(spectrum[rows, bins]))
        phase = np.angle(spectrum[rows, bins]) + np.abs(place) * turn
        if analysis.corrected:
            known, offsets, missing = _correction(analysis.window, analysis.n_fft)
            height = height + np.interp(place, known, missing)
            place = np.interp(place, known, offsets)
        hz = (bins + place) * analysis.sample_rate / analysis.n_fft
        found.hz[first:last, :columns] = np.where(kept, hz, 0.0)
        found.db[first:last, :columns] = np.where(kept, height, QUIETEST_DB)
        found.phase[first:last, :columns] = np.where(kept, np.angle(np.exp(1j * phase)), 0.0)
    return found


def _continued(peaks: Float64, tracks: Float64, analysis: SineAnalysis) -> npt.NDArray[np.int64]:
    """The slot that each peak [loudest first] goes on in, -1 for none; tracks hold 0 where a slot is empty."""
    chosen = np.full(len(peaks), -1, dtype=np.int64)
    slots = np.flatnonzero(tracks > 0.0)
    if len(slots) == 0 or len(peaks) == 0:
        return chosen
    distance = np.abs(peaks[:, None] - tracks[slots][None, :])
    near_peak, near_slot = np.nonzero(distance < (analysis.offset_hz + analysis.slope * peaks)[:, None])
    order = np.lexsort((distance[near_peak, near_slot], near_peak))
    taken: set[int] = set()
    for peak, slot in zip(near_peak[order].tolist(), near_slot[order].tolist(), strict=True):
        if chosen[peak] < 0 and slot not in taken:
            chosen[peak] = slots[slot]
            taken.add(slot)
    return chosen


def analyse(audio: Float32, analysis: SineAnalysis) -> Tracks:
    """The sinusoids of audio [samples]: `analysis.frames` frames, slots for `analysis.sines` tracks."""
    peaks = _find_peaks(audio, analysis)
    shape = peaks.hz.shape
    hz, db, phase = np.zeros(shape), np.full(shape, QUIETEST_DB), np.zeros(shape)
    before = np.zeros(shape[1])
    for frame in range(shape[0]):
        found = int(np.count_nonzero(peaks.hz[frame]))
        slot = _continued(peaks.hz[frame, :found], before, analysis)
        # A new track takes a slot that was empty before, too, so that every slot holds one track at a time.
        empty = np.flatnonzero(before == 0.0)
        born = np.flatnonzero(slot < 0)[: len(empty)]
        slot[born] = empty[: len(born)]
        used = np.flatnonzero(slot >= 0)
        hz[frame, slot[used]] = peaks.hz[frame, used]
        db[frame, slot[used]] = peaks.db[frame, used]
        phase[frame, slot[used]] = peaks.phase[frame, used]
        before = hz[frame]
    too_short = round(analysis.shortest_s * analysis.sample_rate / analysis.hop)
    kept = _lasting(hz > 0.0, too_short)
    return Tracks(np.where(kept, hz, 0.0), np.where(kept, db, QUIETEST_DB), np.where(kept, phase, 0.0))


def _lasting(active: Bool, too_short: int) -> Bool:
    """Active frames [frames, slots] of runs over more than so many frames."""
    ends = np.zeros((1, active.shape[1]), dtype=np.int8)
    change = np.diff(np.concatenate((ends, active.astype(np.int8), ends)), axis=0)
    kept = active.copy()
    for slot in range(active.shape[1]):
        starts, stops = np.flatnonzero(change[:, slot] == 1), np.flatnonzero(change[:, slot] == -1)
        for start, stop in zip(starts[stops - starts <= too_short], stops[stops - starts <= too_short], strict=True):
            kept[start:stop, slot] = False
    return kept
