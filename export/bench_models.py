"""Models to time: students of any size with random weights, and any model with its weights at another precision."""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from .. import DuendeError, __version__
from ..engine.bench.matrix import Played, file_played
from ..engine.graph_check import make_session, read_bytes
from ..engine.mixer import feature_count
from ..engine.spec import AMOUNT, FORMAT, Golden, ModelSpec, Provenance, Sizes, Tensor
from ..engine.stft import DEFAULT_SIZES
from ..presets.format import encode_preset, hash_of
from ..presets.library import Entry
from .graph import Block, Weights, build_graph, receptive_field, save_graph, states
from .precision import convert

Float32 = npt.NDArray[np.float32]

BANDS, POINTS, TOP_HZ = 48, 513, 24000.0
EXCITATIONS = ("dry@1", "noise@1")
"""Those of the factory's instruments."""
DILATIONS = (1, 2, 4, 8, 16, 32, 1, 2)
MILLIONS = (0.02, 100.0)
GOLDEN_FRAMES = 4


def student_parameters(width: int) -> int:
    """Weights of a student of the shipped kind, one style, so many channels wide."""
    features, columns = feature_count(BANDS), len(EXCITATIONS) * BANDS + 1
    first = (3 * features + 1) * width
    block = (3 + 2 * width + 1 + 2 + 2) * width
    return first + len(DILATIONS) * block + (width + 1) * columns


def student_width(parameters: float) -> int:
    """The width, a multiple of 8, whose student comes nearest to so many weights."""
    return min(range(8, 4096, 8), key=lambda width: abs(student_parameters(width) - parameters))


def student_bytes(millions: float, seed: int = 1) -> bytes:
    """A model file of the shipped kind with so many millions of random weights; it plays, and sounds of nothing.

    DuendeError where millions are out of range.
    """
    if not MILLIONS[0] <= millions <= MILLIONS[1]:
        raise DuendeError(f"student:{millions:g} is out of range: {MILLIONS[0]:g} to {MILLIONS[1]:g} million weights")
    weights = _weights(student_width(1e6 * millions), seed)
    graph, features = build_graph(weights, len(EXCITATIONS), BANDS), feature_count(BANDS)
    carried = states(weights, features)
    asked = np.random.default_rng(seed).standard_normal((1, GOLDEN_FRAMES, features)).astype(np.float32)
    style, amount = np.ones(1, dtype=np.float32), np.ones(1, dtype=np.float32)
    feeds = {"features": asked, "style": style, "amount": amount}
    feeds |= {state.name: np.zeros((1, *state.shape), dtype=np.float32) for state in carried}
    ratios, dynamics = make_session(graph.SerializeToString(), "student").run(["ratios", "dynamics"], feeds)
    spec = ModelSpec(
        format=FORMAT,
        kind="mixer",
        name=f"student-{millions:g}M",
        law="mixer@2",
        sample_rate=48000.0,
        sizes=Sizes(DEFAULT_SIZES.analysis, DEFAULT_SIZES.synthesis, DEFAULT_SIZES.hop),
        bands=BANDS,
        excitations=list(EXCITATIONS),
        states=carried,
        controls=[AMOUNT],
        styles=["random"],
        body_points=POINTS,
        body_top_hz=TOP_HZ,
        latency_samples=DEFAULT_SIZES.latency_samples,
        receptive_field_frames=receptive_field(weights),
        provenance=Provenance([], "none", "none", {}, 0, seed, f"duende {__version__}", "2000-01-01"),
        quality={},
        golden=Golden(*(Tensor.pack(part) for part in (asked, style, ratios, dynamics, amount))),
    )
    return save_graph(graph, spec)


def student_played(text: str, folder: Path) -> Played:
    """Write the student of "student:5" into a folder, to be played from there; DuendeError for what is no such name."""
    try:
        millions = float(text.partition(":")[2])
    except ValueError:
        raise DuendeError(f"{text!r}: write student:N with millions of weights, as in student:5") from None
    path = folder / f"student-{millions:g}.onnx"
    path.write_bytes(student_bytes(millions))
    return file_played(text, path)


def at_precision(played: Played, precision: str, folder: Path) -> Played:
    """The same model with its large weights at a precision, written into a folder; DuendeError where it cannot be."""
    target = folder / precision
    target.mkdir(exist_ok=True)
    if played.kind == "file":
        path = target / Path(played.path).name
        path.write_bytes(convert(read_bytes(Path(played.path)), precision))
        return file_played(played.model, path)
    entry = Entry(played.preset, Path(played.path), factory=False)
    preset, slots, found = entry.read(), [], False
    for slot in preset.slots:
        if slot.file:
            data = entry.read_file(slot)
            if slot.kind == "style":
                data, found = convert(data, precision), True
            name = f"{played.preset}-{slot.file}"
            (target / name).write_bytes(data)
            slot = msgspec.structs.replace(slot, file=name, sha256=hash_of(data))
        slots.append(slot)
    if not found:
        raise DuendeError("the preset holds no style whose weights could be smaller")
    (target / f"{played.preset}.toml").write_bytes(encode_preset(msgspec.structs.replace(preset, slots=slots)))
    return Played(played.model, "preset", str(target), played.preset)


def _weights(width: int, seed: int) -> Weights:
    rng, features, columns = np.random.default_rng(seed), feature_count(BANDS), len(EXCITATIONS) * BANDS

    def draw(*shape: int, scale: float = 1.0) -> Float32:
        size = scale / np.sqrt(shape[-2] if len(shape) > 1 else 1.0)
        return np.asarray(size * rng.standard_normal(shape), dtype=np.float32)

    blocks = [
        Block(
            taps=draw(3, width, scale=0.5),
            into=draw(width, width),
            bias=draw(width, scale=0.1),
            out=draw(width, width, scale=0.3),
            scale=np.ones((1, width), dtype=np.float32),
            shift=np.zeros((1, width), dtype=np.float32),
            dilation=dilation,
            scale_rest=draw(width, scale=0.01),
            shift_rest=draw(width, scale=0.01),
        )
        for dilation in DILATIONS
    ]
    base = np.repeat(np.where(np.arange(len(EXCITATIONS)) == 0, 0.0, -3.5), BANDS)[None]
    return Weights(
        first=draw(3, features, width, scale=0.5),
        first_bias=draw(width, scale=0.1),
        blocks=blocks,
        last=draw(width, columns + 1, scale=0.05),
        last_bias=np.zeros(columns + 1, dtype=np.float32),
        base=base.astype(np.float32),
        gamma=np.ones(1, dtype=np.float32),
        level=np.zeros(1, dtype=np.float32),
        body=np.zeros((1, POINTS), dtype=np.float32),
        ratio_bound=1.2,
        swing_bound=0.7,
    )
