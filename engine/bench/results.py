"""The figures of a benchmark as a file: a versioned schema, checked when it is read (`docs/how-to/benchmark.md`)."""

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ...presets.format import write_atomically
from .case import BlockRun, Case, CaseRun
from .machine import MachineInfo

Float64 = npt.NDArray[np.float64]

FORMAT = 2
MAX_BYTES = 16 * 2**20
MAX_RESULTS, MAX_PASSES = 10000, 1000
PER_OCTAVE = 8
"""Bins of a histogram: bin k holds times from 2^(k / 8) us up to 2^((k + 1) / 8) us; bin 0 all shorter ones, too."""


class Pass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pass in a process of its own: what tells how much figures vary by themselves. Times in microseconds."""

    callbacks: int
    mean_us: float
    median_us: float
    p99_us: float
    misses: int
    idle_misses: int


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured: two results with the same key can be compared."""

    model: str
    precision: str
    provider: str
    cuda_graph: bool
    threads: int
    channels: int
    instances: int
    rate: float
    block: int

    def words(self, without: str = "") -> str:
        """The key in words; what is as usual is left out, and the "block" or the "instances" if asked to."""
        parts = [self.model] + ([f"{self.block} frames"] if without != "block" else [])
        parts += [f"{self.rate:g} Hz"] if self.rate != 48000.0 else []
        parts += [self.precision] if self.precision != "float32" else []
        parts += [self.provider] if self.provider != "cpu" else []
        parts += ["CUDA graph"] if self.cuda_graph else []
        parts += [f"{self.threads} threads"] if self.threads != 1 else []
        parts += ["stereo"] if self.channels == 2 else []
        parts += [f"{self.instances} instances"] if self.instances != 1 and without != "instances" else []
        return ", ".join(parts)


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of one key, over all passes. Times of callbacks in microseconds, and against the period of a block.

    misses: callbacks that ended when the next was due, or later; idle_*: the same of a callback that does nothing, in
    turns with it. real_time_factor: seconds of sound per second of work. first_us: the first callback after warm-up.
    load_ms: files opened and checked; prepare_ms: buffers made and warmed up; both for all instances. memory_mb: what
    the process grew by for all instances. parameters: weights of the models, None where not counted. priority:
    whether it ran with real-time priority. histogram: bins by number (PER_OCTAVE) and callbacks in them.
    """

    key: Key
    period_us: float
    callbacks: int
    median_us: float
    p99_us: float
    p999_us: float
    worst_us: float
    real_time_factor: float
    misses: int
    idle_callbacks: int
    idle_median_us: float
    idle_worst_us: float
    idle_misses: int
    added_latency_ms: float
    first_us: float
    load_ms: float
    prepare_ms: float
    memory_mb: float | None
    parameters: int | None
    priority: bool
    passes: list[Pass]
    histogram: list[tuple[int, int]]

    @property
    def load(self) -> float:
        """p99 over the period: the head-room that counts, since work may fall into every n-th callback."""
        return self.p99_us / self.period_us


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole benchmark. left_out: what was asked for and not measured, and why; created: date and time, UTC."""

    format: int
    created: str
    machine: MachineInfo
    results: list[Result]
    left_out: list[str] = []


class _Version(msgspec.Struct):
    format: int


def summarise(case: Case, runs: Sequence[CaseRun]) -> list[Result]:
    """Results of a case, one per block size, from its passes; those that were refused are left out."""
    good = [run for run in runs if not run.refused]
    return [_result(case, good, place) for place in range(len(case.blocks))] if good else []


