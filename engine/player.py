"""The engine process: a device, the host on it, and the orders that come through a pipe."""

import contextlib
import gc
import importlib
import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from .. import DuendeError
from .cabinet import Cabinet
from .device import ClockDevice, Device, SoundDevice, choose_device, list_devices, look_again, refuse_feedback
from .fx.graph import import_pyo
from .fx.graphs import Graphs
from .graph_check import runtime
from .host import Host, check_rate
from .manners import Turn, giving_way
from .messages import Done, EngineSetup, Lost, Message, Notice, Opened, Play, Played, Preload, Refused, SlotPlan, Stop
from .model import Model, open_model
from .preset import Rig, build_rig
from .processor import Processor
from .realtime import pin, work_beside, yield_quickly
from .response import Responses
from .shared import map_state
from .slots import make_processor, processor_for
from .waveform import WaveformProcessor
from .waveform_model import WaveformModel, open_waveform
from .wire import Wire, read_setup

BEAT_S = 0.05
SWITCH_TIMEOUT_S = 3.0
KEEP_UP_S = 5e-4
LOOK_S = 0.5
LOOKS = 100
"""What sound libraries may lose each time that they start ends with the process after so many."""
OPEN_MODELS = 32
Kept = TypeVar("Kept")
USUAL_RATE = 48000.0
STOP_S = 0.3
LOST = 4
TELL_EVERY_S = 2.0
TROUBLES = {
    "rests": "blocks came late again and again: the plain guitar plays for 2 s (a larger --block or --safety helps)",
    "faults": "a style gave nonsense: the plain guitar played in its place, and it was started afresh",
    "failed": "the chain failed: silence played in its place (a fault of duende)",
    "input_repairs": "the device delivered samples that are no numbers: silence played in their place",
}


