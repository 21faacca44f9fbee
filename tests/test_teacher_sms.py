"""The sinusoidal system: what it measures is there, its parts add up, its searches descend and can be gone on with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from duende import DuendeError
from duende.engine.bands import erb_bands
from duende.export.measures import StyleTarget, onset_f1
from duende.export.teachers.cnn import fresh_style_error
from duende.export.teachers.sms import TEACHER
from duende.export.teachers.sms.analysis import SineAnalysis, Tracks, analyse
from duende.export.teachers.sms.envelope import band_envelopes, true_envelope
from duende.export.teachers.sms.faithful import tensor_of, tracks_of
from duende.export.teachers.sms.grid import HOP, Gains
from duende.export.teachers.sms.noise import stylised_residual
from duende.export.teachers.sms.parts import attack_times, band_powers, near_attacks, shaped_noise, split
from duende.export.teachers.sms.repaired import sound_of
from duende.export.teachers.sms.synthesis import synthesise
from duende.export.teachers.sms.teacher import SmsSettings
from duende.export.teachers.sms.tensor import TensorObjective
from duende.export.teachers.spectra import Analysis, log_magnitudes, stft
from duende.export.teachers.teacher import Job, Made, Step, StyleSound

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATE = 44100
FEW = SineAnalysis(sines=24, threshold_db=-70.0)


def cosine(hz: float, level: float, seconds: float = 0.3, phase: float = 0.0) -> Float64:
    return level * np.cos(2.0 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE + phase)


def nearest(tracks: Tracks, hz: npt.ArrayLike) -> tuple[Float64, Float64, Float64]:
    """Frequency, level and phase of the sine next to hz [frames], where the window lies inside the sound."""
    inside = slice(10, len(tracks.hz) - 10)
    wanted = np.broadcast_to(np.asarray(hz, dtype=np.float64), len(tracks.hz))[inside]
    column = np.argmin(np.abs(tracks.hz[inside] - wanted[:, None]), axis=1)[:, None]
    found = [np.take_along_axis(part[inside], column, axis=1)[:, 0] for part in (tracks.hz, tracks.db, tracks.phase)]
    return found[0], found[1], found[2]


def picked(seconds: float = 1.2) -> Float32:
    """Three plucked notes on a quiet hiss."""
    rng = np.random.default_rng(3)
    out = 1e-4 * rng.standard_normal(round(seconds * RATE))
    for at, hz in ((0.1, 146.8), (0.45, 220.0), (0.8, 174.6)):
        start = round(at * RATE)
        if start + 300 > len(out):
            break
        time = np.arange(len(out) - start) / RATE
        for k in range(1, 14):
            out[start:] += 0.1 * np.exp(-(4.0 + k) * time) * np.sin(2.0 * np.pi * k * hz * time) / k
        out[start : start + 300] += 0.05 * rng.standard_normal(300) * np.exp(-np.arange(300) / 60.0)
    return out.astype(np.float32)


def bowed(seconds: float = 1.2, hz: float = 311.0) -> Float32:
    """A bright steady tone that trembles, and bow noise."""
    rng = np.random.default_rng(5)
    time = np.arange(round(seconds * RATE)) / RATE
    turn = 2.0 * np.pi * hz * time + 1.5 * np.sin(2.0 * np.pi * 5.5 * time)
    tone = sum(np.sin(k * turn + k) / np.sqrt(k) for k in range(1, 26))
    return np.asarray(0.03 * tone + 0.01 * rng.standard_normal(len(time)), dtype=np.float32)


def job_of(content: Float32, *styles: Float32, **fields: Any) -> Job:
    return Job(content, tuple(StyleSound(style) for style in styles), **fields)


def small(**changes: Any) -> SmsSettings:
    """A tensor search that takes a second."""
    plain = SmsSettings(sample_rate=RATE, hop=512, sines=12, filters=96, taps=5, iterations=40)
    return replace(plain, **changes)


def grid(**changes: Any) -> SmsSettings:
    """A grid search that takes some seconds."""
    plain = replace(TEACHER.forms["repaired"], sines=60, hop=256, iterations=27, learning_rate=0.15)
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("hz", "level_db", "phase"), [(110.37, -6.0, 1.0), (2345.6, -30.0, -2.0), (9876.5, -14.0, 3.0)]
)
def test_a_sinusoid_is_recovered(hz: float, level_db: float, phase: float) -> None:
    audio = cosine(hz, 10.0 ** (level_db / 20.0), phase=phase).astype(np.float32)
    tracks = analyse(audio, FEW)
    found_hz, found_db, found_phase = nearest(tracks, hz)
    assert np.abs(found_hz - hz).max() < 0.01
    assert np.abs(found_db - level_db).max() < 0.01
    frames = np.arange(10, len(tracks.hz) - 10)
    turned = found_phase - (2.0 * np.pi * hz * frames * FEW.hop / RATE + phase)
    assert np.abs(np.angle(np.exp(1j * turned))).max() < 0.01


def test_the_correction_is_what_makes_it_exact() -> None:
    audio = cosine(1005.3, 0.3).astype(np.float32)
    plain = nearest(analyse(audio, replace(FEW, corrected=False)), 1005.3)[0]
    exact = nearest(analyse(audio, FEW), 1005.3)[0]
    assert np.abs(exact - 1005.3).max() < 0.1 * np.abs(plain - 1005.3).max() < 0.1


@pytest.mark.parametrize("distance", [100.0, 132.0, 200.0])
def test_two_sinusoids_a_hundred_hz_apart_are_recovered(distance: float) -> None:
    tracks = analyse((cosine(1000.0, 0.3) + cosine(1000.0 + distance, 0.2, phase=1.0)).astype(np.float32), FEW)
    for hz, level in ((1000.0, 0.3), (1000.0 + distance, 0.2)):
        found_hz, found_db, _ = nearest(tracks, hz)
        assert np.abs(found_hz - hz).max() < 0.1
        assert np.abs(found_db - 20.0 * np.log10(level)).max() < 0.1


def test_a_glide_of_an_octave_in_two_seconds_is_followed() -> None:
    time = np.arange(round(0.4 * RATE)) / RATE
    audio = (0.3 * np.cos(2.0 * np.pi * (800.0 * time + 0.5 * 400.0 * time**2))).astype(np.float32)
    tracks = analyse(audio, FEW)
    wanted = 800.0 + 400.0 * np.arange(len(tracks.hz)) * FEW.hop / RATE
    found_hz, found_db, _ = nearest(tracks, wanted)
    assert np.abs(found_hz - wanted[10:-10]).max() < 0.1
    assert np.abs(found_db - 20.0 * np.log10(0.3)).max() < 0.1
    loudest = np.argmax(tracks.db[10:-10], axis=1)
    assert len(set(loudest.tolist())) == 1, "the glide changed its slot"


def test_steady_sinusoids_leave_nothing_over() -> None:
    audio = (cosine(440.0, 0.2) + cosine(1234.5, 0.1, phase=2.0)).astype(np.float32)
    parts = split(audio, FEW)
    inside = slice(2000, -2000)
    assert np.abs(parts.residual[inside]).max() < 1e-4
    assert np.abs(parts.sines[inside]).max() > 0.25


def test_sines_and_residual_are_the_sound() -> None:
    audio = picked()
    parts = split(audio, SineAnalysis())
    assert np.abs(parts.sound - audio).max() < 1e-4
    assert 0.0 < np.mean(parts.residual**2) < 0.1 * np.mean(audio**2)


def test_tracks_are_bounded_and_short_ones_removed() -> None:
    audio = np.random.default_rng(1).standard_normal(RATE // 4).astype(np.float32) * np.float32(0.1)
    longer = replace(FEW, shortest_s=0.03)
    for analysis, frames in ((FEW, round(0.01 * RATE / FEW.hop)), (longer, round(0.03 * RATE / FEW.hop))):
        active = analyse(audio, analysis).active
        assert active.any()
        assert active.shape == (analysis.frames(len(audio)), 24)
        change = np.diff(np.pad(active.astype(int), ((1, 1), (0, 0))), axis=0)
        runs = [np.flatnonzero(slot == -1) - np.flatnonzero(slot == 1) for slot in change.T]
        assert min(int(run.min()) for run in runs if len(run)) > frames


def test_a_track_moves_no_further_than_it_may() -> None:
    audio = np.random.default_rng(2).standard_normal(RATE // 3).astype(np.float32) * np.float32(0.1)
    tracks = analyse(audio, FEW)
    both = tracks.active[1:] & tracks.active[:-1]
    moved = np.abs(np.diff(tracks.hz, axis=0))[both]
    assert (moved < FEW.offset_hz + FEW.slope * tracks.hz[1:][both]).all()
    assert moved.max() > FEW.offset_hz


def test_silence_has_no_sinusoids_and_stays_silent() -> None:
    parts = split(np.zeros(8000, dtype=np.float32), FEW)
    assert not parts.tracks.active.any()
    assert not parts.sines.any()
    assert not shaped_noise(parts.sound, RATE, 1).any()


def test_synthesis_is_the_sum_of_its_cosines() -> None:
    rng = np.random.default_rng(4)
    analysis = replace(FEW, hop=100, sines=3)
    tracks = Tracks(rng.uniform(100, 5000, (4, 3)), rng.uniform(-40, 0, (4, 3)), rng.uniform(-3, 3, (4, 3)))
    wanted = np.zeros(300)
    for t, time in enumerate(np.arange(4) * 100):
        offset = np.arange(300) - time
        fade = np.maximum(0.0, 1.0 - np.abs(offset) / 100.0)
        for slot in range(3):
            turn = 2.0 * np.pi * tracks.hz[t, slot] * offset / RATE + tracks.phase[t, slot]
            wanted += fade * 10.0 ** (tracks.db[t, slot] / 20.0) * np.cos(turn)
    assert np.abs(synthesise(tracks, analysis, 300) - wanted).max() < 1e-5


def errors_by_loops(x: Float32, content: Float32, style: Float32, drawn: Float64, height: int) -> tuple[float, float]:
    """The published sums: drawn [filters, channels, rows, taps]."""

    def responses(tensor: Float32) -> Float64:
        image = (
            tensor.astype(np.float64).T[:, None]
            if height == 0
            else tensor.astype(np.float64).T.reshape(3, -1, len(tensor))
        )
        rows, taps = drawn.shape[2:]
        out = [
            [max(0.0, float(np.sum(one * image[:, row : row + rows, at : at + taps]))) for one in drawn]
            for row in range(image.shape[1] - rows + 1)
            for at in range(image.shape[2] - taps + 1)
        ]
        return np.array(out)

    f, fc, fs = responses(x), responses(content), responses(style)
    return float(np.sum((f - fc) ** 2)), float(np.sum((f.T @ f / len(x) - fs.T @ fs / len(style)) ** 2))


@pytest.mark.parametrize(("height", "filters"), [(0, 40), (0, 6), (2, 5)])
def test_the_tensor_is_judged_by_the_published_sums(rng: np.random.Generator, height: int, filters: int) -> None:
    x, content, style = (rng.standard_normal((frames, 9)).astype(np.float32) for frames in (8, 8, 11))
    objective = TensorObjective(content, [style], [1.0], filters=filters, taps=3, height=height, alpha=0.2, seed=5)
    found = objective(x)
    drawn = objective._filters.double().numpy()
    wanted = errors_by_loops(x, content, style, drawn, height)
    assert found.content == pytest.approx(0.2 * wanted[0], rel=1e-4)
    assert found.style == pytest.approx(wanted[1], rel=1e-3)
    step = found.gradient / np.linalg.norm(found.gradient)
    rise = [objective((x + sign * 1e-2 * step).astype(np.float32)).total for sign in (1.0, -1.0)]
    assert (rise[0] - rise[1]) / 2e-2 == pytest.approx(float(np.sum(found.gradient * step)), rel=2e-2)


def test_pooling_keeps_the_largest_response(rng: np.random.Generator) -> None:
    content = rng.standard_normal((9, 15)).astype(np.float32)
    whole, pooled = (
        TensorObjective(content, [content], [1.0], filters=4, taps=2, height=2, pool=pool)._responses(
            torch.from_numpy(content)
        )
        for pool in (1, 2)
    )
    image = whole.T.reshape(4, 4, 8)
    assert torch.allclose(pooled.T.reshape(4, 2, 4), image.reshape(4, 2, 2, 4, 2).amax(dim=(2, 4)))


@pytest.mark.parametrize("filters", [100, 8])
def test_styles_are_mixed_by_their_weights(rng: np.random.Generator, filters: int) -> None:
    content, first, second = (rng.standard_normal((frames, 6)).astype(np.float32) for frames in (8, 10, 12))

    def style(styles: list[Float32], weights: list[float]) -> float:
        return TensorObjective(content, styles, weights, filters=filters, taps=3)(content).style

    assert style([first, second], [1.0, 0.0]) == pytest.approx(style([first], [3.0]), rel=1e-4)
    assert style([first, first], [2.0, 1.0]) == pytest.approx(style([first], [1.0]), rel=1e-4)
    assert style([first, second], [1.0, 1.0]) != pytest.approx(style([first], [1.0]), rel=1e-2)


def test_a_tensor_holds_tracks_and_bad_numbers_make_no_sound() -> None:
    tracks = analyse(picked(0.4), FEW)
    back = tracks_of(tensor_of(tracks), FEW)
    assert np.allclose(back.hz, tracks.hz, rtol=1e-6)
    assert np.allclose(back.db, tracks.db, atol=1e-4)
    assert not tensor_of(tracks)[:, :24][~tracks.active].any()
    wild = np.full((3, 3), 1e9, dtype=np.float32)
    wild[:, 1] = (-5.0, 3.0, 30_000.0)
    assert not tracks_of(wild, replace(FEW, sines=1)).active.any()
    wild[:, 1] = 440.0
    assert tracks_of(wild, replace(FEW, sines=1)).db.max() == 0.0


@pytest.mark.parametrize("height", [0, 3])
def test_the_published_search_descends_and_gives_noise(height: int) -> None:
    content = picked(0.6)
    made = TEACHER.make(job_of(content, bowed(0.6)), small(height=height, filters=96 if height == 0 else 24))
    assert made.history[-1].errors["style"] < 0.01 * made.history[0].errors["style"]
    assert made.audio.shape == content.shape
    assert np.isfinite(made.audio).all()
    # Its notes are gone: where they were the result is no louder than elsewhere.
    level = np.sqrt(np.mean(made.audio[: len(content) // 16 * 16].reshape(16, -1) ** 2, axis=1))
    played = np.sqrt(np.mean(content[: len(content) // 16 * 16].reshape(16, -1) ** 2, axis=1))
    assert level[3:-3].min() > 0.2 * level.max()
    assert played.min() < 0.01 * played.max()


@pytest.fixture(scope="module")
def repaired() -> tuple[Float32, Float32, Made]:
    """Content, style, and what the grid makes of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    content, style = picked(), bowed()
    made = TEACHER.make(job_of(content, style), grid())
    torch.set_num_threads(threads)
    return content, style, made


