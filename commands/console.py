"""Where all commands write: tables and answers to standard output, notices and progress to standard error."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PIPE_WIDTH = 1000

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def notices(lines: Sequence[str]) -> None:
    """Say what the user should know, one line each."""
    for line in lines:
        err.print(f"note: {line}", markup=False, soft_wrap=True)


def wide() -> Console:
    """Where tables go that hold long texts: a pipe has no width to keep to."""
    return out if out.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def progress() -> Progress:
    """A bar that is gone when it is done, and not there at all where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
