"""The random network with infinitely many filters, in closed form: no filters, the same answer every time.

For w ~ N(0, s^2), E relu(w.a) relu(w.b) = s^2/(2 pi) |a||b| (sin t + (pi - t) cos t), t the angle between a and b
(arc-cosine kernel of order 1, Cho and Saul 2009). K filters have the products K times that, so the content error is
a sum of kernels, and the Gram error is the maximum mean discrepancy with the squared kernel (Li et al. 2017).

a and b are patches of 11 frames, and the product of two patches is the sum of 11 neighbours on a diagonal of the
products of their frames: one evaluation is one product of spectrograms and box sums, not 11 times that.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .objective import Evaluation, check_lengths, weight_deviation

Float32 = npt.NDArray[np.float32]

_QUIETEST = np.float32(1e-6)  # norm of a patch under which its direction no longer counts


class Arc(NamedTuple):
    """value = sin t + (pi - t) cos t of the angles t, its slope pi - t along cos t, and sin t."""

    value: Float32
    slope: Float32
    sine: Float32


def arc(products: Float32, left: Float32, right: Float32) -> Arc:
    """The kernel's factor for products a.b with norms |a| and |b|, any shapes that broadcast; finite for 0."""
    cosine = np.asarray(products / (left * right), dtype=np.float32)
    np.clip(cosine, -1.0, 1.0, out=cosine)
    slope = np.float32(np.pi) - np.arccos(cosine)
    sine = np.sqrt(1.0 - cosine * cosine)
    return Arc(np.asarray(sine + slope * cosine), slope, sine)


def diagonal_sums(frames: Float32, taps: int) -> Float32:
    """Products of frames [n, m] -> products of patches [n - taps + 1, m - taps + 1]."""
    rows, columns = frames.shape[0] - taps + 1, frames.shape[1] - taps + 1
    out = frames[:rows, :columns].copy()
    for tap in range(1, taps):
        out += frames[tap : tap + rows, tap : tap + columns]
    return out


def spread_diagonals(patches: Float32, taps: int) -> Float32:
    """The adjoint of `diagonal_sums`: [rows, columns] -> [rows + taps - 1, columns + taps - 1]."""
    rows, columns = patches.shape
    out = np.zeros((rows + taps - 1, columns + taps - 1), dtype=np.float32)
    for tap in range(taps):
        out[tap : tap + rows, tap : tap + columns] += patches
    return out


def _patch_products(left: Float32, right: Float32, taps: int) -> Float32:
    """Products of aligned patches of two spectrograms [frames, bins]: float32 [frames - taps + 1]."""
    frames = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return np.convolve(frames, np.ones(taps), "valid").astype(np.float32)


def _norms(squares: Float32) -> Float32:
    return np.asarray(np.maximum(np.sqrt(np.maximum(squares, 0.0)), _QUIETEST), dtype=np.float32)


