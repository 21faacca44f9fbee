"""What this machine has and lacks for playing: one small check for each thing, and what to do where it is amiss."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from ... import DuendeError, __version__
from ...presets.library import Library, home
from ..device import DeviceInfo, choose_device, refuse_feedback
from ..device_list import DeviceList, ask_devices
from ..fx.graph import has_pyo
from ..graph_check import runtime
from ..model import PROVIDERS, load_model
from ..realtime import raise_priority
from .instances import InstanceInfo, instances
from .network import HTTP_PORT, OSC_PORT
from .settings import Settings, read_settings, settings_path
from .supervisor import runtime_folder

Verdict = Literal["ok", "note", "bad"]

PRIORITY = 70
LOW_RATES = (44100.0, 48000.0, 88200.0, 96000.0)
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
EXTRAS = (
    ("fx", "effects in slots", ("pyo",)),
    ("midi", "MIDI", ("mido", "rtmidi")),
    ("gui", "the page in a browser", ("nicegui", "aiohttp")),
    ("train", "making styles and captures", ("torch", "librosa", "mir_eval", "matplotlib", "pyloudnorm")),
)


class Finding(msgspec.Struct, frozen=True):
    """One thing. verdict: ok; note: plays all the same; bad: cannot be played. todo: what to do, or empty."""

    what: str
    verdict: Verdict
    found: str
    todo: str = ""


def examine() -> list[Finding]:
    """Everything; takes a few seconds, since a style is opened and the sound server asked. Nothing is changed."""
    listed = ask_devices()
    library = Library()
    found = [
        check_python(),
        check_runtime(),
        check_portaudio(listed),
        check_devices(listed),
        check_settings(listed.devices),
        check_permissions(),
        check_priority(),
        check_processor(),
        check_memory(runtime_folder()),
        check_library(library),
        check_style(library),
        check_ports(),
        check_gpu(library),
    ]
    found += [check_extra(extra, purpose, modules) for extra, purpose, modules in EXTRAS]
    return found


def can_play(findings: Sequence[Finding]) -> bool:
    """Whether nothing stands in the way of `duende live`."""
    return all(finding.verdict != "bad" for finding in findings)


def check_python() -> Finding:
    """The interpreter and the system."""
    found = f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.platform == "win32":
        return Finding("duende", "note", found, "Windows is not tested: please tell what works and what does not")
    return Finding("duende", "ok", found)


def check_runtime(installed: Callable[[str], str | None] | None = None, load: Callable[[], Any] = runtime) -> Finding:
    """ONNX Runtime. installed: gives the version of a distribution, None where it is not there."""
    what, ask = "ONNX Runtime", installed or _installed
    versions = {name: version for name in RUNTIMES if (version := ask(name)) is not None}
    if len(versions) > 1:
        todo = "uninstall both, then pip install 'duende[cpu]' or 'duende[gpu]': they hold the same module"
        return Finding(what, "bad", "onnxruntime and onnxruntime-gpu are both installed", todo)
    try:
        module = load()
    except DuendeError as error:
        return Finding(what, "bad", "not installed", str(error).partition(": ")[2])
    known = {full: name for name, full in PROVIDERS.items()}
    names = [known[full] for full in module.get_available_providers() if full in known]
    return Finding(what, "ok", f"{module.__version__}, can be asked for {', '.join(sorted(names))}")


def check_portaudio(listed: DeviceList, system: str = sys.platform) -> Finding:
    """The library that sound cards are reached through."""
    what = "PortAudio"
    if not listed.trouble:
        return Finding(what, "ok", listed.version.partition(",")[0])
    if "library is missing" in listed.trouble:
        todo = "pip install --force-reinstall sounddevice"
        if system == "linux":
            todo = (
                "apt install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora), pacman -S portaudio (Arch)"
            )
        return Finding(what, "bad", "the library is missing", todo)
    todo = "end and start the sound server again: systemctl --user restart pipewire wireplumber, or jackd"
    return Finding(what, "bad", listed.trouble, todo if system == "linux" else "log out and in again")


def check_devices(listed: DeviceList, system: str = sys.platform) -> Finding:
    """Whether there is something to hear with and something to play to, and what `duende live` would take."""
    what = "sound devices"
    if listed.trouble:
        return Finding(what, "bad", "cannot be listed while PortAudio is amiss")
    try:
        source = choose_device(listed.devices, None, "input")
        sink = choose_device(listed.devices, None, "output")
    except DuendeError as error:
        todo = {
            "linux": "connect an interface; JACK: jackd; PipeWire: apt install pipewire-jack, then pw-jack duende live",
            "darwin": "connect an interface, or choose one in Audio MIDI Setup",
        }.get(system, "connect an interface, and choose it in the system's sound settings")
        return Finding(what, "bad", str(error).partition(":")[0], todo)
    found = f"{len(listed.devices)}; without --input {source.name!r} into {sink.name!r} ({source.host})"
    with suppress(DuendeError):
        refuse_feedback(source, sink)
        if source.sample_rate not in LOW_RATES:
            return Finding(
                what, "note", found, f"{source.sample_rate:g} Hz does not play: choose one with --rate 48000"
            )
        return Finding(what, "ok", found)
    return Finding(what, "note", found, "a microphone beside its speakers howls: choose an interface with --input")


def check_settings(devices: Sequence[DeviceInfo], path: Path | None = None) -> Finding:
    """What is kept from the last time: whether it can be read, and whether its devices are there."""
    what, path = "settings", path or settings_path()
    try:
        settings = read_settings(path)
    except DuendeError as error:
        return Finding(what, "bad", str(error), f"mend or remove {path}")
    if not path.exists():
        return Finding(what, "ok", "none yet: `duende live` keeps what it is given")
    for wanted, direction in ((settings.device.input, "input"), (settings.device.output, "output")):
        if wanted is None:
            continue
        try:
            choose_device(devices, wanted, direction)
        except DuendeError:
            todo = f"connect it, or name another one: duende live --{direction} NAME"
            return Finding(what, "note", f"the {direction} device of the last time, {wanted!r}, is not there", todo)
    return Finding(what, "ok", str(path))


def check_permissions(system: str = sys.platform, place: Path = Path("/dev/snd")) -> Finding:
    """Whether this user may use the sound cards."""
    what = "permissions"
    if system == "darwin":
        hint = "if the input stays silent: System Settings, Privacy & Security, Microphone, allow the terminal"
        return Finding(what, "ok", "macOS asks for the microphone once", hint)
    if system != "linux":
        return Finding(what, "ok", "nothing to ask for")
    cards = sorted(place.glob("pcm*")) if place.is_dir() else []
    if not cards:
        return Finding(what, "ok", "no sound card of ALSA's on this machine: JACK, PipeWire or none")
    if not all(os.access(card, os.R_OK | os.W_OK) for card in cards):
        todo = "sudo usermod -aG audio $USER, then log out and in again"
        return Finding(what, "note", f"this user may not open {cards[0]}: only a sound server can", todo)
    return Finding(what, "ok", f"{len(cards)} ALSA streams may be opened")


def check_priority(ask: Callable[[], str | None] | None = None, system: str = sys.platform) -> Finding:
    """Real-time priority, by asking for it on a thread that ends at once."""
    what = "real-time priority"
    if system != "linux":
        return Finding(what, "ok", "the system gives it to audio threads")
    if (ask or _ask_for_priority)() is None:
        return Finding(what, "ok", "allowed")
    todo = (
        "write '@audio - rtprio 95' to /etc/security/limits.d/audio.conf, sudo usermod -aG audio $USER, log out and in"
    )
    return Finding(what, "note", "not allowed: blocks may come late while other programs work", todo)


def check_processor(place: Path = Path("/sys/devices/system/cpu")) -> Finding:
    """How many cores there are, and whether they are slowed down to save power."""
    what = "processor"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores} core" + ("s" if cores > 1 else "")
    if cores < 2:
        return Finding(what, "note", found, "two or more let the sound go on while control works")
    governors = set()
    for path in place.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with suppress(OSError):
            governors.add(path.read_text().strip())
    if "powersave" in governors and not (place / "intel_pstate").is_dir() and not (place / "amd_pstate").is_dir():
        todo = "sudo cpupower frequency-set -g performance, while you play"
        return Finding(what, "note", f"{found}, slowed down to save power (governor powersave)", todo)
    return Finding(what, "ok", found + (f", governor {', '.join(sorted(governors))}" if governors else ""))


def check_memory(folder: Path) -> Finding:
    """Where the processes share their state: on a disk, writing could hold up the sound."""
    what = "shared state"
    if not os.access(folder, os.W_OK):
        return Finding(what, "bad", f"{folder} cannot be written", "set TMPDIR to a folder that can")
    if sys.platform == "linux" and _file_system(folder) not in ("tmpfs", "ramfs", ""):
        todo = "log in so that $XDG_RUNTIME_DIR is set, or mount a tmpfs on /dev/shm"
        return Finding(what, "note", f"{folder} is on a disk ({_file_system(folder)})", todo)
    return Finding(what, "ok", str(folder))


def check_library(library: Library) -> Finding:
    """Your folder, and whether all presets can be read."""
    what, own = "library", home()
    nearest = next(folder for folder in (own, *own.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding(what, "note", f"{own} cannot be written", "set DUENDE_HOME to a folder of yours")
    broken = []
    entries = library.entries()
    for entry in entries:
        try:
            entry.read()
        except DuendeError as error:
            broken.append(str(error))
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        return Finding(what, "note", f"{broken[0]}{more}", "mend or remove them: they cannot be played")
    return Finding(what, "ok", f"{own}; {len(entries)} presets")


def check_style(library: Library, provider: str = "cpu") -> Finding:
    """Whether a style that came with the program opens and answers as it should."""
    what = "styles"
    try:
        runtime()
    except DuendeError:
        return Finding(what, "bad", "cannot be opened without ONNX Runtime")
    try:
        model = _open_style(library, provider)
    except DuendeError as error:
        return Finding(what, "bad", str(error), "install duende again")
    return Finding(what, "ok", f"{model} answers as it should")


def check_ports(settings: Settings | None = None, running: Sequence[InstanceInfo] | None = None) -> Finding:
    """Whether the usual ports, or those of the settings, are free, or held by a host of ours."""
    what = "ports"
    hosts = instances() if running is None else running
    if hosts:
        there = ", ".join(f"{host.name} on {host.osc_port} and {host.http_port}" for host in hosts)
        return Finding(what, "ok", f"a host runs: {there}; a second one takes the next ports")
    if settings is None:
        try:
            settings = read_settings(settings_path())
        except DuendeError:
            settings = Settings()
    network = settings.network
    osc, http = network.osc_port or OSC_PORT, network.http_port or HTTP_PORT
    taken = [f"{osc} (OSC, UDP)"] if not _free(network.host, osc, socket.SOCK_DGRAM) else []
    taken += [f"{osc} (OSC, TCP)"] if not _free(network.host, osc, socket.SOCK_STREAM) else []
    taken += [f"{http} (OSCQuery)"] if not _free(network.host, http, socket.SOCK_STREAM) else []
    if taken:
        todo = "the next free ones are taken and said at the start; or choose with --osc-port and --http-port"
        return Finding(what, "note", f"held by another program: {', '.join(taken)}", todo)
    return Finding(what, "ok", f"{osc} (OSC) and {http} (OSCQuery) are free")


def check_gpu(library: Library, card: str | None = None) -> Finding:
    """A graphics card of NVIDIA's and what of ONNX Runtime could use it; styles are small, and play on the CPU."""
    what = "GPU"
    name = _nvidia() if card is None else card
    try:
        available = runtime().get_available_providers()
    except DuendeError:
        return Finding(what, "ok", "not asked for: no ONNX Runtime")
    ready = [provider for provider in ("tensorrt", "cuda") if PROVIDERS[provider] in available]
    if not name and not ready:
        return Finding(what, "ok", "none of NVIDIA's, and none needed: styles play on the CPU")
    if not ready:
        todo = "only if you want it: pip uninstall onnxruntime, then pip install 'duende[gpu]'"
        if name == "Jetson":
            todo = "only if you want it: NVIDIA's own build of onnxruntime-gpu for your JetPack; the CPU plays without"
        return Finding(what, "ok", f"{name}, not used by the installed ONNX Runtime; none is needed", todo)
    try:
        _open_style(library, "cuda")
    except DuendeError as error:
        todo = "play with --provider cpu, or install the CUDA and cuDNN that this ONNX Runtime was built for"
        return Finding(what, "note", f"{name or 'no card'}: {error}", todo)
    return Finding(what, "ok", f"{name}: a style answers as it should (--provider {' or '.join(reversed(ready))})")


