"""Windows are found where they are, and not where there are none; what is cut is joined again."""

import numpy as np
import numpy.typing as npt
import pytest

from duende.export.teachers.seams import seam_step_db, window_rate_db
from duende.export.teachers.windows import cut, join
from signals import noise, tone

Float32 = npt.NDArray[np.float32]

RATE, PERIOD = 22050, 8192


@pytest.fixture
def smooth(rng: np.random.Generator) -> Float32:
    """Five seconds of noise and a tone, both of which swell slowly and at no window's rate."""
    length = 5 * RATE
    swell = 1.0 + 0.3 * np.sin(2.0 * np.pi * 0.61 * np.arange(length) / RATE)
    return ((noise(rng, length, level_dbfs=-30.0) + tone(440.0, length, rate_hz=RATE)) * swell).astype(np.float32)


def test_a_sound_that_was_never_cut_has_no_seams(smooth: Float32) -> None:
    assert abs(seam_step_db(smooth, RATE, PERIOD)) < 0.7
    assert window_rate_db(smooth, RATE, PERIOD) < 1.0


def test_steps_and_clicks_at_borders_are_seams(smooth: Float32, rng: np.random.Generator) -> None:
    before = seam_step_db(smooth, RATE, PERIOD)
    steps = np.repeat(rng.permutation(np.linspace(0.3, 1.0, 14)), PERIOD)[: len(smooth)].astype(np.float32)
    assert seam_step_db(smooth * steps, RATE, PERIOD) > before + 1.5
    clicks = smooth.copy()
    clicks[PERIOD::PERIOD] += 0.9
    assert seam_step_db(clicks, RATE, PERIOD) > before + 5.0
    assert seam_step_db(np.roll(clicks, PERIOD // 3), RATE, PERIOD) < before + 1.0


def test_what_comes_back_in_every_window_is_heard_as_their_rate(smooth: Float32) -> None:
    place = np.arange(len(smooth)) % PERIOD / PERIOD
    repeating = smooth * (1.0 + 0.5 * np.sin(2.0 * np.pi * 2.0 * place)).astype(np.float32)
    assert window_rate_db(repeating, RATE, PERIOD) > window_rate_db(smooth, RATE, PERIOD) + 6.0
    other = smooth * (1.0 + 0.5 * np.sin(2.0 * np.pi * np.arange(len(smooth)) / (PERIOD * 0.7367))).astype(np.float32)
    assert window_rate_db(other, RATE, PERIOD) < 0.0


def test_equal_windows_read_their_number(rng: np.random.Generator) -> None:
    # The envelope alone repeats; n windows that are all alike read 10 log10(n).
    place = np.arange(10 * PERIOD) % PERIOD / PERIOD
    audio = tone(500.0, 10 * PERIOD, rate_hz=RATE) * (0.55 + 0.45 * np.cos(2.0 * np.pi * place)).astype(np.float32)
    assert window_rate_db(audio, RATE, PERIOD) == pytest.approx(10.0 * np.log10(9), abs=0.7)


def test_neither_measure_depends_on_the_level(smooth: Float32) -> None:
    quiet = smooth * np.float32(0.01)
    for measure in (seam_step_db, window_rate_db):
        assert measure(quiet, RATE, PERIOD) == pytest.approx(measure(smooth, RATE, PERIOD), abs=1e-3)


def test_too_short_a_sound_is_refused(smooth: Float32) -> None:
    with pytest.raises(ValueError, match="border"):
        seam_step_db(smooth[: PERIOD + 100], RATE, PERIOD)
    with pytest.raises(ValueError, match="two are needed"):
        window_rate_db(smooth[: PERIOD + 100], RATE, PERIOD)
    with pytest.raises(ValueError, match="too few"):
        window_rate_db(smooth[:800], RATE, PERIOD)


@pytest.mark.parametrize(
    ("frames", "length", "hop"), [(40, 16, None), (40, 16, 8), (5, 16, 4), (48, 16, 16), (33, 7, 3)]
)
def test_what_is_cut_is_joined_again(rng: np.random.Generator, frames: int, length: int, hop: int | None) -> None:
    spectrogram = rng.standard_normal((frames, 6)).astype(np.float32)
    windows = cut(spectrogram, length, hop)
    assert windows.shape[1:] == (length, 6)
    np.testing.assert_allclose(join(windows, frames, hop), spectrogram, atol=1e-6)


def test_windows_are_cross_faded_where_they_overlap() -> None:
    windows = np.stack((np.zeros((8, 1)), np.ones((8, 1)))).astype(np.float32)
    joined = join(windows, 12, 4)[:, 0]
    assert not joined[:4].any()
    np.testing.assert_allclose(joined[8:], 1.0)
    assert (np.diff(joined[3:9]) > 0.0).all()
    with pytest.raises(ValueError, match="are wanted"):
        join(windows, 13, 4)
    with pytest.raises(ValueError, match="give 1 to 8"):
        join(windows, 8, 9)
