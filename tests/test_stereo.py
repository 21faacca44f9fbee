"""Stereo: a guitar stays where it stands, mono stays mono until something makes two sides of it, at every rate."""

import itertools
import threading

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from duende.engine.cabinet import Cabinet
from duende.engine.device import ArrayDevice
from duende.engine.host import Host
from duende.engine.model import Model
from duende.engine.preset import Rig, build_rig
from duende.engine.processor import Processor, StreamSpec
from duende.engine.relay import Relay
from duende.engine.response import Response
from duende.engine.shared import SharedState
from duende.engine.spectral import SpectralProcessor
from duende.engine.texture import TextureProcessor
from models import tiny_model, tiny_texture, tiny_weights
from processors import Delay, Gain, play_hops
from signals import interrupted_tone, noise, snr_db

Float32 = npt.NDArray[np.float32]

RATE = 48000.0
BOTH = pytest.mark.parametrize("kind", ["mixer", "texture"])


class Sides(Gain):
    """Lets the left side through and turns the right one round."""

    def widens_at(self, sample_rate: float) -> bool:
        return True

    def process(self, block: Float32, out: Float32) -> None:
        np.copyto(out, block)
        if out.shape[1] > 1:
            np.negative(out[:, 1], out=out[:, 1])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("m")
    weights = tiny_weights(dilations=(1, 2, 4))
    weights.gamma[:] = 0.6
    mixer = tiny_model(folder, weights)
    return {"mixer": mixer, "texture": tiny_texture(folder)}


def player(model: Model) -> Processor:
    return TextureProcessor(model) if model.spec.kind == "texture" else SpectralProcessor(model)


def run(model: Model, samples: Float32, rate: float = RATE) -> Float32:
    return play_hops(player(model), samples, [4], rate=rate)


def make_rig(*processors: Processor, branches: list[str] | None = None) -> Rig:
    rig = build_rig([(f"slot{number}", one) for number, one in enumerate(processors)], branches=branches or [])
    for parameter in rig.bank.table.rows():
        rig.bank.set(parameter.name, parameter.default)
    return rig


def play(rig: Rig, samples: Float32, block: int = 128) -> Float32:
    """Samples [n, inputs] to [n, 2]."""
    rig.chain.prepare(RATE, block, block, samples.shape[1], 2)
    out = np.zeros((len(samples), 2), dtype=np.float32)
    for at in range(0, len(samples), block):
        rig.chain.process(samples[at : at + block], out[at : at + block])
    return out


@BOTH
def test_the_same_on_both_sides_is_as_in_mono(kind: str, models: dict[str, Model], rng: np.random.Generator) -> None:
    mono = interrupted_tone(rng, 128 * 200)
    both = run(models[kind], np.repeat(mono, 2, axis=1))
    wanted = run(models[kind], mono)[:, 0]
    assert snr_db(wanted, both[:, 0]) >= 90.0
    assert np.allclose(both[:, 0], both[:, 1], atol=1e-6)


@BOTH
def test_a_guitar_stays_where_it_stands(kind: str, models: dict[str, Model], rng: np.random.Generator) -> None:
    mono = interrupted_tone(rng, 128 * 400)
    left, right = 0.9, 0.3
    power = np.sqrt((left**2 + right**2) / 2.0)
    panned = (np.concatenate([left * mono, right * mono], axis=1) / power).astype(np.float32)
    got = run(models[kind], panned)
    wanted = run(models[kind], mono)[:, 0]
    # Floors under very quiet input make the last of the difference; after a change of level textures take a hop.
    settled = slice(128 * 40, 128 * 90)
    for side, share in enumerate((left, right)):
        assert snr_db(wanted[settled] * share / power, got[settled, side]) >= 40.0


def test_one_silent_side_stays_silent(models: dict[str, Model], rng: np.random.Generator) -> None:
    for model in models.values():
        samples = np.zeros((128 * 100, 2), dtype=np.float32)
        samples[:, 0] = noise(rng, len(samples), level_dbfs=-20.0)
        out = run(model, samples)
        assert np.abs(out[:, 0]).max() > 0.01
        assert np.abs(out[:, 1]).max() <= 1e-5


