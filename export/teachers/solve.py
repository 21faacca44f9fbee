"""Minimising a teacher's error by L-BFGS, as published, or by Adam; either can be stopped and taken up again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize

from .objective import Evaluation, Objective
from .resume import Saved, State
from .teacher import Step

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Optimiser = Literal["lbfgs", "adam"]

SEGMENT = 25
"""Iterations between two states on disk."""


@dataclass(frozen=True)
class Solution:
    """The spectrogram found [frames, bins], the errors before the first and after every iteration, and the cost."""

    spectrogram: Float32
    history: list[Step]
    evaluations: int
    seconds: float


class Correlation:
    """Pearson's correlation of a spectrogram [frames, bins] with a fixed one: -1..1.

    basis: an orthonormal basis [bins, rank] in whose coordinates [frames, rank] both are given (`kernel.span`); the
    correlation is that of the spectrograms all the same.
    """

    def __init__(self, content: Float32, basis: Float32 | None = None) -> None:
        bins = content.shape[1] if basis is None else len(basis)
        self._sums = np.ones(bins) if basis is None else basis.sum(axis=0, dtype=np.float64)
        self._count = len(content) * bins
        self._content = content
        self._mean, self._deviation = self._moments(content)

    def __call__(self, spectrogram: Float32) -> float:
        mean, deviation = self._moments(spectrogram)
        product = float(np.einsum("ij,ij->", spectrogram, self._content, dtype=np.float64)) / self._count
        return (product - mean * self._mean) / max(deviation * self._deviation, 1e-20)

    def _moments(self, spectrogram: Float32) -> tuple[float, float]:
        mean = float((spectrogram @ self._sums).sum()) / self._count
        square = float(np.einsum("ij,ij->", spectrogram, spectrogram, dtype=np.float64)) / self._count
        return mean, float(np.sqrt(max(square - mean * mean, 0.0)))


def minimise(
    objective: Objective,
    start: Float32,
    optimiser: Optimiser = "lbfgs",
    iterations: int = 300,
    learning_rate: float = 0.05,
    report: Callable[[Step], None] | None = None,
    *,
    correlation: Callable[[Float32], float] | None = None,
    saved: Saved | None = None,
) -> Solution:
    """Lower an error from a start [frames, bins].

    lbfgs: scipy's L-BFGS-B with its own stopping rules, no bounds. adam: Kingma and Ba 2015, betas 0.9 and 0.999, its
    rate falling to 0 along a half cosine; learning_rate in nepers per step.
    correlation: of an iterate with the content, for the steps (`Correlation`).
    saved: where the state goes every 25 iterations; what is found there is gone on with, and ends bit for bit where it
        would have ended without the stop. scipy cannot hand out the memory of its L-BFGS: with `saved` the search
        forgets it every 25 iterations, stopped or not, so it takes another way than without. Adam takes the same.
        The file stays: its owner removes it when all is done.
    """
    if start.shape != objective.shape:
        raise ValueError(f"the start has shape {start.shape}, the objective {objective.shape}")
    saved = saved if saved is not None and saved.wanted else None
    search = _Search(objective, iterations, report, correlation, saved)
    best = (_lbfgs if optimiser == "lbfgs" else _adam)(search, start, learning_rate)
    return Solution(best.reshape(start.shape).astype(np.float32), search.history, search.evaluations, search.seconds)


class _Search:
    """Counts evaluations, keeps the history, and writes the state."""

    def __init__(
        self,
        objective: Objective,
        iterations: int,
        report: Callable[[Step], None] | None,
        correlation: Callable[[Float32], float] | None,
        saved: Saved | None,
    ) -> None:
        self._objective, self._report, self._correlation, self._saved = objective, report, correlation, saved
        self.iterations = iterations
        self.evaluations = 0
        self.history: list[Step] = []
        self.state: State | None = saved.read() if saved is not None else None
        self._before = 0.0
        if self.state is not None:
            self.history = list(self.state.history)
            self.evaluations = int(self.state.notes["evaluations"])
            self._before = float(self.state.notes["seconds"])
        self._started = time.perf_counter()
        self._iterate: Float32
        self._last: Evaluation

    @property
    def saving(self) -> bool:
        return self._saved is not None

    @property
    def seconds(self) -> float:
        """So far, those before a stop included."""
        return self._before + time.perf_counter() - self._started

    def value_and_slope(self, flat: Float64) -> tuple[float, Float64]:
        self._iterate = flat.reshape(self._objective.shape).astype(np.float32)
        self._last = self._objective(self._iterate)
        self.evaluations += 1
        if not self.history:
            self.iterated()
        return self._last.total, self._last.gradient.astype(np.float64).ravel()

    def iterated(self) -> None:
        """The last evaluation was taken as the next iterate."""
        related = float("nan") if self._correlation is None else self._correlation(self._iterate)
        step = Step(len(self.history), self.iterations, self._last.errors, self.seconds, related)
        self.history.append(step)
        if self._report is not None:
            self._report(step)

    def save(self, *, done: bool = False, **arrays: Float64) -> None:
        """Write the state. done: the search is over, there is nothing to go on with."""
        if self._saved is not None:
            notes = {"evaluations": self.evaluations, "seconds": self.seconds, "done": done}
            self._saved.write(arrays, self.history, notes)


def _lbfgs(search: _Search, start: Float32, learning_rate: float) -> Float64:
    flat, done = start.astype(np.float64).ravel(), 0
    if search.state is not None:
        flat, done = search.state.arrays["iterate"], len(search.history) - 1
        if search.state.notes["done"]:
            return np.asarray(flat)
    while done < search.iterations:
        most = min(SEGMENT, search.iterations - done) if search.saving else search.iterations
        result = scipy.optimize.minimize(
            search.value_and_slope,
            flat,
            jac=True,
            method="L-BFGS-B",
            callback=lambda flat: search.iterated(),
            options={"maxiter": most, "maxfun": 20 * most + 20},
        )
        flat = np.asarray(result.x, dtype=np.float64)
        done += int(result.nit)
        over = result.status != 1 or done >= search.iterations
        search.save(iterate=flat, done=over)
        if over:
            break
    return flat


def _adam(search: _Search, start: Float32, learning_rate: float) -> Float64:
    flat, first = start.astype(np.float64).ravel(), 1
    mean, square = np.zeros_like(flat), np.zeros_like(flat)
    if search.state is not None:
        arrays, first = search.state.arrays, int(search.state.arrays["taken"][0]) + 1
        flat, mean, square = arrays["iterate"].copy(), arrays["mean"].copy(), arrays["square"].copy()
        if search.state.notes["done"]:
            return flat
    for step in range(first, search.iterations + 1):
        slope = search.value_and_slope(flat)[1]
        if step > 1:
            search.iterated()
        mean += 0.1 * (slope - mean)
        square += 0.001 * (slope * slope - square)
        rate = learning_rate * 0.5 * (1.0 + np.cos(np.pi * (step - 1) / search.iterations))
        flat -= rate * (mean / (1.0 - 0.9**step)) / (np.sqrt(square / (1.0 - 0.999**step)) + 1e-8)
        if step % SEGMENT == 0:
            search.save(iterate=flat, mean=mean, square=square, taken=np.array([float(step)]))
    search.value_and_slope(flat)
    search.iterated()
    search.save(done=True, iterate=flat, mean=mean, square=square, taken=np.array([float(search.iterations)]))
    return flat
