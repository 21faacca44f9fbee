"""The cabinet: a slot that convolves with an impulse response, without delay, then cuts low and high, and its level."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .convolver import FixedConvolver
from .cut import Cut
from .processor import Processor, StreamSpec
from .response import Response
from .spec import Control

Float32 = npt.NDArray[np.float32]

LOW_OFF_HZ, HIGH_OFF_HZ = 20.0, 20000.0
CONTROLS = (
    Control("level", "dB", -40.0, 20.0, 0.0, "decibel"),
    Control("low-cut", "Hz", LOW_OFF_HZ, 1000.0, LOW_OFF_HZ),
    Control("high-cut", "Hz", 1000.0, HIGH_OFF_HZ, HIGH_OFF_HZ),
)
CUT_MEMORY_S = 0.05
"""After this a low cut at 20 Hz has lost all but 1 % of what it remembers."""
GLIDE_S = 0.004
ROOM_S = 0.1
SETTLED = 1e-6


class Cabinet:
    """Plays one response. A stereo response plays left on left and right on right; where all is mono, their mean.

    open_response: gives the response at a sample rate; called by `prepare`, whose DuendeError it may raise.
    notices: of the response, once prepared.
    spills:  a speaker, whose energy comes within ROOM_S, is faded out where it is left out; a room rings on.
    """

    quantum = 1
    latency_samples = 0
    memory_samples = 0
    tail_samples = 0
    spills = False

    def __init__(self, open_response: Callable[[float], Response]) -> None:
        self._open = open_response
        self.notices: tuple[str, ...] = ()
        self.values: Float32 = np.array([control.default for control in CONTROLS], dtype=np.float32)

    @property
    def controls(self) -> Sequence[Control]:
        return CONTROLS

    def widens_at(self, sample_rate: float) -> bool:
        return len(self._open(sample_rate).taps) > 1

    def prepare(self, spec: StreamSpec) -> None:
        response = self._open(spec.sample_rate)
        taps, self.notices = response.taps, response.notices
        if len(taps) > spec.channels:
            taps = taps.mean(axis=0, keepdims=True)
        self.memory_samples = response.memory_samples + round(CUT_MEMORY_S * spec.sample_rate)
        self.spills = response.memory_samples > ROOM_S * spec.sample_rate
        self.tail_samples = taps.shape[1] - 1
        self._convolver = FixedConvolver(taps, spec.channels)
        self._low = Cut(spec.sample_rate, spec.channels, LOW_OFF_HZ, high=False)
        self._high = Cut(spec.sample_rate, spec.channels, HIGH_OFF_HZ, high=True)
        self._level = _Glide(GLIDE_S * spec.sample_rate, spec.max_block)

    def process(self, block: Float32, out: Float32) -> None:
        self._convolver.process(block, out)
        self._low.process(out, float(self.values[1]))
        self._high.process(out, float(self.values[2]))
        self._level.apply(out, 10.0 ** (float(self.values[0]) / 20.0))

    def reset(self) -> None:
        self._convolver.reset()
        self._low.reset()
        self._high.reset()
        self._level.reset()

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        """Nothing: all that is remembered is recent input."""


class _Glide:
    """A gain that follows its goal as a critically damped pair of one-poles: no step and no corner, however it jumps.

    time: constant of the one-poles in samples.
    """

    def __init__(self, time: float, max_block: int) -> None:
        # Solves v' = (u - v) / time, u' = (goal - u) / time exactly, at every sample.
        frames = np.arange(1, max_block + 1) / time
        basis = [np.exp(-frames), frames * np.exp(-frames), np.ones(max_block)]
        self._basis = np.stack(basis, axis=1).astype(np.float32)
        self._state = np.zeros(3, dtype=np.float32)
        self._gains = np.zeros(max_block, dtype=np.float32)
        self._shares = [(float(once), float(rise)) for once, rise in self._basis[:, :2]]
        self.reset()

    def reset(self) -> None:
        """The next goal is taken at once."""
        self._value = self._lead = -1.0

    def apply(self, out: Float32, goal: float) -> None:
        """Multiply out [n, channels] in place, on the way to a factor."""
        if self._value < 0.0:
            self._value = self._lead = goal
        away, lead = self._value - goal, self._lead - goal
        if abs(away) <= SETTLED * goal and abs(lead) <= SETTLED * goal:
            self._value = self._lead = goal
            if goal != 1.0:
                np.multiply(out, np.float32(goal), out=out)
            return
        count = len(out)
        self._state[0], self._state[1], self._state[2] = away, lead, goal
        gains = self._gains[:count]
        np.dot(self._basis[:count], self._state, out=gains)
        np.multiply(out, gains[:, None], out=out)
        once, rise = self._shares[count - 1]
        self._value, self._lead = goal + away * once + lead * rise, goal + lead * once
