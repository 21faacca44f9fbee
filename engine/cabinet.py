"""The cabinet: a slot that convolves with an impulse response, without delay, then cuts low and high, and its level."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .convolver import FixedConvolver
from .cut import Cut
from .processor import Processor, StreamSpec
from .response import Response
from .smoothing import Glide
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
        self._level = Glide(GLIDE_S * spec.sample_rate, spec.max_block)

    def process(self, block: Float32, out: Float32) -> None:
        self._convolver.process(block, out)
        self._low.process(out, float(self.values[1]))
        self._high.process(out, float(self.values[2]))
        self._level.scale(out.T, 10.0 ** (float(self.values[0]) / 20.0))

    def reset(self) -> None:
        self._convolver.reset()
        self._low.reset()
        self._high.reset()
        self._level.reset()

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        """Nothing: all that is remembered is recent input."""
