"""The command line: `duende COMMAND`, each a few lines over the packages below."""

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from .. import DuendeError, __version__
from .batch import ClusterOption, StoreOption, WorkersOption, forge_list, import_library, render_library
from .bench import bench_app
from .console import err, notices, out, progress, wide
from .diffusion import evaluate_app
from .ending import stop_on_signals
from .listening import distance, listen, whence
from .prompt import prompt, prompted
from .train import dataset_app, train_app
from .transfer import teachers, transfer

if TYPE_CHECKING:
    from ..export.forge import ForgeRequest

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
cabinet = typer.Typer(no_args_is_help=True, help="Cabinets: impulse responses that a slot plays.")
app.add_typer(cabinet, name="cabinet")
app.add_typer(bench_app, name="bench")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(dataset_app, name="dataset")


def _presets_from(incomplete: str) -> list[str]:
    """Names of presets, for the shell."""
    from ..presets.library import Library

    return [entry.name for entry in Library().entries() if entry.name.startswith(incomplete)]


def _captures_from(incomplete: str) -> list[str]:
    """Names of captures, for the shell."""
    from ..presets.captures import Captures

    return [name for name in Captures().entries() if name.startswith(incomplete)]


def _cabinets_from(incomplete: str) -> list[str]:
    """Names of cabinets, for the shell."""
    from ..presets.cabinets import Cabinets

    return [name for name in Cabinets().entries() if name.startswith(incomplete)]


PresetOption = Annotated[
    str,
    typer.Option("--preset", "-p", help="Preset by name; `duende presets` lists them.", autocompletion=_presets_from),
]
ProviderOption = Annotated[str, typer.Option(help="cpu, cuda or tensorrt; falls back to the CPU.")]
DEFAULT_PRESET = "cello"
GUI_PORT = 7702
GUI_END_S = 3.0
Word = TypeVar("Word", bound=str)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"duende {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """A real-time neural effect host for live instruments."""


@app.command()
def render(
    source: Annotated[
        Path, typer.Argument(help="Sound file to process, any format that libsndfile reads; or a folder of them.")
    ],
    target: Annotated[
        Path, typer.Argument(help="Sound file to write: wav, flac, aiff, ogg or mp3; of a folder, another folder.")
    ],
    preset: PresetOption = DEFAULT_PRESET,
    mix: Annotated[float | None, typer.Option(help="Share of the effect, 0 to 1.")] = None,
    amount: Annotated[float | None, typer.Option(help="From the plain guitar (0) to the full style (1).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any parameter as name=value; repeatable.")
    ] = None,
    channel: Annotated[int | None, typer.Option(help="Which channel of the file, from 1.")] = None,
    provider: ProviderOption = "cpu",
    ending: Annotated[str, typer.Option("--format", help="Of a folder: wav, flac or aiff.")] = "wav",
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Process a sound file with exactly the live signal path; or a folder with all below it, by many workers."""
    from ..engine.preset import load_rig
    from ..engine.render import render_file
    from ..presets.library import Library

    values = _values(settings, mix=mix, amount=amount)
    if source.is_dir():
        entry = Library().find(preset)
        render_library(entry, source, target, values, channel, ending, provider, workers, cluster, store)
        return
    if (workers, cluster, store) != (None, None, None):
        raise DuendeError(f"{source}: --workers, --cluster and --store are for a folder of sounds")
    rig = load_rig(Library().find(preset), provider, values)
    with progress() as bar:
        task = bar.add_task("rendering", total=1.0)
        report = render_file(rig, source, target, channel, lambda share: bar.update(task, completed=share))
    notices(rig.notices + report.notices)
    speed = report.audio_s / max(report.work_s, 1e-9)
    out.print(
        f"{target}: {report.frames / report.sample_rate:.2f} s at {report.sample_rate} Hz, {speed:.0f} x real time, "
        f"{report.latency_samples} samples of latency removed",
        soft_wrap=True,
    )


