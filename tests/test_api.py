"""The Python API: its examples run, it does what the command line does, and importing it costs nothing."""

import base64
import doctest
import inspect
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import duende
from duende import DuendeError
from duende.engine.control.instances import instances
from duende.engine.preset import load_rig
from duende.engine.render import render_file
from duende.export import api
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import HOME_VARIABLE, Library
from jackd import Server
from sessions import tiny_library
from signals import tone

RATE = 48000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A player's folder with `solo` and `wire`, and `sides`, which makes two sides of one."""
    folder = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(folder))
    library = tiny_library(folder)
    taps = np.zeros((200, 2))
    taps[0, 0], taps[30, 1] = 1.0, 0.6
    soundfile.write(tmp_path / "two.wav", taps, RATE, subtype="FLOAT")
    sides = Preset(FORMAT, "sides", [SlotPreset("cabinet", "two.wav")])
    library.save("sides", sides, {"two.wav": (tmp_path / "two.wav").read_bytes()})
    return folder


def test_the_examples_run() -> None:
    found = doctest.DocTestFinder().find(api, "duende.export.api", globs={"duende": duende})
    results = [doctest.DocTestRunner().run(one) for one in found]
    assert sum(result.attempted for result in results) >= 5
    assert sum(result.failed for result in results) == 0


def test_importing_the_package_imports_nothing_of_it() -> None:
    command = "import sys, duende; print([name for name in sys.modules if name.split('.')[0] in {'duende', 'numpy'}])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['duende']"


def test_the_api_needs_no_torch() -> None:
    command = "import sys, duende; duende.render; duende.Host; duende.forge; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_there_is_and_what_is_not() -> None:
    assert {"render", "Host", "forge", "Sound"} <= set(dir(duende))
    with pytest.raises(AttributeError, match="no attribute 'rendr'"):
        _ = duende.rendr
    for name in duende.__all__:
        one = getattr(duende, name)
        assert isinstance(one, str) or inspect.getdoc(one)


def test_samples_and_files_come_out_as_the_command_line_writes_them(home: Path, tmp_path: Path) -> None:
    samples = tone(220.0, 14400)
    soundfile.write(tmp_path / "in.wav", samples, RATE, subtype="FLOAT")
    report = render_file(
        load_rig(Library().find("solo"), values={"amount": 0.5}), tmp_path / "in.wav", tmp_path / "out.wav"
    )
    wanted, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    for played in (
        duende.render(samples, "solo", sample_rate=RATE, amount=0.5),
        duende.render(tmp_path / "in.wav", "solo", values={"amount": 0.5}),
        duende.render(str(tmp_path / "in.wav"), "solo", amount=0.5),
    ):
        assert played.samples.shape == (report.frames,)
        # A file of 24 bits.
        np.testing.assert_allclose(played.samples, wanted, atol=2.0**-23)
        assert played.sample_rate == RATE
    quiet = duende.render(samples, "solo", sample_rate=RATE, amount=0.0)
    assert np.abs(quiet.samples - played.samples).max() > 1e-3


def test_one_side_becomes_two_where_the_preset_makes_two(home: Path) -> None:
    samples = tone(220.0, 4800)
    played = duende.render(samples, "sides", sample_rate=RATE)
    assert played.samples.ndim == 2
    assert np.abs(played.samples[:, 0] - played.samples[:, 1]).max() > 0.01
    both = duende.render(np.stack([samples, -samples], axis=1), "wire", sample_rate=RATE)
    np.testing.assert_allclose(both.samples[: len(samples)], np.stack([samples, -samples], axis=1), atol=1e-5)


def test_other_rates_are_converted_and_said(home: Path, tmp_path: Path) -> None:
    samples = tone(220.0, 6615, rate_hz=22050)
    played = duende.render(samples, "wire", sample_rate=22050)
    assert played.sample_rate == RATE
    assert played.seconds == pytest.approx(0.3, abs=0.01)
    assert played.notices == ["22050 Hz is converted to 48000 Hz"]
    soundfile.write(tmp_path / "in.wav", samples, 22050)
    assert duende.render(tmp_path / "in.wav", "wire").notices == ["in.wav: 22050 Hz is converted to 48000 Hz"]


