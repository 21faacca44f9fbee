"""Recording: what comes in lies in the file to the last bit of 24, and no mishap takes away what was recorded."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from duende import DuendeError
from duende.engine import record as module
from duende.engine.device import ArrayDevice, Callback
from duende.engine.record import LOST, Meter, Recorder, record
from jackd import Server
from memory import measure
from signals import noise, tone
from test_live import PERIOD, Player, plucks, server, shift

Float32 = npt.NDArray[np.float32]

RATE = 48000
LSB = 2.0**-23
__all__ = ["server"]


def device(samples: Float32, block: int = 128) -> ArrayDevice:
    return ArrayDevice(samples.reshape(-1, 1), float(RATE), block)


@pytest.fixture
def sound(rng: np.random.Generator) -> Float32:
    return noise(rng, RATE, level_dbfs=-20.0)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("block", [1, 127, 128, 8192])
def test_the_file_holds_the_input(tmp_path: Path, sound: Float32, suffix: str, block: int) -> None:
    samples = sound[: 20 * block + 7] if block < 100 else sound
    seconds = len(samples) / RATE
    result = record(device(samples, block), tmp_path / f"take{suffix}", seconds=seconds)
    info = soundfile.info(tmp_path / f"take{suffix}")
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_24")
    got, _ = soundfile.read(tmp_path / f"take{suffix}")
    assert len(got) == len(samples) == result.frames
    assert np.abs(got - samples).max() <= LSB
    assert result.failure is None
    assert result.lost_frames == result.clipped == result.input_xruns == 0
    assert [file.name for file in tmp_path.iterdir()] == [f"take{suffix}"]
    assert result.peak_dbfs == pytest.approx(20.0 * np.log10(np.abs(samples).max()), abs=0.01)
    assert result.level_dbfs == pytest.approx(10.0 * np.log10(np.mean(samples.astype(np.float64) ** 2)), abs=0.01)


def test_the_player_hears_nothing_and_the_length_is_exact(tmp_path: Path, sound: Float32) -> None:
    source = device(sound)
    source.recorded.fill(0.5)
    result = record(source, tmp_path / "take.wav", seconds=0.5)
    assert result.frames == RATE // 2
    assert result.seconds == 0.5
    assert not source.recorded.any()


def test_a_device_that_ends_by_itself_is_told_and_the_take_is_kept(tmp_path: Path, sound: Float32) -> None:
    result = record(device(sound), tmp_path / "take.wav")
    assert result.failure is not None
    assert "stopped delivering" in result.failure
    assert np.abs(soundfile.read(tmp_path / "take.wav")[0] - sound).max() <= LSB


class Silent(ArrayDevice):
    """Runs and never delivers, or only so many blocks."""

    def __init__(self, samples: Float32, blocks: int = 0) -> None:
        super().__init__(samples.reshape(-1, 1), float(RATE), 128)
        self._blocks = blocks
        self.stopped = False

    def start(self, callback: Callback) -> None:
        self._running = True
        for block in range(self._blocks):
            callback(self._samples[128 * block : 128 * (block + 1)], self.recorded[:128], block == 0, False)

    def stop(self) -> None:
        self.stopped = True
        super().stop()


def test_a_device_that_hangs_is_given_up(tmp_path: Path, sound: Float32, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_S", 0.15)
    hanging = Silent(sound, blocks=10)
    result = record(hanging, tmp_path / "take.wav")
    assert hanging.stopped
    assert result.frames == 1280
    assert result.failure is not None
    assert result.input_xruns == 1
    assert any("1 input xruns" in notice for notice in result.notices)
    with pytest.raises(DuendeError, match="nothing was recorded: the device stopped delivering"):
        record(Silent(sound), tmp_path / "none.wav")
    assert [file.name for file in tmp_path.iterdir()] == ["take.wav"]


def test_a_device_that_cannot_even_be_stopped_costs_nothing(
    tmp_path: Path, sound: Float32, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PortAudio waits for ever when its JACK server has died."""
    monkeypatch.setattr(module, "STUCK_S", 0.15)
    let_go = threading.Event()

    class Dead(Silent):
        def stop(self) -> None:
            let_go.wait(20.0)

    result = record(Dead(sound, blocks=10), tmp_path / "take.wav")
    let_go.set()
    assert result.hangs
    assert result.frames == 1280
    assert result.failure is not None
    assert soundfile.info(tmp_path / "take.wav").frames == 1280


