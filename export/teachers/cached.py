"""Causal convolutions over time that remember: a sound may come in pieces of any size, and no piece has a border."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Past = list[Tensor]
"""The last inputs of every layer [batch, channels, reach]."""


class CausalConv(nn.Module):
    """A dilated convolution [batch, inputs, frames] -> [batch, outputs, frames] that looks back only."""

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int = 1, *, groups: int = 1) -> None:
        super().__init__()
        self.reach = (taps - 1) * dilation
        self.inputs = inputs
        self.layer = nn.Conv1d(inputs, outputs, taps, dilation=dilation, groups=groups)

    def forward(self, frames: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and the past of the next piece; past [batch, inputs, reach]."""
        joined = torch.cat((past, frames), dim=2)
        return self.layer(joined), joined[:, :, joined.shape[2] - self.reach :]


class CausalStack(nn.Module):
    """Frames [batch, inputs, frames] -> [batch, outputs, frames] through residual layers of growing dilation.

    Each layer: relu, causal convolution of three taps, relu, pointwise, added to its input.
    """

    def __init__(self, inputs: int, outputs: int, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.into = nn.Conv1d(inputs, width, 1)
        self.layers = nn.ModuleList(CausalConv(width, width, 3, dilation) for dilation in dilations)
        self.mixers = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in dilations)
        self.out = nn.Conv1d(width, outputs, 1)

    @property
    def reach(self) -> int:
        """Frames that it looks back."""
        return sum(layer.reach for layer in self.layers if isinstance(layer, CausalConv))

    def beginning(self, frames: Tensor) -> Past:
        """The past of a sound of which nothing came yet: all zeros."""
        layers = [layer for layer in self.layers if isinstance(layer, CausalConv)]
        return [frames.new_zeros(len(frames), layer.inputs, layer.reach) for layer in layers]

    def forward(self, frames: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Outputs of one piece, and the past of the next; without a past it is the first piece."""
        past = self.beginning(frames) if past is None else past
        hidden, kept = self.into(frames), []
        for layer, mixer, before in zip(self.layers, self.mixers, past, strict=True):
            inner, after = layer(functional.relu(hidden), before)
            hidden = hidden + mixer(functional.relu(inner))
            kept.append(after)
        return self.out(functional.relu(hidden)), kept


def in_pieces(stack: Callable[[Tensor, Past | None], tuple[Tensor, Past]], frames: Tensor, piece: int) -> Tensor:
    """A stack's outputs for [batch, inputs, frames], so many frames at a time: the same as at once, in less memory."""
    outputs: list[Tensor] = []
    past: Past | None = None
    for part in frames.split(piece, dim=2):
        output, past = stack(part, past)
        outputs.append(output)
    return torch.cat(outputs, dim=2)
