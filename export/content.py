"""Training content as a student hears it: excitation spectra and features, computed once by the engine itself."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..engine.excitation import Excitations
from ..engine.mixer import Observer, expected_shapes, mixer_bands
from ..engine.stft import Analysis, StftSizes
from .student import Heard

Float32 = npt.NDArray[np.float32]

CHUNK_FRAMES = 32


@dataclass
class Piece:
    """One piece of content: its input audio [samples] and what the engine saw of it, without a batch axis."""

    audio: Tensor
    heard: Heard


def hear(samples: Float32, sample_rate: float, sizes: StftSizes, run_in: int, past: int, names: Sequence[str]) -> Piece:
    """Let the engine's front end listen to samples [n].

    The first run_in samples (a multiple of the hop) only warm up the slow averages; `past` more frames of features
    come before the first kept frame. The kept audio starts at run_in - hop, so that it aligns with the output.
    """
    hop = sizes.hop
    frames = len(samples) // hop
    bands = mixer_bands(sizes, sample_rate)
    excitations = Excitations(names, sample_rate, hop, 1, CHUNK_FRAMES)
    analysis = Analysis(sizes, len(names), CHUNK_FRAMES)
    expected = expected_shapes(names, bands, sizes, sample_rate)
    observer = Observer(bands, sizes, sample_rate, len(names), 1, CHUNK_FRAMES, expected)
    first = run_in // hop
    kept = frames - first
    spectra = np.zeros((kept, len(names), bands.bins), dtype=np.complex64)
    features: list[Float32] = []
    rows: dict[str, list[Float32]] = {"power": [], "shape": [], "swing": [], "level": []}
    for start in range(0, frames, CHUNK_FRAMES):
        stop = min(frames, start + CHUNK_FRAMES)
        block = samples[start * hop : stop * hop].reshape(1, -1)
        analysed = analysis.process(excitations.process(block)[0])
        seen = observer.process(analysed[None], excitations.level[:, : stop - start])
        features.append(seen.features[0].copy())
        for name, values in rows.items():
            values.append(getattr(seen, name)[0].copy())
        if stop > first:
            low = max(start, first)
            spectra[low - first : stop - first] = analysed[:, low - start :, : bands.bins].transpose(1, 0, 2)
    together = {name: torch.from_numpy(np.concatenate(values)[first:]) for name, values in rows.items()}
    aligned = torch.from_numpy(samples[run_in - hop : frames * hop - hop].copy())
    heard = Heard(
        spectra=torch.from_numpy(spectra),
        features=torch.from_numpy(np.concatenate(features)[first - past :]),
        aligned=aligned,
        **together,
    )
    return Piece(aligned, heard)


def hear_all(
    pieces: Sequence[Float32], sample_rate: float, sizes: StftSizes, run_in: int, past: int, names: Sequence[str]
) -> list[Piece]:
    """`hear` for many pieces, two at a time (numpy leaves the interpreter during the large products)."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda piece: hear(piece, sample_rate, sizes, run_in, past, names), pieces))


def batch(pieces: Sequence[Piece]) -> Heard:
    """Pieces of equal length as one batch."""
    parts = [piece.heard for piece in pieces]
    return Heard(**{name: torch.stack([getattr(part, name) for part in parts]) for name in Heard.__dataclass_fields__})
