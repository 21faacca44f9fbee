"""Overdrive and distortion: a saturation between two filters, level-matched over the whole range of its drive."""

import math
from collections.abc import Sequence
from typing import Any

from ..spec import Control
from . import biquad
from .effect import Effect
from .filters import cascade, second_order

REFERENCE = 0.18
POINTS = tuple(math.sin(0.5 * math.pi * (index + 0.5) / 8.0) for index in range(8))
REFERENCE_POWER = sum((REFERENCE * point) ** 2 for point in POINTS)
BLOCK_DC_HZ = 20.0


class Drive(Effect):
    """A saturation, whose high-pass goes on for a little."""

    def tail_s(self, values: Sequence[float]) -> float:
        return 0.25


class Overdrive(Drive):
    """A soft saturation, uneven on its two sides where asymmetry asks for it: even harmonics."""

    controls = (
        Control("drive", "dB", 0.0, 40.0, 15.0),
        Control("asymmetry", "", 0.0, 1.0, 0.3),
        Control("tone", "Hz", 1000.0, 16000.0, 6000.0),
        Control("level", "dB", -24.0, 12.0, 0.0),
    )
    wires = 3 + 2 * biquad.SIZE

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        drive, bias, gain = wires[:3]
        bent = (pyo.Tanh(source * drive + bias) - pyo.Tanh(bias)) * gain
        return cascade(pyo, bent, wires[3:])

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        drive, asymmetry, tone, level = values
        factor, bias = 10.0 ** (drive / 20.0), 0.5 * asymmetry
        rest = math.tanh(bias)
        power = 0.0
        for point in POINTS:
            power += 0.5 * (math.tanh(factor * REFERENCE * point + bias) - rest) ** 2
            power += 0.5 * (math.tanh(-factor * REFERENCE * point + bias) - rest) ** 2
        wires[0], wires[1] = factor, bias
        wires[2] = 10.0 ** (level / 20.0) * math.sqrt(REFERENCE_POWER / power)
        wires[3:8] = biquad.high_pass(self.sample_rate, BLOCK_DC_HZ)
        wires[8:] = biquad.low_pass(self.sample_rate, tone)
        return False


class Distortion(Drive):
    """Two saturations in a row, with the bass taken out before and the fizz after them."""

    controls = (
        Control("drive", "dB", 0.0, 60.0, 35.0),
        Control("low-cut", "Hz", 20.0, 500.0, 100.0),
        Control("tone", "Hz", 1000.0, 16000.0, 5000.0),
        Control("level", "dB", -24.0, 12.0, 0.0),
    )
    wires = 2 + 2 * biquad.SIZE

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        drive, gain = wires[:2]
        tight = second_order(pyo, source, wires[2:7])
        return second_order(pyo, pyo.Tanh(pyo.Tanh(tight * drive) * drive) * gain, wires[7:])

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        drive, low_cut, tone, level = values
        # Half of the drive, in dB, for each of the two.
        factor = 10.0 ** (drive / 40.0)
        power = sum(math.tanh(factor * math.tanh(factor * REFERENCE * point)) ** 2 for point in POINTS)
        wires[0] = factor
        wires[1] = 10.0 ** (level / 20.0) * math.sqrt(REFERENCE_POWER / power)
        wires[2:7] = biquad.high_pass(self.sample_rate, low_cut)
        wires[7:] = biquad.low_pass(self.sample_rate, tone)
        return False
