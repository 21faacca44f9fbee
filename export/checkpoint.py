"""A training's state on disk: arrays and notes in one .npz file, written whole or not at all."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from .. import DuendeError
from ..presets.format import write_atomically


class Checkpoint:
    """One file; `read` gives back only what was written for the same work, a string that names it."""

    def __init__(self, path: Path, way_out: str = "forge without --resume") -> None:
        """way_out: what an error tells the user to do."""
        self.path, self._way_out = path, way_out

    def write(self, arrays: dict[str, npt.NDArray[Any]], notes: dict[str, Any]) -> None:
        """Replace the file. notes: plain JSON values, one of them `work`."""
        buffer = io.BytesIO()
        text = np.frombuffer(msgspec.json.encode(notes), dtype=np.uint8)
        np.savez(buffer, **arrays, notes=text)  # type: ignore[arg-type]  # the stub takes the names for options
        write_atomically(self.path, buffer.getvalue())

    def read(self, work: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]] | None:
        """Arrays and notes, None where there is no file; DuendeError for a damaged file or one of other work."""
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            notes: dict[str, Any] = msgspec.json.decode(arrays.pop("notes").tobytes())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, msgspec.DecodeError) as error:
            raise DuendeError(f"{self.path}: not a readable checkpoint ({error}); {self._way_out}") from error
        if notes.get("work") != work:
            raise DuendeError(f"{self.path} belongs to other recordings or settings; {self._way_out}")
        return arrays, notes

    def remove(self) -> None:
        """Forget the state."""
        self.path.unlink(missing_ok=True)
