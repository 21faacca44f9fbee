"""What makes an encoder-decoder a variational one: a code with a spread, drawn from it, and what the spread costs.

A code's mean and the logarithm of its variance have one shape, with the channels on axis 1 (Kingma and Welling 2014).
"""

import torch
from torch import Tensor

WIDEST = 8.0
"""Beyond e^+-8 a variance is all noise or none."""


def bounded(spread: Tensor) -> Tensor:
    """The logarithm of a variance, of any shape, within WIDEST."""
    return spread.clamp(-WIDEST, WIDEST)


def drawn(mean: Tensor, spread: Tensor, generator: torch.Generator) -> Tensor:
    """A code from its distribution; the random numbers are the CPU's, the same for every device."""
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    return mean + torch.exp(0.5 * spread) * noise


def divergence(mean: Tensor, spread: Tensor) -> Tensor:
    """Kullback and Leibler's, from a code to the normal distribution: nats, summed over channels, mean of the rest."""
    return -0.5 * (1.0 + spread - mean.square() - spread.exp()).sum(dim=1).mean()
