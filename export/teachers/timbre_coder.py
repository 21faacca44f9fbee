"""The encoder-decoder repaired: no windows, no phase to guess, and a blend of timbres instead of sounds.

What it codes is the shape of the spectrum in ERB bands, the level taken out, by causal convolutions over time: a sound
of any length is one run, without a border. Content and style are coded by the same network. The blend moves the
content's codes to the mean and the covariance of the style's (`transport`), so that what the player does over time
stays. Decoded before and after, the difference is a change of level for every band and frame; faults of the decoder are
in both and fall out. A guarded mix of signals made from the content is brought there (`band_mix`).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .band_mix import Search, mixed
from .band_view import BandView, Seen
from .cached import CausalStack, in_pieces
from .coder_settings import CoderSettings
from .fitting import device_of, fit, seeded
from .resume import Saved
from .teacher import Job, Made
from .transport import moved
from .variational import bounded, divergence, drawn

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PIECE = 2048  # frames at a time


class TimbreCoder(nn.Module):
    """Band shapes [batch, bands, frames] to codes [batch, latent, frames] and back, both causal."""

    def __init__(self, bands: int, settings: CoderSettings) -> None:
        super().__init__()
        self._latent, self._variational = settings.latent, settings.kl > 0.0
        codes = settings.latent * (2 if self._variational else 1)
        self.encoder = CausalStack(bands, codes, settings.width, settings.dilations)
        self.decoder = CausalStack(settings.latent, bands, settings.width, settings.dilations)

    @property
    def reach(self) -> int:
        """Frames before a decoded one that it depends on."""
        return self.encoder.reach + self.decoder.reach

    def parts(self, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the encoder gives, as mean and, for a VAE, the logarithm of the variance."""
        if not self._variational:
            return codes, None
        return codes[:, : self._latent], bounded(codes[:, self._latent :])


def transfer_by_gains(name: str, job: Job, settings: CoderSettings) -> Made:
    """Train on content and styles, move the content's codes to the styles', put the decoded difference on it."""
    device = device_of(job)
    view = BandView(settings.sample_rate, settings.n_fft, settings.hop, settings.bands)
    content, styles = view.look(job.content), [view.look(style.audio) for style in job.styles]
    heard = [content, *styles]
    mean, deviation = _standard(heard)
    coder = seeded(job.seed, lambda: TimbreCoder(view.bands.count, settings)).to(device)
    lead = coder.reach
    rows = [_row(one, mean, deviation, lead, device) for one in heard]
    window = min(settings.window, *(len(one.weight) for one in heard))
    excerpts = _excerpts([one.weight for one in heard], window)

    def losses(indices: Tensor, generator: torch.Generator) -> Mapping[str, Tensor]:
        chosen = [excerpts[int(index)] for index in indices]
        seen = torch.cat([rows[which][:, :, start : start + lead + window] for which, start in chosen])
        code, spread = coder.parts(coder.encoder(seen)[0])
        if spread is None:
            return {"reconstruction": _difference(coder.decoder(code)[0], seen, lead)}
        found = coder.decoder(drawn(code, spread, generator))[0]
        cost = settings.kl * divergence(code[:, :, lead:], spread[:, :, lead:]) / view.bands.count
        return {"reconstruction": _difference(found, seen, lead), "kl": cost}

    @torch.no_grad()
    def change() -> Float32:
        """Of the band levels, in nepers: float32 [frames, bands]."""
        codes = [_codes(coder, row, lead) for row in rows]
        pairs = [(code, one.weight) for code, one in zip(codes, heard, strict=True)]
        there = moved(*pairs[0], pairs[1:], [style.weight for style in job.styles], settings.blend)
        both = np.stack((codes[0], there)).transpose(0, 2, 1)
        # The decoder's past of the first frame is that frame.
        both = np.concatenate((np.repeat(both[:, :, :1], coder.decoder.reach, axis=2), both), axis=2)
        decoded = in_pieces(coder.decoder, torch.tensor(both, dtype=torch.float32, device=device), PIECE)
        difference = (decoded[1] - decoded[0])[:, coder.decoder.reach :].T.cpu().numpy()
        return np.asarray(difference * deviation, dtype=np.float32)

    saved = Saved(name, job, settings)
    history = fit(
        coder,
        losses,
        len(excerpts),
        job,
        saved,
        epochs=settings.iterations,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
    )
    audio = job.content.copy()
    if settings.blend > 0.0:
        search = Search(settings.steps, settings.guards, settings.smooth_ms)
        audio = mixed(view, job, content, styles, change(), settings.blend, search)
    saved.remove()
    details = {
        "parameters": sum(value.numel() for value in coder.parameters()),
        "windows": len(excerpts),
        "reach_frames": lead,
    }
    return Made(audio, history, [], details)


def _difference(found: Tensor, wanted: Tensor, lead: int) -> Tensor:
    return functional.mse_loss(found[:, :, lead:], wanted[:, :, lead:])


def _codes(coder: TimbreCoder, row: Tensor, lead: int) -> Float64:
    """Mean codes [frames, channels] of a whole sound."""
    mean = coder.parts(in_pieces(coder.encoder, row, PIECE))[0]
    return np.asarray(mean[0, :, lead:].T.double().cpu().numpy())


def _standard(heard: list[Seen]) -> tuple[Float32, Float32]:
    """Mean and deviation of every band's shape [bands] over all sounds, each counted alike."""
    mean = np.mean([one.weight @ one.shape for one in heard], axis=0)
    square = np.mean([one.weight @ (one.shape - mean) ** 2 for one in heard], axis=0)
    return mean.astype(np.float32), np.sqrt(square + 1e-2).astype(np.float32)


def _row(one: Seen, mean: Float32, deviation: Float32, lead: int, device: torch.device) -> Tensor:
    """Standardised shapes [1, bands, lead + frames]; the beginning is mirrored as the past that there was not."""
    rows = (one.shape - mean) / deviation
    rows = np.concatenate((rows[np.arange(lead, 0, -1) % len(rows)], rows))
    return torch.tensor(rows.T[None], dtype=torch.float32, device=device)


def _excerpts(weights: list[Float64], window: int) -> list[tuple[int, int]]:
    """(sound, first frame) of training excerpts that overlap by half; those that hold no sound are left out."""
    found = []
    for which, weight in enumerate(weights):
        last = len(weight) - window
        starts = sorted({*range(0, last, max(1, window // 2)), last})
        found += [(which, start) for start in starts if weight[start : start + window].any()]
    return found
