"""Observer and gain law against their formulas, computed slowly in float64."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.mixer import (
    BURST,
    COMMON_RANGE,
    DRY_BOUND,
    GAIN_RANGE,
    LEVEL_FLOOR,
    OTHER_BOUND,
    POWER_FLOOR,
    REST_POWER,
    SLOW_S,
    SMOOTH_OCTAVES,
    GainLaw,
    Observation,
    Observer,
    band_widths,
    expected_shapes,
    feature_count,
    mixer_bands,
)
from duende.engine.stft import DEFAULT_SIZES, windows

Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]

RATE = 48000.0
SIZES = DEFAULT_SIZES
BANDS = mixer_bands(SIZES, RATE)
FRAMES, EXCITATIONS = 30, 3


@dataclass
class Scene:
    """Spectra [2, excitations, frames, bins] of noise whose level moves, with a rest, and levels [2, frames]."""

    spectra: Complex64
    level: npt.NDArray[np.float32]


@pytest.fixture
def scene(rng: np.random.Generator) -> Scene:
    shape = (2, EXCITATIONS, FRAMES, SIZES.bins)
    moving = np.exp(rng.normal(0.0, 0.7, (2, 1, FRAMES, 1)))
    moving[:, :, 10:14] = 0.0
    colour = np.linspace(2.0, 0.1, SIZES.bins)
    noise = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    level = 0.05 * moving[:, 0, :, 0]
    return Scene((moving * colour * noise).astype(np.complex64), level.astype(np.float32))


def observe(scene: Scene, groups: list[int]) -> Observation:
    """The whole scene through an observer, some frames at a time."""
    observer = Observer(BANDS, SIZES, RATE, EXCITATIONS, 2, max(groups))
    parts: list[Observation] = []
    at = turn = 0
    while at < FRAMES:
        end = min(at + groups[turn % len(groups)], FRAMES)
        seen = observer.process(np.ascontiguousarray(scene.spectra[:, :, at:end]), scene.level[:, at:end])
        parts.append(Observation(*(getattr(seen, name).copy() for name in Observation.__dataclass_fields__)))
        at, turn = end, turn + 1
    return Observation(
        *(np.concatenate([getattr(part, name) for part in parts], axis=1) for name in Observation.__dataclass_fields__)
    )


def test_power_is_the_mean_power_of_a_band(scene: Scene) -> None:
    energy = np.sum(windows(SIZES)[0] ** 2)
    exact = np.abs(scene.spectra[..., : BANDS.bins].astype(np.complex128)) ** 2 / energy @ BANDS.pooling
    exact = exact.mean(axis=0, keepdims=True)
    got = observe(scene, [4]).power
    assert got.shape == (1, FRAMES, EXCITATIONS, BANDS.count)
    quiet = exact.transpose(0, 2, 1, 3) == 0.0
    assert (got[quiet] == 0.0).all()
    # Wide bands are added up in groups of bins: single ones differ, on average nothing does.
    ratio = got[~quiet] / exact.transpose(0, 2, 1, 3)[~quiet]
    assert np.abs(ratio - 1.0).max() <= 0.25
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.01)
    narrow = BANDS.centres_hz < 1000.0
    assert np.allclose(got[..., narrow], exact.transpose(0, 2, 1, 3)[..., narrow], rtol=1e-4)


def test_slow_averages_shape_and_features_follow_the_formulas(scene: Scene) -> None:
    seen = observe(scene, [7])
    octaves = np.log2(BANDS.centres_hz)
    kernel = np.exp(-0.5 * ((octaves[:, None] - octaves) / SMOOTH_OCTAVES) ** 2)
    kernel /= kernel.sum(axis=0)
    rate = 1.0 - np.exp(-SIZES.hop / (SLOW_S * RATE))
    power_sum, level_sum, weight = np.zeros((EXCITATIONS, BANDS.count)), 0.0, 0.0
    for frame in range(FRAMES):
        power = seen.power[0, frame].astype(np.float64)
        level = float(np.sqrt(np.mean(np.square(scene.level[:, frame].astype(np.float64)))))
        share = rate * level**2 / (level**2 + 0.01 * level_sum / (weight + 1e-9) + REST_POWER)
        power_sum = (1.0 - share) * power_sum + share * power
        level_sum = (1.0 - share) * level_sum + share * level**2
        weight = (1.0 - share) * weight + share
        slow = power_sum / (weight + 1e-9) @ kernel + POWER_FLOOR
        slow_level = level_sum / (weight + 1e-9) + LEVEL_FLOOR**2
        shape = 0.5 * np.log(slow) - 0.5 * np.log(slow_level)
        assert np.allclose(seen.shape[0, frame], shape, atol=1e-3)
        swing = np.clip(np.log(level + LEVEL_FLOOR) - 0.5 * np.log(slow_level), -6.0, 3.0)
        assert seen.swing[0, frame] == pytest.approx(swing, abs=1e-3)
        relative = np.clip(0.5 * np.log(power[0] + POWER_FLOOR) - 0.5 * np.log(slow[0]), -6.0, 2.5) / 1.5
        wanted = [relative, relative - relative.mean(), (shape[0] - shape[0].mean()) / 3.0, [swing / 1.5]]
        assert np.allclose(seen.features[0, frame], np.concatenate(wanted), atol=2e-3)
    assert seen.features.shape == (1, FRAMES, feature_count(BANDS.count))


def test_slow_averages_take_a_second_and_a_half() -> None:
    """The power of everything becomes 4 times as large, at one level: after 1.5 s the average has gone 63 % there."""
    frames = round(SLOW_S * RATE / SIZES.hop)
    observer = Observer(BANDS, SIZES, RATE, 1, 1, frames)
    spectra = np.ones((1, 1, frames, SIZES.bins), dtype=np.complex64)
    level = np.full((1, frames), 0.1, dtype=np.float32)
    for _ in range(6):
        before = observer.process(spectra, level).shape[0, -1].copy()
    after = observer.process(2.0 * spectra, level).shape[0, -1]
    # The share of a frame is rate P / (P + 0.01 P): 1 % slower.
    wanted = 0.5 * np.log(4.0 - 3.0 * np.exp(-1.0 / 1.01))
    assert np.abs(after - before - wanted).max() <= 0.004


def test_a_guitar_is_expected_until_one_is_heard() -> None:
    """Hum at -62 dBFS leaves the averages as they began, whatever its spectrum; playing replaces them at once."""
    expected = expected_shapes(("dry@1", "noise@1", "rect@1"), BANDS, SIZES, RATE)
    frames = round(2.0 * RATE / SIZES.hop)
    energy = np.sum(windows(SIZES)[0] ** 2)
    white = np.full((1, 3, frames, SIZES.bins), np.sqrt(energy), dtype=np.complex64)
    middle = (BANDS.centres_hz > 300.0) & (BANDS.centres_hz < 1500.0)
    shapes = []
    for level in (8e-4, 0.05):
        observer = Observer(BANDS, SIZES, RATE, 3, 1, frames, expected)
        seen = observer.process(level * white, np.full((1, frames), level, dtype=np.float32))
        shapes.append(seen.shape[0, :, 0, middle].T.copy())
    hum, playing = shapes
    assert np.abs(hum[-1] - hum[0]).max() < 0.3
    assert np.abs(playing[-1] - hum[0]).max() > 1.0
    # At level 1 the bands of each excitation hold variance 1 before the emphasis.
    assert expected.shape == (3, BANDS.count)
    assert expected[1, BANDS.centres_hz > 4000.0].min() > expected[1, BANDS.centres_hz < 500.0].max()


def test_any_grouping_of_frames_observes_the_same(scene: Scene) -> None:
    wanted = observe(scene, [1])
    for groups in ([30], [3, 1, 7]):
        got = observe(scene, groups)
        for name in Observation.__dataclass_fields__:
            assert np.allclose(getattr(got, name), getattr(wanted, name), atol=1e-4), name


def test_features_do_not_know_the_absolute_level(scene: Scene) -> None:
    loud = Scene(scene.spectra * np.float32(4.0), scene.level * np.float32(4.0))
    playing = scene.level[0] > 0.0
    soft, hard = observe(scene, [5]).features[0, playing], observe(loud, [5]).features[0, playing]
    assert np.abs(soft - hard).max() <= 0.01


def test_averages_are_taken_over_where_they_mean_the_same(scene: Scene) -> None:
    first = Observer(BANDS, SIZES, RATE, EXCITATIONS, 2, FRAMES)
    first.process(scene.spectra, scene.level)
    heir = Observer(BANDS, SIZES, RATE, EXCITATIONS, 2, FRAMES)
    heir.adopt(first)
    wanted = first.process(scene.spectra, scene.level).features.copy()
    assert np.array_equal(heir.process(scene.spectra, scene.level).features, wanted)
    other = Observer(BANDS, SIZES, RATE, 1, 2, FRAMES)
    other.adopt(first)
    heir.reset()
    fresh = Observer(BANDS, SIZES, RATE, EXCITATIONS, 2, FRAMES)
    assert np.array_equal(
        heir.process(scene.spectra, scene.level).features, fresh.process(scene.spectra, scene.level).features
    )


@pytest.mark.parametrize("amount", [1.0, 0.6, 0.0])
def test_the_law_follows_its_formula(amount: float, scene: Scene, rng: np.random.Generator) -> None:
    seen = observe(scene, [30])
    seen.level[0, ::2] *= 1e-3
    ratios = rng.normal(-1.0, 3.0, seen.power.shape).astype(np.float32)
    dynamics = np.stack([rng.normal(0.0, 0.3, (1, FRAMES)), rng.uniform(0.5, 1.5, (1, FRAMES))], axis=2)
    response = rng.uniform(0.1, 4.0, BANDS.count).astype(np.float32)
    out = np.ones((2, FRAMES, SIZES.bins), dtype=np.complex64)
    law = GainLaw(BANDS, SIZES, EXCITATIONS, 2, FRAMES)
    law.follow(response)
    law.process(scene.spectra, seen, ratios, dynamics.astype(np.float32), amount, out)
    widths = band_widths(BANDS, SIZES)
    tilt = 0.5 * np.log(response / np.sum(widths * response))
    bound = np.array([DRY_BOUND, *[OTHER_BOUND] * (EXCITATIONS - 1)])[:, None]
    wanted, held = np.zeros_like(out, dtype=np.complex128), 0
    for channel in range(2):
        for frame in range(FRAMES):
            shape = seen.shape[0, frame].astype(np.float64)
            log_gain = ratios[0, frame] + np.clip(tilt - shape, -bound, bound) - tilt
            log_gain = np.clip(log_gain, *GAIN_RANGE)
            log_gain[0] *= amount
            gain = np.exp(log_gain)
            gain[1:] *= amount
            predicted = np.sum(widths * response * np.sum(gain**2 * np.exp(2.0 * shape), axis=0))
            swing, gamma = dynamics[0, frame]
            common = (gamma - 1.0) * seen.swing[0, frame] + swing - 0.5 * np.log(predicted + POWER_FLOOR)
            gain *= np.exp(amount * np.clip(common, *COMMON_RANGE))
            heard = np.sum(widths * response * np.sum(gain**2 * seen.power[0, frame], axis=0))
            held += heard > BURST * seen.level[0, frame]
            gain *= min(1.0, BURST * (seen.level[0, frame] + 1e-10) / max(heard, 1e-30)) ** (0.5 * amount)
            spectra = scene.spectra[channel, :, frame]
            wanted[channel, frame, : BANDS.bins] = np.sum(
                (gain @ BANDS.interpolation) * spectra[:, : BANDS.bins], axis=0
            )
            wanted[channel, frame, BANDS.bins :] = (1.0 - amount) * spectra[0, BANDS.bins :]
    assert np.abs(out - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert 0 < held < 2 * FRAMES or amount == 0.0, "both sides of the bound are seen"
    if amount == 0.0:
        assert np.abs(out - scene.spectra[:, 0]).max() <= 1e-6 * np.abs(out).max()


def test_widths_predict_a_variance(rng: np.random.Generator) -> None:
    """White noise of variance 1 has power 1 in every bin: the widths add up to the share below 18 kHz."""
    samples = rng.standard_normal((400, SIZES.analysis)) * windows(SIZES)[0]
    power = np.mean(np.abs(np.fft.rfft(samples)) ** 2, axis=0) / np.sum(windows(SIZES)[0] ** 2)
    assert power[5:-5].mean() == pytest.approx(1.0, abs=0.02)
    assert band_widths(BANDS, SIZES).sum() == pytest.approx(18000.0 / 24000.0, abs=0.005)


def test_an_answer_of_nothing_is_a_matched_equaliser(rng: np.random.Generator) -> None:
    """A student that answers 0 leaves the dry path with the style's spectrum, within the equaliser's bounds."""
    frames = 800
    colour = np.exp(np.linspace(0.0, -2.0, SIZES.bins))
    noise = rng.standard_normal((1, 1, frames, SIZES.bins)) + 1j * rng.standard_normal((1, 1, frames, SIZES.bins))
    # As loud as the level says: the law weighs both against each other.
    scale = 0.1 * np.sqrt(np.sum(windows(SIZES)[0] ** 2) / (2.0 * np.mean(colour**2)))
    spectra = (scale * colour * noise).astype(np.complex64)
    level = np.full((1, frames), 0.1, dtype=np.float32)
    seen = Observer(BANDS, SIZES, RATE, 1, 1, frames).process(spectra, level)
    response = np.exp(np.sin(np.linspace(0.0, 9.0, BANDS.count))).astype(np.float32)
    law = GainLaw(BANDS, SIZES, 1, 1, frames)
    law.follow(response)
    out = np.zeros((1, frames, SIZES.bins), dtype=np.complex64)
    dynamics = np.zeros((1, frames, 2), dtype=np.float32)
    dynamics[:, :, 1] = 1.0
    law.process(spectra, seen, np.zeros_like(seen.power), dynamics, 1.0, out)
    power = np.mean(np.abs(out[0, frames // 2 :, : BANDS.bins]) ** 2, axis=0) @ BANDS.pooling
    flat = 10.0 * np.log10(power)
    middle = (BANDS.centres_hz > 200.0) & (BANDS.centres_hz < 6000.0)
    # Before the style's filter the spectrum is white; where the bound holds it falls with the guitar's.
    assert np.ptp(flat[middle]) < 3.0
    steep = law_gain_db(spectra * np.exp(np.linspace(0.0, -9.0, SIZES.bins)).astype(np.complex64), response)
    assert 24.0 < np.ptp(steep + 10.0 * np.log10(response)) < 49.0


def law_gain_db(spectra: Complex64, response: npt.NDArray[np.float32]) -> Float64:
    """Gains in dB [bands] that an answer of nothing gives to steady spectra [1, 1, frames, bins]."""
    frames = spectra.shape[2]
    seen = Observer(BANDS, SIZES, RATE, 1, 1, frames).process(spectra, np.full((1, frames), 0.1, dtype=np.float32))
    law = GainLaw(BANDS, SIZES, 1, 1, frames)
    law.follow(response)
    out = np.zeros((1, frames, SIZES.bins), dtype=np.complex64)
    dynamics = np.tile(np.array([0.0, 1.0], dtype=np.float32), (1, frames, 1))
    law.process(spectra, seen, np.zeros_like(seen.power), dynamics, 1.0, out)
    powers = [
        np.mean(np.abs(part[..., -1, : BANDS.bins]) ** 2 @ BANDS.pooling, axis=0) for part in (out, spectra[:, 0])
    ]
    return np.asarray(10.0 * np.log10(powers[0] / powers[1]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_answers_out_of_range_do_not_raise(value: float, scene: Scene) -> None:
    seen = observe(scene, [30])
    out = np.zeros((2, FRAMES, SIZES.bins), dtype=np.complex64)
    law = GainLaw(BANDS, SIZES, EXCITATIONS, 2, FRAMES)
    ratios = np.full_like(seen.power, value)
    dynamics = np.full((2, FRAMES, 2), value, dtype=np.float32)
    response = np.ones(BANDS.count, dtype=np.float32)
    with np.errstate(all="ignore"):
        law.follow(response)
        law.process(scene.spectra, seen, ratios, dynamics, 1.0, out)
