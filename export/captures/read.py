"""Reads a capture from a file of any of the formats, or from an old NAM directory: the one door for foreign files."""

import hashlib
import io
from pathlib import Path

import numpy as np

from ... import DuendeError
from .aidax import read_keras, read_torch
from .fields import MAX_BYTES, Field, parse, read_bounded
from .nam import read_nam
from .network import Capture, Float32, Source
from .proteus import read_proteus
from .weights import Weights

MAX_MEMORY = 2**22
MAX_FIELD = 2**20
CONFIG, WEIGHTS = "config.json", "weights.npy"
__all__ = ["MAX_BYTES", "read_capture"]

KINDS = "a .nam, AIDA-X, RTNeural or Proteus file"


def read_capture(path: Path) -> Capture:
    """The capture in a file, or in a directory that holds config.json and weights.npy (NAM before 0.5).

    The kind is told by its keys, not by its name. DuendeError, one line that names file and field, for whatever is
    not whole, not finite, not consistent, not known, or larger than 32 MiB; nothing in a file is ever executed.
    """
    if path.is_dir():
        return _checked(_read_directory(path))
    data = read_bounded(path)
    digest = hashlib.sha256(data).hexdigest()
    root = parse(data, path.name)

    def source(kind: str) -> Source:
        return Source(kind, path.name, digest)

    if root.has("architecture"):
        return _checked(read_nam(root, path.stem, source("nam")))
    if root.has("model_data"):
        return _checked(read_proteus(root, path.stem, source("proteus")))
    if root.has("layers") and root.has("in_shape"):
        return _checked(read_keras(root, path.stem, source))
    held = root.at("state_dict") if root.has("state_dict") else root
    if isinstance(held.value, dict) and any(".weight" in key for key in held.value):
        return _checked(read_torch(held, path.stem, source("rtneural")))
    if root.has("variables") and root.has("dilations"):
        raise root.at("variables").refuse("belongs to an old SmartAmp WaveNet: that format is not read")
    for key, wants in (("version", "architecture"), ("config", "architecture"), ("layers", "in_shape")):
        if root.has(key):
            raise root.at(wants).wrong(f"without it this is not {KINDS}")
    raise root.refuse(f"not a capture: none of the keys of {KINDS}")


def _read_directory(path: Path) -> Capture:
    config, weights = path / CONFIG, path / WEIGHTS
    if not (config.is_file() and weights.is_file()):
        raise DuendeError(
            f"{path.name}: a directory without {CONFIG} and {WEIGHTS}: give one capture's file, or such a directory"
        )
    text, numbers = read_bounded(config), read_bounded(weights)
    root = parse(text, f"{path.name}/{CONFIG}")
    source = Source("nam-directory", path.name, hashlib.sha256(text + numbers).hexdigest())
    if root.has("weights"):
        raise root.at("weights").refuse(f"stands beside {WEIGHTS}: one of the two")
    field = Field(None, "weights", f"{path.name}/{WEIGHTS}")
    return read_nam(root, path.name, source, Weights(_npy(numbers, field), field))


def _npy(data: bytes, field: Field) -> Float32:
    """The float array of a .npy file as flat float32, its header checked against its bytes; never a pickle."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read_header(stream)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, EOFError) as error:
        raise field.refuse("is no .npy file of numpy") from error
    if kind.kind != "f" or fortran or len(shape) != 1:
        raise field.refuse(f"holds {kind} of shape {shape}: a flat row of float32 is wanted")
    held = len(data) - stream.tell()
    if shape[0] * kind.itemsize != held:
        raise field.refuse(f"promises {shape[0]} numbers of {kind.itemsize} bytes, but {held} bytes follow")
    with np.errstate(over="ignore"):
        values = np.frombuffer(data, dtype=kind, offset=stream.tell()).astype(np.float32)
    if not np.isfinite(values).all():
        raise field.refuse(f"[{int(np.argmin(np.isfinite(values)))}] is not finite: finite numbers only")
    return values


def _checked(capture: Capture) -> Capture:
    """The capture, if what its networks carry from block to block fits into memory."""
    for variant in capture.variants:
        samples, values = variant.network.receptive_field_samples, variant.network.memory_values
        if samples > MAX_FIELD or values > MAX_MEMORY:
            raise DuendeError(
                f"{capture.source.file}: its dilations and kernels reach back {samples} samples, {values} values: "
                f"at most {MAX_FIELD} samples and {MAX_MEMORY} values can be played"
            )
    return capture
