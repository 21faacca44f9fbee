"""The noise gate at the chain's input: no latency, all channels together, and no click where it opens or shuts."""

import math

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

STEP = 16
OFF = 1.0001e-5
HYSTERESIS = 0.5
ATTACK_S = 0.0016
MOVING_ATTACK_S = 0.02
HOLD_S = 0.05
RELEASE_S = 0.15
SETTLED = 1e-5


class Gate:
    """Shuts out what stays below a threshold.

    Every STEP frames it looks at the peak of the STEP frames before: at or above the threshold it opens, and once
    that peak has stayed below half of it (6 dB) for 50 ms it shuts. The gain follows as the parameters do, as a
    critically damped pair of one-poles, 96 % of the way within 1.6 ms (with the step before: 2 ms) or 150 ms. Gains are
    fixed a whole step ahead, so any block size gives the same samples.
    """

    def __init__(self, sample_rate: float, max_block: int, channels: int) -> None:
        """Allocate for blocks of up to max_block frames; sample_rate in Hz."""
        self._size = np.zeros((max_block, channels), dtype=np.float32)
        self._peaks = np.zeros(max(1, max_block // STEP), dtype=np.float32)
        self._channels = channels
        self._gains = np.ones(STEP, dtype=np.float32)
        self._state = np.ones(3, dtype=np.float32)
        self._hold = max(1, round(HOLD_S * sample_rate / STEP))
        self._rise = _basis(ATTACK_S * sample_rate / 5.0)
        self._glide = _basis(MOVING_ATTACK_S * sample_rate / 5.0)
        self._fall = _basis(RELEASE_S * sample_rate / 5.0)
        self.reset()

    def reset(self) -> None:
        """Open, and heard as such."""
        self._at = 0
        self._peak = 0.0
        self._left = self._hold
        self._value = self._lead = 1.0

    def adopt(self, predecessor: "Gate") -> None:
        """Audio thread: stand as far open as another gate does."""
        self._left, self._value, self._lead = predecessor._left, predecessor._value, predecessor._lead

    def process(self, block: Float32, threshold: float, moving: bool = False) -> None:
        """Audio thread: gate block [frames, channels] in place.

        threshold: peak level as a factor; up to OFF the gate stands open. moving: it is on its way to another value;
        what it opens then may be loud, and is faded in within 20 ms instead.
        """
        off = threshold <= OFF
        if off and self._value == 1.0:
            self._left = self._hold
            return
        if off:
            threshold = 0.0
        count = len(block)
        size = self._size[:count]
        np.abs(block, out=size)
        done = 0
        while done < count:
            if self._at == 0 and count - done >= STEP:
                done += self._whole_steps(block[done:], size[done:], threshold, moving)
                continue
            if self._at == 0:
                self._draw(moving)
            take = min(STEP - self._at, count - done)
            part = block[done : done + take]
            np.multiply(part, self._gains[self._at : self._at + take, None], out=part)
            self._peak = max(self._peak, float(size[done : done + take].max()))
            self._at += take
            done += take
            if self._at == STEP:
                self._hear(self._peak, threshold)
                self._at, self._peak = 0, 0.0

    @property
    def open(self) -> bool:
        """Whether it lets sound through, or is still in its hold time."""
        return self._left > 0

    def _whole_steps(self, block: Float32, size: Float32, threshold: float, moving: bool) -> int:
        """As many whole steps as there are; returns their frames."""
        steps = len(block) // STEP
        frames = steps * STEP
        peaks = self._peaks[:steps]
        size[:frames].reshape(steps, STEP * self._channels).max(axis=1, out=peaks)
        if self._left > 0 and self._value == self._lead == 1.0 and peaks.min() >= HYSTERESIS * threshold:
            self._left = self._hold
            return frames
        if self._left == 0 and self._value == self._lead == 0.0 and peaks.max() < threshold:
            block[:frames] = 0.0
            return frames
        for step in range(steps):
            part = block[step * STEP : (step + 1) * STEP]
            self._draw(moving)
            np.multiply(part, self._gains[:, None], out=part)
            self._hear(float(peaks[step]), threshold)
        return frames

    def _hear(self, peak: float, threshold: float) -> None:
        """At the end of a step: open, hold, or count towards shutting."""
        if peak >= (HYSTERESIS * threshold if self._left > 0 else threshold):
            self._left = self._hold
        elif self._left > 0:
            self._left -= 1

    def _draw(self, moving: bool) -> None:
        """Gains of the next step, from what was heard up to now."""
        goal = 1.0 if self._left > 0 else 0.0
        if self._value == self._lead == goal:
            self._gains.fill(goal)
            return
        basis, once, share = self._fall if goal == 0.0 else (self._glide if moving else self._rise)
        away, lead = self._value - goal, self._lead - goal
        state = self._state
        state[0], state[1], state[2] = goal, away, lead
        np.dot(state, basis, out=self._gains)
        self._value = goal + (away + lead * share) * once
        self._lead = goal + lead * once
        if abs(self._value - goal) < SETTLED and abs(self._lead - goal) < SETTLED:
            self._value = self._lead = goal


def _basis(time: float) -> tuple[Float32, float, float]:
    """What makes the gains of a step from goal, distance and lead [3, STEP]; the decay over a step, and its share.

    time: constant of the one-poles in samples. Solves v' = (u - v) / time, u' = (goal - u) / time exactly.
    """
    frames = np.arange(1, STEP + 1) / time
    basis = np.stack([np.ones(STEP), np.exp(-frames), frames * np.exp(-frames)])
    return basis.astype(np.float32), math.exp(-STEP / time), STEP / time
