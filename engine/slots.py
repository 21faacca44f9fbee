"""What can stand in a slot: the kinds there are, the controls that each offers, and the processor that plays it."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from .. import DuendeError
from ..presets.cabinets import BUILT_IN
from . import cabinet
from .fx.graphs import Graphs
from .fx.processor import PyoEffect
from .fx.table import effect_controls
from .graph_check import parse, read_bytes
from .messages import SlotPlan
from .model import Model
from .processor import Processor
from .response import Response
from .spec import METADATA_KEY, Control
from .spectral import SpectralProcessor
from .styles import StyleControls
from .texture import TextureProcessor
from .waveform import WaveformProcessor
from .waveform_model import WaveformModel
from .waveform_spec import KIND as WAVEFORM

KINDS = ("style", "capture", "cabinet", "fx")


def slot_controls(
    kind: str, name: str, styles: Sequence[str] = (), controls: Sequence[Control] = ()
) -> Sequence[Control]:
    """The controls of a slot, known without its processor.

    name: of the effect; styles: of the model; controls: of the capture, as its file says (`capture_controls`).
    """
    if kind == "style":
        return StyleControls(styles).controls
    if kind == "capture":
        return controls
    if kind == "cabinet":
        return cabinet.CONTROLS
    if kind == "fx":
        return effect_controls(name)
    raise DuendeError(f"{name}: a slot of kind {kind!r}: this version knows {', '.join(KINDS)}")


def make_processor(
    plan: SlotPlan,
    open_model: Callable[[str], Model],
    open_response: Callable[[str, float], Response],
    open_capture: Callable[[str], WaveformModel],
    graphs: Graphs | None = None,
) -> Processor:
    """What plays a slot, not yet prepared; DuendeError where its file or kind does not do.

    open_model: gives the model of a path; open_response: the response of a path, empty: built in, at a sample rate;
    open_capture: the waveform model of a path; graphs: of the player's effects.
    """
    if plan.kind == "style":
        return processor_for(open_model(plan.path))
    if plan.kind == "capture":
        return WaveformProcessor(open_capture(plan.path))
    if plan.kind == "cabinet":
        if not plan.path and plan.name != BUILT_IN:
            raise DuendeError(f"{plan.name}: no cabinet of that name is built in, only {BUILT_IN}")
        return cabinet.Cabinet(functools.partial(open_response, plan.path))
    if plan.kind == "fx":
        return PyoEffect(plan.name, graphs)
    raise DuendeError(f"{plan.name}: a slot of kind {plan.kind!r}: this version knows {', '.join(KINDS)}")


def kind_of(path: Path) -> str:
    """Which kind of slot plays a model file, "style" or "capture", by its metadata; not yet checked."""
    _, text = parse(read_bytes(path), path.name)
    try:
        found = msgspec.json.decode(text, type=_Kind).kind
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DuendeError(f"{path.name}: the metadata {METADATA_KEY!r} is damaged: {error}") from error
    return "capture" if found == WAVEFORM else "style"


class _Kind(msgspec.Struct):
    kind: str = ""


def processor_for(model: Model) -> SpectralProcessor | TextureProcessor:
    """What plays a model, by its kind."""
    return TextureProcessor(model) if model.spec.kind == "texture" else SpectralProcessor(model)
