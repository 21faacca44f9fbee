"""Codes of one sound moved to where another's lie, as little as possible, so that their order in time stays."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

STEADY = 0.01
"""Share of the mean variance that is added to all directions, or those that hardly move would be blown up."""


def moments(codes: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """Mean [channels] and covariance [channels, channels] of codes [frames, channels] at weights [frames], sum 1."""
    mean = weight @ codes
    apart = codes - mean
    return mean, (apart * weight[:, None]).T @ apart


def monge_map(own: Float64, wanted: Float64) -> Float64:
    """The symmetric matrix A with A own A = wanted: the least movement of one Gaussian to another.

    own, wanted: covariances [channels, channels] of full rank. Olkin and Pukelsheim 1982.
    """
    root = _root(own)
    back = np.linalg.inv(root)
    return np.asarray(back @ _root(root @ wanted @ root) @ back)


def moved(
    codes: Float64, weight: Float64, others: Sequence[tuple[Float64, Float64]], shares: Sequence[float], blend: float
) -> Float64:
    """Codes [frames, channels] on their way to mean and covariance of others; blend: how far, 0..1.

    others: (codes, weight) of each. Several are met at the mean of their moments at shares of any sum.
    """
    own_mean, own = moments(codes, weight)
    parts = np.asarray(shares, dtype=np.float64) / sum(shares)
    found = [moments(*other) for other in others]
    mean = np.sum([part * one for part, (one, _) in zip(parts, found, strict=True)], axis=0)
    spread = np.sum([part * one for part, (_, one) in zip(parts, found, strict=True)], axis=0)
    there = (codes - own_mean) @ monge_map(_steadied(own), _steadied(spread)) + mean
    return np.asarray(codes + blend * (there - codes))


def _steadied(covariance: Float64) -> Float64:
    count = len(covariance)
    return np.asarray(covariance + (STEADY * np.trace(covariance) / count + 1e-9) * np.eye(count))


def _root(covariance: Float64) -> Float64:
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 1e-12)) @ vectors.T)
