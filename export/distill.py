"""Distillation of one style: from a recording to the weights of a student, its body and what was reached."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..engine.follower import STRENGTH
from ..engine.mixer import mixer_bands
from ..engine.stft import DEFAULT_SIZES, StftSizes
from .content import batch, hear_all
from .losses import LossWeights, OnsetGuard, PitchGuard, Tonality, correlation, log_level
from .measures import matched_eq
from .statistics import (
    BandEnvelopes,
    LogSpectrogram,
    envelope_distance,
    gram_distance,
    normalise_level,
    random_filters,
    zone_grams,
)
from .student import Heard, Renderer, Student, StudentConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BODY_POINTS = 2049
BODY_TOP_HZ = 24000.0
BODY_FLOOR_DB = -110.0
EQ_PIECES = 8


@dataclass(frozen=True)
class DistillConfig:
    """How to distil.

    excitations: what the student mixes from.
    body_octaves: smoothing of the body's spectrum; 0 copies every line of the clip, which imprints its pitches.
    seconds, run_in_seconds: length of a training piece, and of what warms up its slow averages.
    """

    sample_rate: int = 48000
    sizes: StftSizes = DEFAULT_SIZES
    excitations: tuple[str, ...] = ("dry@1", "noise@1", "hard@1", "rect@1")
    pieces: int = 64
    seconds: float = 3.2
    run_in_seconds: float = 3.0
    steps: int = 500
    batch: int = 2
    learning_rate: float = 2e-3
    warm_up: int = 25
    average: float = 0.98
    body_octaves: float = 0.12
    filter_banks: int = 24
    seed: int = 1
    weights: LossWeights = field(default_factory=LossWeights)


@dataclass
class Distilled:
    """A student (averaged weights), its body [points] and the course of the training."""

    student: Student
    body: Float32
    history: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Told after every step: losses by name, steps done and in all, seconds so far."""

    step: int
    steps: int
    losses: dict[str, float]
    seconds: float


