"""The random network repaired: filters that do not know pitch, several window sizes, and a mix that keeps the player.

The published Gram has the bins as channels, so it knows the notes of the clip and writes them: on a cello the result
is the cello's phrase, whatever was played. Here random filters look at patches of a log-frequency spectrogram, and
their Gram is taken over all places of a frequency zone (`export.statistics`), at several window sizes, beside means and
deviations of band levels. What is searched are gains of a `mix.Mix`; guards weigh what the player's pitch, attack and
level lose (`export.losses`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..statistics import Analysis, StyleView, normalise_level, random_filters, style_distances
from .guards import Guards, level_row
from .mix import Mix

Float32 = npt.NDArray[np.float32]

BANKS = 2
"""Sets of random filters at every window size."""


@dataclass(frozen=True)
class Balance:
    """Weights: envelope against gram (1), guards of all three together, smoothness of gains over time and bands."""

    envelope: float = 1.0
    guards: float = 1.0
    smoothness: float = 1.0


class MixErrors:
    """Errors by name of gains of a mix, against styles by weight; those of the style relative to the start's.

    content, styles: mono [samples] at sample_rate. sizes: of the windows, a quarter each as hop.
    start: gains that bring the content's bands to the mean power of the styles'.
    """

    def __init__(
        self,
        mix: Mix,
        content: Float32,
        styles: Sequence[Float32],
        weights: Sequence[float],
        sample_rate: int,
        sizes: Sequence[int],
        balance: Balance,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self._mix, self._balance = mix, balance
        top = min(16000.0, 0.45 * sample_rate)
        filters = [random_filters(1000 * seed + bank) for bank in range(BANKS)]
        scales = [Analysis(sample_rate, size, size // 4, high_hz=top) for size in sizes]
        self._view = StyleView(scales, [filters] * len(scales)).to(device)
        self._guards = Guards(content, styles, weights, sample_rate, device)
        with torch.no_grad():
            shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
            seen = [
                [float(share) * part for part in self._view(level_row(style, device))]
                for style, share in zip(styles, shares, strict=True)
            ]
            grams, envelopes = (torch.stack(part).sum(dim=0) for part in zip(*seen, strict=True))
            self._wanted = grams, envelopes
            self.start = mix.start(
                torch.stack(
                    [
                        mix.long_term(style) * float(w / np.mean(np.square(style)))
                        for style, w in zip(styles, shares, strict=True)
                    ]
                ).sum(dim=0)
            )
            self._own = style_distances(self._view(normalise_level(mix.audio(self.start)[None])), self._wanted)

    def __call__(self, gains: Tensor) -> Mapping[str, Tensor]:
        heard = normalise_level(self._mix.audio(gains)[None])
        gram, envelope = style_distances(self._view(heard), self._wanted)
        over_time = (gains[..., 1:] - gains[..., :-1]).square().mean()
        over_bands = (gains[:, 1:] - gains[:, :-1]).square().mean()
        return {
            # The root: halving counts alike however near the style is.
            "gram": torch.sqrt(gram / self._own[0] + 1e-4).mean(),
            "envelope": self._balance.envelope * (envelope / self._own[1]).mean(),
            "guards": self._balance.guards * self._guards(heard),
            "smoothness": self._balance.smoothness * (over_bands + 4.0 * over_time),
        }
