"""Delay and reverb: what is played comes back later; the plain sound goes through untouched beside it."""

import math
from collections.abc import Sequence
from typing import Any

from ..spec import Control
from . import biquad
from .effect import Effect
from .filters import second_order

LONGEST_S = 4.0
LINE_S = LONGEST_S + 0.1
MEMORY_S = 1.5
FADE_S = 0.05
# Quanta until a wire, which is a spline, has arrived at a new value.
ARRIVED = 4

# Of the delay: where the wires begin that there are in stereo only.
FIRST_SIDE = 5 + biquad.SIZE

COMB_S = 0.031
FEEDBACK_OFFSET, FEEDBACK_SCALE = 0.7, 0.29
DAMP_SCALE = 0.5
REVERB_GAIN = 5.0
# All-passes that make the two sides of the reverb unlike. Chosen from random ones for the least change of what goes in
# on either side, in any third octave from 80 Hz on (0.3 dB).
SPREAD_S = (0.0044, 0.0106, 0.0120, 0.0125)
SPREAD = 0.45

# From this width on every echo changes sides.
CROSSED = 0.25


class Delay(Effect):
    """Echoes after a time, or after a number of beats, each duller and softer than the one before.

    A new time is not glided to, which would be heard as a howl: a second tap is set to it and faded over to. What is
    fed back goes round pyo's graph once per quantum, which is taken off the time.

    In stereo the echoes go to and fro, the first to the left. At a width of 1 they are on one side only and 3 dB louder
    there, and where the input stands matters no more; between, they are panned by equal power. At 0 each side has its
    own echoes. The plain sound stays on its side.
    """

    controls = (
        Control("time", "ms", 20.0, 2000.0, 400.0),
        Control("beats", "", 0.0, 4.0, 0.0),
        Control("tempo", "bpm", 30.0, 300.0, 120.0),
        Control("feedback", "", 0.0, 0.95, 0.35),
        Control("tone", "Hz", 500.0, 16000.0, 5000.0),
        Control("wet", "", 0.0, 1.0, 0.4),
        Control("width", "", 0.0, 1.0, 0.5),
    )
    wires = FIRST_SIDE
    side_wires = 5
    widens = True
    memory_s = MEMORY_S
    forgets_s = LINE_S + 0.2
    spills = True

    def __init__(self, sample_rate: float, quantum: int, channels: int = 1) -> None:
        super().__init__(sample_rate, quantum, channels)
        self._fade_quanta = max(1, round(FADE_S * sample_rate / quantum))
        self.reset()

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        wet, feedback, second_share, first, second = wires[:5]
        back = pyo.Sig([0.0] * len(source))
        line, turned = back * feedback, None
        if len(source) == 1:
            line = source + line
        else:
            left, right, right_to_left, left_to_right, cross = wires[FIRST_SIDE:]
            turned = pyo.Sig([0.0, 0.0])
            line = line + turned * cross + source * [left, right]
            line = line + pyo.Sig([source[1], source[0]]) * [right_to_left, left_to_right]
        taps = [pyo.SDelay(line, delay=time, maxdelay=LINE_S) for time in (first, second)]
        tap = taps[0] + (taps[1] - taps[0]) * second_share
        heard = second_order(pyo, tap, wires[5:FIRST_SIDE])
        back.value = heard
        if turned is not None:
            turned.value = [heard[1], heard[0]]
        return source + back * wet

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        time, beats, tempo, feedback, tone, wet, width = values
        moving = self._fade(self._samples(time, beats, tempo))
        wires[0], wires[1], wires[2] = wet, feedback, self._share
        for tap in range(2):
            # Half a sample more: pyo cuts off what is behind the point.
            wires[3 + tap] = (self._taps[tap] - self.quantum + 0.5) / self.sample_rate
        wires[5:FIRST_SIDE] = biquad.low_pass(self.sample_rate, tone)
        if self.channels > 1:
            crossed = _rise(min(1.0, width / CROSSED))
            wires[1] = feedback * (1.0 - crossed)
            wires[FIRST_SIDE:] = (*_to_and_fro(width), feedback * crossed)
        return moving

    def tail_s(self, values: Sequence[float]) -> float:
        time, beats, tempo, feedback = values[:4]
        echoes = 1.0 if feedback < 1e-4 else 1.0 + math.log(1e-4) / math.log(feedback)
        return 0.05 + echoes * self._samples(time, beats, tempo) / self.sample_rate

    def reset(self) -> None:
        self._taps = [0, 0]
        self._live = 0
        self._share = 0.0
        # Quanta since the tap that is faded to was set; None while nothing fades.
        self._fading: int | None = None

    def adopt(self, predecessor: Effect, lag_samples: int) -> None:
        assert isinstance(predecessor, Delay)
        self._taps[:] = predecessor._taps
        self._live, self._share, self._fading = predecessor._live, predecessor._share, predecessor._fading

    def _samples(self, time: float, beats: float, tempo: float) -> int:
        """Distance of the echoes; a number of beats goes before the time."""
        seconds = 1e-3 * time if beats < 0.01 else max(0.02, beats * 60.0 / tempo)
        return round(min(seconds, LONGEST_S) * self.sample_rate)

    def _fade(self, wanted: int) -> bool:
        """Set the tap that is not heard and fade to it; True while that goes on."""
        if self._taps[self._live] == 0:
            self._taps[:] = (wanted, wanted)
            return False
        if self._fading is None:
            if self._taps[self._live] == wanted:
                return False
            self._taps[1 - self._live] = wanted
            self._fading = 0
            return True
        self._fading += 1
        at = min(1.0, max(0.0, (self._fading - ARRIVED) / self._fade_quanta))
        rise = _rise(at)
        self._share = rise if self._live == 0 else 1.0 - rise
        # A tap may be set anew only when the spline of its share has arrived at 0.
        if self._fading >= self._fade_quanta + 2 * ARRIVED:
            self._live = 1 - self._live
            self._fading = None
        return True


