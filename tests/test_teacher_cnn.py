"""Untrained filters as teachers: the published sums on every network, slopes, forms, the way back to sound, the mix."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from signals import noise, tone

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

from duende import DuendeError  # noqa: E402
from duende.export.measures import StyleTarget, onset_f1  # noqa: E402
from duende.export.teachers import descent, solve  # noqa: E402
from duende.export.teachers.cnn import CnnObjective, FilterBank, fresh_style_error  # noqa: E402
from duende.export.teachers.filters import COMBS, FilterObjective, FilterStack, detector_filters  # noqa: E402
from duende.export.teachers.gram import CNN, DETECTORS, KERNEL, GramSettings  # noqa: E402
from duende.export.teachers.inversion import from_slopes  # noqa: E402
from duende.export.teachers.mix import NAMES, Mix  # noqa: E402
from duende.export.teachers.objective import weight_deviation  # noqa: E402
from duende.export.teachers.spectra import Analysis, log_magnitudes, stft  # noqa: E402
from duende.export.teachers.teacher import Job, Made, Step, StyleSound  # noqa: E402
from teacher_sounds import bright, job_of, plucks  # noqa: E402

Float32 = npt.NDArray[np.float32]

SMALL: dict[str, Any] = {
    "sample_rate": 16000,
    "n_fft": 256,
    "hop": 64,
    "filters": 32,
    "taps": 5,
    "iterations": 12,
    "rounds": 4,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "bins": {},
    "per-bin": {"network": "per-bin", "filters": 40},
    "picture": {"network": "picture", "filters": 8, "taps": 3},
    "detectors": {"network": "detectors", "taps": 3},
    "pooled": {"pool": 2},
    "deep": {"depth": 3, "filters": 24},
}
RATE = 48000


def spectrogram(rng: np.random.Generator, frames: int, bins: int = 20) -> Float32:
    return np.abs(rng.standard_normal((frames, bins))).astype(np.float32)


def job(rate: int, **changes: Any) -> Job:
    return replace(job_of(plucks(rate), bright(rate)), **changes)


@pytest.mark.parametrize("frames", [14, 60])
def test_in_torch_it_is_the_published_sum(rng: np.random.Generator, frames: int) -> None:
    # Few positions go through their own products, many through those of the filters.
    content, style, x = (spectrogram(rng, count) for count in (frames, 23, frames))
    wanted = CnnObjective(content, style, FilterBank(20, 48, 5, seed=1), 0.3, dual=False)(x)
    found = FilterObjective(content, [style], FilterStack(20, "bins", 48, 5, seed=1), 0.3)(x)
    assert found.content == pytest.approx(wanted.content, rel=1e-5)
    assert found.style == pytest.approx(wanted.style, rel=1e-4)
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-4 * np.abs(wanted.gradient).max())


@pytest.mark.parametrize("network", NETWORKS)
def test_slopes_equal_differences(rng: np.random.Generator, network: str) -> None:
    stack = FilterStack(20, **{"filters": 32, "taps": 5, "seed": 2} | NETWORKS[network])
    content, style, x = (spectrogram(rng, count) for count in (40, 47, 40))
    objective = FilterObjective(content, [style], stack, 0.3)
    slope = objective(x).gradient
    assert float(np.linalg.norm(slope)) > 0.0
    for _ in range(2):
        way, step = rng.standard_normal(x.shape).astype(np.float32), np.float32(4e-4)
        rise = (objective(x + step * way).total - objective(x - step * way).total) / (2.0 * float(step))
        assert float((slope * way).sum()) == pytest.approx(rise, rel=0.02, abs=0.01 * float(np.linalg.norm(slope)))
    assert objective(content).content == pytest.approx(0.0, abs=1e-6)
    same = FilterObjective(content, [content], stack, 0.3)
    assert same(content).style == pytest.approx(0.0, abs=1e-3 * objective(content).style)


def test_a_filter_of_each_bin_sees_no_other(rng: np.random.Generator) -> None:
    x = torch.from_numpy(spectrogram(rng, 12))
    stack = FilterStack(20, "per-bin", 40, 5, seed=1)
    before = stack(x)[0]
    x[:, 7] += 1.0
    changed = torch.nonzero((stack(x)[0] - before).abs().amax(dim=1) > 0.0)[:, 0].tolist()
    assert changed == [14, 15]


def test_several_styles_are_their_mean_gram(rng: np.random.Generator) -> None:
    content, one, other = (spectrogram(rng, count) for count in (14, 23, 30))
    bank, x = FilterBank(20, 48, 5, seed=1), spectrogram(rng, 14)
    found = FilterObjective(content, [one, other], FilterStack(20, "bins", 48, 5, seed=1), 0.0, [3.0, 1.0])(x).style

    def gram(frames: Float32) -> Float32:
        responses = bank.responses(frames)
        return responses.T @ responses / np.float32(len(frames))

    wanted = float(((gram(x) - 0.75 * gram(one) - 0.25 * gram(other)) ** 2).sum())
    assert found == pytest.approx(wanted, rel=1e-3)


def test_glorot_numbers_end_at_two_deviations() -> None:
    stack = FilterStack(30, "bins", 400, 11, spread="glorot", seed=3)
    weights = []
    for index in range(30):
        one = torch.zeros(11, 30)
        one[0, index] = 1.0
        weights.append(stack(one)[0][:, 0] - stack(-one)[0][:, 0])
    found = torch.stack(weights)
    deviation = weight_deviation(30, 400, 11) / np.sqrt(2.0)
    assert float(found.std()) == pytest.approx(deviation, rel=0.02)
    # Cutting off makes the rest narrower; the numbers are spread again to the deviation that is asked for.
    assert 2.2 * deviation < float(found.abs().max()) < 2.28 * deviation


@pytest.mark.parametrize(
    ("which", "picture"),
    [
        (0, lambda x: x[:, 15:].fill_(1.0)),
        (1, lambda x: x[:, :15].fill_(1.0)),
        (4, lambda x: x[40, :].fill_(1.0)),
        (5, lambda x: x[:, 15].fill_(1.0)),
    ],
)
def test_detectors_know_beginnings_ends_partials_and_clicks(which: int, picture: Any) -> None:
    x = torch.zeros(80, 30)
    picture(x)
    small = torch.from_numpy(detector_filters(11)[0])
    answers = torch.nn.functional.conv2d(x[None, None], small)[0].amax(dim=(1, 2))
    assert int(answers.argmax()) == which


@pytest.mark.parametrize("distance", COMBS)
def test_combs_know_the_distance_of_partials(distance: int) -> None:
    x = torch.zeros(400, 15)
    x[::distance] = 1.0
    combs = torch.from_numpy(detector_filters(11)[1])
    answers = torch.nn.functional.conv2d(x[None, None], combs)[0].amax(dim=(1, 2))
    assert COMBS[int(answers.argmax())] == distance


@pytest.mark.parametrize("form", [form for form in CNN.forms if form != "repaired"])
def test_every_form_of_filters_descends_and_sounds(form: str) -> None:
    settings = replace(CNN.forms[form], **SMALL)
    made = CNN.make(job(16000), settings)
    assert made.audio.shape == plucks(16000).shape
    assert np.isfinite(made.audio).all()
    assert float(np.abs(made.audio).max()) > 0.0
    assert made.history[-1].total < 0.6 * made.history[0].total
    assert made.history[-1].iteration == 12


def test_the_style_falls_on_filters_that_were_not_searched_with() -> None:
    settings = replace(CNN.forms["faithful"], **SMALL | {"filters": 256, "iterations": 40, "alpha": 1e-4})
    content, style = (
        log_magnitudes(stft(audio, settings.analysis), settings.analysis) for audio in (plucks(16000), bright(16000))
    )
    found = CNN.solve(content, [style], settings, job(16000)).spectrogram
    before, after = (fresh_style_error(x, style, 9, 256, 5) for x in (content, found))
    assert after < 0.25 * before


def test_the_same_seed_gives_the_same_sound() -> None:
    settings = replace(CNN.forms["faithful"], **SMALL)
    first, again, other = (CNN.make(job(16000, seed=seed), settings).audio for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


class _StoppedError(Exception):
    pass


def stopped_and_not(settings: GramSettings, rate: int, at: int, folder: Path) -> tuple[Made, Made]:
    """A job that was cut off and taken up again, and one that was not."""

    def stop(step: Step) -> None:
        if step.iteration == at:
            raise _StoppedError

    one = job(rate, checkpoint=folder / "one")
    with pytest.raises(_StoppedError):
        CNN.make(replace(one, report=stop), settings)
    assert (folder / "one").is_file()
    told: list[Step] = []
    resumed = CNN.make(replace(one, report=told.append), settings)
    assert 0 < told[0].iteration <= at
    assert not (folder / "one").exists()
    return resumed, CNN.make(replace(one, checkpoint=folder / "other"), settings)


def test_a_search_taken_up_again_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "SEGMENT", 5)
    resumed, whole = stopped_and_not(replace(CNN.forms["faithful"], **SMALL), 16000, 8, tmp_path)
    assert np.array_equal(resumed.audio, whole.audio)


@pytest.fixture(scope="module")
def mixed() -> Made:
    return CNN.make(job(RATE), mix_settings())


def mix_settings() -> GramSettings:
    return replace(CNN.forms["repaired"], iterations=15)


def test_the_mix_takes_the_style_and_keeps_the_player(mixed: Made) -> None:
    content = plucks(RATE)
    assert mixed.audio.shape == content.shape
    assert mixed.history[-1].total < 0.7 * mixed.history[0].total
    level, wanted = (float(np.sqrt(np.mean(x**2))) for x in (mixed.audio, content))
    assert level == pytest.approx(wanted, rel=1e-3)
    judge = StyleTarget(bright(RATE), RATE)  # filters and windows that were not searched with
    before, after = (judge.distances(x) for x in (content, mixed.audio))
    assert after[0] < 0.3 * before[0]
    assert after[1] < 0.5 * before[1]
    assert onset_f1(content, mixed.audio, RATE) > 0.7


def test_a_mix_taken_up_again_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: Made) -> None:
    monkeypatch.setattr(descent, "CHECKPOINT_S", 0.0)
    resumed, whole = stopped_and_not(replace(mix_settings(), iterations=6), RATE, 4, tmp_path)
    assert np.array_equal(resumed.audio, whole.audio)
    assert [step.errors for step in resumed.history] == [step.errors for step in whole.history]
    assert resumed.history[2].errors == whole.history[2].errors
    assert not np.array_equal(resumed.audio, mixed.audio)


def test_a_mix_of_the_content_alone_is_the_content_and_silence_stays_silent() -> None:
    content = plucks(RATE)
    content[: RATE // 4] = 0.0
    mix = Mix(content, Analysis(RATE, 2048, 512), 12, ("dry@1",))
    np.testing.assert_allclose(mix.audio(mix.start()).numpy(), content, atol=1e-5)
    loud = Mix(content, Analysis(RATE, 2048, 512), 12, NAMES)
    made = loud.audio(loud.start() + 3.0).numpy()
    assert float(np.abs(made).max()) > 1.0
    assert not made[: RATE // 4 - 2048].any()


def test_signals_of_a_mix_begin_as_they_go_on() -> None:
    held = tone(330.0, RATE // 2, level_dbfs=-12.0)
    mix = Mix(held, Analysis(RATE, 2048, 512), 12, NAMES)
    for index in (1, 2, 3):
        alone = torch.full(mix.shape, -40.0)
        alone[index] = 0.0
        sound = mix.audio(alone).numpy()
        first, later = (float(np.sqrt(np.mean(part**2))) for part in (sound[:120], sound[9600:19200]))
        assert 0.6 < first / later < 1.5


def test_phases_from_slopes_make_the_magnitudes_heard(rng: np.random.Generator) -> None:
    analysis = Analysis(16000, 512, 64)
    audio = tone(440.0, 8000, level_dbfs=-12.0, rate_hz=16000) + noise(rng, 8000, level_dbfs=-70.0)
    wanted = np.abs(stft(audio, analysis))

    def far(sound: Float32) -> float:
        """Spectral convergence in dB, the ends apart."""
        difference = (np.abs(stft(sound, analysis)) - wanted)[10:-10]
        return float(20.0 * np.log10(np.linalg.norm(difference) / np.linalg.norm(wanted[10:-10])))

    assert far(from_slopes(wanted, analysis, len(audio))) < -25.0
    settings = replace(KERNEL.forms["faithful"], **SMALL | {"inversion": "rtpghi", "filters": 4096})
    made = KERNEL.make(job(16000), settings).audio
    assert np.array_equal(made, KERNEL.make(job(16000), settings).audio)
    assert float(np.abs(made).max()) > 0.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "wide"}, "network 'wide': choose"),
        ({"spread": "flat"}, "spread 'flat': choose"),
        ({"depth": 0}, "depth 0 is out of range"),
        ({"pool": 17}, "pool 17 is out of range"),
        ({"taps": 4, "network": "picture"}, "need an odd number"),
        ({"scales": (1026,), "optimiser": "adam"}, "four divides"),
        ({"scales": (1024,)}, "by adam"),
        ({"scales": (1024,), "optimiser": "adam"}, "44100 or 48000"),
        ({"inversion": "rtpghi", "hop": 1024}, "hop 1024 is out of range: 1 to 512"),
        ({"bands": 0}, "bands 0 is out of range"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DuendeError, match=said) as refused:
        GramSettings(**changes)
    assert "\n" not in str(refused.value)


def test_the_shortest_sound_is_long_enough() -> None:
    for form in CNN.forms.values():
        least = CNN.shortest(form)
        assert 0 < least < 2 * form.sample_rate
        cost = CNN.cost(3 * form.sample_rate, 6 * form.sample_rate, form)
        assert 0.0 < cost.seconds < 3600.0
        assert 0 < cost.memory < 6 << 30
    assert sum(len(group) for group in detector_filters(11)) == DETECTORS
    settings = replace(CNN.forms["deep"], **SMALL)
    least = CNN.shortest(settings)
    made = CNN.make(Job(plucks(16000)[2000 : 2000 + least], (StyleSound(bright(16000)[:least]),)), settings)
    assert made.audio.shape == (least,)
