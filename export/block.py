"""The residual block of the students in torch; its form in ONNX is `graph.add_block`."""

import torch
from torch import Tensor, nn

from . import graph


class _Taps(torch.autograd.Function):
    """The depthwise causal convolution of hidden [batch, frames, width] with taps [KERNEL, width], the newest last.

    Beside slices of a padded input it has no zeros and copies in the backward pass.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, hidden: Tensor, taps: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(hidden, taps)
        ctx.dilation = dilation  # type: ignore[attr-defined]
        mixed = hidden * taps[-1]
        for lag, tap in _lags(taps, dilation):
            mixed[:, lag:].addcmul_(hidden[:, :-lag], tap)
        return mixed

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, taps = ctx.saved_tensors  # type: ignore[attr-defined]
        before, rows = grad * taps[-1], []
        for lag, tap in _lags(taps, ctx.dilation):  # type: ignore[attr-defined]
            before[:, :-lag].addcmul_(grad[:, lag:], tap)
            rows.append((grad[:, lag:] * hidden[:, :-lag]).sum(dim=(0, 1)))
        rows.append((grad * hidden).sum(dim=(0, 1)))
        return before, torch.stack(rows), None


def _lags(taps: Tensor, dilation: int) -> list[tuple[int, Tensor]]:
    """All taps but the newest, and how many frames each looks back."""
    return [((len(taps) - 1 - index) * dilation, taps[index]) for index in range(len(taps) - 1)]


class ResidualBlock(nn.Module):
    """Depthwise causal convolution, pointwise layer, FiLM, ReLU, pointwise layer, added to the input.

    spread: how far the conditioning of several styles starts apart. knows_amount: whether it also moves as the amount
    falls from 1 to 0.
    """

    def __init__(self, width: int, dilation: int, styles: int, *, spread: float = 0.0, knows_amount: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Parameter(torch.randn(graph.KERNEL, width) * 0.3)
        with torch.no_grad():
            self.taps[-1] += 1.0
        self.into = nn.Parameter(torch.randn(width, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Parameter(torch.randn(width, width) * 0.3 / width**0.5)
        self.scale = nn.Parameter(torch.ones(styles, width))
        self.shift = nn.Parameter(torch.zeros(styles, width))
        if spread > 0.0:
            with torch.no_grad():
                self.scale.add_(spread * torch.randn(styles, width))
                self.shift.add_(spread * torch.randn(styles, width))
        self.scale_rest = nn.Parameter(torch.zeros(width)) if knows_amount else None
        self.shift_rest = nn.Parameter(torch.zeros(width)) if knows_amount else None

    def forward(self, hidden: Tensor, style: Tensor, rest: Tensor | None = None) -> Tensor:
        """hidden [batch, frames, width], style [batch or 1, styles], rest (1 - amount) [batch, 1]."""
        mixed = _Taps.apply(hidden, self.taps, self.dilation)  # type: ignore[no-untyped-call]
        scale, shift = style @ self.scale, style @ self.shift
        if self.scale_rest is not None and self.shift_rest is not None:
            assert rest is not None
            scale, shift = scale + rest * self.scale_rest, shift + rest * self.shift_rest
        inner = torch.relu((mixed @ self.into + self.bias) * scale[:, None] + shift[:, None])
        return hidden + inner @ self.out

    def weights(self) -> graph.Block:
        """The weights, copied, for `graph.add_block`."""
        parts = {name: part.detach().cpu().numpy().copy() for name, part in self.named_parameters()}
        return graph.Block(**parts, dilation=self.dilation)
