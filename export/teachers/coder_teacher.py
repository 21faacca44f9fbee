"""A system that is an encoder-decoder: its forms, what it costs, and which way it goes."""

from collections.abc import Mapping

from .coder_settings import CoderSettings
from .settings import GUARDED_S
from .teacher import Cost, Job, Made


class CoderTeacher:
    """`autoencoder` and `vae`: the same with and without a divergence."""

    def __init__(self, name: str, forms: Mapping[str, CoderSettings], about: Mapping[str, str]) -> None:
        self.name, self.forms, self.about = name, forms, about

    def shortest(self, settings: CoderSettings) -> int:
        """Two frames of a transform, and what can be guarded."""
        least = round(GUARDED_S * settings.sample_rate) if settings.way == "cached" else 0
        return max(least, settings.n_fft + settings.hop)

    def cost(self, content: int, styles: int, settings: CoderSettings) -> Cost:
        """Measured on one core; the network's arithmetic is what counts."""
        frames = (content + styles) / settings.hop
        if settings.way == "windows":
            work = settings.iterations * frames * (settings.n_fft / 2) * sum(settings.filters)
            return Cost(2.0 + 2.5e-9 * work, int(1.2e8 + 4e2 * (content + styles)))
        work = settings.iterations * 4.0 * frames * settings.width**2 * len(settings.dilations)
        seconds = 1e-9 * work + 6e-7 * settings.steps * content
        return Cost(1.0 + seconds, int(1.5e8 + 5e2 * (content + styles)))

    def make(self, job: Job, settings: CoderSettings) -> Made:
        """See `window_coder` and `timbre_coder`."""
        if settings.way == "windows":
            from .window_coder import transfer_by_windows

            return transfer_by_windows(self.name, job, settings)
        from .timbre_coder import transfer_by_gains

        return transfer_by_gains(self.name, job, settings)
