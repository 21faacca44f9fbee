"""What figures were taken on: processor, cores, power, kernel, rights, graphics card, versions."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ... import __version__
from ..graph_check import runtime
from ..model import PROVIDERS
from ..realtime import raise_priority

PRIORITY = 70
ASKING_S = 5.0
PACKAGES = ("numpy", "scipy", "onnxruntime", "onnxruntime-gpu", "pyo")


class MachineInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine in words. Empty texts and None: not known.

    cores: that this process may use; governor: how their clock is set; power: the mode of a Jetson; priority: whether
    real-time priority is allowed; load: of the last minute when the measurement began; virtual: whether other machines
    share this one's processor; providers: that the installed ONNX Runtime can be asked for; versions: by package.
    """

    processor: str
    architecture: str
    cores: int
    memory_gib: float | None
    system: str
    kernel: str
    governor: str
    power: str
    priority: bool
    load: float | None
    virtual: bool | None
    gpus: list[str]
    providers: list[str]
    versions: dict[str, str]

    def lines(self) -> list[tuple[str, str]]:
        """What and value, as text, without what is not known."""
        memory = "" if self.memory_gib is None else f"{self.memory_gib:.0f} GiB"
        rows = [
            ("processor", f"{self.processor} ({self.architecture})"),
            ("cores", f"{self.cores}{', of a virtual machine' if self.virtual else ''}"),
            ("memory", memory),
            ("system", f"{self.system}, {self.kernel}"),
            ("governor", self.governor),
            ("power mode", self.power),
            ("real-time priority", "allowed" if self.priority else "not allowed"),
            ("load before", "" if self.load is None else f"{self.load:.2f}"),
            ("graphics card", ", ".join(self.gpus) or "none of NVIDIA's"),
            ("ONNX Runtime can be asked for", ", ".join(self.providers)),
            ("versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())),
        ]
        return [(what, value) for what, value in rows if value]


def machine() -> dict[str, Any]:
    """What figures were taken on, in short: for the foot of a table."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": runtime().__version__,
        "duende": __version__,
    }


def describe_machine() -> MachineInfo:
    """What there is to say of this machine; takes a second where a driver is asked, and changes nothing."""
    known = {full: name for name, full in PROVIDERS.items()}
    return MachineInfo(
        processor=_processor(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()}",
        kernel=_kernel(),
        governor=_governor(),
        power=_power_mode(),
        priority=priority_allowed(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        virtual=_virtual(),
        gpus=_gpus(),
        providers=[known[full] for full in runtime().get_available_providers() if full in known],
        versions={"duende": __version__, "python": platform.python_version()} | _versions(),
    )


def priority_allowed() -> bool:
    """Whether a thread may have the real-time priority that `duende live` asks for; asked on one that ends at once."""
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(raise_priority(PRIORITY)))
    thread.start()
    thread.join()
    return hasattr(os, "sched_setscheduler") and answers[0] is None


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    model = _read("/proc/device-tree/model").strip("\0\n ")
    return model or platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def _kernel() -> str:
    """How the kernel lets threads go first, as far as it tells."""
    version = platform.version()
    if _read("/sys/kernel/realtime").strip() == "1" or "PREEMPT_RT" in version:
        return "PREEMPT_RT"
    return next((word for word in ("PREEMPT_DYNAMIC", "PREEMPT") if word in version), version.split(";")[0][:80])


def _governor() -> str:
    found = {_read(path).strip() for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(found - {""}))


def _power_mode() -> str:
    """The mode of a Jetson, which decides how quick it is."""
    if shutil.which("nvpmodel") is None:
        return ""
    words = [line.partition(":")[2].strip() for line in _ask("nvpmodel", "-q").splitlines() if "Power Mode" in line]
    return words[0] if words else ""


def _virtual() -> bool | None:
    text = _read("/proc/cpuinfo")
    return any("hypervisor" in line for line in text.splitlines() if line.startswith("flags")) if text else None


def _gpus() -> list[str]:
    model = _read("/proc/device-tree/model").strip("\0\n ")
    if "jetson" in model.lower():
        return [f"{model}, integrated"]
    if shutil.which("nvidia-smi") is None:
        return []
    said = _ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return [" ".join(line.split()) for line in said.splitlines() if line.strip()][:16]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ask(*command: str) -> str:
    """What a program says; nothing where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASKING_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
