"""A spectrogram cut into windows of so many frames, and windows laid down again, edge to edge or cross-faded."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def cut(spectrogram: Float32, length: int, hop: int | None = None) -> Float32:
    """Windows [count, length, bins] of a spectrogram [frames, bins], one every `hop` frames (length without it).

    Every frame is in one at least; what the last one lacks is 0.
    """
    hop = length if hop is None else hop
    _check(length, hop)
    frames, bins = spectrogram.shape
    count = 1 + max(0, -(-(frames - length) // hop))
    padded = np.zeros(((count - 1) * hop + length, bins), dtype=np.float32)
    padded[:frames] = spectrogram
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=0)[::hop]
    return np.ascontiguousarray(windows.transpose(0, 2, 1))


def join(windows: Float32, frames: int, hop: int | None = None) -> Float32:
    """The spectrogram [frames, bins] of windows [count, length, bins]; where they overlap they are cross-faded.

    `cut` and then `join` of the same hop gives the spectrogram back. The fade is a triangle over the whole window,
    divided by the sum of all that overlap; without an overlap windows are laid edge to edge.
    """
    count, length, bins = windows.shape
    hop = length if hop is None else hop
    _check(length, hop)
    total = (count - 1) * hop + length
    if frames > total:
        raise ValueError(f"{count} windows of {length} frames every {hop} are {total} frames: {frames} are wanted")
    fade = np.ones(length) if hop == length else np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1))
    summed, weight = np.zeros((total, bins), dtype=np.float64), np.zeros(total)
    for index, window in enumerate(windows):
        place = slice(index * hop, index * hop + length)
        summed[place] += fade[:, None] * window
        weight[place] += fade
    return np.asarray(summed[:frames] / weight[:frames, None], dtype=np.float32)


def _check(length: int, hop: int) -> None:
    if not 1 <= hop <= length:
        raise ValueError(f"windows of {length} frames every {hop}: give 1 to {length}")
