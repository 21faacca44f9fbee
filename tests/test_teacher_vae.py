"""The VAE: what its divergence adds, and that it shares the rest with the encoder-decoder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende.export.measures import StyleTarget
from duende.export.teachers.coder_settings import CoderSettings
from duende.export.teachers.teacher import Job, Step
from duende.export.teachers.vae import TEACHER
from teacher_sounds import dark, hiss, job_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

Float32 = npt.NDArray[np.float32]


def job(rate: int, **more: Any) -> Job:
    return job_of(dark(rate), hiss(rate), **more)


FAITHFUL = replace(TEACHER.forms["faithful"], n_fft=512, hop=256, iterations=12, filters=(4, 8), latent=8)
REPAIRED = replace(
    TEACHER.forms["repaired"], n_fft=1024, hop=512, iterations=20, width=16, bands=32, blend=1.0, steps=12
)


@pytest.mark.parametrize(("settings", "factor"), [(FAITHFUL, 0.5), (REPAIRED, 0.6)])
def test_both_errors_are_told_and_their_sum_falls(settings: CoderSettings, factor: float) -> None:
    made = TEACHER.make(job(settings.sample_rate), settings)
    assert list(made.history[0].errors) == ["reconstruction", "kl"]
    assert made.history[-1].total < factor * made.history[0].total
    assert np.isfinite(made.audio).all()
    assert made.audio.shape == (len(dark(settings.sample_rate)),)


def test_a_heavier_divergence_empties_the_latents() -> None:
    divergences = []
    for weight in (1e-3, 10.0):
        last = TEACHER.make(job(22050), replace(FAITHFUL, kl=weight)).history[-1]
        divergences.append(last.errors["kl"] / weight)
    assert divergences[1] < 0.2 * divergences[0]


@pytest.mark.parametrize("settings", [FAITHFUL, REPAIRED])
def test_what_is_drawn_at_random_is_drawn_again_after_a_stop(settings: CoderSettings, tmp_path: Path) -> None:
    settings, file = replace(settings, iterations=4), tmp_path / "state"
    whole = TEACHER.make(job(settings.sample_rate), settings).audio

    def stop(step: Step) -> None:
        if step.iteration == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        TEACHER.make(job(settings.sample_rate, checkpoint=file, report=stop), settings)
    assert np.array_equal(TEACHER.make(job(settings.sample_rate, checkpoint=file), settings).audio, whole)
    assert not file.exists()


def test_without_windows_the_style_comes() -> None:
    target = StyleTarget(hiss(48000), 48000)
    made = TEACHER.make(job(48000), REPAIRED).audio
    assert target.distances(made)[0] < 0.5 * target.distances(dark(48000))[0]


def test_forms_are_described() -> None:
    assert TEACHER.forms.keys() == TEACHER.about.keys()
    assert TEACHER.forms["faithful"].learning_rate == 1e-2
    assert TEACHER.forms["faithful"].blend == 0.75
