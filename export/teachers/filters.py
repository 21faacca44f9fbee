"""Networks of untrained filters over a log spectrogram: the published layer, and what the papers tried beside it.

bins: the published one, 1x11 filters with every bin as a channel (Ulyanov and Lebedev 2016). per-bin: each bin has
filters of its own and sees no other. picture: square filters over the spectrogram as a one-channel picture, 3x3 or
11x11. detectors: fixed filters over that picture: beginnings and ends of sounds, edges and ridges along both axes,
glides, and combs that fit partials at so many bins' distance.

The Gram of a layer is over all its positions, divided by the number of frames as published. Torch, on any device; the
random numbers are those of `cnn.FilterBank`, the same everywhere.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from .cnn import Network, Spread, shortest_frames
from .objective import Evaluation, check_lengths, weight_deviation

Float32 = npt.NDArray[np.float32]

COMBS = (6, 8, 10, 12, 15, 18, 22, 27)
"""Distances of a comb's teeth in bins: at 10.8 Hz a bin notes of 65 to 290 Hz."""
TEETH = 5
_TRUNCATED = 0.87962566  # deviation of a normal distribution cut off at two deviations

Layer = Callable[[Tensor], Tensor]
"""[channels, rows, frames] -> [channels, rows, frames], rectified. Without a picture there is one row."""


