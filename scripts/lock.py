"""Writes requirements-lock.txt: the versions, installed here, of everything that the extras of `make test` bring.

Run: ``python scripts/lock.py [--check]`` in an environment made by ``make setup``, after the tests have passed in it.
pip takes the file as constraints (``make LOCK=requirements-lock.txt test``), so a platform's own packages may stand
beside it. Versions are public ones: ``torch==2.13.0`` holds for the CPU's build and for CUDA's, whichever index gives
it. Hashes are left out for the same reason. --check: only say whether the file is as it would be written.
"""

import argparse
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "requirements-lock.txt"
EXTRAS = ("cpu", "fx", "train", "text", "cluster", "midi", "gui", "docs", "dev")
"""As in the Makefile."""
HEAD = "# Written by scripts/lock.py: what CI installs (make LOCK=requirements-lock.txt test).\n"


def closure(root: Path = ROOT) -> tuple[dict[str, str], list[str]]:
    """Version by name of all that the extras need, and the names of what of it is not installed."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    for extra in EXTRAS:
        wanted += project["project"]["optional-dependencies"][extra]
    waiting = [Requirement(one) for one in wanted]
    seen: set[tuple[str, frozenset[str]]] = set()
    found: dict[str, str] = {}
    missing: list[str] = []
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        key = (name, frozenset(one.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            held = distribution(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        found[name] = Version(held.version).public
        for text in held.requires or ():
            needed = Requirement(text)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                waiting.append(needed)
    return dict(sorted(found.items())), sorted(missing)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found, missing = closure()
    for name in missing:
        print(f"not installed here, so not locked: {name}", file=sys.stderr)
    text = HEAD + "".join(f"{name}=={version}\n" for name, version in found.items())
    if options.check:
        if TARGET.read_text() != text:
            print(f"{TARGET.name} is not what is installed here: run python scripts/lock.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    print(f"{TARGET.name}: {len(found)} packages")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