class Player:
    """Carries out orders one after the other. The device opens with the first `Play`: until then it is a spare."""

    def __init__(self, setup: EngineSetup, wire: Wire) -> None:
        self._setup, self._wire = setup, wire
        self._shared = map_state(Path(setup.state))
        self._host: Host | None = None
        self._models: dict[tuple[str, int], Model] = {}
        self._captures: dict[tuple[str, int], WaveformModel] = {}
        self._responses = Responses()
        self._turn = Turn()
        self._graphs = Graphs(self._turn)
        self._told = ""
        self._troubles = dict.fromkeys(TROUBLES, 0)
        self._told_at = -TELL_EVERY_S
        # The order that waits for its device, when to look for that again, and how often it was looked for.
        self._sought: Play | None = None
        self._look_at, self._looks = 0.0, 0

    def run(self, inbox: "queue.SimpleQueue[Message | None]") -> int:
        """Until the parent says so or is gone (0), or the device is (LOST)."""
        while True:
            try:
                message = inbox.get(timeout=BEAT_S)
            except queue.Empty:
                pass
            else:
                if message is None:
                    # The parent is dead: nobody else is left to clean up.
                    shutil.rmtree(Path(self._setup.state).parent, ignore_errors=True)
                    return 0
                if isinstance(message, Stop):
                    return 0
                with self._manners():
                    going = self._carry_out(message)
                if not going:
                    return LOST
            if self._sought is not None and not self._look_again(self._sought):
                return LOST
            if self._host is not None and not self._watch(self._host):
                return LOST

    def stop(self) -> None:
        """Stop the sound, but do not wait for a device that hangs."""
        if self._host is not None:
            thread = threading.Thread(target=self._host.device.stop, daemon=True)
            thread.start()
            thread.join(STOP_S)

    @contextlib.contextmanager
    def _manners(self) -> Iterator[None]:
        """As long as something plays: never in the audio thread's way."""
        if self._host is None:
            yield
        else:
            with giving_way(self._turn):
                yield

    def _carry_out(self, message: Message) -> bool:
        """False where the device cannot be had."""
        try:
            if isinstance(message, Preload):
                for slot in message.slots:
                    self._open_ahead(slot)
                self._wire.send(Done(message.request))
            elif isinstance(message, Play):
                return self._play(message)
        except DuendeError as error:
            assert isinstance(message, Play | Preload)
            self._wire.send(Refused(message.request, str(error)))
        return True

    def _look_again(self, order: Play) -> bool:
        """Try an order once more whose device was not there; False where that was done often enough."""
        if time.monotonic() < self._look_at:
            return True
        self._look_at = time.monotonic() + LOOK_S
        self._looks += 1
        if self._looks > LOOKS:
            return False
        try:
            look_again()
        except DuendeError as error:
            return self._miss(order, str(error))
        return self._carry_out(order)

    def _miss(self, order: Play, reason: str) -> bool:
        """Say that an order's device is not there; whether it is looked for again."""
        self._wire.send(Lost(reason))
        self._sought = order if order.search else None
        self._look_at = time.monotonic() + LOOK_S
        return order.search

    def _play(self, order: Play) -> bool:
        started = time.perf_counter()
        processors = [
            (slot.name, make_processor(slot, self._model, self._responses.open, self._capture, self._graphs))
            for slot in order.slots
        ]
        branches = [slot.branch for slot in order.slots]
        rig = build_rig(processors, self._shared, order.page, branches)
        seamless = True
        if self._host is None:
            try:
                device, name = self._find()
            except DuendeError as error:
                return self._miss(order, str(error))
            self._sought = None
            if not self._open(rig, device, name):
                return False
        else:
            seamless = self._host.switch(rig)
            until = time.perf_counter() + SWITCH_TIMEOUT_S
            while self._host.switching and time.perf_counter() < until:
                self._host.keep_up()
                time.sleep(KEEP_UP_S)
            self._host.collect()
        latency = rig.chain.latency
        self._wire.send(
            Played(
                order.request,
                order.page,
                latency.reblocking,
                [samples for _, samples in latency.slots],
                seamless,
                time.perf_counter() - started,
                [notice for slot in order.slots if slot.kind == "style" for notice in self._model(slot.path).notices]
                + [
                    notice
                    for _, one in processors
                    if isinstance(one, Cabinet | WaveformProcessor)
                    for notice in one.notices
                ],
                branches,
            )
        )
        return True

    def _open(self, rig: Rig, device: Device, name: str) -> bool:
        """Start the sound; False where the device does not start. DuendeError where the rig does not do."""
        setup = self._setup
        try:
            host = Host(rig, device, setup.safety, setup.priority, turn=self._turn, wide=setup.channels == "wide")
        except DuendeError:
            device.stop()
            raise
        try:
            host.start()
        except DuendeError as error:
            self._wire.send(Lost(str(error)))
            return False
        gc.disable()
        self._host = host
        self._wire.send(Opened(name, device.sample_rate, device.block or 0, device.latency_ms, setup.silent))
        return True

    def _find(self) -> tuple[Device, str]:
        """What plays, and its name; DuendeError where it is not there."""
        device, name = self._device()
        if self._setup.phrase:
            from .phrase import PhraseDevice

            device, name = PhraseDevice(device), f"{name}, with a phrase in the place of the input"
        return device, name

    def _device(self) -> tuple[Device, str]:
        setup = self._setup
        inputs = 2 if setup.channels == "stereo" else 1
        if setup.silent:
            return ClockDevice(setup.rate or 48000.0, max(64, setup.block), inputs), "no device"
        devices = list_devices()
        source = choose_device(devices, setup.source, "input")
        sink = choose_device(devices, setup.sink or setup.source, "output")
        if not setup.allow_feedback:
            refuse_feedback(source, sink)
        rate = check_rate(setup.rate or source.sample_rate)
        device = SoundDevice(source, sink, setup.in_channel, rate, setup.block, inputs)
        first = setup.in_channel
        heard = f"channel {first}" if inputs == 1 else f"channels {first} and {first + 1}"
        return device, f"{source.name} {heard} to {sink.name}"

    def _watch(self, host: Host) -> bool:
        """False where the device is gone."""
        # A device that rested for long in the middle of a switch goes on with it.
        host.keep_up()
        host.collect()
        if host.notice and host.notice != self._told:
            self._told = host.notice
            self._wire.send(Notice(host.notice))
        self._tell_troubles(host)
        if not host.device.running:
            self._wire.send(Lost("the device stopped delivering: was it unplugged, or its server ended?"))
            return False
        return True

    def _tell_troubles(self, host: Host) -> None:
        """Say what the audio thread has counted, each kind once in a while."""
        now = time.monotonic()
        if now - self._told_at < TELL_EVERY_S:
            return
        for name, text in TROUBLES.items():
            count = host.telemetry.count(name)
            if count > self._troubles[name]:
                self._wire.send(Notice(text))
                self._told_at = now
            self._troubles[name] = count

    def _model(self, path: str) -> Model:
        return _kept(self._models, path, lambda: open_model(path, self._setup.provider))

    def _capture(self, path: str) -> WaveformModel:
        return _kept(self._captures, path, lambda: open_waveform(path, trusted=True))

    def _open_ahead(self, slot: SlotPlan) -> None:
        """Do once what a slot's first chain would have to wait for."""
        if slot.kind == "style":
            model = self._model(slot.path)
            self._warm(model.spec.name, processor_for(model), model.spec.sample_rate)
        elif slot.kind == "capture":
            capture = self._capture(slot.path)
            self._warm(slot.name, WaveformProcessor(capture), capture.spec.sample_rate)
        elif slot.kind == "cabinet":
            self._responses.open(slot.path, self._rate(USUAL_RATE))

    def _warm(self, name: str, processor: Processor, usual_rate: float) -> None:
        host, setup = self._host, self._setup
        most = host.device.max_block if host is not None else setup.block or 1024
        build_rig([(name, processor)]).chain.prepare(self._rate(usual_rate), None, max(most, 1024))

    def _rate(self, usual: float) -> float:
        """The device's rate in Hz, the one asked for while none is open, or else the usual one."""
        return self._host.device.sample_rate if self._host is not None else self._setup.rate or usual


