"""`duende bench latency`: how late the sound is, measured through a cable."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .. import DuendeError
from .console import notices, out, progress, wide

if TYPE_CHECKING:
    from ..engine.bench.latency import LatencyFigures

DEFAULT = "cello"
MOST_TIMES = 1000


def latency(
    preset: Annotated[str, typer.Argument(help="Preset whose chain is measured.")] = DEFAULT,
    source: Annotated[str | None, typer.Option("--input", help="Device, as for `duende live`.")] = None,
    sink: Annotated[str | None, typer.Option("--output", help="Output device; without it, the input's.")] = None,
    in_channel: Annotated[int, typer.Option(help="Input channel that the cable is in, from 1.")] = 1,
    rate: Annotated[float | None, typer.Option(help="Sample rate in Hz; without it the device's.")] = None,
    block: Annotated[int, typer.Option(help="Frames per block; 0: the device's own.")] = 128,
    safety: Annotated[int, typer.Option(help="Blocks of extra delay, as for `duende live`.")] = 0,
    times: Annotated[int, typer.Option(help="How often everything is measured.")] = 5,
    wait: Annotated[float, typer.Option(help="Wait so many seconds for the cable.")] = 0.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
) -> None:
    """Measure the round trip through a cable from output to input: of a plain wire, and of a preset's chain.

    Noise is played at -20 dBFS: unplug loudspeakers and headphones.
    """
    from ..engine.bench.latency import measure_latency, stages, write_latency
    from ..engine.bench.machine import PRIORITY, describe_machine
    from ..engine.device import SoundDevice, choose_device, list_devices
    from ..engine.host import check_rate
    from ..presets.library import Library

    if not 1 <= times <= MOST_TIMES:
        raise DuendeError(f"--times {times}: out of range, 1 to {MOST_TIMES}")
    if not 0.0 <= wait <= 3600.0:
        raise DuendeError(f"--wait {wait:g}: out of range, 0 to 3600")
    chains = stages(Library().find(preset))
    devices = list_devices()
    first = choose_device(devices, source, "input")
    second = choose_device(devices, sink or source, "output")
    machine = describe_machine()
    device = SoundDevice(first, second, in_channel, check_rate(rate or first.sample_rate), block)
    words = f"{second.name} to {first.name} channel {in_channel}"
    notices([f"noise at -20 dBFS is played through {second.name}"])
    with progress() as bar:
        task = bar.add_task("starting", total=1.0)
        found = measure_latency(
            device,
            (machine, words, preset),
            chains,
            times,
            lambda text, share: bar.update(task, description=text, completed=share),
            safety=safety,
            wait_s=wait,
            priority=PRIORITY,
        )
    show_latency(found)
    if json_file is not None:
        write_latency(json_file, found)
        out.print(f"wrote {json_file}", markup=False, soft_wrap=True)
    if not found.passed:
        raise typer.Exit(1)


def show_latency(found: "LatencyFigures") -> None:
    """The device, the parts of the prediction, what was measured, and the verdict."""
    console = wide()
    per_ms = found.rate / 1000.0
    how = f"{found.device}, {found.rate:g} Hz, blocks of {found.block or 'any size'}"
    console.print(how, markup=False, soft_wrap=True)
    back = (
        f"came back at {found.gain_db:+.1f} dB, {'inverted, ' if found.inverted else ''}{found.clear_db:.0f} dB clear"
    )
    console.print(back, markup=False, soft_wrap=True)
    parts = Table("predicted", "", box=None)
    told = "not known" if found.device_ms is None else f"{found.device_ms:.2f} ms"
    for name, value in [("device, as it tells", told), *found.parts]:
        parts.add_row(escape(name), escape(value))
    console.print(parts)
    table = Table("measured", "round trip", "added to the wire", "predicted", "spread", "impulse", box=None)
    for way in found.ways:
        trip = sorted(way.sequence)[len(way.sequence) // 2]
        impulse = sorted(way.impulse)[len(way.impulse) // 2] if way.impulse else None
        table.add_row(
            escape(way.name),
            f"{trip:.2f} samples, {trip / per_ms:.2f} ms",
            "" if way.predicted is None else f"{way.measured:.2f}",
            "" if way.predicted is None else f"{'' if way.equal else '[red]'}{way.predicted}",
            f"{way.spread:.2f}",
            "lost in noise" if impulse is None else f"{impulse:.2f}",
        )
    console.print(table)
    console.print(found.verdict(), markup=False, soft_wrap=True)
