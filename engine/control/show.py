"""A show from start to end, as the command line runs it: settings to processes, and what the player reads meanwhile."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from ... import DuendeError
from ...presets.library import Library
from ..messages import EngineSetup, Lost, Message, Notice, Opened, Played, SlotPlan
from .early import Early
from .log import configure_log
from .settings import ControlSetup, Settings
from .supervisor import Supervisor

log = logging.getLogger("duende.parent")


class Show:
    """One run of the host.

    settings: in force; path: where control keeps them, None: nowhere. values: of parameters by name, for the first
    preset. headless: begin even where the device is not there yet. early: processes that were begun before.
    """

    def __init__(
        self,
        settings: Settings,
        path: Path | None,
        values: dict[str, float],
        *,
        headless: bool = False,
        log_file: Path | None = None,
        early: Early | None = None,
    ) -> None:
        self._settings, self._headless = settings, headless
        self._log_file = None if log_file is None else str(log_file)
        try:
            configure_log(self._log_file)
        except OSError as error:
            raise DuendeError(f"cannot write the log {log_file}: {error.strerror or error}") from error
        device = settings.device
        engine = EngineSetup(
            state="",
            source=device.input,
            sink=device.output,
            in_channel=device.in_channel,
            channels=device.channels,
            rate=device.rate,
            block=device.block,
            provider=device.provider,
            allow_feedback=device.allow_feedback,
            safety=device.safety,
            priority=device.priority,
            cores=device.cores,
        )

        def control(folder: Path) -> bytes:
            kept = None if path is None else str(path)
            setup = ControlSetup(str(folder), settings, kept, values, os.getpid(), self._log_file)
            return msgspec.json.encode(setup)

        self._opened: Opened | None = None
        self._playing = False
        self._say: Callable[[str], object] = lambda text: None
        entry = Library().find(settings.preset)
        first = [
            SlotPlan(slot.effect or slot.file, str(entry.file_of(slot) or ""), slot.kind) for slot in entry.read().slots
        ]
        self.supervisor = Supervisor(engine, control, preload=first, stubborn=headless, tell=self._tell, early=early)

    def run(self, done: threading.Event, seconds: float | None, say: Callable[[str], object]) -> str | None:
        """Until `done` is set or the time is over; why it could not go on, or None. say: is given what to read."""
        self._say = say
        failure = self.supervisor.run(done, seconds)
        telemetry, health = self.supervisor.telemetry, self.supervisor.health
        if self._opened is not None:
            load = telemetry.load()
            restarts = f"; engine started again {health.engine_restarts} times" if health.engine_restarts else ""
            say(
                f"{load.callbacks} blocks, median {load.median_us:.0f} us and p99 {load.p99_us:.0f} us of "
                f"{load.period_us:.0f} us; {telemetry.count('late')} late, {telemetry.count('input_xruns')} input and "
                f"{telemetry.count('output_xruns')} output xruns, {telemetry.count('faults')} faults{restarts}"
            )
        return failure

    def _tell(self, message: Message) -> None:
        """News of the processes."""
        if isinstance(message, Opened):
            again = self._opened is not None
            self._opened = message
            log.info("%s, %g Hz, blocks of %s", message.device, message.sample_rate, message.block or "any size")
            if again and not message.silent:
                log.info("the sound is back")
        elif isinstance(message, Played) and self._opened is not None:
            if not self._playing:
                self._playing = True
                self._first(message, self._opened)
        elif isinstance(message, Lost):
            # At the start it is the reason for which the program ends.
            if self._opened is not None or self._headless:
                log.warning("%s", message.text)
        elif isinstance(message, Notice):
            log.info("%s", message.text)

    def _first(self, played: Played, opened: Opened) -> None:
        per_ms = opened.sample_rate / 1000.0
        safety = self._settings.device.safety * opened.block
        added = played.delay + safety
        device = "not known" if opened.latency_ms is None else f"{opened.latency_ms:.2f} ms"
        parts = [f"device {device}", f"re-blocking {played.reblocking / per_ms:.2f} ms"]
        parts += [f"slot {number} {samples / per_ms:.2f} ms" for number, samples in enumerate(played.latency, start=1)]
        if safety:
            parts.append(f"safety {safety / per_ms:.2f} ms")
        self._say(f"{self._settings.preset}: {opened.device}, {opened.sample_rate:g} Hz")
        self._say(f"latency: {', '.join(parts)}; added by duende {added / per_ms:.2f} ms ({added} samples)")
        self._say("playing; Ctrl-C ends")
