"""From a distilled texture to a model file, refused where ONNX Runtime and torch disagree."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ...engine.model import SOURCES, TEXTURE_SIZES
from ...engine.spec import AMOUNT, FORMAT, Golden, ModelSpec, Provenance, Sizes, Tensor
from ..graph import save_graph
from ..model_file import GOLDEN_FRAMES, check_answers
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
    ratios, dynamics = _ask(student, features, style, np.ones(1, dtype=np.float32))
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
    """`check_answers` of a texture, at all of the amount and at some of it."""
    config = student.config
    features = _features(len(data), 2 * config.receptive_field)
    style = np.full(config.styles, 1.0 / config.styles, dtype=np.float32)
    for amount in CHECKED_AMOUNTS:
        check_answers(data, name, lambda *asked: _ask(student, *asked), config.receptive_field, features, style, amount)


def _features(seed: int, frames: int) -> Float32:
    generator = np.random.default_rng(seed)
    return (2.0 * generator.random((1, frames, TEXTURE_SIZES.bins + 1))).astype(np.float32)


@torch.no_grad()
def _ask(student: TextureStudent, features: Float32, style: Float32, amount: Float32) -> tuple[Float32, Float32]:
    ratios, dynamics = student(torch.from_numpy(features), torch.from_numpy(style), float(amount[0]))
    return ratios.numpy(), dynamics.numpy()