@pytest.mark.parametrize(
    ("samples", "options", "line"),
    [
        (np.zeros(9), {}, "say sample_rate=48000"),
        (np.zeros(9), {"sample_rate": 10}, "sample_rate = 10 Hz is out of range: 4000 to 768000"),
        (np.zeros((9, 3)), {"sample_rate": RATE}, r"shape \(9, 3\)"),
        (np.zeros(0), {"sample_rate": RATE}, r"shape \(0,\)"),
        (np.zeros(9, dtype=np.int16), {"sample_rate": RATE}, "type int16"),
        (np.full(9, np.nan), {"sample_rate": RATE}, "not numbers"),
        (np.zeros(9), {"sample_rate": RATE, "channel": 1}, "channel: only for files"),
        (np.zeros(9), {"sample_rate": RATE, "amount": 2.0}, "amount = 2 is out of range"),
        ("nowhere.wav", {}, "nowhere.wav: no such file"),
        ("nowhere.wav", {"sample_rate": RATE}, "a file knows its own"),
    ],
)
def test_what_cannot_be_rendered_is_one_line(home: Path, samples: object, options: dict[str, float], line: str) -> None:
    with pytest.raises(DuendeError, match=line):
        duende.render(samples, "solo", **options)  # type: ignore[arg-type]


def test_a_sound_plays_in_a_notebook_and_is_saved(tmp_path: Path) -> None:
    sound = duende.Sound(tone(220.0, 4800), RATE)
    assert repr(sound) == "<Sound: 0.10 s, 48000 Hz, mono>"
    _, _, data = sound._repr_html_().partition("base64,")
    shown, rate = soundfile.read(io.BytesIO(base64.b64decode(data.partition('"')[0])))
    assert rate == RATE
    np.testing.assert_allclose(shown, sound.samples, atol=1e-4)
    assert soundfile.info(sound.save(tmp_path / "out.flac")).frames == len(sound.samples)
    with pytest.raises(DuendeError, match=r"cannot write \.xyz"):
        sound.save(tmp_path / "out.xyz")


@pytest.mark.train
def test_forging_refuses_before_it_begins(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    soundfile.write(tmp_path / "short.wav", np.zeros(100), RATE)
    with pytest.raises(DuendeError, match=r"short\.wav"):
        duende.forge(tmp_path / "short.wav", "new")
    with pytest.raises(DuendeError, match="'solo' already"):
        duende.forge([tmp_path / "short.wav"], "solo")


def test_forging_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "duende.export.forge", raising=False)
    with pytest.raises(DuendeError, match=r"pip install 'duende\[train\]'"):
        duende.forge("a.wav", "new")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server(f"duende-api-{os.getpid()}", 128)
    running.start()
    for name in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER"):
        monkeypatch.setenv(name, running.environment[name])
    yield running
    running.stop()


def gone(pid: int) -> bool:
    until = time.monotonic() + 10.0
    while time.monotonic() < until:
        if pid not in {info.pid for info in instances()}:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.live
def test_a_host_plays_is_controlled_and_ends(home: Path, server: Server) -> None:
    with duende.Host("solo", input="system") as host:
        host.set("amount", 0.25)
        assert host.get("amount") == 0.25
        assert host.get("preset/current") == "solo"
        assert {"solo", "duo", "wire"} <= set(host.presets())
        host.load("duo")
        assert host.status()["preset/current"][0] == "duo"
        with pytest.raises(DuendeError, match="no preset 'nobody'"):
            host.load("nobody")
        with pytest.raises(DuendeError, match="nothing to set it to"):
            host.set("amount")
        other = duende.Host.connect(host.info.osc_port)
        assert other.get("amount") == host.get("amount")
        other.close()
        assert host.get("mix") == 1.0
    assert gone(host.info.pid)
    assert not (home / "settings.toml").exists()


@pytest.mark.live
def test_a_host_that_cannot_begin_says_why(home: Path, server: Server) -> None:
    with pytest.raises(DuendeError, match="no preset 'nobody'"):
        duende.Host("nobody")
    with pytest.raises(DuendeError, match="no input device matches 'no such device'"):
        duende.Host("solo", input="no such device")


OWNER = """
import os, duende
host = duende.Host("wire", input="system")
print(host.info.pid, flush=True)
os._exit(1)
"""


@pytest.mark.live
def test_a_host_ends_with_its_program(home: Path, server: Server) -> None:
    done = subprocess.run([sys.executable, "-c", OWNER], capture_output=True, text=True, check=False)
    assert gone(int(done.stdout)), done.stderr
