"""Riffusion: Stable Diffusion on pictures of sound (Forsgren and Martiros 2022), and its fine-tuning by LoRA.

Sampling as published: 512 x 512, guidance 7, 50 steps of the pipeline's own scheduler. A fine-tuning learns additions
of low rank to the attention (Hu et al. 2021) and writes these alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from .backend import About, Report, Sound, check_request
from .conditioning import Condition
from .diffusion import Choices, DiffusionSystem, finished, read_choices
from .parts import SAMPLERS, library, parameters, part, short
from .pictures import RootPicture
from .weights import Weights

Float32 = npt.NDArray[np.float32]

LORA = "pytorch_lora_weights.safetensors"
RANK = 16
_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
_DEFAULT = Choices(steps=50, guidance=7.0, sampler="ddim", inversion="repaired")
_FILES = (
    "model_index.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)


class Riffusion:
    """The pipeline on weights that the user brings."""

    name = "riffusion"
    about = About(
        "Riffusion: Stable Diffusion 1.5 on pictures of sound, 44.1 kHz to 10 kHz",
        "CreativeML OpenRAIL-M (weights), MIT (method)",
        "riffusion/riffusion-model-v1",
        4_300_000_000,
        3_000.0,
        5.11,
    )

    def __init__(self, weights: str | None = None) -> None:
        self._given = weights
        self._pipeline: Any = None
        self._lora: Path | None = None
        self._own: Any = None
        self.picture = RootPicture()

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        """settings: steps, guidance, sampler (else the weights' own), inversion, and lora: a fine-tuning's folder."""
        text = check_request(prompt, seed, seconds)
        choices = read_choices({name: one for name, one in settings.items() if name != "lora"}, _DEFAULT)
        longest = self.picture.frames * self.picture.scale.hop / self.picture.scale.sample_rate
        pipeline = self.pipeline(Path(settings["lora"]) if "lora" in settings else None)
        pipeline.scheduler = self._own
        if "sampler" in settings:
            pipeline.scheduler = part("diffusers", SAMPLERS[choices.sampler]).from_config(self._own.config)
        # A wider picture is as Riffusion's own interpolation needs it; here one picture is one sound.
        width = self.picture.frames
        if seconds > longest:
            width = 64 * -(-round(seconds * self.picture.scale.sample_rate) // (64 * self.picture.scale.hop))
        torch = library("torch")
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 0x41FF]).generate_state(1)[0]))

        def told(_pipeline: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            report(step + 1, choices.steps, "denoising")
            return values

        made = pipeline(
            text,
            num_inference_steps=choices.steps,
            guidance_scale=choices.guidance,
            height=self.picture.bands,
            width=width,
            generator=generator,
            output_type="np",
            callback_on_step_end=told,
        )
        shades = np.asarray(made.images[0], dtype=np.float32).transpose(2, 0, 1) * 2.0 - 1.0
        report(choices.steps, choices.steps, "finding phases")
        picture = RootPicture(
            width, self.picture.bands, self.picture.rounds, self.picture.power, self.picture.sample_rate
        )
        notices = (
            [] if width == self.picture.frames else [f"{seconds:g} s is longer than the {longest:.2f} s published"]
        )
        audio = picture.hear(shades, choices.inversion, seed)
        return finished(audio, picture.scale.sample_rate, seconds, notices)

    def parameters(self) -> int:
        """Of all networks."""
        pipeline = self.pipeline()
        return sum(parameters(one) for one in (pipeline.unet, pipeline.vae, pipeline.text_encoder))

    def pipeline(self, lora: Path | None = None) -> Any:
        """The pipeline, with a fine-tuning or without; the last one is kept."""
        if self._pipeline is None or lora != self._lora:
            self._pipeline, self._lora = _open(self._folder, lora), lora
            self._own = self._pipeline.scheduler
        return self._pipeline

    def system(self, rank: int = RANK, seed: int = 1) -> DiffusionSystem:
        """What a fine-tuning trains: the pipeline's parts frozen, additions of a rank to the denoiser's attention."""
        if not 1 <= rank <= 256:
            raise DuendeError(f"--rank {rank} is out of range: 1 to 256")
        pipeline = self.pipeline()
        for frozen in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            frozen.requires_grad_(False)
        library("torch").manual_seed(seed)
        pipeline.unet.add_adapter(
            library("peft").LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=_TARGETS)
        )
        coder = ClipStates(pipeline.tokenizer, pipeline.text_encoder)
        scheduler = dict(pipeline.scheduler.config)
        noise = {
            key: scheduler[key]
            for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
            if key in scheduler
        }
        about = {"system": self.name, "rank": rank}
        return DiffusionSystem(self.picture, pipeline.unet, coder, noise, pipeline.vae, about=about)

    def save_lora(self, folder: Path) -> None:
        """The additions, in the form that `StableDiffusionPipeline.load_lora_weights` reads."""
        layers = library("peft").get_peft_model_state_dict(self.pipeline().unet)
        part("diffusers", "StableDiffusionPipeline").save_lora_weights(
            str(folder), unet_lora_layers=layers, weight_name=LORA, safe_serialization=True
        )

    @property
    def _folder(self) -> Path:
        about = self.about
        return Weights(self.name, about.source, about.licence, about.size_bytes, _FILES).find(self._given)


class ClipStates:
    """Stable Diffusion's condition: the last states of CLIP's text encoder over 77 tokens."""

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self._tokenizer, self.encoder = tokenizer, encoder
        self.dimensions = int(encoder.config.hidden_size)

    def __call__(self, prompts: Sequence[str]) -> Condition:
        ids = self._tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self._tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        return Condition(self.encoder(ids)[0])

    def unknown(self, prompt: str) -> list[str]:
        """None: it spells what it does not know."""
        return []

    def save(self, folder: Path) -> None:
        """As the pipeline has it."""
        self._tokenizer.save_pretrained(str(folder / "tokenizer"))
        self.encoder.save_pretrained(str(folder / "text_encoder"))


def _open(folder: Path, lora: Path | None) -> Any:
    kind = part("diffusers", "StableDiffusionPipeline")
    try:
        pipeline = kind.from_pretrained(
            str(folder),
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise DuendeError(f"{folder}: not the weights of Riffusion ({short(error)})") from error
    pipeline.set_progress_bar_config(disable=True)
    if lora is not None:
        if not (lora / LORA).is_file():
            raise DuendeError(f"{lora}: no {LORA} in it: duende train riffusion writes it")
        try:
            pipeline.load_lora_weights(str(lora), weight_name=LORA, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise DuendeError(f"{lora / LORA}: does not fit these weights ({short(error)})") from error
    return pipeline
