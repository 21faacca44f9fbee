"""Effects for tests: one by its name with values, prepared, and samples played through it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from duende.engine.fx.graphs import QUANTUM, Graphs
from duende.engine.fx.processor import PyoEffect
from duende.engine.fx.table import EFFECTS
from duende.engine.processor import StreamSpec

Float32 = npt.NDArray[np.float32]

RATE = 48000.0
NARROW: dict[str, dict[str, float]] = {
    name: {"width": 0.0} if effect.widens else {} for name, effect in EFFECTS.items()
}
"""Both sides treated alike."""


def prepared(
    name: str,
    channels: int = 1,
    rate: float = RATE,
    values: dict[str, float] | None = None,
    graphs: Graphs | None = None,
) -> PyoEffect:
    effect = PyoEffect(name, graphs)
    names = [control.name for control in effect.controls]
    for control, value in (values or {}).items():
        effect.values[names.index(control)] = value
    effect.prepare(StreamSpec(rate, channels, 64 * QUANTUM))
    return effect


def play(effect: PyoEffect, samples: Float32, quanta: Sequence[int] = (1,)) -> Float32:
    """Samples [n] or [n, channels], n whole quanta, in groups of quanta that take turns."""
    frames = samples.reshape(len(samples), -1)
    out, at, turn = np.empty_like(frames), 0, 0
    while at < len(frames):
        end = min(at + quanta[turn % len(quanta)] * QUANTUM, len(frames))
        effect.process(frames[at:end], out[at:end])
        at, turn = end, turn + 1
    return out.reshape(samples.shape)


def level_db(samples: Float32) -> float:
    """Root mean square of samples of any shape, in dB."""
    return 20.0 * float(np.log10(np.sqrt(np.mean(samples.astype(np.float64) ** 2)) + 1e-12))
