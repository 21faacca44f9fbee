"""From a distilled student to a model file, refused where ONNX Runtime and torch disagree."""

import datetime
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import torch

from .. import DuendeError, __version__
from ..engine.graph_check import snr_db
from ..engine.mixer import feature_count
from ..engine.model import load_model
from ..engine.spec import AMOUNT, FORMAT, METADATA_KEY, Clip, Golden, ModelSpec, Provenance, Sizes, Tensor, decode_spec
from ..engine.stft import StftSizes
from . import graph
from .distill import Distilled
from .student import Student
from .style import BODY_TOP_HZ

Float32 = npt.NDArray[np.float32]

GOLDEN_FRAMES = 16
GOLDEN_AMOUNT = 0.75
MATCH_SNR_DB = 90.0


def provenance(
    clips: Sequence[Clip], teacher: str, content: str, losses: dict[str, float], steps: int, seed: int, licence: str
) -> Provenance:
    """Provenance with this program's version and today's date."""
    return Provenance(
        clips=list(clips),
        teacher=teacher,
        content=content,
        losses=losses,
        steps=steps,
        seed=seed,
        made_with=f"duende {__version__}",
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        licence=licence,
    )


def model_bytes(
    distilled: Distilled,
    name: str,
    styles: Sequence[str],
    sizes: StftSizes,
    sample_rate: float,
    origin: Provenance,
) -> bytes:
    """The .onnx file, not yet measured; DuendeError if it does not answer as the student does."""
    student = distilled.student.eval()
    config = student.config
    weights = student.weights(distilled.bodies)
    generator = np.random.default_rng(origin.seed)
    features = generator.standard_normal((1, GOLDEN_FRAMES, feature_count(config.bands))).astype(np.float32)
    style = np.full(len(styles), 1.0 / len(styles), dtype=np.float32)
    amount = np.array([GOLDEN_AMOUNT], dtype=np.float32)
    ratios, dynamics = _ask(student, features, style, amount)
    spec = ModelSpec(
        format=FORMAT,
        kind="mixer",
        name=name,
        law="mixer@2",
        sample_rate=float(sample_rate),
        sizes=Sizes(sizes.analysis, sizes.synthesis, sizes.hop),
        bands=config.bands,
        excitations=list(config.excitations),
        states=graph.states(weights, feature_count(config.bands)),
        controls=[AMOUNT],
        styles=list(styles),
        body_points=weights.body.shape[1],
        body_top_hz=BODY_TOP_HZ,
        latency_samples=sizes.latency_samples,
        receptive_field_frames=graph.receptive_field(weights),
        provenance=origin,
        quality={},
        golden=Golden(*(Tensor.pack(part) for part in (features, style, ratios, dynamics, amount))),
    )
    data = graph.save_graph(graph.build_graph(weights, len(config.excitations), config.bands), spec)
    check_export(data, name, student)
    return data


def with_quality(data: bytes, quality: dict[str, float]) -> bytes:
    """The same file with what was measured on it."""
    model = onnx.load_model_from_string(data)
    (text,) = (entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    return graph.save_graph(model, msgspec.structs.replace(decode_spec(text, "model"), quality=quality))


def check_export(data: bytes, name: str, student: Student) -> None:
    """`check_answers` of a mixer, neither all of one style nor all of the amount."""
    config, styles = student.config, student.config.styles
    features = np.random.default_rng(len(data)).standard_normal(
        (1, 2 * config.receptive_field, feature_count(config.bands))
    )
    style = np.arange(1, styles + 1) / np.arange(1, styles + 1).sum()
    check_answers(
        data,
        name,
        lambda *asked: _ask(student, *asked),
        config.receptive_field,
        features.astype(np.float32),
        style.astype(np.float32),
        GOLDEN_AMOUNT,
    )


def check_answers(
    data: bytes,
    name: str,
    ask: Callable[[Float32, Float32, Float32], tuple[Float32, Float32]],
    receptive_field: int,
    features: Float32,
    style: Float32,
    amount: float,
) -> None:
    """Run the file as the engine does, frame by frame, against the student's answers to features [1, frames, n].

    ask: features, style [styles] and amount [1] to the student's ratios and dynamics.
    DuendeError where they differ by more than MATCH_SNR_DB allows, or where the file is not accepted.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        path.write_bytes(data)
        stream = load_model(path).start(1, [1])
    stream.style[:] = style
    stream.amount[0] = amount
    # A stream starts as if silence, whose features are zeros, had come before.
    heard = np.pad(features, ((0, 0), (receptive_field, 0), (0, 0)))
    got = []
    for frame in range(heard.shape[1]):
        stream.features[1][:] = heard[:, frame : frame + 1]
        stream.run(1)
        got.append(np.concatenate([stream.ratios[1].reshape(1, -1), stream.dynamics[1].reshape(1, -1)], axis=1))
    wanted = np.concatenate([part[0].reshape(len(got), -1) for part in ask(heard, style, stream.amount)], axis=1)
    ratio = snr_db(wanted[receptive_field:], np.concatenate(got)[receptive_field:])
    if not ratio >= MATCH_SNR_DB:
        raise DuendeError(
            f"{name}: the exported graph answers {ratio:.1f} dB like the student at amount {amount:g}, "
            f"{MATCH_SNR_DB:g} dB are needed; nothing was written"
        )


@torch.no_grad()
def _ask(student: Student, features: Float32, style: Float32, amount: Float32) -> tuple[Float32, Float32]:
    ratios, dynamics = student(*(torch.from_numpy(part) for part in (features, style[None], amount)))
    return ratios.numpy(), dynamics.numpy()
