"""Where audio comes from and goes to: a sound device through PortAudio, or an array that drives the same path."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import DuendeError

Float32 = npt.NDArray[np.float32]

MICROPHONE_WORDS = ("built-in", "builtin", "internal", "macbook", "laptop", "realtek", "hda intel", "array")


Callback = Callable[[Float32, Float32, bool, bool], None]
"""(block in [frames, inputs], block out [frames, outputs], input xrun, output xrun); must fill the output."""


class Device(Protocol):
    """Delivers blocks to a callback until it is stopped.

    sample_rate in Hz; block in frames, None where it varies; latency_ms of the device itself, None if unknown;
    inputs and outputs: channels of what is delivered and filled.
    """

    sample_rate: float
    inputs: int
    outputs: int
    block: int | None
    max_block: int
    latency_ms: float | None

    def start(self, callback: Callback) -> None: ...

    def stop(self) -> None: ...

    @property
    def running(self) -> bool: ...


@dataclass(frozen=True)
class DeviceInfo:
    """One entry of the list of devices."""

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    sample_rate: float
    default_input: bool
    default_output: bool


def portaudio() -> Any:
    """The sounddevice module; DuendeError that says what to install when PortAudio is missing."""
    try:
        import sounddevice
    except OSError as error:
        raise DuendeError(
            "the PortAudio library is missing: install it with the system's packages (Debian and Ubuntu: "
            "apt install libportaudio2)"
        ) from error
    return sounddevice


def look_again() -> None:
    """Start PortAudio anew: it looks for devices and sound servers only then. DuendeError where it cannot."""
    sounddevice = portaudio()
    # What did not start the last time cannot be ended.
    with contextlib.suppress(sounddevice.PortAudioError):
        sounddevice._terminate()
    try:
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise DuendeError(f"PortAudio does not start: {str(error).splitlines()[0]}") from error


def list_devices() -> list[DeviceInfo]:
    """All sound devices that PortAudio sees; DuendeError where it does not run."""
    sounddevice = portaudio()
    try:
        default_input, default_output = sounddevice.default.device
        hosts, entries = sounddevice.query_hostapis(), sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise DuendeError(f"PortAudio does not answer: {str(error).splitlines()[0]}") from error
    return [
        DeviceInfo(
            index=index,
            name=str(entry["name"]),
            host=str(hosts[entry["hostapi"]]["name"]),
            inputs=int(entry["max_input_channels"]),
            outputs=int(entry["max_output_channels"]),
            sample_rate=float(entry["default_samplerate"]),
            default_input=index == default_input,
            default_output=index == default_output,
        )
        for index, entry in enumerate(entries)
    ]


def choose_device(devices: Sequence[DeviceInfo], wanted: str | None, direction: str) -> DeviceInfo:
    """The device for a direction ("input" or "output") by index, exact name or part of a name.

    DuendeError lists the candidates when none or several fit.
    """
    able = [entry for entry in devices if (entry.inputs if direction == "input" else entry.outputs) > 0]
    if not able:
        raise DuendeError(f"no {direction} device: connect a sound card, or check that the sound server runs")
    if wanted is None:
        defaults = [e for e in able if (e.default_input if direction == "input" else e.default_output)]
        return (defaults or able)[0]
    if wanted.isdigit():
        found = [entry for entry in able if entry.index == int(wanted)]
    else:
        found = [entry for entry in able if entry.name == wanted]
        found = found or [entry for entry in able if wanted.lower() in entry.name.lower()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{entry.index} {entry.name!r}" for entry in (found or able))
    what = f"several {direction} devices match" if found else f"no {direction} device matches"
    raise DuendeError(f"{what} {wanted!r}: {names}")


def refuse_feedback(source: DeviceInfo, sink: DeviceInfo) -> None:
    """DuendeError when a built-in microphone would play into built-in speakers."""

    def built_in(entry: DeviceInfo) -> bool:
        return any(word in entry.name.lower() for word in MICROPHONE_WORDS)

    if built_in(source) and built_in(sink):
        raise DuendeError(
            f"{source.name!r} into {sink.name!r} looks like a built-in microphone beside built-in speakers and would "
            f"howl: choose an interface with --input/--output, or pass --allow-feedback (with headphones)"
        )


class SoundDevice:
    """A duplex stream through PortAudio: one input channel or a pair, and at most two output channels."""

    def __init__(
        self,
        source: DeviceInfo,
        sink: DeviceInfo,
        in_channel: int,
        sample_rate: float,
        block: int,
        inputs: int = 1,
    ) -> None:
        """in_channel: from 1; inputs: channels from that one on, 1 or 2. DuendeError where the device has none such."""
        self._sounddevice = portaudio()
        last = in_channel + inputs - 1
        if not 1 <= in_channel <= last <= source.inputs:
            wanted = f"{in_channel}" if inputs == 1 else f"{in_channel} and {last}"
            raise DuendeError(
                f"input channel {wanted} of {source.name!r}: choose 1 to {max(1, source.inputs - inputs + 1)} "
                f"(--in-channel); the device has {source.inputs}"
            )
        if inputs > sink.outputs:
            raise DuendeError(f"{sink.name!r} has one output channel: play mono (--channels mono)")
        if not 0 <= block <= 8192:
            raise DuendeError(f"block of {block} frames is out of range: 1 to 8192, or 0 for the device's own")
        self.sample_rate = sample_rate
        self.block = block or None
        self.max_block = block or 8192
        self.latency_ms: float | None = None
        self.inputs, self.outputs = inputs, min(2, sink.outputs)
        self._columns = slice(in_channel - 1, last)
        self._callback: Callback | None = None
        try:
            self._stream = self._sounddevice.Stream(
                device=(source.index, sink.index),
                samplerate=sample_rate,
                blocksize=block,
                channels=(last, self.outputs),
                dtype="float32",
                latency="low",
                callback=self._deliver,
            )
        except self._sounddevice.PortAudioError as error:
            raise DuendeError(
                f"{source.name!r} to {sink.name!r} cannot be opened at {sample_rate:g} Hz with blocks of "
                f"{block or 'any'} frames: {str(error).splitlines()[0]}"
            ) from error

    def start(self, callback: Callback) -> None:
        self._callback = callback
        try:
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise DuendeError(f"the device cannot be started: {str(error).splitlines()[0]}") from error
        reported = 1000.0 * float(sum(self._stream.latency))
        # Some servers answer nonsense here (PipeWire: the largest 32-bit number).
        self.latency_ms = reported if 0.0 < reported < 2000.0 else None

    def stop(self) -> None:
        self._stream.stop()
        self._stream.close()

    @property
    def running(self) -> bool:
        return bool(self._stream.active)

    def _deliver(self, source: Float32, out: Float32, frames: int, moment: Any, flags: Any) -> None:
        if self._callback is not None:
            self._callback(source[:, self._columns], out, bool(flags.input_overflow), bool(flags.output_underflow))


class ClockDevice:
    """Silence at the pace of the clock, and nowhere to play to: keeps a show alive while its device is away.

    A callback that ended when the next was due, or later, is told to that one as an output xrun.
    """

    latency_ms: float | None = 0.0
    outputs = 2

    def __init__(self, sample_rate: float = 48000.0, block: int = 256, inputs: int = 1) -> None:
        self.sample_rate, self.max_block, self.inputs = sample_rate, block, inputs
        self.block: int | None = block
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, callback: Callback) -> None:
        self._thread = threading.Thread(target=self._tick, args=(callback,), name="clock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(1.0)

    @property
    def running(self) -> bool:
        return not self._stopped.is_set()

    def _tick(self, callback: Callback) -> None:
        silence = np.zeros((self.max_block, self.inputs), dtype=np.float32)
        out = np.zeros((self.max_block, 2), dtype=np.float32)
        period = self.max_block / self.sample_rate
        due, late = time.perf_counter() + period, False
        while not self._stopped.wait(max(0.0, due - time.perf_counter())):
            callback(silence, out, False, late)
            due += period
            ended = time.perf_counter()
            late = ended > due
            if late:
                # One late block makes the next ones late only as far as a device's buffers would.
                due = max(due, ended - period)


class ArrayDevice:
    """Plays an array as fast as it is answered: the same path as a sound device, without a clock.

    samples: float32 [n, inputs]; blocks: one size, or a sequence of sizes that repeats. `recorded` [n, outputs].
    """

    def __init__(self, samples: Float32, sample_rate: float, blocks: int | Sequence[int], outputs: int = 2) -> None:
        self.sample_rate = sample_rate
        self._sizes = [blocks] if isinstance(blocks, int) else list(blocks)
        self.block = blocks if isinstance(blocks, int) else None
        self.max_block = max(self._sizes)
        self.latency_ms: float | None = 0.0
        self._samples = samples
        self.inputs, self.outputs = samples.shape[1], outputs
        self.recorded = np.zeros((len(samples), outputs), dtype=np.float32)
        self._running = False

    def start(self, callback: Callback) -> None:
        """Deliver everything; returns when it is done."""
        self._running = True
        position, turn = 0, 0
        while position < len(self._samples) and self._running:
            stop = min(len(self._samples), position + self._sizes[turn % len(self._sizes)])
            callback(self._samples[position:stop], self.recorded[position:stop], False, False)
            position, turn = stop, turn + 1
        self._running = False

    def stop(self) -> None:
        self._running = False

    @property
    def running(self) -> bool:
        return self._running
