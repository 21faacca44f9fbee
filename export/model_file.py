"""From a distilled student to a model file, refused where ONNX Runtime and torch disagree."""

import datetime
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import torch

from .. import DuendeError, __version__
from ..engine.mixer import feature_count
from ..engine.model import load_model, snr_db
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
    """Run the file as the engine does, frame by frame, against the student on a longer input than the golden pair.

    DuendeError where they differ by more than MATCH_SNR_DB allows, or where the file is not accepted.
    """
    # A stream starts as if silence, whose features are zeros, had come before.
    silence = student.config.receptive_field
    frames = 2 * student.config.receptive_field
    generator = np.random.default_rng(len(data))
    features = generator.standard_normal((1, frames, feature_count(student.config.bands))).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        path.write_bytes(data)
        stream = load_model(path).start(1, [1])
        # Neither all of one style nor all of the amount.
        stream.style[:] = np.arange(1, len(stream.style) + 1) / np.arange(1, len(stream.style) + 1).sum()
        stream.amount[0] = GOLDEN_AMOUNT
        stream.features[1][:] = 0.0
        for _ in range(silence):
            stream.run(1)
        got = []
        for frame in range(frames):
            stream.features[1][:] = features[:, frame : frame + 1]
            stream.run(1)
            got.append(np.concatenate([stream.ratios[1].reshape(1, -1), stream.dynamics[1].reshape(1, -1)], axis=1))
    ratios, dynamics = _ask(student, np.pad(features, ((0, 0), (silence, 0), (0, 0))), stream.style, stream.amount)
    wanted = np.concatenate([part[0, silence:].reshape(frames, -1) for part in (ratios, dynamics)], axis=1)
    ratio = snr_db(wanted, np.concatenate(got))
    if not ratio >= MATCH_SNR_DB:
        raise DuendeError(
            f"{name}: the exported graph answers {ratio:.1f} dB like the student, {MATCH_SNR_DB:g} dB are needed; "
            f"nothing was written"
        )


@torch.no_grad()
def _ask(student: Student, features: Float32, style: Float32, amount: Float32) -> tuple[Float32, Float32]:
    ratios, dynamics = student(*(torch.from_numpy(part) for part in (features, style[None], amount)))
    return ratios.numpy(), dynamics.numpy()
