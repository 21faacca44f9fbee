"""Chorus, flanger, phaser and tremolo: one slow sine each, kept here so that a successor goes on in step.

In stereo the right side's sine is ahead of the left one's, by the width times a part of a turn; the left side is as in
mono.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..spec import Control
from . import biquad
from .effect import Effect

CHORUS_S = 0.012
FLANGER_S = 0.0006
PHASER_STAGES = 6
PHASER_OCTAVES = 1.6
# How far the right side is ahead at full width, in turns. Half a turn: the chorus's four copies are evenly spread, the
# tremolo goes from side to side. Of two that sweep, a quarter: half a turn would be heard as twice the rate.
OPPOSITE, ACROSS = 0.5, 0.25


class Modulation(Effect):
    """An effect whose first control is the rate of its sine in Hz."""

    def __init__(self, sample_rate: float, quantum: int, channels: int = 1) -> None:
        super().__init__(sample_rate, quantum, channels)
        self._turns = 0.0
        self._rate = 0.0

    def _sine(self, rate: float, ahead: float = 0.0) -> float:
        """The sine at the end of the quantum; ahead: in turns."""
        return math.sin(2.0 * math.pi * (self._turns + ahead))

    def _advance(self, rate: float) -> None:
        self._rate = rate
        self._turns = (self._turns + rate * self.quantum / self.sample_rate) % 1.0

    def reset(self) -> None:
        self._turns = 0.0

    def adopt(self, predecessor: Effect, lag_samples: int) -> None:
        assert isinstance(predecessor, Modulation)
        self._turns = (predecessor._turns - lag_samples * predecessor._rate / self.sample_rate) % 1.0


class Chorus(Modulation):
    """Two copies, 12 ms late, whose pitch sways against each other; the right side's against the left side's."""

    controls = (
        Control("rate", "Hz", 0.05, 5.0, 0.6),
        Control("depth", "ms", 0.0, 5.0, 2.0),
        Control("wet", "", 0.0, 1.0, 0.7),
        Control("width", "", 0.0, 1.0, 1.0),
    )
    wires = 4
    side_wires = 2
    widens = True
    memory_s = 0.03

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        plain, share = wires[:2]
        # Of both copies: the left side's wire and, in stereo, the right side's.
        copies = [_copy(pyo, source, wires[2 + copy :: 2], 0.03, self.sample_rate) for copy in range(2)]
        return source * plain + (copies[0] + copies[1]) * share

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        rate, depth, wet, width = values
        self._advance(rate)
        wires[0], copies = _power(wet)
        wires[1] = copies * math.sqrt(0.5)
        for side in range(self.channels):
            for copy in range(2):
                sine = self._sine(rate, 0.25 * copy + side * OPPOSITE * width)
                wires[2 + 2 * side + copy] = CHORUS_S + 1e-3 * depth * sine - _shortest_s(self.sample_rate)
        return True


class Flanger(Modulation):
    """A copy, late by a little and always another little, fed back: a comb that moves."""

    controls = (
        Control("rate", "Hz", 0.02, 5.0, 0.2),
        Control("depth", "ms", 0.0, 8.0, 3.0),
        Control("feedback", "", 0.0, 0.9, 0.5),
        Control("wet", "", 0.0, 1.0, 0.7),
        Control("width", "", 0.0, 1.0, 0.5),
    )
    wires = 4
    side_wires = 1
    widens = True
    memory_s = 0.1

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        plain, share, feedback = wires[:3]
        return source * plain + _copy(pyo, source, wires[3:], 0.02, self.sample_rate, feedback) * share

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        rate, depth, feedback, wet, width = values
        self._advance(rate)
        wires[0], wires[1] = _power(wet)
        # Fed back it is louder by that much on average.
        wires[1] *= math.sqrt(1.0 - feedback * feedback)
        wires[2] = feedback
        for side in range(self.channels):
            sine = self._sine(rate, 0.25 + side * ACROSS * width)
            wires[3 + side] = FLANGER_S + 0.5e-3 * depth * (1.0 - sine) - _shortest_s(self.sample_rate)
        return True

    def tail_s(self, values: Sequence[float]) -> float:
        return 0.05 + _times(values[2]) * (FLANGER_S + 1e-3 * values[1])


class Phaser(Modulation):
    """Six all-passes beside the plain sound: three notches that move around a frequency."""

    controls = (
        Control("rate", "Hz", 0.02, 8.0, 0.4),
        Control("depth", "", 0.0, 1.0, 0.7),
        Control("frequency", "Hz", 200.0, 2000.0, 700.0),
        Control("wet", "", 0.0, 1.0, 0.7),
        Control("width", "", 0.0, 1.0, 0.5),
    )
    wires = 3
    side_wires = 1
    widens = True

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        plain, share = wires[:2]
        turns = list(wires[2:])
        turned = source
        for _ in range(PHASER_STAGES):
            turned = pyo.Biquada(turned, b0=turns, b1=1.0, b2=0.0, a0=1.0, a1=turns, a2=0.0)
        return source * plain + turned * share

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        rate, depth, hz, wet, width = values
        self._advance(rate)
        wires[0], wires[1] = _power(wet)
        for side in range(self.channels):
            octaves = PHASER_OCTAVES * depth * self._sine(rate, side * ACROSS * width)
            wires[2 + side] = biquad.all_pass(self.sample_rate, hz * 2.0**octaves)
        return True


class Tremolo(Modulation):
    """The level goes up and down, in stereo at full width from side to side."""

    controls = (
        Control("rate", "Hz", 0.2, 12.0, 4.5),
        Control("depth", "", 0.0, 1.0, 0.6),
        Control("width", "", 0.0, 1.0, 0.0),
    )
    wires = 1
    side_wires = 1
    widens = True
    memory_s = 0.0

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        return source * list(wires)

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        rate, depth, width = values
        self._advance(rate)
        for side in range(self.channels):
            wires[side] = 1.0 - depth * (0.5 - 0.5 * self._sine(rate, 0.25 + side * OPPOSITE * width))
        return True


def _power(wet: float) -> tuple[float, float]:
    """Factors of the plain sound and of an unlike one beside it, together as loud as the plain one alone."""
    return 1.0 / math.sqrt(1.0 + wet * wet), wet / math.sqrt(1.0 + wet * wet)


def _times(feedback: float) -> float:
    """How often something comes back before it has fallen by 80 dB."""
    return 1.0 if feedback < 1e-4 else 1.0 + math.log(1e-4) / math.log(feedback)


def _copy(pyo: Any, source: Any, times: Sequence[Any], longest_s: float, rate: float, feedback: Any = 0.0) -> Any:
    """The source, late by the times (wires, in seconds) and by the shortest time.

    Where the delay is a whole number of samples but for the rounding, pyo reads one place behind its line: times 0, so
    that it is heard only if no number happens to stand there. In a line of 4 n + 1 samples it is the C library's own
    (glibc, 64 bits). The shortest time is such a delay: all wires are at 0 before a graph is heard, which then shows
    whether no number stands there all the same (`Graph.clean`).
    """
    shortest, samples = _shortest_s(rate), 4 * math.ceil(longest_s * rate / 4.0) + 1
    times = [time + shortest for time in times]
    return pyo.Delay(source, delay=times, feedback=feedback, maxdelay=samples / rate)


@functools.cache
def _shortest_s(rate: float) -> float:
    """A time in seconds of a few samples at rate (Hz) and as little more as a number in single precision can say."""
    for whole in range(2, 64):
        seconds = np.float32(whole / rate)
        for _ in range(4):
            samples = np.float32(float(seconds) * rate)
            if samples > whole:
                return float(seconds)
            seconds = np.nextafter(seconds, np.float32(1.0))
    raise AssertionError(f"no such time at {rate} Hz")
