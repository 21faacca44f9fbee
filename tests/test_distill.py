"""A distillation of a few seconds must bring a guitar that it never heard nearer to the style."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from signals import snr_db

torch = pytest.importorskip("torch")

from duende import DuendeError  # noqa: E402
from duende.engine.preset import load_rig  # noqa: E402
from duende.engine.render import render_array  # noqa: E402
from duende.export import measures  # noqa: E402
from duende.export.corpus import UNALTERED, content_pieces  # noqa: E402
from duende.export.distill import COLD_SAMPLES, DistillConfig, Progress  # noqa: E402
from duende.export.forge import ForgeRequest, forge, minutes_allowed, sources  # noqa: E402
from duende.export.pluck import demo_phrase  # noqa: E402
from duende.export.sounds import load_sound  # noqa: E402
from duende.export.style import StyleClip, pooled, style_body  # noqa: E402
from duende.export.teachers.teacher import Cost  # noqa: E402
from duende.export.teachers.transfer import duration  # noqa: E402
from duende.export.work.hand import INSIDE  # noqa: E402
from duende.presets.library import Library  # noqa: E402
from systems import PlainSettings, PlainSystem, registered  # noqa: E402

pytestmark = pytest.mark.train

RATE = 48000


def reed(seconds: float = 3.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A bright, steady, slowly beating tone with odd harmonics: nothing like a plucked string."""
    time = np.arange(int(seconds * RATE)) / RATE
    rng = np.random.default_rng(11)
    sound = np.zeros_like(time)
    for start, hz in ((0.0, 233.0), (1.0, 311.0), (2.0, 277.0)):
        on = np.clip((time - start) / 0.05, 0.0, 1.0) * np.clip((start + 0.98 - time) / 0.05, 0.0, 1.0)
        for harmonic in range(1, 40, 2):
            sound += on * np.sin(2.0 * np.pi * hz * harmonic * time) / harmonic**0.7
    sound *= 1.0 + 0.3 * np.sin(2.0 * np.pi * 5.0 * time)
    return np.asarray(0.05 * sound + 1e-3 * rng.standard_normal(len(time)), dtype=np.float32)


SMALL = DistillConfig(
    pieces=6,
    seconds=1.2,
    run_in_seconds=0.6,
    plain_pieces=4,
    plain_seconds=1.2,
    steps=24,
    warm_up=4,
    average=0.8,
    filter_banks=2,
    check_every=6,
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path / "home"))


def test_forging_brings_an_unheard_guitar_nearer_to_the_style(tmp_path: Path) -> None:
    clip = reed()
    soundfile.write(tmp_path / "reed.wav", clip, RATE)
    library = Library(tmp_path / "presets", tmp_path / "none")
    guitar = demo_phrase(RATE)[: 6 * RATE]
    steps: list[int] = []
    request = ForgeRequest(
        sources([tmp_path / "reed.wav"], "reed", apart=False), "reed", steps=24, config=SMALL, judges={"phrase": guitar}
    )
    forged = forge(request, library, report=lambda step: steps.append(step.step))
    assert steps == list(range(1, SMALL.steps + 1))
    judge = measures.Judge(guitar, clip)
    output = render_array(load_rig(library.find("reed")), guitar, RATE)[: len(guitar)]
    before, after = judge.measure(guitar), judge.measure(output)
    assert after.style_distance < 0.5 * before.style_distance
    assert after.envelope_error < 0.5 * before.envelope_error
    assert forged.measured["reed"]["phrase"][0].style_distance == pytest.approx(after.style_distance, rel=0.05)
    spec_quality = forged.entry.read()
    assert spec_quality.slots[0].file == "reed.onnx"
    assert (library.own / "reed.png").is_file()
    with pytest.raises(DuendeError, match="--force"):
        forge(request, library)
    quiet = render_array(load_rig(library.find("reed")), guitar, RATE)
    plain_rig = load_rig(library.find("reed"), values={"amount": 0.0})
    plain = render_array(plain_rig, guitar, RATE)[: len(guitar)]
    assert snr_db(guitar, plain) > 60.0
    assert np.isfinite(quiet).all()


