"""What a teacher makes of training content: targets for a student, in parallel and kept on disk.

A system that teaches at the content's own rate (`Teacher.for_targets`: the random network with windows of the published
span, so that the treble above the published 11 kHz is stylised, too, and the content's own phase, which keeps every
attack where it was played) does so; every other works at its own rate in its repaired form, aligned to the sample.
"""

import hashlib
import io
import json
import multiprocessing
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr
from threadpoolctl import threadpool_limits

from ... import DuendeError
from ...presets.format import write_atomically
from ..sounds import QUIETEST_DBFS
from .registry import settings_of
from .registry import teacher as system_of
from .settings import plain
from .teacher import Job, StyleSound
from .transfer import check_sound, with_iterations

Float32 = npt.NDArray[np.float32]

RMS = 0.1
LONGEST_CLIP_S = 30.0
MARGIN_S = 0.2
_QUIETEST = 10.0 ** (QUIETEST_DBFS / 20.0)
_VERSION = 2  # of everything here that decides a target: raise it with every change of the sound


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
    report: Callable[[int, int], None] | None = None,
    **changes: Any,
) -> list[Float32]:
    """The teacher's sound of every piece: float32, as long as the piece, aligned to the sample, at the piece's RMS.

    pieces, clip: mono float32 [samples] at sample_rate; both are brought to RMS 0.1 first, so levels do not matter.
        A piece under -70 dBFS stays as silent as it is. Of a clip the first 30 s count.
    teacher: any of `registry.NAMES`. iterations, changes: other settings than those it teaches with.
    cache:   folder of finished targets by content hash; a damaged file is made again.
    workers: processes (spawned, one thread each; a script that calls this needs `if __name__ == "__main__"`); the
        targets do not depend on their number. 1 works in this process.
    report:  told (done, in all) after every piece.

    Raises DuendeError for a clip or piece that is too short or holds samples that are no numbers, a silent clip, and
    workers that died.
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
    paths = [None if cache is None else cache / f"{_key(piece, clip, config)}.npz" for piece in content]
    found = [None if path is None else _read(path, len(piece)) for path, piece in zip(paths, content, strict=True)]
    missing = [index for index, audio in enumerate(found) if audio is None]
    done = len(content) - len(missing)
    if report is not None and done:
        report(done, len(content))

    def finished(index: int, audio: Float32) -> None:
        nonlocal done
        found[index] = audio
        done += 1
        path = paths[index]
        if path is not None:
            _write(path, audio)
        if report is not None:
            report(done, len(content))

    if min(workers, len(missing)) <= 1:
        for index in missing:
            finished(index, _target(content[index], clip, config))
    else:
        _in_processes([(index, content[index]) for index in missing], clip, config, workers, finished)
    return [audio for audio in found if audio is not None]


def _in_processes(
    jobs: Sequence[tuple[int, Float32]],
    clip: Float32,
    config: Lesson,
    workers: int,
    finished: Callable[[int, Float32], None],
) -> None:
    """Spread jobs over spawned processes; what is finished counts even if another job fails."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = {pool.submit(_target, piece, clip, config): index for index, piece in jobs}
        try:
            for future in as_completed(futures):
                finished(futures[future], future.result())
        except BrokenProcessPool as error:
            raise DuendeError("a worker process ended unexpectedly: is there memory enough? try workers=1") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _target(piece: Float32, clip: Float32, config: Lesson) -> Float32:
    """One target, on one thread."""
    level = _rms(piece)
    if level < _QUIETEST:
        return piece.copy()
    with threadpool_limits(1):
        margin, rate, own = config.margin, config.sample_rate, config.settings.sample_rate
        content = np.pad(piece, margin, mode="reflect") * np.float32(RMS / level)
        style = clip * np.float32(RMS / _rms(clip))
        job = Job(_at(content, rate, own), (StyleSound(_at(style, rate, own)),), config.seed)
        made = _at(system_of(config.teacher).make(job, config.settings).audio, own, rate)
    audio = np.zeros(len(piece), dtype=np.float32)
    inner = made[margin : margin + len(piece)]
    audio[: len(inner)] = inner
    return np.asarray(audio * np.float32(level / max(_rms(audio), 1e-9)), dtype=np.float32)


def _at(audio: Float32, rate: int, wanted: int) -> Float32:
    """Resampled, without delay."""
    return audio if rate == wanted else np.asarray(soxr.resample(audio, rate, wanted), dtype=np.float32)


def _rms(audio: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


def _plain(audio: Float32) -> Float32:
    return np.ascontiguousarray(audio, dtype=np.float32)


def _key(piece: Float32, clip: Float32, config: Lesson) -> str:
    """Hash of everything that decides a target."""
    decided = {**config._asdict(), "settings": plain(config.settings), "version": _VERSION, "clip": len(clip)}
    settings = json.dumps(decided, sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    digest.update(clip.tobytes())
    digest.update(piece.tobytes())
    return digest.hexdigest()


def _read(path: Path, length: int) -> Float32 | None:
    """A target from the cache; None if there is none that is whole (an npz carries check sums)."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            audio = np.asarray(file["audio"])
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
    if audio.dtype != np.float32 or audio.shape != (length,) or not np.isfinite(audio).all():
        return None
    return audio


def _write(path: Path, audio: Float32) -> None:
    file = io.BytesIO()
    np.savez(file, audio=audio)
    write_atomically(path, file.getvalue())