def _kept(kept: dict[tuple[str, int], Kept], path: str, make: Callable[[], Kept]) -> Kept:
    """What was made of a file, anew where the file has changed; the newest OPEN_MODELS are kept."""
    try:
        key = (path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise DuendeError(f"cannot read the model {Path(path).name}: {error.strerror or error}") from error
    if key not in kept:
        while len(kept) >= OPEN_MODELS:
            del kept[next(iter(kept))]
        kept[key] = make()
    return kept[key]


def main() -> None:
    """Run the engine, with the parent on standard input and output; its setup comes first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, sink = os.dup(0), os.dup(1)
    # What libraries print must not get between the messages.
    os.dup2(2, 1)
    # They hold the interpreter for long: not while something plays. The parent still finds out what is wanted.
    for bring in (runtime, import_pyo):
        with contextlib.suppress(DuendeError):
            bring()
    importlib.import_module("onnx")
    try:
        setup = msgspec.json.decode(read_setup(source), type=EngineSetup)
    except EOFError:
        # The parent found that nothing is to be played.
        return
    if setup.priority is not None:
        work_beside()
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    wire = Wire(source, sink, inbox.put)
    yield_quickly()
    if setup.cores and (notice := pin(setup.cores)) is not None:
        wire.send(Notice(notice))
    player = Player(setup, wire)
    wire.start()
    code = 1
    with contextlib.suppress(KeyboardInterrupt):
        code = player.run(inbox)
    player.stop()
    # PortAudio waits for a dead server when Python ends.
    os._exit(code)


if __name__ == "__main__":
    main()
