"""The plucked string: partials where the theory puts them, treble dying first, articulations heard, seeds obeyed."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from duende.export.pluck import (
    INSTRUMENTS,
    Articulation,
    Instrument,
    Note,
    _sum_of_modes,
    decay_rates,
    demo_phrase,
    partials_hz,
    render_notes,
    strum,
)
from signals import RATE_HZ

ELECTRIC = replace(INSTRUMENTS["electric bridge"], detune_cents=0.0)
Signal = npt.NDArray[np.float32]


def render(note: Note, instrument: Instrument = ELECTRIC, seconds: float = 2.0) -> Signal:
    return render_notes([note], instrument, RATE_HZ, seconds, np.random.default_rng(3))


def peak_hz(audio: Signal, near_hz: float) -> float:
    """Frequency of the strongest spectral peak within a semitone of near_hz, by parabola."""
    spectrum = np.log(np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 4 * len(audio))) + 1e-12)
    hz = np.fft.rfftfreq(4 * len(audio), 1.0 / RATE_HZ)
    inside = np.flatnonzero(np.abs(np.log2(hz[1:] / near_hz)) < 1.0 / 12.0) + 1
    top = inside[np.argmax(spectrum[inside])]
    a, b, c = spectrum[top - 1 : top + 2]
    return float((top + 0.5 * (a - c) / (a - 2.0 * b + c)) * hz[1])


def level_db(audio: Signal, start: float, seconds: float, band_hz: tuple[float, float] = (0.0, 24000.0)) -> float:
    part = audio[int(start * RATE_HZ) : int((start + seconds) * RATE_HZ)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    hz = np.fft.rfftfreq(len(part), 1.0 / RATE_HZ)
    return float(10.0 * np.log10(spectrum[(hz >= band_hz[0]) & (hz < band_hz[1])].sum() + 1e-20))


@pytest.mark.parametrize("pitch", [40.0, 55.0, 64.5, 76.0])
def test_partials_lie_where_a_stiff_string_has_them(pitch: float) -> None:
    audio = render(Note(0.0, 2.0, pitch, 0.9))
    fundamental_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    stiffness = ELECTRIC.inharmonicity * 2.0 ** ((pitch - 52.0) / 12.0)
    for order in (1, 2, 3, 5):
        expected = order * fundamental_hz * np.sqrt((1.0 + stiffness * order**2) / (1.0 + stiffness))
        cents = 1200.0 * np.log2(peak_hz(audio[RATE_HZ // 20 : RATE_HZ], expected) / expected)
        assert abs(cents) < 3.0, (order, cents)


def test_a_note_decays_and_its_treble_first() -> None:
    audio = render(Note(0.0, 2.0, 45.0, 0.9))
    low, high = (60.0, 500.0), (2000.0, 6000.0)
    fall_low = level_db(audio, 0.1, 0.2, low) - level_db(audio, 1.5, 0.2, low)
    fall_high = level_db(audio, 0.1, 0.2, high) - level_db(audio, 1.5, 0.2, high)
    assert 3.0 < fall_low < 30.0
    assert fall_high > fall_low + 10.0
    hz = partials_hz(45.0, ELECTRIC, 12000.0)
    assert np.all(np.diff(decay_rates(hz, 45.0, ELECTRIC)) > 0.0)


def test_the_pluck_position_silences_its_partials() -> None:
    middle = replace(ELECTRIC, pluck_position=0.5, pickup_position=None)
    audio = render(Note(0.0, 2.0, 40.0, 0.9), middle)
    hz = partials_hz(40.0, middle, 2000.0)
    odd, even = (np.mean([level_db(audio, 0.1, 1.0, (f - 8.0, f + 8.0)) for f in hz[k:8:2]]) for k in (0, 1))
    assert odd > even + 6.0


def test_harder_is_louder_and_brighter() -> None:
    soft, hard = (render(Note(0.0, 1.0, 52.0, velocity)) for velocity in (0.3, 1.0))
    bass, treble = (60.0, 600.0), (2500.0, 6000.0)
    louder = level_db(hard, 0.02, 0.3, bass) - level_db(soft, 0.02, 0.3, bass)
    assert louder > 6.0
    assert level_db(hard, 0.02, 0.3, treble) - level_db(soft, 0.02, 0.3, treble) > louder + 3.0


def test_a_note_ends_when_the_hand_ends_it() -> None:
    audio = render(Note(0.0, 0.5, 52.0))
    assert level_db(audio, 0.3, 0.15) - level_db(audio, 0.7, 0.15) > 30.0
    assert np.abs(audio[RATE_HZ:]).max() < 1e-4


def test_palm_mutes_die_soon_and_hammered_notes_have_no_click() -> None:
    plucked = render(Note(0.0, 1.0, 45.0))
    muted = render(Note(0.0, 1.0, 45.0, articulation=Articulation.PALM_MUTED))
    assert level_db(muted, 0.3, 0.2) < level_db(plucked, 0.3, 0.2) - 15.0
    silent_pick = replace(ELECTRIC, pick_noise=0.0)
    hammer = Note(0.0, 1.0, 45.0, articulation=Articulation.HAMMERED)
    assert np.array_equal(render(hammer), render(hammer, silent_pick))
    assert not np.array_equal(plucked, render(Note(0.0, 1.0, 45.0), silent_pick))


def test_the_matrix_product_equals_the_sum_of_exponentials(rng: np.random.Generator) -> None:
    poles = -rng.uniform(1e-5, 1e-2, 60) + 1j * rng.uniform(0.01, 3.0, 60)
    amplitudes = rng.standard_normal(60) + 1j * rng.standard_normal(60)
    direct = (amplitudes * np.exp(np.arange(9001)[:, None] * poles)).sum(axis=1).imag
    np.testing.assert_allclose(_sum_of_modes(amplitudes, poles, 9001), direct, atol=1e-2)


@pytest.mark.parametrize(("articulation", "interval"), [(Articulation.BENT, 2.0), (Articulation.SLID, -3.0)])
def test_bends_and_slides_arrive_at_their_pitch(articulation: Articulation, interval: float) -> None:
    still = replace(ELECTRIC, inharmonicity=0.0)
    audio = render(Note(0.0, 2.0, 57.0, 0.9, articulation, interval), still)
    for start, semitones in ((0.0, 0.0), (0.9, interval)):
        expected = 220.0 * 2.0 ** (semitones / 12.0)
        part = audio[int(start * RATE_HZ) : int((start + (0.08 if start == 0.0 else 0.9)) * RATE_HZ)]
        assert abs(12.0 * np.log2(peak_hz(part, expected) / expected)) < 0.2


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_the_same_seed_plays_the_same_on_every_instrument(name: str) -> None:
    notes = strum((40, 47, 52, 56), 0.0, 0.8, 0.8)
    takes = [render_notes(notes, INSTRUMENTS[name], RATE_HZ, 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(takes[0], takes[1])
    assert not np.array_equal(takes[0], takes[2])
    assert 0.05 < np.abs(takes[0]).max() < 2.0


@pytest.mark.parametrize("rate_hz", [44100.0, 48000.0, 96000.0])
def test_the_demo_phrase_is_full_ends_in_silence_and_has_its_level(rate_hz: float) -> None:
    audio = demo_phrase(rate_hz)
    assert audio.dtype == np.float32
    assert 8.0 <= len(audio) / rate_hz <= 12.0
    assert np.abs(audio).max() == pytest.approx(0.5, abs=0.01)
    assert not audio[-int(rate_hz * 0.95) :].any()
    frame = int(0.05 * rate_hz)
    playing = audio[: len(audio) - int(rate_hz)]
    levels = np.sqrt(np.mean(playing[: len(playing) // frame * frame].reshape(-1, frame) ** 2, axis=1))
    assert np.mean(levels > 0.1 * np.sqrt(np.mean(playing**2))) > 0.9
    assert np.array_equal(audio, demo_phrase(rate_hz))


def test_notes_outside_the_take_are_cut_off() -> None:
    audio = render_notes(
        [Note(-0.5, 1.0, 52.0), Note(0.9, 1.0, 52.0), Note(5.0, 1.0, 52.0)],
        ELECTRIC,
        RATE_HZ,
        1.0,
        np.random.default_rng(1),
    )
    assert len(audio) == RATE_HZ
    assert np.abs(audio[:100]).max() > 1e-3
    assert not render_notes([], ELECTRIC, RATE_HZ, 0.1, np.random.default_rng(1)).any()


def test_importing_it_loads_no_training_library() -> None:
    code = "import sys, duende.export.pluck; print([m for m in ('torch', 'librosa') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
