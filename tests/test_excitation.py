"""Excitations against a slow computation in float64 from their formulas, their aliases, and their silence."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende import DuendeError
from duende.engine.excitation import (
    BAND_EDGES_HZ,
    NAMES,
    NOISE_PERIOD,
    NOISE_SEED,
    SUB_BLOCK,
    Excitations,
    band_filters,
    decimator,
    level_window,
    pre_emphasis,
)
from signals import noise, tone

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATES = pytest.mark.parametrize("rate", [44100.0, 48000.0, 88200.0, 96000.0])


def run(
    samples: Float32, rate: float, groups: list[int], quantum: int = 128, names: tuple[str, ...] = NAMES
) -> Float32:
    """Excitations [channels, names, n] of samples [channels, n], n whole quanta, a group of quanta at a time."""
    excitations = Excitations(names, rate, quantum, len(samples), max(groups))
    parts, at, turn = [], 0, 0
    while at < samples.shape[1]:
        size = min(groups[turn % len(groups)] * quantum, samples.shape[1] - at)
        parts.append(excitations.process(np.ascontiguousarray(samples[:, at : at + size])).copy())
        at, turn = at + size, turn + 1
    return np.concatenate(parts, axis=2)


def guitar_like(rng: np.random.Generator, frames: int, rate: float) -> Float32:
    """Decaying chords over a little noise, with a rest in the middle."""
    time = np.arange(frames) / rate
    out = 0.001 * rng.standard_normal(frames)
    for root in (110.0, 164.81, 246.94, 659.26):
        for partial in range(1, 7):
            out += 0.1 / partial * np.exp(-6.0 * partial * (time % 0.15)) * np.sin(2 * np.pi * partial * root * time)
    out[frames // 3 : frames // 2] = 0.0
    return out.astype(np.float32)


class Slow:
    """The formulas of the module in float64, sample by sample or with scipy's recursive filters."""

    def __init__(self, samples: Float32, rate: float) -> None:
        self.x = samples.astype(np.float64)
        self.rate = rate
        # At twice a model's rate there is nothing to fill in, and everything lasts twice as many samples.
        self.factor = 1 if rate < 60000.0 else 2
        self.expansion = 2 // self.factor
        wide = np.zeros(self.expansion * len(self.x))
        wide[:: self.expansion] = self.expansion * self.x
        self.bands = [signal.sosfilt(sos, wide) for sos in band_filters(rate / self.factor)]

    def at_ends(self, values: Float64, width: int) -> Float64:
        """Means of `width` samples, weighted over the past."""
        means = values.reshape(-1, width).mean(axis=1)
        return np.asarray(np.convolve(means, level_window(self.rate / self.factor))[: len(means)])

    @staticmethod
    def lines(ends: Float64, width: int) -> Float64:
        """Straight lines from 0 through the values at the end of each group of `width`."""
        line = np.interp(np.arange(1, len(ends) * width + 1) / width, np.arange(len(ends) + 1), [0.0, *ends])
        return np.asarray(line)

    def emphasised(self, values: Float64) -> Float64:
        before = np.concatenate([np.zeros(self.factor), values[: -self.factor]])
        return np.asarray(values - pre_emphasis(self.rate / self.factor) * before)

    def excitation(self, name: str) -> Float64:
        if name == "dry@1":
            return self.emphasised(self.x)
        if name == "noise@1":
            width = SUB_BLOCK * self.factor
            level = self.lines(np.sqrt(self.at_ends(self.x**2, width)), width)
            white = np.sqrt(self.factor) * np.random.default_rng(NOISE_SEED).standard_normal(NOISE_PERIOD)
            return self.emphasised(level * white[np.arange(len(self.x)) % NOISE_PERIOD])
        total = np.zeros(self.expansion * len(self.x))
        whole = self.lines(np.sqrt(self.at_ends(self.x**2, SUB_BLOCK * self.factor)), 2 * SUB_BLOCK)
        for band in self.bands:
            level = self.lines(np.sqrt(self.at_ends(band**2, 2 * SUB_BLOCK)), 2 * SUB_BLOCK)
            if name == "rect@1":
                total += np.abs(band) - 0.9 * level
            else:
                drive = {"soft@1": 2.0, "hard@1": 10.0}[name]
                total += level * np.tanh(drive * band / (level + 0.003 * whole + 1e-6))
        low = np.convolve(total, decimator(self.rate / self.factor))[: len(total)]
        return self.emphasised(low[:: self.expansion])


