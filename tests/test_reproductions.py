"""The page of reproductions is written from its figures, says what was not made, and runs what is asked for alone."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")

from duende import DuendeError

pytestmark = pytest.mark.train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts" / "reproductions.py"
    spec = importlib.util.spec_from_file_location("reproductions_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def made(style_ratio: float, chroma: float, seconds: float) -> dict[str, Any]:
    measures = {"style_ratio": style_ratio, "chroma": chroma, "onset_f1": 0.9, "mfcc_distance": 10.0 * style_ratio}
    return {"seconds": seconds, "cpu_seconds": seconds, "memory": 2e9, "iterations": 9, "measures": measures}


def test_the_page_is_written_from_its_figures(script: ModuleType) -> None:
    kept = json.loads(script.KEPT.read_text())
    assert script.PAGE.read_text() == script.page(kept), "run `python scripts/reproductions.py --page`"


def test_pictures_are_small_and_there(script: ModuleType) -> None:
    for row in json.loads(script.KEPT.read_text())["rows"]:
        assert 1000 < (script.PICTURES / f"{row.replace(':', '-')}.png").stat().st_size < script.LARGEST_PICTURE


def test_figures_come_out_as_they_went_in(script: ModuleType) -> None:
    rows = {
        "cnn:faithful": {"cello": made(2.0, 0.5, 10.0), "sax": made(4.0, 0.25, 30.0)},
        "cnn:repaired": {"cello": made(0.5, 0.75, 1.0), "sax": {"refused": "no <memory>"}},
    }
    student = {
        "minutes": 3.0,
        "pieces": 6,
        "measures": dict.fromkeys(script.PLAYED, 0.5),
        "matched EQ": dict.fromkeys(script.PLAYED, 1.0),
        "kept": 0.75,
        "real_time_factor": 12.3,
    }
    kept: dict[str, Any] = {"rows": rows, "students": {"cnn": student, "vae": {"refused": "no"}}}
    text = " ".join(script.page(kept).split())
    assert re.search(r"\| cnn \| faithful \| 20\.0 \| 30\.0 \| \d+ \| 2\.00 GB \| 9 \|", text)
    # Means over the pairs: 3.0; beside each other, over the one that was made in both forms: 2.0 and 0.5.
    assert "mean of the pairs: style distance 3.00" in text
    assert "mean of the pairs: style distance 0.50" in text
    assert "style distance -75 %, MFCC -75 %, chroma +0.25, onset F1 +0.00." in text
    # Nothing to measure what was taken by: no verdict.
    assert "| cnn (cello alone) | - -> - | - | 0.90 -> 0.90 | 0.50 -> 0.75 |" in text
    assert "20.00 -> 5.00 | - -> - | - -> - | - |" in text
    assert "*Repaired.* Not made: no <memory>" in text
    assert "| cnn | 6 | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 75% | 12.3 |" in text
    assert "| vae | not made: no |" in text


@pytest.mark.parametrize(("chroma", "verdict"), [(0.52, "yes"), (0.48, "no")])
def test_a_repair_holds_where_it_takes_more_and_loses_nothing(script: ModuleType, chroma: float, verdict: str) -> None:
    """The clip lies 40 dB away: a quarter of it is taken before, three quarters are afterwards."""
    rows = {"cnn:faithful": {"cello": made(3.0, 0.5, 1.0)}, "cnn:repaired": {"cello": made(1.0, chroma, 1.0)}}
    for row in rows.values():
        row["cello"]["measures"]["multi_pitch"] = 0.75
    kept = {"rows": rows, "references": {"cello": {script.UNTOUCHED: {"mfcc_distance": 40.0}}}}
    text = " ".join(script.page(kept).split())
    # Harmonic means of 0.25 and 0.75, of 0.75 and 0.75.
    assert "| cnn (cello alone) | 0.38 -> 0.75 | +100 % |" in text
    assert f"30.00 -> 10.00 | - -> - | - -> - | {verdict} |" in text


def test_what_is_asked_for_alone(script: ModuleType) -> None:
    assert script.chosen(["cnn", "sms:repaired"]) == [
        ("cnn", "faithful"),
        ("cnn", "repaired"),
        ("sms", "repaired"),
    ]
    assert len(script.chosen([])) == 14
    for text in ("other", "cnn:other"):
        with pytest.raises(DuendeError, match="--only"):
            script.chosen([text])


def test_what_falls_short_is_said(script: ModuleType) -> None:
    good, bad = made(0.5, 0.9, 1.0), made(1.5, 0.2, 1.0)
    bad["measures"] |= {"loudness": 0.1, "drone_db": 3.0, "level_db": -40.0, "onset_f1": 0.4}
    student = {"measures": dict.fromkeys(script.PLAYED, 0.9) | {"style_ratio": 1.25}, "kept": None}
    rows = {"vae:faithful": {"cello": bad, "sax": good}}
    text = " ".join(script.shortfalls({"rows": rows, "students": {"vae": student}}))
    for line in (
        "chroma under 0.5: vae faithful (cello 0.20).",
        "onset F1 under 0.5: vae faithful (cello 0.40).",
        "loudness under 0.5: vae faithful (cello 0.10).",
        "drone of 3 dB and more: vae faithful (cello 3.00).",
        "12 dB and more below the content: vae faithful (cello -40.00).",
        "style distance of 1 and more: vae faithful (cello 1.50); the student of vae (1.25).",
        "vae faithful (rain); vae repaired (cello, sax, rain)",
        "no student: none, cnn,",
    ):
        assert line in text
