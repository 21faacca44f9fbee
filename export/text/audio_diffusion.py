"""Audio Diffusion and Audio Latent Diffusion with text (2024): mel pictures denoised as they are, or as latents.

The networks are those of `teticio/audio-diffusion` with a condition: 135.6 M parameters, cross-attention over one
vector of 100 token ids (faithful) or over the states of a T5 encoder (repaired). Latents: AutoencoderKL of channels
128, 256, 512, 512 with one latent channel, so 256 x 256 pixels become 32 x 32. There are no published weights for a
prompt: `duende train` makes them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import DuendeError
from .backend import About, Report, Sound, check_request
from .conditioning import EncoderStates, TextCoder, TokenIds, Tokeniser
from .diffusion import Choices, DiffusionSystem, read_about, read_choices
from .parts import build, library, load, parameters
from .pictures import DecibelPicture
from .weights import Weights

SYSTEMS = ("audio-diffusion", "latent-diffusion")
SIZES = (64, 128, 256)
LATENT_SCALE = 0.18215
NOISE: dict[str, Any] = {"num_train_timesteps": 1000, "beta_schedule": "linear", "clip_sample": True}
"""Of DDPM as diffusers gives it and audio-diffusion takes it."""

UNET: dict[str, Any] = {
    "layers_per_block": 2,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
VAE: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 1,
    "scaling_factor": LATENT_SCALE,
}
SMALL_T5: dict[str, Any] = {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 4}
"""Learned beside the denoiser where no text encoder is given: for a vocabulary of some dozens of words."""

_DEFAULT = {
    "token-ids": Choices(steps=100, guidance=1.0, sampler="ddpm", inversion="faithful"),
    "t5": Choices(steps=100, guidance=3.0, sampler="ddpm", inversion="repaired"),
}


class AudioDiffusion:
    """The mel picture itself is denoised, 64 x 64 as published."""

    name = "audio-diffusion"
    size = 64
    about = About(
        "Audio Diffusion: a mel picture denoised, conditioned on token ids or a T5 encoder",
        "your own",
        "duende train audio-diffusion",
        542_000_000,
        500.0,
        1.48,
    )

    def __init__(self, weights: str | None = None) -> None:
        self._given = weights
        self._system: DiffusionSystem | None = None

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        """settings: steps, guidance, sampler, inversion. Defaults are the published ones for the weights' condition."""
        text = check_request(prompt, seed, seconds)
        folder = self._weights.find(self._given)
        about = read_about(folder, self.name)
        choices = read_choices(settings, _DEFAULT[_conditioning(about)])
        return self.system().make(text, seed, seconds, choices, report)

    def parameters(self) -> int:
        """Of all networks."""
        return self.system().parameters

    def system(self) -> DiffusionSystem:
        """The networks, read once."""
        if self._system is None:
            self._system = read_system(self._weights.find(self._given), self.name)
        return self._system

    @property
    def _weights(self) -> Weights:
        files = ("duende.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors")
        way = f"make them with duende train {self.name} DATASET -o FOLDER"
        return Weights(self.name, "", self.about.licence, self.about.size_bytes, files, way)


class LatentDiffusion(AudioDiffusion):
    """Latents of the mel picture are denoised, 256 x 256 as published."""

    name = "latent-diffusion"
    size = 256
    about = About(
        "Audio Latent Diffusion: latents of a mel picture denoised, conditioned on token ids or a T5 encoder",
        "your own",
        "duende train latent-diffusion",
        876_000_000,
        240.0,
        5.94,
    )


def _conditioning(about: Mapping[str, Any]) -> str:
    found = about.get("conditioning")
    if found not in _DEFAULT:
        raise DuendeError(f"conditioning {found!r} of the weights: token-ids or t5")
    return str(found)


def read_system(folder: Path, name: str) -> DiffusionSystem:
    """The system in a folder; DuendeError for parts that are missing, broken or do not fit each other."""
    about = read_about(folder, name)
    size = about.get("size")
    if size not in SIZES and about.get("tiny") is not True:
        raise DuendeError(f"{folder}: pictures of size {size!r}: {', '.join(map(str, SIZES))}")
    if not isinstance(size, int) or not 8 <= size <= 512:
        raise DuendeError(f"{folder}: pictures of size {size!r}: 8 to 512")
    coder: TextCoder
    if _conditioning(about) == "token-ids":
        coder = TokenIds(Tokeniser.read(folder / "tokenizer"))
    else:
        coder = EncoderStates.read(folder)
    unet = load("diffusers", "UNet2DConditionModel", folder / "unet")
    vae = load("diffusers", "AutoencoderKL", folder / "vae") if name == "latent-diffusion" else None
    made = DiffusionSystem(DecibelPicture(size, size), unet, coder, NOISE, vae, about=about)
    check_fit(made, folder)
    return made


