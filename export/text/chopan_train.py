"""`duende train chopan`: a bank of pictures and a VAE from a data set in NSynth's form; stopped and gone on with."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ... import DuendeError
from ...presets.format import write_atomically
from ..batch import notes as batch_notes
from .chopan_pictures import picture_of
from .chopan_store import Bank, Stored, read_bank, resume_training, training_bytes, write_bank, write_vae
from .chopan_text import Encoder
from .chopan_vae import FILTERS, LATENT, LEARNING_RATE, ChopanVae
from .nsynth import DataSet, heard

STATE = "training.safetensors"
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainConfig:
    """As published: 150 epochs, batches of 64. limit: take so many notes of the training split at most."""

    epochs: int = 150
    batch: int = 64
    limit: int | None = None
    seed: int = 1
    filters: tuple[int, ...] = FILTERS
    latent: int = LATENT


@dataclass(frozen=True)
class Trained:
    """losses: mean of every epoch. complete: whether all epochs were done. skipped: a line each."""

    losses: list[float]
    complete: bool
    skipped: list[str]


def train_chopan(
    data: DataSet,
    folder: Path,
    config: TrainConfig,
    encoder: Encoder,
    tell: Tell,
    *,
    resume: bool = False,
    prepared: Path | None = None,
) -> Trained:
    """Write bank, VAE and settings into a folder. prepared: what `duende dataset prepare` heard; else it is heard here.

    Ctrl-C keeps what the last whole epoch learned; with resume it goes on from there, to the numbers that an
    unbroken training gives. DuendeError where the folder holds a trained one and resume is not asked for.
    """
    notes = data.part("train")[: config.limit]
    if not notes:
        raise DuendeError(f"{data.folder}: the training split has no notes; more instruments are needed")
    digest = hashlib.sha256("\n".join(note.name for note in notes).encode()).hexdigest()[:16]
    key = f"{digest} {config.batch} {config.seed} {config.filters} {config.latent} {encoder.name}"
    path = folder / STATE
    if path.exists() and not resume:
        raise DuendeError(f"{folder} holds a training: go on with --resume, or choose another folder")
    torch.manual_seed(config.seed)
    vae = ChopanVae(config.filters, config.latent)
    optimiser = torch.optim.Adam(vae.parameters(), LEARNING_RATE)
    losses: list[float] = []
    skipped: list[str] = []
    if resume:
        losses = resume_training(path, vae, optimiser, key)
        bank = read_bank(folder)
    else:
        bank, skipped = _bank(data, config, encoder, tell, prepared)
        write_bank(folder, bank)
    complete = True
    try:
        for epoch in range(len(losses), config.epochs):
            losses.append(_epoch(vae, optimiser, bank, config, epoch))
            write_atomically(path, training_bytes(vae, optimiser, losses, key))
            tell(epoch + 1, config.epochs, f"loss {losses[-1]:,.0f}")
    except KeyboardInterrupt:
        complete = False
        if not losses:
            raise
        # A part of an epoch is not worth a training that cannot be repeated: back to the last whole one.
        del losses[_whole(path, vae, optimiser, key) :]
    if losses:
        sizes = (config.filters, config.latent)
        write_vae(folder, vae.eval(), Stored(encoder.name, config.seed, len(losses), len(bank.pictures), *sizes))
    return Trained(losses, complete, skipped)


def _whole(path: Path, vae: ChopanVae, optimiser: torch.optim.Adam, key: str) -> int:
    """How many epochs the last state that was written has; it is put back."""
    return len(resume_training(path, vae, optimiser, key))


def _bank(
    data: DataSet, config: TrainConfig, encoder: Encoder, tell: Tell, prepared: Path | None = None
) -> tuple[Bank, list[str]]:
    notes = data.part("train")[: config.limit]
    if prepared is not None:
        held = batch_notes.prepared(prepared, notes, encoder.name)
        return Bank(held[0], held[1], held[2]), held[3]
    pictures, ranges, embeddings = [], [], []
    skipped: list[str] = []
    for _, audio, rate in heard(notes, skipped, tell):
        picture, least, most = picture_of(audio, rate)
        pictures.append(np.round(255.0 * picture).astype(np.uint8))
        ranges.append((least, most))
        embeddings.append(encoder.sound(audio, rate, picture))
    if not pictures:
        raise DuendeError(f"{data.folder}: none of {len(notes)} notes can be used: {skipped[0]}")
    return Bank(np.stack(pictures), np.array(ranges, np.float32), np.stack(embeddings)), skipped


def _epoch(vae: ChopanVae, optimiser: torch.optim.Adam, bank: Bank, config: TrainConfig, epoch: int) -> float:
    """Mean loss of one pass over the bank, in an order and with noise that the epoch's number gives."""
    vae.train()
    draw = torch.Generator().manual_seed(1_000_003 * (epoch + 1) + config.seed)
    order = torch.randperm(len(bank.pictures), generator=draw).numpy()
    losses = []
    for start in range(0, len(order), config.batch):
        rows = order[start : start + config.batch]
        if len(rows) < 2 <= len(order):
            continue  # a batch of one has no variance to normalise by
        pictures = torch.from_numpy(bank.pictures[rows].astype(np.float32) / 255.0)[:, None]
        loss = vae.loss(pictures, torch.randn((len(rows), config.latent), generator=draw))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))
