"""Equalisers and wahs: second-order filters whose coefficients are the wires."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ..spec import Control
from . import biquad
from .effect import Effect

LOW_HZ, HIGH_HZ = 120.0, 4000.0
BANDS = 4
WAH_LOW_HZ, WAH_HIGH_HZ = 350.0, 2500.0
WAH_GAIN = 2.0
ENVELOPE_RISE_S = 0.01


class ThreeBands(Effect):
    """Bass below 120 Hz, middle around a frequency, treble above 4 kHz."""

    controls = (
        Control("low", "dB", -18.0, 18.0, 0.0),
        Control("mid", "dB", -18.0, 18.0, 0.0),
        Control("mid-frequency", "Hz", 200.0, 3000.0, 700.0),
        Control("high", "dB", -18.0, 18.0, 0.0),
    )
    wires = 3 * biquad.SIZE

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        return cascade(pyo, source, wires)

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        low, mid, hz, high = values
        wires[0:5] = biquad.low_shelf(self.sample_rate, LOW_HZ, low)
        wires[5:10] = biquad.peak(self.sample_rate, hz, 0.7, mid)
        wires[10:15] = biquad.high_shelf(self.sample_rate, HIGH_HZ, high)
        return False


class Parametric(Effect):
    """Four bells, each with its own frequency, gain and width."""

    controls = tuple(
        control
        for band, hz in enumerate((100.0, 400.0, 1600.0, 5000.0), start=1)
        for control in (
            Control(f"frequency{band}", "Hz", 50.0, 16000.0, hz),
            Control(f"gain{band}", "dB", -18.0, 18.0, 0.0),
            Control(f"q{band}", "", 0.3, 8.0, 1.0),
        )
    )
    wires = BANDS * biquad.SIZE

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        return cascade(pyo, source, wires)

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        for band in range(BANDS):
            hz, gain, q = values[3 * band : 3 * band + 3]
            wires[5 * band : 5 * band + 5] = biquad.peak(self.sample_rate, hz, q, gain)
        return False


class Wah(Effect):
    """A resonance that a pedal moves."""

    controls: ClassVar[tuple[Control, ...]] = (
        Control("position", "", 0.0, 1.0, 0.5),
        Control("q", "", 1.0, 8.0, 4.0),
        Control("wet", "", 0.0, 1.0, 1.0),
    )
    wires = 1 + biquad.SIZE

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        return source * wires[0] + second_order(pyo, source, wires[1:])

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        position, q, wet = values
        self._tune(position, q, wet, wires)
        return False

    def _tune(self, position: float, q: float, wet: float, wires: list[float]) -> None:
        hz = WAH_LOW_HZ * (WAH_HIGH_HZ / WAH_LOW_HZ) ** position
        wires[0] = 1.0 - wet
        wires[1:] = biquad.band_pass(self.sample_rate, hz, q, WAH_GAIN * wet)


class AutoWah(Wah):
    """A resonance that the strength of the playing moves."""

    controls = (
        Control("sensitivity", "dB", 0.0, 40.0, 12.0),
        Control("release", "ms", 50.0, 1000.0, 200.0),
        Control("q", "", 1.0, 8.0, 4.0),
        Control("wet", "", 0.0, 1.0, 1.0),
    )
    listens = True

    def __init__(self, sample_rate: float, quantum: int, channels: int = 1) -> None:
        super().__init__(sample_rate, quantum, channels)
        self._seconds = quantum / sample_rate
        self._envelope = 0.0

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        sensitivity, release, q, wet = values
        time = ENVELOPE_RISE_S if peak > self._envelope else 1e-3 * release
        self._envelope += (peak - self._envelope) * -math.expm1(-self._seconds / time)
        self._tune(min(1.0, self._envelope * 10.0 ** (sensitivity / 20.0)), q, wet, wires)
        return True

    def reset(self) -> None:
        self._envelope = 0.0

    def adopt(self, predecessor: Effect, lag_samples: int) -> None:
        assert isinstance(predecessor, AutoWah)
        self._envelope = predecessor._envelope


def second_order(pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
    b0, b1, b2, a1, a2 = wires
    return pyo.Biquada(source, b0=b0, b1=b1, b2=b2, a0=1.0, a1=a1, a2=a2)


def cascade(pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
    for first in range(0, len(wires), biquad.SIZE):
        source = second_order(pyo, source, wires[first : first + biquad.SIZE])
    return source
