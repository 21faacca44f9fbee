"""The sound devices, asked for in a process of its own: PortAudio hangs for ever where its sound server is dead."""

import subprocess
import sys

import msgspec

from .. import DuendeError
from .device import DeviceInfo, list_devices, portaudio

TIMEOUT_S = 10.0


class DeviceList(msgspec.Struct, frozen=True):
    """What PortAudio said. version: its own words; trouble: why there is no list, or empty."""

    version: str
    devices: list[DeviceInfo]
    trouble: str = ""


def ask_devices(timeout_s: float = TIMEOUT_S) -> DeviceList:
    """All devices that PortAudio sees. It writes what it likes to standard error; none of it is kept."""
    command = [sys.executable, "-P", "-m", __name__]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return DeviceList("", [], f"the sound server did not answer within {timeout_s:g} s")
    try:
        return msgspec.json.decode(done.stdout, type=DeviceList)
    except msgspec.DecodeError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return DeviceList("", [], f"PortAudio ended with status {done.returncode}: {''.join(last) or 'no word'}")


def main() -> None:
    """Print the list as JSON."""
    try:
        found = DeviceList(str(portaudio().get_portaudio_version()[1]), list_devices())
    except DuendeError as error:
        found = DeviceList("", [], str(error))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