def bell(seconds: float = 3.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A dull hum under slow swells: as far from the reed as can be."""
    time = np.arange(int(seconds * RATE)) / RATE
    swell = 0.2 + np.sin(np.pi * time / 1.5) ** 2
    sound = swell * (np.sin(2.0 * np.pi * 110.0 * time) + 0.4 * np.sin(2.0 * np.pi * 165.0 * time))
    noise = 1e-4 * np.random.default_rng(12).standard_normal(len(time))
    return np.asarray(0.1 * sound + noise, dtype=np.float32)


def request_for(folder: Path, **changes: Any) -> ForgeRequest:
    soundfile.write(folder / "reed.wav", reed(), RATE)
    soundfile.write(folder / "bell.wav", bell(), RATE)
    phrase = demo_phrase(RATE)[: 2 * RATE]
    both = sources([folder / "reed.wav", folder / "bell.wav"], "pair", apart=True)
    return replace(ForgeRequest(both, "pair", steps=8, config=SMALL, judges={"phrase": phrase}), **changes)


def test_a_family_holds_its_styles_apart_and_what_lies_between(tmp_path: Path) -> None:
    request = request_for(tmp_path)
    library = Library(tmp_path / "presets", tmp_path / "none")
    forged = forge(request, library)
    guitar = request.judges["phrase"]
    assert forged.entry.read().slots[0].values == {"amount": SMALL.played, "reed": 1.0, "bell": 0.0}
    targets = [measures.StyleTarget(clip, RATE) for clip in (reed(), bell())]
    distances = []
    for weights in ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0)):
        values = {"slot/1/reed": weights[0], "slot/1/bell": weights[1]}
        output = render_array(load_rig(forged.entry, values=values), guitar, RATE)[: len(guitar)]
        distances.append([target.distances(output)[0] for target in targets])
    reeds, bells = np.transpose(distances)
    assert reeds[0] < reeds[2]
    assert bells[2] < bells[0]
    assert reeds[1] < reeds[2]
    assert bells[1] < bells[0]
    assert set(forged.measured) == {"reed", "bell"}


def test_a_style_is_as_loud_as_the_guitar_at_the_amount_that_it_is_played_at(tmp_path: Path) -> None:
    """Through the engine, on the playing that the levels were set by."""
    library = Library(tmp_path / "presets", tmp_path / "none")
    entry = forge(request_for(tmp_path), library).entry
    lengths = (SMALL.plain_seconds, SMALL.run_in_seconds)
    pieces = content_pieces(SMALL.plain_pieces, *lengths, RATE, seed=2, chances=UNALTERED)
    start = round(SMALL.run_in_seconds * RATE) + COLD_SAMPLES
    for style, other in (("reed", "bell"), ("bell", "reed")):
        rig = load_rig(entry, values={f"slot/1/{style}": 1.0, f"slot/1/{other}": 0.0})
        gains_db = []
        for piece in pieces:
            output = render_array(rig, piece, RATE)[: len(piece)]
            gains_db.append(10.0 * np.log10(np.mean(output[start:] ** 2) / np.mean(piece[start:] ** 2)))
        assert np.mean(gains_db) == pytest.approx(0.0, abs=0.3)


def test_a_stopped_forging_keeps_its_best_and_goes_on_where_it_was(tmp_path: Path) -> None:
    library = Library(tmp_path / "presets", tmp_path / "none")

    def stop(progress: Progress) -> None:
        if progress.step == 7:
            raise KeyboardInterrupt

    stopped = forge(request_for(tmp_path), library, report=stop)
    assert len(stopped.history) == 7
    assert any("--resume" in notice for notice in stopped.notices)
    assert library.find("pair") == stopped.entry
    steps: list[int] = []
    resumed = forge(
        request_for(tmp_path, resume=True), library, force=True, report=lambda progress: steps.append(progress.step)
    )
    # The last check before the stop was after 6 steps.
    assert steps[0] == 7
    assert len(resumed.history) == 8
    straight = forge(request_for(tmp_path, name="straight"), library)
    assert resumed.history[-1]["total"] == pytest.approx(straight.history[-1]["total"], rel=1e-3)
    forge(request_for(tmp_path), library, force=True, report=stop)
    with pytest.raises(DuendeError, match="other recordings or settings"):
        forge(request_for(tmp_path, resume=True, seed=9), library, force=True)


def test_the_time_allowed_is_kept(tmp_path: Path) -> None:
    """With no time left after the content, the least training is done; the clock itself is not measured."""
    library = Library(tmp_path / "presets", tmp_path / "none")
    told: list[Progress] = []
    forged = forge(request_for(tmp_path, steps=5000, minutes=0.2), library, report=told.append)
    assert 1 <= len(told) < 5000
    assert told[-1].steps < 5000
    assert f"the time was over after {len(told)} of 5000 steps" in forged.notices[0]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"device": "cuda"}, "'cuda' is not to be had"),
    ({"minutes": 0.01}, "0.2 to 600"),
    ({"name": "A b"}, "lower-case"),
    ({"styles": ()}, "1 to 8"),
    ({"styles": sources([Path("a.wav"), Path("b/a.wav")], "x", apart=True)}, "two styles are called 'a'"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_what_cannot_work_is_said_before_any_work(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DuendeError, match=words) as caught:
        forge(request_for(tmp_path, **change), Library(tmp_path / "presets", tmp_path / "none"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "presets").exists()


def test_too_little_memory_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duende.export.forge.memory_free", lambda: 0.5 * 2**30)
    with pytest.raises(DuendeError, match=r"1\.\d GiB of memory are needed and 0\.5 are free"):
        forge(request_for(tmp_path), Library(tmp_path / "presets", tmp_path / "none"))


def test_content_that_is_the_style_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    soundfile.write(tmp_path / "mine" / "take.wav", 0.5 * reed(), RATE)
    with pytest.raises(DuendeError, match="nothing but the style itself"):
        forge(request_for(tmp_path, content=tmp_path / "mine"), Library(tmp_path / "presets", tmp_path / "none"))


def test_clipped_recordings_are_mentioned(tmp_path: Path) -> None:
    from duende.export.forge import _flaws

    loud = np.clip(20.0 * reed(), -1.0, 1.0).astype(np.float32)
    assert _flaws(Path("a.wav"), reed()) == []
    assert "clipped" in _flaws(Path("a.wav"), loud)[0]


def test_several_recordings_are_one_style(tmp_path: Path) -> None:
    quiet, loud = 0.01 * reed(1.5), reed(1.5)[::-1]
    both = pooled([quiet, loud])
    assert len(both) == len(quiet) + len(loud)
    halves = [np.sqrt(np.mean(part**2)) for part in (both[: len(quiet)], both[len(quiet) :])]
    assert halves == pytest.approx([0.1, 0.1], rel=1e-3)


def test_the_body_is_the_spectrum_of_the_clip_without_its_lines() -> None:
    clip = reed()
    curve = style_body(clip, RATE, octaves=0.1)
    sharp = style_body(clip, RATE, octaves=0.0)
    hz = np.linspace(0.0, 24000.0, len(curve))
    band = (hz > 800.0) & (hz < 5000.0)
    assert np.abs(np.diff(curve[band])).max() < 0.2 * np.abs(np.diff(sharp[band])).max()
    # It falls as the harmonics do, by 0.7 x log frequency, less the odd ones' growing density on a log axis.
    slope = np.polyfit(np.log(hz[band]), curve[band], 1)[0]
    assert -1.2 < slope < -0.4
    assert np.mean(np.exp(2.0 * curve)) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(3 * RATE, dtype=np.float32), "silent"),
        (reed(0.5), "0.50 s long"),
        (np.full(2 * RATE, np.nan, dtype=np.float32), "not numbers"),
    ],
)
def test_what_no_style_can_be_made_from(
    tmp_path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float32]], words: str
) -> None:
    path = tmp_path / "style.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    with pytest.raises(DuendeError, match=words) as caught:
        load_sound(path, RATE)
    assert "\n" not in str(caught.value)


def test_a_style_that_is_no_sound_file(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match="no such file"):
        load_sound(tmp_path / "none.wav", RATE)
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(DuendeError, match="not a readable sound file"):
        load_sound(tmp_path / "text.wav", RATE)


def test_any_rate_and_stereo_become_mono_at_the_engines_rate(tmp_path: Path) -> None:
    clip = reed(2.0)
    soundfile.write(tmp_path / "s.flac", np.stack([clip, clip], axis=1)[::2], RATE // 2)
    loaded = load_sound(tmp_path / "s.flac", RATE)
    assert loaded.shape == (2 * RATE,)


def test_who_listens_hears_the_student_and_changes_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "reed.wav", reed(), RATE)
    guitar = demo_phrase(RATE)[: 3 * RATE]
    made = []
    for listen in (False, True):
        heard: list[Progress] = []
        request = ForgeRequest(
            sources([tmp_path / "reed.wav"], "reed", apart=False), "reed", steps=24, config=SMALL, judges={"p": guitar}
        )
        library = Library(tmp_path / f"presets{listen}", tmp_path / "none")
        forged = forge(request, library, report=heard.append, listen=listen)
        sounds = {one.step: one.sound for one in heard if one.sound is not None}
        assert list(sounds) == ([1, 21] if listen else [])
        for sound in sounds.values():
            assert sound.dtype == np.float32
            assert sound.ndim == 1
            assert len(sound) > RATE // 2
            assert float(np.abs(sound).max()) > 1e-3
        made.append(forged.history)
    assert made[0] == made[1]


class SlowSystem(PlainSystem):
    """Forecasts so many seconds for a piece of SMALL, and twice as many for longer sounds; takes none."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def cost(self, content: int, styles: int, settings: PlainSettings) -> Cost:
        piece = (SMALL.seconds + 0.5) * settings.sample_rate
        return Cost(self._seconds * (1.0 if content < piece else 2.0), 1000)


@pytest.mark.parametrize(
    ("seconds", "played", "asked"),
    [(1.0, 6, True), (20.0, 4, False), (500.0, 2, False)],
)
def test_a_slow_teacher_plays_fewer_pieces_and_is_not_asked_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, played: int, asked: bool
) -> None:
    """100 s are left: 40 of them for 6 pieces, two at a time; 20 for the phrase, which takes as long as two pieces."""
    monkeypatch.setenv(INSIDE, "1")
    system = SlowSystem(seconds)
    said: list[str] = []
    reserved: list[float] = []

    def left(request: ForgeRequest, started: float, asking: float = 0.0) -> float:
        reserved.append(asking)
        return 100.0

    monkeypatch.setattr("duende.export.forge._seconds_left", left)
    request = request_for(tmp_path, teacher="plain", judges={"phrase": demo_phrase(RATE)[: 3 * RATE]}, steps=4)
    request = replace(request, styles=sources([tmp_path / "reed.wav"], "pair", apart=False))
    with registered(system, monkeypatch):
        forged = forge(request, Library(tmp_path / "presets", tmp_path / "none"), say=said.append)
    assert len(system.jobs) == played + asked
    assert f"the teacher plays {played} pieces: about {duration(played * seconds / 2.0)}" in said
    notices = " ".join(forged.notices)
    assert (f"played {played} of 6 pieces" in notices) == (played < 6)
    assert ("of what the plain teacher gains" in notices) == asked
    assert ("was not measured: plain needs" in notices) == (not asked)
    assert set(reserved[1:]) == {2.0 * seconds if asked else 0.0}


