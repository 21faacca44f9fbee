"""What a capture answers, computed slowly in float64 straight from the formulas: shares nothing with the graphs."""

import numpy as np
import numpy.typing as npt

from duende.export.captures.network import (
    Activation,
    Affine,
    Capture,
    Conv,
    Film,
    Layer,
    Network,
    Recurrent,
    Stack,
    WaveNet,
    WaveNetLayer,
)

Float64 = npt.NDArray[np.float64]


def render(
    capture: Capture,
    audio: npt.ArrayLike,
    knobs: npt.ArrayLike | None = None,
    *,
    variant: int = -1,
    prewarm: bool = True,
) -> Float64:
    """The output of a capture, [samples], for audio [samples].

    knobs:   [K] or [K, samples], 0 to 1; their defaults if left out.
    variant: which width of a slimmable one.
    prewarm: start where its own player does (zeros were played, with the knobs at their defaults); else from 0.
    """
    samples = np.asarray(audio, dtype=np.float64)
    network = capture.variants[variant].network
    defaults = np.array([knob.default for knob in capture.knobs], dtype=np.float64)
    values = defaults if knobs is None else np.asarray(knobs, dtype=np.float64)
    if values.ndim == 1:
        values = np.repeat(values[:, None], len(samples), axis=1)
    signal = np.concatenate((samples[None], values))
    warm = network.prewarm_samples if prewarm else 0
    if warm:
        before = np.zeros((1 + len(defaults), warm))
        before[1:] = defaults[:, None]
        signal = np.concatenate((before, signal), axis=1)
    out = answer(network, signal)
    assert out.shape[0] == 1
    return out[0, warm:]


def answer(network: Network, signal: Float64) -> Float64:
    """[outputs, samples] for a signal [inputs, samples], from states of 0 (and an LSTM's stored ones)."""
    return _wavenet(network, signal) if isinstance(network, WaveNet) else _stack(network, signal)


def _conv(conv: Conv, x: Float64) -> Float64:
    weight = conv.weight.astype(np.float64)
    outputs, part, taps = weight.shape
    length = x.shape[1]
    out = np.zeros((outputs, length))
    width = outputs // conv.groups
    for tap in range(taps):
        back = (taps - 1 - tap) * conv.dilation
        past = np.zeros_like(x)
        past[:, back:] = x[:, : max(length - back, 0)]
        for group in range(conv.groups):
            rows = slice(group * width, (group + 1) * width)
            out[rows] += weight[rows, :, tap] @ past[group * part : (group + 1) * part]
    return out if conv.bias is None else out + conv.bias.astype(np.float64)[:, None]


def sigmoid(x: Float64) -> Float64:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def activate(activation: Activation, x: Float64) -> Float64:
    values = activation.values
    match activation.kind:
        case "identity":
            return x
        case "tanh":
            return np.tanh(x)
        case "fast_tanh":
            size = np.abs(x)
            above = x * (2.45550750702956 * (1 + size) + (0.893229853513558 + 0.821226666969744 * size) * x**2)
            below = 2.44506634652299 + (2.44506634652299 + x**2) * np.abs(x + 0.814642734961073 * x * size)
            return above / below
        case "hard_tanh":
            return np.clip(x, -1.0, 1.0)
        case "relu":
            return np.maximum(x, 0.0)
        case "leaky_relu":
            return np.where(x > 0, x, values[0] * x)
        case "prelu":
            return np.where(x > 0, x, np.array(values)[:, None] * x)
        case "sigmoid":
            return sigmoid(x)
        case "silu":
            return x * sigmoid(x)
        case "hard_swish":
            return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0
        case "leaky_hard_tanh":
            low, high, below_slope, above_slope = values
            out = np.where(x < low, (x - low) * below_slope + low, x)
            return np.where(x > high, (x - high) * above_slope + high, out)
        case "softsign":
            return x / (1.0 + np.abs(x))
        case "elu":
            return np.where(x > 0, x, values[0] * np.expm1(np.minimum(x, 0.0)))
        case "softmax":
            powers: Float64 = np.exp(x - x.max(axis=0))
            shares: Float64 = powers / powers.sum(axis=0)
            return shares
    raise AssertionError(activation.kind)


