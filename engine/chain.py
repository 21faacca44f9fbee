"""The chain: slots in series, or split once, at one quantum; delay-aligned, smoothed, guarded, below a ceiling."""

import math
import time
from collections.abc import Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .ceiling import Ceiling
from .door import Door
from .gate import Gate
from .history import History
from .params import ParameterBank, control_parameter
from .processor import LONGEST_SPILL_S, Processor, StreamSpec, quantum_at, widens_at
from .ring import RingBuffer
from .scalars import scalar
from .slot import FADE_S, Slot
from .split import layout, path_samples
from .telemetry import Telemetry

Float32 = npt.NDArray[np.float32]

MAX_QUANTA = 64
AT_ONCE_QUANTA = 8
"""So many at least may be played at once, however short the device's blocks are: a new chain has to catch up."""
ITERATOR_BUFFER = 64

INPUT_GAIN, OUTPUT_GAIN, MIX, BYPASS, AMOUNT, MUTE, GATE, BALANCE = range(8)


@dataclass(frozen=True)
class Latency:
    """Delay of a chain by part, in samples; the device's own comes on top. branches: of the slots; none: in series."""

    reblocking: int
    slots: tuple[tuple[str, int], ...]
    branches: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        return self.reblocking + path_samples([samples for _, samples in self.slots], self.branches)


def reblocking_latency(block: int | None, quantum: int) -> int:
    """Samples that device blocks of a fixed size (None: of any size) must wait for whole quanta."""
    if quantum <= 1:
        return 0
    return quantum - (1 if block is None else math.gcd(block, quantum))


