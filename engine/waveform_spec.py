"""What a capture's model file says of itself: the JSON under the metadata key `duende`, kind "waveform"."""

import msgspec

from .. import DuendeError
from .spec import FORMAT, METADATA_KEY, Control, Tensor

KIND = "waveform"
REFERENCE_LOUDNESS_DB = -18.0


class WaveformState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor carried from run to run: input `name`, output `name`_next, shape [channels, *shape].

    initial: how silence leaves it; of the state's shape, or with 1 in the places of axes along which all is equal.
    """

    name: str
    shape: list[int]
    initial: Tensor


class WaveformLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer of a plain WaveNet: act(conv(stream and condition)), whose output moves the stream.

    Constants of the graph: `prefix`conv [channels, channels + 1, taps], the condition last; `prefix`conv_bias;
    `prefix`out [channels or more, channels, 1] and `prefix`out_bias. state: of the convolution, "" where taps is 1.
    """

    prefix: str
    taps: int
    dilation: int
    state: str = ""


class WaveformArray(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An array of a plain WaveNet. Constants: `prefix`rechannel, `prefix`head and, where it has one, `prefix`head_bias.

    activation: "tanh", "relu", "leaky_relu" (with slope) or "sigmoid". head_channels: that the head gives;
    head_state: of its convolution, "" where it has 1 tap.
    """

    prefix: str
    channels: int
    activation: str
    slope: float
    head_channels: int
    head_state: str
    layers: list[WaveformLayer]


class WaveformLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a graph is, so that a quicker one can be made from its constants."""

    arrays: list[WaveformArray]


class WaveformVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One width of a capture: the one for a quality below `maximum`; the last is also the one for 1.

    output: name of its graph output [channels, 1, samples]. receptive_field_samples: how many samples of input, the
    newest included, an answer depends on; of a recurrent network, after how many it has forgotten all but a little.
    layout: of a plain WaveNet.
    """

    maximum: float
    output: str
    receptive_field_samples: int
    states: list[WaveformState]
    layout: WaveformLayout | None = None


class WaveformGolden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A short input and what a sound installation answers, from the initial states.

    audio [samples]; knobs [knobs], held; outputs: one [samples] for each variant.
    """

    audio: Tensor
    knobs: Tensor
    outputs: list[Tensor]


class WaveformProvenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a capture came from.

    format: of the file that it was made from ("nam", "proteus" ...); file: its name; sha256: of its bytes.
    notes:  plain sentences: what was assumed, what was left out.
    """

    format: str
    file: str
    sha256: str
    author: str = ""
    licence: str = ""
    date: str = ""
    made_with: str = ""
    notes: list[str] = []


class WaveformSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the engine must know to play a capture, and a person to choose one.

    knobs:       controls that the capture was trained with, 0 to 1, in the order of the graph's input `knobs`.
    loudness_db: RMS of its answer to pink noise of -15 dB, dB; None: unknown. loudness_measured: not by the file's
                 author but here, on a noise of our own.
    gain:        0..1, how much it compresses; None: unknown.
    input_level_dbu, output_level_dbu: dBu RMS of a 1 kHz sine that peaks at 0 dBFS; None: unknown.
    tags:        what its author says about the gear and the tone.
    """

    format: int
    kind: str
    name: str
    architecture: str
    sample_rate: float
    knobs: list[Control]
    variants: list[WaveformVariant]
    provenance: WaveformProvenance
    golden: WaveformGolden
    loudness_db: float | None = None
    loudness_measured: bool = False
    gain: float | None = None
    input_level_dbu: float | None = None
    output_level_dbu: float | None = None
    tags: dict[str, str] = {}
    quality: dict[str, float] = {}

    @property
    def receptive_field_samples(self) -> int:
        """Of the widest reaching variant."""
        return max(variant.receptive_field_samples for variant in self.variants)

    def encode(self) -> str:
        """As JSON text."""
        return msgspec.json.encode(self).decode("utf-8")


class _Head(msgspec.Struct):
    format: int
    kind: str


def decode_waveform_spec(text: str, origin: str) -> WaveformSpec:
    """Read a spec; DuendeError names the field that does not fit."""
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format != FORMAT:
            raise DuendeError(
                f"{origin}: model format {head.format!r}, this version of duende reads {FORMAT}; "
                f"import the capture again or use a matching version"
            )
        if head.kind != KIND:
            raise DuendeError(f"{origin}: a model of kind {head.kind!r}, not a capture")
        return msgspec.json.decode(text, type=WaveformSpec)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DuendeError(f"{origin}: the metadata {METADATA_KEY!r} is damaged: {error}") from error


def waveform_controls(spec: WaveformSpec) -> list[Control]:
    """What the player may change in a capture's slot: its own knobs first, then levels, then its quality."""
    controls = list(spec.knobs)
    controls.append(Control("input", "dB", -24.0, 24.0, 0.0, "decibel"))
    controls.append(Control("output", "dB", -24.0, 24.0, 0.0, "decibel"))
    if spec.loudness_db is not None:
        controls.append(Control("normalize", "", 0.0, 1.0, 1.0))
    if spec.input_level_dbu is not None:
        controls.append(Control("calibrate", "", 0.0, 1.0, 0.0))
        controls.append(Control("interface", "dBu", -20.0, 40.0, 12.0, "decibel"))
    if len(spec.variants) > 1:
        controls.append(Control("quality", "", 0.0, 1.0, 1.0))
    return controls
