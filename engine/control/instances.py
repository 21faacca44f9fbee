"""Hosts that run on this machine: found by the files that they leave in the runtime folder."""

from pathlib import Path

import msgspec

from ... import DuendeError
from .supervisor import FOLDER, alive, runtime_folder

INFO = "info.json"


class InstanceInfo(msgspec.Struct, frozen=True):
    """Where a running host can be reached. pid: its parent process. token: whether its web side asks for one."""

    pid: int
    name: str
    host: str
    osc_port: int
    http_port: int
    token: bool = False

    @property
    def address(self) -> str:
        """Where this machine reaches it."""
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host


def instances(folder: Path | None = None) -> list[InstanceInfo]:
    """Hosts that run now, the lowest port first."""
    found = []
    for path in (folder or runtime_folder()).glob(f"{FOLDER}*/{INFO}"):
        try:
            info = msgspec.json.decode(path.read_bytes(), type=InstanceInfo)
        except (OSError, msgspec.DecodeError):
            continue
        if alive(info.pid):
            found.append(info)
    return sorted(found, key=lambda info: info.osc_port)


def choose_instance(port: int | None) -> InstanceInfo:
    """The host on an OSC port, or the only one that runs; DuendeError that says which there are."""
    running = instances()
    chosen = [info for info in running if port in (None, info.osc_port)]
    if len(chosen) == 1:
        return chosen[0]
    if not running:
        raise DuendeError("no host runs on this machine: start one with `duende live`")
    there = ", ".join(f"{info.name} on port {info.osc_port}" for info in running)
    if chosen:
        raise DuendeError(f"several hosts run ({there}): choose one with --port")
    raise DuendeError(f"no host listens on port {port}; there are: {there}")
