"""The GUI's process: NiceGUI serves the page, one link hears the host, every page hears the link."""

import asyncio
import contextlib
import importlib.util
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import DuendeError
from .target import Target

STATIC = Path(__file__).parent / "static"
PORT = 7702
TOKEN_VARIABLE = "DUENDE_GUI_TOKEN"
"""Environment variable in which `duende live --gui` hands its token on."""
NICENESS = 5
MAX_FRAME = 1 << 20


@dataclass(frozen=True)
class Options:
    """How the GUI is served.

    host, port: where; hosts other than this machine need a token. names: more names under which browsers reach it.
    native: in a window of its own, where the system has what that takes (package pywebview). show: open a browser.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""
    names: frozenset[str] = frozenset()
    native: bool = False
    show: bool = False


def run_gui(find: Callable[[], Target], options: Options, say: Callable[[str], object]) -> None:
    """Serve until Ctrl-C. find: where the host is, asked each time that it is looked for. say: is given what to read.

    DuendeError where the port cannot be had, others could reach it and there is no token, or a package is missing.
    """
    _check_place(options)
    try:
        from nicegui import app, ui
    except ImportError:
        raise DuendeError("the GUI needs NiceGUI: pip install 'duende[gui]'") from None
    if options.native:
        _check_native()
    from .gate import Gate
    from .link import Link
    from .page import build

    # The sound goes first.
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)
    link = Link(find)
    pages = build(link)
    tasks: list[asyncio.Task[None]] = []

    async def start() -> None:
        tasks.extend(asyncio.create_task(work.run()) for work in (link, pages))
        say(f"GUI on http://{options.host}:{options.port}")

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app.on_startup(start)
    app.on_shutdown(stop)
    app.add_middleware(Gate, token=options.token, port=options.port, names=options.names)
    ui.run(
        host=options.host,
        port=options.port,
        title="duende",
        favicon=STATIC / "icon.svg",
        viewport="width=device-width, initial-scale=1, viewport-fit=cover",
        dark=True,
        reload=False,
        show=options.show,
        native=options.native,
        window_size=(1280, 840) if options.native else None,
        tailwind=False,
        binding_refresh_interval=None,
        message_history_length=0,
        show_welcome_message=False,
        uvicorn_logging_level="error",
        access_log=False,
        server_header=False,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )


def end_with_parent() -> None:
    """End this process as soon as its standard input ends: whoever started it is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _check_place(options: Options) -> None:
    try:
        address = ipaddress.ip_address(options.host)
    except ValueError:
        raise DuendeError(f"--host {options.host!r}: write an address, as 127.0.0.1 or 0.0.0.0") from None
    if not address.is_loopback and not options.token:
        raise DuendeError(f"a GUI on {options.host} would be open to the network: give a --token, or stay on 127.0.0.1")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            raise DuendeError(
                f"cannot listen on {options.host}:{options.port} ({error.strerror or error}): choose another --port"
            ) from error


def _check_native() -> None:
    if importlib.util.find_spec("webview") is None:
        raise DuendeError("a window of its own needs pywebview: pip install pywebview, or leave --native out")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise DuendeError("there is no display for a window: leave --native out and open the page in a browser")
