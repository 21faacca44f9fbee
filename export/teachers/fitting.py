"""A network trained by Adam on windows, epoch by epoch; it may be stopped after any and goes on as if it had not been.

Its weights, Adam's moments and the random generator's state lie in the checkpoint, so the end is the same bit for bit.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ... import DuendeError
from .resume import Saved, State
from .teacher import Job, Step

CHECKPOINTS = 25

Network = TypeVar("Network", bound=nn.Module)

Losses = Callable[[Tensor, torch.Generator], Mapping[str, Tensor]]
"""Errors by name, scalars whose sum is minimised, of the windows at some indices [n]."""


def device_of(job: Job) -> torch.device:
    """The job's device, or DuendeError where this torch has none such."""
    try:
        device = torch.device(job.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DuendeError(f"device {job.device!r} cannot be used ({reason}): use cpu or cuda") from error
    return device


def seeded(seed: int, make: Callable[[], Network]) -> Network:
    """A network whose random beginning depends on the seed alone, and which leaves torch's own generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def fit(
    network: nn.Module,
    losses: Losses,
    windows: int,
    job: Job,
    saved: Saved,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    correlation: Callable[[], float] | None = None,
) -> list[Step]:
    """Train a network (in place) and tell job.report after every epoch; returns all Steps.

    losses: called with the indices of a batch. windows: how many there are. saved: written 25 times, or after every
    epoch of fewer; where it holds a state of this job, the training goes on there. epochs: passes over all windows in
    new random orders. learning_rate: Adam's (betas 0.9 and 0.999). correlation: of content and result, asked for when
    it is saved. The state stays when it is done: the caller removes it. DuendeError when an error is no number.
    """
    device = next(network.parameters()).device
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, foreach=False)
    generator = torch.Generator().manual_seed(job.seed)
    history, before, epoch = list[Step](), 0.0, 0
    state = saved.read()
    if state is not None:
        _restore(state, network, optimiser, generator)
        history = state.history
        epoch, before = history[-1].iteration, history[-1].seconds
        for step in history:
            job.report(step)
    started, every = time.perf_counter() - before, max(1, epochs // CHECKPOINTS)

    def told(errors: Mapping[str, float]) -> None:
        if not np.isfinite(list(errors.values())).all():
            raise DuendeError(f"the training diverged in epoch {epoch}: learning_rate {learning_rate:g} is too high")
        due = epoch % every == 0 or epoch == epochs
        likeness = correlation() if correlation is not None and due else float("nan")
        history.append(Step(epoch, epochs, errors, time.perf_counter() - started, likeness))
        if due and saved.wanted:
            saved.write(_arrays(network, optimiser, generator), history)
        job.report(history[-1])

    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        if not history:
            with torch.no_grad():
                untrained = torch.Generator().manual_seed(job.seed)
                batches = torch.arange(windows, device=device).split(batch)
                told(_mean([_values(losses(some, untrained)) for some in batches]))
        while epoch < epochs:
            seen = []
            for indices in torch.randperm(windows, generator=generator).split(batch):
                errors = losses(indices.to(device), generator)
                total = torch.stack(list(errors.values())).sum()
                optimiser.zero_grad()
                total.backward()
                optimiser.step()
                seen.append(_values(errors))
            epoch += 1
            told(_mean(seen))
    return history


def _values(errors: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in errors.items()}


def _mean(batches: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([errors[name] for errors in batches])) for name in batches[0]}


def _arrays(network: nn.Module, optimiser: torch.optim.Adam, generator: torch.Generator) -> dict[str, Any]:
    arrays = {f"weight/{name}": value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        arrays |= {f"adam/{index}/{name}": value.detach().cpu().numpy() for name, value in state.items()}
    return arrays | {"generator": generator.get_state().numpy()}


def _restore(state: State, network: nn.Module, optimiser: torch.optim.Adam, generator: torch.Generator) -> None:
    """Put everything back. DuendeError for arrays that are not this network's."""
    try:
        weights = {name[7:]: torch.tensor(value) for name, value in state.arrays.items() if name.startswith("weight/")}
        network.load_state_dict(weights)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in state.arrays.items():
            if name.startswith("adam/"):
                _, index, kind = name.split("/")
                moments.setdefault(int(index), {})[kind] = torch.tensor(value)
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        generator.set_state(torch.tensor(state.arrays["generator"]))
        if not state.history:
            raise ValueError("no history")
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DuendeError(f"the saved state does not fit this job ({reason}): run it again without --resume") from error
