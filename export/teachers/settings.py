"""Settings of a system as text: NAME=VALUE, read by the types of the dataclass's fields."""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ... import DuendeError

RATES_HZ = (44100, 48000)
"""At which signals are made from the content (`sources`) and what the player loses is weighed (`guards`)."""

GUARDED_S = 0.5
"""What is weighed so is as long at least."""


def with_texts(settings: Any, texts: Sequence[str], owner: str) -> Any:
    """A copy of a frozen dataclass with fields set from NAME=VALUE texts; a tuple is written a,b,c.

    owner: whose settings they are, as errors name it. DuendeError for an unknown name (lists them all), a value of
    another type, and what the dataclass itself refuses.
    """
    changes = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name.strip():
            raise DuendeError(f"--set {text!r}: write NAME=VALUE, as in --set iterations=100")
        changes[name.strip()] = value.strip()
    return with_values(settings, changes, owner)


def with_values(settings: Any, changes: Mapping[str, str], owner: str) -> Any:
    """The same from names and their values as text."""
    hints = get_type_hints(type(settings))
    names = [field.name for field in dataclasses.fields(settings)]
    parsed = {}
    for name, text in changes.items():
        if name not in names:
            raise DuendeError(f"{owner} has no setting {name!r}: there are {', '.join(names)}")
        parsed[name] = _value(text, hints[name], f"{name}={text}")
    return dataclasses.replace(settings, **parsed)


def plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as values that JSON knows."""
    return {
        key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(settings).items()
    }


def with_plain(settings: Any, values: Mapping[str, Any]) -> Any:
    """The settings that `plain` gave those values of; settings: any of the same class."""
    hints = get_type_hints(type(settings))
    return dataclasses.replace(settings, **{name: _back(value, hints[name]) for name, value in values.items()})


def _back(value: Any, kind: Any) -> Any:
    """A value that went through JSON, as its field has it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        kinds = [part for part in parts if part is not type(None)]
        return _back(value, Path if Path in kinds and isinstance(value, str) else kinds[0])
    if origin is tuple and isinstance(value, list):
        inner = parts * len(value) if len(parts) == 2 and parts[1] is Ellipsis else parts
        return tuple(_back(one, part) for one, part in zip(value, inner, strict=False))
    if kind is Path:
        return Path(value)
    return float(value) if kind is float else value


def check_ranges(*ranges: tuple[str, float, float, float]) -> None:
    """DuendeError for the first (name, value, lowest, highest) whose value is not within, or is no number."""
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise DuendeError(f"{name} {value:g} is out of range: {low:g} to {high:g}")


def check_choices(*choices: tuple[str, str, Sequence[str]]) -> None:
    """DuendeError for the first (name, value, choices) whose value is none of them."""
    for name, value, known in choices:
        if value not in known:
            raise DuendeError(f"{name} {value!r}: choose {' or '.join(known)}")


def _value(text: str, kind: Any, what: str) -> Any:
    """A value of a type from its text."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of(text, list(get_args(kind)), what)
    if origin is Literal:
        for choice in get_args(kind):
            if str(choice) == text:
                return choice
        raise DuendeError(f"{what}: choose one of {', '.join(map(str, get_args(kind)))}")
    if origin is tuple:
        return _tuple(text, get_args(kind), what)
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise DuendeError(f"{what}: write true or false")
        return words[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise DuendeError(f"{what}: write a {'whole ' if kind is int else ''}number") from None
    if kind is Path:
        return Path(text)
    if kind is str:
        return text
    raise DuendeError(f"{what}: cannot be set from the command line")


def _one_of(text: str, kinds: list[Any], what: str) -> Any:
    if type(None) in kinds:
        if text.lower() in ("none", ""):
            return None
        kinds.remove(type(None))
    for place, kind in enumerate(kinds):
        try:
            return _value(text, kind, what)
        except DuendeError:
            if place == len(kinds) - 1:
                raise
    raise DuendeError(f"{what}: cannot be set from the command line")


def _tuple(text: str, kinds: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.split(",")] if text else []
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_value(part, kinds[0], what) for part in parts)
    if len(parts) != len(kinds):
        raise DuendeError(f"{what}: write {len(kinds)} values separated by commas")
    return tuple(_value(part, kind, what) for part, kind in zip(parts, kinds, strict=True))
