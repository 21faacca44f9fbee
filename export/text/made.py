"""A sound that was made from words, as a file that says so: prompt, system and seed stand in its metadata."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ... import DuendeError
from ...presets.format import write_atomically
from ..provenance import MADE, Provenance, Source, provenance, sound_bytes
from .backend import Sound

SYNTHETIC = f"{MADE}text to sound"
CONTAINERS = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".aiff": ("AIFF", "PCM_24"),
    ".aif": ("AIFF", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
_LONGEST_PROMPT = 300


def origin_of(system: str, prompt: str, seed: int, licence: str = "") -> Provenance:
    """What a made sound says of its origin: the prompt is its source (cut at 300 characters, hashed whole)."""
    shown = prompt if len(prompt) <= _LONGEST_PROMPT else prompt[: _LONGEST_PROMPT - 1] + "…"
    source = Source("prompt", shown, hashlib.sha256(prompt.encode()).hexdigest())
    return msgspec.structs.replace(provenance(f"text {system}", seed, [source], licence), what=SYNTHETIC)


def container_of(path: Path) -> tuple[str, str]:
    """libsndfile's names for what a file's ending says; DuendeError for an ending that is no sound."""
    ending = path.suffix.lower()
    if ending not in CONTAINERS:
        raise DuendeError(f"{path}: write {', '.join(CONTAINERS)}")
    return CONTAINERS[ending]


def save(path: Path, sound: Sound, system: str, prompt: str, seed: int, licence: str = "") -> None:
    """Write a sound with its origin; DuendeError for an ending that is no sound, and where it cannot be written."""
    container, subtype = container_of(path)
    origin = origin_of(system, prompt, seed, licence)
    write_atomically(path, sound_bytes(sound.audio, sound.sample_rate, container, subtype, origin))


def settings_of(given: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE pairs; DuendeError for what is none."""
    settings = {}
    for entry in given:
        name, mark, value = entry.partition("=")
        if not mark or not name.strip():
            raise DuendeError(f"--set {entry!r}: write NAME=VALUE")
        settings[name.strip()] = value.strip()
    return settings
