"""Trains a diffusion system on sounds and prompts, resumable after any step: AdamW on the noise that it is to guess.

Noise, order and left-out prompts are drawn from the seed and the numbers of step and batch, so a training that was
stopped gives the network that it would have given, and so do several processes (`ranks`, torchrun) but for the order in
which numbers are added. Prompts are left out now and then, for guidance.
"""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soxr

from ... import DuendeError
from .denoising import denoising_loss
from .diffusion import DiffusionSystem
from .parts import library, load_scheduler, short
from .ranks import Ranks

Float32 = npt.NDArray[np.float32]

STATE = "training.safetensors"
KL_WEIGHT = 1e-6
"""Of the picture coder, beside its squared error (Rombach et al. 2022)."""


class Labelled(Protocol):
    """A sound and its prompt."""

    @property
    def name(self) -> str: ...

    @property
    def prompt(self) -> str: ...

    def audio(self) -> tuple[Float32, int]:
        """Mono [samples], rate in Hz; DuendeError where it cannot be read."""
        ...


@dataclass(frozen=True)
class Plan:
    """How a system is trained. Defaults are those published for audio-diffusion (2024).

    batch x accumulate sounds to a step of the optimiser. rate: of AdamW. left_out: share of prompts. coder_epochs: of
    the picture coder, before the denoiser, where it is to be learned. most_steps: stop after so many, of all stages.
    """

    epochs: int = 100
    batch: int = 8
    accumulate: int = 8
    rate: float = 1e-4
    decay: float = 1e-2
    left_out: float = 0.1
    coder_epochs: int = 20
    seed: int = 1
    most_steps: int | None = None
    save_every: int = 500

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 1, 10_000),
            ("batch", 1, 1024),
            ("accumulate", 1, 1024),
            ("coder_epochs", 0, 10_000),
            ("seed", 0, 2**31 - 1),
            ("save_every", 1, 10**6),
        ):
            if not low <= getattr(self, name) <= high:
                raise DuendeError(f"{name.replace('_', '-')} {getattr(self, name)} is out of range: {low} to {high}")
        if not 0.0 < self.rate <= 1.0:
            raise DuendeError(f"rate {self.rate:g} is out of range: above 0, 1 at most")
        if not 0.0 <= self.left_out < 1.0:
            raise DuendeError(f"left-out {self.left_out:g} is out of range: 0, below 1")


PUBLISHED = {
    "audio-diffusion": Plan(),
    "latent-diffusion": Plan(batch=4, accumulate=12),
    "riffusion": Plan(epochs=30, batch=3, accumulate=4),
    "tango": Plan(epochs=40, batch=2, accumulate=4, rate=3e-8),
}
"""By system, from the thesis of 2024."""


@dataclass
class Trained:
    """What came of it: steps in all, mean loss of the denoiser by epoch, sounds left out with the reason, finished.

    rank: of the process; only 0 has written anything.
    """

    steps: int
    losses: list[float] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    done: bool = True
    rank: int = 0


@dataclass(frozen=True)
class _Stage:
    name: str
    parameters: list[tuple[str, Any]]
    epochs: int


