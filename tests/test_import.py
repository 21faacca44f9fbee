"""Captures brought into the library: whole or not at all, under names of their own, from files and folders."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captures import aidax, damage, linear_nam, lstm_nam, proteus, relabel, tiny_captures, write
from duende import DuendeError, __main__
from duende.engine.waveform_model import open_waveform
from duende.export.captures import install
from duende.export.captures.described import describe
from duende.export.captures.graph import convert
from duende.export.captures.install import Failed, Imported, found_below, import_capture, import_folder
from duende.presets.captures import Captures
from duende.presets.library import HOME_VARIABLE

CORPUS = Path(__file__).parent / "corpus" / "captures"


@pytest.fixture
def captures(tmp_path: Path) -> Captures:
    return Captures(tmp_path / "captures")


def everything_in(captures: Captures) -> list[str]:
    """All files of the library, half-written ones included."""
    return sorted(path.name for path in captures.folder.iterdir()) if captures.folder.is_dir() else []


def test_a_capture_is_imported_under_its_files_name(tmp_path: Path, captures: Captures) -> None:
    about = {"name": "My Twin", "gear_make": "Fender", "gear_type": "amp", "loudness": -20.0, "gain": 0.25}
    source = write(tmp_path / "Fender Twin (bright).nam", linear_nam([0.5], metadata=about))
    done = import_capture(source, captures)
    assert (done.capture.name, done.known) == ("fender-twin-bright", False)
    spec = open_waveform(captures.find("fender-twin-bright")).spec
    assert (spec.name, spec.loudness_db, spec.gain, spec.sample_rate) == ("My Twin", -20.0, 0.25, 48000.0)
    assert (
        done.line() == "fender-twin-bright: Linear, 48 kHz, loudness -20.0 dB, gain 0.25, Fender (amp), licence unknown"
    )
    assert everything_in(captures) == ["fender-twin-bright.onnx"]


def test_knobs_notes_and_licences_are_said(tmp_path: Path, captures: Captures) -> None:
    done = import_capture(write(tmp_path / "klon.json", proteus()), captures, licence="CC-BY-4.0")
    line = done.line()
    assert "LSTM, 44.1 kHz" in line
    assert "knobs drive" in line
    assert "licence CC-BY-4.0" in line
    assert "44100 Hz is assumed" in line
    assert describe("klon", captures.find("klon")).as_json()["knobs"] == ["drive"]
    done = import_capture(write(tmp_path / "doubler.json", aidax()), captures)
    assert "licence CC0-1.0" in done.line()
    for licence in ("", " ", "x" * 201):
        with pytest.raises(DuendeError, match="--licence: "):
            import_capture(tmp_path / "doubler.json", captures, licence=licence)


def test_the_same_file_again_changes_nothing_and_another_needs_force(tmp_path: Path, captures: Captures) -> None:
    source = write(tmp_path / "amp.nam", linear_nam([0.5]))
    import_capture(source, captures)
    path = captures.find("amp")
    os.utime(path, ns=(1, 1))
    again = import_capture(source, captures)
    assert again.known
    assert "it was there already" in again.line()
    assert path.stat().st_mtime_ns == 1
    with pytest.raises(DuendeError, match=r"amp\.nam: there is a capture 'amp' already: .*--name.*--force"):
        import_capture(source, captures, licence="MIT")
    write(source, linear_nam([0.25]))
    with pytest.raises(DuendeError, match="there is a capture 'amp' already"):
        import_capture(source, captures)
    assert path.stat().st_mtime_ns == 1
    before = describe("amp", path).spec.provenance.sha256
    assert not import_capture(source, captures, force=True).known
    assert describe("amp", path).spec.provenance.sha256 != before
    assert import_capture(source, captures, name="other").capture.name == "other"
    with pytest.raises(DuendeError, match=r"capture name '\.\./amp'"):
        import_capture(source, captures, name="../amp")
    # What lies there and is no capture is not taken for one.
    path.write_bytes(b"rubbish")
    with pytest.raises(DuendeError, match="there is a capture 'amp' already"):
        import_capture(source, captures)


BAD: dict[str, tuple[Any, str]] = {
    "short": (linear_nam([0.5]) | {"weights": []}, r"bad\.nam: .*weights"),
    "nan": (linear_nam([float("nan")]), r"bad\.nam: .*weights"),
    "newer": (linear_nam([0.5]) | {"version": "0.9.0"}, r"bad\.nam: .*version"),
    "no capture": ({"name": "package"}, r"bad\.nam: .*not a capture"),
    "self test": (aidax(0.1), r"bad\.nam: .*self test"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused_leaves_nothing_behind(what: str, tmp_path: Path, captures: Captures) -> None:
    content, message = BAD[what]
    with pytest.raises(DuendeError, match=message) as caught:
        import_capture(write(tmp_path / "bad.nam", content), captures)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert everything_in(captures) == []


def test_a_converted_file_that_does_not_play_is_not_stored(
    tmp_path: Path, captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "convert", lambda capture: convert(capture)[:-100])
    with pytest.raises(DuendeError, match=r"amp\.nam: converted, it does not play: "):
        import_capture(write(tmp_path / "amp.nam", linear_nam([0.5])), captures)
    assert everything_in(captures) == []


def test_captures_of_another_library_are_checked_and_copied(tmp_path: Path, captures: Captures) -> None:
    other = tiny_captures(tmp_path / "other")
    done = import_capture(other.find("half"), captures, name="twin")
    assert captures.find("twin").read_bytes() == other.find("half").read_bytes()
    assert done.capture.spec.name == "Half a Twin"
    assert import_capture(other.find("half"), captures, name="twin").known
    named = import_capture(other.find("half"), captures, licence="MIT")
    assert named.capture.licence == "MIT"
    assert open_waveform(captures.find("half")).spec.provenance.licence == "MIT"
    (tmp_path / "cut.onnx").write_bytes(other.find("half").read_bytes()[:-50])
    with pytest.raises(DuendeError, match=r"cut\.onnx: "):
        import_capture(tmp_path / "cut.onnx", captures)
    damage(other.find("bent"))
    with pytest.raises(DuendeError, match=r"bent\.onnx: golden pair missed"):
        import_capture(other.find("bent"), captures)
    assert everything_in(captures) == ["half.onnx", "twin.onnx"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, captures: Captures, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "amp.nam", linear_nam([0.5]))
    before = import_capture(source, captures).capture.spec

    def full(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    write(source, linear_nam([0.25]))
    with pytest.raises(DuendeError, match=r"cannot write .*No space left"):
        import_capture(source, captures, force=True)
    assert everything_in(captures) == ["amp.onnx"]
    assert describe("amp", captures.find("amp")).spec == before


def tree(folder: Path) -> Path:
    """Captures in folders, two of one name, with what else lies about."""
    write(folder / "a" / "Clean.nam", linear_nam([0.5]))
    write(folder / "b" / "clean.nam", linear_nam([0.25]))
    write(folder / "b" / "deep" / "bent.aidax", aidax())
    write(folder / "b" / "klon.json", proteus())
    write(folder / "package.json", {"name": "something", "scripts": {}})
    (folder / "notes.txt").write_text("not a capture")
    (folder / ".hidden").mkdir()
    write(folder / ".hidden" / "old.nam", linear_nam([0.1]))
    old = folder / "v0.4" / "Model 1"
    config = {"version": "0.4.0", "architecture": "Linear", "config": {"receptive_field": 1, "bias": False}}
    write(old / "config.json", config)
    np.save(old / "weights.npy", np.array([0.75], dtype=np.float32))
    return folder


def test_a_folder_is_imported_with_all_below_it(tmp_path: Path, captures: Captures) -> None:
    folder = tree(tmp_path / "pile")
    (folder / "loop").symlink_to(folder)
    told: list[tuple[str, float]] = []
    outcomes = import_folder(folder, captures, tell=lambda one, share: told.append((one.line(), share)))
    assert [type(one) for one in outcomes] == [Imported] * 5
    assert list(captures.entries()) == ["bent", "clean", "clean-2", "klon", "model-1"]
    assert told[-1][1] == 1.0
    assert len(told) == 5
    sizes = {name: describe(name, path).spec.provenance.file for name, path in captures.entries().items()}
    assert sizes == {
        "bent": "bent.aidax", "clean": "Clean.nam", "clean-2": "clean.nam", "klon": "klon.json", "model-1": "Model 1"
    }  # fmt: skip
    again = import_folder(folder, captures)
    assert all(isinstance(one, Imported) and one.known for one in again)
    assert len(captures.entries()) == 5


def test_what_fails_in_a_folder_does_not_stop_the_rest(tmp_path: Path, captures: Captures) -> None:
    folder = tree(tmp_path / "pile")
    write(folder / "a" / "broken.nam", linear_nam([0.5]) | {"weights": [1.0, 2.0]})
    (folder / "a" / "cut.json").write_text('{"architecture": "WaveNet", "config": {')
    outcomes = import_folder(folder, captures)
    failed = [one for one in outcomes if isinstance(one, Failed)]
    assert [one.source.name for one in failed] == ["broken.nam", "cut.json"]
    assert all("\n" not in one.line() and one.source.name in one.line() for one in failed)
    assert list(captures.entries()) == ["bent", "clean", "clean-2", "klon", "model-1"]
    # With --force all are made anew, the two of one name still apart.
    before = {name: path.stat().st_mtime_ns for name, path in captures.entries().items()}
    import_folder(folder, captures, force=True)
    assert list(captures.entries()) == list(before)
    assert describe("clean-2", captures.find("clean-2")).spec.provenance.file == "clean.nam"


def test_folders_have_bounds(tmp_path: Path, captures: Captures, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pile").mkdir()
    with pytest.raises(DuendeError, match="pile: no captures in this folder"):
        import_folder(tmp_path / "pile", captures)
    folder = tree(tmp_path / "pile")
    assert len(list(found_below(folder))) == 5
    monkeypatch.setattr(install, "MOST", 4)
    with pytest.raises(DuendeError, match="pile: more than 4 captures"):
        import_folder(folder, captures)
    monkeypatch.setattr(install, "MOST", 10)
    monkeypatch.setattr(install, "DEEPEST", 1)
    with pytest.raises(DuendeError, match="pile: folders nested more than 1 deep"):
        import_folder(folder, captures)
    assert everything_in(captures) == []


def test_files_of_other_programs_are_imported(captures: Captures) -> None:
    """The example models of NeuralAmpModelerCore and RTNeural."""
    outcomes = import_folder(CORPUS, captures)
    assert [one.line() for one in outcomes if isinstance(one, Failed)] == []
    found = {name: describe(name, path) for name, path in captures.entries().items()}
    assert found["lstm"].has_tags(["clean", "gear_make=darkglass electronics"])
    assert not found["lstm"].has_tags(["clean", "hi_gain"])
    assert {one.spec.architecture for one in found.values()} >= {"WaveNet", "LSTM", "GRU"}


# -- the command line --------------------------------------------------------------------------------------------


class CommandLine:
    """Runs commands with a library of their own, and gives back what they said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> None:
        self._patch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv(HOME_VARIABLE, str(home))
        self.captures = Captures(home / "captures")

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        self._patch.setattr(sys, "argv", ["duende", *map(str, words)])
        status = 0
        try:
            __main__.main()
        except SystemExit as end:
            status = int(end.code or 0)
        said = self._capsys.readouterr()
        return status, said.out, said.err


