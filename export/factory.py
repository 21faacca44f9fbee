"""Rebuilds the factory presets from their clips: python -m duende.export.factory CLIPS GUITARS [FAMILY ...]."""

import math
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from ..engine.model import Model, load_model
from ..engine.preset import load_rig
from ..engine.render import render_array
from ..engine.spec import Clip
from ..presets import library
from ..presets.format import FORMAT_1_SUFFIX, SUFFIX, encode_preset, hash_of, read_preset, write_atomically
from . import measures
from .distill import DistillConfig, Progress
from .evaluate import Evaluation, evaluate
from .forge import ForgeRequest, Mode, StyleSource, forge, preset_of
from .loudness import match
from .pictures import spectrogram_figure, style_picture
from .pluck import demo_phrase
from .sounds import load_sound
from .takes import judged_stretch

Float32 = npt.NDArray[np.float32]

RATE = 48000
# All steps are taken, however slow the machine.
MINUTES = 120.0
SMS = (
    "Music Technology Group, Universitat Pompeu Fabra (Freesound pack of xserra)",
    "CC BY 4.0",
    "MTG/sms-tools-materials",
)
DANCE = ("an orchestra playing Brahms, Hungarian Dance No. 5", "public domain", "librosa/data")
NOAA = ("US National Park Service", "public domain", "librosa/data")


@dataclass(frozen=True)
class Voice:
    """One style of a family: its name, its clip, where that is from, and a line for the list of presets.

    Without a line it is no preset: it can be mixed in, and is not good enough alone.
    """

    name: str
    clip: str
    origin: tuple[str, str, str]
    description: str = ""


@dataclass(frozen=True)
class Blend:
    """A preset between the voices of a family: its name, weights by voice, and a line for the list."""

    name: str
    weights: dict[str, float]
    description: str


@dataclass(frozen=True)
class Family:
    """One model of several styles that morph; each of them is a preset of its own."""

    name: str
    mode: Mode
    voices: tuple[Voice, ...]
    blends: tuple[Blend, ...] = ()
    config: DistillConfig = field(default_factory=DistillConfig)


FAMILIES = (
    Family(
        "instruments",
        "timbre",
        (
            Voice("cello", "cello-phrase.wav", SMS, "a bowed cello phrase: warm body, the treble sings"),
            Voice("sax", "sax-phrase.wav", SMS, "a saxophone phrase: reedy mids, quick and bright"),
            Voice("strings", "hungarian-dance.ogg", DANCE, "a string orchestra at the dance: broad, bright, bowed"),
            Voice("piano", "piano.wav", SMS, "a piano: round attacks, an even tone over all strings"),
        ),
        # A student of four styles goes less far than a student of one, and loses less pitch on the way.
        config=DistillConfig(amount=0.75, played=0.95),
    ),
    Family(
        "weather",
        "texture",
        (
            Voice("rain", "rain.wav", SMS, "rain on leaves, as loud as you play"),
            Voice("ocean", "ocean.wav", SMS, "surf: slow, wide noise that swells with the hand"),
            Voice("humpback", "humpback.ogg", NOAA),
            Voice("orchestra", "orchestra.wav", SMS, "a full orchestra's chord as a cloud around your playing"),
        ),
        (Blend("storm", {"rain": 0.5, "ocean": 0.5}, "rain over surf, half and half"),),
    ),
)


def build(family: Family, clips: Path, guitars: dict[str, Float32], target: Path) -> None:
    """Forge a family into the folder target: one model file, and for each voice a preset with its picture."""
    styles = []
    for voice in family.voices:
        seconds = round(len(load_sound(clips / voice.clip, RATE)) / RATE, 2)
        author, licence, source = voice.origin
        clip = Clip(voice.clip, author, licence, source, seconds)
        styles.append(StyleSource(voice.name, (clips / voice.clip,), (clip,)))
    request = ForgeRequest(
        tuple(styles),
        family.name,
        mode=family.mode,
        minutes=MINUTES,
        config=family.config,
        licence="CC BY 4.0, after the clips named",
        judges={title: judged_stretch(guitar, RATE) for title, guitar in guitars.items()},
    )
    # The family is reached through its voices; it is not a preset itself.
    with tempfile.TemporaryDirectory() as folder:
        shelf = library.Library(own=Path(folder) / "presets", factory=Path(folder) / "none")
        forged = forge(request, shelf, report=_tell)
        (slot,) = forged.entry.read().slots
        write_atomically(target / f"{family.name}.onnx", forged.entry.read_file(slot))
        amount = slot.values["amount"]
    sys.stderr.write(f"{family.name}: {forged.seconds:.0f} s\n")
    model = load_model(target / f"{family.name}.onnx")
    write_presets(family, clips, request, model, amount, target)


