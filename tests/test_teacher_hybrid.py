"""The hybrid: what VGG19 teaches, with windows and without, and the critic that may look on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from duende import DuendeError
from duende.export.measures import StyleTarget
from duende.export.teachers.hybrid import TEACHER, Critic, HybridSettings, Painter, _adversarial
from duende.export.teachers.teacher import Job, Step, StyleSound
from teacher_sounds import dark, hiss, job_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

Float32 = npt.NDArray[np.float32]

NOTES, NOISE_S = (147.0, 220.0), 0.6


def job(rate: int, **more: Any) -> Job:
    return job_of(dark(rate, NOTES), hiss(rate, NOISE_S), **more)


FAITHFUL = replace(
    TEACHER.forms["faithful"],
    n_fft=512,
    hop=256,
    longest_side=100,
    iterations=30,
    filters=(4,),
    rounds=4,
    window=8,
    learning_rate=3e-2,
)
REPAIRED = replace(
    TEACHER.forms["repaired"], n_fft=2048, hop=1024, iterations=8, width=8, learning_rate=1e-2, style_weight=4.0
)
CRITIC = replace(REPAIRED, iterations=3, critic=0.05)


def test_the_style_error_falls_and_the_style_comes() -> None:
    made = TEACHER.make(job(48000), REPAIRED)
    assert list(made.history[0].errors) == ["content", "style", "smoothness", "guards"]
    assert made.history[-1].errors["style"] < 0.5 * made.history[0].errors["style"]
    target = StyleTarget(hiss(48000, NOISE_S), 48000)
    assert target.distances(made.audio)[0] < 0.7 * target.distances(dark(48000, NOTES))[0]
    assert made.audio.shape == dark(48000, NOTES).shape
    assert made.notices == ["VGG19 has random weights (He, seeded)"]


def test_as_proposed_the_error_falls() -> None:
    made = TEACHER.make(job(22050), FAITHFUL)
    assert made.history[-1].total < 0.9 * made.history[0].total
    assert np.isfinite(made.audio).all()
    assert made.audio.shape == dark(22050, NOTES).shape


@pytest.mark.parametrize("settings", [replace(FAITHFUL, iterations=3), CRITIC])
def test_stopped_and_resumed_is_uninterrupted(settings: HybridSettings, tmp_path: Path) -> None:
    file = tmp_path / "state"
    whole = TEACHER.make(job(settings.sample_rate), settings)

    def stop(step: Step) -> None:
        if step.iteration == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        TEACHER.make(job(settings.sample_rate, checkpoint=file, report=stop), settings)
    resumed = TEACHER.make(job(settings.sample_rate, checkpoint=file), settings)
    assert np.array_equal(resumed.audio, whole.audio)
    assert [step.errors for step in resumed.history] == [step.errors for step in whole.history]
    assert not file.exists()


def test_the_critic_learns_and_neither_side_moves_the_other() -> None:
    critic = Critic(6)
    generator = torch.Generator().manual_seed(2)
    real = torch.randn(1, 6, 60, generator=generator)
    picture = (torch.linspace(0.0, 1.0, 6)[None, :, None] * torch.ones(1, 6, 60)).requires_grad_()
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)
    told = []
    for _ in range(40):
        found = _adversarial(critic, picture, [(1.0, real)], 0.5)
        optimiser.zero_grad()
        found["critic"].backward()
        optimiser.step()
        told.append(float(found["critic"].detach()))
    assert picture.grad is None
    assert told[0] > 1.5
    assert told[-1] < 0.5
    optimiser.zero_grad()
    found = _adversarial(critic, picture, [(1.0, real)], 0.5)
    found["adversarial"].backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0.0
    assert all(value.grad is None for value in critic.parameters())


@pytest.mark.parametrize("width", [5, 8, 13, 30])
def test_a_painter_that_changes_nothing_gives_the_picture_back(width: int) -> None:
    painter = Painter(20, width, FAITHFUL)
    with torch.no_grad():
        for value in painter.coder.decoder.parameters():
            value.zero_()
        picture = torch.rand(1, 20, width).expand(3, -1, -1)
        assert float((painter(picture) - picture).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"way": "magic"}, "way 'magic': choose"),
        ({"way": "gains"}, "choose 44100 or 48000"),
        ({"critic": 0.1}, "only the way `gains`"),
        ({"filters": ()}, "filters: 0 layers"),
        ({"window": 1}, "window 1 is out of range"),
        ({"learning_rate": 0.0}, "learning_rate 0 is out of range"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DuendeError, match=said) as refused:
        HybridSettings(**changes)
    assert "\n" not in str(refused.value)


def test_forms_are_described_and_their_cost_is_bearable() -> None:
    assert TEACHER.forms.keys() == TEACHER.about.keys()
    for settings in TEACHER.forms.values():
        cost = TEACHER.cost(3 * settings.sample_rate, 6 * settings.sample_rate, settings)
        assert 0.0 < cost.seconds < 600.0
        assert 0 < cost.memory < 6 << 30
    least = TEACHER.shortest(CRITIC)
    shortest = Job(dark(48000, NOTES)[:least], (StyleSound(hiss(48000, NOISE_S)[:least]),))
    assert TEACHER.make(shortest, replace(CRITIC, iterations=1)).audio.shape == (least,)
