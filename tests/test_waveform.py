"""Captures as processors: any block size, levels, knobs and quality without clicks, other rates, hostile files.

Clicks are measured as in the tests of the chain: what a sine of 100 Hz leaves above 5 kHz.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper
from scipy import signal

from duende import DuendeError
from duende.engine.chain import ITERATOR_BUFFER, Chain
from duende.engine.params import ParameterBank
from duende.engine.processor import StreamSpec
from duende.engine.resampled import RateBridge
from duende.engine.shared import SharedState
from duende.engine.spec import METADATA_KEY, Control, Tensor
from duende.engine.telemetry import Telemetry
from duende.engine.waveform import WaveformProcessor, open_waveform
from duende.engine.waveform_model import WaveformModel
from duende.engine.waveform_spec import WaveformSpec, decode_waveform_spec
from duende.export.captures.graph import convert
from duende.export.captures.network import Capture, Conv, Stack
from memory import measure
from networks import Draw, capture, stack, wavenet
from oracle import render
from signals import click_dbfs, impulse, noise, tone
from switching import host_of, play, rig_of

Float32 = npt.NDArray[np.float32]

RATE = 48000.0
BLOCKS = [1, 63, 64, 65, 128, 1000, 8192]


def gain(factor: float, rate: int = 48000, **known: Any) -> Capture:
    """A capture that multiplies."""
    weight = np.full((1, 1, 1), factor, dtype=np.float32)
    return capture(stack(Conv(weight), warm=0), rate=rate, **{"loudness_db": -18.0} | known)


def knobbed() -> Capture:
    """A saturation whose two knobs bend it."""
    draw = Draw(5)
    network = Stack((draw.conv(6, 3), draw.recurrent("gru", 5, 6), draw.conv(1, 5)), 3, True, 1.0, 1.0, 2000)
    return capture(network, knobs=("drive", "tone"), loudness_db=-18.0)


MADE: dict[str, Callable[[], Capture]] = {
    "wavenet": lambda: capture(wavenet(1, channels=(8, 4), dilations=(1, 2, 64)), loudness_db=-18.0),
    "lstm": lambda: capture(stack(Draw(2).recurrent("lstm", 6, 1), Draw(3).conv(1, 6)), loudness_db=-18.0),
    "knobs": knobbed,
    "44.1 kHz": lambda: capture(wavenet(1, channels=(8, 4)), rate=44100, loudness_db=-18.0),
    "slimmable": lambda: capture(
        wavenet(8, channels=(3,), dilations=(1, 400)), wavenet(9, channels=(4,), dilations=(1, 400)), loudness_db=-18.0
    ),
    "half": lambda: gain(0.5),
    "half at 44.1 kHz": lambda: gain(0.5, 44100),
    "half at 96 kHz": lambda: gain(0.5, 96000),
    "calibrated": lambda: gain(0.5, input_level_dbu=10.0, loudness_db=-24.0),
    "unknown": lambda: gain(0.5, loudness_db=None),
}


@functools.cache
def made(name: str) -> bytes:
    return convert(MADE[name]())


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], WaveformModel]:
    def opened(name: str) -> WaveformModel:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(made(name))
        return open_waveform(path)

    return opened


Open = Callable[[str], WaveformModel]


def set_values(processor: WaveformProcessor, **values: float) -> None:
    for place, control in enumerate(processor.controls):
        if control.name in values:
            processor.values[place] = values[control.name]


def prepared(
    model: WaveformModel, *, most: int = 1024, channels: int = 1, rate: float = RATE, **values: Any
) -> WaveformProcessor:
    processor = WaveformProcessor(model)
    set_values(processor, **values)
    processor.prepare(StreamSpec(rate, channels, most))
    return processor


def run(processor: WaveformProcessor, samples: Float32, blocks: Sequence[int]) -> Float32:
    """Samples [n] or [n, channels] in blocks that take turns."""
    frames = samples.reshape(len(samples), -1)
    out, at, turn = np.empty_like(frames), 0, 0
    while at < len(frames):
        end = min(at + blocks[turn % len(blocks)], len(frames))
        processor.process(frames[at:end], out[at:end])
        at, turn = end, turn + 1
    return out.reshape(samples.shape)


# -- playing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", ["wavenet", "lstm", "knobs"])
def test_equals_the_oracle_at_any_block_size(block: int, name: str, model: Open, rng: np.random.Generator) -> None:
    samples = noise(rng, 600 if block == 1 else 8300, level_dbfs=-14.0)
    values = np.array([0.2, 0.9] if name == "knobs" else [])
    processor = prepared(model(name), most=block, drive=0.2, tone=0.9)
    assert processor.latency_samples == 0
    # The knobs stand elsewhere than where the initial states were made.
    start = 4000 if name == "knobs" else 0
    if start:
        samples = np.concatenate([np.zeros(start, dtype=np.float32), samples])
    wanted = render(MADE[name](), samples, values)
    assert np.abs(run(processor, samples, [block]) - wanted)[start:].max() <= 1e-5


@pytest.mark.parametrize("name", ["wavenet", "44.1 kHz", "knobs", "slimmable"])
def test_channels_are_by_themselves(name: str, model: Open, rng: np.random.Generator) -> None:
    samples = noise(rng, 12_000, level_dbfs=-20.0).reshape(-1, 2)
    one = model(name)
    both = run(prepared(one, channels=2), samples, [64, 100])
    for channel in range(2):
        alone = run(prepared(one), np.ascontiguousarray(samples[:, channel]), [64, 100])
        assert np.abs(both[:, channel] - alone).max() <= 2e-6


def test_an_impulse_is_heard_at_once(model: Open) -> None:
    processor = prepared(model("half"))
    assert np.array_equal(run(processor, impulse(200, at=70), [64]), impulse(200, at=70, level=0.5))


@pytest.mark.parametrize("name", ["wavenet", "lstm", "knobs", "44.1 kHz", "slimmable"])
def test_reset_forgets(name: str, model: Open, rng: np.random.Generator) -> None:
    processor, samples = prepared(model(name)), noise(rng, 3000)
    first = run(processor, samples, [64, 100])
    assert not np.array_equal(run(processor, samples, [64, 100]), first)
    processor.reset()
    assert np.array_equal(run(processor, samples, [64, 100]), first)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("name", ["wavenet", "lstm", "44.1 kHz"])
def test_what_is_no_number_is_forgotten(poison: float, name: str, model: Open) -> None:
    processor, samples = prepared(model(name)), tone(200.0, 24_000)
    clean = run(processor, samples, [64])
    processor.reset()
    samples[5000] = poison
    with np.errstate(all="ignore"):  # as the chain does
        got = run(processor, samples, [64])
    assert np.isfinite(got).all()
    assert np.abs(got - clean)[-2000:].max() <= 1e-4


# -- values ----------------------------------------------------------------------------------------------------------


def level_db(model: WaveformModel, **values: Any) -> float:
    got = run(prepared(model, **values), tone(100.0, 9600, level_dbfs=-30.0), [64])
    return 20.0 * float(np.log10(np.abs(got[4800:]).max() / 10 ** (-30.0 / 20.0)))


def test_levels(model: Open) -> None:
    half = 20.0 * np.log10(0.5)
    assert level_db(model("half"), input=6.0, output=3.0) == pytest.approx(half + 9.0, abs=0.01)
    known = model("calibrated")
    assert level_db(known, normalize=0.0) == pytest.approx(half, abs=0.01)
    assert level_db(known) == pytest.approx(half + 6.0, abs=0.01)
    assert level_db(known, calibrate=1.0, normalize=0.0) == pytest.approx(half + 2.0, abs=0.01)
    assert level_db(known, calibrate=1.0, interface=4.0, normalize=0.0) == pytest.approx(half - 6.0, abs=0.01)


def test_controls_are_those_that_mean_something(model: Open) -> None:
    def names(name: str) -> list[str]:
        return [control.name for control in WaveformProcessor(model(name)).controls]

    assert names("half") == ["input", "output", "normalize"]
    assert names("knobs") == ["drive", "tone", "input", "output", "normalize"]
    assert names("slimmable") == ["input", "output", "normalize", "quality"]
    assert names("calibrated") == ["input", "output", "normalize", "calibrate", "interface"]
    # Silent captures and their like.
    silent = model("half")
    silent.spec = msgspec.structs.replace(silent.spec, loudness_db=None)
    assert [control.name for control in WaveformProcessor(silent).controls] == ["input", "output"]


CHANGES = [
    ("half", {"input": -24.0}, {"input": 24.0}),
    ("half", {"output": 12.0}, {"output": -24.0}),
    ("calibrated", {"normalize": 1.0}, {"normalize": 0.0}),
    ("calibrated", {"calibrate": 0.0}, {"calibrate": 1.0}),
    ("calibrated", {"calibrate": 1.0, "interface": -20.0}, {"calibrate": 1.0, "interface": 10.0}),
    ("half at 44.1 kHz", {"output": 6.0}, {"output": -24.0}),
]


@pytest.mark.parametrize("block", [64, 480, 8192])
@pytest.mark.parametrize(("name", "before", "after"), CHANGES)
def test_levels_move_without_clicks(
    block: int, name: str, before: dict[str, float], after: dict[str, float], model: Open
) -> None:
    chain = chain_of(WaveformProcessor(model(name)), block)
    for control, value in before.items():
        chain.bank.set(f"slot/1/{control}", value)
    chain.bank.jump()
    samples = tone(100.0, 5 * 16384, level_dbfs=-40.0)
    first = through(chain, samples[: 2 * 16384], block)
    for control, value in after.items():
        chain.bank.set(f"slot/1/{control}", value)
    got = np.concatenate([first, through(chain, samples[2 * 16384 :], block)])
    assert max(click_dbfs(got, 2 * 16384)) <= -60.0
    assert np.abs(got[-4800:]).max() != pytest.approx(np.abs(got[16384 : 2 * 16384]).max(), rel=0.1)


@pytest.mark.parametrize("block", [64, 480])
def test_knobs_move_without_clicks(block: int, model: Open) -> None:
    """Next to what the capture itself makes of the sine above 5 kHz: it is bent least at a low level."""
    chain = chain_of(WaveformProcessor(model("knobs")), block)
    chain.bank.set("slot/1/drive", 0.0)
    chain.bank.jump()
    samples = tone(100.0, 5 * 16384, level_dbfs=-40.0)
    first = through(chain, samples[: 2 * 16384], block)
    chain.bank.set("slot/1/drive", 1.0)
    got = np.concatenate([first, through(chain, samples[2 * 16384 :], block)])
    assert max(click_dbfs(got, 2 * 16384)) <= -60.0
    assert np.abs(np.mean(got[-9600:]) - np.mean(got[16384 : 2 * 16384])) > 0.05


def chain_of(processor: WaveformProcessor, block: int) -> Chain:
    shared = SharedState()
    chain = Chain(ParameterBank(shared.pages[0]), Telemetry(shared), [("capture", processor)])
    chain.prepare(RATE, block, block)
    return chain


def through(chain: Chain, samples: Float32, block: int) -> Float32:
    out = np.empty((len(samples), 1), dtype=np.float32)
    for at in range(0, len(samples), block):
        chain.process(samples[at : at + block, None], out[at : at + block])
    return out[:, 0]


# -- quality ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [32, 64, 100, 1000])
def test_quality_changes_live_and_warm(block: int, model: Open) -> None:
    found, samples = MADE["slimmable"](), tone(100.0, 40_000, level_dbfs=-30.0)
    wide, slim = render(found, samples), render(found, samples, variant=0)
    processor = prepared(model("slimmable"), most=block)
    got = run(processor, samples[:16_000], [block])
    set_values(processor, quality=0.2)
    got = np.concatenate([got, run(processor, samples[16_000:], [block])])
    assert np.abs(got[:16_000] - wide[:16_000]).max() <= 1e-5
    assert np.abs(got[30_000:] - slim[30_000:]).max() <= 1e-5
    assert np.abs(wide - slim)[30_000:].max() > 1e-3
    # In between it is a mixture of both, and nothing else.
    low, high = np.minimum(wide, slim), np.maximum(wide, slim)
    assert (got >= low - 1e-5).all()
    assert (got <= high + 1e-5).all()
    assert max(click_dbfs(got, 16_000)) <= -60.0


def test_a_value_that_passes_a_variant_does_not_start_it(model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    processor, samples = prepared(model("slimmable"), most=64), tone(100.0, 640)
    started = []
    stream = processor._streams[0]
    monkeypatch.setattr(stream, "reset", lambda: started.append(1))
    for quality in (1.0, 0.3, 0.3, 1.0, 1.0):
        set_values(processor, quality=quality)
        run(processor, samples, [64])
    assert not started
    set_values(processor, quality=0.3)
    run(processor, np.tile(samples, 4), [64])
    assert len(started) == 1


# -- successors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wavenet", "lstm", "knobs"])
def test_a_capture_replaced_by_itself_is_not_heard(name: str, model: Open) -> None:
    one, block, shared = model(name), 64, SharedState()
    samples = tone(100.0, 60_000, level_dbfs=-20.0)
    wanted = play(host_of(rig_of(0, SharedState(), WaveformProcessor(one)), block), samples, block)
    host = host_of(rig_of(0, shared, WaveformProcessor(one)), block)
    later = rig_of(1, shared, WaveformProcessor(one))

    def switch(number: int) -> None:
        if number == 500:
            assert host.switch(later)

    got = play(host, samples, block, switch)
    assert host.rig is later
    assert np.abs(got - wanted).max() <= 1e-4


def test_memory_is_the_receptive_field(model: Open) -> None:
    processor = prepared(model("wavenet"))
    assert processor.memory_samples == processor.model.spec.receptive_field_samples == 269
    assert processor.tail_samples == 269
    assert not processor.spills
    late = prepared(model("44.1 kHz"))
    field = late.model.spec.receptive_field_samples
    assert late.memory_samples >= field * 48 / 44.1 + late.latency_samples


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["wavenet", "lstm", "knobs", "44.1 kHz", "slimmable"])
def test_playing_asks_for_no_array(name: str, channels: int, model: Open, rng: np.random.Generator) -> None:
    processor = prepared(model(name), channels=channels, most=4096)
    block = noise(rng, 640 * channels).reshape(640, channels)
    out = np.empty_like(block)
    turn = 0

    def call() -> None:
        nonlocal turn
        turn += 1
        set_values(
            processor, input=-3.0 * (turn % 2), output=turn % 3, drive=0.5 * (turn % 2), quality=0.1 * (turn // 8 % 2)
        )
        size = (640, 64, 128, 33)[turn % 4]
        processor.process(block[:size], out[:size])

    # As the chain does.
    before = np.setbufsize(ITERATOR_BUFFER)
    memory = measure(call, 80)
    np.setbufsize(before)
    assert memory.transient_bytes < 4096
    assert memory.kept_array_bytes == 0
    assert memory.garbage == 0


# -- other rates -----------------------------------------------------------------------------------------------------

RATES = [(48000, 44100), (44100, 48000), (96000, 44100), (96000, 48000), (88200, 44100), (88200, 48000), (48000, 96000)]


def bridged(outer: float, inner: float, samples: Float32, blocks: Sequence[int]) -> tuple[Float32, int]:
    """Samples [n] to another rate and back, and how late that is."""
    bridge = RateBridge(outer, inner, 1, max(blocks))
    out, at, turn = np.empty_like(samples), 0, 0
    while at < len(samples):
        end = min(at + blocks[turn % len(blocks)], len(samples))
        out[at:end] = bridge.process(samples[None, at:end], _pass)[0]
        at, turn = end, turn + 1
    return out, bridge.latency_samples


def _pass(heard: Float32, answer: Float32) -> None:
    np.copyto(answer, heard)


@pytest.mark.parametrize(("outer", "inner"), RATES)
def test_the_bridge_is_late_by_what_it_says(outer: int, inner: int) -> None:
    """An impulse's centre, by the slope of the phase, which is straight."""
    out, latency = bridged(outer, inner, impulse(4000, at=1000), [64])
    assert int(np.argmax(np.abs(out))) == 1000 + latency
    assert latency / outer <= 1.2e-3
    hertz = np.linspace(100.0, 17_000.0, 200)
    _, response = signal.freqz(out[1000:], worN=hertz, fs=outer)
    phase = np.angle(response * np.exp(2j * np.pi * hertz / outer * latency))
    assert np.abs(phase).max() <= 2e-3


