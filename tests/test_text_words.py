"""From a sentence to words, and what every text-to-sound backend refuses."""

from pathlib import Path

import pytest

from duende import DuendeError
from duende.export.text import backend as contract
from duende.export.text.backend import check_request, open_backend
from duende.export.text.made import settings_of
from duende.export.text.vocabulary import ALIASES, WORDS, prompt_of, understand, understand_some
from duende.export.text.weights import Weights

WEIGHTS = Weights("tiny", "someone/tiny", "MIT", 5_000_000_000, ("unet/model.safetensors", "config.json"))


def test_a_sentence_gives_words_in_one_order_whatever_its_form() -> None:
    assert understand("A WARM, distorted electric guitar with reverb!").words == (
        "electronic",
        "guitar",
        "dark",
        "distortion",
        "reverb",
    )
    assert understand("synth lead, tempo synced").words == ("synth_lead", "tempo-synced")
    assert understand("fast decay violins").words == ("string", "fast_decay")
    meaning = understand(prompt_of("synthetic", ("distortion", "fast_decay"), "keyboard"))
    assert meaning.words == ("synthetic", "keyboard", "distortion", "fast_decay")
    assert meaning.vector.sum() == 4.0
    assert meaning.vector[WORDS.index("fast_decay")] == 1.0
    assert all(word in WORDS for word in ALIASES.values())


def test_unknown_words_are_named_with_a_guess_and_counted() -> None:
    meaning = understand("brigth keyboard " + " ".join(f"zz{number}" for number in range(30)))
    assert meaning.words == ("keyboard",)
    (line,) = meaning.notices
    assert "'brigth' (bright?)" in line
    assert "23 more" in line
    with pytest.raises(DuendeError, match=r"not one word of the prompt is known \(guitar\?\)"):
        understand_some("guitarr")


@pytest.mark.parametrize(
    ("prompt", "seed", "seconds", "said"),
    [
        ("  \n ", 1, 1.0, "empty"),
        ("keyboard " * 1200, 1, 1.0, "10799 characters: 2000 at most"),
        ("keyboard\x1b[2J", 1, 1.0, "printed"),
        ("keyboard", -1, 1.0, "seed -1"),
        ("keyboard", 1, 0.0, "0 seconds"),
        ("keyboard", 1, float("nan"), "nan seconds"),
    ],
)
def test_what_no_backend_can_do_is_one_line(prompt: str, seed: int, seconds: float, said: str) -> None:
    with pytest.raises(DuendeError, match=said) as caught:
        check_request(prompt, seed, seconds)
    assert "\n" not in str(caught.value)


def test_an_unknown_backend_and_a_missing_library_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DuendeError, match="choose one of default, chopan"):
        open_backend("nonesuch")
    monkeypatch.setitem(contract.BACKENDS, "lacking", "no_such_library:Thing")
    monkeypatch.setattr("importlib.import_module", lambda name, package: __import__("no_such_library"))
    with pytest.raises(DuendeError, match=r"lacking needs no_such_library: pip install 'duende\[train,text\]'"):
        open_backend("lacking")
    with pytest.raises(DuendeError, match="NAME=VALUE"):
        settings_of(["pitch"])


def test_weights_are_looked_for_in_order_and_nothing_is_fetched_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DUENDE_WEIGHTS", raising=False)
    with pytest.raises(DuendeError, match=r"no weights at .*home.weights.tiny.*--weights someone/tiny.*DUENDE_WEIGHTS"):
        WEIGHTS.find()
    for place in (tmp_path / "home" / "weights" / "tiny", tmp_path / "many" / "tiny", tmp_path / "given"):
        (place / "unet").mkdir(parents=True)
        (place / "unet" / "model.safetensors").touch()
        (place / "config.json").touch()
    assert WEIGHTS.find() == tmp_path / "home" / "weights" / "tiny"
    monkeypatch.setenv("DUENDE_WEIGHTS", str(tmp_path / "many"))
    assert WEIGHTS.find() == tmp_path / "many" / "tiny"
    assert WEIGHTS.find(str(tmp_path / "given")) == tmp_path / "given"
    with pytest.raises(DuendeError, match="no id of the hub"):
        WEIGHTS.find("../nowhere/at/all")
    (tmp_path / "given" / "unet" / "model.safetensors").rename(tmp_path / "given" / "unet" / "model.bin")
    with pytest.raises(DuendeError, match=r"model.bin could run code.*convert it to model.safetensors"):
        WEIGHTS.find(str(tmp_path / "given"))
