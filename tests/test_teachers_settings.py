"""Settings from the command line: every type that a system's settings may have, and one line for what does not fit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from duende import DuendeError
from duende.export.teachers.registry import NAMES, teacher
from duende.export.teachers.settings import plain, with_texts


@dataclass(frozen=True)
class Many:
    count: int = 1
    weight: float = 0.5
    on: bool = False
    kind: Literal["one", "two"] = "one"
    name: str = "x"
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (1.0, "a")
    file: Path | None = None
    most: int | None = None


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("count=7", "count", 7),
        (" weight = 1e-3 ", "weight", 1e-3),
        ("on=yes", "on", True),
        ("on=0", "on", False),
        ("kind=two", "kind", "two"),
        ("name=a=b", "name", "a=b"),
        ("sizes=3,4,5", "sizes", (3, 4, 5)),
        ("sizes=", "sizes", ()),
        ("pair=2,b", "pair", (2.0, "b")),
        ("file=w.npz", "file", Path("w.npz")),
        ("file=none", "file", None),
        ("most=9", "most", 9),
    ],
)
def test_every_type(text: str, field: str, value: object) -> None:
    found = with_texts(Many(), [text], "teacher x")
    assert getattr(found, field) == value
    assert type(getattr(found, field)) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count=1.5", "count=1.5: write a whole number"),
        ("weight=loud", "weight=loud: write a number"),
        ("on=perhaps", "on=perhaps: write true or false"),
        ("kind=three", "kind=three: choose one of one, two"),
        ("sizes=1,x", "sizes=1,x: write a whole number"),
        ("pair=1", "pair=1: write 2 values"),
        ("most=some", "most=some: write a whole number"),
        ("nothing=1", "teacher x has no setting 'nothing': there are count, weight, on, kind"),
        ("count", "--set 'count': write NAME=VALUE"),
        ("=1", "--set '=1': write NAME=VALUE"),
    ],
)
def test_what_does_not_fit_is_one_line(text: str, message: str) -> None:
    with pytest.raises(DuendeError) as caught:
        with_texts(Many(), [text], "teacher x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.train
@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_every_system_can_be_written_and_read(name: str) -> None:
    pytest.importorskip("torch")
    system = teacher(name)
    assert {"faithful", "repaired"} <= set(system.forms)
    assert set(system.about) == set(system.forms)
    assert system.name == name
    for settings in system.forms.values():
        texts = [
            f"{key}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
            for key, value in plain(settings).items()
        ]
        assert with_texts(settings, texts, name) == settings
        assert settings.iterations >= 1
        assert system.shortest(settings) < 60 * settings.sample_rate
        cost = system.cost(3 * settings.sample_rate, 5 * settings.sample_rate, settings)
        assert cost.seconds > 0.0
        assert cost.memory > 0
