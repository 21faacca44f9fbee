"""A slot: one processor with its bypass, mix, aligned dry path, tail, faults and rests."""

import numpy as np
import numpy.typing as npt

from .cover import Cover
from .history import History
from .params import ParameterBank, slot_index
from .processor import Processor, StreamSpec, spill_samples, spills_over
from .smoothing import raised_cosine
from .telemetry import Telemetry

Float32 = npt.NDArray[np.float32]

FADE_S = 0.03
COVER_S = 0.01
INSANE_LEVEL = 1e6
LARGEST_JUMP = 2.0


class Slot:
    """One place of the chain: a processor with its bypass, mix and aligned dry path.

    `process` and `fail_safe` belong to the audio thread; all else to the control thread.
    """

    def __init__(self, index: int, name: str, processor: Processor) -> None:
        self.index, self.name = index, name
        self.processor = processor

    def prepare(self, spec: StreamSpec, bank: ParameterBank, telemetry: Telemetry, max_block: int) -> None:
        processor = self.processor
        processor.prepare(spec)
        self._spec, self._bank, self._telemetry, self._max_block = spec, bank, telemetry, max_block
        self._first = slot_index(self.index)
        self._delay = processor.latency_samples
        # One sample more, for the dry signal at the end of the block before.
        self._history = History(spec.channels, self._delay + 1, max_block)
        self._dry = np.zeros((max_block, spec.channels), dtype=np.float32)
        self._squares = np.zeros((max_block, spec.channels), dtype=np.float32)
        self._fed = np.zeros((max_block, spec.channels), dtype=np.float32)
        self._spills = spills_over(processor, spec.sample_rate)
        self._fade_length = max(1, round(FADE_S * spec.sample_rate))
        # What rings on after a bypass: samples left of it, and how far it has been faded out after them.
        self._tail, self._end_at = 0, self._fade_length
        self._fade = raised_cosine(self._fade_length, max_block)
        # Share of the processor in the output, besides mix and bypass: falls to 0 on a fault, climbs back after it.
        self._trust_at = self._fade_length
        self._resting = 0
        self._rest_begins = self._failing = False
        # The jump to the dry signal is covered by what it jumped from.
        self._last = np.zeros((1, spec.channels), dtype=np.float32)
        self._cover = Cover(max(1, round(COVER_S * spec.sample_rate)), max_block, spec.channels, LARGEST_JUMP)

    # -- control thread ------------------------------------------------------------------------------------------

    @property
    def spills(self) -> bool:
        """Whether its input fades out, and its tail rings on, when it is left out (`processor.spills_over`)."""
        return self._spills

    @property
    def ringing(self) -> int:
        """For how many samples it would ring on if nothing came in from now on."""
        if not self._spills or self._bank.value(self._first + 1) == 0.0:
            return 0
        if self._bank.value(self._first) == 1.0:
            return max(0, self._tail)
        return spill_samples(self.processor, self._spec.sample_rate)

    def reset(self) -> None:
        self.processor.reset()
        self._history.reset()
        self._trust_at = self._fade_length
        self._cover.reset()
        self._resting = 0
        self._rest_begins = self._failing = False
        self._last.fill(0.0)
        self._tail, self._end_at = 0, self._fade_length

    # -- audio thread --------------------------------------------------------------------------------------------

    def process(self, block: Float32, out: Float32, amount: float) -> None:
        """Run block [n, channels] into out."""
        count = len(block)
        self._history.push(block.T)
        self._send_values(amount)
        if self._resting > 0:
            self._rest(out)
        elif self._spills and self._over(count):
            out.T[:] = self._history.last(count, skip=self._delay)
        else:
            fed = self._feed(block) if self._spills and self.bypassed else block
            self.processor.process(fed, out)
            sane = self._sane(out)
            self._blend(out, sane)
            self._failing = not sane
        self._cover.process(out)
        self._last[:] = out[-1:]

    @property
    def bypassed(self) -> bool:
        """Whether the slot is left out, or on its way into or out of that."""
        return self._bank.value(self._first) != 0.0 or not self._bank.still(self._first)

    def _over(self, count: int) -> bool:
        """Whether the slot is left out and its tail is over, so that the processor need not run."""
        if self._bank.value(self._first) != 1.0 or not self._bank.still(self._first):
            self._tail, self._end_at = spill_samples(self.processor, self._spec.sample_rate), 0
            return False
        if self._tail > 0:
            self._tail -= count
        elif self._end_at < self._fade_length:
            self._end_at += count
        else:
            return True
        return False

    def _feed(self, block: Float32) -> Float32:
        """What is let into a processor whose tail rings on."""
        fed, share = self._fed[: len(block)], self._bank.ramp(self._first, len(block), 0)
        np.subtract(np.float32(1.0), share, out=share)
        np.multiply(block, share[:, None], out=fed)
        return fed

    def rest(self, frames: int) -> None:
        """Leave the processor out (aligned dry) for at least so many frames, then fade it in afresh."""
        if self._resting == 0:
            self._telemetry.add("rests")
            self._rest_begins = True
        self._resting = frames

    def _rest(self, out: Float32) -> None:
        out.T[:] = self._history.last(len(out), skip=self._delay)
        if self._rest_begins:
            self._rest_begins = False
            self._cover_jump(len(out))
        self._resting = max(0, self._resting - len(out))
        if self._resting:
            return
        self.processor.reset()
        self._trust_at = 0
        self._tail, self._end_at = 0, self._fade_length

    def _cover_jump(self, count: int) -> None:
        """The dry signal is heard from this block of count on: let its difference to the last output fall to 0."""
        self._cover.begin(self._last, self._history.last(1, skip=self._delay + count).T)

    def _send_values(self, amount: float) -> None:
        processor = self.processor
        values = processor.values
        if not len(values):
            return
        self._bank.values(self._first + 2, values)
        if amount != 1.0 and processor.controls[0].name == "amount":
            values[0] *= amount

    def _sane(self, out: Float32) -> bool:
        flat = out.reshape(-1)
        if float(flat.dot(flat)) < INSANE_LEVEL**2:
            return True
        size = self._squares[: len(out)]
        np.abs(out, out=size)
        return bool(size.max() < INSANE_LEVEL)

    def _blend(self, out: Float32, sane: bool) -> None:
        """Mix in the aligned dry signal as far as mix, bypass or a fault ask for it."""
        bank, first, count = self._bank, self._first, len(out)
        mix = bank.value(first + 1) * (1.0 - bank.value(first))
        still = bank.still(first) and bank.still(first + 1)
        whole = self._trust_at >= self._fade_length
        if sane and still and whole and mix == 1.0:
            return
        dry = self._dry[:count]
        dry.T[:] = self._history.last(count, skip=self._delay)
        if not sane:
            self._recover(out, dry)
            return
        share = bank.ramp(first + 1, count, 1)
        if not whole:
            np.multiply(share, self._fade[self._trust_at : self._trust_at + count], out=share)
            self._trust_at += count
        if self.bypassed:
            on = bank.ramp(first, count, 0)
            np.subtract(np.float32(1.0), on, out=on)
            if self._spills:
                self._add_tail(out, dry, share, on)
                return
            np.multiply(share, on, out=share)
        np.subtract(out, dry, out=out)
        np.multiply(out, share[:, None], out=out)
        np.add(out, dry, out=out)

    def _add_tail(self, out: Float32, dry: Float32, share: Float32, on: Float32) -> None:
        """Mix out, whose input was let in as far as on, with the dry signal, which takes the place of what was not."""
        np.multiply(on, share, out=on)
        np.subtract(np.float32(1.0), on, out=on)
        np.multiply(dry, on[:, None], out=dry)
        if self._end_at > 0:
            np.subtract(np.float32(1.0), self._fade[self._end_at - len(out) : self._end_at], out=on)
            np.multiply(share, on, out=share)
        np.multiply(out, share[:, None], out=out)
        np.add(out, dry, out=out)
        if self._end_at >= self._fade_length:
            self.processor.reset()

    def _recover(self, out: Float32, dry: Float32) -> None:
        """A fault: start the processor afresh and play the dry signal."""
        self._telemetry.add("faults")
        self.processor.reset()
        self._trust_at = 0
        if not self._failing:
            # Else the dry signal is heard already.
            self._cover_jump(len(out))
        np.copyto(out, dry)
