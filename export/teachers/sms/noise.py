"""A residual with the noise statistics of another: the mean and the spread of its levels in every band."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ....engine.bands import erb_bands
from ..spectra import Analysis, istft, stft
from .grid import HOP, N_FFT, interpolation
from .parts import Parts, band_powers

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BOUND = 3.5
MOST_SPREAD = 2.0
_FLOOR = 1e-9


def stylised_residual(
    content: Parts, styles: Sequence[Parts], shares: Sequence[float], sample_rate: int, bands: int
) -> Float32:
    """The content's residual, its phases and its course, with the styles' levels: float32 [samples].

    Every band's log level gets the mean (against the level of its own sound) and the deviation over time that the
    style's has; a gain is at most 30 dB, a deviation at most doubled or halved.
    """
    layout = erb_bands(sample_rate, N_FFT, bands, 60.0, min(18_000.0, 0.45 * sample_rate))

    def levels(part: Float32, whole: Float32) -> Float64:
        total = band_powers(whole, layout, N_FFT, HOP).sum(axis=1).mean() + 1e-20
        return np.asarray(0.5 * np.log(band_powers(part, layout, N_FFT, HOP) / total + _FLOOR))

    own = levels(np.pad(content.residual, N_FFT // 2), content.sound)
    found = [levels(style.residual, style.sound) for style in styles]
    mean = np.average([level.mean(axis=0) for level in found], axis=0, weights=shares)
    spread = np.average([level.std(axis=0) for level in found], axis=0, weights=shares)
    wider = np.clip(spread / np.maximum(own.std(axis=0), 0.05), 1.0 / MOST_SPREAD, MOST_SPREAD)
    gains = mean + (wider - 1.0) * (own - own.mean(axis=0)) - own.mean(axis=0)
    gains = scipy.ndimage.gaussian_filter(gains, (1.5, 0.7), mode="nearest")
    spectrum = stft(content.residual, Analysis(sample_rate, N_FFT, HOP))
    rows = np.clip(gains, -BOUND, BOUND)[np.minimum(np.arange(len(spectrum)), len(gains) - 1)]
    drawn = np.exp(rows @ interpolation(sample_rate, N_FFT, bands))
    return istft((spectrum * drawn).astype(np.complex64), Analysis(sample_rate, N_FFT, HOP), len(content.residual))
