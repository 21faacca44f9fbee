"""The diffusion systems on tiny random networks: they learn, stop and go on, are seeded, and say what does not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusion_parts import PROMPTS, small_pipeline, small_system, small_tango, tones
from duende import DuendeError

pytestmark = [pytest.mark.train, pytest.mark.text]

if True:  # below the marks: nothing here imports torch before a test asks for it
    from duende.export.text import audio_diffusion, tango
    from duende.export.text.audio_diffusion import AudioDiffusion, LatentDiffusion, new_system
    from duende.export.text.backend import Sound
    from duende.export.text.conditioning import EncoderStates, Tokeniser
    from duende.export.text.denoising import denoising_loss, sample
    from duende.export.text.diffusion import Choices, DiffusionSystem, read_choices
    from duende.export.text.diffusion_training import PUBLISHED, STATE, Plan, train
    from duende.export.text.parts import build, library, load, load_scheduler, parameters
    from duende.export.text.pictures import RootPicture
    from duende.export.text.riffusion import LORA, Riffusion
    from duende.export.text.tango import Tango, read_tango

CHOICES = Choices(steps=3, guidance=3.0, sampler="ddim", inversion="repaired")
PLAN = Plan(epochs=4, batch=2, accumulate=1, rate=3e-3, coder_epochs=1)


def quiet(done: int, total: int, what: str) -> None:
    assert 0 <= done <= total


def made(system: DiffusionSystem, prompt: str = PROMPTS[0], seed: int = 1, **changes: Any) -> Sound:
    values = {"steps": 3, "guidance": 3.0, "sampler": "ddim", "inversion": "repaired", **changes}
    return system.make(prompt, seed, 0.3, Choices(**values), quiet)


@pytest.mark.parametrize("name", ["audio-diffusion", "latent-diffusion", "tango"])
def test_sampling_is_seeded_and_finite(name: str) -> None:
    system = small_tango() if name == "tango" else small_system(name)
    first, again, other = made(system), made(system), made(system, seed=2)
    rate = system.picture.scale.sample_rate
    assert (first.sample_rate, len(first.audio)) == (rate, round(0.3 * rate))
    assert np.isfinite(first.audio).all()
    assert 0.1 < np.abs(first.audio).max() <= 1.0
    np.testing.assert_array_equal(first.audio, again.audio)
    assert not np.allclose(first.audio, other.audio, atol=1e-3)


@pytest.mark.parametrize("conditioning", ["token-ids", "t5"])
def test_the_prompt_reaches_the_sound(conditioning: str) -> None:
    system = small_system(conditioning=conditioning)
    one, two = (made(system, prompt, guidance=5.0).audio for prompt in PROMPTS[:2])
    assert not np.allclose(one, two, atol=1e-3)


def test_guidance_1_is_the_prompt_alone_and_more_goes_further() -> None:
    torch = library("torch")
    system = small_system()
    alone, guided = made(system, guidance=1.0).audio, made(system, guidance=6.0).audio
    assert not np.allclose(alone, guided, atol=1e-3)
    # Where the prompt says nothing guidance has nothing to go away from.
    condition = system.condition([""])
    drawn = [
        sample(
            system.unet,
            load_scheduler("ddim", system.scheduler),
            condition,
            condition,
            (1, 16, 16),
            steps=3,
            guidance=guidance,
            seed=1,
        )
        for guidance in (1.0, 6.0)
    ]
    torch.testing.assert_close(*drawn, atol=1e-4, rtol=1e-4)


def test_a_longer_sound_widens_the_picture_and_says_so() -> None:
    found = small_system().make(PROMPTS[0], 1, 1.0, CHOICES, quiet)
    assert len(found.audio) == 22050
    assert any("longer than" in line for line in found.notices)
    assert np.abs(found.audio[15000:20000]).max() > 0.0


def test_ddpm_and_ddim_are_different_samplers() -> None:
    system = small_system()
    assert not np.allclose(made(system, sampler="ddpm").audio, made(system, sampler="ddim").audio, atol=1e-3)


@pytest.mark.parametrize("conditioning", ["token-ids", "t5"])
def test_the_faithful_condition_is_ids_the_repaired_one_states(conditioning: str) -> None:
    condition = small_system(conditioning=conditioning).condition(["acoustic guitar", ""])
    if conditioning == "token-ids":
        assert tuple(condition.states.shape) == (2, 1, 100)
        words = Tokeniser.of_words(PROMPTS)
        assert condition.states[0, 0].tolist() == [*map(float, words.ids("acoustic guitar", 100)), *[0.0] * 98]
        assert not condition.states[1].any()
        assert condition.mask is None
    else:
        assert tuple(condition.states.shape) == (2, 2, 128)
        assert condition.mask is not None
        assert condition.mask.tolist() == [[True, True], [True, False]]


def test_unknown_words_are_named() -> None:
    found = made(small_system(), "acoustic zzyzx guitar")
    assert any("zzyzx" in line and "acoustic" not in line for line in found.notices)


def judged(system: DiffusionSystem) -> float:
    """Loss over eight fixed draws of noise."""
    torch = library("torch")
    scheduler = load_scheduler("ddpm", system.scheduler)
    losses = []
    with torch.no_grad():
        for seed in range(8):
            generator = torch.Generator().manual_seed(seed)
            clean = system.latents([one.audio()[0] for one in tones()], generator)
            losses.append(float(denoising_loss(system.unet, scheduler, clean, system.condition(PROMPTS), generator)))
    return float(np.mean(losses))


@pytest.mark.parametrize("name", ["audio-diffusion", "latent-diffusion", "tango"])
def test_a_training_lowers_the_loss(tmp_path: Path, name: str) -> None:
    system = small_tango() if name == "tango" else small_system(name)
    plan = Plan(epochs=30, batch=4, accumulate=1, rate=3e-3, coder_epochs=3, left_out=0.0)
    found = train(system, tones(), plan, tmp_path / "made")
    assert found.done
    assert len(found.losses) == 30
    fresh = small_tango() if name == "tango" else small_system(name)
    fresh.vae = system.vae
    assert judged(system) < 0.9 * judged(fresh)
    assert not (tmp_path / "made" / STATE).exists()


def test_one_step_lowers_the_loss_of_its_own_batch() -> None:
    torch = library("torch")
    system = small_system()
    scheduler = load_scheduler("ddpm", system.scheduler)
    optimiser = torch.optim.AdamW(system.unet.parameters(), lr=1e-3)

    def loss() -> Any:
        generator = torch.Generator().manual_seed(5)
        sounds = [one.audio()[0] for one in tones(2)]
        return denoising_loss(
            system.unet, scheduler, system.latents(sounds, generator), system.condition(PROMPTS[:2]), generator
        )

    before = loss()
    before.backward()
    optimiser.step()
    assert float(loss().detach()) < float(before.detach())


@pytest.mark.parametrize("name", ["audio-diffusion", "latent-diffusion"])
def test_a_stopped_training_gives_what_it_would_have_given(tmp_path: Path, name: str) -> None:
    torch = library("torch")
    whole, parted = small_system(name), small_system(name)
    train(whole, tones(), PLAN, tmp_path / "whole")

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 4:
            import signal

            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(parted, tones(), PLAN, tmp_path / "parted", report=stop)
    assert (tmp_path / "parted" / STATE).is_file()
    assert not (tmp_path / "parted" / "duende.json").exists()
    if name == "latent-diffusion":
        with pytest.raises(DuendeError, match="--coder-epochs"):
            train(small_system(name), tones(), Plan(coder_epochs=0), tmp_path / "parted")
    fresh = small_system(name)
    found = train(fresh, tones(), PLAN, tmp_path / "parted", resume=True)
    assert found.steps == (10 if name == "latent-diffusion" else 8)
    for one, two in zip(whole.unet.parameters(), fresh.unet.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
    if whole.vae is not None and fresh.vae is not None:
        assert fresh.vae.config.scaling_factor == pytest.approx(whole.vae.config.scaling_factor)


def test_a_state_of_other_sounds_is_refused(tmp_path: Path) -> None:
    train(small_system(), tones(), Plan(epochs=4, batch=2, accumulate=1, most_steps=2), tmp_path)
    with pytest.raises(DuendeError, match="other sounds or settings"):
        train(small_system(), tones(3), Plan(epochs=4, batch=2, accumulate=1), tmp_path, resume=True)
    (tmp_path / STATE).write_bytes(b"no state at all")
    with pytest.raises(DuendeError, match="not a readable state"):
        train(small_system(), tones(), Plan(epochs=4, batch=2, accumulate=1), tmp_path, resume=True)


def test_broken_sounds_are_named_once_and_left_out(tmp_path: Path) -> None:
    found = train(small_system(), tones(4, broken=(1,)), PLAN, tmp_path)
    assert found.skipped == ["tone-1: broken off"]
    with pytest.raises(DuendeError, match="none of 2 sounds"):
        train(small_system(), tones(2, broken=(0, 1)), PLAN, tmp_path / "none")
    with pytest.raises(DuendeError, match="no sound"):
        train(small_system(), [], PLAN, tmp_path / "none")


@pytest.mark.parametrize("kind", [AudioDiffusion, LatentDiffusion])
def test_a_trained_system_is_found_again(tmp_path: Path, kind: type[AudioDiffusion]) -> None:
    system = small_system(kind.name)
    train(system, tones(), Plan(epochs=1, batch=4, accumulate=1, coder_epochs=1), tmp_path)
    backend = kind(str(tmp_path))
    found = backend.make(PROMPTS[0], 1, 0.3, {"steps": "3", "sampler": "ddim"}, quiet)
    # Weights that lie otherwise in memory round otherwise, and phases part from there.
    assert np.corrcoef(found.audio, made(system).audio)[0, 1] > 0.8
    for one, two in zip(system.unet.parameters(), backend.system().unet.parameters(), strict=True):
        assert library("torch").equal(one, two)
    assert backend.system().parameters == system.parameters


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    small_system().save(tmp_path)
    with pytest.raises(DuendeError, match="weights of 'audio-diffusion', not of 'latent-diffusion'"):
        LatentDiffusion(str(tmp_path)).make("guitar", 1, 0.3, {}, quiet)
    with pytest.raises(DuendeError, match="empty"):
        AudioDiffusion(str(tmp_path)).make("  ", 1, 0.3, {}, quiet)
    with pytest.raises(DuendeError, match="10000 characters"):
        AudioDiffusion(str(tmp_path)).make("a" * 10_000, 1, 0.3, {}, quiet)
    other = build("diffusers", "UNet2DConditionModel", {**audio_diffusion.UNET, "block_out_channels": (32,) * 4})
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    other.save_pretrained(str(tmp_path / "other"))
    kept = weights.read_bytes()
    weights.write_bytes((tmp_path / "other" / weights.name).read_bytes())
    with pytest.raises(DuendeError, match="not the weights of"):
        AudioDiffusion(str(tmp_path)).make("guitar", 1, 0.3, {}, quiet)
    weights.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(DuendeError, match="not the weights of"):
        AudioDiffusion(str(tmp_path)).make("guitar", 1, 0.3, {}, quiet)
    # A layer that is missing would stay random, and make a sound all the same.
    tensors = library("safetensors.torch").load(kept)
    del tensors["conv_out.weight"]
    weights.write_bytes(library("safetensors.torch").save(tensors))
    with pytest.raises(DuendeError, match=r"missing keys, as conv_out\.weight"):
        AudioDiffusion(str(tmp_path)).make("guitar", 1, 0.3, {}, quiet)
    weights.write_bytes(kept)
    (tmp_path / "unet" / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 64}))
    with pytest.raises(DuendeError, match=r"not the weights of|dimensions"):
        AudioDiffusion(str(tmp_path)).make("guitar", 1, 0.3, {}, quiet)
    with pytest.raises(DuendeError, match="duende train audio-diffusion"):
        AudioDiffusion(str(tmp_path / "tokenizer")).make("guitar", 1, 0.3, {}, quiet)


def test_settings_are_checked() -> None:
    assert read_choices({"steps": "7", "guidance": "2.5"}, CHOICES).steps == 7
    for name, value in (
        ("steps", "0"),
        ("steps", "many"),
        ("guidance", "0.5"),
        ("guidance", "nan"),
        ("sampler", "euler"),
        ("inversion", "magic"),
        ("tempo", "1"),
    ):
        with pytest.raises(DuendeError, match=name):
            read_choices({name: value}, CHOICES)
    for change in ({"rate": 0.0}, {"epochs": 0}, {"left_out": 1.0}):
        with pytest.raises(DuendeError, match="out of range"):
            Plan(**change)


def test_published_plans() -> None:
    assert (PUBLISHED["audio-diffusion"].rate, PUBLISHED["audio-diffusion"].epochs) == (1e-4, 100)
    assert (PUBLISHED["latent-diffusion"].batch, PUBLISHED["latent-diffusion"].accumulate) == (4, 12)
    assert PUBLISHED["tango"].rate == 3e-8
    assert PUBLISHED["riffusion"].epochs == 30


def test_parameter_counts_and_shapes_are_the_published_ones() -> None:
    torch = library("torch")
    with torch.device("meta"):
        conditional = {"in_channels": 1, "out_channels": 1, "cross_attention_dim": 100, "sample_size": 64}
        ours = build("diffusers", "UNet2DConditionModel", {**audio_diffusion.UNET, **conditional})
        assert parameters(ours) == 135_559_809
        theirs = build("diffusers", "UNet2DConditionModel", tango.UNET)
        assert parameters(theirs) == 865_933_768
        coder = build("diffusers", "AutoencoderKL", tango.VAE)
        assert parameters(coder) == 55_376_873
        voice = build("transformers", "SpeechT5HifiGan", tango.VOCODER)
        assert parameters(voice) == 55_264_897
    found = {name: tuple(one.shape) for name, one in theirs.state_dict().items()}
    assert found == tango_checkpoint()


def tango_checkpoint() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the denoiser in TANGO's checkpoint, written down from its configuration alone."""
    widths, cross, embedded = (320, 640, 1280, 1280), 1024, 1280
    found: dict[str, tuple[int, ...]] = {}

    def pair(name: str, *shape: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    def residual(name: str, before: int, after: int) -> None:
        pair(f"{name}.norm1", before)
        pair(f"{name}.conv1", after, before, 3, 3)
        pair(f"{name}.time_emb_proj", after, embedded)
        pair(f"{name}.norm2", after)
        pair(f"{name}.conv2", after, after, 3, 3)
        if before != after:
            pair(f"{name}.conv_shortcut", after, before, 1, 1)

    def attention(name: str, width: int) -> None:
        pair(f"{name}.norm", width)
        pair(f"{name}.proj_in", width, width)  # linear, as in Stable Diffusion 2
        pair(f"{name}.proj_out", width, width)
        block = f"{name}.transformer_blocks.0"
        for number in (1, 2, 3):
            pair(f"{block}.norm{number}", width)
        for number, seen in ((1, width), (2, cross)):
            found[f"{block}.attn{number}.to_q.weight"] = (width, width)
            found[f"{block}.attn{number}.to_k.weight"] = (width, seen)
            found[f"{block}.attn{number}.to_v.weight"] = (width, seen)
            pair(f"{block}.attn{number}.to_out.0", width, width)
        pair(f"{block}.ff.net.0.proj", 8 * width, width)
        pair(f"{block}.ff.net.2", width, 4 * width)

    pair("conv_in", 320, 8, 3, 3)
    pair("time_embedding.linear_1", embedded, 320)
    pair("time_embedding.linear_2", embedded, embedded)
    kept, before = [320], 320
    for level, width in enumerate(widths):
        for layer in range(2):
            residual(f"down_blocks.{level}.resnets.{layer}", before, width)
            before = width
            kept.append(width)
            if level < 3:
                attention(f"down_blocks.{level}.attentions.{layer}", width)
        if level < 3:
            pair(f"down_blocks.{level}.downsamplers.0.conv", width, width, 3, 3)
            kept.append(width)
    residual("mid_block.resnets.0", 1280, 1280)
    attention("mid_block.attentions.0", 1280)
    residual("mid_block.resnets.1", 1280, 1280)
    for level, width in enumerate(reversed(widths)):
        for layer in range(3):
            residual(f"up_blocks.{level}.resnets.{layer}", before + kept.pop(), width)
            before = width
            if level > 0:
                attention(f"up_blocks.{level}.attentions.{layer}", width)
        if level < 3:
            pair(f"up_blocks.{level}.upsamplers.0.conv", width, width, 3, 3)
    pair("conv_norm_out", 320)
    pair("conv_out", 8, 320, 3, 3)
    return found


def test_tango_is_found_in_a_folder_of_parts(tmp_path: Path) -> None:
    system = small_tango()
    system.save(tmp_path)
    found = read_tango(tmp_path)
    assert found.picture.scale.bands == 8
    assert found.parameters == system.parameters
    backend = Tango(str(tmp_path))
    sound = backend.make(PROMPTS[0], 1, 0.3, {"steps": "2"}, quiet)
    assert (sound.sample_rate, len(sound.audio)) == (16000, 4800)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").rename(tmp_path / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(DuendeError, match="could run code"):
        Tango(str(tmp_path)).make(PROMPTS[0], 1, 0.3, {}, quiet)


def test_the_published_file_becomes_folders_of_parts(tmp_path: Path) -> None:
    system = small_tango()
    assert isinstance(system.coder, EncoderStates)
    encoder = system.coder.encoder
    tensors = {f"unet.{name}": one for name, one in system.unet.state_dict().items()}
    tensors |= {f"text_encoder.{name}": one for name, one in encoder.state_dict().items()}
    configs = dict(system.unet.config), encoder.config.to_dict()
    tango.convert_checkpoint(tensors, tmp_path, *configs)
    again = load("diffusers", "UNet2DConditionModel", tmp_path / "unet")
    for one, two in zip(system.unet.parameters(), again.parameters(), strict=True):
        assert library("torch").equal(one, two)
    load("transformers", "T5EncoderModel", tmp_path / "text_encoder")
    del tensors["unet.conv_in.bias"]
    with pytest.raises(DuendeError, match=r"not TANGO's checkpoint.*conv_in\.bias"):
        tango.convert_checkpoint(tensors, tmp_path / "other", *configs)


def test_riffusion_sounds_and_learns_additions_of_low_rank(tmp_path: Path) -> None:
    small_pipeline(tmp_path / "weights")
    backend = Riffusion(str(tmp_path / "weights"))
    backend.picture = RootPicture(32, 16, 4, sample_rate=8000)
    settings = {"steps": "2", "guidance": "3"}
    first, again = (backend.make("bright guitar", 1, 0.3, settings, quiet) for _ in range(2))
    assert (first.sample_rate, len(first.audio)) == (8000, 2400)
    np.testing.assert_array_equal(first.audio, again.audio)
    system = backend.system(rank=2)
    learned = [name for name, one in system.unet.named_parameters() if one.requires_grad]
    assert learned
    assert all("lora" in name for name in learned)
    plan = Plan(epochs=20, batch=4, accumulate=1, rate=2e-2, left_out=0.0)
    found = train(system, tones(), plan, tmp_path / "lora", save=backend.save_lora)
    assert np.mean(found.losses[-6:]) < np.mean(found.losses[:6])
    assert [path.name for path in (tmp_path / "lora").iterdir()] == [LORA]
    tuned = Riffusion(str(tmp_path / "weights"))
    tuned.picture = backend.picture
    sound = tuned.make("bright guitar", 1, 0.3, {**settings, "lora": str(tmp_path / "lora")}, quiet)
    assert not np.allclose(sound.audio, first.audio, atol=1e-3)
    other = backend.make("bright guitar", 1, 0.3, {**settings, "sampler": "ddpm"}, quiet)
    assert not np.allclose(other.audio, tuned.make("bright guitar", 1, 0.3, settings, quiet).audio, atol=1e-3)
    np.testing.assert_allclose(tuned.make("bright guitar", 1, 0.3, settings, quiet).audio, first.audio, atol=1e-3)
    with pytest.raises(DuendeError, match=LORA):
        tuned.make("bright guitar", 1, 0.3, {"lora": str(tmp_path)}, quiet)


def test_systems_are_refused_by_name() -> None:
    with pytest.raises(DuendeError, match="no system"):
        new_system("audio", PROMPTS)
    with pytest.raises(DuendeError, match="--size"):
        new_system("audio-diffusion", PROMPTS, size=65)
    with pytest.raises(DuendeError, match="--conditioning"):
        new_system("audio-diffusion", PROMPTS, conditioning="clip", unet_config={}, size=16)


def test_from_a_data_set_to_a_sound_by_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    import soundfile

    from duende import __main__
    from duende.export.text.nsynth import make_nsynth

    make_nsynth(tmp_path / "notes", instruments=5, notes=1, seed=3)

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["duende", *(str(word) for word in words)])
        try:
            __main__.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    training = ("train", "latent-diffusion", tmp_path / "notes", "-o", tmp_path / "made", "--width", 32, "--size", 64)
    quick = ("--coder-epochs", 1, "--epochs", 2, "--batch", 1, "--accumulate", 1, "--limit", 1)
    assert run(*training, *quick, "--steps", 1) == 0
    said = capsys.readouterr()
    assert "M parameters, 1 steps" in said.out
    assert "go on with --resume" in said.err
    assert (tmp_path / "made" / STATE).is_file()
    assert run(*training, *quick, "--resume") == 0
    assert "3 steps" in capsys.readouterr().out
    assert not (tmp_path / "made" / STATE).exists()
    making = ("prompt", "bright organ", "-o", tmp_path / "out.wav", "--backend", "latent-diffusion")
    assert run(*making, "--weights", tmp_path / "made", "--set", "steps=2", "--seconds", 1) == 0
    audio, rate = soundfile.read(tmp_path / "out.wav")
    assert (rate, len(audio)) == (22050, 22050)
    assert np.abs(audio).max() > 0.1
    assert run(*training, "--conditioning", "clip") == 1
    assert "--conditioning 'clip'" in capsys.readouterr().err
    assert run("train", "tango", tmp_path / "notes", "-o", tmp_path / "x", "--weights", tmp_path / "made") == 1
    assert "scripts/tango_weights.py" in capsys.readouterr().err
