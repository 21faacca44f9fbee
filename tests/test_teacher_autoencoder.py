"""The encoder-decoder: its training, its faults as published, and what the form without windows keeps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from duende import DuendeError
from duende.export.measures import StyleTarget, chroma_agreement
from duende.export.teachers.autoencoder import TEACHER
from duende.export.teachers.band_mix import long_run, wanted_levels
from duende.export.teachers.band_view import BandView
from duende.export.teachers.cached import CausalStack, in_pieces
from duende.export.teachers.coder_settings import CoderSettings
from duende.export.teachers.seams import window_rate_db
from duende.export.teachers.teacher import Job, Step, StyleSound
from duende.export.teachers.transport import moments, monge_map, moved
from signals import snr_db

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

Float32 = npt.NDArray[np.float32]


def plucks(rate: int, seconds: float = 1.2) -> Float32:
    """Four dark notes that die away."""
    time = np.arange(round(seconds * rate)) / rate
    audio = np.zeros(len(time))
    for start, note in zip((0.0, 0.3, 0.6, 0.9), (110.0, 165.0, 220.0, 147.0), strict=True):
        after = np.maximum(time - start, 0.0)
        for partial in range(1, 12):
            audio += (time >= start) * np.sin(2 * np.pi * partial * note * after) * np.exp(-after * 4.0) / partial**2
    return (0.2 * audio).astype(np.float32)


def bright(rate: int, seconds: float = 1.5) -> Float32:
    """A bowed tone with many partials and a slow swell."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2.0 * np.pi * (196.0 * time + 0.4 * np.sin(2.0 * np.pi * 5.0 * time))
    audio = sum((np.sin(partial * phase) / partial**0.4 for partial in range(1, 30)), start=np.zeros(len(time)))
    return (0.05 * audio * (0.7 + 0.3 * np.sin(2.0 * np.pi * 1.3 * time))).astype(np.float32)


def job(rate: int, **more: Any) -> Job:
    return Job(plucks(rate), (StyleSound(bright(rate)),), **more)


SMALL: dict[str, Any] = {"n_fft": 512, "hop": 256, "iterations": 12}
FAITHFUL = replace(TEACHER.forms["faithful"], **SMALL, filters=(4, 8), learning_rate=1e-2, batch=2)
REPAIRED = replace(
    TEACHER.forms["repaired"], n_fft=1024, hop=512, iterations=25, width=24, bands=40, blend=1.0, steps=12
)


@pytest.mark.parametrize("settings", [FAITHFUL, REPAIRED])
def test_the_error_falls_and_every_epoch_is_told(settings: CoderSettings) -> None:
    told: list[Step] = []
    made = TEACHER.make(job(settings.sample_rate, report=told.append), settings)
    assert told == made.history
    assert [step.iteration for step in told] == list(range(settings.iterations + 1))
    assert told[-1].total < 0.4 * told[0].total
    assert made.audio.shape == (len(plucks(settings.sample_rate)),)
    assert made.audio.dtype == np.float32
    assert np.isfinite(made.audio).all()


