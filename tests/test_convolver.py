"""The partitioned convolver against direct convolution in float64, for every way of cutting the signal."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende.engine.convolver import Complex64, Convolver, FixedConvolver, partition_spectra
from memory import measure
from signals import noise

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

TAPS = 4096
BLOCKS = [1, 63, 64, 65, 128, 1000]


def response(rng: np.random.Generator, taps: int = TAPS) -> Float64:
    """A decaying noise of unit energy: every tap matters."""
    shape = rng.standard_normal(taps) * np.exp(-3.0 * np.arange(taps) / taps)
    return np.asarray(shape / np.sqrt(np.sum(shape**2)))


def run(convolver: Convolver, samples: Float32, blocks: list[int]) -> Float32:
    out, at, turn = np.empty_like(samples), 0, 0
    while at < len(samples):
        end = min(at + blocks[turn % len(blocks)], len(samples))
        convolver.process(samples[None, at:end], out[None, at:end])
        at, turn = end, turn + 1
    return out


@pytest.mark.parametrize("block", [*BLOCKS, 0], ids=[*map(str, BLOCKS), "random"])
@pytest.mark.parametrize("partition", [64, 128])
def test_equals_direct_convolution(block: int, partition: int, rng: np.random.Generator) -> None:
    taps, samples = response(rng), noise(rng, 9000)
    blocks = [block] if block else [int(size) for size in rng.integers(1, 1500, 100)]
    got = run(Convolver(partition_spectra(taps, partition)), samples, blocks)
    wanted = signal.oaconvolve(samples.astype(np.float64), taps)[: len(samples)]
    assert np.abs(got - wanted).max() <= 1e-5


@pytest.mark.parametrize("taps", [1, 127, 128, 129])
def test_short_responses(taps: int, rng: np.random.Generator) -> None:
    shape, samples = response(rng, taps), noise(rng, 3000)
    got = run(Convolver(partition_spectra(shape, 128)), samples, [100, 1, 300])
    assert np.abs(got - np.convolve(samples.astype(np.float64), shape)[:3000]).max() <= 1e-5


def test_it_answers_at_once() -> None:
    spectra = partition_spectra([0.5, 0.25], 128, count=4)
    assert Convolver.latency_samples == 0
    for before in (0, 1, 100, 127, 128):
        convolver = Convolver(spectra)
        run(convolver, np.zeros(before, dtype=np.float32), [128])
        out = run(convolver, np.array([1.0, 0.0], dtype=np.float32), [1])
        assert np.abs(out - [0.5, 0.25]).max() <= 1e-6


def test_in_place(rng: np.random.Generator) -> None:
    taps, samples = response(rng), noise(rng, 2000)
    wanted = run(Convolver(partition_spectra(taps, 128)), samples, [300])
    convolver = Convolver(partition_spectra(taps, 128))
    for at in range(0, 2000, 300):
        convolver.process(samples[None, at : at + 300], samples[None, at : at + 300])
    assert np.array_equal(samples, wanted)


def test_channels_are_convolved_each_for_itself(rng: np.random.Generator) -> None:
    """As by convolvers of their own, while a response fades to another, too."""
    one, other = (partition_spectra(response(rng), 128) for _ in range(2))
    samples = np.stack([noise(rng, 3000), noise(rng, 3000)])
    both, out = Convolver(one, 2), np.empty((2, 3000), dtype=np.float32)
    for at in range(0, 3000, 100):
        if at == 1000:
            both.fade_to(other)
        both.process(samples[:, at : at + 100], out[:, at : at + 100])
    for own, got in zip(samples, out, strict=True):
        single = Convolver(one)
        first = run(single, own[:1000], [100])
        single.fade_to(other)
        assert np.array_equal(np.concatenate([first, run(single, own[1000:], [100])]), got)


def gains(*values: float) -> list[Complex64]:
    """Responses of 4 partitions that only scale."""
    return [partition_spectra([value], 128, count=4) for value in values]


@pytest.mark.parametrize("at", [0, 1, 64, 100, 127, 128, 300])
@pytest.mark.parametrize("block", [1, 50, 128, 1000])
def test_fade_has_no_step(at: int, block: int) -> None:
    first, second = gains(1.0, 0.0)
    convolver = Convolver(first)
    before = run(convolver, np.ones(at, dtype=np.float32), [block])
    convolver.fade_to(second)
    after = run(convolver, np.ones(600, dtype=np.float32), [block])
    whole = np.concatenate([[1.0], before, after])
    # A straight fall over one partition moves by 1/128 a sample.
    assert np.abs(np.diff(whole)).max() <= 1.01 / 128
    assert np.diff(whole).max() <= 1e-6
    assert np.abs(after[256:]).max() <= 1e-6


def test_a_second_fade_during_the_first_has_no_step() -> None:
    first, second, third = gains(0.0, 1.0, -1.0)
    convolver = Convolver(first)
    convolver.fade_to(second)
    early = run(convolver, np.ones(60, dtype=np.float32), [20])
    convolver.fade_to(third)
    late = run(convolver, np.ones(600, dtype=np.float32), [20])
    assert np.abs(np.diff(np.concatenate([early, late]))).max() <= 2.02 / 128
    assert np.abs(late[-200:] + 1.0).max() <= 1e-6


def test_after_a_fade_only_the_new_response_is_heard(rng: np.random.Generator) -> None:
    old, new, samples = response(rng), response(rng), noise(rng, 9000)
    convolver = Convolver(partition_spectra(old, 128))
    first = run(convolver, samples[:1000], [100])
    convolver.fade_to(partition_spectra(new, 128))
    rest = run(convolver, samples[1000:], [100])
    source = samples.astype(np.float64)
    assert np.abs(first - signal.oaconvolve(source, old)[:1000]).max() <= 1e-5
    wanted = signal.oaconvolve(source, new)[:9000]
    assert np.abs(rest[256:] - wanted[1256:]).max() <= 1e-5


def test_a_fade_to_itself_changes_nothing(rng: np.random.Generator) -> None:
    taps, samples = response(rng), noise(rng, 4000)
    spectra = partition_spectra(taps, 128)
    convolver = Convolver(spectra)
    parts = []
    for at in range(0, 4000, 100):
        convolver.fade_to(spectra)
        parts.append(run(convolver, samples[at : at + 100], [100]))
    wanted = signal.oaconvolve(samples.astype(np.float64), taps)[:4000]
    assert np.abs(np.concatenate(parts) - wanted).max() <= 1e-5


def test_reset_is_silence_with_the_newest_response(rng: np.random.Generator) -> None:
    first, second, third = gains(1.0, 0.5, 0.25)
    convolver = Convolver(first)
    run(convolver, noise(rng, 1000), [77])
    convolver.fade_to(second)
    convolver.reset()
    assert np.abs(run(convolver, np.ones(300, dtype=np.float32), [77]) - 0.5).max() <= 1e-6
    convolver.fade_to(third)
    convolver.reset()
    assert np.abs(run(convolver, np.ones(300, dtype=np.float32), [77]) - 0.25).max() <= 1e-6
    convolver.reset()
    assert not run(convolver, np.zeros(3000, dtype=np.float32), [77]).any()


def test_convolving_and_fading_ask_for_no_array(rng: np.random.Generator) -> None:
    one, other = (partition_spectra(response(rng), 128) for _ in range(2))
    convolver, samples, out = Convolver(one), noise(rng, 100)[None], np.empty((1, 100), dtype=np.float32)

    def call() -> None:
        convolver.fade_to(other)
        convolver.process(samples, out)

    memory = measure(call, 200)
    assert memory.transient_bytes < 4096
    assert memory.kept_array_bytes == 0


def test_too_many_taps_are_refused() -> None:
    with pytest.raises(ValueError, match="129 taps need 2 partitions of 128, there are 1"):
        partition_spectra(np.ones(129), 128, count=1)


FIXED_BLOCKS = [1, 63, 64, 65, 128, 1000, 8192]


def run_fixed(convolver: FixedConvolver, samples: Float32, blocks: list[int]) -> Float32:
    """Samples [n, channels] in blocks that take turns."""
    out, at, turn = np.empty_like(samples), 0, 0
    while at < len(samples):
        end = min(at + blocks[turn % len(blocks)], len(samples))
        convolver.process(samples[at:end], out[at:end])
        at, turn = end, turn + 1
    return out


@pytest.mark.parametrize("taps", [1, 48, 64, 65, 128, 129, 12_000])
@pytest.mark.parametrize("block", [*FIXED_BLOCKS, 0], ids=[*map(str, FIXED_BLOCKS), "random"])
def test_a_fixed_response_equals_direct_convolution(block: int, taps: int, rng: np.random.Generator) -> None:
    shape, samples = response(rng, taps), noise(rng, 9000)[:, None]
    blocks = [block] if block else [int(size) for size in rng.integers(1, 300, 100)]
    got = run_fixed(FixedConvolver(shape), samples, blocks)
    wanted = signal.oaconvolve(samples[:, 0].astype(np.float64), shape)[:9000]
    assert np.abs(got[:, 0] - wanted).max() <= 1e-5


@pytest.mark.parametrize("rows", [1, 2])
def test_a_fixed_response_on_two_channels(rows: int, rng: np.random.Generator) -> None:
    shapes, samples = np.stack([response(rng, 2000) for _ in range(rows)]), noise(rng, 9000).reshape(-1, 2)
    got = run_fixed(FixedConvolver(shapes, 2), samples, [100, 1, 300])
    for channel in range(2):
        wanted = signal.oaconvolve(samples[:, channel].astype(np.float64), shapes[channel % rows])[: len(samples)]
        assert np.abs(got[:, channel] - wanted).max() <= 1e-5


def test_a_fixed_response_does_the_same_work_for_every_block(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Two seconds: at 64 frames each block has its one turn over the whole past, at 256 four."""
    convolver = FixedConvolver(response(rng, 96_000))
    assert convolver.past_partitions == 1499
    lengths: list[int] = []
    product = np.vecdot

    def counted(later: Complex64, past: Complex64, out: Complex64) -> Complex64:
        lengths.append(later.shape[-1])
        return np.asarray(product(later, past, out=out))

    monkeypatch.setattr(np, "vecdot", counted)
    for block in (64, 256):
        samples, out = noise(rng, block)[:, None], np.empty((block, 1), dtype=np.float32)
        for _ in range(20):
            lengths.clear()
            convolver.process(samples, out)
            assert lengths == [1499] * (block // 64)


def test_a_fixed_response_forgets_at_reset_and_asks_for_no_array(rng: np.random.Generator) -> None:
    convolver, samples = FixedConvolver(response(rng), 2), noise(rng, 200).reshape(-1, 2)
    out = np.empty_like(samples)
    memory = measure(lambda: convolver.process(samples, out), 200)
    assert memory.transient_bytes < 4096
    assert memory.kept_array_bytes == 0
    convolver.reset()
    assert not run_fixed(convolver, np.zeros((9000, 2), dtype=np.float32), [77]).any()


def test_fixed_responses_must_fit_the_channels() -> None:
    with pytest.raises(ValueError, match="2 responses for 3 channels"):
        FixedConvolver(np.ones((2, 5)), 3)