@pytest.mark.parametrize(
    ("seconds", "asked", "apart", "allowed"),
    [(2.0, None, False, 3.0), (60.0, None, False, 4.0), (60.0, None, True, 8.0), (60.0, 2.5, False, 2.5)],
)
def test_a_slow_teacher_is_given_the_time_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, asked: float | None, apart: bool, allowed: float
) -> None:
    """60 s for a piece: 60 s for two of them at a time, in two fifths of 150 s, beside hearing and measuring."""
    request = request_for(tmp_path, teacher="plain", steps=None, minutes=asked)
    if not apart:
        request = replace(request, styles=request.styles[:1])
    styles = [StyleClip(source.name, reed()) for source in request.styles]
    with registered(SlowSystem(seconds), monkeypatch):
        assert minutes_allowed(request, styles) == allowed
        assert minutes_allowed(replace(request, minutes=None, steps=9), styles) is None


def test_a_teacher_that_is_too_slow_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, system = Library(tmp_path / "presets", tmp_path / "none"), SlowSystem(60.0)
    request = request_for(tmp_path, teacher="plain", minutes=2.4)
    request = replace(request, styles=request.styles[:1])
    with (
        registered(system, monkeypatch),
        pytest.raises(DuendeError, match=r"about 60 s for 2 pieces.*2\.4: allow 4, or"),
    ):
        forge(request, library)
    assert not system.jobs
    assert not library.own.exists()
