"""A1-shaped WaveNets that train fast on a CPU: all weights in one flat array, which compiled loops read."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from . import kernels

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

KERNEL = kernels.KERNEL
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

    flat:    all weights, float32; shapes: rows and columns of the matrices that lie in it, one after the other.
    weights: these matrices, views of flat; per array the rechannel [C, C before], for each layer the taps, oldest
             first, with mixin and bias [C, 3C + 2] and the 1x1 with its bias [C, C + 1]; then the head [head, C], with
             a bias in the last array.
    scale:   factor of the output.
    """

    architecture = "WaveNet"
    samples = 8192

    def __init__(self, arrays: tuple[ArrayShape, ...], seed: int = 1) -> None:
        self.arrays = arrays
        self.run_in = sum((KERNEL - 1) * dilation for array in arrays for dilation in array.dilations)
        self.scale = 1.0
        generator = torch.Generator().manual_seed(seed)
        shapes = self._shapes()
        self.flat = np.concatenate(
            [
                (2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0).flatten().numpy()
                / math.sqrt(fan_in)
                for shape, fan_in in shapes
            ]
        ).astype(np.float32)
        self.shapes = [shape for shape, _ in shapes]
        pieces = torch.from_numpy(self.flat).split([rows * columns for rows, columns in self.shapes])
        self.weights = [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        self.table, self.layers = self._tables()

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

    def _tables(self) -> tuple[Int64, Int64]:
        """What the loops must know of every array and of every layer (`kernels`)."""
        table: list[tuple[int, ...]] = []
        layers: list[tuple[int, ...]] = []
        places = iter(np.cumsum([0, *(rows * columns for rows, columns in self.shapes)]))
        begin = 0
        for array in self.arrays:
            into, first = next(places), len(layers)
            for dilation in array.dilations:
                begin += (KERNEL - 1) * dilation
                layers.append((next(places), next(places), dilation, begin))
            table.append((into, array.channels, next(places), array.head, first, len(array.dilations)))
        return np.asarray(table, dtype=np.int64), np.asarray(layers, dtype=np.int64)

    def answer(self, samples: Float32) -> Float32:
        """The output for samples [n] played after silence: float32 [n]."""
        answer = np.empty(len(samples), dtype=np.float32)
        padded = np.concatenate((np.zeros(self.run_in, dtype=np.float32), samples))
        pass_ = Pass(self, min(_CHUNK, len(samples)) + self.run_in)
        for start in range(0, len(samples), _CHUNK):
            piece = padded[start : start + _CHUNK + self.run_in]
            # A last piece that is shorter ends in what nobody asked for.
            piece = np.concatenate((piece, np.zeros(pass_.samples - len(piece), dtype=np.float32)))
            count = min(_CHUNK, len(samples) - start)
            answer[start : start + count] = pass_.forward(piece)[:count]
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
    """Room to run a WaveNet over a stretch of so many samples, forward and backward; one thread each.

    The output has run_in samples less.
    """

    def __init__(self, net: WaveNet, samples: int) -> None:
        self.net, self.samples = net, samples
        # Rows that are whole pages apart would all fall into the same places of the cache.
        stride = -(-samples // 16) * 16
        stride += 16 if stride % 512 == 0 else 0
        arrays, layers = len(net.arrays), len(net.layers)
        widest = max(max(array.channels, array.head) for array in net.arrays)
        self._streams, self._inner, self._heads, self._slopes, self._back = (
            np.zeros((count, widest, stride), dtype=np.float32)
            for count in (layers + arrays, layers, arrays + 1, arrays + 1, 3)
        )
        self._audio = np.zeros((1, samples), dtype=np.float32)
        self._gradient = np.zeros_like(net.flat)

    def forward(self, audio: Float32) -> Float32:
        """The output [samples - run_in] for audio [samples]; it lives until the next call."""
        net = self.net
        self._audio[:] = audio
        room = (self._streams, self._inner, self._heads)
        kernels.forward(net.flat, net.table, net.layers, net.run_in, self._audio, *room)
        output = self._heads[-1, 0, net.run_in : self.samples]
        output *= np.float32(net.scale)
        return output

    def backward(self, slope: Float32) -> Float32:
        """The gradient of the flat weights from that of the output [samples - run_in], after `forward`.

        It lives until the next call.
        """
        net = self.net
        self._slopes[-1, 0, net.run_in : self.samples] = slope * np.float32(net.scale)
        self._gradient[:] = 0.0
        room = (self._streams, self._inner, self._heads, self._slopes, self._back)
        kernels.backward(net.flat, net.table, net.layers, net.run_in, self._audio, *room, self._gradient)
        return self._gradient