@BOTH
@pytest.mark.parametrize("rate", [44100.0, 48000.0])
def test_a_style_sounds_the_same_at_twice_the_rate(
    kind: str, rate: float, models: dict[str, Model], rng: np.random.Generator
) -> None:
    mono = interrupted_tone(rng, 128 * 400)
    twice = np.ascontiguousarray(soxr.resample(mono, rate, 2.0 * rate).astype(np.float32)[: 2 * len(mono)])
    assert [player(models[kind]).quantum_at(one) for one in (rate, 2.0 * rate)] == [128, 256]  # type: ignore[attr-defined]
    wanted, got = (
        10.0 * np.log10(third_octaves(run(models[kind], samples, at), at) + 1e-12)
        for samples, at in ((mono, rate), (twice, 2.0 * rate))
    )
    loud = wanted > wanted.max() - 25.0
    assert loud.sum() >= 3
    # Noise differs.
    assert np.abs(got - wanted)[loud].max() <= 1.5


def third_octaves(samples: Float32, rate: float) -> npt.NDArray[np.float64]:
    """Powers of third octaves from 80 Hz to 16 kHz."""
    power = np.abs(np.fft.rfft(samples[:, 0].astype(np.float64))) ** 2 / len(samples) ** 2
    hz = np.fft.rfftfreq(len(samples), 1.0 / rate)
    edges = 80.0 * 2.0 ** (np.arange(24) / 3.0)
    return np.array([power[(hz >= low) & (hz < high)].sum() for low, high in itertools.pairwise(edges)])


def test_up_to_what_makes_two_sides_all_is_mono(rng: np.random.Generator) -> None:
    before, after = Gain(0.5), Delay(7)
    samples = noise(rng, 1280, level_dbfs=-18.0)[:, None]
    rig = make_rig(before, Sides(), after)
    out = play(rig, samples)
    widths = [slot.processor.prepared.channels for slot in rig.chain.slots]  # type: ignore[attr-defined]
    assert widths == [1, 2, 2]
    assert rig.chain.width == 2
    assert np.allclose(out[7:, 0], 0.5 * samples[:-7, 0], atol=1e-6)
    assert np.array_equal(out[:, 1], -out[:, 0])


