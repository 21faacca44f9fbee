"""From a distilled texture to a model file, refused where ONNX Runtime and torch disagree."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ... import DuendeError
from ...engine.model import SOURCES, TEXTURE_SIZES, load_model, snr_db
from ...engine.spec import AMOUNT, FORMAT, Golden, ModelSpec, Provenance, Sizes, Tensor
from ..graph import save_graph
from ..model_file import GOLDEN_FRAMES, MATCH_SNR_DB
from . import graph
from .distill import TextureDistilled
from .student import TextureStudent

Float32 = npt.NDArray[np.float32]

CHECKED_AMOUNTS = (1.0, 0.4)


def texture_bytes(
    distilled: TextureDistilled, name: str, styles: Sequence[str], sample_rate: float, origin: Provenance
) -> bytes:
    """The .onnx file, not yet measured; DuendeError if it does not answer as the student does."""
    student = distilled.student.eval()
    weights = student.weights()
    sizes = TEXTURE_SIZES
    features = _features(origin.seed, GOLDEN_FRAMES)
    style = np.full(len(styles), 1.0 / len(styles), dtype=np.float32)
    ratios, dynamics = _ask(student, features, style, 1.0)
    spec = ModelSpec(
        format=FORMAT,
        kind="texture",
        name=name,
        law="texture@1",
        sample_rate=float(sample_rate),
        sizes=Sizes(sizes.analysis, sizes.synthesis, sizes.hop),
        bands=sizes.bins,
        excitations=list(SOURCES),
        states=graph.states(weights),
        controls=[AMOUNT],
        styles=list(styles),
        body_points=0,
        body_top_hz=0.0,
        latency_samples=sizes.latency_samples,
        receptive_field_frames=graph.receptive_field(weights),
        provenance=origin,
        quality={},
        golden=Golden(*(Tensor.pack(part) for part in (features, style, ratios, dynamics))),
    )
    data = save_graph(graph.build_graph(weights), spec)
    check_texture(data, name, student)
    return data


def check_texture(data: bytes, name: str, student: TextureStudent) -> None:
    """Run the file as the engine does, frame by frame, against the student on a longer input than the golden pair.

    DuendeError where they differ by more than MATCH_SNR_DB allows, or where the file is not accepted.
    """
    # A stream starts as if silence, whose features are zeros, had come before.
    silence = student.config.receptive_field
    features = _features(len(data), 2 * silence)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        path.write_bytes(data)
        stream = load_model(path).start(1, [1])
    for amount in CHECKED_AMOUNTS:
        stream.reset()
        stream.amount[0] = amount
        stream.features[1][:] = 0.0
        for _ in range(silence):
            stream.run(1)
        got = []
        for frame in range(features.shape[1]):
            stream.features[1][:] = features[:, frame : frame + 1]
            stream.run(1)
            got.append(np.concatenate([stream.ratios[1].reshape(1, -1), stream.dynamics[1].reshape(1, -1)], axis=1))
        ratios, dynamics = _ask(student, np.pad(features, ((0, 0), (silence, 0), (0, 0))), stream.style, amount)
        wanted = np.concatenate([part[0, silence:].reshape(len(got), -1) for part in (ratios, dynamics)], axis=1)
        ratio = snr_db(wanted, np.concatenate(got))
        if not ratio >= MATCH_SNR_DB:
            raise DuendeError(
                f"{name}: the exported graph answers {ratio:.1f} dB like the student at amount {amount:g}, "
                f"{MATCH_SNR_DB:g} dB are needed; nothing was written"
            )


def _features(seed: int, frames: int) -> Float32:
    generator = np.random.default_rng(seed)
    return (2.0 * generator.random((1, frames, TEXTURE_SIZES.bins + 1))).astype(np.float32)


@torch.no_grad()
def _ask(student: TextureStudent, features: Float32, style: Float32, amount: float) -> tuple[Float32, Float32]:
    ratios, dynamics = student(torch.from_numpy(features), torch.from_numpy(style), amount)
    return ratios.numpy(), dynamics.numpy()
