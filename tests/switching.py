"""A host without a device, whose rigs tests switch while they play."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from duende.engine.device import ArrayDevice
from duende.engine.host import Host
from duende.engine.model import Model
from duende.engine.preset import Rig, build_rig
from duende.engine.processor import Processor
from duende.engine.shared import SharedState
from duende.engine.slots import processor_for

Float32 = npt.NDArray[np.float32]

RATE, BLOCK = 48000.0, 128


def rig_of(page: int, shared: SharedState, *processors: Processor) -> Rig:
    """A rig of these on a page of shared state that has all defaults."""
    rig = build_rig([(f"p{n}", one) for n, one in enumerate(processors)], shared, page)
    for row in rig.bank.table.rows():
        rig.bank.set(row.name, row.default)
    return rig


def rig_on(page: int, shared: SharedState, *models: Model) -> Rig:
    """`rig_of` what plays these models."""
    return rig_of(page, shared, *(processor_for(model) for model in models))


def host_of(rig: Rig, block: int = BLOCK, safety: int = 0) -> Host:
    """A host that does not mind how long this machine takes; two rigs always fit into a period."""
    host = Host(rig, ArrayDevice(np.zeros((block, 1), dtype=np.float32), RATE, block), safety)
    host._watch = lambda late: None  # type: ignore[method-assign]
    host._can_play_both = lambda chain: True  # type: ignore[method-assign]
    return host


def play(host: Host, samples: Float32, block: int = BLOCK, between: Callable[[int], None] | None = None) -> Float32:
    """What samples [n] become, in blocks; `between` is called with the number of each block before it is played."""
    out = np.zeros((block, 1), dtype=np.float32)
    heard = []
    for number in range(len(samples) // block):
        if between is not None:
            between(number)
        host.keep_up()
        host.callback(samples[number * block : (number + 1) * block, None], out, False, False)
        heard.append(out[:, 0].copy())
    return np.concatenate(heard)
