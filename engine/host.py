"""The host: joins a rig and a device, and is the only code that the audio callback runs through."""

import gc
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .denormals import flush_denormals
from .device import Device
from .preset import Rig
from .spec import SAMPLE_RATES

Float32 = npt.NDArray[np.float32]

FADE_IN_S = 0.05
LATE_LIMIT = 8
LATE_WINDOW = 64
REST_S = 2.0


@dataclass(frozen=True)
class LatencyReport:
    """Delay from input to output by part, in milliseconds; device_ms is None where the device does not tell."""

    device_ms: float | None
    reblocking_ms: float
    slots_ms: tuple[tuple[str, float], ...]
    added_samples: int

    def lines(self) -> list[tuple[str, str]]:
        """Parts and their delays, as text."""
        rows = [("device", "not known" if self.device_ms is None else f"{self.device_ms:.2f} ms")]
        rows.append(("re-blocking", f"{self.reblocking_ms:.2f} ms"))
        rows += [(f"windows of {name}", f"{delay:.2f} ms") for name, delay in self.slots_ms]
        rows.append(("model look-ahead", "0.00 ms"))
        added = self.reblocking_ms + sum(delay for _, delay in self.slots_ms)
        rows.append(("added by duende", f"{added:.2f} ms ({self.added_samples} samples)"))
        return rows


class Host:
    """Runs a rig on a device. `callback` belongs to the audio thread; everything else to the control thread.

    A callback that takes longer than its period is counted as late; when that repeats, the chain rests: the aligned
    dry signal plays for two seconds and the styles are tried again.
    """

    def __init__(self, rig: Rig, device: Device) -> None:
        self.rig, self.device = rig, device
        rig.chain.prepare(device.sample_rate, device.block, device.max_block)
        self._in = np.zeros((device.max_block, 1), dtype=np.float32)
        self._out = np.zeros((device.max_block, 1), dtype=np.float32)
        length = max(1, round(FADE_IN_S * device.sample_rate))
        self._fade = (0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)).astype(np.float32)
        self._fade_at = 0
        self._us_per_frame = 1e6 / device.sample_rate
        self._ready = False
        self._late_in_window = 0
        self._window_left = LATE_WINDOW
        self._warm_up()

    def _warm_up(self) -> None:
        """Run the whole path on silence, so that no first time of anything falls into the music."""
        flush_denormals()
        for _ in range(50):
            self.rig.chain.process(self._in, self._out)
        self.rig.chain.reset()
        self.rig.telemetry.clear()

    def start(self) -> None:
        """Start playing; an `ArrayDevice` returns when it is done, a `SoundDevice` at once."""
        gc.collect()
        gc.freeze()
        self.device.start(self.callback)

    def stop(self) -> None:
        """Stop playing."""
        self.device.stop()
        gc.unfreeze()

    def latency(self) -> LatencyReport:
        """Delay by part; complete once the device has started."""
        chain, per_ms = self.rig.chain, self.device.sample_rate / 1000.0
        return LatencyReport(
            device_ms=self.device.latency_ms,
            reblocking_ms=chain.latency.reblocking / per_ms,
            slots_ms=tuple((name, samples / per_ms) for name, samples in chain.latency.slots),
            added_samples=chain.latency.samples,
        )

    def callback(self, block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        """Audio thread: one device block in [frames, 1], out [frames, outputs]. Never raises; fills out always."""
        started = time.perf_counter()
        telemetry = self.rig.telemetry
        try:
            if not self._ready:
                telemetry.add("flush_to_zero", int(flush_denormals()))
                self._ready = True
            self._play(block, out)
        except Exception:  # noqa: BLE001  the show goes on: silence for this block, counted and visible
            out.fill(0.0)
            telemetry.add("failed")
        telemetry.add("callbacks")
        telemetry.add("frames", len(out))
        if input_xrun:
            telemetry.add("input_xruns")
        if output_xrun:
            telemetry.add("output_xruns")
        period_us = len(out) * self._us_per_frame
        duration_us = (time.perf_counter() - started) * 1e6
        telemetry.set_level("period_us", period_us)
        telemetry.block_done(duration_us)
        self._watch(duration_us > period_us)

    def _play(self, block: Float32, out: Float32) -> None:
        count = len(block)
        source, result = self._in[:count], self._out[:count]
        np.copyto(source, block)
        self.rig.chain.process(source, result)
        left = len(self._fade) - self._fade_at
        if left > 0:
            part = min(left, count)
            np.multiply(result[:part, 0], self._fade[self._fade_at : self._fade_at + part], out=result[:part, 0])
            self._fade_at += part
        out[:] = result
        telemetry = self.rig.telemetry
        telemetry.raise_level("input_peak", _peak(source))
        telemetry.raise_level("output_peak", _peak(result))
        telemetry.set_level("input_power", float(np.dot(source[:, 0], source[:, 0])) / count)
        telemetry.set_level("output_power", float(np.dot(result[:, 0], result[:, 0])) / count)

    def _watch(self, late: bool) -> None:
        if late:
            self.rig.telemetry.add("late")
            self._late_in_window += 1
        self._window_left -= 1
        if self._late_in_window >= LATE_LIMIT:
            self.rig.chain.rest(REST_S)
        if self._window_left <= 0 or self._late_in_window >= LATE_LIMIT:
            self._window_left, self._late_in_window = LATE_WINDOW, 0


def _peak(block: Float32) -> float:
    highest, lowest = float(block.max()), float(block.min())
    return max(highest, -lowest)


def check_rate(sample_rate: float) -> float:
    """The rate itself; DuendeError unless styles play at it."""
    if sample_rate not in SAMPLE_RATES:
        raise DuendeError(f"sample rate {sample_rate:g} Hz: this version plays at 44100 or 48000 Hz (--rate)")
    return sample_rate
