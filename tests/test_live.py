"""`duende live` on JACK's dummy driver: what is played in comes out as `render` makes it, as late as it says."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from duende.engine.preset import load_rig
from duende.engine.render import render_array
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import Library
from jackd import Server
from models import MIXED, tiny_model, tiny_weights

Float32 = npt.NDArray[np.float32]

RATE, PERIOD = 48000, 256
QUIET = ("dry@1", "soft@1", "hard@1", "rect@1")
ATTEMPTS = 6

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server(f"duende-test-{os.getpid()}", PERIOD)
    running.start()
    before = {key: os.environ.get(key) for key in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER")}
    os.environ.update({key: running.environment[key] for key in before})
    yield running
    for key, value in before.items():
        if value is None:
            del os.environ[key]
        else:
            os.environ[key] = value
    running.stop()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A library: `wire` has no slot, `style` a tiny model without noise, `sides` that and a cabinet with two sides."""
    own = tmp_path / "home"
    library = Library(own / "presets", own / "none")
    levels = tuple(MIXED[index] for index in (0, 2, 3, 4))
    weights = tiny_weights(excitations=len(QUIET), levels=levels)
    model = tiny_model(tmp_path, weights, excitations=QUIET)
    library.save("wire", Preset(FORMAT, "wire", []), {})
    style = Preset(FORMAT, "style", [SlotPreset("style", "style.onnx")])
    library.save("style", style, {"style.onnx": model.path.read_bytes()})
    taps = np.zeros((200, 2))
    taps[0, 0], taps[30, 1] = 1.0, 0.6
    soundfile.write(tmp_path / "two.wav", taps, RATE, subtype="FLOAT")
    slots = [SlotPreset("style", "style.onnx"), SlotPreset("cabinet", "two.wav")]
    files = {"style.onnx": model.path.read_bytes(), "two.wav": (tmp_path / "two.wav").read_bytes()}
    library.save("sides", Preset(FORMAT, "sides", slots), files)
    return own


class Player:
    """A JACK client that plays samples [n, inputs] into as many ports and records two others, noting xruns."""

    def __init__(self, samples: Float32, lead: int) -> None:
        import jack

        self._samples = np.concatenate([np.zeros((lead, samples.shape[1]), dtype=np.float32), samples])
        self.recorded = np.zeros((len(self._samples) + RATE, 2), dtype=np.float32)
        self.xruns = 0
        self._at = 0
        self.done = threading.Event()
        self.client = jack.Client("player", no_start_server=True)
        self.sources = [self.client.outports.register(f"out{side}") for side in range(samples.shape[1])]
        self.sinks = [self.client.inports.register(f"in{side}") for side in range(2)]
        self.client.set_process_callback(self._process)
        self.client.set_xrun_callback(self._xrun)

    def _xrun(self, delay: float) -> None:
        self.xruns += 1

    def _process(self, frames: int) -> None:
        at = self._at
        part = self._samples[at : at + frames]
        for side, source in enumerate(self.sources):
            out = source.get_array()
            out.fill(0.0)
            out[: len(part)] = part[:, side]
        for side, sink in enumerate(self.sinks):
            heard = sink.get_array()[: max(0, len(self.recorded) - at)]
            self.recorded[at : at + len(heard), side] = heard
        self._at = at + frames
        if self._at >= len(self.recorded):
            self.done.set()


