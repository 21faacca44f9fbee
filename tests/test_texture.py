"""The texture processor: live equals offline, the player's level, amount 0 is the plain guitar, silence is silence."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.engine.chain import Chain
from duende.engine.model import TEXTURE_SIZES, Model
from duende.engine.params import ParameterBank
from duende.engine.preset import build_rig
from duende.engine.processor import StreamSpec
from duende.engine.shared import SharedState
from duende.engine.slots import processor_for
from duende.engine.spectral import SpectralProcessor
from duende.engine.stft import StftSizes
from duende.engine.telemetry import Telemetry
from duende.engine.texture import (
    Grid,
    Listener,
    Noise,
    TextureProcessor,
    grain_window,
    hann,
    level_curve,
    listening_window,
    unit_power,
)
from memory import measure
from models import tiny_model, tiny_texture, tiny_texture_weights
from processors import play_hops
from signals import amplitude, interrupted_tone, noise, snr_db, tone
from switching import host_of, play, rig_on

Float32 = npt.NDArray[np.float32]

RATE = 48000.0
HOP = TEXTURE_SIZES.hop
RATES = pytest.mark.parametrize("rate", [44100.0, 48000.0, 88200.0, 96000.0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_texture(tmp_path_factory.mktemp("texture"))


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Nothing moves but the level, which follows the input's exactly."""
    weights = tiny_texture_weights(moves=0.0, dilations=(1,), width=4)
    weights.gamma[:] = 1.0
    return tiny_texture(tmp_path_factory.mktemp("steady"), weights)


def run(model: Model, samples: Float32, hops: list[int], *, amount: float = 1.0, rate: float = RATE) -> Float32:
    return play_hops(TextureProcessor(model), samples, hops, amount=amount, rate=rate)


def rms_dbfs(samples: Float32) -> float:
    return float(10.0 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-30))


# -- live and offline -------------------------------------------------------------------------------------------------


@RATES
def test_live_equals_offline_however_hops_are_grouped(rate: float, model: Model, rng: np.random.Generator) -> None:
    samples = interrupted_tone(rng, 128 * 200)
    offline = run(model, samples, [64], rate=rate)
    assert rms_dbfs(offline) > -40.0
    for hops in ([1], [3, 1, 7], [2, 33, 5, 64]):
        live = run(model, samples, hops, rate=rate)
        assert np.abs(live - offline).max() <= 1e-4
        assert snr_db(offline, live) >= 70.0


def make_chain(*processors: TextureProcessor) -> Chain:
    shared = SharedState()
    return Chain(
        ParameterBank(shared.pages[0]), Telemetry(shared), [(f"p{i}", one) for i, one in enumerate(processors)]
    )


def run_chain(chain: Chain, samples: Float32, blocks: list[int]) -> Float32:
    out, at, turn = np.zeros_like(samples), 0, 0
    while at < len(samples):
        end = min(at + blocks[turn % len(blocks)], len(samples))
        chain.process(samples[at:end], out[at:end])
        at, turn = end, turn + 1
    return out


def test_any_block_size_gives_the_offline_samples_shifted(model: Model, rng: np.random.Generator) -> None:
    samples = interrupted_tone(rng, 2 * 8192)
    offline = make_chain(TextureProcessor(model))
    offline.prepare(RATE, 8192, 8192)
    wanted = run_chain(offline, samples, [8192])
    chain = make_chain(TextureProcessor(model))
    for blocks in ([1], [63], [64], [65], [128], [1000], [8192], [7, 300, 129, 2000]):
        chain.prepare(RATE, blocks[0] if len(blocks) == 1 else None, max(blocks))
        late = chain.latency.samples - offline.latency.samples
        got = run_chain(chain, samples, blocks)
        assert np.abs(got[late:] - wanted[: len(wanted) - late]).max() <= 1e-4, f"blocks of {blocks}"
    assert chain.telemetry.count("faults") == 0


