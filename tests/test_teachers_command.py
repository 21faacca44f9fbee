"""`duende transfer` and `duende teachers` as they are typed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duende.__main__ import main
from signals import noise, tone

RATE = 22050
QUICK = ["--set", "inversion=input-phase", "--set", "start=content", "--no-measure"]


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("matplotlib")
    sides = np.stack([tone(220.0, 6 * RATE, rate_hz=RATE), 0.3 * tone(330.0, 6 * RATE, rate_hz=RATE)], axis=1)
    soundfile.write(tmp_path / "content.wav", sides, RATE)
    for name in ("style.wav", "other.wav"):
        soundfile.write(tmp_path / name, noise(rng, 3 * RATE // 2, level_dbfs=-20.0), RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of `duende words...`."""
    monkeypatch.setattr(sys, "argv", ["duende", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else 1
    return 0


def test_a_transfer_says_what_it_costs_and_what_it_wrote(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["transfer", "content.wav", "style.wav", "out.flac", "--iterations", "2", "--alpha", "0.1", *QUICK]
    words += ["--style", "other.wav", "--weights", "3,1", "--chunk", "4", "--stereo", "linked", "--rate", "44100"]
    words += ["--seed", "5", "--licence", "CC0"]
    assert run(monkeypatch, *words) == 0
    said = capsys.readouterr()
    assert "note: kernel:faithful: about " in said.err
    assert "in 2 chunks" in said.err
    assert "out.flac: kernel:faithful, " in said.out
    assert "2 iterations; content " in said.out
    assert "wrote out.png and out.json" in said.out
    audio, rate = soundfile.read(folder / "out.flac")
    assert (audio.shape[1], rate) == (2, 44100)
    record = json.loads((folder / "out.json").read_text())
    assert record["settings"]["alpha"] == 0.1
    assert record["weights"] == [0.75, 0.25]
    assert record["options"]["seed"] == 5
    assert run(monkeypatch, "whence", "out.flac") == 0
    assert "kernel:faithful" in capsys.readouterr().out


def test_a_stopped_transfer_says_how_it_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*arguments: object, **more: object) -> None:
        (folder / "state").write_bytes(b"so far")
        raise KeyboardInterrupt

    words = ["transfer", "content.wav", "style.wav", "out.wav", "--checkpoint", "state"]
    with monkeypatch.context() as patch:
        patch.setattr("duende.export.teachers.files.transfer_file", stopped)
        assert run(monkeypatch, *words) == 130
    assert "note: stopped; the same command with --resume goes on with state" in capsys.readouterr().err


@pytest.mark.train
def test_a_comparison_and_a_sweep_are_pages(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    words = ["transfer", "content.wav", "style.wav", "page.html", "--compare", "kernel,kernel:repaired"]
    words += ["--sweep", "alpha=0.1,1", "--iterations", "2", "--set", "inversion=input-phase"]
    assert run(monkeypatch, *words) == 0
    assert "wrote page.html: 4 sounds" in capsys.readouterr().out
    text = (folder / "page.html").read_text()
    assert "kernel:repaired alpha=1<" in text


def test_systems_and_settings_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "teachers", "kernel") == 0
    said = capsys.readouterr().out
    assert "kernel:faithful" in said
    assert "griffin-lim" in said
    assert run(monkeypatch, "teachers", "kernel", "--form", "loud") == 1
    assert "teacher kernel has no form 'loud'" in capsys.readouterr().err


@pytest.mark.train
def test_every_system_is_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert run(monkeypatch, "teachers") == 0
    said = capsys.readouterr().out
    for name in ("cnn", "kernel", "sms", "vgg19", "autoencoder", "vae", "hybrid"):
        assert f" {name} " in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["out.wav", "--teacher", "vgg"], "teacher 'vgg': choose one of cnn, kernel, sms"),
        (["out.wav", "--form", "loud"], "teacher kernel has no form 'loud'"),
        (["out.wav", "--set", "colour=1"], "teacher kernel has no setting 'colour'"),
        (["out.wav", "--optimiser", "sgd"], "optimiser=sgd: choose one of lbfgs, adam"),
        (["out.wav", "--weights", "1,2"], "2 for 1 styles"),
        (["out.wav", "--weights", "heavy"], "write numbers separated by commas"),
        (["out.wav", "--stereo", "wide"], "stereo 'wide': choose mono, linked or mid-side"),
        (["out.wav", "--resume"], "--resume needs --checkpoint FILE"),
        (["out.wav", "--checkpoint", "style.wav"], "style.wav exists: go on with it by --resume, or delete it"),
        (["out.wav", "--checkpoint", "style.wav", "--resume"], "style.wav: not a readable checkpoint"),
        (["out.wav", "--device", "abacus"], "device 'abacus'"),
        (["out.wav", "--style", "none.wav"], "none.wav: no such file"),
        (["content.wav"], "content.wav is what is to be read"),
        (["out.html"], "a page is written by --compare or --sweep"),
        (["out.wav", "--compare", "cnn,kernel"], r"name a file ending in .html"),
        (["out.html", "--sweep", "alpha"], "write NAME=VALUE,VALUE"),
        (["out.wav", "--max-memory", "0"], "max-memory 0 is out of range"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(monkeypatch, "transfer", "content.wav", "style.wav", *words, *QUICK[:4], "--iterations", "1") == 1
    said = capsys.readouterr().err
    # What a thing costs may have been said before.
    assert said.splitlines()[-1].startswith("duende: ")
    assert line in said.splitlines()[-1]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
