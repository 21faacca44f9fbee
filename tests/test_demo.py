"""The demonstration: everything it promises to write is there, and its figures are figures."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from duende.export.demo import run_demo
from duende.export.pictures import HOP, log_frequency_db, read_style_picture, style_picture
from duende.presets.library import Library


def test_the_demo_writes_sound_and_picture(tmp_path: Path) -> None:
    entry = Library(own=tmp_path / "none").find("cello")
    report = run_demo(entry, tmp_path / "demo", seconds=0.2)
    assert [path.name for path in report.files] == ["input.wav", "output.wav", "spectrogram.png"]
    source, rate = soundfile.read(tmp_path / "demo" / "input.wav")
    output, _ = soundfile.read(tmp_path / "demo" / "output.wav")
    assert rate == 48000
    assert len(output) > len(source)
    assert np.abs(output).max() > 0.05
    assert not np.allclose(output[: len(source)], source, atol=0.01)
    assert (tmp_path / "demo" / "spectrogram.png").stat().st_size > 20_000
    assert report.real_time_factor > 1.0
    assert report.latency.added_samples == 128


def test_a_styles_picture_keeps_its_spectrogram() -> None:
    time = np.arange(48000) / 48000
    tone = (0.3 * np.sin(2.0 * np.pi * 1000.0 * time)).astype(np.float32)
    path_bytes = style_picture(tone, 48000)
    assert len(path_bytes) < 60_000
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tone.png"
        path.write_bytes(path_bytes)
        decibels = read_style_picture(path)
    plain = log_frequency_db(tone, 48000, rows=128)
    assert abs(decibels.shape[1] * HOP / 48000 - 1.0) < 0.05
    assert np.argmax(decibels[:, 80]) == np.argmax(plain[:, 80])
    assert decibels.max() == pytest.approx(0.0)
