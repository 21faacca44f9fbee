"""The factory's rigs: a whole chain each, in stereo, that needs pyo, and says so where there is none."""

import functools
import shutil
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError, __main__
from duende.commands.app import DEFAULT_PRESET
from duende.engine.preset import load_rig
from duende.engine.render import render_array
from duende.presets import library
from duende.presets.library import Entry, Library
from signals import picked_notes

Float32 = npt.NDArray[np.float32]

RATE = 48000
SHIPPED = Library(own=Path("none"))
RIGS = {
    "ambient": ["style", "4x12", "delay", "reverb"],
    "clean-room": ["compressor", "eq", "4x12", "reverb"],
    "lead": ["gate", "overdrive", "4x12", "delay"],
}


@pytest.fixture
def no_pyo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyo", None)


def rms(samples: Float32) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("name", RIGS)
def test_a_rig_is_a_whole_chain(name: str) -> None:
    preset = SHIPPED.find(name).read()
    assert [slot.effect or slot.kind for slot in preset.slots] == RIGS[name]
    assert "rig" in preset.tags
    assert "needs pyo" in preset.description


@pytest.mark.fx
@pytest.mark.parametrize("name", RIGS)
def test_a_rig_plays_in_stereo_and_rings_on(name: str) -> None:
    rig = load_rig(SHIPPED.find(name))
    notes = picked_notes(2.0)
    both = render_array(rig, np.repeat(notes[:, None], 2, axis=1), RATE)
    assert rig.telemetry.count("faults") == rig.telemetry.count("failed") == rig.telemetry.count("ceiling") == 0
    left, right = both[: len(notes)].astype(np.float64).T
    assert np.dot(left, right) / np.sqrt(np.dot(left, left) * np.dot(right, right)) < 0.995
    assert abs(20.0 * np.log10(rms(both[: len(notes), 0]) / rms(both[: len(notes), 1]))) < 1.5
    rest = both[len(notes) :]
    assert rms(rest[: RATE // 2]) > 0.01 * rms(both[: len(notes)])
    assert rms(rest[-RATE // 10 :]) < 1e-4 * rms(both[: len(notes)])


@pytest.mark.fx
@pytest.mark.parametrize("name", RIGS)
def test_a_rig_does_nothing_in_silence(name: str) -> None:
    silence = np.zeros((RATE, 2), dtype=np.float32)
    assert np.abs(render_array(load_rig(SHIPPED.find(name)), silence, RATE)).max() < 1e-6


@pytest.mark.parametrize("name", RIGS)
def test_without_pyo_a_rig_is_refused_in_one_line(name: str, no_pyo: None) -> None:
    with pytest.raises(DuendeError, match=r"^effects need pyo: pip install 'duende\[fx\]'$"):
        load_rig(SHIPPED.find(name))


def test_the_demo_needs_no_pyo(no_pyo: None) -> None:
    load_rig(SHIPPED.find(DEFAULT_PRESET))


def test_bench_leaves_out_what_needs_pyo_and_says_so(
    tmp_path: Path, no_pyo: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for entry in (SHIPPED.find("lead"), SHIPPED.find("cello")):
        shutil.copy(entry.path, tmp_path)
    shutil.copy(SHIPPED.factory / "instruments.onnx", tmp_path)
    assert Entry("cello", tmp_path, factory=True).read() == SHIPPED.find("cello").read()
    monkeypatch.setattr(library, "Library", functools.partial(Library, tmp_path / "none", tmp_path))
    monkeypatch.setattr(sys, "argv", ["duende", "bench", "--blocks", "128", "--seconds", "0.1"])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert not end.value.code
    said = capsys.readouterr()
    assert "note: not measured: lead: effects need pyo: pip install 'duende[fx]'" in said.err
    assert "cello" in said.out
    assert "lead" not in said.out