def test_the_grid_brings_the_style_and_keeps_the_player(repaired: tuple[Float32, Float32, Made]) -> None:
    content, style, made = repaired
    target = StyleTarget(style, RATE)
    before, after = target.distances(content), target.distances(made.audio)
    assert after[0] < 0.3 * before[0]
    assert after[1] < 0.5 * before[1]
    assert made.history[-1].total < 0.5 * made.history[0].total
    assert 0.0 < made.history[-1].correlation < 1.0
    assert onset_f1(content, made.audio, RATE) == 1.0
    # The style's own note, which nobody played, is not heard: its partial lies under those of the notes.
    spectrum = np.abs(np.fft.rfft(made.audio * np.hanning(len(made.audio))))
    at = [round(hz * len(content) / RATE) for hz in (311.0, 220.0)]
    assert spectrum[at[0] - 2 : at[0] + 3].max() < 0.3 * spectrum[at[1] - 2 : at[1] + 3].max()


def test_the_grid_is_nearer_on_filters_that_no_search_used(repaired: tuple[Float32, Float32, Made]) -> None:
    content, style, made = repaired
    seen = [
        log_magnitudes(stft(audio * np.float32(0.1 / np.sqrt(np.mean(audio**2))), Analysis(RATE)), Analysis(RATE))
        for audio in (content, style, made.audio)
    ]
    errors = [fresh_style_error(one, seen[1], seed=9, filters=64) for one in (seen[0], seen[2])]
    assert errors[1] < 0.55 * errors[0]


