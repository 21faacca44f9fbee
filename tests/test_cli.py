"""The command line: what a user types, what they read, and one clear line with a non-zero exit when it cannot be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duende import __main__, __version__
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import HOME_VARIABLE, Library
from models import tiny_model, tiny_weights

RATE = 48000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A player's folder with the preset `tiny`."""
    folder = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(folder))
    model = tiny_model(tmp_path, tiny_weights())
    preset = Preset(FORMAT, "tiny", [SlotPreset("style", "tiny.onnx", values={"amount": 0.8})])
    Library().save("tiny", preset, {"tiny.onnx": model.path.read_bytes()})
    return folder


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    time = np.arange(RATE // 2) / RATE
    soundfile.write(path, 0.2 * np.sin(2.0 * np.pi * 220.0 * time), RATE)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Exit status of `duende words...`."""
    monkeypatch.setattr(sys, "argv", ["duende", *(str(word) for word in words)])
    try:
        __main__.main()
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else 1
    return 0


def test_render_writes_a_file_and_says_what_it_did(
    home: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.wav"
    assert run(monkeypatch, "render", sound, target, "--preset", "tiny", "--set", "slot/1/amount=0.5") == 0
    said = capsys.readouterr().out
    assert "x real time" in said
    assert "128 samples of latency removed" in said
    assert soundfile.info(target).samplerate == RATE


def test_mix_zero_is_the_input(home: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.wav"
    assert run(monkeypatch, "render", sound, target, "-p", "tiny", "--mix", "0") == 0
    wanted, _ = soundfile.read(sound)
    got, _ = soundfile.read(target)
    assert np.abs(got[: len(wanted)] - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--preset", "nobody"], "no preset 'nobody'; there are: "),
        (["--mix", "1.5"], "mix = 1.5 is out of range: 0 to 1"),
        (["--amount", "-1"], "amount = -1 is out of range: 0 to 1"),
        (["--set", "volume=3"], "no parameter 'volume'; there are: input/gain"),
        (["--set", "mix=loud"], "--set 'mix=loud': write name=value"),
        (["--set", "mix"], "--set 'mix': write name=value"),
        (["--set", "mix=nan"], "mix = nan is out of range"),
        (["--channel", "3"], "channel 3 of 1: choose 1 to 1"),
        (["--provider", "abacus"], "unknown provider 'abacus': choose one of cpu, cuda, tensorrt"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_non_zero_exit(
    home: Path,
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    target = tmp_path / "out.wav"
    preset = [] if "--preset" in words else ["--preset", "tiny"]
    assert run(monkeypatch, "render", sound, target, *preset, *words) == 1
    said = capsys.readouterr().err
    assert line in said
    assert said.startswith("duende: ")
    assert said.count("\n") == 1
    assert not target.exists()


def test_a_provider_that_is_not_installed_falls_back_and_says_so(
    home: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is here")
    assert run(monkeypatch, "render", sound, tmp_path / "out.wav", "-p", "tiny", "--provider", "cuda") == 0
    assert "cuda is not available" in capsys.readouterr().err


def test_a_damaged_preset_is_named(
    home: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = home / "presets" / "tiny.toml"
    preset.write_text(preset.read_text().replace("amount", "volume"))
    assert run(monkeypatch, "render", sound, tmp_path / "out.wav", "-p", "tiny") == 1
    assert "tiny.toml: no parameter 'slot/1/volume'" in capsys.readouterr().err


def test_bench_measures_a_model_and_writes_json(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bench.json"
    model = home / "presets" / "tiny.onnx"
    assert run(monkeypatch, "bench", model, "--blocks", "128,256", "--seconds", "0.1", "--json", target) == 0
    assert "does nothing" in capsys.readouterr().out
    data = json.loads(target.read_text())
    assert [result["key"]["block"] for result in data["results"]] == [128, 256]
    assert run(monkeypatch, "bench", model, "--blocks", "0") == 1
    assert "out of range, 1 to 8192" in capsys.readouterr().err


def test_presets_are_listed(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "presets") == 0
    assert "tiny" in capsys.readouterr().out


def test_version_and_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert __version__ in capsys.readouterr().out
    assert run(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert all(
        command in said
        for command in ("render", "live", "devices", "bench", "forge", "demo", "evaluate", "record", "transfer")
    )


OFFLINE: list[tuple[list[str], str]] = [
    (["forge", "{folder}/none.wav", "--name", "x"], "none.wav: no such file"),
    (["forge", "{sound}", "--name", "x"], "0.50 s long; a style needs 1 to 300 s"),
    (["forge", "{sound}", "--name", "X y"], "1 to 63 lower-case letters"),
    (["forge", "{sound}", "--name", "tiny"], "there is a preset 'tiny' already: choose another name"),
    (["forge", "{sound}", "--name", "x", "--mode", "loud"], "--mode 'loud': choose one of timbre, texture"),
    (["forge", "{sound}", "--name", "x", "--teacher", "me"], "--teacher 'me': choose one of auto, none, cnn, kernel"),
    (["forge", "{sound}", "--name", "x", "--precision", "int2"], "--precision 'int2': choose one of float32"),
    (["forge", "{sound}", "--name", "x", "--device", "abacus"], "device 'abacus' is not to be had"),
    (["forge", "--styles", "{sound}", "{sound}", "--name", "x"], "two styles are called 'in'"),
    (["evaluate", "tiny", "--guitar", "{folder}", "--style", "{folder}/none.wav"], "none.wav: no such file"),
    (["evaluate", "nobody", "--guitar", "{folder}", "--style", "{sound}"], "no preset 'nobody'"),
    (["transfer", "{sound}", "{sound}", "{folder}/o.wav", "--teacher", "vgg"], "choose one of cnn, kernel"),
    (["transfer", "{folder}/none.wav", "{sound}", "{folder}/o.wav"], "none.wav"),
    (["record", "{folder}/o.mp3"], "cannot record to .mp3: use .wav or .flac"),
    (["record", "{sound}"], "in.wav exists: choose another name, or replace it with --force"),
]


@pytest.mark.train
@pytest.mark.parametrize(("words", "line"), OFFLINE)
def test_offline_work_that_cannot_be_done_is_one_line(
    home: Path,
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    pytest.importorskip("torch")
    before = sorted(home.rglob("*"))
    assert run(monkeypatch, *(word.format(sound=sound, folder=tmp_path) for word in words)) == 1
    said = capsys.readouterr().err
    assert line in said
    assert said.startswith("duende: ")
    assert said.count("\n") == 1
    assert sorted(home.rglob("*")) == before


BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = ["duende"] + {words!r}
from duende.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("blocked", "words", "line"),
    [
        (["onnxruntime"], ["render", "{sound}", "{out}", "-p", "tiny"], "pip install 'duende[cpu]'"),
        (["torch"], ["forge", "{sound}", "--name", "x"], "forging needs torch: pip install 'duende[train]'"),
    ],
)
def test_a_missing_extra_says_what_to_install(
    home: Path, sound: Path, tmp_path: Path, blocked: list[str], words: list[str], line: str
) -> None:
    filled = [word.format(sound=sound, out=tmp_path / "out.wav") for word in words]
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked, words=filled)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_rendering_needs_neither_torch_nor_librosa_nor_numba(home: Path, sound: Path, tmp_path: Path) -> None:
    words = ["render", str(sound), str(tmp_path / "out.wav"), "-p", "tiny"]
    blocked = ["torch", "librosa", "numba", "matplotlib", "sounddevice"]
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked, words=words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_presets_are_shown_packed_renamed_deleted_and_installed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.duende"
    assert run(monkeypatch, "preset", "show", "tiny") == 0
    assert 'file = "tiny.onnx"' in capsys.readouterr().out
    assert run(monkeypatch, "preset", "pack", "tiny", path) == 0
    assert run(monkeypatch, "preset", "rename", "tiny", "small") == 0
    assert run(monkeypatch, "preset", "delete", "small") == 0
    assert "small.toml, tiny.onnx" in capsys.readouterr().out
    assert run(monkeypatch, "preset", "install", path) == 0
    assert run(monkeypatch, "preset", "list") == 0
    assert "tiny.onnx" in capsys.readouterr().out
    for words, line in (
        (["install", path], "'tiny' already"),
        (["pack", "tiny", path], "tiny.duende already"),
        (["delete", "nobody"], "no preset 'nobody'"),
        (["delete", "cello"], "'cello' comes with duende and cannot be deleted"),
        (["save", "tiny"], "'tiny' already: choose another name, or replace it with --force"),
        (["save", "../x"], "preset name '../x'"),
        (["save", "new", "--port", "1"], "no host"),
    ):
        assert run(monkeypatch, "preset", *words) == 1
        said = capsys.readouterr().err
        assert line in said
        assert said.count("\n") == 1
    assert run(monkeypatch, "preset", "install", path, "--force") == 0


def test_a_preset_that_cannot_be_read_does_not_hide_the_others(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "presets" / "broken.toml").write_text("broken")
    assert run(monkeypatch, "preset", "list") == 0
    said = capsys.readouterr().out
    assert "broken" in said
    assert "tiny.onnx" in said


def test_set_lists_are_stored_and_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "setlist", "evening", "tiny", "cello", "tiny") == 0
    assert run(monkeypatch, "setlist", "evening") == 0
    assert run(monkeypatch, "setlist") == 0
    assert capsys.readouterr().out == "evening: tiny cello tiny\n" * 3
    assert run(monkeypatch, "setlist", "evening", "nobody") == 1
    assert "no preset 'nobody'" in capsys.readouterr().err
    assert run(monkeypatch, "preset", "rename", "tiny", "small") == 0
    assert capsys.readouterr().out == "tiny is called small now, in evening, too\n"
    assert run(monkeypatch, "preset", "delete", "small") == 1
    said = capsys.readouterr().err
    assert "preset 'small' is in the set list evening: " in said
    assert said.count("\n") == 1
    assert run(monkeypatch, "preset", "delete", "small", "--force") == 0
    assert run(monkeypatch, "setlist") == 0
    assert capsys.readouterr().out.endswith("evening: cello\n")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("duende do", ["doctor"]),
        ("duende live --pre", ["--preset"]),
        ("duende live --preset ti", ["tiny"]),
        ("duende preset show ti", ["tiny"]),
        ("duende captures show ", []),
    ],
)
def test_the_shell_is_told_how_words_go_on(home: Path, words: str, offered: list[str]) -> None:
    parts = words.split(" ")
    environment = os.environ | {
        "_DUENDE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(parts) - 1),
    }
    command = "import sys; sys.argv = ['duende']; from duende.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == offered, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_written_for_shells(shell: str) -> None:
    command = "import sys; sys.argv = ['duende']; from duende.__main__ import main; main()"
    environment = os.environ | {"_DUENDE_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "_DUENDE_COMPLETE=complete_" in done.stdout
