"""Minimising a teacher's error by L-BFGS, as published, or by Adam."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize

from .objective import Evaluation, Objective

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Optimiser = Literal["lbfgs", "adam"]


@dataclass(frozen=True)
class Step:
    """Told after every iteration: how many are done and at most to come, both errors, seconds so far."""

    iteration: int
    iterations: int
    content: float
    style: float
    seconds: float


@dataclass(frozen=True)
class Solution:
    """The spectrogram found [frames, bins], the errors before the first and after every iteration, and the cost."""

    spectrogram: Float32
    history: list[Step]
    evaluations: int
    seconds: float


def minimise(
    objective: Objective,
    start: Float32,
    optimiser: Optimiser = "lbfgs",
    iterations: int = 300,
    learning_rate: float = 0.05,
    report: Callable[[Step], None] | None = None,
) -> Solution:
    """Lower an error from a start [frames, bins].

    lbfgs: scipy's L-BFGS-B with its own stopping rules, no bounds. adam: Kingma and Ba 2015, betas 0.9 and 0.999, its
    rate falling to 0 along a half cosine; learning_rate in nepers per step.
    """
    if start.shape != objective.shape:
        raise ValueError(f"the start has shape {start.shape}, the objective {objective.shape}")
    search = _Search(objective, iterations, report)
    best = (_lbfgs if optimiser == "lbfgs" else _adam)(search, start, iterations, learning_rate)
    seconds = time.perf_counter() - search.started
    return Solution(best.reshape(start.shape).astype(np.float32), search.history, search.evaluations, seconds)


class _Search:
    """Counts evaluations and keeps the history."""

    def __init__(self, objective: Objective, iterations: int, report: Callable[[Step], None] | None) -> None:
        self._objective, self._iterations, self._report = objective, iterations, report
        self.started = time.perf_counter()
        self.evaluations = 0
        self.history: list[Step] = []
        self.last: Evaluation

    def value_and_slope(self, flat: Float64) -> tuple[float, Float64]:
        self.last = self._objective(flat.reshape(self._objective.shape).astype(np.float32))
        self.evaluations += 1
        if not self.history:
            self.iterated()
        return self.last.total, self.last.gradient.astype(np.float64).ravel()

    def iterated(self) -> None:
        """The last evaluation was taken as the next iterate."""
        step = Step(
            len(self.history),
            self._iterations,
            self.last.content,
            self.last.style,
            time.perf_counter() - self.started,
        )
        self.history.append(step)
        if self._report is not None:
            self._report(step)


def _lbfgs(search: _Search, start: Float32, iterations: int, learning_rate: float) -> Float64:
    result = scipy.optimize.minimize(
        search.value_and_slope,
        start.astype(np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=lambda flat: search.iterated(),
        options={"maxiter": iterations, "maxfun": 20 * iterations + 20},
    )
    return np.asarray(result.x, dtype=np.float64)


def _adam(search: _Search, start: Float32, iterations: int, learning_rate: float) -> Float64:
    flat = start.astype(np.float64).ravel()
    mean, square = np.zeros_like(flat), np.zeros_like(flat)
    for step in range(1, iterations + 1):
        slope = search.value_and_slope(flat)[1]
        if step > 1:
            search.iterated()
        mean += 0.1 * (slope - mean)
        square += 0.001 * (slope * slope - square)
        rate = learning_rate * 0.5 * (1.0 + np.cos(np.pi * (step - 1) / iterations))
        flat -= rate * (mean / (1.0 - 0.9**step)) / (np.sqrt(square / (1.0 - 0.999**step)) + 1e-8)
    search.value_and_slope(flat)
    search.iterated()
    return flat
