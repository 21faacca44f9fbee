"""A distillation of a few seconds must bring a guitar that it never heard nearer to the style."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from signals import snr_db

torch = pytest.importorskip("torch")

from duende import DuendeError  # noqa: E402
from duende.engine.preset import load_rig  # noqa: E402
from duende.engine.render import render_array  # noqa: E402
from duende.export import measures  # noqa: E402
from duende.export.distill import DistillConfig  # noqa: E402
from duende.export.forge import ForgeRequest, forge, load_style, sources  # noqa: E402
from duende.export.pluck import demo_phrase  # noqa: E402
from duende.export.style import style_body  # noqa: E402
from duende.presets.library import Library  # noqa: E402

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
    pieces=8, seconds=1.6, run_in_seconds=1.0, steps=24, warm_up=4, average=0.8, filter_banks=3, check_every=12
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
    assert spec_quality.slots[0].model == "reed.onnx"
    assert (library.own / "reed.png").is_file()
    with pytest.raises(DuendeError, match="--force"):
        forge(request, library)
    quiet = render_array(load_rig(library.find("reed")), guitar, RATE)
    plain_rig = load_rig(library.find("reed"), values={"amount": 0.0})
    plain = render_array(plain_rig, guitar, RATE)[: len(guitar)]
    assert snr_db(guitar, plain) > 60.0
    assert np.isfinite(quiet).all()


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
        load_style(path, RATE)
    assert "\n" not in str(caught.value)


def test_a_style_that_is_no_sound_file(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match="no such file"):
        load_style(tmp_path / "none.wav", RATE)
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(DuendeError, match="not a readable sound file"):
        load_style(tmp_path / "text.wav", RATE)


def test_any_rate_and_stereo_become_mono_at_the_engines_rate(tmp_path: Path) -> None:
    clip = reed(2.0)
    soundfile.write(tmp_path / "s.flac", np.stack([clip, clip], axis=1)[::2], RATE // 2)
    loaded = load_style(tmp_path / "s.flac", RATE)
    assert loaded.shape == (2 * RATE,)
