"""The house stands: what is declared, what lies in the tree and what is shipped are the same."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import duende

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Top folders with Python files that are not part of the package.
BESIDE = {"bench", "docs", "examples", "scripts", "tests"}
NOT_SOURCE = (".*", "__pycache__", "*.egg-info", "build", "dist", "demo")


def floors() -> list[Path]:
    """Return the top folders of the package: every one with Python files that is not named in BESIDE."""
    names = (p for p in ROOT.iterdir() if p.is_dir() and not any(p.match(pattern) for pattern in NOT_SOURCE))
    return sorted(p for p in names if p.name not in BESIDE and any(p.rglob("*.py")))


def modules(floor: Path) -> list[str]:
    """Return the import name of every module in one top folder."""
    names = []
    for path in sorted(floor.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(("duende", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return names


def test_every_folder_with_modules_is_a_listed_package() -> None:
    folders = {path.parent for floor in floors() for path in floor.rglob("*.py")}
    names = {"duende"} | {".".join(("duende", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_root_holds_no_stray_module() -> None:
    # Any other .py file in the root would be shipped as a module of the package.
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_links_mirror_the_package() -> None:
    links = {link.name: link for link in (ROOT / ".links" / "duende").iterdir()}
    assert set(links) == {"__init__.py", "__main__.py"} | {floor.name for floor in floors()}
    for name, link in links.items():
        assert str(link.readlink()) == f"../../{name}"
        assert link.exists(), f"{link} points at nothing"


def test_version_is_the_same_everywhere() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    assert newest is not None, "CHANGELOG.md has no heading like `## [0.1.0]`"
    assert PROJECT["project"]["version"] == duende.__version__ == newest[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a wheel built from a copy of the tree, by name."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(source.parent), str(source)],
        check=True,
    )
    (path,) = source.parent.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_holds_the_package_and_nothing_else(wheel: dict[str, bytes]) -> None:
    metadata = f"duende-{duende.__version__}.dist-info/"
    shipped = {name for name in wheel if not name.startswith(metadata)}
    data = {path for pattern in ("*.json", "*.toml", "*.onnx", "*.png") for path in (ROOT / "presets").glob(pattern)}
    data |= set((ROOT / "gui" / "static").iterdir()) | set((ROOT / "export" / "text" / "models").iterdir())
    code = {path for floor in floors() for path in floor.rglob("*.py")}
    wanted = code | data | {ROOT / name for name in ("__init__.py", "__main__.py", "py.typed")}
    assert shipped == {f"duende/{path.relative_to(ROOT)}" for path in wanted}


def test_wheel_carries_command_and_licence(wheel: dict[str, bytes]) -> None:
    metadata = f"duende-{duende.__version__}.dist-info"
    assert b"duende = duende.__main__:main" in wheel[f"{metadata}/entry_points.txt"]
    assert wheel[f"{metadata}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


# A machine that only plays has none of the first; without PortAudio, sounddevice raises an OSError on import.
BARE = """
import importlib, sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name in {"torch", "librosa", "numba", "matplotlib"}:
            raise ImportError(f"{name} is blocked by this test")
        if name == "sounddevice":
            raise OSError("PortAudio library not found (blocked by this test)")
sys.meta_path.insert(0, Bare())
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name)
"""


def import_bare(*names: str) -> subprocess.CompletedProcess[str]:
    """Import ``names`` in a new process without training libraries, plots and PortAudio."""
    # Not in the root: there `engine` would be importable as a package of its own.
    return subprocess.run(
        [sys.executable, "-c", BARE, *names], cwd=ROOT / "tests", capture_output=True, text=True, check=False
    )


def test_playing_needs_no_training_library_and_no_portaudio() -> None:
    names = [*modules(ROOT / "engine"), *modules(ROOT / "presets"), "duende.__main__"]
    result = import_bare(*names)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == names


@pytest.mark.parametrize("name", ["torch", "librosa", "numba", "matplotlib", "sounddevice"])
def test_the_block_blocks(name: str) -> None:
    result = import_bare(name)
    assert result.returncode == 1
    assert "blocked by this test" in result.stderr


def test_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
