"""Recording of what comes in and what goes out: two 24-bit files, filled from the shared rings by looking often.

The engine does nothing for it. The files appear under their names when they are complete; until then they are
NAME.part.wav. What a program that was killed has left of them is completed by the next one (`recover`).
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from ... import DuendeError
from ...presets.library import home
from ..record import LONGEST_S, complete, reason
from ..shared import RING_FRAMES
from .namespace import PREFIX, Node, Range, Value, Values
from .news import News
from .session import Session

Float32 = npt.NDArray[np.float32]

RECORD = f"{PREFIX}/record"
STATE = f"{RECORD}/state"
SIDES = ("dry", "wet")
PART = ".part.wav"
FORMATS = ("wav", "flac")
KEEP_S = 4.0
POLL_S = 0.1
CHUNK = 2**15
# A block being written right now may cover this much of the oldest end of the rings.
MARGIN = 2**14
REACH = RING_FRAMES - MARGIN
BROKEN = (soundfile.LibsndfileError, OSError, AssertionError)
"""What writing a sound file raises; soundfile asserts on a short write."""


class _Take:
    """The files of one recording. Everything that touches the disk is called on another thread."""

    def __init__(
        self, folder: Path, name: str, suffix: str, rate: int, position: int, channels: tuple[int, int]
    ) -> None:
        self.folder, self.name, self.suffix, self.rate, self.channels = folder, name, suffix, rate, channels
        self.begin = self.position = position
        self.lost = 0
        self._files: list[tuple[Path, Any]] = []
        self._locks = contextlib.ExitStack()
        # Where control ends in the middle of a write, that write goes on while the files are closed.
        self._busy = threading.Lock()

    @property
    def seconds(self) -> float:
        return (self.position - self.begin) / self.rate

    def open(self) -> None:
        """Make folder and files; DuendeError where they cannot be."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            plain, number = self.name, 1
            while any(self.folder.glob(f"{self.name}_*")):
                number += 1
                self.name = f"{plain}-{number}"
            for side, channels in zip(SIDES, self.channels, strict=True):
                part = self.folder / f"{self.name}_{side}{PART}"
                self._files.append((part, soundfile.SoundFile(part, "w", self.rate, channels, "PCM_24")))
                _lock(part, self._locks)
        except BROKEN as error:
            self.drop()
            # The path is nobody's business on the network.
            raise DuendeError(f"cannot record into the folder {self.folder.name}: {reason(error)}") from error

    def write(self, dry: Float32, wet: Float32) -> None:
        """Append blocks [frames, channels]; raises one of BROKEN."""
        with self._busy:
            for (_, file), block in zip(self._files, (dry, wet), strict=True):
                file.write(np.nan_to_num(block, copy=False, nan=0.0, posinf=1.0, neginf=-1.0))
            # In here, so that what is written counts though control ends before it hears of it.
            self.position += len(dry)

    def close(self) -> list[str]:
        """Give the files their names; what was in the way, one line each."""
        with self._busy:
            if self.position == self.begin:
                self.drop()
                return ["nothing came in: does the engine run?"]
            with self._locks:
                return [trouble for part, file in self._files for trouble in self._finish(part, file)]

    def drop(self) -> None:
        """Take the files away: nothing was recorded."""
        self._locks.close()
        for part, file in self._files:
            file.close()
            part.unlink(missing_ok=True)

    def _finish(self, part: Path, file: Any) -> list[str]:
        troubles = []
        try:
            file.close()
        except BROKEN as error:
            troubles.append(f"{part.name}: {reason(error)}")
        _, trouble = complete(part, part.with_name(part.name.removesuffix(PART) + self.suffix))
        return troubles if trouble is None else [*troubles, trouble]


