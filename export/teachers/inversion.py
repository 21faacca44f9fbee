"""From the magnitudes that a teacher found to a sound: Griffin-Lim as published, the content's own phase, or RTPGHI."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ...engine.phase import PhaseReconstruction
from ..librosa_import import load_librosa
from .spectra import Analysis, istft

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

_QUIETEST = np.float32(1e-9)  # magnitude under which a bin has no phase of its own and stays silent


def librosa_for_inversion() -> Any:
    """The module, or DuendeError where it is not installed: ask before a long search, not after it."""
    return load_librosa("Griffin-Lim", otherwise=", or invert by input-phase")


def griffin_lim(magnitude: Float32, analysis: Analysis, length: int, rounds: int, seed: int) -> Float32:
    """Audio [length] from magnitudes [frames, bins] by plain Griffin-Lim (1984): random phases, no momentum.

    Content's phases are lost, and with them its attacks; needs librosa (extra `train`).
    """
    audio = librosa_for_inversion().griffinlim(
        magnitude.T,
        n_iter=rounds,
        hop_length=analysis.hop,
        n_fft=analysis.n_fft,
        window="hann",
        length=length,
        pad_mode="constant",
        momentum=0.0,
        init="random",
        random_state=seed,
    )
    return np.asarray(audio, dtype=np.float32)


def with_phase_of(spectrum: Complex64, magnitude: Float32, analysis: Analysis, length: int) -> Float32:
    """Audio [length] from magnitudes and the phases of a spectrum, both [frames, bins]; digital silence stays."""
    return istft(spectrum * (magnitude / np.maximum(np.abs(spectrum), _QUIETEST)), analysis, length)


def from_slopes(magnitude: Float32, analysis: Analysis, length: int) -> Float32:
    """Audio [length] from magnitudes [frames, bins] alone, by RTPGHI(0) (`engine.phase`); hop at most n_fft / 4.

    The same every time, and no rounds; attacks are placed by the magnitudes.
    """
    out = np.empty((1, *magnitude.shape), dtype=np.complex64)
    phases = PhaseReconstruction(analysis.n_fft, analysis.hop, 1)
    phases.process(np.log(np.maximum(magnitude, _QUIETEST))[None], out)
    return istft(out[0], analysis, length)
