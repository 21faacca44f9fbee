"""The host: joins a rig and a device, and is the only code that the audio callback runs through."""

import gc
import math
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .ceiling import Ceiling
from .chain import MUTE, Chain
from .cover import Cover
from .denormals import flush_denormals
from .device import Device
from .manners import Turn
from .preset import Rig
from .realtime import raise_priority
from .relay import Relay
from .shared import DRY_CHANNELS, RING_FRAMES, WET_CHANNELS
from .smoothing import raised_cosine
from .spec import DEVICE_RATES

Float32 = npt.NDArray[np.float32]

FADE_IN_S = 0.05
SWITCH_S = 0.03
MEND_S = 0.02
WARM_BLOCKS = 2
WARM_FRAMES = 1024
TRIES = 32
"""So many blocks more than WARM_BLOCKS before the end may come while a new rig is brought up to now."""
BRING_S = 1.0
"""So long a new rig is brought up to now while the one before plays on; a machine too slow for it goes by silence."""
BOTH_SHARE = 0.55
"""Of a period: what two rigs may take together, as a rule, to be played at once; single blocks take twice as long."""
PATIENCE_S = 0.1
"""So long nothing is heard, at most, before what comes is played as it is: brought up to now, or from silence on."""
LATE_LIMIT = 8
LATE_WINDOW = 64
REST_S = 2.0


@dataclass(frozen=True)
class LatencyReport:
    """Delay from input to output by part, in milliseconds; device_ms is None where the device does not tell.

    parallel_ms: of slots, what passes in one branch of a split while the other, later one is waited for.
    """

    device_ms: float | None
    reblocking_ms: float
    slots_ms: tuple[tuple[str, float], ...]
    added_samples: int
    safety_ms: float = 0.0
    parallel_ms: float = 0.0

    def lines(self) -> list[tuple[str, str]]:
        """Parts and their delays, as text."""
        rows = [("device", "not known" if self.device_ms is None else f"{self.device_ms:.2f} ms")]
        rows.append(("re-blocking", f"{self.reblocking_ms:.2f} ms"))
        rows += [(f"windows of {name}", f"{delay:.2f} ms") for name, delay in self.slots_ms]
        if self.parallel_ms:
            rows.append(("at the same time, in the other branch", f"-{self.parallel_ms:.2f} ms"))
        rows.append(("model look-ahead", "0.00 ms"))
        if self.safety_ms:
            rows.append(("safety", f"{self.safety_ms:.2f} ms"))
        added = self.reblocking_ms + sum(delay for _, delay in self.slots_ms) + self.safety_ms - self.parallel_ms
        rows.append(("added by duende", f"{added:.2f} ms ({self.added_samples} samples)"))
        return rows


