"""The page of reproductions is written from its figures, says what was not made, and runs what is asked for alone."""

import importlib.util
import json
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
    measures = {"style_ratio": style_ratio, "chroma": chroma, "onset_f1": None, "mfcc_distance": 10.0 * style_ratio}
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
        "measures": dict.fromkeys(script.PLAYED, 0.5),
        "matched EQ": dict.fromkeys(script.PLAYED, 1.0),
        "kept": 0.75,
        "real_time_factor": 12.3,
    }
    text = " ".join(script.page({"rows": rows, "students": {"cnn": student, "vae": {"refused": "no"}}}).split())
    assert "| cnn | faithful | 20.0 | 30.0 | 20.0 | 2.00 GB | 9 |" in text
    # Means over the pairs: 3.0 and 0.375; then over the one that was made.
    assert "mean over 2 pairs: style distance 3.00" in text
    assert "mean over 1 pairs: style distance 0.50" in text
    assert "style distance -83 %, MFCC -83 %, chroma +0.38." in text
    assert "*Repaired.* Not made: no <memory>" in text
    assert "| cnn | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 75% | 12.3 |" in text
    assert "| vae | not made: no |" in text


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
