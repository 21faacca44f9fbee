"""Results on disk by key: files by the hash of their bytes, a note that says which belong together, nothing half."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import DuendeError
from ...presets.format import write_atomically
from .task import canonical, digest_of

FORMAT = 1
MOST_BYTES = 64 << 20
"""Of a result's note."""

LOCK = "lock"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Result:
    """What a task made: files by name, each with the hash of its bytes, plain data, and what was measured."""

    key: str
    files: Mapping[str, Path]
    digests: Mapping[str, str]
    data: Any = None
    cost: Mapping[str, float] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """The bytes of a file. DuendeError where it is gone or is not what was made."""
        try:
            data = self.files[name].read_bytes()
        except OSError as error:
            raise DuendeError(f"{self.files[name]}: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != self.digests[name]:
            raise DuendeError(f"{self.files[name]}: damaged; run it again, it is made anew")
        return data


class Store:
    """A folder of results. Programs that write into it hold it (`held`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging = folder / "staging" / uuid.uuid4().hex
        """Workers of this machine leave files here; `keep` moves them."""

    @property
    def journal(self) -> Path:
        """Where the driver writes down what was done."""
        return self.folder / "journal.jsonl"

    @contextlib.contextmanager
    def held(self, *, alone: bool = True) -> Iterator[None]:
        """Write into the store; alone: DuendeError where another program does so, too. Leftovers of dead ones go."""
        with contextlib.ExitStack() as locks:
            try:
                self.staging.mkdir(parents=True, exist_ok=True)
                _locked(self.staging / LOCK, locks)
                if alone and not _locked(self.folder / LOCK, locks):
                    raise DuendeError(
                        f"{self.folder}: another duende works in this store; wait for it, or name another one (--store)"
                    )
                self._sweep()
            except OSError as error:
                raise DuendeError(f"cannot write {self.folder}: {error.strerror or error}") from error
            try:
                yield
            finally:
                shutil.rmtree(self.staging, ignore_errors=True)

    def find(self, key: str, places: Mapping[str, Path] | None = None) -> Result | None:
        """What was made for a key, every file compared with its hash; None where something is missing or damaged.

        places: where files may lie instead, by name (`deliver`).
        """
        note = self._note(key)
        if note is None:
            return None
        files: dict[str, Path] = {}
        for name, digest in note["files"].items():
            for path in (self._blob(digest), (places or {}).get(name)):
                if path is not None and _is(path, digest):
                    files[name] = path
                    break
            else:
                return None
        return Result(key, files, note["files"], note["data"], note["cost"])

    def keep(
        self,
        key: str,
        contents: Mapping[str, bytes | Path],
        data: Any = None,
        cost: Mapping[str, float] | None = None,
    ) -> Result:
        """Store a result, its note last. Paths are files of the staging folder, which are moved. DuendeError: cannot.

        data, cost: what JSON knows.
        """
        digests = {}
        for name, content in contents.items():
            if isinstance(content, bytes):
                digest = hashlib.sha256(content).hexdigest()
                if not _is(self._blob(digest), digest):
                    write_atomically(self._blob(digest), content)
            else:
                digest = self._move_in(content)
            digests[name] = digest
        note = {"format": FORMAT, "key": key, "files": digests, "data": data, "cost": dict(cost or {})}
        text = canonical({**note, "sum": hashlib.sha256(canonical(note)).hexdigest()})
        if len(text) > MOST_BYTES:
            raise DuendeError(f"a result of {len(text) >> 20} MiB beside its files: {MOST_BYTES >> 20} MiB at most")
        write_atomically(self._note_path(key), text)
        return Result(key, {name: self._blob(one) for name, one in digests.items()}, digests, data, note["cost"])

    def deliver(self, result: Result, name: str, target: Path, *, last: bool = True) -> None:
        """Put a file of a result where it belongs, whole or not at all. last: the store needs it no more: moved.

        A target that holds it already is left alone. DuendeError where it cannot be written.
        """
        if _is(target, result.digests[name]):
            return
        source = result.files[name]
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if last and source == self._blob(result.digests[name]):
                try:
                    source.replace(target)
                    return
                except OSError:  # another file system
                    pass
            shutil.copyfile(source, beside)
            beside.replace(target)
            if last:
                self._blob(result.digests[name]).unlink(missing_ok=True)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise DuendeError(f"cannot write {target}: {error.strerror or error}") from error

    def _sweep(self) -> None:
        for left in self.staging.parent.iterdir():
            with contextlib.ExitStack() as locks:
                if left != self.staging and _locked(left / LOCK, locks):
                    shutil.rmtree(left, ignore_errors=True)

    def _move_in(self, path: Path) -> str:
        try:
            digest = digest_of(path)
            blob = self._blob(digest)
            blob.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(blob)
        except OSError as error:
            raise DuendeError(f"cannot write {self.folder}: {error.strerror or error}") from error
        return digest

    def _note(self, key: str) -> dict[str, Any] | None:
        path = self._note_path(key)
        try:
            if path.stat().st_size > MOST_BYTES:
                return None
            note = json.loads(path.read_bytes())
            total = note.pop("sum")
            fits = (
                note["format"] == FORMAT
                and note["key"] == key
                and hashlib.sha256(canonical(note)).hexdigest() == total
                and all(_DIGEST.fullmatch(digest) for digest in note["files"].values())
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return note if fits else None

    def _note_path(self, key: str) -> Path:
        return self.folder / "results" / key[:2] / f"{key}.json"

    def _blob(self, digest: str) -> Path:
        return self.folder / "files" / digest[:2] / digest


def _is(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and digest_of(path) == digest
    except OSError:
        return False


def _locked(path: Path, locks: contextlib.ExitStack) -> bool:
    """Lock a file for as long as `locks` are, or this process is; False where another process has. OSError: cannot."""
    try:
        import fcntl
    except ImportError:  # Windows: nothing here can lock
        return False
    file = locks.enter_context(path.open("wb"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True