@pytest.fixture
def duende(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, capsys, tmp_path / "home")


def test_import_on_the_command_line(tmp_path: Path, duende: CommandLine) -> None:
    source = write(tmp_path / "Twin.nam", linear_nam([0.5]))
    status, said, _ = duende("import", source, "--licence", "MIT")
    assert status == 0
    first, second = said.splitlines()
    assert first.startswith("twin: Linear, 48 kHz, loudness ")
    assert "licence MIT" in first
    assert second == "play it: duende ctl slot/add capture:twin"
    assert duende("import", source, "--name", "other")[0] == 0
    status, said, wrong = duende("import", write(tmp_path / "bad.nam", {"architecture": "Magic"}))
    assert (status, said) == (1, "")
    assert wrong.startswith("duende: bad.nam: ")
    assert wrong.count("\n") == 1
    status, _, wrong = duende("import", tmp_path / "missing.nam")
    assert status == 1
    assert wrong.rstrip().endswith(": No such file or directory")
    assert "missing.nam" in wrong
    assert list(duende.captures.entries()) == ["other", "twin"]


def test_importing_a_folder_says_what_failed(tmp_path: Path, duende: CommandLine) -> None:
    folder = tree(tmp_path / "pile")
    status, said, wrong = duende("import", folder)
    assert (status, wrong) == (0, "")
    assert said.splitlines()[-1] == "5 imported, 0 were there already, 0 failed"
    write(folder / "bad.nam", {"architecture": "Magic"})
    status, said, wrong = duende("import", folder)
    assert status == 1
    assert said.splitlines()[-1] == "0 imported, 5 were there already, 1 failed"
    assert wrong.splitlines()[0].startswith("failed: bad.nam: ")
    assert wrong.splitlines()[1] == "duende: pile: 1 of 6 captures could not be imported"
    status, _, wrong = duende("import", folder, "--name", "all")
    assert status == 1
    assert "--name all: a folder holds many captures" in wrong
    status, said, _ = duende("import", folder / "v0.4" / "Model 1", "--name", "old")
    assert (status, said.splitlines()[1]) == (0, "play it: duende ctl slot/add capture:old")


