"""The round trip through a device and a cable: of a wire, and of a chain; the difference beside the prediction."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ... import DuendeError
from ...presets.format import write_atomically
from ...presets.library import Entry
from ..device import Callback, Device, Float32
from ..host import Host
from ..messages import SlotPlan
from ..model import load_model
from ..preset import Rig, build_rig, processors_for
from ..processor import Processor
from ..slots import processor_for
from .delay import Delay, Probe, by_impulse, by_sequence, check_level, make_probe
from .machine import MachineInfo

FORMAT = 1
SETTLE_S = 0.3
POLL_S = 0.01
PATIENCE_S = 5.0
TRIES = 10
SAME_SAMPLES = 0.1
"""What is nearer to the prediction than that is equal to it."""
WIRE = "a plain wire"

Say = Callable[[str, float], None]
"""What goes on now, and the share that is done."""


class Port:
    """A device for one host on a loop: same rate, blocks and channels; it sounds when the loop lets it."""

    def __init__(self, device: Device) -> None:
        self.sample_rate, self.inputs, self.outputs = device.sample_rate, 1, device.outputs
        self.block, self.max_block = device.block, device.max_block
        self.latency_ms: float | None = None
        self.running = False
        self.callback: Callback | None = None

    def start(self, callback: Callback) -> None:
        self.callback, self.running = callback, True

    def stop(self) -> None:
        self.callback, self.running = None, False


class Loop:
    """Plays a sound through one port or none to a device, and records what comes back at the same time."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._block = np.zeros((device.max_block, 1), dtype=np.float32)
        self._sound = self._heard = np.zeros(0, dtype=np.float32)
        self._port: Port | None = None
        self._at = self._length = 0
        self._torn = False

    def port(self) -> Port:
        """A device for one more host."""
        return Port(self._device)

    def start(self) -> None:
        """Start the device, silent."""
        self._device.start(self._deliver)

    def stop(self) -> None:
        """Stop the device."""
        self._device.stop()

    def take(self, sound: Float32, port: Port | None) -> tuple[Float32, bool]:
        """What came back [n] while a sound [n] was played, and whether any of it was lost.

        DuendeError where the device does not deliver.
        """
        self._heard = np.zeros(len(sound), dtype=np.float32)
        # Touched now, so that the callback waits for no page.
        self._heard += 0.0
        self._sound, self._port, self._torn, self._at = sound, port, False, 0
        self._length = len(sound)
        until = time.monotonic() + PATIENCE_S + len(sound) / self._device.sample_rate
        while self._at < self._length:
            if time.monotonic() > until or not self._device.running:
                raise DuendeError("the device stopped delivering: was it unplugged, or its server ended?")
            time.sleep(POLL_S)
        self._length = 0
        return self._heard, self._torn

    def _deliver(self, block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        """Audio thread."""
        at, count = self._at, min(len(out), self._length - self._at)
        if count <= 0:
            out.fill(0.0)
            return
        source = self._block[: len(out)]
        source.fill(0.0)
        source[:count, 0] = self._sound[at : at + count]
        callback = None if self._port is None else self._port.callback
        if callback is None:
            out[:] = source
        else:
            callback(source, out, False, False)
        self._heard[at : at + count] = block[:count, 0]
        self._torn |= input_xrun or output_xrun
        self._at = at + count


class Way(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way for the sound, measured so many times. Samples.

    predicted: of its chain, None for the wire. sequence, impulse: round trips, one for each time; impulse is empty
    where it was lost in noise. added: beyond the wire's of the same round.
    """

    name: str
    predicted: int | None
    sequence: list[float]
    impulse: list[float]
    added: list[float]

    @property
    def measured(self) -> float:
        """Median of what it adds to a wire; of the wire, of the round trip."""
        return statistics.median(self.added or self.sequence)

    @property
    def spread(self) -> float:
        """Between the least and the most."""
        values = self.added or self.sequence
        return max(values) - min(values)

    @property
    def equal(self) -> bool:
        """Whether what was measured is what was predicted."""
        return self.predicted is None or abs(self.measured - self.predicted) <= SAME_SAMPLES


class LatencyFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that was found. parts: the prediction for the whole chain, by part, in words.

    device_ms: what the device tells of itself, None: nothing. gain_db, inverted, clear_db: of the wire.
    """

    format: int
    machine: MachineInfo
    device: str
    rate: float
    block: int
    preset: str
    device_ms: float | None
    parts: list[tuple[str, str]]
    ways: list[Way]
    gain_db: float
    inverted: bool
    clear_db: float

    def verdict(self) -> str:
        """Whether the chain is as late as predicted, or where not."""
        whole = self.ways[-1]
        if whole.equal and all(way.equal for way in self.ways):
            return f"as predicted: {whole.predicted} samples ({1000.0 * whole.measured / self.rate:.2f} ms) are added"
        before, lines = 0.0, []
        for way in self.ways[1:]:
            off = way.measured - (way.predicted or 0)
            if abs(off - before) > SAME_SAMPLES:
                lines.append(f"{way.name}: {off - before:+.2f} samples beyond the prediction")
            before = off
        return "not as predicted: " + "; ".join(lines or [f"{whole.name}: {before:+.2f} samples"])

    @property
    def passed(self) -> bool:
        """Whether everything is as late as predicted."""
        return all(way.equal for way in self.ways)


def write_latency(path: Path, found: LatencyFigures) -> None:
    """Write the figures as JSON; DuendeError where that cannot be."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(found), indent=1))


@dataclass
class _Chain:
    name: str
    host: Host
    port: Port


def stages(entry: Entry, provider: str = "cpu") -> list[tuple[str, Callable[[], Rig]]]:
    """The chain slot by slot: nothing, the first slot, the first two, and so on; each passes the plain guitar on.

    Styles stand at amount 0, where the sound goes through windows and model all the same; every other slot, which
    would bend it, is bypassed. Branches of a split are there as the chain has them.
    """
    preset = entry.read()
    found: list[tuple[str, Callable[[], Rig]]] = []
    for count in range(len(preset.slots) + 1):

        def make(count: int = count) -> Rig:
            processors: list[tuple[str, Processor]] = []
            slots = preset.slots[:count]
            for slot in slots:
                path = entry.file_of(slot)
                if slot.kind == "style":
                    assert path is not None
                    model = load_model(path, provider)
                    processors.append((model.spec.name, processor_for(model)))
                else:
                    plan = SlotPlan(slot.effect or slot.file, str(path or ""), slot.kind)
                    processors += processors_for([plan], provider)
            rig = build_rig(processors, branches=[slot.branch for slot in slots])
            rig.bank.set("amount", 0.0)
            for number, slot in enumerate(slots, start=1):
                rig.bank.set(f"slot/{number}/bypass", float(slot.kind != "style"))
            return rig

        slot = preset.slots[count - 1] if count else None
        name = "without a slot" if slot is None else f"with slot {count}, {slot.effect or Path(slot.file).stem}"
        found.append((name, make))
    return found


def measure_latency(
    device: Device,
    about: tuple[MachineInfo, str, str],
    chains: Sequence[tuple[str, Callable[[], Rig]]],
    times: int,
    say: Say,
    *,
    safety: int = 0,
    wait_s: float = 0.0,
    priority: int | None = None,
) -> LatencyFigures:
    """Measure a wire and these chains in turns, so many times.

    about: machine, words for the device, name of the preset. wait_s: for the cable, so long. DuendeError where nothing
    comes back, or the device loses samples again and again.
    """
    loop = Loop(device)
    made: list[_Chain] = []
    for name, make in chains:
        own = loop.port()
        made.append(_Chain(name, Host(make(), own, safety, priority), own))
    probe = make_probe(device.sample_rate)
    takes: list[list[tuple[Delay, float | None]]] = [[] for _ in range(len(made) + 1)]
    loop.start()
    try:
        for chain in made:
            chain.host.start()
        still = np.zeros(round(SETTLE_S * device.sample_rate), dtype=np.float32)
        ports = [None, *(chain.port for chain in made)]
        for port in ports:
            loop.take(still, port)
        _wait_for_cable(loop, probe, wait_s, say)
        steps = times * len(takes)
        for turn in range(times):
            for place, port in enumerate(ports):
                name = WIRE if port is None else made[place - 1].name
                say(f"{name}, {turn + 1} of {times}", (turn * len(takes) + place) / steps)
                takes[place].append(_take(loop, probe, port))
    finally:
        for chain in made:
            chain.host.stop()
        loop.stop()
    wire = takes[0]
    ways = [_way(WIRE, None, wire, [])]
    for chain, found in zip(made, takes[1:], strict=True):
        added = [one.samples - plain.samples for (one, _), (plain, _) in zip(found, wire, strict=True)]
        ways.append(_way(chain.name, chain.host.latency().added_samples, found, added))
    first = wire[0][0]
    machine, words, preset = about
    return LatencyFigures(
        FORMAT,
        machine,
        words,
        device.sample_rate,
        device.block or 0,
        preset,
        device.latency_ms,
        made[-1].host.latency().lines()[1:],
        ways,
        first.gain_db,
        first.inverted,
        first.clear_db,
    )


def _wait_for_cable(loop: Loop, probe: Probe, wait_s: float, say: Say) -> None:
    """Play until something comes back; DuendeError when it does not in time."""
    until = time.monotonic() + wait_s
    while True:
        heard, _ = loop.take(probe.samples, None)
        try:
            check_level(probe, heard)
        except DuendeError:
            if time.monotonic() > until:
                raise
            say("waiting for the cable", 0.0)
            continue
        return


def _take(loop: Loop, probe: Probe, port: Port | None) -> tuple[Delay, float | None]:
    """One measurement, again where samples were lost."""
    for _ in range(TRIES):
        heard, torn = loop.take(probe.samples, port)
        if not torn:
            break
    else:
        raise DuendeError(f"the device lost samples in {TRIES} measurements one after the other: try a larger --block")
    found = by_sequence(probe, heard)
    try:
        return found, by_impulse(probe, heard).samples
    except DuendeError:
        # The sequence is heard through more noise.
        return found, None


def _way(name: str, predicted: int | None, found: Sequence[tuple[Delay, float | None]], added: Sequence[float]) -> Way:
    return Way(
        name,
        predicted,
        [round(one.samples, 4) for one, _ in found],
        [round(impulse, 4) for _, impulse in found if impulse is not None],
        [round(one, 4) for one in added],
    )
