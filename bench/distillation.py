"""What each part of the distillation brings: python bench/distillation.py STYLE GUITARS [STEPS] > bench/distillation.md

Every row is one training of the same length with one thing changed, measured through the differentiable path on
guitars that were never trained on. One seed; differences under about 0.03 are chance.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from duende.export import measures
from duende.export.content import batch, hear
from duende.export.corpus import UNALTERED, Augmentation, content_pieces
from duende.export.distill import DistillConfig, Distilled, Distiller
from duende.export.kept import kept_share
from duende.export.losses import LossWeights
from duende.export.sounds import load_sound
from duende.export.student import Renderer
from duende.export.style import BODY_TOP_HZ, StyleClip
from duende.export.takes import judged_stretch
from duende.export.teachers.targets import teacher_targets

Float32 = npt.NDArray[np.float32]

RATE = 48000
PIECES, TARGET_PIECES = 40, 24
BASE = LossWeights()
COLUMNS = ("style_ratio", "envelope_ratio", "chroma", "multi_pitch", "onset_f1", "loudness", "harmonic_share")

LOSSES: tuple[tuple[str, LossWeights, bool], ...] = (
    ("statistics alone (the default)", BASE, False),
    ("a teacher's sound alone", replace(BASE, gram=0.0, envelope=0.0, target=3.0), True),
    ("both", BASE, True),
    ("no band envelopes", replace(BASE, envelope=0.0), False),
    ("no Gram matrices", replace(BASE, gram=0.0), False),
    ("no pitch guard", replace(BASE, chroma=0.0), False),
    ("no onset guard", replace(BASE, onset=0.0), False),
    ("no loudness guard", replace(BASE, loudness=0.0), False),
    ("no tonality guard", replace(BASE, tonality=0.0), False),
    ("no price on noise", replace(BASE, noise=0.0), False),
    ("no price on moving and rough gains", replace(BASE, movement=0.0, roughness=0.0), False),
    ("no guard at all", LossWeights(1.5, 2.0, *[0.0] * 9), False),
)
CONTENTS: tuple[tuple[str, Augmentation], ...] = (
    ("no augmentation", UNALTERED),
    ("no other speeds and tunings", Augmentation(speed=0.0)),
    ("no equaliser, no comb", Augmentation(equaliser=0.0, comb=0.0)),
    ("no noise floor, no levels", Augmentation(noise=0.0, level=0.0)),
    ("no clipping, compression, room", Augmentation(clipping=0.0, compression=0.0, room=0.0)),
)


@torch.no_grad()
def play(distilled: Distilled, distiller: Distiller, take: Float32) -> Float32:
    """A take [samples] through the student as it is trained."""
    config, past = distiller.config, distilled.student.config.receptive_field - 1
    hop = config.sizes.hop
    quiet = (past + 1) * hop
    padded = np.concatenate([np.zeros(quiet, np.float32), take, np.zeros(2 * hop - len(take) % hop, np.float32)])
    heard = batch([hear(padded, RATE, config.sizes, quiet, past, config.excitations)])
    renderer = Renderer(distiller._bands, config.sizes, RATE, distilled.bodies, BODY_TOP_HZ)
    setting = renderer.setting(torch.ones(1, 1), torch.tensor([config.amount]))
    ratios, dynamics = distilled.student(heard.features, setting.style, setting.amount)
    gains = renderer.gains(heard, setting, ratios[:, past:], dynamics[:, past:])[0]
    return np.asarray(renderer(heard, setting, gains)[0].numpy()[hop : hop + len(take)])


def cells(rows: Sequence[measures.Measures]) -> str:
    """One cell per measure, all guitars in it."""
    return " | ".join(" / ".join(f"{getattr(one, name):.2f}" for one in rows) for name in COLUMNS)


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        print(__doc__)
        return
    clip = load_sound(Path(arguments[0]), RATE)
    takes = {path.stem: judged_stretch(load_sound(path, RATE), RATE) for path in sorted(Path(arguments[1]).glob("*"))}
    steps = int(arguments[2]) if len(arguments) > 2 else 150
    judges = [measures.Judge(take, clip) for take in takes.values()]
    style = StyleClip("style", clip)
    config = DistillConfig(steps=steps, pieces=PIECES, check_every=steps)

    def row(title: str, distiller: Distiller, targets: list[list[Float32]] | None = None) -> None:
        distilled = distiller.distil([style], targets=targets)
        outputs = [play(distilled, distiller, take) for take in takes.values()]
        found = [judge.measure(output) for judge, output in zip(judges, outputs, strict=True)]
        kept = kept_share(list(takes.values()), outputs, clip, RATE, "kernel", "pitch-blind")
        print(f"| {title} | {cells(found)} | {kept:.0%} |", flush=True)

    print("<!-- made by bench/distillation.py -->\n\n# What each part of the distillation brings\n")
    print(f"{Path(arguments[0]).name}, {steps} steps each, one seed; guitars: {' / '.join(takes)}.\n")
    print(f"| trained with | {' | '.join(name.replace('_', ' ') for name in COLUMNS)} | of the teacher's gain |")
    print("|---|" + "---|" * (len(COLUMNS) + 1))
    print(f"| matched EQ | {cells([judge.measure(judge.matched_eq) for judge in judges])} | |", flush=True)
    distiller = Distiller(list(content_pieces(PIECES, 3.2, 3.0, RATE, config.seed)), config)
    targets = [teacher_targets(distiller.audio[:TARGET_PIECES], clip, RATE, "kernel")]
    for title, weights, taught in LOSSES:
        distiller.config = replace(config, weights=weights)
        row(title, distiller, targets if taught else None)
    for title, chances in CONTENTS:
        pieces = content_pieces(PIECES, 3.2, 3.0, RATE, config.seed, chances=chances)
        row(title, Distiller(list(pieces), config))


if __name__ == "__main__":
    main(sys.argv[1:])