class Reverb(Effect):
    """A room: eight combs and four all-passes (pyo's Freeverb), told how long it rings and not how large it is.

    In stereo something unlike the input, but as loud, goes into the same room with it, and is taken off on the right
    where it is added on the left: the sides are alike at a width of 0, have nothing in common at 1, and their sum is
    the room in mono, without a comb.
    """

    controls = (
        Control("decay", "s", 0.6, 8.0, 1.8),
        Control("tone", "Hz", 1000.0, 16000.0, 5000.0),
        Control("wet", "", 0.0, 1.0, 0.4),
        Control("width", "", 0.0, 1.0, 1.0),
    )
    wires = 3
    side_wires = 3
    widens = True
    memory_s = MEMORY_S
    # With the wires at 0 the combs still feed 0.7 back, every 31 ms.
    forgets_s = 5.0
    spills = True

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        share, size, damp = wires[:3]
        into = source
        if len(source) > 1:
            own, added, taken = wires[3:]
            unlike = source
            for seconds in SPREAD_S:
                # A little less than a whole number: what is a little more makes pyo read behind its line.
                whole = (round(seconds * self.sample_rate) - 1e-3) / self.sample_rate
                unlike = pyo.Allpass(unlike, delay=whole, feedback=SPREAD, maxdelay=2.0 * seconds)
            into = source * own + unlike * [added, taken]
        return source + pyo.Freeverb(into, size=size, damp=damp, bal=1.0) * share

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        decay, tone, wet, width = values
        feedback = 10.0 ** (-3.0 * COMB_S / decay)
        # What rings for longer is louder, the less so the duller it is: half of what a comb alone would need.
        wires[0] = wet * REVERB_GAIN * (1.0 - feedback * feedback) ** 0.25
        wires[1] = (feedback - FEEDBACK_OFFSET) / FEEDBACK_SCALE
        wires[2] = min(1.0, math.exp(-2.0 * math.pi * tone / self.sample_rate) / DAMP_SCALE)
        if self.channels > 1:
            angle = 0.25 * math.pi * width
            wires[3:] = (math.cos(angle), math.sin(angle), -math.sin(angle))
        return False

    def tail_s(self, values: Sequence[float]) -> float:
        return 0.3 + values[0] * 80.0 / 60.0


def _rise(at: float) -> float:
    """From 0 to 1 without corners, for at from 0 to 1."""
    return 0.5 - 0.5 * math.cos(math.pi * at)


def _to_and_fro(width: float) -> tuple[float, float, float, float]:
    """What goes into the lines: left to left, right to right, right to left, left to right."""
    angle = 0.25 * math.pi * (1.0 - width)
    first, other = math.sqrt(0.5) * math.cos(angle), math.sqrt(0.5) * math.sin(angle)
    apart = 0.5 * (1.0 - width)
    return first + apart, other + apart, first - apart, other - apart
