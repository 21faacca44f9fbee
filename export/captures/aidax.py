"""AIDA-X and RTNeural files: stacks of layers as Keras names them, or the tensors of a PyTorch module."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .fields import Field, Float32
from .nam import MAX_CHANNELS, MAX_DILATION, MAX_LAYERS, MAX_TAPS, RATES, affine
from .network import Activation, Affine, Capture, Conv, Knob, Layer, Recurrent, SelfTest, Source, Stack, Variant

DEFAULT_RATE = 48000
# AIDA-X runs so many zeros through a model before it is heard; RTNeural itself starts from zeros.
AIDAX_PREWARM = 2048
MAX_INPUTS = 9
MAX_TEST = 2**17
LOWEST_DB = -90.0
ACTIVATIONS = {
    "": (),
    "linear": (),
    "identity": (),
    "tanh": ("tanh",),
    "relu": ("relu",),
    "sigmoid": ("sigmoid",),
    "elu": ("elu",),
    "softmax": ("softmax",),
}
AIDAX_KEYS = ("in_skip", "in_gain", "out_gain", "metadata", "input_batch", "output_batch", "samplerate")
TYPES = "dense, time-distributed-dense, conv1d, lstm, gru, batchnorm, prelu and activation are read"
TORCH_EPSILON = 1e-5


def read_keras(root: Field, name: str, source: Callable[[str], Source]) -> Capture:
    """A capture from the object of an AIDA-X or RTNeural file; source: from "aidax" or "rtneural".

    DuendeError that names file and field for anything amiss.
    """
    ours = any(root.has(key) for key in AIDAX_KEYS)
    shape = root.at("in_shape").items(1, 3)
    inputs = shape[-1].integer(1, MAX_INPUTS)
    layers: list[Layer] = []
    channels = inputs
    for field in root.at("layers").items(1, MAX_LAYERS):
        made = _layer(field.object(), channels)
        layers += made
        channels = Stack(tuple(made), channels).outputs
        given = field.at("shape")
        if given.present and given.items(1, 3)[-1].integer(1, MAX_CHANNELS) != channels:
            raise given.wrong(f"{channels} channels come out of its weights")
    if channels != 1:
        raise root.at("layers").refuse(f"end in {channels} outputs: captures with one are played")
    stack = Stack(
        tuple(layers),
        inputs,
        skip=root.at("in_skip").flag(False),
        input_gain=_gain(root.at("in_gain")),
        output_gain=_gain(root.at("out_gain")),
        prewarm_samples=AIDAX_PREWARM if ours else 0,
    )
    about = root.at("metadata")
    notes = []
    rate = _rate(about.at("samplerate"), root.at("samplerate"), root.at("sample_rate"), about.at("sample_rate"))
    if rate is None:
        rate = DEFAULT_RATE
        notes.append(f"the file names no sample rate: {DEFAULT_RATE} Hz is assumed")
    tags = {key: text for key in ("style", "based", "source", "dataset") if (text := about.at(key).label())}
    esr = about.at("esr").figure(0.0, 1e6)
    if esr is not None:
        tags["esr"] = f"{esr:.4g}"
    return Capture(
        name=about.at("name").label() or name,
        architecture=architecture(stack),
        sample_rate=rate,
        variants=(Variant(1.0, stack),),
        source=source("aidax" if ours else "rtneural"),
        knobs=tuple(Knob(f"param{index}", 0.0) for index in range(1, inputs)),
        tags=tags,
        author=about.at("author").label(),
        licence=about.at("license").label() or about.at("licence").label(),
        self_test=_self_test(root),
        notes=tuple(notes),
    )


def architecture(stack: Stack) -> str:
    """LSTM or GRU for a stack with one such layer and a dense one behind it, else Stack."""
    kinds = [layer.kind for layer in stack.layers if isinstance(layer, Recurrent)]
    convs = [layer for layer in stack.layers if isinstance(layer, Conv) and layer.taps > 1]
    return kinds[0].upper() if kinds and len(set(kinds)) == 1 and not convs else "Stack"


def _rate(*fields: Field) -> int | None:
    """The first sample rate that is named, as a number or a text."""
    for field in fields:
        if field.present:
            rate = field.figure(*RATES)
            if rate is None or not rate.is_integer():
                raise field.wrong(f"{RATES[0]} to {RATES[1]}")
            return int(rate)
    return None


def _gain(field: Field) -> float:
    """A factor from dB; -90 dB and below are silence, as in AIDA-X."""
    level = field.number(-400.0, 100.0, 0.0)
    return 10.0 ** (level / 20.0) if level > LOWEST_DB else 0.0


def _self_test(root: Field) -> SelfTest | None:
    audio, output = root.at("input_batch"), root.at("output_batch")
    if not (audio.present and output.present):
        return None
    found = []
    for field in (audio, output):
        field.items(1, MAX_TEST)
        nested = isinstance(field.value[0], list)
        found.append(field.array(None, None)[:, 0] if nested else field.array(None))
    if len(found[0]) != len(found[1]):
        raise output.wrong(f"{len(found[0])} are wanted, as many as in input_batch")
    return SelfTest(found[0], found[1])


def _layer(field: Field, inputs: int) -> list[Layer]:
    kind = field.at("type").text().casefold()
    if kind not in LAYERS:
        raise field.at("type").wrong(TYPES)
    made = LAYERS[kind](field, inputs)
    # The activation of an LSTM or GRU is the cell's own, and is in it.
    return made if kind in ("lstm", "gru") else [*made, *_activation(field.at("activation"))]


def _activation(field: Field) -> list[Layer]:
    name = field.text("").casefold()
    if name not in ACTIVATIONS:
        raise field.wrong("tanh, relu, sigmoid, elu, softmax or none")
    return [Activation(kind, (1.0,) if kind == "elu" else ()) for kind in ACTIVATIONS[name]]


def _weights(field: Field, low: int, high: int) -> list[Field]:
    return field.at("weights").items(low, high)


def _dense(field: Field, inputs: int) -> list[Layer]:
    parts = _weights(field, 1, 2)
    kernel = parts[0].array(inputs, None)
    _narrow(parts[0], kernel.shape[1])
    bias = parts[1].array(kernel.shape[1]) if len(parts) == 2 else None
    return [Conv(np.ascontiguousarray(kernel.T)[:, :, None], bias)]


def _conv(field: Field, inputs: int) -> list[Layer]:
    parts = _weights(field, 1, 2)
    groups = field.at("groups").integer(1, MAX_CHANNELS, 1)
    strides = _one(field.at("strides"))
    if strides.integer(1, MAX_TAPS, 1) != 1:
        raise strides.wrong("1: a network that skips samples is not read")
    if inputs % groups:
        raise field.at("groups").wrong(f"a divisor of the {inputs} inputs")
    kernel = parts[0].array(None, inputs // groups, None)
    taps, _, outputs = kernel.shape
    _narrow(parts[0], outputs)
    if outputs % groups:
        raise field.at("groups").wrong(f"a divisor of the {outputs} outputs")
    size = _one(field.at("kernel_size"))
    if size.integer(1, MAX_TAPS, taps) != taps:
        raise size.wrong(f"its weights have {taps}")
    if taps > MAX_TAPS:
        raise parts[0].refuse(f"has {taps} taps: at most {MAX_TAPS}")
    dilation = _one(field.at("dilation")).integer(1, MAX_DILATION, 1)
    bias = parts[1].array(outputs) if len(parts) == 2 else None
    return [Conv(np.ascontiguousarray(kernel.transpose(2, 1, 0)), bias, dilation, groups)]


def _one(field: Field) -> Field:
    """The last member of a list, as RTNeural takes it, or the field itself."""
    return field.items(1, 2)[-1] if isinstance(field.value, list) else field


def _narrow(field: Field, channels: int) -> None:
    if channels > MAX_CHANNELS:
        raise field.refuse(f"makes {channels} channels: at most {MAX_CHANNELS}")


def _lstm(field: Field, inputs: int) -> list[Layer]:
    kernel, recurrent, bias = _weights(field, 3, 3)
    size = _hidden(recurrent, 4)
    # Keras and PyTorch both have the gates in the order i, f, g, o.
    return [
        lstm(
            kernel.array(inputs, 4 * size).T,
            recurrent.array(size, 4 * size).T,
            bias.array(4 * size),
        )
    ]


def _gru(field: Field, inputs: int) -> list[Layer]:
    kernel, recurrent, bias = _weights(field, 3, 3)
    size = _hidden(recurrent, 3)
    if isinstance(bias.value, list) and len(bias.value) == 3 * size:
        raise bias.refuse("is one row: a GRU whose reset gate comes first is not read (reset_after=False)")
    both = bias.array(2, 3 * size)
    return [gru(kernel.array(inputs, 3 * size).T, recurrent.array(size, 3 * size).T, both[0], both[1])]


def _hidden(recurrent: Field, gates: int) -> int:
    size = len(recurrent.items(1, MAX_CHANNELS))
    recurrent.array(size, gates * size)
    return size


def lstm(input_weight: Any, state_weight: Any, bias: Any) -> Recurrent:
    """An LSTM that starts from zeros; rows in blocks i, f, g, o."""
    size = state_weight.shape[1]
    zero = np.zeros(size, dtype=np.float32)
    weights = (np.ascontiguousarray(input_weight), np.ascontiguousarray(state_weight))
    return Recurrent("lstm", *weights, bias, np.zeros_like(bias), zero, zero)


def gru(input_weight: Any, state_weight: Any, bias: Any, state_bias: Any) -> Recurrent:
    """A GRU that starts from zeros; rows in blocks z, r, n."""
    zero = np.zeros(state_weight.shape[1], dtype=np.float32)
    weights = (np.ascontiguousarray(input_weight), np.ascontiguousarray(state_weight))
    return Recurrent("gru", *weights, bias, state_bias, zero, zero)


def _batchnorm(field: Field, inputs: int) -> list[Layer]:
    parts = [part.array(inputs) for part in _weights(field, 2, 4)]
    if len(parts) == 3:
        raise field.at("weights").wrong("2 or 4 rows: gamma and beta, then mean and variance")
    ones, zeros = np.ones(inputs, dtype=np.float32), np.zeros(inputs, dtype=np.float32)
    scale, shift, mean, variance = parts if len(parts) == 4 else (ones, zeros, *parts)
    epsilon = field.at("epsilon").number(0.0, 1e6, 1e-3)
    return [affine(field, mean, variance, epsilon, scale, shift)]


def _prelu(field: Field, inputs: int) -> list[Layer]:
    (part,) = _weights(field, 1, 1)
    nested = isinstance(part.value, list) and bool(part.value) and isinstance(part.value[0], list)
    slopes = part.array(None, None)[0] if nested else part.array(None)
    if len(slopes) not in (1, inputs):
        raise part.wrong(f"1 or {inputs} slopes are wanted")
    return [Activation("prelu", tuple(float(slope) for slope in np.broadcast_to(slopes, (inputs,))))]


LAYERS: dict[str, Callable[[Field, int], list[Layer]]] = {
    "dense": _dense,
    "time-distributed-dense": _dense,
    "timedistributed-dense": _dense,
    "conv1d": _conv,
    "lstm": _lstm,
    "gru": _gru,
    "batchnorm": _batchnorm,
    "prelu": _prelu,
    "activation": lambda field, inputs: [],
}


def read_torch(root: Field, name: str, source: Source) -> Capture:
    """A capture from PyTorch tensors by name (RTNeural's torch flavour): layers in the order in which they stand.

    Such a file names no activations: between its layers there are none.
    """
    groups: dict[str, dict[str, Field]] = {}
    for key in root.value:
        field = root.at(key)
        prefix, _, last = key.rpartition(".")
        if isinstance(field.value, list):
            groups.setdefault(prefix, {})[last] = field
    layers: list[Layer] = []
    channels = 0
    inputs = 0
    for prefix, tensors in groups.items():
        where = Field(root.at(prefix).value, prefix, root.file)
        made: Sequence[Layer]
        if any(re.fullmatch(r"weight_hh_l\d+", key) for key in tensors):
            made = recurrent_layers(where, tensors)
        else:
            made = [_torch_layer(where, tensors, channels)]
        for layer in made:
            given = layer.inputs if isinstance(layer, Conv | Recurrent) else channels
            if isinstance(layer, Affine) and len(layer.scale) != channels:
                given = len(layer.scale)
            if channels and given != channels:
                raise where.refuse(f"takes {given} channels, but {channels} arrive: the layers are not in their order")
            inputs = inputs or given
            channels = layer.outputs if isinstance(layer, Conv | Recurrent) else given
        layers += made
    if not layers or not 1 <= inputs <= MAX_INPUTS or channels != 1:
        raise root.refuse(f"layers take {inputs} inputs to {channels} outputs: captures with one output are played")
    stack = Stack(tuple(layers), inputs)
    return Capture(
        name=name,
        architecture=architecture(stack),
        sample_rate=DEFAULT_RATE,
        variants=(Variant(1.0, stack),),
        source=source,
        knobs=tuple(Knob(f"param{index}", 0.0) for index in range(1, inputs)),
        notes=(
            f"the file names no sample rate: {DEFAULT_RATE} Hz is assumed",
            "the file names no activations: none are between its layers",
        ),
    )


def _torch_layer(where: Field, tensors: dict[str, Field], channels: int) -> Layer:
    extra = set(tensors) - {"weight", "bias", "running_mean", "running_var"}
    if extra or "weight" not in tensors:
        raise where.refuse(f"has {', '.join(sorted(extra)) or 'no weight'}: weight and bias of a layer are read")
    weight = tensors["weight"]
    if "running_mean" in tensors and "running_var" in tensors:
        mean = tensors["running_mean"].array(None)
        scale, variance = weight.array(len(mean)), tensors["running_var"].array(len(mean))
        shift = tensors["bias"].array(len(mean)) if "bias" in tensors else np.zeros_like(mean)
        return affine(where, mean, variance, TORCH_EPSILON, scale, shift)
    depth, value = 0, weight.value
    while isinstance(value, list) and value and depth < 4:
        value, depth = value[0], depth + 1
    if depth == 1:
        slopes = weight.array(None)
        if len(slopes) not in (1, channels) or not channels:
            raise weight.wrong(f"slopes of {channels} channels are wanted")
        return Activation("prelu", tuple(float(slope) for slope in np.broadcast_to(slopes, (channels,))))
    if depth not in (2, 3):
        raise weight.wrong("a dense layer's rows, or a convolution's")
    kernel: Float32 = weight.array(None, None)[:, :, None] if depth == 2 else weight.array(None, None, None)
    outputs, part, taps = kernel.shape
    _narrow(weight, max(outputs, part))
    if taps > MAX_TAPS:
        raise weight.refuse(f"has {taps} taps: at most {MAX_TAPS}")
    count = channels // part if depth == 3 and channels and channels % part == 0 else 1
    if outputs % count:
        raise weight.refuse(f"has {outputs} outputs, which {count} groups do not divide")
    return Conv(kernel, tensors["bias"].array(outputs) if "bias" in tensors else None, 1, count)


def recurrent_layers(where: Field, tensors: dict[str, Field], wanted: str | None = None) -> list[Recurrent]:
    """The LSTM or GRU layers of one PyTorch module: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, then l1 ...

    wanted: "lstm" or "gru", or None to tell by the number of rows. Every tensor is used, or DuendeError names it.
    """
    layers: list[Recurrent] = []
    left = dict(tensors)
    while f"weight_hh_l{len(layers)}" in left:
        index = len(layers)
        if index >= MAX_LAYERS:
            raise where.refuse(f"has more than {MAX_LAYERS} layers")
        state = left.pop(f"weight_hh_l{index}").array(None, None)
        rows, size = state.shape
        kind = {4: "lstm", 3: "gru"}.get(rows // size if rows % size == 0 else 0)
        if kind is None or size > MAX_CHANNELS or wanted not in (None, kind):
            want = (
                f"{size} columns want {4 * size} rows in an LSTM, {3 * size} in a GRU; at most {MAX_CHANNELS} columns"
            )
            raise where.refuse(f"weight_hh_l{index} has {rows} rows: {want}")
        weight_field = left.pop(f"weight_ih_l{index}", None)
        if weight_field is None:
            raise where.refuse(f"weight_ih_l{index} is missing")
        given = layers[-1].outputs if layers else None
        weight = weight_field.array(rows, given)
        fields = [left.pop(f"bias_{part}_l{index}", None) for part in ("ih", "hh")]
        if fields.count(None) == 1:
            raise where.refuse(f"has one of bias_ih_l{index} and bias_hh_l{index}: both, or neither")
        biases = [np.zeros(rows, dtype=np.float32) if field is None else field.array(rows) for field in fields]
        if kind == "lstm":
            layers.append(lstm(weight, state, biases[0] + biases[1]))
        else:
            # PyTorch has the gates in the order r, z, n.
            order = np.r_[size : 2 * size, 0:size, 2 * size : 3 * size]
            layers.append(gru(weight[order], state[order], biases[0][order], biases[1][order]))
    if left:
        raise where.refuse(f"{min(left)} belongs to no layer of an LSTM or GRU")
    if not layers:
        raise where.refuse("has no weight_hh_l0")
    return layers
