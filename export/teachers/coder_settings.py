"""Settings of the encoder-decoders: the published way by windows, and the way without any border."""

from dataclasses import dataclass

from ... import DuendeError
from .settings import RATES_HZ, check_choices, check_ranges

WAYS = ("windows", "cached")
SCALES = ("log", "unit")
STYLE_CODES = ("mean", "cyclic")
JOINS = ("sounds", "spectrograms")
INVERSIONS = ("input-phase", "zero-phase", "griffin-lim")


@dataclass(frozen=True)
class CoderSettings:
    """An encoder-decoder of content and style, trained on both.

    way: windows, each an image of its own, or cached, causal convolutions over time without any window.
    sample_rate in Hz; n_fft and hop in samples; window: frames of one, in `cached` of one training excerpt.
    iterations: epochs; batch: windows; learning_rate: Adam's. kl: weight of a VAE's divergence, 0 for a plain one.
    blend: how far the content's code goes to the style's, 0..1.

    windows alone. filters: of the strided layers; latent: size of the dense code, 0 for a convolutional one. scale:
    log, log(1 + magnitude), or unit, 80 dB brought to 0..1 in every window. style_code: mean, the mean code of all
    the style's windows, or cyclic, window by window, the style repeated. inversion: input-phase, zero-phase
    (magnitudes straight into the istft) or griffin-lim with so many `rounds`. joined: sounds, every window inverted by
    itself, or spectrograms, laid together before they are inverted.

    cached alone. bands: on the ERB scale; width: channels; latent: channels of the code; dilations: of the encoder's
    and the decoder's layers, in frames. smooth_ms: of the wanted changes over time. steps: of the search for gains,
    guards: weight there of what the player loses (`band_mix`).
    """

    way: str = "windows"
    sample_rate: int = 22050
    n_fft: int = 2048
    hop: int = 512
    window: int = 16
    iterations: int = 50
    batch: int = 8
    learning_rate: float = 1e-3
    kl: float = 0.0
    blend: float = 0.8
    filters: tuple[int, ...] = (16, 32, 64)
    latent: int = 0
    scale: str = "log"
    style_code: str = "mean"
    inversion: str = "input-phase"
    rounds: int = 100
    joined: str = "sounds"
    bands: int = 64
    width: int = 64
    dilations: tuple[int, ...] = (1, 2, 4)
    steps: int = 60
    guards: float = 2.0
    smooth_ms: float = 60.0

    def __post_init__(self) -> None:
        check_choices(
            ("way", self.way, WAYS),
            ("scale", self.scale, SCALES),
            ("style_code", self.style_code, STYLE_CODES),
            ("inversion", self.inversion, INVERSIONS),
            ("joined", self.joined, JOINS),
        )
        check_ranges(
            ("sample_rate", self.sample_rate, 8000, 192_000),
            ("n_fft", self.n_fft, 64, 65_536),
            ("hop", self.hop, 16, self.n_fft // 2),
            ("window", self.window, 2, 4096),
            ("iterations", self.iterations, 1, 100_000),
            ("batch", self.batch, 1, 4096),
            ("learning_rate", self.learning_rate, 1e-7, 1.0),
            ("kl", self.kl, 0.0, 1e6),
            ("blend", self.blend, 0.0, 1.0),
            ("latent", self.latent, 0, 4096),
            ("rounds", self.rounds, 1, 100_000),
            ("bands", self.bands, 8, 256),
            ("width", self.width, 1, 1024),
            ("steps", self.steps, 1, 100_000),
            ("guards", self.guards, 0.0, 1e6),
            ("smooth_ms", self.smooth_ms, 0.0, 1000.0),
            *(("filters", number, 1, 1024) for number in self.filters),
            *(("dilations", number, 1, 256) for number in self.dilations),
        )
        if self.way == "cached" and self.sample_rate not in RATES_HZ:
            raise DuendeError(f"sample_rate {self.sample_rate}: for the way `cached` choose 44100 or 48000")
        if self.n_fft % 2:
            raise DuendeError(f"n_fft {self.n_fft} is odd: choose an even number")
        for name, values in (("filters", self.filters), ("dilations", self.dilations)):
            if not 1 <= len(values) <= 8:
                raise DuendeError(f"{name}: {len(values)} layers; give 1 to 8")
        if self.latent == 0 and (self.kl > 0.0 or self.way == "cached"):
            raise DuendeError("latent 0: a VAE and the way `cached` need a code of 1 or more")
