"""Long sounds in chunks: where they are cut, and how what was made of them is joined so that nobody hears where.

Neighbours share a second. At the place of that second where the content is quietest one fades into the other, moved by
up to 5 ms to where their waves agree best, with gains that keep the power at the correlation they have there. What
differs in level is made up half on either side, by a gain that runs linearly in dB from join to join. A system that
brings every chunk to the style's level would play quiet chunks as loud as loud ones: the level of all over that of the
content holds for each chunk, within 12 dB, by a gain that runs from the middle of one to that of the next.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.signal

from ... import DuendeError
from ..sounds import rms_of

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

OVERLAP_S = 1.0
EDGE_S = 0.2
FADE_S = 0.1
LAG_S = 0.005
LEVEL_S = 0.25
MOST_DB = 6.0
MOST_BALANCE_DB = 12.0
SHORTEST_S = 2.5
_SILENT = 1e-5  # RMS under which a level is not compared


@dataclass(frozen=True)
class Span:
    """Samples start to stop (exclusive) of the whole."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


def plan(samples: int, chunk: int, sample_rate: int) -> list[Span]:
    """Equal chunks of at most so many samples, neighbours sharing a second; one where all fits.

    DuendeError for chunks under 2.5 s.
    """
    if chunk >= samples:
        return [Span(0, samples)]
    overlap, shortest = round(OVERLAP_S * sample_rate), round(SHORTEST_S * sample_rate)
    if chunk < shortest:
        raise DuendeError(f"chunks of {chunk / sample_rate:.2f} s are too short: give {SHORTEST_S:g} s or more")
    count = math.ceil((samples - overlap) / (chunk - overlap))
    length = math.ceil((samples - overlap) / count) + overlap
    starts = np.linspace(0, samples - length, count).round().astype(int)
    return [Span(int(start), int(start) + length) for start in starts]


def join(pieces: Sequence[Float32], spans: Sequence[Span], content: Float32, sample_rate: int) -> Float32:
    """The whole [samples] from pieces [span's length] of a content [samples]; one piece comes back as it is."""
    if len(pieces) == 1:
        return pieces[0]
    balance = _balance(pieces, spans, content)
    cuts = [_quietest(content, right.start, left.stop, sample_rate) for left, right in itertools.pairwise(spans)]
    pieces = _levelled(pieces, spans, cuts, sample_rate)
    fade = round(FADE_S * sample_rate)
    whole = np.zeros(len(content), dtype=np.float32)
    whole[: spans[0].length] = pieces[0]
    for piece, span, cut in zip(pieces[1:], spans[1:], cuts, strict=True):
        first, reach = cut - fade // 2, fade
        lag = _lag(whole[first - reach : first + fade + reach], piece, first - reach - span.start, sample_rate)
        moved = _moved(piece, lag)[first - span.start :]
        ahead, next_one = whole[first : first + fade], moved[:fade]
        out, into = _gains(fade, _correlation(ahead, next_one))
        whole[first : first + fade] = out * ahead + into * next_one
        whole[first + fade : first + len(moved)] = moved[fade:]
    return whole * balance


def _balance(pieces: Sequence[Float32], spans: Sequence[Span], content: Float32) -> Float32:
    """A gain for every sample of the whole, with which each chunk is as loud, for its content, as all are."""
    owned = [rms_of(content[span.start : span.stop]) for span in spans]
    levels = zip(map(rms_of, pieces), owned, spans, strict=True)
    found = [(made, own, span) for made, own, span in levels if min(made, own) > _SILENT]
    if not found:
        return np.ones(len(content), dtype=np.float32)
    common = sum(made * made for made, _, _ in found) / sum(own * own for _, own, _ in found)
    decibels = [
        np.clip(10.0 * np.log10(common * own * own / (made * made)), -MOST_BALANCE_DB, MOST_BALANCE_DB)
        for made, own, _ in found
    ]
    middles = [0.5 * (span.start + span.stop) for _, _, span in found]
    curve = np.interp(np.arange(len(content)), middles, decibels)
    return np.asarray(10.0 ** (curve / 20.0), dtype=np.float32)


