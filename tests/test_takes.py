"""Takes: what can be judged is read and cut to size, the rest is left out and said."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from duende import DuendeError
from duende.export.takes import judged_stretch, load_takes, loudest_stretch, quiet_stretch
from signals import bright_clip, noise, picked_notes, resting_guitar

Float32 = npt.NDArray[np.float32]

RATE = 48000


@pytest.fixture(scope="module")
def clip() -> Float32:
    return bright_clip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "guitars"
    path.mkdir()
    soundfile.write(path / "riff.wav", picked_notes(2.2), RATE)
    return path


def test_quiet_and_loud_stretches() -> None:
    rest, loud = resting_guitar(3.0), picked_notes(9.0)
    whole = np.concatenate([0.5 * picked_notes(3.0), rest, loud, np.zeros(4 * RATE, dtype=np.float32)])
    found = quiet_stretch(whole, RATE)
    assert found is not None
    assert len(found) == 2 * RATE
    assert 10.0 * np.log10(np.mean(found.astype(np.float64) ** 2)) == pytest.approx(-60.0, abs=0.3)
    assert quiet_stretch(loud, RATE) is None
    assert quiet_stretch(np.zeros(4 * RATE, dtype=np.float32), RATE) is None
    # A pluck in the middle of the rest is playing, be the mean as low as it may.
    plucked = resting_guitar(2.4)
    plucked[RATE : RATE + 2400] += noise(np.random.default_rng(2), 2400, level_dbfs=-38.0)
    assert quiet_stretch(plucked, RATE) is None
    loudest = judged_stretch(whole, RATE)
    starts = range(0, len(whole) - 8 * RATE, RATE // 4)
    energies = [np.sum(whole[start : start + 8 * RATE].astype(np.float64) ** 2) for start in starts]
    assert np.array_equal(loudest, whole[starts[int(np.argmax(energies))] :][: 8 * RATE])
    assert judged_stretch(loud, RATE) is loud
    assert len(loudest_stretch(loud, 3.0, RATE)) == 3 * RATE


def test_takes_are_mixed_converted_and_what_cannot_be_judged_is_left_out(folder: Path, clip: Float32) -> None:
    soundfile.write(
        folder / "stereo.flac", np.stack([picked_notes(2.5, 1), picked_notes(2.5, 2)], axis=1)[::2], RATE // 2
    )
    soundfile.write(folder / "short.wav", picked_notes(1.0), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(3 * RATE), RATE)
    soundfile.write(folder / "clip.wav", 0.3 * clip, RATE)
    broken = np.zeros(3 * RATE, dtype=np.float32)
    broken[100] = np.nan
    soundfile.write(folder / "broken.wav", broken, RATE, subtype="FLOAT")
    takes, notices = load_takes(folder, clip, RATE)
    assert list(takes) == ["riff", "stereo"]
    assert len(takes["stereo"]) == pytest.approx(2.5 * RATE, abs=2)
    assert notices == [
        "broken.wav: holds samples that are not numbers, left out",
        "clip.wav: is the style clip itself, or cut from it; give guitar recordings that the style was not made from,"
        " left out",
        "short.wav: 1.00 s long, at least 2 s are needed, left out",
        "silent.wav: silent (-240 dBFS, above -70 is needed), left out",
    ]
    alone, none = load_takes(folder / "riff.wav", clip, RATE)
    assert list(alone) == ["riff"]
    assert none == []


def test_an_excerpt_of_the_clip_is_recognised(tmp_path: Path) -> None:
    song, other = picked_notes(6.0, 1), picked_notes(6.0, 2)
    soundfile.write(tmp_path / "cut.wav", 0.4 * song[70000:190000], RATE)
    with pytest.raises(DuendeError, match=r"no guitar to evaluate with: cut\.wav: is the style clip itself"):
        load_takes(tmp_path, song, RATE)
    assert list(load_takes(tmp_path, other, RATE)[0]) == ["cut"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "no such folder of guitar recordings"),
        ([], "no sound files"),
        (["text"], r"a\.wav: not a readable sound file$"),
        (["text", "short"], r"a\.wav: not a readable sound file \(and 1 more left out\)$"),
    ],
)
def test_folders_without_a_take_are_one_line(
    tmp_path: Path, clip: Float32, files: list[str] | None, words: str
) -> None:
    path = tmp_path / "takes"
    if files is not None:
        path.mkdir()
        if "text" in files:
            (path / "a.wav").write_text("no sound")
        if "short" in files:
            soundfile.write(path / "b.wav", picked_notes(0.5), RATE)
    with pytest.raises(DuendeError, match=words) as caught:
        load_takes(path, clip, RATE)
    assert "\n" not in str(caught.value)