class Host:
    """Runs a rig on a device. `callback` belongs to the audio thread; everything else to the control thread.

    A callback that takes longer than its period is counted as late; when that repeats, the chain rests: the aligned
    dry signal plays for two seconds and the styles are tried again. `switch` fades to another rig while it plays:
    across, or by way of silence where one would hear both or the machine cannot play both at a time.

    The input has the device's channels; the output has as many, or two of one where the device has two and `wide` says
    so.

    safety: blocks of constant extra delay in exchange for a thread of its own for the rigs (`Relay`); 0: none.
    priority: real-time priority that the audio thread asks for; `notice` says where that was not allowed.
    turn: what other threads of the process look at (`manners`); it may have been made before.
    """

    def __init__(
        self,
        rig: Rig,
        device: Device,
        safety: int = 0,
        priority: int | None = None,
        *,
        turn: Turn | None = None,
        wide: bool = False,
    ) -> None:
        self.rig, self.device = rig, device
        self.shared, self.telemetry = rig.shared, rig.telemetry
        rate, most = device.sample_rate, device.max_block
        self._inputs = inputs = device.inputs
        self._outputs = outputs = min(2, device.outputs) if wide else inputs
        self.shared.header[DRY_CHANNELS], self.shared.header[WET_CHANNELS] = inputs, outputs
        rig.chain.prepare(rate, device.block, most, inputs, outputs)
        self._in = np.zeros((most, inputs), dtype=np.float32)
        self._mend = Cover(max(1, round(MEND_S * rate)), most, inputs)
        self._last_in = np.zeros((1, inputs), dtype=np.float32)
        self._out = np.zeros((most, outputs), dtype=np.float32)
        self._other = np.zeros((most, outputs), dtype=np.float32)
        self._caught = np.zeros((most, inputs), dtype=np.float32)
        self._past, self._unheard = (
            np.zeros((max(most, WARM_FRAMES), channels), dtype=np.float32) for channels in (inputs, outputs)
        )
        self._fall = np.zeros(most, dtype=np.float32)
        self._fade_in = raised_cosine(max(1, round(FADE_IN_S * rate)), 0)
        self._fade_in_at = 0
        self._switch_length = max(1, round(SWITCH_S * rate))
        self._switch = raised_cosine(self._switch_length, most)
        self._incoming: Rig | None = None
        self._gone: list[Rig] = []
        # A rig that comes after silence: it is the control thread's up to the place it has heard, then it is given.
        self._next: Rig | None = None
        self._heard = self._given = self._quiet = 0
        self._asked = False
        # What rigs take of a thread's time per sample to be brought up to now: the one that plays, the one that comes.
        self._effort = self._next_effort = 0.0
        # The rig that was left and whose tail is heard: samples left of it, and how far it is faded out after them.
        self._ringing: Rig | None = None
        self._tail = self._dropped = 0
        self._drop = self._spilling = False
        self._ceiling = Ceiling(most, outputs)
        self._offered: tuple[Rig, int] | None = None
        self._switched = 0
        self._position = self._began = self.shared.written
        self._us_per_frame = 1e6 / rate
        self.turn = Turn() if turn is None else turn
        self._ready = False
        self._priority, self.notice = priority, ""
        self._late_in_window = 0
        self._window_left = LATE_WINDOW
        self._warm_up()
        self.relay = None
        if safety:
            self.relay = Relay(self._chains, device.block, safety, rig.chain.latency.samples, inputs, outputs)

    def _warm_up(self) -> None:
        """Run the whole path on silence, so that no first time of anything falls into the music."""
        flush_denormals()
        for _ in range(50):
            self.rig.chain.process(self._in, self._out)
        self.rig.chain.reset()
        self.telemetry.clear()

    def start(self) -> None:
        """Start playing; an `ArrayDevice` returns when it is done, a `SoundDevice` at once."""
        gc.collect()
        gc.freeze()
        if self.relay is not None:
            self.relay.start()
        self.device.start(self.callback)

    def stop(self) -> None:
        """Stop playing."""
        self.device.stop()
        if self.relay is not None:
            self.relay.stop()
        gc.unfreeze()

    def latency(self) -> LatencyReport:
        """Delay by part; complete once the device has started."""
        chain, per_ms = self.rig.chain, self.device.sample_rate / 1000.0
        safety = 0 if self.relay is None else self.relay.delay_samples
        return LatencyReport(
            device_ms=self.device.latency_ms,
            reblocking_ms=chain.latency.reblocking / per_ms,
            slots_ms=tuple((name, samples / per_ms) for name, samples in chain.latency.slots),
            safety_ms=safety / per_ms,
            parallel_ms=(
                chain.latency.reblocking + sum(samples for _, samples in chain.latency.slots) - chain.latency.samples
            )
            / per_ms,
            added_samples=chain.latency.samples + safety,
        )

    def switch(self, rig: Rig) -> bool:
        """Have another rig take over; True where it is crossfaded, False where the sound fades out and in.

        Prepares it and plays to it what was played last, on this thread; as long as `switching` then says so, `keep_up`
        is to be called again and again. Different delays cannot be crossfaded: one would hear both. Nor two rigs that
        together take too much of a period. A tail that spills over rings on beside the new rig until its end, or until
        the next switch or a late block. DuendeError while a switch is on.
        """
        if self.switching:
            raise DuendeError("a switch is still going on: try again in a moment")
        chain, device = rig.chain, self.device
        chain.timed = False
        most = max(device.max_block, WARM_FRAMES)
        chain.prepare(device.sample_rate, device.block, most, self._inputs, self._outputs)
        spilling = chain.spills or self.rig.chain.spill_samples > 0
        if spilling:
            chain.wait()
        step = self._step
        # Whole quanta and blocks after the first chain began, so that all cut the sound at the same places.
        grid, position = math.lcm(step, chain.quantum), self._newest_cut(chain)
        position -= min(position - self._began, -(-min(chain.memory_samples, RING_FRAMES // 2) // grid) * grid)
        same = chain.latency.samples == self.rig.chain.latency.samples
        first, spent, self._next_effort = position, 0.0, 0.0
        until = time.perf_counter() + BRING_S
        seamless = same and self._can_play_both(chain)
        # One tail at a time: two chains are what a machine may be able to play beside the one that comes.
        self._drop, self._spilling = True, spilling
        # The last blocks, too, until none has come meanwhile: what is left the audio thread has to do. From the last
        # look at its place on nothing is called, since that may mean to wait for it (`manners`).
        tries = 0
        while (behind := self._position - position) >= step and tries < TRIES:
            tries += behind <= WARM_BLOCKS * step
            count = min(behind // step, max(1, WARM_FRAMES // step)) * step
            began = time.thread_time()
            self._bring(chain, position, count)
            spent += time.thread_time() - began
            position += count
            self._next_effort = spent / (position - first)
            seamless = same and self._can_play_both(chain)
            if time.perf_counter() > until:
                seamless = False
                break
        if seamless:
            self._offered = (rig, position)
            return True
        chain.wait()
        self._given, self._asked, self._quiet, self._heard = -1, False, 0, position
        self._next = rig
        return False

    @property
    def _step(self) -> int:
        """Frames that a rig is brought up to now by."""
        return self.device.block or WARM_FRAMES // 16

    def _bring(self, chain: Chain, position: int, count: int) -> None:
        """Control thread: play to a chain what was played from a frame number on."""
        # Slow averages as they are now: they change little in what is heard again.
        chain.adopt(self.rig.chain, self._position - position)
        self.shared.copy_dry(position, self._past[:count])
        chain.process(self._past[:count], self._unheard[:count])

    def _can_play_both(self, chain: Chain) -> bool:
        """Whether the rig that plays and another one fit into a period, by what they take as a rule."""
        ratio = self._next_effort / self._effort if self._effort and self._next_effort else 1.0
        # Where blocks are shorter than a quantum, one of several has all the work.
        share = self.turn.takes / max(self.turn.period, 1e-9)
        bunched = max(self.rig.chain.quantum, chain.quantum) / self._step
        return share * max(1.0, bunched) * (1.0 + ratio) <= BOTH_SHARE

    def keep_up(self) -> None:
        """Control thread, again and again while `switching`: bring up to now a rig that comes after silence."""
        rig, step = self._next, self.device.block or 1
        if rig is None or self._given >= 0:
            return
        while (behind := self._position - self._heard) >= step:
            if self._silent_for_long or behind > RING_FRAMES // 2:
                self._begin_now(rig.chain)
                break
            count = min(behind // step, max(1, WARM_FRAMES // step)) * step
            self._bring(rig.chain, self._heard, count)
            self._heard += count
        if self._asked:
            self._given = self._heard

    @property
    def _silent_for_long(self) -> bool:
        return self._quiet > self._switch_length + PATIENCE_S * self.device.sample_rate

    def _begin_now(self, chain: Chain) -> None:
        """Control thread: let a chain begin with silence at the newest place where all cut the sound."""
        chain.reset()
        chain.wait()
        self._heard = self._newest_cut(chain)

    def _newest_cut(self, chain: Chain) -> int:
        """The newest place, in frames, where all cut the sound, this chain too."""
        position = self._position
        return position - (position - self._began) % math.lcm(self._step, chain.quantum)

    @property
    def switching(self) -> bool:
        """Whether a rig is on its way in."""
        return self._offered is not None or self._incoming is not None or self._next is not None

    def collect(self) -> Rig | None:
        """A rig that is not heard any more, once, so that the control thread frees it."""
        return self._gone.pop() if self._gone else None

    @property
    def ringing(self) -> bool:
        """Whether the tail of a rig that was left is heard."""
        return self._ringing is not None

    def callback(self, block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        """Audio thread: one device block in [frames, inputs], out [frames, outputs]. Never raises; fills out always."""
        started = time.perf_counter()
        telemetry = self.telemetry
        late = False
        try:
            if not self._ready:
                telemetry.add("flush_to_zero", int(flush_denormals()))
                if self._priority is not None:
                    self.notice = raise_priority(self._priority) or ""
                self._ready = True
            late = self._play(block, out, input_xrun)
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
        self._watch(late or duration_us > period_us)

    def _play(self, block: Float32, out: Float32, torn: bool) -> bool:
        """Audio thread: True where a relay's result was not there in time. torn: input before this block was lost."""
        count, late = len(block), False
        source, result = self._in[:count], self._out[:count]
        np.copyto(source, block)
        if torn:
            # What comes after a loss begins where the input was: a style would make a burst of the jump.
            self._mend.begin(self._last_in, source[:1])
        self._mend.process(source)
        np.copyto(self._last_in, source[-1:])
        if self.relay is None:
            self._chains(source, result)
        else:
            late = not self.relay.exchange(source, result)
        left = len(self._fade_in) - self._fade_in_at
        if left > 0:
            part, at = min(left, count), self._fade_in_at
            np.multiply(result[:part], self._fade_in[at : at + part, None], out=result[:part])
            self._fade_in_at += part
        out[:] = result
        self.shared.keep(source, result)
        telemetry = self.telemetry
        telemetry.raise_level("input_peak", _peak(source))
        telemetry.raise_level("output_peak", _peak(result))
        telemetry.set_level("input_power", _power(source))
        telemetry.set_level("output_power", _power(result))
        return late

    def _chains(self, source: Float32, result: Float32) -> None:
        """Audio thread, or the relay's: a block, while other threads of the process wait (`manners`)."""
        self.turn.begin(1e-6 * self._us_per_frame * len(source))
        try:
            self._play_rigs(source, result)
        finally:
            self.turn.end()

    def _play_rigs(self, source: Float32, result: Float32) -> None:
        """The rig that plays, and the one that takes over from it."""
        if self._offered is not None:
            (self._incoming, position), self._offered = self._offered, None
            self._switched = 0
            self._catch_up(self._incoming, position)
            # What both have heard, it has heard twice by now.
            self._incoming.chain.adopt(self.rig.chain, 0)
            if self._spilling:
                self.rig.chain.leave()
        if self._next is not None:
            self._await(self._next, len(source))
        self.rig.chain.process(source, result)
        self._position += len(source)
        if self._ringing is not None:
            self._ring(self._ringing, source, result)
        if self._incoming is not None:
            if self._spilling:
                self._follow(self._incoming, source, result)
            else:
                self._succeed(self._incoming, source, result)

    def _await(self, rig: Rig, count: int) -> None:
        """Let the rig that plays go and, when it is gone, the next one come, if it was brought up to now."""
        before = self.rig.chain
        if not self._asked:
            before.leave()
            self._asked = True
        self._quiet += count
        late = self._given != self._position and not self._silent_for_long
        if self._given < 0 or late or not before.gone or self._ringing is not None:
            # It is brought up once more.
            self._given = -1
            return
        self._catch_up(rig, self._given)
        rig.chain.adopt(before, 0)
        rig.chain.enter()
        self._next, self._tail = None, before.spill_samples
        self._ringing, self._dropped, self._drop = self._take_over(rig), 0, False

    def _catch_up(self, rig: Rig, position: int) -> None:
        """Play the last blocks before this one to a rig."""
        step = self.device.block or len(self._caught)
        while position < self._position:
            block = self._caught[: min(step, self._position - position)]
            self.shared.copy_dry(position, block)
            rig.chain.process(block, self._other[: len(block)])
            position += len(block)

    def _succeed(self, rig: Rig, source: Float32, result: Float32) -> None:
        """Play the incoming rig, too, and fade across."""
        count, at = len(source), self._switched
        other = self._other[:count]
        rig.chain.process(source, other)
        np.subtract(other, result, out=other)
        np.multiply(other, self._switch[at : at + count, None], out=other)
        np.add(result, other, out=result)
        self._switched += count
        if self._switched >= self._switch_length:
            self._gone.append(self._take_over(rig))

    def _take_over(self, rig: Rig) -> Rig:
        """Let the incoming rig be the one that plays; returns the one that was."""
        gone, self.rig, self._incoming = self.rig, rig, None
        self._effort = self._next_effort
        gone.chain.timed, rig.chain.timed = False, True
        return gone

    def _follow(self, rig: Rig, source: Float32, result: Float32) -> None:
        """Play the incoming rig, too, where something spills over: the chains themselves let go and let in."""
        count, at, length = len(source), self._switched, self._switch_length
        if rig.chain.waiting:
            rig.chain.enter()
        rig.chain.process(source, self._other[:count])
        self._add(self._other[:count], result)
        self._switched += count
        # What was let in before the doors were shut is out when the old chain's delay has passed.
        if at >= length + self.rig.chain.latency.samples + self.rig.chain.quantum:
            self._tail = self.rig.chain.spill_samples
            self._ringing, self._dropped, self._drop = self._take_over(rig), 0, False

    def _ring(self, rig: Rig, source: Float32, result: Float32) -> None:
        """The tail of a rig that was left, until it is over or has to make room; then a fade."""
        count, other = len(source), self._other[: len(source)]
        rig.bank.targets[MUTE] = self.rig.bank.targets[MUTE]
        rig.chain.process(source, other)
        self._tail -= count
        if self._drop or self._tail <= 0:
            fall = self._fall[:count]
            np.subtract(np.float32(1.0), self._switch[self._dropped : self._dropped + count], out=fall)
            np.multiply(other, fall[:, None], out=other)
            self._dropped += count
        self._add(other, result)
        if self._dropped >= self._switch_length:
            self._ringing = None
            self._gone.append(rig)

    def _add(self, other: Float32, result: Float32) -> None:
        """Two rigs that are heard together: below the ceiling, too."""
        np.add(result, other, out=result)
        if self._ceiling.process(result):
            self.telemetry.add("ceiling")

    def _watch(self, late: bool) -> None:
        if late:
            self._drop = True
            self.telemetry.add("late")
            self._late_in_window += 1
        self._window_left -= 1
        if self._late_in_window >= LATE_LIMIT:
            self.rig.chain.rest(REST_S)
        if self._window_left <= 0 or self._late_in_window >= LATE_LIMIT:
            self._window_left, self._late_in_window = LATE_WINDOW, 0


def _peak(block: Float32) -> float:
    flat = block.reshape(-1)
    return max(float(flat[flat.argmax()]), -float(flat[flat.argmin()]))


def _power(block: Float32) -> float:
    flat = block.reshape(-1)
    return float(flat.dot(flat)) / len(flat)


def check_rate(sample_rate: float) -> float:
    """The rate itself; DuendeError unless styles play at it."""
    if sample_rate not in DEVICE_RATES:
        rates = ", ".join(f"{rate:g}" for rate in DEVICE_RATES)
        raise DuendeError(f"sample rate {sample_rate:g} Hz: this version plays at {rates} Hz (--rate)")
    return sample_rate