def play(server: Server, home: Path, preset: str, samples: Float32) -> tuple[Float32, str, int]:
    """What `duende live` makes of samples [n, inputs], its last words, and how many xruns the server told of."""
    environment = server.environment | {"DUENDE_HOME": str(home)}
    channels = "wide" if samples.shape[1] == 1 else "stereo"
    command = [sys.executable, "-m", "duende", "live", "--preset", preset, "--block", str(PERIOD)]
    command += ["--channels", channels]
    program = subprocess.Popen(
        [*command, "--input", "system", "--output", "system"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("playing"):
                break
        player = Player(samples, lead=RATE // 2 // PERIOD * PERIOD)
        client = player.client
        with client:
            _connect(client, player)
            assert player.done.wait(60.0)
        program.terminate()
        words, _ = program.communicate(timeout=10)
        assert program.returncode == 0, words
        return player.recorded, words, player.xruns
    finally:
        program.kill()
        program.wait()


def _connect(client: "object", player: Player) -> None:
    """Put the player in the place of the dummy driver's capture and beside its playback."""
    import jack

    assert isinstance(client, jack.Client)
    until = time.monotonic() + 10.0
    while not (inputs := client.get_ports("PortAudio.*", is_audio=True, is_input=True)):
        assert time.monotonic() < until, "PortAudio's ports did not appear"
        time.sleep(0.05)
    outputs = client.get_ports("PortAudio.*", is_audio=True, is_output=True)
    for port in inputs:
        for source in client.get_all_connections(port):
            client.disconnect(source, port)
    assert len(inputs) == len(player.sources)
    for ours, theirs in zip(player.sources, inputs, strict=True):
        client.connect(ours, theirs)
    for theirs, ours in zip(outputs, player.sinks, strict=True):
        client.connect(theirs, ours)


def shift(recorded: Float32, wanted: Float32) -> int:
    """By how many samples `wanted` is late in `recorded`."""
    size = 1 << (len(recorded) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(wanted, size)), size)
    return int(np.argmax(product[: len(recorded)]))


def plucks(seconds: float) -> Float32:
    """Decaying tones, then silence: something that a delay can be read from."""
    rng = np.random.default_rng(3)
    time_s = np.arange(int(seconds * RATE)) / RATE
    starts = np.arange(0.0, seconds - 0.4, 0.25)
    sound = np.zeros_like(time_s)
    for start, hz in zip(starts, rng.uniform(100.0, 700.0, len(starts)), strict=True):
        since = np.maximum(time_s - start, 0.0)
        sound += (time_s >= start) * np.exp(-8.0 * since) * np.sin(2.0 * np.pi * hz * since)
    return np.asarray(0.2 * sound, dtype=np.float32)


def heard(server: Server, home: Path, preset: str, samples: Float32, wanted: Float32, error: float) -> int:
    """By how many samples live playing is late behind `wanted` [n, 2], once it equals it.

    The machine may need several attempts; one that differs must have flagged an xrun.
    """
    told = []
    for _ in range(ATTEMPTS):
        recorded, words, xruns = play(server, home, preset, samples)
        late = shift(recorded[:, 0], wanted[:, 0])
        worst = float(np.abs(recorded[late : late + len(wanted)] - wanted).max())
        if worst <= error:
            return late
        told.append(f"{worst:.2g} off, {xruns} xruns told by the server; {words.strip().splitlines()[-1]}")
        assert xruns or "0 input and 0 output xruns" not in words, told
    raise AssertionError(f"no attempt without an xrun in its course: {told}")


def test_live_equals_render_and_is_as_late_as_it_says(server: Server, home: Path) -> None:
    samples = plucks(2.0)[:, None]
    rig = load_rig(Library(home / "presets", home / "none").find("style"))
    wanted = render_array(rig, samples, RATE)[: len(samples)]
    rig.chain.prepare(RATE, PERIOD, PERIOD)
    promised = rig.chain.latency.samples
    wire = heard(server, home, "wire", samples, np.repeat(samples, 2, axis=1), error=1e-6)
    style = heard(server, home, "style", samples, np.repeat(wanted, 2, axis=1), error=1e-5)
    assert style - wire == promised == 128


@pytest.mark.parametrize("inputs", [1, 2])
def test_stereo_equals_render(inputs: int, server: Server, home: Path) -> None:
    one = plucks(2.0)
    samples = np.stack([one, 0.5 * np.roll(one, 4000)], axis=1)[:, :inputs]
    rig = load_rig(Library(home / "presets", home / "none").find("sides"))
    wanted = render_array(rig, samples, RATE, outputs=2)[: len(samples)]
    assert np.abs(wanted[:, 0] - wanted[:, 1]).max() > 0.05
    heard(server, home, "sides", samples, wanted, error=1e-5)


def test_a_device_that_is_not_there_is_one_line(server: Server, home: Path) -> None:
    environment = server.environment | {"DUENDE_HOME": str(home)}
    result = subprocess.run(
        [sys.executable, "-m", "duende", "live", "--preset", "wire", "--input", "no such device"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "no such device" in result.stderr


def test_the_rate_of_the_server_is_said_when_another_is_asked(server: Server, home: Path) -> None:
    environment = server.environment | {"DUENDE_HOME": str(home)}
    result = subprocess.run(
        [sys.executable, "-m", "duende", "live", "--preset", "wire", "--rate", "44100", "--input", "system"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert "44100" in result.stderr
    assert result.stderr.startswith("duende: ")
