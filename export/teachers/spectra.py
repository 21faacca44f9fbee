"""What a teacher sees of a sound: log magnitudes of a centred Hann STFT, and the way back with given phases.

Ulyanov and Lebedev (2016) take log(1 + |STFT|) at 22 050 Hz, 2048 samples every 512, the bins as channels. At other
sizes magnitudes are scaled so that a sine reads the same, because the logarithm bends at 1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

PUBLISHED_N_FFT = 2048
LOWEST_HZ, HIGHEST_HZ = 60.0, 16000.0  # of `log_bands`


@dataclass(frozen=True)
class Analysis:
    """sample_rate in Hz; n_fft (even) and hop in samples, hop at most half of n_fft."""

    sample_rate: int = 22050
    n_fft: int = PUBLISHED_N_FFT
    hop: int = 512

    def __post_init__(self) -> None:
        if self.sample_rate < 1 or self.n_fft < 2 or self.n_fft % 2 or not 1 <= self.hop <= self.n_fft // 2:
            raise ValueError(
                f"{self.n_fft} samples every {self.hop} at {self.sample_rate} Hz: "
                "n_fft must be even and hop at most half of it"
            )

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def scale(self) -> float:
        """Factor on magnitudes before the logarithm, 1 at the published size."""
        return PUBLISHED_N_FFT / self.n_fft

    def window(self) -> Float32:
        """Periodic Hann, float32 [n_fft]."""
        return np.hanning(self.n_fft + 1)[:-1].astype(np.float32)


def stft(audio: Float32, analysis: Analysis) -> Complex64:
    """Complex spectrum [frames, bins] of audio [samples]; frame t is centred on sample t * hop, zeros outside."""
    padded = np.pad(audio.astype(np.float32, copy=False), analysis.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, analysis.n_fft)[:: analysis.hop]
    return np.asarray(scipy.fft.rfft(frames * analysis.window(), axis=1), dtype=np.complex64)


def istft(spectrum: Complex64, analysis: Analysis, length: int) -> Float32:
    """Audio [length] whose STFT is nearest to spectrum [frames, bins] (Griffin and Lim 1984); zeros beyond it."""
    n_fft, hop = analysis.n_fft, analysis.hop
    window = analysis.window()
    frames = np.asarray(scipy.fft.irfft(spectrum, n_fft, axis=1), dtype=np.float32) * window
    total = n_fft + hop * (len(frames) - 1)
    audio, weight = np.zeros(max(total, n_fft // 2 + length), dtype=np.float32), np.zeros(total, dtype=np.float32)
    for index, frame in enumerate(frames):
        start = index * hop
        audio[start : start + n_fft] += frame
        weight[start : start + n_fft] += window * window
    audio[:total] /= np.maximum(weight, 1e-3)
    return audio[n_fft // 2 : n_fft // 2 + length]


def log_magnitudes(spectrum: Complex64, analysis: Analysis) -> Float32:
    """log(1 + scale |spectrum|), float32 of the same shape, in nepers."""
    return np.asarray(np.log1p(np.abs(spectrum) * np.float32(analysis.scale)), dtype=np.float32)


def magnitudes(log: Float32, analysis: Analysis) -> Float32:
    """The inverse of `log_magnitudes`; what an optimiser left below 0 reads as silence."""
    return np.asarray(np.expm1(np.maximum(log, 0.0)) / np.float32(analysis.scale), dtype=np.float32)


def log_bands(analysis: Analysis, per_octave: int) -> tuple[Float32, Float32]:
    """Pooling [bins, bands], which sums the power of a band, and interpolation [bands, bins] of values at its middles.

    Triangles over log frequency from 60 Hz to 16 kHz or 0.45 of the rate; in the bass, where they would be narrower
    than a bin, as wide as a bin. Values stand still beyond the outermost middles.
    """
    bin_hz = analysis.sample_rate / analysis.n_fft
    octaves = np.log2(min(HIGHEST_HZ, 0.45 * analysis.sample_rate) / LOWEST_HZ)
    centres = LOWEST_HZ * 2.0 ** (np.arange(int(octaves * per_octave) + 1) / per_octave)
    hertz = np.arange(analysis.bins) * bin_hz
    width = np.maximum(centres * (2.0 ** (1.0 / per_octave) - 1.0), bin_hz)
    pooling = np.maximum(0.0, 1.0 - np.abs(hertz[:, None] - centres) / width)
    position = np.interp(np.log(np.maximum(hertz, 1.0)), np.log(centres), np.arange(len(centres)))
    interpolation = np.maximum(0.0, 1.0 - np.abs(position - np.arange(len(centres))[:, None]))
    return pooling.astype(np.float32), interpolation.astype(np.float32)
