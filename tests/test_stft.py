"""Perfect reconstruction, exact delay, and the same samples however the frames are grouped."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende.engine.stft import DEFAULT_SIZES, SMALL_SIZES, Analysis, StftSizes, Synthesis, windows
from signals import impulse, noise

Float32 = npt.NDArray[np.float32]

BOTH = pytest.mark.parametrize("sizes", [DEFAULT_SIZES, SMALL_SIZES], ids=str)
GROUPINGS = [[1], [16], [3, 1, 7], [2, 5, 16, 1, 1, 4]]


def through(sizes: StftSizes, samples: Float32, groups: list[int], factor: float = 1.0) -> Float32:
    """Samples [signals, n], n whole hops, through analysis and synthesis in groups of frames."""
    analysis, synthesis = Analysis(sizes, len(samples), max(groups)), Synthesis(sizes, len(samples), max(groups))
    out, at, turn = np.empty_like(samples), 0, 0
    while at < samples.shape[1]:
        size = min(groups[turn % len(groups)] * sizes.hop, samples.shape[1] - at)
        spectra = analysis.process(np.ascontiguousarray(samples[:, at : at + size]))
        assert spectra.shape == (len(samples), size // sizes.hop, sizes.bins)
        block = np.empty((len(samples), size), dtype=np.float32)
        synthesis.process(spectra * np.float32(factor), block)
        out[:, at : at + size] = block
        at, turn = at + size, turn + 1
    return out


@BOTH
def test_windows_multiply_to_a_hann_window_over_two_hops(sizes: StftSizes) -> None:
    analysis, synthesis = windows(sizes)
    rise = sizes.analysis - sizes.hop
    assert np.allclose(analysis[:rise] ** 2, signal.get_window("hann", 2 * rise)[:rise], atol=1e-12)
    assert np.allclose(analysis[rise:] ** 2, signal.get_window("hann", 2 * sizes.hop)[sizes.hop :], atol=1e-12)
    product = analysis[-sizes.synthesis :] * synthesis
    assert np.allclose(product, np.sin(np.pi * np.arange(sizes.synthesis) / sizes.synthesis) ** 2, atol=1e-12)
    assert np.allclose(product[: sizes.hop] + product[sizes.hop :], 1.0, atol=1e-12)


@BOTH
@pytest.mark.parametrize("groups", GROUPINGS, ids=str)
def test_identity_reconstructs_one_hop_late(sizes: StftSizes, groups: list[int], rng: np.random.Generator) -> None:
    samples = np.stack([np.clip(noise(rng, 80 * sizes.hop), -1.0, 1.0) for _ in range(2)])
    out = through(sizes, samples, groups)
    late = sizes.latency_samples
    assert out.dtype == np.float32
    assert np.abs(out[:, late:] - samples[:, :-late]).max() <= 1e-6
    assert np.abs(out[:, :late]).max() <= 1e-6


@BOTH
def test_any_grouping_of_frames_gives_the_same(sizes: StftSizes, rng: np.random.Generator) -> None:
    samples = noise(rng, 80 * sizes.hop)[np.newaxis]
    outs = [through(sizes, samples, groups, factor=0.7) for groups in GROUPINGS]
    assert max(float(np.abs(out - outs[0]).max()) for out in outs) <= 1e-6


@BOTH
@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 127, 128, 1000])
def test_an_impulse_is_late_by_latency_samples(sizes: StftSizes, at: int) -> None:
    out = through(sizes, impulse(40 * sizes.hop, at=at)[np.newaxis], [1])
    assert int(np.argmax(np.abs(out[0]))) == at + sizes.latency_samples
    assert abs(out[0, at + sizes.latency_samples] - 1.0) <= 1e-6


@BOTH
def test_spectra_are_those_of_the_windowed_past(sizes: StftSizes, rng: np.random.Generator) -> None:
    samples = noise(rng, 40 * sizes.hop)
    spectra = Analysis(sizes, 1, 40).process(samples[np.newaxis])
    frame = 30
    end = (frame + 1) * sizes.hop
    wanted = np.fft.rfft(samples[end - sizes.analysis : end].astype(np.float64) * windows(sizes)[0])
    assert np.abs(spectra[0, frame] - wanted).max() <= 1e-5 * np.abs(wanted).max()


@BOTH
def test_reset_forgets(sizes: StftSizes, rng: np.random.Generator) -> None:
    analysis, synthesis = Analysis(sizes, 1, 4), Synthesis(sizes, 1, 4)
    block = np.empty((1, 4 * sizes.hop), dtype=np.float32)
    synthesis.process(analysis.process(noise(rng, 4 * sizes.hop)[np.newaxis]), block)
    analysis.reset()
    synthesis.reset()
    synthesis.process(analysis.process(np.zeros_like(block)), block)
    assert not block.any()


@pytest.mark.parametrize("wrong", [(2048, 256, 64), (400, 256, 128), (2047, 256, 128)])
def test_sizes_that_cannot_reconstruct_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"{wrong[0]}/{wrong[1]}/{wrong[2]}"):
        StftSizes(*wrong)