@pytest.mark.parametrize(("outer", "inner"), RATES)
def test_the_bridge_passes_what_is_heard(outer: int, inner: int) -> None:
    """Sines up to 0.408 of the lower rate, within 0.02 dB both ways; all else that comes out is 80 dB down."""
    for hertz in (50.0, 997.0, 6000.0, 12_345.0, 0.407 * min(outer, inner)):
        samples = tone(hertz, 12_000, rate_hz=outer, level_dbfs=0.0)
        out, latency = bridged(outer, inner, samples, [64])
        error = out[2000:] - samples[2000 - latency : -latency]
        fitted = out[2000:] @ samples[2000 - latency : -latency] / np.sum(samples[2000 - latency : -latency] ** 2)
        assert abs(20.0 * np.log10(fitted)) <= 0.02
        rest = out[2000:] - fitted * samples[2000 - latency : -latency]
        assert 20.0 * np.log10(np.sqrt(2.0) * np.std(rest)) <= -78.0
        assert np.abs(error).max() <= 3e-3


@pytest.mark.parametrize("outer", [48000, 96000])
def test_the_bridge_stops_what_would_fold(outer: int) -> None:
    """What lies above the capture's 44.1 kHz less the pass-band comes back nowhere."""
    for hertz in (26_200.0, 30_000.0, 40_000.0):
        if hertz < outer / 2:
            out, _ = bridged(outer, 44100, tone(hertz, 12_000, rate_hz=outer, level_dbfs=0.0), [64])
            assert 20.0 * np.log10(np.abs(out[2000:]).max()) <= -80.0


