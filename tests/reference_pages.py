"""docs/reference: the pages that are written from the code, command line and effects.

Run: ``python tests/reference_pages.py`` writes them anew; ``test_docs.py`` compares them with the code.
"""

import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from duende.commands.app import app
from duende.engine.cabinet import CONTROLS as CABINET
from duende.engine.fx.table import EFFECTS
from duende.engine.spec import Control
from duende.presets.format import write_atomically

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"

HEAD = """\
# The command line

Written from the program itself. `duende --install-completion` lets your shell complete commands, options and the names
of presets, captures and cabinets (bash, zsh, fish, PowerShell); `duende --show-completion` prints the script instead.

What cannot be done is one line on standard error, and exit status 1.
"""

EFFECTS_HEAD = """\
# Effects and cabinets

Written from the program itself. Each is a slot of its own, `duende ctl slot/add fx:NAME`, with `pip install
'duende[fx]'`; a control is at `/duende/slot/N/CONTROL`. Every slot also has `bypass`, `mix` and `branch`
([Control over OSC](../osc.md)).
What they cost: [Effects: time per quantum](../../bench/host.md).
"""


def commands(group: Any, words: tuple[str, ...] = ("duende",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is shown, in the order of the program, with the words that call it."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def command_line() -> str:
    """The page of the command line, as Markdown."""
    parts = [HEAD]
    for words, command in commands(typer.main.get_command(app)):
        shown = [one for one in command.params if not getattr(one, "hidden", False)]
        arguments = [one for one in shown if one.param_type_name == "argument"]
        options = [one for one in shown if one.param_type_name == "option" and one.name != "help"]
        usage = " ".join([*words, *map(_placeholder, arguments), *(["[OPTIONS]"] if options else [])])
        parts.append(f"## {' '.join(words)}\n\n    {usage}\n\n{inspect.cleandoc(command.help or '')}\n")
        rows = [f"| `{_placeholder(one)}` | {_cell(one.help)} | |" for one in arguments]
        kinds = typing.get_type_hints(inspect.unwrap(command.callback))
        rows += [f"| {_option(one, kinds[one.name])} | {_cell(one.help)} | {_default(one)} |" for one in options]
        if rows:
            parts.append("\n".join(["| argument or option | what | default |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def effects() -> str:
    """The page of the effects, as Markdown."""
    parts = [EFFECTS_HEAD]
    for name, effect in EFFECTS.items():
        said = inspect.cleandoc(effect.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        parts.append(f"## {name}\n\n{said}\n\n{_controls(effect.controls)}")
    parts.append(
        "## cabinet\n\nAn impulse response: `duende ctl slot/add cabinet:4x12`, or one of your own "
        f"([Cabinets](../how-to/cabinets.md)).\n\n{_controls(CABINET)}"
    )
    return "\n".join(parts)


WORDS = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
PAGES = {"cli.md": command_line, "effects.md": effects}


def _controls(controls: Any) -> str:
    rows = [f"| `{one.name}` | {one.minimum:g} to {one.maximum:g} | {one.unit} | {one.default:g} |" for one in controls]
    assert all(isinstance(one, Control) for one in controls)
    return "\n".join(["| control | range | unit | default |", "|---|---|---|---|", *rows, ""])


def _placeholder(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    shown = name if argument.nargs == 1 or name.endswith("...") else f"{name}..."
    return shown if argument.required else f"[{shown}]"


def _option(option: Any, kind: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
    return names if option.is_flag else f"{names} {option.metavar or _word(kind)}"


def _word(kind: Any) -> str:
    """What stands for a value of a type: NUMBER for float, int | None, list[int]."""
    if kind in WORDS:
        return WORDS[kind]
    return next(_word(part) for part in typing.get_args(kind) if part is not type(None))


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    if option.is_flag or option.default in (None, (), [], ""):
        return ""
    return f"`{option.default}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, write in PAGES.items():
        write_atomically(FOLDER / name, write().encode())
        print(f"wrote docs/reference/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
