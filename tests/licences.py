"""Refuse a dependency whose licence the project cannot live with.

Reads the metadata of every package installed beside this Python (through pip-licenses) and compares each
licence, as a whole name, with the list below. Whole names because "LGPL" (fine) contains "GPL" (not fine).

Run: ``python tests/licences.py``. Exit status 0 if all are allowed, else 1 with one line per package.
"""

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

# Lower case. SPDX identifiers first, then the same licences as older metadata write them.
ALLOWED = {
    "0bsd",
    "apache-2.0",
    "apache-2.0 with llvm-exception",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsl-1.0",
    "cnri-python",
    "cc0-1.0",
    "hpnd",
    "isc",
    "lgpl-2.1-only",
    "lgpl-2.1-or-later",
    "lgpl-3.0-only",
    "lgpl-3.0-or-later",
    "mit",
    "mit-0",
    "mit-cmu",
    "mpl-2.0",
    "psf-2.0",
    "python-2.0",
    "unlicense",
    "zlib",
    "3-clause bsd license",
    "apache 2.0",
    "apache 2.0 license",
    "apache license 2.0",
    "apache software license",
    "bsd",
    "bsd license",
    "bsd 2-clause license",
    "bsd 3-clause license",
    "gnu lesser general public license v2 or later (lgplv2+)",
    "gnu lesser general public license v3 (lgplv3)",
    "gnu lesser general public license v3 or later (lgplv3+)",
    "historical permission notice and disclaimer (hpnd)",
    "isc license",
    "isc license (iscl)",
    "mit license",
    "mozilla public license 2.0 (mpl 2.0)",
    "python software foundation license",
    "the unlicense (unlicense)",
    "zlib/libpng license",
}

# Package name pattern -> why it may stay although its licence is not in the list.
EXCEPTIONS = {
    "nvidia-*": "libraries that torch's CUDA wheel asks for; a CPU wheel has none; not shipped here",
    "cuda-*": "the same",
    "docutils": "public domain and BSD; its GPL is that of an Emacs mode, which the wheel does not hold",
    "python-osc": "the Unlicense (public domain); its metadata says no more than freely distributable",
}

# What extras name and the tests' environment does not hold: licence, as its metadata on PyPI says it (November 2026).
ELSEWHERE = {
    "onnxruntime-gpu": "MIT License",
}


def allowed(licence: str) -> bool:
    """Say whether ``licence`` (an SPDX expression or names joined by ``;``) is allowed.

    ``A OR B`` needs one of the two, ``A AND B`` and ``A; B`` need both; AND binds tighter, as in SPDX.
    With parentheses every name must be allowed, which is stricter than SPDX and needs no parser.
    """
    if "(" in licence and re.search(r"\b(AND|OR)\b", licence):
        names = re.split(r"\s+(?:AND|OR)\s+|;", re.sub(r"[()]", " ", licence))
        return all(name.strip().lower() in ALLOWED for name in names)
    return any(
        all(name.strip().lower() in ALLOWED for name in re.split(r"\s+AND\s+|;", choice))
        for choice in re.split(r"\s+OR\s+", licence)
    )


def refused(packages: list[tuple[str, str]]) -> list[str]:
    """Return one line, ``name: licence``, for each (name, licence) that is neither allowed nor excepted."""
    return [
        f"{name}: {licence}"
        for name, licence in packages
        if not allowed(licence) and not any(fnmatchcase(name.lower(), pattern) for pattern in EXCEPTIONS)
    ]


def installed() -> list[tuple[str, str]]:
    """Return (name, licence) of every installed package. Raises CalledProcessError if pip-licenses fails."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [(entry["Name"], entry["License"]) for entry in json.loads(listing)]


def named() -> set[str]:
    """Return the names of all packages that the project and its extras ask for."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return {canonical(re.match(r"[\w.-]+", one)[0]) for one in wanted}  # type: ignore[index]


def canonical(name: str) -> str:
    """Return a package's name as every writing of it has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def unchecked(packages: list[tuple[str, str]]) -> list[str]:
    """Return what extras ask for that is neither among (name, licence) nor in ELSEWHERE."""
    return sorted(named() - {canonical(name) for name, _ in packages} - set(ELSEWHERE))


def main() -> int:
    """Print the refused packages, or how many were checked; return the exit status."""
    packages = installed()
    bad = refused([*packages, *ELSEWHERE.items()])
    bad += [f"{name}: not installed here, and not in ELSEWHERE" for name in unchecked(packages)]
    for line in bad:
        print(f"licence not allowed: {line}", file=sys.stderr)
    if not bad:
        print(f"licences: {len(packages)} packages, all allowed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
