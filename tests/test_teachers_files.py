"""A transfer between files: any kind in, a whole sound with its origin, a picture and a record out, or one line."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from duende import DuendeError
from duende.export.provenance import read_provenance
from duende.export.sounds import load_channels, load_sound
from duende.export.teachers.files import StyleFile, measured_pair, transfer_file
from duende.export.teachers.teacher import Step
from duende.export.teachers.transfer import Choice, Options
from signals import noise, snr_db, tone
from systems import RATE, PlainSettings, PlainSystem

Float32 = npt.NDArray[np.float32]

PLAIN = Choice(PlainSystem(), "faithful", PlainSettings())


def playing(rng: np.random.Generator, seconds: float = 1.2, rate: int = RATE) -> Float32:
    """A decaying note."""
    frames = round(seconds * rate)
    return np.asarray(
        tone(220.0, frames, rate_hz=rate) * np.exp(-2.0 * np.arange(frames) / rate)
        + noise(rng, frames, level_dbfs=-60.0),
        dtype=np.float32,
    )


@pytest.fixture
def pair(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, StyleFile]:
    pytest.importorskip("matplotlib")
    soundfile.write(tmp_path / "content.wav", playing(rng), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "style.ogg", np.float32(0.05) * noise(rng, 2 * RATE), RATE)
    return tmp_path / "content.wav", StyleFile(tmp_path / "style.ogg")


@pytest.mark.parametrize(("ending", "rate", "channels"), [("wav", 48000, 2), ("flac", 44100, 1), ("aiff", 8000, 3)])
def test_files_of_any_kind(
    tmp_path: Path,
    rng: np.random.Generator,
    pair: tuple[Path, StyleFile],
    ending: str,
    rate: int,
    channels: int,
) -> None:
    content, target = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    soundfile.write(content, np.repeat(playing(rng, 1.2, rate)[:, None], channels, axis=1), rate)
    told: list[str] = []
    found = transfer_file(content, [pair[1]], target, PLAIN, measure=False, note=told.append)
    assert found.notices == told
    assert told[0] == "plain:faithful: about 1 s and 2 MB"
    audio, written = soundfile.read(target, dtype="float32")
    assert written == RATE
    assert abs(len(audio) - round(1.2 * RATE)) <= 1
    assert snr_db(found.transferred.audio, audio) > 80.0
    assert found.picture.read_bytes().startswith(b"\x89PNG")
    names = ["content.wav", "style.ogg", content.name, target.name, "out.png", "out.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_the_record_says_all_that_decides_the_sound(pair: tuple[Path, StyleFile], tmp_path: Path) -> None:
    options = Options(seed=7, stereo="linked")
    choice = Choice(PlainSystem(), "repaired", PlainSettings(gain=0.5))
    found = transfer_file(pair[0], [pair[1]], tmp_path / "out.wav", choice, options, measure=False, licence="CC0")
    record = json.loads(found.record.read_text())
    assert record["teacher"] == "plain"
    assert record["form"] == "repaired"
    assert record["settings"]["gain"] == 0.5
    assert record["options"]["seed"] == 7
    assert record["options"]["stereo"] == "linked"
    assert [source["name"] for source in record["sources"]] == ["content.wav", "style.ogg"]
    assert all(len(source["sha256"]) == 64 for source in record["sources"])
    assert record["history"]["iteration"] == [0, 1, 2, 3]
    assert record["history"]["errors"]["content"] == [1.0, 0.5, 0.25, 0.125]
    assert record["details"] == {"jobs": 1}
    assert "the content has 1 channel, not two: made in mono" in record["notices"]
    origin = read_provenance(found.sound)
    assert origin is not None
    assert (origin.system, origin.seed, origin.licence) == ("plain:repaired", 7, "CC0")
    assert origin.sources[0].sha256 == record["sources"][0]["sha256"]


@pytest.mark.train
def test_measures_stand_in_the_record(pair: tuple[Path, StyleFile], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = transfer_file(pair[0], [pair[1]], tmp_path / "out.wav", PLAIN)
    rows = json.loads(found.record.read_text())["measures"]
    assert rows == found.measures
    assert {"untouched input", "matched EQ", "floor", "result", "style clip"} <= set(rows)
    # What was not changed measures like the content: both are brought to 48 kHz by themselves.
    assert rows["result"]["chroma"] > 0.99
    assert rows["result"]["style_ratio"] == pytest.approx(rows["untouched input"]["style_ratio"], rel=0.05)
    assert rows["result"]["centroid_hz"] == pytest.approx(rows["untouched input"]["centroid_hz"], rel=0.05)
    assert rows["result"]["mfcc_distance"] > 1.0


@pytest.mark.train
def test_what_cannot_be_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    short, told = np.ones(100, dtype=np.float32), list[str]()
    assert measured_pair(short, short, {"result": short}, told.append) == {}
    assert told[0].startswith("not measured: ")
    monkeypatch.setitem(sys.modules, "duende.export.measures", None)
    assert measured_pair(short, short, {"result": short}, told.append) == {}
    assert "pip install 'duende[train]'" in told[1]


def test_a_stereo_file_stays_stereo_where_it_is_asked(
    tmp_path: Path, rng: np.random.Generator, pair: tuple[Path, StyleFile]
) -> None:
    sides = np.stack([playing(rng), 0.2 * playing(rng)], axis=1)
    soundfile.write(tmp_path / "wide.wav", sides, RATE)
    target = tmp_path / "out.wav"
    transfer_file(tmp_path / "wide.wav", [pair[1]], target, PLAIN, Options(stereo="linked"), measure=False)
    assert snr_db(sides, soundfile.read(target, dtype="float32")[0]) > 60.0


def test_another_rate_where_it_is_asked(pair: tuple[Path, StyleFile], tmp_path: Path) -> None:
    found = transfer_file(pair[0], [pair[1]], tmp_path / "out.wav", PLAIN, rate=44100, measure=False)
    audio, rate = soundfile.read(found.sound)
    assert rate == 44100
    assert abs(len(audio) - round(1.2 * 44100)) <= 2
    assert not any("--rate makes another" in line for line in found.notices)
    for ending, wanted, message in (
        ("wav", 100, "rate 100 is out of range: 8000"),
        ("mp3", 50000, "mp3 knows no 50000"),
    ):
        with pytest.raises(DuendeError, match=message):
            transfer_file(pair[0], [pair[1]], tmp_path / f"x.{ending}", PLAIN, rate=wanted)


def test_a_result_over_full_scale_is_made_quieter_and_says_so(pair: tuple[Path, StyleFile], tmp_path: Path) -> None:
    loud = Choice(PlainSystem(), "faithful", PlainSettings(gain=8.0))
    found = transfer_file(pair[0], [pair[1]], tmp_path / "out.wav", loud, measure=False)
    assert any("quieter, or it would clip" in line for line in found.notices)
    assert np.abs(soundfile.read(found.sound)[0]).max() == pytest.approx(0.99, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.wav", "no such file"),
        ("text.wav", "not a readable sound file"),
        ("short.wav", r"0\.50 s long; a (transfer|style) needs 1 to (1800|300) s"),
        ("silent.wav", r"silent \(-200 dBFS\)"),
        ("broken.wav", "not numbers"),
    ],
)
@pytest.mark.parametrize("place", ["content", "style"])
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, rng: np.random.Generator, name: str, message: str, place: str
) -> None:
    good, broken = playing(rng), playing(rng)
    broken[100] = np.inf
    (tmp_path / "text.wav").write_text("no sound\n")
    for file, sound in (("good", good), ("short", good[: RATE // 2]), ("silent", 0.0 * good), ("broken", broken)):
        soundfile.write(tmp_path / f"{file}.wav", sound, RATE, subtype="FLOAT")
    paths = {"content": tmp_path / "good.wav", "style": tmp_path / "good.wav", place: tmp_path / name}
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DuendeError, match=message) as caught:
        transfer_file(paths["content"], [StyleFile(paths["style"])], tmp_path / "out.wav", PLAIN)
    assert "\n" not in str(caught.value)
    assert str(paths[place]) in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_target_that_cannot_be_written_costs_no_work(tmp_path: Path, pair: tuple[Path, StyleFile]) -> None:
    for target, message in (
        (tmp_path / "out.xyz", "cannot write .xyz: use .wav"),
        (tmp_path / "no" / "out.wav", "no such folder"),
        (tmp_path / "out", "a file without an ending"),
        (pair[0], "is what is to be read"),
        (pair[1].path, "is what is to be read"),
    ):
        system = PlainSystem()
        with pytest.raises(DuendeError, match=message):
            transfer_file(pair[0], [pair[1]], target, Choice(system, "faithful", PlainSettings()))
        assert system.jobs == []


def test_a_transfer_that_fails_leaves_nothing(tmp_path: Path, pair: tuple[Path, StyleFile]) -> None:
    def fail(job: Any) -> Float32:
        raise DuendeError("no memory")

    before = sorted(tmp_path.iterdir())
    with pytest.raises(DuendeError, match="no memory"):
        transfer_file(pair[0], [pair[1]], tmp_path / "out.wav", Choice(PlainSystem(fail), "faithful", PlainSettings()))
    assert sorted(tmp_path.iterdir()) == before


def test_matplotlib_is_asked_for_before_the_work(
    tmp_path: Path, pair: tuple[Path, StyleFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    told: list[Step] = []
    with pytest.raises(DuendeError, match="needs matplotlib: pip install"):
        transfer_file(pair[0], [pair[1]], tmp_path / "out.wav", PLAIN, report=lambda told_: told.append(told_.step))
    assert told == []


def test_the_first_part_of_a_long_file(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.repeat(noise(rng, 121 * 8000, level_dbfs=-20.0)[:, None], 2, axis=1), 8000)
    with pytest.raises(DuendeError, match=r"121\.00 s long"):
        load_sound(path, RATE, longest_s=120.0)
    assert load_sound(path, RATE, samples=3 * RATE).shape == (3 * RATE,)
    assert load_channels(path, RATE, samples=3 * RATE).shape == (3 * RATE, 2)
