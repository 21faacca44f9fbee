"""What a model file says of itself: the JSON kept under the metadata key `duende` of an .onnx file."""

import base64
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from .. import DuendeError

Float32 = npt.NDArray[np.float32]

METADATA_KEY = "duende"
FORMAT = 1
OPSET = 18
SAMPLE_RATES = (44100.0, 48000.0)
"""Rates in Hz that models are trained at."""
DEVICE_RATES = (44100.0, 48000.0, 88200.0, 96000.0)
"""Rates in Hz that they play at."""
PRECISIONS = ("float32", "float16", "int8")


def rate_factor(sample_rate: float) -> int:
    """How many samples there are for each one of a model's rate class: 1 at 44.1 and 48 kHz, 2 at twice as much."""
    return 2 if sample_rate >= 64000.0 else 1


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A small float32 array: its shape, and its little-endian bytes in base64."""

    shape: list[int]
    data: str

    @classmethod
    def pack(cls, array: npt.ArrayLike) -> "Tensor":
        values = np.ascontiguousarray(array, dtype="<f4")
        return cls(list(values.shape), base64.b64encode(values.tobytes()).decode("ascii"))

    def unpack(self) -> Float32:
        """The array; ValueError if bytes and shape disagree."""
        values = np.frombuffer(base64.b64decode(self.data, validate=True), dtype="<f4")
        return values.reshape(self.shape).astype(np.float32)


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A short input and the answer that a sound installation gives to it, from initial states.

    features [1, frames, features]; style [styles]; ratios [1, frames, excitations, bands]; dynamics [1, frames, 2];
    amount [1], 1 where it is left out and only where the graph has that control.
    """

    features: Tensor
    style: Tensor
    ratios: Tensor
    dynamics: Tensor
    amount: Tensor | None = None


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """STFT sizes in samples, for the rate class of 44.1 and 48 kHz."""

    analysis: int
    synthesis: int
    hop: int


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor carried from run to run: input `name`, output `name`_next, shape [channels, *shape]."""

    name: str
    shape: list[int]
    initial: float = 0.0


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that the player may change; unit, range and default in the player's terms."""

    name: str
    unit: str
    minimum: float
    maximum: float
    default: float
    curve: str = "linear"


AMOUNT = Control("amount", "", 0.0, 1.0, 1.0)


class Clip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recording that a style was made from."""

    title: str
    author: str = "unknown"
    licence: str = "unknown"
    source: str = ""
    seconds: float = 0.0


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model came to be."""

    clips: list[Clip]
    teacher: str
    content: str
    losses: dict[str, float]
    steps: int
    seed: int
    made_with: str
    created: str
    licence: str = "unknown"


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the engine must know to run a model, and a person to trust it."""

    format: int
    kind: str
    name: str
    law: str
    sample_rate: float
    sizes: Sizes
    bands: int
    excitations: list[str]
    states: list[State]
    controls: list[Control]
    styles: list[str]
    body_points: int
    body_top_hz: float
    latency_samples: int
    receptive_field_frames: int
    provenance: Provenance
    quality: dict[str, float]
    golden: Golden
    precision: str = "float32"

    @property
    def trained_amount(self) -> bool:
        """Whether the graph itself is told the amount."""
        return AMOUNT in self.controls

    def encode(self) -> str:
        """As JSON text."""
        return msgspec.json.encode(self).decode("utf-8")


def decode_spec(text: str, origin: str) -> ModelSpec:
    """Read a spec; DuendeError names the field that does not fit."""
    try:
        version: Any = msgspec.json.decode(text)
        found = version.get("format") if isinstance(version, dict) else None
        if isinstance(version, dict) and version.get("kind") == "waveform":
            raise DuendeError(f"{origin}: a capture, not a style: a slot of kind 'capture' plays it")
        if found != FORMAT:
            raise DuendeError(
                f"{origin}: model format {found!r}, this version of duende reads {FORMAT}; "
                f"make the model again or use a matching version"
            )
        return msgspec.json.decode(text, type=ModelSpec)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DuendeError(f"{origin}: the metadata {METADATA_KEY!r} is damaged: {error}") from error
