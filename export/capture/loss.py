"""What a capture is trained on: error against the wanted sound, with and without pre-emphasis, and its spectra."""

import torch
from torch import Tensor

PRE_EMPHASIS = 0.85
_FFT_SIZES = (512, 1024, 2048)
_FLOOR = 1e-5


class Loss:
    """Errors relative to the energy of all the wanted sound, so that loud and quiet stretches add up as in the ESR.

    ESR of the sound and of its pre-emphasised form (1 - 0.85 / z), half each, and `spectral` times the multi-resolution
    STFT distance (spectral convergence, and mean difference of the logarithms, over three sizes).
    """

    def __init__(self, wanted: Tensor, spectral: float) -> None:
        """wanted: all of it, [samples]."""
        self._energy = float(wanted.square().mean()) + 1e-12
        self._emphasised = float((wanted[1:] - PRE_EMPHASIS * wanted[:-1]).square().mean()) + 1e-12
        self._spectral = spectral
        self._windows = {size: torch.hann_window(size) for size in _FFT_SIZES}

    def __call__(self, output: Tensor, wanted: Tensor) -> Tensor:
        """The loss of an output [samples, segments] against what is wanted there."""
        error = output - wanted
        plain = error.square().mean() / self._energy
        emphasised = (error[1:] - PRE_EMPHASIS * error[:-1]).square().mean() / self._emphasised
        loss = 0.5 * (plain + emphasised)
        if self._spectral > 0.0:
            loss = loss + self._spectral * self._spectra(output.T, wanted.T)
        return loss

    def _spectra(self, output: Tensor, wanted: Tensor) -> Tensor:
        total = torch.zeros(())
        for size, window in self._windows.items():
            if output.shape[-1] < size:
                continue
            got, want = (self._stft(x, window) for x in (output, wanted))
            # The floor inside the root keeps silence from making infinite gradients.
            floor = _FLOOR * size * self._energy
            a = torch.sqrt(got.real.square() + got.imag.square() + floor)
            b = torch.sqrt(want.real.square() + want.imag.square() + floor)
            total = total + (a - b).norm() / b.norm() + (a.log() - b.log()).abs().mean()
        return total / len(_FFT_SIZES)

    @staticmethod
    def _stft(audio: Tensor, window: Tensor) -> Tensor:
        size = len(window)
        return torch.stft(audio, size, size // 2, window=window, center=False, return_complex=True)


def esr(output: Tensor, wanted: Tensor) -> float:
    """Error-to-signal ratio of samples of any shape: energy of the error over that of what is wanted."""
    return float((output - wanted).double().square().sum() / (wanted.double().square().sum() + 1e-20))
