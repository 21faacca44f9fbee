"""What parent, control and engine tell each other: how to run, and structure, never values. Plain data, no pickles."""

import msgspec

from .. import DuendeError
from .split import path_samples

MAX_BYTES = 2**20
"""As many as to open all slots of the longest set list beforehand takes."""


CHANNELS = ("mono", "wide", "stereo")
"""One input to one sound; one to two sides where something makes two of it; two to two."""


class EngineSetup(msgspec.Struct, frozen=True):
    """How to run. state: the shared state's file, whose folder is removed when the parent dies.

    source, sink, in_channel, channels, rate, block, allow_feedback: as for `duende live`. silent: play to a clock
    instead. phrase: play tones in the place of the input. safety: blocks of extra delay. priority: of the audio
    thread, None: as it comes. cores: to stay on; none: any.
    """

    state: str
    source: str | None = None
    sink: str | None = None
    in_channel: int = 1
    channels: str = "wide"
    rate: float | None = None
    block: int = 128
    provider: str = "cpu"
    allow_feedback: bool = False
    silent: bool = False
    phrase: bool = False
    safety: int = 0
    priority: int | None = 70
    cores: list[int] = []


class SlotPlan(msgspec.Struct, frozen=True):
    """A slot: name, file that it plays (none for effects), kind (`engine.slots`) and branch (`engine.split`).

    path was checked by control, and comes from no network.
    """

    name: str
    path: str
    kind: str = "style"
    branch: str = ""


class Play(msgspec.Struct, frozen=True, tag="play"):
    """To the engine: fade to a chain of these slots, whose parameters are in a page of the shared state.

    search: where the device is not there, look for it again and again instead of ending; `Lost` tells of each time.
    """

    request: int
    page: int
    slots: list[SlotPlan]
    search: bool = False


class Preload(msgspec.Struct, frozen=True, tag="preload"):
    """To the engine: open the files of these slots, so that a later `Play` finds them warm."""

    request: int
    slots: list[SlotPlan]


class Played(msgspec.Struct, frozen=True, tag="played"):
    """From the engine: the chain of a `Play` is heard.

    latency: samples by slot, and branches: where each stands (none: in series); reblocking in samples. seamless:
    crossfaded, not faded out and in. seconds: from order to sound.
    """

    request: int
    page: int
    reblocking: int
    latency: list[int]
    seamless: bool
    seconds: float
    notices: list[str]
    branches: list[str] = []

    @property
    def delay(self) -> int:
        """Of the whole chain, in samples."""
        return self.reblocking + path_samples(self.latency, self.branches)


class Done(msgspec.Struct, frozen=True, tag="done"):
    """From the engine: a request that has no other answer was carried out."""

    request: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """From the engine: a request could not be carried out; what was heard before goes on."""

    request: int
    text: str


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """From the engine: sound runs. device: in words; block 0 varies; latency_ms of the device, None if not known."""

    device: str
    sample_rate: float
    block: int
    latency_ms: float | None
    silent: bool


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """From the parent or the engine: sound does not run, and why; `Opened` follows when it does again."""

    text: str


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """From anybody: a line for the log and for whoever watches."""

    text: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """From the parent: end. From control: end the whole program; text says why where something went wrong."""

    text: str = ""


Message = Play | Preload | Played | Done | Refused | Opened | Lost | Notice | Stop

_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Bytes for a pipe."""
    return msgspec.msgpack.encode(message)


def decode(data: bytes) -> Message:
    """A message from a pipe; DuendeError for what is none."""
    if len(data) > MAX_BYTES:
        raise DuendeError(f"a message of {len(data)} bytes: at most {MAX_BYTES} are allowed")
    try:
        message: Message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DuendeError(f"not a message: {error}") from error
    return message
