"""The random network of Ulyanov and Lebedev (2016): one layer of 1x11 filters over frequency bins as channels.

F = relu(conv(x)), valid, no bias; the content error is alpha sum (F - Fc)^2, the style error sum (G - Gs)^2 with
G = F'F / frames. Every filter sees all bins, so G knows the pitches of the clip.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from .objective import Evaluation, check_lengths, weight_deviation

Float32 = npt.NDArray[np.float32]

FILTERS, TAPS = 4096, 11

# Of `filters`, named here for those who do without torch.
Network = Literal["bins", "per-bin", "picture", "detectors"]
Spread = Literal["published", "glorot"]


def shortest_frames(taps: int, depth: int = 1, pool: int = 1) -> int:
    """Frames that so many layers of filters need, each followed by maxima over pool frames."""
    frames = 1
    for _ in range(depth):
        frames = frames * pool + taps - 1
    return frames


class FilterBank:
    """Random filters, float32 [taps * bins, filters]: 185 MB at the published 11 * 1025 * 4096."""

    def __init__(self, bins: int, filters: int = FILTERS, taps: int = TAPS, seed: int | list[int] = 0) -> None:
        if min(bins, filters, taps) < 1:
            raise ValueError(f"{filters} filters of {taps} frames over {bins} bins: give at least one of each")
        self.bins, self.filters, self.taps = bins, filters, taps
        generator = np.random.default_rng(seed)
        self.weights: Float32 = generator.standard_normal((taps * bins, filters), dtype=np.float32)
        self.weights *= np.float32(weight_deviation(bins, filters, taps))

    def responses(self, spectrogram: Float32) -> Float32:
        """relu of all filters at all positions: [frames, bins] -> float32 [frames - taps + 1, filters]."""
        out = self._patches(spectrogram) @ self.weights
        np.maximum(out, 0.0, out=out)
        return np.asarray(out)

    def adjoint(self, slopes: Float32) -> Float32:
        """Slopes at the filters' sums [positions, filters] back to the spectrogram [positions + taps - 1, bins]."""
        patches = (slopes @ self.weights.T).reshape(len(slopes), self.taps, self.bins)
        out = np.zeros((len(slopes) + self.taps - 1, self.bins), dtype=np.float32)
        for tap in range(self.taps):
            out[tap : tap + len(slopes)] += patches[:, tap]
        return out

    def _patches(self, spectrogram: Float32) -> Float32:
        """Every `taps` frames in a row as one vector: [positions, taps * bins]."""
        windows = np.lib.stride_tricks.sliding_window_view(spectrogram, self.taps, axis=0)
        return np.ascontiguousarray(windows.transpose(0, 2, 1)).reshape(len(windows), -1)


class GramError:
    """sum (F'F/n - S'S/m)^2 for n and m frames, against fixed responses S of the style.

    dual: through products of positions, ||FF'||^2/n^2 - 2 ||FS'||^2/(nm) + ||SS'||^2/m^2, the same number; cheaper
    while there are fewer positions than filters (which is chosen without it). Sums are float64.
    """

    def __init__(
        self, style: Float32, style_frames: int, positions: int, frames: int, dual: bool | None = None
    ) -> None:
        self.dual = positions + len(style) <= style.shape[1] if dual is None else dual
        self._style, self._frames, self._style_frames = style, frames, style_frames
        if self.dual:
            self._constant = _energy(style @ style.T) / style_frames**2
        else:
            self._gram = style.T @ style / np.float32(style_frames)

    def __call__(self, responses: Float32) -> tuple[float, Float32]:
        """The error of responses [positions, filters], and its slope there."""
        n, m = self._frames, self._style_frames
        if not self.dual:
            difference = responses.T @ responses / np.float32(n) - self._gram
            return _energy(difference), np.asarray(responses @ difference * np.float32(4.0 / n))
        own, cross = responses @ responses.T, responses @ self._style.T
        error = _energy(own) / n**2 - 2.0 * _energy(cross) / (n * m) + self._constant
        slope = own @ responses * np.float32(4.0 / n**2)
        slope -= cross @ self._style * np.float32(4.0 / (n * m))
        return error, np.asarray(slope)


class CnnObjective:
    """The published error of a spectrogram, with one bank of filters; content and style may differ in length."""

    def __init__(
        self, content: Float32, style: Float32, bank: FilterBank, alpha: float, dual: bool | None = None
    ) -> None:
        check_lengths(content, style, bank.taps)
        self.shape = (content.shape[0], content.shape[1])
        self._bank, self._alpha = bank, alpha
        self._content = bank.responses(content)
        self._gram = GramError(bank.responses(style), len(style), len(self._content), len(content), dual)

    def __call__(self, spectrogram: Float32) -> Evaluation:
        responses = self._bank.responses(spectrogram)
        style, slope = self._gram(responses)
        difference = responses - self._content
        content = self._alpha * _energy(difference)
        slope += np.float32(2.0 * self._alpha) * difference
        slope *= responses > 0.0
        return Evaluation(content, style, self._bank.adjoint(slope))


def fresh_errors(
    spectrogram: Float32, content: Float32, style: Float32, seed: int, filters: int = FILTERS, taps: int = TAPS
) -> tuple[float, float]:
    """(content error before alpha, style error) of a spectrogram [frames, bins] on filters that no teacher has used."""
    bank = FilterBank(style.shape[1], filters, taps, [seed, 0xF5E5])
    responses = bank.responses(spectrogram)
    error = GramError(bank.responses(style), len(style), len(responses), len(spectrogram))(responses)[0]
    return _energy(responses - bank.responses(content)), error


def fresh_style_error(
    spectrogram: Float32, style: Float32, seed: int, filters: int = FILTERS, taps: int = TAPS
) -> float:
    """Style error of a spectrogram [frames, bins] on filters that no teacher has used: how teachers are compared."""
    bank = FilterBank(style.shape[1], filters, taps, [seed, 0xF5E5])
    responses = bank.responses(spectrogram)
    return GramError(bank.responses(style), len(style), len(responses), len(spectrogram))(responses)[0]


def _energy(values: Float32) -> float:
    return float(np.einsum("ij,ij->", values, values, dtype=np.float64))
