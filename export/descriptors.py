"""What a sound is like in figures that nothing was trained for: brightness, pitch, partials, distances to a style.

The list is that which Ordiales and Barrera (2019) ask for, and what the literature measures beside it. All audio is
mono float [samples]; every figure is deterministic and independent of level. Frames 40 dB under the loudest do not
count.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal
import soxr

from .. import DuendeError
from .librosa_import import load_librosa
from .measures import StyleTarget, floor_distance
from .teachers.spectra import Analysis, stft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATE = 48000
"""Hz to which sounds are brought before they are compared."""

SHORTEST_S = 1.0
LOW_HZ, HIGH_HZ = 250.0, 4000.0
N_FFT, HOP = 8192, 2048
PITCHED = 0.5
"""Salience from which a frame counts as having a pitch."""

_LOUD = 1e-4  # power of a frame over that of the loudest from which it counts
_PEAK_DB = 50.0  # under the highest peak of its frame a peak counts no more: there side lobes begin (Blackman, 58 dB)
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 1500.0  # of a pitch
_MFCC = 13


@dataclass(frozen=True)
class Descriptors:
    """One sound. Not-a-number where it gives no answer (no pitch: no inharmonicity).

    centroid_hz:    0 to half the rate; magnitude-weighted mean frequency of frames, these weighted by power (Peeters
                    2004, "spectral centroid").
    high_share:     0..1, power above 4 kHz over all (the "brightness" of MIRtoolbox with a corner of ours).
    low_share:      0..1, power below 250 Hz over all.
    pitch_salience: 0..1, highest peak of the autocorrelation between 50 Hz and 1.5 kHz over that at no lag, divided by
                    the window's own (Boersma 1993): a steady tone 1, white noise about 0.05.
    harmonic_complexity: 1 and more, how many partials of equal amplitude would be as varied: exp of the entropy of the
                    amplitudes of spectral peaks within 50 dB; a sine 1, five equal sines 5, white noise 950.
    inharmonicity:  0..1, distance of partials to the nearest multiple of the pitch, in halves of it, weighted by power
                    (Peeters 2004), of frames that have a pitch; 0 = exact multiples. A chord is inharmonic, too.
    """

    centroid_hz: float
    high_share: float
    low_share: float
    pitch_salience: float
    harmonic_complexity: float
    inharmonicity: float


@dataclass(frozen=True)
class Nearness:
    """How far a sound is from a style clip, and how much of the content's spectrogram it keeps.

    gram_distance:  0 and more, pitch-blind Gram distance on held-out filters (`measures.StyleTarget`).
    envelope_error: 0 and more, squared nepers between band-envelope statistics (the same).
    mfcc_distance:  0 and more, see `mfcc_distance`.
    convergence_db: spectral convergence against the content; -inf = equal, 0 = as far as silence.
    """

    gram_distance: float
    envelope_error: float
    mfcc_distance: float
    convergence_db: float


def describe(
    content: npt.ArrayLike, style: npt.ArrayLike, result: npt.ArrayLike, rate: int
) -> dict[str, dict[str, float | None]]:
    """Content, style and result side by side: rows "content", "style", "result", each with the same names.

    content, style, result: mono [samples] at rate (Hz), of any lengths from 1 s; brought to 48 kHz.
    The names are the fields of `Descriptors` and of `Nearness` (to the style; the style's own row: between its halves,
    which is the least that can be hoped for). None where there is no answer, so that JSON can hold it.
    DuendeError for what is too short or has samples that are no numbers.
    """
    return described(content, style, {"result": result}, rate)


def described(
    content: npt.ArrayLike, style: npt.ArrayLike, outputs: Mapping[str, npt.ArrayLike], rate: int
) -> dict[str, dict[str, float | None]]:
    """`describe` for several outputs by name, behind "content" and "style"."""
    given = {"content": content, "style": style, **outputs}
    sounds = {name: _at_rate(audio, rate, name) for name, audio in given.items()}
    target = StyleTarget(sounds["style"], RATE)
    wanted = mfcc_statistics(sounds["style"])
    rows: dict[str, dict[str, float | None]] = {}
    for name, audio in sounds.items():
        if name == "style":
            half = len(audio) // 2
            gram, envelope = floor_distance(audio, RATE)
            cepstral = _cepstral(mfcc_statistics(audio[:half]), mfcc_statistics(audio[half:]))
            convergence = math.nan
        else:
            gram, envelope = target.distances(audio)
            cepstral = _cepstral(mfcc_statistics(audio), wanted)
            convergence = convergence_db(sounds["content"], audio)
        row = asdict(descriptors(audio, RATE)) | asdict(Nearness(gram, envelope, cepstral, convergence))
        rows[name] = {key: float(value) if math.isfinite(value) else None for key, value in row.items()}
    return rows


def descriptors(audio: npt.ArrayLike, sample_rate: int = RATE) -> Descriptors:
    """All descriptors of a sound [samples] of 171 ms and more; all not-a-number for silence."""
    samples = np.asarray(audio, dtype=np.float64)
    if samples.ndim != 1 or len(samples) < N_FFT:
        raise ValueError(f"audio has shape {samples.shape}: give one channel of at least {N_FFT} samples")
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP]
    power = np.mean(frames**2, axis=1)
    loud = power > max(_LOUD * power.max(), 1e-14)
    if not loud.any():
        return Descriptors(*([math.nan] * 6))
    frames, weight = frames[loud], power[loud] / power[loud].sum()
    spectra = np.abs(scipy.fft.rfft(frames * scipy.signal.get_window("blackman", N_FFT), axis=1))
    hz = scipy.fft.rfftfreq(N_FFT, 1.0 / sample_rate)
    total = (spectra**2).sum()
    complexity, error, pitched = 0.0, 0.0, 0.0
    salience, lags = _salience(frames, sample_rate)
    for spectrum, share, strength, lag in zip(spectra, weight, salience, lags, strict=True):
        peaks_hz, amplitudes = spectral_peaks(spectrum, sample_rate / N_FFT)
        if not len(peaks_hz):
            continue
        complexity += float(share) * effective_partials(amplitudes)
        if strength >= PITCHED:
            error += float(share) * inharmonicity(peaks_hz, amplitudes, sample_rate / lag)
            pitched += float(share)
    return Descriptors(
        centroid_hz=float(weight @ ((spectra @ hz) / (spectra.sum(axis=1) + 1e-12))),
        high_share=float((spectra[:, hz >= HIGH_HZ] ** 2).sum() / total),
        low_share=float((spectra[:, hz < LOW_HZ] ** 2).sum() / total),
        pitch_salience=float(weight @ salience),
        harmonic_complexity=complexity,
        inharmonicity=error / pitched if pitched > 0.0 else math.nan,
    )


def spectral_peaks(spectrum: Float64, bin_hz: float) -> tuple[Float64, Float64]:
    """Frequencies in Hz and amplitudes of the local maxima within 50 dB of the highest, of magnitudes [bins].

    Both by a parabola through the logarithms of three bins (Smith and Serra 1987).
    """
    log = np.log(spectrum + 1e-12)
    floor = log.max() - _PEAK_DB / 20.0 * math.log(10.0)
    middle = log[1:-1]
    places = 1 + np.flatnonzero((middle > log[:-2]) & (middle >= log[2:]) & (middle > floor))
    left, peak, right = log[places - 1], log[places], log[places + 1]
    shift = 0.5 * (left - right) / np.minimum(left - 2.0 * peak + right, -1e-12)
    return (places + shift) * bin_hz, np.exp(peak - 0.25 * (left - right) * shift)


def effective_partials(amplitudes: Float64) -> float:
    """exp of the entropy of amplitudes [partials] as shares of their sum: n for n equal ones."""
    share = amplitudes / amplitudes.sum()
    return float(np.exp(-np.sum(share * np.log(share + 1e-300))))


def inharmonicity(partials_hz: Float64, amplitudes: Float64, pitch_hz: float) -> float:
    """2 sum(a^2 |f/f0 - nearest whole number|) / sum(a^2), 0..1, f0 fitted to the first five multiples of pitch_hz."""
    number = np.rint(partials_hz / pitch_hz)
    near = (number >= 1) & (number <= 5) & (np.abs(partials_hz / pitch_hz - number) < 0.2)
    power = amplitudes**2
    if near.any():
        weight = power[near]
        pitch_hz = float((weight * number[near] * partials_hz[near]).sum() / (weight * number[near] ** 2).sum())
    ratio = partials_hz / pitch_hz
    return float(2.0 * np.sum(power * np.abs(ratio - np.rint(ratio))) / power.sum())


def _salience(frames: Float64, sample_rate: int) -> tuple[Float64, Float64]:
    """Height of the best autocorrelation peak, 0..1, and its lag in samples, for frames [count, samples]."""
    size = frames.shape[1]
    window = np.hanning(size)
    padded = scipy.fft.next_fast_len(2 * size, real=True)
    longest = min(size // 2, math.ceil(sample_rate / _LOWEST_HZ) + 1)
    shortest = max(1, int(sample_rate / _HIGHEST_HZ))
    own = scipy.fft.irfft(np.abs(scipy.fft.rfft(window, padded)) ** 2)[: longest + 1]
    centred = frames - frames.mean(axis=1, keepdims=True)
    spectra = scipy.fft.rfft(centred * window, padded, axis=1)
    correlation = scipy.fft.irfft(np.abs(spectra) ** 2, axis=1)[:, : longest + 1]
    correlation = correlation / (correlation[:, :1] + 1e-20) / (own / own[0])
    heights, lags = np.zeros(len(frames)), np.full(len(frames), float(longest))
    for index, row in enumerate(correlation):
        inner = row[1:-1]
        peaks = 1 + np.flatnonzero((inner > row[:-2]) & (inner >= row[2:]))
        peaks = peaks[peaks >= shortest]
        if not len(peaks):
            continue
        best = row[peaks].max()
        # Every multiple of the period fits as well: the first good one is the pitch.
        place = peaks[row[peaks] >= 0.9 * best][0] if best > 0.0 else peaks[0]
        left, peak, right = row[place - 1 : place + 2]
        shift = 0.5 * (left - right) / min(left - 2.0 * peak + right, -1e-12)
        heights[index], lags[index] = float(np.clip(best, 0.0, 1.0)), place + shift
    return heights, lags


def mfcc_statistics(audio: npt.ArrayLike) -> Float64:
    """Means and deviations over time of mel-frequency cepstral coefficients 1 to 12 at 48 kHz: float64 [2, 12], in dB.

    64 mel bands to 16 kHz, frames of 2048 every 512, decibels, orthonormal cosine transform (librosa); the coefficient
    0, which is the level, is left out.
    """
    samples = np.asarray(audio, dtype=np.float32)
    samples = samples * np.float32(0.1 / np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-10))
    found = load_librosa().feature.mfcc(
        y=samples, sr=RATE, n_mfcc=_MFCC, n_fft=2048, hop_length=512, n_mels=64, fmax=16000.0
    )
    power = load_librosa().feature.rms(y=samples, frame_length=2048, hop_length=512)[0][: found.shape[1]] ** 2
    kept = np.asarray(found[1:, power >= max(_LOUD * power.max(), 1e-14)], dtype=np.float64)
    return np.stack([kept.mean(axis=1), kept.std(axis=1)]) if kept.size else np.zeros((2, _MFCC - 1))


def mfcc_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Root mean square difference of the `mfcc_statistics` of two sounds [samples] at 48 kHz, in dB: 0 = alike.

    Cepstral coefficients 1 to 12 are what Cífka et al. (2021) compare timbre by, through a trained network; this is the
    plain distance.
    """
    return _cepstral(mfcc_statistics(first), mfcc_statistics(second))


