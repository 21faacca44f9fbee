"""Checked reading of a JSON file from someone else: every value knows where it stands, and says so when it is wrong."""

import codecs
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError

Float32 = npt.NDArray[np.float32]

MAX_BYTES = 32 * 2**20
MAX_PARTS = 200_000
LABEL_LENGTH = 200
MISSING = object()


def shown(value: object) -> str:
    """A value in an error message: at most 40 characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = json.dumps(value) if isinstance(value, str) else str(value)
    except ValueError:
        text = "a number of thousands of digits"
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_bounded(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a plain file of at most limit bytes; DuendeError before reading one that is larger."""
    try:
        if path.exists() and not path.is_file():
            raise DuendeError(f"{path.name}: not a plain file")
        size = path.stat().st_size
        if size > limit:
            raise DuendeError(f"{path.name}: {size / 2**20:.0f} MiB: a capture has at most {limit // 2**20} MiB")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DuendeError(f"cannot read {shown(path.name)}: {reason}") from error
    if len(data) > limit:
        raise DuendeError(f"{path.name}: it grew while it was read: a capture has at most {limit // 2**20} MiB")
    return data


def parse(data: bytes, file: str) -> "Field":
    """The object that a JSON file holds (UTF-8, or UTF-16 with its byte-order mark; NaN and Infinity are read).

    DuendeError for what is no JSON object, is nested too deeply, or has more than MAX_PARTS lists and objects.
    """
    if not data.strip():
        raise DuendeError(f"{file}: the file is empty")
    if data.count(b"[") + data.count(b"{") > MAX_PARTS:
        raise DuendeError(f"{file}: more than {MAX_PARTS} lists and objects: this is no capture")
    try:
        encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        value = json.loads(data.decode(encoding, errors="replace"))
    except RecursionError as error:
        raise DuendeError(f"{file}: lists or objects within one another too deeply: this is no capture") from error
    except ValueError as error:
        reason = str(error).split(";")[0]
        raise DuendeError(
            f"{file}: not a whole JSON file ({reason}): a capture is .nam, AIDA-X or Proteus text; download it again?"
        ) from error
    if not isinstance(value, dict):
        raise DuendeError(f"{file}: holds {shown(value)}: a capture is a JSON object")
    return Field(value, "", file)


