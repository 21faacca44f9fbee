"""Short-time Fourier transform with a long analysis and a short synthesis window: fine bins, little delay.

The window pair is that of D. Mauler and R. Martin, "A low delay, variable resolution, perfect reconstruction
spectral analysis-synthesis system for speech enhancement" (EUSIPCO 2007): the product of both windows is a Hann
window over the last two hops, so overlap-add reconstructs perfectly and the delay is one hop.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from .fourier import RealTransform
from .history import History
from .spec import rate_factor

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class StftSizes:
    """Sizes in samples. synthesis is two hops; the delay beyond the hop being collected is one hop.

    factor: by which they are larger than those that a model was trained with (`at`).
    """

    analysis: int = 2048
    synthesis: int = 256
    hop: int = 128
    factor: int = 1

    def __post_init__(self) -> None:
        if self.synthesis != 2 * self.hop or self.analysis < 2 * self.synthesis or self.analysis % 2:
            raise ValueError(
                f"STFT sizes {self.analysis}/{self.synthesis}/{self.hop}: synthesis must be 2 hops and "
                f"analysis an even length of at least 4 hops"
            )

    @property
    def bins(self) -> int:
        """Frequencies from 0 to half the sample rate: analysis / 2 + 1."""
        return self.analysis // 2 + 1

    @property
    def latency_samples(self) -> int:
        """Delay of the windows: one hop."""
        return self.hop

    def at(self, sample_rate: float) -> "StftSizes":
        """The same lengths of time, from sizes for 44.1 and 48 kHz, for the class of a rate in Hz."""
        factor = rate_factor(sample_rate)
        return StftSizes(factor * self.analysis, factor * self.synthesis, factor * self.hop, factor)


DEFAULT_SIZES = StftSizes(2048, 256, 128)
SMALL_SIZES = StftSizes(1024, 128, 64)


def windows(sizes: StftSizes) -> tuple[Float64, Float64]:
    """Analysis window [analysis] and synthesis window [synthesis], float64.

    The analysis window rises over analysis - hop samples as a square-rooted Hann window and falls over the last
    hop; the synthesis window is what makes their product a Hann window over the last two hops.
    """
    rise = sizes.analysis - sizes.hop
    hann = np.sin(np.pi * np.arange(2 * sizes.hop) / (2 * sizes.hop)) ** 2
    analysis = np.empty(sizes.analysis)
    analysis[:rise] = np.sin(np.pi * np.arange(rise) / (2 * rise))
    analysis[rise:] = np.sqrt(hann[sizes.hop :])
    synthesis = np.zeros(sizes.synthesis)
    tail = analysis[-sizes.synthesis :]
    synthesis[1:] = hann[1:] / tail[1:]
    return analysis, synthesis


class Analysis:
    """Streaming analysis of several signals: every hop of new samples gives one spectrum of each."""

    def __init__(self, sizes: StftSizes, signals: int, max_frames: int) -> None:
        self.sizes = sizes
        # The transform divides by n, so the window carries n.
        self._transform = RealTransform(sizes.analysis)
        self._window = (sizes.analysis * windows(sizes)[0]).astype(np.float32)
        self._history = History(signals, sizes.analysis, max_frames * sizes.hop)
        self._windowed = np.zeros((signals, max_frames, sizes.analysis), dtype=np.float32)
        self._spectra = np.zeros((signals, max_frames, sizes.bins), dtype=np.complex64)

    def process(self, samples: Float32) -> Complex64:
        """Spectra [signals, frames, bins] of samples [signals, frames * hop]; valid until the next call."""
        hop, length = self.sizes.hop, self.sizes.analysis
        frames = samples.shape[1] // hop
        self._history.push(samples)
        signal = self._history.last(length + (frames - 1) * hop)
        if frames == 1:
            overlapping = signal[:, None, :]
        else:
            row, step = signal.strides
            overlapping = as_strided(signal, (len(signal), frames, length), (row, hop * step, step), writeable=False)
        windowed = self._windowed[:, :frames]
        spectra = self._spectra[:, :frames]
        np.multiply(overlapping, self._window, out=windowed)
        self._transform.forward(windowed, spectra)
        return spectra

    def reset(self) -> None:
        """Back to silence."""
        self._history.reset()


class Synthesis:
    """Streaming overlap-add: every spectrum gives one hop of samples, one hop late."""

    def __init__(self, sizes: StftSizes, signals: int, max_frames: int) -> None:
        self.sizes = sizes
        self._transform = RealTransform(sizes.analysis)
        self._window = windows(sizes)[1].astype(np.float32)
        self._frames = np.zeros((signals, max_frames, sizes.analysis), dtype=np.float32)
        self._tail = np.zeros((signals, sizes.hop), dtype=np.float32)

    def process(self, spectra: Complex64, out: Float32) -> None:
        """Turn spectra [signals, frames, bins] into out [signals, frames * hop]."""
        hop = self.sizes.hop
        count = spectra.shape[1]
        time = self._frames[:, :count]
        self._transform.inverse(spectra, time)
        pairs = time[:, :, -2 * hop :]
        np.multiply(pairs, self._window, out=pairs)
        frames_out = out.reshape(len(out), count, hop)
        np.add(pairs[:, 1:, :hop], pairs[:, :-1, hop:], out=frames_out[:, 1:])
        np.add(pairs[:, 0, :hop], self._tail, out=frames_out[:, 0])
        self._tail[:] = pairs[:, -1, hop:]

    def reset(self) -> None:
        """Back to silence."""
        self._tail.fill(0.0)