@RATES
@pytest.mark.parametrize("name", NAMES)
def test_equals_its_formula(name: str, rate: float, rng: np.random.Generator) -> None:
    samples = guitar_like(rng, 128 * 120, rate)
    got = run(samples[np.newaxis], rate, [3])[0, NAMES.index(name)]
    wanted = Slow(samples, rate).excitation(name)
    error = np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2))
    assert error <= 1e-4
    assert np.abs(got - wanted).max() <= 1e-3 * np.abs(wanted).max()


def test_level_is_the_smoothed_root_mean_square(rng: np.random.Generator) -> None:
    samples = guitar_like(rng, 128 * 60, 48000.0)
    excitations = Excitations(NAMES, 48000.0, 128, 1, 60)
    excitations.process(samples[np.newaxis])
    slow = Slow(samples, 48000.0)
    assert (
        np.abs(
            excitations.level[0] - np.sqrt(slow.at_ends(slow.x**2, SUB_BLOCK))[128 // SUB_BLOCK - 1 :: 128 // SUB_BLOCK]
        ).max()
        <= 1e-5
    )
    steady = tone(220.0, 128 * 60, level_dbfs=0.0)
    excitations.process(steady[np.newaxis])
    assert excitations.level[0, -1] == pytest.approx(np.sqrt(0.5), rel=0.01)


@RATES
@pytest.mark.parametrize("quantum", [64, 128])
def test_any_grouping_of_quanta_gives_the_same(rate: float, quantum: int, rng: np.random.Generator) -> None:
    samples = np.stack([guitar_like(rng, 128 * 80, rate) for _ in range(2)])
    wanted = run(samples, rate, [1], quantum)
    for groups in ([64], [3, 1, 7], [2, 5, 16, 1]):
        assert np.abs(run(samples, rate, groups, quantum) - wanted).max() <= 1e-5


def test_the_quantum_does_not_matter(rng: np.random.Generator) -> None:
    samples = guitar_like(rng, 128 * 80, 48000.0)[np.newaxis]
    assert np.abs(run(samples, 48000.0, [2], 64) - run(samples, 48000.0, [1], 128)).max() <= 1e-5


@pytest.mark.parametrize(
    "names",
    [("dry@1",), ("dry@1", "noise@1"), ("dry@1", "hard@1"), ("noise@1", "soft@1"), ("dry@1", "rect@1"), ("rect@1",)],
    ids="+".join,
)
def test_a_choice_of_excitations_is_the_same_as_all(names: tuple[str, ...], rng: np.random.Generator) -> None:
    samples = guitar_like(rng, 128 * 40, 48000.0)[np.newaxis]
    every = run(samples, 48000.0, [4])
    got = run(samples, 48000.0, [4], names=names)
    for place, name in enumerate(names):
        assert np.abs(got[:, place] - every[:, NAMES.index(name)]).max() <= 1e-6


def spectrum_db(samples: Float64, rate: float) -> tuple[Float64, Float64]:
    """Frequencies and power in dB under a Kaiser window (beta 20: side lobes below -150 dB, main lobe +-6 bins)."""
    power = np.abs(np.fft.rfft(samples * np.kaiser(len(samples), 20.0))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1.0 / rate)
    return np.asarray(hertz, dtype=np.float64), np.asarray(10.0 * np.log10(power + 1e-30))


def worst_alias_db(name: str, rate: float, frequency: float, level_dbfs: float = -6.0) -> float:
    """Largest line between 40 Hz and 18 kHz that is more than 8 Hz off a harmonic, relative to the largest harmonic.

    One long transform of the de-emphasised steady state. The largest harmonic is the fundamental, except for
    rect@1, whose fundamental is the second harmonic (it holds even ones alone).
    """
    frames = 2**16
    samples = tone(frequency, 128 * 40 + frames, rate_hz=rate, level_dbfs=level_dbfs)
    got = run(samples[np.newaxis], rate, [32], names=("dry@1", name))[0, 1].astype(np.float64)
    plain = signal.lfilter([1.0], [1.0, -pre_emphasis(rate)], got)[-frames:]
    hertz, power = spectrum_db(np.asarray(plain), rate)
    off = np.abs(hertz - frequency * np.rint(hertz / frequency))
    heard = (hertz >= 40.0) & (hertz <= 18000.0)
    return float(power[heard & (off > 8.0)].max() - power[heard & (off <= 8.0)].max())


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("soft@1", 44100.0),
        ("soft@1", 48000.0),
        ("hard@1", 44100.0),
        ("hard@1", 48000.0),
        ("rect@1", 44100.0),
        ("rect@1", 48000.0),
    ],
)
def test_aliases_of_the_high_e_stay_60_db_down(name: str, rate: float) -> None:
    assert worst_alias_db(name, rate, 1318.51) <= -60.0


