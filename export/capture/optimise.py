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
    """Matrices of one shape [n, rows, columns]: which, moments, covariances and their bases (left, right)."""

    places: list[int]
    mean: Tensor
    square: Tensor
    left: Tensor
    right: Tensor
    left_basis: Tensor
    right_basis: Tensor


class Soap:
    """Steps on a list of tensors of one or two dimensions, in place."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self._weights = list(weights)
        self._step = 0
        self._groups: list[_Group] = []
        shapes: dict[tuple[int, int], list[int]] = {}
        for place, weight in enumerate(self._weights):
            shapes.setdefault(self._matrix(weight), []).append(place)
        for (rows, columns), places in shapes.items():
            zeros = torch.zeros(len(places), rows, columns)
            left, right = torch.zeros(len(places), rows, rows), torch.zeros(len(places), columns, columns)
            self._groups.append(_Group(places, zeros, zeros.clone(), left, right, left.clone(), right.clone()))

    @staticmethod
    def _matrix(weight: Tensor) -> tuple[int, int]:
        return (weight.shape[0], weight.shape[1]) if weight.ndim == 2 else (1, weight.numel())

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step against the gradients, each like its weight; the first only learns the bases."""
        self._step += 1
        for group in self._groups:
            gradient = torch.stack([gradients[place].reshape(group.mean.shape[1:]) for place in group.places])
            group.left.lerp_(gradient @ gradient.mT, 1.0 - _MEMORY)
            group.right.lerp_(gradient.mT @ gradient, 1.0 - _MEMORY)
            if self._step == 1:
                group.left_basis, group.right_basis = (
                    torch.linalg.eigh(covariance.double())[1].float() for covariance in (group.left, group.right)
                )
                continue
            age = self._step - 1
            group.mean.lerp_(gradient, 1.0 - _MEMORY)
            group.square.lerp_(self._turned(group, gradient).square(), 1.0 - _MEMORY)
            correction = 1.0 - _MEMORY**age
            update = self._turned(group, group.mean) / correction
            update /= (group.square / correction).sqrt_().add_(_TINY)
            update = group.left_basis @ update @ group.right_basis.mT
            for place, change in zip(group.places, update, strict=True):
                self._weights[place].sub_(change.reshape(self._weights[place].shape), alpha=rate)
            if age % _REFRESHED == 0:
                group.left_basis = torch.linalg.qr(group.left @ group.left_basis)[0]
                group.right_basis = torch.linalg.qr(group.right @ group.right_basis)[0]

    @staticmethod
    def _turned(group: _Group, matrices: Tensor) -> Tensor:
        return group.left_basis.mT @ matrices @ group.right_basis