@pytest.mark.parametrize(("outer", "inner"), [(48000, 44100), (44100, 48000), (96000, 48000)])
def test_any_block_size_crosses_the_bridge_alike(outer: int, inner: int, rng: np.random.Generator) -> None:
    samples = noise(rng, 5000)
    whole, _ = bridged(outer, inner, samples, [512])
    for blocks in ([1], [63], [64], [160], [7, 300, 1, 64]):
        assert np.abs(bridged(outer, inner, samples, blocks)[0] - whole).max() <= 1e-6


def test_the_bridge_does_not_drift() -> None:
    """The same block after hours of playing: counters begin anew with each common period of both rates."""
    bridge = RateBridge(48000.0, 44100.0, 1, 160)
    block = tone(300.0, 160)[None]
    made = 0
    seen = []

    def work(heard: Float32, answer: Float32) -> None:
        nonlocal made
        made += heard.shape[1]
        np.copyto(answer, heard)

    for turn in range(3000):
        out = bridge.process(block, work)
        if turn in (5, 2999):
            seen.append(out.copy())
    assert made == 3000 * 147
    assert np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("rate", [44100.0, 48000.0, 88200.0, 96000.0])
@pytest.mark.parametrize("name", ["half", "half at 44.1 kHz", "half at 96 kHz"])
def test_a_capture_plays_at_any_rate_and_says_how_late(rate: float, name: str, model: Open) -> None:
    one = model(name)
    processor = prepared(one, rate=rate, most=64)
    assert (processor.latency_samples == 0) == (one.spec.sample_rate == rate)
    samples = tone(440.0, 9600, rate_hz=rate, level_dbfs=-12.0)
    got = run(processor, samples, [64])
    late = processor.latency_samples
    assert np.abs(got[2000:] - 0.5 * samples[2000 - late : len(samples) - late]).max() <= 1e-4


