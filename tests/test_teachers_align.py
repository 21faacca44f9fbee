"""A style is brought to the content's tempo and key, and the words say what was done."""

import re

import numpy as np
import numpy.typing as npt
import pytest

from duende.export.teachers.align import key_shift, tempo_of, to_key, to_tempo
from signals import noise, tone

pytestmark = pytest.mark.train
pytest.importorskip("librosa")

Float32 = npt.NDArray[np.float32]

RATE = 22050


def beating(rng: np.random.Generator, bpm: float, seconds: float = 10.0) -> Float32:
    """A short burst on every beat."""
    sound = noise(rng, round(seconds * RATE), level_dbfs=-70.0)
    length = round(0.05 * RATE)
    decay = np.exp(-np.arange(length) / (0.01 * RATE)).astype(np.float32)
    for start in np.arange(0.1, seconds - 0.1, 60.0 / bpm):
        place = round(start * RATE)
        sound[place : place + length] += noise(rng, length, level_dbfs=-10.0) * decay
    return sound


def chord(root_hz: float, seconds: float = 3.0) -> Float32:
    """A major triad."""
    return np.asarray(
        sum(tone(root_hz * ratio, round(seconds * RATE), rate_hz=RATE, level_dbfs=-20.0) for ratio in (1.0, 1.26, 1.5)),
        dtype=np.float32,
    )


def test_the_tempo_of_a_beat(rng: np.random.Generator) -> None:
    for bpm in (92.0, 126.0):
        assert tempo_of(beating(rng, bpm), RATE) == pytest.approx(bpm, rel=0.01)


def test_a_style_is_stretched_to_the_tempo_of_the_content(rng: np.random.Generator) -> None:
    content, style = beating(rng, 100.0), beating(rng, 120.0)
    found = to_tempo(style, content, RATE)
    assert tempo_of(found.audio, RATE) == pytest.approx(100.0, rel=0.02)
    assert len(found.audio) == pytest.approx(1.2 * len(style), rel=0.02)
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", found.said)]
    assert numbers == pytest.approx([100.0, 120.0, 100.0 / 120.0], rel=0.02)


def test_without_a_beat_nothing_is_done() -> None:
    still = np.zeros(3 * RATE, dtype=np.float32)
    found = to_tempo(still, still, RATE)
    assert found.audio is still
    assert "no beat was found in the content" in found.said


def test_a_style_is_shifted_to_the_key_of_the_content() -> None:
    content, style = chord(220.0), chord(220.0 * 2.0 ** (-3.0 / 12.0))
    found = to_key(style, content, RATE)
    assert "shifted by +3 semitones" in found.said
    assert len(found.audio) == len(style)
    spectrum = np.abs(np.fft.rfft(found.audio * np.hanning(len(found.audio))))
    strongest = np.fft.rfftfreq(len(found.audio), 1.0 / RATE)[int(np.argmax(spectrum))]
    assert min(abs(strongest / (220.0 * ratio) - 1.0) for ratio in (1.0, 1.26, 1.5)) < 0.01
    same = to_key(content, content, RATE)
    assert same.audio is content
    assert "as it is" in same.said


def test_every_shift_is_the_shortest() -> None:
    chroma = np.zeros(12)
    chroma[[0, 4, 7]] = (1.0, 0.6, 0.8)
    chroma = (chroma - chroma.mean()) / np.linalg.norm(chroma - chroma.mean())
    for shift in range(-5, 7):
        found, likeness = key_shift(chroma, np.roll(chroma, shift))
        assert found == shift
        assert likeness == pytest.approx(1.0)
    assert key_shift(np.zeros(12), chroma) == (0, 0.0)


def test_a_sound_without_pitch_keeps_what_it_has() -> None:
    silent = np.zeros(3 * RATE, dtype=np.float32)
    found = to_key(silent, chord(220.0), RATE)
    assert found.audio is silent
    assert "nothing in common" in found.said