def figures(machine: MachineInfo, results: Sequence[Result], left_out: Sequence[str]) -> Figures:
    """A benchmark that ended now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Figures(FORMAT, now, machine, list(results), list(left_out))


def write_figures(path: Path, found: Figures) -> None:
    """Write the file, whole or not at all; DuendeError where it cannot be."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def read_figures(path: Path) -> Figures:
    """Read and check a file; DuendeError names it, and the field that does not fit."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DuendeError(f"cannot read the figures {path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise DuendeError(f"{path.name}: figures may have {MAX_BYTES // 2**20} MiB, these have more")
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version != FORMAT:
            raise DuendeError(
                f"{path.name}: figures of format {version}, this version of duende reads {FORMAT}: measure again"
            )
        found = msgspec.json.decode(data, type=Figures)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise DuendeError(f"{path.name}: not figures of `duende bench`: {' '.join(str(error).split())}") from error
    _check(found, path.name)
    return found


def histogram_of(times_us: Float64) -> list[tuple[int, int]]:
    """Bins that are not empty, by number."""
    numbers = np.floor(PER_OCTAVE * np.log2(np.maximum(times_us, 1.0))).astype(int)
    places, counts = np.unique(numbers, return_counts=True)
    return [(int(number), int(count)) for number, count in zip(places, counts, strict=True)]


def _result(case: Case, runs: Sequence[CaseRun], place: int) -> Result:
    blocks = [run.blocks[place] for run in runs]
    times = np.concatenate([np.asarray(block.times_us, dtype=np.float64) for block in blocks])
    still = np.concatenate([np.asarray(block.idle_us, dtype=np.float64) for block in blocks])
    block, first = case.blocks[place], blocks[0]
    period_us = 1e6 * block / case.rate
    median, p99, p999 = np.percentile(times, [50.0, 99.0, 99.9])
    memory = [run.memory_bytes for run in runs if run.memory_bytes is not None]
    return Result(
        key=Key(
            model=case.model,
            precision=case.precision,
            provider=case.provider,
            cuda_graph=case.cuda_graph,
            threads=case.threads,
            channels=case.channels,
            instances=case.instances,
            rate=case.rate,
            block=block,
        ),
        period_us=period_us,
        callbacks=len(times),
        median_us=float(median),
        p99_us=float(p99),
        p999_us=float(p999),
        worst_us=float(times.max()),
        real_time_factor=period_us / max(1e-3, float(times.mean())),
        misses=sum(one.misses for one in blocks),
        idle_callbacks=len(still),
        idle_median_us=float(np.median(still)),
        idle_worst_us=float(still.max()),
        idle_misses=sum(one.idle_misses for one in blocks),
        added_latency_ms=1000.0 * first.latency_samples / case.rate,
        first_us=_middle([one.first_us for one in blocks]),
        load_ms=1000.0 * _middle([run.load_s for run in runs]),
        prepare_ms=1000.0 * _middle([one.prepare_s for one in blocks]),
        memory_mb=_middle([value / 1e6 for value in memory]) if memory else None,
        parameters=runs[0].parameters,
        priority=all(run.priority for run in runs),
        passes=[_pass(one) for one in blocks],
        histogram=histogram_of(times),
    )


def _pass(block: BlockRun) -> Pass:
    times = np.asarray(block.times_us, dtype=np.float64)
    return Pass(
        callbacks=len(times),
        mean_us=float(times.mean()),
        median_us=float(np.median(times)),
        p99_us=float(np.percentile(times, 99.0)),
        misses=block.misses,
        idle_misses=block.idle_misses,
    )


def _middle(values: Sequence[float]) -> float:
    return float(np.median(values))


def _check(found: Figures, name: str) -> None:
    """What the types do not say: sizes, and numbers that can be divided by."""
    if len(found.results) > MAX_RESULTS:
        raise DuendeError(f"{name}: {len(found.results)} results, at most {MAX_RESULTS} are allowed")
    seen = set()
    for result in found.results:
        where = f"{name}: {result.key.words()[:200]}"
        if result.key in seen:
            raise DuendeError(f"{where}: measured twice in one file")
        seen.add(result.key)
        if not 1 <= len(result.passes) <= MAX_PASSES:
            raise DuendeError(f"{where}: {len(result.passes)} passes, 1 to {MAX_PASSES} are allowed")
        times = [result.period_us, result.median_us, result.p99_us, result.p999_us, result.worst_us]
        times += [value for one in result.passes for value in (one.mean_us, one.median_us, one.p99_us)]
        if not all(math.isfinite(value) and 0.0 < value < 1e12 for value in times):
            raise DuendeError(f"{where}: times must be over 0 us and under 1e12 us")
        if not all(0 <= number < 400 and count > 0 for number, count in result.histogram):
            raise DuendeError(f"{where}: histogram: bins 0 to 399 with callbacks in them are allowed")
