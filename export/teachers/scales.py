"""The closed form at several window sizes at once, of gains on the content's own spectrum.

The published search writes magnitudes of one window size, which no sound need have, and throws the phases away. Here
what is searched is a bounded gain for every bin of the content's STFT. Each trial is made a sound, and that sound is
judged: at every window size by the kernel of its log magnitudes (`kernel`). What is found is what is heard, attacks
and partials stand where the content has them, and silence stays silent. Torch carries the slope back through the
transforms, on any device; the kernels are numpy's.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .kernel import KernelObjective
from .objective import Evaluation
from .spectra import Analysis

Float32 = npt.NDArray[np.float32]

PUBLISHED_FRAMES = 430


class ScaleObjective:
    """The error of gains [frames, bins] in nepers on a content's STFT, mean over the window sizes.

    content, styles: mono [samples]; weights: of the styles, brought to the sum 1. analysis: of the spectrum that gets
    the gains. sizes: of the windows that judge, in samples, a quarter of each as hop. alpha: of the content error, as
    for 430 frames at every length. most: nepers that a gain may reach either way. boost: factor before log(1 + |X|);
    above 1 quieter parts count.
    """

    def __init__(
        self,
        content: Float32,
        styles: Sequence[Float32],
        weights: Sequence[float],
        analysis: Analysis,
        sizes: Sequence[int],
        alpha: float,
        taps: int = 11,
        most: float = 3.5,
        boost: float = 1.0,
        device: str = "cpu",
    ) -> None:
        self._analysis, self._most, self._length, self._device = analysis, most, len(content), device
        self._scales = [Analysis(analysis.sample_rate, size, size // 4) for size in sizes]
        self._boost = boost
        self._windows = {n_fft: torch.hann_window(n_fft, device=device) for n_fft in {analysis.n_fft, *sizes}}
        audio = self._tensor(content)
        self._spectrum = self._stft(audio, analysis)
        self.shape = (self._spectrum.shape[1], self._spectrum.shape[0])
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        clips = [self._tensor(style) for style in styles]
        self._judges: list[list[tuple[float, KernelObjective]]] = []
        for scale in self._scales:
            seen = self._log(audio, scale).cpu().numpy()
            balance = alpha * PUBLISHED_FRAMES / len(seen)
            self._judges.append(
                [
                    (
                        float(share) / len(sizes),
                        KernelObjective(seen, self._log(clip, scale).cpu().numpy(), balance, taps=taps),
                    )
                    for share, clip in zip(shares, clips, strict=True)
                ]
            )

    def __call__(self, spectrogram: Float32) -> Evaluation:
        """Judge gains [frames, bins]."""
        x = self._tensor(spectrogram).requires_grad_(True)
        audio = self._audio(x)
        logs = [self._log(audio, scale) for scale in self._scales]
        content = style = 0.0
        slopes = []
        for log, judges in zip(logs, self._judges, strict=True):
            seen = log.detach().cpu().numpy()
            slope = np.zeros_like(seen)
            for share, judge in judges:
                found = judge(seen)
                content += share * found.content
                style += share * found.style
                slope += np.float32(share) * found.gradient
            slopes.append(self._tensor(slope))
        (gradient,) = torch.autograd.grad(logs, x, slopes)
        return Evaluation(content, style, np.asarray(gradient.cpu().numpy(), dtype=np.float32))

    def seen(self, gains: Float32) -> Float32:
        """Log magnitudes [frames, bins] of the content's spectrum with gains."""
        with torch.no_grad():
            magnitude = self._spectrum.abs() * self._factors(self._tensor(gains)) * self._analysis.scale
            return np.asarray(torch.log1p(magnitude).T.cpu().numpy(), dtype=np.float32)

    def sound(self, gains: Float32) -> Float32:
        """Audio as long as the content."""
        with torch.no_grad():
            return np.asarray(self._audio(self._tensor(gains)).cpu().numpy(), dtype=np.float32)

    def _audio(self, x: Tensor) -> Tensor:
        a = self._analysis
        spectrum = self._spectrum * self._factors(x)
        return torch.istft(spectrum, a.n_fft, a.hop, window=self._windows[a.n_fft], length=self._length)

    def _factors(self, x: Tensor) -> Tensor:
        """Gains [frames, bins], bent where they near the bound, as factors [bins, frames]."""
        return torch.exp(self._most * torch.tanh(x.T / self._most))

    def _stft(self, audio: Tensor, analysis: Analysis) -> Tensor:
        n_fft = analysis.n_fft
        return torch.stft(
            audio, n_fft, analysis.hop, window=self._windows[n_fft], pad_mode="constant", return_complex=True
        )

    def _log(self, audio: Tensor, analysis: Analysis) -> Tensor:
        """log(1 + scale |X|), [frames, bins]; finite slopes in silence."""
        parts = torch.view_as_real(self._stft(audio, analysis))
        magnitude = torch.sqrt(parts.square().sum(dim=-1) + 1e-12)
        return torch.log1p(magnitude * (self._boost * analysis.scale)).T

    def _tensor(self, array: Float32) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(self._device)
