"""A1-shaped WaveNets that train fast on a CPU: forward and backward written out as products of views.

A signal of B segments is [channels, T * B] with the segment running fastest, so that a shift by d samples in every
segment is a shift by d * B columns: each tap of a dilated convolution is one product with a view, nothing is copied and
no padding is made. The condition and a row of ones ride along below the residual channels, so the newest tap's product
adds mixin and bias, too. Against torch's Conv1d, forward and backward take about a third of the time.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Float32 = npt.NDArray[np.float32]

KERNEL = 3
_CHUNK = 32768


@dataclass(frozen=True)
class ArrayShape:
    """One layer array: residual channels, channels of its head, and a dilation for each layer."""

    channels: int
    head: int
    dilations: tuple[int, ...]


def _doubling(first: int, last: int) -> tuple[int, ...]:
    return tuple(2**power for power in range(first, last + 1))


def _small(channels: int) -> tuple[ArrayShape, ArrayShape]:
    second = (*_doubling(7, 9), *_doubling(0, 9))
    return ArrayShape(channels, channels // 2, _doubling(0, 6)), ArrayShape(channels // 2, 1, second)


SHAPES: dict[str, tuple[ArrayShape, ...]] = {
    "standard": (ArrayShape(16, 8, _doubling(0, 9)), ArrayShape(8, 1, _doubling(0, 9))),
    "lite": _small(12),
    "feather": _small(8),
    "nano": _small(4),
}
"""The sizes of NAM's first architecture: 13802, 6554, 3026 and 842 weights, 4093 samples of receptive field."""


class WaveNet:
    """Weights of a WaveNet (kernel 3, tanh, ungated) and what can be done with them.

    weights: matrices; per array the rechannel [C, C before], for each layer the taps, oldest first, with mixin and bias
             [C, 3C + 2] and the 1x1 with its bias [C, C + 1]; then the head [head, C], with a bias in the last array.
    scale:   factor of the output.
    """

    architecture = "WaveNet"
    segments, samples = 2, 8192

    def __init__(self, arrays: tuple[ArrayShape, ...], seed: int = 1, dtype: torch.dtype = torch.float32) -> None:
        self.arrays = arrays
        self.run_in = sum((KERNEL - 1) * dilation for array in arrays for dilation in array.dilations)
        self.scale = 1.0
        generator = torch.Generator().manual_seed(seed)
        self.weights = [
            (2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0).to(dtype) / math.sqrt(fan_in)
            for shape, fan_in in self._shapes()
        ]

    def _shapes(self) -> list[tuple[tuple[int, int], int]]:
        """Shape and fan-in of every matrix."""
        shapes, before = [], 1
        for array in self.arrays:
            wide = array.channels
            shapes.append(((wide, before), before))
            for _ in array.dilations:
                shapes += [((wide, KERNEL * wide + 2), KERNEL * wide), ((wide, wide + 1), wide)]
            shapes.append(((array.head, wide + (array is self.arrays[-1])), wide))
            before = wide
        return shapes

    def answer(self, samples: Float32) -> Float32:
        """The output for samples [n] played after silence: float32 [n]."""
        answer = np.empty(len(samples), dtype=np.float32)
        padded = np.concatenate((np.zeros(self.run_in, dtype=np.float32), samples))
        pass_ = Pass(self, _CHUNK + self.run_in, 1, gradients=False)
        for start in range(0, len(samples), _CHUNK):
            piece = padded[start : start + _CHUNK + self.run_in]
            here = pass_ if len(piece) == _CHUNK + self.run_in else Pass(self, len(piece), 1, gradients=False)
            answer[start : start + _CHUNK] = here.forward(torch.from_numpy(piece))[0].numpy()
        return answer

    def exported(self, gain: float) -> tuple[dict[str, Any], Float32]:
        """`config` and `weights` as a .nam file has them, the output times gain."""
        layers, flat, before = [], [], 1
        weights = iter(self.weights)
        for array in self.arrays:
            last = array is self.arrays[-1]
            layers.append(
                {
                    "input_size": before,
                    "condition_size": 1,
                    "head_size": array.head,
                    "channels": array.channels,
                    "kernel_size": KERNEL,
                    "dilations": list(array.dilations),
                    "activation": "Tanh",
                    "gated": False,
                    "head_bias": last,
                }
            )
            wide = array.channels
            flat.append(next(weights).flatten())
            for _ in array.dilations:
                taps, onwards = next(weights), next(weights)
                kernel = taps[:, : KERNEL * wide].reshape(wide, KERNEL, wide).permute(0, 2, 1)
                flat += [kernel.flatten(), taps[:, -1], taps[:, -2], onwards[:, :-1].flatten(), onwards[:, -1]]
            head = next(weights)
            flat += [head[:, :wide].flatten(), *([head[:, -1]] if last else [])]
            before = wide
        scale = float(np.float32(self.scale * gain))
        values = torch.cat([*flat, torch.tensor([scale])]).to(torch.float32)
        return {"layers": layers, "head": None, "head_scale": scale}, values.numpy()


