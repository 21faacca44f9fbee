"""ChopAN's variational autoencoder as published (Velardo's default): 256 x 64 log spectrograms, latent of 128."""

import torch
from torch import nn
from torch.nn import functional as F

HEIGHT, WIDTH = 256, 64
FILTERS = (512, 256, 128, 64, 32)
STRIDES = ((2, 2), (2, 2), (2, 2), (2, 2), (2, 1))
LATENT = 128
RECONSTRUCTION = 1_000_000.0
"""Weight of the mean squared error beside the divergence, as published."""

LEARNING_RATE = 5e-4
_KERNEL = 3


class ChopanVae(nn.Module):
    """2 371 777 parameters with the published filters, running means and variances counted as Keras does.

    Convolutions pad and crop as Keras' `same` does: what is odd goes behind. Every one is followed by ReLU, then batch
    normalisation (momentum 0.99 and epsilon 1e-3, as in Keras); the last by a sigmoid.
    """

    def __init__(self, filters: tuple[int, ...] = FILTERS, latent: int = LATENT) -> None:
        super().__init__()
        self.filters = filters
        self.inward = nn.ModuleList()
        before = 1
        for count in filters:
            self.inward.append(nn.Sequential(nn.Conv2d(before, count, _KERNEL), _norm(count)))
            before = count
        self.small = (before, HEIGHT // _product(0), WIDTH // _product(1))
        flat = self.small[0] * self.small[1] * self.small[2]
        self.mean, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.unfold = nn.Linear(latent, flat)
        self.outward = nn.ModuleList()
        for count in reversed(filters[1:]):
            self.outward.append(nn.Sequential(nn.ConvTranspose2d(before, count, _KERNEL), _norm(count)))
            before = count
        self.last = nn.ConvTranspose2d(before, 1, _KERNEL)
        self._set_strides()

    def encode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures [n, 1, 256, 64] of 0 to 1 -> mean and log variance of the latent, [n, latent] each."""
        x = pictures
        for layer, stride in zip(self.inward, STRIDES, strict=True):
            convolution, norm = layer.children()
            x = norm(F.relu(convolution(_padded(x, stride))))
        flat = x.flatten(1)
        return self.mean(flat), self.log_variance(flat)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Latents [n, latent] -> pictures [n, 1, 256, 64] of 0 to 1."""
        x = self.unfold(latent).view(-1, *self.small)
        for layer, stride in zip(self.outward, reversed(STRIDES[1:]), strict=True):
            convolution, norm = layer.children()
            x = norm(F.relu(_cropped(convolution(x), stride)))
        return torch.sigmoid(_cropped(self.last(x), STRIDES[0]))

    def loss(self, pictures: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """1 000 000 x mean squared error + divergence from the standard normal, mean over the batch.

        noise: standard normal [n, latent].
        """
        mean, log_variance = self.encode(pictures)
        made = self.decode(mean + torch.exp(0.5 * log_variance) * noise)
        divergence = -0.5 * (1.0 + log_variance - mean**2 - torch.exp(log_variance)).sum(dim=1)
        return RECONSTRUCTION * F.mse_loss(made, pictures) + divergence.mean()

    @property
    def parameter_count(self) -> int:
        """As Keras counts: weights, and the running mean and variance of every normalisation."""
        running = sum(value.numel() for name, value in self.named_buffers() if not name.endswith("num_batches_tracked"))
        return sum(value.numel() for value in self.parameters()) + running

    def _set_strides(self) -> None:
        for layer, stride in zip(self.inward, STRIDES, strict=True):
            _convolution(layer).stride = stride
        for layer, stride in zip(self.outward, reversed(STRIDES[1:]), strict=True):
            _convolution(layer).stride = stride
        self.last.stride = STRIDES[0]


def _convolution(layer: nn.Module) -> nn.Conv2d | nn.ConvTranspose2d:
    first = next(layer.children())
    assert isinstance(first, nn.Conv2d | nn.ConvTranspose2d)
    return first


def _norm(count: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(count, eps=1e-3, momentum=0.01)


def _product(axis: int) -> int:
    product = 1
    for stride in STRIDES:
        product *= stride[axis]
    return product


def _padded(x: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """Padded for a kernel of 3: one behind at a stride of 2, one on each side at 1."""
    (top, bottom), (left, right) = ((0, 1) if step == 2 else (1, 1) for step in stride)
    return F.pad(x, (left, right, top, bottom))


def _cropped(x: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """What a transposed convolution made too much is cut: one behind at a stride of 2, one on each side at 1."""
    (top, bottom), (left, right) = ((0, 1) if step == 2 else (1, 1) for step in stride)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
