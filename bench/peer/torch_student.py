"""The shipped student in torch, frame by frame, its states handed in and out; weights from the model file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

KERNEL = 3


class Block(nn.Module):
    """Depthwise causal convolution, pointwise layer, FiLM, ReLU, pointwise layer, added to the input."""

    def __init__(self, weights: dict[str, Tensor], name: str, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Parameter(torch.stack([weights[f"{name}_tapw{i}"] for i in range(KERNEL)]))
        self.into, self.bias = nn.Parameter(weights[f"{name}_into"]), nn.Parameter(weights[f"{name}_bias"])
        self.out = nn.Parameter(weights[f"{name}_out"])
        self.scale, self.shift = nn.Parameter(weights[f"{name}_scale"]), nn.Parameter(weights[f"{name}_shift"])
        self.scale_rest = nn.Parameter(weights[f"{name}_scale_rest"])
        self.shift_rest = nn.Parameter(weights[f"{name}_shift_rest"])

    def forward(self, hidden: Tensor, past: Tensor, style: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """hidden [1, 1, width] and past [1, 2 dilation, width] to the next of both."""
        joined = torch.cat([past, hidden], dim=1)
        mixed = joined[:, :1] * self.taps[0] + joined[:, self.dilation : self.dilation + 1] * self.taps[1]
        inner = (mixed + hidden * self.taps[2]) @ self.into + self.bias
        scale = style @ self.scale + rest * self.scale_rest
        shift = style @ self.shift + rest * self.shift_rest
        return hidden + torch.relu(inner * scale + shift) @ self.out, joined[:, 1:]


class StreamingStudent(nn.Module):
    """features [1, 1, n], style [styles], amount [1] and states to ratios, dynamics and the next states."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with np.load(path) as data:
            weights = {name: torch.from_numpy(data[name].copy()) for name in data.files}
        self.dilations = [int(value) for value in weights["dilations"]]
        self.excitations = int(weights["excitations"])
        self.ratio_bound, self.swing_bound = float(weights["ratio_bound"]), float(weights["swing_bound"])
        self.first = nn.Parameter(torch.stack([weights[f"first_{i}"] for i in range(KERNEL)]))
        self.first_bias = nn.Parameter(weights["first_bias"])
        self.blocks = nn.ModuleList(Block(weights, f"b{i}", d) for i, d in enumerate(self.dilations))
        self.last, self.last_bias = nn.Parameter(weights["last"]), nn.Parameter(weights["last_bias"])
        self.bases, self.levels = nn.Parameter(weights["bases"]), nn.Parameter(weights["levels"])
        self.gammas = nn.Parameter(weights["gammas"])

    def initial(self) -> list[Tensor]:
        """States of silence."""
        width = self.first.shape[2]
        spans = [(KERNEL - 1, self.first.shape[1]), *((2 * dilation, width) for dilation in self.dilations)]
        return [torch.zeros(1, *span) for span in spans]

    def forward(
        self, features: Tensor, style: Tensor, amount: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        joined = torch.cat([states[0], features], dim=1)
        hidden = joined[:, :1] @ self.first[0] + joined[:, 1:2] @ self.first[1] + features @ self.first[2]
        hidden = hidden + self.first_bias
        following = [joined[:, 1:]]
        rest = 1.0 - amount
        for i, block in enumerate(self.blocks):
            hidden, past = block(hidden, states[i + 1], style, rest)
            following.append(past)
        answer = hidden @ self.last + self.last_bias
        moves, swing = answer[:, :, :-1], answer[:, :, -1:]
        ratios = self.ratio_bound * torch.tanh(moves / self.ratio_bound) + style @ self.bases
        swing = self.swing_bound * torch.tanh(swing / self.swing_bound) + style @ self.levels
        dynamics = torch.cat([swing, (style @ self.gammas).expand_as(swing)], dim=2)
        return ratios.reshape(1, 1, self.excitations, -1), dynamics, following