def _film(film: Film | None, x: Float64, condition: Float64) -> Float64:
    if film is None:
        return x
    made = _conv(film.conv, condition)
    channels = x.shape[0]
    return x * made[:channels] + made[channels:] if film.shift else x * made


def _layer(layer: WaveNetLayer, y: Float64, condition: Float64) -> tuple[Float64, Float64]:
    """The residual stream after a layer, and what it gives to the head."""
    films = layer.films
    z = _film(films.conv_post, _conv(layer.conv, _film(films.conv_pre, y, condition)), condition)
    mixed = _conv(layer.mixin, _film(films.mixin_pre, condition, condition))
    z = _film(films.activation_pre, z + _film(films.mixin_post, mixed, condition), condition)
    if layer.gating == "none":
        h = activate(layer.activation, z)
    else:
        half = z.shape[0] // 2
        signal, gate = activate(layer.activation, z[:half]), activate(layer.gate, z[half:])
        h = signal * gate if layer.gating == "gated" else gate * signal + (1.0 - gate) * z[:half]
    h = _film(films.activation_post, h, condition)
    head = h if layer.head1x1 is None else _film(films.head1x1_post, _conv(layer.head1x1, h), condition)
    if layer.layer1x1 is not None:
        y = y + _film(films.layer1x1_post, _conv(layer.layer1x1, h), condition)
    return y, head


def _wavenet(network: WaveNet, signal: Float64) -> Float64:
    condition = signal if network.condition is None else answer(network.condition, signal)
    y, total = signal, None
    for array in network.arrays:
        y = _conv(array.rechannel, y)
        for layer in array.layers:
            y, head = _layer(layer, y, condition)
            total = head if total is None else total + head
        assert total is not None
        total = _conv(array.head, total)
    assert total is not None
    out = network.head_scale * total
    for activation, conv in network.post:
        out = _conv(conv, activate(activation, out))
    return out


def _recurrent(layer: Recurrent, x: Float64) -> Float64:
    size = layer.outputs
    W, R = layer.input_weight.astype(np.float64), layer.state_weight.astype(np.float64)
    b, s = layer.input_bias.astype(np.float64)[:, None], layer.state_bias.astype(np.float64)
    driven = W @ x + b
    h, c = layer.state.astype(np.float64), layer.cell.astype(np.float64)
    out = np.empty((size, x.shape[1]))
    for t in range(x.shape[1]):
        now, back = driven[:, t], R @ h + s
        if layer.kind == "lstm":
            i, f, o = (sigmoid((now + back)[gate * size : (gate + 1) * size]) for gate in (0, 1, 3))
            c = f * c + i * np.tanh((now + back)[2 * size : 3 * size])
            h = o * np.tanh(c)
        else:
            z, r = sigmoid((now + back)[:size]), sigmoid((now + back)[size : 2 * size])
            h = z * h + (1.0 - z) * np.tanh(now[2 * size :] + r * back[2 * size :])
        out[:, t] = h
    return out


def _through(layer: Layer, x: Float64) -> Float64:
    match layer:
        case Conv():
            return _conv(layer, x)
        case Recurrent():
            return _recurrent(layer, x)
        case Affine():
            return x * layer.scale.astype(np.float64)[:, None] + layer.shift.astype(np.float64)[:, None]
        case Activation():
            return activate(layer, x)


def _stack(network: Stack, signal: Float64) -> Float64:
    x = signal.copy()
    x[0] *= network.input_gain
    out = x
    for layer in network.layers:
        out = _through(layer, out)
    return network.output_gain * (out + x[:1] if network.skip else out)
