"""Captures of others: what they answer once read, the order of their weights, and how wrong ones are refused."""

import copy
import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.export.captures import fields
from duende.export.captures.network import Activation, Affine, Capture, Conv, Film, Recurrent, Stack, WaveNet
from duende.export.captures.read import MAX_BYTES, read_capture
from oracle import answer, render

CORPUS = Path(__file__).parent / "corpus" / "captures"
File = dict[str, Any]
Float32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def answers() -> dict[str, Float32]:
    with np.load(CORPUS / "answers.npz") as held:
        return {name: held[name] for name in held}


def write(folder: Path, content: File | bytes | str, name: str = "amp.nam") -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """Read what must be refused; the message, after the checks that every message must pass."""
    with pytest.raises(DuendeError) as caught:
        read_capture(path)
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    assert len(text) < 400
    return text


def numbers(count: int, seed: int = 0) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(np.float32)]


def nam(architecture: str, config: File, weights: int | list[float], **rest: Any) -> File:
    held = numbers(weights) if isinstance(weights, int) else weights
    top: File = {"version": "0.7.0", "architecture": architecture, "config": config, "weights": held}
    return top | {"sample_rate": 48000} | rest


def array(**rest: Any) -> File:
    """One layer array of 2 channels and a condition of 1, 2 taps, dilations 1 and 3; rest is set over it."""
    plain: File = {"input_size": 1, "condition_size": 1, "channels": 2, "kernel_size": 2, "dilations": [1, 3]}
    return plain | {"activation": "Tanh", "head": {"out_channels": 1, "kernel_size": 1, "bias": True}} | rest


def wavenet(weights: int | list[float], *arrays: File, **config: Any) -> File:
    return nam("WaveNet", {"layers": list(arrays), "head": None, "head_scale": 0.5} | config, weights)


# One array as `array()` makes it: rechannel, 2 layers of (conv, bias, mixin, layer1x1, bias), head, bias, head scale.
PLAIN = 2 + 2 * (2 * 2 * 2 + 2 + 2 + 2 * 2 + 2) + 2 + 1 + 1


def keras(layers: list[File], inputs: int = 1, **rest: Any) -> File:
    return {"in_shape": [None, None, inputs], "layers": layers} | rest


def keras_dense(kernel: npt.ArrayLike, bias: npt.ArrayLike | None = None, activation: str = "") -> File:
    held = np.asarray(kernel, dtype=np.float32)
    parts = [held.tolist()] + ([] if bias is None else [np.asarray(bias, dtype=np.float32).tolist()])
    return {"type": "dense", "activation": activation, "shape": [None, None, held.shape[1]], "weights": parts}


def proteus(inputs: int = 1, cells: int = 3, gates: int = 4, **data: Any) -> File:
    rng = np.random.default_rng(5)

    def some(*shape: int) -> Any:
        return np.float32(rng.uniform(-0.6, 0.6, shape)).tolist()

    kind = "LSTM" if gates == 4 else "GRU"
    model = {"model": "SimpleRNN", "input_size": inputs, "skip": 1, "output_size": 1, "unit_type": kind}
    tensors = {
        "rec.weight_ih_l0": some(gates * cells, inputs),
        "rec.weight_hh_l0": some(gates * cells, cells),
        "rec.bias_ih_l0": some(gates * cells),
        "rec.bias_hh_l0": some(gates * cells),
        "lin.weight": some(1, cells),
        "lin.bias": some(1),
    }
    return {
        "model_data": model | {"num_layers": 1, "hidden_size": cells, "bias_fl": True} | data,
        "state_dict": tensors,
    }


# Equal to the originals


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("wavenet", 1e-6), ("lstm", 1e-6), ("wavenet_condition_dsp", 1e-6), ("wavenet_a2_max", 1e-5)],
)
def test_answers_what_nam_core_answered(answers: dict[str, Float32], name: str, tolerance: float) -> None:
    capture = read_capture(CORPUS / f"{name}.nam")
    error = np.abs(render(capture, answers["di"]) - answers[name]).max()
    assert error <= tolerance
    # The beginning is right only because the network was warm; this LSTM's stored start is where zeros lead anyway.
    if name != "lstm":
        assert np.abs(render(capture, answers["di"], prewarm=False) - answers[name]).max() > 3 * tolerance


@pytest.mark.parametrize("name", ["conv", "lstm_1d", "gru_torch"])
def test_answers_what_rtneural_answered(answers: dict[str, Float32], name: str) -> None:
    capture = read_capture(CORPUS / f"{name}.json")
    assert capture.source.format == "rtneural"
    assert np.abs(render(capture, answers[f"{name}_x"]) - answers[name]).max() <= 3e-7


# The order of the weights, and nothing but the weights


def of_conv(conv: Conv) -> list[Float32]:
    return [conv.weight] if conv.bias is None else [conv.weight, conv.bias]


def of_wavenet(network: WaveNet) -> list[Float32]:
    """All weights in the order of the file, as the format's description has it."""
    held: list[Float32] = []
    for part in network.arrays:
        held += of_conv(part.rechannel)
        for layer in part.layers:
            held += of_conv(layer.conv) + of_conv(layer.mixin)
            for conv in (layer.layer1x1, layer.head1x1):
                held += [] if conv is None else of_conv(conv)
            films: list[Film | None] = [
                layer.films.conv_pre,
                layer.films.conv_post,
                layer.films.mixin_pre,
                layer.films.mixin_post,
                layer.films.activation_pre,
                layer.films.activation_post,
                layer.films.layer1x1_post,
                layer.films.head1x1_post,
            ]
            for film in films:
                held += [] if film is None else of_conv(film.conv)
        held += of_conv(part.head)
    for _, conv in network.post:
        held += of_conv(conv)
    return [*held, np.array([network.head_scale], dtype=np.float32)]


PLACES = ["conv_pre", "conv_post", "input_mixin_pre", "input_mixin_post"]
PLACES += ["activation_pre", "activation_post", "layer1x1_post", "head1x1_post"]
ALL_FILMS = {
    f"{place}_film": {"active": True, "shift": index % 2 == 0, "groups": 1} for index, place in enumerate(PLACES)
}
WIDE = array(
    kernel_size=None,
    channels=4,
    bottleneck=6,
    kernel_sizes=[2, 3],
    gating_mode="blended",
    groups_input=2,
    head={"out_channels": 4, "kernel_size": 3, "bias": False},
    head1x1={"active": True, "out_channels": 4, "groups": 2},
    layer1x1={"active": True, "groups": 2},
    **ALL_FILMS,
)
LAST = array(
    input_size=4,
    channels=3,
    bottleneck=4,
    dilations=[5],
    gating_mode=["gated"],
    layer1x1={"active": False, "groups": 1},
    head={"out_channels": 2, "kernel_size": 2, "bias": True, "head_dilation": 4},
)
# Counted by hand: films of D channels take 2D + 2D numbers with a shift, D + D without.
WIDE_FILMS = (4 * 4) + (2 * 12) + (4 * 1) + (2 * 12) + (4 * 12) + (2 * 6) + (4 * 4) + (2 * 4)
WIDE_LAYER = 12 + 12 + (4 * 3 + 4) + (4 * 3 + 4) + WIDE_FILMS
WIDE_COUNT = 4 + (12 * 2 * 2 + WIDE_LAYER) + (12 * 2 * 3 + WIDE_LAYER) + 4 * 4 * 3
LAST_COUNT = 12 + (8 * 3 * 2 + 8 + 8) + (2 * 4 * 2 + 2)
POST = {"channels": 3, "out_channels": 1, "kernel_sizes": [1, 2], "activation": {"name": "ReLU"}}
POST_COUNT = (3 * 2 + 3) + (3 * 2 + 1)
EVERYTHING = WIDE_COUNT + LAST_COUNT + POST_COUNT + 1