class Pass:
    """Room to run a WaveNet over `segments` segments of `samples` samples each, forward and, if asked, backward.

    The output has run_in samples less. One thread each.
    """

    def __init__(self, net: WaveNet, samples: int, segments: int, *, gradients: bool = True) -> None:
        self.net, self.segments, self.gradients = net, segments, gradients
        self.columns = samples * segments
        self.kept = (samples - net.run_in) * segments
        dtype = net.weights[0].dtype
        self._streams: list[Tensor] = []
        self._inner: list[Tensor] = []
        self._heads = [torch.ones(array.channels + 1, self.kept, dtype=dtype) for array in net.arrays]
        length = self.columns
        self._spare: dict[tuple[int, int], Tensor] = {}
        for array in net.arrays:
            # Without gradients two rooms for the stream, in turn, and one for what is inside, serve all layers.
            for number, dilation in enumerate((0, *array.dilations)):
                length -= (KERNEL - 1) * dilation * segments
                self._streams.append(self._room(array.channels + 2, length, number % 2, dtype))
                if number:
                    self._inner.append(self._room(array.channels + 1, length, 2, dtype))
        if gradients:
            widest = max(array.channels for array in net.arrays)
            self._back = [torch.empty(widest * self.columns, dtype=dtype) for _ in range(4)]

    def _room(self, rows: int, columns: int, use: int, dtype: torch.dtype) -> Tensor:
        if self.gradients:
            return torch.empty(rows, columns, dtype=dtype)
        if (rows, use) not in self._spare:
            self._spare[rows, use] = torch.empty(rows, self.columns, dtype=dtype)
        return self._spare[rows, use][:, -columns:]

    def forward(self, audio: Tensor) -> Tensor:
        """The output [1, kept] for audio [columns]; it lives until the next call."""
        weights, streams, inner = iter(self.net.weights), iter(self._streams), iter(self._inner)
        before, head = audio[None], None
        for array, summed in zip(self.net.arrays, self._heads, strict=True):
            wide = array.channels
            stream = next(streams)
            torch.mm(next(weights), before, out=stream[:wide])
            self._beside(stream, audio)
            sums = summed[:wide]
            if head is None:
                sums.zero_()
            else:
                sums.copy_(head)
            for dilation in array.dilations:
                taps, onwards = next(weights), next(weights)
                hidden, step = next(inner), dilation * self.segments
                length = hidden.shape[1]
                inside = hidden[:wide]
                torch.mm(taps[:, 2 * wide :], stream[:, 2 * step :], out=inside)
                inside.addmm_(taps[:, :wide], stream[:wide, :length])
                inside.addmm_(taps[:, wide : 2 * wide], stream[:wide, step : step + length])
                # numpy's tanh is some ten times faster than torch's.
                values = inside.numpy()
                np.tanh(values, out=values)
                hidden[wide] = 1.0
                sums += inside[:, -self.kept :]
                following = next(streams)
                torch.addmm(stream[:wide, -length:], onwards, hidden, out=following[:wide])
                self._beside(following, audio)
                stream = following
            before = stream[:wide]
            head = next(weights) @ (summed if array is self.net.arrays[-1] else sums)
        assert head is not None
        return head.mul_(self.net.scale)

    def backward(self, slope: Tensor, audio: Tensor) -> list[Tensor]:
        """Gradients of the weights from that of the output [1, kept], after `forward` of the same audio."""
        weights = self.net.weights
        gradients: list[Tensor] = [torch.zeros(0)] * len(weights)
        at, place = len(weights) - 1, len(self._streams) - 1
        inner = len(self._inner) - 1
        slope = slope * self.net.scale
        later: Tensor | None = None
        for array, summed in zip(self.net.arrays[::-1], self._heads[::-1], strict=True):
            wide = array.channels
            heads = summed if array is self.net.arrays[-1] else summed[:wide]
            gradients[at] = slope @ heads.T
            slope = weights[at][:, :wide].T @ slope
            at -= 1
            for dilation in array.dilations[::-1]:
                taps, onwards = weights[at - 1], weights[at]
                hidden, stream = self._inner[inner], self._streams[place - 1]
                inside, length, step = hidden[:wide], hidden.shape[1], dilation * self.segments
                here = self._scratch(0, wide, length)
                if later is None:
                    gradients[at] = torch.zeros_like(onwards)
                    here.zero_()
                else:
                    gradients[at] = later @ hidden.T
                    torch.mm(onwards[:, :wide].T, later, out=here)
                here[:, -self.kept :] += slope
                part = torch.mul(here, inside, out=self._scratch(1, wide, length))
                here.addcmul_(part, inside, value=-1.0)
                gradient = torch.empty_like(taps)
                gradient[:, 2 * wide :] = here @ stream[:, 2 * step :].T
                gradient[:, :wide] = here @ stream[:wide, :length].T
                gradient[:, wide : 2 * wide] = here @ stream[:wide, step : step + length].T
                gradients[at - 1] = gradient
                earlier = self._scratch(2 + place % 2, wide, stream.shape[1])
                self._spread(earlier, taps, here, step, later)
                later, at, inner, place = earlier, at - 2, inner - 1, place - 1
            assert later is not None
            if array is self.net.arrays[0]:
                gradients[at] = later @ audio[:, None]
            else:
                before = self._streams[place - 1][: weights[at].shape[1]]
                gradients[at] = later @ before.T
                narrow = weights[at].T @ later
                later = self._scratch(2 + place % 2, len(narrow), narrow.shape[1])
                later.copy_(narrow)
            at, place = at - 1, place - 1
        return gradients

    def _spread(self, earlier: Tensor, taps: Tensor, here: Tensor, step: int, later: Tensor | None) -> None:
        """The gradient of a layer's stream: through the taps, and past the layer."""
        wide, length = here.shape
        newest = earlier[:, 2 * step :]
        earlier[:, : 2 * step] = 0.0
        if later is None:
            newest.zero_()
        else:
            newest.copy_(later)
        newest.addmm_(taps[:, 2 * wide : 3 * wide].T, here)
        earlier[:, :length].addmm_(taps[:, :wide].T, here)
        earlier[:, step : step + length].addmm_(taps[:, wide : 2 * wide].T, here)

    def _scratch(self, which: int, rows: int, columns: int) -> Tensor:
        return self._back[which][: rows * columns].view(rows, columns)

    @staticmethod
    def _beside(stream: Tensor, audio: Tensor) -> None:
        stream[-2] = audio[-stream.shape[1] :]
        stream[-1] = 1.0
