"""Tests that need what the machine lacks are skipped, and fail where they are required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_marked(folder: Path, marker: str, *, required: str) -> str:
    """Run one test with ``marker`` where neither jackd nor torch nor pyo can be found; return pytest's last line."""
    (folder / "conftest.py").write_text(
        (ROOT / "tests" / "conftest.py").read_text()
        + "\nimportlib.util.find_spec = lambda name: None  # as if torch and pyo were not installed\n"
    )
    (folder / "test_it.py").write_text(
        f"import pytest\n\n@pytest.mark.{marker}\ndef test_it():\n    pass\n\ndef test_plain():\n    pass\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    live: a\n    train: b\n    fx: c\n    text: d\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env=os.environ | {"PATH": str(folder), "DUENDE_REQUIRE_LIVE": required},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.splitlines()[-1]


@pytest.mark.parametrize("marker", ["live", "live('oscsend')", "train", "fx", "text"])
def test_skipped_where_missing(tmp_path: Path, marker: str) -> None:
    assert "1 passed, 1 skipped" in run_marked(tmp_path, marker, required="")


@pytest.mark.parametrize("marker", ["live", "live('oscsend')", "train", "fx", "text"])
def test_fails_where_required(tmp_path: Path, marker: str) -> None:
    assert "1 passed, 1 error" in run_marked(tmp_path, marker, required="1")
