"""The .nam format of Neural Amp Modeler, file versions 0.5.0 to 0.7.x, every architecture that NAM Core plays.

The layout is that of NAM Core (github.com/sdatkinson/NeuralAmpModelerCore), which is what people hear: where the
trainer and Core disagree, Core is followed. Weights are consumed to the last number, or the file is refused.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import DuendeError
from .fields import Field
from .network import (
    Activation,
    Affine,
    Capture,
    Conv,
    Film,
    Films,
    Knob,
    Layer,
    Network,
    Recurrent,
    Source,
    Stack,
    Variant,
    WaveNet,
    WaveNetArray,
    WaveNetLayer,
)
from .weights import Weights

OLDEST, NEWEST = (0, 5), (0, 7)
DEFAULT_RATE = 48000
RATES = (8000, 384000)
MAX_CHANNELS = 1024
MAX_LAYERS = 256
MAX_ARRAYS = 32
MAX_TAPS = 4096
MAX_DILATION = 2**17
MAX_RESPONSE = 2**16
MAX_INPUTS = 9
MAX_VARIANTS = 16
MAX_CONDITIONS = 4
# A recurrent network is prewarmed in whole blocks of Core's tool `render`.
CORE_BLOCK = 64

SIMPLE = {
    "tanh": "tanh",
    "fasttanh": "fast_tanh",
    "hardtanh": "hard_tanh",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "hardswish": "hard_swish",
    "softsign": "softsign",
}
ACTIVATION_NAMES = (
    "Tanh, Fasttanh, Hardtanh, ReLU, LeakyReLU, PReLU, Sigmoid, SiLU, Hardswish, LeakyHardtanh or Softsign"
)
FILM_NOTE = "layer1x1_post_film is left out where NAM Core leaves it out, outside blended layers"
INACTIVE_NOTE = "layers without layer1x1 add nothing to their stream, as in NAM Core (the trainer would)"
FILMS = {
    "conv_pre": "conv_pre_film",
    "conv_post": "conv_post_film",
    "mixin_pre": "input_mixin_pre_film",
    "mixin_post": "input_mixin_post_film",
    "activation_pre": "activation_pre_film",
    "activation_post": "activation_post_film",
    "layer1x1_post": "layer1x1_post_film",
    "head1x1_post": "head1x1_post_film",
}


@dataclass(frozen=True)
class Model:
    """One model object read: its network, what it is called, its rate (None where it does not say)."""

    network: Network
    architecture: str
    rate: int | None
    notes: tuple[str, ...]


def read_nam(root: Field, name: str, source: Source, weights: Weights | None = None) -> Capture:
    """A capture from the object of a .nam file; DuendeError that names file and field for anything amiss.

    weights: those of the old directory form, whose file has none; any 0.x version is then taken.
    """
    notes: list[str] = []
    if weights is None:
        _version(root.at("version"))
    else:
        notes = [f"the old directory form of NAM ({root.at('version').label() or 'no version'}), read as 0.5.0"]
    container = _architecture(root) == "slimmablecontainer"
    if container:
        variants, models = _container(root)
    else:
        models = [_model(root, weights, 0)]
        variants = (Variant(1.0, models[0].network),)
    for model in models:
        notes += model.notes
    rate = _rate(root) or models[-1].rate
    if rate is None:
        rate = DEFAULT_RATE
        notes.append(f"the file names no sample rate: {DEFAULT_RATE} Hz is assumed, as NAM does")
    network = models[-1].network
    if network.outputs != 1:
        raise root.at("config").refuse(f"has {network.outputs} outputs: captures with one are played")
    knobs = tuple(Knob(f"input{index + 1}", 0.0) for index in range(1, network.inputs))
    if knobs:
        notes.append(f"the network has {network.inputs} inputs: beyond the audio they are played as knobs, 0 to 1")
    metadata = [root.at("metadata")]
    if container:
        metadata.append(root.at("config").at("submodels").items(1, MAX_VARIANTS)[-1].at("model").at("metadata"))
    about = _About(metadata)
    return Capture(
        name=about.label("name") or name,
        architecture=models[-1].architecture,
        sample_rate=rate,
        variants=variants,
        source=source,
        knobs=knobs,
        loudness_db=about.figure("loudness", -150.0, 60.0),
        gain=about.figure("gain", 0.0, 1.0),
        input_level_dbu=about.figure("input_level_dbu", -60.0, 60.0),
        output_level_dbu=about.figure("output_level_dbu", -60.0, 60.0),
        tags=about.tags(),
        author=about.label("modeled_by"),
        licence=about.label("license") or about.label("licence"),
        date=about.date(),
        notes=tuple(dict.fromkeys(notes)),
    )


class _About:
    """The metadata, which only describes: whatever is missing, null, NaN or of a wrong kind is left out."""

    def __init__(self, objects: Sequence[Field]) -> None:
        self._objects = objects

    def label(self, key: str) -> str:
        return next((text for found in self._objects if (text := found.at(key).label())), "")

    def figure(self, key: str, low: float, high: float) -> float | None:
        for found in self._objects:
            value = found.at(key).figure(low, high)
            if value is not None:
                return value
        return None

    def tags(self) -> dict[str, str]:
        keys = ("gear_type", "gear_make", "gear_model", "tone_type")
        found = {key: text for key in keys if (text := self.label(key))}
        for metadata in self._objects:
            esr = metadata.at("training").at("validation_esr").figure(0.0, 1e6)
            if esr is not None:
                return found | {"esr": f"{esr:.4g}"}
        return found

    def date(self) -> str:
        for found in self._objects:
            date = found.at("date")
            year, month, day = (
                date.at(key).figure(low, high)
                for key, low, high in (("year", 1970, 9999), ("month", 1, 12), ("day", 1, 31))
            )
            if year is not None and month is not None and day is not None:
                return f"{year:04.0f}-{month:02.0f}-{day:02.0f}"
        return ""


def _version(field: Field) -> None:
    """DuendeError for a version of the format that is not read; any patch of a known minor is."""
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})(?:\D.{0,40})?", field.text() if field.present else "")
    if found is None:
        raise field.wrong('a text such as "0.5.4" is wanted')
    version = (int(found[1]), int(found[2]))
    if version < OLDEST:
        raise field.wrong("0.5.0 to 0.7 are read: let a newer NAM trainer write the file again")
    if version > NEWEST:
        raise field.wrong("newer than what is read here, 0.5.0 to 0.7: a newer duende may read it")


def _architecture(field: Field) -> str:
    return field.at("architecture").text().casefold()


def _rate(field: Field) -> int | None:
    rate = field.at("sample_rate")
    if not rate.present or (type(rate.value) in (int, float) and rate.value <= 0):
        return None
    return rate.integer(*RATES)


def _container(root: Field) -> tuple[tuple[Variant, ...], list[Model]]:
    weights = root.at("weights")
    if weights.present and weights.value != []:
        raise weights.wrong("a slimmable container has none of its own")
    rate = _rate(root)
    variants: list[Variant] = []
    models: list[Model] = []
    for entry in root.at("config").at("submodels").items(1, MAX_VARIANTS):
        field = entry.at("max_value")
        maximum = field.number(-1e9, 1e9)
        if variants and maximum <= variants[-1].maximum:
            raise field.wrong(f"more than {variants[-1].maximum:g}, that of the one before")
        inner = entry.at("model").object()
        if inner.has("version"):
            _version(inner.at("version"))
        model = _model(inner, None, 0)
        if rate is not None and model.rate not in (None, rate):
            raise inner.at("sample_rate").wrong(f"the container is for {rate} Hz")
        if models and model.network.inputs != models[0].network.inputs:
            raise inner.refuse(f"has {model.network.inputs} inputs, the first one {models[0].network.inputs}")
        if model.network.outputs != 1:
            raise inner.at("config").refuse(f"has {model.network.outputs} outputs: captures with one are played")
        rate = rate or model.rate
        variants.append(Variant(maximum, model.network))
        models.append(model)
    if variants[-1].maximum < 1.0:
        raise root.at("config").refuse(f"submodels: the last max_value is {variants[-1].maximum:g}: at least 1")
    return tuple(variants), models


def _model(field: Field, weights: Weights | None, depth: int) -> Model:
    """A model object: {architecture, config, weights}; depth: of conditions within one another."""
    field.object()
    config = field.at("config").object()
    cursor = Weights.of_list(field.at("weights")) if weights is None else weights
    rate = _rate(field)
    name = _architecture(field)
    if name == "wavenet":
        network, notes = _wavenet(config, cursor, rate, depth)
        return Model(network, "WaveNet", rate, notes)
    if name == "slimmablecontainer":
        raise field.at("architecture").wrong("a container is only read where it holds all the rest")
    if name not in READERS:
        want = "WaveNet, LSTM, ConvNet, Linear or SlimmableContainer"
        raise field.at("architecture").wrong(f"{want} are read")
    architecture, reader = READERS[name]
    stack = reader(config, cursor, rate)
    cursor.finish()
    return Model(stack, architecture, rate, ())


def _wavenet(config: Field, weights: Weights, rate: int | None, depth: int) -> tuple[WaveNet, tuple[str, ...]]:
    condition: Network | None = None
    notes: tuple[str, ...] = ()
    nested = config.at("condition_dsp")
    if nested.present:
        if depth >= MAX_CONDITIONS:
            raise nested.refuse(f"stands {depth + 1} deep within others: at most {MAX_CONDITIONS}")
        nested.object()
        if nested.has("version"):
            _version(nested.at("version"))
        inner = _model(nested, None, depth + 1)
        if inner.rate not in (None, rate):
            raise nested.at("sample_rate").wrong(f"the model around it is for {rate or 'an unnamed rate of'} Hz")
        condition, notes = inner.network, inner.notes
    fields = config.at("layers").items(1, MAX_ARRAYS)
    inputs = config.at("in_channels").integer(1, MAX_INPUTS, 1)
    if condition is not None and condition.inputs != inputs:
        raise nested.refuse(f"has {condition.inputs} inputs: in_channels is {inputs}")
    reader = _WaveNetReader(config, fields, inputs, inputs if condition is None else condition.outputs)
    network = reader.read(weights, condition)
    return network, notes + tuple(sorted(reader.notes))


@dataclass(frozen=True)
class _Head:
    outputs: int
    taps: int
    dilation: int
    bias: bool | None  # None: the file does not say


class _WaveNetReader:
    def __init__(self, config: Field, arrays: list[Field], inputs: int, condition: int) -> None:
        self._config = config
        self._arrays = arrays
        self._inputs = inputs
        self._condition = condition
        self.notes: set[str] = set()

    def read(self, weights: Weights, condition: Network | None) -> WaveNet:
        """The network; it has the head biases that the file does not name if the count of weights says so."""
        heads = [self._head(field) for field in self._arrays]
        unsaid = [index for index, head in enumerate(heads) if head.bias is None]
        guesses: list[set[int]] = [set()]
        if unsaid:
            guesses += [{unsaid[-1]}, set(unsaid)]
        failure: DuendeError | None = None
        for guess in guesses:
            trial = weights.again()
            biases = [index in guess if head.bias is None else head.bias for index, head in enumerate(heads)]
            try:
                return self._network(trial, heads, biases, condition)
            except DuendeError as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def _network(self, weights: Weights, heads: list[_Head], biases: list[bool], condition: Network | None) -> WaveNet:
        arrays: list[WaveNetArray] = []
        for field, head, bias in zip(self._arrays, heads, biases, strict=True):
            arrays.append(self._array(field, weights, head, bias, arrays[-1] if arrays else None))
        post = self._post(self._config.at("head"), weights, arrays[-1].head.outputs)
        scale = float(weights.take("head_scale", 1)[0])
        weights.finish()
        return WaveNet(tuple(arrays), scale, post, condition)

    def _head(self, field: Field) -> _Head:
        head = field.at("head")
        if head.present:
            head.object()
            bias = head.at("bias")
            return _Head(
                head.at("out_channels").integer(1, MAX_CHANNELS),
                head.at("kernel_size").integer(1, MAX_TAPS, 1),
                (head.at("head_dilation") if head.has("head_dilation") else head.at("dilation")).integer(
                    1, MAX_DILATION, 1
                ),
                bias.flag() if bias.present else None,
            )
        bias = field.at("head_bias")
        return _Head(field.at("head_size").integer(1, MAX_CHANNELS), 1, 1, bias.flag() if bias.present else None)

    def _array(
        self, field: Field, weights: Weights, head: _Head, bias: bool, before: WaveNetArray | None
    ) -> WaveNetArray:
        field.object()
        inputs = field.at("input_size")
        given = self._inputs if before is None else before.rechannel.outputs
        if inputs.integer(1, MAX_CHANNELS) != given:
            raise inputs.wrong(f"{given}, as many as arrive here")
        condition = field.at("condition_size")
        if condition.integer(1, MAX_CHANNELS) != self._condition:
            raise condition.wrong(f"{self._condition}, the channels of the condition")
        channels = field.at("channels").integer(1, MAX_CHANNELS)
        bottleneck = field.at("bottleneck").integer(1, MAX_CHANNELS, channels)
        dilations = [item.integer(1, MAX_DILATION) for item in field.at("dilations").items(1, MAX_LAYERS)]
        taps = _kernel_sizes(field, len(dilations))
        activations = _per_layer(field.at("activation"), len(dilations))
        modes = _modes(field, len(dilations))
        gates = field.at("secondary_activation")
        gates_each = _per_layer(gates, len(dilations)) if gates.present and gates.value != "" else None
        _slimmable(field.at("slimmable"))
        rechannel = weights.conv(inputs, channels, given, 1, bias=False)
        layers = []
        for index, (dilation, size) in enumerate(zip(dilations, taps, strict=True)):
            gate = Activation()
            if modes[index] != "none":
                chosen = None if gates_each is None else gates_each[index]
                unsaid = chosen is None or not chosen.present or chosen.value == ""
                gate = Activation("sigmoid") if unsaid or chosen is None else _activation(chosen, bottleneck)
            layers.append(
                self._layer(
                    field,
                    weights,
                    (channels, bottleneck, size, dilation),
                    _activation(activations[index], bottleneck),
                    modes[index],
                    gate,
                )
            )
        first = layers[0]
        head_inputs = bottleneck if first.head1x1 is None else first.head1x1.outputs
        if before is not None and before.head.outputs != head_inputs:
            raise field.refuse(
                f"sums heads of {head_inputs} channels, but the head before it has {before.head.outputs}"
            )
        where = field.at("head") if field.has("head") else field.at("head_size")
        out = weights.conv(where, head.outputs, head_inputs, head.taps, bias=bias, dilation=head.dilation)
        return WaveNetArray(rechannel, tuple(layers), out)

    def _layer(
        self,
        field: Field,
        weights: Weights,
        sizes: tuple[int, int, int, int],
        activation: Activation,
        gating: str,
        gate: Activation,
    ) -> WaveNetLayer:
        channels, bottleneck, taps, dilation = sizes
        wide = bottleneck if gating == "none" else 2 * bottleneck
        groups = field.at("groups_input")
        conv = weights.conv(
            groups,
            wide,
            channels,
            taps,
            bias=True,
            dilation=dilation,
            groups=groups.integer(1, MAX_CHANNELS, 1),
        )
        groups = field.at("groups_input_mixin")
        mixin = weights.conv(groups, wide, self._condition, 1, bias=False, groups=groups.integer(1, MAX_CHANNELS, 1))
        inner, outer = field.at("layer1x1"), field.at("head1x1")
        layer1x1 = head1x1 = None
        if not inner.present or inner.at("active").flag(True):
            count = inner.at("groups").integer(1, MAX_CHANNELS, 1)
            layer1x1 = weights.conv(inner, channels, bottleneck, 1, bias=True, groups=count)
        if outer.present and outer.at("active").flag(False):
            outputs = outer.at("out_channels").integer(1, MAX_CHANNELS, channels)
            count = outer.at("groups").integer(1, MAX_CHANNELS, 1)
            head1x1 = weights.conv(outer, outputs, bottleneck, 1, bias=True, groups=count)
        widths = {
            "conv_pre": channels,
            "conv_post": wide,
            "mixin_pre": self._condition,
            "mixin_post": wide,
            "activation_pre": wide,
            "activation_post": bottleneck,
            "layer1x1_post": None if layer1x1 is None else channels,
            "head1x1_post": None if head1x1 is None else head1x1.outputs,
        }
        films = {place: self._film(field.at(FILMS[place]), weights, width) for place, width in widths.items()}
        if gating != "blended" and films["layer1x1_post"] is not None:
            films["layer1x1_post"] = None
            self.notes.add(FILM_NOTE)
        if layer1x1 is None:
            self.notes.add(INACTIVE_NOTE)
        return WaveNetLayer(conv, mixin, activation, gating, gate, layer1x1, head1x1, Films(**films))

    def _film(self, field: Field, weights: Weights, width: int | None) -> Film | None:
        if not field.present or field.value is False:
            return None
        if field.value is not True:
            field.object()
        if not field.at("active").flag(True):
            return None
        if width is None:
            raise field.refuse("is active, but what it modulates is not")
        shift = field.at("shift").flag(True)
        groups = field.at("groups").integer(1, MAX_CHANNELS, 1)
        outputs = 2 * width if shift else width
        return Film(weights.conv(field, outputs, self._condition, 1, bias=True, groups=groups), shift)

    def _post(self, field: Field, weights: Weights, inputs: int) -> tuple[tuple[Activation, Conv], ...]:
        if not field.present:
            return ()
        field.object()
        given = field.at("in_channels")
        if given.present and given.integer(1, MAX_CHANNELS) != inputs:
            raise given.wrong(f"{inputs}, the channels of the last layer array's head")
        outputs = field.at("out_channels").integer(1, MAX_CHANNELS)
        taps = [item.integer(1, MAX_TAPS) for item in field.at("kernel_sizes").items(1, MAX_LAYERS)]
        channels = outputs if len(taps) == 1 else field.at("channels").integer(1, MAX_CHANNELS)
        pairs = []
        for index, size in enumerate(taps):
            activation = _activation(field.at("activation"), inputs)
            wide = outputs if index == len(taps) - 1 else channels
            pairs.append((activation, weights.conv(field, wide, inputs, size, bias=True)))
            inputs = wide
        return tuple(pairs)


def _kernel_sizes(field: Field, layers: int) -> list[int]:
    one, each = field.at("kernel_size"), field.at("kernel_sizes")
    if one.present and each.present:
        raise each.refuse("stands beside kernel_size: one of the two")
    if each.present or isinstance(one.value, list):
        sizes = (each if each.present else one).items(1, MAX_LAYERS)
        if len(sizes) != layers:
            raise (each if each.present else one).wrong(f"{layers} are wanted, one per dilation")
        return [item.integer(1, MAX_TAPS) for item in sizes]
    return [one.integer(1, MAX_TAPS)] * layers


def _per_layer(field: Field, layers: int) -> list[Field]:
    """The field of every layer: one for all, or a list with one each."""
    if not isinstance(field.value, list):
        return [field] * layers
    if len(field.value) != layers:
        raise field.wrong(f"{layers} are wanted, one per dilation")
    return field.items(1, MAX_LAYERS)


def _modes(field: Field, layers: int) -> list[str]:
    mode = field.at("gating_mode")
    if not mode.present:
        return ["gated" if field.at("gated").flag(False) else "none"] * layers
    found = []
    for item in _per_layer(mode, layers):
        text = item.text("none").casefold()
        if text not in ("none", "gated", "blended"):
            raise item.wrong("none, gated or blended")
        found.append(text)
    return found


def _slimmable(field: Field) -> None:
    """At full width nothing is to be done; a method that nobody knows might mean something else."""
    if isinstance(field.value, dict) and field.has("method"):
        method = field.at("method")
        if method.text() not in ("slice_channels_uniform", ""):
            raise method.wrong("slice_channels_uniform is known")


def _activation(field: Field, channels: int) -> Activation:
    """An activation by name, or an object with its parameters, for that many channels."""
    kind = field
    if isinstance(field.value, dict):
        kind = field.at("type") if field.has("type") else field.at("name")
    name = kind.text().casefold().replace("_", "")
    if name in SIMPLE:
        return Activation(SIMPLE[name])
    if name == "leakyrelu":
        return Activation("leaky_relu", (field.at("negative_slope").number(-1e3, 1e3, 0.01),))
    if name == "prelu":
        slopes = field.at("negative_slopes")
        if not slopes.present:
            return Activation("leaky_relu", (field.at("negative_slope").number(-1e3, 1e3, 0.01),))
        each = [item.number(-1e3, 1e3) for item in slopes.items(1, MAX_CHANNELS)]
        if len(each) not in (1, channels):
            raise slopes.wrong(f"{channels} are wanted, one per channel")
        return Activation("prelu", tuple(each) if len(each) == channels else tuple(each) * channels)
    if name == "leakyhardtanh":
        low, high = field.at("min_val").number(-1e6, 1e6, -1.0), field.at("max_val").number(-1e6, 1e6, 1.0)
        if low > high:
            raise field.at("min_val").wrong(f"at most max_val, {high:g}")
        slopes_at = (field.at("min_slope").number(-1e3, 1e3, 0.01), field.at("max_slope").number(-1e3, 1e3, 0.01))
        return Activation("leaky_hard_tanh", (low, high, *slopes_at))
    raise kind.wrong(f"{ACTIVATION_NAMES} is wanted")


def _lstm(config: Field, weights: Weights, rate: int | None) -> Stack:
    inputs = config.at("input_size").integer(1, MAX_INPUTS, config.at("in_channels").integer(1, MAX_INPUTS, 1))
    channels = config.at("in_channels")
    if channels.present and channels.integer(1, MAX_INPUTS) != inputs:
        raise channels.wrong(f"{inputs}, as input_size")
    size = config.at("hidden_size").integer(1, MAX_CHANNELS)
    outputs = config.at("out_channels").integer(1, MAX_CHANNELS, 1)
    layers: list[Layer] = []
    given = inputs
    for index in range(config.at("num_layers").integer(1, MAX_LAYERS)):
        what = f"layer {index + 1} of num_layers"
        both = weights.take(what, 4 * size, given + size)
        bias = weights.take(what, 4 * size)
        state, cell = weights.take(what, size), weights.take(what, size)
        layers.append(Recurrent("lstm", both[:, :given], both[:, given:], bias, np.zeros_like(bias), state, cell))
        given = size
    head = weights.take("the head", outputs, size, 1)
    layers.append(Conv(head, weights.take("the head", outputs)))
    warm = CORE_BLOCK if rate is None else math.ceil(int(0.5 * rate) / CORE_BLOCK) * CORE_BLOCK
    return Stack(tuple(layers), inputs, prewarm_samples=warm)


def _convnet(config: Field, weights: Weights, _rate: int | None) -> Stack:
    inputs = config.at("in_channels").integer(1, MAX_INPUTS, 1)
    outputs = config.at("out_channels").integer(1, MAX_CHANNELS, 1)
    channels = config.at("channels").integer(1, MAX_CHANNELS)
    groups = config.at("groups")
    dilations = [item.integer(1, MAX_DILATION) for item in config.at("dilations").items(1, MAX_LAYERS)]
    normalised = config.at("batchnorm").flag()
    activation = _activation(config.at("activation"), channels)
    layers: list[Layer] = []
    given = inputs
    for index, dilation in enumerate(dilations):
        where = groups if groups.present else Field(None, f"{config.path}.dilations[{index}]", config.file)
        count = groups.integer(1, MAX_CHANNELS, 1)
        layers.append(weights.conv(where, channels, given, 2, bias=not normalised, dilation=dilation, groups=count))
        if normalised:
            mean, variance, scale, shift = (
                weights.take(f"batch normalisation {index + 1}", channels) for _ in range(4)
            )
            epsilon = float(weights.take(f"batch normalisation {index + 1}", 1)[0])
            layers.append(affine(config.at("batchnorm"), mean, variance, epsilon, scale, shift))
        layers.append(activation)
        given = channels
    head = weights.take("the head", outputs, channels, 1)
    layers.append(Conv(head, weights.take("the head", outputs)))
    return Stack(tuple(layers), inputs, prewarm_samples=1 + sum(dilations))


def affine(field: Field, mean: Any, variance: Any, epsilon: float, scale: Any, shift: Any) -> Affine:
    """A batch normalisation at rest as one scale and shift; DuendeError for a variance below 0."""
    spread = np.asarray(variance, dtype=np.float64) + epsilon
    if not (spread > 0.0).all():
        raise field.refuse(f"has a variance of {spread.min():g}: more than 0")
    factor = np.asarray(scale, dtype=np.float64) / np.sqrt(spread)
    offset = np.asarray(shift, dtype=np.float64) - factor * mean
    with np.errstate(over="ignore"):
        found = Affine(factor.astype(np.float32), offset.astype(np.float32))
    if not (np.isfinite(found.scale).all() and np.isfinite(found.shift).all()):
        raise field.refuse("scales beyond what float32 can hold")
    return found


def _linear(config: Field, weights: Weights, _rate: int | None) -> Stack:
    for key in ("in_channels", "out_channels"):
        config.at(key).integer(1, 1, 1)
    taps = config.at("receptive_field")
    if taps.present and type(taps.value) in (int, float) and taps.value > MAX_RESPONSE:
        raise taps.wrong(f"1 to {MAX_RESPONSE}; a response as long as this plays better as a cabinet")
    count = taps.integer(1, MAX_RESPONSE)
    # Core reads an impulse response: the first number meets the newest sample.
    response = weights.take(taps.path, 1, 1, count)[:, :, ::-1].copy()
    bias = weights.take("bias", 1) if config.at("bias").flag(False) else None
    return Stack((Conv(response, bias),), 1, prewarm_samples=count)


READERS: dict[str, tuple[str, Callable[[Field, Weights, int | None], Stack]]] = {
    "lstm": ("LSTM", _lstm),
    "convnet": ("ConvNet", _convnet),
    "linear": ("Linear", _linear),
}