def test_every_weight_of_a_wavenet_stands_where_the_format_puts_it(tmp_path: Path) -> None:
    held = [float(number) for number in range(EVERYTHING)]
    capture = read_capture(write(tmp_path, wavenet(held, WIDE, LAST, head=POST)))
    network = capture.variants[0].network
    assert isinstance(network, WaveNet)
    assert np.array_equal(np.concatenate([part.ravel() for part in of_wavenet(network)]), held)
    first, last = network.arrays[0].layers[1], network.arrays[1]
    assert first.conv.weight.shape == (12, 2, 3)
    assert (first.conv.groups, first.conv.dilation, first.bottleneck) == (2, 3, 6)
    assert (last.head.taps, last.head.dilation, last.head.memory_samples) == (2, 4, 4)
    assert last.layers[0].layer1x1 is None
    assert network.receptive_field_samples == 1 + 1 + 2 * 3 + 2 + 5 + 4 + 1
    assert network.prewarm_samples == network.receptive_field_samples
    assert any("layer1x1" in note for note in capture.notes)


@pytest.mark.parametrize("more", [-1, 1])
def test_weights_are_consumed_exactly(tmp_path: Path, more: int) -> None:
    text = refusal(write(tmp_path, wavenet(EVERYTHING + more, WIDE, LAST, head=POST)))
    assert f"amp.nam: weights has {EVERYTHING + more} numbers" in text


def test_a_nested_condition_is_read_and_its_outputs_drive_the_layers(tmp_path: Path) -> None:
    inner = wavenet(PLAIN + 2 + 1, array(head={"out_channels": 2, "kernel_size": 1, "bias": True}))
    outer = array(condition_size=2)
    count = PLAIN + 2 * 2
    capture = read_capture(write(tmp_path, wavenet(count, outer, condition_dsp=inner)))
    network = capture.variants[0].network
    assert isinstance(network, WaveNet)
    assert isinstance(network.condition, WaveNet)
    assert network.condition.outputs == 2
    assert network.receptive_field_samples == 1 + 4 + 4
    silent = inner | {"weights": [0.0] * (PLAIN + 3)}
    other = read_capture(write(tmp_path, wavenet(count, outer, condition_dsp=silent)))
    sound = np.sin(np.arange(50))
    assert np.abs(render(capture, sound) - render(other, sound)).max() > 1e-4
    wrong = inner | {"sample_rate": 44100}
    assert "config.condition_dsp.sample_rate is 44100" in refusal(
        write(tmp_path, wavenet(count, outer, condition_dsp=wrong))
    )


def test_an_lstm_keeps_its_gates_and_its_stored_start(tmp_path: Path) -> None:
    config = {"input_size": 1, "hidden_size": 2, "num_layers": 2}
    per_layer = [8 * 3 + 8 + 4, 8 * 4 + 8 + 4]
    held = [float(number) for number in range(sum(per_layer) + 3)]
    network = read_capture(write(tmp_path, nam("LSTM", config, held))).variants[0].network
    assert isinstance(network, Stack)
    first, second, head = network.layers
    assert isinstance(first, Recurrent)
    assert isinstance(second, Recurrent)
    assert isinstance(head, Conv)
    joined = np.hstack((first.input_weight, first.state_weight)).ravel()
    assert np.array_equal(joined, held[:24])
    assert np.array_equal(first.input_bias, held[24:32])
    assert not first.state_bias.any()
    assert (first.state.tolist(), first.cell.tolist()) == (held[32:34], held[34:36])
    assert (second.inputs, second.state.tolist()) == (2, held[36 + 40 : 36 + 42])
    assert head.weight.ravel().tolist() + head.bias.tolist() == held[-3:]  # type: ignore[union-attr]
    assert network.prewarm_samples == 24000


def test_an_lstm_without_a_rate_is_prewarmed_as_core_does_it(tmp_path: Path) -> None:
    file = nam("LSTM", {"input_size": 1, "hidden_size": 1, "num_layers": 1}, 16)
    assert read_capture(write(tmp_path, file | {"sample_rate": 44100})).variants[0].network.prewarm_samples == 22080
    del file["sample_rate"]
    capture = read_capture(write(tmp_path, file))
    assert capture.sample_rate == 48000
    assert "48000" in capture.notes[0]
    assert capture.variants[0].network.prewarm_samples == 64