class Chain:
    """Slots between an input gain and an output gain, with mix and bypass around all of them.

    They stand in series, but for one split into two branches, which end at the same time (`split.layout`).

    A mono input with a stereo output is played in mono up to the first slot that makes two sides of one; what comes
    before costs no more than in a mono chain.

    prepare and reset belong to the control thread, process to the audio thread.

    spills: whether a slot has a tail that spills over; known after prepare.
    width:  channels of the output that differ: 1 where all outputs are the same. Known after prepare.
    timed: whether the time of each slot is noted in the telemetry, which two chains may share.
    """

    def __init__(
        self,
        bank: ParameterBank,
        telemetry: Telemetry,
        processors: Sequence[tuple[str, Processor]],
        branches: Sequence[str] = (),
    ) -> None:
        """branches: of each processor, "", "a" or "b"; none: all in series. DuendeError for more than one split."""
        self.branches = tuple(branches) or ("",) * len(processors)
        self._layout = layout(self.branches)
        self.bank, self.telemetry = bank, telemetry
        self.timed = True
        self._context = _context()
        self.slots = [Slot(index, name, processor) for index, (name, processor) in enumerate(processors)]
        for slot in self.slots:
            rows = [control_parameter(slot.index + 1, slot.name, control) for control in slot.processor.controls]
            bank.set_slot(slot.index, rows)

    def prepare(
        self, sample_rate: float, block: int | None, max_block: int, channels: int = 1, outputs: int | None = None
    ) -> None:
        """Allocate for device blocks of a fixed size, or of any size up to max_block when block is None.

        channels: of the input; outputs: of the output, as many or, for one input, more; as many if left out.
        """
        outputs = channels if outputs is None else outputs
        if max_block < 1 or (block is not None and block > max_block):
            raise ValueError(f"block {block}, max_block {max_block}")
        if channels not in (1, outputs):
            raise ValueError(f"{channels} channels cannot be played to {outputs}")
        self.sample_rate, self.channels, self.outputs = sample_rate, channels, outputs
        quanta = [quantum_at(slot.processor, sample_rate) for slot in self.slots]
        self.quantum = math.lcm(*quanta) if quanta else 1
        if self.quantum > 1:
            self._largest = min(MAX_QUANTA, max(AT_ONCE_QUANTA, max_block // self.quantum)) * self.quantum
        else:
            self._largest = min(max_block, 1024)
        sizes = [self.quantum * 2**power for power in range(14) if self.quantum * 2**power <= self._largest]
        if self.quantum == 1:
            sizes = list(range(1, self._largest + 1))
        self._sizes = sizes
        self.bank.prepare(sample_rate, sizes)
        self._parts = {name: [self.slots[at] for at in places] for name, places in self._layout.parts.items()}
        self._widths = self._find_widths()
        for slot in self.slots:
            spec = StreamSpec(sample_rate, self._widths[slot.index], self._largest)
            slot.prepare(spec, self.bank, self.telemetry, self._largest)
        parts = [(slot.name, slot.processor.latency_samples) for slot in self.slots]
        self.latency = Latency(reblocking_latency(block, self.quantum), tuple(parts), self.branches)
        windows = self.latency.samples - self.latency.reblocking
        self.tail_samples = self._along(slot.processor.tail_samples for slot in self.slots)
        # What spills over begins with silence when the chain takes over from another one.
        self.memory_samples = self._along(0 if slot.spills else slot.processor.memory_samples for slot in self.slots)
        self._place_doors()
        lags = [sum(slot.processor.latency_samples for slot in self._parts[name]) for name in ("a", "b")]
        self._lags = [max(lags) - lag for lag in lags]
        self._aligned = [History(self._split_width, lag, self._largest) for lag in self._lags]
        self._door = Door(max(1, round(FADE_S * sample_rate)), self._largest)
        self._windows = windows
        self._plain = History(channels, windows, self._largest)
        self._gate = Gate(sample_rate, self._largest, channels)
        self._ceiling = Ceiling(self._largest, self.width)
        self._level = scalar()
        self._rest = np.zeros(self._largest, dtype=np.float32)
        self._a, self._b = (np.zeros((self._largest, channels), dtype=np.float32) for _ in range(2))
        self._wide = [np.zeros((self._largest, outputs), dtype=np.float32) for _ in range(2)]
        self._branch = np.zeros((self._largest, self._split_width), dtype=np.float32)
        capacity = max_block + 2 * self.quantum
        self._waiting = RingBuffer(capacity, channels)
        self._ready = RingBuffer(capacity + self.latency.reblocking, outputs)
        self.reset()

    def _find_widths(self) -> list[int]:
        """Channels of each slot; wide from the first that widens, or from the split, if that is in a branch."""
        widths, width = [self.outputs] * len(self.slots), self.channels
        self._split_width = width
        for part in (["before"], ["a", "b"], ["after"]):
            slots = [slot for name in part for slot in self._parts[name]]
            widening = [slot.index for slot in slots if widens_at(slot.processor, self.sample_rate)]
            for slot in slots:
                if widening and (len(part) > 1 or slot.index >= widening[0]):
                    width = self.outputs
                widths[slot.index] = width
            if len(part) > 1:
                self._split_width = width
        self.width = width
        return widths

    def reset(self) -> None:
        """Back to silence, with all values at their targets."""
        for slot in self.slots:
            slot.reset()
        self.bank.jump()
        self._plain.reset()
        for history in self._aligned:
            history.reset()
        self._gate.reset()
        self._door.stand(opened=True)
        self._leaving = self._gone = False
        self._waiting.clear()
        self._ready.clear()
        self._ready.write_silence(self.latency.reblocking)

    def _along(self, samples: Iterable[int]) -> int:
        return path_samples(list(samples), self.branches)

    def _place_doors(self) -> None:
        """Where the door is: before what spills over first, in each branch if that is in one; else at the end."""
        parts = self._parts
        spilling = [name for name, slots in parts.items() if any(slot.spills for slot in slots)]
        first = spilling[0] if spilling else "after"
        doored = ("a", "b") if first in ("a", "b") else (first,)
        self._doors: set[int] = set()
        self._ends: set[str] = set()
        self._upstream: set[int] = set()
        for name, slots in parts.items():
            if name in doored:
                door = next((at for at, slot in enumerate(slots) if slot.spills), len(slots))
                self._upstream.update(slot.index for slot in slots[:door])
                self._doors.update(slot.index for slot in slots[door : door + 1])
                if door == len(slots):
                    self._ends.add(name)
            elif not self._doors and not self._ends:
                self._upstream.update(slot.index for slot in slots)
        self.spills = bool(spilling)

    def adopt(self, predecessor: "Chain", lag_samples: int) -> None:
        """Audio thread: take over, slot by slot, what cannot be learned from recent input (`Processor.adopt`)."""
        for slot, before in zip(self.slots, predecessor.slots, strict=False):
            slot.processor.adopt(before.processor, lag_samples)
        self._gate.adopt(predecessor._gate)

    @property
    def spill_samples(self) -> int:
        """For how many samples the chain would ring on after `leave`; 0 where nothing spills over."""
        ringing = self._along(slot.ringing for slot in self.slots)
        if not ringing or self.bank.value(MIX) == 0.0 or self.bank.value(BYPASS) == 1.0:
            return 0
        return min(ringing + self.latency.samples, round(LONGEST_SPILL_S * self.sample_rate))

    def wait(self) -> None:
        """Control thread: let nothing into the first slot that spills over; out of the chain, if there is none."""
        self._door.stand(opened=False)

    @property
    def waiting(self) -> bool:
        """Whether `wait` was called, and not yet `enter`."""
        return self._door.shut and not self._leaving

    def enter(self) -> None:
        """Audio thread: end `wait`, within FADE_S."""
        self._door.move(opened=True)

    @property
    def gone(self) -> bool:
        """Whether nothing comes in any more since `leave`."""
        return self._leaving and self._door.shut

    def leave(self) -> None:
        """Audio thread: let nothing in any more, within FADE_S; tails ring on."""
        self._door.move(opened=False)
        self._leaving = True

    def rest(self, seconds: float) -> None:
        """Audio thread: play the aligned dry signal for a while instead of running the processors."""
        frames = max(1, round(seconds * self.sample_rate))
        for slot in self.slots:
            slot.rest(frames)

    def process(self, block: Float32, out: Float32) -> None:
        """Audio thread: block [frames, channels] to out [frames, outputs], frames up to max_block.

        Numbers out of range are looked after here, not by numpy's warnings.
        """
        self._context.run(self._process, block, out)

    def _process(self, block: Float32, out: Float32) -> None:
        if self.quantum == 1:
            done = 0
            while done < len(block):
                count = min(self._largest, len(block) - done)
                self._step(block[done : done + count], out[done : done + count])
                done += count
            return
        if len(block) == self.quantum and not self._waiting.available and not self._ready.available:
            # One quantum with nothing left over from before needs no ring.
            self._step(block, out)
            return
        self._waiting.write(block)
        while self._waiting.available >= self.quantum:
            count = self._sizes[0]
            if self._waiting.available >= 2 * count and not self.bank.due():
                for size in self._sizes:
                    if size <= self._waiting.available:
                        count = size
            source = self._a[:count]
            self._waiting.read(source)
            self._ready.write(self._run(source, self._b[:count]))
        got = self._ready.read(out)
        if got < len(out):
            out[got:] = 0.0
            self.telemetry.add("starved", len(out) - got)

    def _step(self, block: Float32, out: Float32) -> None:
        work = self._a[: len(block)]
        work[...] = block
        out[...] = self._run(work, self._b[: len(block)])

    def _run(self, work: Float32, other: Float32) -> Float32:
        """One step on work, with other as room to work in; returns the one of the two that holds the result."""
        bank, count = self.bank, len(work)
        bank.step(count)
        self._repair(work)
        # Before the gain, so that a threshold means the level at the jack; plain input and bypass are gated, too.
        self._gate.process(work, bank.value(GATE), not bank.still(GATE))
        self._plain.push(work.T)
        if not (bank.still(INPUT_GAIN) and bank.value(INPUT_GAIN) == 1.0):
            np.multiply(work, bank.ramp(INPUT_GAIN, count, 2)[:, None], out=work)
        amount = bank.value(AMOUNT)
        self._gone = self.gone
        entering = self._door.step(count)
        work, other = self._pass("before", work, other, amount, entering)
        if self._layout.splits:
            if work.shape[1] < self._split_width:
                work, other = self._widen(work)
            branch = self._branch[:count]
            np.copyto(branch, work)
            branch, other = self._pass("a", branch, other, amount, entering)
            work, other = self._pass("b", work, other, amount, entering)
            self._join(branch, work)
            work = branch
        work, other = self._pass("after", work, other, amount, entering)
        self._mix(work, other, entering)
        self._silence(work)
        if self._ceiling.process(work):
            self.telemetry.add("ceiling")
        return work

    def _pass(
        self, part: str, work: Float32, other: Float32, amount: float, entering: Float32 | None
    ) -> tuple[Float32, Float32]:
        """Run work through the slots of a part; returns the one of the two that holds the result, and then the other.

        entering: share that the door lets in.
        """
        began = time.perf_counter()
        for slot in self._parts[part]:
            if self._gone and slot.index in self._upstream:
                continue
            if work.shape[1] < self._widths[slot.index]:
                work, other = self._widen(work)
            if entering is not None and slot.index in self._doors:
                np.multiply(work, entering[:, None], out=work)
            slot.process(work, other, amount)
            work, other = other, work
            began = self._clock(slot.index, began, len(work))
        if entering is not None and part in self._ends:
            np.multiply(work, entering[:, None], out=work)
        return work, other

    def _widen(self, work: Float32) -> tuple[Float32, Float32]:
        """Work on all outputs, and room to go on with."""
        first, second = (buffer[: len(work)] for buffer in self._wide)
        np.copyto(first, work)
        return first, second

    def _join(self, a: Float32, b: Float32) -> None:
        """Both branches, as late as the later one, to a: the same in both stays as it is."""
        bank, count = self.bank, len(a)
        for branch, lag, history in zip((a, b), self._lags, self._aligned, strict=True):
            if lag:
                history.push(branch.T)
                branch.T[:] = history.last(count, skip=lag)
        if bank.still(BALANCE) and bank.value(BALANCE) in (0.0, 1.0):
            if bank.value(BALANCE) == 1.0:
                np.copyto(a, b)
            return
        np.subtract(b, a, out=b)
        np.multiply(b, bank.ramp(BALANCE, count, 2)[:, None], out=b)
        np.add(a, b, out=a)

    def _clock(self, slot: int, began: float, frames: int) -> float:
        """Note what a slot (from 0) took since began for so many frames; returns the time now."""
        now = time.perf_counter()
        if self.timed:
            self.telemetry.slot_done(slot, now - began, frames / self.sample_rate)
        return now

    def _repair(self, block: Float32) -> None:
        """Samples that are no numbers become silence before anything can remember them."""
        flat = block.reshape(-1)
        if not math.isfinite(float(flat.dot(flat))):
            np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            np.clip(block, -100.0, 100.0, out=block)
            self.telemetry.add("input_repairs")

    def _silence(self, work: Float32) -> None:
        """Mute, in place."""
        bank = self.bank
        if bank.still(MUTE) and bank.value(MUTE) == 0.0:
            return
        heard = bank.ramp(MUTE, len(work), 7)
        np.subtract(np.float32(1.0), heard, out=heard)
        np.multiply(work, heard[:, None], out=work)

    def _mix(self, wet: Float32, plain: Float32, entering: Float32 | None) -> None:
        """Output gain and mix on wet, in place; bypass passes the gated input at its own level. plain is scratch.

        entering: share of the plain input that is let in, as was done with wet.
        """
        bank, count = self.bank, len(wet)
        bypassed = bank.value(BYPASS) != 0.0 or not bank.still(BYPASS)
        if not bypassed and bank.still(MIX) and bank.value(MIX) == 1.0:
            if not bank.still(OUTPUT_GAIN):
                np.multiply(wet, bank.ramp(OUTPUT_GAIN, count, 6)[:, None], out=wet)
            elif bank.value(OUTPUT_GAIN) != 1.0:
                self._level[()] = bank.value(OUTPUT_GAIN)
                np.multiply(wet, self._level, out=wet)
            return
        # wet = plain bypass + (1 - bypass) output (mix wet + (1 - mix) input plain)
        gain = bank.ramp(OUTPUT_GAIN, count, 6)
        on = bank.ramp(BYPASS, count, 5) if bypassed else None
        if on is not None:
            np.subtract(np.float32(1.0), on, out=on)
            np.multiply(gain, on, out=gain)
        mix, rest = bank.ramp(MIX, count, 3), self._rest[:count]
        np.subtract(np.float32(1.0), mix, out=rest)
        np.multiply(rest, gain, out=rest)
        if not (bank.still(INPUT_GAIN) and bank.value(INPUT_GAIN) == 1.0):
            np.multiply(rest, bank.ramp(INPUT_GAIN, count, 4), out=rest)
        np.multiply(gain, mix, out=gain)
        np.multiply(wet, gain[:, None], out=wet)
        if on is not None:
            np.subtract(np.float32(1.0), on, out=on)
            np.add(rest, on, out=rest)
        if entering is not None:
            np.multiply(rest, entering, out=rest)
        plain.T[:] = self._plain.last(count, skip=self._windows)
        np.multiply(plain, rest[:, None], out=plain)
        np.add(wet, plain, out=wet)


def _context() -> Context:
    """Where numpy does not warn, and the buffers of its iterators, for views in pieces, come from Python's own pool.

    To enter it takes a tenth of the time that `numpy.errstate` takes.
    """
    context = Context()
    context.run(np.seterr, all="ignore")
    context.run(np.setbufsize, ITERATOR_BUFFER)
    return context