def test_reset_begins_afresh(model: Model, rng: np.random.Generator) -> None:
    processor = TextureProcessor(model)
    processor.prepare(StreamSpec(RATE, 1, 64 * HOP))
    samples = interrupted_tone(rng, 64 * HOP)
    first, second = np.empty_like(samples), np.empty_like(samples)
    processor.process(samples, first)
    processor.process(samples, second)
    assert not np.array_equal(first, second)
    processor.reset()
    processor.process(samples, second)
    assert np.array_equal(first, second)


# -- latency and amount -----------------------------------------------------------------------------------------------


@RATES
def test_amount_0_nulls_against_the_delayed_input(rate: float, model: Model, rng: np.random.Generator) -> None:
    samples = interrupted_tone(rng, 128 * 200)
    out = run(model, samples, [1, 8], amount=0.0, rate=rate)
    late = HOP if rate < 60000.0 else 2 * HOP
    assert np.array_equal(samples[:-late], out[late:])


def test_the_texture_comes_when_the_latency_says(steady: Model) -> None:
    """Half of the energy of a switched-on tone's rise lies where the input, so much later, rises."""
    starts = 100 * HOP + 40
    samples = np.zeros((HOP * 200, 1), dtype=np.float32)
    samples[starts:, 0] = tone(997.0, len(samples) - starts, level_dbfs=-12.0)
    out = run(steady, samples, [1])[:, 0].astype(np.float64)
    assert not out[: starts - HOP].any()
    smooth = np.convolve(out**2, np.ones(256) / 256.0, "same")
    half = int(np.argmax(smooth > 0.5 * np.median(smooth[starts + 4000 :])))
    assert abs(half - (starts + HOP)) <= 3 * HOP


def test_the_amount_crosses_at_constant_power(steady: Model, rng: np.random.Generator) -> None:
    samples = noise(rng, HOP * 200, level_dbfs=-20.0)[:, np.newaxis]
    for amount in (0.25, 0.5, 0.75, 1.0):
        assert rms_dbfs(run(steady, samples, [4], amount=amount)[50 * HOP :]) == pytest.approx(-20.0, abs=2.0)


def test_a_moving_amount_makes_no_steps(steady: Model) -> None:
    samples = tone(100.0, HOP * 200, level_dbfs=-12.0)[:, np.newaxis]
    processor = TextureProcessor(steady)
    processor.prepare(StreamSpec(RATE, 1, HOP))
    processor.values[0] = 0.0
    processor._settle()
    processor.reset()
    out = np.zeros_like(samples)
    for hop in range(200):
        processor.values[0] = 1.0 if hop == 100 else 0.5 if hop == 150 else processor.values[0]
        block = slice(hop * HOP, (hop + 1) * HOP)
        processor.process(samples[block], out[block])
    steps = np.abs(np.diff(out[:, 0]))
    around = np.concatenate([steps[99 * HOP : 102 * HOP], steps[149 * HOP : 152 * HOP]])
    assert around.max() <= 1.3 * steps[110 * HOP : 140 * HOP].max()


def test_the_graph_is_told_the_amount(model: Model, rng: np.random.Generator) -> None:
    processor = TextureProcessor(model)
    processor.prepare(StreamSpec(RATE, 1, HOP))
    processor.values[0] = 0.25
    processor.process(noise(rng, HOP)[:, np.newaxis], np.zeros((HOP, 1), dtype=np.float32))
    assert processor._stream.amount[0] == np.float32(0.25)


# -- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_12_db_of_input_change_the_level_alone(factor: float, model: Model, rng: np.random.Generator) -> None:
    samples = interrupted_tone(rng, 128 * 200)
    out, other = (
        run(model, samples, [8]),
        run(model, np.float32(factor) * samples, [8]),
    )
    assert snr_db(out, other / np.float32(factor)) >= 40.0