@app.command()
def live(
    context: typer.Context,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="Preset by name; without it, what was played last.",
            autocompletion=_presets_from,
        ),
    ] = None,
    source: Annotated[str | None, typer.Option("--input", help="Input device: index or part of its name.")] = None,
    sink: Annotated[str | None, typer.Option("--output", help="Output device; without it the input's.")] = None,
    in_channel: Annotated[int | None, typer.Option(help="Input channel, from 1; in stereo the left one.")] = None,
    channels: Annotated[
        str | None,
        typer.Option(help="wide: mono in, stereo out where an effect makes two sides (default); or mono, or stereo."),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Sample rate in Hz: 44100, 48000, 88200 or 96000.")] = None,
    block: Annotated[int | None, typer.Option(help="Frames per device block; 0 lets the device choose.")] = None,
    safety: Annotated[int | None, typer.Option(help="Play so many blocks later, on a thread of its own.")] = None,
    mix: Annotated[float | None, typer.Option(help="Share of the effect, 0 to 1.")] = None,
    amount: Annotated[float | None, typer.Option(help="From the plain guitar (0) to the full style (1).")] = None,
    values: Annotated[list[str] | None, typer.Option("--set", help="Any parameter as name=value; repeatable.")] = None,
    provider: Annotated[str | None, typer.Option(help="cpu, cuda or tensorrt; falls back to the CPU.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after so long.")] = None,
    allow_feedback: Annotated[
        bool | None, typer.Option("--allow-feedback", help="Allow a built-in microphone with built-in speakers.")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="A box: wait for the device, talk to the log alone.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on; others than 127.0.0.1 need a token.")] = None,
    osc_port: Annotated[int | None, typer.Option(help="OSC port; without it 7700, or the next that is free.")] = None,
    http_port: Annotated[int | None, typer.Option(help="OSCQuery port; without it 7701.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Network that may control, as 192.168.1.0/24.")] = None,
    token: Annotated[str | None, typer.Option(help="What HTTP and WebSocket clients must give.")] = None,
    name: Annotated[str | None, typer.Option(help="Name under which others find this host.")] = None,
    cores: Annotated[str | None, typer.Option(help="Cores for the sound alone, as 2,3.")] = None,
    log_file: Annotated[Path | None, typer.Option(help="Write the log to the end of this file, too.")] = None,
    gui: Annotated[bool, typer.Option("--gui", help="Serve the GUI, too, in a process of its own.")] = False,
    gui_port: Annotated[int, typer.Option(help="Port of the GUI.")] = GUI_PORT,
    owned: Annotated[bool, typer.Option("--owned", hidden=True)] = False,
) -> None:
    """Play: a guitar in, a stylised guitar out; controlled over OSC. What is given here is kept for the next time."""
    from ..engine.control.settings import Settings, read_settings, settings_path
    from ..engine.control.show import Show

    path = settings_path()
    settings = read_settings(path) if not owned else Settings()
    _override(settings, preset=preset)
    _override(
        settings.device,
        input=source,
        output=sink,
        in_channel=in_channel,
        channels=None if channels is None else _channels(channels),
        rate=rate,
        block=block,
        safety=safety,
        provider=provider,
        allow_feedback=allow_feedback,
        cores=None if cores is None else _cores(cores),
    )
    _override(settings.network, host=host, osc_port=osc_port, http_port=http_port, allow=allow, token=token, name=name)
    settings.preset = settings.preset or DEFAULT_PRESET
    done = threading.Event()
    stop_on_signals(done)
    if owned:
        _end_with_stdin(done)
    kept = None if owned else path
    first = _values(values, mix=mix, amount=amount)
    show = Show(settings, kept, first, headless=headless, log_file=log_file, early=context.obj)
    say = (lambda text: None) if headless else functools.partial(out.print, soft_wrap=True)
    network = settings.network
    with _gui_beside(network.host, gui_port, network.token, network.hosts, headless) if gui else nullcontext():
        failure = show.run(done, seconds, say)
    if failure is not None:
        raise DuendeError(failure)


