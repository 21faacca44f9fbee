"""Distillation: from recordings of one style, or of several that morph, to the weights of a student."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..engine.mixer import mixer_bands
from ..engine.stft import DEFAULT_SIZES, StftSizes
from .checkpoint import Checkpoint
from .content import batch, hear_all
from .losses import (
    BandLevels,
    LossWeights,
    PitchGuard,
    Tonality,
    correlation,
    flux,
    level_distance,
    log_level,
    onset_loss,
)
from .statistics import normalise_level
from .student import Heard, Renderer, Setting, Student, StudentConfig
from .style import BODY_TOP_HZ, StyleClip, StyleStatistics, content_bands, style_body

Float32 = npt.NDArray[np.float32]

EQ_PIECES = 8
VALIDATION_PIECES = 4
# The body starts from silence: what it needs to fill is not judged.
COLD_SAMPLES = 6144
STYLE_GOAL = 0.15
LISTEN_EVERY = 20


@dataclass(frozen=True)
class DistillConfig:
    """How to distil.

    excitations:  what the student mixes from.
    body_octaves: smoothing of the body's spectrum; 0 copies every line of the clip, which imprints its pitches.
    seconds, run_in_seconds: length of a training piece, and of what warms up its slow averages.
    plain_pieces, plain_seconds: how much playing that is not trained on sets the levels, and how long a piece of it is.
    amount:       where the whole style is asked for, and nothing more beyond.
    played:       the amount that presets are played at and levels are set for. At three quarters of the way onsets and
        pitch are still the player's; what the rest gains in timbre is lost in those.
    at_amount:    share of the pieces that are played there; the others anywhere from 0 to 1.
    corners:      share of the pieces that are played in one style alone, where there are several.
    """

    sample_rate: int = 48000
    sizes: StftSizes = DEFAULT_SIZES
    excitations: tuple[str, ...] = ("dry@1", "noise@1")
    pieces: int = 64
    seconds: float = 3.2
    run_in_seconds: float = 3.0
    plain_pieces: int = 8
    plain_seconds: float = 6.0
    steps: int = 500
    batch: int = 2
    learning_rate: float = 3e-3
    warm_up: int = 25
    average: float = 0.98
    body_octaves: float = 0.12
    filter_banks: int = 24
    amount: float = 0.8
    played: float = 0.75
    at_amount: float = 0.65
    corners: float = 0.6
    check_every: int = 50
    seed: int = 1
    weights: LossWeights = field(default_factory=LossWeights)


@dataclass
class Distilled:
    """A student, its bodies [styles, points], the course of the training and what was kept of it.

    history: losses of every step; step: the one whose averaged weights were the best on content not trained on;
    ratios: their (style distance, envelope error) there, in units of the matched equaliser's; complete: not stopped.
    """

    student: Student
    bodies: Float32
    history: list[dict[str, float]]
    seconds: float
    step: int
    ratios: tuple[float, float]
    complete: bool


@dataclass(frozen=True)
class Progress:
    """Told after every step: losses by name, steps done and in all (as far as can be foreseen), seconds so far.

    sound: now and then, where that is asked for, what the student plays of a piece that is not trained on: [samples].
    """

    step: int
    steps: int
    losses: dict[str, float]
    seconds: float
    sound: Float32 | None = None

    @property
    def text(self) -> str:
        """Where the training stands, in a few words."""
        named = (("gram", "style"), ("envelope", "envelope"))
        parts = [f"{words} {self.losses[name]:.2f}" for name, words in named if name in self.losses]
        return "training: " + ", ".join(parts)


@dataclass
class _Known:
    """What the guards need to know about the input of every piece, computed once; rows by piece."""

    notes: Tensor
    note_weight: Tensor
    levels: Tensor
    flux: Tensor
    loudness: Tensor
    tonality: Tensor


class Distiller:
    """Trains students on one pool of content; the pool is heard once and serves every style.

    plain: playing that is not trained on, unaltered, to set the levels by, each piece with its run-in; without it they
        are set by the content, whose levels a student knows by heart.
    """

    def __init__(
        self,
        content: Sequence[Float32],
        config: DistillConfig,
        device: str = "cpu",
        plain: Sequence[Float32] = (),
    ) -> None:
        if len(content) <= VALIDATION_PIECES:
            raise ValueError(f"{len(content)} pieces of content: more than {VALIDATION_PIECES} are needed")
        self.config, self.device = config, torch.device(device)
        hop = config.sizes.hop
        self._run_in = round(config.run_in_seconds * config.sample_rate) // hop * hop
        self._past = past = StudentConfig(config.excitations).receptive_field - 1
        if self._run_in < past * hop:
            raise ValueError(f"run_in_seconds {config.run_in_seconds:g} is shorter than the student's memory")
        rate = float(config.sample_rate)
        self._pieces, plainly = (
            hear_all(pieces, rate, config.sizes, self._run_in, past, config.excitations) for pieces in (content, plain)
        )
        self._plain = plainly or self._pieces
        self._bands = mixer_bands(config.sizes, rate)
        self._pitch = PitchGuard(config.sample_rate).to(self.device)
        self._band_levels = BandLevels(content_bands(config.sample_rate)).to(self.device)
        tonality = Tonality(config.sample_rate).to(self.device)
        with torch.no_grad():
            audio = torch.stack([piece.audio[COLD_SAMPLES:] for piece in self._pieces]).to(self.device)
            audio = normalise_level(audio)
            levels = self._band_levels(audio)
            self._known = _Known(
                notes=self._pitch.notes(audio),
                note_weight=self._pitch.weight(audio),
                levels=levels,
                flux=flux(levels),
                loudness=log_level(audio),
                tonality=tonality(audio).clamp(0.0, 1.0),
            )

    @property
    def audio(self) -> list[Float32]:
        """The input [samples] of every piece as the output will be aligned to it, for a teacher to work on."""
        return [piece.audio.numpy() for piece in self._pieces]

    def distil(
        self,
        styles: Sequence[StyleClip],
        report: Callable[[Progress], None] | None = None,
        *,
        targets: Sequence[Sequence[Float32]] | None = None,
        seconds: float = math.inf,
        checkpoint: Checkpoint | None = None,
        listen: bool = False,
    ) -> Distilled:
        """Train one student for one style, or for several that morph.

        targets: for each style a teacher's sound [samples] of the first pieces of `audio`, or None.
        seconds: end the training after so long, the learning rate brought down in time; else after config.steps.
        checkpoint: where to keep the state between checks, and to go on from where one of the same work is found.
        listen: let `report` hear the student now and then.
        KeyboardInterrupt ends the training early; the best weights so far are returned all the same.
        """
        return _Training(self, styles, targets, seconds, checkpoint).run(report, listen=listen)


class _Training:
    """One run of `Distiller.distil`."""

    def __init__(
        self,
        pool: Distiller,
        styles: Sequence[StyleClip],
        targets: Sequence[Sequence[Float32] | None] | None,
        seconds: float,
        checkpoint: Checkpoint | None,
    ) -> None:
        config, device = pool.config, pool.device
        self._pool, self._config, self._device, self._seconds = pool, config, device, seconds
        self._started = time.perf_counter()
        torch.manual_seed(config.seed)
        self._generator = np.random.default_rng(config.seed)
        self._styles = [
            StyleStatistics(style.audio, config.sample_rate, config.filter_banks, 1 + config.seed, device)
            for style in styles
        ]
        for style in self._styles:
            style.relate_to_eq([piece.audio.numpy() for piece in pool._pieces[-EQ_PIECES:]], COLD_SAMPLES)
        self._bodies = np.stack([style_body(style.audio, config.sample_rate, config.body_octaves) for style in styles])
        rate = float(config.sample_rate)
        self._renderer = Renderer(pool._bands, config.sizes, rate, self._bodies, BODY_TOP_HZ).to(device)
        self._targets = self._target_levels(targets)
        self._student = Student(StudentConfig(config.excitations, styles=len(styles))).to(device)
        self._averaged = torch.optim.swa_utils.AveragedModel(
            self._student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)
        )
        slow = [p for name, p in self._student.named_parameters() if name not in ("base", "gamma_raw")]
        self._optimiser = torch.optim.Adam(
            [{"params": slow, "scale": 1.0}, {"params": [self._student.base, self._student.gamma_raw], "scale": 5.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        self._history: list[dict[str, float]] = []
        self._best: tuple[float, int, tuple[float, float], dict[str, Tensor]] | None = None
        self._order: list[int] = []
        self._checkpoint, self._spent = checkpoint, 0.0
        self._work = _fingerprint(config, styles)

    def run(self, report: Callable[[Progress], None] | None, *, listen: bool) -> Distilled:
        complete = False
        step = self._resume()
        try:
            if step == 0:
                self._check(0)
            # One step at least, however slow the machine was until now.
            while step < self._config.steps and (not self._history or self._elapsed() < self._seconds):
                losses = self._step(step)
                step += 1
                self._history.append(losses)
                if step % self._config.check_every == 0:
                    self._check(step)
                if report is not None:
                    sound = self._listen() if listen and step % LISTEN_EVERY == 1 else None
                    report(Progress(step, self._foreseen(step), losses, self._elapsed(), sound))
            if step % self._config.check_every:
                self._check(step)
            complete = True
        except KeyboardInterrupt:
            if self._best is None:
                raise
        assert self._best is not None
        _, best_step, ratios, weights = self._best
        student = Student(self._student.config)
        student.load_state_dict({name: value.cpu() for name, value in weights.items()})
        self._calibrate(student.to(self._device))
        return Distilled(student.cpu(), self._bodies, self._history, self._elapsed(), best_step, ratios, complete)

    def _elapsed(self) -> float:
        return self._spent + time.perf_counter() - self._started

    @torch.no_grad()
    def _listen(self) -> Float32:
        """What the averaged weights play of the last piece, which is not trained on, in the first style."""
        student = self._averaged.module
        assert isinstance(student, Student)
        heard = batch([self._pool._pieces[-1]]).to(self._device)
        setting = self._setting(np.eye(1, len(self._styles)), [self._config.amount])
        sound = self._play(student, heard, setting)[0]
        return np.asarray(sound[0, COLD_SAMPLES:].cpu().numpy(), dtype=np.float32)

    def _foreseen(self, step: int) -> int:
        """How many steps there will be, as it looks now."""
        if math.isinf(self._seconds):
            return self._config.steps
        return max(step, min(self._config.steps, int(step * self._seconds / self._elapsed())))

    def _step(self, step: int) -> dict[str, float]:
        config = self._config
        share = max(step / config.steps, min(1.0, self._elapsed() / self._seconds))
        rate = config.learning_rate * min((step + 1) / config.warm_up, 0.03 + 0.485 * (1.0 + math.cos(math.pi * share)))
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        training = len(self._pool._pieces) - VALIDATION_PIECES
        while len(self._order) < config.batch:
            self._order += list(self._generator.permutation(training))
        chosen, self._order = self._order[: config.batch], self._order[config.batch :]
        terms = self._terms(self._student, chosen, self._draw(len(chosen)), step % config.filter_banks)
        total = self._total(terms)
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self._student.parameters(), 1.0)
        self._optimiser.step()
        self._averaged.update_parameters(self._student)
        return {name: float(term.detach().mean()) for name, term in terms.items()} | {"total": float(total.detach())}

    def _draw(self, count: int) -> Setting:
        """Random styles and amounts for a batch."""
        styles = len(self._styles)
        mixes = np.zeros((count, styles), dtype=np.float32)
        for row in mixes:
            if styles == 1 or self._generator.random() < self._config.corners:
                row[self._generator.integers(styles)] = 1.0
            elif self._generator.random() < 0.7:
                pair = self._generator.choice(styles, 2, replace=False)
                row[pair[0]] = self._generator.random()
                row[pair[1]] = 1.0 - row[pair[0]]
            else:
                row[:] = self._generator.dirichlet(np.ones(styles))
        at = self._generator.random(count) < self._config.at_amount
        amounts = np.where(at, self._config.amount, self._generator.random(count))
        return self._setting(mixes, amounts)

    def _setting(self, mixes: npt.ArrayLike, amounts: npt.ArrayLike) -> Setting:
        style = torch.as_tensor(np.asarray(mixes, dtype=np.float32), device=self._device)
        amount = torch.as_tensor(np.asarray(amounts, dtype=np.float32), device=self._device)
        return self._renderer.setting(style, amount)

    def _play(self, student: Student, heard: Heard, setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
        """Sound, log ratios and gains' power for a batch."""
        past = self._pool._past
        ratios, dynamics = student(heard.features, setting.style, setting.amount)
        ratios, dynamics = ratios[:, past:], dynamics[:, past:]
        gains, energy = self._renderer.gains(heard, setting, ratios, dynamics)
        return self._renderer(heard, setting, gains), ratios, energy

    def _terms(self, student: Student, chosen: Sequence[int], setting: Setting, bank: int) -> dict[str, Tensor]:
        """Every loss term, unweighted, for each piece of a batch."""
        pool, known = self._pool, self._pool._known
        heard = batch([pool._pieces[index] for index in chosen]).to(self._device)
        sound, ratios, energy = self._play(student, heard, setting)
        output = normalise_level(sound[:, COLD_SAMPLES:])
        index = torch.as_tensor(np.asarray(chosen), device=self._device)
        mix = setting.style
        # The styles' share of the loss grows with the amount: the student learns to do as much as is asked for.
        asked = (setting.amount / self._config.amount).clamp(max=1.0)

        gram, envelope, steadiness = self._style_terms(output, mix, bank)
        wanted = torch.minimum(steadiness, known.tonality[index])
        levels = pool._band_levels(output)
        share = energy / (energy.sum(dim=2, keepdim=True) + 1e-12)
        noise = share[:, :, self._config.excitations.index("noise@1")].mean(dim=(1, 2)) * steadiness.mean(dim=1) ** 2
        moves = ratios - (mix @ student.base).unflatten(-1, ratios.shape[2:])[:, None]
        over_bands = (moves[..., 1:] - moves[..., :-1]).square().mean(dim=(1, 2, 3))
        over_time = (ratios[:, 1:] - ratios[:, :-1]).square().mean(dim=(1, 2, 3))
        terms = {
            "gram": gram,
            "envelope": envelope,
            "identity": (1.0 - asked) * level_distance(levels, known.levels[index]),
            "chroma": pool._pitch(known.notes[index], known.note_weight[index], output),
            "onset": onset_loss(known.flux[index], flux(levels)),
            "loudness": torch.relu(0.95 - correlation(known.loudness[index], log_level(output))),
            "tonality": torch.relu(wanted - self._styles[0].tonality_of(output)).mean(dim=1),
            "noise": noise,
            "roughness": over_bands + 4.0 * over_time,
            "movement": ratios.var(dim=1).mean(dim=(1, 2)),
        }
        target = self._target_term(chosen, levels, mix)
        if target is not None:
            terms["target"] = asked * target
        return terms | {"asked": asked}

    def _style_terms(self, output: Tensor, mix: Tensor, bank: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gram and envelope ratios [batch] and tonality [batch, zones] for mixes of styles [batch, styles]."""
        gram, envelope = torch.zeros_like(mix[:, 0]), torch.zeros_like(mix[:, 0])
        steadiness = torch.stack([style.tonality for style in self._styles])
        for number, style in enumerate(self._styles):
            rows = torch.nonzero(mix[:, number] > 0.0)[:, 0]
            if len(rows):
                one_gram, one_envelope = style.ratios(output[rows], bank)
                gram = gram.index_add(0, rows, mix[rows, number] * one_gram)
                envelope = envelope.index_add(0, rows, mix[rows, number] * one_envelope)
        return gram, envelope, mix @ steadiness

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        weights, asked = self._config.weights, terms["asked"]
        scaled = {name: term for name, term in terms.items() if name != "asked"} | {
            "gram": asked * torch.sqrt(torch.relu(terms["gram"] - STYLE_GOAL) + 0.03),
            "envelope": asked * torch.relu(terms["envelope"] - STYLE_GOAL),
        }
        return torch.stack([getattr(weights, name) * term.mean() for name, term in scaled.items()]).sum()

    def _target_levels(self, targets: Sequence[Sequence[Float32] | None] | None) -> list[Tensor | None]:
        """Band levels [pieces, frames, bands] of the teacher's sounds, for every style that has some."""
        found: list[Tensor | None] = []
        for sounds in targets or [None] * len(self._styles):
            if sounds is None:
                found.append(None)
                continue
            audio = torch.from_numpy(np.stack([sound[COLD_SAMPLES:] for sound in sounds])).to(self._device)
            with torch.no_grad():
                found.append(self._pool._band_levels(normalise_level(audio)))
        return found

    def _target_term(self, chosen: Sequence[int], levels: Tensor, mix: Tensor) -> Tensor | None:
        """Distance [batch] from the teacher's sound of the same piece in the same style, 0 where there is none."""
        if all(one is None for one in self._targets):
            return None
        rows = []
        for row, piece in enumerate(chosen):
            distance = torch.zeros((), device=self._device)
            for number, sounds in enumerate(self._targets):
                if sounds is not None and piece < len(sounds) and float(mix[row, number]) > 0.0:
                    one = level_distance(levels[row : row + 1], sounds[piece : piece + 1])[0]
                    distance = distance + mix[row, number] * one
            rows.append(distance)
        return torch.stack(rows)

    @torch.no_grad()
    def _check(self, step: int) -> None:
        """Judge the averaged weights on content that is not trained on, and keep them if they are the best so far."""
        student = self._averaged.module
        assert isinstance(student, Student)
        last = len(self._pool._pieces)
        totals, grams, envelopes = [], [], []
        for number in range(len(self._styles)):
            mixes = np.zeros((1, len(self._styles)))
            mixes[:, number] = 1.0
            for piece in range(last - VALIDATION_PIECES, last):
                terms = self._terms(
                    student, [piece], self._setting(mixes, [self._config.amount]), piece % self._config.filter_banks
                )
                terms.pop("target", None)
                totals.append(float(self._total(terms)))
                grams.append(float(terms["gram"]))
                envelopes.append(float(terms["envelope"]))
        score = float(np.mean(totals))
        if self._best is None or score < self._best[0]:
            weights = {name: value.detach().clone() for name, value in student.state_dict().items()}
            self._best = (score, step, (float(np.mean(grams)), float(np.mean(envelopes))), weights)
        if self._checkpoint is not None and step:
            self._save(step)

    @torch.no_grad()
    def _calibrate(self, student: Student) -> None:
        """Set the level of every style so that, as it is played, its output has the RMS of what comes in."""
        for number in range(len(self._styles)):
            mixes = np.zeros((1, len(self._styles)))
            mixes[:, number] = 1.0
            setting = self._setting(mixes, [self._config.played])
            for _ in range(2):
                excess = []
                for piece in self._pool._plain:
                    heard = batch([piece]).to(self._device)
                    excess.append(float(_log_gain(self._play(student, heard, setting)[0], heard.aligned)))
                student.level[number] -= float(np.mean(excess))

    def _save(self, step: int) -> None:
        assert self._checkpoint is not None
        assert self._best is not None
        score, best_step, ratios, best = self._best
        arrays = {f"student/{name}": value for name, value in self._student.state_dict().items()}
        arrays |= {f"averaged/{name}": value for name, value in self._averaged.state_dict().items()}
        arrays |= {f"best/{name}": value for name, value in best.items()}
        for number, state in self._optimiser.state_dict()["state"].items():
            arrays |= {f"optimiser/{number}/{name}": torch.as_tensor(value) for name, value in state.items()}
        notes = {
            "work": self._work,
            "step": step,
            "best": [score, best_step, *ratios],
            "history": self._history,
            "order": [int(index) for index in self._order],
            "generator": self._generator.bit_generator.state,
            "seconds": self._elapsed(),
        }
        self._checkpoint.write({name: value.cpu().numpy() for name, value in arrays.items()}, notes)

    def _resume(self) -> int:
        """Go on from the checkpoint if there is one of the same work; the step to go on from."""
        found = self._checkpoint.read(self._work) if self._checkpoint is not None else None
        if found is None:
            return 0
        arrays, notes = found

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): torch.from_numpy(value).to(self._device)
                for name, value in arrays.items()
                if name.startswith(prefix)
            }

        self._student.load_state_dict(part("student/"))
        self._averaged.load_state_dict(part("averaged/"))
        state = self._optimiser.state_dict()
        for name, value in part("optimiser/").items():
            number, _, key = name.partition("/")
            state["state"].setdefault(int(number), {})[key] = value
        self._optimiser.load_state_dict(state)
        score, best_step, *ratios = notes["best"]
        self._best = (score, int(best_step), (ratios[0], ratios[1]), part("best/"))
        self._history = notes["history"]
        self._order = notes["order"]
        self._generator.bit_generator.state = notes["generator"]
        self._spent = notes["seconds"]
        return int(notes["step"])


def _log_gain(sound: Tensor, aligned: Tensor) -> Tensor:
    """How much louder sound is than the input [batch, samples], in nepers of RMS: [batch]."""
    levels = [part[:, COLD_SAMPLES:].square().mean(dim=1) + 1e-12 for part in (sound, aligned)]
    return 0.5 * torch.log(levels[0] / levels[1])


def _fingerprint(config: DistillConfig, styles: Sequence[StyleClip]) -> str:
    """Names the work that a checkpoint belongs to."""
    digest = hashlib.sha256(msgspec.json.encode(asdict(config)))
    for style in styles:
        digest.update(style.name.encode() + b"\0" + np.ascontiguousarray(style.audio).tobytes())
    return digest.hexdigest()
