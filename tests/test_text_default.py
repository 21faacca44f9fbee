"""The embedded default: what it makes of words, without torch, and what its training and its files must be."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from duende import DuendeError
from duende.commands.app import app
from duende.export.provenance import read_provenance
from duende.export.text.account import follows, sounding, sounds_judged, told
from duende.export.text.backend import About, Report, Sound, open_backend
from duende.export.text.default import instrument_of
from duende.export.text.features import features_of
from duende.export.text.models import DECODER, FOLDER, LISTENER, Listener, Player
from duende.export.text.nsynth import make_nsynth
from duende.export.text.phrase import PITCHES, phrase
from duende.export.text.sfz import write_instrument
from duende.export.text.vocabulary import FAMILIES, SOURCES, WORDS, understand

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


@pytest.mark.parametrize("family", ["guitar", "flute", "reed", "string"])
def test_a_note_is_in_tune_and_begins_without_a_click(family: str) -> None:
    for pitch, hz in ((57, 220.0), (69, 440.0)):
        sound = made(f"acoustic {family}", seed=3, pitch=str(pitch))
        one = sounding(sound.audio, sound.sample_rate, hz)
        assert abs(one.cents) < 6.0
        assert one.bed_db < -20.0
        assert one.rest_db < -40.0
        assert np.abs(sound.audio[:10]).max() < 0.02


def test_a_seed_is_one_instrument_at_every_pitch_and_variety_spreads_it() -> None:
    player, words = Player(), understand("acoustic guitar").vector

    def drawn(seed: int, variety: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return instrument_of(player, words, variety, np.random.default_rng(seed))

    typical = drawn(1, 0.0)
    assert np.array_equal(drawn(1, 0.0), drawn(2, 0.0))
    assert np.linalg.norm(drawn(1) - drawn(2)) > 0.1
    wider = [np.linalg.norm(drawn(1, variety) - typical) for variety in (0.5, 1.0, 2.0)]
    assert wider == pytest.approx([0.5 * wider[1], wider[1], 2.0 * wider[1]], rel=1e-3)
    guitars = player.known[player.named[:, WORDS.index("guitar")] > 0.5]
    away = np.linalg.norm(player.known - drawn(1), axis=1)
    assert away[player.named[:, WORDS.index("guitar")] > 0.5].min() == away.min()
    assert len(guitars) > 5


def test_two_families_are_mixed_and_none_is_any() -> None:
    player = Player()
    both = instrument_of(player, understand("acoustic flute string").vector, 0.0, np.random.default_rng(1))
    each = [
        instrument_of(player, understand(f"acoustic {one}").vector, 0.0, np.random.default_rng(1))
        for one in ("flute", "string")
    ]
    assert both == pytest.approx(np.mean(each, axis=0), abs=1e-5)
    anything = [
        instrument_of(player, understand("bright").vector, 0.0, np.random.default_rng(seed)) for seed in range(8)
    ]
    assert len({tuple(one.round(3)) for one in anything}) > 2


@pytest.mark.parametrize("word", ["bright", "dark", "fast_decay", "distortion", "long_release"])
def test_the_sound_follows_the_word(word: str) -> None:
    found = follows(open_backend("default"), word, pairs=3)
    assert found.right > 0.6
    assert found.median > 1.15 if found.rises else found.median < 0.85


def test_the_listener_tells_what_is_made_from_what_is_meant() -> None:
    prompts = [f"{SOURCES[place % 3]} {family}" for place, family in enumerate(FAMILIES[:9])]
    prompts += [f"acoustic {family}" for family in ("guitar", "keyboard", "vocal", "organ")] + ["synthetic synth_lead"]
    sounds = [made(prompt, seed=7, pitch="40" if "bass" in prompt else "60") for prompt in prompts]
    heard = [(one.audio, one.sample_rate) for one in sounds]
    rows = {row.what: row for row in told(sounds_judged(heard, Listener()), prompts)}
    assert rows["family"].low > 2.0 * rows["family"].chance
    listener = Listener()
    alike = (
        listener.heard(np.stack([features_of(*one) for one in heard]))
        @ listener.meant(np.stack([understand(prompt).vector for prompt in prompts])).T
    )
    own = alike.diagonal()
    assert own.mean() > 0.25
    assert own.mean() > alike.mean() + 0.2


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
        Player(other)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20_000_000
    assert "Frank Wen" in (FOLDER / "LICENCE-FluidR3.txt").read_text()


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
    with soundfile.SoundFile(target) as file:
        assert file.title == "text to sound (text default)"
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
    from duende.export.text.learn import LearnConfig, examples_of, known_instruments, learn, train_decoder

    data = make_nsynth(tmp_path / "set", instruments=11, notes=1, seed=8)
    (tmp_path / "set" / "audio" / f"{data.part('train')[0].name}.wav").unlink()
    examples, skipped = examples_of(data.part("train"), quiet)
    assert len(skipped) == 1
    decoder, losses = train_decoder(examples, LearnConfig(decoder_steps=30, batch=8), quiet)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    known, named = known_instruments(decoder, examples)
    assert len(known) == len({note.instrument for note in data.part("train")[1:]})
    assert (named[:, : len(SOURCES)].sum(axis=1) == 1.0).all()
    learn(data, tmp_path / "weights", LearnConfig(listener_steps=5, decoder_steps=10, batch=8), quiet)
    sound = open_backend("default", str(tmp_path / "weights")).make("flute", 1, 0.5, {}, quiet)
    assert np.abs(sound.audio).max() > 0.3
    assert np.isfinite(Listener(tmp_path / "weights").judged(examples.features)).all()
