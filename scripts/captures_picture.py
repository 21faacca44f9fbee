"""Spectrograms of one plain recording through several captures: docs/pictures/captures.png.

    python scripts/captures_picture.py DI.wav CAPTURE... --output docs/pictures/captures.png

CAPTURE: files of any format that `duende import` reads.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from duende import DuendeError
from duende.export.captures.audition import PLAIN, Take, play_takes
from duende.export.captures.described import Described
from duende.export.captures.heard import RATE
from duende.export.captures.install import import_capture
from duende.export.pictures import spectrogram_figure
from duende.presets.captures import Captures


def draw(source: Path, files: list[Path], target: Path, seconds: float) -> list[Take]:
    """Import captures into a library for the moment, play the recording through each, and draw what came out."""
    with tempfile.TemporaryDirectory() as folder:
        captures = Captures(Path(folder))
        described = [import_capture(file, captures).capture for file in files]
        takes = play_takes(source, {one.name: captures.find(one.name) for one in described}, seconds=seconds)
    titles = {PLAIN: f"{source.name}, plain"} | {one.name: title(one) for one in described}
    spectrogram_figure(target, [(titles[take.name], take.matched) for take in takes], RATE)
    return takes


def title(one: Described) -> str:
    """What stands above a capture's spectrogram."""
    origin = one.spec.provenance
    return f"{origin.file}: {one.network}" + (f", {one.gear}" if one.gear else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("captures", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    for take in draw(options.source, options.captures, options.output, options.seconds):
        print(f"{take.name}: {take.lufs:.1f} LUFS, {take.latency_samples} samples of latency")


if __name__ == "__main__":
    try:
        main()
    except DuendeError as error:
        sys.exit(str(error))