def _cepstral(first: Float64, second: Float64) -> float:
    return float(np.sqrt(np.mean((first - second) ** 2)))


def convergence_db(reference: npt.ArrayLike, heard: npt.ArrayLike) -> float:
    """Spectral convergence of two sounds [samples], both at RMS 0.1: 20 log10(| |R| - |H| | / |R|), Frobenius norms.

    2048 samples every 512 (Sturmel and Daudet 2011); -inf = equal. The longer one is cut.
    """
    analysis = Analysis(RATE, 2048, 512)
    length = min(np.size(reference), np.size(heard))
    first, second = (_magnitudes(np.asarray(audio)[:length], analysis) for audio in (reference, heard))
    return _ratio_db(first - second, first)


def reanalysed_db(wanted: npt.ArrayLike, audio: npt.ArrayLike, analysis: Analysis) -> float:
    """How well a sound has the magnitudes that it was made for: spectral convergence of its re-analysis, in dB.

    wanted: magnitudes [frames, bins] that a system asked for; audio: [samples] that an inversion made of them. A good
    inversion reaches -25, random phases about -6.
    """
    asked = np.asarray(wanted, dtype=np.float32)
    found = np.abs(stft(np.asarray(audio, dtype=np.float32), analysis))
    count = min(len(asked), len(found))
    return _ratio_db(asked[:count] - found[:count], asked[:count])


def _ratio_db(difference: Float32, reference: Float32) -> float:
    above, below = (float(np.sum(np.square(one, dtype=np.float64))) for one in (difference, reference))
    return 10.0 * math.log10(above / below) if above > 0.0 and below > 0.0 else -math.inf if below > 0.0 else math.nan


def _magnitudes(audio: npt.NDArray[np.generic], analysis: Analysis) -> Float32:
    samples = audio.astype(np.float32)
    level = np.float32(0.1 / np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-10))
    return np.asarray(np.abs(stft(samples * level, analysis)), dtype=np.float32)


def _at_rate(audio: npt.ArrayLike, rate: int, name: str) -> Float32:
    samples = np.ascontiguousarray(audio, dtype=np.float32)
    if samples.ndim != 1:
        raise ValueError(f"{name} has shape {samples.shape}: give one channel")
    if len(samples) < SHORTEST_S * rate:
        raise DuendeError(f"{name}: {len(samples) / rate:.2f} s are too short to be described; give {SHORTEST_S:g} s")
    if not np.isfinite(samples).all():
        raise DuendeError(f"{name}: holds samples that are not numbers")
    return samples if rate == RATE else np.asarray(soxr.resample(samples, rate, RATE), dtype=np.float32)
