"""The test signal of a capture: its layout, that it is always the same, and that it knows itself again."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from capture_takes import RATE, SECONDS, the_signal
from duende import DuendeError
from duende.export.capture.signal import LONGEST_S, SHORTEST_S, layout, make_signal, recognise, write_signal


@pytest.mark.parametrize("seconds", [SHORTEST_S, 31, 180, LONGEST_S])
def test_sections_follow_one_another_and_fill_the_signal(seconds: int) -> None:
    plan = layout(seconds)
    sections = [plan.silence, plan.sweeps, plan.noise, plan.phrase, plan.playing, plan.validation, plan.again]
    assert all(first.stop == second.start for first, second in itertools.pairwise(sections))
    assert plan.blips[1] < sections[0].start
    assert sections[-1].stop < plan.blips[2] < plan.blips[3] < plan.samples
    assert plan.samples == seconds * RATE
    assert plan.playing.stop - plan.playing.start > 0.25 * plan.samples


def test_what_is_in_the_sections() -> None:
    signal, plan = the_signal()
    assert signal.dtype == np.float32
    assert len(signal) == plan.samples
    assert 0.85 < np.abs(signal).max() < 0.95
    assert not plan.silence.of(signal).any()
    assert all(signal[blip] == np.float32(0.9) for blip in plan.blips)
    np.testing.assert_array_equal(plan.phrase.of(signal), plan.again.of(signal))
    noise = np.array_split(plan.noise.of(signal), 9)
    steps = np.diff([20 * np.log10(np.abs(burst).max()) for burst in noise])
    np.testing.assert_allclose(steps, 6.0, atol=0.3)
    # What judges is nothing that was learned from.
    judged = plan.validation.of(signal)[: RATE // 2]
    likeness = np.correlate(plan.playing.of(signal), judged / np.linalg.norm(judged), "valid")
    assert np.abs(likeness).max() < 0.9 * np.linalg.norm(judged)


def test_every_level_is_played() -> None:
    signal, plan = the_signal()
    levels = 20 * np.log10(np.sqrt(np.mean(plan.playing.of(signal)[: RATE * 10].reshape(-1, RATE // 4) ** 2, axis=1)))
    assert np.ptp(levels) > 12.0


def test_it_is_always_the_same_and_recognised_at_any_level() -> None:
    signal, plan = the_signal()
    np.testing.assert_array_equal(signal, make_signal(SECONDS))
    for gain in (1.0, 0.05, 2.0):
        assert recognise(np.float32(gain) * signal, RATE) == plan
    dither = np.random.default_rng(1).uniform(-1.0, 1.0, len(signal)).astype(np.float32) * 2.0**-15
    assert recognise(signal + dither, RATE) == plan


def test_what_it_is_not() -> None:
    signal, _ = the_signal()
    assert recognise(np.roll(signal, 1), RATE) is None
    assert recognise(signal[RATE:], RATE) is None
    assert recognise(signal, 44100) is None
    assert recognise(np.tanh(3 * np.cumsum(signal)).astype(np.float32), RATE) is None
    assert recognise(np.zeros_like(signal), RATE) is None


def test_the_file(tmp_path: Path) -> None:
    signal, plan = the_signal()
    assert write_signal(tmp_path / "play.wav", SECONDS) == plan
    info = soundfile.info(tmp_path / "play.wav")
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_24")
    read, _ = soundfile.read(tmp_path / "play.wav", dtype="float32")
    np.testing.assert_allclose(read, signal, atol=2.0**-23)
    assert recognise(read, RATE) == plan
    assert [path.name for path in tmp_path.iterdir()] == ["play.wav"]


@pytest.mark.parametrize("seconds", [0, 29, 601, -5])
def test_a_length_out_of_range_is_refused(seconds: int, tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match=f"--seconds {seconds} is out of range: 30 to 600"):
        write_signal(tmp_path / "play.wav", seconds)
    assert not list(tmp_path.iterdir())


def test_a_name_or_place_that_does_not_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match=r"ends in \.wav"):
        write_signal(tmp_path / "play.mp3", SECONDS)
    with pytest.raises(DuendeError, match="cannot write"):
        write_signal(tmp_path / "none" / "play.wav", SECONDS)