def test_list_show_and_remove(tmp_path: Path, duende: CommandLine) -> None:
    tiny_captures(tmp_path / "home")
    (duende.captures.folder / "broken.onnx").write_bytes(b"rubbish")
    status, said, wrong = duende("captures", "list")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == ["name", "bent", "half", "knobby"]
    assert "Fender Twin (amp)" in said
    assert wrong.startswith("note: broken.onnx: not an ONNX file")
    assert [one["name"] for one in json.loads(duende("captures", "list", "--json")[1])] == ["bent", "half", "knobby"]
    for tags, names in (
        (["clean"], ["half"]),
        (["Clean", "gear_make=FENDER"], ["half"]),
        (["author=somebody"], ["half"]),
        (["fender"], ["half"]),
        (["clean", "fuzz"], []),
    ):
        options = [word for tag in tags for word in ("--tag", tag)]
        assert [one["name"] for one in json.loads(duende("captures", "list", *options, "--json")[1])] == names
    status, said, _ = duende("captures", "show", "knobby")
    assert status == 0
    assert "control drive" in said
    assert "0 to 1, 0.5 at first" in said
    found = json.loads(duende("captures", "show", "half", "--json")[1])
    assert (found["called"], found["loudness_db"], found["licence"]) == ("Half a Twin", -20.0, None)
    assert duende("captures", "remove", "half") == (0, "removed half\n", "")
    status, _, wrong = duende("captures", "remove", "half")
    assert (status, wrong) == (1, "duende: no capture 'half'; there are: bent, broken, knobby\n")
    assert list(duende.captures.entries()) == ["bent", "broken", "knobby"]


