"""From a note of known pitch to the envelopes of `additive`: where its partials lie, their levels, and what is left."""

import itertools

import numpy as np
import numpy.typing as npt
import scipy.fft

from .additive import EDGES, FLOOR_DB, GROUPS, HARMONICS, LENGTH_S, MOST_AWAY, TIMES, Envelopes

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

HOP_S = 0.005
_FRAMES = round(LENGTH_S / HOP_S) + 1
_PERIODS, _SHORTEST_S = 3.0, 0.012
_PEAKS_S = 0.6
_NOISE_SIZE = 512
_HARMONIC_WITHIN = 0.03
_MOST_STIFF = 3e-3
_PURE = 0.7
_BETWEEN_PERIODS, _BETWEEN_EVERY = 6.0, 4
_ATTACK_S = 0.05
_SUB_OCTAVE = 0.05
_QUIET = 1e-12


def envelopes_of(audio: Float32, f0: float, sample_rate: int) -> Envelopes:
    """Envelopes of a note [samples] that begins at its first sample; f0 in Hz.

    A pitch that is off by less than a third of a semitone is put right; one that is off by more is kept as it is.
    """
    kept = audio[: round(LENGTH_S * sample_rate)].astype(np.float64)
    count = max(1, min(HARMONICS, int(0.47 * sample_rate / f0)))
    spectrum, width = _long_spectrum(kept, sample_rate)
    tuned, away, regular = _places(spectrum, width, f0, count)
    second = _second_pitch(spectrum, width, tuned, count) if regular else None
    size = round(max(_PERIODS / tuned, _SHORTEST_S) * sample_rate) * (1 if second is None else 2)
    hz = np.asarray(tuned * (np.arange(count) + 1.0 + away), dtype=np.float64)
    partials = _followed(kept, hz, size, sample_rate)
    known = [(hz, partials)]
    below = regular and _sounds_an_octave_lower(spectrum, width, tuned, count)
    if below:
        # An organ's sub-octave would else be taken for noise; it is left out.
        halves = np.asarray(tuned * (np.arange(count) + 0.5), dtype=np.float64)
        known.append((halves, _followed(kept, halves, 2 * size, sample_rate)))
    if second is not None:
        others = np.asarray(tuned * second[0] * (np.arange(count // 2) + 1.0), dtype=np.float64)
        known.append((others, _followed(kept, others, size, sample_rate)))
    density = _left_over(kept, known, size, sample_rate)
    bins = np.asarray(np.fft.rfftfreq(_NOISE_SIZE, 1.0 / sample_rate), dtype=np.float64)
    late = np.arange(_FRAMES) * HOP_S > _ATTACK_S
    density[late] = np.minimum(
        density[late], _between(kept, hz, tuned, bins, sample_rate, 0.25 if below else 0.5)[late]
    )
    under = np.stack([np.interp(hz, bins, row) for row in density])
    power = np.maximum(np.abs(partials) ** 2 - 2.0 * 3.0 * under * sample_rate / size, 0.0)
    levels = np.full((len(TIMES), HARMONICS), FLOOR_DB)
    levels[:, :count] = _on_frames(_decibels(power))
    # The mean of the logarithm of noise lies 2.5 dB under the logarithm of its mean.
    noise = np.maximum(_on_frames(_decibels(_in_bands(density, bins)) + 2.5), FLOOR_DB)
    noise[noise < FLOOR_DB + 3.0] = FLOOR_DB
    every = np.zeros(HARMONICS)
    every[:count] = away
    vibrato = _vibrato(partials, hz)
    return Envelopes(levels, noise, every, vibrato, _flutter(power), second or (1.25, FLOOR_DB))


def _long_spectrum(audio: Float64, sample_rate: int) -> tuple[Float64, float]:
    """Magnitudes of the loudest stretch of 0.6 s, and the width of a bin in Hz."""
    size = round(_PEAKS_S * sample_rate)
    step = sample_rate // 20
    if len(audio) < size:
        audio = np.pad(audio, (0, size - len(audio)))
    starts = range(step // 2, max(step // 2 + 1, len(audio) - size), step)
    start = max(starts, key=lambda place: float(np.sum(audio[place : place + size] ** 2)))
    piece = audio[start : start + size]
    long = 1 << (4 * size - 1).bit_length()
    return np.abs(scipy.fft.rfft(piece * np.hanning(len(piece)), long)) / (0.5 * size), sample_rate / long


def _places(spectrum: Float64, width: float, f0: float, count: int) -> tuple[float, Float64, bool]:
    """The pitch put right (Hz), how far every partial lies from its harmonic (in units of it), and whether on a curve.

    Partials of strings and pipes follow one curve (stiffness), which stands in for those that are not found clearly;
    those of bars and bells follow none.
    """
    found, size, pure = np.zeros(count), np.zeros(count), np.zeros(count)
    for number in range(count):
        low, high = (round((number + 1 + side * MOST_AWAY) * f0 / width) for side in (-1, 1))
        band = spectrum[low : min(high + 1, len(spectrum))]
        if len(band) < 3:
            continue
        peak = int(band.argmax())
        found[number] = (low + peak) * width / f0 - (number + 1)
        if band[peak] > 6.0 * np.median(band):
            size[number] = band[peak]
            # Hann's window has 1.5 bins' worth of energy: 1 is a sine that neither moves nor beats nor fades.
            pure[number] = 1.5 / (_PEAKS_S * width) * band[peak] ** 2 / np.sum(band**2)
    size[size < 1e-3 * size.max(initial=0.0)] = 0.0
    if not size.any():
        return f0, np.zeros(count), True
    numbers = np.arange(count) + 1.0
    weight = np.sqrt(size)
    first = (weight > 0) & (numbers <= 12)
    if not first.any():
        first = weight > 0
    # away = k (c + stiffness k^2 / 2): the median keeps out a partial that belongs to something else.
    lowest = first & (numbers <= numbers[first][0] + 2)
    offset = _weighted_median(found[lowest] / numbers[lowest], weight[lowest])
    if abs(offset) > 0.02:
        offset = 0.0
    relative = found / numbers - offset
    curve = np.minimum(weight, 0.3 * weight.max()) * (numbers > 2) * (np.abs(relative) < 0.03)
    stiffness = float((curve * relative * numbers**2).sum() / max(0.5 * (curve * numbers**4).sum(), _QUIET))
    stiffness = min(max(stiffness, 0.0), _MOST_STIFF)
    fitted = numbers * (offset + 0.5 * stiffness * numbers**2)
    error = float((weight * np.abs(found - fitted))[first].sum() / weight[first].sum())
    if error < _HARMONIC_WITHIN:
        own = (pure > _PURE) & (weight > 0)
        away = np.clip(np.where(own, found, fitted) - numbers * offset, -MOST_AWAY, MOST_AWAY)
        return f0 * (1.0 + offset), np.asarray(away / (1.0 + offset)), True
    return f0, np.where(weight > 0, found, 0.0), False


def _second_pitch(spectrum: Float64, width: float, f0: float, count: int) -> tuple[float, float] | None:
    """Ratio and level (dB) of a pitch whose harmonics lie between those of the first, or None."""

    def teeth(ratio: float, numbers: Float64) -> Float64:
        places = np.rint(ratio * f0 * numbers / width).astype(int)
        reach = max(1, round(0.004 * f0 * ratio / width))
        return np.array([spectrum[max(0, place - reach) : place + reach + 1].max(initial=0.0) for place in places])

    numbers = np.arange(1, min(8, count // 2) + 1.0)
    if len(numbers) < 3:
        return None
    ratios = 2.0 ** (np.arange(10, 56) / 60.0)
    scores, levels = np.zeros(len(ratios)), np.zeros(len(ratios))
    for place, ratio in enumerate(ratios):
        # A tooth on a harmonic of the first, or beside it, says nothing.
        free = numbers[np.abs(ratio * numbers - np.rint(ratio * numbers)) > 0.12]
        if len(free) >= 3:
            found, own = teeth(float(ratio), free), teeth(1.0, free)
            scores[place] = float(np.median(np.sqrt(found / np.maximum(own, _QUIET))))
            levels[place] = float(np.sqrt(found).sum() / max(float(np.sqrt(own).sum()), _QUIET))
    best = int(scores.argmax())
    usual = float(np.median(scores[scores > 0])) if scores.any() else 0.0
    if scores[best] < 0.3 or scores[best] < 3.0 * usual:
        return None
    return float(ratios[best]), float(np.clip(40.0 * np.log10(levels[best]), -30.0, 0.0))


def _sounds_an_octave_lower(spectrum: Float64, width: float, f0: float, count: int) -> bool:
    """Whether there are partials midway between the harmonics, as of a pipe of twice the length."""
    reach = max(1, round(0.02 * f0 / width))
    numbers = np.arange(1, min(6, count) + 1)

    def at(part: float) -> float:
        places = np.rint((numbers - part) * f0 / width).astype(int)
        return float(sum(spectrum[max(0, place - reach) : place + reach + 1].max(initial=0.0) for place in places))

    return at(0.5) > _SUB_OCTAVE * at(0.0) and at(0.5) > 4.0 * at(0.25)


def _followed(audio: Float64, hz: Float64, size: int, sample_rate: int, every: int = 1) -> Complex128:
    """Complex amplitudes [frames, partials] (peak of a sine), `every` HOP_S apart, with phases at their middle."""
    window = np.hanning(size + 1)[:-1]
    frames, seen = (one[::every] for one in _cut(audio, size, sample_rate, window))
    shift = np.arange(size) - size // 2
    turn = np.exp(-2j * np.pi / sample_rate * shift[:, None] * hz)
    amplitude = (frames * window).astype(np.complex64) @ turn.astype(np.complex64)
    return np.asarray(2.0 * amplitude / (window.sum() * seen[:, None]), dtype=np.complex128)


def _cut(audio: Float64, size: int, sample_rate: int, window: Float64) -> tuple[Float64, Float64]:
    """Frames [frames, size] around every HOP_S, and what share of the window lies within the note."""
    hop = round(HOP_S * sample_rate)
    padded = np.zeros((_FRAMES - 1) * hop + size)
    kept = audio[: len(padded) - size // 2]
    padded[size // 2 : size // 2 + len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    places = np.arange(_FRAMES) * hop
    total = np.concatenate([[0.0], np.cumsum(window)])
    first = np.clip(size // 2 - places, 0, size)
    last = np.clip(size // 2 + len(audio) - places, 1, size)
    return frames, np.maximum((total[last] - total[first]) / total[-1], 0.25)


def _left_over(audio: Float64, known: list[tuple[Float64, Complex128]], followed: int, sample_rate: int) -> Float64:
    """Power density (per Hz, one-sided) [frames, bins] of what the partials leave."""
    hop = round(HOP_S * sample_rate)
    shift = np.arange(-hop, hop)
    fade = (1.0 - np.abs(shift) / hop).astype(np.float32)
    played = np.zeros((_FRAMES + 1) * hop)
    for hz, partials in known:
        turn = np.exp(2j * np.pi / sample_rate * hz[:, None] * shift).astype(np.complex64)
        pieces = (partials.astype(np.complex64) @ turn).real * fade
        played[: _FRAMES * hop] += pieces[:, :hop].ravel()
        played[hop:] += pieces[:, hop:].ravel()
    rest = audio - np.pad(played[hop:], (0, max(0, len(audio) - _FRAMES * hop)))[: len(audio)]
    window = np.hanning(_NOISE_SIZE + 1)[:-1]
    frames, seen = _cut(rest, _NOISE_SIZE, sample_rate, window)
    power = np.abs(scipy.fft.rfft(frames * window, axis=1)) ** 2
    density = power * 2.0 / (sample_rate * (window**2).sum() * seen[:, None])
    # Following took some of the noise along: all that lies within its bandwidth around a partial.
    hz = known[0][0]
    spacing = (hz[-1] - hz[0]) / max(len(hz) - 1, 1) or hz[0]
    taken = min(0.8, 1.5 * sample_rate / followed / spacing)
    covered = np.fft.rfftfreq(_NOISE_SIZE, 1.0 / sample_rate) < hz[-1] + 0.5 * spacing
    return np.asarray(density / np.where(covered, 1.0 - taken, 1.0))


def _between(audio: Float64, hz: Float64, f0: float, bins: Float64, sample_rate: int, part: float) -> Float64:
    """Power density (per Hz) [frames, bins] between neighbouring partials; without bound above the last.

    part: where between them, half-way or a quarter.
    """
    middles = np.concatenate([[max(0.5 * hz[0], hz[0] - 0.5 * f0)], (1.0 - part) * hz[1:] + part * hz[:-1]])
    size = round(0.5 * _BETWEEN_PERIODS / part / f0 * sample_rate)
    amplitude = _followed(audio, middles, size, sample_rate, _BETWEEN_EVERY)
    density = np.abs(amplitude) ** 2 * size / (3.0 * sample_rate)
    rows = np.stack([np.interp(bins, middles, row) for row in density])
    found = np.repeat(rows, _BETWEEN_EVERY, axis=0)[:_FRAMES]
    found[:, bins > hz[-1]] = np.inf
    return found


def _in_bands(density: Float64, bins: Float64) -> Float64:
    """Power [frames, NOISE] in the bands; nothing above what the sample rate holds."""
    total = np.concatenate([np.zeros((len(density), 1)), np.cumsum(density * bins[1], axis=1)], axis=1)
    edges = np.concatenate([[0.0], bins + 0.5 * bins[1]])
    summed = np.stack([np.interp(EDGES, edges, row) for row in total])
    return np.diff(summed, axis=1)


def _on_frames(level: Float64) -> Float64:
    """Mean level around each of TIMES [frames, columns] of levels every HOP_S [steps, columns]."""
    total = np.concatenate([np.zeros((1, level.shape[1])), np.cumsum(level, axis=0)])
    middles = 0.5 * (TIMES[1:] + TIMES[:-1]) / HOP_S
    # At least one step: the first frames lie closer together than the steps.
    first = np.floor(np.concatenate([[0.0], middles]) + 0.5).astype(int).clip(0, len(level) - 1)
    last = np.floor(np.concatenate([middles, [len(level) - 1.0]]) + 0.5).astype(int)
    last = np.maximum(last, first + 1)
    return np.asarray((total[last] - total[first]) / (last - first)[:, None])


def _vibrato(partials: Complex128, hz: Float64) -> tuple[float, float]:
    """Depth in cents and rate in Hz of a regular change of pitch; (0, 5.5) where there is none."""
    used = slice(0, min(6, len(hz)))
    step = partials[1:, used] * partials[:-1, used].conj()
    turn = step * np.exp(-2j * np.pi * hz[used] * HOP_S)
    weight = np.abs(step)
    relative = np.angle(turn) / (2.0 * np.pi * HOP_S * hz[used])
    bend = (weight * relative).sum(axis=1) / np.maximum(weight.sum(axis=1), _QUIET)
    loud = weight.sum(axis=1)
    held = slice(round(0.3 / HOP_S), round(2.9 / HOP_S))
    strong = loud[held] > 1e-3 * loud.max()
    if strong.mean() < 0.6:
        return 0.0, 5.5
    cents = 1200.0 / np.log(2.0) * np.clip(bend[held], -0.05, 0.05) * strong
    size = round(0.4 / HOP_S)
    cents = (
        cents
        - np.convolve(np.pad(cents, size // 2, mode="edge"), np.ones(size) / size, mode="same")[
            size // 2 : size // 2 + len(cents)
        ]
    )
    window = np.hanning(len(cents))
    swing = np.abs(scipy.fft.rfft(cents * window, 4096)) / (0.5 * window.sum())
    rates = np.fft.rfftfreq(4096, HOP_S)
    inside = (rates > 3.5) & (rates < 8.0)
    best = int(np.flatnonzero(inside)[swing[inside].argmax()])
    around = (rates > 1.0) & (rates < 20.0)
    near = np.abs(rates - rates[best]) < 0.8
    share = float((swing[near] ** 2).sum() / max((swing[around] ** 2).sum(), _QUIET))
    depth = float(swing[best])
    return (min(depth, 80.0), float(rates[best])) if share > 0.4 and depth > 2.0 else (0.0, 5.5)


def _flutter(power: Float64) -> Float64:
    """Irregular changes of level, dB (RMS), faster than 5 Hz, of each of GROUPS [groups]."""
    found = np.zeros(len(GROUPS) - 1)
    held = power[round(0.3 / HOP_S) : round(2.8 / HOP_S)]
    level = 10.0 * np.log10(held + _QUIET)
    size = round(0.2 / HOP_S)
    smooth = np.cumsum(np.concatenate([np.repeat(level[:1], size, axis=0), level]), axis=0)
    mean = (smooth[size:] - smooth[:-size]) / size
    late = size // 2
    apart = level[: len(level) - late] - mean[late:]
    strong = held[: len(level) - late] > 1e-5 * power.max()
    for group, (low, high) in enumerate(itertools.pairwise(GROUPS)):
        part, used = apart[:, low:high], strong[:, low:high]
        if used.size and used.mean() > 0.3:
            found[group] = min(6.0, float(np.sqrt(np.median(part[used] ** 2) / 0.455)))
    return found


def _weighted_median(values: Float64, weights: Float64) -> float:
    order = values.argsort()
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def _decibels(power: Float64) -> Float64:
    return np.maximum(10.0 * np.log10(power + _QUIET), FLOOR_DB)
