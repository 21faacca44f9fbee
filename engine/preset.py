"""From a preset to a chain that is ready to play."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from .. import DuendeError
from ..presets.library import Entry
from .chain import Chain
from .messages import SlotPlan
from .model import Model, load_model
from .params import ParameterBank
from .processor import Processor
from .response import Responses
from .shared import SharedState
from .slots import make_processor, processor_for
from .telemetry import Telemetry
from .waveform_model import open_waveform


@dataclass
class Rig:
    """A chain with the state it shares with its controls."""

    shared: SharedState
    bank: ParameterBank
    telemetry: Telemetry
    chain: Chain
    notices: list[str]


@functools.cache
def _keep_to_one_thread() -> None:
    # Once: what finds the thread pools leaves garbage behind each time.
    threadpool_limits(1, user_api="blas")


def build_rig(
    processors: list[tuple[str, Processor]],
    shared: SharedState | None = None,
    page: int = 0,
    branches: Sequence[str] = (),
) -> Rig:
    """A chain of named processors around a page of shared state, whose values it keeps if it has any; not prepared.

    branches: of each processor (`split.layout`); none: all in series.

    From here on the arithmetic of this process stays on the thread that asks for it: a pool would compete with the
    audio callback.
    """
    _keep_to_one_thread()
    shared = SharedState() if shared is None else shared
    bank, telemetry = ParameterBank(shared.pages[page], keep=not shared.fresh), Telemetry(shared)
    return Rig(shared, bank, telemetry, Chain(bank, telemetry, processors, branches), [])


def processors_for(plans: Sequence[SlotPlan], provider: str = "cpu") -> list[tuple[str, Processor]]:
    """What plays slots, by their names; their files are checked as they are opened."""
    open_model = functools.partial(_open_model, provider=provider)
    return [(plan.name, make_processor(plan, open_model, Responses().open, open_waveform)) for plan in plans]


def load_rig(
    entry: Entry,
    provider: str = "cpu",
    values: Mapping[str, float] | None = None,
    open_model: Callable[[Path], Model] | None = None,
) -> Rig:
    """Open a preset's models and set its values, then those given by parameter name.

    open_model: opens the file of a style in another way than `load_model` on the provider does.
    """
    preset = entry.read()
    open_model = open_model or functools.partial(load_model, provider=provider)
    processors: list[tuple[str, Processor]] = []
    notices: list[str] = []
    for slot in preset.slots:
        path = entry.file_of(slot)
        if slot.kind == "style":
            assert path is not None
            model = open_model(path)
            notices += model.notices
            processors.append((model.spec.name, processor_for(model)))
        else:
            processors += processors_for([SlotPlan(slot.effect or slot.file, str(path or ""), slot.kind)], provider)
    rig = build_rig(processors, branches=[slot.branch for slot in preset.slots])
    rig.notices = notices
    try:
        for number, slot in enumerate(preset.slots, start=1):
            rig.bank.set(f"slot/{number}/bypass", float(slot.bypass))
            rig.bank.set(f"slot/{number}/mix", slot.mix)
            for control, value in slot.values.items():
                rig.bank.set(f"slot/{number}/{control}", value)
        for name, value in preset.values.items():
            rig.bank.set(name, value)
    except DuendeError as error:
        raise DuendeError(f"{entry.path.name}: {error}") from error
    for name, value in (values or {}).items():
        rig.bank.set(name, value)
    return rig


def _open_model(path: str, provider: str) -> Model:
    return load_model(Path(path), provider)