def _lock(part: Path, locks: contextlib.ExitStack) -> bool:
    """Hold a file for as long as `locks` are, or this process is; False where another one does, or none can."""
    try:
        import fcntl
    except ImportError:
        return False
    file = locks.enter_context(part.open("rb"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def recover(folder: Path) -> list[str]:
    """Complete, as wav, the recordings of a program that was killed; one line each. Blocks for as long as that takes.

    Those of a program that runs are locked. Where files cannot be locked (Windows), all are left as they are.
    """
    lines = []
    for part in sorted(path for side in SIDES for path in folder.glob(f"*_{side}{PART}")):
        name = part.name.removesuffix(PART)
        with contextlib.ExitStack() as locks, contextlib.suppress(OSError):
            if not _lock(part, locks):
                continue
            for ending in FORMATS:
                (folder / f".{name}.coding.{ending}").unlink(missing_ok=True)
            _, trouble = complete(part, folder / f"{name}.wav", anew=True)
            lines.append(trouble or f"{name}.wav: a recording that had no end was completed")
    return lines


class Recorder:
    """Records the rings to files. All in the event loop's thread, but for the disk.

    rate:   the device's sample rate in Hz now. folder: the recordings of the player unless given.
    keep_s: 0..4, how much of what was before the start is recorded, too. suffix: ".wav" or ".flac".
    """

    def __init__(
        self,
        session: Session,
        rate: Callable[[], float],
        news: News,
        folder: Path | None = None,
        now: Callable[[], datetime] = datetime.now,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.folder = home() / "recordings" if folder is None else folder
        self.keep_s, self.suffix = 0.0, ".wav"
        self._session, self._shared, self._rate, self._news = session, session.shared, rate, news
        self._now, self._sleep = now, sleep
        self._changing = asyncio.Lock()
        self._take: _Take | None = None
        self._task: asyncio.Task[None] | None = None
        self._until: int | None = None
        self._name = ""

    @property
    def on(self) -> bool:
        return self._task is not None

    @property
    def name(self) -> str:
        """What the files of this recording, or of the last one, begin with."""
        return self._name

    async def start(self) -> str:
        """Record from now, or from keep_s before now; returns the name. DuendeError where there can be no files."""
        rate, written = self._rate(), self._shared.written
        async with self._changing:
            if self.on:
                return self._name
            kept = min(round(self.keep_s * rate), REACH, written)
            name = f"{self._now():%Y-%m-%d_%H-%M-%S}_{self._session.state.preset or 'duende'}"
            channels = self._shared.channels()
            take = _Take(self.folder, name, self.suffix, round(rate), written - kept, channels)
            await asyncio.to_thread(take.open)
            self._take, self._name, self._until = take, take.name, None
            self._task = asyncio.get_running_loop().create_task(self._run(take))
        self._news.touch(RECORD, STATE)
        return self._name

    async def stop(self) -> None:
        """End the recording with what was played up to now; returns when the files have their names."""
        until = self._shared.written
        async with self._changing:
            if self._task is not None:
                self._until = until
                await self._task

    async def end(self) -> None:
        """Stop because the program ends, and is not given the time to make FLAC of it: wav, too, will do."""
        if self._take is not None:
            self._take.suffix = ".wav"
        await self.stop()

    async def recover(self) -> None:
        """Complete what a program that was killed has left (`recover`), and tell of it."""
        for text in await asyncio.to_thread(recover, self.folder):
            self._news.fail(RECORD, text)

    def nodes(self) -> list[Node]:
        """The recorder's addresses."""

        async def record(values: Values) -> Values:
            if values[0]:
                return [await self.start()]
            await self.stop()
            return [self._name]

        def keep(values: Values) -> None:
            self.keep_s = float(values[0])  # type: ignore[arg-type]

        def choose(values: Values) -> None:
            self.suffix = f".{values[0]!s}"

        def state() -> list[Value]:
            return [int(self.on), self._name]

        return [
            Node(
                RECORD,
                "i",
                "1 records input and output to two files in the player's folder of recordings, 0 ends it",
                ranges=(Range(0, 1),),
                clip=True,
                read=lambda: [int(self.on)],
                write=record,
            ),
            Node(
                f"{RECORD}/keep",
                "f",
                "how much of what was played before the start is recorded, too",
                "s",
                (Range(0.0, KEEP_S),),
                clip=True,
                read=lambda: [self.keep_s],
                write=keep,
            ),
            Node(
                f"{RECORD}/format",
                "s",
                "format of the next recording, 24 bit",
                ranges=(Range(allowed=FORMATS),),
                read=lambda: [self.suffix[1:]],
                write=choose,
            ),
            Node(
                STATE, "is", "1 while it records; what the files' names begin with (_dry and _wet follow)", read=state
            ),
        ]

    async def _run(self, take: _Take) -> None:
        trouble = ""
        try:
            while not trouble:
                last = self._until is not None
                trouble = await self._fetch(take)
                if last:
                    break
                await self._sleep(POLL_S)
        except asyncio.CancelledError:
            take.suffix = ".wav"
            raise
        except BROKEN as error:
            trouble = f"the files could not be written further ({reason(error)}): is the disk full?"
        finally:
            troubles = await asyncio.to_thread(take.close)
            self._take = self._task = None
            self._news.touch(RECORD, STATE)
        if take.lost:
            lost_ms = 1000.0 * take.lost / take.rate
            troubles.append(f"{lost_ms:.0f} ms are silent: control or the disk was too slow for them")
        for text in ([trouble] if trouble else []) + troubles:
            self._news.fail(RECORD, f"recording {take.name} of {take.seconds:.1f} s: {text}")

    async def _fetch(self, take: _Take) -> str:
        """Write what has come in since the last time; why it has to end, if it has."""
        until = self._shared.written if self._until is None else self._until
        longest = take.begin + round(LONGEST_S * take.rate)
        while take.position < min(until, longest):
            oldest = self._shared.written - REACH
            if take.position < oldest:
                # Half a second more, or the next piece would be gone as well.
                count = min(oldest + take.rate // 2, until, longest) - take.position
                take.lost += count
                dry, wet = (np.zeros((min(count, CHUNK), number), dtype=np.float32) for number in take.channels)
                for at in range(0, count, CHUNK):
                    await asyncio.to_thread(take.write, dry[: count - at], wet[: count - at])
                continue
            stop = min(take.position + CHUNK, until, longest)
            try:
                dry, wet = self._shared.recent(take.position, stop)
            except ValueError:
                # Written over in this very moment: the gap is seen the next time.
                return ""
            await asyncio.to_thread(take.write, dry, wet)
        if take.position >= longest:
            return f"{LONGEST_S:.0f} s is the longest recording: start another"
        if round(self._rate()) != take.rate:
            return f"the device runs at {self._rate():g} Hz now, not at {take.rate}: start another"
        return ""
