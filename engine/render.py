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
from .spec import DEVICE_RATES

Float32 = npt.NDArray[np.float32]

BLOCK = 8192
SUBTYPES = {".wav": "PCM_24", ".flac": "PCM_24", ".aif": "PCM_24", ".aiff": "PCM_24", ".ogg": "VORBIS", ".mp3": None}


@dataclass(frozen=True)
class RenderReport:
    """What a rendering did: frames and channels out, rate, seconds of audio and work, latency taken away, notices."""

    frames: int
    channels: int
    sample_rate: int
    audio_s: float
    work_s: float
    latency_samples: int
    notices: list[str]


def render_array(
    rig: Rig, samples: Float32, sample_rate: float, block: int = BLOCK, outputs: int | None = None
) -> Float32:
    """Render samples [n] or [n, channels]; returns [n + tail] or [n + tail, channels], aligned with the input.

    outputs: as for `Chain.prepare`; what comes back has the channels that differ.
    """
    frames = samples[:, None] if samples.ndim == 1 else samples
    rig.chain.prepare(sample_rate, block, block, frames.shape[1], outputs)
    source = (frames[start : start + block] for start in range(0, len(frames), block))
    played = np.concatenate(list(_run(rig, source, block)) or [frames[:0]])
    return played[:, 0] if samples.ndim == 1 else played


def render_file(
    rig: Rig,
    source: Path,
    target: Path,
    channel: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> RenderReport:
    """Render a sound file; the target appears only when it is complete.

    Mono comes out in mono, unless something in the chain makes two sides of it; stereo in stereo.

    channel:  from 1: only that one is played; without it, a file of one or two channels is taken as it is.
    progress: is told the share done, 0 to 1.
    """
    subtype = _target_subtype(target)
    notices: list[str] = []
    started = time.perf_counter()
    with _open(source) as file:
        if file.frames == 0:
            raise DuendeError(f"{source}: holds no audio")
        columns = _choose_channels(source, file.channels, channel)
        rate = file.samplerate if file.samplerate in DEVICE_RATES else 48000
        if rate != file.samplerate:
            notices.append(_converted(source, file.samplerate, rate))
        chain = rig.chain
        chain.prepare(rate, BLOCK, BLOCK, columns.stop - columns.start, 2)
        blocks = _read_blocks(file, source, columns, rate, progress)
        frames = _write(target, rate, subtype, chain.width, _run(rig, blocks, BLOCK))
        seconds = file.frames / file.samplerate
    notices += [notice for slot in chain.slots for notice in getattr(slot.processor, "notices", ())]
    if rig.telemetry.count("faults"):
        notices.append(f"{rig.telemetry.count('faults')} faults inside a slot were replaced by the plain input")
    elapsed = time.perf_counter() - started
    return RenderReport(frames, chain.width, rate, seconds, elapsed, chain.latency.samples, notices)


def read_sound(source: Path, channel: int | None = None) -> tuple[Float32, int, list[str]]:
    """A whole sound file: samples [n, channels], one or two, the rate in Hz at which it can be played, and notices.

    DuendeError where the file cannot be read, is damaged or holds samples that are no numbers.
    """
    with _open(source) as file:
        if file.frames == 0:
            raise DuendeError(f"{source}: holds no audio")
        columns = _choose_channels(source, file.channels, channel)
        rate = file.samplerate if file.samplerate in DEVICE_RATES else 48000
        blocks = list(_read_blocks(file, source, columns, rate, None))
        notices = [] if rate == file.samplerate else [_converted(source, file.samplerate, rate)]
    return np.concatenate(blocks), rate, notices


def write_sound(target: Path, samples: Float32, rate: int) -> Path:
    """Write samples [n] or [n, channels] to a sound file, whole or not at all; DuendeError where that fails."""
    frames = samples[:, None] if samples.ndim == 1 else samples
    _write(target, rate, _target_subtype(target), frames.shape[1], iter([frames]))
    return target


def _converted(source: Path, found: int, rate: int) -> str:
    return f"{source.name}: {found} Hz is converted to {rate} Hz"


def _run(rig: Rig, source: Iterator[Float32], block: int) -> Iterator[Float32]:
    """Push frames in chunks of any size through the chain, and the tail after them; yields aligned output.

    It has the channels that differ.
    """
    flush_denormals()
    chain = rig.chain
    skip, taken = chain.latency.samples, 0
    out = np.zeros((block, chain.outputs), dtype=np.float32)
    chunks = _Chunks(source, chain.channels)
    while chunks.total is None or taken < chunks.total + chain.tail_samples:
        chain.process(chunks.next(block), out)
        drop = min(skip, block)
        skip -= drop
        end = block if chunks.total is None else min(block, drop + chunks.total + chain.tail_samples - taken)
        taken += end - drop
        yield out[drop:end, : chain.width].copy()


class _Chunks:
    """Cuts a stream of arrays [n, channels] into blocks of one size, as a chain is prepared for; zeros after its end.

    total: how many frames the stream held in all, once that is known.
    """

    def __init__(self, source: Iterator[Float32], channels: int) -> None:
        self._source = source
        self._kept = np.zeros((0, channels), dtype=np.float32)
        self._given = 0
        self.total: int | None = None

    def next(self, size: int) -> Float32:
        """The next block [size, channels]."""
        while len(self._kept) < size and self.total is None:
            more = next(self._source, None)
            if more is None:
                self.total = self._given
            else:
                self._given += len(more)
                self._kept = np.concatenate([self._kept, more])
        block = np.zeros((size, self._kept.shape[1]), dtype=np.float32)
        count = min(size, len(self._kept))
        block[:count] = self._kept[:count]
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


def _choose_channels(source: Path, channels: int, channel: int | None) -> slice:
    if channel is not None:
        if not 1 <= channel <= channels:
            raise DuendeError(f"{source}: channel {channel} of {channels}: choose 1 to {channels}")
        return slice(channel - 1, channel)
    if channels <= 2:
        return slice(0, channels)
    raise DuendeError(f"{source}: has {channels} channels: pick one with --channel 1 to {channels}")


def _read_blocks(
    file: Any, source: Path, columns: slice, rate: int, progress: Callable[[float], None] | None
) -> Iterator[Float32]:
    """Blocks of at most BLOCK frames at `rate`; DuendeError where a sample is no number or data is missing."""
    resampler: Any = None
    if file.samplerate != rate:
        count = columns.stop - columns.start
        resampler = soxr.ResampleStream(file.samplerate, rate, count, dtype="float32", quality="HQ")
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
        chosen = np.ascontiguousarray(frames[:, columns])
        if resampler is not None:
            chosen = resampler.resample_chunk(chosen, last=done >= file.frames).reshape(-1, chosen.shape[1])
        for start in range(0, len(chosen), BLOCK):
            yield chosen[start : start + BLOCK]
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


def _write(target: Path, rate: int, subtype: str | None, channels: int, blocks: Iterator[Float32]) -> int:
    """Write blocks under a temporary name beside the target, then rename."""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
        os.close(handle)
    except OSError as error:
        raise DuendeError(f"cannot write {target}: {error.strerror or error}") from error
    temporary = Path(name)
    frames = 0
    try:
        with soundfile.SoundFile(temporary, "w", rate, channels, subtype) as file:
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