def test_the_level_is_the_players(steady: Model, rng: np.random.Generator) -> None:
    for level in (-60.0, -40.0, -20.0, -6.0):
        samples = noise(rng, HOP * 300, level_dbfs=level)[:, np.newaxis]
        assert rms_dbfs(run(steady, samples, [8])[100 * HOP :]) == pytest.approx(level, abs=1.0)


def test_noise_of_pick_ups_stays_below_itself_after_playing(model: Model, rng: np.random.Generator) -> None:
    hum = noise(rng, HOP * 800, level_dbfs=-60.0)
    hum[: HOP * 400] += noise(rng, HOP * 400, level_dbfs=-20.0)
    out = run(model, hum[:, np.newaxis], [8])
    assert rms_dbfs(out[HOP * 460 :]) <= -66.0


def test_silence_is_silence(model: Model) -> None:
    assert not run(model, np.zeros((HOP * 100, 1), dtype=np.float32), [4]).any()


def test_sound_is_followed_by_silence(model: Model, rng: np.random.Generator) -> None:
    processor = TextureProcessor(model)
    samples = np.concatenate([noise(rng, HOP * 150), np.zeros(HOP * 100, dtype=np.float32)])[:, np.newaxis]
    out = run(model, samples, [4])
    ends = HOP * 150 + processor.latency_samples + processor.tail_samples
    assert np.abs(out[:ends]).max() > 0.01
    assert not out[ends:].any()


@pytest.mark.parametrize("level", [1e-45, 1e-40, 1e-30, 1e-15])
def test_the_faintest_input_stays_faint(level: float, model: Model, rng: np.random.Generator) -> None:
    out = run(model, (level * rng.standard_normal((HOP * 100, 1))).astype(np.float32), [1])
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1e-5


@pytest.mark.parametrize("level", [1.0, 100.0, 1e18, 1e25])
def test_loud_input_gives_numbers(level: float, model: Model, rng: np.random.Generator) -> None:
    with np.errstate(all="ignore"):
        out = run(model, (level * rng.standard_normal((HOP * 100, 1))).astype(np.float32), [1])
    assert np.isfinite(out).all() or level > 1e15


