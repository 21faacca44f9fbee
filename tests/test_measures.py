"""The measures: what is kept scores 1, what is lost lowers the score, and the baseline is what it says."""

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal

pytest.importorskip("torch")

from duende.engine.bands import erb_to_hz, hz_to_erb
from duende.export import measures

pytestmark = pytest.mark.train

RATE = 48000
Audio = npt.NDArray[np.float64]


def notes(pitches: list[int], seconds: float, cutoff_hz: float = 6000.0) -> Audio:
    """Decaying saw-like notes (MIDI), one after another every 0.3 s, 3 % noise: float64 [samples]."""
    rng = np.random.default_rng(440)
    out = np.zeros(int(seconds * RATE))
    for index, start in enumerate(range(0, len(out), int(0.3 * RATE))):
        time = np.arange(min(len(out) - start, RATE)) / RATE
        pitch_hz = 440.0 * 2.0 ** ((pitches[index % len(pitches)] - 69) / 12.0)
        wave = sum(np.sin(2.0 * np.pi * h * pitch_hz * time) / h for h in range(1, 12))
        out[start : start + len(time)] += wave * np.exp(-time / 0.25)
    out += 0.002 * rng.standard_normal(len(out))
    return np.asarray(scipy.signal.sosfilt(scipy.signal.butter(2, cutoff_hz, fs=RATE, output="sos"), out)) * 0.2


@pytest.fixture(scope="module")
def guitar() -> Audio:
    return notes([45, 52, 57, 60, 64], 4.0)


@pytest.fixture(scope="module")
def style() -> Audio:
    """A steady tone of F sharp with bright partials: a pitch class the guitar does not play."""
    rng = np.random.default_rng(7)
    time = np.arange(4 * RATE) / RATE
    tone = sum(np.sin(2.0 * np.pi * 370.0 * h * time + h) / np.sqrt(h) for h in range(1, 30))
    return np.asarray(0.05 * tone + 0.01 * rng.standard_normal(len(time)))


@pytest.fixture(scope="module")
def rows(guitar: Audio, style: Audio) -> dict[str, measures.Measures]:
    late = np.concatenate((np.zeros(int(0.1 * RATE)), guitar))[: len(guitar)]
    other = notes([44, 51, 56, 61, 66], 4.0)
    flat = guitar / np.sqrt(scipy.ndimage.uniform_filter1d(guitar**2, 4800) + 1e-4)
    return measures.table(guitar, {"late": late, "other notes": other, "flat": flat, "clip": style}, style)


def test_the_untouched_input_keeps_everything(rows: dict[str, measures.Measures]) -> None:
    kept = rows[measures.UNTOUCHED]
    assert kept.onset_f1 == 1.0
    assert kept.chroma == pytest.approx(1.0, abs=1e-3)
    assert kept.multi_pitch == pytest.approx(1.0, abs=1e-6)
    assert kept.loudness == pytest.approx(1.0, abs=1e-6)
    assert kept.style_ratio > 1.0


def test_late_onsets_lower_the_onset_score(rows: dict[str, measures.Measures]) -> None:
    assert rows["late"].onset_f1 < 0.3
    assert rows["late"].style_distance == pytest.approx(rows[measures.UNTOUCHED].style_distance, rel=0.1)


def test_other_notes_lower_the_pitch_scores_alone(rows: dict[str, measures.Measures]) -> None:
    assert rows["other notes"].chroma < 0.5
    assert rows["other notes"].multi_pitch < 0.5
    assert rows["other notes"].onset_f1 > 0.9
    assert rows["other notes"].loudness > 0.9


def test_a_flattened_envelope_lowers_loudness(rows: dict[str, measures.Measures]) -> None:
    assert rows["flat"].loudness < rows[measures.UNTOUCHED].loudness - 0.3


def test_the_clip_itself_takes_all_style_and_keeps_no_notes(rows: dict[str, measures.Measures]) -> None:
    clip = rows["clip"]
    assert clip.style_distance < 1e-4
    assert clip.envelope_error < 1e-4
    assert clip.chroma < 0.3
    assert clip.onset_f1 < 0.5


def test_matched_eq_comes_nearer_than_the_input_and_is_the_unit(rows: dict[str, measures.Measures]) -> None:
    equalised = rows[measures.MATCHED_EQ]
    assert equalised.envelope_error < 0.6 * rows[measures.UNTOUCHED].envelope_error
    assert equalised.style_distance < 0.5 * rows[measures.UNTOUCHED].style_distance
    assert equalised.style_ratio == pytest.approx(1.0)
    assert equalised.envelope_ratio == pytest.approx(1.0)
    assert rows[measures.FLOOR].style_ratio < 0.2


def test_a_drone_at_the_clips_pitch_is_found(guitar: Audio, style: Audio) -> None:
    assert measures.drone_db(guitar, guitar + 0.3 * style, style) > 6.0
    assert abs(measures.drone_db(guitar, guitar, style)) < 0.5
    brighter = np.append(guitar[0], np.diff(guitar))
    assert abs(measures.drone_db(guitar, brighter, style)) < 3.0
    # Drones are heard where the guitar does not play the note: when it mostly does, it must not hide them.
    mostly = np.concatenate((notes([54], 3.0), notes([57], 1.5)))[: len(style)]
    assert measures.drone_db(mostly, mostly + 0.3 * style, style) > 6.0
    unpitched = np.random.default_rng(2).standard_normal(2 * RATE)
    assert np.isnan(measures.drone_db(guitar, guitar, unpitched))


