"""A latent diffusion system put together from parts: coder of the prompt, denoiser, coder of pictures, and a voice."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ...presets.format import write_atomically
from .backend import Report, Sound
from .conditioning import Condition, TextCoder
from .denoising import sample
from .mel import Inversion
from .parts import MOST_JSON, library, load_scheduler, parameters, save
from .pictures import DecibelPicture, LogPicture, Picture, RootPicture, fitted, levelled

Float32 = npt.NDArray[np.float32]

ABOUT = "duende.json"
MOST_STEPS, MOST_GUIDANCE = 2000, 50.0
END_FADE_S = 0.01


@dataclass(frozen=True)
class Choices:
    """How a sound is made.

    steps: of sampling. guidance: 1 is the prompt alone. sampler: ddpm or ddim. inversion: faithful or repaired.
    """

    steps: int
    guidance: float
    sampler: str
    inversion: Inversion


@dataclass
class DiffusionSystem:
    """The parts of a system, each ready to run.

    vae: AutoencoderKL, or None where the pictures themselves are denoised. scheduler: configuration of the noise.
    vocoder: SpeechT5HifiGan, or None where phases are to be found. about: what the folder says beside the networks.
    """

    picture: Picture
    unet: Any
    coder: TextCoder
    scheduler: dict[str, Any]
    vae: Any | None = None
    vocoder: Any | None = None
    about: dict[str, Any] | None = None

    @property
    def parameters(self) -> int:
        """Of all networks together."""
        parts = (self.unet, self.vae, self.vocoder, getattr(self.coder, "encoder", None))
        return sum(parameters(one) for one in parts if one is not None)

    @property
    def seconds(self) -> float:
        """Length of a picture as it is."""
        return frames_of(self.picture) * self.picture.scale.hop / self.picture.scale.sample_rate

    def latents(self, sounds: Sequence[Float32], generator: Any) -> Any:
        """What the denoiser learns: tensor [batch, channels, height, width] of sounds at the picture's rate."""
        torch = library("torch")
        pictures = torch.from_numpy(np.stack([self.picture.paint(one) for one in sounds])).to(self.unet.device)
        if self.vae is None:
            return pictures
        with torch.no_grad():
            drawn = self.vae.encode(pictures).latent_dist.sample(generator)
        return drawn * self.vae.config.scaling_factor

    def condition(self, prompts: Sequence[str]) -> Condition:
        """What the denoiser is told."""
        return self.coder(prompts)

    def make(self, prompt: str, seed: int, seconds: float, choices: Choices, report: Report) -> Sound:
        """A sound of a prompt. A longer one than the picture widens it: the denoiser has never seen so much."""
        torch = library("torch")
        picture, notices = self._wide_enough(seconds)
        unknown = self.coder.unknown(prompt)
        if unknown:
            notices.append(f"words that the text coder does not know, and leaves out: {', '.join(unknown[:8])}")
        with torch.inference_mode():
            condition, without = self.condition([prompt]), self.condition([""])
        latent = sample(
            self.unet,
            load_scheduler(choices.sampler, self.scheduler),
            condition,
            without,
            self._shape(picture),
            steps=choices.steps,
            guidance=choices.guidance,
            seed=seed,
            report=lambda done: report(done, choices.steps, "denoising"),
        )
        with torch.inference_mode():
            if self.vae is not None:
                latent = self.vae.decode(latent / self.vae.config.scaling_factor).sample
            if self.vocoder is not None:
                report(choices.steps, choices.steps, "sounding")
                heard = self.vocoder(latent.squeeze(1))
                audio = levelled(np.asarray(heard.squeeze(0).numpy(), dtype=np.float32))
                return finished(audio, int(self.vocoder.config.sampling_rate), seconds, notices)
        report(choices.steps, choices.steps, "finding phases")
        audio = picture.hear(np.asarray(latent[0].numpy(), dtype=np.float32), choices.inversion, seed)
        return finished(audio, picture.scale.sample_rate, seconds, notices)

    def save(self, folder: Path) -> None:
        """All parts, as `read_about` and the backends find them again; duende.json last."""
        save(self.unet, folder / "unet")
        self.coder.save(folder)
        for part, name in ((self.vae, "vae"), (self.vocoder, "vocoder")):
            if part is not None:
                save(part, folder / name)
        write_atomically(folder / ABOUT, json.dumps({"format": 1, **(self.about or {})}, indent=1).encode())

    def _wide_enough(self, seconds: float) -> tuple[Picture, list[str]]:
        if seconds <= self.seconds + 1e-6:
            return self.picture, []
        unit = self._fold * 2 ** (len(self.unet.config.block_out_channels) - 1)
        wanted = seconds * self.picture.scale.sample_rate / self.picture.scale.hop
        frames = unit * int(np.ceil(wanted / unit))
        picture = dataclasses.replace(self.picture, frames=frames)  # type: ignore[type-var]
        return picture, [f"{seconds:g} s is longer than the {self.seconds:.2f} s that the network was made for"]

    def _shape(self, picture: Picture) -> tuple[int, int, int]:
        frames, bands = frames_of(picture), picture.scale.bands
        high, wide = (frames, bands) if isinstance(picture, LogPicture) else (bands, frames)
        return int(self.unet.config.in_channels), high // self._fold, wide // self._fold

    @property
    def _fold(self) -> int:
        """Pixels of a picture beside each other in one of a latent."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)


def frames_of(picture: Picture) -> int:
    """How many steps in time."""
    assert isinstance(picture, (DecibelPicture, RootPicture, LogPicture))
    return picture.frames


def finished(audio: Float32, sample_rate: int, seconds: float, notices: list[str]) -> Sound:
    """As long as was asked for, with a fade at the end; DuendeError where the network gave no numbers or silence."""
    if not np.isfinite(audio).all():
        raise DuendeError("the network gave samples that are no numbers: its weights are damaged or do not belong here")
    if not np.any(audio):
        raise DuendeError("the network gave silence: try another seed, or other weights")
    wanted = round(seconds * sample_rate)
    if len(audio) < wanted:
        notices = [*notices, f"{len(audio) / sample_rate:.2f} s of sound, then silence"]
    cut = fitted(audio, wanted).copy()
    fade = min(wanted, round(END_FADE_S * sample_rate))
    cut[wanted - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return Sound(cut, sample_rate, notices)


def read_choices(settings: Mapping[str, str], default: Choices) -> Choices:
    """The choices with what the user sets; DuendeError for unknown names and values out of range."""
    found: dict[str, Any] = {}
    for name, text in settings.items():
        try:
            if name == "steps":
                found[name] = int(text)
            elif name == "guidance":
                found[name] = float(text)
            elif name in ("sampler", "inversion"):
                found[name] = text
            else:
                raise DuendeError(f"no setting is called {name!r}: steps, guidance, sampler, inversion")
        except ValueError as error:
            raise DuendeError(f"{name}={text}: not a number") from error
    made = dataclasses.replace(default, **found)
    if not 1 <= made.steps <= MOST_STEPS:
        raise DuendeError(f"steps {made.steps} is out of range: 1 to {MOST_STEPS}")
    if not 1.0 <= made.guidance <= MOST_GUIDANCE:
        raise DuendeError(f"guidance {made.guidance:g} is out of range: 1 to {MOST_GUIDANCE:g}")
    if made.sampler not in ("ddpm", "ddim"):
        raise DuendeError(f"sampler {made.sampler!r}: choose ddpm or ddim")
    if made.inversion not in ("faithful", "repaired"):
        raise DuendeError(f"inversion {made.inversion!r}: choose faithful or repaired")
    return made


def read_about(folder: Path, system: str) -> dict[str, Any]:
    """What duende.json in a folder of weights says; DuendeError where there is none, or it is of another system."""
    path = folder / ABOUT
    try:
        if path.stat().st_size > MOST_JSON:
            raise DuendeError(f"{path}: larger than {MOST_JSON >> 20} MB")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DuendeError(f"{path}: {error.strerror or error}: train the system with duende train {system}") from error
    except (ValueError, RecursionError) as error:
        raise DuendeError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict) or found.get("system") != system:
        said = found.get("system") if isinstance(found, dict) else None
        raise DuendeError(f"{path}: weights of {said!r}, not of {system!r}")
    return found
