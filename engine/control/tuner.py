"""The tuner: while it is on, the pitch of what is played goes to all subscribers twenty times a second."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from .namespace import PREFIX, Node, Range, Values
from .news import News
from .osc import Message
from .pitch import SPAN_S, Pitch, find_pitch
from .session import Session

TUNER = f"{PREFIX}/tuner"
PITCH = f"{TUNER}/pitch"
REFERENCE_HZ = (430.0, 450.0)
PERIOD_S = 0.05


class Tuner:
    """Hears the last 0.2 s of input in the shared rings. All in the event loop's thread; an estimate takes about 1 ms.

    rate: the device's sample rate in Hz now.
    """

    def __init__(
        self,
        session: Session,
        rate: Callable[[], float],
        news: News,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.reference_hz = 440.0
        self.mutes = False
        self._session, self._rate, self._news, self._sleep = session, rate, news, sleep
        self._task: asyncio.Task[None] | None = None
        self._muted = False
        self._heard = 0
        self._pitch: Pitch | None = None

    @property
    def on(self) -> bool:
        return self._task is not None

    def switch(self, on: bool) -> None:
        """Begin or end tuning; where it mutes, the output is silent meanwhile."""
        if on == self.on:
            return
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        else:
            self._task.cancel()
            self._task = None
            self._pitch = None
        self._mute()
        self._news.touch(TUNER)

    def set_mute(self, mutes: bool) -> None:
        """Whether tuning silences the output, from now on."""
        self.mutes = mutes
        self._mute()
        self._news.touch(f"{TUNER}/mute")

    def hear(self) -> Pitch | None:
        """The pitch of what was played last; None for none, and where nothing came in since the last time."""
        shared, count = self._session.shared, math.ceil(SPAN_S * self._rate())
        until = shared.written
        if until == self._heard or until < count:
            return None
        self._heard = until
        try:
            dry, _ = shared.recent(until - count, until)
        except ValueError:
            return None
        return find_pitch(dry.mean(axis=1), self._rate(), self.reference_hz)

    def nodes(self) -> list[Node]:
        """The tuner's addresses."""

        def switch(values: Values) -> None:
            self.switch(bool(values[0]))

        def set_mute(values: Values) -> None:
            self.set_mute(bool(values[0]))

        def set_reference(values: Values) -> None:
            self.reference_hz = float(values[0])  # type: ignore[arg-type]

        one = (Range(0, 1),)
        return [
            Node(
                TUNER,
                "i",
                "1 tunes: the pitch of the input is sent as /duende/tuner/pitch",
                ranges=one,
                clip=True,
                read=lambda: [int(self.on)],
                write=switch,
            ),
            Node(
                f"{TUNER}/mute",
                "i",
                "1 silences the output while it tunes",
                ranges=one,
                clip=True,
                read=lambda: [int(self.mutes)],
                write=set_mute,
            ),
            Node(
                f"{TUNER}/reference",
                "f",
                "frequency of A4",
                "Hz",
                (Range(*REFERENCE_HZ),),
                clip=True,
                read=lambda: [self.reference_hz],
                write=set_reference,
            ),
            Node(
                PITCH,
                "sff",
                "the note that is played with its octave (E2; empty: none), how many cents it is off, and its "
                "frequency in Hz; one string at a time, E1 to E6; 20 times a second while it tunes",
                read=lambda: _values(self._pitch),
                stream=True,
            ),
        ]

    async def _run(self) -> None:
        while True:
            await self._sleep(PERIOD_S)
            self._pitch = self.hear()
            self._news.stream([Message(PITCH, _values(self._pitch))])

    def _mute(self) -> None:
        """Mute the session while it tunes, and take back no more than that."""
        wanted = self.on and self.mutes
        if wanted and not self._session.get("mute"):
            self._session.set("mute", 1.0)
            self._muted = True
        elif not wanted and self._muted:
            self._session.set("mute", 0.0)
            self._muted = False


def _values(pitch: Pitch | None) -> Values:
    return ["", 0.0, 0.0] if pitch is None else [pitch.name, pitch.cents, pitch.hz]