def test_a_sound_that_is_cut_off_ends_without_a_click() -> None:
    # A dark tone, cut at its crest: what its last window lacks must not come back as a click.
    rng = np.random.default_rng(8)
    content = (cosine(200.0, 0.3, 0.6) + cosine(400.0, 0.1, 0.6) + 1e-5 * rng.standard_normal(26_460)).astype(
        np.float32
    )
    end = 20_000 + int(np.argmax(np.abs(content[20_000:21_000]))) + 1
    made = TEACHER.make(job_of(content[:end], bowed(0.6)), grid(iterations=3, bands=24, sines=40)).audio
    assert made.shape == (end,)
    # Fourteen times as loud where nothing stands beyond the end.
    assert np.abs(made[-64:]).max() < 1.5 * np.abs(made[-6000:-200]).max()


class StoppedError(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("settings", [small(iterations=32), grid(bands=24)], ids=["tensor", "grid"])
def test_taken_up_again_it_ends_with_the_same_sound(settings: SmsSettings, tmp_path: Path) -> None:
    content, style = picked(0.6), bowed(0.6)
    file, seen = tmp_path / "state", []

    def pull(step: Step) -> None:
        seen.append(step.iteration)
        if step.iteration == 26:
            raise StoppedError

    whole = TEACHER.make(job_of(content, style, checkpoint=tmp_path / "other"), settings)
    with pytest.raises(StoppedError):
        TEACHER.make(job_of(content, style, checkpoint=file, report=pull), settings)
    assert file.is_file()
    seen.clear()
    again = TEACHER.make(
        job_of(content, style, checkpoint=file, report=lambda step: seen.append(step.iteration)), settings
    )
    assert min(seen) > 20, "it began anew"
    assert np.array_equal(whole.audio, again.audio)
    assert [step.errors for step in whole.history] == [step.errors for step in again.history]
    assert not file.exists()


def test_another_seed_is_another_sound() -> None:
    content, style = picked(0.6), bowed(0.6)
    settings = small(iterations=5)
    sounds = [TEACHER.make(job_of(content, style, seed=seed), settings).audio for seed in (1, 1, 2)]
    assert np.array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])


