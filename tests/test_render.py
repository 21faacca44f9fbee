"""Files in, files out: aligned, complete, like the live path, and nothing half-written."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from duende import DuendeError
from duende.engine.device import ArrayDevice
from duende.engine.host import FADE_IN_S, Host
from duende.engine.preset import Rig, build_rig
from duende.engine.render import render_array, render_file
from duende.engine.spectral import SpectralProcessor
from models import tiny_model, tiny_weights
from signals import snr_db

RATE = 48000


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return build_rig([("tiny", SpectralProcessor(tiny_model(tmp_path, tiny_weights())))])


def sound(rng: np.random.Generator, seconds: float = 0.6) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    time = np.arange(int(seconds * RATE)) / RATE
    tone = np.exp(-5.0 * (time % 0.3)) * np.sin(2.0 * np.pi * 220.0 * time)
    return np.asarray(0.2 * tone + 0.01 * rng.standard_normal(len(time)), dtype=np.float32)


def test_render_is_aligned_and_keeps_the_tail(rig: Rig, tmp_path: Path, rng: np.random.Generator) -> None:
    samples = sound(rng)
    soundfile.write(tmp_path / "in.wav", samples, RATE, subtype="FLOAT")
    rig.bank.set("amount", 0.0)
    report = render_file(rig, tmp_path / "in.wav", tmp_path / "out.wav")
    output, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert rate == RATE
    assert report.frames == len(output) == len(samples) + rig.chain.tail_samples
    assert snr_db(samples, output[: len(samples)]) > 90.0
    assert np.abs(output[len(samples) :]).max() < 1e-5


@pytest.mark.parametrize("length", [1, 127, 8192, 24000, 30001])
def test_every_length_is_aligned_to_its_last_sample(rig: Rig, rng: np.random.Generator, length: int) -> None:
    samples = sound(rng, 1.0)[:length]
    rig.bank.set("mix", 0.0)
    output = render_array(rig, samples, RATE)
    assert len(output) == length + rig.chain.tail_samples
    assert np.abs(output[:length] - samples).max() < 1e-6
    assert rig.telemetry.count("starved") == 0


def test_render_equals_the_live_path(rig: Rig, tmp_path: Path, rng: np.random.Generator) -> None:
    samples = sound(rng)
    offline = render_array(rig, samples, RATE)[: len(samples)]
    for block in (96, 128, 480):
        device = ArrayDevice(np.pad(samples, (0, 1024)).reshape(-1, 1), float(RATE), block)
        host = Host(rig, device)
        host.start()
        host.stop()
        late = rig.chain.latency.samples
        faded_in = int(FADE_IN_S * RATE) + 1
        live = device.recorded[late : late + len(samples)]
        assert np.abs(live[faded_in:, 0] - offline[faded_in:]).max() < 1e-5
        assert np.array_equal(live[:, 0], live[:, 1])


def test_other_rates_are_converted_and_said(rig: Rig, tmp_path: Path) -> None:
    time = np.arange(8000) / 8000
    soundfile.write(tmp_path / "in.wav", 0.3 * np.sin(2.0 * np.pi * 300.0 * time), 8000)
    rig.bank.set("amount", 0.0)
    report = render_file(rig, tmp_path / "in.wav", tmp_path / "out.flac")
    output, rate = soundfile.read(tmp_path / "out.flac", dtype="float32")
    assert rate == 48000
    assert any("8000 Hz is converted" in notice for notice in report.notices)
    wanted = 0.3 * np.sin(2.0 * np.pi * 300.0 * np.arange(48000) / 48000)
    assert snr_db(wanted[4800:-4800], output[4800 : 48000 - 4800]) > 50.0


def test_stereo_stays_stereo_and_more_channels_are_chosen(rig: Rig, tmp_path: Path, rng: np.random.Generator) -> None:
    samples = sound(rng)
    soundfile.write(tmp_path / "two.wav", np.stack([samples, -samples], axis=1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", samples, RATE, subtype="FLOAT")
    assert render_file(rig, tmp_path / "two.wav", tmp_path / "out.wav").channels == 2
    assert render_file(rig, tmp_path / "one.wav", tmp_path / "mono.wav").channels == 1
    two, one = soundfile.read(tmp_path / "out.wav")[0], soundfile.read(tmp_path / "mono.wav")[0]
    assert one.ndim == 1
    assert snr_db(one, two[:, 0]) > 80.0
    eight = np.zeros((len(samples), 8), dtype=np.float32)
    eight[:, 4] = samples
    soundfile.write(tmp_path / "eight.wav", eight, RATE, subtype="FLOAT")
    with pytest.raises(DuendeError, match="8 channels: pick one with --channel"):
        render_file(rig, tmp_path / "eight.wav", tmp_path / "none.wav")
    assert not (tmp_path / "none.wav").exists()
    rig.bank.set("amount", 0.0)
    render_file(rig, tmp_path / "eight.wav", tmp_path / "five.wav", channel=5)
    assert snr_db(samples, soundfile.read(tmp_path / "five.wav")[0][: len(samples)]) > 90.0
    with pytest.raises(DuendeError, match="channel 9 of 8"):
        render_file(rig, tmp_path / "eight.wav", tmp_path / "none.wav", channel=9)


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be rendered, and a word of the answer."""
    sound_file = folder / "sound.wav"
    soundfile.write(sound_file, np.zeros(4000), RATE)
    files = {
        "missing": (folder / "missing.wav", "no such file"),
        "empty": (folder / "empty.wav", "not a readable sound file"),
        "text": (folder / "text.wav", "not a readable sound file"),
        "no frames": (folder / "none.wav", "holds no audio"),
        "not a number": (folder / "nan.wav", "sample 12000 is not a number"),
        "folder": (folder, "no such file"),
    }
    files["empty"][0].write_bytes(b"")
    files["text"][0].write_text("RIFF or not")
    soundfile.write(files["no frames"][0], np.zeros(0), RATE)
    samples = np.zeros(24000, dtype=np.float32)
    samples[12000] = np.nan
    soundfile.write(files["not a number"][0], samples, RATE, subtype="FLOAT")
    return files


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "no frames", "not a number", "folder"])
def test_bad_input_is_one_line_and_leaves_nothing(rig: Rig, tmp_path: Path, kind: str) -> None:
    path, words = bad_inputs(tmp_path)[kind]
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DuendeError, match=words) as caught:
        render_file(rig, path, out / "out.wav")
    assert "\n" not in str(caught.value)
    assert list(out.iterdir()) == []