@pytest.mark.parametrize("settings", [FAITHFUL, REPAIRED])
def test_a_seed_decides_everything(settings: CoderSettings) -> None:
    settings = replace(settings, iterations=3)
    one, two, other = (TEACHER.make(job(settings.sample_rate, seed=seed), settings).audio for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


class StoppedError(Exception):
    """The user's patience."""


@pytest.mark.parametrize("settings", [FAITHFUL, REPAIRED])
def test_a_job_that_was_stopped_goes_on_as_if_it_had_not_been(settings: CoderSettings, tmp_path: Path) -> None:
    settings, file = replace(settings, iterations=6), tmp_path / "state"
    whole = TEACHER.make(job(settings.sample_rate), settings)

    def stop(step: Step) -> None:
        if step.iteration == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        TEACHER.make(job(settings.sample_rate, checkpoint=file, report=stop), settings)
    assert file.exists()
    told: list[int] = []
    resumed = TEACHER.make(
        job(settings.sample_rate, checkpoint=file, report=lambda step: told.append(step.iteration)), settings
    )
    assert told == list(range(7))
    assert np.array_equal(resumed.audio, whole.audio)
    assert [step.errors for step in resumed.history] == [step.errors for step in whole.history]
    assert not file.exists()
    with pytest.raises(StoppedError):
        TEACHER.make(job(settings.sample_rate, checkpoint=file, report=stop), settings)
    with pytest.raises(DuendeError, match="other recordings or settings"):
        TEACHER.make(job(settings.sample_rate, checkpoint=file, seed=9), settings)


def test_without_windows_the_style_comes_and_the_playing_stays() -> None:
    rate = 48000
    content, style = plucks(rate), bright(rate)
    target = StyleTarget(style, rate)
    made = TEACHER.make(job(rate), replace(REPAIRED, steps=40)).audio
    assert target.distances(made)[0] < 0.5 * target.distances(content)[0]
    assert target.distances(made)[1] < 0.6 * target.distances(content)[1]
    blocks = [np.log(np.square(x[:57600].reshape(-1, 1200)).mean(axis=1) + 1e-9) for x in (made, content)]
    assert np.corrcoef(blocks)[0, 1] > 0.9


def test_published_windows_repeat_and_none_do_not() -> None:
    rate, content = 48000, np.tile(plucks(48000), 2)
    faithful = replace(FAITHFUL, sample_rate=rate, n_fft=1024, hop=512, window=16)
    period = faithful.window * faithful.hop
    sounds = [TEACHER.make(Job(content, (StyleSound(bright(rate)),)), form).audio for form in (faithful, REPAIRED)]
    played, windowed, free = (window_rate_db(sound, rate, period) for sound in (content, *sounds))
    assert windowed > played + 3.0
    assert free < played + 1.5


def test_no_blend_is_the_sound_itself() -> None:
    settings = replace(REPAIRED, iterations=2, blend=0.0)
    assert snr_db(plucks(48000), TEACHER.make(job(48000), settings).audio) > 60.0


def test_silence_stays_silent() -> None:
    content = plucks(48000)
    content[-24000:] = 0.0
    made = TEACHER.make(Job(content, (StyleSound(bright(48000)),)), replace(REPAIRED, iterations=3)).audio
    # One frame of the transform and the excitations' smoothed level after the end.
    assert float(np.abs(made[-16000:]).max()) < 1e-4


def test_several_styles_are_met_at_their_weights() -> None:
    settings = replace(REPAIRED, iterations=6)
    dark = StyleSound(plucks(48000), 1.0)
    only = TEACHER.make(job(48000), settings).audio
    target = StyleTarget(bright(48000), 48000)
    mixed = [
        TEACHER.make(Job(plucks(48000), (StyleSound(bright(48000), weight), dark)), settings).audio
        for weight in (0.05, 20.0)
    ]
    far = [target.distances(audio)[0] for audio in (*mixed, only)]
    assert far[0] > 1.5 * far[1]
    assert far[0] > 1.5 * far[2]


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 100])
def test_pieces_of_a_sound_have_no_border(piece: int) -> None:
    torch.manual_seed(3)
    stack, frames = CausalStack(5, 4, 8, (1, 2, 4)), torch.randn(2, 5, 100)
    with torch.no_grad():
        whole = stack(frames)[0]
        assert float((in_pieces(stack, frames, piece) - whole).abs().max()) < 1e-5
        changed = frames.clone()
        changed[:, :, 60] += 1.0
        difference = (stack(changed)[0] - whole).abs().amax(dim=(0, 1))
    assert not difference[:60].any()
    assert difference[60] > 0.0
    assert not difference[60 + stack.reach + 1 :].any()


