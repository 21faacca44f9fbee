"""A playable instrument from a sentence: one timbre at several pitches and velocities, and the .sfz file for them."""

from collections.abc import Mapping
from pathlib import Path

from ... import DuendeError
from ...presets.format import write_atomically
from .backend import Backend, Report
from .made import save

PITCHES = tuple(range(36, 85, 6))
VELOCITIES = (45, 85, 120)
FILE = "instrument.sfz"
_LAYERS = ((1, 60), (61, 100), (101, 127))


def write_instrument(
    backend: Backend,
    prompt: str,
    seed: int,
    seconds: float,
    settings: Mapping[str, str],
    folder: Path,
    *,
    licence: str = "",
    force: bool = False,
    report: Report,
) -> tuple[Path, int, list[str]]:
    """The .sfz file, how many notes it maps, and notices.

    All notes are of one seed, so of one timbre. A backend that can be told a pitch is asked for every note; it must
    take the settings `pitch` and `velocity`. DuendeError where it does not, or where there is an instrument already.
    """
    target = folder / FILE
    if target.exists() and not force:
        raise DuendeError(f"{target} is there already: choose another folder, or replace it with --force")
    own = sorted({"pitch", "velocity"} & set(settings))
    if own:
        raise DuendeError(f"--set {own[0]}: an instrument has all of them")
    if not getattr(backend, "plays_pitches", False):
        raise DuendeError(f"{backend.name} cannot be told a pitch: make the instrument with --backend default")
    regions: list[str] = []
    said: list[str] = []
    total = len(PITCHES) * len(VELOCITIES)
    for place, pitch in enumerate(PITCHES):
        low = 0 if place == 0 else pitch - 2
        high = 127 if place + 1 == len(PITCHES) else pitch + 3
        for velocity, (softest, loudest) in zip(VELOCITIES, _LAYERS, strict=True):
            report(len(regions), total, f"note {pitch} at {velocity}")
            values = {**settings, "pitch": str(pitch), "velocity": str(velocity)}
            sound = backend.make(prompt, seed, seconds, values, lambda done, total, doing: None)
            name = f"note-{pitch:03d}-{velocity:03d}.wav"
            save(folder / name, sound, backend.name, prompt, seed, licence)
            said = said or sound.notices
            # The layers are as loud as they are played: inside a layer the player's velocity does the rest.
            regions.append(
                f"<region> sample={name} pitch_keycenter={pitch} lokey={low} hikey={high} "
                f"lovel={softest} hivel={loudest}"
            )
    head = [
        f"// {prompt}",
        f"// made by duende from these words: {backend.name}, seed {seed}",
        "<global> amp_veltrack=30 ampeg_release=0.3 loop_mode=no_loop",
    ]
    write_atomically(target, ("\n".join([*head, *regions]) + "\n").encode())
    return target, total, said
