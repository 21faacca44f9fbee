"""What can stand in a slot: the kinds there are, the controls that each offers, and the processor that plays it."""

from collections.abc import Callable, Sequence

from .. import DuendeError
from .messages import SlotPlan
from .model import Model
from .processor import Processor
from .spec import Control
from .spectral import SpectralProcessor
from .styles import StyleControls
from .texture import TextureProcessor

KINDS = ("style",)


def slot_controls(kind: str, name: str, styles: Sequence[str]) -> Sequence[Control]:
    """The controls of a slot, known without its processor. name: of the effect; styles: of the model."""
    if kind == "style":
        return StyleControls(styles).controls
    raise DuendeError(f"{name}: a slot of kind {kind!r}: this version knows {', '.join(KINDS)}")


def make_processor(plan: SlotPlan, open_model: Callable[[str], Model]) -> Processor:
    """What plays a slot, not yet prepared; DuendeError where its file or kind does not do."""
    if plan.kind == "style":
        return processor_for(open_model(plan.path))
    raise DuendeError(f"{plan.name}: a slot of kind {plan.kind!r}: this version knows {', '.join(KINDS)}")


def processor_for(model: Model) -> SpectralProcessor | TextureProcessor:
    """What plays a model, by its kind."""
    return TextureProcessor(model) if model.spec.kind == "texture" else SpectralProcessor(model)
