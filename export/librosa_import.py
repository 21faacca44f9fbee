"""librosa, loaded in such a way that two processes may be the first to need it.

At import it compiles some functions with numba and keeps the machine code beside its sources, two files to a function.
Two processes that do so at once can each leave one of the two, and then every later process that calls the function
ends with a segmentation fault, until the files are removed (numba issue 10128; seen with numba 0.68 and librosa 0.11).
So one process at a time imports those modules.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import DuendeError

_COMPILED = ("librosa.util.utils", "librosa.core.audio", "librosa.core.pitch")
_BEATS = "librosa.beat"


def load_librosa(wanted_by: str = "measuring a sound", *, otherwise: str = "", beats: bool = False) -> Any:
    """The module; with `beats` also what finds them, which takes another 1.5 s.

    Waits for as long as another process compiles (some 25 s, once to an installation).

    Raises:
        DuendeError: librosa is not installed; says what wanted it, and what to do otherwise.
    """
    try:
        librosa = importlib.import_module("librosa")
        missing = [name for name in (*_COMPILED, *([_BEATS] if beats else [])) if name not in sys.modules]
        if missing:
            with _alone(Path(str(librosa.__file__))):
                for name in missing:
                    importlib.import_module(name)
    except ImportError as error:
        raise DuendeError(f"{wanted_by} needs librosa: pip install 'duende[train]'{otherwise}") from error
    return librosa


@contextlib.contextmanager
def _alone(library: Path) -> Iterator[None]:
    """No other process that asks for this is within; where files cannot be locked, everyone is."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with library.open("rb") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