HOSTILE = ["huge ratios", "tiny ratios", "huge level", "not a number"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_graph_raises_nothing(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    weights = tiny_texture_weights(width=4, dilations=(1,))
    if kind == "huge ratios":
        weights.templates[:, :, 0] = 1e30
    elif kind == "tiny ratios":
        weights.templates[:] = -1e30
    elif kind == "huge level":
        weights.level[:] = 1e30
    else:
        weights.first[:] = np.where(weights.first > 0.0, 3e38, -3e38)
    with np.errstate(all="ignore"):
        golden = np.zeros((1, 4, TEXTURE_SIZES.bins + 1), dtype=np.float32)
        model = tiny_texture(tmp_path, weights, golden_features=golden)
        rig = build_rig([("hostile", TextureProcessor(model))])
        rig.chain.prepare(RATE, 256, 256)
        samples = noise(rng, 256 * 40)[:, np.newaxis]
        out = run_chain(rig.chain, samples, [256])
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1.0


# -- formulas ---------------------------------------------------------------------------------------------------------


def test_grains_add_up_to_the_frames_they_come_from(rng: np.random.Generator) -> None:
    """Frames of a real signal, heard through the grain window, are that signal."""
    samples, sizes = noise(rng, 128 * 60).astype(np.float64), TEXTURE_SIZES
    window = hann(sizes.analysis)
    out = np.zeros(len(samples))
    edge = (sizes.analysis - sizes.synthesis) // 2
    for start in range(0, len(samples) - sizes.analysis, sizes.hop):
        unit = unit_power(sizes, window) * np.fft.rfft(window * samples[start : start + sizes.analysis])
        grain = np.fft.irfft(unit)[edge : edge + sizes.synthesis] * grain_window(sizes)
        out[start + edge : start + edge + sizes.synthesis] += grain
    inner = slice(sizes.analysis, -sizes.analysis)
    assert np.abs(out[inner] - samples[inner]).max() <= 1e-12


@pytest.mark.parametrize("window", ["hann", "listening"])
def test_unit_power_is_that_of_the_signal(window: str, rng: np.random.Generator) -> None:
    shape = hann(1024) if window == "hann" else listening_window(TEXTURE_SIZES)
    samples = rng.standard_normal((2000, 1024))
    power = np.sum(np.abs(np.fft.rfft(shape * samples)) ** 2, axis=1).mean() * unit_power(TEXTURE_SIZES, shape) ** 2
    assert power == pytest.approx(1.0, rel=0.02)


def test_the_noise_has_power_1_in_every_bin_and_goes_round() -> None:
    made = Noise(TEXTURE_SIZES, 64)
    spectra = np.concatenate([made.process(64).copy() for _ in range(2048 // 64)])
    power = np.mean(np.abs(spectra[:, 2:-2]) ** 2, axis=0)
    assert power.mean() == pytest.approx(1.0, rel=0.01)
    assert power.max() < 1.5
    assert made.at == 0
    assert np.array_equal(made.process(1), spectra[:1])


def test_the_level_curve() -> None:
    for gamma in (0.4, 1.0):
        assert level_curve(0.0, gamma) == 0.0
        assert level_curve(-1.0, gamma) == pytest.approx(-gamma)
        assert level_curve(3.0, gamma) == pytest.approx(gamma + 2.0)
        assert level_curve(-5.0, gamma) == pytest.approx(-1.4 * gamma - 7.2)
        for corner in (-1.4, 1.0):
            assert level_curve(corner - 1e-9, gamma) == pytest.approx(level_curve(corner + 1e-9, gamma), abs=1e-6)
    assert level_curve(-np.inf, 0.5) == -np.inf


def test_features_are_log_magnitudes_over_the_slow_level(rng: np.random.Generator) -> None:
    samples = noise(rng, HOP * 400, level_dbfs=-20.0)
    samples += tone(3000.0, len(samples), level_dbfs=-20.0)
    listener = Listener(TEXTURE_SIZES, RATE, RATE, 1, 400)
    listener.process(samples[np.newaxis])
    slow = np.exp(listener.level[0, -1])
    assert 20.0 * np.log10(slow) == pytest.approx(rms_dbfs(samples), abs=0.5)
    window = listening_window(TEXTURE_SIZES)
    power = np.abs(unit_power(TEXTURE_SIZES, window) * np.fft.rfft(window * samples[-1024:])) ** 2 / slow**2
    wanted = 0.5 * (np.log(power + 1e-6) - np.log(1e-6)) / 2.3
    assert np.abs(listener.features[0, -1, :-1] - wanted).max() <= 1e-3
    assert abs(listener.features[0, -1, -1]) <= 0.2
    assert int(listener.features[0, -1, :-1].argmax()) == 64


def test_silence_has_features_of_zero() -> None:
    listener = Listener(TEXTURE_SIZES, RATE, RATE, 1, 4)
    listener.process(np.zeros((1, 4 * HOP), dtype=np.float32))
    assert np.abs(listener.features).max() <= 1e-6


def test_a_grid_of_another_rate(rng: np.random.Generator) -> None:
    values = rng.random((2, 3, TEXTURE_SIZES.bins)).astype(np.float32)
    out = np.zeros_like(values)
    Grid(TEXTURE_SIZES.bins, 44100.0 / 48000.0, TEXTURE_SIZES.bins).resample(values, out)
    place = np.arange(TEXTURE_SIZES.bins) * 48000.0 / 44100.0
    for row, wanted in zip(out.reshape(-1, 513), values.reshape(-1, 513), strict=True):
        assert np.allclose(row, np.interp(place, np.arange(513), wanted, right=0.0), atol=1e-5)


def peak_hz(samples: Float32, rate: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@RATES
def test_the_tone_keeps_its_pitch_at_every_rate(rate: float, tmp_path: Path, rng: np.random.Generator) -> None:
    weights = tiny_texture_weights(moves=0.0, width=4, dilations=(1,), tone_hz=(1000.0,), hiss=-9.0)
    samples = noise(rng, HOP * 400, level_dbfs=-20.0)[:, np.newaxis]
    out = run(tiny_texture(tmp_path, weights), samples, [8], rate=rate)
    assert peak_hz(out[16384:, 0], rate) == pytest.approx(1000.0, abs=8.0)


# -- in the chain -----------------------------------------------------------------------------------------------------


def test_it_replaces_itself_unheard(model: Model, rng: np.random.Generator) -> None:
    samples = noise(rng, 128 * 600, level_dbfs=-30.0) + tone(196.0, 128 * 600, level_dbfs=-14.0)
    wanted, shared = play(host_of(rig_on(0, SharedState(), model)), samples), SharedState()
    host = host_of(rig_on(0, shared, model))
    later = rig_on(1, shared, model)

    def switch(number: int) -> None:
        if number == 300:
            assert host.switch(later)

    got = play(host, samples, between=switch)
    assert host.rig is later
    assert snr_db(wanted, got) >= 40.0


def test_the_kind_of_a_model_chooses_what_plays_it(model: Model, tmp_path: Path) -> None:
    assert isinstance(processor_for(model), TextureProcessor)
    assert isinstance(processor_for(tiny_model(tmp_path)), SpectralProcessor)


def test_styles_are_controls_and_their_mix_is_heard(tmp_path: Path, rng: np.random.Generator) -> None:
    processor = TextureProcessor(tiny_texture(tmp_path, tiny_texture_weights(styles=2)))
    assert [(one.name, one.default) for one in processor.controls] == [
        ("amount", 1.0),
        ("style0", 1.0),
        ("style1", 0.0),
    ]
    samples, outs = interrupted_tone(rng, HOP * 60), []
    for shares in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [2.0, 2.0], [0.0, 0.0]):
        processor.values[1:] = shares
        processor.prepare(StreamSpec(RATE, 1, 64 * HOP))
        out = np.empty_like(samples)
        processor.process(samples, out)
        outs.append(out)
    assert snr_db(outs[0], outs[1]) < 3.0
    assert snr_db(outs[0], outs[2]) < 10.0
    assert np.array_equal(outs[2], outs[3]), "weights are relative"
    assert np.array_equal(outs[2], outs[4]), "no weight at all is an equal mix"


def test_other_rates_are_refused(model: Model) -> None:
    with pytest.raises(DuendeError, match="sample rate 32000 Hz, styles play at 44100 or 48000 or 88200 or 96000 Hz"):
        TextureProcessor(model).prepare(StreamSpec(32000.0, 1, 128))


def test_sizes_are_those_of_the_model(model: Model) -> None:
    processor = TextureProcessor(model)
    assert processor.sizes == StftSizes(1024, 256, 128)
    assert processor.memory_samples >= 2048 + model.spec.receptive_field_frames * HOP


@RATES
def test_callbacks_ask_for_no_array(rate: float, model: Model, rng: np.random.Generator) -> None:
    chain = make_chain(TextureProcessor(model))
    chain.prepare(rate, HOP, HOP)
    blocks = list(noise(rng, HOP * 100, level_dbfs=amplitude(0.0) - 21.0).reshape(-1, HOP, 1))
    out, calls = np.empty((HOP, 1), dtype=np.float32), 0

    def call() -> None:
        nonlocal calls
        if calls % 50 == 0:
            chain.bank.set("amount", 0.5 if calls % 100 else 1.0)
        chain.process(blocks[calls % len(blocks)], out)
        calls += 1

    for _ in range(300):
        call()
    asked = measure(call, 500)
    assert asked.transient_bytes < 4096
    assert asked.kept_array_bytes == 0
    assert asked.garbage == 0