def train(
    system: DiffusionSystem,
    examples: Sequence[Labelled],
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    save: Callable[[Path], None] | None = None,
    report: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Trained:
    """Train what of the system asks for gradients, then write it into folder.

    Under torchrun every process calls this with the same system and sounds, on a GPU each where there are any; the
    batches of a step are spread over them, and the first one writes. folder: one that all of them see.
    Ctrl-C writes the state and raises KeyboardInterrupt; resume goes on from there. Sounds that cannot be read are
    left out and named. save: writes the result, in place of all parts. DuendeError where nothing can be learned from,
    and for a state of other data or settings.
    """
    if not examples:
        raise DuendeError("no sound to train on")
    with Ranks() as ranks:
        _place(system, ranks.device)
        try:
            found = _all_stages(system, examples, plan, folder, ranks, resume, report)
        finally:
            _place(system, "cpu")
        if ranks.first:
            (save or system.save)(folder)
            if found.done:
                (folder / STATE).unlink(missing_ok=True)
        ranks.wait()
    return found


def _all_stages(
    system: DiffusionSystem,
    examples: Sequence[Labelled],
    plan: Plan,
    folder: Path,
    ranks: Ranks,
    resume: bool,
    report: Callable[[int, int, float], None],
) -> Trained:
    """Every stage from where the state stands, up to the plan's last step."""
    torch = library("torch")
    folder.mkdir(parents=True, exist_ok=True)
    stages = _stages(system, plan)
    per_epoch = -(-len(examples) // (plan.batch * plan.accumulate))
    whole = sum(stage.epochs for stage in stages) * per_epoch
    last = whole if plan.most_steps is None else min(whole, plan.most_steps)
    found = Trained(0, rank=ranks.rank)
    state = _State(folder / STATE, _work(system, examples, plan))
    held = state.read() if resume else None
    ranks.wait()
    done = 0
    for number, stage in enumerate(stages):
        first, end = done, done + stage.epochs * per_epoch
        if held is not None and held[1]["stage"] > number:
            _restore(stage, held[0])
            done = end
            continue
        ranks.alike([one for _, one in stage.parameters])
        optimiser = torch.optim.AdamW([one for _, one in stage.parameters], lr=plan.rate, weight_decay=plan.decay)
        if held is not None:
            _restore(stage, held[0], optimiser)
            done = int(held[1]["step"])
            found.losses, found.skipped = list(held[1]["losses"]), list(held[1]["skipped"])
            if system.vae is not None:
                system.vae.register_to_config(scaling_factor=float(held[1]["scale"]))
            held = None
        losses: list[float] = []
        with _BetweenSteps() as stop:
            while done < min(end, last):
                epoch, place = divmod(done - first, per_epoch)
                loss = _step(system, stage, optimiser, examples, plan, (number, epoch, place), found.skipped, ranks)
                done += 1
                losses.append(loss)
                if ranks.first:
                    report(done, last, loss)
                if place == per_epoch - 1 and stage.name == "denoiser":
                    found.losses.append(float(np.mean(losses)))
                    losses = []
                # Whoever was asked to stop, all stop behind the same step.
                stopped = ranks.total([float(stop.asked)])[0] > 0.0
                if stopped or done % plan.save_every == 0:
                    found.skipped = ranks.lines(found.skipped)
                    if ranks.first:
                        state.write(stages, optimiser, number, done, found, system.vae)
                if stopped:
                    raise KeyboardInterrupt
        found.skipped = ranks.lines(found.skipped)
        if done >= last and done < whole:
            if ranks.first:
                state.write(stages, optimiser, number, done, found, system.vae)
            found.done = False
            break
        if stage.name == "coder":
            _set_scale(system, examples, plan)
    found.steps = done
    return found


def _place(system: DiffusionSystem, device: str) -> None:
    """Move the networks that are trained, or asked while others are."""
    for part in (system.unet, system.vae, getattr(system.coder, "encoder", None)):
        if part is not None and str(part.device) != device:
            part.to(device)


def _stages(system: DiffusionSystem, plan: Plan) -> list[_Stage]:
    stages = []
    if system.vae is not None:
        coder = [(f"vae.{name}", one) for name, one in system.vae.named_parameters() if one.requires_grad]
        if coder and not plan.coder_epochs:
            raise DuendeError("a picture coder that was not learned yet: bring one (--vae), or --coder-epochs above 0")
        if coder:
            stages.append(_Stage("coder", coder, plan.coder_epochs))
    learned = [(f"unet.{name}", one) for name, one in system.unet.named_parameters() if one.requires_grad]
    encoder = getattr(system.coder, "encoder", None)
    if encoder is not None:
        learned += [(f"text.{name}", one) for name, one in encoder.named_parameters() if one.requires_grad]
    if not learned:
        raise DuendeError("nothing in the denoiser may be trained")
    stages.append(_Stage("denoiser", learned, plan.epochs))
    return stages


def _step(
    system: DiffusionSystem,
    stage: _Stage,
    optimiser: Any,
    examples: Sequence[Labelled],
    plan: Plan,
    place: tuple[int, int, int],
    skipped: list[str],
    ranks: Ranks,
) -> float:
    """One step of the optimiser; its mean loss."""
    torch = library("torch")
    order = np.random.default_rng([plan.seed, 0x0DE4, *place[:2]]).permutation(len(examples))
    size = plan.batch * plan.accumulate
    chosen = [examples[int(one)] for one in order[place[2] * size : (place[2] + 1) * size]]
    batches = [chosen[start : start + plan.batch] for start in range(0, len(chosen), plan.batch)]
    optimiser.zero_grad()
    losses = []
    with torch.enable_grad():
        for number, batch in ranks.share(batches):
            sounds, prompts = _read(batch, system.picture.scale.sample_rate, skipped)
            if not sounds:
                continue
            # By the batch's own number: it does not matter which process draws.
            rng = np.random.default_rng([plan.seed, 0x7EA1, *place, number])
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            if stage.name == "coder":
                loss = _coder_loss(system, sounds, generator)
            else:
                told = ["" if rng.random() < plan.left_out else prompt for prompt in prompts]
                clean = system.latents(sounds, generator)
                loss = denoising_loss(system.unet, _noise(system), clean, system.condition(told), generator)
            (loss / len(batches)).backward()
            losses.append(float(loss.detach()))
    learned, total = ranks.total([len(losses), sum(losses)])
    if not learned:
        raise DuendeError(f"none of {len(chosen)} sounds of a step can be read: {ranks.lines(skipped)[-1]}")
    if not np.isfinite(total):
        raise DuendeError("the loss is no number any more: train with a lower --rate")
    ranks.add_gradients([one for _, one in stage.parameters])
    torch.nn.utils.clip_grad_norm_([one for _, one in stage.parameters], 1.0)
    optimiser.step()
    return float(total / learned)


def _noise(system: DiffusionSystem) -> Any:
    return load_scheduler("ddpm", system.scheduler)


def _coder_loss(system: DiffusionSystem, sounds: Sequence[Float32], generator: Any) -> Any:
    torch = library("torch")
    assert system.vae is not None
    pictures = torch.from_numpy(np.stack([system.picture.paint(one) for one in sounds])).to(system.vae.device)
    latent = system.vae.encode(pictures).latent_dist
    back = system.vae.decode(latent.sample(generator)).sample
    return torch.nn.functional.mse_loss(back, pictures) + KL_WEIGHT * latent.kl().mean()


def _set_scale(system: DiffusionSystem, examples: Sequence[Labelled], plan: Plan) -> None:
    """A coder that was learned here has a deviation of its own: latents are brought to 1 by it, not by 0.18215."""
    torch = library("torch")
    assert system.vae is not None
    sounds, _ = _read(examples[: plan.batch * 4], system.picture.scale.sample_rate, [])
    if not sounds:
        return
    with torch.no_grad():
        pictures = torch.from_numpy(np.stack([system.picture.paint(one) for one in sounds])).to(system.vae.device)
        deviation = float(system.vae.encode(pictures).latent_dist.mean.std())
    system.vae.register_to_config(scaling_factor=1.0 / max(deviation, 1e-3))


def _read(batch: Sequence[Labelled], rate: int, skipped: list[str]) -> tuple[list[Float32], list[str]]:
    sounds, prompts = [], []
    for one in batch:
        try:
            audio, own = one.audio()
        except DuendeError as error:
            line = f"{one.name}: {error}"
            if line not in skipped:
                skipped.append(line)
            continue
        made = audio if own == rate else soxr.resample(audio, own, rate)
        sounds.append(np.asarray(made, dtype=np.float32))
        prompts.append(one.prompt)
    return sounds, prompts


def _work(system: DiffusionSystem, examples: Sequence[Labelled], plan: Plan) -> str:
    said = {key: value for key, value in asdict(plan).items() if key not in ("most_steps", "save_every", "epochs")}
    names = hashlib.sha256("\n".join(f"{one.name} {one.prompt}" for one in examples).encode()).hexdigest()
    text = json.dumps([said, names, system.about, system.parameters], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _restore(stage: _Stage, tensors: dict[str, Any], optimiser: Any | None = None) -> None:
    torch = library("torch")
    with torch.no_grad():
        for name, one in stage.parameters:
            one.copy_(tensors[f"value.{name}"])
    if optimiser is None:
        return
    for name, one in stage.parameters:
        if f"mean.{name}" in tensors:
            optimiser.state[one] = {
                "step": tensors[f"step.{name}"],
                "exp_avg": tensors[f"mean.{name}"].to(one.device),
                "exp_avg_sq": tensors[f"square.{name}"].to(one.device),
            }


class _BetweenSteps:
    """Ctrl-C waits for the end of a step, so that no weight is half moved; a second one does not wait.

    Off the main thread, where Python takes no signal, nothing is changed.
    """

    def __enter__(self) -> "_BetweenSteps":
        self.asked = False
        self._ours = threading.current_thread() is threading.main_thread()
        if self._ours:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class _State:
    """A training's state in one file of safetensors, replaced whole."""

    def __init__(self, path: Path, work: str) -> None:
        self.path, self._work = path, work

    def write(self, stages: Sequence[_Stage], optimiser: Any, stage: int, step: int, found: Trained, vae: Any) -> None:
        tensors = {}
        for one in stages:
            for name, value in one.parameters:
                tensors[f"value.{name}"] = value.detach().cpu().contiguous().clone()
                moments = optimiser.state.get(value)
                if moments:
                    tensors[f"step.{name}"] = moments["step"].cpu().clone()
                    tensors[f"mean.{name}"] = moments["exp_avg"].cpu().contiguous()
                    tensors[f"square.{name}"] = moments["exp_avg_sq"].cpu().contiguous()
        notes = {"work": self._work, "stage": stage, "step": step, "losses": found.losses, "skipped": found.skipped}
        notes["scale"] = 1.0 if vae is None else float(vae.config.scaling_factor)
        beside = self.path.with_name(self.path.name + ".part")
        library("safetensors.torch").save_file(tensors, str(beside), {"notes": json.dumps(notes)})
        beside.replace(self.path)

    def read(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if not self.path.is_file():
            return None
        try:
            with library("safetensors").safe_open(str(self.path), "pt") as file:
                notes = json.loads((file.metadata() or {})["notes"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        except Exception as error:
            raise DuendeError(f"{self.path}: not a readable state ({short(error)}); train without --resume") from error
        if notes.get("work") != self._work:
            raise DuendeError(f"{self.path} belongs to other sounds or settings; train without --resume")
        return tensors, notes
