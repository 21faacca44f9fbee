"""From tracks to sound: cosines of each frame, faded into those of the next; what they leave over is the residual."""

import numpy as np
import numpy.typing as npt

from .analysis import SineAnalysis, Tracks

Float32 = npt.NDArray[np.float32]

_BLOCK = 128  # frames that are summed together: bounds memory
_STEP = 16


def synthesise(tracks: Tracks, analysis: SineAnalysis, length: int) -> Float32:
    """The sum of all sinusoids, float32 [length].

    Each frame's cosines, with its amplitudes, frequencies and phases, last from a hop before its centre to a hop after
    it under a triangle (the published method, an inverse transform of 512 with main lobes drawn, does the same but for
    its lobes' tails).
    """
    hop = analysis.hop
    blocks = -(-hop // _STEP)
    frames = len(tracks.hz)
    time = np.arange(-blocks * _STEP, blocks * _STEP)
    triangle = np.maximum(0.0, 1.0 - np.abs(time) / hop)
    out = np.zeros(frames * hop + 2 * len(time))
    origin = len(time)
    turn = 2.0 * np.pi * tracks.hz / analysis.sample_rate
    for first in range(0, frames, _BLOCK):
        part = slice(first, first + _BLOCK)
        start = _start(tracks, part)
        # A step of 16 samples times 16 samples within it: two small tables for each sine instead of all its samples.
        coarse = np.exp(1j * turn[part][:, None, :] * (_STEP * np.arange(-blocks, blocks))[None, :, None])
        fine = np.exp(1j * turn[part][:, :, None] * np.arange(_STEP)[None, None, :])
        sound = ((coarse * start[:, None, :]) @ fine).real.reshape(len(start), -1) * triangle
        for index, frame in enumerate(sound):
            at = origin + (first + index) * hop + int(time[0])
            out[at : at + len(frame)] += frame
    return np.asarray(out[origin : origin + length], dtype=np.float32)


def _start(tracks: Tracks, part: slice) -> npt.NDArray[np.complex128]:
    amplitudes = np.where(tracks.hz[part] > 0.0, 10.0 ** (tracks.db[part] / 20.0), 0.0)
    return np.asarray(amplitudes * np.exp(1j * tracks.phase[part]))
