"""`duende bench soak`: play for minutes under everything at once, and tell whether it held."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .. import DuendeError
from .console import notices, out, progress, wide
from .ending import stop_on_signals

if TYPE_CHECKING:
    from ..engine.bench.soak_results import SoakFigures
    from ..engine.messages import EngineSetup

MOST_MINUTES = 7 * 24 * 60.0
PASSED = {True: "[green]ok[/]", False: "[red]FAILED[/]", None: "not told"}


def soak(
    presets: Annotated[
        list[str] | None, typer.Argument(help="Presets to change between; without any, all that came with duende.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="How long.")] = 5.0,
    source: Annotated[str | None, typer.Option("--input", help="Device, as for `duende live`.")] = None,
    sink: Annotated[str | None, typer.Option("--output", help="Output device; without it, the input's.")] = None,
    silent: Annotated[bool, typer.Option("--silent", help="Play to a clock, even if there is a device.")] = False,
    rate: Annotated[float | None, typer.Option(help="Sample rate in Hz; without it the device's.")] = None,
    block: Annotated[int, typer.Option(help="Frames per block.")] = 128,
    safety: Annotated[int, typer.Option(help="Blocks of extra delay, as for `duende live`.")] = 0,
    port: Annotated[int | None, typer.Option(help="Soak the host that runs on this OSC port instead.")] = None,
    every: Annotated[float, typer.Option(help="Seconds from one preset to the next.")] = 1.0,
    messages: Annotated[int, typer.Option(help="OSC messages a second.")] = 1000,
    listeners: Annotated[int, typer.Option(help="Subscribers that get meters.")] = 8,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Have the page of `duende gui` open.")] = True,
    forge: Annotated[bool, typer.Option("--forge", help="Forge styles at the lowest priority meanwhile.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all that was found to this file.")] = None,
) -> None:
    """Play for minutes under a flood of orders, and watch sound, lateness and memory. Ctrl-C ends with the verdict."""
    from ..engine.bench.machine import describe_machine
    from ..engine.bench.soak import SoakPlan, presets_to_soak, run_soak
    from ..engine.bench.soak_results import write_soak
    from ..engine.control.instances import choose_instance
    from ..engine.messages import EngineSetup

    _within("--minutes", minutes, 0.05, MOST_MINUTES)
    _within("--every", every, 0.1, 3600.0)
    _within("--messages", messages, 1, 100000)
    _within("--listeners", listeners, 1, 60)
    _within("--block", block, 16, 8192)
    names = presets_to_soak(presets or [])
    running = None if port is None else choose_instance(port)
    engine = EngineSetup(state="", source=source, sink=sink, rate=rate, block=block, safety=safety, phrase=True)
    if running is None:
        engine = _with_device(engine, silent)
    plan = SoakPlan(60.0 * minutes, names, engine, every, messages, listeners, page, forge)
    done = threading.Event()
    # However it is ended, what it has begun ends with it.
    before = stop_on_signals(done)
    try:
        with progress() as bar:
            task = bar.add_task("starting", total=1.0)
            machine = describe_machine()
            found = run_soak(
                plan,
                machine,
                done,
                lambda text, share: bar.update(task, description=text, completed=share),
                running,
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    notices(found.notes)
    show_soak(found)
    if json_file is not None:
        write_soak(json_file, found)
        out.print(f"wrote {json_file}", markup=False, soft_wrap=True)
    if not found.passed:
        raise typer.Exit(1)


def _within(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise DuendeError(f"{option} {value:g}: out of range, {least:g} to {most:g}")


def _with_device(engine: "EngineSetup", silent: bool) -> "EngineSetup":
    """With the device where there is one, else with a clock, which is said."""
    import msgspec

    from ..engine.device import choose_device, list_devices

    why = "as asked"
    if not silent:
        try:
            devices = list_devices()
            chosen = choose_device(devices, engine.source, "input")
            choose_device(devices, engine.sink or engine.source, "output")
        except DuendeError as error:
            if engine.source is not None or engine.sink is not None:
                raise
            why = str(error)
        else:
            notices([f"a phrase is played through {chosen.name}, and heard where its output goes"])
            # Its input is not listened to.
            return msgspec.structs.replace(engine, allow_feedback=True)
    notices([f"no sound device ({why}): a phrase is played to a clock, and not heard"])
    return msgspec.structs.replace(engine, silent=True)


def show_soak(found: "SoakFigures") -> None:
    """The machine, the checks, and the verdict."""
    console = wide()
    table = Table("what", "", "found", box=None)
    for check in found.checks:
        table.add_row(escape(check.name), PASSED[check.passed], escape(check.words))
    how = f"{found.device}, {found.rate:g} Hz, blocks of {found.block}"
    console.print(f"{found.machine.processor}, {found.machine.cores} cores; {how}", markup=False, soft_wrap=True)
    console.print(table)
    ended = "" if found.ended == "done" else f" ({found.ended} after {found.seconds / 60.0:.1f} minutes)"
    failed = [check.name for check in found.checks if check.passed is False]
    words = "it held" if found.passed else f"it did not hold: {', '.join(failed) or found.ended}"
    console.print(f"{found.seconds / 60.0:.1f} minutes: {words}{ended}", markup=False, soft_wrap=True)
