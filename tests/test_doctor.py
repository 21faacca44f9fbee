"""The doctor: every check tells sound from amiss and says what to do; the whole of it on this machine."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from duende import DuendeError, __main__
from duende.engine.control import doctor
from duende.engine.control.instances import InstanceInfo
from duende.engine.control.settings import DeviceSettings, NetworkSettings, Settings, write_settings
from duende.engine.device import DeviceInfo
from duende.engine.device_list import DeviceList, ask_devices
from duende.engine.model import PROVIDERS
from duende.presets.library import HOME_VARIABLE, Library

CARD = DeviceInfo(0, "Scarlett", "ALSA", 2, 2, 48000.0, True, True)
MICROPHONE = DeviceInfo(1, "Built-in Microphone", "Core Audio", 1, 0, 48000.0, True, False)
SPEAKERS = DeviceInfo(2, "Built-in Output", "Core Audio", 0, 2, 48000.0, False, True)


def listed(*devices: DeviceInfo, trouble: str = "") -> DeviceList:
    return DeviceList("PortAudio V19.7.0, revision x", list(devices), trouble)


def missing() -> object:
    raise DuendeError("no ONNX Runtime is installed: pip install 'duende[cpu]' (or 'duende[gpu]' for CUDA)")


def test_the_runtime_is_missing_there_or_there_twice() -> None:
    one = doctor.check_runtime(
        lambda name: "1.20" if name == "onnxruntime" else None,
        lambda: SimpleNamespace(
            __version__="1.20", get_available_providers=lambda: ["AzureExecutionProvider", PROVIDERS["cpu"]]
        ),
    )
    assert (one.verdict, one.found) == ("ok", "1.20, can be asked for cpu")
    none = doctor.check_runtime(lambda name: None, missing)
    assert (none.verdict, none.todo) == ("bad", "pip install 'duende[cpu]' (or 'duende[gpu]' for CUDA)")
    both = doctor.check_runtime(lambda name: "1.20", missing)
    assert both.verdict == "bad"
    assert "uninstall both" in both.todo


@pytest.mark.parametrize(
    ("trouble", "system", "found", "todo"),
    [
        ("the PortAudio library is missing: x", "linux", "the library is missing", "apt install libportaudio2"),
        ("the PortAudio library is missing: x", "darwin", "the library is missing", "pip install --force-reinstall"),
        ("the sound server did not answer", "linux", "did not answer", "restart pipewire"),
    ],
)
def test_portaudio_amiss(trouble: str, system: str, found: str, todo: str) -> None:
    one = doctor.check_portaudio(listed(trouble=trouble), system)
    assert one.verdict == "bad"
    assert found in one.found
    assert todo in one.todo
    assert doctor.check_devices(listed(trouble=trouble), system).verdict == "bad"


def test_portaudio_there() -> None:
    assert doctor.check_portaudio(listed(CARD)).found == "PortAudio V19.7.0"


def test_devices_that_play_howl_or_are_not_there() -> None:
    there = doctor.check_devices(listed(CARD))
    assert there.verdict == "ok"
    assert "'Scarlett' into 'Scarlett'" in there.found
    howling = doctor.check_devices(listed(MICROPHONE, SPEAKERS))
    assert howling.verdict == "note"
    assert "--input" in howling.todo
    for devices, found in (((), "no input device"), ((MICROPHONE,), "no output device")):
        for system, todo in (("linux", "pw-jack"), ("darwin", "Audio MIDI Setup"), ("win32", "sound settings")):
            none = doctor.check_devices(listed(*devices), system)
            assert (none.verdict, none.found) == ("bad", found)
            assert todo in none.todo
    odd = DeviceInfo(0, "Tape", "ALSA", 2, 2, 32000.0, True, True)
    assert "--rate 48000" in doctor.check_devices(listed(odd)).todo


def test_settings_that_name_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    assert doctor.check_settings([CARD], path).verdict == "ok"
    write_settings(path, Settings(device=DeviceSettings(input="scar", output="Elsewhere")))
    found = doctor.check_settings([CARD], path)
    assert found.verdict == "note"
    assert "output device of the last time, 'Elsewhere'" in found.found
    write_settings(path, Settings(device=DeviceSettings(input="scar")))
    assert doctor.check_settings([CARD], path).verdict == "ok"
    path.write_text("block = [")
    assert doctor.check_settings([CARD], path).verdict == "bad"


def test_cards_that_this_user_may_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_permissions("linux", tmp_path).verdict == "ok"
    (tmp_path / "pcmC0D0c").touch()
    assert "1 ALSA streams" in doctor.check_permissions("linux", tmp_path).found
    # The tests may run as root, who may open everything.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = doctor.check_permissions("linux", tmp_path)
    assert found.verdict == "note"
    assert "usermod -aG audio" in found.todo
    assert "Microphone" in doctor.check_permissions("darwin").todo


def test_priority_allowed_and_not() -> None:
    assert doctor.check_priority(lambda: None, "linux").verdict == "ok"
    found = doctor.check_priority(lambda: "not allowed", "linux")
    assert found.verdict == "note"
    assert "rtprio" in found.todo
    assert doctor.check_priority(lambda: "not allowed", "darwin").verdict == "ok"


def test_a_processor_that_saves_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert doctor.check_processor(tmp_path).found == "2 cores"
    governor = tmp_path / "cpu0" / "cpufreq" / "scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("powersave\n")
    assert "cpupower" in doctor.check_processor(tmp_path).todo
    # That driver's word for what the others call schedutil.
    (tmp_path / "intel_pstate").mkdir()
    assert doctor.check_processor(tmp_path).verdict == "ok"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert doctor.check_processor(tmp_path).verdict == "note"


def test_shared_state_on_a_disk_or_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(doctor, "_file_system", lambda folder: "ext4")
    assert doctor.check_memory(tmp_path).verdict == "note"
    monkeypatch.setattr(doctor, "_file_system", lambda folder: "tmpfs")
    assert doctor.check_memory(tmp_path).verdict == "ok"
    assert doctor.check_memory(tmp_path / "nowhere").verdict == "bad"


def test_a_preset_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert doctor.check_library(Library()).verdict == "ok"
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "broken.toml").write_text("broken")
    found = doctor.check_library(Library())
    assert found.verdict == "note"
    assert "broken.toml" in found.found


def test_a_style_that_opens_and_a_library_without_any(tmp_path: Path) -> None:
    assert doctor.check_style(Library()).verdict == "ok"
    assert doctor.check_style(Library(tmp_path / "own", tmp_path / "none")).verdict == "bad"


def test_ports_free_taken_and_held_by_a_host() -> None:
    with socket.socket() as holding, socket.socket() as other:
        holding.bind(("127.0.0.1", 0))
        holding.listen()
        other.bind(("127.0.0.1", 0))
        taken, free = holding.getsockname()[1], other.getsockname()[1]
        other.close()
        found = doctor.check_ports(Settings(network=NetworkSettings(osc_port=free, http_port=taken)), [])
        assert found.verdict == "note"
        assert f"held by another program: {taken} (OSCQuery)" in found.found
    found = doctor.check_ports(Settings(network=NetworkSettings(osc_port=free, http_port=taken)), [])
    assert found.verdict == "ok"
    running = InstanceInfo(1, "stage", "127.0.0.1", 7700, 7701)
    assert "stage on 7700 and 7701" in doctor.check_ports(Settings(), [running]).found


def test_a_card_that_is_used_idle_broken_or_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def providers(*names: str) -> None:
        available = [PROVIDERS[name] for name in names]
        monkeypatch.setattr(doctor, "runtime", lambda: SimpleNamespace(get_available_providers=lambda: available))

    providers("cpu")
    assert "none needed" in doctor.check_gpu(Library(), "").found
    assert "duende[gpu]" in doctor.check_gpu(Library(), "an NVIDIA card").todo
    assert "JetPack" in doctor.check_gpu(Library(), "Jetson").todo
    providers("cuda", "cpu")
    monkeypatch.setattr(doctor, "_open_style", lambda library, provider: "cello")
    assert "--provider cuda" in doctor.check_gpu(Library(), "an NVIDIA card").found

    def fail(library: Library, provider: str) -> str:
        raise DuendeError("cuda could not be started; running on the CPU")

    monkeypatch.setattr(doctor, "_open_style", fail)
    found = doctor.check_gpu(Library(), "an NVIDIA card")
    assert found.verdict == "note"
    assert "cuDNN" in found.todo


def test_extras_say_how_to_get_them() -> None:
    found = doctor.check_extra("x", "what for", ("json", "no_such_module"))
    assert (found.verdict, found.todo) == ("ok", "pip install 'duende[x]'")
    assert "no_such_module" in found.found
    assert "installed" in doctor.check_extra("x", "what for", ("json",)).found


def test_only_what_is_bad_stands_in_the_way() -> None:
    fine, note, bad = (doctor.Finding("x", verdict, "") for verdict in ("ok", "note", "bad"))
    assert doctor.can_play([fine, note])
    assert not doctor.can_play([fine, bad, note])


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired("duende", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert ask_devices(3.0).trouble == "the sound server did not answer within 3 s"


@pytest.mark.skipif(sys.platform != "linux", reason="the loader is Linux's")
def test_a_library_that_cannot_be_loaded_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where it is not installed at all this is true by itself; where it is, an empty file hides it from the loader.
    (tmp_path / "libportaudio.so.2").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = ask_devices()
    assert found.devices == []
    assert doctor.check_portaudio(found, "linux").todo.startswith("apt install libportaudio2")


def said(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["duende", "doctor", *words])
    try:
        __main__.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_shows_all_and_fails_where_nothing_can_play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setattr(doctor, "ask_devices", lambda: listed(CARD))
    assert said(monkeypatch) == 0
    shown = capsys.readouterr().out
    assert all(what in shown for what in ("ONNX Runtime", "PortAudio V19.7.0", "real-time priority", "extra midi"))
    monkeypatch.setattr(doctor, "ask_devices", lambda: listed(trouble="the PortAudio library is missing: install it"))
    assert said(monkeypatch) == 1
    both = capsys.readouterr()
    assert "-> " in both.out
    assert both.err.startswith("duende: this machine cannot play yet: PortAudio, sound devices")
    assert said(monkeypatch, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["can_play"] is False
    assert {"what": "PortAudio", "verdict": "bad"}.items() <= told["findings"][2].items()
    assert list(tmp_path.iterdir()) == []