class KernelObjective:
    """The published error as the mean over all filter banks (but for 1/filters of it), of content and style.

    Spectrograms are [frames, bins]. filters and bins scale it as a bank of that size would: alpha and the errors mean
    what they mean there. bins is given where the spectrograms hold coordinates in another basis (`span`); products do
    not know the difference.
    """

    def __init__(
        self,
        content: Float32,
        style: Float32,
        alpha: float,
        filters: int = 4096,
        taps: int = 11,
        bins: int | None = None,
    ) -> None:
        check_lengths(content, style, taps)
        self.shape = (content.shape[0], content.shape[1])
        self._taps, self._content, self._style = taps, content, style
        self._gain = filters * weight_deviation(bins or content.shape[1], filters, taps) ** 2 / (2.0 * np.pi)
        # F'F is divided by the number of frames, though there are taps - 1 positions fewer.
        self._own_weight = self._gain**2 / len(content) ** 2
        self._cross_weight = -2.0 * self._gain**2 / (len(content) * len(style))
        self._content_weight = alpha * self._gain
        self._content_norms = _norms(_patch_products(content, content, taps))
        self._style_norms = _norms(_patch_products(style, style, taps))
        self._constant = self._style_energy() * self._gain**2 / len(style) ** 2

    def __call__(self, spectrogram: Float32) -> Evaluation:
        taps = self._taps
        own = diagonal_sums(spectrogram @ spectrogram.T, taps)
        cross = diagonal_sums(spectrogram @ self._style.T, taps)
        norms = _norms(np.diagonal(own))
        own_energy, own_slope, own_squares = _energy(own, norms, norms)
        cross_energy, cross_slope, cross_squares = _energy(cross, norms, self._style_norms)
        content, aligned_slope, content_squares = self._content_error(spectrogram, norms)
        style = self._own_weight * own_energy + self._cross_weight * cross_energy + self._constant

        own_slope *= np.float32(self._own_weight)
        # A square counts twice in its own products: as row and as column.
        squares = 2.0 * self._own_weight * own_squares + self._cross_weight * cross_squares + content_squares
        own_slope.flat[:: len(own_slope) + 1] += squares.astype(np.float32)
        cross_slope *= np.float32(self._cross_weight)
        gradient = np.float32(2.0) * (spread_diagonals(own_slope, taps) @ spectrogram)
        gradient += spread_diagonals(cross_slope, taps) @ self._style
        gradient += np.convolve(aligned_slope, np.ones(taps), "full").astype(np.float32)[:, None] * self._content
        return Evaluation(content, style, np.asarray(gradient, dtype=np.float32))

    def _content_error(self, spectrogram: Float32, norms: Float32) -> tuple[float, Float32, Float32]:
        """alpha sum |F - Fc|^2, and its slopes at a.c and |a|^2 of every position."""
        n, m, weight = norms, self._content_norms, self._content_weight
        aligned = arc(_patch_products(spectrogram, self._content, self._taps), n, m)
        parts = np.pi * (n.astype(np.float64) ** 2 + m.astype(np.float64) ** 2)
        parts -= 2.0 * n.astype(np.float64) * m * aligned.value
        squares = np.float32(weight) * (np.float32(np.pi) - m * aligned.sine / n)
        return weight * float(parts.sum()), np.float32(-2.0 * weight) * aligned.slope, squares

    def _style_energy(self, rows: int = 512) -> float:
        """The sum of squared kernels (without gain) of the style with itself, a stripe at a time."""
        taps, style, total = self._taps, self._style, 0.0
        for start in range(0, len(self._style_norms), rows):
            stop = min(start + rows, len(self._style_norms))
            products = diagonal_sums(style[start : stop + taps - 1] @ style.T, taps)
            kernel = self._style_norms[start:stop, None] * self._style_norms
            kernel *= arc(products, self._style_norms[start:stop, None], self._style_norms).value
            total += float(np.einsum("ij,ij->", kernel, kernel, dtype=np.float64))
        return total


def _energy(products: Float32, left: Float32, right: Float32) -> tuple[float, Float32, Float32]:
    """Sum of (|a||b| arc)^2, its slope at a.b [rows, columns], and at the |a|^2 of a row alone [rows]."""
    found = arc(products, left[:, None], right)
    kernel = left[:, None] * found.value
    kernel *= right
    energy = float(np.einsum("ij,ij->", kernel, kernel, dtype=np.float64))
    slope = np.float32(2.0) * kernel * found.slope
    squares = np.einsum("ij,ij,j->i", found.value, found.sine, right * right)
    return energy, slope, np.asarray(squares, dtype=np.float32)


def span(*spectrograms: Float32) -> Float32:
    """An orthonormal basis of all the frames, float32 [bins, rank], rank at most the number of frames.

    The slope of `KernelObjective` at a mixture of content and style frames is one, so a search that starts from the
    content never leaves their span: in its coordinates (spectrogram @ basis) it takes the same way with fewer numbers.
    """
    frames = np.concatenate(spectrograms)
    return np.asarray(np.linalg.qr(frames.T)[0], dtype=np.float32)
