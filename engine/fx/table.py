"""Which effects there are; nothing here needs pyo."""

from collections.abc import Sequence

from ... import DuendeError
from ..spec import Control
from .drive import Distortion, Overdrive
from .dynamics import Compressor, NoiseGate
from .effect import Effect
from .filters import AutoWah, Parametric, ThreeBands, Wah
from .modulation import Chorus, Flanger, Phaser, Tremolo
from .space import Delay, Reverb

EFFECTS: dict[str, type[Effect]] = {
    "gate": NoiseGate,
    "compressor": Compressor,
    "eq": ThreeBands,
    "parametric": Parametric,
    "overdrive": Overdrive,
    "distortion": Distortion,
    "chorus": Chorus,
    "flanger": Flanger,
    "phaser": Phaser,
    "tremolo": Tremolo,
    "wah": Wah,
    "auto-wah": AutoWah,
    "delay": Delay,
    "reverb": Reverb,
}


def effect_class(name: str) -> type[Effect]:
    """The effect of a name; DuendeError that lists what there is."""
    if name not in EFFECTS:
        raise DuendeError(f"no effect {name!r}; there are: {', '.join(EFFECTS)}")
    return EFFECTS[name]


def effect_controls(name: str) -> Sequence[Control]:
    """The controls of an effect; DuendeError if there is none of that name."""
    return effect_class(name).controls
