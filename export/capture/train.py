"""Training a capture: as much as a time allows, the best by the stretch that judges is kept."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ... import DuendeError
from .loss import Loss, esr
from .lstm import Lstm
from .optimise import Soap
from .take import Take
from .wavenet import SHAPES, Pass, WaveNet

SIZES = (*SHAPES, "lstm")
SHARDS = 2
_WARM_UP = 0.03
_LAST_RATE = 0.01
_JUDGINGS = 40

Float32 = npt.NDArray[np.float32]
Student = WaveNet | Lstm


@dataclass(frozen=True)
class TrainConfig:
    """How to train. seconds: for all of it; steps: so many, however long, and then always the same for one seed.

    rate:     largest learning rate; it rises for 3 % of the time and falls as a cosine. 0.006 learns more slowly,
              0.02 less steadily.
    spectral: weight of the multi-resolution STFT distance.
    threads:  1 or 2; with either, one seed gives one result.
    """

    size: str = "standard"
    seconds: float = 540.0
    steps: int | None = None
    seed: int = 1
    rate: float = 0.01
    spectral: float = 3e-4
    threads: int = 2


@dataclass(frozen=True)
class Progress:
    """share: 0..1 of the training done; error: best ESR so far on the stretch that judges."""

    share: float
    step: int
    error: float


@dataclass(frozen=True)
class Trained:
    """The student, with which `gain` it gives the wet level, and its ESR on the stretch that judges.

    history: (seconds, step, ESR then). complete: False where it was stopped.
    """

    student: Student
    gain: float
    error: float
    steps: int
    seconds: float
    complete: bool
    history: list[tuple[float, int, float]]

    def answer(self, samples: Float32) -> Float32:
        """What the capture makes of samples [n] played after silence."""
        return np.asarray(np.float32(self.gain) * self.student.answer(samples), dtype=np.float32)


class _Shard(Protocol):
    """A part of every batch, with room of its own, so that shards run side by side."""

    def gradients(self) -> list[Tensor]: ...


def new_student(size: str, sample_rate: int, seed: int = 1) -> Student:
    """An untrained student; DuendeError for an unknown size."""
    if size == "lstm":
        return Lstm(seed=seed, sample_rate=sample_rate)
    if size not in SHAPES:
        raise DuendeError(f"--size {size!r}: choose one of {', '.join(SIZES)}")
    return WaveNet(SHAPES[size], seed)


def train(
    take: Take, config: TrainConfig, report: Callable[[Progress], None] | None = None, student: Student | None = None
) -> Trained:
    """Train a student on a take; Ctrl-C ends it early with the best so far.

    student: one to go on from instead of a new one. DuendeError where wet is silent.
    """
    student = student or new_student(config.size, take.sample_rate, config.seed)
    wet = take.learned.of(take.wet)
    gain = float(np.sqrt(np.mean(wet.astype(np.float64) ** 2)))
    if not gain > 0.0:
        raise DuendeError("WET is silent where there is playing to learn from")
    dry, wanted = torch.from_numpy(take.dry), torch.from_numpy(take.wet / np.float32(gain))
    loss = Loss(wanted[take.learned.start : take.learned.stop], config.spectral)
    shards = [_shard(student, take, dry, wanted, loss, config.seed, number) for number in range(SHARDS)]
    optimiser = Soap(student.weights)
    best, best_error, history = [weight.detach().clone() for weight in student.weights], math.inf, []
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    started, step, complete, share, judged_share = time.perf_counter(), 0, False, 0.0, 0.0

    def judge() -> None:
        nonlocal best, best_error
        error = _error(student, take, gain)
        history.append((time.perf_counter() - started, step, error))
        if error < best_error:
            best, best_error = [weight.detach().clone() for weight in student.weights], error

    pool = ThreadPoolExecutor(max(1, min(config.threads, SHARDS)))
    try:
        while share < 1.0:
            parts = list(pool.map(lambda shard: shard.gradients(), shards))
            gradients = [torch.stack(same).mean(dim=0) for same in zip(*parts, strict=True)]
            rate = config.rate * min(1.0, (share + 1e-3) / _WARM_UP)
            rate *= _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * share))
            if all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
                optimiser.step(gradients, rate)
            step += 1
            elapsed = time.perf_counter() - started
            share = min(1.0, step / config.steps if config.steps else elapsed / config.seconds)
            if share - judged_share >= 1.0 / _JUDGINGS:
                judged_share = share
                judge()
            if report is not None:
                report(Progress(share, step, best_error))
        complete = True
        if judged_share < 1.0:
            judge()
    except KeyboardInterrupt:
        judge()
    finally:
        pool.shutdown()
        torch.set_num_threads(threads_before)
    for weight, kept in zip(student.weights, best, strict=True):
        weight.requires_grad_(False)
        weight.copy_(kept)
    if not math.isfinite(best_error):
        raise DuendeError("the training never gave numbers: is one of the files damaged?")
    return Trained(student, gain, best_error, step, time.perf_counter() - started, complete, history)


def _error(student: Student, take: Take, gain: float) -> float:
    """ESR on the stretch that judges, heard with the second before it."""
    before = min(take.judged.start, max(student.run_in, take.sample_rate))
    answer = student.answer(take.dry[take.judged.start - before : take.judged.stop])[before:]
    error = esr(torch.from_numpy(answer) * gain, torch.from_numpy(take.judged.of(take.wet)))
    return error if math.isfinite(error) else math.inf


def _shard(student: Student, take: Take, dry: Tensor, wanted: Tensor, loss: Loss, seed: int, number: int) -> _Shard:
    rng = np.random.default_rng((seed, number))
    if isinstance(student, Lstm):
        return _LstmShard(student, dry, wanted, take, loss, rng, number)
    return _WaveNetShard(student, dry, wanted, take, loss, rng)


class _WaveNetShard:
    """Stretches from anywhere in the take, each with the receptive field before it."""

    def __init__(
        self, net: WaveNet, dry: Tensor, wanted: Tensor, take: Take, loss: Loss, rng: np.random.Generator
    ) -> None:
        # Nothing was played before the beginning.
        self._dry = torch.cat((torch.zeros(net.run_in), dry))
        self._wanted, self._loss, self._rng = wanted, loss, rng
        self._first, self._last = take.learned.start, take.learned.stop
        self._samples = min(net.samples, self._last - self._first)
        self._segments = net.segments // SHARDS
        self._pass = Pass(net, self._samples + net.run_in, self._segments)
        self._length = self._samples + net.run_in
        self._starts: list[int] = []

    def gradients(self) -> list[Tensor]:
        starts = [self._next() for _ in range(self._segments)]
        audio = torch.stack([self._dry[start : start + self._length] for start in starts], dim=1).flatten()
        wanted = torch.stack([self._wanted[start : start + self._samples] for start in starts], dim=1)
        output = self._pass.forward(audio)
        heard = output.detach().reshape(-1, self._segments).clone().requires_grad_()
        self._loss(heard, wanted).backward()
        assert heard.grad is not None
        return self._pass.backward(heard.grad.reshape(1, -1), audio)

    def _next(self) -> int:
        """A start; each round goes through the whole take once, in any order, from another offset."""
        if not self._starts:
            offset = self._first + int(self._rng.integers(0, self._samples))
            starts = np.arange(offset, self._last - self._samples + 1, self._samples)
            starts = starts if len(starts) else np.asarray([self._first])
            self._starts = [int(start) for start in self._rng.permutation(starts)]
        return self._starts.pop()


class _LstmShard:
    """Many stretches of the take at once, followed from their beginnings with the states carried on."""

    def __init__(
        self, net: Lstm, dry: Tensor, wanted: Tensor, take: Take, loss: Loss, rng: np.random.Generator, number: int
    ) -> None:
        self._net, self._loss, self._rng = net, loss, rng
        for weight in net.weights:
            weight.requires_grad_()
        self._dry, self._wanted = dry, wanted
        self._first, self._last = take.learned.start, take.learned.stop
        self._segments = max(1, min(net.segments // SHARDS, (self._last - self._first) // (4 * net.samples)))
        self._samples = min(net.samples, self._last - self._first)
        self._at, self._end = 0, -1
        self._starts: list[int] = []
        self._state = net.rest(self._segments)

    def gradients(self) -> list[Tensor]:
        if self._at > self._end:
            self._restart()
        starts = [start + self._at for start in self._starts]
        audio, wanted = (
            torch.stack([x[start : start + self._samples] for start in starts], dim=1)
            for x in (self._dry, self._wanted)
        )
        output, after = self._net.run(audio, self._state)
        gradients = torch.autograd.grad(self._loss(output, wanted), self._net.weights)
        self._state = (after[0].detach(), after[1].detach())
        self._at += self._samples
        return list(gradients)

    def _restart(self) -> None:
        """New beginnings, the states warmed over what comes right before them."""
        room = (self._last - self._first - self._samples) // self._segments
        offset = self._first + int(self._rng.integers(0, max(1, min(room, self._samples))))
        self._starts = [offset + room * number for number in range(self._segments)]
        self._at, self._end = 0, max(0, room - 2 * self._samples)
        warm = min(self._starts[0], 4 * self._samples)
        with torch.no_grad():
            audio = torch.stack([self._dry[start - warm : start] for start in self._starts], dim=1)
            state = self._net.rest(self._segments)
            self._state = self._net.run(audio, state)[1] if warm else state