def test_a_residual_is_kept_stylised_or_dropped(rng: np.random.Generator) -> None:
    content, style = picked(0.6), bowed(0.6)
    content += 2e-3 * rng.standard_normal(len(content)).astype(np.float32)
    sounds = {
        residual: TEACHER.make(job_of(content, style), small(iterations=2, residual=residual)).audio
        for residual in ("kept", "stylised", "dropped")
    }
    parts = [split(audio, small()) for audio in (content, style)]
    assert np.allclose(sounds["kept"] - sounds["dropped"], parts[0].residual, atol=1e-6)
    added = sounds["stylised"] - sounds["dropped"]
    bands = erb_bands(RATE, 2048, 24, 200.0, 12_000.0)

    def shape(residual: Float32, whole: Float32) -> Float64:
        powers = band_powers(residual, bands, 2048, 512).mean(axis=0)
        return np.asarray(np.log(powers / np.mean(whole**2)))

    wanted = shape(parts[1].residual, style)
    before, after = (np.abs(shape(part, content) - wanted).mean() for part in (parts[0].residual, added))
    assert after < 0.5 * before
    again = stylised_residual(parts[0], [parts[1]], [1.0], RATE, 48)
    assert np.allclose(again, added, atol=1e-6)


def test_gains_of_nothing_give_the_sound_back_and_attacks_do_not_smear() -> None:
    content = picked(0.6)
    content[: round(0.1 * RATE)] = 0.0
    analysis = SineAnalysis()
    parts = split(content, analysis)
    frames = len(content) // HOP + 1
    base = np.zeros((3, frames, 24))
    base[2] = -40.0
    attacks = near_attacks(attack_times(content, RATE), np.arange(frames) * HOP / RATE)
    noise = shaped_noise(content, RATE, 1)
    grid_values = torch.zeros(frames, 72)
    same = sound_of(parts, noise, Gains(base, attacks, 2.0)(grid_values).numpy(), analysis)
    assert np.abs(same - content).max() < 1e-4 * np.abs(content).max() + 1e-4
    # Sines 20 dB up, all else as it is: without care for attacks the sines are heard before they are played.
    base[0], base[1] = 2.3, -2.3
    before = slice(round(0.06 * RATE), round(0.097 * RATE))
    heard = [
        float(
            np.sqrt(np.mean(sound_of(parts, noise, Gains(base, tied, 2.0)(grid_values).numpy(), analysis)[before] ** 2))
        )
        for tied in (attacks, np.zeros(frames))
    ]
    assert heard[0] < 0.2 * heard[1]
    assert heard[0] < 1e-3


