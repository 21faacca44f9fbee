"""Both forms of the teacher: they are the published error and its mean, their slopes are right, the search descends."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from duende.export.teachers.cnn import CnnObjective, FilterBank, GramError, fresh_errors, fresh_style_error
from duende.export.teachers.kernel import KernelObjective, arc, diagonal_sums, span, spread_diagonals
from duende.export.teachers.objective import Objective, weight_deviation
from duende.export.teachers.solve import Correlation, Optimiser, minimise
from duende.export.teachers.spectra import Analysis, istft, log_magnitudes, magnitudes, stft
from duende.export.teachers.teacher import Step
from signals import noise, snr_db, tone

pytestmark = pytest.mark.usefixtures("one_thread")

Float32 = npt.NDArray[np.float32]

BINS, FILTERS, TAPS, ALPHA = 20, 48, 5, 0.3


def spectrogram(rng: np.random.Generator, frames: int, bins: int = BINS) -> Float32:
    """Positive numbers about as large as log magnitudes."""
    return np.abs(rng.standard_normal((frames, bins))).astype(np.float32)


def errors_by_loops(x: Float32, content: Float32, style: Float32, weights: Float32) -> tuple[float, float]:
    """The two sums of the paper, written out: weights [taps, bins, filters], float64."""

    def responses(frames: Float32) -> npt.NDArray[np.float64]:
        count = len(frames) - len(weights) + 1
        sums = np.zeros((count, weights.shape[2]))
        for position in range(count):
            for tap, matrix in enumerate(weights):
                sums[position] += frames[position + tap].astype(np.float64) @ matrix
        return np.maximum(sums, 0.0)

    f, fc, fs = responses(x), responses(content), responses(style)
    grams = [r.T @ r / frames for r, frames in ((f, len(x)), (fs, len(style)))]
    return float(((f - fc) ** 2).sum()), float(((grams[0] - grams[1]) ** 2).sum())


@pytest.mark.parametrize("dual", [True, False, None])
def test_the_random_network_is_the_published_sum(rng: np.random.Generator, dual: bool | None) -> None:
    content, style, x = (spectrogram(rng, frames) for frames in (14, 23, 14))
    bank = FilterBank(BINS, FILTERS, TAPS, seed=1)
    found = CnnObjective(content, style, bank, ALPHA, dual)(x)
    wanted = errors_by_loops(x, content, style, bank.weights.reshape(TAPS, BINS, FILTERS))
    assert found.content == pytest.approx(ALPHA * wanted[0], rel=1e-5)
    assert found.style == pytest.approx(wanted[1], rel=1e-4)


def test_the_cheaper_form_of_the_gram_error_is_chosen(rng: np.random.Generator) -> None:
    few, many = (np.abs(rng.standard_normal((frames, 40))).astype(np.float32) for frames in (10, 60))
    assert GramError(few, 14, 10, 14).dual
    assert not GramError(many, 64, 10, 14).dual


def test_filters_have_the_published_spread() -> None:
    assert weight_deviation(1025, 4096, 11) == pytest.approx(np.sqrt(2.0) * np.sqrt(2.0 / ((1025 + 4096) * 11)))
    bank = FilterBank(100, 200, 11, seed=3)
    assert float(bank.weights.std()) == pytest.approx(weight_deviation(100, 200, 11), rel=0.01)
    assert np.array_equal(bank.weights, FilterBank(100, 200, 11, seed=3).weights)
    assert not np.array_equal(bank.weights, FilterBank(100, 200, 11, seed=4).weights)


def test_the_kernel_is_the_mean_over_filter_banks(rng: np.random.Generator) -> None:
    content, style, x = (spectrogram(rng, frames, 6) for frames in (12, 20, 12))
    found = KernelObjective(content, style, ALPHA, FILTERS, TAPS)(x)
    contents, styles = [], []
    for seed in range(1500):
        bank = FilterBank(6, FILTERS, TAPS, seed)
        f, fc, fs = (bank.responses(frames) for frames in (x, content, style))
        difference = f.T @ f / len(x) - fs.T @ fs / len(style)
        contents.append(ALPHA * float(((f - fc) ** 2).sum()))
        # Two different filters are independent; the diagonal is the part that 1/filters of the error comes from.
        apart = float((difference**2).sum() - (np.diagonal(difference) ** 2).sum())
        styles.append(apart * FILTERS / (FILTERS - 1))
    for value, sample in ((found.content, contents), (found.style, styles)):
        deviation = float(np.std(sample)) / np.sqrt(len(sample))
        assert deviation < 0.03 * value
        assert abs(value - float(np.mean(sample))) < 4.0 * deviation


def test_patches_are_diagonal_sums_of_frames(rng: np.random.Generator) -> None:
    left, right = spectrogram(rng, 13), spectrogram(rng, 17)
    patches = [
        np.stack([frames[p : p + TAPS].ravel() for p in range(len(frames) - TAPS + 1)]) for frames in (left, right)
    ]
    sums = diagonal_sums(left @ right.T, TAPS)
    np.testing.assert_allclose(sums, patches[0] @ patches[1].T, rtol=1e-5)
    other = rng.standard_normal(sums.shape).astype(np.float32)
    there, back = float((sums * other).sum()), float((left @ right.T * spread_diagonals(other, TAPS)).sum())
    assert there == pytest.approx(back, rel=1e-4)


def test_the_angle_of_equal_opposite_and_silent_patches() -> None:
    one = np.ones(4, dtype=np.float32)
    value, slope, sine = arc(np.array([1.0, -1.0, 0.0, 1.1], dtype=np.float32), one, one)
    np.testing.assert_allclose(value, [np.pi, 0.0, 1.0, np.pi], atol=1e-6)
    np.testing.assert_allclose(slope, [np.pi, 0.0, np.pi / 2.0, np.pi], atol=1e-6)
    np.testing.assert_allclose(sine, [0.0, 0.0, 1.0, 0.0], atol=1e-6)


def objectives(content: Float32, style: Float32) -> dict[str, Objective]:
    bank = FilterBank(content.shape[1], FILTERS, TAPS, seed=1)
    return {
        "kernel": KernelObjective(content, style, ALPHA, FILTERS, TAPS),
        "dual": CnnObjective(content, style, bank, ALPHA, dual=True),
        "direct": CnnObjective(content, style, bank, ALPHA, dual=False),
    }


@pytest.mark.parametrize("form", ["kernel", "dual", "direct"])
@pytest.mark.parametrize("frames", [16, 31])
def test_slopes_equal_differences(rng: np.random.Generator, form: str, frames: int) -> None:
    content, style, x = (spectrogram(rng, count) for count in (16, frames, 16))
    objective = objectives(content, style)[form]
    for _ in range(3):
        way = rng.standard_normal(x.shape).astype(np.float32)
        step = np.float32(4e-4)
        rise = (objective(x + step * way).total - objective(x - step * way).total) / (2.0 * float(step))
        slope = objective(x).gradient
        # Of an error of a few hundred in single precision.
        assert float((slope * way).sum()) == pytest.approx(rise, rel=0.01, abs=0.01 * float(np.linalg.norm(slope)))


@pytest.mark.parametrize("form", ["kernel", "dual", "direct"])
def test_silence_and_equal_sounds_have_finite_slopes(rng: np.random.Generator, form: str) -> None:
    content = spectrogram(rng, 24)
    gaps = content.copy()
    gaps[4:18] = 0.0
    silence = np.zeros_like(content)
    for one, other, x in (
        (content, content, content),
        (content, content, silence),
        (gaps, content, gaps),
        (gaps, gaps, content),
        (silence, silence, silence),
        (silence, content, content),
    ):
        found = objectives(one, other)[form](x)
        assert np.isfinite([found.content, found.style]).all()
        assert np.isfinite(found.gradient).all()
        if one is other is x:
            assert found.total == pytest.approx(0.0, abs=1e-4)
            assert float(np.abs(found.gradient).max()) < 1e-3


def test_coordinates_in_the_span_change_nothing(rng: np.random.Generator) -> None:
    content, style = spectrogram(rng, 14, 60), spectrogram(rng, 18, 60)
    x = content + 0.3 * style[:14]
    basis = span(content, style)
    assert basis.shape == (60, 32)
    inside = KernelObjective(content @ basis, style @ basis, ALPHA, FILTERS, TAPS, bins=60)(x @ basis)
    whole = KernelObjective(content, style, ALPHA, FILTERS, TAPS)(x)
    assert inside.content == pytest.approx(whole.content, rel=1e-4)
    assert inside.style == pytest.approx(whole.style, rel=1e-3)
    np.testing.assert_allclose(inside.gradient @ basis.T, whole.gradient, atol=1e-4 * np.abs(whole.gradient).max())


@pytest.mark.parametrize("form", ["kernel", "dual"])
@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_the_search_descends(rng: np.random.Generator, form: str, optimiser: Optimiser) -> None:
    content, style = spectrogram(rng, 24), 2.0 * spectrogram(rng, 30)
    objective = objectives(content, style)[form]
    told: list[Step] = []
    found = minimise(objective, content, optimiser, 40, 0.1, told.append)
    assert found.history == told
    assert [step.iteration for step in told] == list(range(len(told)))
    assert found.evaluations >= len(told) > 20
    assert told[0].errors["content"] == pytest.approx(0.0, abs=1e-3)
    totals = [step.total for step in told]
    assert totals[-1] < 0.5 * totals[0]
    assert objective(found.spectrogram).total == pytest.approx(totals[-1], rel=1e-4)


def test_fresh_filters_judge_and_are_not_those_of_training(rng: np.random.Generator) -> None:
    content, style = spectrogram(rng, 24), 2.0 * spectrogram(rng, 30)
    judged = fresh_style_error(content, style, 5, FILTERS, TAPS)
    assert judged > 0.0
    assert fresh_errors(content, content, style, 5, FILTERS, TAPS) == (0.0, judged)
    assert fresh_style_error(style, style, 5, FILTERS, TAPS) == pytest.approx(0.0, abs=1e-4 * judged)
    trained = CnnObjective(content, style, FilterBank(BINS, FILTERS, TAPS, 5), 0.0)(content).style
    assert judged != pytest.approx(trained, rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: KernelObjective(x[:4], x, ALPHA, FILTERS, TAPS),
        lambda x: KernelObjective(x, x[:, :3], ALPHA, FILTERS, TAPS),
        lambda x: CnnObjective(x, x[:4], FilterBank(BINS, 2, TAPS), ALPHA),
        lambda x: minimise(KernelObjective(x, x, ALPHA, FILTERS, TAPS), x[1:]),
        lambda x: FilterBank(0),
        lambda x: Analysis(48000, 2048, 2048),
    ],
)
def test_shapes_that_do_not_fit_are_refused(rng: np.random.Generator, make: Callable[[Float32], object]) -> None:
    with pytest.raises(ValueError, match=r"frames|bins|shape|samples"):
        make(spectrogram(rng, 12))


def test_spectra_go_there_and_back(rng: np.random.Generator) -> None:
    audio = noise(rng, 10_001)
    analysis = Analysis()
    spectrum = stft(audio, analysis)
    assert spectrum.shape == (1 + 10_001 // 512, 1025)
    assert snr_db(audio, istft(spectrum, analysis, len(audio))) > 100.0
    frame = audio[5 * 512 - 1024 : 5 * 512 + 1024] * (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(2048) / 2048))
    np.testing.assert_allclose(spectrum[5], np.fft.rfft(frame), atol=1e-4)
    log = log_magnitudes(spectrum, analysis)
    np.testing.assert_allclose(log, np.log(1.0 + np.abs(spectrum)), atol=1e-5)
    np.testing.assert_allclose(magnitudes(log, analysis), np.abs(spectrum), rtol=1e-4, atol=1e-5)
    assert not magnitudes(-log, analysis).any()


def test_a_sine_reads_alike_at_every_size() -> None:
    peaks = []
    for analysis in (Analysis(), Analysis(48000, 4096, 1024)):
        bin_hz = analysis.sample_rate / analysis.n_fft
        audio = tone(40.0 * bin_hz, 16_384, rate_hz=analysis.sample_rate)
        log = log_magnitudes(stft(audio, analysis), analysis)
        peaks.append(float(log[len(log) // 2].max()))
    assert peaks[0] == pytest.approx(peaks[1], rel=1e-4)


def test_the_correlation_is_pearsons_in_any_basis(rng: np.random.Generator) -> None:
    content, style, other = (spectrogram(rng, frames) for frames in (8, 6, 8))
    other = np.asarray(0.6 * content + 0.4 * other, dtype=np.float32)
    basis = span(content, style)
    mixed = np.asarray(np.asarray(rng.standard_normal((8, 8)), dtype=np.float32) @ content + 1.0, dtype=np.float32)
    assert basis.shape[1] < BINS
    for x in (other, np.negative(other), content):
        assert Correlation(content)(x) == pytest.approx(np.corrcoef(content.ravel(), x.ravel())[0, 1], abs=1e-6)
    inside = np.asarray((mixed @ basis) @ basis.T, dtype=np.float32)
    wanted = np.corrcoef(content.ravel(), inside.ravel())[0, 1]
    assert Correlation(content @ basis, basis)(inside @ basis) == pytest.approx(wanted, abs=1e-5)
    assert Correlation(content)(np.zeros_like(content)) == 0.0
