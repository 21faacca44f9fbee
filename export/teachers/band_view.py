"""A sound as levels in ERB bands and frames, and the way back: band amplitudes on spectra that are there already."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...engine.bands import erb_bands
from ..sounds import rms_of
from .spectra import Analysis, istft, stft

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]

RMS = 0.1
FLOOR = 3e-4  # amplitude in a band that reads as nothing, of a sound at RMS 0.1
LOW_HZ, HIGH_HZ = 50.0, 18000.0
HEARD_DB = 40.0  # under the loudest frame: quieter ones do not count
_LEAST = 1e-6


@dataclass(frozen=True)
class Seen:
    """What is seen of a sound brought to RMS 0.1.

    rms: what it had. spectrum: [frames, bins], bins of a frame summing to its mean square. power: in the bands,
    float64 [frames, bands]. levels: of the bands, float32 [frames, bands], nepers over the floor. level: of a frame
    [frames]. weight: how much a frame counts [frames], 0 for what is not heard, sum 1.
    """

    rms: float
    spectrum: Complex64
    power: Float64
    levels: Float32
    level: Float32
    weight: Float64

    @property
    def shape(self) -> Float32:
        """Levels of the bands relative to the frame's: float32 [frames, bands]."""
        return np.asarray(self.levels - self.level[:, None])


class BandView:
    """Looks at sounds of one rate through one transform and so many bands."""

    def __init__(self, sample_rate: int, n_fft: int, hop: int, bands: int) -> None:
        self.analysis = Analysis(sample_rate, n_fft, hop)
        self.bands = erb_bands(sample_rate, n_fft, bands, LOW_HZ, min(HIGH_HZ, 0.45 * sample_rate))
        width = np.maximum(self.bands.interpolation.sum(axis=1), 1.0)
        self._pooling = self.bands.pooling * width
        window = self.analysis.window().astype(np.float64)
        self._scale = np.sqrt(2.0 / (n_fft * np.square(window).sum()))

    @property
    def pooling(self) -> tuple[float, Float64]:
        """A factor for magnitudes, and the matrix [bins, bands] that makes `Seen.power` of their squares."""
        return float(self._scale), self._pooling

    def look(self, audio: Float32) -> Seen:
        """See mono audio [samples]."""
        rms = rms_of(audio)
        scale = np.float32(self._scale * RMS / max(rms, 1e-9))
        spectrum = np.asarray(stft(audio, self.analysis) * scale, dtype=np.complex64)
        power = (np.abs(spectrum[:, : self.bands.bins]) ** 2) @ self._pooling
        levels, level = (0.5 * np.log(part / FLOOR**2 + 1.0) for part in (power, power.sum(axis=1)))
        loudness = np.exp(level)
        heard = loudness > 10.0 ** (-HEARD_DB / 20.0) * loudness.max()
        weight = np.where(heard, np.sqrt(loudness), 0.0)
        return Seen(
            rms=rms,
            spectrum=spectrum,
            power=np.asarray(power, dtype=np.float64),
            levels=levels.astype(np.float32),
            level=level.astype(np.float32),
            weight=weight / weight.sum(),
        )

    def play(self, spectra: Sequence[Complex64], amplitudes: Float32, length: int, rms: float) -> Float32:
        """Audio [length] at an RMS of the sum of spectra [frames, bins] under band amplitudes.

        amplitudes: [spectra, frames, bands], drawn linearly in dB between the bands' centres, level outside.
        """
        bands, total = self.bands, np.zeros(spectra[0].shape, dtype=np.complex64)
        full = np.empty(spectra[0].shape, dtype=np.float32)
        for spectrum, amplitude in zip(spectra, amplitudes, strict=True):
            full[:, : bands.bins] = np.exp(np.log(amplitude + _LEAST) @ bands.interpolation) - _LEAST
            full[:, bands.bins :] = full[:, bands.bins - 1 : bands.bins]
            total += spectrum * np.maximum(full, 0.0)
        audio = istft(total, self.analysis, length)
        return np.asarray(audio * (rms / max(rms_of(audio), 1e-9)), dtype=np.float32)
