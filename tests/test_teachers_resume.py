"""A job's state comes back as it was written, for that job alone."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duende import DuendeError
from duende.export.teachers.resume import Saved, error_names, job_key
from duende.export.teachers.teacher import Job, Step, StyleSound
from systems import PlainSettings

SETTINGS = PlainSettings()


@pytest.fixture
def job(rng: np.random.Generator, tmp_path: Path) -> Job:
    content, style = (rng.standard_normal(frames).astype(np.float32) for frames in (300, 200))
    return Job(content, (StyleSound(style, 0.5), StyleSound(style[:100], 0.5)), checkpoint=tmp_path / "state")


def test_whatever_decides_the_sound_is_in_the_key(job: Job) -> None:
    other = job.content.copy()
    other[7] += 1e-6
    one, two = job.styles
    keys = [
        job_key("plain", job, SETTINGS),
        job_key("other", job, SETTINGS),
        job_key("plain", job, PlainSettings(gain=1.5)),
        job_key("plain", replace(job, seed=2), SETTINGS),
        job_key("plain", replace(job, device="cuda"), SETTINGS),
        job_key("plain", replace(job, content=other), SETTINGS),
        job_key("plain", replace(job, styles=(two, one)), SETTINGS),
        job_key("plain", replace(job, styles=(replace(one, weight=0.4), replace(two, weight=0.6))), SETTINGS),
        # The same samples, cut elsewhere.
        job_key("plain", replace(job, styles=(replace(one, audio=one.audio[:-1]), two)), SETTINGS),
    ]
    assert len(set(keys)) == len(keys)
    same = replace(job, checkpoint=None, report=print, styles=(replace(one, name="renamed"), two))
    assert job_key("plain", same, PlainSettings()) == keys[0]


def test_a_state_comes_back_as_it_was(job: Job) -> None:
    history = [
        Step(0, 9, {"style": 0.1}, 0.3, math.nan),
        Step(1, 9, {"style": 1.0 / 3.0, "content": 1e-300}, 0.7, -0.2),
    ]
    Saved("plain", job, SETTINGS).write({"iterate": np.array([1.0, 1.0 / 3.0])}, history, {"phase": 2})
    found = Saved("plain", job, SETTINGS).read()
    assert found is not None
    assert found.arrays["iterate"].tolist() == [1.0, 1.0 / 3.0]
    assert found.notes["phase"] == 2
    assert math.isnan(found.history[0].correlation)
    assert replace(found.history[0], correlation=0.0) == replace(history[0], correlation=0.0)
    assert found.history[1] == history[1]
    assert error_names(found.history) == ["style", "content"]
    with pytest.raises(DuendeError, match="belongs to other recordings or settings; run it again without --resume"):
        Saved("plain", replace(job, seed=2), SETTINGS).read()
    Saved("plain", job, SETTINGS).remove()
    assert Saved("plain", job, SETTINGS).read() is None


def test_without_a_file_nothing_is_kept(job: Job, tmp_path: Path) -> None:
    saved = Saved("plain", replace(job, checkpoint=None), SETTINGS)
    saved.write({}, [])
    assert not saved.wanted
    assert saved.read() is None
    saved.remove()
    assert list(tmp_path.iterdir()) == []
