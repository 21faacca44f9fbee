"""The one table of parameters, and their smoothed values in a buffer that the caller owns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .spec import Control

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MAX_SLOTS = 16
SLOT_CONTROLS = 16


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    name:    path without the prefix, as in presets and `--set`; the OSC address is /duende/<name>.
    kind:    "float" or "switch" (0 or 1).
    curve:   how 0..1 maps onto the range: "linear" or "decibel" (linear in dB; the value itself is in dB).
    lag_ms:  time in which a change arrives, 0 for at once.
    """

    name: str
    kind: str
    unit: str
    minimum: float
    maximum: float
    default: float
    curve: str
    lag_ms: float
    description: str

    @property
    def address(self) -> str:
        return f"/duende/{self.name}"

    def check(self, value: float) -> float:
        """The value itself; DuendeError with the bounds if it is outside them or not a number."""
        if not self.minimum <= value <= self.maximum:
            unit = f" {self.unit}" if self.unit else ""
            raise DuendeError(
                f"{self.name} = {value:g}{unit} is out of range: {self.minimum:g} to {self.maximum:g}{unit}"
            )
        return value


GLOBALS = (
    Parameter("input/gain", "float", "dB", -40.0, 40.0, 0.0, "decibel", 20.0, "level into the chain"),
    Parameter("output/gain", "float", "dB", -60.0, 20.0, 0.0, "decibel", 20.0, "level out of the chain"),
    Parameter("mix", "float", "", 0.0, 1.0, 1.0, "linear", 20.0, "share of the chain; the rest is the plain input"),
    Parameter("bypass", "switch", "", 0.0, 1.0, 0.0, "linear", 20.0, "1 passes the input through, delay kept"),
    Parameter("amount", "float", "", 0.0, 1.0, 1.0, "linear", 20.0, "from the plain guitar to the full style"),
    Parameter("mute", "switch", "", 0.0, 1.0, 0.0, "linear", 20.0, "1 silences the output, for tuning"),
    Parameter(
        "input/gate",
        "float",
        "dB",
        -100.0,
        0.0,
        -100.0,
        "decibel",
        20.0,
        "what is quieter is shut out; -100: off",
    ),
    Parameter("split/balance", "float", "", 0.0, 1.0, 0.5, "linear", 20.0, "share of branch b where the chain splits"),
)


def slot_parameters(slot: int) -> tuple[Parameter, ...]:
    """Rows that every slot has; slots are counted from 1."""
    return (
        Parameter(f"slot/{slot}/bypass", "switch", "", 0.0, 1.0, 0.0, "linear", 20.0, "1 leaves the slot out"),
        Parameter(f"slot/{slot}/mix", "float", "", 0.0, 1.0, 1.0, "linear", 20.0, "share of the slot's effect"),
    )


def control_parameter(slot: int, name: str, control: Control) -> Parameter:
    """The row of a control of the processor called name in a slot, counted from 1."""
    return Parameter(
        f"slot/{slot}/{control.name}",
        "float",
        control.unit,
        control.minimum,
        control.maximum,
        control.default,
        control.curve,
        20.0,
        f"{control.name} of {name}",
    )


GLOBAL_COUNT = len(GLOBALS)
DECIBEL_INDICES = tuple(index for index, row in enumerate(GLOBALS) if row.curve == "decibel")
PER_SLOT = 2 + SLOT_CONTROLS
PARAMETER_COUNT = GLOBAL_COUNT + MAX_SLOTS * PER_SLOT


def slot_index(slot: int) -> int:
    """Where the values of a slot, counted from 0, begin: bypass, mix, then its controls."""
    return GLOBAL_COUNT + slot * PER_SLOT


