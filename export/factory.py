"""Rebuilds the factory presets from their clips: python -m duende.export.factory CLIPS GUITARS [NAME ...]."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from ..engine.spec import Clip
from ..presets import library
from . import measures
from .distill import DistillConfig, Distiller, Progress
from .forge import ForgeRequest, forge, hear_content, load_style
from .pictures import spectrogram_figure

Float32 = npt.NDArray[np.float32]

AUTHOR = "Music Technology Group, Universitat Pompeu Fabra (Freesound pack of xserra)"
SOURCE = "MTG/sms-tools-materials"
LICENCE = "CC BY 4.0"


@dataclass(frozen=True)
class Recipe:
    """A factory preset: its clip, and a line for the list of presets."""

    name: str
    clip: str
    description: str


RECIPES = (
    Recipe("cello", "cello-phrase.wav", "a bowed cello phrase: warm body, the treble sings"),
    Recipe("sax", "sax-phrase.wav", "a saxophone phrase: reedy mids, quick and bright"),
)


def guitars(folder: Path, sample_rate: int) -> dict[str, Float32]:
    """The recordings that presets are measured on; none of them is trained on."""
    takes = {path.stem: load_style(path, sample_rate) for path in sorted(folder.glob("*.wav"))}
    if not takes:
        raise DuendeError(f"{folder}: no .wav to measure on")
    # Long takes: the last eight seconds, which are the loud ones of the electric guitar.
    return {name: take[-8 * sample_rate :] if len(take) > 12 * sample_rate else take for name, take in takes.items()}


def build(recipe: Recipe, clips: Path, judges: dict[str, Float32], distiller: Distiller, target: Path) -> str:
    """Forge one factory preset into the folder target; returns its measures as a table."""
    config = distiller.config
    request = ForgeRequest(
        style=clips / recipe.clip,
        name=recipe.name,
        config=config,
        clip=Clip(recipe.clip, AUTHOR, LICENCE, SOURCE),
        licence=f"{LICENCE}, after a clip by {AUTHOR}",
        description=recipe.description,
        judges=judges,
    )
    shelf = library.Library(own=target, factory=target)
    forged = forge(request, shelf, force=True, report=_say, distiller=distiller)
    rows: dict[str, measures.Measures] = {}
    for title, (ours, eq) in forged.measured.items():
        rows |= {f"{recipe.name}, {title}": ours, f"matched EQ, {title}": eq}
    return measures.format_table(rows)


def _say(progress: Progress) -> None:
    if progress.step % 50 == 0:
        losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        sys.stderr.write(f"step {progress.step} of {progress.steps}, {progress.seconds:.0f} s: {losses}\n")


def draw(recipe: Recipe, clips: Path, judges: dict[str, Float32], folder: Path, sample_rate: int) -> None:
    """Spectrograms of input, style and output for every judge, as folder/<preset>-<judge>.png."""
    from ..engine.preset import load_rig
    from ..engine.render import render_array

    clip = load_style(clips / recipe.clip, sample_rate)
    for title, guitar in judges.items():
        output = render_array(load_rig(library.Library().find(recipe.name)), guitar, sample_rate)[: len(guitar)]
        rows = [
            (f"input: {title}", guitar),
            (f"style: {recipe.clip}", clip),
            (f"output: {recipe.name}", output),
            ("for comparison: matched EQ", measures.matched_eq(guitar, clip, sample_rate)),
        ]
        spectrogram_figure(folder / f"{recipe.name}-{title}.png", rows, sample_rate)


def main(arguments: list[str]) -> None:
    """Forge, measure and draw the named presets, or all."""
    if len(arguments) < 2:
        raise DuendeError("usage: python -m duende.export.factory CLIPS GUITARS [NAME ...]")
    clips, takes, names = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    root = Path(__file__).resolve().parents[1]
    config = DistillConfig()
    judges = guitars(takes, config.sample_rate)
    distiller = hear_content(config, None)
    chosen = [recipe for recipe in RECIPES if not names or recipe.name in names]
    for recipe in chosen:
        sys.stdout.write(build(recipe, clips, judges, distiller, root / "presets") + "\n\n")
        sys.stdout.flush()
        draw(recipe, clips, judges, root / "docs" / "pictures", config.sample_rate)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except DuendeError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
