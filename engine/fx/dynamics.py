"""Noise gate and compressor: gains that follow the level of all channels together, so that the image stays."""

import math
from collections.abc import Sequence
from typing import Any

from ..spec import Control
from .effect import Effect

DETECTOR_RISE_S = 0.0005
GATE_HOLD_S = 0.03
GATE_SLOPE = 6.0
GATE_KNEE_DB = 2.0
KNEE_DB = 6.0


class NoiseGate(Effect):
    """Turns down what stays below the threshold, by up to its range.

    pyo's own Gate waits for 1200 samples where it is told to wait for none, so this one is put together.
    """

    controls = (
        Control("threshold", "dB", -90.0, -20.0, -60.0),
        Control("range", "dB", 0.0, 80.0, 60.0),
        Control("attack", "ms", 1.0, 50.0, 3.0),
        Control("release", "ms", 20.0, 1000.0, 150.0),
    )
    wires = 4

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        threshold, lowest, attack, release = wires
        level = pyo.AToDB(pyo.Follower2(_loudest(pyo, source), DETECTOR_RISE_S, 2.0 * math.pi * GATE_HOLD_S))
        gain = pyo.DBToA(pyo.Max(lowest, _above(pyo, threshold - level, GATE_KNEE_DB) * -GATE_SLOPE))
        return source * pyo.Follower2(gain, attack, release)

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        threshold, lowest, attack, release = values
        wires[:] = (threshold, -lowest, _follower_s(attack), _follower_s(release))
        return False


class Compressor(Effect):
    """Turns down what exceeds the threshold, with a soft knee; all of its gain comes without delay."""

    controls = (
        Control("threshold", "dB", -60.0, 0.0, -24.0),
        Control("ratio", "", 1.0, 20.0, 3.0),
        Control("attack", "ms", 1.0, 100.0, 10.0),
        Control("release", "ms", 20.0, 1000.0, 150.0),
        Control("makeup", "dB", 0.0, 24.0, 0.0),
    )
    wires = 5

    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        threshold, slope, attack, release, makeup = wires
        level = pyo.AToDB(pyo.Follower2(_loudest(pyo, source), attack, release))
        return source * pyo.DBToA(_above(pyo, level - threshold, KNEE_DB) * slope + makeup)

    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        threshold, ratio, attack, release, makeup = values
        wires[:] = (threshold, 1.0 / ratio - 1.0, _follower_s(attack), _follower_s(release), makeup)
        return False


def _loudest(pyo: Any, source: Any) -> Any:
    """The size of the larger of the channels."""
    size = pyo.Abs(source)
    return size if len(size) == 1 else pyo.Max(size[0], size[1])


def _above(pyo: Any, excess: Any, knee_db: float) -> Any:
    """Excess in dB where it is positive, 0 where it is not, and a smooth way between the two."""
    return (excess + pyo.Sqrt(excess * excess + 0.25 * knee_db**2)) * 0.5


def _follower_s(milliseconds: float) -> float:
    """What pyo's Follower2 calls a time, from a time constant: it divides by 2 pi."""
    return 2.0 * math.pi * 1e-3 * milliseconds
