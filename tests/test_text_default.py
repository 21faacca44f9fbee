"""The embedded default: what it makes of words, without torch, and what its training and its files must be."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from duende import DuendeError
from duende.__main__ import app
from duende.export.provenance import read_provenance
from duende.export.text.account import follows, sounds_judged, told
from duende.export.text.backend import About, Report, Sound, open_backend
from duende.export.text.models import DECODER, FOLDER, LISTENER, Listener, open_decoder
from duende.export.text.nsynth import make_nsynth
from duende.export.text.phrase import PITCHES, phrase
from duende.export.text.sfz import write_instrument
from duende.export.text.synthesis import drawn_instruments
from duende.export.text.vocabulary import FAMILIES, SOURCES, prompt_of

ABOUT = About("test", "MIT", "here", 0, 0.0, 1.0)


def quiet(done: int, total: int, doing: str) -> None:
    """Says nothing."""


def made(prompt: str, seed: int = 1, seconds: float = 4.0, **settings: str) -> Sound:
    return open_backend("default").make(prompt, seed, seconds, settings, quiet)


def test_a_sound_is_the_same_again_and_another_for_another_seed() -> None:
    first, again, other = made("acoustic guitar"), made("acoustic guitar"), made("acoustic guitar", seed=2)
    assert first.sample_rate == 48000
    assert first.audio.shape == (4 * 48000,)
    assert first.audio.dtype == np.float32
    assert np.array_equal(first.audio, again.audio)
    assert np.abs(first.audio - other.audio).max() > 0.05
    assert 0.3 < np.abs(first.audio).max() < 1.0


@pytest.mark.parametrize("seconds", [0.25, 1.5, 9.0])
def test_a_sound_is_as_long_as_asked_and_ends_in_silence(seconds: float) -> None:
    sound = made("organ", seconds=seconds)
    assert len(sound.audio) == round(48000 * seconds)
    assert np.isfinite(sound.audio).all()
    assert abs(sound.audio[-1]) < 1e-3


def test_a_note_that_decays_leaves_no_bed_of_noise() -> None:
    for family in ("mallet", "guitar", "keyboard"):
        audio = made(f"acoustic fast_decay {family}").audio
        end = np.sqrt(np.mean(audio[int(3.4 * 48000) :].astype(np.float64) ** 2))
        assert end < 1e-4 * np.abs(audio).max()


def test_the_pitch_is_the_one_that_was_asked_for() -> None:
    for pitch, hz in ((45, 110.0), (69, 440.0)):
        audio = made("synthetic organ", pitch=str(pitch)).audio[4800:148800]
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
        comb = [sum(spectrum[round(n * f * 3.0)] for n in range(1, 9)) for f in (0.84 * hz, hz, 1.19 * hz)]
        assert comb[1] > 20.0 * max(comb[0], comb[2])


@pytest.mark.parametrize("word", ["bright", "dark", "fast_decay", "distortion", "long_release"])
def test_the_sound_follows_the_word(word: str) -> None:
    found = follows(open_backend("default"), word, pairs=4)
    assert found.right >= 0.75
    assert found.median > 1.15 if found.rises else found.median < 0.85


def test_the_listener_tells_instruments_that_it_never_heard() -> None:
    instruments = drawn_instruments(44, 4242, FAMILIES, SOURCES)
    judged = sounds_judged([(one.play(60, 100, 16000), 16000) for one in instruments], Listener())
    rows = {
        row.what: row for row in told(judged, [prompt_of(one.source, one.qualities, one.family) for one in instruments])
    }
    assert rows["family"].low > 2.0 * rows["family"].chance
    assert rows["fast_decay (rank)"].share > 0.9


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from duende.export.text.backend import open_backend\n"
        "open_backend('default').make('flute', 1, 0.5, {}, lambda a, b, c: None)\n"
        "assert not {'torch', 'librosa', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"pitch": "200"}, "28 to 96"), ({"pitch": "high"}, "pitch = 'high'"), ({"speed": "1"}, "no setting 'speed'")],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(DuendeError, match=said):
        open_backend("default").make("flute", 1, 4.0, settings, quiet)


def test_files_that_are_no_models_or_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match=r"decoder\.onnx is missing"):
        open_backend("default", str(tmp_path))
    (tmp_path / DECODER).write_bytes(b"not a model")
    with pytest.raises(DuendeError, match="no ONNX model"):
        open_backend("default", str(tmp_path)).make("flute", 1, 1.0, {}, quiet)
    other = tmp_path / "other"
    other.mkdir()
    (other / DECODER).write_bytes((FOLDER / LISTENER).read_bytes())
    with pytest.raises(DuendeError, match="another version, or another model"):
        open_decoder(other)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20_000_000


class Pitched:
    """A backend that plays a plain sine, quickly."""

    name = "pitched"
    about = ABOUT
    plays_pitches = True

    def __init__(self, weights: str | None = None) -> None:
        self.asked: list[tuple[int, dict[str, str]]] = []

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        self.asked.append((seed, dict(settings)))
        hz = 440.0 * 2.0 ** ((int(settings.get("pitch", "57")) - 69) / 12.0)
        return Sound(np.sin(2.0 * np.pi * hz * np.arange(4800) / 16000).astype(np.float32), 16000, ["told once"])


class Fixed(Pitched):
    """One that cannot be told a pitch."""

    name = "fixed"
    plays_pitches = False


def test_an_instrument_answers_every_key_at_every_velocity_once(tmp_path: Path) -> None:
    file, count, said = write_instrument(Pitched(), "organ", 3, 1.0, {}, tmp_path / "organ", report=quiet)
    answered = np.zeros((128, 128), dtype=int)
    for line in file.read_text().splitlines():
        if line.startswith("<region>"):
            region = dict(pair.split("=") for pair in line.split()[1:])
            path = tmp_path / "organ" / region["sample"]
            origin = read_provenance(path)
            assert origin is not None
            assert origin.sources[0].name == "organ"
            low, high, soft, loud = (int(region[key]) for key in ("lokey", "hikey", "lovel", "hivel"))
            assert low <= int(region["pitch_keycenter"]) <= high
            answered[low : high + 1, soft : loud + 1] += 1
    assert (answered[:, 1:] == 1).all()
    assert count == len(list((tmp_path / "organ").glob("*.wav")))
    assert said == ["told once"]
    with pytest.raises(DuendeError, match="--force"):
        write_instrument(Pitched(), "organ", 3, 1.0, {}, tmp_path / "organ", report=quiet)
    with pytest.raises(DuendeError, match="cannot be told a pitch"):
        write_instrument(Fixed(), "organ", 3, 1.0, {}, tmp_path / "fixed", report=quiet)


def test_a_style_clip_is_several_notes_of_one_timbre_or_several_draws() -> None:
    pitched, fixed = Pitched(), Fixed()
    sound = phrase(pitched, "organ", 3, {}, quiet)
    assert [(seed, int(values["pitch"])) for seed, values in pitched.asked] == [(3, pitch) for pitch in PITCHES]
    assert sound.sample_rate == 48000
    assert len(sound.audio) == pytest.approx(len(PITCHES) * 14400, rel=0.01)
    phrase(fixed, "organ", 3, {}, quiet)
    assert [seed for seed, _ in fixed.asked] == [3, 4, 5, 6]


def test_the_command_writes_a_sound_that_says_what_it_is(tmp_path: Path) -> None:
    run = CliRunner().invoke
    target = tmp_path / "sound.wav"
    words = "synthetic distortion fast_decay keyboard"
    done = run(app, ["prompt", words, "-o", str(target), "--seed", "5", "--seconds", "1.5", "--licence", "CC0-1.0"])
    assert done.exit_code == 0, done.output
    origin = read_provenance(target)
    assert origin is not None
    assert (origin.what, origin.system, origin.seed) == ("synthetic: text to sound", "text default", 5)
    assert origin.sources[0].role == "prompt"
    assert origin.sources[0].name == words
    assert "1.50 s at 48000 Hz" in done.output
    for wrong, said in (
        (["prompt", "flute"], "give -o"),
        (["prompt", "flute", "-o", "x.txt"], "x.txt"),
        (["prompt", " ", "-o", str(target)], "empty"),
        (["prompt", "zzz", "-o", str(target)], "not one word"),
        (["prompt", "flute", "-o", str(target), "--backend", "nonesuch"], "choose one of"),
    ):
        failed = run(app, wrong)
        assert isinstance(failed.exception, DuendeError)
        assert said in str(failed.exception)


@pytest.mark.train
def test_training_lowers_the_loss_and_writes_what_the_backend_plays(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from duende.export.text.learn import LearnConfig, examples_of, learn, train_decoder

    data = make_nsynth(tmp_path / "set", instruments=11, notes=1, seed=8)
    (tmp_path / "set" / "audio" / f"{data.part('train')[0].name}.wav").unlink()
    examples, skipped = examples_of(data.part("train"), quiet)
    assert len(skipped) == 1
    _, losses = train_decoder(examples, LearnConfig(decoder_steps=30, batch=8), quiet)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    learn(data, tmp_path / "weights", LearnConfig(listener_steps=5, decoder_steps=10, batch=8), quiet)
    sound = open_backend("default", str(tmp_path / "weights")).make("flute", 1, 0.5, {}, quiet)
    assert np.abs(sound.audio).max() > 0.3
    assert np.isfinite(Listener(tmp_path / "weights").judged(examples.features)).all()
