"""A small LSTM as a student: truncated backpropagation over many stretches of the take at a time."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Float32 = npt.NDArray[np.float32]

HIDDEN = 16
PREWARM_S = 0.5


class Lstm:
    """One layer of `hidden` cells and a linear head; starts, as NAM's players do, after half a second of zeros.

    weights: input [4H, 1], state [4H, H], bias [4H] (rows in the order i, f, g, o), head [1, H] and its bias [1].
    flat:    all of them, one after the other, float32; shapes: rows and columns of each in it.
    scale:   factor of the output.
    """

    architecture = "LSTM"
    run_in = 0
    segments, samples = 32, 1024

    def __init__(self, hidden: int = HIDDEN, seed: int = 1, sample_rate: int = 48000) -> None:
        self.hidden, self.scale, self.sample_rate = hidden, 1.0, sample_rate
        generator = torch.Generator().manual_seed(seed)
        shapes = ((4 * hidden, 1), (4 * hidden, hidden), (4 * hidden,), (1, hidden), (1,))
        bound = 1.0 / math.sqrt(hidden)
        parts = [bound * (2.0 * torch.rand(shape, generator=generator) - 1.0) for shape in shapes]
        self.flat = torch.cat([part.flatten() for part in parts]).numpy()
        pieces = torch.from_numpy(self.flat).split([part.numel() for part in parts])
        self.weights = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        self.shapes = [(shape[0], shape[1]) if len(shape) == 2 else (1, shape[0]) for shape in shapes]
        self.weights[2][hidden : 2 * hidden] += 1.0

    def run(self, audio: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Output [samples, segments] and the state after, for audio like it and a state, [1, segments, H] twice."""
        into, onwards, bias, head, offset = self.weights
        flat = [into, onwards, bias, torch.zeros_like(bias)]
        hidden, *after = torch.lstm(audio[..., None], state, flat, True, 1, 0.0, False, False, False)
        output = (hidden @ head.T + offset)[..., 0]
        return self.scale * output, (after[0], after[1])

    def rest(self, segments: int) -> tuple[Tensor, Tensor]:
        """The state of nothing yet heard, for so many segments."""
        return torch.zeros(1, segments, self.hidden), torch.zeros(1, segments, self.hidden)

    @torch.no_grad()
    def answer(self, samples: Float32) -> Float32:
        """The output for samples [n] played after silence: float32 [n]."""
        quiet = math.ceil(PREWARM_S * self.sample_rate)
        state = self.run(torch.zeros(quiet, 1), self.rest(1))[1]
        return self.run(torch.from_numpy(samples)[:, None], state)[0][:, 0].numpy()

    def exported(self, gain: float) -> tuple[dict[str, Any], Float32]:
        """`config` and `weights` as a .nam file has them, the output times gain."""
        into, onwards, bias, head, offset = self.weights
        factor = self.scale * gain
        rest = torch.zeros(2 * self.hidden)
        parts = (torch.cat((into, onwards), dim=1).flatten(), bias, rest, factor * head.flatten(), factor * offset)
        config = {"input_size": 1, "hidden_size": self.hidden, "num_layers": 1}
        return config, torch.cat(parts).detach().to(torch.float32).numpy()