def test_stopping_ends_cleanly(tmp_path: Path, sound: Float32) -> None:
    stop, meters = threading.Event(), list[Meter]()

    def report(meter: Meter) -> None:
        meters.append(meter)
        stop.set()

    result = record(Silent(sound, blocks=100), tmp_path / "take.wav", stop=stop, report=report)
    assert result.failure is None
    assert not result.hangs
    assert result.frames == 12800
    assert len(meters) == 1
    stop.set()
    with pytest.raises(DuendeError, match="nothing was recorded: it was stopped before"):
        record(Silent(sound), tmp_path / "none.wav", stop=stop)


def test_an_interrupt_keeps_what_was_recorded(tmp_path: Path, sound: Float32) -> None:
    def interrupt(meter: Meter) -> None:
        raise KeyboardInterrupt

    hanging = Silent(sound, blocks=50)
    with pytest.raises(KeyboardInterrupt):
        record(hanging, tmp_path / "take.wav", report=interrupt)
    assert hanging.stopped
    assert np.abs(soundfile.read(tmp_path / "take.wav")[0] - sound[:6400]).max() <= LSB


def test_a_device_that_cannot_start_leaves_nothing(tmp_path: Path, sound: Float32) -> None:
    class Broken(Silent):
        def start(self, callback: Callback) -> None:
            raise DuendeError("the device cannot be started")

    with pytest.raises(DuendeError, match="cannot be started"):
        record(Broken(sound), tmp_path / "take.wav")
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == 1


def test_what_there_is_already_is_kept_without_force(tmp_path: Path, sound: Float32) -> None:
    target = tmp_path / "take.wav"
    target.write_bytes(b"the best take ever")
    with pytest.raises(DuendeError, match=r"take\.wav exists: choose another name, or replace it with --force"):
        record(device(sound), target, seconds=1.0)
    assert target.read_bytes() == b"the best take ever"
    record(device(sound), target, seconds=1.0, force=True)
    assert soundfile.info(target).frames == RATE
    (tmp_path / "other.part.wav").write_bytes(b"half a take")
    with pytest.raises(DuendeError, match=r"other\.part\.wav is left from a recording that was cut off"):
        record(device(sound), tmp_path / "other.wav", seconds=1.0)
    assert (tmp_path / "other.part.wav").read_bytes() == b"half a take"


@pytest.mark.parametrize(
    ("name", "words"),
    [("take.mp3", "cannot record to .mp3: use"), ("take", "without an ending"), ("no/take.wav", "no such folder")],
)
def test_targets_that_cannot_be(tmp_path: Path, sound: Float32, name: str, words: str) -> None:
    with pytest.raises(DuendeError, match=words):
        record(device(sound), tmp_path / name)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 7201.0, float("nan")])
def test_lengths_that_cannot_be(tmp_path: Path, sound: Float32, seconds: float) -> None:
    with pytest.raises(DuendeError, match=r"--seconds \S+ is out of range: up to 7200"):
        record(device(sound), tmp_path / "take.wav", seconds=seconds)


