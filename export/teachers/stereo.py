"""Two sides through systems that know one: the middle is restyled, the sides follow it.

Mid M = (L + R) / 2 and side S = (L - R) / 2. `follow` takes M to Y by a system and makes the side of Y: what of S is a
share c of M (an instrument that stands left or right) is the same share of Y, the rest (room, chorus) gets the gain
|Y| / |M|; per ERB band and moment. With Y = M it is S.
"""

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ...engine.bands import erb_bands
from .spectra import Analysis, istft, stft

Float32 = npt.NDArray[np.float32]

SPAN_S = 0.046
BOUND_DB = 24.0
SMOOTH_S = 0.1


def split(sides: Float32) -> tuple[Float32, Float32]:
    """[samples, 2] -> mid and side [samples]."""
    return (
        np.ascontiguousarray(0.5 * (sides[:, 0] + sides[:, 1]), dtype=np.float32),
        np.ascontiguousarray(0.5 * (sides[:, 0] - sides[:, 1]), dtype=np.float32),
    )


def merge(mid: Float32, side: Float32) -> Float32:
    """Mid and side [samples] -> [samples, 2]."""
    return np.stack([mid + side, mid - side], axis=1).astype(np.float32)


def follow(mid: Float32, side: Float32, made: Float32, sample_rate: int) -> Float32:
    """The side [samples] of what was made [samples] of mid [samples], in the proportions of side [samples] to mid."""
    if not side.any():
        return np.zeros_like(made)
    n_fft = 2 ** round(np.log2(SPAN_S * sample_rate))
    analysis = Analysis(sample_rate, n_fft, n_fft // 4)
    bands = erb_bands(sample_rate, n_fft, low_hz=50.0, high_hz=0.45 * sample_rate)
    m, s, y = (stft(audio, analysis) for audio in (mid, side, made))
    width = max(1, round(SMOOTH_S * sample_rate / analysis.hop))

    def smooth(power: Float32) -> npt.NDArray[np.float64]:
        return scipy.ndimage.uniform_filter1d(power[:, : bands.bins] @ bands.pooling, width, axis=0).astype(np.float64)

    own, cross, new = smooth(np.abs(m) ** 2), smooth((s * m.conj()).real), smooth(np.abs(y) ** 2)
    floor = 1e-10 * float(own.max(initial=0.0)) + 1e-12
    share = np.clip(cross / (own + floor), -1.0, 1.0)
    bound = 10.0 ** (BOUND_DB / 20.0)
    gain = np.clip(np.sqrt((new + floor) / (own + floor)), 1.0 / bound, bound)
    beyond = ((0, 0), (0, m.shape[1] - bands.bins))
    c, g = (np.pad(values @ bands.interpolation, beyond, mode="edge").astype(np.float32) for values in (share, gain))
    return istft(c * y + g * (s - c * m), analysis, len(made))
