"""`duende distance`, `duende listen --results` and `duende whence`: what is shown, and one line where it cannot be."""

import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from duende import __main__
from duende.export.listen import Study, choose_scales, find_pairs
from duende.export.provenance import provenance, source_of, write_sound
from signals import noise, tone

RATE = 16000


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Exit status of `duende words...`."""
    monkeypatch.setattr(sys, "argv", ["duende", *(str(word) for word in words)])
    try:
        __main__.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_whence_says_what_a_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, made = tmp_path / "take.wav", tmp_path / "made.flac"
    soundfile.write(plain, tone(220.0, RATE), RATE)
    origin = provenance("kernel:repaired", 3, [source_of(plain, "content", "my own")], "CC BY 4.0")
    write_sound(made, tone(220.0, RATE), RATE, "FLAC", "PCM_16", origin)
    assert run(monkeypatch, "whence", made) == 0
    said = capsys.readouterr().out
    assert "synthetic: style transfer" in said
    assert f"take.wav, sha256 {origin.sources[0].sha256}, my own" in said
    assert run(monkeypatch, "whence", made, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(msgspec.json.encode(origin))
    for path, line in ((plain, "says nothing of where it comes from"), (tmp_path / "none.wav", "no such file")):
        assert run(monkeypatch, "whence", path) == 1
        assert line in capsys.readouterr().err


def test_distance_tells_both_figures(
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder, wave in (("a", noise(rng, 2 * RATE)), ("b", tone(300.0, 2 * RATE, rate_hz=RATE))):
        for number in range(3):
            (tmp_path / folder).mkdir(exist_ok=True)
            soundfile.write(tmp_path / folder / f"{number}.wav", wave, RATE)
    words = ("distance", tmp_path / "a", tmp_path / "b", "--rounds", 5)
    assert run(monkeypatch, *words) == 0
    said = capsys.readouterr()
    assert "kernel (MMD², unbiased)" in said.out
    assert "68 dimensions" in said.err
    assert run(monkeypatch, *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kernel"]["value"] > 0.5
    assert found["first"]["files"] == ["0.wav", "1.wav", "2.wav"]
    assert run(monkeypatch, "distance", tmp_path / "a", tmp_path / "c") == 1
    assert "no such folder" in capsys.readouterr().err


def test_results_of_a_test_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("content", "style", "kernel"):
        soundfile.write(tmp_path / f"{name}.wav", tone(220.0, RATE), RATE)
    assert run(monkeypatch, "listen", tmp_path, "--results") == 1
    assert "nobody has answered anything yet" in capsys.readouterr().err
    study = Study(find_pairs(tmp_path), choose_scales([]), tmp_path / "answers")
    study.answer(study.begin("Ada").key, 1, {"similarity": 4, "quality": 70, "relevance": 55})
    assert run(monkeypatch, "listen", tmp_path, "--results") == 0
    assert "70.00" in capsys.readouterr().out
    assert len((tmp_path / "answers" / "answers.csv").read_text().splitlines()) == 2
    assert "70.00" in (tmp_path / "answers" / "results.html").read_text()
    assert run(monkeypatch, "listen", tmp_path, "--host", "192.168.0.10") == 1
    assert "would open the test to the network" in capsys.readouterr().err