def test_the_measure_sees_aliases() -> None:
    frames, rate = 2**16, 48000.0
    plain = np.sign(tone(1318.51, frames, rate_hz=rate).astype(np.float64))
    hertz, power = spectrum_db(plain, rate)
    off = np.abs(hertz - 1318.51 * np.rint(hertz / 1318.51))
    heard = (hertz >= 40.0) & (hertz <= 18000.0)
    assert -35.0 < power[heard & (off > 8.0)].max() - power[heard & (off <= 8.0)].max() < -15.0


def sound_then_silence(rng: np.random.Generator, rate: float) -> tuple[Float32, int]:
    """All excitations [names, n] of noise that stops, and where it stops."""
    stop = 128 * 100
    samples = np.concatenate([noise(rng, stop), np.zeros(128 * 400, dtype=np.float32)])
    got = run(samples[np.newaxis], rate, [1])[0]
    assert got[:, :stop].any(axis=1).all()
    return got, stop


@RATES
def test_silence_is_inaudible_after_50_ms_and_exact_after_1_s(rate: float, rng: np.random.Generator) -> None:
    got, stop = sound_then_silence(rng, rate)
    assert np.abs(got[:, stop + int(0.05 * rate) :]).max() <= 1e-4
    assert not got[:, stop + int(rate) :].any()


@RATES
@pytest.mark.parametrize("name", ["dry@1", "noise@1"])
def test_silence_is_exact_after_50_ms(name: str, rate: float, rng: np.random.Generator) -> None:
    got, stop = sound_then_silence(rng, rate)
    assert not got[NAMES.index(name), stop + int(0.05 * rate) :].any()


def test_silence_from_the_start_is_silence() -> None:
    assert not run(np.zeros((1, 128 * 50), dtype=np.float32), 48000.0, [5]).any()


@pytest.mark.parametrize("level", [1e-40, 1e-20, 1e-6, 1.0, 100.0])
def test_every_level_gives_numbers(level: float, rng: np.random.Generator) -> None:
    samples = (level * rng.standard_normal((1, 128 * 50))).astype(np.float32)
    got = run(samples, 48000.0, [5])
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 40.0 * level


def test_reset_begins_afresh(rng: np.random.Generator) -> None:
    samples = guitar_like(rng, 128 * 20, 48000.0)[np.newaxis]
    excitations = Excitations(NAMES, 48000.0, 128, 1, 20)
    first = excitations.process(samples).copy()
    assert not np.array_equal(excitations.process(samples), first)
    excitations.reset()
    assert np.array_equal(excitations.process(samples), first)


def test_noise_goes_on_past_its_period() -> None:
    samples = np.full((1, NOISE_PERIOD + 1024), 0.5, dtype=np.float32)
    got = run(samples, 48000.0, [64], names=("dry@1", "noise@1"))[0, 1].astype(np.float64)
    white = np.random.default_rng(NOISE_SEED).standard_normal(1024)
    wanted = 0.5 * (white[1:] - pre_emphasis(48000.0) * white[:-1])
    assert np.abs(got[NOISE_PERIOD + 1 :] - wanted).max() <= 1e-4


def test_bands_cover_the_guitar() -> None:
    for rate in (44100.0, 48000.0):
        hertz = np.geomspace(90.0, 4000.0, 300)
        responses = [signal.sosfreqz(sos, worN=hertz, fs=2 * rate)[1] for sos in band_filters(rate)]
        total = 20.0 * np.log10(np.abs(np.sum(responses, axis=0)))
        assert len(responses) == len(BAND_EDGES_HZ) - 1
        assert np.abs(total).max() <= 6.0


def test_unknown_excitations_are_refused() -> None:
    for names in (("wet@1",), ("noise@1", "dry@1"), ("dry@2",)):
        with pytest.raises(DuendeError, match="this version knows dry@1"):
            Excitations(names, 48000.0, 128)
    with pytest.raises(ValueError, match="quantum of 100 samples"):
        Excitations(NAMES, 48000.0, 100)