def check_extra(extra: str, purpose: str, modules: Sequence[str]) -> Finding:
    """One of the optional parts."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if extra == "fx" and not has_pyo():
        missing = ["pyo"]
    if missing:
        todo = f"pip install 'duende[{extra}]'"
        return Finding(f"extra {extra}", "ok", f"not installed ({purpose}); missing: {', '.join(missing)}", todo)
    return Finding(f"extra {extra}", "ok", f"installed ({purpose})")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ask_for_priority() -> str | None:
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(raise_priority(PRIORITY)))
    thread.start()
    thread.join()
    return answers[0]


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on (Linux), empty where that is not known."""
    kind, longest = "", -1
    with suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, found, *_ = line.split(" ")
            if folder.resolve().is_relative_to(place) and len(place) > longest:
                kind, longest = found, len(place)
    return kind


def _open_style(library: Library, provider: str) -> str:
    """The name of the first style that came with the program and plays on a provider; DuendeError where none does."""
    for entry in library.entries():
        if entry.factory:
            for slot in entry.read().slots:
                path = entry.file_of(slot)
                if slot.kind == "style" and path is not None:
                    model = load_model(path, provider)
                    if model.provider != provider:
                        raise DuendeError(model.notices[-1])
                    return entry.name
    raise DuendeError("no preset that came with duende holds a style")


def _free(host: str, port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as trial:
        if kind == socket.SOCK_STREAM and os.name == "posix":
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


def _nvidia() -> str:
    """What card of NVIDIA's there seems to be, empty without one; "Jetson" for a module with its own memory."""
    with suppress(OSError):
        if "jetson" in Path("/proc/device-tree/model").read_text(errors="replace").lower():
            return "Jetson"
    if Path("/etc/nv_tegra_release").exists():
        return "Jetson"
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None:
        return "an NVIDIA card"
    return ""
