"""ChopAN (Lopez Ayala 2023): five pictures near the sentence, mixed, passed through a VAE, and turned into sound."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from ... import DuendeError
from .backend import About, Report, Sound, check_request
from .chopan_pictures import RATE, SECONDS, audio_of
from .chopan_store import BANK, SETTINGS, VAE, Bank, read_bank, read_stored, read_vae
from .chopan_text import encoder_of
from .chopan_vae import ChopanVae
from .weights import Weights

Float32 = npt.NDArray[np.float32]

NEAREST = 5
NOISE = 0.01
FORMS = ("faithful", "repaired")
WEIGHTS = Weights("chopan", "", "yours", 0, (VAE, BANK, SETTINGS))
MAKE = "none are published: make them with `duende train chopan DATASET -o FOLDER` and name FOLDER with --weights"


class ChopanBackend:
    """ChopAN as a `Backend`. Settings: form (faithful or repaired), inversion (griffin-lim or slopes), noise, clip.

    faithful: the sum of k |S|^2 over the five nearest pictures and Gaussian noise, then Griffin-Lim. repaired: the five
    latents are mixed, not the pictures, and phases follow from the magnitudes' slopes. k: similarities, their sum 1.
    clip: folder of the CLIP model that the bank was made with.
    """

    name = "chopan"
    about = About(
        text="the five nearest spectrograms through a VAE, about one second at 16 kHz",
        licence="yours",
        source="your own `duende train chopan`",
        size_bytes=10_000_000,
        seconds=1.0,
        seconds_made=SECONDS,
    )

    def __init__(self, weights: str | None = None) -> None:
        self._given = weights

    def make(self, prompt: str, seed: int, seconds: float, settings: Mapping[str, str], report: Report) -> Sound:
        """See `Backend`. Longer than 1.01 s cannot be made: the sound ends there, and a notice says so."""
        text = check_request(prompt, seed, seconds)
        form, inversion, noise, clip = _values(settings)
        try:
            folder = WEIGHTS.find(self._given)
        except DuendeError as error:
            raise DuendeError(f"{str(error).split(': get ')[0]}: {MAKE}") from error
        report(0, 3, "reading the bank")
        stored = read_stored(folder)
        bank, vae = read_bank(folder), read_vae(folder, stored)
        encoder = encoder_of(clip)
        if encoder.name != stored.encoder:
            way_out = "name that model with --set clip=FOLDER" if clip is None else "make a bank with it, or omit clip"
            raise DuendeError(f"{folder}: its bank was made with {stored.encoder!r}, not {encoder.name!r}: {way_out}")
        report(1, 3, "mixing the five nearest")
        picture, least, most = mixed(vae, bank, encoder.text(text), form, noise, seed)
        report(2, 3, "finding phases")
        audio = audio_of(picture, least, most, inversion, seed)
        wanted = min(len(audio), round(seconds * RATE))
        audio = audio[:wanted] / max(float(np.abs(audio).max()), 1e-9) * np.float32(0.7)
        fade = min(wanted, RATE // 100)
        audio[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
        said = [] if seconds <= SECONDS + 0.01 else [f"chopan makes {SECONDS:.2f} s at most; it ends there"]
        return Sound(np.ascontiguousarray(audio, np.float32), RATE, said)


def mixed(
    vae: ChopanVae, bank: Bank, wanted: Float32, form: str, noise: float, seed: int
) -> tuple[Float32, float, float]:
    """Picture [256, 64] for an embedding [d], and its least and most in dB, mixed like the pictures."""
    alike = bank.embeddings @ wanted
    nearest = np.argsort(-alike, kind="stable")[:NEAREST]
    k = np.maximum(alike[nearest], 1e-3)
    k /= k.sum()
    least, most = k @ bank.ranges[nearest]
    pictures = bank.pictures[nearest].astype(np.float32) / 255.0
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if form == "faithful":
            rng = np.random.default_rng(seed)
            sum_ = np.tensordot(k, pictures**2, axes=1) + noise * rng.standard_normal(pictures.shape[1:])
            mean, spread = vae.encode(torch.from_numpy(np.clip(sum_, 0.0, 1.0).astype(np.float32))[None, None])
        else:
            mean, spread = vae.encode(torch.from_numpy(pictures)[:, None])
            share = torch.from_numpy(k.astype(np.float32))[:, None]
            mean, spread = (share * mean).sum(0, keepdim=True), (share * spread).sum(0, keepdim=True)
        latent = mean + torch.exp(0.5 * spread) * torch.randn(mean.shape, generator=draw)
        return vae.decode(latent)[0, 0].numpy(), float(least), float(most)


def _values(settings: Mapping[str, str]) -> tuple[str, str, float, str | None]:
    known = {"form": "repaired", "inversion": "", "noise": str(NOISE), "clip": ""}
    strange = [name for name in settings if name not in known]
    if strange:
        raise DuendeError(f"chopan has no setting {strange[0]!r}: choose one of {', '.join(known)}")
    given = {**known, **settings}
    inversion = given["inversion"] or ("griffin-lim" if given["form"] == "faithful" else "slopes")
    for name, value, allowed in (("form", given["form"], FORMS), ("inversion", inversion, ("griffin-lim", "slopes"))):
        if value not in allowed:
            raise DuendeError(f"{name} = {value!r}: choose one of {', '.join(allowed)}")
    try:
        noise = float(given["noise"])
    except ValueError:
        noise = math.nan
    if not 0.0 <= noise <= 1.0:
        raise DuendeError(f"noise = {given['noise']!r} is out of range: 0 to 1")
    return given["form"], inversion, noise, given["clip"] or None