class ParameterTable:
    """The rows in force: the global ones and those of the slots that exist, with their place in the buffer."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, Parameter]] = {row.name: (i, row) for i, row in enumerate(GLOBALS)}

    def set_slot(self, slot: int, controls: Sequence[Parameter]) -> None:
        """Give slot (from 0) its rows and controls; DuendeError beyond the limits."""
        if slot >= MAX_SLOTS:
            raise DuendeError(f"slot {slot + 1}: a chain has at most {MAX_SLOTS}")
        if len(controls) > SLOT_CONTROLS:
            raise DuendeError(f"slot {slot + 1}: {len(controls)} controls, a slot has at most {SLOT_CONTROLS}")
        prefix = f"slot/{slot + 1}/"
        self._rows = {name: row for name, row in self._rows.items() if not name.startswith(prefix)}
        for offset, row in enumerate((*slot_parameters(slot + 1), *controls)):
            self._rows[row.name] = (slot_index(slot) + offset, row)

    def rows(self) -> list[Parameter]:
        """All rows, global ones first."""
        return [row for _, row in sorted(self._rows.values(), key=lambda entry: entry[0])]

    def find(self, name: str) -> tuple[int, Parameter]:
        """Place and row of a parameter; DuendeError that lists what there is."""
        key = name.strip().removeprefix("/duende/").strip("/")
        if key not in self._rows:
            raise DuendeError(f"no parameter {name!r}; there are: {', '.join(row.name for row in self.rows())}")
        return self._rows[key]


class ParameterBank:
    """Targets that a control thread writes and smoothed values that the audio thread reads.

    targets: float64 [PARAMETER_COUNT], memory of the caller; one aligned write is atomic.
    Values follow their targets as a critically damped pair of one-poles, so neither value nor slope ever jumps.
    """

    def __init__(self, targets: Float64, *, keep: bool = False) -> None:
        """keep: the targets hold values already, another process's, and stay as they are."""
        if targets.shape != (PARAMETER_COUNT,) or targets.dtype != np.float64:
            raise ValueError(f"targets of shape {targets.shape}: need float64 [{PARAMETER_COUNT}]")
        self.table = ParameterTable()
        self.targets = targets
        self._lead = np.zeros(PARAMETER_COUNT)
        self._value = np.zeros(PARAMETER_COUNT)
        self._previous = np.zeros(PARAMETER_COUNT)
        self._slope = np.zeros(PARAMETER_COUNT)
        self._previous_slope = np.zeros(PARAMETER_COUNT)
        self._wanted = np.zeros(PARAMETER_COUNT)
        self._scratch = np.zeros(PARAMETER_COUNT)
        self._away = np.zeros(PARAMETER_COUNT, dtype=np.bool_)
        # The targets that were last looked at; settled: until they change, a step would change nothing.
        self._seen = np.zeros(PARAMETER_COUNT)
        self._settled = False
        # In seconds; a fifth of the lag, so that 96 % of a change has arrived after it.
        self._time = np.full(PARAMETER_COUNT, 1e-6)
        self._smallest = np.full(PARAMETER_COUNT, 1e-6)
        self._rate = np.zeros(PARAMETER_COUNT)
        self._sample_rate = 48000.0
        self._decay: dict[int, tuple[Float64, Float64]] = {}
        self._shapes: dict[int, Float32] = {}
        self._ramps: Float32 = np.zeros((8, 1), dtype=np.float32)
        self._corners = np.zeros(4, dtype=np.float32)
        self.moving = False
        self._keep = keep
        for row in self.table.rows():
            self._adopt_row(row)

    def set_slot(self, slot: int, controls: Sequence[Parameter]) -> None:
        """Control thread, chain at rest: give a slot its rows; its values jump to the defaults unless they are kept."""
        self.table.set_slot(slot, controls)
        first = slot_index(slot)
        for row in self.table.rows():
            index, _ = self.table.find(row.name)
            if first <= index < first + PER_SLOT:
                self._adopt_row(row)

    def set(self, name: str, value: float) -> None:
        """Control thread: change a target; DuendeError for an unknown name or a value out of range."""
        index, row = self.table.find(name)
        self.targets[index] = row.check(value)

    def get(self, name: str) -> float:
        """The target of a parameter."""
        return float(self.targets[self.table.find(name)[0]])

    def prepare(self, sample_rate: float, block_sizes: Sequence[int]) -> None:
        """Allocate for the block sizes that will be stepped; values jump to their targets."""
        self._sample_rate = sample_rate
        self._decay = {size: self._decays(size) for size in block_sizes}
        np.divide(1.0 / sample_rate, self._time, out=self._rate)
        self._shapes = {size: _hermite(size) for size in block_sizes}
        self._ramps = np.zeros((8, max(block_sizes)), dtype=np.float32)
        self.jump()

    def jump(self) -> None:
        """Let all values be their targets at once."""
        self._linear(self._value)
        self._lead[:] = self._previous[:] = self._value
        self._slope.fill(0.0)
        self._previous_slope.fill(0.0)
        self.moving = self._settled = False

    def due(self) -> bool:
        """Audio thread: whether a value has to move in the next step."""
        if self._settled:
            np.not_equal(self.targets, self._seen, out=self._away)
            if not np.logical_or.reduce(self._away):
                return False
            self._settled = False
        self._linear(self._wanted)
        np.subtract(self._wanted, self._value, out=self._scratch)
        np.abs(self._scratch, out=self._scratch)
        np.greater(self._scratch, self._smallest, out=self._away)
        return bool(np.logical_or.reduce(self._away))

    def step(self, frames: int) -> None:
        """Audio thread: advance all values by a block of a prepared size."""
        moved, self.moving = self.moving, self.due()
        if self._settled:
            return
        self._previous[:] = self._value
        self._previous_slope[:] = self._slope
        if not self.moving:
            self._value[:] = self._lead[:] = self._wanted
            self._slope.fill(0.0)
            self._settled = not moved and np.array_equal(self._previous, self._value)
            return
        decay, share = self._decay[frames]
        value, lead, scratch = self._value, self._lead, self._scratch
        # Exact solution of v' = (u - v) / T, u' = (w - u) / T over the block; slopes are per sample.
        np.subtract(value, self._wanted, out=value)
        np.subtract(lead, self._wanted, out=lead)
        np.multiply(lead, share, out=scratch)
        np.add(value, scratch, out=value)
        np.multiply(value, decay, out=value)
        np.multiply(lead, decay, out=lead)
        np.subtract(lead, value, out=self._slope)
        np.multiply(self._slope, self._rate, out=self._slope)
        np.add(value, self._wanted, out=value)
        np.add(lead, self._wanted, out=lead)

    def value(self, index: int) -> float:
        """Audio thread: value at the end of the current block; gains are factors, not dB."""
        return float(self._value[index])

    def values(self, first: int, out: Float32) -> None:
        """Audio thread: as `value`, of as many places from the first on as out [n] has."""
        out[:] = self._value[first : first + len(out)]

    def still(self, index: int) -> bool:
        """Audio thread: whether a value is the same all through the current block."""
        return bool(self._value[index] == self._previous[index])

    def ramp(self, index: int, frames: int, row: int) -> Float32:
        """Audio thread: value per sample [frames] of the current block, in scratch row 0..7."""
        corners = self._corners
        corners[0], corners[1] = self._previous[index], frames * self._previous_slope[index]
        corners[2], corners[3] = self._value[index], frames * self._slope[index]
        line = self._ramps[row, :frames]
        corners.dot(self._shapes[frames], line)
        return line

    def _linear(self, out: Float64) -> None:
        """Targets in the unit they are used in: decibels become factors."""
        np.copyto(self._seen, self.targets)
        np.copyto(out, self._seen)
        for index in DECIBEL_INDICES:
            out[index] = 10.0 ** (out[index] / 20.0)

    def _decays(self, frames: int) -> tuple[Float64, Float64]:
        share = frames / self._sample_rate / self._time
        return np.exp(-share), share

    def _adopt_row(self, row: Parameter) -> None:
        index, _ = self.table.find(row.name)
        if not self._keep:
            self.targets[index] = row.default
        self._time[index] = max(1e-6, row.lag_ms * 1e-3 / 5.0)
        self._smallest[index] = 1e-6 * max(1e-3, row.maximum - row.minimum)
        if self._decay:
            self._decay = {size: self._decays(size) for size in self._decay}
            np.divide(1.0 / self._sample_rate, self._time, out=self._rate)
        self.jump()


def _hermite(frames: int) -> Float32:
    """Cubic Hermite basis [4, frames]: value and slope (per block) at the start, value and slope at the end."""
    t = np.arange(1, frames + 1, dtype=np.float64) / frames
    basis = [2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2]
    return np.asarray(basis, dtype=np.float32)
