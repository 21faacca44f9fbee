"""Tiny random parts of the diffusion systems, made offline, and sounds to train them on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duende import DuendeError
from duende.export.text import audio_diffusion, tango
from duende.export.text.conditioning import EncoderStates, Tokeniser
from duende.export.text.diffusion import DiffusionSystem
from duende.export.text.parts import build, library
from duende.export.text.pictures import LogPicture

Float32 = npt.NDArray[np.float32]

SMALL_UNET: dict[str, Any] = {
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
SMALL_VAE: dict[str, Any] = {
    "block_out_channels": (8, 8),
    "norm_num_groups": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
}
PROMPTS = ("acoustic bright guitar", "electronic dark bass", "synthetic distortion organ", "acoustic reverb flute")


@dataclass(frozen=True)
class Tone:
    """A sound with words; a broken one cannot be read."""

    name: str
    prompt: str
    hertz: float
    broken: bool = False
    rate: int = field(default=16000)

    def audio(self) -> tuple[Float32, int]:
        if self.broken:
            raise DuendeError("broken off")
        time = np.arange(self.rate // 2) / self.rate
        wave = sum(np.sin(2.0 * np.pi * self.hertz * number * time) / number for number in (1, 2, 3))
        return np.asarray(0.3 * wave * np.exp(-3.0 * time), dtype=np.float32), self.rate


def tones(count: int = 4, broken: Sequence[int] = ()) -> list[Tone]:
    return [
        Tone(f"tone-{number}", PROMPTS[number % len(PROMPTS)], 110.0 * (number + 2), number in broken)
        for number in range(count)
    ]


def small_system(name: str = "audio-diffusion", conditioning: str = "t5", seed: int = 1) -> DiffusionSystem:
    """Of 16 x 16 pictures."""
    return audio_diffusion.new_system(
        name,
        PROMPTS,
        size=16,
        conditioning=conditioning,
        seed=seed,
        unet_config=SMALL_UNET,
        vae_config=SMALL_VAE,
    )


def small_tango(seed: int = 1) -> DiffusionSystem:
    """TANGO's chain with every width cut down: 16 frames of 8 bands, 160 samples a frame."""
    library("torch").manual_seed(seed)
    words = Tokeniser.of_words(PROMPTS)
    encoder = build(
        "transformers",
        "T5EncoderModel",
        {"vocab_size": words.size, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    ).eval()
    encoder.requires_grad_(False)
    vae = build("diffusers", "AutoencoderKL", {**tango.VAE, **SMALL_VAE, "latent_channels": 4})
    vae.requires_grad_(False)
    unet = build(
        "diffusers",
        "UNet2DConditionModel",
        {**SMALL_UNET, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 16, "use_linear_projection": True},
    )
    vocoder = build(
        "transformers",
        "SpeechT5HifiGan",
        {
            **tango.VOCODER,
            "model_in_dim": 8,
            "upsample_initial_channel": 32,
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1]],
            "initializer_range": 0.3,
        },
    )
    coder = EncoderStates(words, encoder)
    picture = LogPicture(frames=16, bands=8)
    return DiffusionSystem(picture, unet.eval(), coder, tango.NOISE, vae, vocoder.eval(), {"system": "tango"})


def small_pipeline(folder: Path, seed: int = 1) -> None:
    """A Stable Diffusion of random weights for pictures of 16 x 16, in the folder layout of a published one."""
    import json

    transformers, diffusers = library("transformers"), library("diffusers")
    library("torch").manual_seed(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    files = folder / "words"
    files.mkdir(parents=True)
    (files / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (files / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(files), model_max_length=77)
    encoder = build(
        "transformers",
        "CLIPTextModel",
        {
            "vocab_size": len(words),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
    )
    vae = build("diffusers", "AutoencoderKL", {**SMALL_VAE, "in_channels": 3, "out_channels": 3, "latent_channels": 4})
    unet = build(
        "diffusers",
        "UNet2DConditionModel",
        {**SMALL_UNET, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 16, "sample_size": 8},
    )
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(str(folder), safe_serialization=True)