def test_a_capture_is_measured_like_a_style(tmp_path: Path, duende: CommandLine) -> None:
    tiny_captures(tmp_path / "home")
    target = tmp_path / "bench.json"
    words = ("bench", duende.captures.find("half"), "--blocks", "64", "--seconds", "0.1", "--json", target)
    status, said, wrong = duende(*words)
    assert (status, wrong) == (0, "")
    assert "half" in said
    assert "0.00" in said
    (found,) = json.loads(target.read_text())["results"]
    assert found["added_latency_ms"] == 0.0
    relabel(duende.captures.find("half"), sha256=7)
    status, _, wrong = duende(*words)
    assert status == 1
    assert wrong.startswith("duende: half.onnx: the metadata 'duende' is damaged")


def test_texts_of_others_are_shown_as_texts(tmp_path: Path, duende: CommandLine) -> None:
    """What a file says can neither move the terminal's cursor nor pass for markup."""
    about = {"name": "\x1b[2J[bold]x", "gear_make": "[red]\x1b]0;y\x07", "tone_type": "a\nb", "modeled_by": "\u202e"}
    assert duende("import", write(tmp_path / "odd.nam", lstm_nam(metadata=about)))[0] == 0
    # Also where the file itself comes from somebody else.
    relabel(duende.captures.find("odd"), author="\x1b[1A", licence="[red]\x1b[2K\nMIT", notes=["\x07\r\x9b31m"])
    for command in (("list",), ("show", "odd")):
        status, said, _ = duende("captures", *command)
        assert status == 0
        assert not set(said) & set("\x1b\x07\r\x9b")
        assert "[red]" in said