class Field:
    """A value of a JSON file, and where it stands.

    The strict readers (`integer`, `number`, `flag`, `text`, `items`, `array`) raise DuendeError that names file and
    field; null counts as missing. The lenient ones (`label`, `figure`), for what only describes, never do.
    """

    __slots__ = ("file", "path", "value")

    def __init__(self, value: Any, path: str, file: str) -> None:
        self.value = value
        self.path = path
        self.file = file

    @property
    def present(self) -> bool:
        return self.value is not MISSING and self.value is not None

    def refuse(self, why: str) -> DuendeError:
        """The error to raise: file, field, and why."""
        return DuendeError(f"{self.file}: {self.path} {why}" if self.path else f"{self.file}: {why}")

    def wrong(self, want: str) -> DuendeError:
        """The error to raise for a value that is not as wanted, or missing."""
        if self.value is MISSING:
            return self.refuse(f"is missing: {want}")
        return self.refuse(f"is {shown(self.value)}: {want}")

    def at(self, key: str) -> "Field":
        """A member of an object (upper and lower case are told apart only if need be); missing if this is no object."""
        path = f"{self.path}.{key}" if self.path else key
        value: Any = MISSING
        if isinstance(self.value, dict):
            value = self.value.get(key, MISSING)
            if value is MISSING:
                folded = key.casefold()
                value = next((held for name, held in self.value.items() if name.casefold() == folded), MISSING)
        return Field(value, path, self.file)

    def has(self, key: str) -> bool:
        return self.at(key).present

    def object(self) -> "Field":
        """Itself, if it is an object."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object is wanted")
        return self

    def items(self, low: int, high: int) -> "list[Field]":
        """The members of a list of low to high."""
        if not isinstance(self.value, list) or not low <= len(self.value) <= high:
            raise self.wrong(f"a list of {low} to {high} is wanted")
        return [Field(value, f"{self.path}[{index}]", self.file) for index, value in enumerate(self.value)]

    def integer(self, low: int, high: int, default: int | None = None) -> int:
        """A whole number, 16 or 16.0."""
        if default is not None and not self.present:
            return default
        value = self.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(f"{low} to {high}")
        return value

    def number(self, low: float, high: float, default: float | None = None) -> float:
        if default is not None and not self.present:
            return default
        if type(self.value) not in (int, float) or not low <= self.value <= high:
            raise self.wrong(f"{low:g} to {high:g}")
        return float(self.value)

    def flag(self, default: bool | None = None) -> bool:
        """true, false, 1 or 0."""
        if default is not None and not self.present:
            return default
        if type(self.value) not in (bool, int, float) or self.value not in (0, 1):
            raise self.wrong("true or false")
        return bool(self.value)

    def text(self, default: str | None = None) -> str:
        if default is not None and not self.present:
            return default
        if not isinstance(self.value, str):
            raise self.wrong("a text is wanted")
        return self.value

    def array(self, *shape: int | None) -> Float32:
        """Nested lists of finite numbers as an array of as many axes as shape has; None leaves a length open."""
        level: list[Any] = [self.value]
        lengths: list[int] = []
        for axis, wanted in enumerate(shape):
            for index, part in enumerate(level):
                if not isinstance(part, list):
                    raise self._inside(axis, index, lengths, part).wrong(f"a list is wanted, {_layout(shape)}")
                if len(part) != (len(level[0]) if wanted is None else wanted):
                    wanted = len(level[0]) if wanted is None else wanted
                    raise self._inside(axis, index, lengths, part).wrong(f"{wanted} are wanted, {_layout(shape)}")
            lengths.append(len(level[0]) if level else 0)
            if lengths[-1] == 0:
                raise self.wrong(f"numbers are wanted, {_layout(shape)}")
            level = [value for part in level for value in part]
        return finite(level, self, lengths)

    def _inside(self, axis: int, index: int, lengths: list[int], value: Any) -> "Field":
        place = np.unravel_index(index, lengths) if axis else ()
        return Field(value, self.path + "".join(f"[{part}]" for part in place), self.file)

    def label(self) -> str:
        """A text that only describes, of printable characters on one line; "" for anything else."""
        if not isinstance(self.value, str):
            return ""
        return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in self.value)).strip()[:LABEL_LENGTH]

    def figure(self, low: float, high: float) -> float | None:
        """A number that only describes, also as a text; None for anything else, and beyond low to high."""
        value = self.value
        if isinstance(value, str) and len(value) < 40:
            try:
                value = float(value)
            except ValueError:
                return None
        if type(value) not in (int, float) or not low <= value <= high:
            return None
        return float(value)


def finite(values: Sequence[Any], field: Field, shape: Sequence[int]) -> Float32:
    """Numbers of a flat list as finite float32 of a shape; DuendeError names the first that is not one."""
    kinds = set(map(type, values))
    if not kinds <= {int, float}:
        _blame(values, field, shape, lambda value: type(value) not in (int, float), "a number is wanted")
    try:
        with np.errstate(over="ignore"):
            found = np.array(values, dtype=np.float64).astype(np.float32)
    except OverflowError:
        _blame(values, field, shape, lambda value: abs(value) > 3e38, "finite numbers only")
        raise
    if not np.isfinite(found).all():
        with np.errstate(over="ignore"):
            _blame(values, field, shape, lambda value: not math.isfinite(np.float32(value)), "finite numbers only")
    return found.reshape(tuple(shape))


def _blame(values: Sequence[Any], field: Field, shape: Sequence[int], bad: Any, want: str) -> None:
    for index, value in enumerate(values):
        if bad(value):
            place = "".join(f"[{part}]" for part in np.unravel_index(index, tuple(shape)))
            raise Field(value, field.path + place, field.file).wrong(want)


def _layout(shape: Sequence[int | None]) -> str:
    return "shape [" + ", ".join("any" if length is None else str(length) for length in shape) + "]"
