"""Forging: from a recording to a preset in the library, ready to play."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .. import DuendeError
from ..engine.model import load_model
from ..engine.preset import build_rig
from ..engine.render import render_array
from ..engine.spec import Clip
from ..engine.spectral import SpectralProcessor
from ..presets.format import FORMAT, Preset, SlotPreset
from ..presets.library import Entry, Library, check_name
from . import measures
from .corpus import content_pieces
from .distill import DistillConfig, Distilled, Distiller, Progress
from .model_file import model_bytes, provenance, with_quality
from .pictures import style_picture
from .pluck import demo_phrase

Float32 = npt.NDArray[np.float32]

SHORTEST_S, LONGEST_S = 1.0, 300.0
QUIETEST_DBFS = -70.0


@dataclass(frozen=True)
class ForgeRequest:
    """What to forge. judges: guitars [samples] at 48 kHz by name, never trained on, to measure the result with."""

    style: Path
    name: str
    content: Path | None = None
    config: DistillConfig = field(default_factory=DistillConfig)
    clip: Clip | None = None
    licence: str = "unknown"
    description: str = ""
    judges: Mapping[str, Float32] = field(default_factory=dict)


@dataclass(frozen=True)
class Forged:
    """The finished preset and what was measured, per judge: the preset's measures and the matched EQ's."""

    entry: Entry
    distilled: Distilled
    measured: dict[str, tuple[measures.Measures, measures.Measures]]


def load_style(path: Path, sample_rate: int) -> Float32:
    """A style clip [samples] at sample_rate, mixed to mono; DuendeError for what no style can be made from."""
    if not path.is_file():
        raise DuendeError(f"{path}: no such file")
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DuendeError(f"{path}: not a readable sound file ({error})") from error
    if not np.isfinite(audio).all():
        raise DuendeError(f"{path}: holds samples that are not numbers; repair the file first")
    seconds = len(audio) / rate
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise DuendeError(f"{path}: {seconds:.2f} s long; a style needs {SHORTEST_S:g} to {LONGEST_S:g} s of sound")
    mono = audio.mean(axis=1)
    level = 10.0 * np.log10(float(np.mean(mono.astype(np.float64) ** 2)) + 1e-20)
    if level < QUIETEST_DBFS:
        raise DuendeError(f"{path}: silent ({level:.0f} dBFS); a style needs sound above {QUIETEST_DBFS:g} dBFS")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return np.ascontiguousarray(mono, dtype=np.float32)


def forge(
    request: ForgeRequest,
    library: Library,
    *,
    force: bool = False,
    report: Callable[[Progress], None] | None = None,
    distiller: Distiller | None = None,
) -> Forged:
    """Distil a style, measure it and store it; nothing is stored unless all of it succeeded.

    distiller: one whose content was heard already, for several styles in a row.
    """
    check_name(request.name)
    taken = Entry(request.name, library.own, factory=False).path
    if taken.exists() and not force:
        raise DuendeError(
            f"there is a preset {request.name!r} already: choose another name, or replace it with --force"
        )
    config = request.config
    clip = load_style(request.style, config.sample_rate)
    if distiller is None:
        distiller = hear_content(config, request.content)
    distilled = distiller.distil(clip, report)
    origin = provenance(
        [request.clip or Clip(request.style.name, seconds=round(len(clip) / config.sample_rate, 2))],
        "the player's recordings" if request.content else "built-in plucked strings",
        asdict(config.weights),
        config.steps,
        config.seed,
        request.licence,
    )
    draft = model_bytes(distilled, request.name, [request.name], config.sizes, config.sample_rate, origin)
    measured = _measure(draft, request.name, clip, request.judges or {"phrase": demo_phrase(config.sample_rate)})
    data = with_quality(draft, _quality(measured))
    preset = Preset(
        format=FORMAT,
        name=request.name,
        slots=[SlotPreset("style", f"{request.name}.onnx")],
        tags=["style"],
        description=request.description,
    )
    models = {f"{request.name}.onnx": data}
    entry = library.save(request.name, preset, models, style_picture(clip, config.sample_rate), force=force)
    return Forged(entry, distilled, measured)


def hear_content(config: DistillConfig, folder: Path | None) -> Distiller:
    """Build the training content, from a folder of recordings or the built-in strings."""
    content = content_pieces(
        config.pieces,
        config.seconds,
        config.run_in_seconds,
        config.sample_rate,
        config.seed,
        folder=folder,
    )
    return Distiller(list(content), config)


def _measure(
    data: bytes, name: str, clip: Float32, judges: Mapping[str, Float32]
) -> dict[str, tuple[measures.Measures, measures.Measures]]:
    """Measures of every judge's take through the engine, and of its matched EQ."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        path.write_bytes(data)
        model = load_model(path)
    for title, guitar in judges.items():
        judge = measures.Judge(guitar, clip)
        output = render_array(build_rig([(name, SpectralProcessor(model))]), guitar, 48000)[: len(guitar)]
        measured[title] = (judge.measure(output), judge.measure(judge.matched_eq))
    return measured


def _quality(measured: Mapping[str, tuple[measures.Measures, measures.Measures]]) -> dict[str, float]:
    """Measures as flat, rounded numbers for the model file; what has no answer is left out."""
    rows = {}
    for title, (ours, eq) in measured.items():
        for prefix, one in ((title, ours), (f"{title} matched EQ", eq)):
            for key, value in asdict(one).items():
                if np.isfinite(value):
                    rows[f"{prefix}: {key}"] = round(float(value), 4)
    return rows
