"""duende: a real-time neural effect host for live instruments."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export.api import Host as Host
    from .export.api import Sound as Sound
    from .export.api import forge as forge
    from .export.api import render as render

__version__ = "0.1.0"
__all__ = ["DuendeError", "Host", "Sound", "__version__", "forge", "render"]


class DuendeError(Exception):
    """A failure that the user can mend: one line with the value, the bound and the way out."""


def __getattr__(name: str) -> Any:
    """The API, imported when it is first asked for: every process of a host imports this package, too."""
    if name in ("Host", "Sound", "forge", "render"):
        return getattr(importlib.import_module(".export.api", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
