"""A forging told line by line: what another program reads of losses and pictures."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from duende.export.lines import POOL, ROWS, STYLE_S, Lines, picture
from duende.export.pictures import HOP
from signals import tone

RATE = 48000


@dataclass
class Step:
    step: int = 3
    steps: int = 40
    losses: dict[str, float] = field(default_factory=lambda: {"gram": 0.123456789, "total": 2.0})
    seconds: float = 1.23456
    sound: Any = None


def levels(found: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    data = np.frombuffer(base64.b64decode(found["picture"]), dtype=np.uint8)
    return data.reshape(found["rows"], found["frames"])


def test_a_picture_shows_where_the_sound_is() -> None:
    half = RATE // 2
    quiet = np.zeros(half, dtype=np.float32)
    found = picture(np.concatenate([tone(200.0, half), tone(6000.0, half, level_dbfs=-46.0), quiet]), RATE)
    grey = levels(found)
    assert grey.shape == (ROWS, found["frames"])
    assert found["seconds"] == pytest.approx(1.5, abs=2 * POOL * HOP / RATE)
    third = grey.shape[1] // 3
    low, high = grey[:, third // 2], grey[:, third + third // 2]
    assert low.argmax() > ROWS // 2 > high.argmax(), "the highest row comes first"
    assert low.max() == 255
    assert high.max() == pytest.approx(255 * (1.0 - 40.0 / 80.0), abs=6)
    assert grey[:, -5].max() == 0


def test_each_event_is_one_line() -> None:
    told: list[str] = []
    lines = Lines(told.append)
    lines.style(tone(440.0, 8 * RATE), RATE)
    lines.say("hearing\nthe content")
    lines.step(Step(), RATE)  # type: ignore[arg-type]
    lines.step(Step(sound=tone(440.0, RATE)), RATE)  # type: ignore[arg-type]
    lines.notice("quiet")
    lines.done("cello", 12.34)
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in told)
    found = [json.loads(line) for line in told]
    assert [one["event"] for one in found] == ["style", "doing", "step", "step", "sound", "notice", "done"]
    assert found[0]["seconds"] == pytest.approx(STYLE_S, abs=0.05)
    assert found[2] == {
        "event": "step", "step": 3, "steps": 40, "seconds": 1.23, "losses": {"gram": 0.12346, "total": 2.0}
    }  # fmt: skip
    assert found[4]["step"] == 3
    assert found[6] == {"event": "done", "preset": "cello", "seconds": 12.3}