def write_presets(
    family: Family, clips: Path, request: ForgeRequest, model: Model, amount: float, target: Path
) -> None:
    """The presets of a family that has been forged, played at an amount, each with the picture of its clip."""
    sounds = {voice.name: load_sound(clips / voice.clip, RATE) for voice in family.voices}
    voices = [Blend(voice.name, {voice.name: 1.0}, voice.description) for voice in family.voices if voice.description]
    for one in (*voices, *family.blends):
        preset = preset_of(replace(request, description=one.description), model, amount)
        preset.name = one.name
        preset.slots[0].values |= {voice.name: one.weights.get(voice.name, 0.0) for voice in family.voices}
        entry = library.Entry(one.name, target, factory=True)
        write_atomically(
            entry.picture_path, style_picture(np.concatenate([sounds[name] for name in one.weights]), RATE)
        )
        slot = preset.slots[0]
        slot.sha256 = hash_of((target / slot.file).read_bytes())
        write_atomically(target / f"{one.name}{SUFFIX}", encode_preset(preset))
        (target / f"{one.name}{FORMAT_1_SUFFIX}").unlink(missing_ok=True)


def refresh(folder: Path, file: str) -> list[library.Entry]:
    """Presets of a folder that play a file, as they are after its present hash was written into them."""
    found = []
    for entry in library.Library(own=folder / "none", factory=folder).entries():
        preset = entry.read()
        playing = [slot for slot in preset.slots if slot.file == file]
        for slot in playing:
            slot.sha256 = hash_of((folder / file).read_bytes())
        if playing:
            write_atomically(entry.path, encode_preset(preset))
            found.append(entry)
    return found


def convert(folder: Path) -> list[Path]:
    """Write a folder's presets of format 1 anew in the present one, with the hashes of the models that are there."""
    written = []
    for path in sorted(folder.glob(f"*{FORMAT_1_SUFFIX}")):
        preset = read_preset(path)
        for slot in preset.slots:
            slot.sha256 = hash_of((folder / slot.file).read_bytes())
        written.append(path.with_suffix(SUFFIX))
        write_atomically(written[-1], encode_preset(preset))
        path.unlink()
    return written


def _tell(progress: Progress) -> None:
    if progress.step % 50 == 0:
        losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        sys.stderr.write(f"step {progress.step} of {progress.steps}, {progress.seconds:.0f} s: {losses}\n")


def shipped(voice: Voice) -> library.Entry:
    """The factory's preset, whatever the player's own library holds."""
    return library.Entry(voice.name, Path(library.__file__).parent, factory=True)


def judge(voice: Voice, clips: Path, guitars: dict[str, Float32]) -> Evaluation:
    """Measure a finished preset through the engine."""
    entry = shipped(voice)
    return evaluate(entry, guitars, load_sound(clips / voice.clip, RATE), style_title=voice.clip, bench_seconds=0.0)


def rows(voice: Voice, evaluation: Evaluation) -> list[str]:
    """Lines of the table in docs/distillation.md."""
    lines = []
    for title, take in evaluation.takes.items():
        ours, eq = take.preset, take.matched_eq
        pairs = (
            "-" if math.isnan(getattr(ours, name)) else f"{getattr(ours, name):.2f} / {getattr(eq, name):.2f}"
            for name in ("chroma", "multi_pitch", "onset_f1", "loudness", "harmonic_share", "drone_db")
        )
        noise = "-" if take.pick_up is None else f"{take.pick_up.worst_db:+.1f}"
        ratios = f"{ours.style_ratio:.2f} | {ours.envelope_ratio:.2f}"
        ends = f"{noise} | {take.silence_dbfs:.0f} | {take.level_db:+.1f}"
        lines.append(f"| {voice.name} | {title} | {ratios} | {' | '.join(pairs)} | {ends} |")
    return lines


def draw(voice: Voice, clips: Path, guitars: dict[str, Float32], folder: Path) -> None:
    """Spectrograms of input, style and output for every guitar, as folder/<preset>-<guitar>.png."""
    clip = load_sound(clips / voice.clip, RATE)
    for title, guitar in guitars.items():
        take = judged_stretch(guitar, RATE)
        output = render_array(load_rig(shipped(voice)), take, RATE)[: len(take)]
        pictures = [
            (f"input: {title}", take),
            (f"style: {voice.clip}", clip),
            (f"output: {voice.name}", output),
            ("for comparison: matched EQ", measures.matched_eq(take, clip, RATE)),
        ]
        spectrogram_figure(folder / f"{voice.name}-{title}.png", pictures, RATE)


HEAD = (
    "| preset | guitar | style ratio | envelope ratio | pitch | multi-pitch | onsets F1 | loudness | harmonic share "
    "| drone dB | pick-up noise over EQ dB | silence dBFS | level dB |\n|" + "---|" * 13
)


def main(arguments: list[str]) -> None:
    """Forge, measure and draw the named families, or all."""
    if len(arguments) < 2:
        raise DuendeError("usage: python -m duende.export.factory CLIPS GUITARS [FAMILY ...]")
    clips, takes, names = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    root = Path(__file__).resolve().parents[1]
    guitars = {path.stem: load_sound(path, RATE) for path in sorted(takes.glob("*.wav"))}
    if not guitars:
        raise DuendeError(f"{takes}: no .wav to measure on")
    sys.stdout.write(HEAD + "\n")
    for family in FAMILIES:
        if names and family.name not in names:
            continue
        build(family, clips, guitars, root / "presets")
        match(refresh(root / "presets", f"{family.name}.onnx"), demo_phrase(RATE))
        for voice in (voice for voice in family.voices if voice.description):
            sys.stdout.write("\n".join(rows(voice, judge(voice, clips, guitars))) + "\n")
            sys.stdout.flush()
            draw(voice, clips, guitars, root / "docs" / "pictures")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except DuendeError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
