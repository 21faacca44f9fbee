"""Files through exactly the live signal path: aligned with the input, tail kept, in constant memory."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .. import DuendeError
from .denormals import flush_denormals
from .preset import Rig
from .spec import SAMPLE_RATES

Float32 = npt.NDArray[np.float32]

BLOCK = 8192
SUBTYPES = {".wav": "PCM_24", ".flac": "PCM_24", ".aif": "PCM_24", ".aiff": "PCM_24", ".ogg": "VORBIS", ".mp3": None}


@dataclass(frozen=True)
class RenderReport:
    """What a rendering did: samples out, rate, seconds of audio and of work, latency taken away, notices."""

    frames: int
    sample_rate: int
    audio_s: float
    work_s: float
    latency_samples: int
    notices: list[str]


def render_array(rig: Rig, samples: Float32, sample_rate: float, block: int = BLOCK) -> Float32:
    """Render mono samples [n] at 44.1 or 48 kHz; returns [n + tail], aligned with the input."""
    rig.chain.prepare(sample_rate, block, block)
    source = (samples[start : start + block] for start in range(0, len(samples), block))
    return np.concatenate([np.zeros(0, dtype=np.float32), *_run(rig, source, block)])


def render_file(
    rig: Rig,
    source: Path,
    target: Path,
    channel: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> RenderReport:
    """Render a sound file; the target appears only when it is complete.

    channel:  from 1; without it, mono is taken as it is and stereo is mixed down.
    progress: is told the share done, 0 to 1.
    """
    subtype = _target_subtype(target)
    notices: list[str] = []
    started = time.perf_counter()
    with _open(source) as file:
        if file.frames == 0:
            raise DuendeError(f"{source}: holds no audio")
        column = _choose_channel(source, file.channels, channel, notices)
        rate = file.samplerate if file.samplerate in SAMPLE_RATES else 48000
        if rate != file.samplerate:
            notices.append(f"{source.name}: {file.samplerate} Hz is converted to {rate} Hz")
        rig.chain.prepare(rate, BLOCK, BLOCK)
        blocks = _read_blocks(file, source, column, rate, progress)
        frames = _write(target, rate, subtype, _run(rig, blocks, BLOCK))
        seconds = file.frames / file.samplerate
    if rig.telemetry.count("faults"):
        notices.append(f"{rig.telemetry.count('faults')} faults inside a slot were replaced by the plain input")
    return RenderReport(frames, rate, seconds, time.perf_counter() - started, rig.chain.latency.samples, notices)


def _run(rig: Rig, source: Iterator[Float32], block: int) -> Iterator[Float32]:
    """Push samples in chunks of any size through the chain, and the tail after them; yields aligned output."""
    flush_denormals()
    chain = rig.chain
    skip, taken = chain.latency.samples, 0
    out = np.zeros((block, 1), dtype=np.float32)
    chunks = _Chunks(source)
    while chunks.total is None or taken < chunks.total + chain.tail_samples:
        chain.process(chunks.next(block), out)
        drop = min(skip, block)
        skip -= drop
        end = block if chunks.total is None else min(block, drop + chunks.total + chain.tail_samples - taken)
        taken += end - drop
        yield out[drop:end, 0].copy()


class _Chunks:
    """Cuts a stream of arrays into blocks of one size, since a chain is prepared for that; zeros after its end.

    total: how many samples the stream held in all, once that is known.
    """

    def __init__(self, source: Iterator[Float32]) -> None:
        self._source = source
        self._kept = np.zeros(0, dtype=np.float32)
        self._given = 0
        self.total: int | None = None

    def next(self, size: int) -> Float32:
        """The next block [size, 1]."""
        while len(self._kept) < size and self.total is None:
            more = next(self._source, None)
            if more is None:
                self.total = self._given
            else:
                self._given += len(more)
                self._kept = np.concatenate([self._kept, more])
        block = np.zeros((size, 1), dtype=np.float32)
        count = min(size, len(self._kept))
        block[:count, 0] = self._kept[:count]
        self._kept = self._kept[count:]
        return block


def _open(source: Path) -> Any:
    if not source.is_file():
        raise DuendeError(f"{source}: no such file")
    try:
        return soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise DuendeError(f"{source}: not a readable sound file ({reason})") from error


def _choose_channel(source: Path, channels: int, channel: int | None, notices: list[str]) -> int | None:
    if channel is not None:
        if not 1 <= channel <= channels:
            raise DuendeError(f"{source}: channel {channel} of {channels}: choose 1 to {channels}")
        return channel - 1
    if channels == 1:
        return 0
    if channels == 2:
        notices.append(f"{source.name}: stereo is mixed to mono (--channel picks one side)")
        return None
    raise DuendeError(f"{source}: has {channels} channels: pick one with --channel 1 to {channels}")


def _read_blocks(
    file: Any, source: Path, column: int | None, rate: int, progress: Callable[[float], None] | None
) -> Iterator[Float32]:
    """Mono blocks of at most BLOCK samples at `rate`; DuendeError where a sample is no number or data is missing."""
    resampler: Any = None
    if file.samplerate != rate:
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
    done = 0
    while done < file.frames:
        try:
            frames = file.read(BLOCK, dtype="float32", always_2d=True)
        except RuntimeError as error:
            raise DuendeError(f"{source}: damaged after {done / file.samplerate:.1f} s ({error})") from error
        if not len(frames):
            raise DuendeError(f"{source}: ends after {done} of {file.frames} frames; the file is cut short")
        if not np.isfinite(frames).all():
            row = done + int(np.flatnonzero(~np.isfinite(frames).all(axis=1))[0])
            raise DuendeError(f"{source}: sample {row} is not a number; repair the file first")
        done += len(frames)
        mono = frames.mean(axis=1, dtype=np.float32) if column is None else np.ascontiguousarray(frames[:, column])
        if resampler is not None:
            mono = resampler.resample_chunk(mono, last=done >= file.frames)
        for start in range(0, len(mono), BLOCK):
            yield mono[start : start + BLOCK]
        if progress is not None:
            progress(done / file.frames)


def _target_subtype(target: Path) -> str | None:
    suffix = target.suffix.lower()
    if suffix not in SUBTYPES:
        raise DuendeError(f"{target}: cannot write {suffix or 'a file without an ending'}: use {', '.join(SUBTYPES)}")
    if target.is_dir():
        raise DuendeError(f"{target} is a folder: name a file")
    if not target.parent.is_dir():
        raise DuendeError(f"{target.parent}: no such folder to write to")
    return SUBTYPES[suffix]


def _write(target: Path, rate: int, subtype: str | None, blocks: Iterator[Float32]) -> int:
    """Write blocks under a temporary name beside the target, then rename."""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
        os.close(handle)
    except OSError as error:
        raise DuendeError(f"cannot write {target}: {error.strerror or error}") from error
    temporary = Path(name)
    frames = 0
    try:
        with soundfile.SoundFile(temporary, "w", rate, 1, subtype) as file:
            for block in blocks:
                file.write(block)
                frames += len(block)
        temporary.chmod(0o644)
        temporary.replace(target)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DuendeError(f"cannot write {target}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return frames
