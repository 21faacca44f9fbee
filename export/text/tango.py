"""TANGO (Ghosal et al. 2023), rebuilt from parts: FLAN-T5-large, a denoiser of 866 M, AudioLDM's coder and HiFi-GAN.

The published checkpoint's keys `unet.*` and `text_encoder.*` are those of the parts here; `UNET` is its configuration.
Sampling as published: DDPM, velocity, 200 steps, guidance 3; latents 8 x 256 x 16 are 10.24 s at 16 kHz.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import DuendeError
from .audio_diffusion import check_fit
from .backend import About, Report, Sound, check_request
from .conditioning import EncoderStates
from .diffusion import Choices, DiffusionSystem, read_choices
from .parts import library, load, part, save, short
from .pictures import LogPicture
from .weights import Weights

UNET: dict[str, Any] = {
    "act_fn": "silu",
    "attention_head_dim": [5, 10, 20, 20],
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "in_channels": 8,
    "out_channels": 8,
    "layers_per_block": 2,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "sample_size": [32, 2],
    "use_linear_projection": True,
    "upcast_attention": True,
}
VAE: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 2,
    "latent_channels": 8,
    "scaling_factor": 0.9227914214134216,
}
VOCODER: dict[str, Any] = {
    "model_in_dim": 64,
    "sampling_rate": 16000,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "normalize_before": False,
}
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
}
"""Of stable-diffusion-2-1, which TANGO takes its noise from."""

TEXT: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 1024,
    "d_kv": 64,
    "d_ff": 2816,
    "num_layers": 24,
    "num_heads": 16,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}
"""Of FLAN-T5-large."""

_DEFAULT = Choices(steps=200, guidance=3.0, sampler="ddpm", inversion="repaired")
_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vocoder/config.json",
    "vocoder/model.safetensors",
    "text_encoder/config.json",
    "tokenizer/tokenizer.json",
)


class Tango:
    """TANGO's chain on weights that the user brings, a part to a folder."""

    name = "tango"
    about = About(
        "TANGO: FLAN-T5-large, a denoiser of 866 M, AudioLDM's mel coder and HiFi-GAN; general sounds, 16 kHz",
        "CC BY-NC-ND 4.0 (TANGO's repository), Apache-2.0 (FLAN-T5), AudioLDM's own: not for commercial use",
        "declare-lab/tango, google/flan-t5-large, cvssp/audioldm-s-full-v2",
        5_300_000_000,
        12_000.0,
        10.24,
    )

    def __init__(self, weights: str | None = None) -> None:
        self._given = weights
        self._system: DiffusionSystem | None = None

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        """settings: steps, guidance, sampler (inversion changes nothing: the vocoder has its own phases)."""
        text = check_request(prompt, seed, seconds)
        choices = read_choices(settings, _DEFAULT)
        return self.system().make(text, seed, seconds, choices, report)

    def parameters(self) -> int:
        """Of all networks."""
        return self.system().parameters

    def system(self) -> DiffusionSystem:
        """The networks, read once."""
        if self._system is None:
            way = "convert declare-lab/tango with scripts/tango_weights.py (docs/text-diffusion.md)"
            weights = Weights(self.name, "declare-lab/tango", self.about.licence, self.about.size_bytes, _FILES, way)
            self._system = read_tango(weights.find(self._given))
        return self._system


def convert_checkpoint(
    tensors: Mapping[str, Any],
    folder: Path,
    unet: Mapping[str, Any] = UNET,
    text: Mapping[str, Any] = TEXT,
) -> None:
    """Write the parts of the published main checkpoint (keys unet.*, text_encoder.*) as folders unet, text_encoder.

    DuendeError where a tensor is missing, left over, or of another shape. Parts are made without memory of their own.
    """
    with library("torch").device("meta"):
        parts = {
            "unet": part("diffusers", "UNet2DConditionModel")(**unet),
            "text_encoder": part("transformers", "T5EncoderModel")(part("transformers", "T5Config")(**text)),
        }
    for name, network in parts.items():
        mine = {key[len(name) + 1 :]: one for key, one in tensors.items() if key.startswith(f"{name}.")}
        try:
            network.load_state_dict(mine, assign=True)
        except RuntimeError as error:
            raise DuendeError(f"{name}: not TANGO's checkpoint ({short(error)})") from error
        save(network, folder / name)


def read_tango(folder: Path) -> DiffusionSystem:
    """The system in a folder of parts, one to a sub-folder; DuendeError where they do not fit each other."""
    coder = EncoderStates.read(folder)
    coder.encoder.requires_grad_(False)
    unet = load("diffusers", "UNet2DConditionModel", folder / "unet")
    vae = load("diffusers", "AutoencoderKL", folder / "vae")
    vae.requires_grad_(False)
    vocoder = load("transformers", "SpeechT5HifiGan", folder / "vocoder")
    vocoder.requires_grad_(False)
    picture = LogPicture(bands=int(vocoder.config.model_in_dim))
    made = DiffusionSystem(picture, unet, coder, NOISE, vae, vocoder, {"system": "tango"})
    check_fit(made, folder)
    return made