def by_hand(x: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two taps, sample by sample: weights[0] meets the sample before."""
    return np.array([weights[1] * now + weights[0] * before for before, now in zip([0.0, *x], x, strict=False)])


def test_a_convnet_with_batch_normalisation(tmp_path: Path) -> None:
    # conv k0, k1; mean, variance, weight, bias, eps; head weight, bias
    held = [0.3, -0.7, 0.1, 0.75, 2.0, 0.4, 0.25, 1.5, -0.2]
    config = {"channels": 1, "dilations": [1], "batchnorm": True, "activation": "ReLU"}
    capture = read_capture(write(tmp_path, nam("ConvNet", config, held)))
    x = np.random.default_rng(1).standard_normal(40)
    normal = (by_hand(x, np.array(held[:2])) - 0.1) / math.sqrt(0.75 + 0.25) * 2.0 + 0.4
    assert np.allclose(render(capture, x), 1.5 * np.maximum(normal, 0.0) - 0.2, atol=1e-6)
    held[3] = -1.0
    assert "config.batchnorm has a variance of -0.75" in refusal(write(tmp_path, nam("ConvNet", config, held)))


def test_a_linear_model_is_its_impulse_response(tmp_path: Path) -> None:
    capture = read_capture(write(tmp_path, nam("Linear", {"receptive_field": 3, "bias": False}, [1.0, 0.5, 0.25])))
    assert render(capture, [1.0, 0.0, 0.0, 0.0]).tolist() == [1.0, 0.5, 0.25, 0.0]
    biased = nam("Linear", {"receptive_field": 2, "bias": True}, [1.0, 0.5, 0.125])
    assert render(read_capture(write(tmp_path, biased)), [1.0, 0.0, 0.0]).tolist() == [1.125, 0.625, 0.125]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({}, lambda z, g: np.tanh(z)),
        ({"gated": None}, lambda z, g: np.tanh(z)),
        ({"gated": True}, lambda z, g: np.tanh(z) / (1 + np.exp(-g))),
        ({"gating_mode": "gated", "secondary_activation": "ReLU"}, lambda z, g: np.tanh(z) * np.maximum(g, 0)),
        ({"gating_mode": ["blended"], "secondary_activation": [None]}, None),
    ],
)
def test_gating(tmp_path: Path, mode: File, expected: Callable[..., Any] | None) -> None:
    """One channel, one tap: rechannel 1, conv, bias, mixin, head 1, scale 1; the second row is the gate."""
    plain = array(channels=1, kernel_size=1, dilations=[1], layer1x1={"active": False, "groups": 1}, **mode)
    plain["head"] = {"out_channels": 1, "kernel_size": 1, "bias": False}
    two = [[0.9, -1.3], [0.1, 0.2], [0.5, 0.7]]  # of both rows: conv, bias, mixin
    gated = mode and mode.get("gated", True)
    held = [1.0, *(row for part in two for row in (part if gated else part[:1])), 1.0, 1.0]
    x = np.random.default_rng(2).standard_normal(30)
    z, g = 1.4 * x + 0.1, -0.6 * x + 0.2
    if expected is None:
        share = 1 / (1 + np.exp(-g))
        wanted = share * np.tanh(z) + (1 - share) * z
    else:
        wanted = expected(z, g)
    assert np.allclose(render(read_capture(write(tmp_path, wavenet(held, plain))), x), wanted, atol=1e-6)


def activations(tmp_path: Path, activation: Any) -> Activation:
    network = read_capture(write(tmp_path, wavenet(PLAIN, array(activation=activation)))).variants[0].network
    assert isinstance(network, WaveNet)
    return network.arrays[0].layers[1].activation


@pytest.mark.parametrize(
    ("given", "kind", "values"),
    [
        ("Fasttanh", "fast_tanh", ()),
        ("tanh", "tanh", ()),
        ("Hardtanh", "hard_tanh", ()),
        ({"type": "ReLU"}, "relu", ()),
        ("LeakyReLU", "leaky_relu", (0.01,)),
        ({"name": "LeakyReLU", "negative_slope": 0.2}, "leaky_relu", (0.2,)),
        ({"type": "PReLU", "negative_slope": 0.3}, "leaky_relu", (0.3,)),
        ({"type": "PReLU", "negative_slopes": [0.3, 0.1]}, "prelu", (0.3, 0.1)),
        ("Sigmoid", "sigmoid", ()),
        ("SiLU", "silu", ()),
        ("Hardswish", "hard_swish", ()),
        ("Softsign", "softsign", ()),
        ("LeakyHardtanh", "leaky_hard_tanh", (-1.0, 1.0, 0.01, 0.01)),
        ({"type": "LeakyHardtanh", "min_val": -0.5, "max_slope": 0}, "leaky_hard_tanh", (-0.5, 1.0, 0.01, 0.0)),
        (["Tanh", {"type": "SiLU"}], "silu", ()),
    ],
)
def test_activations_with_their_parameters(tmp_path: Path, given: Any, kind: str, values: tuple[float, ...]) -> None:
    found = activations(tmp_path, given)
    assert (found.kind, found.values) == (kind, values)


def test_a_film_on_the_residual_1x1_acts_only_where_core_lets_it(tmp_path: Path) -> None:
    film = {"layer1x1_post_film": {"active": True, "shift": False, "groups": 1}}
    count = PLAIN + 2 * 4

    def first(**mode: Any) -> tuple[Film | None, tuple[str, ...]]:
        more = 2 * (2 * 2 * 2 + 2 + 2) if mode else 0
        capture = read_capture(write(tmp_path, wavenet(count + more, array(**film, **mode))))
        network = capture.variants[0].network
        assert isinstance(network, WaveNet)
        return network.arrays[0].layers[0].films.layer1x1_post, capture.notes

    left_out, notes = first()
    assert left_out is None
    assert any("layer1x1_post_film" in note for note in notes)
    assert first(gating_mode="gated")[0] is None
    kept, notes = first(gating_mode="blended")
    assert kept is not None
    assert not notes


@pytest.mark.parametrize("biases", [(False, False), (False, True), (True, True)])
def test_head_biases_that_a_file_does_not_name_are_told_by_the_count(tmp_path: Path, biases: tuple[bool, bool]) -> None:
    first = array(head={"out_channels": 2, "kernel_size": 1})
    last = array(input_size=2, head={"out_channels": 1, "kernel_size": 1})
    count = 2 + 4 + 2 * 2 * 18 + (4 + 2 * biases[0]) + (2 + biases[1]) + 1
    network = read_capture(write(tmp_path, wavenet(count, first, last))).variants[0].network
    assert isinstance(network, WaveNet)
    assert tuple(part.head.bias is not None for part in network.arrays) == biases


def test_more_inputs_become_knobs(tmp_path: Path) -> None:
    file = wavenet(PLAIN + 2 + 4, array(input_size=2, condition_size=2), in_channels=2)
    capture = read_capture(write(tmp_path, file))
    assert [knob.name for knob in capture.knobs] == ["input2"]
    x = np.zeros(20)
    assert np.abs(render(capture, x, [1.0]) - render(capture, x, [0.0])).max() > 1e-3


# Slimmable containers


def container(*maxima: float, **rest: Any) -> File:
    models = [
        {"max_value": maximum, "model": wavenet(PLAIN, array(), head_scale=0.5) | {"metadata": {"loudness": -20 - i}}}
        for i, maximum in enumerate(maxima)
    ]
    return nam("SlimmableContainer", {"submodels": models}, []) | rest


def test_a_container_has_one_variant_per_width(tmp_path: Path) -> None:
    capture = read_capture(write(tmp_path, container(0.5, 1.0)))
    assert [variant.maximum for variant in capture.variants] == [0.5, 1.0]
    assert capture.architecture == "WaveNet"
    assert capture.loudness_db == -21.0
    assert read_capture(write(tmp_path, container(0.5, 1.0, metadata={"loudness": -9}))).loudness_db == -9.0
    inner = container(1.0, sample_rate=None)
    inner["config"]["submodels"][0]["model"]["sample_rate"] = 44100
    assert read_capture(write(tmp_path, inner)).sample_rate == 44100


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (container(0.5, 0.4), "config.submodels[1].max_value is 0.4: more than 0.5"),
        (container(0.5, 0.9), "the last max_value is 0.9"),
        (container(1.0, weights=[1.0]), "weights is a list of 1"),
        (container(1.0, config={"submodels": []}), "config.submodels is a list of 0"),
        (
            container(1.0, config={"submodels": [{"max_value": 1.0, "model": container(1.0)}]}),
            'config.submodels[0].model.architecture is "SlimmableContainer": a container is only read',
        ),
        (container(1.0, sample_rate=44100), "config.submodels[0].model.sample_rate is 48000"),
        (
            container(1.0, config={"submodels": [{"max_value": 1.0, "model": wavenet([0.0, math.nan], array())}]}),
            "config.submodels[0].model.weights[1] is nan",
        ),
    ],
)
def test_wrong_containers(tmp_path: Path, file: File, wanted: str) -> None:
    assert wanted in refusal(write(tmp_path, file))


# The other formats


def keras_of_proteus(file: File, gates: int) -> File:
    """The same network in the other format: kernels transposed, gates in the order of Keras."""
    held = {key: np.array(value, dtype=np.float32) for key, value in file["state_dict"].items()}
    cells = held["lin.weight"].shape[1]
    order = np.arange(4 * cells) if gates == 4 else np.r_[cells : 2 * cells, :cells, 2 * cells : 3 * cells]
    kernel, recurrent = held["rec.weight_ih_l0"][order].T, held["rec.weight_hh_l0"][order].T
    both = [held["rec.bias_ih_l0"][order], held["rec.bias_hh_l0"][order]]
    bias = (both[0] + both[1]).tolist() if gates == 4 else [part.tolist() for part in both]
    layer = {"type": "lstm" if gates == 4 else "gru", "activation": "tanh", "shape": [None, None, cells]}
    layers = [layer | {"weights": [kernel.tolist(), recurrent.tolist(), bias]}]
    return keras([*layers, keras_dense(held["lin.weight"].T, held["lin.bias"])], kernel.shape[0], in_skip=1)


def nam_of_proteus(file: File) -> File:
    held = {key: np.array(value, dtype=np.float32) for key, value in file["state_dict"].items()}
    cells = held["lin.weight"].shape[1]
    parts = [np.hstack((held["rec.weight_ih_l0"], held["rec.weight_hh_l0"])).ravel()]
    parts += [held["rec.bias_ih_l0"] + held["rec.bias_hh_l0"], np.zeros(2 * cells), held["lin.weight"].ravel()]
    flat = [float(x) for x in np.concatenate([*parts, held["lin.bias"]])]
    return nam("LSTM", {"input_size": 1, "hidden_size": cells, "num_layers": 1}, flat)


@pytest.mark.parametrize("gates", [4, 3])
@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_one_network_in_every_format_gives_one_answer(tmp_path: Path, gates: int, inputs: int) -> None:
    file = proteus(inputs, gates=gates)
    capture = read_capture(write(tmp_path, file, "a.json"))
    assert (capture.source.format, capture.sample_rate) == ("proteus", 44100)
    assert [knob.name for knob in capture.knobs] == ["drive", "tone"][: inputs - 1]
    assert capture.architecture == ("LSTM" if gates == 4 else "GRU")
    rng = np.random.default_rng(3)
    x, knobs = rng.standard_normal(200), rng.uniform(0, 1, inputs - 1)
    wanted = render(capture, x, knobs, prewarm=False)
    other = read_capture(write(tmp_path, keras_of_proteus(file, gates), "b.json"))
    assert (other.source.format, len(other.knobs)) == ("aidax", inputs - 1)
    assert np.abs(render(other, x, knobs, prewarm=False) - wanted).max() < 1e-6
    if gates == 4 and inputs == 1:
        third = read_capture(write(tmp_path, nam_of_proteus(file)))
        assert np.abs(render(third, x, prewarm=False) + x - wanted).max() < 1e-6
    without = read_capture(write(tmp_path, proteus(inputs, gates=gates, skip=0), "c.json"))
    assert np.allclose(render(without, x, knobs, prewarm=False) + x, wanted)
    if inputs > 1:
        assert np.abs(render(capture, x, 1 - knobs, prewarm=False) - wanted).max() > 1e-3


def test_several_layers_of_one_torch_lstm(tmp_path: Path) -> None:
    file = proteus(cells=3, num_layers=2)
    second = proteus(3, cells=3)["state_dict"]
    file["state_dict"] |= {key[:-1] + "1": value for key, value in second.items() if key.startswith("rec.")}
    capture = read_capture(write(tmp_path, file, "a.json"))
    network = capture.variants[0].network
    assert isinstance(network, Stack)
    assert [type(layer) for layer in network.layers] == [Recurrent, Recurrent, Conv]
    # Without l1 of num_layers 2, and with an l1 too much.
    assert "model_data.num_layers is 2" in refusal(write(tmp_path, proteus(num_layers=2), "a.json"))
    file["model_data"]["num_layers"] = 1
    assert "model_data.num_layers is 1: its weights have 2" in refusal(write(tmp_path, file, "a.json"))


def test_aidax_gains_skip_and_description(tmp_path: Path) -> None:
    about = {
        "name": " Tweed\n\x0740 ",
        "samplerate": "44100",
        "author": "me",
        "license": "CC0",
        "style": "clean",
        "esr": 0.1,
    }
    file = keras([keras_dense([[0.5]])], in_skip=1, in_gain=6.0, out_gain=-20, metadata=about)
    capture = read_capture(write(tmp_path, file | {"input_batch": [1.0, 2.0], "output_batch": [1.5, 3.0]}, "x.aidax"))
    assert (capture.name, capture.sample_rate, capture.author, capture.licence) == ("Tweed 40", 44100, "me", "CC0")
    assert capture.tags == {"style": "clean", "esr": "0.1"}
    assert render(capture, [1.0])[0] == pytest.approx(1.5 * 10 ** (6 / 20) * 0.1)
    assert capture.variants[0].network.prewarm_samples == 2048
    assert capture.self_test is not None
    silent = read_capture(write(tmp_path, file | {"out_gain": -90}))
    assert render(silent, [1.0])[0] == 0.0
    network = capture.variants[0].network
    assert isinstance(network, Stack)
    # A self-test is meant without gains, from states of 0.
    plain = Stack(network.layers, 1, skip=True)
    assert np.allclose(answer(plain, capture.self_test.audio[None].astype(float))[0], capture.self_test.output)


def test_layers_of_keras(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    kernel, spread = rng.standard_normal((2, 1, 2)), np.array([0.5, 2.0])
    norm = {"type": "batchnorm", "weights": [[1.0, 0.0], spread.tolist()], "epsilon": 0.25}
    layers: list[File] = [
        {"type": "conv1d", "kernel_size": [2], "dilation": [1], "groups": 1, "weights": [kernel.tolist(), [0.1, -0.1]]},
        norm,
        {"type": "prelu", "weights": [[[0.3]]]},
        {"type": "activation", "activation": "softmax", "weights": []},
        keras_dense([[1.0], [-1.0]], activation="elu"),
    ]
    capture = read_capture(write(tmp_path, keras(layers), "x.json"))
    assert capture.variants[0].network.prewarm_samples == 0
    x = rng.standard_normal(20)
    z = np.stack([by_hand(x, kernel[:, 0, out]) + (0.1, -0.1)[out] for out in (0, 1)])
    z = (z - [[1.0], [0.0]]) / np.sqrt(spread + 0.25)[:, None]
    z = np.where(z > 0, z, 0.3 * z)
    share = np.exp(z) / np.exp(z).sum(axis=0)
    difference = share[0] - share[1]
    wanted = np.where(difference > 0, difference, np.exp(difference) - 1)
    assert np.allclose(render(capture, x), wanted, atol=1e-6)
    network = capture.variants[0].network
    assert isinstance(network, Stack)
    assert [type(layer) for layer in network.layers] == [Conv, Affine, Activation, Activation, Conv, Activation]


def test_the_old_directory_form(tmp_path: Path) -> None:
    """config.json and weights.npy, any version, the same order of weights."""
    file = wavenet(PLAIN, array())
    whole = read_capture(write(tmp_path, file))
    folder = tmp_path / "old amp"
    folder.mkdir()
    np.save(folder / "weights.npy", np.array(file.pop("weights"), dtype=np.float32))
    write(folder, file | {"version": "0.4.0"}, "config.json")
    capture = read_capture(folder)
    assert (capture.name, capture.source.format, capture.source.file) == ("old amp", "nam-directory", "old amp")
    x = np.random.default_rng(0).standard_normal(50)
    assert np.array_equal(render(capture, x), render(whole, x))
    write(folder, file | {"weights": [1.0]}, "config.json")
    assert "beside weights.npy" in refusal(folder)


def npy(header: bytes, data: bytes = b"") -> bytes:
    padded = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (pickled(), "is no .npy file"),
        (b"\x80\x04]\x94G?\xf0\0\0\0\0\0\0a.", "is no .npy file"),
        (b"", "is no .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "is no .npy file"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"), "promises 1000000000000"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "is no .npy file"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}", bytes(8)), "is no .npy file"),
        (npy(b"{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}", bytes(8)), "is no .npy file"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", b"\0\0\xc0\x7f"), "not finite"),
        (npy(b"(" * 100), "is no .npy file"),
    ],
)
def test_weights_of_a_directory_that_are_none(tmp_path: Path, data: bytes, wanted: str) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    write(folder, data, "weights.npy")
    assert "config.json and weights.npy" in refusal(folder)
    file = wavenet([], array())
    del file["weights"]
    write(folder, file, "config.json")
    text = refusal(folder)
    assert text.startswith("old/weights.npy: weights ")
    assert wanted in text


# What is found in the wild


def test_what_describes_may_be_anything(tmp_path: Path) -> None:
    plain = wavenet(PLAIN, array())
    odd: list[Any] = [None, "text", [], {"name": None, "loudness": math.nan, "gain": "loud", "date": 3}]
    odd.append({"name": 7, "gear_type": ["amp"], "input_level_dbu": None, "training": {"validation_esr": math.nan}})
    odd.append({"loudness": 10**400, "gain": 2.0, "date": {"year": 2024, "month": 13, "day": 1}})
    for metadata in odd:
        capture = read_capture(write(tmp_path, plain | {"metadata": metadata, "extra": {"a": [1]}}))
        assert (capture.name, capture.author, capture.date, capture.tags) == ("amp", "", "", {})
        assert (capture.loudness_db, capture.gain, capture.input_level_dbu) == (None, None, None)
    full = {"name": "Deluxe", "modeled_by": "S", "loudness": -18, "gain": 0.5, "tone_type": "clean", "gear_make": ""}
    full |= {"input_level_dbu": 18.3, "output_level_dbu": 12, "date": {"year": 2024, "month": 1, "day": 20}}
    capture = read_capture(write(tmp_path, plain | {"metadata": full}))
    assert (capture.name, capture.author, capture.date, capture.tags) == (
        "Deluxe",
        "S",
        "2024-01-20",
        {"tone_type": "clean"},
    )
    assert (capture.loudness_db, capture.gain) == (-18.0, 0.5)
    assert (capture.input_level_dbu, capture.output_level_dbu) == (18.3, 12.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: json.dumps(file).encode("utf-8-sig"),
        lambda file: json.dumps(file).encode("utf-16"),
        lambda file: json.dumps(file | {"architecture": "wavenet"}).encode(),
        lambda file: json.dumps({key.capitalize(): value for key, value in file.items()}).encode(),
        lambda file: json.dumps(file | {"version": "0.5.17", "sample_rate": 48000.0}).encode(),
        lambda file: json.dumps(file | {"version": "0.7.0.dev1"}).encode(),
        lambda file: json.dumps(file | {"sample_rate": None}).encode(),
        lambda file: json.dumps(file | {"metadata": {"name": "X"}}).replace("X", "\xe9").encode("latin-1"),
        lambda file: json.dumps(file, indent=4).replace('"dilations"', '"slimmable": null, "dilations"').encode(),
        lambda file: json.dumps(file).replace('"channels": 2', '"channels": 2.0').encode(),
        lambda file: json.dumps(file).replace('"channels": 2', '"channels": 2, "bottleneck": null').encode(),
        lambda file: json.dumps(file).replace('"head": null, ', "").encode(),
        lambda file: json.dumps(file).replace('"head_scale": 0.5', '"in_channels": null').encode(),
        lambda file: json.dumps(file).replace('"bias": true', '"bias": 1').encode(),
        lambda file: json.dumps(file).replace('"channels": 2', '"channels": 2, "conv_pre_film": false').encode(),
        lambda file: json.dumps(file).replace('"channels": 2', '"channels": 2, "secondary_activation": ""').encode(),
    ],
)
def test_harmless_variants_are_read_alike(tmp_path: Path, change: Callable[[File], bytes]) -> None:
    file = wavenet(PLAIN, array())
    x = np.random.default_rng(0).standard_normal(30)
    wanted = render(read_capture(write(tmp_path, file)), x)
    assert np.array_equal(render(read_capture(write(tmp_path, change(file))), x), wanted)


# What is wrong


def set_at(file: File, path: str, value: Any) -> File:
    """A copy with the value at a path such as config.layers.0.channels; KeyError-free deletion for `...`."""
    made: File = json.loads(json.dumps(file))
    at: Any = made
    *way, last = path.split(".")
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    if value is ...:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return made


LSTM = nam("LSTM", {"input_size": 1, "hidden_size": 1, "num_layers": 1}, 16)
CONVNET = nam("ConvNet", {"channels": 1, "dilations": [1], "batchnorm": False, "activation": "Tanh"}, 5)
LINEAR = nam("Linear", {"receptive_field": 3, "bias": False}, 3)
NAM = wavenet(PLAIN, array())
KERAS = keras([keras_dense([[0.5, 0.5]]), keras_dense([[1.0], [1.0]], [0.0])])
TORCH = {"l.weight": [[1.0], [2.0]], "l.bias": [0.0, 0.0], "m.weight": [[1.0, 1.0]]}


@pytest.mark.parametrize(
    ("file", "path", "value", "wanted"),
    [
        (NAM, "version", ..., "amp.nam: version is missing"),
        (NAM, "version", 0.7, "version is 0.7: a text"),
        (NAM, "version", "new", 'version is "new"'),
        (NAM, "version", "0.8.0", 'version is "0.8.0": newer'),
        (NAM, "version", "1.0.0", 'version is "1.0.0": newer'),
        (NAM, "version", "0.4.0", 'version is "0.4.0": 0.5.0 to 0.7'),
        (NAM, "architecture", "CatLSTM", 'architecture is "CatLSTM": WaveNet, LSTM'),
        (NAM, "architecture", 3, "architecture is 3: a text is wanted"),
        (NAM, "config", ..., "config is missing"),
        (NAM, "config", [], "config is a list of 0: an object"),
        (NAM, "weights", ..., "weights is missing"),
        (NAM, "weights", "AAAA", 'weights is "AAAA": a list'),
        (NAM, "weights", [], "weights has 0 numbers: too few, they end in config.layers[0];"),
        (NAM, "weights.3", "1.0", 'weights[3] is "1.0": a number'),
        (NAM, "weights.3", True, "weights[3] is true: a number"),
        (NAM, "weights.3", None, "weights[3] is null"),
        (NAM, "weights.3", [1.0], "weights[3] is a list of 1"),
        (NAM, "weights.3", math.nan, "weights[3] is nan: finite"),
        (NAM, "weights.3", -math.inf, "weights[3] is -inf: finite"),
        (NAM, "weights.3", 1e39, "weights[3] is 1e+39: finite"),
        (NAM, "weights.3", 10**400, "weights[3] is 1000000000000000000"),
        (NAM, "sample_rate", "48000", 'sample_rate is "48000": 8000 to 384000'),
        (NAM, "sample_rate", 10, "sample_rate is 10: 8000 to 384000"),
        (NAM, "sample_rate", 44100.5, "sample_rate is 44100.5"),
        (NAM, "config.layers", ..., "config.layers is missing: a list of 1 to 32"),
        (NAM, "config.layers", [], "config.layers is a list of 0"),
        (NAM, "config.layers.0", "x", "config.layers[0].head_size is missing"),
        (NAM, "config.layers.0.channels", ..., "config.layers[0].channels is missing: 1 to 1024"),
        (NAM, "config.layers.0.channels", -3, "amp.nam: config.layers[0].channels is -3: 1 to 1024"),
        (NAM, "config.layers.0.channels", "2", 'config.layers[0].channels is "2": 1 to 1024'),
        (NAM, "config.layers.0.channels", 2.5, "config.layers[0].channels is 2.5"),
        (NAM, "config.layers.0.channels", True, "config.layers[0].channels is true"),
        (NAM, "config.layers.0.channels", 10**300, "config.layers[0].channels is 1000"),
        (NAM, "config.layers.0.channels", 1e300, "config.layers[0].channels is "),
        (NAM, "config.layers.0.channels", math.nan, "config.layers[0].channels is nan"),
        (NAM, "config.layers.0.channels", 1024, "weights has 42 numbers: too few"),
        (NAM, "config.layers.0.bottleneck", 1024, "weights has 42 numbers: too few"),
        (NAM, "config.layers.0.input_size", 2, "config.layers[0].input_size is 2: 1, as many as arrive"),
        (NAM, "config.layers.0.condition_size", 2, "config.layers[0].condition_size is 2: 1, the channels"),
        (NAM, "config.layers.0.dilations", [], "config.layers[0].dilations is a list of 0"),
        (NAM, "config.layers.0.dilations", [0], "config.layers[0].dilations[0] is 0: 1 to 131072"),
        (NAM, "config.layers.0.dilations", [1, 10**9], "config.layers[0].dilations[1] is 1000000000"),
        (NAM, "config.layers.0.dilations", {"0": 1}, "config.layers[0].dilations is an object"),
        (NAM, "config.layers.0.dilations", [1] * 300, "config.layers[0].dilations is a list of 300"),
        (NAM, "config.layers.0.dilations", [1, 2, 4], "weights has 42 numbers"),
        (NAM, "config.layers.0.kernel_size", 0, "config.layers[0].kernel_size is 0: 1 to 4096"),
        (NAM, "config.layers.0.kernel_size", ..., "config.layers[0].kernel_size is missing"),
        (NAM, "config.layers.0.kernel_sizes", [2, 2], "kernel_sizes stands beside kernel_size"),
        (NAM, "config.layers.0.activation", "Gelu", 'config.layers[0].activation is "Gelu": Tanh, '),
        (NAM, "config.layers.0.activation", ["Tanh"], "config.layers[0].activation is a list of 1: 2 are wanted"),
        (NAM, "config.layers.0.activation", {"type": "X"}, 'config.layers[0].activation.type is "X"'),
        (NAM, "config.layers.0.activation", {}, "config.layers[0].activation.name is missing"),
        (
            NAM,
            "config.layers.0.activation",
            {"type": "PReLU", "negative_slopes": [1, 2, 3]},
            "negative_slopes is a list",
        ),
        (NAM, "config.layers.0.activation", {"type": "LeakyReLU", "negative_slope": "x"}, "activation.negative_slope"),
        (NAM, "config.layers.0.gating_mode", "soft", 'config.layers[0].gating_mode is "soft": none, gated or blended'),
        (NAM, "config.layers.0.gating_mode", ["none"], "config.layers[0].gating_mode is a list of 1: 2 are wanted"),
        (NAM, "config.layers.0.gated", "yes", 'config.layers[0].gated is "yes": true or false'),
        (NAM, "config.layers.0.gated", True, "weights has 42 numbers: too few"),
        (NAM, "config.layers.0.groups_input", 3, "config.layers[0].groups_input has 3 groups, which do not divide 2"),
        (NAM, "config.layers.0.groups_input_mixin", 2, "config.layers[0].groups_input_mixin has 2 groups"),
        (NAM, "config.layers.0.layer1x1", {"active": True, "groups": 5}, "config.layers[0].layer1x1 has 5 groups"),
        (NAM, "config.layers.0.conv_pre_film", {"groups": 2}, "config.layers[0].conv_pre_film has 2 groups"),
        (NAM, "config.layers.0.conv_pre_film", "on", 'config.layers[0].conv_pre_film is "on": an object'),
        (NAM, "config.layers.0.head1x1_post_film", {}, "head1x1_post_film is active, but what it modulates is not"),
        (NAM, "config.layers.0.head", ..., "config.layers[0].head_size is missing"),
        (NAM, "config.layers.0.head.kernel_size", 10**6, "config.layers[0].head.kernel_size is 1000000: 1 to 4096"),
        (NAM, "config.layers.0.head.out_channels", 2, "weights has 42 numbers"),
        (NAM, "config.layers.0.slimmable", {"method": "magic"}, 'config.layers[0].slimmable.method is "magic"'),
        (NAM, "config.in_channels", 0, "config.in_channels is 0: 1 to 9"),
        (NAM, "config.head", {"channels": 1, "out_channels": 1}, "config.head.kernel_sizes is missing"),
        (NAM, "config.condition_dsp", 3, "config.condition_dsp is 3: an object"),
        (NAM, "config.condition_dsp", {"architecture": "LSTM"}, "config.condition_dsp.config is missing"),
        (
            NAM,
            "config.condition_dsp",
            container(1.0),
            'condition_dsp.architecture is "SlimmableContainer": a container',
        ),
        (NAM, "config.condition_dsp", LSTM | {"version": "0.9.0"}, "config.condition_dsp.version is"),
        (LSTM, "config.hidden_size", 0, "config.hidden_size is 0: 1 to 1024"),
        (LSTM, "config.hidden_size", 1024, "weights has 16 numbers: too few, they end in layer 1"),
        (LSTM, "config.num_layers", 0, "config.num_layers is 0: 1 to 256"),
        (LSTM, "config.num_layers", 2, "weights has 16 numbers: too few, they end in layer 2"),
        (LSTM, "config.input_size", 2, "weights has 16 numbers: too few"),
        (LSTM, "config.input_size", 10, "config.input_size is 10: 1 to 9"),
        (LSTM, "config.in_channels", 2, "config.in_channels is 2: 1, as input_size"),
        (LSTM, "config.out_channels", 2, "weights has 16 numbers: too few"),
        (CONVNET, "config.groups", 2, "config.groups has 2 groups, which do not divide 1"),
        (CONVNET, "config.batchnorm", ..., "config.batchnorm is missing: true or false"),
        (CONVNET, "config.dilations", [], "config.dilations is a list of 0"),
        (LINEAR, "config.receptive_field", 240000, "config.receptive_field is 240000: 1 to 65536; a response"),
        (LINEAR, "config.receptive_field", 4, "weights has 3 numbers: too few"),
        (LINEAR, "config.receptive_field", 2, "weights has 3 numbers, but config describes 2"),
        (LINEAR, "config.bias", True, "weights has 3 numbers: too few, they end in bias"),
        (LINEAR, "config.out_channels", 2, "config.out_channels is 2: 1 to 1"),
        (KERAS, "in_shape", [None, 0], "in_shape[1] is 0: 1 to 9"),
        (KERAS, "in_shape", [None, 2], "layers[0].weights[0] is a list of 1: 2 are wanted"),
        (KERAS, "layers", [], "layers is a list of 0"),
        (KERAS, "layers.0.type", "conv2d", 'layers[0].type is "conv2d": dense, '),
        (KERAS, "layers.0.activation", "gelu", 'layers[0].activation is "gelu"'),
        (KERAS, "layers.0.shape", [None, None, 3], "layers[0].shape is a list of 3: 2 channels come out"),
        (KERAS, "layers.0.weights", [], "layers[0].weights is a list of 0"),
        (KERAS, "layers.0.weights.0", [[1.0, "x"]], 'layers[0].weights[0][0][1] is "x": a number'),
        (KERAS, "layers.1.weights.0", [[1.0], [1.0, 2.0]], "layers[1].weights[0][1] is a list of 2: 1 are wanted"),
        (KERAS, "layers.1.weights.0", [[1.0], 1.0], "layers[1].weights[0][1] is 1.0: a list"),
        (KERAS, "layers.1.weights.1", [0.0, 0.0], "layers[1].weights[1] is a list of 2: 1 are wanted"),
        (KERAS, "layers.1.weights.1", [math.nan], "layers[1].weights[1][0] is nan"),
        (KERAS, "layers", [keras_dense([[1.0, 1.0]])], "layers end in 2 outputs"),
        (KERAS, "in_skip", 2, "in_skip is 2: true or false"),
        (KERAS, "in_gain", "loud", 'in_gain is "loud"'),
        (KERAS, "metadata", {"samplerate": "fast"}, 'metadata.samplerate is "fast"'),
        (KERAS | {"output_batch": [1.0]}, "input_batch", [1.0, 2.0], "output_batch is a list of 1: 2 are wanted"),
        (proteus(), "model_data", 3, "model_data is 3: an object"),
        (proteus(), "state_dict", ..., "state_dict is missing"),
        (proteus(), "model_data.model", "GatedConvNet", 'model_data.model is "GatedConvNet": SimpleRNN'),
        (proteus(), "model_data.unit_type", "RNN", 'model_data.unit_type is "RNN": LSTM or GRU'),
        (proteus(), "model_data.unit_type", "GRU", "state_dict.rec weight_hh_l0 has 12 rows"),
        (proteus(), "model_data.hidden_size", 40, "model_data.hidden_size is 40: its weights have 3"),
        (proteus(), "model_data.input_size", 2, "model_data.input_size is 2: its weights have 1"),
        (proteus(4), "model_data.input_size", ..., "weight_ih_l0 has 4 columns: 1 to 3"),
        (proteus(), "model_data.output_size", 2, "model_data.output_size is 2"),
        (proteus(), "state_dict", {"rec.weight_ih_l0": [[1.0]]}, "state_dict.rec weight_ih_l0 belongs to no layer"),
        (proteus(), "state_dict", {}, "state_dict.rec has no weight_hh_l0"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, file: File, path: str, value: Any, wanted: str) -> None:
    assert wanted in refusal(write(tmp_path, set_at(file, path, value)))


TWO_OUT = {"out_channels": 2, "kernel_size": 1, "bias": True}
CONV1D_LAYER = {"type": "conv1d", "kernel_size": [2], "weights": [[[[0.5, 1.0]], [[1.0, 1.0]]], [0.0, 0.0]]}
CONV1D = keras([CONV1D_LAYER, keras_dense([[1.0], [1.0]])])


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (wavenet(PLAIN + 3, array(head=TWO_OUT)), "config has 2 outputs: captures with one are played"),
        (
            wavenet(PLAIN + 3 + 6 + 2 * 39 + 4 + 1, array(head=TWO_OUT), array(input_size=2, channels=3)),
            "config.layers[1] sums heads of 3 channels, but the head before it has 2",
        ),
        (
            wavenet(3 + 16, array(channels=3, bottleneck=2, dilations=[1], layer1x1={"active": True, "groups": 2})),
            "config.layers[0].layer1x1 has 2 groups, which do not divide 2 inputs and 3 outputs",
        ),
        (
            wavenet(PLAIN, array(activation={"type": "LeakyHardtanh", "min_val": 2})),
            "config.layers[0].activation.min_val is 2: at most max_val, 1",
        ),
        (
            wavenet(1 + 9 * 4 + 2 + 1, array(channels=1, dilations=[131072] * 9, layer1x1={"active": False})),
            "reach back 1179649 samples, 1179648 values",
        ),
        (set_at(CONV1D, "layers.0.strides", [2]), "layers[0].strides[0] is 2: 1"),
        (set_at(CONV1D, "layers.0.groups", 2), "layers[0].groups is 2: a divisor of the 1 inputs"),
        (set_at(CONV1D, "layers.0.kernel_size", [3]), "layers[0].kernel_size[0] is 3: its weights have 2"),
        (set_at(CONV1D, "layers.0.weights.0", [[[]], [[]]]), "layers[0].weights[0] is a list of 2: numbers are wanted"),
        (
            set_at(keras_of_proteus(proteus(gates=3), 3), "layers.0.weights.2", [0.0] * 9),
            "layers[0].weights[2] is one row: a GRU whose reset gate comes first",
        ),
    ],
)
def test_parts_that_do_not_fit_one_another(tmp_path: Path, file: File, wanted: str) -> None:
    assert wanted in refusal(write(tmp_path, file))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("rec.bias_hh_l0", None, "has one of bias_ih_l0 and bias_hh_l0"),
        ("lin.bias", None, "model_data.bias_fl is true, but state_dict lacks a bias"),
        ("lin.weight", None, "state_dict.lin.weight is null"),
        ("lin.weight", [[1.0, 2.0]], "state_dict.lin.weight[0] is a list of 2: 3 are wanted"),
        ("conv.weight", [[1.0]], "state_dict.conv.weight belongs to no layer"),
        ("rec.weight_hh_l0", [[1.0, 2.0]] * 7, "state_dict.rec weight_hh_l0 has 7 rows"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, name: str, value: Any, wanted: str) -> None:
    file = proteus()
    file["state_dict"].pop(name, None)
    if value is not None:
        file["state_dict"][name] = value
    assert wanted in refusal(write(tmp_path, file))


def test_torch_tensors_that_do_not_follow_one_another(tmp_path: Path) -> None:
    assert render(read_capture(write(tmp_path, TORCH)), [1.0]).tolist() == [3.0]
    swapped = {key: TORCH[key] for key in ("m.weight", "l.weight", "l.bias")}
    assert "l takes 1 channels" not in refusal(write(tmp_path, swapped))
    wrong = TORCH | {"m.weight": [[1.0, 1.0, 1.0]]}
    assert "m takes 3 channels, but 2 arrive" in refusal(write(tmp_path, wrong))
    assert "m has other" in refusal(write(tmp_path, TORCH | {"m.other": [1.0]}))


def test_files_that_are_no_captures(tmp_path: Path) -> None:
    assert "is empty" in refusal(write(tmp_path, b""))
    assert "not a whole JSON file" in refusal(write(tmp_path, b"PK\x03\x04 zip"))
    whole = json.dumps(NAM).encode()
    assert "not a whole JSON file" in refusal(write(tmp_path, whole[: len(whole) // 2]))
    assert "holds a list of 2: a capture is a JSON object" in refusal(write(tmp_path, b"[1, 2]"))
    assert "none of the keys" in refusal(write(tmp_path, {"a": 1}))
    assert "architecture is missing" in refusal(write(tmp_path, {"version": "0.5.0", "config": {}}))
    assert "in_shape is missing" in refusal(write(tmp_path, {"layers": []}))
    assert "SmartAmp" in refusal(write(tmp_path, {"variables": [], "dilations": [1]}))
    assert "No such file" in refusal(tmp_path / "nowhere.nam")
    assert "without config.json" in refusal(tmp_path)


def test_bombs(tmp_path: Path) -> None:
    assert "too deeply" in refusal(write(tmp_path, b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"))
    assert "more than 200000 lists" in refusal(write(tmp_path, b"[" * 10_000_000))
    assert "not a whole JSON file" in refusal(write(tmp_path, b'{"version": ' + b"9" * 5000 + b"}"))
    deep: File = LSTM
    for _ in range(6):
        deep = wavenet(PLAIN, array(), condition_dsp=deep)
    assert "deep within others" in refusal(write(tmp_path, deep))
    # Few weights, but 300 MB of the past.
    wide = array(channels=16, kernel_size=2, dilations=[131072] * 4, layer1x1={"active": False, "groups": 1})
    text = refusal(write(tmp_path, wavenet(16 + 4 * (16 * 16 * 2 + 16 + 16) + 17 + 1, wide)))
    assert "reach back 524289 samples, 8388608 values" in text


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.nam"
    path.touch()
    os.truncate(path, 500_000_000)
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("it was opened"))
    assert "477 MiB: a capture has at most 32 MiB" in refusal(path)
    assert MAX_BYTES == 32 * 2**20


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.nam"
    os.mkfifo(pipe)
    assert "not a plain file" in refusal(pipe)


# Whatever comes, a capture or one line


HOSTILE: list[Any] = [None, True, False, 0, 1, 2, -1, 3.5, 1e308, 10**30, math.nan, math.inf, "", "Tanh", "0.6.0", []]
HOSTILE += [{}, [1], [[1.0]], [None] * 3, {"a": 1}, "\x00\n\x7f", 2**31, "gated", [0.5] * 40]


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every member of every list and object of up to 40 members: (holder, key)."""
    found: list[tuple[Any, Any]] = []
    members = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:40]
    for key, held in members:
        found.append((value, key))
        if isinstance(held, dict | list):
            found += spots(held)
    return found


