"""Small random captures of every feature, seeded, as a reader would give them."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from duende.export.captures.network import (
    ACTIVATIONS,
    Activation,
    Affine,
    Capture,
    Conv,
    Film,
    Films,
    Knob,
    Network,
    Recurrent,
    Source,
    Stack,
    Variant,
    WaveNet,
    WaveNetArray,
    WaveNetLayer,
)

Float32 = npt.NDArray[np.float32]
VALUES = {"leaky_relu": (0.1,), "leaky_hard_tanh": (-0.7, 0.5, 0.05, 0.02), "elu": (0.8,)}
PLACES = (
    *("conv_pre", "conv_post", "mixin_pre", "mixin_post"),
    *("activation_pre", "activation_post", "layer1x1_post", "head1x1_post"),
)


def activation(kind: str, channels: int = 1) -> Activation:
    """One of each kind, with values where it has some."""
    if ACTIVATIONS[kind] == -1:
        return Activation(kind, tuple(0.1 + 0.05 * channel for channel in range(channels)))
    return Activation(kind, VALUES.get(kind, ()))


class Draw:
    """Random weights that keep the size of what they multiply."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def array(self, *shape: int, size: float = 1.0) -> Float32:
        return (size * self.rng.standard_normal(shape)).astype(np.float32)

    def conv(
        self, outputs: int, inputs: int, taps: int = 1, dilation: int = 1, *, bias: bool = True, groups: int = 1
    ) -> Conv:
        weight = self.array(outputs, inputs // groups, taps, size=0.8 / np.sqrt(inputs // groups * taps))
        return Conv(weight, self.array(outputs, size=0.1) if bias else None, dilation, groups)

    def recurrent(self, kind: str, cells: int, inputs: int) -> Recurrent:
        rows = (4 if kind == "lstm" else 3) * cells
        return Recurrent(
            kind,
            self.array(rows, inputs),
            self.array(rows, cells, size=0.4),
            self.array(rows, size=0.2),
            self.array(rows, size=0.2),
            self.array(cells, size=0.3),
            self.array(cells, size=0.3),
        )

    def film(self, channels: int, condition: int, shift: bool) -> Film:
        conv = self.conv((2 if shift else 1) * channels, condition)
        assert conv.bias is not None
        bias = conv.bias.copy()
        bias[:channels] += 1.0
        return Film(Conv(conv.weight, bias), shift)


def wavenet(
    seed: int,
    *,
    channels: Sequence[int] = (4, 2),
    dilations: Sequence[int] = (1, 2, 8),
    taps: int = 3,
    kind: str = "tanh",
    gating: str = "none",
    films: Sequence[str] = (),
    head_taps: int = 1,
    head1x1: int = 0,
    bottleneck: int = 0,
    groups: int = 1,
    layer1x1: bool = True,
    post: bool = False,
    condition: Network | None = None,
) -> WaveNet:
    """A WaveNet of small size in which one feature or another is on."""
    draw = Draw(seed)
    width = 1 if condition is None else condition.outputs
    arrays, before = [], 1
    for place, wide in enumerate(channels):
        inner = bottleneck or wide
        outputs = inner if gating == "none" else 2 * inner
        head_in = head1x1 or inner
        # The next array's heads go on from this one's.
        after = (head1x1 or bottleneck or channels[place + 1]) if place + 1 < len(channels) else 1
        layers = []
        for dilation in dilations:
            sizes = {
                "conv_pre": wide,
                "conv_post": outputs,
                "mixin_pre": width,
                "mixin_post": outputs,
                "activation_pre": outputs,
                "activation_post": inner,
                "layer1x1_post": wide,
                "head1x1_post": head_in,
            }
            made = {film: draw.film(sizes[film], width, shift=index % 2 == 0) for index, film in enumerate(films)}
            layers.append(
                WaveNetLayer(
                    conv=draw.conv(outputs, wide, taps, dilation, groups=groups),
                    mixin=draw.conv(outputs, width, bias=False),
                    activation=activation(kind, inner),
                    gating=gating,
                    gate=Activation("sigmoid"),
                    layer1x1=draw.conv(wide, inner) if layer1x1 else None,
                    head1x1=draw.conv(head1x1, inner) if head1x1 else None,
                    films=Films(**made),
                )
            )
        head = draw.conv(after, head_in, head_taps, bias=place == len(channels) - 1)
        arrays.append(WaveNetArray(draw.conv(wide, before, bias=False), tuple(layers), head))
        before = wide
    behind = ((activation("relu"), draw.conv(3, 1, 2)), (activation("tanh"), draw.conv(1, 3, 3))) if post else ()
    return WaveNet(tuple(arrays), 0.5, behind, condition)


def stack(
    *layers: Conv | Recurrent | Affine | Activation, inputs: int = 1, warm: int = 4000, skip: bool = False
) -> Stack:
    return Stack(layers, inputs, skip, prewarm_samples=warm)


def capture(*networks: Network, knobs: Sequence[str] = (), rate: int = 48000, **known: object) -> Capture:
    """What a reader makes of networks: one, or the rising widths of a slimmable one."""
    maxima = [(place + 1) / len(networks) for place in range(len(networks))]
    variants = tuple(Variant(maximum, network) for maximum, network in zip(maxima, networks, strict=True))
    held = tuple(Knob(name, 0.3 + 0.2 * place) for place, name in enumerate(knobs))
    return Capture("tiny", "WaveNet", rate, variants, Source("nam", "tiny.nam", "0" * 64), held, **known)  # type: ignore[arg-type]


def _wavenets() -> dict[str, Callable[[], Capture]]:
    made: dict[str, Callable[[], Capture]] = {
        "plain": lambda: capture(wavenet(1)),
        "wide": lambda: capture(wavenet(2, channels=(18, 5))),
        "full rows": lambda: capture(wavenet(3, channels=(16, 8), dilations=(1, 2, 64, 100))),
        "long taps": lambda: capture(wavenet(4, channels=(8,), taps=6, dilations=(1, 3, 41), head_taps=16)),
        "one tap": lambda: capture(wavenet(5, taps=1)),
        "gated": lambda: capture(wavenet(6, gating="gated")),
        "blended": lambda: capture(wavenet(7, gating="blended", films=PLACES, head1x1=3)),
        "films": lambda: capture(wavenet(8, films=PLACES[:6])),
        "head1x1": lambda: capture(wavenet(9, head1x1=3, bottleneck=2)),
        "groups": lambda: capture(wavenet(10, groups=2)),
        "no layer1x1": lambda: capture(wavenet(11, layer1x1=False)),
        "post": lambda: capture(wavenet(12, post=True)),
        "condition": lambda: capture(wavenet(13, condition=wavenet(14, channels=(3,)))),
        "condition films": lambda: capture(wavenet(15, films=PLACES[:6], condition=wavenet(16, channels=(2,)))),
    }
    return made


def _stacks() -> dict[str, Callable[[], Capture]]:
    draw = Draw(20)
    lstm = stack(draw.recurrent("lstm", 6, 1), draw.recurrent("lstm", 4, 6), draw.conv(1, 4))
    gru = stack(draw.recurrent("gru", 5, 2), draw.conv(1, 5), inputs=2, skip=True)
    mixed = stack(
        draw.conv(4, 1, 3, 2),
        Affine(draw.array(4), draw.array(4)),
        activation("prelu", 4),
        draw.conv(4, 4, 2, groups=2),
        Activation("softmax"),
        Affine(draw.array(4), draw.array(4)),
        draw.recurrent("gru", 3, 4),
        draw.conv(1, 3),
    )
    knobs = Stack((draw.recurrent("lstm", 6, 3), draw.conv(1, 6)), 3, True, 2.5, 0.5, 3000)
    return {
        "lstm": lambda: capture(lstm),
        "gru and knob": lambda: capture(gru, knobs=("drive",)),
        "mixed": lambda: capture(mixed),
        "two knobs and gains": lambda: capture(knobs, knobs=("drive", "tone"), rate=44100),
        "linear": lambda: capture(stack(draw.conv(1, 1, 300), warm=0)),
    }


def _activations() -> dict[str, Callable[[], Capture]]:
    return {
        kind: lambda kind=kind: capture(wavenet(30, channels=(3,), dilations=(1, 5), kind=kind))  # type: ignore[misc]
        for kind in ACTIVATIONS
    }


#: Captures by what is special about them.
FEATURES: dict[str, Callable[[], Capture]] = {
    **_wavenets(),
    **_stacks(),
    **_activations(),
    "slimmable": lambda: capture(wavenet(40, channels=(2,)), wavenet(41, channels=(5,), dilations=(1, 2, 4, 8, 16))),
}
