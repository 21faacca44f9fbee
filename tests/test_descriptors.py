"""Descriptors: signals whose brightness, pitch, partials and likeness are known beforehand."""

import json

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

pytest.importorskip("torch")

from duende import DuendeError
from duende.export.descriptors import (
    RATE,
    Descriptors,
    Nearness,
    convergence_db,
    describe,
    descriptors,
    effective_partials,
    inharmonicity,
    mfcc_distance,
    mfcc_statistics,
    reanalysed_db,
    spectral_peaks,
)
from duende.export.librosa_import import load_librosa
from duende.export.teachers.spectra import Analysis, istft, stft

pytestmark = pytest.mark.train

Audio = npt.NDArray[np.float64]


def partials(hz: list[float], amplitudes: list[float] | None = None, seconds: float = 1.2, rate: int = RATE) -> Audio:
    """A sum of steady sines: float64 [samples]."""
    time = np.arange(round(seconds * rate)) / rate
    heights = amplitudes or [1.0] * len(hz)
    return np.asarray(sum(a * np.sin(2.0 * np.pi * f * time + f) for f, a in zip(hz, heights, strict=True)) * 0.05)


def white(rng: np.random.Generator, seconds: float = 1.2) -> Audio:
    return 0.1 * rng.standard_normal(round(seconds * RATE))


def test_the_centroid_of_a_sine_is_its_frequency_and_of_white_noise_half_the_band(rng: np.random.Generator) -> None:
    assert descriptors(partials([1000.0])).centroid_hz == pytest.approx(1000.0, abs=1.0)
    assert descriptors(white(rng)).centroid_hz == pytest.approx(12000.0, rel=0.02)
    # A loud and a soft sine: weighted by amplitude.
    assert descriptors(partials([500.0, 2000.0], [3.0, 1.0])).centroid_hz == pytest.approx(875.0, abs=2.0)


def test_shares_of_low_and_high_power(rng: np.random.Generator) -> None:
    found = descriptors(partials([100.0, 1000.0, 6000.0], [3.0, 2.0, 1.0]))
    assert found.low_share == pytest.approx(9.0 / 14.0, abs=1e-3)
    assert found.high_share == pytest.approx(1.0 / 14.0, abs=1e-3)
    noise = descriptors(white(rng))
    assert noise.high_share == pytest.approx(1.0 - 4000.0 / 24000.0, abs=0.02)
    assert noise.low_share == pytest.approx(250.0 / 24000.0, abs=0.003)


def test_salience_tells_tones_from_noise(rng: np.random.Generator) -> None:
    saw = partials([220.0 * h for h in range(1, 12)], [1.0 / h for h in range(1, 12)])
    assert descriptors(saw).pitch_salience > 0.99
    assert descriptors(white(rng)).pitch_salience < 0.1
    # A low tone as well: its period is a good part of the window.
    assert descriptors(partials([55.0 * h for h in range(1, 12)])).pitch_salience > 0.99
    # Noise as strong as the tone halves the autocorrelation beside lag 0.
    tone = partials([220.0])
    mixed = tone + rng.standard_normal(len(tone)) * np.sqrt(np.mean(tone**2))
    assert descriptors(mixed).pitch_salience == pytest.approx(0.5, abs=0.05)


def test_complexity_counts_equal_partials(rng: np.random.Generator) -> None:
    for count in (1, 2, 5, 12):
        found = descriptors(partials([300.0 * h for h in range(1, count + 1)]))
        assert found.harmonic_complexity == pytest.approx(count, rel=1e-3)
    unequal = descriptors(partials([300.0, 600.0, 900.0], [1.0, 0.1, 0.1])).harmonic_complexity
    share = np.array([1.0, 0.1, 0.1]) / 1.2
    assert unequal == pytest.approx(float(np.exp(-(share * np.log(share)).sum())), rel=5e-3)
    assert descriptors(white(rng)).harmonic_complexity > 300.0
    assert effective_partials(np.ones(7)) == pytest.approx(7.0)


def test_inharmonicity_is_nought_for_multiples_and_the_formula_for_a_stretched_one() -> None:
    harmonic = descriptors(partials([196.0 * h for h in range(1, 10)]))
    assert harmonic.inharmonicity < 1e-3
    # Fitted to its first partial alone, the others lie a quarter of a pitch off: half of the power, half of the most.
    assert inharmonicity(np.array([200.0, 1250.0]), np.array([1.0, 1.0]), 200.0) == pytest.approx(0.25)
    stiff = descriptors(partials([196.0 * h * np.sqrt(1.0 + 1e-3 * h * h) for h in range(1, 10)]))
    stiffer = descriptors(partials([196.0 * h * np.sqrt(1.0 + 2e-3 * h * h) for h in range(1, 10)]))
    assert 0.05 < stiff.inharmonicity < stiffer.inharmonicity
    assert np.isnan(descriptors(white(np.random.default_rng(1))).inharmonicity)


