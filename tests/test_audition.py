"""Captures beside each other: aligned, as loud as each other, and in a page that needs nothing else."""

import base64
import hashlib
import html
import io
import re
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from captures import linear_nam, tiny_captures, write
from duende import DuendeError, __main__
from duende.export.captures.audition import LOUDEST, play_takes
from duende.export.captures.audition_page import check_page, render_page, write_audition
from duende.export.captures.described import describe
from duende.export.captures.heard import RATE, loudness_lufs
from duende.export.captures.install import import_capture
from duende.presets.captures import Captures
from duende.presets.library import HOME_VARIABLE
from signals import noise, picked_notes

Float32 = npt.NDArray[np.float32]


@pytest.fixture
def captures(tmp_path: Path) -> Captures:
    return tiny_captures(tmp_path / "home")


@pytest.fixture
def guitar(tmp_path: Path) -> Path:
    """Two seconds of plucked notes."""
    path = tmp_path / "guitar.wav"
    soundfile.write(path, 0.5 * picked_notes(2.0), RATE, subtype="FLOAT")
    return path


def test_takes_are_aligned_and_as_loud_as_each_other(captures: Captures, guitar: Path) -> None:
    told: list[float] = []
    takes = play_takes(guitar, captures.entries(), progress=told.append)
    assert [take.name for take in takes] == ["plain", "bent", "half", "knobby"]
    assert told == [pytest.approx(share) for share in (1 / 3, 2 / 3, 1.0)]
    plain, _, half, knobby = takes
    # Half the level, then brought to -18 dB from the -20 dB that its file says.
    assert np.abs(half.audio - 0.5 * 10**0.1 * plain.audio).max() <= 1e-6
    assert (plain.latency_samples, half.latency_samples) == (0, 0)
    assert knobby.latency_samples > 0
    # That one passes its input on beside what it makes of it: in time with the others, at another rate of its own.
    lags = range(-8, 9)
    middle = slice(RATE // 2, RATE)
    likeness = [float(np.dot(plain.audio[middle], np.roll(knobby.audio, lag)[middle])) for lag in lags]
    assert lags[int(np.argmax(likeness))] == 0
    assert [loudness_lufs(take.matched) for take in takes] == pytest.approx([plain.lufs + plain.gain_db] * 4, abs=0.05)
    peaks = [float(np.abs(take.matched).max()) for take in takes]
    assert max(peaks) == pytest.approx(LOUDEST, abs=1e-4)


def test_a_cabinet_may_stand_behind(captures: Captures, tmp_path: Path, rng: np.random.Generator) -> None:
    """It takes the treble away."""
    guitar = tmp_path / "noise.wav"
    soundfile.write(guitar, noise(rng, RATE), RATE)
    files = {"half": captures.find("half")}
    alone, behind = (play_takes(guitar, files, cabinet, 1.0)[1].audio for cabinet in (None, ("4x12", None)))
    assert len(alone) == len(behind) == RATE
    spectra = [np.abs(np.fft.rfft(audio)) ** 2 for audio in (alone, behind)]
    shares = [float(power[10000:].sum() / power.sum()) for power in spectra]
    assert shares[1] < 0.1 * shares[0]


def test_what_cannot_be_compared_is_refused(captures: Captures, guitar: Path, tmp_path: Path) -> None:
    import_capture(write(tmp_path / "silent.nam", linear_nam([0.0])), captures)
    one = {"half": captures.find("half")}
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "short.wav", np.full(RATE // 2, 0.5), RATE)
    for source, files, seconds, message in (
        (guitar, {}, 2.0, "0 captures: 1 to 9"),
        (guitar, {f"a{n}": one["half"] for n in range(10)}, 2.0, "10 captures: 1 to 9"),
        (guitar, one, 0.5, "0.5 s is out of range: 1 to 60"),
        (guitar, one | {"silent": captures.find("silent")}, 2.0, "silent: silent for all of this recording"),
        (guitar, {"gone": tmp_path / "gone.onnx"}, 2.0, r"gone\.onnx"),
        (tmp_path / "silence.wav", one, 2.0, r"silence\.wav: silent"),
        (tmp_path / "short.wav", one, 2.0, "0.50 s long; an audition needs 1 to"),
        (tmp_path / "none.wav", one, 2.0, "no such file"),
    ):
        with pytest.raises(DuendeError, match=message):
            play_takes(source, files, None, seconds)
    for name, message in (("page.txt", "must end in .html"), ("guitar.html", "there is a file .*--force")):
        (tmp_path / "guitar.html").write_text("mine")
        with pytest.raises(DuendeError, match=message):
            check_page(tmp_path / name)
    check_page(tmp_path / "guitar.html", force=True)


def sound(url: str) -> Float32:
    """The samples that an address holds."""
    kind, data = url.split(",")
    assert kind == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == RATE
    return np.asarray(samples)


def test_the_page_holds_all_that_it_needs(captures: Captures, guitar: Path, tmp_path: Path) -> None:
    takes = play_takes(guitar, captures.entries())
    described = {name: describe(name, path) for name, path in captures.entries().items()}
    write_audition(tmp_path / "page.html", "a <b> & c", takes, described)
    text = (tmp_path / "page.html").read_text()
    assert "<title>a &lt;b&gt; &amp; c</title>" in text
    urls = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(url.startswith("data:") for url in urls)
    assert "://" not in text
    found = re.findall(r'<audio [^>]*aria-label="([^"]*)" src="([^"]*)"', text)
    assert [name for name, _ in found] == [take.name for take in takes]
    for take, (_, url) in zip(takes, found, strict=True):
        assert np.abs(sound(url) - take.matched).max() <= 1.0 / 32768.0
    # One script may run, and it is the one that stands there.
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    for name, one in described.items():
        assert html.escape(one.licence) in text
        assert f"<th>{name}</th>" in text
    assert "44100 Hz is assumed" in text


def test_what_a_file_says_is_text_in_the_page(captures: Captures, guitar: Path, tmp_path: Path) -> None:
    about = {"gear_make": "<script>alert(1)</script>", "tone_type": '"><img src=x>'}
    import_capture(write(tmp_path / "odd.nam", linear_nam([0.5], metadata=about)), captures)
    path = captures.find("odd")
    text = render_page("odd", play_takes(guitar, {"odd": path}), {"odd": describe("odd", path)})
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<img src=x>" not in text


def test_without_matplotlib_there_is_a_page_without_pictures(
    captures: Captures, guitar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = play_takes(guitar, {"half": captures.find("half")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = render_page("plain", takes, {})
    assert "Spectrograms" not in text
    assert text.count("<audio") == 2


def test_the_command_line(
    captures: Captures,
    guitar: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    page = tmp_path / "page.html"

    def duende(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["duende", "captures", "audition", *map(str, words)])
        status = 0
        try:
            __main__.main()
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    status, said, wrong = duende(guitar, "half", "bent", "--cabinet", "4x12", "--seconds", 1, "--output", page)
    assert (status, wrong) == (0, "")
    assert [line.split(":")[0] for line in said.splitlines()[:3]] == ["plain", "half", "bent"]
    assert said.splitlines()[3] == f"wrote {page}"
    assert "guitar.wav through 2 captures and 4x12" in page.read_text()
    before = page.read_bytes()
    status, _, wrong = duende(guitar, "half", "--output", page)
    assert status == 1
    assert "--force" in wrong
    status, _, wrong = duende(guitar, "half", "nobody", "--output", page, "--force")
    assert (status, wrong) == (1, "duende: no capture 'nobody'; there are: bent, half, knobby\n")
    assert page.read_bytes() == before
