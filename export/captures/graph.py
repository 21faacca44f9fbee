"""A capture as a streaming ONNX graph with explicit states, written node by node; needs onnx and numpy, not torch.

Signals are [channels, width, samples]. Where a WaveNet's condition can be carried along, it is a further row of the
residual stream, so that mixin and dilated convolution are one Conv; the heads of an array are summed by one wide Conv.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from ... import DuendeError, __version__
from ...engine.graph_check import make_session
from ...engine.spec import FORMAT, METADATA_KEY, OPSET, Control, Tensor
from ...engine.waveform_model import MAX_TEXT, RESERVED_KNOBS, part_of
from ...engine.waveform_spec import (
    KIND,
    WaveformArray,
    WaveformGolden,
    WaveformLayer,
    WaveformLayout,
    WaveformProvenance,
    WaveformSpec,
    WaveformState,
    WaveformVariant,
)
from ..graph import Builder
from .network import (
    Activation,
    Affine,
    Capture,
    Conv,
    Film,
    Layer,
    Network,
    Recurrent,
    Stack,
    Variant,
    WaveNet,
    WaveNetArray,
    WaveNetLayer,
)

Float32 = npt.NDArray[np.float32]

GOLDEN_SAMPLES = 256
RECURRENT_MEMORY_S = 0.25
SELF_TEST_TOLERANCE = 1e-4
LOUDNESS_RMS = 0.1785
FAST_TANH = (2.45550750702956, 0.893229853513558, 0.821226666969744, 2.44506634652299, 0.814642734961073)


class _Graph(Builder):
    """Collects the nodes of all variants, and the states of the one that is being written."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self.prefix = ""
        self.states: list[tuple[str, list[int], Float32]] = []
        self.arrays: list[WaveformArray] = []

    def fresh(self, hint: str) -> str:
        """A name that no other node or constant has."""
        self._count += 1
        return f"{self.prefix}{hint}_{self._count}"

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One node with one output."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, self.fresh(f"n_{kind.lower()}"), **attributes))
        return names

    def value(self, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        return self.constant(self.fresh("k"), array, dtype)

    def state(self, shape: Sequence[int], initial: npt.ArrayLike = 0.0) -> str:
        """A carried tensor [channels, *shape], from `initial` before the prewarming; its next value is `leave`d."""
        name = f"{self.prefix}state{len(self.states)}"
        self.states.append((name, list(shape), np.broadcast_to(np.asarray(initial, dtype=np.float32), shape).copy()))
        return name

    def newest_state(self, conv: Conv) -> str:
        """The state of a convolution that was written last, if it has one."""
        return self.states[-1][0] if conv.taps > 1 else ""

    def leave(self, state: str, source: str, kind: str = "", *inputs: str) -> None:
        """The next value of a state: what node `kind` makes of source."""
        output = f"{state}_next"
        self.nodes.append(helper.make_node(kind, [source, *inputs], [output], f"n_{output}"))

    def conv(
        self, x: str, weight: Float32, bias: Float32 | None, dilation: int = 1, groups: int = 1, name: str = ""
    ) -> str:
        """A causal convolution [outputs, inputs / groups, taps] of a signal, its past in a state of its own.

        name: of the constant that holds the weight; `name`_bias of the bias.
        """
        taps, width = weight.shape[2], weight.shape[1] * groups
        past = (taps - 1) * dilation
        if past:
            state = self.state([width, past])
            x = self.op("Concat", [state, x], axis=2)
            bounds = [self.value([bound], np.int64) for bound in (-past, np.iinfo(np.int64).max, 2)]
            self.leave(state, x, "Slice", *bounds)
        if name:
            inputs = [x, self.constant(name, weight)]
            inputs += [] if bias is None else [self.constant(f"{name}_bias", bias)]
        else:
            inputs = [x, self.value(weight)] + ([] if bias is None else [self.value(bias)])
        return self.op("Conv", inputs, dilations=[dilation], group=groups, kernel_shape=[taps])

    def convolve(self, x: str, conv: Conv, name: str = "") -> str:
        return self.conv(x, conv.weight, conv.bias, conv.dilation, conv.groups, name)

    def scale(self, x: str, factor: float) -> str:
        return x if factor == 1.0 else self.op("Mul", [x, self.value(np.float32(factor))])

    def rows(self, x: str, sizes: Sequence[int]) -> list[str]:
        """A signal cut into groups of rows."""
        return self.ops("Split", [x, self.value(sizes, np.int64)], len(sizes), axis=1)


def convert(capture: Capture) -> bytes:
    """A capture as the bytes of a model file: graph, prewarmed states, golden pair and all that is known of it.

    Loudness is measured where the file does not say. DuendeError where the graph does not answer a self test that came
    with the capture, or answers with what is no number.
    """
    graph = _Graph()
    built = [(*_variant(graph, place, variant, capture), variant) for place, variant in enumerate(capture.variants)]
    if capture.self_test is not None:
        _self_test(capture)
    model = _model(graph, [state for states, _, _ in built for state in states], len(built), len(capture.knobs))
    knobs = _knobs(capture)
    audio = golden_audio()
    held = np.array([knob.default for knob in knobs], dtype=np.float32)
    variants, answers = [], []
    loudness = capture.loudness_db
    for place, (states, layout, variant) in enumerate(built):
        field = _field(variant.network, capture)
        bare = WaveformVariant(variant.maximum, f"output{place}", field, [], layout)
        named = [WaveformState(name, shape, Tensor.pack(initial)) for name, shape, initial in states]
        session = make_session(
            part_of(model, _with(bare, named)).SerializeToString(), capture.source.file or capture.name
        )
        warm = _prewarmed(session, bare, named, variant.network, held)
        variants.append(_with(bare, warm))
        answers.append(_answer(session, variants[-1], audio, held))
        if not np.isfinite(answers[-1]).all():
            raise DuendeError(f"{capture.name}: answers with what is no number: the capture is damaged")
        if loudness is None and place == len(built) - 1:
            loudness = _loudness(session, variants[-1], held, capture.sample_rate)
    spec = WaveformSpec(
        format=FORMAT,
        kind=KIND,
        name=capture.name[:200] or "capture",
        architecture=capture.architecture,
        sample_rate=float(capture.sample_rate),
        knobs=knobs,
        variants=variants,
        provenance=WaveformProvenance(
            format=capture.source.format,
            file=capture.source.file[:MAX_TEXT],
            sha256=capture.source.sha256,
            author=capture.author[:MAX_TEXT],
            licence=capture.licence[:MAX_TEXT],
            date=capture.date[:MAX_TEXT],
            made_with=f"duende {__version__}",
            notes=[note[:MAX_TEXT] for note in capture.notes[:64]],
        ),
        golden=WaveformGolden(Tensor.pack(audio), Tensor.pack(held), [Tensor.pack(answer) for answer in answers]),
        loudness_db=loudness,
        loudness_measured=capture.loudness_db is None and loudness is not None,
        gain=capture.gain,
        input_level_dbu=capture.input_level_dbu,
        output_level_dbu=capture.output_level_dbu,
        tags={key[:MAX_TEXT]: value[:MAX_TEXT] for key, value in list(capture.tags.items())[:32]},
    )
    helper.set_model_props(model, {METADATA_KEY: spec.encode()})
    return bytes(model.SerializeToString())


def golden_audio() -> Float32:
    """A short decaying tone with noise [GOLDEN_SAMPLES]: loud enough to be bent."""
    time = np.arange(GOLDEN_SAMPLES)
    noise = np.random.default_rng(1).standard_normal(GOLDEN_SAMPLES)
    tone = np.sin(2.0 * np.pi * time / 57.0) + 0.5 * np.sin(2.0 * np.pi * time / 13.7)
    return np.asarray(0.3 * np.exp(-time / 200.0) * tone + 0.02 * noise, dtype=np.float32)


# -- the parts of a file ---------------------------------------------------------------------------------------------


def _variant(
    graph: _Graph, place: int, variant: Variant, capture: Capture
) -> tuple[list[tuple[str, list[int], Float32]], WaveformLayout | None]:
    """Write one variant; returns its states before the prewarming, and its layout if it is a plain WaveNet."""
    graph.prefix, graph.states, graph.arrays = f"v{place}/", [], []
    network = variant.network
    source = "audio"
    if capture.knobs:
        source = graph.op("Concat", ["audio", "knobs"], axis=1)
    out = _network(graph, network, source)
    # A graph output has one name, whatever made it.
    graph.nodes.append(helper.make_node("Sum", [out], [f"output{place}"], f"n_output{place}"))
    plain = isinstance(network, WaveNet) and len(graph.arrays) == len(network.arrays) and not network.post
    return graph.states, WaveformLayout(graph.arrays) if plain else None


def _model(
    graph: _Graph, states: Sequence[tuple[str, list[int], Float32]], variants: int, knobs: int
) -> onnx.ModelProto:
    def port(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["channels", *shape])

    inputs = [port("audio", [1, "samples"])]
    if knobs:
        inputs.append(port("knobs", [knobs, "samples"]))
    outputs = [port(f"output{place}", [1, "samples"]) for place in range(variants)]
    for name, shape, _ in states:
        inputs.append(port(name, shape))
        outputs.append(port(f"{name}_next", shape))
    nodes, constants = _needed(graph, [port.name for port in outputs])
    whole = helper.make_graph(nodes, "duende", inputs, outputs, constants)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _needed(graph: _Graph, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes and constants that outputs depend on: what leads nowhere, like the last layer's stream, is left out."""
    used, kept = set(outputs), list[onnx.NodeProto]()
    for node in reversed(graph.nodes):
        if any(output in used for output in node.output):
            used.update(node.input)
            kept.append(node)
    return kept[::-1], [constant for constant in graph.constants if constant.name in used]


def _knobs(capture: Capture) -> list[Control]:
    """The capture's knobs under names that no other parameter of a slot has."""
    found: list[Control] = []
    for knob in capture.knobs:
        name = knob.name
        while name in RESERVED_KNOBS or name in {control.name for control in found}:
            name += "-knob"
        found.append(Control(name, "", 0.0, 1.0, knob.default))
    return found


def _field(network: Network, capture: Capture) -> int:
    """Samples that an answer depends on; of a recurrent network, its memory for all but a little."""
    recurrent = round(RECURRENT_MEMORY_S * capture.sample_rate) if _is_recurrent(network) else 0
    return network.receptive_field_samples + recurrent


def _is_recurrent(network: Network) -> bool:
    if isinstance(network, WaveNet):
        return network.condition is not None and _is_recurrent(network.condition)
    return network.recurrent


def _with(variant: WaveformVariant, states: list[WaveformState]) -> WaveformVariant:
    return msgspec.structs.replace(variant, states=states)


def _run(
    session: Any, outputs: Sequence[str], variant: WaveformVariant, audio: Float32, held: Float32
) -> list[Float32]:
    feeds = {"audio": audio[None, None]}
    if len(held):
        feeds["knobs"] = np.repeat(held[None, :, None], len(audio), axis=2)
    for state in variant.states:
        feeds[state.name] = np.broadcast_to(state.initial.unpack(), (1, *state.shape)).astype(np.float32)
    known = {port.name for port in session.get_inputs()}
    return list(session.run(list(outputs), {k: v for k, v in feeds.items() if k in known}))


def _answer(session: Any, variant: WaveformVariant, audio: Float32, held: Float32) -> Float32:
    return np.asarray(_run(session, [variant.output], variant, audio, held)[0][0, 0])


def _prewarmed(
    session: Any, bare: WaveformVariant, states: list[WaveformState], network: Network, held: Float32
) -> list[WaveformState]:
    """The states as zeros leave them, as many as the network's own player plays before the first sample."""
    left, current = network.prewarm_samples, states
    while left > 0:
        count = min(left, 8192)
        names = [f"{state.name}_next" for state in current]
        if not names:
            break
        after = _run(session, names, _with(bare, current), np.zeros(count, dtype=np.float32), held)
        current = [
            WaveformState(state.name, state.shape, Tensor.pack(value[0]))
            for state, value in zip(current, after, strict=True)
        ]
        left -= count
    return [WaveformState(state.name, state.shape, _compact(state.initial)) for state in current]


def _compact(initial: Tensor) -> Tensor:
    """Without the axis of time, where silence has left the same in all of it."""
    values = initial.unpack()
    if values.ndim == 2 and values.shape[1] > 1:
        last = values[:, -1:]
        if np.abs(values - last).max() <= 1e-6 * max(1e-3, float(np.abs(last).max())):
            return Tensor.pack(last)
    return initial


def _self_test(capture: Capture) -> None:
    """The pair that came with a file, from states of 0, without gains."""
    test = capture.self_test
    assert test is not None
    plain = capture.variants[-1].network
    if isinstance(plain, Stack):
        plain = dataclasses.replace(plain, input_gain=1.0, output_gain=1.0)
    graph = _Graph()
    states, _ = _variant(graph, 0, Variant(1.0, plain), capture)
    model = _model(graph, states, 1, len(capture.knobs))
    session = make_session(model.SerializeToString(), capture.source.file or capture.name)
    named = [WaveformState(name, shape, Tensor.pack(np.zeros(shape))) for name, shape, _ in states]
    held = np.zeros(len(capture.knobs), dtype=np.float32)
    answer = _answer(session, WaveformVariant(1.0, "output0", 1, named), test.audio.astype(np.float32), held)
    error = float(np.abs(answer - test.output).max())
    bound = SELF_TEST_TOLERANCE * max(1.0, float(np.abs(test.output).max()))
    if not error <= bound:
        raise DuendeError(
            f"{capture.source.file}: its own self test is missed by {error:.2g} ({bound:.2g} allowed): its weights "
            f"and its output_batch do not belong together; ask its author for a whole file"
        )


def _loudness(session: Any, variant: WaveformVariant, held: Float32, rate: int) -> float | None:
    """RMS in dB of the answer to a noise of our own; None where it is silent."""
    answer = _answer(session, variant, loudness_phrase(rate), held)
    power = float(np.mean(answer.astype(np.float64) ** 2))
    return round(10.0 * float(np.log10(power)), 2) if power > 1e-20 else None


def loudness_phrase(rate: int) -> Float32:
    """A second of pink noise from 20 Hz to 20 kHz: as NAM's trainer measures loudness by one, of the same RMS."""
    hertz = np.fft.rfftfreq(rate, 1.0 / rate)
    heard = (hertz >= 20.0) & (hertz <= 20_000.0)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(rate))
    noise = np.fft.irfft(np.where(heard, spectrum / np.sqrt(np.maximum(hertz, 1.0)), 0.0), rate)
    return np.asarray(noise * (LOUDNESS_RMS / np.sqrt(np.mean(noise**2))), dtype=np.float32)


# -- networks --------------------------------------------------------------------------------------------------------


def _network(graph: _Graph, network: Network, source: str) -> str:
    return _wavenet(graph, network, source) if isinstance(network, WaveNet) else _stack(graph, network, source)


def _stack(graph: _Graph, stack: Stack, source: str) -> str:
    if stack.input_gain != 1.0:
        gains = np.ones((stack.inputs, 1), dtype=np.float32)
        gains[0] = stack.input_gain
        source = graph.op("Mul", [source, graph.value(gains)])
    x, width = source, stack.inputs
    layers = _folded(stack.layers)
    place = 0
    while place < len(layers):
        layer = layers[place]
        if isinstance(layer, Recurrent):
            run: list[Recurrent] = [layer]
            while place + 1 < len(layers) and isinstance(following := layers[place + 1], Recurrent):
                place += 1
                run.append(following)
            x, width = _recurrent(graph, run, x), run[-1].outputs
        elif isinstance(layer, Conv):
            x, width = graph.convolve(x, layer), layer.outputs
        elif isinstance(layer, Affine):
            scaled = graph.op("Mul", [x, graph.value(layer.scale[:, None])])
            x = graph.op("Add", [scaled, graph.value(layer.shift[:, None])])
        else:
            x = _activate(graph, layer, x, width)
        place += 1
    if stack.skip:
        plain = source if stack.inputs == 1 else graph.rows(source, [1, stack.inputs - 1])[0]
        x = graph.op("Add", [x, plain])
    return graph.scale(x, stack.output_gain)


def _folded(layers: Sequence[Layer]) -> list[Layer]:
    """Each normalisation folded into the convolution before it."""
    found: list[Layer] = []
    for layer in layers:
        before = found[-1] if found else None
        if isinstance(layer, Affine) and isinstance(before, Conv):
            bias = np.zeros(before.outputs, dtype=np.float32) if before.bias is None else before.bias
            weight = (before.weight.astype(np.float64) * layer.scale[:, None, None]).astype(np.float32)
            shift = (bias.astype(np.float64) * layer.scale + layer.shift).astype(np.float32)
            found[-1] = Conv(weight, shift, before.dilation, before.groups)
        else:
            found.append(layer)
    return found


def _recurrent(graph: _Graph, layers: Sequence[Recurrent], x: str) -> str:
    """LSTM and GRU layers after one another, between two changes of axes: they want [samples, channels, width]."""
    x = graph.op("Transpose", [x], perm=[2, 0, 1])
    first = graph.value([0], np.int64)
    second = graph.value([1], np.int64)
    for layer in layers:
        cells = layer.outputs
        lstm = layer.kind == "lstm"
        order = (0, 3, 1, 2) if lstm else (0, 1, 2)  # ONNX wants i, o, f, g; and z, r, h

        def gates(rows: Float32, cells: int = cells, order: tuple[int, ...] = order) -> Float32:
            return np.concatenate([rows[gate * cells : (gate + 1) * cells] for gate in order])

        weights = [graph.value(gates(rows)[None]) for rows in (layer.input_weight, layer.state_weight)]
        bias = np.concatenate([gates(layer.input_bias), gates(layer.state_bias)])[None]
        states = [graph.state([cells], layer.state)] + ([graph.state([cells], layer.cell)] if lstm else [])
        carried = [graph.op("Unsqueeze", [state, first]) for state in states]
        inputs = [x, *weights, graph.value(bias), "", *carried]
        attributes = {"hidden_size": cells} if lstm else {"hidden_size": cells, "linear_before_reset": 1}
        outputs = graph.ops("LSTM" if lstm else "GRU", inputs, 1 + len(states), **attributes)
        for state, output in zip(states, outputs[1:], strict=True):
            graph.leave(state, output, "Squeeze", first)
        x = graph.op("Squeeze", [outputs[0], second])
    return graph.op("Transpose", [x], perm=[1, 2, 0])


def _wavenet(graph: _Graph, net: WaveNet, source: str) -> str:
    condition = source if net.condition is None else _network(graph, net.condition, source)
    width = net.inputs if net.condition is None else net.condition.outputs
    y, sums = source, ""
    for place, array in enumerate(net.arrays):
        last = place == len(net.arrays) - 1
        array_head = array.head
        if last and net.head_scale != 1.0:
            # Before the post-stack head, as there.
            scale = np.float64(net.head_scale)
            bias = None if array_head.bias is None else (array_head.bias * scale).astype(np.float32)
            array_head = dataclasses.replace(
                array_head, weight=(array_head.weight * scale).astype(np.float32), bias=bias
            )
        y, sums = _array(graph, dataclasses.replace(array, head=array_head), y, sums, condition, width)
    channels = net.arrays[-1].head.outputs
    for activation, conv in net.post:
        sums = graph.convolve(_activate(graph, activation, sums, channels), conv)
        channels = conv.outputs
    return sums


def _scaled(conv: Conv, factor: float) -> Conv:
    """A convolution whose output is so many times as large."""
    bias = None if conv.bias is None else (factor * conv.bias.astype(np.float64)).astype(np.float32)
    return dataclasses.replace(conv, weight=(factor * conv.weight.astype(np.float64)).astype(np.float32), bias=bias)


def _array(graph: _Graph, array: WaveNetArray, y: str, sums: str, condition: str, width: int) -> tuple[str, str]:
    """One array; returns the residual stream and the output of its head."""
    if not all(_is_plain(layer) for layer in array.layers):
        return _conditioned_array(graph, array, y, sums, condition)
    channels = array.rechannel.outputs
    # The condition goes along as further rows of the stream.
    prefix = f"{graph.prefix}a{len(graph.arrays)}/" if _has_layout(array, condition, width) else ""
    stream = graph.convolve(y, array.rechannel, prefix and f"{prefix}rechannel")
    stream = graph.op("Concat", [stream, condition], axis=1)
    heads, layers = [sums] if sums else [], []
    for place, layer in enumerate(array.layers):
        own = prefix and f"{prefix}l{place}."
        h = _gated(graph, layer, _merged(graph, layer, stream, width, own), condition)
        layers.append(WaveformLayer(own, layer.conv.taps, layer.conv.dilation, graph.newest_state(layer.conv)))
        heads.append(h if layer.head1x1 is None else graph.convolve(h, layer.head1x1))
        last = place == len(array.layers) - 1
        if last:
            # The rows of the condition have served.
            stream = graph.rows(stream, [channels, width])[0]
        if layer.layer1x1 is not None:
            moved = _widened(graph, h, layer.layer1x1, 0 if last else width, own)
            stream = graph.op("Add", [stream, moved])
    out = _head(graph, array.head, heads, prefix and f"{prefix}head")
    if prefix:
        activation = array.layers[0].activation
        slope = activation.values[0] if activation.values else 0.0
        state = graph.newest_state(array.head)
        graph.arrays.append(WaveformArray(prefix, channels, activation.kind, slope, array.head.outputs, state, layers))
    return stream, out


def _conditioned_array(graph: _Graph, array: WaveNetArray, y: str, sums: str, condition: str) -> tuple[str, str]:
    """An array whose condition reaches it by other ways than a plain mixin."""
    stream = graph.convolve(y, array.rechannel)
    heads = [sums] if sums else []
    for layer in array.layers:
        films = layer.films
        x = graph.convolve(_film(graph, films.conv_pre, stream, condition), layer.conv)
        x = _film(graph, films.conv_post, x, condition)
        mixed = graph.convolve(_film(graph, films.mixin_pre, condition, condition), layer.mixin)
        x = graph.op("Add", [x, _film(graph, films.mixin_post, mixed, condition)])
        h = _gated(graph, layer, x, condition)
        out = h if layer.head1x1 is None else graph.convolve(h, layer.head1x1)
        heads.append(_film(graph, films.head1x1_post, out, condition))
        if layer.layer1x1 is not None:
            moved = _film(graph, films.layer1x1_post, graph.convolve(h, layer.layer1x1), condition)
            stream = graph.op("Add", [stream, moved])
    return stream, _head(graph, array.head, heads)


def _has_layout(array: WaveNetArray, condition: str, width: int) -> bool:
    """Whether an array is as plain as a `WaveformLayout` says."""
    first = array.layers[0].activation
    return (
        condition == "audio"
        and width == 1
        and array.rechannel.taps == array.rechannel.groups == array.head.groups == array.head.dilation == 1
        and array.rechannel.bias is None
        and first.kind in ("tanh", "relu", "leaky_relu", "sigmoid")
        and all(
            layer.gating == "none"
            and layer.head1x1 is None
            and layer.layer1x1 is not None
            and layer.bottleneck == array.rechannel.outputs
            and (layer.activation.kind, layer.activation.values) == (first.kind, first.values)
            for layer in array.layers
        )
    )


def _is_plain(layer: WaveNetLayer) -> bool:
    """Whether mixin and dilated convolution can be one."""
    return (
        not layer.films.any()
        and layer.conv.groups == 1
        and layer.mixin.groups == 1
        and (layer.layer1x1 is None or layer.layer1x1.groups == 1)
    )


def _merged(graph: _Graph, layer: WaveNetLayer, stream: str, width: int, prefix: str) -> str:
    """Dilated convolution and mixin as one: the condition's rows are met by the newest tap alone."""
    conv = layer.conv
    weight = np.zeros((conv.outputs, conv.inputs + width, conv.taps), dtype=np.float32)
    weight[:, : conv.inputs] = conv.weight
    weight[:, conv.inputs :, -1] = layer.mixin.weight[:, :, 0]
    bias = np.zeros(conv.outputs, dtype=np.float32)
    for part in (conv.bias, layer.mixin.bias):
        if part is not None:
            bias += part
    return graph.conv(stream, weight, bias, conv.dilation, name=prefix and f"{prefix}conv")


def _widened(graph: _Graph, h: str, conv: Conv, rows: int, prefix: str) -> str:
    """A 1x1 convolution, and so many rows of 0 below."""
    weight = np.zeros((conv.outputs + rows, conv.inputs, 1), dtype=np.float32)
    weight[: conv.outputs] = conv.weight
    bias = np.zeros(conv.outputs + rows, dtype=np.float32)
    if conv.bias is not None:
        bias[: conv.outputs] = conv.bias
    return graph.conv(h, weight, bias, name=prefix and f"{prefix}out")


def _gated(graph: _Graph, layer: WaveNetLayer, x: str, condition: str) -> str:
    """h of a layer from x."""
    inner = layer.bottleneck
    z = _film(graph, layer.films.activation_pre, x, condition)
    if layer.gating == "none":
        h = _activate(graph, layer.activation, z, inner)
    else:
        signal, gate = graph.rows(z, [inner, inner])
        bent = _activate(graph, layer.activation, signal, inner)
        share = _activate(graph, layer.gate, gate, inner)
        if layer.gating == "gated":
            h = graph.op("Mul", [bent, share])
        else:
            h = graph.op("Add", [signal, graph.op("Mul", [share, graph.op("Sub", [bent, signal])])])
    return _film(graph, layer.films.activation_post, h, condition)


def _head(graph: _Graph, head: Conv, heads: Sequence[str], name: str = "") -> str:
    """The head's convolution over the sum of heads: where it has one tap, it sums as well."""
    if head.taps > 1 or head.groups > 1:
        return graph.convolve(graph.op("Sum", heads) if len(heads) > 1 else heads[0], head, name)
    if len(heads) == 1:
        return graph.convolve(heads[0], head, name)
    weight = np.concatenate([head.weight] * len(heads), axis=1)
    return graph.conv(graph.op("Concat", heads, axis=1), weight, head.bias, name=name)


def _film(graph: _Graph, film: Film | None, v: str, condition: str) -> str:
    if film is None:
        return v
    made = graph.convolve(condition, film.conv)
    if not film.shift:
        return graph.op("Mul", [v, made])
    half = film.conv.outputs // 2
    scale, shift = graph.rows(made, [half, half])
    return graph.op("Add", [graph.op("Mul", [v, scale]), shift])


def _activate(graph: _Graph, activation: Activation, x: str, width: int) -> str:
    """An activation over a signal of so many rows."""
    kind, values = activation.kind, activation.values
    simple = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
    if kind == "identity":
        return x
    if kind in simple:
        return graph.op(simple[kind], [x])
    if kind == "leaky_relu":
        return graph.op("LeakyRelu", [x], alpha=float(values[0]))
    if kind == "prelu":
        return graph.op("PRelu", [x, graph.value(np.reshape(values, (len(values), 1)))])
    if kind == "elu":
        return graph.op("Elu", [x], alpha=float(values[0]))
    if kind == "softmax":
        return graph.op("Softmax", [x], axis=1)
    if kind == "hard_tanh":
        return graph.op("Clip", [x, graph.value(np.float32(-1.0)), graph.value(np.float32(1.0))])
    if kind == "silu":
        return graph.op("Mul", [x, graph.op("Sigmoid", [x])])
    if kind == "softsign":
        return graph.op("Div", [x, graph.op("Add", [graph.op("Abs", [x]), graph.value(np.float32(1.0))])])
    if kind == "hard_swish":
        raised = graph.op("Add", [x, graph.value(np.float32(3.0))])
        share = graph.op("Clip", [raised, graph.value(np.float32(0.0)), graph.value(np.float32(6.0))])
        return graph.op("Mul", [x, graph.op("Mul", [share, graph.value(np.float32(1.0 / 6.0))])])
    if kind == "leaky_hard_tanh":
        return _leaky_hard_tanh(graph, x, values)
    if kind == "fast_tanh":
        return _fast_tanh(graph, x)
    raise DuendeError(f"activation {kind!r}: this version plays no such one")


def _leaky_hard_tanh(graph: _Graph, x: str, values: Sequence[float]) -> str:
    low, high = graph.value(np.float32(values[0])), graph.value(np.float32(values[1]))
    zero = graph.value(np.float32(0.0))
    below = graph.op("Min", [graph.op("Sub", [x, low]), zero])
    above = graph.op("Max", [graph.op("Sub", [x, high]), zero])
    leaks = graph.op("Add", [graph.scale(below, values[2]), graph.scale(above, values[3])])
    return graph.op("Add", [graph.op("Clip", [x, low, high]), leaks])


def _fast_tanh(graph: _Graph, x: str) -> str:
    """x (a + a |x| + (b + c |x|) x^2) / (d + (d + x^2) |x + e x |x||): NAM Core's constants."""
    a, b, c, d, e = (graph.value(np.float32(value)) for value in FAST_TANH)
    size, square = graph.op("Abs", [x]), graph.op("Mul", [x, x])
    inner = graph.op("Mul", [graph.op("Add", [b, graph.op("Mul", [c, size])]), square])
    above = graph.op("Mul", [x, graph.op("Add", [graph.op("Add", [a, graph.op("Mul", [a, size])]), inner])])
    bent = graph.op("Abs", [graph.op("Add", [x, graph.op("Mul", [e, graph.op("Mul", [x, size])])])])
    below = graph.op("Add", [d, graph.op("Mul", [graph.op("Add", [d, square]), bent])])
    return graph.op("Div", [above, below])
