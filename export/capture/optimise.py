"""Adam in the eigenbasis of the gradients' covariances (SOAP, Vyas et al. 2024): fewer steps for the same error.

The matrices of a capture are so small that the bases cost little beside a gradient. Those of one shape go together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_MEMORY = 0.95
_REFRESHED = 10
_TINY = 1e-12


@dataclass
class _Group:
    """Matrices of one shape [n, rows, columns]: which places, moments, covariances and their bases (left, right)."""

    places: Tensor
    mean: Tensor
    square: Tensor
    left: Tensor
    right: Tensor
    left_basis: Tensor
    right_basis: Tensor


class Soap:
    """Steps on a flat tensor of matrices, in place."""

    def __init__(self, flat: Tensor, shapes: Sequence[tuple[int, int]]) -> None:
        """shapes: rows and columns of each matrix, one after the other in flat."""
        self._flat = flat
        self._step = 0
        self._groups: list[_Group] = []
        places: dict[tuple[int, int], list[Tensor]] = {}
        start = 0
        for rows, columns in shapes:
            here = torch.arange(start, start + rows * columns).view(rows, columns)
            places.setdefault((rows, columns), []).append(here)
            start += rows * columns
        for (rows, columns), same in places.items():
            zeros = torch.zeros(len(same), rows, columns)
            left, right = torch.zeros(len(same), rows, rows), torch.zeros(len(same), columns, columns)
            group = _Group(torch.stack(same), zeros, zeros.clone(), left, right, left.clone(), right.clone())
            self._groups.append(group)

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """One step against the flat gradient; the first only learns the bases."""
        self._step += 1
        change = torch.empty_like(self._flat)
        for group in self._groups:
            here = gradient[group.places]
            group.left.lerp_(here @ here.mT, 1.0 - _MEMORY)
            group.right.lerp_(here.mT @ here, 1.0 - _MEMORY)
            if self._step == 1:
                group.left_basis, group.right_basis = (
                    torch.linalg.eigh(covariance.double())[1].float() for covariance in (group.left, group.right)
                )
                continue
            age = self._step - 1
            group.mean.lerp_(here, 1.0 - _MEMORY)
            group.square.lerp_(self._turned(group, here).square(), 1.0 - _MEMORY)
            correction = 1.0 - _MEMORY**age
            update = self._turned(group, group.mean) / correction
            update /= (group.square / correction).sqrt_().add_(_TINY)
            change[group.places] = group.left_basis @ update @ group.right_basis.mT
            if age % _REFRESHED == 0:
                group.left_basis = torch.linalg.qr(group.left @ group.left_basis)[0]
                group.right_basis = torch.linalg.qr(group.right @ group.right_basis)[0]
        if self._step > 1:
            self._flat.sub_(change, alpha=rate)

    @staticmethod
    def _turned(group: _Group, matrices: Tensor) -> Tensor:
        return group.left_basis.mT @ matrices @ group.right_basis