def test_clipping_silence_and_a_quiet_guitar_are_said(tmp_path: Path) -> None:
    loud = np.clip(3.0 * tone(220.0, RATE, level_dbfs=0.0), -1.0, 1.0)
    hot = record(device(loud), tmp_path / "hot.wav", seconds=1.0)
    assert hot.clipped == int(np.sum(np.abs(loud) >= 0.9999)) > 10000
    assert hot.notices == [f"{hot.clipped} samples at full scale: turn the input gain down and record again"]
    beyond = record(device(2.0 * loud), tmp_path / "beyond.wav", seconds=1.0)
    assert np.abs(soundfile.read(tmp_path / "beyond.wav")[0]).max() <= 1.0
    assert beyond.clipped >= hot.clipped
    silent = record(device(np.zeros(RATE, dtype=np.float32)), tmp_path / "silent.wav", seconds=1.0)
    assert silent.notices == ["silent: nothing above -240 dBFS came in; check cable, volume and --in-channel"]
    quiet = record(device(tone(220.0, RATE, level_dbfs=-40.0)), tmp_path / "quiet.wav", seconds=1.0)
    assert quiet.notices[0].startswith("quiet: the peak is -40 dBFS")
    good = record(device(tone(220.0, RATE, level_dbfs=-12.0)), tmp_path / "good.wav", seconds=1.0)
    assert good.notices == []


def test_frames_that_find_no_room_are_silence_in_their_place(rng: np.random.Generator) -> None:
    samples = noise(rng, 40 * 128).reshape(-1, 128, 1)
    recorder = Recorder(8000.0, 128)
    out = np.zeros((128, 2), dtype=np.float32)
    room = 80000 + 128
    while recorder.count(LOST) == 0:
        recorder.callback(samples[0], out, False, False)
    taken = np.zeros((room, 1), dtype=np.float32)
    assert recorder.read(taken) == room
    for block in samples[1:]:
        recorder.callback(block, out, False, False)
    lost = recorder.count(LOST)
    rest = np.zeros((2 * room, 1), dtype=np.float32)
    count = recorder.read(rest)
    assert 0 < lost < 256
    assert room + count == recorder.count(module.FRAMES)
    assert not rest[:lost].any()
    assert np.array_equal(rest[lost:count].reshape(-1, 128, 1), samples[1:])


def test_the_callback_asks_for_no_memory(rng: np.random.Generator) -> None:
    recorder = Recorder(float(RATE), 128)
    block, out = noise(rng, 128).reshape(-1, 1), np.ones((128, 2), dtype=np.float32)
    chunk = np.zeros((256, 1), dtype=np.float32)

    def call() -> None:
        recorder.callback(block, out, False, False)
        recorder.read(chunk)

    memory = measure(call, 2000)
    assert memory.kept_bytes < 1024
    assert memory.kept_array_bytes == memory.garbage == 0
    assert memory.transient_bytes < 1024


FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from duende.engine.device import ArrayDevice
from duende.engine.record import record
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
samples = (0.1 * np.random.default_rng(1).standard_normal(96000)).astype(np.float32)
result = record(ArrayDevice(samples.reshape(-1, 1), 48000.0, 128), Path(sys.argv[1]), seconds=2.0)
print(result.path, result.frames, result.failure)
"""


def wanted_in_full() -> Float32:
    return (0.1 * np.random.default_rng(1).standard_normal(96000)).astype(np.float32)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the file size are POSIX")
def test_a_full_disk_is_one_line_and_keeps_what_there_is(tmp_path: Path) -> None:
    """The system refuses to let the file grow beyond 100 kB, as it does on a full disk."""
    target = tmp_path / "take.wav"
    command = [sys.executable, "-c", FULL, str(target), "100000"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    path, frames, words = answer.stdout.strip().split(" ", 2)
    assert path == str(target)
    assert "could not be written further" in words
    assert "is the disk full?" in words
    got, _ = soundfile.read(target)
    assert 20_000 < len(got) == int(frames) < 50_000
    assert np.abs(got - wanted_in_full()[: len(got)]).max() <= LSB
    assert [file.name for file in tmp_path.iterdir()] == ["take.wav"]


def test_a_flac_that_cannot_be_written_leaves_the_part(
    tmp_path: Path, sound: Float32, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = soundfile.SoundFile

    def no_room(path: Path, *args: object, **kwargs: object) -> object:
        if path.suffix == ".flac":
            path.write_bytes(b"fLaC")
            raise OSError(28, "No space left on device")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(soundfile, "SoundFile", no_room)
    result = record(device(sound), tmp_path / "take.flac", seconds=1.0)
    monkeypatch.undo()
    assert result.failure == (
        "take.flac could not be written (No space left on device): the recording is kept as take.part.wav"
    )
    assert result.path == tmp_path / "take.part.wav"
    assert result.frames == RATE
    assert [file.name for file in tmp_path.iterdir()] == ["take.part.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_recording_that_is_cut_off_can_still_be_read(tmp_path: Path, sound: Float32, suffix: str) -> None:
    """While it is being recorded, the file reads as it would if the program were killed."""
    copies: list[bytes] = []

    def copy(meter: Meter) -> None:
        if meter.seconds > 0.9:
            copies.append((tmp_path / "take.part.wav").read_bytes())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(Silent(sound, blocks=375), tmp_path / f"take{suffix}", report=copy)
    (tmp_path / "rescued.wav").write_bytes(copies[0])
    got, _ = soundfile.read(tmp_path / "rescued.wav")
    assert len(got) > 0.8 * RATE
    assert np.abs(got - sound[: len(got)]).max() <= LSB
    assert np.abs(soundfile.read(tmp_path / f"take{suffix}")[0] - sound).max() <= LSB


def test_the_meter_is_one_line_of_constant_length() -> None:
    lines = [
        Meter(0.0, -240.0, 0, 0).line(),
        Meter(75.27, -30.0, 3, 1).line(),
        Meter(3600.0, 0.0, 99999, 999).line(),
    ]
    assert len({len(line) for line in lines}) == 1
    assert lines[0].count("#") == 0
    assert lines[1].count("#") == 15
    assert lines[2].count("#") == 30
    assert "1:15.3" in lines[1]


LIVE = """
import json, signal, sys, threading
from pathlib import Path
from duende.engine.device import SoundDevice, choose_device, list_devices
from duende.engine.record import record
stop = threading.Event()
signal.signal(signal.SIGINT, lambda *_: stop.set())
found = list_devices()
source, sink = (choose_device(found, "system", way) for way in ("input", "output"))
told = []
def report(meter):
    if not told:
        print("recording", flush=True)
    told.append(meter.seconds)
result = record(SoundDevice(source, sink, 1, 48000.0, int(sys.argv[2])), Path(sys.argv[1]), stop=stop, report=report)
print(json.dumps({"frames": result.frames, "xruns": result.input_xruns, "failure": result.failure}))
"""


@pytest.mark.live
def test_what_is_played_into_the_port_lies_in_the_file(server: Server, tmp_path: Path) -> None:
    """The machine may need several attempts; one in which samples are missing must have flagged an xrun."""
    samples = plucks(2.0)
    told = []
    for attempt in range(6):
        target = tmp_path / f"take{attempt}.wav"
        words, xruns = play_into(server, target, samples)
        got = soundfile.read(target, dtype="float32")[0]
        assert words["failure"] is None
        assert words["frames"] == len(got)
        late = shift(got, samples)
        part = got[late : late + len(samples)]
        if len(part) == len(samples) and np.abs(part - samples).max() <= LSB:
            return
        told.append(f"{xruns} xruns told by the server, {words['xruns']} recorded")
        assert xruns or words["xruns"], told
    raise AssertionError(f"no attempt without an xrun in its course: {told}")


def play_into(server: Server, target: Path, samples: Float32) -> tuple[dict[str, int | None], int]:
    """Record while samples are played into the port, ended by Ctrl-C; its summary and the server's xruns."""
    from test_live import _connect

    program = subprocess.Popen(
        [sys.executable, "-c", LIVE, str(target), str(PERIOD)],
        env=os.environ | server.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "recording\n"
        player = Player(samples[:, None], lead=RATE // 2 // PERIOD * PERIOD)
        with player.client as client:
            _connect(client, player)
            assert player.done.wait(60.0)
        program.send_signal(signal.SIGINT)
        words, _ = program.communicate(timeout=10)
        assert program.returncode == 0
        return json.loads(words), player.xruns
    finally:
        program.kill()
        program.wait()
