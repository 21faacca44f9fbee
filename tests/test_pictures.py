"""Pictures: a legible PNG of the right rows, and a way out without matplotlib."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from duende import DuendeError
from duende.export import pictures
from signals import RATE_HZ, noise, tone


def test_the_picture_is_a_png_that_grows_with_its_rows(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("matplotlib")
    rows = [("tone", tone(440.0, RATE_HZ)), ("noise", noise(rng, RATE_HZ // 2))]
    heights = []
    for count in (1, 2):
        path = pictures.spectrogram_figure(tmp_path / f"{count}.png", rows[:count], RATE_HZ)
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", data[16:24])
        assert width >= 900
        heights.append(height)
    assert heights[1] > heights[0] + 200


@pytest.mark.parametrize("frequency_hz", [60.0, 440.0, 9000.0])
def test_a_tone_lies_in_its_row_at_its_level(frequency_hz: float) -> None:
    decibels = pictures.log_frequency_db(tone(frequency_hz, RATE_HZ, level_dbfs=-12.0), RATE_HZ)
    middle = decibels[:, decibels.shape[1] // 2]
    octaves = np.log2(pictures.HIGH_HZ / pictures.LOW_HZ)
    row_hz = pictures.LOW_HZ * 2.0 ** ((middle.argmax() + 0.5) / len(middle) * octaves)
    assert abs(row_hz - frequency_hz) < max(RATE_HZ / pictures.N_FFT, 0.01 * frequency_hz)
    assert middle.max() == pytest.approx(-12.0, abs=1.5)


def test_every_frame_of_the_sound_is_shown() -> None:
    audio = np.zeros(10 * pictures.HOP, dtype=np.float32)
    audio[-1] = 1.0
    decibels = pictures.log_frequency_db(audio, RATE_HZ)
    assert decibels.shape[1] >= 11
    assert decibels.max() > -70.0


def test_without_matplotlib_the_error_names_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DuendeError, match=r"pip install duende\[plot\]"):
        pictures.spectrogram_figure(tmp_path / "x.png", [("tone", tone(440.0, 4800))], RATE_HZ)


def test_no_rows_and_two_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows is empty"):
        pictures.spectrogram_figure(tmp_path / "x.png", [], RATE_HZ)
    with pytest.raises(ValueError, match="one channel"):
        pictures.log_frequency_db(np.zeros((10, 2)), RATE_HZ)


def test_importing_it_loads_no_heavy_library() -> None:
    heavy = "('torch', 'librosa', 'matplotlib')"
    code = f"import sys, duende.export.pictures; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