def test_attacks_are_found_where_they_are() -> None:
    times = attack_times(picked(), RATE)
    for wanted in (0.1, 0.45, 0.8):
        assert np.abs(times - wanted).min() < 0.01
    assert len(times) <= 4
    weights = near_attacks(np.array([0.5]), np.array([0.3, 0.48, 0.5, 0.52, 0.7]))
    assert weights.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def vowel(hz: float, formants: tuple[float, ...], seconds: float = 0.8) -> Float32:
    """Pulses through resonances."""
    time = np.arange(round(seconds * RATE)) / RATE
    out = np.zeros(len(time))
    for k in range(1, int(9000.0 / hz)):
        gain = sum(1.0 / np.sqrt(1.0 + ((k * hz - f) / 90.0) ** 2) for f in formants) / k**0.3
        out += gain * np.cos(2.0 * np.pi * k * hz * time + 0.3 * k * k)
    swell = 0.6 + 0.4 * np.sin(2.0 * np.pi * 3.0 * time)
    return np.asarray(0.02 * out * swell, dtype=np.float32)


def test_a_true_envelope_lies_on_the_partials() -> None:
    bins = np.arange(1025) * RATE / 2048
    curve = np.exp(-(((bins - 3000.0) / 2500.0) ** 2))
    comb = np.where(np.arange(1025) % 10 == 0, curve, curve - 6.0)
    found = true_envelope(comb[None], 50)[0]
    assert np.abs(found - curve)[20:400].max() < 0.5