def test_matched_eq_gains_are_those_of_the_spectra_and_bounded(rng: np.random.Generator) -> None:
    white = 0.1 * rng.standard_normal(6 * RATE)
    tilt = scipy.signal.butter(1, 1000.0, fs=RATE)
    red = scipy.signal.lfilter(*tilt, white)
    centres_hz, gains_db = measures.matched_eq_gains_db(white, red)
    expected = 20.0 * np.log10(np.abs(scipy.signal.freqz(*tilt, worN=centres_hz, fs=RATE)[1]))
    expected -= 10.0 * np.log10(np.mean(red**2) / np.mean(white**2))
    inside = np.abs(expected) < measures.EQ_BOUND_DB - 1.0
    assert inside.sum() > 30
    np.testing.assert_allclose(gains_db[inside], expected[inside], atol=1.0)
    steep = scipy.signal.sosfilt(scipy.signal.butter(8, 1000.0, fs=RATE, output="sos"), white)
    for clip in (steep, white - steep):
        assert np.abs(measures.matched_eq_gains_db(white, clip)[1]).max() <= 24.0
    assert np.abs(measures.matched_eq_gains_db(white, steep)[1]).max() == 24.0


def test_matched_eq_draws_gains_linearly_without_delay(rng: np.random.Generator) -> None:
    guitar = np.zeros(RATE)
    guitar[RATE // 2] = 1.0
    style = scipy.signal.lfilter(*scipy.signal.iirpeak(2000.0, 6.0, fs=RATE), 0.1 * rng.standard_normal(4 * RATE))
    output = measures.matched_eq(guitar, style)
    np.testing.assert_allclose(
        output[RATE // 2 - 2000 : RATE // 2], output[RATE // 2 + 2000 : RATE // 2 : -1], atol=1e-6
    )
    assert np.sqrt(np.mean(output**2)) == pytest.approx(np.sqrt(np.mean(guitar**2)), rel=1e-3)
    centres_hz, gains_db = measures.matched_eq_gains_db(guitar, style)
    erb = hz_to_erb(centres_hz)
    between_hz = erb_to_hz((erb[15:35] + erb[16:36]) / 2.0)
    drawn = (gains_db[15:35] + gains_db[16:36]) / 2.0
    got = 20.0 * np.log10(np.abs(scipy.signal.freqz(output, worN=between_hz, fs=RATE)[1]))
    np.testing.assert_allclose(got - got[0], drawn - drawn[0], atol=0.05)


def test_equal_halves_have_no_distance() -> None:
    half = notes([50, 53, 57], 3.0)
    style, envelope = measures.floor_distance(np.concatenate((half, half)))
    assert style < 1e-6
    assert envelope < 1e-6


def test_silence_is_measured_only_after_the_input_has_been_silent() -> None:
    guitar = np.zeros(2 * RATE)
    guitar[:RATE] = notes([57], 1.0)
    output = guitar.copy()
    assert measures.silence_dbfs(guitar, output) < -200.0
    output[int(1.1 * RATE) : int(1.2 * RATE)] = 0.5  # a tail that dies within 0.3 s is none of its business
    assert measures.silence_dbfs(guitar, output) < -200.0
    output[int(1.6 * RATE) :] = 10.0 ** (-60.0 / 20.0)
    assert measures.silence_dbfs(guitar, output) == pytest.approx(-60.0, abs=0.1)
    assert np.isnan(measures.silence_dbfs(guitar[:RATE], output[:RATE]))


def test_noise_has_no_harmonic_share(rng: np.random.Generator, style: Audio) -> None:
    assert measures.harmonic_share(rng.standard_normal(2 * RATE)) < 0.15
    pure = np.sin(2.0 * np.pi * 440.0 * np.arange(2 * RATE) / RATE)
    assert measures.harmonic_share(pure) > 0.9


def test_the_table_is_deterministic_and_prints(guitar: Audio, style: Audio) -> None:
    short = guitar[:RATE]
    first, second = (measures.table(short, {"half": 0.5 * short}, style) for _ in range(2))
    assert measures.format_table(first) == measures.format_table(second)
    assert list(first) == [measures.UNTOUCHED, measures.MATCHED_EQ, measures.FLOOR, "half"]
    assert first["half"].style_distance == pytest.approx(first[measures.UNTOUCHED].style_distance, rel=1e-4)
    lines = measures.format_table(first).splitlines()
    assert len(lines) == 2 + len(first)
    assert len({line.count("|") for line in lines}) == 1


def test_misaligned_audio_is_refused(guitar: Audio, style: Audio) -> None:
    with pytest.raises(ValueError, match="short has shape"):
        measures.table(guitar, {"short": guitar[:-1]}, style)
    with pytest.raises(ValueError, match="the output has shape"):
        measures.Judge(guitar[:RATE], style[:RATE]).measure(guitar)
    with pytest.raises(ValueError, match="mono"):
        measures.table(np.stack((guitar, guitar)), {}, style)
