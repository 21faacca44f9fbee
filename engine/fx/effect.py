"""What an effect is to the processor that plays it: controls, a graph of pyo objects, and the wires that steer it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from ..spec import Control


class Effect(ABC):
    """One effect at one sample rate, in mono or in stereo.

    Everything that varies reaches the graph through wires: signals that the processor draws smoothly through one
    value per quantum, as `steer` gives them. So no pyo object is ever changed while it plays. All effects are heard
    without delay.

    controls:  what the player may change.
    wires:     how many there are; in stereo side_wires more, after them.
    widens:    whether it makes two sides of one in stereo, as far as its control `width` says: at 0 both sides are
               treated alike. In mono that control does nothing.
    listens:   whether `steer` wants the input's peak.
    memory_s:  seconds of past input that the output depends on, beyond slow averages.
    forgets_s: seconds of silence, with all wires at 0, after which its graph is as it was made.
    spills:    whether its tail rings on when it is left out, rather than being faded out.
    """

    controls: ClassVar[tuple[Control, ...]]
    wires: ClassVar[int]
    side_wires: ClassVar[int] = 0
    widens: ClassVar[bool] = False
    listens: ClassVar[bool] = False
    memory_s: ClassVar[float] = 0.01
    forgets_s: ClassVar[float] = 0.5
    spills: ClassVar[bool] = False

    def __init__(self, sample_rate: float, quantum: int, channels: int = 1) -> None:
        """sample_rate in Hz; quantum: samples between two calls of `steer`; channels: 1 or 2."""
        self.sample_rate, self.quantum, self.channels = sample_rate, quantum, channels

    @property
    def wire_count(self) -> int:
        """How many wires there are for so many channels."""
        return self.wires + (self.side_wires if self.channels > 1 else 0)

    @abstractmethod
    def build(self, pyo: Any, source: Any, wires: Sequence[Any]) -> Any:
        """The graph, made of the pyo module's objects, from source (one stream per channel) to what is heard."""

    @abstractmethod
    def steer(self, values: Sequence[float], peak: float, wires: list[float]) -> bool:
        """Audio thread: write the wires' values at the end of the next quantum; True if they move by themselves.

        values: of the controls. peak: of the input in this quantum, 0 unless the effect listens.
        """

    def tail_s(self, values: Sequence[float]) -> float:
        """Seconds until the output has fallen by 80 dB after the input ended."""
        return 0.05

    def reset(self) -> None:  # noqa: B027
        """Forget what `steer` has kept."""

    def adopt(self, predecessor: "Effect", lag_samples: int) -> None:  # noqa: B027
        """Take over, from an effect of the same class, what `steer` has kept; lag as in `Processor.adopt`."""
