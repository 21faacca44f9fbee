"""Choosing devices, refusing feedback, and the array device that drives the live path without a clock."""

import sys
import types

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.engine.device import (
    ArrayDevice,
    DeviceInfo,
    SoundDevice,
    choose_device,
    list_devices,
    portaudio,
    refuse_feedback,
)

Float32 = npt.NDArray[np.float32]


def info(index: int, name: str, inputs: int = 2, outputs: int = 2, *, default: bool = False) -> DeviceInfo:
    return DeviceInfo(index, name, "ALSA", inputs, outputs, 48000.0, default, default)


DEVICES = [
    info(0, "Built-in Microphone", outputs=0, default=True),
    info(1, "Built-in Output", inputs=0),
    info(2, "Scarlett 2i2 USB"),
    info(3, "Scarlett 18i8 USB", inputs=18, outputs=8),
]


def test_devices_are_found_by_default_index_name_and_part() -> None:
    assert choose_device(DEVICES, None, "input").index == 0
    assert choose_device(DEVICES, None, "output").index == 1
    assert choose_device(DEVICES, "3", "input").index == 3
    assert choose_device(DEVICES, "scarlett 2i2", "output").index == 2
    assert choose_device(DEVICES, "Scarlett 2i2 USB", "output").index == 2


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("Scarlett", "several input devices match 'Scarlett': 2 'Scarlett 2i2 USB', 3 'Scarlett 18i8 USB'"),
        ("Motu", "no input device matches 'Motu': 0 'Built-in Microphone'"),
        ("1", "no input device matches '1'"),
    ],
)
def test_a_device_that_cannot_be_meant_lists_the_candidates(wanted: str, words: str) -> None:
    with pytest.raises(DuendeError, match=words):
        choose_device(DEVICES, wanted, "input")


def test_no_device_at_all_is_one_line() -> None:
    with pytest.raises(DuendeError, match="no output device"):
        choose_device(DEVICES[:1], None, "output")


def test_built_in_microphone_into_built_in_speakers_is_refused() -> None:
    with pytest.raises(DuendeError, match="--allow-feedback"):
        refuse_feedback(DEVICES[0], DEVICES[1])
    refuse_feedback(DEVICES[2], DEVICES[1])
    refuse_feedback(DEVICES[0], DEVICES[2])


def test_a_missing_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)

    class Broken:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(DuendeError, match="apt install libportaudio2"):
        portaudio()


class FakeStream:
    """Stands for sounddevice.Stream: remembers how it was opened, calls back when told."""

    active = True
    latency = (89478482.0, 0.0)

    def __init__(self, **options: object) -> None:
        self.options = options

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    class PortAudioError(Exception):
        pass

    module = types.SimpleNamespace(
        Stream=FakeStream,
        PortAudioError=PortAudioError,
        default=types.SimpleNamespace(device=(0, 1)),
        query_hostapis=lambda: [{"name": "JACK"}],
        query_devices=lambda: [
            {
                "name": "system",
                "hostapi": 0,
                "max_input_channels": 2,
                "max_output_channels": 2,
                "default_samplerate": 48000.0,
            }
        ],
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_devices_are_listed_with_their_host(fake: types.SimpleNamespace) -> None:
    (only,) = list_devices()
    assert (only.name, only.host, only.inputs, only.default_input, only.default_output) == (
        "system",
        "JACK",
        2,
        True,
        False,
    )


def test_one_channel_of_the_device_reaches_the_callback(fake: types.SimpleNamespace) -> None:
    device = SoundDevice(DEVICES[3], DEVICES[1], 2, 48000.0, 64)
    stream: FakeStream = device._stream
    assert stream.options["channels"] == (2, 2)
    assert stream.options["blocksize"] == 64
    seen: list[tuple[Float32, bool, bool]] = []

    def callback(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        seen.append((block.copy(), input_xrun, output_xrun))
        out[:] = block

    device.start(callback)
    source = np.stack([np.zeros(64), np.arange(64)], axis=1).astype(np.float32)
    out = np.full((64, 2), np.nan, dtype=np.float32)
    flags = types.SimpleNamespace(input_overflow=True, output_underflow=False)
    deliver = stream.options["callback"]
    assert callable(deliver)
    deliver(source, out, 64, None, flags)
    assert np.array_equal(seen[0][0][:, 0], np.arange(64))
    assert seen[0][1:] == (True, False)
    assert np.array_equal(out[:, 0], out[:, 1])
    # Nonsense from the server is not passed on as a latency.
    assert device.latency_ms is None


def test_a_channel_or_block_that_the_device_has_not_got(fake: types.SimpleNamespace) -> None:
    with pytest.raises(DuendeError, match="input channel 3 of 'Scarlett 2i2 USB': choose 1 to 2"):
        SoundDevice(DEVICES[2], DEVICES[2], 3, 48000.0, 64)
    with pytest.raises(DuendeError, match="block of 9000 frames"):
        SoundDevice(DEVICES[2], DEVICES[2], 1, 48000.0, 9000)


def test_a_stream_that_cannot_be_opened_is_one_line(fake: types.SimpleNamespace) -> None:
    def refuse(**options: object) -> None:
        raise fake.PortAudioError("Invalid sample rate [PaErrorCode -9997]\nand more")

    fake.Stream = refuse
    with pytest.raises(DuendeError, match="44100 Hz with blocks of any frames: Invalid sample rate") as caught:
        SoundDevice(DEVICES[2], DEVICES[2], 1, 44100.0, 0)
    assert "\n" not in str(caught.value)


def test_the_array_device_delivers_everything_in_the_sizes_given() -> None:
    samples = np.arange(1000, dtype=np.float32).reshape(-1, 1)
    device = ArrayDevice(samples, 48000.0, [100, 7])
    sizes: list[int] = []

    def callback(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        sizes.append(len(block))
        out[:] = 2.0 * block

    device.start(callback)
    assert sizes[:4] == [100, 7, 100, 7]
    assert sum(sizes) == 1000
    assert (device.block, device.max_block) == (None, 100)
    assert np.array_equal(device.recorded[:, 1], 2.0 * samples[:, 0])
