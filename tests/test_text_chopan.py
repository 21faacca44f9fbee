"""ChopAN: the published network to the parameter, its pictures and their way back, training that can be broken off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from duende import DuendeError  # noqa: E402
from duende.export.text.backend import open_backend  # noqa: E402
from duende.export.text.chopan_pictures import RATE, audio_of, picture_of  # noqa: E402
from duende.export.text.chopan_store import BANK, VAE, read_bank, read_stored, read_vae  # noqa: E402
from duende.export.text.chopan_text import ClipEncoder, WordsEncoder  # noqa: E402
from duende.export.text.chopan_train import TrainConfig, train_chopan  # noqa: E402
from duende.export.text.chopan_vae import ChopanVae  # noqa: E402
from duende.export.text.nsynth import DataSet, make_nsynth  # noqa: E402
from duende.export.text.synthesis import Instrument  # noqa: E402

pytestmark = pytest.mark.train

TINY = TrainConfig(epochs=3, batch=4, limit=9, seed=2, filters=(6, 5, 4, 3, 2), latent=8)


def quiet(done: int, total: int, doing: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_nsynth(tmp_path_factory.mktemp("chopan") / "set", instruments=11, notes=1, seed=6)


@pytest.fixture(scope="module")
def trained(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chopan") / "weights"
    assert train_chopan(data, folder, TINY, WordsEncoder(), quiet).complete
    return folder


def test_the_published_network_has_the_published_parameters() -> None:
    with torch.device("meta"):
        vae = ChopanVae()
        mean, spread = vae.encode(torch.zeros(2, 1, 256, 64))
        made = vae.decode(mean)
    assert vae.parameter_count == 2_371_777
    assert vae.small == (32, 8, 4)
    assert mean.shape == spread.shape == (2, 128)
    assert made.shape == (2, 1, 256, 64)


def test_the_loss_is_the_published_sum_and_steps_lower_it() -> None:
    torch.manual_seed(1)
    vae = ChopanVae(TINY.filters, TINY.latent)
    pictures, noise = torch.rand(4, 1, 256, 64) ** 3, torch.randn(4, TINY.latent)
    vae.eval()
    with torch.no_grad():
        mean, spread = vae.encode(pictures)
        made = vae.decode(mean + (0.5 * spread).exp() * noise)
        divergence = torch.distributions.kl_divergence(
            torch.distributions.Normal(mean, (0.5 * spread).exp()), torch.distributions.Normal(0.0, 1.0)
        )
        wanted = 1e6 * ((made - pictures) ** 2).mean() + divergence.sum(dim=1).mean()
        assert float(vae.loss(pictures, noise)) == pytest.approx(float(wanted), rel=1e-5)
    vae.train()
    optimiser = torch.optim.Adam(vae.parameters(), 5e-3)
    losses = []
    for _ in range(12):
        loss = vae.loss(pictures, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("inversion", ["slopes", "griffin-lim"])
def test_a_picture_and_its_sound_agree(inversion: str) -> None:
    if inversion == "griffin-lim":
        pytest.importorskip("librosa")
    audio = Instrument("acoustic", "guitar", (), 3).play(64, 100, RATE)
    picture, least, most = picture_of(audio, RATE)
    assert picture.shape == (256, 64)
    assert (float(picture.min()), float(picture.max())) == (0.0, 1.0)
    again = audio_of(picture, least, most, inversion, seed=1)
    assert again.shape == (16128,)
    other, other_least, other_most = picture_of(again, RATE)
    # The loud half of the picture, in dB; what is near the floor says little.
    level, heard = picture * (most - least) + least, other * (other_most - other_least) + other_least
    loud = level > most - 40.0
    assert np.sqrt(np.mean((level - heard)[loud] ** 2)) < 6.0


def test_a_training_that_was_broken_off_goes_on_to_the_same_numbers(
    data: DataSet, trained: Path, tmp_path: Path
) -> None:
    def broken(done: int, total: int, doing: str) -> None:
        if doing.startswith("loss") and done == 2:
            raise KeyboardInterrupt

    folder = tmp_path / "weights"
    part = train_chopan(data, folder, TINY, WordsEncoder(), broken)
    assert (part.complete, len(part.losses)) == (False, 2)
    assert read_stored(folder).epochs == 2
    with pytest.raises(DuendeError, match="--resume"):
        train_chopan(data, folder, TINY, WordsEncoder(), quiet)
    with pytest.raises(DuendeError, match="other data or settings"):
        train_chopan(data, folder, replace(TINY, batch=3), WordsEncoder(), quiet, resume=True)
    whole = train_chopan(data, folder, TINY, WordsEncoder(), quiet, resume=True)
    assert whole.complete
    assert len(whole.losses) == 3
    found, wanted = (read_vae(place, read_stored(place)).state_dict() for place in (folder, trained))
    for name, one in wanted.items():
        assert torch.allclose(found[name].float(), one.float(), rtol=1e-3, atol=1e-5), name
    untrained = ChopanVae(TINY.filters, TINY.latent).state_dict()
    assert not torch.allclose(untrained["unfold.weight"], wanted["unfold.weight"], atol=1e-3)


@pytest.mark.parametrize("form", ["faithful", "repaired"])
def test_a_prompt_makes_one_second_the_same_for_the_same_seed(trained: Path, form: str) -> None:
    if form == "faithful":
        pytest.importorskip("librosa")
    backend = open_backend("chopan", str(trained))

    def made(prompt: str, seed: int, seconds: float = 1.008) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return backend.make(prompt, seed, seconds, {"form": form}, quiet).audio

    first = made("acoustic guitar", 1)
    assert first.shape == (16128,)
    assert np.isfinite(first).all()
    assert np.abs(first).max() == pytest.approx(0.7, abs=0.05)
    assert np.array_equal(first, made("acoustic guitar", 1))
    assert not np.array_equal(first, made("acoustic guitar", 2))
    assert not np.array_equal(first, made("synthetic organ", 1))
    (line,) = backend.make("acoustic guitar", 1, 3.0, {"form": form}, quiet).notices
    assert "1.01 s at most" in line


def test_the_bank_finds_the_notes_that_the_words_describe(trained: Path, data: DataSet) -> None:
    bank = read_bank(trained)
    first = data.part("train")[0]
    assert np.array_equal(bank.pictures[0], np.round(255.0 * picture_of(*first.audio())[0]))
    prompts = [note.prompt for note in data.part("train")[: TINY.limit]]
    encoder = WordsEncoder()
    ranks = []
    for place, prompt in enumerate(prompts):
        alike = bank.embeddings @ encoder.text(prompt)
        ranks.append(float(np.mean(alike > alike[place])))
    assert np.mean(ranks) < 0.3  # 0.5 by chance


def test_wrong_files_and_settings_are_one_line(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path / "home"))
    with pytest.raises(DuendeError, match="duende train chopan"):
        open_backend("chopan").make("flute", 1, 1.0, {}, quiet)
    with pytest.raises(DuendeError, match="no folder"):
        open_backend("chopan", "some/where").make("flute", 1, 1.0, {}, quiet)
    for settings, said in (({"form": "nice"}, "faithful"), ({"noise": "loud"}, "noise"), ({"volume": "1"}, "volume")):
        with pytest.raises(DuendeError, match=said):
            open_backend("chopan", str(trained)).make("flute", 1, 1.0, settings, quiet)
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in trained.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / BANK).write_bytes((folder / VAE).read_bytes())
    with pytest.raises(DuendeError, match="not a bank"):
        open_backend("chopan", str(folder)).make("flute", 1, 1.0, {}, quiet)
    (folder / VAE).write_bytes(b"\xff" * 64)
    with pytest.raises(DuendeError, match="not ChopAN's VAE"):
        read_vae(folder, read_stored(folder))
    (folder / "chopan.json").write_text('{"encoder": "words", "seed": 1, "epochs": 1, "notes": 1, "filters": [9]}')
    with pytest.raises(DuendeError, match="five filters"):
        read_stored(folder)


@pytest.mark.text
def test_a_clip_model_from_a_folder_chooses_instead(data: DataSet, trained: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    torch.manual_seed(3)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 8, "max_position_embeddings": 12, "eos_token_id": 2},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    words = Tokenizer(WordLevel({"[UNK]": 0, "[PAD]": 1, "[EOS]": 2, "flute": 3, "organ": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", eos_token="[EOS]")
    tokenizer.save_pretrained(tmp_path / "clip")
    encoder = ClipEncoder(tmp_path / "clip")
    flute, organ = encoder.text("flute"), encoder.text("organ")
    assert np.linalg.norm(flute) == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(flute, organ)
    folder = tmp_path / "weights"
    train_chopan(data, folder, replace(TINY, epochs=1), encoder, quiet)
    assert read_bank(folder).embeddings.shape[1] == 8
    settings = {"clip": str(tmp_path / "clip")}
    sound = open_backend("chopan", str(folder)).make("flute", 1, 1.0, settings, quiet)
    assert np.isfinite(sound.audio).all()
    with pytest.raises(DuendeError, match=r"made with 'clip clip', not 'words': name that model"):
        open_backend("chopan", str(folder)).make("flute", 1, 1.0, {}, quiet)
    with pytest.raises(DuendeError, match="made with 'words'"):
        open_backend("chopan", str(trained)).make("flute", 1, 1.0, settings, quiet)
    with pytest.raises(DuendeError, match="no CLIP model"):
        ClipEncoder(tmp_path / "nothing")