def test_peaks_are_found_between_bins() -> None:
    size = 8192
    window = np.blackman(size + 1)[:-1]
    wave = partials([1001.7, 3003.3], [1.0, 0.05])[:size]
    hz, amplitudes = spectral_peaks(np.abs(np.fft.rfft(wave * window)), RATE / size)
    assert hz == pytest.approx([1001.7, 3003.3], abs=0.1)
    assert 20.0 * np.log10(amplitudes[1] / amplitudes[0]) == pytest.approx(20.0 * np.log10(0.05), abs=0.1)


def test_level_changes_nothing_and_silence_has_no_answer() -> None:
    wave = partials([196.0 * h for h in range(1, 10)])
    loud, soft = descriptors(wave), descriptors(1e-3 * wave)
    for name in Descriptors.__dataclass_fields__:
        assert getattr(soft, name) == pytest.approx(getattr(loud, name), rel=1e-6, abs=1e-9)
    assert all(np.isnan(value) for value in vars(descriptors(0.0 * wave)).values())
    with pytest.raises(ValueError, match="at least 8192"):
        descriptors(wave[:4000])


def test_mfcc_distance_is_nought_for_the_same_timbre_and_grows_with_the_filter(rng: np.random.Generator) -> None:
    librosa = load_librosa()
    first, second = white(rng), white(rng)
    dark = np.convolve(first, np.ones(8) / 8.0, mode="same")
    darker = np.convolve(first, np.ones(24) / 24.0, mode="same")
    assert mfcc_distance(first, first) == 0.0
    assert mfcc_distance(first, 0.01 * first) < 0.05
    assert mfcc_distance(first, second) < 1.0
    level = (first * 0.1 / np.sqrt(np.mean(first**2))).astype(np.float32)
    mel = librosa.feature.melspectrogram(y=level, sr=RATE, n_fft=2048, hop_length=512, n_mels=64, fmax=16000.0)
    direct = scipy.fft.dct(librosa.power_to_db(mel), axis=0, norm="ortho")[1:13]
    assert mfcc_statistics(first) == pytest.approx(np.stack([direct.mean(axis=1), direct.std(axis=1)]), rel=1e-3)
    assert 2.0 < mfcc_distance(first, dark) < mfcc_distance(first, darker)


def test_convergence_is_minus_infinity_for_the_same_and_nought_against_silence(rng: np.random.Generator) -> None:
    wave = partials([196.0 * h for h in range(1, 10)])
    assert convergence_db(wave, wave) == -np.inf
    assert convergence_db(wave, 0.0 * wave) == pytest.approx(0.0, abs=1e-6)
    # A tenth of the magnitudes more, at another level: nothing, for levels are made equal.
    assert convergence_db(wave, 1.1 * wave) < -100.0
    other = partials([311.0 * h for h in range(1, 10)])
    assert convergence_db(wave, other) > -3.0


def test_reanalysis_tells_a_good_inversion_from_a_bad_one(rng: np.random.Generator) -> None:
    analysis = Analysis(22050, 1024, 256)
    spectrum = stft(white(rng).astype(np.float32), analysis)
    length = len(white(rng))
    good = istft(spectrum, analysis, length)
    random = np.abs(spectrum) * np.exp(2j * np.pi * rng.random(spectrum.shape))
    bad = istft(random.astype(np.complex64), analysis, length)
    assert reanalysed_db(np.abs(spectrum), good, analysis) < -30.0
    assert reanalysed_db(np.abs(spectrum), bad, analysis) > -10.0


def test_describe_puts_three_sounds_side_by_side(rng: np.random.Generator) -> None:
    rate = 22050
    content = partials([196.0 * h for h in range(1, 6)], rate=rate, seconds=1.5)
    style = partials([311.0 * h for h in range(1, 20)], rate=rate, seconds=2.5)
    style += 0.01 * rng.standard_normal(len(style))
    rows = describe(content, style, style[: len(content)], rate)
    assert list(rows) == ["content", "style", "result"]
    names = [*Descriptors.__dataclass_fields__, *Nearness.__dataclass_fields__]
    assert all(list(row) == names for row in rows.values())
    json.loads(json.dumps(rows, allow_nan=False))
    kept, taken = rows["content"], rows["result"]
    assert kept["convergence_db"] is None  # of the content against itself: minus infinity
    assert taken["convergence_db"] is not None
    assert taken["convergence_db"] > -6.0
    for name in ("gram_distance", "envelope_error", "mfcc_distance"):
        near, far = taken[name], kept[name]
        assert near is not None
        assert far is not None
        assert near < 0.1 * far, name
    assert taken["centroid_hz"] == pytest.approx(rows["style"]["centroid_hz"], rel=0.05)


def test_what_cannot_be_described_is_one_line() -> None:
    wave = partials([200.0])
    with pytest.raises(DuendeError, match=r"result: 0\.50 s are too short"):
        describe(wave, wave, wave[: RATE // 2], RATE)
    with pytest.raises(DuendeError, match="style: holds samples that are not numbers"):
        describe(wave, wave * np.nan, wave, RATE)
