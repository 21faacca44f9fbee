"""Descent along the slope that torch finds: Adam or plain steps, from a checkpoint where there is one.

State and steps are written out, so that a search that was cut off ends with the same numbers as one that was not.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .resume import Saved
from .teacher import Step

Rule = Literal["adam", "sgd"]
CHECKPOINT_S = 20.0


@dataclass(frozen=True)
class Descent:
    """How to go down: rule adam (Kingma and Ba 2015) or sgd (learning_rate times the slope); fade lets the rate fall
    to 0 along a half cosine."""

    iterations: int
    rule: Rule = "adam"
    learning_rate: float = 0.02
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    fade: bool = False


@dataclass
class _State:
    x: Tensor
    mean: Tensor
    square: Tensor
    history: list[Step]


def descend(
    errors: Callable[[Tensor], Mapping[str, Tensor]],
    start: Tensor,
    plan: Descent,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    correlation: Callable[[Tensor], float] = lambda x: float("nan"),
    report: Callable[[Step], None] = lambda step: None,
    saved: Saved | None = None,
) -> tuple[Tensor, list[Step]]:
    """Lower the sum of named errors from a start, keeping every number in low..high; the end and all Steps.

    correlation: what a Step tells of an x. saved: read where there is something and written
    every 20 s; its owner removes it.
    """
    state = _resumed(saved, start) or _State(start.clone(), torch.zeros_like(start), torch.zeros_like(start), [])
    began = time.perf_counter() - (state.history[-1].seconds if state.history else 0.0)
    written = time.perf_counter()
    while True:
        done = len(state.history)
        x = state.x.detach().requires_grad_(done < plan.iterations)
        with torch.set_grad_enabled(done < plan.iterations):
            found = errors(x)
        values = {name: float(value.detach()) for name, value in found.items()}
        step = Step(done, plan.iterations, values, time.perf_counter() - began, correlation(state.x))
        state.history.append(step)
        report(step)
        if done == plan.iterations:
            return state.x, state.history
        (slope,) = torch.autograd.grad(torch.stack(list(found.values())).sum(), x)
        _advance(state, slope, plan, done, low, high)
        if saved is not None and time.perf_counter() - written > CHECKPOINT_S:
            arrays = {name: getattr(state, name).cpu().numpy() for name in ("x", "mean", "square")}
            saved.write(arrays, state.history)
            written = time.perf_counter()


def _advance(state: _State, slope: Tensor, plan: Descent, done: int, low: float, high: float) -> None:
    """One step down, in place."""
    rate = plan.learning_rate
    if plan.fade:
        rate *= 0.5 * (1.0 + float(np.cos(np.pi * done / plan.iterations)))
    if plan.rule == "sgd":
        state.x.sub_(slope, alpha=rate)
    else:
        state.mean.lerp_(slope, 1.0 - plan.beta_1)
        state.square.mul_(plan.beta_2).addcmul_(slope, slope, value=1.0 - plan.beta_2)
        root = (state.square / (1.0 - plan.beta_2 ** (done + 1))).sqrt_().add_(plan.epsilon)
        state.x.addcdiv_(state.mean, root, value=-rate / (1.0 - plan.beta_1 ** (done + 1)))
    state.x.clamp_(low, high)


def _resumed(saved: Saved | None, start: Tensor) -> _State | None:
    kept = None if saved is None else saved.read()
    if kept is None:
        return None
    x, mean, square = (torch.from_numpy(kept.arrays[name]).to(start) for name in ("x", "mean", "square"))
    return _State(x, mean, square, kept.history)
