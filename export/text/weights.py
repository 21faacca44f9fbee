"""Where a system's published weights lie: a folder that the user gives, or one of the hub; safetensors alone."""

import os
from dataclasses import dataclass
from pathlib import Path

from ... import DuendeError
from ...presets.library import home

VARIABLE = "DUENDE_WEIGHTS"
OFFLINE = "HF_HUB_OFFLINE"
FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What is asked of the hub: nothing that could run code."""

UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Weights:
    """The weights of one system.

    name: of the system. hub: id at huggingface.co where they are published. licence: of theirs. size_bytes: in all.
    files: paths inside the folder that must be there. way: how to get them, where that is not to ask the hub for them.
    """

    name: str
    hub: str
    licence: str
    size_bytes: int
    files: tuple[str, ...]
    way: str = ""

    @property
    def line(self) -> str:
        """One line to show before the first use."""
        return f"{self.name}: weights {self.hub}, {self.size_bytes / 1e9:.2f} GB, licence {self.licence}"

    @property
    def place(self) -> Path:
        """Where they are looked for when nobody says."""
        return home() / "weights" / self.name

    def find(self, given: str | None = None) -> Path:
        """The folder that holds them.

        In this order: `given` (a folder, or an id of the hub, which is then fetched unless HF_HUB_OFFLINE is set); the
        folder DUENDE_WEIGHTS, or its sub-folder called like the system; `home()/weights/NAME`. Nothing is ever fetched
        that was not asked for by its id. DuendeError, one line, where they are not, or are not safetensors.
        """
        if given is not None:
            folder = Path(given).expanduser()
            if not self.hub and not folder.is_dir():
                raise DuendeError(f"{self.name}: no folder {given}")
            return self._checked(folder if folder.is_dir() else self._from_hub(given))
        root = os.environ.get(VARIABLE, "")
        if root:
            base = Path(root).expanduser()
            own = base / self.name
            return self._checked(own if own.is_dir() else base)
        return self._checked(self.place)

    def _checked(self, folder: Path) -> Path:
        if not folder.is_dir():
            raise DuendeError(f"{self.name}: no weights at {folder}: {self._way_out}")
        for name in self.files:
            path = folder / name
            if path.is_file():
                continue
            unsafe = [ending for ending in UNSAFE if path.with_suffix(ending).is_file()]
            if path.suffix == ".safetensors" and unsafe:
                raise DuendeError(
                    f"{self.name}: {path.with_suffix(unsafe[0])} could run code and is not opened: "
                    f"convert it to {path.name} (safetensors)"
                )
            raise DuendeError(f"{self.name}: {path} is missing: {self._way_out}")
        return folder

    @property
    def _way_out(self) -> str:
        asked = f"get {self.hub} ({self.size_bytes / 1e9:.2f} GB, {self.licence}) with --weights {self.hub}"
        return (
            f"{self.way or asked}, or put the files in {self.place}, or name their folder with --weights or {VARIABLE}"
        )

    def _from_hub(self, given: str) -> Path:
        if given.count("/") != 1 or given.startswith((".", "/", "~")):
            raise DuendeError(f"{self.name}: no folder {given}, and no id of the hub (OWNER/NAME)")
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise DuendeError(f"fetching weights needs {error.name}: pip install 'duende[text]'") from error
        offline = os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")
        try:
            return Path(snapshot_download(given, allow_patterns=list(FETCHED), local_files_only=offline))
        except (OSError, ValueError) as error:  # the hub's own errors are among these
            why = "HF_HUB_OFFLINE is set and it was never fetched" if offline else str(error).splitlines()[0]
            raise DuendeError(f"{self.name}: {given} cannot be had from the hub ({why}): {self._way_out}") from error
