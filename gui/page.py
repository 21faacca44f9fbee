"""The page: one component of ours that holds everything that moves, and in it what NiceGUI builds from Python."""

import importlib.util
from typing import Any

from nicegui import app, ui
from nicegui.element import Element
from starlette.websockets import WebSocket

from .files import join_files
from .link import Link
from .pages import Pages

FORGE = "duende.gui.forge"


class Shell(Element, component="static/shell.js", esm={"duende-gui": "static"}):
    """Everything but the forge, which is its content. It draws itself from the tree of addresses."""

    def __init__(self, *, forge: bool) -> None:
        super().__init__()
        self._props["forge"] = forge


def build(link: Link) -> Pages:
    """Register the page and its WebSocket with NiceGUI's app."""
    from .app import STATIC

    pages = Pages(link)
    style = (STATIC / "duende.css").read_text(encoding="utf-8")
    forge = _forge(link)

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await pages.attend(socket)

    join_files(app, link)

    @ui.page("/")
    def page() -> None:
        ui.add_head_html(f'<style>{style}</style><meta name="theme-color" content="#0d0b0a">')
        with Shell(forge=forge is not None):
            if forge is not None:
                forge.page()

    return pages


def _forge(link: Link) -> Any:
    """The forge page of this process; None in a build without one."""
    if importlib.util.find_spec(FORGE) is None:
        return None
    return importlib.import_module(FORGE).Forge(link)
