"""A trained ChopAN on disk: a VAE, a bank of pictures with their embeddings, and what they were made with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ... import DuendeError
from ...presets.format import write_atomically
from .chopan_pictures import HEIGHT, WIDTH
from .chopan_vae import FILTERS, LATENT, ChopanVae

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

VAE, BANK, SETTINGS = "vae.safetensors", "bank.safetensors", "chopan.json"
MOST_BYTES = 4 << 30
MOST_PICTURES = 100_000


class Stored(msgspec.Struct, forbid_unknown_fields=True):
    """What a folder says of itself. encoder: name of what made the embeddings. seed, epochs, notes: of the training."""

    encoder: str
    seed: int
    epochs: int
    notes: int
    filters: tuple[int, ...] = FILTERS
    latent: int = LATENT


@dataclass(frozen=True)
class Bank:
    """pictures uint8 [n, 256, 64] (0..255), ranges [n, 2] (least and most in dB), embeddings [n, d] of length 1."""

    pictures: UInt8
    ranges: Float32
    embeddings: Float32


def write_bank(folder: Path, bank: Bank) -> None:
    """Into a folder, whole or not at all."""
    arrays: dict[str, npt.NDArray[Any]] = {"pictures": bank.pictures, "ranges": bank.ranges}
    arrays["embeddings"] = bank.embeddings
    # safetensors writes the memory as it lies: what is transposed would come back scrambled.
    plain = {name: np.ascontiguousarray(one) for name, one in arrays.items()}
    write_atomically(folder / BANK, save_arrays(plain))


def read_bank(folder: Path) -> Bank:
    """DuendeError for what is no bank."""
    path = folder / BANK
    try:
        found = load_arrays(_bytes(path))
        bank = Bank(found["pictures"], found["ranges"], found["embeddings"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DuendeError(f"{path}: not a bank of ChopAN ({error})") from error
    n = len(bank.pictures)
    fits = (
        1 <= n <= MOST_PICTURES
        and bank.pictures.dtype == np.uint8
        and bank.pictures.shape == (n, HEIGHT, WIDTH)
        and bank.ranges.shape == (n, 2)
        and bank.embeddings.ndim == 2
        and len(bank.embeddings) == n
        and bool(np.isfinite(bank.ranges).all() and np.isfinite(bank.embeddings).all())
    )
    if not fits:
        raise DuendeError(f"{path}: not a bank of ChopAN (sizes or numbers do not fit)")
    return bank


def write_vae(folder: Path, vae: ChopanVae, stored: Stored) -> None:
    """Network and settings, each whole or not at all; the settings last."""
    write_atomically(folder / VAE, save_tensors({name: one.contiguous() for name, one in vae.state_dict().items()}))
    write_atomically(folder / SETTINGS, msgspec.json.encode(stored))


def read_stored(folder: Path) -> Stored:
    """DuendeError for what says nothing, or nothing that fits."""
    path = folder / SETTINGS
    try:
        stored = msgspec.json.decode(_bytes(path, 1 << 16), type=Stored)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise DuendeError(f"{path}: not the settings of ChopAN ({error})") from error
    if len(stored.filters) != len(FILTERS) or not all(1 <= one <= 2048 for one in (*stored.filters, stored.latent)):
        raise DuendeError(f"{path}: filters {stored.filters} and latent {stored.latent}: five filters of 1 to 2048")
    return stored


def read_vae(folder: Path, stored: Stored) -> ChopanVae:
    """Ready to use. DuendeError where the file is none, or does not fit the settings."""
    path = folder / VAE
    vae = ChopanVae(stored.filters, stored.latent)
    try:
        vae.load_state_dict(load_tensors(_bytes(path)))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise DuendeError(f"{path}: not ChopAN's VAE ({str(error).splitlines()[0]})") from error
    return vae.eval()


def training_bytes(vae: ChopanVae, optimiser: torch.optim.Adam, losses: list[float], key: str) -> bytes:
    """The state of a training after a whole epoch: network, Adam's moments and the losses so far, without pickle."""
    tensors = {f"vae.{name}": one.contiguous() for name, one in vae.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": one.contiguous() for name, one in state.items()}
    return save_tensors(tensors, {"losses": json.dumps(losses), "key": key})


def resume_training(path: Path, vae: ChopanVae, optimiser: torch.optim.Adam, key: str) -> list[float]:
    """Put a state back and give the losses so far. DuendeError where it is of another training."""
    data = _bytes(path)
    try:
        size = int.from_bytes(data[:8], "little")
        told: Any = json.loads(data[8 : 8 + size]).get("__metadata__", {})
        losses = [float(one) for one in json.loads(told["losses"])]
        tensors = load_tensors(data)
        if told["key"] != key:
            raise DuendeError(f"{path}: of a training with other data or settings: take those, or leave --resume out")
        vae.load_state_dict({name[4:]: one for name, one in tensors.items() if name.startswith("vae.")})
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, one in tensors.items():
            if name.startswith("adam."):
                _, number, what = name.split(".")
                state.setdefault(int(number), {})[what] = one
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DuendeError(f"{path}: not the state of a training ({str(error).splitlines()[0]})") from error
    return losses


def _bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    try:
        if path.stat().st_size > most:
            raise DuendeError(f"{path}: larger than {most} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DuendeError(f"{path}: cannot be read ({error.strerror or error})") from error