def test_codes_are_moved_to_the_others_moments(rng: np.random.Generator) -> None:
    codes, other = (rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5)) + rng.normal(size=5) for _ in range(2))
    weight = np.full(400, 1.0 / 400)
    own, wanted = moments(codes, weight)[1], moments(other, weight)[1]
    matrix = monge_map(own, wanted)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    np.testing.assert_allclose(matrix @ own @ matrix, wanted, rtol=1e-6, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > 0.0
    there = moved(codes, weight, [(other, weight)], [2.0], 1.0)
    np.testing.assert_allclose(moments(there, weight)[0], moments(other, weight)[0], atol=1e-9)
    np.testing.assert_allclose(moments(there, weight)[1], wanted, atol=0.05 * np.abs(wanted).max())
    np.testing.assert_array_equal(moved(codes, weight, [(other, weight)], [1.0], 0.0), codes)


def test_a_look_and_back_is_the_sound() -> None:
    view, audio = BandView(48000, 1024, 256, 32), plucks(48000)
    seen = view.look(audio)
    ones = np.ones((1, *seen.levels.shape), dtype=np.float32)
    assert snr_db(audio, view.play([seen.spectrum], ones, len(audio), seen.rms)) > 80.0
    # The frames' power is the mean square under the window: about 0.1 squared in the mean.
    assert np.sqrt(seen.power.sum(axis=1).mean()) == pytest.approx(0.1, rel=0.05)


def test_wanted_levels_reach_the_long_run_and_leave_every_frame_as_loud(rng: np.random.Generator) -> None:
    view = BandView(48000, 1024, 256, 32)
    content, style = view.look(plucks(48000)), view.look(bright(48000))
    change = 0.3 * rng.standard_normal(content.levels.shape).astype(np.float32)
    goal = long_run(content, [style], [1.0], 1.0)
    found = wanted_levels(content, change, goal)
    np.testing.assert_allclose(found.sum(axis=1), content.power.sum(axis=1), rtol=1e-6)

    def apart(power: npt.NDArray[np.float64]) -> float:
        run = power.mean(axis=0) / power.mean()
        return float(np.abs(np.log((run + 1e-3) / (goal / goal.mean() + 1e-3))).mean())

    # What is missing altogether, the treble of a string, no finite change brings.
    assert apart(found) < 0.25 * apart(content.power)
    same = wanted_levels(content, np.zeros_like(change), long_run(content, [style], [1.0], 0.0))
    np.testing.assert_allclose(same, content.power, rtol=0.02, atol=1e-9)


def test_guards_keep_what_is_played() -> None:
    rate = 48000
    kept = []
    for guards in (0.0, 2.0):
        made = TEACHER.make(job(rate), replace(REPAIRED, iterations=3, steps=25, guards=guards)).audio
        kept.append(chroma_agreement(plucks(rate), made))
    assert kept[1] > kept[0] + 0.01


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"way": "tape"}, "way 'tape': choose"),
        ({"scale": "mel"}, "scale 'mel': choose"),
        ({"joined": "glue"}, "joined 'glue': choose"),
        ({"blend": 1.5}, "blend 1.5 is out of range: 0 to 1"),
        ({"learning_rate": float("nan")}, "learning_rate nan is out of range"),
        ({"n_fft": 1001, "hop": 256}, "n_fft 1001 is odd"),
        ({"hop": 1500}, "hop 1500 is out of range: 16 to 1024"),
        ({"filters": ()}, "filters: 0 layers"),
        ({"kl": 1.0}, "latent 0"),
        ({"way": "cached", "latent": 4}, "choose 44100 or 48000"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DuendeError, match=said) as refused:
        CoderSettings(**changes)
    assert "\n" not in str(refused.value)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(DuendeError, match="device 'abacus' cannot be used"):
        TEACHER.make(job(22050, device="abacus"), FAITHFUL)


def test_the_shortest_sound_is_long_enough_and_forms_are_described() -> None:
    assert TEACHER.forms.keys() == TEACHER.about.keys()
    for settings in TEACHER.forms.values():
        cost = TEACHER.cost(3 * settings.sample_rate, 6 * settings.sample_rate, settings)
        assert 0.0 < cost.seconds < 600.0
        assert 0 < cost.memory < 6 << 30
    for settings in (FAITHFUL, REPAIRED):
        least, rate = TEACHER.shortest(settings), settings.sample_rate
        shortest = Job(plucks(rate)[:least], (StyleSound(bright(rate)[-least:]),))
        assert TEACHER.make(shortest, replace(settings, iterations=1)).audio.shape == (least,)
