"""The licence check passes on what is installed and notices a licence that is not allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from licences import ELSEWHERE, allowed, installed, named, refused, unchecked

SCRIPT = Path(__file__).with_name("licences.py")


def check(extra_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script, with the packages in ``extra_path`` installed beside the real ones."""
    environment = os.environ | ({} if extra_path is None else {"PYTHONPATH": str(extra_path)})
    return subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)


def install_fake(folder: Path, licence_line: str) -> None:
    """Write the metadata of a package ``trap`` 1.0 into ``folder``."""
    info = folder / "trap-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: trap\nVersion: 1.0\n{licence_line}\n")


def test_what_is_installed_is_allowed() -> None:
    result = check()
    assert result.returncode == 0, result.stderr
    assert "all allowed" in result.stdout


@pytest.mark.parametrize(
    "licence_line",
    [
        "License-Expression: GPL-3.0-or-later",
        "License-Expression: AGPL-3.0-only",
        "License-Expression: CC-BY-NC-4.0",
        "Classifier: License :: OSI Approved :: GNU General Public License v2 (GPLv2)",
        "License: free for personal use",
        "Summary: says nothing about its licence",
    ],
)
def test_a_package_that_is_not_allowed_fails_the_check(tmp_path: Path, licence_line: str) -> None:
    install_fake(tmp_path, licence_line)
    result = check(tmp_path)
    assert result.returncode == 1, result.stdout
    assert "licence not allowed: trap:" in result.stderr


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "LGPL-2.1-or-later",
        "GPL-3.0-or-later OR MIT",
        "MIT; BSD License",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
        "Apache-2.0 WITH LLVM-exception",
        "(MIT OR Apache-2.0) AND BSD-3-Clause",
    ],
)
def test_allowed(licence: str) -> None:
    assert allowed(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "UNKNOWN",
        "GPL-2.0-only",
        "AGPL-3.0-or-later",
        "MIT AND GPL-2.0-only",
        "MIT; GNU General Public License (GPL)",
        "GPL-2.0-only AND MIT OR AGPL-3.0-only",
        "(MIT OR Apache-2.0) AND GPL-3.0-only",
        "BUSL-1.1",
        "CC-BY-NC-SA-4.0",
    ],
)
def test_not_allowed(licence: str) -> None:
    assert not allowed(licence)


def test_exceptions_go_by_package_name() -> None:
    proprietary = "NVIDIA Proprietary Software"
    assert refused([("nvidia-cublas", proprietary)]) == []
    assert refused([("other-nvidia", proprietary)]) == [f"other-nvidia: {proprietary}"]


def test_every_extra_is_covered() -> None:
    packages = installed()
    assert {"torch", "pyo", "ray", "onnxruntime-gpu"} <= named()
    assert unchecked(packages) == []
    without = [one for one in packages if one[0].lower() != "pyo"]
    assert unchecked(without) == ["pyo"]
    assert refused(list(ELSEWHERE.items())) == []
