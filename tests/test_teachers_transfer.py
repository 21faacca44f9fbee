"""What surrounds every system: parts, sides, weights, memory, resumption, and one line for what cannot be."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.export.sounds import level_dbfs
from duende.export.teachers import transfer as module
from duende.export.teachers.cnn import fresh_style_error
from duende.export.teachers.gram import GramSettings
from duende.export.teachers.spectra import Analysis, log_magnitudes, stft
from duende.export.teachers.teacher import Job, Step, StyleSound
from duende.export.teachers.transfer import Choice, Options, Progress, choose, duration, summed, transfer
from signals import noise, snr_db, tone
from systems import RATE, PlainSettings, PlainSystem

pytestmark = pytest.mark.usefixtures("one_thread")

Float32 = npt.NDArray[np.float32]

GRAM_HZ = 22050
QUICK = ("iterations=12", "filters=64", "inversion=input-phase", "start=content")


@pytest.fixture
def system() -> PlainSystem:
    return PlainSystem()


@pytest.fixture
def plain(system: PlainSystem) -> Choice:
    return Choice(system, "faithful", PlainSettings())


def playing(rng: np.random.Generator, seconds: float = 1.2, rate: int = GRAM_HZ) -> Float32:
    """Two decaying notes."""
    frames = round(seconds * rate)
    time = np.arange(frames) / rate
    sound = tone(220.0, frames, rate_hz=rate) * np.exp(-3.0 * time)
    sound[frames // 2 :] += (tone(330.0, frames, rate_hz=rate) * np.exp(-3.0 * time))[: frames - frames // 2]
    return np.asarray(sound + noise(rng, frames, level_dbfs=-60.0), dtype=np.float32)


def hiss(rng: np.random.Generator, seconds: float = 1.5, rate: int = GRAM_HZ) -> StyleSound:
    return StyleSound(noise(rng, round(seconds * rate), level_dbfs=-20.0), name="hiss")


@pytest.mark.parametrize("name", ["kernel", "cnn"])
def test_the_result_is_as_long_as_the_content_and_nearer_to_the_style(rng: np.random.Generator, name: str) -> None:
    content, style = playing(rng), hiss(rng)
    told: list[Progress] = []
    found = transfer(content, [style], choose(name, QUICK), report=told.append)
    assert found.audio.dtype == np.float32
    assert found.audio.shape == content.shape
    assert found.sample_rate == GRAM_HZ
    assert found.history == [one.step for one in told]
    assert {(one.part, one.parts) for one in told} == {(1, 1)}
    assert found.history[-1].errors["style"] < 0.3 * found.history[0].errors["style"]
    assert found.history[0].correlation == pytest.approx(1.0)
    assert -1.0 <= found.history[-1].correlation < 0.99
    if name == "kernel":  # a few filters are learnt by heart, all of them are not
        before, after, wanted = (
            log_magnitudes(stft(audio, Analysis()), Analysis()) for audio in (content, found.audio, style.audio)
        )
        fresh = [fresh_style_error(spectrogram, wanted, 9, filters=64) for spectrogram in (before, after)]
        assert fresh[1] < 0.3 * fresh[0]


def test_everything_random_follows_the_seed(rng: np.random.Generator) -> None:
    content, style = playing(rng), hiss(rng)
    choice = choose("cnn", ["filters=16", "iterations=3", "inversion=input-phase"])
    first, again, other = (transfer(content, [style], choice, Options(seed=seed)).audio for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_content_that_counts_for_everything_comes_back_untouched(rng: np.random.Generator) -> None:
    content = playing(rng)
    assert snr_db(content, transfer(content, [hiss(rng)], choose("kernel", [*QUICK, "alpha=1e5"])).audio) > 40.0


def test_digital_silence_stays_silent_with_the_phase_of_the_input(rng: np.random.Generator) -> None:
    content = playing(rng)
    content[-12_000:] = 0.0
    found = transfer(content, [hiss(rng)], choose("kernel", [*QUICK, "alpha=1e-4"]))
    assert not found.audio[-12_000 + 2048 :].any()


def test_several_styles_at_weights_lead_between_them(rng: np.random.Generator) -> None:
    content = playing(rng)
    dark, bright = hiss(rng), hiss(rng)
    spectrum = np.fft.rfft(dark.audio)
    spectrum[len(spectrum) // 8 :] = 0.0
    dark = StyleSound(np.fft.irfft(spectrum, len(dark.audio)).astype(np.float32), name="dark")

    def treble(*styles: StyleSound) -> float:
        made = transfer(content, styles, choose("kernel", [*QUICK, "alpha=1e-4"])).audio
        power = np.abs(np.fft.rfft(made)) ** 2
        return float(power[len(power) // 4 :].sum() / power.sum())

    one, both, other = (treble(replace(dark, weight=w), replace(bright, weight=1.0 - w)) for w in (0.9999, 0.5, 0.0))
    assert one < 0.5 * both < 0.45 * other


@pytest.mark.parametrize(
    ("form", "way"),
    [("faithful", "try --teacher plain:repaired"), ("repaired", "try other settings (duende teachers plain)")],
)
def test_a_result_that_faded_away_is_said_with_the_way_out(rng: np.random.Generator, form: str, way: str) -> None:
    content = np.asarray(0.1 * playing(rng, rate=RATE), dtype=np.float32)
    told: list[str] = []
    for gain, quieter in ((0.01, "40 dB quieter"), (0.2, "14 dB quieter"), (0.0, "dB quieter"), (0.3, ""), (1.0, "")):
        system = PlainSystem(lambda job, gain=gain: np.float32(gain) * job.content)  # type: ignore[misc]
        found = transfer(content, [hiss(rng, rate=RATE)], Choice(system, form, PlainSettings()), note=told.append)
        lines = [text for text in found.notices if "quieter" in text]
        assert len(lines) == bool(quieter)
        if quieter:
            assert quieter in lines[0]
            assert f"({level_dbfs(found.audio):.0f} dBFS), as plain:{form} left it" in lines[0]
            assert way in lines[0]
            assert "\n" not in lines[0]
            assert lines[0] in told


def test_long_content_is_cut_and_comes_back_whole(rng: np.random.Generator, system: PlainSystem, plain: Choice) -> None:
    content = playing(rng, 11.0, RATE)
    told: list[Progress] = []
    found = transfer(content, [hiss(rng, rate=RATE)], plain, Options(chunk_s=4.0), told.append)
    assert len(system.jobs) == found.parts == 4
    assert all(len(job.content) <= 4 * RATE for job in system.jobs)
    assert {one.parts for one in told} == {4}
    assert [one.part for one in told] == sorted(one.part for one in told)
    assert snr_db(content, found.audio) > 100.0
    assert found.history[0].errors == {"content": 4.0}
    assert found.notices.count("a notice") == 1


def test_memory_chooses_the_length_of_chunks(rng: np.random.Generator, system: PlainSystem, plain: Choice) -> None:
    content, style = playing(rng, 11.0, RATE), hiss(rng, rate=RATE)
    told: list[str] = []
    allowed = 0.05
    options = Options(max_memory=allowed)
    large = replace(plain, settings=PlainSettings(bytes_per_sample=round(allowed * 2**30 / (5 * RATE))))
    found = transfer(content, [style], large, options, note=told.append)
    assert 1 < len(system.jobs) <= 3
    assert all(4.0 * RATE < len(job.content) <= 5.0 * RATE for job in system.jobs)
    assert snr_db(content, found.audio) > 100.0
    assert "about 13 s and" in told[0]
    assert f"in {len(system.jobs)} chunks" in told[0]
    huge = replace(plain, settings=PlainSettings(bytes_per_sample=10**6))
    with pytest.raises(DuendeError, match=r"memory are needed even for 2\.5 s at a time, 11 MB are allowed"):
        transfer(content, [style], huge, replace(options, max_memory=0.01))


def test_without_a_limit_the_free_memory_counts(
    rng: np.random.Generator, system: PlainSystem, plain: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, style = playing(rng, 11.0, RATE), hiss(rng, rate=RATE)
    transfer(content, [style], plain)
    assert len(system.jobs) == 1
    monkeypatch.setattr(module, "memory_free", lambda: 100.0 * 4 * RATE / 0.7)
    transfer(content, [style], plain)
    assert len(system.jobs) > 3


def test_a_silent_chunk_is_not_worked_on(rng: np.random.Generator, system: PlainSystem, plain: Choice) -> None:
    content = playing(rng, 12.0, RATE)
    content[round(3.5 * RATE) :] = 0.0
    found = transfer(content, [hiss(rng, rate=RATE)], plain, Options(chunk_s=3.0))
    assert found.parts == len(system.jobs) == 2
    assert not found.audio[round(3.5 * RATE) + 400 :].any()


def test_stereo(rng: np.random.Generator, system: PlainSystem, plain: Choice) -> None:
    left, right = (playing(rng, 2.0, RATE) * np.float32(gain) for gain in (1.0, 0.3))
    content, style = np.stack([left, right], axis=1), [hiss(rng, rate=RATE)]
    mono = transfer(content, style, plain)
    assert mono.audio.shape == (2 * RATE,)
    for stereo, jobs in (("linked", 1), ("mid-side", 2)):
        system.jobs.clear()
        found = transfer(content, style, plain, Options(stereo=stereo))  # type: ignore[arg-type]
        assert len(system.jobs) == jobs
        assert found.audio.shape == content.shape
        assert snr_db(content, found.audio) > 60.0
    told: list[str] = []
    same = transfer(np.stack([left, left], axis=1), style, plain, Options(stereo="mid-side"), note=told.append)
    assert np.array_equal(same.audio[:, 0], same.audio[:, 1])
    assert any("sides are under -60 dB" in line for line in told)
    three = transfer(np.stack([left] * 3, axis=1), style, plain, Options(stereo="linked"), note=told.append)
    assert three.audio.ndim == 1
    assert "the content has 3 channels, not two: made in mono" in told


def test_trimming_and_pooling(rng: np.random.Generator, system: PlainSystem, plain: Choice) -> None:
    content, short, long = playing(rng, 2.0, RATE), hiss(rng, 1.0, RATE), hiss(rng, 3.0, RATE)
    found = transfer(content, [short, long], plain, Options(trim=True))
    assert len(found.audio) == RATE
    assert [len(style.audio) for style in system.jobs[-1].styles] == [RATE, RATE]
    transfer(content, [short, long], plain, Options(pool=True))
    (pooled,) = system.jobs[-1].styles
    assert np.array_equal(pooled.audio, np.concatenate([short.audio, long.audio]))
    weighted = [replace(short, weight=3.0), replace(long, weight=1.0), replace(long, weight=0.0)]
    transfer(content, weighted, plain)
    assert [style.weight for style in system.jobs[-1].styles] == [0.75, 0.25]


@pytest.mark.parametrize("chunk_s", [None, 3.0])
def test_a_stopped_transfer_goes_on_where_it_was(
    tmp_path: Path, rng: np.random.Generator, system: PlainSystem, plain: Choice, chunk_s: float | None
) -> None:
    content, style = playing(rng, 9.0, RATE), [hiss(rng, rate=RATE)]
    path = tmp_path / "state"
    options = Options(chunk_s=chunk_s, checkpoint=path)
    whole = transfer(content, style, plain, replace(options, checkpoint=None))
    worked = len(system.jobs)
    assert list(tmp_path.iterdir()) == []

    def stop(told: Progress) -> None:
        if told.part == told.parts and told.step.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(content, style, plain, options, stop)
    assert path.exists()
    with pytest.raises(DuendeError, match="exists: go on with it by --resume, or delete it"):
        transfer(content, style, plain, options)
    other = replace(plain, settings=PlainSettings(gain=0.5))
    with pytest.raises(DuendeError, match="belongs to other recordings or settings; run it again without --resume"):
        transfer(content, style, other, replace(options, resume=True))
    system.jobs.clear()
    resumed = transfer(content, style, plain, replace(options, resume=True))
    assert len(system.jobs) == 1 <= worked
    assert np.array_equal(whole.audio, resumed.audio)
    assert [step.errors for step in whole.history] == [step.errors for step in resumed.history]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["kernel", "cnn"])
@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_a_resumed_search_ends_bit_for_bit_the_same(
    tmp_path: Path, rng: np.random.Generator, name: str, optimiser: str
) -> None:
    content, style = playing(rng, 0.6), [hiss(rng, 0.6)]
    sets = ["iterations=60", f"optimiser={optimiser}", "filters=16", "n_fft=512", "hop=256"]
    choice = choose(name, [*QUICK, *sets])
    options = Options(checkpoint=tmp_path / "state")
    whole = transfer(content, style, choice, options)
    assert len(whole.history) > 40
    steps: list[int] = []

    def stop(told: Progress) -> None:
        if told.step.iteration == 37:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(content, style, choice, options, stop)
    resumed = transfer(
        content, style, choice, replace(options, resume=True), lambda told: steps.append(told.step.iteration)
    )
    assert min(steps) in (25, 26)
    assert np.array_equal(whole.audio, resumed.audio)
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert (one.iteration, one.errors, one.correlation) == (other.iteration, other.errors, other.correlation)


def test_sounds_that_cannot_be_used_are_named(rng: np.random.Generator, plain: Choice) -> None:
    good, style = playing(rng, 1.0, RATE), hiss(rng, 1.0, RATE)
    broken = good.copy()
    broken[7] = np.nan
    for content, styles, message in (
        (good[:900], [style], "content: 900 samples are too few; it needs 1000"),
        (broken, [style], "content: holds samples that are not numbers"),
        (0.0 * good, [style], r"content: silent \(-200 dBFS\)"),
        (good, [replace(style, audio=0.0 * good)], r"hiss: silent"),
        (good, [replace(style, audio=style.audio[:500])], "hiss: 500 samples are too few"),
        (good, [], "0 styles: give 1 to 16"),
        (good, [replace(style, weight=-1.0)], "weights of styles: give numbers of 0 and more"),
        (good, [replace(style, weight=0.0)], "not all 0"),
        (good, [replace(style, weight=float("nan"))], "weights of styles"),
    ):
        with pytest.raises(DuendeError, match=message) as caught:
            transfer(content, styles, plain)
        assert "\n" not in str(caught.value)


def test_a_result_that_is_no_number_is_refused(rng: np.random.Generator) -> None:
    def runaway(job: Job) -> Float32:
        return np.full_like(job.content, np.inf)

    with pytest.raises(DuendeError, match="plain:faithful: the search ran away"):
        transfer(
            playing(rng, 1.0, RATE),
            [hiss(rng, 1.0, RATE)],
            Choice(PlainSystem(runaway), "faithful", PlainSettings()),
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stereo": "wide"}, "stereo 'wide': choose mono, linked or mid-side"),
        ({"chunk_s": 1.0}, "chunk 1 is out of range: 2.5 to 3600"),
        ({"max_memory": 0.0}, "max-memory 0 is out of range"),
        ({"seed": -1}, "seed -1 is out of range: 0"),
        ({"resume": True}, "--resume needs --checkpoint FILE"),
    ],
)
def test_options_out_of_range_say_their_bounds(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DuendeError, match=message):
        Options(**change)


@pytest.mark.parametrize(
    ("text", "sets", "more", "message"),
    [
        ("vgg", [], {}, "teacher 'vgg': choose one of cnn, kernel, sms"),
        ("kernel:loud", [], {}, "teacher kernel has no form 'loud': choose one of faithful, repaired"),
        ("kernel", ["colour=1"], {}, "teacher kernel has no setting 'colour': there are sample_rate"),
        ("kernel", ["alpha"], {}, "write NAME=VALUE"),
        ("kernel", ["alpha=much"], {}, "alpha=much: write a number"),
        ("kernel", ["alpha=-1"], {}, "alpha -1 is out of range: 0 to 1e"),
        ("kernel", ["alpha=nan"], {}, "alpha nan is out of range"),
        ("kernel", ["optimiser=sgd"], {}, "optimiser=sgd: choose one of lbfgs, adam"),
        ("kernel", [], {"iterations": 0}, "iterations 0 is out of range: 1"),
        ("kernel", [], {"speech": True}, "teacher kernel does not tell speech from other sounds"),
    ],
)
def test_choices_that_do_not_exist_are_one_line(text: str, sets: list[str], more: dict[str, Any], message: str) -> None:
    with pytest.raises(DuendeError, match=message) as caught:
        choose(text, sets, **more)
    assert "\n" not in str(caught.value)


def test_a_choice_changes_what_it_names_alone() -> None:
    plain, changed = choose("kernel"), choose("kernel:repaired", ["alpha=0.5"], iterations=7)
    assert (plain.title, changed.title) == ("kernel:faithful", "kernel:repaired")
    assert plain.settings == GramSettings()
    assert changed.settings == replace(changed.system.forms["repaired"], alpha=0.5, iterations=7)
    assert choose("kernel", form="repaired").settings == changed.system.forms["repaired"]


def test_what_is_not_installed_is_said_before_the_search(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "librosa", None)
    told: list[Progress] = []
    with pytest.raises(DuendeError, match="needs librosa: pip install"):
        transfer(playing(rng), [hiss(rng)], choose("kernel"), report=told.append)
    assert told == []
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DuendeError, match="device 'cuda' needs torch"):
        transfer(playing(rng), [hiss(rng)], choose("kernel"), Options(device="cuda"))


def test_a_device_that_is_not_there_is_one_line() -> None:
    pytest.importorskip("torch")
    for device in ("abacus", "cuda:99"):
        with pytest.raises(DuendeError, match=f"device '{device}' is not to be had here"):
            module.check_device(device)


def test_histories_of_parts_are_summed() -> None:
    def steps(*errors: float) -> list[Step]:
        return [Step(place, 3, {"style": error}, float(place), 0.1 * place) for place, error in enumerate(errors)]

    both = summed([steps(8.0, 4.0, 2.0), steps(10.0, 1.0)])
    assert [step.errors["style"] for step in both] == [18.0, 5.0, 3.0]
    assert [step.iteration for step in both] == [0, 1, 2]
    assert both[2].correlation == pytest.approx(0.15)
    assert summed([steps(1.0)]) == steps(1.0)
    assert summed([]) == []


def test_words_for_times() -> None:
    assert [duration(x) for x in (0.2, 45.0, 600.0, 9000.0)] == ["1 s", "45 s", "10 minutes", "2.5 hours"]
