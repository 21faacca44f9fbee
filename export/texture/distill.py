"""Distillation of textures: from recordings to one student that plays any mix of them."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, signal
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn import functional

from ... import DuendeError
from ...engine.model import TEXTURE_SIZES
from ...engine.texture import FEATURE_SCALE, NOISE_PERIOD, Listener, Noise, hann, unit_power
from ..distill import LISTEN_EVERY, Progress
from ..losses import Tonality, correlation, log_level
from ..statistics import normalise_level
from .statistics import SHORT_SCALE, TEACHER_SCALE, OnsetGuard, PatchTarget
from .student import Heard, Played, Player, StudentConfig, TextureStudent

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

CHUNK_HOPS = 64
LONGEST_CLIP_S = 30.0
LOWEST_HZ = 30.0
COLD_HOPS = 16
TONAL, LEAST_TONE = 0.2, 0.03
TEMPLATE_SWING = (-1.5, 0.8)
LEVEL_GROUPS, CENTRE_STEPS = 6, 64
RMS = 0.1


@dataclass(frozen=True)
class TextureWeights:
    """How much each term counts. gram and short are 1/2 log of the error's ratio to the untouched content's."""

    gram: float = 1.0
    short: float = 0.5
    target: float = 0.3
    choice: float = 0.3
    onset: float = 0.3
    loudness: float = 1.0
    tonality: float = 1.0
    consistency: float = 1.0


@dataclass(frozen=True)
class TextureConfig:
    """How to distil textures.

    seconds, run_in_seconds: length of a training piece, and of what warms up its slow averages.
    quicker: how much faster the styles' own spectra and dynamics learn than the network.
    mixed: share of the steps that train two styles at once, where there are several.
    """

    sample_rate: int = 48000
    width: int = 128
    templates: int = 24
    pieces: int = 40
    seconds: float = 3.2
    run_in_seconds: float = 3.0
    steps: int = 200
    steps_per_further_style: int = 120
    batch: int = 3
    learning_rate: float = 2e-3
    quicker: float = 5.0
    warm_up: int = 30
    average: float = 0.97
    mixed: float = 0.2
    seed: int = 1
    weights: TextureWeights = field(default_factory=TextureWeights)


@dataclass
class TextureDistilled:
    """A student (averaged weights), the course of the training, and whether it took all its steps."""

    student: TextureStudent
    history: list[dict[str, float]]
    seconds: float
    complete: bool


def prepare_clip(clip: Float32, sample_rate: int) -> Float32:
    """What is learned of a clip [samples]: its first 30 s without what lies below 30 Hz, at RMS 0.1.

    Direct current and rumble are inaudible and would be most of the level of some recordings.
    """
    filtered = signal.sosfiltfilt(
        signal.butter(2, LOWEST_HZ, "highpass", fs=sample_rate, output="sos"),
        clip[: round(LONGEST_CLIP_S * sample_rate)].astype(np.float64),
    )
    level = math.sqrt(float(np.mean(filtered**2)))
    if not level > 1e-6:
        raise DuendeError(f"the clip is silent ({20.0 * math.log10(level + 1e-20):.0f} dBFS): nothing to learn from")
    return np.asarray(filtered * (RMS / level), dtype=np.float32)


class _Style:
    """What is known of one style: patches at two scales, tonality, and where its student starts from."""

    def __init__(self, clip: Float32, config: TextureConfig) -> None:
        ready = prepare_clip(clip, config.sample_rate)
        shortest = 2 * TEACHER_SCALE.n_fft + 12 * TEACHER_SCALE.hop
        if len(ready) < shortest:
            raise DuendeError(
                f"a clip of {len(ready) / config.sample_rate:.2f} s: a texture needs at least "
                f"{shortest / config.sample_rate:.2f} s"
            )
        audio = torch.from_numpy(ready)
        self.teacher = PatchTarget(audio, TEACHER_SCALE, 16)
        self.short = PatchTarget(audio, SHORT_SCALE, 8)
        self._tonality = Tonality(config.sample_rate)
        with torch.no_grad():
            self.tonality = self._tonality(audio[None])[0].clamp(0.0, 1.0)
        self.templates = clip_templates(ready, config.templates)

    def tonality_of(self, audio: Tensor) -> Tensor:
        found: Tensor = self._tonality(audio)
        return found


class TextureDistiller:
    """Content that was heard once, for any number of textures.

    content: float32 [pieces, samples] at config.sample_rate as `export.corpus.content_pieces` gives them, the first
    run_in_seconds of each only warming up.
    """

    def __init__(self, content: Sequence[Float32], config: TextureConfig) -> None:
        self.config = config
        hop, rate = TEXTURE_SIZES.hop, config.sample_rate
        self._past = StudentConfig().receptive_field - 1
        self._run_in = round(config.run_in_seconds * rate) // hop
        if self._run_in < self._past:
            raise ValueError(f"run_in_seconds {config.run_in_seconds:g} is shorter than the student's memory")
        self._pieces = [hear(piece, rate, self._run_in, self._past) for piece in content]
        self._onset = OnsetGuard(rate)
        self._ranks = _ranks([_describe_content(piece) for piece in self._pieces])
        self._player = Player()
        self._noise = _noise_table()
        with torch.no_grad():
            audio = self._content_audio()
            self._flux = self._onset.flux(audio)
            self._level = log_level(audio)

    def distil(
        self,
        clips: Sequence[Float32],
        report: Callable[[Progress], None] | None = None,
        targets: Sequence[Sequence[Float32]] | None = None,
        seconds: float = math.inf,
        *,
        listen: bool = False,
    ) -> TextureDistilled:
        """Train one student for clips [samples] at config.sample_rate, for at most so many seconds.

        targets: for each clip, what a teacher made of the first pieces of the content: float32, as long as the piece,
        aligned to the sample (`export.teachers.targets.teacher_targets`); None trains on statistics alone.
        listen: let `report` hear the student now and then.
        """
        config = self.config
        started = time.perf_counter()
        torch.manual_seed(config.seed)
        generator = np.random.default_rng(config.seed)
        styles = [_Style(clip, config) for clip in clips]
        student = TextureStudent(
            StudentConfig(
                styles=len(styles),
                width=config.width,
                templates=config.templates,
                sample_rate=float(config.sample_rate),
            )
        )
        found = [style.templates for style in styles]
        student.start_from(
            torch.stack([one.spectra for one in found]),
            torch.stack([one.levels.clamp(*TEMPLATE_SWING) for one in found]),
            torch.tensor([one.gamma for one in found]),
        )
        wanted = None if targets is None else [[self._target(one) for one in row] for row in targets]
        untouched = [self._untouched(style) for style in styles]
        averaged = torch.optim.swa_utils.AveragedModel(
            student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)
        )
        quick = [student.gamma_raw]
        slow = [one for one in student.parameters() if all(one is not other for other in quick)]
        optimiser = torch.optim.Adam(
            [{"params": slow, "scale": 1.0}, {"params": quick, "scale": config.quicker}], betas=(0.9, 0.98)
        )
        steps = config.steps + config.steps_per_further_style * (len(styles) - 1)
        order: list[int] = []
        history = []
        for step in range(steps):
            # The rate falls, and help fades, towards the end of the steps or of the time, whichever is nearer.
            done = max(step / steps, (time.perf_counter() - started) / seconds)
            if done >= 1.0:
                break
            for group in optimiser.param_groups:
                group["lr"] = group["scale"] * config.learning_rate * _schedule(step, done, config.warm_up)
            while len(order) < config.batch:
                order += list(generator.permutation(len(self._pieces)))
            chosen, order = order[: config.batch], order[config.batch :]
            shares = _shares(len(styles), step, config.mixed, generator)
            played, choice = self._play(student, chosen, shares, generator)
            terms = self._terms(played, chosen, styles, shares, untouched, generator)
            fade = max(0.0, 1.0 - 2.0 * done)
            if wanted is not None:
                terms["target"] = fade * self._target_error(played, chosen, wanted, shares)
            if fade > 0.0:
                terms["choice"] = fade * self._choice_error(choice, chosen, styles, shares)
            total = sum((getattr(config.weights, name) * term for name, term in terms.items()), start=torch.zeros(()))
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            averaged.update_parameters(student)
            losses = {name: float(term.detach()) for name, term in terms.items()} | {"total": float(total.detach())}
            for name in ("gram", "short"):
                losses[name] = math.exp(2.0 * losses[name])
            history.append(losses)
            if report is not None:
                sound = self._listen(averaged.module) if listen and step % LISTEN_EVERY == 0 else None
                report(Progress(step + 1, steps, losses, time.perf_counter() - started, sound))
        best = averaged.module
        assert isinstance(best, TextureStudent)
        _quieten_tones(best, styles)
        self._calibrate(best)
        return TextureDistilled(best, history, time.perf_counter() - started, len(history) == steps)

    @torch.no_grad()
    def _listen(self, student: torch.nn.Module) -> Float32:
        """What a student plays of the last piece in the first style."""
        assert isinstance(student, TextureStudent)
        shares = np.eye(1, student.config.styles, dtype=np.float32)
        # Not the training's own generator: who listens must not change what is learned.
        played, _ = self._play(student, [len(self._pieces) - 1], shares, np.random.default_rng(0))
        return np.asarray(played.audio[0, COLD_HOPS * TEXTURE_SIZES.hop :].numpy(), dtype=np.float32)

    def _play(
        self, student: TextureStudent, chosen: Sequence[int], shares: Float32, generator: np.random.Generator
    ) -> tuple[Played, Tensor]:
        """Sound, and logits of the templates [batch, frames, templates]."""
        heard = batch([self._pieces[index] for index in chosen])
        ratios, dynamics, choice = (
            part[:, self._past :] for part in student.answer(heard.features, torch.from_numpy(shares))
        )
        frames = ratios.shape[1]
        starts = generator.integers(0, len(self._noise) - frames, len(chosen))
        noise = torch.stack([self._noise[start : start + frames] for start in starts])
        played = self._player(heard, ratios, dynamics, noise)
        assert isinstance(played, Played)
        return played, choice

    def _terms(
        self,
        played: Played,
        chosen: Sequence[int],
        styles: Sequence[_Style],
        shares: Float32,
        untouched: Sequence[tuple[float, float]],
        generator: np.random.Generator,
    ) -> dict[str, Tensor]:
        """Every loss term, unweighted, for one batch."""
        hop = TEXTURE_SIZES.hop
        output = normalise_level(played.audio[:, COLD_HOPS * hop :], RMS)
        zero = torch.zeros(())
        gram, short, tonality = zero, zero, zero
        for share, style, (far, far_short) in zip(shares, styles, untouched, strict=True):
            if share > 0.0:
                gram = gram + float(share) * style.teacher.distance(output, generator) / far
                short = short + float(share) * style.short.distance(output, generator) / far_short
                tonality = tonality + float(share) * (style.tonality_of(output) - style.tonality).abs().mean()
        index = torch.as_tensor(np.asarray(chosen))
        return {
            "gram": 0.5 * torch.log(gram + 1e-3),
            "short": 0.5 * torch.log(short + 1e-2),
            "onset": self._onset(self._flux[index], output),
            "loudness": torch.relu(0.9 - correlation(self._level[index], log_level(output))).mean(),
            "tonality": tonality,
            "consistency": self._inconsistency(played),
        }

    def _inconsistency(self, played: Played) -> Tensor:
        """Energy of magnitudes that overlap-add does not keep, over all energy; every fourth frame."""
        sizes = TEXTURE_SIZES
        every, lead = 4, (sizes.analysis - sizes.synthesis) // 2
        window = torch.from_numpy(hann(sizes.analysis) * unit_power(sizes, hann(sizes.analysis))).float()
        start = COLD_HOPS * sizes.hop
        frames = played.audio[:, start - lead :].unfold(-1, sizes.analysis, every * sizes.hop)
        found = torch.fft.rfft(frames * window)
        wanted = played.spectra[:, COLD_HOPS::every][:, : found.shape[1]]
        found = found[:, : wanted.shape[1]]
        size = torch.sqrt(torch.view_as_real(found).square().sum(-1) + 1e-14)
        aim = torch.sqrt(torch.view_as_real(wanted).square().sum(-1) + 1e-14)
        return (size - aim).square().sum() / (aim.square().sum() + 1e-9)

    def _content_audio(self) -> Tensor:
        """The input, aligned with the output (one hop late), at RMS 0.1, without the cold start."""
        hop = TEXTURE_SIZES.hop
        audio = torch.stack([piece.audio for piece in self._pieces])
        return normalise_level(audio[:, (COLD_HOPS - 1) * hop : -hop], RMS)

    @torch.no_grad()
    def _untouched(self, style: _Style) -> tuple[float, float]:
        """Distances of the content itself."""
        audio = self._content_audio()[:8]
        return float(style.teacher.distance(audio)) + 1e-6, float(style.short.distance(audio)) + 1e-6

    def _target(self, audio: Float32) -> Tensor:
        """Log magnitudes [frames, bins] of a teacher's sound, frames centred on the ends of hops, in half floats."""
        sizes = TEXTURE_SIZES
        window = hann(sizes.analysis) * unit_power(sizes, hann(sizes.analysis))
        half = sizes.analysis // 2
        padded = np.pad(audio.astype(np.float64), (half, half))
        ends = np.arange(self._run_in + 1, len(audio) // sizes.hop + 1) * sizes.hop
        frames = np.lib.stride_tricks.sliding_window_view(padded, sizes.analysis)[ends]
        found = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
        return torch.from_numpy(0.5 * np.log(found + 1e-10)).half()

    def _target_error(
        self, played: Played, chosen: Sequence[int], wanted: Sequence[Sequence[Tensor]], shares: Float32
    ) -> Tensor:
        """Mean deviation of log magnitudes from the teacher's (weights of styles: in the logarithm), within 60 dB.

        0 for a piece that the teacher did not play.
        """
        known = [row for row, index in enumerate(chosen) if index < min(map(len, wanted))]
        if not known:
            return torch.zeros(())
        mixed = [
            torch.stack([float(share) * rows[chosen[row]].float() for share, rows in zip(shares, wanted, strict=True)])
            for row in known
        ]
        aims = torch.stack(mixed).sum(dim=1)
        floor = aims.amax(dim=-1, keepdim=True).clamp(min=-9.0) - 7.0
        got = torch.maximum(0.5 * played.log_power[known], floor)
        return (got - torch.maximum(aims, floor)).abs().mean() * (len(known) / len(chosen))

    def _choice_error(self, choice: Tensor, chosen: Sequence[int], styles: Sequence[_Style], shares: Float32) -> Tensor:
        """Cross entropy of the templates with those that sound at the input's rank of level and centre."""
        total = torch.zeros(())
        for share, style in zip(shares, styles, strict=True):
            if share > 0.0:
                aims = torch.stack([_matching(self._ranks[index], style.templates.cells) for index in chosen])
                total = total + float(share) * functional.cross_entropy(choice.flatten(0, 1), aims.flatten())
        return total

    @torch.no_grad()
    def _calibrate(self, student: TextureStudent) -> None:
        """Set the level of each style so that on the content its output has the input's RMS."""
        styles = student.config.styles
        for style in range(styles):
            shares = np.eye(styles, dtype=np.float32)[style]
            generator = np.random.default_rng(0)
            excess = []
            for piece in range(min(8, len(self._pieces))):
                played, _ = self._play(student, [piece], shares, generator)
                levels = [
                    part[:, COLD_HOPS * TEXTURE_SIZES.hop :].square().mean() + 1e-12
                    for part in (played.audio, self._pieces[piece].audio[None])
                ]
                excess.append(0.5 * float(torch.log(levels[0] / levels[1])))
            student.level[style] -= float(np.mean(excess))


def hear(samples: Float32, sample_rate: int, run_in: int, past: int) -> Heard:
    """Let the engine listen to samples [n]; the first run_in hops only warm up, past more come before the first kept.

    Without a batch axis.
    """
    hop = TEXTURE_SIZES.hop
    hops = len(samples) // hop
    listener = Listener(TEXTURE_SIZES, float(sample_rate), float(sample_rate), 1, CHUNK_HOPS)
    features, level, swing = [], [], []
    for start in range(0, hops, CHUNK_HOPS):
        block = samples[None, start * hop : min(hops, start + CHUNK_HOPS) * hop]
        listener.process(np.ascontiguousarray(block))
        count = block.shape[1] // hop
        features.append(listener.features[0, :count].copy())
        level.append(listener.level[0, :count].copy())
        swing.append(np.maximum(listener.swing[0, :count], -30.0))
    return Heard(
        features=torch.from_numpy(np.concatenate(features)[run_in - past :]),
        level=torch.from_numpy(np.concatenate(level)[run_in:]).float(),
        swing=torch.from_numpy(np.concatenate(swing)[run_in:]).float(),
        audio=torch.from_numpy(samples[run_in * hop : hops * hop].copy()),
    )


def batch(pieces: Sequence[Heard]) -> Heard:
    """Pieces of equal length as one batch."""
    return Heard(**{name: torch.stack([getattr(one, name) for one in pieces]) for name in Heard.__dataclass_fields__})


def _noise_table() -> Tensor:
    """The engine's noise, every hop of its loop: complex64 [hops, bins]."""
    noise = Noise(TEXTURE_SIZES, CHUNK_HOPS)
    turns = NOISE_PERIOD // (CHUNK_HOPS * TEXTURE_SIZES.hop)
    return torch.from_numpy(np.concatenate([noise.process(CHUNK_HOPS).copy() for _ in range(turns)]))


@dataclass
class Templates:
    """The clip's usual spectra: log magnitudes of tone and noise [templates, 2, bins], each of power 1 in all.

    levels: their log levels over the clip's [templates].
    gamma: dynamics to start with, more where the clip has more.
    cells: int64 [LEVEL_GROUPS, CENTRE_STEPS], which template sounds at which level and centre (`_ranks`) of the input.
    """

    spectra: Tensor
    levels: Tensor
    gamma: float
    cells: Tensor


def clip_templates(clip: Float32, count: int) -> Templates:
    """Group a clip's frames (k-means of log magnitudes smoothed over 80 ms) and share each group's power out."""
    sizes = TEXTURE_SIZES
    window = hann(sizes.analysis) * unit_power(sizes, hann(sizes.analysis))
    frames = np.lib.stride_tricks.sliding_window_view(clip.astype(np.float64), sizes.analysis)[:: sizes.hop]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 + 1e-14
    smooth = ndimage.uniform_filter1d(power, 32, axis=0)
    log = 0.5 * np.log(smooth + 1e-5 * smooth.max())
    centres, _ = kmeans2(log[::4], count, minit="++", seed=0, iter=20)
    labels = np.argmin((log**2).sum(1)[:, None] - 2.0 * log @ centres.T + (centres**2).sum(1), axis=1)
    steady = _steadiness(clip)
    spectra, levels = [], []
    for template in range(count):
        members = labels == template
        mean = power[members].mean(axis=0) if members.any() else power.mean(axis=0)
        # What stands out of its surroundings is tone even where it moves too much to be steady.
        around = ndimage.median_filter(mean, 31, mode="nearest")
        share = np.clip(np.maximum(steady, 1.0 - 2.0 * around / mean), 0.02, 0.98)
        levels.append(0.5 * np.log(mean[1:-1].sum()))
        both = 0.5 * np.log(np.stack([share * mean, (1.0 - share) * mean]))
        spectra.append(both - levels[-1])
    ranks = _ranks([_described(power, 0.5 * np.log(power.sum(axis=1)))])[0]
    overall = 0.5 * np.log(power[:, 1:-1].sum(axis=1).mean())
    return Templates(
        torch.from_numpy(np.stack(spectra)).float().clamp(min=-20.0),
        torch.from_numpy(np.array(levels) - overall).float(),
        float(np.clip(0.4 + 0.8 * np.std(0.5 * np.log(smooth.sum(axis=1))), 0.4, 1.2)),
        _cells(labels, ranks),
    )


def _steadiness(clip: Float32) -> Float64:
    """How much of a tone each bin of a clip is [bins]: 1 where it is steady, 0 where it moves as noise does.

    The geometric over the arithmetic mean power of four frames 512 samples apart, between that of noise and 1.
    """
    size = TEXTURE_SIZES.analysis

    def found(audio: Float32) -> Float64:
        frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), size)[:: size // 2]
        power = np.abs(np.fft.rfft(frames * hann(size), axis=1)) ** 2 + 1e-12
        runs = power[: len(power) // 4 * 4].reshape(-1, 4, power.shape[1])
        arithmetic, geometric = runs.mean(axis=1), np.exp(np.log(runs).mean(axis=1))
        return np.asarray(geometric.sum(axis=0) / arithmetic.sum(axis=0))

    least = float(np.mean(found(np.random.default_rng(0).standard_normal(200 * size).astype(np.float32))))
    share = np.clip((found(clip) - least) / (1.0 - least), 0.0, 1.0)
    return np.asarray(ndimage.uniform_filter1d(share, 5, mode="nearest"))


def _smoothed(values: Float64) -> Float64:
    """Mean over some 150 ms of each column of values [frames, columns]."""
    window = hann(58)[1:] / hann(58).sum()
    return np.stack([np.convolve(np.pad(one, 28, mode="edge"), window, "valid") for one in values.T], axis=1)


def _described(power: Float64, level: Float64) -> Float64:
    """Smoothed log level and mean log2 frequency [frames, 2] of power [frames, bins]."""
    octave = np.log2(np.maximum(1.0, np.arange(power.shape[1])))
    centre = (power @ octave) / (power.sum(axis=1) + 1e-20)
    return _smoothed(np.stack([level, centre], axis=1))


def _describe_content(piece: Heard) -> Float64:
    seen = piece.features[-len(piece.level) :, :-1].numpy().astype(np.float64)
    power = np.exp(2.0 * FEATURE_SCALE * seen) - 1.0
    return _described(power, piece.swing.numpy().astype(np.float64))


def _ranks(described: Sequence[Float64]) -> list[Float64]:
    """Places in 0..1 of frames by (level, centre), all pieces together: [frames, 2] each.

    First by level among all, then by centre among those of about the same level.
    """
    together = np.concatenate(described)
    count = len(together)
    level = np.empty(count)
    level[np.argsort(together[:, 0], kind="stable")] = (np.arange(count) + 0.5) / count
    centre = np.empty(count)
    for group in range(LEVEL_GROUPS):
        members = np.flatnonzero((level * LEVEL_GROUPS).astype(int) == group)
        order = members[np.argsort(together[members, 1], kind="stable")]
        centre[order] = (np.arange(len(order)) + 0.5) / max(1, len(order))
    placed = np.stack([level, centre], axis=1)
    return list(np.split(placed, np.cumsum([len(one) for one in described])[:-1]))


def _cells(labels: npt.NDArray[np.intp], ranks: Float64) -> Tensor:
    """Share the centres of each level group out among templates, as often as they sound at that level, low ones first.

    labels [frames]: the template of each frame of a clip; ranks [frames, 2].
    """
    count = int(labels.max()) + 1
    centre = np.array([ranks[labels == one, 1].mean() if (labels == one).any() else 0.0 for one in range(count)])
    place = (np.arange(CENTRE_STEPS) + 0.5) / CENTRE_STEPS
    cells = []
    for group in range(LEVEL_GROUPS):
        members = labels[_level_group(ranks) == group]
        members = members[np.argsort(centre[members], kind="stable")]
        cells.append(members[(place * len(members)).astype(int)])
    return torch.from_numpy(np.stack(cells))


def _level_group(ranks: Float64) -> npt.NDArray[np.intp]:
    return np.minimum((ranks[:, 0] * LEVEL_GROUPS).astype(np.intp), LEVEL_GROUPS - 1)


def _matching(ranks: Float64, cells: Tensor) -> Tensor:
    """The template [frames] that belongs to an input of ranks [frames, 2]."""
    step = np.minimum((ranks[:, 1] * CENTRE_STEPS).astype(np.intp), CENTRE_STEPS - 1)
    return cells[torch.from_numpy(_level_group(ranks)), torch.from_numpy(step)]


@torch.no_grad()
def _quieten_tones(student: TextureStudent, styles: Sequence[_Style]) -> None:
    """Lower the tone of styles that have none: in rain, what chances to be steady would stand as a whistle."""
    for templates, style in zip(student.templates, styles, strict=True):
        share = float(style.tonality.mean()) / TONAL
        templates[:, 0] += math.log(min(1.0, max(LEAST_TONE, share)))


def _shares(styles: int, step: int, mixed: float, generator: np.random.Generator) -> Float32:
    """Weights of the styles in one step: one of them in turn, or now and then two."""
    shares = np.zeros(styles, dtype=np.float32)
    if styles > 1 and generator.random() < mixed:
        first, second = generator.choice(styles, 2, replace=False)
        shares[first] = generator.random()
        shares[second] = 1.0 - shares[first]
    else:
        shares[step % styles] = 1.0
    return shares


def _schedule(step: int, done: float, warm_up: int) -> float:
    """Linear warm-up over some steps, and a half cosine over all of the training (done: 0 to 1) down to 3 %."""
    return min(1.0, (step + 1) / warm_up) * (0.03 + 0.97 * 0.5 * (1.0 + math.cos(math.pi * done)))
