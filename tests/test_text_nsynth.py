"""Data sets in NSynth's form: made, read, split by instrument, and hostile ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from duende import DuendeError
from duende.export.text.account import centroid_hz, fall_s, strong_harmonics
from duende.export.text.additive import EDGES, FLOOR_DB, TIMES, render
from duende.export.text.analysis import envelopes_of
from duende.export.text.envelope_code import decode, encode
from duende.export.text.nsynth import INDEX, check_sounds, make_nsynth, read_nsynth, summary
from duende.export.text.synthesis import Instrument, drawn_instruments
from duende.export.text.vocabulary import FAMILIES, QUALITIES, SOURCES

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("set") / "nsynth"
    make_nsynth(place, instruments=11, notes=2, seed=3)
    return place


def test_a_made_set_has_the_published_form_and_is_the_same_again(folder: Path, tmp_path: Path) -> None:
    data = read_nsynth(folder)
    assert len(data.notes) == 22
    assert not data.skipped
    index = json.loads((folder / INDEX).read_text())
    one = index[data.notes[0].name]
    assert data.notes[0].name == f"{one['instrument_str']}-{one['pitch']:03d}-{one['velocity']:03d}"
    assert [QUALITIES[place] for place, there in enumerate(one["qualities"]) if there] == one["qualities_str"]
    assert FAMILIES[one["instrument_family"]] == one["instrument_family_str"]
    assert data.notes[0].prompt.split()[0] in SOURCES
    audio, rate = data.notes[0].audio()
    assert (rate, len(audio)) == (16000, 64000)
    make_nsynth(tmp_path / "again", instruments=2, notes=2, seed=3)
    for path in (tmp_path / "again" / "audio").iterdir():
        assert path.read_bytes() == (folder / "audio" / path.name).read_bytes()
    with pytest.raises(DuendeError, match="another folder"):
        make_nsynth(folder)


def test_no_instrument_is_in_two_splits(folder: Path) -> None:
    data = read_nsynth(folder)
    splits: dict[str, set[str]] = {}
    for note in data.notes:
        splits.setdefault(note.instrument, set()).add(note.split)
    assert all(len(found) == 1 for found in splits.values())
    assert sum(len(data.part(split)) for split in ("train", "valid", "test")) == len(data.notes)
    assert dict(summary(data))["instruments"] == "11"


def test_corrupt_entries_are_named_counted_and_passed_over(tmp_path: Path) -> None:
    data = make_nsynth(tmp_path, instruments=4, notes=2, seed=5)
    index = json.loads((tmp_path / INDEX).read_text())
    names = [note.name for note in data.notes]
    (tmp_path / "audio" / f"{names[0]}.wav").unlink()
    (tmp_path / "audio" / f"{names[1]}.wav").write_bytes(b"RIFF and nothing more")
    soundfile.write(tmp_path / "audio" / f"{names[2]}.wav", np.zeros(64000), RATE)
    index[names[3]]["pitch"] = 1000
    index[names[4]]["instrument_family_str"] = "kazoo"
    index[names[5]] = ["no", "entry"]
    index["../../etc/passwd"] = dict(index[names[6]])
    (tmp_path / INDEX).write_text(json.dumps(index))
    checked = check_sounds(read_nsynth(tmp_path))
    assert [note.name for note in checked.notes] == names[6:]
    said = "\n".join(checked.skipped)
    assert len(checked.skipped) == 7
    for what in ("no such file", "not a readable", "silent", "pitch 1000", "'kazoo'", "not the name of a note"):
        assert what in said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": 1', "[" * 100_000, '{"a": {}}'])
def test_what_is_no_index_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(DuendeError, match=r"examples\.json"):
        read_nsynth(tmp_path)


def test_the_qualities_can_be_heard_in_the_synthesis() -> None:
    def played(*qualities: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return Instrument("acoustic", "keyboard", qualities, 7).play(57, 100, RATE)

    plain = played()
    assert centroid_hz(played("bright"), RATE) > 1.2 * centroid_hz(plain, RATE)
    assert centroid_hz(played("dark"), RATE) < 0.8 * centroid_hz(plain, RATE)
    assert fall_s(played("fast_decay"), RATE) < 0.4 * fall_s(plain, RATE)
    assert strong_harmonics(played("distortion"), RATE, 220.0) > strong_harmonics(plain, RATE, 220.0)
    assert np.array_equal(played("reverb"), played("reverb"))
    for one in drawn_instruments(200, 1, FAMILIES, SOURCES):
        assert not {"bright", "dark"} <= set(one.qualities)


def octaves(audio: np.ndarray[Any, Any], rate: int, lowest: float) -> list[float]:
    """Level of every octave while the note is held, dB."""
    power = np.abs(np.fft.rfft(audio[rate // 5 : 5 * rate // 2])) ** 2
    hz = np.linspace(0.0, 0.5 * rate, len(power))
    edges = lowest * 2.0 ** np.arange(7)
    return [10.0 * np.log10(power[(hz >= low) & (hz < 2.0 * low)].sum()) for low in edges]


def test_a_note_taken_apart_and_put_together_is_nearly_itself() -> None:
    for family in ("guitar", "flute"):
        audio = Instrument("acoustic", family, (), 4).play(57, 100, 32000)
        code = encode(envelopes_of(audio, 220.0, 32000))
        again = render(decode(code, -12.0), 220.0, 32000, 4.0, np.random.default_rng(1))
        again = again * np.sqrt(np.mean(audio**2) / np.mean(again**2))
        for start in (3200, 40000, 90000, 110000):
            piece, other = (np.sqrt(np.mean(one[start : start + 9600] ** 2)) + 1e-5 for one in (audio, again))
            assert abs(20.0 * np.log10(piece / other)) < 2.0
        wanted, found = (octaves(one, 32000, 155.0) for one in (audio, again))
        for one, other in zip(wanted, found, strict=True):
            assert abs(one - other) < 3.0 or max(one, other) < max(wanted) - 45.0


def test_partials_noise_and_traits_are_found_where_they_were_put() -> None:
    """Against a note of plain numpy: stiffness, vibrato, noise between the partials, a second pitch."""
    rng = np.random.default_rng(2)
    time = np.arange(4 * RATE) / RATE
    held = np.minimum(1.0, time / 0.01) * np.exp(-np.maximum(0.0, time - 3.0) * 30.0)
    cents = 30.0 * np.sin(2.0 * np.pi * 5.0 * time)
    phase = 2.0 * np.pi * 220.0 * np.cumsum(2.0 ** (cents / 1200.0)) / RATE
    bent = np.asarray(held * sum(0.3 / k * np.sin(k * phase) for k in range(1, 9)), np.float32)
    found = envelopes_of(bent, 220.0, RATE)
    assert found.vibrato[0] == pytest.approx(30.0, rel=0.2)
    assert found.vibrato[1] == pytest.approx(5.0, abs=0.3)
    assert found.second[1] < -40.0
    middle = np.searchsorted(TIMES, 1.5)
    for k in (1, 2, 4):
        assert found.harmonics[middle, k - 1] == pytest.approx(20.0 * np.log10(0.3 / k), abs=1.5)

    stiff = [k * 220.0 * np.sqrt(1.0 + 4e-4 * k**2) for k in range(1, 13)]
    struck = np.asarray(held * sum(0.2 * np.sin(2.0 * np.pi * hz * time) for hz in stiff), np.float32)
    found = envelopes_of(struck, 220.0 * 2.0 ** (8.0 / 1200.0), RATE)  # eight cents beside
    assert (10.0 + found.away[9]) / (1.0 + found.away[0]) == pytest.approx(stiff[9] / stiff[0], rel=2e-3)
    assert abs(found.away[0]) < 2e-3
    assert abs(found.vibrato[0]) < 2.0

    white = 10.0 ** (-50.0 / 20.0) * rng.standard_normal(len(time))
    tone = sum(0.2 * np.sin(2.0 * np.pi * 220.0 * k * time) for k in range(1, 13))
    found = envelopes_of(np.asarray(held * (tone + white), np.float32), 220.0, RATE)
    hearable = (EDGES[1:] < 7000.0) & (EDGES[:-1] > 300.0)
    share = np.diff(EDGES)[hearable] / 8000.0
    steady = (TIMES > 0.3) & (TIMES < 2.8)
    assert found.noise[steady].mean(axis=0)[hearable] == pytest.approx(-50.0 + 10.0 * np.log10(share), abs=5.0)

    both = [220.0 * k for k in range(1, 9)], [220.0 * 2.0 ** (4 / 12) * k for k in range(1, 9)]
    waves = [sum(0.2 / k * np.sin(2.0 * np.pi * hz * time + k) for k, hz in enumerate(every, 1)) for every in both]
    found = envelopes_of(np.asarray(held * (waves[0] + 0.5 * waves[1]), np.float32), 220.0, RATE)
    assert found.second[0] == pytest.approx(2.0 ** (4 / 12), rel=0.01)
    assert found.second[1] == pytest.approx(-6.0, abs=2.5)
    kept = decode(encode(found), -6.0)
    assert kept.second == pytest.approx(found.second, abs=0.01)
    assert kept.away == pytest.approx(np.where(np.abs(found.away) > 0.02, found.away, 0.0), abs=0.02)


def test_bars_have_their_own_partials_and_silence_has_none() -> None:
    time = np.arange(4 * RATE) / RATE
    bar = sum(g * np.exp(-3.0 * k * time) * np.sin(2.0 * np.pi * 300.0 * k * time) for k, g in ((1, 1), (2.76, 0.5)))
    found = envelopes_of(np.asarray(0.3 * bar, np.float32), 300.0, RATE)
    assert found.away[2] == pytest.approx(-0.24, abs=0.01)
    silence = envelopes_of(np.zeros(4 * RATE, np.float32), 300.0, RATE)
    assert silence.harmonics.max() == silence.noise.max() == FLOOR_DB
    played = render(silence, 300.0, RATE, 1.0, np.random.default_rng(1))
    assert not played.any()