def test_rates_without_a_simple_ratio_are_refused(model: Open) -> None:
    with pytest.raises(DuendeError, match="44101 Hz: there is no simple ratio to the capture's 48000 Hz"):
        prepared(model("half"), rate=44101.0)
    with pytest.raises(DuendeError, match=r"44100\.5 Hz: .* needs a whole number"):
        prepared(model("half"), rate=44100.5)


def test_more_than_two_channels_are_refused(model: Open) -> None:
    with pytest.raises(DuendeError, match="tiny: 3 channels: a capture plays 1 or 2"):
        prepared(model("half"), channels=3)


# -- files -----------------------------------------------------------------------------------------------------------


def parsed() -> tuple[onnx.ModelProto, WaveformSpec]:
    graph = onnx.load_model_from_string(made("knobs"))
    return graph, decode_waveform_spec(graph.metadata_props[0].value, "x")


def refused(folder: Path, graph: onnx.ModelProto, spec: WaveformSpec | str) -> str:
    path = folder / "bad.onnx"
    helper.set_model_props(graph, {METADATA_KEY: spec if isinstance(spec, str) else spec.encode()})
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(DuendeError) as caught:
        open_waveform(path)
    text = str(caught.value)
    assert text.startswith("bad.onnx: ")
    assert "\n" not in text
    return text


