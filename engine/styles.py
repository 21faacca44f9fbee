"""What every player of a model shares: its controls, the mix of styles that they ask for, and the rates it plays at."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .model import Model
from .spec import AMOUNT, DEVICE_RATES, Control
from .stft import StftSizes

Float32 = npt.NDArray[np.float32]


class StyleControls:
    """The amount, and a weight for each style where there are several; the first style alone by default.

    controls: as a processor offers them; values: float32, one per control.
    """

    def __init__(self, styles: Sequence[str]) -> None:
        weights = styles if len(styles) > 1 else []
        self.controls = [AMOUNT] + [
            Control(style, "", 0.0, 1.0, 1.0 if index == 0 else 0.0) for index, style in enumerate(weights)
        ]
        self.values = np.array([control.default for control in self.controls], dtype=np.float32)
        self._mix = np.zeros(len(styles), dtype=np.float32)

    def amount(self) -> float:
        """The amount asked for, 0 to 1."""
        return min(1.0, max(0.0, float(self.values[0])))

    def mix(self) -> Float32:
        """Style weights [styles] that add up to 1; valid until the next call. No weight at all is an equal mix."""
        style = self._mix
        if len(style) == 1:
            style[0] = 1.0
            return style
        np.maximum(self.values[1:], 0.0, out=style)
        total = float(style.sum())
        if total > 1e-6:
            np.multiply(style, 1.0 / total, out=style)
        else:
            style.fill(1.0 / len(style))
        return style


class StylePlayer:
    """A processor that plays one model: its controls, and sizes in samples that follow the device's rate."""

    spills = False
    memory_samples: int
    tail_samples: int

    def __init__(self, model: Model) -> None:
        self.model = model
        self._asked = StyleControls(model.spec.styles)
        self.controls, self.values = self._asked.controls, self._asked.values
        self._scale(model.sizes)

    def quantum_at(self, sample_rate: float) -> int:
        return self.model.sizes.at(sample_rate).hop

    def _scale_to(self, sample_rate: float) -> None:
        """Take the sizes at a rate; DuendeError unless styles play at it."""
        check_style_rate(self.model.spec.name, sample_rate)
        self._scale(self.model.sizes.at(sample_rate))

    def _scale(self, sizes: StftSizes) -> None:
        self.sizes = sizes
        self.quantum = self.latency_samples = sizes.hop


def check_style_rate(name: str, sample_rate: float) -> None:
    """DuendeError unless styles play at sample_rate (Hz)."""
    if sample_rate not in DEVICE_RATES:
        raise DuendeError(
            f"{name}: sample rate {sample_rate:g} Hz, styles play at "
            f"{' or '.join(f'{rate:g}' for rate in DEVICE_RATES)} Hz: set the device to one of them"
        )