def test_without_such_a_slot_both_sides_are_the_same(rng: np.random.Generator) -> None:
    samples = noise(rng, 1280, level_dbfs=-18.0)[:, None]
    gain = Gain(0.5, quantum=16)
    rig = make_rig(gain)
    for block in (128, 100):
        out = play(rig, samples[: len(samples) // block * block], block)
        assert rig.chain.width == 1
        assert gain.prepared == StreamSpec(RATE, 1, rig.chain._largest)
        assert np.array_equal(out[:, 1], out[:, 0])
        assert out.any()


def test_a_branch_that_makes_two_sides_makes_the_split_stereo(rng: np.random.Generator) -> None:
    samples = noise(rng, 1280, level_dbfs=-18.0)[:, None]
    first, plain, last = Gain(1.0), Delay(5), Gain(1.0)
    rig = make_rig(first, plain, Sides(), last, branches=["", "a", "b", ""])
    rig.bank.set("split/balance", 0.5)
    out = play(rig, samples)
    assert [one.prepared.channels for one in (first, plain, last) if one.prepared] == [1, 2, 2]
    late = samples[:-5, 0]
    # Left is both branches, right one less the other; both are late by the longer one.
    assert np.allclose(out[5:, 0], late, atol=1e-6)
    assert np.allclose(out[5:, 1], 0.0, atol=1e-6)


def test_plain_sound_and_bypass_are_heard_on_both_sides(rng: np.random.Generator) -> None:
    samples = noise(rng, 1280, level_dbfs=-18.0)[:, None]
    for name, value in (("mix", 0.0), ("bypass", 1.0)):
        rig = make_rig(Delay(9), Sides())
        rig.bank.set(name, value)
        out = play(rig, samples)
        assert np.array_equal(out[:, 0], out[:, 1])
        assert np.allclose(out[9:], samples[:-9], atol=1e-6)


def test_a_stereo_cabinet_behind_a_mono_style(models: dict[str, Model], rng: np.random.Generator) -> None:
    taps = np.zeros((2, 64), dtype=np.float32)
    taps[0, 0], taps[1, 10] = 1.0, 0.5

    def cabinet() -> Cabinet:
        return Cabinet(lambda rate: Response("two", taps, rate))

    samples = np.float32(0.1) * interrupted_tone(rng, 128 * 100)
    rig = make_rig(SpectralProcessor(models["mixer"]), cabinet())
    out = play(rig, samples)
    assert rig.chain.width == 2
    assert np.allclose(out[10:, 1], 0.5 * out[:-10, 0], atol=1e-6)
    alone = play(make_rig(SpectralProcessor(models["mixer"])), samples)
    assert np.allclose(out[:, 0], alone[:, 0], atol=1e-6)


def test_a_host_plays_stereo_and_keeps_it(rng: np.random.Generator) -> None:
    samples = noise(rng, 2 * 128 * 40, level_dbfs=-18.0).reshape(-1, 2)
    device = ArrayDevice(samples, RATE, 128)
    host = Host(make_rig(Delay(3)), device)
    host.start()
    host.stop()
    late = host.latency().added_samples
    assert np.allclose(device.recorded[2400 + late :], samples[2400:-late], atol=1e-6)
    shared = host.shared
    assert shared.channels() == (2, 2)
    dry, wet = shared.recent(0, shared.written)
    assert np.array_equal(dry, samples)
    assert np.array_equal(wet, device.recorded)


def test_a_switch_from_one_side_to_two_and_back_does_not_click(rng: np.random.Generator) -> None:
    """A guitar's dry level goes on on the left; on the right it turns round within the fade."""
    block = 128
    shared = SharedState()
    device = ArrayDevice(np.zeros((block, 1), dtype=np.float32), RATE, block)
    host = Host(build(shared, 0), device, wide=True)
    time = np.arange(block * 200) / RATE
    samples = (0.25 * np.sin(2.0 * np.pi * 100.0 * time)).astype(np.float32)[:, None]
    out = np.zeros((len(samples), 2), dtype=np.float32)
    for turn, at in enumerate(range(0, len(samples), block)):
        if turn in (60, 120):
            assert host.switch(build(shared, 1 + (turn == 120), sides=turn == 60))
        host.callback(samples[at : at + block], out[at : at + block], False, False)
    assert host.telemetry.count("failed") == 0
    steady = slice(block * 90, block * 118)
    assert np.allclose(out[steady, 1], -out[steady, 0], atol=1e-6)
    assert np.allclose(out[block * 160 :, 1], out[block * 160 :, 0], atol=1e-6)
    bends = np.abs(np.diff(out[block * 40 :], 2, axis=0))
    assert bends.max() <= 3.0 * 0.25 * (2.0 * np.pi * 100.0 / RATE) ** 2


def build(shared: SharedState, page: int, *, sides: bool = False) -> Rig:
    rig = build_rig([("one", Sides() if sides else Gain(1.0))], shared, page % 3)
    for parameter in rig.bank.table.rows():
        rig.bank.set(parameter.name, parameter.default)
    return rig


def test_a_relay_is_wide_where_its_work_is() -> None:
    """The plain sound, which stands in for results that are late, is on both sides."""

    done = threading.Semaphore(0)

    def turn_round(block: Float32, out: Float32) -> None:
        np.copyto(out, block)
        np.negative(out[:, 1], out=out[:, 1])
        done.release()

    relay = Relay(turn_round, 64, 1, 0, 1, 2)
    relay.start()
    block, out = np.full((64, 1), 0.5, dtype=np.float32), np.zeros((64, 2), dtype=np.float32)
    for _ in range(20):
        relay.exchange(block, out)
        assert done.acquire(timeout=10.0)
    relay.stop()
    assert np.allclose(out, [[0.5, -0.5]], atol=1e-6)
    late = Relay(turn_round, 64, 1, 0, 1, 2)
    for _ in range(12):
        late.exchange(block, out)
    assert np.allclose(out, 0.5, atol=1e-6)


def test_the_rings_have_as_many_channels_as_there_are() -> None:
    shared = SharedState()
    assert shared.channels() == (1, 1)
    rig = build_rig([], shared)
    Host(rig, ArrayDevice(np.zeros((64, 1), dtype=np.float32), RATE, 64), wide=True)
    assert shared.channels() == (1, 2)
    shared.keep(np.ones((10, 1), dtype=np.float32), np.full((10, 2), [[0.5, -0.5]], dtype=np.float32))
    dry, wet = shared.recent(shared.written - 10, shared.written)
    assert np.array_equal(dry, np.ones((10, 1)))
    assert np.array_equal(wet, np.full((10, 2), [[0.5, -0.5]]))