def with_variant(spec: WaveformSpec, **changes: Any) -> WaveformSpec:
    return msgspec.structs.replace(spec, variants=[msgspec.structs.replace(spec.variants[0], **changes)])


def with_state(spec: WaveformSpec, **changes: Any) -> WaveformSpec:
    first, *others = spec.variants[0].states
    return with_variant(spec, states=[msgspec.structs.replace(first, **changes), *others])


def spoilt() -> dict[str, tuple[Callable[[WaveformSpec], WaveformSpec], str]]:
    replace = msgspec.structs.replace
    good = Control("drive", "", 0.0, 1.0, 0.5)
    return {
        "kind": (lambda spec: replace(spec, kind="mixer"), "a model of kind 'mixer', not a capture"),
        "format": (lambda spec: replace(spec, format=2), "model format 2, this version of duende reads 1"),
        "name": (lambda spec: replace(spec, name=""), "name of 0 characters"),
        "long": (lambda spec: replace(spec, name="x" * 201), "name of 201 characters"),
        "rate": (lambda spec: replace(spec, sample_rate=1.0), "sample_rate 1 Hz"),
        "half a hertz": (lambda spec: replace(spec, sample_rate=44100.5), "sample_rate 44100.5 Hz"),
        "loudness": (lambda spec: replace(spec, loudness_db=1e9), "loudness_db 1e+09 is out of bounds"),
        "tags": (lambda spec: replace(spec, tags={"gear": "x" * 2001}), "tags and provenance: 9 texts"),
        "notes": (
            lambda spec: replace(spec, provenance=replace(spec.provenance, notes=["x"] * 300)),
            "tags and provenance: 307 texts",
        ),
        "level": (lambda spec: replace(spec, input_level_dbu=-999.0), "input_level_dbu -999 is out of bounds"),
        "no variant": (lambda spec: replace(spec, variants=[]), "0 variants, allowed are 1 to 16"),
        "fall": (lambda spec: replace(spec, variants=spec.variants * 2), "golden: 1 outputs for 2 variants"),
        "field": (lambda spec: with_variant(spec, receptive_field_samples=2**40), "receptive_field_samples 10995116"),
        "output": (lambda spec: with_variant(spec, output="elsewhere"), "outputs of graph and spec differ"),
        "state name": (lambda spec: with_state(spec, name="elsewhere"), "inputs of graph and spec differ"),
        "state shape": (lambda spec: with_state(spec, shape=[2**40]), "is out of bounds"),
        "other shape": (lambda spec: with_state(spec, shape=[7]), "the initial value of state"),
        "initial": (lambda spec: with_state(spec, initial=Tensor([1], "AAAAAAAA")), "the initial value of state"),
        "no number": (lambda spec: with_state(spec, initial=Tensor.pack([np.nan])), "holds what is no number"),
        "slash": (lambda spec: replace(spec, knobs=[replace(good, name="a/b"), good]), "knob 'a/b' cannot be"),
        "taken": (lambda spec: replace(spec, knobs=[replace(good, name="input"), good]), "knob 'input' cannot be"),
        "twice": (lambda spec: replace(spec, knobs=[good, good]), "knob 'drive' cannot be a parameter"),
        "range": (lambda spec: replace(spec, knobs=[good, replace(good, name="b", maximum=2.0)]), "the range must be"),
        "one knob": (lambda spec: replace(spec, knobs=[good]), "input 'knobs' has shape [None, 2, None]"),
        "golden": (
            lambda spec: replace(spec, golden=replace(spec.golden, knobs=Tensor.pack([1.0]))),
            "golden pair does",
        ),
        "missed": (
            lambda spec: replace(spec, golden=replace(spec.golden, outputs=[Tensor.pack(np.ones(256))])),
            "golden pair missed: output0 at ",
        ),
    }


