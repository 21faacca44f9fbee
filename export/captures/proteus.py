"""Proteus and NeuralPi files: an LSTM or GRU with one dense layer, and up to two knobs, as PyTorch dumped it."""

import numpy as np

from .aidax import recurrent_layers
from .fields import Field
from .nam import MAX_CHANNELS, RATES
from .network import Capture, Conv, Knob, Source, Stack, Variant

# The plug-ins resample to it, and the files do not name it.
DEFAULT_RATE = 44100
KNOBS = ("drive", "tone")
KNOB_DEFAULT = 0.5


def read_proteus(root: Field, name: str, source: Source) -> Capture:
    """A capture from the object of a Proteus file; DuendeError that names file and field for anything amiss."""
    data, state = root.at("model_data").object(), root.at("state_dict").object()
    model = data.at("model").text("SimpleRNN")
    if model.casefold() != "simplernn":
        raise data.at("model").wrong("SimpleRNN is read")
    kind = data.at("unit_type").text("LSTM").casefold()
    if kind not in ("lstm", "gru"):
        raise data.at("unit_type").wrong("LSTM or GRU")
    data.at("output_size").integer(1, 1, 1)
    tensors: dict[str, Field] = {}
    rest: dict[str, Field] = {}
    for key in state.value:
        field = Field(state.value[key], f"state_dict.{key}", root.file)
        if key.startswith("rec."):
            tensors[key.removeprefix("rec.")] = field
        else:
            rest[key] = field
    layers = recurrent_layers(Field(state.value, "state_dict.rec", root.file), tensors, kind)
    size, inputs = layers[-1].outputs, layers[0].inputs
    for key, found, low, high in (
        ("num_layers", len(layers), 1, 64),
        ("hidden_size", size, 1, MAX_CHANNELS),
        ("input_size", inputs, 1, 1 + len(KNOBS)),
    ):
        given = data.at(key)
        if given.integer(low, high, found) != found:
            raise given.wrong(f"its weights have {found}")
    if not 1 <= inputs <= 1 + len(KNOBS):
        raise tensors["weight_ih_l0"].refuse(f"has {inputs} columns: 1 to {1 + len(KNOBS)}, the audio and the knobs")
    weight = rest.pop("lin.weight", Field(None, "state_dict.lin.weight", root.file)).array(1, size)
    bias_field = rest.pop("lin.bias", None)
    bias = None if bias_field is None else bias_field.array(1)
    if data.at("bias_fl").flag(False) and ("bias_ih_l0" not in tensors or bias is None):
        raise data.at("bias_fl").refuse("is true, but state_dict lacks a bias: the file is cut short")
    if rest:
        raise next(iter(rest.values())).refuse("belongs to no layer of this kind of network")
    stack = Stack((*layers, Conv(np.ascontiguousarray(weight)[:, :, None], bias)), inputs, data.at("skip").flag(True))
    rate = None
    for field in (data.at("sample_rate"), data.at("samplerate"), root.at("sample_rate"), root.at("samplerate")):
        rate = rate or (field.integer(*RATES) if field.present else None)
    notes = () if rate else (f"the file names no sample rate: {DEFAULT_RATE} Hz is assumed, as Proteus does",)
    about = root.at("metadata")
    return Capture(
        name=about.at("name").label() or name,
        architecture=kind.upper(),
        sample_rate=rate or DEFAULT_RATE,
        variants=(Variant(1.0, stack),),
        source=source,
        knobs=tuple(Knob(name, KNOB_DEFAULT) for name in KNOBS[: inputs - 1]),
        author=about.at("author").label(),
        licence=about.at("license").label() or about.at("licence").label(),
        notes=notes,
    )
