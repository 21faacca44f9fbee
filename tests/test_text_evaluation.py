"""The table of text-to-sound systems: what is near the references scores so, silence is left out, chance is beside."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from duende import DuendeError
from duende.export.text import evaluation
from duende.export.text.backend import About, Report, Sound
from duende.export.text.evaluation import Entry, chosen, entries, evaluate_text, mean_interval, word_divergence
from duende.export.text.features import features_of
from duende.export.text.vocabulary import WORDS, vector_of

Float32 = npt.NDArray[np.float32]

RATE = 16000
PROMPTS = ("acoustic bright guitar", "electronic dark bass", "synthetic organ")


def tone(prompt: str, seed: int, seconds: float) -> Float32:
    """Of a pitch that its words decide and a level that moves; a little noise from the seed."""
    hertz = 150.0 * (1.0 + int(vector_of(prompt.split()) @ np.arange(len(WORDS)))) % 3000.0 + 100.0
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time))
    wave = np.sin(2.0 * np.pi * hertz * time) * (1.0 + 0.5 * np.sin(2.0 * np.pi * 6.0 * time)) + 0.02 * noise
    return np.asarray(0.2 * wave, dtype=np.float32)


@dataclass(frozen=True)
class Reference:
    name: str
    prompt: str
    path: Path

    def audio(self) -> tuple[Float32, int]:
        samples, rate = soundfile.read(self.path, dtype="float32")
        return samples, rate


class Maker:
    """Tones as the references have them, or noise that has nothing to do with them, or silence now and then."""

    about = About("a maker of tests", "MIT", "here", 0, 0.0, 2.0)

    def __init__(self, weights: str | None = None, *, name: str = "maker", how: str = "like", quiet: int = 0) -> None:
        self.name, self._how, self._quiet, self.count = name, how, quiet, 0

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        self.count += 1
        if self.count <= self._quiet:
            return Sound(np.zeros(round(seconds * RATE), dtype=np.float32), RATE)
        if self._how == "like":
            return Sound(tone(prompt, seed, seconds), RATE)
        noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
        return Sound(np.asarray(0.1 * noise, dtype=np.float32), RATE)

    def parameters(self) -> int:
        return 1234567


class Ear:
    """Hears which of the prompts' tones a sound is nearest to, from features alone."""

    def __init__(self, references: list[Reference]) -> None:
        self._known = np.stack([features_of(*one.audio()) for one in references])
        self._words = np.stack([vector_of(one.prompt.split()) for one in references])

    def _nearest(self, features: Float32) -> Float32:
        apart = ((features[:, None] - self._known[None]) ** 2).sum(axis=2)
        return np.asarray(self._words[apart.argmin(axis=1)])

    def judged(self, features: Float32) -> Float32:
        return np.asarray(6.0 * self._nearest(features) - 3.0, dtype=np.float32)

    def heard(self, features: Float32) -> Float32:
        return self.meant(self._nearest(features))

    def meant(self, words: Float32) -> Float32:
        return np.asarray(words / np.linalg.norm(words, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def references(tmp_path: Path) -> list[Reference]:
    found = []
    for number in range(6):
        prompt = PROMPTS[number % 3]
        path = tmp_path / "references" / f"note-{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone(prompt, 100 + number, 2.0), RATE)
        found.append(Reference(f"note-{number}", prompt, path))
    return found


def test_what_is_like_the_references_is_nearer_than_noise(references: list[Reference], tmp_path: Path) -> None:
    table = [Entry(Maker(), {}), Entry(Maker(name="noise", how="noise"), {})]
    told: list[tuple[int, int, str]] = []
    found = evaluate_text(
        references,
        table,
        tmp_path / "sounds",
        Ear(references),
        seeds=(1, 2),
        seconds=2.0,
        rounds=20,
        report=lambda done, total, what: told.append((done, total, what)),
    )
    like, noise = found.rows
    assert (like.n, like.silent, like.parameters) == (12, 0, 1234567)
    assert like.frechet.value < 0.2 * noise.frechet.value
    assert like.kernel.value < noise.kernel.value
    assert like.kl.value < 0.1 < noise.kl.value
    assert like.relevance.value == pytest.approx(1.0)
    assert like.chance.value < 0.5
    assert like.frechet.low <= like.frechet.high
    assert like.fad is None
    assert told[-1] == (24, 24, "noise")
    assert len(list((tmp_path / "sounds" / "00-maker").iterdir())) == 12
    (first, _) = evaluation.shown(found)
    assert len(first) == len(evaluation.HEAD)
    assert first[:5] == ("maker", "1.2 M", "-", "-", "12")
    plain = evaluation.as_json(found)
    assert plain["rows"][0]["n"] == 12
    assert plain["rows"][0]["quality"] is None
    assert plain["embedding"] == "duende texture statistics 1 (68)"


def test_silence_is_counted_and_judged_by_nothing(references: list[Reference], tmp_path: Path) -> None:
    found = evaluate_text(references, [Entry(Maker(quiet=2), {})], tmp_path, Ear(references), seconds=2.0, rounds=0)
    assert (found.rows[0].n, found.rows[0].silent) == (4, 2)
    assert found.rows[0].relevance.value == pytest.approx(1.0)
    assert evaluation.shown(found)[0][4] == "4 (2 silent)"
    with pytest.raises(DuendeError, match="6 of 6 sounds are silent"):
        evaluate_text(references, [Entry(Maker(quiet=99), {})], tmp_path, Ear(references), seconds=2.0)


def test_sweeps_give_a_row_for_each_pair_to_systems_that_take_them() -> None:
    swept = entries(Maker(name="audio-diffusion"), [20, 100], [1.0, 3.0])
    assert [dict(one.settings) for one in swept] == [
        {"steps": "20", "guidance": "1"},
        {"steps": "20", "guidance": "3"},
        {"steps": "100", "guidance": "1"},
        {"steps": "100", "guidance": "3"},
    ]
    assert [dict(one.settings) for one in entries(Maker(name="tango"), [], [])] == [{}]
    assert [dict(one.settings) for one in entries(Maker(name="default"), [20, 100], [])] == [{}]


def test_divergence_and_intervals() -> None:
    same = np.array([[2.0, -2.0]], dtype=np.float32)
    assert word_divergence(same, same)[0] == pytest.approx(0.0)
    p, q = 1.0 / (1.0 + np.exp(-2.0)), 1.0 / (1.0 + np.exp(2.0))
    one_word = word_divergence(np.array([[2.0]], np.float32), np.array([[-2.0]], np.float32))[0]
    assert one_word == pytest.approx(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    found = mean_interval(np.arange(100.0), 500)
    assert found.value == pytest.approx(49.5)
    assert found.low == pytest.approx(49.5 - 1.96 * 28.9 / 10.0, abs=1.5)
    assert found.high == pytest.approx(49.5 + 1.96 * 28.9 / 10.0, abs=1.5)
    assert np.isnan(mean_interval(np.arange(2.0), 500).low)


def test_references_are_drawn_once(references: list[Reference]) -> None:
    assert chosen(references, 4, 1) == chosen(references, 4, 1)
    assert len({one.name for one in chosen(references, 4, 1)}) == 4
    with pytest.raises(DuendeError, match="2 held-out sounds"):
        chosen(references[:2], 4, 1)


def test_numbers_out_of_range(references: list[Reference], tmp_path: Path) -> None:
    for seconds in (0.5, 31.0):
        with pytest.raises(DuendeError, match="--seconds"):
            evaluate_text(references, [Entry(Maker(), {})], tmp_path, Ear(references), seconds=seconds)
    with pytest.raises(DuendeError, match="sounds to make"):
        evaluate_text(references, [Entry(Maker(), {})], tmp_path, Ear(references), seeds=tuple(range(1000)))


def test_the_published_table_is_complete() -> None:
    rows = evaluation.published()
    assert len(rows) == 7
    assert rows[0] == ("ChopAN", "2.3 M", "55.99", "1.19", "7.66", "41.87", "28.59")
    assert rows[-1][-1] == "69"


def test_the_command_prints_the_table_and_writes_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from duende import __main__
    from duende.export.text.nsynth import make_nsynth

    make_nsynth(tmp_path / "notes", instruments=4, notes=1, seed=3)
    words = ["evaluate", "text", str(tmp_path / "notes"), "--n", "4", "--split", "all", "--seconds", "2", "--published"]
    monkeypatch.setattr(sys, "argv", ["duende", *words, "--json", str(tmp_path / "figures.json")])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code in (0, None), capsys.readouterr().err
    said = capsys.readouterr().out
    assert "4 notes (all), seeds 1, 2 s each" in said
    assert "TANGO, fine-tuned" in said
    (row,) = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert (row["model"], row["n"]) == ("default", 4)
    assert -1.0 <= row["relevance"]["value"] <= 1.0
