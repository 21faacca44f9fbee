"""Band levels that are wanted made a sound: gains of signals made from what is played (`mix`), found with guards.

A gain on what is played alone raises what is there: a plucked string that has lost its treble would give up its noise,
and gains that follow the clip's course draw attacks that nobody played. So a short search finds gains of the content
and of its saturations and noise: their bands shall have the levels that are wanted, and what the player's pitch, attack
and level lose is weighed against that (`guards`). The level of every frame stays the player's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch
from torch import Tensor

from ..sounds import rms_of
from ..statistics import normalise_level
from .band_view import FLOOR, RMS, BandView, Seen
from .descent import Descent, descend
from .guards import Guards
from .mix import LEAST, MOST, Mix
from .teacher import Job

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PER_OCTAVE = 12
LEARNING_RATE = 0.1
LONG_TERM = 1.0
"""Weight of the long-term levels against those of every frame."""
STEADINESS = 0.05
"""Weight of changes of gains from band to band, and four times that from frame to frame."""
LARGEST_CHANGE = 6.0  # nepers
ROUNDS = 8


@dataclass(frozen=True)
class Search:
    """steps: of the search for gains; guards: weight of what the player loses; smooth_ms: deviation of the Gaussian
    that smooths the wanted changes over time."""

    steps: int
    guards: float
    smooth_ms: float


def wanted_levels(seen: Seen, change: Float32, power: Float64) -> Float64:
    """Power that the bands shall have [frames, bands]: changed by nepers [frames, bands], each frame as loud as it was.

    power: of the long run [bands], at any level; what changes alone do not bring there is made up alike in all frames.
    """
    own, level, least = seen.power, seen.power.sum(axis=1), 1e-12
    static, floor = np.zeros(len(power)), 1e-3 * power.mean()
    for _ in range(ROUNDS):
        found = own * np.exp(2.0 * np.clip(change + static, -LARGEST_CHANGE, LARGEST_CHANGE))
        found *= (level / (found.sum(axis=1) + least))[:, None]
        reached = found.mean(axis=0) * power.sum() / max(float(found.mean(axis=0).sum()), least)
        static += 0.5 * np.log((power + floor) / (reached + floor))
    return np.asarray(found)


def long_run(content: Seen, styles: Sequence[Seen], weights: Sequence[float], blend: float) -> Float64:
    """Mean power of the bands [bands], so far on the way from the content's to the styles', 0..1; their sum is 1."""
    shares = np.asarray(weights, dtype=np.float64) / sum(weights)
    there = np.sum([share * one.power.mean(axis=0) for share, one in zip(shares, styles, strict=True)], axis=0)
    own = content.power.mean(axis=0)
    logs = [np.log(one / one.sum() + 1e-9) for one in (own, there)]
    return np.asarray(np.exp((1.0 - blend) * logs[0] + blend * logs[1]))


def mixed(
    view: BandView, job: Job, content: Seen, styles: Sequence[Seen], change: Float32, blend: float, search: Search
) -> Float32:
    """The job's content, seen so, under changes of its band levels in nepers [frames, bands]: audio at its RMS."""
    frames = search.smooth_ms / 1000.0 * view.analysis.sample_rate / view.analysis.hop
    if frames > 0.0:
        change = scipy.ndimage.gaussian_filter1d(change, frames, axis=0, mode="nearest")
    sounds, weights = [style.audio for style in job.styles], [style.weight for style in job.styles]
    wanted = wanted_levels(content, change, long_run(content, styles, weights, blend))
    audio = job.content * np.float32(RMS / content.rms)
    mix = Mix(audio, view.analysis, PER_OCTAVE, device=job.device)
    guards = Guards(audio, sounds, weights, view.analysis.sample_rate, job.device)
    errors = _errors(mix, view, guards, wanted, content.weight, search.guards, job.device)
    towards = [
        mix.long_term(style) * (share / max(rms_of(style), 1e-9) ** 2)
        for style, share in zip(sounds, weights, strict=True)
    ]
    start = blend * mix.start(torch.stack(towards).sum(dim=0)) + (1.0 - blend) * mix.start()
    plan = Descent(search.steps, "adam", LEARNING_RATE, fade=True)
    gains, _ = descend(errors, start, plan, low=LEAST, high=MOST)
    with torch.no_grad():
        found = np.asarray(mix.audio(gains).cpu().numpy(), dtype=np.float32)
    return np.asarray(found * np.float32(content.rms / max(rms_of(found), 1e-9)), dtype=np.float32)


def _errors(
    mix: Mix, view: BandView, guards: Guards, wanted: Float64, weight: Float64, guarded: float, device: str
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Of gains, by name: how far bands are from where they shall be, in nepers squared, and what the player loses."""
    scale, pooling = view.pooling
    pool = torch.from_numpy(pooling.astype(np.float32)).to(device)
    target = torch.from_numpy(np.log1p(wanted / FLOOR**2).astype(np.float32)).to(device)
    mean = torch.from_numpy(np.log1p(wanted.mean(axis=0) / FLOOR**2).astype(np.float32)).to(device)
    counted = torch.from_numpy(weight.astype(np.float32))[:, None].to(device)

    def errors(gains: Tensor) -> dict[str, Tensor]:
        spectrum = mix.spectrum(gains)
        parts = torch.view_as_real(spectrum[: len(pool)])
        power = (parts.square().sum(dim=-1).T @ pool) * scale**2
        # The whole is brought to the content's level at the end.
        power = power * (wanted.sum() / (power.sum() + 1e-12))
        apart = 0.25 * (counted * (torch.log1p(power / FLOOR**2) - target).square()).sum() / len(mean)
        run = 0.25 * (torch.log1p(power.mean(dim=0) / FLOOR**2) - mean).square().mean()
        over_time = (gains[..., 1:] - gains[..., :-1]).square().mean()
        over_bands = (gains[:, 1:] - gains[:, :-1]).square().mean()
        found = {"bands": apart, "long run": LONG_TERM * run, "smooth": STEADINESS * (over_bands + 4.0 * over_time)}
        if guarded:
            found["guards"] = guarded * guards(normalise_level(mix.audio(gains)[None]))
        return found

    return errors
