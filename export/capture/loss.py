"""What a capture is trained on: error against the wanted sound, with and without pre-emphasis, and its spectra.

The slopes are written out: a stretch is so short that torch's bookkeeping would cost several times the arithmetic.
"""

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

Float32 = npt.NDArray[np.float32]

PRE_EMPHASIS = 0.85
_FFT_SIZES = (512, 1024, 2048)
_FLOOR = 1e-5


class Loss:
    """Errors relative to the energy of all the wanted sound, so that loud and quiet stretches add up as in the ESR.

    ESR of the sound and of its pre-emphasised form (1 - 0.85 / z), half each, and `spectral` times the multi-resolution
    STFT distance (spectral convergence, and mean difference of the logarithms). Each call looks at one of the three
    sizes of the STFT.
    """

    def __init__(self, wanted: Float32, spectral: float) -> None:
        """wanted: all of it, [samples]."""
        self._energy = float(np.mean(np.square(wanted, dtype=np.float64))) + 1e-12
        self._emphasised = float(np.mean(np.square(_emphasised(wanted), dtype=np.float64))) + 1e-12
        self._spectral = spectral
        self._windows = {size: scipy.signal.windows.hann(size, sym=False).astype(np.float32) for size in _FFT_SIZES}

    def __call__(self, output: Float32, wanted: Float32, turn: int = 0) -> tuple[float, Float32]:
        """The loss of an output [stretches, samples] against what is wanted there, and its slope [stretches, samples].

        turn: counts calls; it says which size of the STFT.
        """
        error = output - wanted
        emphasised = _emphasised(error)
        loss = 0.5 * (float(np.mean(error**2)) / self._energy + float(np.mean(emphasised**2)) / self._emphasised)
        slope = error * np.float32(1.0 / (self._energy * error.size))
        emphasised *= np.float32(1.0 / (self._emphasised * emphasised.size))
        slope[..., 1:] += emphasised
        slope[..., :-1] -= np.float32(PRE_EMPHASIS) * emphasised
        sizes = [size for size in _FFT_SIZES if size <= output.shape[-1]]
        if self._spectral > 0.0 and sizes:
            distance, more = self._spectra(output, wanted, sizes[turn % len(sizes)])
            loss += self._spectral * distance
            slope += np.float32(self._spectral) * more
        return loss, slope

    def _spectra(self, output: Float32, wanted: Float32, size: int) -> tuple[float, Float32]:
        """Distance of the magnitudes, in one size, and its slope."""
        step, window = size // 2, self._windows[size]
        frames = np.lib.stride_tricks.sliding_window_view(np.stack((output, wanted)), size, axis=-1)[..., ::step, :]
        spectra = scipy.fft.rfft(frames * window)
        # The floor inside the root keeps silence from making infinite slopes.
        floor = np.float32(_FLOOR * size * self._energy)
        a, b = np.sqrt(spectra.real**2 + spectra.imag**2 + floor)
        difference, ratio = a - b, np.log(a / b)
        norm, scale = float(np.sqrt(np.sum(difference**2))), float(np.sqrt(np.sum(b**2)))
        distance = norm / scale + float(np.mean(np.abs(ratio)))
        slope = difference * np.float32(1.0 / (max(norm, 1e-20) * scale)) + np.sign(ratio) / (a * np.float32(a.size))
        weighted = spectra[0] * (slope / a)
        # The transpose of rfft: irfft, but for the factor 1 / size and its doubling of all bins between first and last.
        weighted[..., 1:-1] *= np.float32(0.5)
        back = scipy.fft.irfft(weighted, size) * (window * np.float32(size))
        added = np.zeros_like(output)
        count = back.shape[-2]
        for half in (0, 1):
            here = added[..., half * step : (half + count) * step].reshape(*output.shape[:-1], count, step)
            here += back[..., half * step : (half + 1) * step]
            added[..., half * step : (half + count) * step] = here.reshape(*output.shape[:-1], -1)
        return distance, added


def _emphasised(samples: Float32) -> Float32:
    return samples[..., 1:] - np.float32(PRE_EMPHASIS) * samples[..., :-1]


def esr(output: npt.ArrayLike, wanted: npt.ArrayLike) -> float:
    """Error-to-signal ratio of samples of any shape: energy of the error over that of what is wanted."""
    output, wanted = np.asarray(output, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    return float(np.sum((output - wanted) ** 2) / (np.sum(wanted**2) + 1e-20))
