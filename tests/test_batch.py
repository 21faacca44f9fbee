"""Commands over libraries: every file where it belongs, the same as one by one, and a poisoned one named."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from captures import linear_nam
from duende import DuendeError
from duende.commands.app import app
from duende.engine.preset import load_rig
from duende.engine.render import render_file
from duende.export.batch.captures import capture_items
from duende.export.batch.forging import read_list
from duende.export.batch.judging import style_of
from duende.export.batch.notes import prepared
from duende.export.batch.rendering import render_items
from duende.export.batch.sounds import sounds_below, twice
from duende.export.pluck import demo_phrase
from duende.export.text.nsynth import make_nsynth
from duende.presets.captures import Captures
from duende.presets.library import HOME_VARIABLE, Library
from signals import RATE_HZ, noise, tone


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))


def run(*words: object, fails: str = "") -> str:
    """What a command says; all of it, notices too."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if fails:
        assert isinstance(done.exception, DuendeError), done.output
        assert fails in str(done.exception)
    else:
        assert done.exception is None, (done.output, done.exception)
    return done.output


@pytest.fixture
def library(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two sounds, one in a folder, one that is none, one that is hidden."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "a.wav", tone(220.0, RATE_HZ // 2, level_dbfs=-12.0), RATE_HZ)
    soundfile.write(folder / "deep" / "b.flac", noise(rng, 16000, level_dbfs=-20.0), 16000)
    (folder / "poison.wav").write_bytes(b"no sound at all")
    (folder / ".hidden.wav").write_bytes(b"nobody looks at it")
    (folder / "notes.txt").write_text("no sound")
    return folder


def test_a_library_is_rendered_as_its_files_are(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run("render", library, out, "-p", "cello", "--amount", "0.5", "--workers", "2", fails="1 of 3 failed")
    assert "failed: poison.wav: not a readable sound file" in said
    assert "2 rendered" in said
    for source, target in (("a.wav", "a.wav"), ("deep/b.flac", "deep/b.wav")):
        rig = load_rig(Library().find("cello"), "cpu", {"amount": 0.5})
        render_file(rig, library / source, tmp_path / "one.wav")
        assert (out / target).read_bytes() == (tmp_path / "one.wav").read_bytes()
    (library / "poison.wav").unlink()
    before = (out / "a.wav").stat().st_mtime_ns
    said = run("render", library, out, "-p", "cello", "--amount", "0.5", "--workers", "1")
    assert "0 rendered" in said
    assert "2 were there already" in said
    assert (out / "a.wav").stat().st_mtime_ns == before
    assert "2 rendered" in run("render", library, out, "-p", "cello", "--amount", "0.6", "--workers", "1")


def test_what_cannot_be_rendered_is_said_beforehand(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("render", library, library, fails="another folder")
    run("render", library, out, "--format", "ogg", fails="choose wav, flac, aiff")
    run("render", library, out, "--set", "nothing=1", fails="nothing")
    run("render", tmp_path, tmp_path / "x", "--cluster", "10.0.0.1", fails="HOST:PORT")
    run("render", library / "a.wav", tmp_path / "x.wav", "--workers", "2", fails="for a folder of sounds")
    (tmp_path / "empty").mkdir()
    run("render", tmp_path / "empty", out, fails="no sound file in it")
    assert not out.exists()


def test_files_that_would_meet_are_failures(library: Path, tmp_path: Path) -> None:
    (library / "A.flac").write_bytes((library / "deep" / "b.flac").read_bytes())
    total, items = render_items(Library().find("cello"), library, tmp_path / "out")
    found = {item.name: item for item in items}
    assert total == len(found) == 4
    assert found["a.wav"].task is found["A.flac"].task is None
    assert "another file would be written to" in found["a.wav"].reason
    assert found["deep/b.flac"].places == {"sound": tmp_path / "out" / "deep" / "b.wav"}
    assert twice([Path("a"), Path("B"), Path("b"), Path("c")]) == {Path("B"), Path("b")}


def test_the_target_is_no_source(library: Path) -> None:
    (library / "out").mkdir()
    (library / "out" / "x.wav").touch()
    found = sounds_below(library, library / "out")
    assert found == [Path("a.wav"), Path("deep/b.flac"), Path("poison.wav")]


def test_captures_are_imported_and_heard(tmp_path: Path) -> None:
    folder, heard = tmp_path / "captures", tmp_path / "heard"
    (folder / "deep").mkdir(parents=True)
    (folder / "Amp One.nam").write_text(json.dumps(linear_nam([0.5, 0.2])))
    (folder / "deep" / "amp-one.nam").write_text(json.dumps(linear_nam([0.1, -0.2])))
    (folder / "bad.nam").write_text("{}")
    said = run("import", folder, "--workers", "1", "--audition", heard, fails="1 of 3 failed")
    assert set(Captures().entries()) == {"amp-one", "amp-one-2"}
    assert "failed: bad" in said
    samples, rate = soundfile.read(heard / "amp-one.wav", dtype="float32")
    assert (len(samples), rate) == (8 * 48000, 48000)
    assert 0.01 < np.abs(samples).max() < 1.0
    (folder / "bad.nam").unlink()
    again = run("import", folder, "--workers", "1", "--audition", heard)
    assert again.count("it was there already") == 2
    total, items = capture_items(folder)
    assert total == 2
    assert [item.places for item in items] == [{}, {}]


@pytest.mark.text
def test_a_data_set_is_heard_once(tmp_path: Path) -> None:
    folder, out = tmp_path / "notes", tmp_path / "prepared"
    data = make_nsynth(folder, 12, 3)
    broken = data.notes[5]
    broken.path.write_bytes(b"no sound")
    said = run("dataset", "prepare", folder, out, "--workers", "1", fails="1 notes were skipped")
    assert f"failed: {broken.name}: " in said
    index = json.loads((out / "index.json").read_text())
    assert sum(map(len, index["shards"].values())) == 35
    assert [name for name, _ in index["skipped"]] == [broken.name]
    notes = [data.notes[3], data.notes[0], broken]
    pictures, ranges, embeddings, lines = prepared(out, notes, "words")
    assert (len(pictures), len(ranges), len(embeddings)) == (2, 2, 2)
    assert lines[0].startswith(repr(broken.name))
    from duende.export.text.chopan_pictures import picture_of
    from duende.export.text.chopan_text import WordsEncoder

    audio, rate = data.notes[3].audio()
    picture, least, most = picture_of(audio, rate)
    np.testing.assert_array_equal(pictures[0], np.round(255.0 * picture).astype(np.uint8))
    np.testing.assert_allclose(ranges[0], (least, most), rtol=1e-6)
    np.testing.assert_allclose(embeddings[0], WordsEncoder().sound(audio, rate, picture), atol=1e-5)
    with pytest.raises(DuendeError, match="not 'clip'"):
        prepared(out, notes, "clip")
    with pytest.raises(DuendeError, match="dataset prepare"):
        prepared(tmp_path, notes, "words")
    (out / "shards" / "000000.npz").write_bytes(b"cut")
    with pytest.raises(DuendeError, match="not a whole shard"):
        prepared(out, notes, "words")


@pytest.mark.text
@pytest.mark.train
def test_training_takes_what_was_heard_before(tmp_path: Path) -> None:
    from duende.export.text.chopan_store import BANK
    from duende.export.text.chopan_text import WordsEncoder
    from duende.export.text.chopan_train import TrainConfig, train_chopan
    from duende.export.text.chopan_vae import FILTERS

    data = make_nsynth(tmp_path / "notes", 12, 2)
    run("dataset", "prepare", tmp_path / "notes", tmp_path / "prepared", "--workers", "1")
    config = TrainConfig(1, 8, filters=(4,) * len(FILTERS), latent=4)
    for name, prepared_at in (("heard", None), ("prepared-bank", tmp_path / "prepared")):
        train_chopan(data, tmp_path / name, config, WordsEncoder(), lambda *told: None, prepared=prepared_at)
    assert (tmp_path / "heard" / BANK).read_bytes() == (tmp_path / "prepared-bank" / BANK).read_bytes()


def test_lists_of_styles_are_read_strictly(tmp_path: Path) -> None:
    def read(text: str) -> dict[str, object]:
        (tmp_path / "styles.toml").write_text(text)
        return dict(read_list(tmp_path / "styles.toml"))

    found = read_list_of(tmp_path)
    assert found["cello"] == (["cello.wav"], 40, "int8")
    assert found["duo"] == ([], 20, "float32")
    for text, message in (
        ("[styles]", "0 styles"),
        ("[styles.a]", "files, or voices"),
        ('[styles.a]\nfiles = ["x"]\nvoices = {b = ["y"]}', "files, or voices"),
        ('[styles.a]\nfiles = ["x"]\nminutes = 3', "minutes"),
        ('[styles.a]\nfiles = ["x"]\nsteps = 0', "steps 0 is out of range"),
        ('[styles."no name"]\nfiles = ["x"]', "preset name"),
        ("[styles", "styles.toml"),
    ):
        with pytest.raises(DuendeError, match=message):
            read(text)


def read_list_of(folder: Path) -> dict[str, tuple[list[str], int | None, str]]:
    (folder / "styles.toml").write_text(
        '[defaults]\nsteps = 20\n[styles.cello]\nfiles = ["cello.wav"]\nsteps = 40\nprecision = "int8"\n'
        '[styles.duo.voices]\na = ["a.wav"]\nb = ["b.wav"]\n'
    )
    found = read_list(folder / "styles.toml")
    return {name: (one.files, one.steps, one.precision) for name, one in found.items()}


@pytest.mark.train
def test_a_list_is_forged(tmp_path: Path, rng: np.random.Generator) -> None:
    phrase = np.concatenate([tone(hz, RATE_HZ // 2, level_dbfs=-12.0) for hz in (196.0, 247.0, 294.0)])
    soundfile.write(tmp_path / "reed.wav", phrase + noise(rng, len(phrase), level_dbfs=-40.0), RATE_HZ)
    (tmp_path / "styles.toml").write_text(
        '[styles.reed]\nfiles = ["reed.wav"]\nsteps = 1\n[styles.lost]\nfiles = ["lost.wav"]\n'
    )
    said = run("forge", "--batch", tmp_path / "styles.toml", "--workers", "1", fails="1 of 2 failed")
    assert "reed is ready" in said
    assert "lost.wav" in said
    entry = Library().find("reed")
    rig = load_rig(entry)
    assert rig.chain is not None
    hashes = [slot.sha256 for slot in entry.read().slots]
    again = run("forge", "--batch", tmp_path / "styles.toml", "--workers", "1", fails="1 of 2 failed")
    assert "1 were there already" in again
    assert [slot.sha256 for slot in Library().find("reed").read().slots] == hashes
    (tmp_path / "styles.toml").write_text('[styles.reed]\nfiles = ["reed.wav"]\nsteps = 2\n')
    said = run("forge", "--batch", tmp_path / "styles.toml", "--workers", "1", fails="1 of 1 failed")
    assert "there is a preset 'reed' already" in said
    run("forge", "--batch", tmp_path / "styles.toml", "--name", "x", fails="--batch takes")


@pytest.mark.train
def test_presets_are_measured_on_guitars(tmp_path: Path) -> None:
    (tmp_path / "guitars").mkdir()
    (tmp_path / "styles").mkdir()
    soundfile.write(tmp_path / "guitars" / "take.wav", demo_phrase()[: 3 * RATE_HZ], RATE_HZ)
    soundfile.write(tmp_path / "styles" / "cello-clip.wav", tone(196.0, 2 * RATE_HZ, level_dbfs=-12.0), RATE_HZ)
    words = ("evaluate", "all", tmp_path / "guitars", tmp_path / "styles", tmp_path / "out", "--workers", "1")
    said = run(*words, "-p", "cello", "-p", "lead", fails="1 of 2 failed")
    assert "failed: lead on take.wav: lead: no recording for it" in said
    lines = (tmp_path / "out" / "all.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["preset", "guitar"], ["cello", "take"]]
    report = json.loads((tmp_path / "out" / "cello" / "take.json").read_text())
    assert set(report["guitars"]) == {"take"}
    assert "speed" not in report
    assert "machine" not in report
    assert float(lines[1].split(",")[2]) == pytest.approx(
        report["guitars"]["take"]["measures"]["preset"]["style_ratio"], rel=1e-4
    )
    assert "1 were there already" in run(*words, "-p", "cello")


def test_the_recording_of_a_preset_is_found_by_its_name(tmp_path: Path) -> None:
    entry = Library().find("cello")
    with pytest.raises(DuendeError, match="no recording for it"):
        style_of(entry, tmp_path)
    (tmp_path / "cello-one.wav").touch()
    assert style_of(entry, tmp_path).name == "cello-one.wav"
    (tmp_path / "cello-two.flac").touch()
    with pytest.raises(DuendeError, match="might be meant"):
        style_of(entry, tmp_path)
    (tmp_path / "cello.wav").touch()
    assert style_of(entry, tmp_path).name == "cello.wav"
    assert style_of(entry, tmp_path / "cello-two.flac").name == "cello-two.flac"
