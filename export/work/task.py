"""A piece of work: what kind, with what numbers, on what files; and the key that says which result is its own."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ... import DuendeError, __version__
from .kinds import KINDS, Kind

LARGEST = 2 << 30
"""Bytes of one input."""

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Source:
    """An input by the hash of its bytes: a file, or bytes that are at hand. name: its file name, without a folder."""

    name: str
    digest: str
    size: int
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of_file(cls, path: Path, name: str | None = None) -> "Source":
        """A file as it is now. DuendeError where it cannot be read, or is larger than 2 GiB."""
        try:
            size = path.stat().st_size
            if size > LARGEST:
                raise DuendeError(f"{path}: {size / 2**30:.1f} GiB; a file of at most {LARGEST >> 30} GiB can be sent")
            return cls(name or path.name, digest_of(path), size, path.resolve())
        except OSError as error:
            raise DuendeError(f"{path}: {error.strerror or error}") from error

    @classmethod
    def of_bytes(cls, data: bytes, name: str) -> "Source":
        """Bytes, under the name of the file that they are written to where a file is needed."""
        return cls(name, hashlib.sha256(data).hexdigest(), len(data), data=data)

    def read(self) -> bytes:
        """The bytes. DuendeError where the file is not the one that was hashed any more."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise DuendeError(f"{self.path}: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise DuendeError(f"{self.path}: changed since the work began; start it again")
        return data


@dataclass(frozen=True)
class Task:
    """One call of a kind.

    name: for people. parameters: what JSON knows, and all that decides the result beside the inputs, seeds included.
    kinds: the table of kinds; another one only in tests.
    """

    name: str
    kind: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Source] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=lambda: KINDS, repr=False)

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the result: kind and its version, parameters, inputs and their names."""
        decided = {
            "kind": self.kind,
            "version": self.kinds[self.kind].version,
            "duende": __version__,
            "parameters": self.parameters,
            "inputs": {slot: [source.digest, source.name] for slot, source in self.inputs.items()},
        }
        return hashlib.sha256(canonical(decided)).hexdigest()


def canonical(value: Any) -> bytes:
    """JSON of one form only: sorted, without white space; ValueError for what is no number."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hex. OSError where it cannot be read."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_AT_ONCE):
            found.update(part)
    return found.hexdigest()