class FilterStack:
    """Layers, each on what came out of the one before it.

    filters: of a layer; per-bin takes as many as fit evenly, at least one to a bin; detectors have their own number.
    taps: frames that a filter spans, and for pictures also bins. pool: maxima over so many frames after each layer.
    spread: deviation of the random numbers: the published one, or Glorot's, cut off at two deviations.
    """

    def __init__(
        self,
        bins: int,
        network: Network = "bins",
        filters: int = 4096,
        taps: int = 11,
        *,
        depth: int = 1,
        pool: int = 1,
        spread: Spread = "published",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if min(bins, filters, taps, depth, pool) < 1:
            raise ValueError(f"{depth} layers of {filters} filters of {taps} frames over {bins} bins: one at least")
        self.network, self.taps, self.depth, self.pool, self.device = network, taps, depth, pool, device
        generator = np.random.default_rng(seed)
        self._layers: list[Layer] = []
        channels, rows = (bins, 1) if network in ("bins", "per-bin") else (1, bins)
        for _ in range(depth):
            if network == "per-bin":
                groups, inputs, outputs = channels, 1, max(1, filters // bins) * channels
                per_group = outputs // channels
            else:
                groups, inputs, outputs = 1, channels, filters
                per_group = outputs
            if network == "detectors":
                layer, outputs = _detectors(taps, channels, device)
            else:
                high = taps if network == "picture" else 1
                deviation = weight_deviation(inputs, per_group, taps * high)
                numbers = _random(generator, (taps * high * inputs, outputs), deviation, spread)
                layer = _random_layer(torch.from_numpy(numbers).to(device), high, taps, inputs, groups)
            self._layers.append(layer)
            channels = outputs
        self.rows = rows

    @property
    def shortest(self) -> int:
        """Frames without which a filter has no place."""
        return shortest_frames(self.taps, self.depth, self.pool)

    def __call__(self, spectrogram: Tensor) -> list[Tensor]:
        """[frames, bins] -> what comes out of every layer: [channels, positions]."""
        x = spectrogram.T[:, None] if self.rows == 1 else spectrogram.T[None]
        found = []
        for layer in self._layers:
            x = layer(x)
            if self.pool > 1:
                x = F.max_pool1d(x.flatten(0, 1), self.pool).unflatten(0, x.shape[:2])
            found.append(x.flatten(1))
        return found


class FilterObjective:
    """The published error with any stack of filters; content and styles may differ in length.

    weights: of the styles' Grams, brought to the sum 1. content is weighed by alpha. All layers count alike.
    """

    def __init__(
        self,
        content: Float32,
        styles: Sequence[Float32],
        stack: FilterStack,
        alpha: float,
        weights: Sequence[float] | None = None,
    ) -> None:
        for style in styles:
            check_lengths(content, style, stack.shortest)
        self.shape = (content.shape[0], content.shape[1])
        self._stack, self._alpha, self._frames = stack, alpha, len(content)
        parts = np.asarray(weights if weights is not None else np.ones(len(styles)), dtype=np.float64)
        parts = parts / parts.sum()
        with torch.no_grad():
            self._content = stack(self._tensor(content))
            # The root of a style's share of the Gram goes into its responses: side by side they are one long style.
            shares = [np.sqrt(part / len(style)) for part, style in zip(parts, styles, strict=True)]
            seen = [[x * share for x in stack(self._tensor(s))] for s, share in zip(styles, shares, strict=True)]
            self._grams = [
                _GramError(torch.cat(layer, dim=1), own)
                for layer, own in zip(zip(*seen, strict=True), self._content, strict=True)
            ]

    def __call__(self, spectrogram: Float32) -> Evaluation:
        x = self._tensor(spectrogram).requires_grad_(True)
        found = self._stack(x)
        content = (
            torch.stack(
                [(a - b).square().sum(dtype=torch.float64) for a, b in zip(found, self._content, strict=True)]
            ).sum()
            * self._alpha
        )
        style = torch.stack(
            [gram(layer / self._frames**0.5) for gram, layer in zip(self._grams, found, strict=True)]
        ).sum()
        (slope,) = torch.autograd.grad(content + style, x)
        return Evaluation(
            float(content.detach()), float(style.detach()), np.asarray(slope.cpu().numpy(), dtype=np.float32)
        )

    def _tensor(self, spectrogram: Float32) -> Tensor:
        return torch.from_numpy(np.array(spectrogram, dtype=np.float32)).to(self._stack.device)


class _GramError:
    """sum (FF' - SS')^2 for responses [channels, positions], through products of positions where these are fewer."""

    def __init__(self, style: Tensor, like: Tensor) -> None:
        self._dual = like.shape[1] + style.shape[1] <= style.shape[0]
        self._style = style if self._dual else style @ style.T
        own = style.T @ style if self._dual else self._style
        self._constant = own.square().sum(dtype=torch.float64)

    def __call__(self, found: Tensor) -> Tensor:
        if not self._dual:
            return (found @ found.T - self._style).square().sum(dtype=torch.float64)
        own = (found.T @ found).square().sum(dtype=torch.float64)
        cross = (found.T @ self._style).square().sum(dtype=torch.float64)
        return own - 2.0 * cross + self._constant


def _random(generator: np.random.Generator, shape: tuple[int, int], deviation: float, spread: Spread) -> Float32:
    numbers = generator.standard_normal(shape, dtype=np.float32)
    if spread == "glorot":
        while (far := np.abs(numbers) > 2.0).any():
            numbers[far] = generator.standard_normal(int(far.sum()), dtype=np.float32)
        deviation *= 1.0 / (np.sqrt(2.0) * _TRUNCATED)
    numbers *= np.float32(deviation)
    return numbers


def _random_layer(numbers: Tensor, high: int, taps: int, inputs: int, groups: int) -> Layer:
    """Valid along time; along frequency pictures keep their rows. numbers: [taps * high * inputs, outputs]."""
    if high == 1 and groups == 1:

        def matrix(x: Tensor) -> Tensor:
            # One product of patches is faster than a convolution with a thousand channels.
            patches = x[:, 0].T.unfold(0, taps, 1).transpose(1, 2).flatten(1)
            return torch.relu(patches @ numbers).T[:, None]

        return matrix
    weight = numbers.T.reshape(-1, inputs, high, taps).contiguous()

    def convolution(x: Tensor) -> Tensor:
        return torch.relu(F.conv2d(x[None], weight, padding=(high // 2, 0), groups=groups)[0])

    return convolution


def _detectors(taps: int, channels: int, device: str) -> tuple[Layer, int]:
    """The fixed filters on every channel, and how many channels come out; filters have norm 1 and no mean."""
    groups = [torch.from_numpy(group).to(device) for group in detector_filters(taps)]
    count = sum(len(group) for group in groups)

    def layer(x: Tensor) -> Tensor:
        maps = [F.conv2d(x[:, None], group, padding=(group.shape[2] // 2, 0)).flatten(0, 1) for group in groups]
        return torch.relu(torch.cat(maps))

    return layer, channels * count


def detector_filters(taps: int) -> list[Float32]:
    """Two groups float32 [filters, 1, bins, taps]: ten of taps x taps (taps odd), then the combs.

    Ten: beginning, end, lower edge, upper edge, partial (ridge along time), click (ridge along frequency), a gap along
    either axis, a rising and a falling glide.
    """
    half = taps // 2
    place = np.arange(-half, half + 1, dtype=np.float64)[:taps]
    bump = np.exp(-0.5 * (place / max(0.2 * taps, 0.5)) ** 2)
    step = np.sign(place) * bump
    narrow = np.exp(-0.5 * (place / 0.8) ** 2)
    ridge = narrow / narrow.sum() - bump / bump.sum()
    flat = np.ones(taps)
    across = place[:, None] - place[None, :]  # a glide of one bin a frame
    rising = np.exp(-0.5 * (across / 0.8) ** 2) * np.outer(bump, bump)
    shapes = [
        np.outer(bump, step),
        -np.outer(bump, step),
        np.outer(step, bump),
        -np.outer(step, bump),
        np.outer(ridge, flat),
        np.outer(flat, ridge),
        -np.outer(ridge, flat),
        -np.outer(flat, ridge),
        rising,
        rising[::-1],
    ]
    small = np.stack([_plain(shape) for shape in shapes])[:, None]
    tall = (TEETH - 1) * max(COMBS) + 1
    row = np.arange(tall) - tall // 2
    combs = []
    for distance in COMBS:
        teeth = np.cos(2.0 * np.pi * row / distance) * (np.abs(row) <= (TEETH // 2 + 0.5) * distance)
        combs.append(_plain(np.outer(teeth, np.ones(taps))))
    return [small, np.stack(combs)[:, None]]


def _plain(shape: npt.NDArray[np.float64]) -> Float32:
    inside = shape != 0.0
    centred = np.where(inside, shape - shape[inside].mean(), 0.0)
    return np.asarray(centred / np.linalg.norm(centred), dtype=np.float32)
