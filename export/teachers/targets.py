"""What a teacher makes of training content: targets for a student, in parallel and kept on disk.

The analysis runs at the content's own rate with windows of the published span (4096 samples every 1024 at 48 kHz:
85 ms, eleven frames 235 ms), so the treble above the published 11 kHz is stylised like everything else. Magnitudes
get the content's own phase, which keeps every attack where it was played.
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
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ... import DuendeError
from ...presets.format import write_atomically
from ..sounds import QUIETEST_DBFS
from .spectra import Analysis, log_magnitudes, stft
from .transfer import PUBLISHED_FRAMES, Teacher, TransferConfig, check_sound, solve, sound_of

Float32 = npt.NDArray[np.float32]

ALPHA = 5e-2
SPAN_S = 2048 / 22050
RMS = 0.1
LONGEST_CLIP_S = 30.0
_QUIETEST = 10.0 ** (QUIETEST_DBFS / 20.0)
_VERSION = 1  # of everything here that decides a target: raise it with every change of the sound


def teacher_targets(
    pieces: Sequence[Float32],
    clip: Float32,
    sample_rate: int,
    teacher: Teacher = "kernel",
    *,
    cache: Path | None = None,
    alpha: float = ALPHA,
    iterations: int = 60,
    filters: int = 4096,
    seed: int = 1,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> list[Float32]:
    """The teacher's sound of every piece: float32, as long as the piece, aligned to the sample, at the piece's RMS.

    pieces, clip: mono float32 [samples] at sample_rate; both are brought to RMS 0.1 first, so levels do not matter.
        A piece under -70 dBFS stays as silent as it is. Of a clip the first 30 s count.
    alpha:   weight of the content as in `TransferConfig` for 430 frames; the balance is the same at every length.
    cache:   folder of finished targets by content hash; a damaged file is made again.
    workers: processes (spawned, one thread each; a script that calls this needs `if __name__ == "__main__"`); the
        targets do not depend on their number. 1 works in this process.
    report:  told (done, in all) after every piece.

    Raises DuendeError for a clip or piece that is too short (0.25 s) or holds samples that are no numbers, a silent
    clip, and workers that died.
    """
    config = TransferConfig(
        teacher=teacher,
        analysis=analysis_at(sample_rate),
        alpha=alpha,
        iterations=iterations,
        filters=filters,
        start="content",
        inversion="input-phase",
        seed=seed,
    )
    if workers < 1:
        raise DuendeError(f"workers {workers} is out of range: 1 or more")
    clip = _plain(clip)[: round(LONGEST_CLIP_S * sample_rate)]
    shortest = _margin(config) + 1
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


def analysis_at(sample_rate: int) -> Analysis:
    """Windows of about the published 93 ms at any rate: the nearest power of two, a quarter of it as hop."""
    n_fft = 2 ** round(np.log2(SPAN_S * sample_rate))
    return Analysis(sample_rate, n_fft, n_fft // 4)


def _in_processes(
    jobs: Sequence[tuple[int, Float32]],
    clip: Float32,
    config: TransferConfig,
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


def _target(piece: Float32, clip: Float32, config: TransferConfig) -> Float32:
    """One target, on one thread."""
    level = _rms(piece)
    if level < _QUIETEST:
        return piece.copy()
    with threadpool_limits(1):
        analysis, margin = config.analysis, _margin(config)
        spectrum = stft(np.pad(piece, margin, mode="reflect") * np.float32(RMS / level), analysis)
        content = log_magnitudes(spectrum, analysis)
        style = log_magnitudes(stft(clip * np.float32(RMS / _rms(clip)), analysis), analysis)
        balanced = replace(config, alpha=config.alpha * PUBLISHED_FRAMES / len(content))
        audio = sound_of(solve(content, style, balanced).spectrogram, spectrum, len(piece) + 2 * margin, balanced)
    audio = audio[margin : margin + len(piece)]
    return np.asarray(audio * np.float32(level / max(_rms(audio), 1e-9)), dtype=np.float32)


def _margin(config: TransferConfig) -> int:
    """Samples mirrored at both ends of a piece: the outermost frames lie in fewer patches and come out too loud."""
    return config.taps * config.analysis.hop


def _rms(audio: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


def _plain(audio: Float32) -> Float32:
    return np.ascontiguousarray(audio, dtype=np.float32)


def _key(piece: Float32, clip: Float32, config: TransferConfig) -> str:
    """Hash of everything that decides a target."""
    settings = json.dumps({"version": _VERSION, "clip": len(clip), **asdict(config)}, sort_keys=True)
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
