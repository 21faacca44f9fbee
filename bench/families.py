"""The factory's families on guitars: python bench/families.py CLIPS GUITARS > bench/families.md

Corners of a family beside single models of the same clips, halfway points between corners, the share of a teacher's
gain that textures keep, and what more or less input gain changes. CLIPS is the folder of the families' clips.
"""

import itertools
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duende.engine.preset import load_rig
from duende.engine.render import render_array
from duende.export.distill import DistillConfig
from duende.export.evaluate import Evaluation, evaluate
from duende.export.factory import FAMILIES, Family, shipped
from duende.export.forge import ForgeRequest, StyleSource, forge
from duende.export.kept import kept_share
from duende.export.measures import StyleTarget
from duende.export.sounds import load_sound
from duende.export.takes import judged_stretch
from duende.presets.library import Entry, Library

Float32 = npt.NDArray[np.float32]

RATE = 48000
COLUMNS = ("style_ratio", "envelope_ratio", "chroma", "multi_pitch", "onset_f1", "loudness", "harmonic_share")


def heading(text: str, columns: list[str]) -> None:
    print(f"\n## {text}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def judged(found: Evaluation) -> list[str]:
    """One cell for each of COLUMNS, all guitars in it, and the level of the output over the input's in dB."""
    cells = [" / ".join(f"{getattr(take.preset, name):.2f}" for take in found.takes.values()) for name in COLUMNS]
    return [*cells, " / ".join(f"{take.level_db:+.1f}" for take in found.takes.values())]


def single(name: str, clip: Path, folder: Path) -> Entry:
    """A model of one clip alone, made by the default settings in all their steps."""
    request = ForgeRequest((StyleSource(name, (clip,)),), name, steps=DistillConfig().steps)
    return forge(request, Library(own=folder, factory=folder), force=True).entry


def corners(family: Family, clips: Path, guitars: Mapping[str, Float32], found: Mapping[str, Evaluation]) -> None:
    """Each style of a family beside a model of its own."""
    heading(
        f"{family.name}: corners beside single models",
        ["style", "model", *(name.replace("_", " ") for name in COLUMNS), "level dB"],
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DUENDE_HOME"] = folder
        for voice in family.voices:
            alone = single(f"{voice.name}-alone", clips / voice.clip, Path(folder) / "presets")
            clip = load_sound(clips / voice.clip, RATE)
            amount = DistillConfig().played
            values = {"slot/1/amount": amount}
            alike = evaluate(shipped(voice), guitars, clip, values=values, bench_seconds=0.0)
            row(voice.name, "family as it is played", *judged(found[voice.name]))
            row(voice.name, f"family at {amount:g}", *judged(alike))
            row(voice.name, f"alone, {amount:g}", *judged(evaluate(alone, guitars, clip, bench_seconds=0.0)))


def halfway(family: Family, clips: Path, takes: Mapping[str, Float32]) -> None:
    """Style distances of two corners and of what lies between them, to both clips."""
    heading(
        f"{family.name}: halfway between two corners",
        ["pair", "guitar", "to the first: at it, halfway, at the second", "to the second", "between"],
    )
    targets = {voice.name: StyleTarget(load_sound(clips / voice.clip, RATE), RATE) for voice in family.voices}
    names = [voice.name for voice in family.voices]
    host = shipped(next(voice for voice in family.voices if voice.description))
    for first, second in itertools.combinations(names, 2):
        for title, take in takes.items():
            distances = []
            for share in (1.0, 0.5, 0.0):
                weights = dict.fromkeys(names, 0.0) | {first: share, second: 1.0 - share}
                rig = load_rig(host, values={f"slot/1/{name}": weight for name, weight in weights.items()})
                output = render_array(rig, take, RATE)[: len(take)]
                distances.append([targets[name].distances(output)[0] for name in (first, second)])
            to_first, to_second = zip(*distances, strict=True)
            between = to_first[0] <= to_first[1] <= to_first[2] and to_second[2] <= to_second[1] <= to_second[0]
            listed = (", ".join(f"{one:.3f}" for one in column) for column in (to_first, to_second))
            row(f"{first}, {second}", title, *listed, "yes" if between else "no")


def kept(family: Family, clips: Path, takes: Mapping[str, Float32]) -> None:
    """What each texture keeps of the gain of the kernel teacher."""
    heading(f"{family.name}: share of the kernel teacher's gain that is kept", ["style", *takes])
    names = [voice.name for voice in family.voices]
    host = shipped(next(voice for voice in family.voices if voice.description))
    for voice in family.voices:
        clip = load_sound(clips / voice.clip, RATE)
        cells = []
        for take in takes.values():
            values = {f"slot/1/{name}": float(name == voice.name) for name in names}
            output = render_array(load_rig(host, values=values), take, RATE)[: len(take)]
            cells.append(f"{kept_share([take], [output], clip, RATE, 'kernel', 'pitch-bound'):.3f}")
        row(voice.name, *cells)


def gains(found: Mapping[str, Evaluation]) -> None:
    """What changes with the input's gain."""
    heading(
        "Input gain",
        ["preset", "guitar", "gain dB", "level follows by dB", "residual dB", "change of style ratio", "level dB"],
    )
    for name, evaluation in found.items():
        for title, take in evaluation.takes.items():
            for one in take.gains:
                row(
                    name,
                    title,
                    f"{one.gain_db:+.0f}",
                    f"{one.level_db:+.2f}",
                    f"{one.residual_db:.1f}",
                    f"{one.style_change:+.3f}",
                    f"{take.level_db:+.1f}",
                )


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        print(__doc__)
        return
    clips, folder = Path(arguments[0]), Path(arguments[1])
    guitars = {path.stem: load_sound(path, RATE) for path in sorted(folder.glob("*.wav"))}
    takes = {title: judged_stretch(guitar, RATE) for title, guitar in guitars.items()}
    print("<!-- made by bench/families.py -->\n\n# The factory's families\n")
    print(f"Guitars: {' / '.join(takes)}. One seed. Style ratios are over the matched EQ's distance.")
    found = {
        voice.name: evaluate(shipped(voice), guitars, load_sound(clips / voice.clip, RATE), bench_seconds=0.0)
        for family in FAMILIES
        for voice in family.voices
        if voice.description
    }
    for family in FAMILIES:
        halfway(family, clips, takes)
    gains(found)
    for family in FAMILIES:
        if family.mode == "texture":
            kept(family, clips, takes)
    for family in FAMILIES:
        if family.mode == "timbre":
            corners(family, clips, guitars, found)


if __name__ == "__main__":
    main(sys.argv[1:])