@app.command("gui")
def open_gui(
    connect: Annotated[
        str | None, typer.Option(help="HOST:PORT of a host's OSCQuery; without it, the one here.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve on; others than 127.0.0.1 need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = GUI_PORT,
    token: Annotated[str | None, typer.Option(help="What a browser must give, once.")] = None,
    host_token: Annotated[str | None, typer.Option(help="What the host asks for; without it --token.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Name under which browsers reach this, beside its own.")
    ] = None,
    native: Annotated[bool, typer.Option("--native", help="In a window of its own, where the system has one.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    beside: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the GUI: a page for phone, tablet and computer that controls a host, on this machine or another."""
    from ..gui.app import TOKEN_VARIABLE, Options, end_with_parent, run_gui
    from ..gui.target import Target

    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    wanted = None if connect is None else Target.parse(connect, host_token if host_token is not None else token)

    def find() -> Target:
        from ..engine.control.instances import choose_instance, instances

        if wanted is not None:
            return wanted
        own = [info for info in instances() if info.pid == beside]
        if beside is not None and not own:
            raise DuendeError("the host has not opened its ports yet")
        info = own[0] if own else choose_instance(None)
        return Target(info.address, info.http_port, host_token if host_token is not None else token)

    if beside is not None:
        end_with_parent()
    options = Options(host, port, token, frozenset(name or ()), native, show)
    run_gui(find, options, functools.partial(out.print, soft_wrap=True))


@contextmanager
def _gui_beside(host: str, port: int, token: str, names: list[str], quiet: bool) -> Iterator[None]:
    """The GUI in a process of its own, that ends with this one; where it fails, the sound goes on."""
    from ..gui.app import TOKEN_VARIABLE

    command = [
        sys.executable,
        "-P",
        "-m",
        "duende",
        "gui",
        "--host",
        host,
        "--port",
        str(port),
        "--beside",
        str(os.getpid()),
    ]
    command += [word for name in names for word in ("--name", name)]
    # Not on the command line, where everybody on this machine could read it.
    environment = os.environ | {TOKEN_VARIABLE: token}
    said = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, env=environment)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(GUI_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@app.command()
def status(
    port: Annotated[int | None, typer.Option(help="OSC port of the host; without it, the one that runs.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what the running host does: preset, device, load, latency, blocks that came late."""
    from ..engine.control.client import look
    from ..engine.control.instances import choose_instance

    info = choose_instance(port)
    rows = look(info)
    if json_output:
        out.print_json(json.dumps(rows))
        return
    title = f"{info.name} on port {info.osc_port}"
    out.print(_table(title, ("what", "value"), [(key, " ".join(map(str, row))) for key, row in rows.items()]))


@app.command(context_settings={"ignore_unknown_options": True})
def ctl(
    address: Annotated[str, typer.Argument(help="OSC address, as /duende/amount; /duende may be left out.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Values; without any, the value is asked for.")] = None,
    port: Annotated[int | None, typer.Option(help="OSC port of the host; without it, the one that runs.")] = None,
) -> None:
    """Set or ask a value of the running host, or give it an order."""
    from ..engine.control.client import ask, value_of
    from ..engine.control.instances import choose_instance

    full = address if address.startswith("/duende") else f"/duende/{address.strip('/')}"
    answer = ask(choose_instance(port), full, [value_of(text) for text in arguments or []])
    out.print(" ".join(map(str, answer)), soft_wrap=True, markup=False)


def _override(settings: object, **given: object) -> None:
    """Put what was given on the command line in the place of what was kept."""
    for name, value in given.items():
        if value is not None:
            setattr(settings, name, value)


def _channels(text: str) -> str:
    from ..engine.messages import CHANNELS

    if text not in CHANNELS:
        raise DuendeError(f"--channels {text!r}: choose {', '.join(CHANNELS)}")
    return text


def _cores(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise DuendeError(f"--cores {text!r}: write numbers of cores separated by commas, as 2,3") from None


@app.command()
def doctor(json_output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Look at what playing needs: libraries, devices, rights, ports, GPU; and say what to do. Status 1: cannot play."""
    from ..engine.control.doctor import can_play, examine

    with progress() as bar:
        bar.add_task("looking", total=None)
        findings = examine()
    if json_output:
        rows = [{key: getattr(one, key) for key in ("what", "verdict", "found", "todo")} for one in findings]
        out.print_json(json.dumps({"can_play": can_play(findings), "findings": rows}))
    else:
        marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}
        table = Table("", "what", "found, and what to do", box=None)
        for one in findings:
            table.add_row(marks[one.verdict], one.what, escape(one.found))
            if one.todo:
                table.add_row("", "", f"[bold]-> {escape(one.todo)}[/]")
        wide().print(table)
    if not can_play(findings):
        amiss = ", ".join(one.what for one in findings if one.verdict == "bad")
        raise DuendeError(f"this machine cannot play yet: {amiss}; files can be rendered where only devices are amiss")


@app.command()
def devices() -> None:
    """List the sound devices."""
    from ..engine.device import list_devices

    table = Table("", "name", "host", "in", "out", "rate", box=None)
    for entry in list_devices():
        mark = ("<" if entry.default_input else "") + (">" if entry.default_output else "")
        table.add_row(
            f"{entry.index} {mark}",
            entry.name,
            entry.host,
            str(entry.inputs),
            str(entry.outputs),
            f"{entry.sample_rate:g}",
        )
    out.print(table)


@app.command()
def presets() -> None:
    """List the presets: the factory's and your own."""
    from ..presets.library import Library

    table = Table("name", "from", "description", box=None)
    for entry in Library().entries():
        table.add_row(entry.name, "factory" if entry.factory else str(entry.folder), entry.read().description)
    out.print(table)


@cabinet.command("add")
def cabinet_add(
    file: Annotated[Path, typer.Argument(help="Impulse response: wav, flac or aiff, mono or stereo, 1 ms to 2 s.")],
    name: Annotated[str | None, typer.Option(help="Its name; without it the file's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a cabinet of the same name.")] = False,
) -> None:
    """Put an impulse response into your library."""
    from ..engine.response import load_response
    from ..presets.cabinets import Cabinets

    found = load_response(file, 48000.0)
    added = Cabinets().add(file, name, force=force)
    notices(list(found.notices))
    channels, frames = found.taps.shape
    sides = "mono" if channels == 1 else "stereo"
    out.print(
        f"{added}: {frames / found.sample_rate:.3f} s, {sides}: duende ctl slot/add cabinet:{added}", soft_wrap=True
    )


@cabinet.command("list")
def cabinet_list() -> None:
    """List the cabinets: the built-in one and your own."""
    from ..presets.cabinets import Cabinets

    table = Table("name", "from", box=None)
    for name, path in Cabinets().entries().items():
        table.add_row(name, "built in" if path is None else str(path))
    out.print(table)


@cabinet.command("remove")
def cabinet_remove(
    name: Annotated[str, typer.Argument(help="Name of the cabinet.", autocompletion=_cabinets_from)],
) -> None:
    """Delete one of your cabinets."""
    from ..presets.cabinets import Cabinets

    Cabinets().remove(name)
    out.print(f"removed {name}")


@app.command("import")
def import_captures(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|DIR", help="A capture (.nam, AIDA-X, RTNeural, Proteus), or a folder: all that lie below it."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its name in your library; without it the file's.")] = None,
    licence: Annotated[str | None, typer.Option(help="What it may be used under, as CC-BY-4.0.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace captures of the same name.")] = False,
    audition: Annotated[
        Path | None, typer.Option(help="Of a folder: write what each sounds like, NAME.wav, into this one.")
    ] = None,
    phrase: Annotated[Path | None, typer.Option(help="What to play for that; without it a built-in phrase.")] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Bring captures of amps and pedals into your library; each is checked before it is stored."""
    from ..export.captures.install import Failed, Imported, import_capture, import_folder, is_capture_folder
    from ..presets.captures import Captures

    if not source.is_dir() or is_capture_folder(source):
        if (audition, phrase, workers, cluster, store) != (None, None, None, None, None):
            raise DuendeError(f"{source}: --audition, --phrase, --workers, --cluster and --store are for a folder")
        done = import_capture(source, Captures(), name=name, licence=licence, force=force)
        out.print(done.line(), soft_wrap=True, markup=False)
        out.print(f"play it: duende ctl slot/add capture:{done.capture.name}", soft_wrap=True)
        return
    if name is not None:
        raise DuendeError(f"--name {name}: a folder holds many captures: each is called as its file is")
    if (audition, phrase, workers, cluster, store) != (None, None, None, None, None):
        import_library(source, licence, phrase, audition, workers, cluster, store, force=force)
        return
    with progress() as bar:
        task = bar.add_task("importing", total=1.0)

        def tell(outcome: "Imported | Failed", share: float) -> None:
            bar.update(task, completed=share)
            (err if isinstance(outcome, Failed) else out).print(outcome.line(), soft_wrap=True, markup=False)

        outcomes = import_folder(source, Captures(), licence=licence, force=force, tell=tell)
    failed = sum(isinstance(one, Failed) for one in outcomes)
    known = sum(isinstance(one, Imported) and one.known for one in outcomes)
    out.print(f"{len(outcomes) - failed - known} imported, {known} were there already, {failed} failed")
    if failed:
        raise DuendeError(f"{source.name}: {failed} of {len(outcomes)} captures could not be imported")


captures_app = typer.Typer(no_args_is_help=True, help="Captures of amps and pedals: list, show, compare, remove.")
app.add_typer(captures_app, name="captures")
CaptureArgument = Annotated[
    str, typer.Argument(help="Capture by name; `duende captures list` lists them.", autocompletion=_captures_from)
]


@captures_app.command("list")
def captures_list(
    tag: Annotated[
        list[str] | None, typer.Option(help="Only those with this tag, as hi_gain or gear_make=Fender; repeatable.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List your captures: network, rate, loudness, gain, gear, tone, knobs, licence, size."""
    from ..export.captures.described import describe
    from ..presets.captures import Captures

    found, broken = [], []
    for name, path in Captures().entries().items():
        try:
            found.append(describe(name, path))
        except DuendeError as error:
            broken.append(str(error))
    found = [one for one in found if one.has_tags(tag or [])]
    notices(broken)
    if json_output:
        out.print_json(json.dumps([one.as_json() for one in found]))
        return
    table = Table("name", *(heading for heading, _ in (found[0].columns() if found else [])), box=None)
    for one in found:
        table.add_row(one.name, *(escape(text) for _, text in one.columns()))
    wide().print(table)


@captures_app.command("show")
def captures_show(
    name: CaptureArgument, json_output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """Show all that a capture says of itself, and its controls."""
    from ..export.captures.described import describe
    from ..presets.captures import Captures

    found = describe(name, Captures().find(name))
    if json_output:
        out.print_json(json.dumps(found.as_json()))
        return
    wide().print(_table(name, ("what", "value"), [(escape(key), escape(text)) for key, text in found.lines()]))


@captures_app.command("remove")
def captures_remove(name: CaptureArgument) -> None:
    """Delete one of your captures; presets that play it keep files of their own."""
    from ..presets.captures import Captures

    Captures().remove(name)
    out.print(f"removed {name}")


@captures_app.command("audition")
def captures_audition(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A plain recording of your guitar, of 1 s and more.")],
    names: Annotated[list[str], typer.Argument(help="Captures by name, 1 to 9.", autocompletion=_captures_from)],
    target: Annotated[Path, typer.Option("--output", "-o", help="Page to write: FILE.html.")],
    cabinet_name: Annotated[
        str | None, typer.Option("--cabinet", help="A cabinet to play behind each; `duende cabinet list` lists them.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How much of the recording, from its beginning; 1 to 60.")] = 20.0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of the same name.")] = False,
) -> None:
    """Play a recording through several captures, as loud each time, into one page to switch between them."""
    from ..export.captures.audition import play_takes
    from ..export.captures.audition_page import check_page, write_audition
    from ..export.captures.described import describe
    from ..presets.cabinets import Cabinets
    from ..presets.captures import Captures

    check_page(target, force=force)
    library = Captures()
    files = {name: library.find(name) for name in names}
    described = {name: describe(name, path) for name, path in files.items()}
    behind = None if cabinet_name is None else (cabinet_name, Cabinets().find(cabinet_name))
    with progress() as bar:
        task = bar.add_task("playing", total=1.0)
        takes = play_takes(source, files, behind, seconds, lambda share: bar.update(task, completed=share))
    title = f"{source.name} through {len(files)} captures" + (f" and {cabinet_name}" if cabinet_name else "")
    write_audition(target, title, takes, described)
    for take in takes:
        out.print(f"{take.name}: {take.lufs:.1f} LUFS as played, {take.gain_db:+.1f} dB in the page", soft_wrap=True)
    out.print(f"wrote {target}", soft_wrap=True)


preset_app = typer.Typer(no_args_is_help=True, help="Show, store, rename, remove, pack and install presets.")
app.add_typer(preset_app, name="preset")
PortOption = Annotated[int | None, typer.Option(help="OSC port of the host; without it, the one that runs.")]
NameArgument = Annotated[
    str, typer.Argument(help="Preset by name; `duende preset list` lists them.", autocompletion=_presets_from)
]


@preset_app.command("list")
def preset_list() -> None:
    """List the presets with their tags, slots and authors; what cannot be read is said."""
    from ..presets.library import Library

    table = Table("name", "from", "plays", "tags", "author", "description", box=None)
    for entry in Library().entries():
        origin = "factory" if entry.factory else "own"
        try:
            found = entry.read()
        except DuendeError as error:
            table.add_row(entry.name, origin, "", "", "", escape(str(error)))
            continue
        plays = ", ".join(slot.file or slot.effect for slot in found.slots)
        table.add_row(entry.name, origin, *map(escape, (plays, " ".join(found.tags), found.author, found.description)))
    out.print(table)


@preset_app.command("show")
def preset_show(name: NameArgument) -> None:
    """Show a preset as its file holds it, in the present format, after its models were compared with their hashes."""
    from ..presets.format import encode_preset
    from ..presets.library import Library

    entry = Library().find(name)
    found = entry.read()
    for slot in found.slots:
        entry.file_of(slot)
    sys.stdout.write(encode_preset(found).decode())


@preset_app.command("save")
def preset_save(
    name: Annotated[str, typer.Argument(help="Name of your preset.")],
    port: PortOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a preset of the same name.")] = False,
) -> None:
    """Store what the running host plays, as it is now, snapshots included."""
    from ..engine.control.client import ask
    from ..engine.control.instances import choose_instance
    from ..presets.library import Entry, Library, check_name

    if Entry(check_name(name), Library().own, factory=False).path.exists() and not force:
        raise DuendeError(f"there is a preset {name!r} already: choose another name, or replace it with --force")
    answer = ask(choose_instance(port), "/duende/preset/save", [name])
    out.print(f"stored as {' '.join(map(str, answer))}", markup=False)


@preset_app.command("rename")
def preset_rename(name: NameArgument, to: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Give one of your presets another name, in your set lists, too."""
    from ..presets.library import Library

    lists = Library().set_lists.naming(name)
    Library().rename(name, to)
    out.print(f"{name} is called {to} now" + (f", in {', '.join(lists)}, too" if lists else ""), soft_wrap=True)


@preset_app.command("delete")
def preset_delete(
    name: NameArgument,
    force: Annotated[bool, typer.Option("--force", help="Take it out of the set lists that name it, too.")] = False,
) -> None:
    """Remove one of your presets, and the files that none of your others uses."""
    from ..presets.library import Library

    out.print(f"removed {', '.join(Library().delete(name, force=force))}", soft_wrap=True)


@preset_app.command("pack")
def preset_pack(
    name: NameArgument,
    target: Annotated[Path, typer.Argument(help="File to write, ending in .duende.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file of the same name.")] = False,
) -> None:
    """Write a preset with its models and responses to one file, to hand on."""
    from ..presets.library import Library
    from ..presets.pack import pack

    written = pack(Library().find(name), target, force=force)
    out.print(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


@preset_app.command("install")
def preset_install(
    source: Annotated[Path, typer.Argument(help="A packed preset, ending in .duende.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a preset of the same name.")] = False,
) -> None:
    """Put a packed preset into your library; nothing of a file that is not right."""
    from ..presets.library import Library
    from ..presets.pack import install

    entry = install(Library(), source, force=force)
    out.print(f"{entry.name} is ready: duende live --preset {entry.name}", soft_wrap=True)


@app.command()
def setlist(
    name: Annotated[str | None, typer.Argument(help="A set list; without it, all are listed.")] = None,
    presets: Annotated[
        list[str] | None,
        typer.Argument(help="Its presets in order; without any, it is shown.", autocompletion=_presets_from),
    ] = None,
) -> None:
    """Store or show a set list; `duende ctl setlist/load NAME` lets the running host follow it."""
    from ..presets.library import Library

    library = Library()
    if name is None:
        for one in library.set_lists.names():
            out.print(f"{one}: {' '.join(library.set_lists.read(one))}", soft_wrap=True, markup=False)
        return
    if presets:
        for preset in presets:
            library.find(preset)
        library.set_lists.write(name, presets)
    out.print(f"{name}: {' '.join(library.set_lists.read(name))}", soft_wrap=True, markup=False)


@app.command()
def forge(
    recordings: Annotated[
        list[Path] | None, typer.Argument(metavar="STYLE...", help="Recordings of 1 to 300 s; several are one style.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the new preset.")] = "",
    words: Annotated[
        str | None, typer.Option("--prompt", help="Make the style from this sentence (`duende prompt`).")
    ] = None,
    backend: Annotated[str, typer.Option(help="What makes the sound of --prompt.")] = "default",
    weights: Annotated[str | None, typer.Option(help="Weights of that backend.")] = None,
    styles: Annotated[
        bool, typer.Option("--styles", help="Each recording is a style of its own: one model of up to 8 that morph.")
    ] = False,
    content: Annotated[Path | None, typer.Option(help="Folder with recordings of your own guitar to train on.")] = None,
    mode: Annotated[str, typer.Option(help="timbre: pitch stays yours; texture: rain, crowds, drones.")] = "timbre",
    teacher: Annotated[
        str, typer.Option(help="Learn from a teacher's sound, too (`duende teachers`); none; auto: by the mode.")
    ] = "auto",
    minutes: Annotated[
        float | None, typer.Option(help="Be ready after so many minutes; 3, 4 with a slow teacher, 8 for several.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=20000, help="Train so many steps, however long.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="float32, float16 (half the file) or int8 (a quarter).")] = "float32",
    report: Annotated[Path | None, typer.Option(help="Folder for a report with pictures and sounds.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped forging of this name was.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a preset of the same name.")] = False,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="For programs: say what happens as lines of JSON.")
    ] = False,
    batch: Annotated[
        Path | None, typer.Option(metavar="STYLES.toml", help="Forge all styles of a list, by many workers.")
    ] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
) -> None:
    """Make a playable style from recordings (needs the extra `train`). Ctrl-C keeps the best so far."""
    try:
        from ..export.distill import Progress as Step
        from ..export.forge import ForgeRequest, forge, sources
        from ..export.measures import format_table
        from ..export.memory import keep_freed_memory
        from ..export.teachers.registry import NAMES
    except ImportError as error:
        raise DuendeError(f"forging needs {error.name}: pip install 'duende[train]'") from error
    from ..presets.library import Library

    if batch is not None:
        if recordings or name or words is not None:
            raise DuendeError("--batch takes recordings and names from its list: give it alone")
        forge_list(batch, workers, cluster, store, force=force)
        return
    if (workers, cluster, store) != (None, None, None):
        raise DuendeError("--workers, --cluster and --store are for --batch")
    if not name:
        raise DuendeError("a new preset needs a name: --name NAME")
    if bool(recordings) == (words is not None):
        raise DuendeError("give recordings, or --prompt with a sentence, and not both")
    asked = _choice("--teacher", teacher, ("auto", "none", *NAMES))
    keep_freed_memory()
    recordings = recordings or [prompted(words or "", name, seed, backend, weights, force=force)]
    request = ForgeRequest(
        sources(recordings, name, apart=styles),
        name,
        content=content,
        mode=_choice("--mode", mode, ("timbre", "texture")),
        teacher=None if asked == "auto" else asked,
        minutes=minutes,
        steps=steps,
        device=device,
        precision=precision,
        resume=resume,
        report=report,
        seed=seed,
    )
    if progress_json:
        _forge_in_lines(request, force=force)
        return
    with progress() as bar:
        task = bar.add_task("starting", total=None)

        def tell(step: Step) -> None:
            bar.update(task, completed=step.step, total=step.steps, description=step.text)

        forged = forge(
            request, Library(), force=force, report=tell, say=lambda text: bar.update(task, description=text)
        )
    notices(forged.notices)
    for style, by_judge in forged.measured.items():
        for title, (ours, eq) in by_judge.items():
            out.print(f"{style}, measured on {title}:")
            out.print(format_table({name: ours, "matched EQ": eq}), soft_wrap=True)
    if forged.report is not None:
        out.print(f"wrote {forged.report}", soft_wrap=True)
    out.print(f"{name} is ready ({forged.seconds:.0f} s): duende live --preset {name}", soft_wrap=True)


@app.command("capture")
def capture_command(
    dry: Annotated[Path | None, typer.Argument(metavar="DRY", help="What was played into the amplifier.")] = None,
    wet: Annotated[Path | None, typer.Argument(metavar="WET", help="What came out of it, of the same take.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new capture.")] = None,
    signal_to: Annotated[
        Path | None, typer.Option("--signal", metavar="OUT.wav", help="Only write the test signal to play.")
    ] = None,
    seconds: Annotated[int | None, typer.Option(help="Length of the test signal, 30 to 600; else 180.")] = None,
    size: Annotated[
        str, typer.Option(help="standard, lite, feather or nano (less load, less exact), or lstm.")
    ] = "lite",
    minutes: Annotated[float, typer.Option(help="Train so long.")] = 9.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Train so many steps, however long.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=2, help="Cores to train on; the result is the same.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Folder for NAME.nam; without it WET's.")] = None,
    author: Annotated[str, typer.Option(help="Who made it.")] = "",
    licence: Annotated[str, typer.Option(help="What others may use it under, as CC-BY-4.0.")] = "",
    gear_type: Annotated[str, typer.Option(help="amp, pedal, pedal_amp, amp_cab, amp_pedal_cab, preamp, studio.")] = "",
    gear_make: Annotated[str, typer.Option(help="Its maker.")] = "",
    gear_model: Annotated[str, typer.Option(help="Its model.")] = "",
    tone: Annotated[str, typer.Option(help="clean, overdrive, crunch, hi_gain or fuzz.")] = "",
    input_dbu: Annotated[float | None, typer.Option(help="dBu of a sine at full scale into the amplifier.")] = None,
    output_dbu: Annotated[float | None, typer.Option(help="dBu of a sine that records at full scale.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a capture of the same name.")] = False,
    regardless: Annotated[bool, typer.Option("--regardless", help="Go on in spite of what the checks found.")] = False,
) -> None:
    """Make a capture of your own amplifier (needs the extra `train`). Ctrl-C keeps the best so far."""
    if signal_to is not None:
        from ..export.capture.signal import SECONDS, write_signal

        plan = write_signal(signal_to, SECONDS if seconds is None else seconds)
        out.print(
            f"wrote {signal_to}: {plan.seconds} s, 48 kHz, 24 bit; play it into the amplifier, record what comes out",
            soft_wrap=True,
        )
        return
    if dry is None or wet is None or name is None:
        raise DuendeError("give DRY.wav WET.wav --name NAME, or --signal OUT.wav for what to play")
    try:
        from ..export.capture.capture import CaptureRequest, capture
        from ..export.capture.nam_file import About
        from ..export.capture.train import Progress as Step
        from ..export.capture.train import TrainConfig
    except ImportError as error:
        raise DuendeError(f"capturing needs {error.name}: pip install 'duende[train]'") from error
    from ..presets.captures import Captures

    request = CaptureRequest(
        dry,
        wet,
        About(name, author, licence, gear_type, gear_make, gear_model, tone, input_dbu, output_dbu),
        TrainConfig(size, 60.0 * minutes, steps, seed, threads=threads),
        output,
        force,
        regardless,
    )
    with progress() as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(step: Step) -> None:
            words = f"training, step {step.step}" + (f", ESR {step.error:.4f}" if step.error < 10.0 else "")
            bar.update(task, completed=step.share, description=words)

        done = capture(
            request,
            Captures(),
            report=tell,
            say=lambda text: bar.update(task, description=text),
            note=lambda text: notices([text]),
        )
    for line in done.lines():
        out.print(line, soft_wrap=True)
    out.print(f"wrote {done.path}", markup=False, soft_wrap=True)
    out.print(f"{name} is in the library ({done.seconds:.0f} s in all): duende captures show {name}", soft_wrap=True)


def _forge_in_lines(request: "ForgeRequest", *, force: bool) -> None:
    """Forge, and tell another program how it goes."""
    from ..export.forge import check_request, forge
    from ..export.lines import Lines
    from ..export.sounds import load_sound
    from ..presets.library import Library

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    library, lines, rate = Library(), Lines(write), request.config.sample_rate
    check_request(request, library, force)
    lines.style(load_sound(request.styles[0].files[0], rate), rate)
    forged = forge(
        request, library, force=force, report=lambda step: lines.step(step, rate), say=lines.say, listen=True
    )
    for text in forged.notices:
        lines.notice(text)
    lines.done(forged.entry.name, forged.seconds)


@evaluate_app.command("preset")
def evaluate(
    preset: Annotated[
        str, typer.Argument(help="Preset by name; `duende presets` lists them.", autocompletion=_presets_from)
    ],
    guitar: Annotated[
        Path, typer.Option(help="Folder with guitar recordings that were never trained on, or one file.")
    ],
    style: Annotated[Path, typer.Option(help="The recording that the style was made from.")],
    amount: Annotated[float | None, typer.Option(help="From the plain guitar (0) to the full style (1).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any parameter as name=value; repeatable.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, too.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report with pictures and sounds: FILE.html or DIR.")
    ] = None,
    provider: ProviderOption = "cpu",
) -> None:
    """Measure a preset through the engine, beside untouched input, matched equaliser and floor (extra `train`)."""
    try:
        from ..export.evaluate import as_json, evaluate_files, measure_rows, playing_rows, verdict_rows
        from ..export.report import write_report
    except ImportError as error:
        raise DuendeError(f"evaluating needs {error.name}: pip install 'duende[train]'") from error
    from ..presets.format import write_atomically
    from ..presets.library import Library

    values = _values(settings, amount=amount)
    with progress() as bar:
        task = bar.add_task("measuring", total=1.0)
        found = evaluate_files(
            Library().find(preset),
            guitar,
            style,
            provider=provider,
            values=values,
            progress=lambda share: bar.update(task, completed=share),
        )
    notices(found.notices)
    for title in found.takes:
        head, rows = measure_rows(found, title)
        table = Table(*head, title=title, title_justify="left", box=None)
        for row in rows:
            table.add_row(*row)
        out.print(table)
    out.print(_table("playing", ("what", "figure"), playing_rows(found)))
    verdicts = Table("figure", "value", "bound", "kept", title="verdicts", title_justify="left", box=None)
    for line in verdict_rows(found):
        verdicts.add_row(*line)
    out.print(verdicts)
    if json_file is not None:
        write_atomically(json_file, (json.dumps(as_json(found), indent=2) + "\n").encode())
    if report is not None:
        out.print(f"wrote {write_report(report, found)}", soft_wrap=True)


@app.command()
def record(
    target: Annotated[Path, typer.Argument(help="File to write: .wav or .flac, mono, 24 bits.")],
    source: Annotated[str | None, typer.Option("--input", help="Input device: index or part of its name.")] = None,
    in_channel: Annotated[int, typer.Option(help="Input channel, from 1.")] = 1,
    rate: Annotated[float | None, typer.Option(help="Sample rate in Hz, 8000 to 192000.")] = None,
    block: Annotated[int, typer.Option(help="Frames per device block; 0 lets the device choose.")] = 256,
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after so long; else Ctrl-C.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of the same name.")] = False,
) -> None:
    """Record your own minutes, dry, to train on: duende forge ... --content DIR."""
    from ..engine.device import SoundDevice, choose_device, list_devices
    from ..engine.record import Meter, check_target, record

    check_target(target, force=force)
    devices = list_devices()
    chosen = choose_device(devices, source, "input")
    own = [entry for entry in devices if entry.index == chosen.index and entry.outputs > 0]
    sink = own[0] if own else choose_device(devices, None, "output")
    device = SoundDevice(chosen, sink, in_channel, rate or chosen.sample_rate, block)
    stop = threading.Event()
    stop_on_signals(stop)

    def tell(meter: Meter) -> None:
        if err.is_terminal:
            err.print(meter.line(), end="\r", markup=False)

    done = record(device, target, seconds=seconds, force=force, stop=stop, report=tell)
    notices(done.notices)
    out.print(
        f"{done.path}: {done.seconds:.1f} s at {done.sample_rate:g} Hz, peak {done.peak_dbfs:.1f} dBFS, "
        f"{done.clipped} clipped, {done.input_xruns} xruns",
        soft_wrap=True,
    )
    if done.failure is not None and done.hangs:
        # PortAudio would wait for its dead server when Python ends, too.
        sys.stderr.write(f"duende: {done.failure}; what came before is in {done.path}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    if done.failure is not None:
        raise DuendeError(f"{done.failure}; what came before is in {done.path}")


app.command()(transfer)
app.command()(prompt)
app.command()(teachers)


app.command()(listen)
app.command()(distance)
app.command()(whence)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where to write.")] = Path("demo"),
    preset: PresetOption = DEFAULT_PRESET,
) -> None:
    """Play the built-in phrase through a style; writes sound files and a picture, and measures this machine."""
    from ..export.demo import run_demo
    from ..presets.library import Library

    report = run_demo(Library().find(preset), folder)
    rows = report.latency.lines()
    times = report.times
    rows += [
        ("offline speed", f"{report.real_time_factor:.1f} x real time"),
        ("time per block of 128, p50", f"{times.median_us:.0f} us of {times.period_us:.0f} us"),
        ("time per block of 128, p99", f"{times.p99_us:.0f} us of {times.period_us:.0f} us"),
    ]
    out.print(_table(f"{preset}, 48 kHz, blocks of 128", ("what", "figure"), rows))
    for file in report.files:
        out.print(f"wrote {file}")


def _end_with_stdin(done: threading.Event) -> None:
    """For a host that belongs to another program: end when that closes the pipe, or is no more."""

    def wait() -> None:
        sys.stdin.buffer.read()
        done.set()

    threading.Thread(target=wait, name="owner", daemon=True).start()


def _choice(option: str, value: str, allowed: tuple[Word, ...]) -> Word:
    for word in allowed:
        if word == value:
            return word
    raise DuendeError(f"{option} {value!r}: choose one of {', '.join(allowed)}")


def _values(settings: list[str] | None, **named: float | None) -> dict[str, float]:
    values = {name: value for name, value in named.items() if value is not None}
    for entry in settings or []:
        name, mark, text = entry.partition("=")
        try:
            values[name.strip()] = float(text)
        except ValueError:
            raise DuendeError(f"--set {entry!r}: write name=value with a number, as in --set mix=0.5") from None
        if not mark:
            raise DuendeError(f"--set {entry!r}: write name=value, as in --set mix=0.5")
    return values


def _table(title: str, head: tuple[str, str], rows: list[tuple[str, str]]) -> Table:
    table = Table(*head, title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*row)
    return table
