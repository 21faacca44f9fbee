"""Several files changed as one: all of them are written, or everything stays as it was."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import DuendeError


def write_together(files: Mapping[Path, bytes], remove: Sequence[Path] = ()) -> None:
    """Write files, in this order, and then remove others; DuendeError, and nothing has changed, where that fails.

    All bytes are on the disk before the first name changes, so that a full disk leaves what was there.
    """
    staged: dict[Path, Path] = {}
    kept: dict[Path, Path | None] = {}
    path = next(iter(files), Path())
    try:
        for path, data in files.items():
            staged[path] = _stage(path, data)
        for path in (*staged, *(path for path in remove if path not in staged and path.exists())):
            old = _keep(path)
            kept[path] = old
            if path in staged:
                staged[path].replace(path)
            else:
                path.unlink()
    except OSError as error:
        for changed, old in reversed(kept.items()):
            with contextlib.suppress(OSError):
                if old is None:
                    changed.unlink(missing_ok=True)
                else:
                    old.replace(changed)
        raise DuendeError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        for temporary in (*staged.values(), *kept.values()):
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)


def _stage(path: Path, data: bytes) -> Path:
    """The bytes under a name that nobody looks for, in the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a preset may be read by all.
        temporary.chmod(0o644)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _keep(path: Path) -> Path | None:
    """The present file under a second name, to go back to; None where there is none."""
    if not path.exists():
        return None
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".old.")
    os.close(handle)
    temporary = Path(name)
    temporary.unlink()
    try:
        os.link(path, temporary)
    except OSError:
        shutil.copy2(path, temporary)
    return temporary