def new_system(
    name: str,
    prompts: Sequence[str],
    *,
    size: int | None = None,
    conditioning: str = "t5",
    tokeniser: Path | None = None,
    text_encoder: Path | None = None,
    vae: Path | None = None,
    seed: int = 1,
    unet_config: Mapping[str, Any] | None = None,
    vae_config: Mapping[str, Any] | None = None,
) -> DiffusionSystem:
    """An untrained system.

    prompts: of the data; their words are the tokeniser's where none is given. tokeniser: folder with tokenizer.json.
    text_encoder: folder with tokenizer/ and text_encoder/ of T5, which stays frozen. vae: folder of an AutoencoderKL.
    unet_config, vae_config: values in place of the published ones, for small networks.
    """
    if name not in SYSTEMS:
        raise DuendeError(f"no system is called {name!r}: {', '.join(SYSTEMS)}")
    side = size or (64 if name == "audio-diffusion" else 256)
    library("torch").manual_seed(seed)
    about: dict[str, Any] = {"system": name, "size": side, "conditioning": conditioning}
    if unet_config is not None:
        about["tiny"] = True
    elif side not in SIZES:
        raise DuendeError(f"--size {side}: {', '.join(map(str, SIZES))}")
    coder: TextCoder
    if conditioning == "token-ids":
        coder = TokenIds(Tokeniser.read(tokeniser) if tokeniser else Tokeniser.of_words(prompts))
        about["text"] = "token ids as they are"
    elif conditioning != "t5":
        raise DuendeError(f"--conditioning {conditioning!r}: token-ids or t5")
    elif text_encoder is not None:
        coder, about["text"] = EncoderStates.read(text_encoder), "frozen T5 encoder"
        coder.encoder.requires_grad_(False)
    else:
        words = Tokeniser.read(tokeniser) if tokeniser else Tokeniser.of_words(prompts)
        encoder = build("transformers", "T5EncoderModel", {**SMALL_T5, "vocab_size": words.size, "dropout_rate": 0.0})
        coder, about["text"] = EncoderStates(words, encoder), "small T5 encoder, learned beside"
    coded = None
    if name == "latent-diffusion":
        coded = (
            load("diffusers", "AutoencoderKL", vae)
            if vae
            else build("diffusers", "AutoencoderKL", {**VAE, **(vae_config or {})})
        )
        coded.requires_grad_(vae is None)
    channels = 1 if coded is None else int(coded.config.latent_channels)
    fold = 1 if coded is None else 2 ** (len(coded.config.block_out_channels) - 1)
    config = {**UNET, **(unet_config or {}), "in_channels": channels, "out_channels": channels}
    config |= {"sample_size": side // fold, "cross_attention_dim": coder.dimensions}
    unet = build("diffusers", "UNet2DConditionModel", config)
    return DiffusionSystem(DecibelPicture(side, side), unet, coder, NOISE, coded, about=about)


def widths(first: int) -> dict[str, Any] | None:
    """A configuration, for `new_system`, with so many channels in the first level; None for the 128 published."""
    if first == UNET["block_out_channels"][0]:
        return None
    if first not in (32, 64):
        raise DuendeError(f"--width {first}: 128, 64 or 32")
    return {"block_out_channels": (first, 2 * first, 4 * first, 4 * first)}


def check_fit(system: DiffusionSystem, folder: Path) -> None:
    """DuendeError where the denoiser does not belong to the coders beside it."""
    wanted = system.unet.config.cross_attention_dim
    if wanted != system.coder.dimensions:
        raise DuendeError(
            f"{folder}: the denoiser takes text of {wanted} dimensions, the text coder beside it gives "
            f"{system.coder.dimensions}: take all parts from one place"
        )
    channels = 1 if system.vae is None else int(system.vae.config.latent_channels)
    if system.unet.config.in_channels != channels:
        raise DuendeError(
            f"{folder}: the denoiser takes {system.unet.config.in_channels} channels, the pictures have {channels}"
        )
    if parameters(system.unet) == 0:
        raise DuendeError(f"{folder}: an empty denoiser")
