"""From what a user asks for to cases: every model on every provider in every way, and what must be left out and why."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import DuendeError
from ..graph_check import runtime
from ..host import check_rate
from ..model import PROVIDERS
from ..slots import kind_of
from ..spec import PRECISIONS
from .case import Case, Kind
from .filters import MOST
from .fixed import GRAPH_PROVIDERS

MAX_BLOCK, MAX_THREADS, MAX_INSTANCES = 8192, 64, 64
SECONDS = (0.1, 600.0)
MAX_CASES = 2000


@dataclass(frozen=True)
class Played:
    """A model by its name in tables; kind, path, preset and filters as in `Case`.

    capture: of an amplifier, which plays on one thread of the CPU, in float32.
    """

    model: str
    kind: Kind
    path: str = ""
    preset: str = ""
    filters: int = 0
    capture: bool = False


@dataclass(frozen=True)
class Ways:
    """In which ways each model is played. cuda_graph: off, on, or both, one after the other."""

    blocks: Sequence[int] = (64, 128, 256)
    rate: float = 48000.0
    seconds: float = 0.4
    providers: Sequence[str] = ("cpu",)
    precisions: Sequence[str] = ("float32",)
    cuda_graphs: Sequence[bool] = (False,)
    threads: Sequence[int] = (1,)
    channels: Sequence[int] = (1,)
    instances: Sequence[int] = (1,)
    priority: int = 0


AtPrecision = Callable[[Played, str], Played]
"""The same model with its weights at a precision; DuendeError where it cannot be."""


def check_ways(ways: Ways) -> None:
    """DuendeError names the first value that is out of range."""
    _each("--blocks", ways.blocks, 1, MAX_BLOCK, "frames")
    _each("--threads", ways.threads, 1, MAX_THREADS)
    _each("--channels", ways.channels, 1, 2)
    _each("--instances", ways.instances, 1, MAX_INSTANCES)
    check_rate(ways.rate)
    if not SECONDS[0] <= ways.seconds <= SECONDS[1]:
        raise DuendeError(f"--seconds {ways.seconds:g} is out of range: {SECONDS[0]:g} to {SECONDS[1]:g}")
    for provider in ways.providers:
        if provider not in PROVIDERS:
            raise DuendeError(f"unknown provider {provider!r}: choose one of {', '.join(PROVIDERS)}")
    for precision in ways.precisions:
        if precision not in PRECISIONS:
            raise DuendeError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def cases_for(
    models: Sequence[Played], ways: Ways, at_precision: AtPrecision, available: Sequence[str] | None = None
) -> tuple[list[Case], list[str]]:
    """The cases, and a line for each thing that is left out. DuendeError for values out of range.

    available: providers that the installed ONNX Runtime can be asked for; asked, if left out.
    """
    check_ways(ways)
    there = runtime().get_available_providers() if available is None else available
    left_out = []
    providers = []
    for provider in dict.fromkeys(ways.providers):
        if PROVIDERS[provider] in there:
            providers.append(provider)
        else:
            what = runtime().__version__
            left_out.append(
                f"{provider}: the installed ONNX Runtime ({what}) is without it: pip uninstall onnxruntime, "
                f"then pip install 'duende[gpu]' on a machine with an NVIDIA card"
            )
    made: dict[tuple[str, str], Played | None] = {}
    cases = []
    axes = (models, ways.precisions, providers, ways.cuda_graphs, ways.threads, ways.channels, ways.instances)
    for model, precision, provider, graph, threads, channels, instances in itertools.product(*axes):
        why = _why_not(model, precision, provider, graph, threads)
        played = model
        if not why and precision != "float32":
            if (model.model, precision) not in made:
                try:
                    made[model.model, precision] = at_precision(model, precision)
                except DuendeError as error:
                    made[model.model, precision] = None
                    left_out.append(f"{model.model} in {precision}: {error}")
            found = made[model.model, precision]
            if found is None:
                continue
            played = found
        if why:
            left_out.append(why)
            continue
        case = Case(
            model=model.model,
            kind=played.kind,
            path=played.path,
            preset=played.preset,
            filters=played.filters,
            precision=precision,
            provider=provider,
            cuda_graph=graph,
            threads=threads,
            channels=channels,
            instances=instances,
            blocks=list(ways.blocks),
            rate=ways.rate,
            seconds=ways.seconds,
            priority=ways.priority,
        )
        cases.append(case)
    if len(cases) > MAX_CASES:
        raise DuendeError(f"{len(cases)} cases, at most {MAX_CASES} are measured in one run: ask for fewer ways")
    return cases, list(dict.fromkeys(left_out))


def file_played(name: str, path: Path) -> Played:
    """A model file, under a name; DuendeError where it is none."""
    return Played(name, "file", str(path), capture=kind_of(path) == "capture")


def filters_named(text: str) -> Played:
    """The published extractor, by "filters:4096"."""
    number = text.partition(":")[2]
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= MOST):
        raise DuendeError(f"{text!r}: write filters:N with 1 to {MOST}, as in filters:4096")
    return Played(text, "filters", filters=int(number))


def expected_seconds(cases: Sequence[Case], passes: int) -> float:
    """About how long all will take, without starting and loading."""
    return passes * sum(len(case.blocks) * (2.0 * case.seconds + 0.3) + 1.5 for case in cases)


def _why_not(model: Played, precision: str, provider: str, graph: bool, threads: int) -> str:
    """Why a model is not played in a way, or nothing."""
    if graph and provider not in GRAPH_PROVIDERS:
        return f"CUDA graph on {provider}: only with {' or '.join(GRAPH_PROVIDERS)}"
    if threads > 1 and provider != "cpu":
        return f"{threads} threads on {provider}: only with cpu"
    if model.kind == "filters" and precision != "float32":
        return f"{model.model} in {precision}: random weights, timed in float32 alone"
    if model.capture and (precision != "float32" or provider != "cpu" or threads > 1):
        return f"{model.model} in another way than float32 on one thread of the CPU: captures play so"
    return ""


def _each(option: str, values: Sequence[int], low: int, high: int, unit: str = "") -> None:
    for value in values:
        if not low <= value <= high:
            raise DuendeError(f"{option} {value}: out of range, {low} to {high}{' ' + unit if unit else ''}")
