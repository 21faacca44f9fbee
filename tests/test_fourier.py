"""Real transforms into memory of the caller's: equal to numpy's, by its compiled functions and without them."""

import numpy as np
import pytest

from duende.engine.fourier import RealTransform
from memory import measure


@pytest.mark.parametrize("compiled", [..., None])
@pytest.mark.parametrize("shape", [(256,), (2, 3, 2048)])
def test_there_and_back(shape: tuple[int, ...], compiled: object, rng: np.random.Generator) -> None:
    size = shape[-1]
    transform = RealTransform(size, compiled)
    samples = rng.standard_normal(shape).astype(np.float32)
    spectra = np.zeros((*shape[:-1], size // 2 + 1), dtype=np.complex64)
    transform.forward(samples, spectra)
    wanted = np.fft.rfft(samples.astype(np.float64)) / size
    assert np.abs(spectra - wanted).max() < 1e-6
    back = np.zeros_like(samples)
    transform.inverse(spectra * np.float32(size), back)
    assert np.abs(back - samples).max() < 1e-5


def test_numpy_still_has_its_compiled_functions() -> None:
    """Else all works, but slower: look for their new name."""
    assert RealTransform(256)._forward is not None


@pytest.mark.parametrize("compiled", [..., None])
def test_no_array_is_asked_for(compiled: object, rng: np.random.Generator) -> None:
    transform = RealTransform(2048, compiled)
    samples, spectra = rng.standard_normal((1, 2048)).astype(np.float32), np.zeros((1, 1025), dtype=np.complex64)

    def call() -> None:
        transform.forward(samples, spectra)
        transform.inverse(spectra, samples)

    memory = measure(call, 200)
    assert memory.kept_array_bytes == 0
    assert memory.transient_bytes < 4096


@pytest.mark.parametrize("size", [0, 1, 255])
def test_odd_lengths_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"transform of {size} samples"):
        RealTransform(size)