@pytest.mark.parametrize("what", spoilt())
def test_specs_that_do_not_fit_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    graph, spec = parsed()
    spoil, message = spoilt()[what]
    assert message in refused(tmp_path, graph, spoil(spec))


def test_damaged_specs_are_refused(tmp_path: Path) -> None:
    graph, spec = parsed()
    assert "is damaged" in refused(tmp_path, graph, spec.encode()[:-20])
    assert "is damaged" in refused(tmp_path, graph, "[" * 100_000)
    assert "is damaged" in refused(tmp_path, graph, spec.encode().replace('"maximum":1.0', '"maximum":"one"'))
    assert "is damaged" in refused(tmp_path, graph, spec.encode()[:-1] + ',"extra":1}')


def test_graphs_that_do_more_are_refused(tmp_path: Path) -> None:
    graph, spec = parsed()
    graph.graph.node[0].op_type = "Loop"
    assert "operator ai.onnx.Loop is not allowed" in refused(tmp_path, graph, spec)
    graph, spec = parsed()
    node = next(node for node in graph.graph.node if node.op_type == "Conv")
    node.attribute.append(helper.make_attribute("pads", [2**40, 0]))
    assert "a Conv with pads" in refused(tmp_path, graph, spec)
    graph, spec = parsed()
    graph.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    assert "keeps its data in another file" in refused(tmp_path, graph, spec)