def _quietest(content: Float32, start: int, stop: int, sample_rate: int) -> int:
    """The sample of an overlap, away from its edges, around which a fade disturbs least."""
    edge = round(EDGE_S * sample_rate)
    power = np.square(content[start + edge : stop - edge], dtype=np.float64)
    smooth = scipy.ndimage.uniform_filter1d(power, round(FADE_S * sample_rate), mode="nearest")
    # Where all is alike, the middle.
    off = np.abs(np.linspace(-1.0, 1.0, len(smooth)))
    return start + edge + int(np.argmin(smooth * (1.0 + 0.1 * off) + 1e-12 * off))


def _levelled(pieces: Sequence[Float32], spans: Sequence[Span], cuts: Sequence[int], sample_rate: int) -> list[Float32]:
    """Pieces that meet at one level at every cut."""
    half = round(LEVEL_S * sample_rate)
    points: list[list[tuple[int, float]]] = [[(span.start, 0.0)] for span in spans]
    for index, cut in enumerate(cuts):
        left, right = spans[index], spans[index + 1]
        low, high = max(right.start, cut - half), min(left.stop, cut + half)
        levels = [
            rms_of(piece[low - span.start : high - span.start])
            for piece, span in ((pieces[index], left), (pieces[index + 1], right))
        ]
        step = 0.0
        if min(levels) > _SILENT:
            step = float(np.clip(20.0 * np.log10(levels[0] / levels[1]), -MOST_DB, MOST_DB))
        points[index] += [(cut, -0.5 * step), (left.stop, -0.5 * step)]
        points[index + 1] = [(right.start, 0.5 * step), (cut, 0.5 * step)]
    points[-1].append((spans[-1].stop, 0.0))
    made = []
    for piece, span, curve in zip(pieces, spans, points, strict=True):
        places, gains = zip(*curve, strict=True)
        decibels = np.interp(np.arange(span.start, span.stop), places, gains)
        made.append(np.asarray(piece * 10.0 ** (decibels / 20.0), dtype=np.float32))
    return made


def _lag(ahead: Float32, piece: Float32, at: int, sample_rate: int) -> int:
    """Samples by which a piece is to be moved later to fit what is ahead; 0 unless another place is clearly better."""
    most = round(LAG_S * sample_rate)
    most = max(0, min(most, at, len(piece) - at - len(ahead)))
    searched = piece[at - most : at + len(ahead) + most].astype(np.float64)
    products = scipy.signal.correlate(searched, ahead.astype(np.float64), "valid", "fft")
    energy = np.convolve(searched**2, np.ones(len(ahead)), "valid")
    scores = products / np.sqrt(np.maximum(energy, 1e-12) * max(float(np.sum(ahead.astype(np.float64) ** 2)), 1e-12))
    best = int(np.argmax(scores))
    return most - best if scores[best] > scores[most] + 0.05 else 0


def _moved(piece: Float32, lag: int) -> Float32:
    """The piece so many samples later, of the same length; zeros come in."""
    out = np.zeros_like(piece)
    if lag >= 0:
        out[lag:] = piece[: len(piece) - lag]
    else:
        out[:lag] = piece[-lag:]
    return out


def _gains(length: int, correlation: float) -> tuple[Float32, Float32]:
    """Out and in of a fade that keeps the power of two signals of one level with such a correlation."""
    turn = 0.5 * np.pi * (np.arange(length) + 0.5) / length
    out, into = np.cos(turn), np.sin(turn)
    norm = np.sqrt(1.0 + 2.0 * max(correlation, 0.0) * out * into)
    return (out / norm).astype(np.float32), (into / norm).astype(np.float32)


def _correlation(left: Float32, right: Float32) -> float:
    a, b = left.astype(np.float64), right.astype(np.float64)
    return float(a @ b / np.sqrt(max(float((a @ a) * (b @ b)), 1e-20)))
