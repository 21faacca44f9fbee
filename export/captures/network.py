"""A capture as its file describes it, whatever the format: a causal network with its weights, and what it is called.

All weights are finite float32. A reader has checked every shape, so that whoever builds on this need not.
Two forms hold every architecture: `WaveNet`, and `Stack` for everything that is one layer after another (LSTM, GRU,
ConvNet, Linear, AIDA-X, RTNeural, Proteus). Signals are [channels, samples]; the first input channel is the audio,
the others are the knobs, 0 to 1, in the order of `Capture.knobs`.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

#: Kinds of `Activation`, and how many values each takes (-1: one per channel).
ACTIVATIONS = {
    "identity": 0,
    "tanh": 0,
    "fast_tanh": 0,
    "hard_tanh": 0,
    "relu": 0,
    "leaky_relu": 1,
    "prelu": -1,
    "sigmoid": 0,
    "silu": 0,
    "hard_swish": 0,
    "leaky_hard_tanh": 4,
    "softsign": 0,
    "elu": 1,
    "softmax": 0,
}


@dataclass(frozen=True, eq=False)
class Activation:
    """One function per sample and channel; only softmax goes across channels.

    fast_tanh:       NAM Core's rational function, where a file asks for "Fasttanh"; `tanh` is exact.
    hard_tanh:       clip to -1..1.
    leaky_relu:      values (slope below 0,).
    prelu:           values (slope below 0 of channel 0, of channel 1, ...), one per channel.
    silu:            x sigmoid(x).
    hard_swish:      x clip(x + 3, 0, 6) / 6.
    leaky_hard_tanh: values (minimum, maximum, slope below, slope above).
    softsign:        x / (1 + |x|).
    elu:             values (alpha,): alpha (exp(x) - 1) below 0.
    """

    kind: str = "identity"
    values: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Conv:
    """A causal convolution: out[t] = bias + sum_j weight[:, :, j] in[t - (taps - 1 - j) dilation].

    weight: [outputs, inputs / groups, taps]: the last tap meets the newest sample.
    bias:   [outputs], or None.
    """

    weight: Float32
    bias: Float32 | None = None
    dilation: int = 1
    groups: int = 1

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1]) * self.groups

    @property
    def taps(self) -> int:
        return int(self.weight.shape[2])

    @property
    def memory_samples(self) -> int:
        """Samples of the past that an answer depends on."""
        return (self.taps - 1) * self.dilation


@dataclass(frozen=True, eq=False)
class Film:
    """v <- v scale + shift, sample by sample, where conv (1 tap) makes scale, then shift, from the condition.

    conv: [channels of v] outputs, or twice that with `shift`: the scales first.
    """

    conv: Conv
    shift: bool


@dataclass(frozen=True, eq=False)
class Films:
    """Where a WaveNet layer is modulated by the condition; None where it is not.

    A file's layer1x1_post film stands here only where NAM Core applies it (in blended layers).
    """

    conv_pre: Film | None = None
    conv_post: Film | None = None
    mixin_pre: Film | None = None
    mixin_post: Film | None = None
    activation_pre: Film | None = None
    activation_post: Film | None = None
    layer1x1_post: Film | None = None
    head1x1_post: Film | None = None

    def any(self) -> bool:
        return any(film is not None for film in vars(self).values())


@dataclass(frozen=True, eq=False)
class WaveNetLayer:
    """One layer of a WaveNet array, B channels wide inside, in a residual stream of C channels.

        x = conv_post(conv(conv_pre(y))) + mixin_post(mixin(mixin_pre(c)))
        z = activation_pre(x)
        h = activation_post(act(z))                            gating "none"     (z has B channels)
        h = activation_post(act(z[:B]) gate(z[B:]))            gating "gated"    (z has 2B)
        h = activation_post(g act(z[:B]) + (1 - g) z[:B])      gating "blended", g = gate(z[B:])
        heads += head1x1_post(head1x1(h)), or h without a head1x1
        y += layer1x1_post(layer1x1(h)), or nothing without a layer1x1

    The words of `films` stand for themselves when None.
    """

    conv: Conv
    mixin: Conv
    activation: Activation
    gating: str = "none"
    gate: Activation = field(default_factory=Activation)
    layer1x1: Conv | None = None
    head1x1: Conv | None = None
    films: Films = field(default_factory=Films)

    @property
    def bottleneck(self) -> int:
        """B."""
        return self.conv.outputs if self.gating == "none" else self.conv.outputs // 2


@dataclass(frozen=True, eq=False)
class WaveNetArray:
    """Layers after one another, then `head` over the sum of their heads.

    The stream y enters through `rechannel`. The sum starts from the head output of the array before (from 0 in the
    first) and leaves through `head` (causal; it may have several taps, and a dilation).
    """

    rechannel: Conv
    layers: tuple[WaveNetLayer, ...]
    head: Conv


@dataclass(frozen=True, eq=False)
class WaveNet:
    """output = post(head_scale x head output of the last array); each array's y goes on into the next.

    condition: makes the condition c from the input; None: c is the input itself.
    post:      (activation, conv with bias) pairs after one another: activation first. Often empty.
    """

    arrays: tuple[WaveNetArray, ...]
    head_scale: float
    post: tuple[tuple[Activation, Conv], ...] = ()
    condition: "Network | None" = None

    @property
    def inputs(self) -> int:
        return self.arrays[0].rechannel.inputs

    @property
    def outputs(self) -> int:
        return self.post[-1][1].outputs if self.post else self.arrays[-1].head.outputs

    @property
    def receptive_field_samples(self) -> int:
        """Samples of input, the newest included, that one sample of output depends on."""
        convs = [layer.conv for array in self.arrays for layer in array.layers]
        convs += [array.head for array in self.arrays]
        convs += [conv for _, conv in self.post]
        before = 0 if self.condition is None else self.condition.receptive_field_samples - 1
        return 1 + before + sum(conv.memory_samples for conv in convs)

    @property
    def memory_values(self) -> int:
        """Values that are carried from block to block."""
        convs = [layer.conv for array in self.arrays for layer in array.layers]
        convs += [array.head for array in self.arrays] + [conv for _, conv in self.post]
        before = 0 if self.condition is None else self.condition.memory_values
        return before + sum(conv.inputs * conv.memory_samples for conv in convs)

    @property
    def prewarm_samples(self) -> int:
        """Zeros that bring the network from states of 0 to where its own player starts it."""
        before = 0 if self.condition is None else self.condition.prewarm_samples
        return before + self.receptive_field_samples


@dataclass(frozen=True, eq=False)
class Recurrent:
    """An LSTM or GRU layer with H cells.

    kind:         "lstm": gates i, f, g, o in blocks of H rows; c = sig(f) c + sig(i) tanh(g), h = sig(o) tanh(c).
                  "gru":  gates z, r, n; n = tanh(W x + b + r (R h + s)), h = z h + (1 - z) n (the reset comes after).
    input_weight: W [4H or 3H, inputs].
    state_weight: R [4H or 3H, H].
    input_bias:   b [4H or 3H].
    state_bias:   s [4H or 3H]; added to b for every gate but the n of a GRU, where it stands inside the reset.
    state, cell:  [H] each, where it starts before the prewarming; cell only means something for "lstm".
    """

    kind: str
    input_weight: Float32
    state_weight: Float32
    input_bias: Float32
    state_bias: Float32
    state: Float32
    cell: Float32

    @property
    def inputs(self) -> int:
        return int(self.input_weight.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.state_weight.shape[1])


@dataclass(frozen=True, eq=False)
class Affine:
    """out = scale in + shift per channel (a batch normalisation at rest); scale, shift: [channels]."""

    scale: Float32
    shift: Float32


Layer = Conv | Recurrent | Affine | Activation


@dataclass(frozen=True, eq=False)
class Stack:
    """One layer after another: output = output_gain (net(x) + x[0] if skip), where x is the input times input_gain.

    A dense layer is a Conv of 1 tap. The gains are linear factors; input_gain only acts on the audio, not on knobs.

    prewarm_samples: zeros (knobs at their defaults) that bring the network to where its own player starts it.
    """

    layers: tuple[Layer, ...]
    inputs: int
    skip: bool = False
    input_gain: float = 1.0
    output_gain: float = 1.0
    prewarm_samples: int = 0

    @property
    def outputs(self) -> int:
        channels = self.inputs
        for layer in self.layers:
            channels = layer.outputs if isinstance(layer, Conv | Recurrent) else channels
        return channels

    @property
    def recurrent(self) -> bool:
        return any(isinstance(layer, Recurrent) for layer in self.layers)

    @property
    def receptive_field_samples(self) -> int:
        """Samples of input, the newest included, that one sample of output depends on, beside recurrent states."""
        return 1 + sum(layer.memory_samples for layer in self.layers if isinstance(layer, Conv))

    @property
    def memory_values(self) -> int:
        """Values that are carried from block to block."""
        convs = sum(layer.inputs * layer.memory_samples for layer in self.layers if isinstance(layer, Conv))
        return convs + sum(2 * layer.outputs for layer in self.layers if isinstance(layer, Recurrent))


Network = WaveNet | Stack


@dataclass(frozen=True, eq=False)
class Variant:
    """One width of a slimmable capture: the one for a quality below `maximum`; the last is also the one for 1."""

    maximum: float
    network: Network


@dataclass(frozen=True)
class Knob:
    """A control that the capture was trained with: a name in lower case, range 0 to 1."""

    name: str
    default: float


@dataclass(frozen=True, eq=False)
class SelfTest:
    """What the file itself says the network answers: [samples] each, from states of 0, gains at 1, knobs at 0, no skip
    but what the stack has."""

    audio: Float32
    output: Float32


@dataclass(frozen=True)
class Source:
    """Where a capture came from.

    format: "nam", "nam-directory", "proteus", "aidax" or "rtneural".
    file:   file name without folders.
    sha256: of its bytes, hexadecimal; of a directory: of config.json's bytes, then those of weights.npy.
    """

    format: str
    file: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Capture:
    """A capture: one variant, or several of a slimmable one in rising order of `maximum`.

    architecture:     "WaveNet", "LSTM", "GRU", "ConvNet", "Linear" or "Stack"; the widest variant's.
    sample_rate:      Hz, what it was trained at.
    loudness_db:      RMS of the answer to NAM's loudness signal, dB; None where the file does not say.
    gain:             0..1, how much it compresses, as NAM measures it; None where the file does not say.
    input_level_dbu,  dBu of a 1 kHz sine that peaked at 0 dBFS when it was captured; None where the file
    output_level_dbu: does not say.
    tags:             what the file says about the gear: gear_type, gear_make, gear_model, tone_type, style, based ...
    author, licence, date: "" where the file does not say; date is YYYY-MM-DD.
    self_test:        pairs that came with the file.
    notes:            plain sentences for the user: what was assumed, what was left out.
    """

    name: str
    architecture: str
    sample_rate: int
    variants: tuple[Variant, ...]
    source: Source
    knobs: tuple[Knob, ...] = ()
    loudness_db: float | None = None
    gain: float | None = None
    input_level_dbu: float | None = None
    output_level_dbu: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    author: str = ""
    licence: str = ""
    date: str = ""
    self_test: SelfTest | None = None
    notes: tuple[str, ...] = ()
