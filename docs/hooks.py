"""For mkdocs: pages that lie beside docs/ in the repository (measurements, examples) are part of the site, too.

Links stay as they are in the repository, where they work as well: here they are turned to where the pages lie in the
site, and those to folders and files that are no pages to the page that tells of them.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("bench/*.md", "examples/README.md", "examples/*/README.md", "CHANGELOG.md")
CODE = ("bench", "examples")
OPTIONAL = re.compile(r"\[([a-z])\](?!\()")
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages beside docs/."""
    for pattern in BESIDE:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), content=path.read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links to where their goals lie in the site; those that lead nowhere stay, and the strict build fails."""
    here = page.file.src_uri
    beside = any(Path(here).match(pattern) for pattern in BESIDE)
    # Where the page lies in the repository: pages of docs/ lie one deeper than in the site.
    folder = posixpath.dirname(here if beside else f"docs/{here}")

    def turn(match: "re.Match[str]") -> str:
        goal = match[2]
        if "://" in goal or goal.startswith("mailto:"):
            return match[0]
        lies = posixpath.normpath(posixpath.join(folder, goal))
        if lies.startswith("..") or not (ROOT / lies).exists():
            return match[0]
        place = lies.removeprefix("docs/")
        if files.get_file_from_path(place) is None and lies.split("/")[0] in CODE:
            place = _page_for(lies)
        if files.get_file_from_path(place) is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(place, posixpath.dirname(here) or '.')}{match[3]}"

    if here == "osc.md":
        # Two arguments that may be left out, side by side, would read as a link.
        markdown = OPTIONAL.sub(r"\\[\1\\]", markdown)
    return LINK.sub(turn, markdown)


def _page_for(path: str) -> str:
    """The page that tells of a file or folder of examples: its own, else the one above."""
    own = f"{path}/README.md"
    return own if (ROOT / own).is_file() else "examples/README.md"
