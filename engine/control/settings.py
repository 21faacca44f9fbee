"""What the host remembers from one start to the next: device, ports, preset and MIDI map, in one TOML file."""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec
import platformdirs

from ... import DuendeError
from ...presets.format import MAX_BYTES, MAX_DOTS, write_atomically
from ...presets.library import HOME_VARIABLE, home

FILE = "settings.toml"


class DeviceSettings(msgspec.Struct):
    """The sound device: names or parts of them, channels, Hz, frames, blocks of safety, cores; as `duende live`."""

    input: str | None = None
    output: str | None = None
    in_channel: int = 1
    channels: Literal["mono", "wide", "stereo"] = "wide"
    rate: float | None = None
    block: int = 128
    safety: int = 0
    provider: str = "cpu"
    allow_feedback: bool = False
    priority: int = 70
    cores: list[int] = []


class NetworkSettings(msgspec.Struct):
    """Where control listens and whom it answers.

    host: IPv4 address to bind to. osc_port, http_port: None for 7700 and 7701 or, where another instance has them, the
    next that are free. allow: networks beside this machine; token: what HTTP and WebSocket clients must give.
    """

    name: str = "duende"
    host: str = "127.0.0.1"
    osc_port: int | None = None
    http_port: int | None = None
    allow: list[str] = []
    token: str = ""
    hosts: list[str] = []
    origins: list[str] = []
    zeroconf: bool = True


class MidiSettings(msgspec.Struct):
    """MIDI: names of ports, or parts of them, to listen to (none: every port), and what is bound to what."""

    ports: list[str] = []
    map: list[dict[str, Any]] = []


class Settings(msgspec.Struct):
    """The whole file."""

    preset: str = ""
    device: DeviceSettings = msgspec.field(default_factory=DeviceSettings)
    network: NetworkSettings = msgspec.field(default_factory=NetworkSettings)
    midi: MidiSettings = msgspec.field(default_factory=MidiSettings)


class ControlSetup(msgspec.Struct, frozen=True):
    """How to run. folder: of the shared state, show and info files, removed when the parent dies.

    settings: in force, from file and command line; kept in the file `settings_path`, without it nowhere.
    values: of parameters by name, set once the first preset plays. pid: the parent's.
    """

    folder: str
    settings: Settings
    settings_path: str | None
    values: dict[str, float]
    pid: int
    log_file: str | None = None


def settings_path() -> Path:
    """Where the file lies: in $DUENDE_HOME, else in the platform's place for user configuration."""
    if os.environ.get(HOME_VARIABLE):
        return home() / FILE
    return Path(platformdirs.user_config_dir("duende", appauthor=False)) / FILE


def read_settings(path: Path) -> Settings:
    """The settings; defaults where there is no file yet. DuendeError, with the place in the file, where it is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise DuendeError(f"cannot read the settings {path}: {error.strerror or error}") from error
    try:
        if len(data) > MAX_BYTES or any(line.count(b".") > MAX_DOTS for line in data.splitlines()):
            raise ValueError(f"more than {MAX_BYTES} bytes, or a line with more than {MAX_DOTS} dots")
        return msgspec.toml.decode(data, type=Settings)
    # What the reader of TOML raises: of too many digits, of too many brackets.
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise DuendeError(f"{path}: {line}; mend it, or remove it to start with defaults") from error


def write_settings(path: Path, settings: Settings) -> None:
    """Store the settings, whole or not at all."""
    plain = _without_none(msgspec.to_builtins(settings))
    # The token is in it.
    write_atomically(path, msgspec.toml.encode(plain), private=True)


def _without_none(value: Any) -> Any:
    """TOML has no word for nothing: what is not set is left out."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_none(one) for one in value]
    return value
