"""Recording: the player's own minutes, dry from the device into a 24-bit file, to train a style on."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from .. import DuendeError
from .device import Device
from .ring import RingBuffer

Float32 = npt.NDArray[np.float32]

SUFFIXES = (".wav", ".flac")
LOWEST_HZ, HIGHEST_HZ = 8000.0, 192000.0
LONGEST_S = 7200.0
RING_S = 10.0
STUCK_S = 3.0
POLL_S = 0.1
CHUNK = 4096
FULL_SCALE = 0.9999
SILENT_DBFS, QUIET_DBFS = -60.0, -30.0

FRAMES, CALLBACKS, INPUT_XRUNS, LOST, OWED = range(5)


@dataclass(frozen=True)
class Meter:
    """What came in so far. peak_dbfs: the highest sample since the meter was read last; clipped: at full scale."""

    seconds: float
    peak_dbfs: float
    clipped: int
    input_xruns: int

    def line(self, width: int = 30) -> str:
        """As one line of constant length: time, a bar from -60 to 0 dBFS, peak, and what went wrong."""
        filled = round(width * min(1.0, max(0.0, 1.0 + self.peak_dbfs / 60.0)))
        level = f"{max(self.peak_dbfs, -99.9):6.1f} dBFS"
        clock = f"{int(self.seconds) // 60:3d}:{self.seconds % 60.0:04.1f}"
        return f"{clock} [{'#' * filled:<{width}}] {level}  {self.clipped:5d} clipped  {self.input_xruns:3d} xruns"


@dataclass(frozen=True)
class RecordReport:
    """What lies in the file: frames at sample_rate; highest sample and RMS in dBFS; samples at full scale.

    input_xruns: how often the device said that input was lost; lost_frames: frames that the disk was too slow for,
    silent in the file. failure: why the recording ended before it was told to, in one line; the file is kept.
    hangs: the device could not be stopped, as happens when a sound server has died; the program had best be left by
    os._exit, since PortAudio waits for it at the end, too.
    """

    path: Path
    frames: int
    sample_rate: float
    peak_dbfs: float
    level_dbfs: float
    clipped: int
    input_xruns: int
    lost_frames: int
    notices: list[str]
    failure: str | None = None
    hangs: bool = False

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


class Recorder:
    """Takes a device's input into a ring. `callback` belongs to the audio thread, `read` to the one that writes.

    Output is silence. Frames for which the ring has no room become silence in the ring once it has, so that what
    follows stays in time. Where frames are given, no more than so many are taken.
    """

    def __init__(self, sample_rate: float, max_block: int, frames: int | None = None) -> None:
        self._ring = RingBuffer(round(RING_S * sample_rate) + max_block)
        self._counts = np.zeros(5, dtype=np.int64)
        self._most = frames

    def callback(self, block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        """Audio thread: one device block in [frames, 1], out [frames, outputs]. Never raises."""
        out.fill(0.0)
        counts, ring, count = self._counts, self._ring, len(block)
        if self._most is not None:
            count = max(0, min(count, self._most - int(counts[FRAMES])))
        if counts[OWED]:
            counts[OWED] -= ring.write_silence(int(counts[OWED]))
        taken = 0 if counts[OWED] else ring.write(block[:count])
        counts[OWED] += count - taken
        counts[LOST] += count - taken
        counts[FRAMES] += count
        counts[INPUT_XRUNS] += input_xrun
        counts[CALLBACKS] += 1

    def close(self) -> None:
        """Take nothing more."""
        self._most = 0

    def read(self, out: Float32) -> int:
        """Writing thread: move recorded frames into out [n, 1]; returns how many there were."""
        return self._ring.read(out)

    def count(self, which: int) -> int:
        """FRAMES, CALLBACKS, INPUT_XRUNS, LOST or OWED."""
        return int(self._counts[which])

    @property
    def done(self) -> bool:
        """Whether all the frames that were asked for have come in."""
        return self._most is not None and self.count(FRAMES) >= self._most


class _Writer(threading.Thread):
    """Writes what a recorder takes to a file until told to finish, and measures it on the way."""

    def __init__(self, recorder: Recorder, file: Any) -> None:
        super().__init__(name="duende-record", daemon=True)
        self._recorder, self._file = recorder, file
        self._finish = threading.Event()
        self.error: Exception | None = None
        self.frames, self.clipped = 0, 0
        self.energy, self.peak, self._recent = 0.0, 0.0, 0.0

    def run(self) -> None:
        chunk = np.zeros((CHUNK, 1), dtype=np.float32)
        try:
            while True:
                last = self._finish.is_set()
                while count := self._recorder.read(chunk):
                    self._write(chunk[:count, 0])
                if last:
                    return
                self._finish.wait(0.02)
        except Exception as error:  # noqa: BLE001  libsndfile asserts on a short write; record() tells of it
            self.error = error

    def _write(self, samples: Float32) -> None:
        self._file.write(samples)
        size = np.abs(samples)
        peak = float(size.max())
        self.frames += len(samples)
        self.clipped += int(np.count_nonzero(size >= FULL_SCALE))
        self.energy += float(np.dot(samples, samples))
        self.peak, self._recent = max(self.peak, peak), max(self._recent, peak)

    def take_peak(self) -> float:
        """The highest sample since the last call."""
        peak, self._recent = self._recent, 0.0
        return peak

    def finish(self) -> None:
        """Write what is left and end."""
        self._finish.set()
        self.join()


def record(
    device: Device,
    path: Path,
    *,
    seconds: float | None = None,
    force: bool = False,
    stop: threading.Event | None = None,
    report: Callable[[Meter], None] | None = None,
) -> RecordReport:
    """Record a device's input without any processing into a mono 24-bit WAV or FLAC file, until one of these:

    so many seconds have come in (at most 7200, which is also the limit without them), stop is set, the device ends,
    or the disk is full. report is told the level ten times a second.
    The file appears under its name when it is complete; until then it is NAME.part.wav, which stays readable if the
    program is killed, and which is kept where the disk has no room for a FLAC file beside it. DuendeError where nothing
    can be recorded: a file of that name without force, no such folder.
    """
    if seconds is not None and not 0.0 < seconds <= LONGEST_S:
        raise DuendeError(f"--seconds {seconds:g} is out of range: up to {LONGEST_S:g}")
    if not LOWEST_HZ <= device.sample_rate <= HIGHEST_HZ:
        raise DuendeError(f"sample rate {device.sample_rate:g} Hz is out of range: {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz")
    check_target(path, force=force)
    part = path.with_name(f"{path.stem}.part.wav")
    if part.exists():
        raise DuendeError(f"{part} is left from a recording that was cut off: move it away or delete it")
    try:
        file = soundfile.SoundFile(part, "w", round(device.sample_rate), 1, "PCM_24")
    except (soundfile.LibsndfileError, OSError) as error:
        raise DuendeError(f"cannot write {part}: {reason(error)}") from error
    most = round((LONGEST_S if seconds is None else seconds) * device.sample_rate)
    recorder = Recorder(device.sample_rate, device.max_block, most)
    writer = _Writer(recorder, file)
    failure: str | None = None
    try:
        writer.start()
        device.start(recorder.callback)
        failure = _watch(device, recorder, writer, stop or threading.Event(), report)
    finally:
        # The file first: a device whose server has died may never come back from being stopped.
        recorder.close()
        writer.finish()
        failure = _close(file, writer.error) or failure
        if writer.frames:
            kept, trouble = complete(part, path)
            failure = failure or trouble
        else:
            part.unlink(missing_ok=True)
        hangs = not _stop(device)
    if not writer.frames:
        raise DuendeError(f"nothing was recorded: {failure or 'it was stopped before the first block came in'}")
    return replace(_report(kept, device.sample_rate, recorder, writer), failure=failure, hangs=hangs)


def check_target(path: Path, *, force: bool = False) -> Path:
    """The path itself; DuendeError unless a recording can be written there."""
    if path.suffix.lower() not in SUFFIXES:
        raise DuendeError(f"{path}: cannot record to {path.suffix or 'a file without an ending'}: use .wav or .flac")
    if path.is_dir():
        raise DuendeError(f"{path} is a folder: name a file")
    if not path.parent.is_dir():
        raise DuendeError(f"{path.parent}: no such folder to record to")
    if path.exists() and not force:
        raise DuendeError(f"{path} exists: choose another name, or replace it with --force")
    return path


def _watch(
    device: Device,
    recorder: Recorder,
    writer: _Writer,
    stop: threading.Event,
    report: Callable[[Meter], None] | None,
) -> str | None:
    """Until the recording is to end; why it ended, if nobody asked for that."""
    seen, since = -1, time.monotonic()
    while True:
        if recorder.done or writer.error is not None:
            return None
        callbacks = recorder.count(CALLBACKS)
        if callbacks != seen:
            seen, since = callbacks, time.monotonic()
        elif not device.running or time.monotonic() - since > STUCK_S:
            return "the device stopped delivering: was it unplugged, or its server ended?"
        if report is not None:
            xruns = recorder.count(INPUT_XRUNS)
            report(Meter(writer.frames / device.sample_rate, _decibels(writer.take_peak()), writer.clipped, xruns))
        if stop.wait(POLL_S):
            return None


def _stop(device: Device) -> bool:
    """Stop a device; False where it does not come back."""
    errors: list[Exception] = []

    def stop() -> None:
        try:
            device.stop()
        except Exception as error:  # noqa: BLE001  a device that is gone may say so in any way; the take is safe
            errors.append(error)

    thread = threading.Thread(target=stop, name="duende-record-stop", daemon=True)
    thread.start()
    thread.join(STUCK_S)
    return not thread.is_alive()


def _close(file: Any, error: Exception | None) -> str | None:
    """Complete the file; what went wrong in writing it, if anything."""
    try:
        file.close()
    except (soundfile.LibsndfileError, OSError) as another:
        error = error or another
    if error is None:
        return None
    return f"the file could not be written further ({reason(error)}): is the disk full?"


def complete(part: Path, path: Path, *, anew: bool = False) -> tuple[Path, str | None]:
    """Give a finished recording, NAME.part.wav, its name and format (.wav or .flac).

    anew: write the samples again, since the file was not closed and does not say how long it is.
    Returns where it lies now, and what was in the way, if anything: then it stays where it was.
    """
    coded = path.with_name(f".{path.stem}.coding{path.suffix}")
    try:
        if path.suffix.lower() == ".flac" or anew:
            # Not from the start: a FLAC file that was cut off says no length, and few programs read it.
            with (
                soundfile.SoundFile(part) as source,
                soundfile.SoundFile(coded, "w", source.samplerate, source.channels, "PCM_24") as target,
            ):
                for chunk in source.blocks(CHUNK * 16, dtype="int32"):
                    target.write(chunk)
            coded.replace(path)
            part.unlink()
        else:
            part.replace(path)
    except (soundfile.LibsndfileError, OSError, AssertionError) as error:
        coded.unlink(missing_ok=True)
        return part, f"{path.name} could not be written ({reason(error)}): the recording is kept as {part.name}"
    return path, None


def _report(path: Path, sample_rate: float, recorder: Recorder, writer: _Writer) -> RecordReport:
    frames = soundfile.info(path).frames
    peak, level = _decibels(writer.peak), _decibels(math.sqrt(writer.energy / writer.frames))
    lost = recorder.count(LOST) - recorder.count(OWED)
    xruns = recorder.count(INPUT_XRUNS)
    notices = []
    if writer.clipped:
        notices.append(f"{writer.clipped} samples at full scale: turn the input gain down and record again")
    if peak < SILENT_DBFS:
        notices.append(f"silent: nothing above {peak:.0f} dBFS came in; check cable, volume and --in-channel")
    elif peak < QUIET_DBFS:
        notices.append(f"quiet: the peak is {peak:.0f} dBFS; turn the input gain up until it is -18 to -6")
    if xruns:
        notices.append(f"{xruns} input xruns: the device lost samples there; a larger --block helps")
    if lost:
        notices.append(f"{1000.0 * lost / sample_rate:.0f} ms are silent: the disk was too slow for them")
    return RecordReport(path, frames, sample_rate, peak, level, writer.clipped, xruns, lost, notices)


def reason(error: Exception) -> str:
    """What libsndfile or the system says is wrong, without full stop."""
    text = str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error)
    return text.strip().rstrip(".") or "short write"


def _decibels(value: float) -> float:
    return 20.0 * math.log10(value + 1e-12)
