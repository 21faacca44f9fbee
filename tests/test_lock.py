"""The lock file holds a version of everything that `make test` installs, and one that the project can live with."""

import re
import runpy
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "lock.py"))
EXTRAS, TARGET, closure = SCRIPT["EXTRAS"], SCRIPT["TARGET"], SCRIPT["closure"]


def locked() -> dict[str, str]:
    lines = [line for line in TARGET.read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)", line) for line in lines]
    assert all(found), [line for line, one in zip(lines, found, strict=True) if one is None]
    return {one[1]: one[2] for one in found if one is not None}


def test_what_the_project_asks_for_is_locked_at_a_version_that_it_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    versions = locked()
    for one in map(Requirement, wanted):
        name = canonicalize_name(one.name)
        assert name in versions, f"{name}: run python scripts/lock.py"
        assert one.specifier.contains(versions[name]), f"{one} is locked at {versions[name]}"


def test_what_those_ask_for_is_locked_too() -> None:
    # Of what is installed here; versions may be others.
    found, _ = closure()
    # torch's build for CUDA brings libraries that CI does not install.
    assert {name for name in set(found) - set(locked()) if not name.startswith(("nvidia-", "cuda-", "triton"))} == set()
    assert {"protobuf", "pydantic", "cffi"} <= set(found)


def test_the_makefile_installs_the_same_extras() -> None:
    assert f"-e '.[{','.join(EXTRAS)}]'" in (ROOT / "Makefile").read_text()
    assert "LOCK=requirements-lock.txt test" in (ROOT / ".ci" / "run").read_text()
