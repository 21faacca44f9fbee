"""A bank of recursive filters that runs a whole quantum as one matrix product.

A linear filter over a block of Q samples is y = D x + O s, s' = A s + B x with constant matrices (block state-space
form; C. W. Barnes and S. Shinnaka, "Block-shift invariance and block implementation of discrete-time filters", 1980).
One product of small float32 matrices replaces per-sample recursion, which numpy cannot do without copying.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def _modal(sos: Float64) -> tuple[Float64, Float64, Float64, float]:
    """Real modal state space (A, B, C, D) of a filter whose poles are simple and complex or real."""
    from scipy import signal  # as in `excitation.band_filters`

    zeros, poles, gain = signal.sos2zpk(sos)
    order = len(poles)
    numerator = gain * np.poly(zeros)
    direct = float(numerator[0].real) if len(zeros) == order else 0.0
    state, into, out = np.zeros((order, order)), np.zeros(order), np.zeros(order)
    row = 0
    for index, pole in enumerate(poles):
        if pole.imag < -1e-12:
            continue
        others = np.delete(poles, index)
        residue = np.polyval(numerator, pole) / np.prod(pole - others)
        if len(zeros) < order:
            residue *= pole ** (order - len(zeros) - 1)
        if abs(pole.imag) <= 1e-12:
            state[row, row], into[row], out[row] = pole.real, 1.0, residue.real
            row += 1
        else:
            state[row : row + 2, row : row + 2] = [[pole.real, -pole.imag], [pole.imag, pole.real]]
            into[row : row + 2] = (1.0, 0.0)
            out[row : row + 2] = (2.0 * residue.real, -2.0 * residue.imag)
            row += 2
    return state, into, out, direct


class FilterBank:
    """Several filters on one input, at `oversampling` times the input's rate.

    filters: second-order sections [sections, 6] of each, designed at the higher rate; poles must be simple.
    The input is expanded by zeros (and scaled), so each filter must also remove the images above the input's band.
    """

    def __init__(self, filters: Sequence[Float64], oversampling: int, block: int) -> None:
        self._filters = len(filters)
        self._oversampling = oversampling
        self._block = block
        parts = [_modal(sos) for sos in filters]
        self._order = order = sum(len(part[1]) for part in parts)
        # A block runs as `pieces` short ones side by side: their states come from one product, their outputs
        # from another, and both matrices are small enough to stay in the cache.
        self._piece = piece = _largest_divisor(block, 32)
        self._pieces = pieces = block // piece
        rows = piece * oversampling
        outputs = np.zeros((self._filters, rows, piece + order))
        drive = np.zeros((piece, order))
        carry = np.zeros((order, order))
        first = 0
        for index, (state, into, out, direct) in enumerate(parts):
            last = first + len(into)
            power = np.eye(len(into))
            observed = np.empty((rows, len(into)))
            driven = np.empty((rows, len(into)))
            for step in range(rows):
                observed[step] = out @ power
                driven[step] = power @ into
                power = state @ power
            response = np.concatenate([[direct], observed[:-1] @ into])
            for sample in range(piece):
                start = sample * oversampling
                outputs[index, start:, sample] = oversampling * response[: rows - start]
                drive[sample, first:last] = oversampling * driven[rows - 1 - start]
            outputs[index, :, piece + first : piece + last] = observed
            carry[first:last, first:last] = power.T
            first = last
        # States before each piece and after the last, from the state before the block and its input.
        states = np.zeros((block + order, pieces + 1, order))
        power = np.eye(order)
        for after in range(pieces + 1):
            states[block:, after] = power
            power = power @ carry
        for source in range(pieces):
            power = np.eye(order)
            for after in range(source + 1, pieces + 1):
                states[source * piece : (source + 1) * piece, after] = drive @ power
                power = power @ carry
        self._states = np.ascontiguousarray(states.reshape(block + order, -1), dtype=np.float32)
        self._matrix = np.ascontiguousarray(outputs.transpose(2, 0, 1).reshape(piece + order, -1), dtype=np.float32)

    def allocate(self, channels: int, max_blocks: int) -> "FilterBankState":
        """Memory for one stream of [channels] signals, at most max_blocks blocks a call."""
        return FilterBankState(
            channels, max_blocks, self._block, self._pieces, self._order, self._matrix.shape[1], self._filters
        )

    def process(self, samples: Float32, memory: "FilterBankState") -> Float32:
        """Filter samples [channels, blocks * block]; returns [channels, filters, blocks * block * oversampling].

        The result lives in `memory` until the next call.
        """
        channels, piece, order = len(samples), self._piece, self._order
        blocks = samples.shape[1] // self._block
        pieces = blocks * self._pieces
        inputs = memory.inputs[:, :pieces]
        inputs[:, :, :piece] = samples.reshape(channels, pieces, piece)
        for block in range(blocks):
            start = block * self._pieces
            memory.joined[:, : self._block] = samples[:, block * self._block : (block + 1) * self._block]
            np.matmul(memory.joined, self._states, out=memory.states)
            states = memory.states.reshape(channels, self._pieces + 1, order)
            inputs[:, start : start + self._pieces, piece:] = states[:, :-1]
            memory.joined[:, self._block :] = states[:, -1]
        outputs = memory.outputs[:, :pieces]
        np.matmul(inputs, self._matrix, out=outputs)
        width = piece * self._oversampling
        sorted_out = memory.sorted[:, :, : pieces * width]
        by_piece = outputs.reshape(channels, pieces, self._filters, width)
        sorted_out.reshape(channels, self._filters, pieces, width)[:] = by_piece.transpose(0, 2, 1, 3)
        return sorted_out


class FilterBankState:
    """Preallocated memory and filter state of one stream."""

    def __init__(
        self, channels: int, max_blocks: int, block: int, pieces: int, order: int, width: int, filters: int
    ) -> None:
        most = max_blocks * pieces
        self.inputs = np.zeros((channels, most, block // pieces + order), dtype=np.float32)
        self.joined = np.zeros((channels, block + order), dtype=np.float32)
        self.states = np.zeros((channels, (pieces + 1) * order), dtype=np.float32)
        self.outputs = np.zeros((channels, most, width), dtype=np.float32)
        self.sorted = np.zeros((channels, filters, most * width // filters), dtype=np.float32)

    def reset(self) -> None:
        """Back to silence."""
        self.joined.fill(0.0)


def _largest_divisor(number: int, limit: int) -> int:
    return max(divisor for divisor in range(1, min(number, limit) + 1) if number % divisor == 0)
