"""Meters: what the audio thread left in the shared state, in decibels and shares, thirty times a second."""

import math

import numpy as np

from ..messages import Opened
from ..split import path_samples
from ..telemetry import COUNTERS, HISTOGRAM_STEP_US, Telemetry
from .namespace import PREFIX, Node, Value
from .osc import Message
from .session import Session

METER = f"{PREFIX}/meter"
STATUS = f"{PREFIX}/status"
HISTOGRAM = f"{STATUS}/histogram"

READS_PER_S = 30
SLOTS_EVERY = 6
FLOOR_DBFS = -120.0
FULL_SCALE = 0.9999
RMS_S = 0.05
CLIP_READS = 15
STILL_READS = 10
DEFAULT_RATE_HZ = 48000.0


class Meters:
    """Reads telemetry and rings. There can be only one: taking a peak clears it.

    safety: blocks of extra delay that the engine was started with.
    """

    def __init__(self, session: Session, safety: int = 0) -> None:
        self._session, self._shared, self._safety = session, session.shared, safety
        self._telemetry = Telemetry(session.shared)
        self._opened: Opened | None = None
        self._trouble = "not open yet"
        self._seen = self._shared.written
        self._still = STILL_READS
        self._levels = [FLOOR_DBFS] * 4
        self._clips = [0, 0]
        self._bent = self._telemetry.count("ceiling")
        self._reads = 0
        self._sent: dict[str, list[Value]] = {}
        self._counted = dict.fromkeys(COUNTERS, 0)
        self._timed = np.zeros_like(self._shared.histogram)

    # -- what the engine told ------------------------------------------------------------------------------------

    def opened(self, message: Opened) -> None:
        """Sound runs on a device."""
        self._opened, self._trouble = message, ""

    def lost(self, text: str) -> None:
        """Sound does not run, and why."""
        self._trouble = text

    @property
    def rate(self) -> float:
        """Sample rate of the device in Hz; that of the last one while there is none."""
        return DEFAULT_RATE_HZ if self._opened is None else self._opened.sample_rate

    # -- values --------------------------------------------------------------------------------------------------

    def read(self) -> list[Message]:
        """What subscribers are sent now: levels and load each time, the rest when it changed and once a second.

        To be called READS_PER_S times a second, whether there are subscribers or not.
        """
        self._measure()
        status: dict[str, list[Value]] = {f"{STATUS}/{name}": values for name, values in self._status().items()}
        every = self._reads % READS_PER_S == 0
        self._reads += 1
        slots = len(self._session.state.slots) if self._reads % SLOTS_EVERY == 1 else 0
        due = {address: values for address, values in status.items() if every or self._sent.get(address) != values}
        self._sent = status
        return [
            Message(METER, self.meter()),
            Message(f"{STATUS}/load", self.load()),
            *(Message(address, values) for address, values in due.items()),
            *([Message(HISTOGRAM, self.histogram())] if every else []),
            *(Message(slot_usage(number), self.slot(number)) for number in range(1, slots + 1)),
        ]

    def meter(self) -> list[Value]:
        """Input peak and RMS, output peak and RMS in dBFS, and whether input and output were at their limit lately."""
        return [*self._levels, int(self._clips[0] > 0), int(self._clips[1] > 0)]

    def load(self) -> list[Value]:
        """Median, 99 % point and worst time of the last 2048 callbacks, as shares of the time there is."""
        load = self._telemetry.load()
        if not load.period_us:
            return [0.0, 0.0, 0.0]
        return [time / load.period_us for time in (load.median_us, load.p99_us, load.worst_us)]

    def slot(self, number: int) -> list[Value]:
        """What a slot (from 1) takes of the time there is: mean share, and peak share of the last seconds."""
        return list(self._telemetry.slot_load(number - 1))

    def histogram(self) -> list[Value]:
        """Duration of a block and width of a bin in us, then how many blocks took how long, since `reset`."""
        counts = self._shared.histogram - self._timed
        if np.any(counts < 0):
            # Another engine counts from 0.
            self._timed = np.zeros_like(self._timed)
            counts = self._shared.histogram
        return [self._telemetry.level("period_us"), HISTOGRAM_STEP_US, *(float(count) for count in counts)]

    def parts(self) -> list[Value]:
        """Delay in ms by part: of the device (-1: not known), re-blocking, safety, and each slot."""
        state, opened = self._session.state, self._opened
        device_ms = -1.0 if opened is None or opened.latency_ms is None else opened.latency_ms
        samples = [state.reblocking, self._safety_samples(), *state.latency]
        return [device_ms, *(1000.0 * count / self.rate for count in samples)]

    def reset(self) -> None:
        """Let all counts begin at 0 again, for everybody."""
        self._counted = {name: self._telemetry.count(name) for name in COUNTERS}
        self._timed = self._shared.histogram.copy()
        self._reads = 0

    def nodes(self) -> list[Node]:
        """The addresses of all meters."""
        return [
            Node(
                METER,
                "ffffii",
                "input peak and RMS, output peak and RMS; then 1 where the input was at full scale, and where the "
                "ceiling had to bend the output, within the last half second; 30 times a second",
                "dBFS",
                read=self.meter,
                stream=True,
            ),
            Node(
                f"{STATUS}/load",
                "fff",
                "median, 99 % point and worst time of the last 2048 blocks, as shares of a block's duration: above 1 "
                "is too late; 30 times a second",
                read=self.load,
                stream=True,
            ),
            self._node("latency", "ffi", "delay that duende adds, delay of the device (-1: not known), both in ms, and "
                       "the former in samples"),
            self._node("xruns", "ii", "how often the device lost input, and output"),
            self._node("late", "i", "blocks that took longer than they last"),
            self._node("rests", "i", "how often a style was left out for a while because blocks came late"),
            self._node("faults", "i", "how often something in the chain failed and was replaced by the dry signal"),
            self._node("device", "sfiis", "the device, its rate in Hz, its block in samples (0: varies), 1 where it is "
                       "a silent clock, and what is the matter with it (empty: nothing)"),
            self._node("parts", "f", "delay by part in ms: of the device (-1: not known), re-blocking, safety, each "
                       "slot; slots of two branches delay side by side"),
            Node(
                HISTOGRAM,
                "f",
                "duration of a block and width of a bin in us, then how many blocks fell into each bin by the time "
                "that they took; the last one holds all longer ones; once a second",
                read=self.histogram,
                stream=True,
            ),
            Node(
                f"{STATUS}/reset",
                "",
                "let xruns, late blocks, rests, faults and histogram count from 0 again, for everybody",
                write=lambda values: self.reset(),
            ),
            *(self._slot_node(number) for number in range(1, len(self._session.state.slots) + 1)),
        ]  # fmt: skip

    def _node(self, name: str, types: str, description: str) -> Node:
        return Node(
            f"{STATUS}/{name}",
            types,
            f"{description}; when it changes and once a second",
            read=lambda: self._status()[name],
            stream=True,
        )

    def _slot_node(self, number: int) -> Node:
        return Node(
            slot_usage(number),
            "ff",
            f"share of the time there is that the slot takes, and the peak of the last seconds; "
            f"{READS_PER_S // SLOTS_EVERY} times a second",
            read=lambda: self.slot(number),
            stream=True,
        )

    def _status(self) -> dict[str, list[Value]]:
        count, state, opened = self._count, self._session.state, self._opened
        branches = [slot.branch for slot in state.slots]
        added = state.reblocking + path_samples(state.latency, branches) + self._safety_samples()
        device_ms = -1.0 if opened is None or opened.latency_ms is None else opened.latency_ms
        device: list[Value] = ["", 0.0, 0, 0]
        if opened is not None:
            device = [opened.device, opened.sample_rate, opened.block, int(opened.silent)]
        return {
            "latency": [1000.0 * added / self.rate, device_ms, added],
            "xruns": [count("input_xruns"), count("output_xruns")],
            "late": [count("late")],
            "rests": [count("rests")],
            "faults": [count("faults") + count("failed")],
            "device": [*device, self._trouble],
            "parts": self.parts(),
        }

    def _safety_samples(self) -> int:
        return self._safety * (0 if self._opened is None else self._opened.block)

    def _count(self, name: str) -> int:
        """Of a counter, since `reset`; another engine counts from 0."""
        now = self._telemetry.count(name)
        if now < self._counted[name]:
            self._counted[name] = 0
        return now - self._counted[name]

    def _measure(self) -> None:
        """Levels since the last time; the old ones for a while where no block has come, as blocks may be long."""
        written = self._shared.written
        self._clips = [max(0, left - 1) for left in self._clips]
        if written == self._seen:
            self._still = min(STILL_READS, self._still + 1)
            if self._still == STILL_READS:
                self._levels = [FLOOR_DBFS] * 4
            return
        self._still, self._seen = 0, written
        try:
            rings = self._shared.recent(max(0, written - round(RMS_S * self.rate)), written)
            powers = [float(np.mean(np.square(ring, dtype=np.float64))) for ring in rings]
        except ValueError:
            powers = [0.0, 0.0]
        peaks = [self._telemetry.take_level(f"{side}_peak") for side in ("input", "output")]
        self._levels = [
            _decibels(peaks[0]), _decibels(math.sqrt(powers[0])), _decibels(peaks[1]), _decibels(math.sqrt(powers[1])),
        ]  # fmt: skip
        bent, self._bent = self._bent, self._telemetry.count("ceiling")
        for side, clipped in enumerate((peaks[0] >= FULL_SCALE, self._bent > bent)):
            if clipped:
                self._clips[side] = CLIP_READS


def slot_usage(number: int) -> str:
    """The address at which a slot, counted from 1, tells what it takes."""
    return f"{PREFIX}/slot/{number}/usage"


def _decibels(value: float) -> float:
    """Level in dBFS, FLOOR_DBFS at least; what is no number is at the top."""
    if not math.isfinite(value):
        return 0.0
    return max(FLOOR_DBFS, 20.0 * math.log10(value)) if value > 0.0 else FLOOR_DBFS