def test_a_file_cut_short_is_refused_and_an_old_target_survives(
    rig: Rig, tmp_path: Path, rng: np.random.Generator
) -> None:
    whole = tmp_path / "whole.flac"
    soundfile.write(whole, sound(rng, 3.0), RATE)
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    target = tmp_path / "out.wav"
    target.write_bytes(b"an old recording")
    with pytest.raises(DuendeError):
        render_file(rig, cut, target)
    assert target.read_bytes() == b"an old recording"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("out.xyz", "cannot write .xyz"), ("out", "without an ending"), ("no/out.wav", "no such folder")],
)
def test_targets_that_cannot_be_written(
    rig: Rig, tmp_path: Path, rng: np.random.Generator, name: str, words: str
) -> None:
    soundfile.write(tmp_path / "in.wav", sound(rng, 0.2), RATE)
    with pytest.raises(DuendeError, match=words):
        render_file(rig, tmp_path / "in.wav", tmp_path / name)


def test_long_files_take_constant_memory(rig: Rig, tmp_path: Path) -> None:
    """Twenty times the length must not take more memory than the length itself took."""
    import tracemalloc

    peaks = []
    for seconds in (1, 20):
        soundfile.write(tmp_path / "in.wav", np.zeros(seconds * RATE, dtype=np.float32), RATE)
        tracemalloc.start()
        render_file(rig, tmp_path / "in.wav", tmp_path / "out.wav")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
