"""The published network's error over a tensor of tracks: random filters, the content's responses, a style's Gram.

The tensor is [frames, 3 * sines]: dB, then Hz, then radians of every slot. Its layout for the network was not
published. Here a filter of height 0 sees all slots at once, each with its three numbers a channel, as the network
of Ulyanov and Lebedev sees the bins of a spectrogram; one of any other height sees an image of slots by frames.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..objective import Evaluation, weight_deviation

Float32 = npt.NDArray[np.float32]


class TensorObjective:
    """alpha sum (F - Fc)^2 + sum (F'F/n - S'S/m)^2 for n and m frames; of several styles S the weighted mean of S'S/m.

    content: [frames, 3 * sines]; styles: alike, any number of frames; weights: of the styles.
    F are rectified responses to `filters` random filters of height slots (0: all) by `taps` frames, without padding,
    of which the largest of every pool x pool remains (images only).
    """

    def __init__(
        self,
        content: Float32,
        styles: Sequence[Float32],
        weights: Sequence[float],
        *,
        filters: int,
        taps: int,
        height: int = 0,
        pool: int = 1,
        alpha: float = 1e-2,
        seed: int = 1,
        device: str = "cpu",
    ) -> None:
        self.shape = (content.shape[0], content.shape[1])
        self._alpha, self._taps, self._height, self._pool = alpha, taps, height, pool
        self._device = torch.device(device)
        channels, rows = (content.shape[1], 1) if height == 0 else (3, height)
        drawn = np.random.default_rng([seed, 0x1A6E]).standard_normal((filters, channels, rows, taps), dtype=np.float32)
        drawn *= np.float32(weight_deviation(channels, filters, rows * taps))
        self._filters = torch.from_numpy(drawn).to(self._device)
        shares = [float(share) for share in np.asarray(weights) / np.sum(weights)]
        with torch.no_grad():
            self._content = self._responses(self._placed(content))
            self._styles = [(self._responses(self._placed(style)), len(style)) for style in styles]
            self._shares = shares
            positions = len(self._content) + sum(len(found) for found, _ in self._styles)
            self._dual = positions <= filters
            if self._dual:
                self._constant = self._cross_constant()
            else:
                grams = [
                    share * _gram(found, frames) for share, (found, frames) in zip(shares, self._styles, strict=True)
                ]
                self._wanted = torch.stack(grams).sum(dim=0)
                self._styles = []

    def __call__(self, spectrogram: Float32) -> Evaluation:
        """Both errors of a tensor [frames, 3 * sines], and the slope of their sum."""
        variable = self._placed(spectrogram).requires_grad_()
        responses = self._responses(variable)
        content = self._alpha * (responses - self._content).square().sum(dtype=torch.float64)
        style = self._style_error(responses)
        (slope,) = torch.autograd.grad(content + style, variable)
        return Evaluation(float(content.detach()), float(style.detach()), slope.cpu().numpy())

    def _placed(self, tensor: Float32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tensor, dtype=np.float32)).to(self._device)

    def _responses(self, tensor: Tensor) -> Tensor:
        """[positions, filters]"""
        if self._height == 0:
            patches = tensor.unfold(0, self._taps, 1).flatten(1)
            return torch.as_tensor(torch.relu(patches @ self._filters.flatten(1).T))
        image = tensor.unflatten(1, (3, -1)).permute(1, 2, 0)[None]
        responses = torch.relu(nn.functional.conv2d(image, self._filters))
        if self._pool > 1:
            responses = nn.functional.max_pool2d(responses, self._pool)
        return torch.as_tensor(responses[0].flatten(1).T)

    def _style_error(self, responses: Tensor) -> Tensor:
        """Through products of positions where they are fewer than the filters: the same number, in fewer steps."""
        n = self.shape[0]
        if not self._dual:
            return (_gram(responses, n) - self._wanted).square().sum(dtype=torch.float64)
        error = _energy(responses @ responses.T) / n**2 + self._constant
        for share, (found, frames) in zip(self._shares, self._styles, strict=True):
            error = error - 2.0 * share * _energy(responses @ found.T) / (n * frames)
        return torch.as_tensor(error)

    def _cross_constant(self) -> Tensor:
        """||sum of share S'S/m||^2"""
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for share, (one, frames) in zip(self._shares, self._styles, strict=True):
            for other_share, (other, other_frames) in zip(self._shares, self._styles, strict=True):
                total += share * other_share * _energy(one @ other.T) / (frames * other_frames)
        return total


def _gram(responses: Tensor, frames: int) -> Tensor:
    return torch.as_tensor(responses.T @ responses / frames)


def _energy(values: Tensor) -> Tensor:
    return torch.as_tensor(values.double().square().sum())