def test_a_layout_that_does_not_fit_is_not_played(tmp_path: Path, rng: np.random.Generator) -> None:
    """A plan that cannot be made, or answers otherwise than the graph, is left out: the graph plays."""
    path = tmp_path / "a.onnx"
    samples = noise(rng, 2000, level_dbfs=-14.0)
    wanted = render(MADE["wavenet"](), samples)
    for spoil in ("dilation", "endless", "prefix", "taps"):
        graph = onnx.load_model_from_string(made("wavenet"))
        spec = decode_waveform_spec(graph.metadata_props[0].value, "x")
        layout = spec.variants[0].layout
        assert layout is not None
        layer = layout.arrays[0].layers[1]
        changed = {
            "dilation": lambda: msgspec.structs.replace(layer, dilation=3),  # noqa: B023
            "prefix": lambda: msgspec.structs.replace(layer, prefix="nowhere"),  # noqa: B023
            "taps": lambda: msgspec.structs.replace(layer, taps=2),  # noqa: B023
            "endless": lambda: msgspec.structs.replace(layer, dilation=2**40),  # noqa: B023
        }[spoil]()
        layout.arrays[0].layers[1] = changed
        helper.set_model_props(graph, {METADATA_KEY: spec.encode()})
        path.write_bytes(graph.SerializeToString())
        model = open_waveform(path)
        assert model.start(0, 1, 64).lengths == []
        assert np.abs(run(prepared(model), samples, [64]) - wanted).max() <= 1e-5


def test_cut_files_and_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(made("half")[:200])
    with pytest.raises(DuendeError, match=r"a\.onnx: "):
        open_waveform(path)
    with pytest.raises(DuendeError, match="cannot read the model"):
        open_waveform(tmp_path / "nowhere.onnx")


def test_captures_are_frozen() -> None:
    """Nothing of a capture changes while it is converted: the same bytes each time."""
    found = MADE["wavenet"]()
    assert convert(found) == convert(dataclasses.replace(found))