def style_body(clip: Float32, sample_rate: int, octaves: float) -> Float32:
    """Natural-log magnitude [BODY_POINTS] of a clip's long-term spectrum up to BODY_TOP_HZ, mean power 1.

    Smoothed by a Gaussian of `octaves`, flat above 18 kHz, floor -110 dB under the peak.
    """
    n_fft = 4096
    window = np.hanning(n_fft + 1)[:-1]
    padded = np.pad(clip.astype(np.float64), (0, max(0, n_fft - len(clip))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: n_fft // 4]
    power = np.mean(np.abs(np.fft.rfft(frames * window, axis=1)) ** 2, axis=0)
    hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    if octaves > 0.0:
        smooth = np.empty_like(power)
        for index, centre in enumerate(hz):
            width = max(octaves * 0.7 * centre, 0.5 * hz[1])
            low, high = np.searchsorted(hz, (centre - 4 * width, centre + 4 * width))
            near = slice(max(0, low - 1), high + 1)
            kernel = np.exp(-0.5 * ((hz[near] - centre) / width) ** 2)
            smooth[index] = (kernel * power[near]).sum() / kernel.sum()
        power = smooth
    power = np.maximum(power, power.max() * 10.0 ** (BODY_FLOOR_DB / 10.0))
    grid = np.linspace(0.0, BODY_TOP_HZ, BODY_POINTS)
    curve = np.interp(np.minimum(grid, 18000.0), hz, 0.5 * np.log(power))
    curve -= 0.5 * np.log(np.mean(np.exp(2.0 * curve)))
    return np.asarray(curve, dtype=np.float32)


class _Style:
    """Statistics of the clip that the output is held against."""

    def __init__(self, clip: Float32, config: DistillConfig) -> None:
        self._spectrogram = LogSpectrogram()
        self._envelopes = BandEnvelopes(config.sample_rate)
        self._filters = [random_filters(1000 + 100 * config.seed + index) for index in range(config.filter_banks)]
        self._tonality = Tonality(config.sample_rate)
        with torch.no_grad():
            rows = normalise_level(torch.from_numpy(clip)[None])
            spectrogram = self._spectrogram(rows)
            self._grams = [zone_grams(spectrogram, bank)[0] for bank in self._filters]
            self._target = self._envelopes(rows)[0]
            self.tonality = self._tonality(rows)[0].clamp(0.0, 1.0)

    def distances(self, audio: Tensor, bank: int) -> tuple[Tensor, Tensor]:
        """Gram distance with one filter bank and envelope error, means over the batch; audio at RMS 0.1."""
        grams = zone_grams(self._spectrogram(audio), self._filters[bank])
        return gram_distance(grams, self._grams[bank]).mean(), envelope_distance(
            self._envelopes(audio), self._target
        ).mean()

    def tonality_of(self, audio: Tensor) -> Tensor:
        return torch.as_tensor(self._tonality(audio))


class Distiller:
    """Trains students on one pool of content; the pool is heard once and serves every style."""

    def __init__(self, content: Sequence[Float32], config: DistillConfig) -> None:
        self.config = config
        hop = config.sizes.hop
        student = StudentConfig(config.excitations)
        self._run_in = round(config.run_in_seconds * config.sample_rate) // hop * hop
        past = student.receptive_field - 1
        if self._run_in < past * hop:
            raise ValueError(f"run_in_seconds {config.run_in_seconds:g} is shorter than the student's memory")
        self._past = past
        # The body and the follower start from silence: what they need to fill is not judged.
        self._cold = 6144
        self._pieces = hear_all(
            content, float(config.sample_rate), config.sizes, self._run_in, past, config.excitations
        )
        bands = mixer_bands(config.sizes, float(config.sample_rate))
        self._bands = bands
        self._pitch = PitchGuard(config.sample_rate)
        self._onset = OnsetGuard(np.ascontiguousarray(bands.pooling))
        with torch.no_grad():
            audio = torch.stack([piece.audio[self._cold :] for piece in self._pieces])
            audio = normalise_level(audio)
            self._input = audio
            self._notes = self._pitch.notes(audio)
            self._note_weight = self._pitch.weight(audio)
            self._flux = self._onset.flux(audio)
            self._level = log_level(audio)
            self._tonality = Tonality(config.sample_rate)(audio).clamp(0.0, 1.0)

    def distil(self, clip: Float32, report: Callable[[Progress], None] | None = None) -> Distilled:
        """Train one student for a clip [samples] at config.sample_rate."""
        config, weights = self.config, self.config.weights
        started = time.perf_counter()
        torch.manual_seed(config.seed)
        generator = np.random.default_rng(config.seed)
        style = _Style(clip, config)
        body = style_body(clip, config.sample_rate, config.body_octaves)
        renderer = Renderer(self._bands, config.sizes, config.sample_rate, body, BODY_TOP_HZ)
        eq_gram, eq_envelope = self._eq_distances(clip, style)
        student = Student(StudentConfig(config.excitations))
        averaged = torch.optim.swa_utils.AveragedModel(
            student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)
        )
        slow = [p for name, p in student.named_parameters() if name not in ("base", "gamma_raw")]
        quick = [student.base, student.gamma_raw]
        optimiser = torch.optim.Adam(
            [{"params": slow, "scale": 1.0}, {"params": quick, "scale": 5.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        order: list[int] = []
        history = []
        for step in range(config.steps):
            rate = _schedule(step, config) * config.learning_rate
            for group in optimiser.param_groups:
                group["lr"] = rate * group["scale"]
            while len(order) < config.batch:
                order += list(generator.permutation(len(self._pieces)))
            chosen, order = order[: config.batch], order[config.batch :]
            heard = batch([self._pieces[index] for index in chosen])
            terms = self._terms(student, renderer, style, heard, chosen, step % config.filter_banks)
            gram, envelope = terms["gram"] / eq_gram, terms["envelope"] / eq_envelope
            scaled = {
                **terms,
                "gram": torch.sqrt(torch.relu(gram - 0.15) + 0.03),
                "envelope": torch.relu(envelope - 0.15),
            }
            total = sum((getattr(weights, name) * term for name, term in scaled.items()), start=torch.zeros(()))
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            averaged.update_parameters(student)
            losses = {name: float(term.detach()) for name, term in terms.items()}
            losses |= {
                "gram": float(gram.detach()),
                "envelope": float(envelope.detach()),
                "total": float(total.detach()),
            }
            history.append(losses)
            if report is not None:
                report(Progress(step + 1, config.steps, losses, time.perf_counter() - started))
        best = averaged.module
        assert isinstance(best, Student)
        self._calibrate(best, renderer)
        return Distilled(best, body, history, time.perf_counter() - started)

    def _terms(
        self, student: Student, renderer: Renderer, style: _Style, heard: Heard, chosen: Sequence[int], bank: int
    ) -> dict[str, Tensor]:
        """Every loss term, unweighted, for one batch."""
        config = self.config
        ratios, dynamics = student(heard.features, torch.ones(1))
        ratios, dynamics = ratios[:, self._past :], dynamics[:, self._past :]
        gains, energy = renderer.gains(heard, ratios, dynamics)
        output = normalise_level(renderer(heard, gains, dynamics)[:, self._cold :])
        gram, envelope = style.distances(output, bank)
        index = torch.as_tensor(np.asarray(chosen))
        wanted = torch.minimum(style.tonality, self._tonality[index])
        share = energy / (energy.sum(dim=2, keepdim=True) + 1e-12)
        noise = share[:, :, config.excitations.index("noise@1")].mean() * style.tonality.mean() ** 2
        power = (energy.sum(dim=2).mean(dim=1) + 1e-9) * renderer.response
        steps_over_bands = (ratios[..., 1:] - ratios[..., :-1]).square().mean()
        steps_over_time = (ratios[:, 1:] - ratios[:, :-1]).square().mean()
        movement = ratios.var(dim=1).mean()
        return {
            "gram": gram,
            "envelope": envelope,
            "chroma": self._pitch(self._notes[index], self._note_weight[index], output),
            "onset": self._onset(self._flux[index], output),
            "loudness": torch.relu(0.95 - correlation(self._level[index], log_level(output))).mean(),
            "tonality": torch.relu(wanted - style.tonality_of(output)).mean(),
            "spectrum": _flatness(power, renderer.response),
            "noise": noise,
            "roughness": steps_over_bands + 4.0 * steps_over_time,
            "movement": movement,
        }

    @torch.no_grad()
    def _calibrate(self, student: Student, renderer: Renderer) -> None:
        """Set the student's level so that on the content its output has the input's RMS."""
        for _ in range(2):
            excess = []
            for piece in self._pieces[: 2 * EQ_PIECES]:
                heard = batch([piece])
                ratios, dynamics = student(heard.features, torch.ones(1))
                ratios, dynamics = ratios[:, self._past :], dynamics[:, self._past :]
                output = renderer(heard, renderer.gains(heard, ratios, dynamics)[0], dynamics)
                levels = [part[:, self._cold :].square().mean() + 1e-12 for part in (output, heard.aligned)]
                excess.append(0.5 * float(torch.log(levels[0] / levels[1])))
            # The follower undoes a part of every change of level.
            student.level -= float(np.mean(excess)) / (1.0 - STRENGTH)

    @torch.no_grad()
    def _eq_distances(self, clip: Float32, style: _Style) -> tuple[float, float]:
        """Mean style distances of the matched EQ on some of the content."""
        found = []
        for piece in self._pieces[:EQ_PIECES]:
            audio = matched_eq(piece.audio.numpy(), clip, self.config.sample_rate)
            output = normalise_level(torch.from_numpy(audio)[None, self._cold :])
            found.append([float(value) for value in style.distances(output, 0)])
        gram, envelope = np.mean(found, axis=0)
        return float(gram) + 1e-6, float(envelope) + 1e-6


def _flatness(power: Tensor, response: Tensor) -> Tensor:
    """Deviation of the long-term output spectrum from the body's, mean level apart; squared nepers."""
    log = 0.5 * torch.log(power) - 0.5 * torch.log(response)
    return (log - log.mean(dim=-1, keepdim=True)).square().mean()


def _schedule(step: int, config: DistillConfig) -> float:
    """Linear warm-up, then a cosine down to 3 %."""
    if step < config.warm_up:
        return (step + 1) / config.warm_up
    share = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return 0.03 + 0.97 * 0.5 * (1.0 + math.cos(math.pi * share))
