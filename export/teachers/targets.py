"""What a teacher makes of training content: targets for a student, in parallel, here or on a cluster, and kept on disk.

A system that teaches at the content's own rate (`Teacher.for_targets`: the random network with windows of the published
span, so that the treble above the published 11 kHz is stylised, too, and the content's own phase, which keeps every
attack where it was played) does so; every other works at its own rate in its repaired form, aligned to the sample.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr
from threadpoolctl import threadpool_limits

from ... import DuendeError
from ..sounds import QUIETEST_DBFS, rms_of
from ..work.driver import Item, State, run_batch
from ..work.hand import INSIDE
from ..work.here import Here
from ..work.kinds import Given, Made
from ..work.open import open_runner
from ..work.store import Result, Store
from ..work.task import Source, Task
from .registry import settings_of
from .registry import teacher as system_of
from .settings import plain, with_plain
from .teacher import Job, StyleSound
from .transfer import check_sound, with_iterations

Float32 = npt.NDArray[np.float32]

RMS = 0.1
LONGEST_CLIP_S = 30.0
MARGIN_S = 0.2
_QUIETEST = 10.0 ** (QUIETEST_DBFS / 20.0)
PIECE, CLIP, TARGET = "piece", "clip", "target"


class Lesson(NamedTuple):
    """Who teaches, with what settings and seed, at what rate of the pieces (Hz)."""

    teacher: str
    settings: Any
    sample_rate: int
    seed: int

    @property
    def margin(self) -> int:
        """Samples mirrored at both ends of a piece: what lies at the edge of a sound is made with less context."""
        shortest = system_of(self.teacher).shortest(self.settings) * self.sample_rate / self.settings.sample_rate
        return int(max(round(MARGIN_S * self.sample_rate), round(1.1 * shortest)))


def lesson(teacher: str, sample_rate: int, seed: int = 1, iterations: int | None = None, **changes: Any) -> Lesson:
    """The settings with which a system teaches. changes: fields of them. DuendeError for unknown systems and fields."""
    system = system_of(teacher)
    chosen = getattr(system, "for_targets", None)
    settings: Any = settings_of(system, "repaired") if chosen is None else chosen(sample_rate)
    if iterations is not None:
        settings = with_iterations(settings, iterations, f"teacher {teacher}")
    unknown = set(changes) - {field.name for field in fields(settings)}
    if unknown:
        raise DuendeError(f"teacher {teacher} has no setting {', '.join(sorted(unknown))}")
    return Lesson(teacher, replace(settings, **changes), sample_rate, seed)


def lesson_seconds(config: Lesson, pieces: Sequence[Float32], clip: Float32, workers: int = 2) -> float:
    """About how long `teacher_targets` will take for pieces that it has not made before."""
    ratio = config.settings.sample_rate / config.sample_rate
    style = round(min(len(clip), LONGEST_CLIP_S * config.sample_rate) * ratio)
    system = system_of(config.teacher)
    costs = [
        system.cost(round((len(piece) + 2 * config.margin) * ratio), style, config.settings).seconds for piece in pieces
    ]
    return sum(costs) / max(1, min(workers, len(costs)))


def teacher_targets(
    pieces: Sequence[Float32],
    clip: Float32,
    sample_rate: int,
    teacher: str = "kernel",
    *,
    cache: Path | None = None,
    iterations: int | None = None,
    seed: int = 1,
    workers: int = 2,
    cluster: str | None = None,
    report: Callable[[int, int], None] | None = None,
    **changes: Any,
) -> list[Float32]:
    """The teacher's sound of every piece: float32, as long as the piece, aligned to the sample, at the piece's RMS.

    pieces, clip: mono float32 [samples] at sample_rate; both are brought to RMS 0.1 first, so levels do not matter.
        A piece under -70 dBFS stays as silent as it is. Of a clip the first 30 s count.
    teacher: any of `registry.NAMES`. iterations, changes: other settings than those it teaches with.
    cache:   store of finished targets (`export.work.store`); a damaged file is made again.
    workers: processes, one thread each; the targets do not depend on their number. 1, or one piece, works in this
        process, and so does whatever is itself a worker.
    cluster: "auto" or HOST:PORT of a Ray cluster, in the place of processes of this machine.
    report:  told (done, in all) after every piece.

    Raises DuendeError for a clip or piece that is too short or holds samples that are no numbers, a silent clip, and
    a piece whose worker died three times.
    """
    config = lesson(teacher, sample_rate, seed, iterations, **changes)
    if workers < 1:
        raise DuendeError(f"workers {workers} is out of range: 1 or more")
    clip = _plain(clip)[: round(LONGEST_CLIP_S * sample_rate)]
    shortest = config.margin + 1
    check_sound(clip, "the clip", shortest)
    content = [_plain(piece) for piece in pieces]
    for index, piece in enumerate(content):
        check_sound(piece, f"piece {index}", shortest, -np.inf)
    found: dict[str, Float32] = {}

    def finish(item: Item, result: Result) -> None:
        found[item.name] = _read(result.read(TARGET), item.name)

    def tell(state: State) -> None:
        if report is not None and state.done and not state.failed:
            report(state.done, state.total)

    with contextlib.ExitStack() as around:
        folder = Path(around.enter_context(tempfile.TemporaryDirectory())) if cache is None else cache
        store = Store(folder)
        around.enter_context(store.held(alone=False))
        alone = cluster is None and (min(workers, len(content)) <= 1 or INSIDE in os.environ)
        runner = Here(store.staging) if alone else open_runner(cluster, min(workers, len(content)), store.staging)
        items = (_item(index, piece, clip, config) for index, piece in enumerate(content))
        summary = run_batch(items, around.enter_context(runner), store, len(content), finish=finish, tell=tell)
    if summary.failed:
        name, reason = summary.failed[0]
        raise DuendeError(f"{name}: {reason}")
    return [found[_name(index)] for index in range(len(content))]


def work(given: Given) -> Made:
    """Make one target (kind "target")."""
    asked = given.parameters
    settings = with_plain(settings_of(system_of(asked["teacher"]), "repaired"), asked["settings"])
    config = Lesson(asked["teacher"], settings, asked["sample_rate"], asked["seed"])
    piece, clip = (_read(given.inputs[slot].read_bytes(), slot) for slot in (PIECE, CLIP))
    return Made({TARGET: _bytes(_target(piece, clip, config))})


def _item(index: int, piece: Float32, clip: Float32, config: Lesson) -> Item:
    parameters = {**config._asdict(), "settings": plain(config.settings)}
    inputs = {
        PIECE: Source.of_bytes(_bytes(piece), f"{PIECE}.npy"),
        CLIP: Source.of_bytes(_bytes(clip), f"{CLIP}.npy"),
    }
    return Item(_name(index), Task(_name(index), "target", parameters, inputs))


def _name(index: int) -> str:
    return f"piece {index}"


def _target(piece: Float32, clip: Float32, config: Lesson) -> Float32:
    """One target, on one thread."""
    level = rms_of(piece)
    if level < _QUIETEST:
        return piece.copy()
    with threadpool_limits(1):
        margin, rate, own = config.margin, config.sample_rate, config.settings.sample_rate
        content = np.pad(piece, margin, mode="reflect") * np.float32(RMS / level)
        style = clip * np.float32(RMS / rms_of(clip))
        job = Job(_at(content, rate, own), (StyleSound(_at(style, rate, own)),), config.seed)
        made = _at(system_of(config.teacher).make(job, config.settings).audio, own, rate)
    audio = np.zeros(len(piece), dtype=np.float32)
    inner = made[margin : margin + len(piece)]
    audio[: len(inner)] = inner
    return np.asarray(audio * np.float32(level / max(rms_of(audio), 1e-9)), dtype=np.float32)


def _at(audio: Float32, rate: int, wanted: int) -> Float32:
    """Resampled, without delay."""
    return audio if rate == wanted else np.asarray(soxr.resample(audio, rate, wanted), dtype=np.float32)


def _plain(audio: Float32) -> Float32:
    return np.ascontiguousarray(audio, dtype=np.float32)


def _bytes(audio: Float32) -> bytes:
    file = io.BytesIO()
    np.save(file, audio, allow_pickle=False)
    return file.getvalue()


def _read(data: bytes, name: str) -> Float32:
    try:
        audio = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DuendeError(f"{name}: not a sound as it was sent ({error})") from error
    return np.ascontiguousarray(audio, dtype=np.float32)
