"""Real transforms of one even length into the caller's memory, without what numpy's functions around them cost.

For 256 samples numpy's `rfft` takes longer to find the right transform than that takes. Its compiled function is called
here instead, where numpy has it under the name that it had from 2.0 on; else `numpy.fft`.
"""

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]


def _compiled() -> Any:
    """The module with numpy's transforms as ufuncs, or None."""
    try:
        module = importlib.import_module("numpy.fft._pocketfft_umath")
    except ImportError:
        return None
    return module if hasattr(module, "rfft_n_even") and hasattr(module, "irfft") else None


class RealTransform:
    """Transforms of `size` real samples and back, along the last axis, float32 and complex64.

    compiled: numpy's transforms as ufuncs; None: `numpy.fft`.
    """

    def __init__(self, size: int, compiled: Any = ...) -> None:
        if size < 2 or size % 2:
            raise ValueError(f"transform of {size} samples: give an even number")
        self._size = size
        self._share = np.float32(1.0 / size)
        module = _compiled() if compiled is ... else compiled
        self._forward = None if module is None else module.rfft_n_even
        self._inverse = None if module is None else module.irfft

    def forward(self, samples: Float32, out: Complex64) -> None:
        """Spectra [..., size / 2 + 1] of samples [..., size], divided by size."""
        # numpy's other norms cast an integer factor through a buffer, which is allocated each time.
        if self._forward is None:
            np.fft.rfft(samples, axis=-1, norm="forward", out=out)  # type: ignore[arg-type]
        else:
            self._forward(samples, self._share, out=out)

    def inverse(self, spectra: Complex64, out: Float32) -> None:
        """Samples [..., size] of spectra [..., size / 2 + 1]: back to them, where `forward` was not divided by size."""
        if self._inverse is None:
            np.fft.irfft(spectra, self._size, axis=-1, out=out)  # type: ignore[arg-type]
        else:
            self._inverse(spectra, self._share, out=out)
