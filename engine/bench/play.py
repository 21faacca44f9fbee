"""Plays a case in this process: loads, prepares, warms up, then real callbacks in turns with some that do nothing."""

import functools
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ... import DuendeError
from ...presets.library import Entry
from ..device import Callback
from ..graph_check import parse, read_bytes, runtime
from ..host import Host
from ..messages import SlotPlan
from ..model import Model, load_model
from ..preset import Rig, build_rig, load_rig, processors_for
from ..realtime import raise_priority
from ..slots import kind_of, processor_for
from .case import BlockRun, Case, CaseRun
from .filters import ExtractorProcessor, extractor_parameters
from .fixed import FixedModel
from .paced import Clock, PacedDevice, idle, playing, warm_up_blocks

Float32 = npt.NDArray[np.float32]

TURN_S = 0.1
SETTLE = 4
LONGEST = 4.0
"""Times the asked seconds after which a model that is too slow need not go on."""


def run_case(case: Case, clock: Clock = time) -> CaseRun:
    """Measure a case; what cannot be measured is said in `refused`, and nothing else is measured in its place."""
    notices: list[str] = []
    runtime()
    before = resident_bytes()
    try:
        began = clock.perf_counter()
        opener = _opener(case)
        rigs = [make_rig(case, opener) for _ in range(case.instances)]
        load_s = clock.perf_counter() - began
        heard = [notice for rig in rigs for notice in rig.notices]
        if heard and case.provider != "cpu":
            # The model would run on the CPU, and its figures pass for the provider's.
            return CaseRun(refused=heard[0])
        notices += dict.fromkeys(heard)
        priority = bool(case.priority) and raise_priority(case.priority) is None
        after, blocks = before, []
        for block in case.blocks:
            blocks.append(play_block(case, rigs, block, clock))
            if len(blocks) == 1:
                gc.collect()
                after = resident_bytes()
    except DuendeError as error:
        return CaseRun(refused=str(error))
    return CaseRun(
        load_s=load_s,
        memory_bytes=None if before is None or after is None else max(0, after - before),
        parameters=count_parameters(case),
        priority=priority,
        blocks=blocks,
        notices=notices,
    )


def play_block(case: Case, rigs: Sequence[Rig], block: int, clock: Clock = time) -> BlockRun:
    """One block size: turns of doing nothing and of the rigs, until as many seconds of both have been played.

    The rigs do not rest when they are late: a host would play the plain guitar for two seconds, which is quick.
    """
    turn = max(1, round(TURN_S * case.rate / block))
    wanted = max(1, round(case.seconds * case.rate / block / turn))
    samples = playing(case.rate, max(turn, round(case.rate / block)) * block, case.channels)
    device = PacedDevice(samples, case.rate, block, clock=clock)
    began = clock.perf_counter()
    hosts = [Host(rig, device) for rig in rigs]
    prepare_s = clock.perf_counter() - began
    for rig in rigs:
        setattr(rig.chain, "rest", _never_rest)  # noqa: B010  a method, which mypy would have stay
    callback = _together([host.callback for host in hosts], block, case.channels)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        first, _ = device.deliver(callback, count=1)
        device.deliver(callback, count=warm_up_blocks(case.rate, block))
        device.deliver(idle, count=SETTLE)
        times: list[Float32] = []
        still: list[Float32] = []
        misses = idle_misses = 0
        limit = clock.perf_counter() + LONGEST * (2.0 * case.seconds) + 1.0
        for index in range(wanted):
            quiet, missed = device.deliver(idle, first=index * turn, count=turn)
            still.append(quiet)
            idle_misses += missed
            busy, missed = device.deliver(callback, first=index * turn, count=turn)
            times.append(busy)
            misses += missed
            if clock.perf_counter() > limit:
                break
    finally:
        gc.enable()
        gc.unfreeze()
    return BlockRun(
        block=block,
        latency_samples=rigs[0].chain.latency.samples,
        prepare_s=prepare_s,
        first_us=float(first[0]),
        times_us=[round(float(value), 1) for value in np.concatenate(times)],
        misses=misses,
        idle_us=[round(float(value), 1) for value in np.concatenate(still)],
        idle_misses=idle_misses,
    )


def make_rig(case: Case, open_model: Callable[[Path], Model] | None = None) -> Rig:
    """What the case plays, not yet prepared; DuendeError where it cannot be opened.

    open_model: shared by all instances of the case, if there are several.
    """
    open_model = open_model or _opener(case)
    if case.kind == "filters":
        made = ExtractorProcessor(case.filters, case.provider, case.threads, cuda_graph=case.cuda_graph)
        return build_rig([(case.model, made)])
    if case.kind == "preset":
        return load_rig(Entry(case.preset, Path(case.path), factory=False), open_model=open_model)
    path = Path(case.path)
    if kind_of(path) == "capture":
        return build_rig(processors_for([SlotPlan(case.model, str(path), "capture")]))
    model = open_model(path)
    rig = build_rig([(case.model, processor_for(model))])
    rig.notices = list(model.notices)
    return rig


def count_parameters(case: Case) -> int | None:
    """Weights of what is played: elements of the float constants with more than one, of all variants; None: unknown."""
    if case.kind == "filters":
        return extractor_parameters(case.filters)
    if case.kind == "preset":
        slots = Entry(case.preset, Path(case.path), factory=False).read().slots
        files = [Path(case.path) / slot.file for slot in slots if slot.kind in ("style", "capture") and slot.file]
    else:
        files = [Path(case.path)]
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
    total = 0
    for file in files:
        graph, _ = parse(read_bytes(file), file.name)
        sizes = [int(np.prod(one.dims)) for one in graph.graph.initializer if one.data_type in kinds]
        total += sum(size for size in sizes if size > 1)
    return total


def resident_bytes() -> int | None:
    """Memory of this process that is in use now; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    import resource

    return pages * resource.getpagesize()


def _opener(case: Case) -> Callable[[Path], Model]:
    """Opens a file once for all instances, as an engine does; each time, where a session belongs to one stream."""
    half = case.provider == "tensorrt" and case.precision == "float16"
    if case.cuda_graph or half:
        return functools.partial(
            FixedModel, provider=case.provider, threads=case.threads, cuda_graph=case.cuda_graph, half=half
        )
    return functools.cache(functools.partial(load_model, provider=case.provider, threads=case.threads))


def _together(callbacks: Sequence[Callback], block: int, channels: int) -> Callback:
    """All of them, one after the other, as several instances on one core are called."""
    if len(callbacks) == 1:
        return callbacks[0]
    rooms = [np.zeros((block, 2), dtype=np.float32) for _ in callbacks]

    def call(source: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        for callback, room in zip(callbacks, rooms, strict=True):
            callback(source, room, input_xrun, output_xrun)
        np.copyto(out, rooms[0])

    return call


def _never_rest(seconds: float) -> None:
    """A chain's `rest` while it is measured."""