def test_voices_keep_their_vowels_or_take_the_styles() -> None:
    content, style = vowel(120.0, (700.0, 1150.0, 2600.0)), vowel(190.0, (320.0, 2300.0, 3100.0))
    bands = erb_bands(RATE, 2048, 40, 150.0, 5000.0)

    def envelope(audio: Float32) -> Float64:
        found = band_envelopes(audio, bands, RATE, 2048, 512)[8:-8].mean(axis=0)
        return np.asarray(found - found.mean())

    own, other = envelope(content), envelope(style)
    near: dict[str, tuple[float, float]] = {}
    for formants in ("content", "style"):
        made = TEACHER.make(job_of(content, style), grid(formants=formants, bands=40, iterations=18))
        heard = envelope(made.audio)
        near[formants] = (float(np.std(heard - own)), float(np.std(heard - other)))
    apart = float(np.std(own - other))
    assert near["content"][0] < 0.5 * apart < near["content"][1]
    assert near["style"][1] < 0.5 * apart < near["style"][0]


def test_the_sines_go_through_the_published_network() -> None:
    pytest.importorskip("librosa")
    content, style = picked(0.6), bowed(0.6)
    settings = replace(TEACHER.forms["sines"], sample_rate=RATE, hop=256, filters=48, iterations=25, rounds=4)
    made = TEACHER.make(job_of(content, style), settings)
    assert made.history[-1].errors["style"] < 0.1 * made.history[0].errors["style"]
    assert made.audio.shape == content.shape
    dropped = TEACHER.make(job_of(content, style), replace(settings, residual="dropped"))
    residual = split(content, settings).residual
    assert np.allclose(made.audio - dropped.audio, residual, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("method", "wavelets", "choose tensor or sines or grid"),
        ("residual", "louder", "choose kept"),
        ("formants", "none", "choose free"),
        ("sines", 0, "sines 0 is out of range: 1 to 1000"),
        ("window", 2000, "window 2000 is even"),
        ("n_fft", 3000, "take 4096"),
        ("height", 13, "out of range: 0 to 12"),
        ("bands", 4, "16 to 96"),
        ("taps", 0, "1 to 101"),
        ("alpha", float("nan"), "alpha nan"),
        ("hop", 2000, "hop 2000"),
        ("speech", True, "take sms:repaired"),
        ("formants", "style", "take sms:repaired"),
        ("pool", 2, "give height"),
    ],
)
def test_bad_settings_are_refused_in_one_line(field: str, value: Any, said: str) -> None:
    with pytest.raises(DuendeError, match=said) as error:
        small(**{field: value})
    assert "\n" not in str(error.value)


def test_every_form_is_described_and_forecast() -> None:
    assert set(TEACHER.forms) == set(TEACHER.about)
    assert {"faithful", "repaired"} <= set(TEACHER.forms)
    for settings in TEACHER.forms.values():
        content = 3 * settings.sample_rate
        cost = TEACHER.cost(content, content, settings)
        assert 1.0 < cost.seconds < 600.0
        assert 1e6 < cost.memory < 6e9
        assert 0 < TEACHER.shortest(settings) < settings.sample_rate
    assert replace(TEACHER.forms["repaired"], speech=True).kept_formants == "content"
    assert replace(TEACHER.forms["repaired"], speech=True, formants="style").kept_formants == "style"
    for rate in (44100, 48000, 96000):
        settings = TEACHER.for_targets(rate)
        assert settings.sample_rate == rate
        assert settings.window / rate == pytest.approx(0.0435, rel=0.1)
