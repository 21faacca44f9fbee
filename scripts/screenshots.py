"""The pictures of the GUI in README and docs: runs the program with a guitar plugged in, and takes them.

Run: ``python scripts/screenshots.py [FOLDER]`` (default: docs/pictures); needs jackd, chromium and the extras ``gui``
and ``fx``. The guitar is the built-in phrase, so that anybody can take the same pictures.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from duende.export.pluck import demo_phrase
from jackd import RATE
from stage import SIZES, Browser, reachable
from stage_live import Rig
from waiting import wait_until

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
VIEWS = ("play", "chain", "presets", "look")
SETTLE_S = 2.5
"""So long meters and spectrum are let run; the phrase has its chords then."""


def take(folder: Path) -> list[Path]:
    """All pictures; returns what was written: the view for playing in each size, the other views on a desktop."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    with tempfile.TemporaryDirectory() as scratch:
        rig = Rig(Path(scratch) / "home", demo_phrase(RATE), "cello")
        browser = None
        try:
            wait_until(lambda: reachable(rig.url), "the GUI")
            for source in ("fx:delay", "fx:reverb"):
                rig.ask("slot/add", source)
            rig.ask("slot/1/load", "cello")
            rig.ask("style/xy", 0.3, 0.35)
            rig.ask("amount", 0.8)
            for number in (1, 2, 3):
                rig.ask("snapshot/store", number)
            browser = Browser(Path(scratch) / "chromium")
            for size in SIZES:
                browser.resize(size)
                browser.open(rig.url)
                rig.ask("status/reset")
                time.sleep(SETTLE_S)
                taken.append(shot(browser, folder / f"gui-{size}.png"))
            for view in VIEWS[1:]:
                browser.go(view)
                rig.ask("status/reset")
                time.sleep(SETTLE_S)
                taken.append(shot(browser, folder / f"gui-{view}.png"))
        finally:
            if browser is not None:
                browser.quit()
            rig.end()
    return taken


def shot(browser: Browser, path: Path) -> Path:
    """What the window shows, as a PNG file."""
    if not browser.driver.save_screenshot(str(path)):
        raise OSError(f"{path} could not be written")
    return path


def main() -> None:
    """Take the pictures, and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=PICTURES)
    for path in take(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
