"""The convolutions of VGG19 (Simonyan and Zisserman 2015) and what comes out of them, layer by layer.

Layers go by the names of Keras, block1_conv1 to block5_conv4; conv_1 to conv_16 count the same sixteen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import DuendeError

Pooling = Literal["max", "average"]

# Mean and deviation of the photographs that the published weights were trained on, red, green, blue.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Convolution:
    """One of the sixteen 3x3 convolutions; key is its place in torchvision's `features`."""

    name: str
    block: int
    inputs: int
    outputs: int
    key: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of its weights by their names in torchvision's state dictionary."""
        return {f"{self.key}.weight": (self.outputs, self.inputs, 3, 3), f"{self.key}.bias": (self.outputs,)}


def _convolutions() -> tuple[Convolution, ...]:
    found, place, inputs = [], 0, 3
    for block, (count, outputs) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), 1):
        for number in range(1, count + 1):
            found.append(Convolution(f"block{block}_conv{number}", block, inputs, outputs, f"features.{place}"))
            inputs, place = outputs, place + 2  # a ReLU stands between two convolutions
        place += 1  # and a pooling at the end of a block
    return tuple(found)


CONVOLUTIONS = _convolutions()
_NUMBERS = {convolution.name: number for number, convolution in enumerate(CONVOLUTIONS)}
_NUMBERS |= {f"conv_{number + 1}": number for number in range(len(CONVOLUTIONS))}


def layer_number(name: str) -> int:
    """Which of the sixteen convolutions, from 0; DuendeError for a name that none has."""
    if name not in _NUMBERS:
        raise DuendeError(f"layer {name!r}: choose block1_conv1 to block5_conv4 (conv_1 to conv_16)")
    return _NUMBERS[name]


def deepest(names: Sequence[str]) -> Convolution:
    """The last convolution that the named layers need."""
    return CONVOLUTIONS[max(layer_number(name) for name in names)]


def operations(height: int, width: int, names: Sequence[str]) -> float:
    """Multiplications of one forward run over a picture, up to the deepest of the named layers."""
    total = 0.0
    for convolution in CONVOLUTIONS[: layer_number(deepest(names).name) + 1]:
        positions = (height >> (convolution.block - 1)) * (width >> (convolution.block - 1))
        total += 9.0 * convolution.inputs * convolution.outputs * positions
    return total


class Vgg19:
    """The network up to the deepest layer asked for.

    weights: by torchvision's names; without them He's random initialisation (2015), zero biases, from a seed, the
        same on every device.
    before_relu: give the sums of a layer, as PyTorch's tutorial compares them, and not what its ReLU leaves of them, as
        TensorFlow's does.
    """

    def __init__(
        self,
        names: Sequence[str],
        weights: Mapping[str, Tensor] | None = None,
        seed: int = 0,
        before_relu: bool = False,
        pooling: Pooling = "max",
        device: str = "cpu",
    ) -> None:
        self._wanted = {layer_number(name) for name in names}
        self._before_relu, self._pooling = before_relu, pooling
        generator = torch.Generator().manual_seed(seed)
        self._weights: list[tuple[Tensor, Tensor]] = []
        for convolution in CONVOLUTIONS[: max(self._wanted) + 1]:
            if weights is None:
                deviation = (2.0 / (9.0 * convolution.inputs)) ** 0.5
                shape = (convolution.outputs, convolution.inputs, 3, 3)
                weight = torch.randn(shape, generator=generator) * deviation
                bias = torch.zeros(convolution.outputs)
            else:
                weight, bias = (weights[f"{convolution.key}.{part}"].float() for part in ("weight", "bias"))
            # Colours last is twice as fast on a CPU.
            self._weights.append((weight.to(device, memory_format=torch.channels_last), bias.to(device)))
        self._mean, self._deviation = (
            torch.tensor(values, device=device)[None, :, None, None] for values in (_MEAN, _DEVIATION)
        )

    @property
    def parameters(self) -> int:
        return sum(weight.numel() + bias.numel() for weight, bias in self._weights)

    def __call__(self, picture: Tensor) -> dict[int, Tensor]:
        """What comes out of the layers asked for, by `layer_number`: [channels, height, width] each.

        picture: [1 or 3, height, width], 0 black and 1 white; one channel stands for three alike.
        """
        x = (picture.expand(3, -1, -1)[None] - self._mean) / self._deviation
        x = x.contiguous(memory_format=torch.channels_last)
        found: dict[int, Tensor] = {}
        for number, (weight, bias) in enumerate(self._weights):
            if number and CONVOLUTIONS[number].block > CONVOLUTIONS[number - 1].block:
                x = F.max_pool2d(x, 2) if self._pooling == "max" else F.avg_pool2d(x, 2)
            sums = F.conv2d(x, weight, bias, padding=1)
            x = torch.relu(sums)
            if number in self._wanted:
                found[number] = (sums if self._before_relu else x)[0]
        return found