def survive(path: Path) -> Capture | None:
    try:
        capture = read_capture(path)
    except DuendeError as error:
        text = str(error)
        assert path.name in text
        assert "\n" not in text
        assert len(text) < 500
        return None
    for variant in capture.variants:
        # What was let through holds together: it answers, one output, finite weights.
        with np.errstate(all="ignore"):
            out = answer(variant.network, np.zeros((1 + len(capture.knobs), 3)))
        assert out.shape == (1, 3)
    return capture


SEEDS = [NAM, wavenet(EVERYTHING, WIDE, LAST, head=POST), LSTM, CONVNET, LINEAR, container(0.5, 1.0), KERAS, proteus(2)]
SEEDS += [keras_of_proteus(proteus(2), 4), keras_of_proteus(proteus(), 3), TORCH]


@pytest.mark.parametrize("index", range(len(SEEDS)))
def test_any_member_may_be_anything(tmp_path: Path, index: int) -> None:
    rng = np.random.default_rng(index)
    read = 0
    for _ in range(150):
        made = json.loads(json.dumps(SEEDS[index]))
        for _ in range(rng.integers(1, 3)):
            places = spots(made)
            holder, key = places[rng.integers(len(places))]
            if isinstance(holder, dict) and rng.random() < 0.15:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
        read += survive(write(tmp_path, made)) is not None
    assert read < 150


@pytest.mark.parametrize("index", range(len(SEEDS)))
def test_any_byte_may_be_anything(tmp_path: Path, index: int) -> None:
    rng = np.random.default_rng(index)
    whole = json.dumps(SEEDS[index]).encode()[:6000] if index == 1 else json.dumps(SEEDS[index]).encode()
    for _ in range(60):
        made = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            made[rng.integers(len(made))] = rng.choice(list(b'0123456789.-eE[]{}":, nN\x00\xff'))
        if rng.random() < 0.2:
            del made[rng.integers(len(made)) :]
        survive(write(tmp_path, bytes(made)))


def test_a_value_is_shown_briefly() -> None:
    assert fields.shown("x" * 1000) == '"' + "x" * 36 + "..."
    assert fields.shown(10**5000) == "a number of thousands of digits"
    assert fields.shown({"a": 1}) == "an object"
