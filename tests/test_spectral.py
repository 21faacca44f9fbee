"""The spectral processor: live equals offline, amount 0 is the plain guitar, silence is silence."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende import DuendeError
from duende.engine.body import TAPS, Body, body_tables
from duende.engine.convolver import Convolver
from duende.engine.excitation import Excitations
from duende.engine.mixer import GainLaw, Observer, expected_shapes, mixer_bands
from duende.engine.model import Model, load_model
from duende.engine.processor import StreamSpec
from duende.engine.spectral import SpectralProcessor
from duende.engine.stft import DEFAULT_SIZES, SMALL_SIZES, Analysis, StftSizes, Synthesis
from duende.export.graph import save_graph
from models import build, tiny_model, tiny_weights, with_trained_amount
from processors import play_hops
from signals import interrupted_tone, noise, snr_db

Float32 = npt.NDArray[np.float32]

BOTH = pytest.mark.parametrize("sizes", [DEFAULT_SIZES, SMALL_SIZES], ids=str)
RATES = pytest.mark.parametrize("rate", [44100.0, 48000.0, 88200.0, 96000.0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[StftSizes, Model]:
    weights = tiny_weights(dilations=(1, 2, 4))
    weights.gamma[:] = 0.6
    return {
        sizes: tiny_model(tmp_path_factory.mktemp("m"), weights, sizes=sizes) for sizes in (DEFAULT_SIZES, SMALL_SIZES)
    }


def run(model: Model, samples: Float32, hops: list[int], *, amount: float = 1.0, rate: float = 48000.0) -> Float32:
    return play_hops(SpectralProcessor(model), samples, hops, amount=amount, rate=rate)


@BOTH
@RATES
def test_live_equals_offline_however_hops_are_grouped(
    sizes: StftSizes, rate: float, models: dict[StftSizes, Model], rng: np.random.Generator
) -> None:
    samples = interrupted_tone(rng, 128 * 200)
    offline = run(models[sizes], samples, [64], rate=rate)
    assert np.sqrt(np.mean(offline.astype(np.float64) ** 2)) > 0.01
    for hops in ([1], [3, 1, 7], [2, 33, 5, 64]):
        live = run(models[sizes], samples, hops, rate=rate)
        assert np.abs(live - offline).max() <= 1e-5
        assert snr_db(offline, live) >= 80.0


@BOTH
@RATES
def test_amount_0_nulls_against_the_delayed_input(
    sizes: StftSizes, rate: float, models: dict[StftSizes, Model], rng: np.random.Generator
) -> None:
    samples = interrupted_tone(rng, 128 * 200)
    out = run(models[sizes], samples, [1, 8], amount=0.0, rate=rate)
    late = sizes.hop if rate < 60000.0 else 2 * sizes.hop
    assert snr_db(samples[:-late], out[late:]) >= 100.0


def test_the_style_is_heard(models: dict[StftSizes, Model], rng: np.random.Generator) -> None:
    samples = interrupted_tone(rng, 128 * 200)
    assert snr_db(samples[:-128], run(models[DEFAULT_SIZES], samples, [1])[128:]) < 10.0


@BOTH
def test_silence_is_silence(sizes: StftSizes, models: dict[StftSizes, Model]) -> None:
    assert not run(models[sizes], np.zeros((128 * 100, 1), dtype=np.float32), [4]).any()


@BOTH
def test_sound_is_followed_by_silence(
    sizes: StftSizes, models: dict[StftSizes, Model], rng: np.random.Generator
) -> None:
    processor = SpectralProcessor(models[sizes])
    samples = np.concatenate([noise(rng, 128 * 150), np.zeros(128 * 400, dtype=np.float32)])[:, np.newaxis]
    out = run(models[sizes], samples, [4])
    ends = 128 * 150 + processor.latency_samples + processor.tail_samples
    assert np.abs(out[ends:]).max() <= 1e-4 * np.abs(out).max()
    assert np.abs(out[ends + 24_000 :]).max() <= 1e-7


@pytest.mark.parametrize("level", [1e-45, 1e-40, 1e-30, 1e-15])
def test_the_faintest_input_stays_faint(level: float, models: dict[StftSizes, Model], rng: np.random.Generator) -> None:
    samples = (level * rng.standard_normal((128 * 100, 1))).astype(np.float32)
    out = run(models[DEFAULT_SIZES], samples, [1])
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1e-5


@pytest.mark.parametrize("level", [1.0, 100.0])
def test_loud_input_gives_numbers(level: float, models: dict[StftSizes, Model], rng: np.random.Generator) -> None:
    out = run(models[DEFAULT_SIZES], (level * rng.standard_normal((128 * 100, 1))).astype(np.float32), [1])
    assert np.isfinite(out).all()


def test_the_level_follows_the_player(models: dict[StftSizes, Model], rng: np.random.Generator) -> None:
    """6 dB more in from the start gives 6 dB more out: the law sees levels only relative to each other."""
    samples = interrupted_tone(rng, 128 * 200)
    quiet, loud = (run(models[DEFAULT_SIZES], factor * samples, [8]) for factor in (np.float32(0.5), np.float32(1.0)))
    powers = [float(np.mean(out[12_800:].astype(np.float64) ** 2)) for out in (quiet, loud)]
    assert 10.0 * np.log10(powers[1] / powers[0]) == pytest.approx(6.02, abs=0.3)


def test_it_is_the_sum_of_its_parts(models: dict[StftSizes, Model], rng: np.random.Generator) -> None:
    """All frames in one go through every part, the body as a plain convolution."""
    model, sizes, samples = models[DEFAULT_SIZES], DEFAULT_SIZES, interrupted_tone(rng, 128 * 128)
    bands, frames, count = mixer_bands(sizes, 48000.0), 128, len(model.spec.excitations)
    excitations = Excitations(model.spec.excitations, 48000.0, sizes.hop, 1, frames)
    excited = excitations.process(np.ascontiguousarray(samples.T))
    analysed = Analysis(sizes, count, frames).process(excited[0])[np.newaxis]
    expected = expected_shapes(model.spec.excitations, bands, sizes, 48000.0)
    observer = Observer(bands, sizes, 48000.0, count, 1, frames, expected)
    stream = model.start(1, [frames], observer.silence())
    seen = observer.process(analysed, excitations.level)
    stream.features[frames][:] = seen.features
    stream.run(frames)
    dynamics = stream.dynamics[frames]
    style = np.ones(1, dtype=np.float32)
    body = Body(
        body_tables(model.body(style), model.spec.body_top_hz, 48000.0, sizes.hop, bands.pooling, sizes.analysis)
    )
    body.set(style, 1.0)
    spectra = np.zeros((1, frames, sizes.bins), dtype=np.complex64)
    law = GainLaw(bands, sizes, count, 1, frames)
    law.follow(body.band_power)
    law.process(analysed, seen, stream.ratios[frames], dynamics, 1.0, spectra)
    wet = np.zeros((1, len(samples)), dtype=np.float32)
    Synthesis(sizes, 1, frames).process(spectra, wet)
    impulse_response = np.zeros(TAPS, dtype=np.float32)
    Convolver(body.spectra).process(np.eye(1, TAPS, dtype=np.float32), impulse_response[None])
    wet = signal.oaconvolve(wet[0].astype(np.float64), impulse_response)[np.newaxis, : len(samples)].astype(np.float32)
    assert np.abs(run(model, samples, [3, 1])[:, 0] - wet[0]).max() <= 1e-5


def test_reset_begins_afresh(models: dict[StftSizes, Model], rng: np.random.Generator) -> None:
    processor = SpectralProcessor(models[DEFAULT_SIZES])
    processor.prepare(StreamSpec(48000.0, 1, 64 * 128))
    samples = interrupted_tone(rng, 64 * 128)
    first, second = np.empty_like(samples), np.empty_like(samples)
    processor.process(samples, first)
    processor.process(samples, second)
    assert not np.array_equal(first, second)
    processor.reset()
    processor.process(samples, second)
    assert np.array_equal(first, second)


def test_styles_are_controls_and_their_mix_is_heard(tmp_path: Path, rng: np.random.Generator) -> None:
    weights = tiny_weights(styles=2, dilations=(1,))
    weights.body[1, :] -= np.linspace(0.0, 4.0, weights.body.shape[1], dtype=np.float32)
    processor = SpectralProcessor(tiny_model(tmp_path, weights))
    assert [(one.name, one.default) for one in processor.controls] == [
        ("amount", 1.0),
        ("style0", 1.0),
        ("style1", 0.0),
    ]
    assert processor.values.tolist() == [1.0, 1.0, 0.0]
    samples, outs = interrupted_tone(rng, 128 * 60), []
    for shares in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [2.0, 2.0], [0.0, 0.0]):
        processor.values[1:] = shares
        processor.prepare(StreamSpec(48000.0, 1, 64 * 128))
        out = np.empty_like(samples)
        processor.process(samples, out)
        outs.append(out)
    assert snr_db(outs[0], outs[1]) < 30.0
    assert snr_db(outs[0], outs[2]) < 40.0
    assert np.array_equal(outs[2], outs[3]), "weights are relative"
    assert np.array_equal(outs[2], outs[4]), "no weight at all is an equal mix"


def test_a_trained_amount_is_told_to_the_graph(tmp_path: Path, rng: np.random.Generator) -> None:
    graph, spec = build(tiny_weights(dilations=(1,)))
    (tmp_path / "plain.onnx").write_bytes(save_graph(graph, spec))
    (tmp_path / "told.onnx").write_bytes(save_graph(*with_trained_amount(graph, spec)))
    plain, told = load_model(tmp_path / "plain.onnx"), load_model(tmp_path / "told.onnx")
    samples = interrupted_tone(rng, 128 * 60)
    apart = np.abs(run(plain, samples, [1, 4]) - run(told, samples, [1, 4])).max()
    assert apart <= 1e-5, "at amount 1 they are the same"
    assert not np.array_equal(
        run(plain, samples, [1, 4], amount=0.5),
        run(told, samples, [1, 4], amount=0.5),
    )
    processor = SpectralProcessor(told)
    processor.prepare(StreamSpec(48000.0, 1, 128))
    for amount in (0.75, 0.25):
        processor.values[0] = amount
        processor.process(samples[:128], np.empty((128, 1), dtype=np.float32))
        assert processor._stream.amount[0] == np.float32(amount)


def test_other_rates_are_refused(models: dict[StftSizes, Model]) -> None:
    with pytest.raises(
        DuendeError, match="sample rate 32000 Hz, styles play at 44100 or 48000 or 88200 or 96000 Hz"
    ) as caught:
        SpectralProcessor(models[DEFAULT_SIZES]).prepare(StreamSpec(32000.0, 1, 128))
    assert "\n" not in str(caught.value)
