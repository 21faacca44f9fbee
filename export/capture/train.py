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
_JUDGINGS = 24

Float32 = npt.NDArray[np.float32]
Student = WaveNet | Lstm


@dataclass(frozen=True)
class TrainConfig:
    """How to train. seconds: for all of it; steps: so many, however long, and then always the same for one seed.

    rate:     largest learning rate; it rises for 3 % of the time and falls as a cosine. 0.006 learns more slowly,
              0.02 less steadily.
    spectral: weight of the multi-resolution STFT distance.
    threads:  1 or 2; with either, one seed gives one result.
    clock:    what says how many seconds have gone.
    """

    size: str = "lite"
    seconds: float = 540.0
    steps: int | None = None
    seed: int = 1
    rate: float = 0.01
    spectral: float = 3e-4
    threads: int = 2
    clock: Callable[[], float] = time.perf_counter


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

    def gradient(self) -> Float32:
        """Of the flat weights; it lives until the next call."""
        ...


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
    wanted = take.wet / np.float32(gain)
    loss = Loss(take.learned.of(wanted), config.spectral)
    shards = [_shard(student, take, wanted, loss, config.seed, number) for number in range(SHARDS)]
    optimiser = Soap(torch.from_numpy(student.flat), student.shapes)
    best, best_error, history = student.flat.copy(), math.inf, []
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    started, step, complete, share, judged_share = config.clock(), 0, False, 0.0, 0.0

    def judge() -> None:
        nonlocal best, best_error
        error = _error(student, take, gain)
        history.append((config.clock() - started, step, error))
        if error < best_error:
            best, best_error = student.flat.copy(), error

    pool = ThreadPoolExecutor(max(1, min(config.threads, SHARDS)))
    try:
        while share < 1.0:
            gradient = np.mean(list(pool.map(lambda shard: shard.gradient(), shards)), axis=0)
            rate = config.rate * min(1.0, (share + 1e-3) / _WARM_UP)
            rate *= _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * share))
            if np.isfinite(gradient).all():
                optimiser.step(torch.from_numpy(gradient), rate)
            step += 1
            elapsed = config.clock() - started
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
    for weight in student.weights:
        weight.requires_grad_(False)
    student.flat[:] = best
    if not math.isfinite(best_error):
        raise DuendeError("the training never gave numbers: is one of the files damaged?")
    return Trained(student, gain, best_error, step, config.clock() - started, complete, history)


def _error(student: Student, take: Take, gain: float) -> float:
    """ESR on the stretch that judges, heard with the second before it."""
    before = min(take.judged.start, max(student.run_in, take.sample_rate))
    answer = student.answer(take.dry[take.judged.start - before : take.judged.stop])[before:]
    error = esr(answer * gain, take.judged.of(take.wet))
    return error if math.isfinite(error) else math.inf


def _shard(student: Student, take: Take, wanted: Float32, loss: Loss, seed: int, number: int) -> _Shard:
    rng = np.random.default_rng((seed, number))
    if isinstance(student, Lstm):
        return _LstmShard(student, wanted, take, loss, rng)
    return _WaveNetShard(student, wanted, take, loss, rng)


class _WaveNetShard:
    """Stretches from anywhere in the take, each with the receptive field before it."""

    def __init__(self, net: WaveNet, wanted: Float32, take: Take, loss: Loss, rng: np.random.Generator) -> None:
        # Nothing was played before the beginning.
        self._dry = np.concatenate((np.zeros(net.run_in, dtype=np.float32), take.dry))
        self._wanted, self._loss, self._rng = wanted, loss, rng
        self._first, self._last = take.learned.start, take.learned.stop
        self._samples = min(net.samples, self._last - self._first)
        self._length = self._samples + net.run_in
        self._pass = Pass(net, self._length)
        # The very first call compiles the loops: a quarter of a minute once, which is not training.
        self._pass.forward(self._dry[: self._length])
        self._pass.backward(np.zeros(self._samples, dtype=np.float32))
        self._starts: list[int] = []
        self._turn = 0

    def gradient(self) -> Float32:
        start = self._next()
        output = self._pass.forward(self._dry[start : start + self._length])
        _, slope = self._loss(output[None], self._wanted[None, start : start + self._samples], self._turn)
        self._turn += 1
        return self._pass.backward(slope[0])

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

    def __init__(self, net: Lstm, wanted: Float32, take: Take, loss: Loss, rng: np.random.Generator) -> None:
        self._net, self._loss, self._rng = net, loss, rng
        for weight in net.weights:
            weight.requires_grad_()
        self._dry, self._wanted = torch.from_numpy(take.dry), wanted
        self._first, self._last = take.learned.start, take.learned.stop
        self._segments = max(1, min(net.segments // SHARDS, (self._last - self._first) // (4 * net.samples)))
        self._samples = min(net.samples, self._last - self._first)
        self._at, self._end = 0, -1
        self._starts: list[int] = []
        self._state = net.rest(self._segments)
        self._turn = 0

    def gradient(self) -> Float32:
        if self._at > self._end:
            self._restart()
        starts = [start + self._at for start in self._starts]
        audio = torch.stack([self._dry[start : start + self._samples] for start in starts], dim=1)
        wanted = np.stack([self._wanted[start : start + self._samples] for start in starts])
        output, after = self._net.run(audio, self._state)
        _, slope = self._loss(output.detach().numpy().T, wanted, self._turn)
        gradients = torch.autograd.grad(output, self._net.weights, torch.from_numpy(slope.T))
        self._state = (after[0].detach(), after[1].detach())
        self._at += self._samples
        self._turn += 1
        return torch.cat([gradient.flatten() for gradient in gradients]).numpy()

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
