"""Reads a capture from a file of any of the formats, or from an old NAM directory: the one door for foreign files."""

import hashlib
import re
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
# The header that numpy.save writes, version 1.0.
NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>]f[248])', 'fortran_order': (?:False|True), 'shape': \((\d{1,18}),\),? ?\}",
    re.S,
)
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
    """The flat float array of a .npy file as float32: read by hand, so that nothing in it is evaluated or unpickled."""
    found = NPY.match(data)
    if found is None:
        raise field.refuse("is no .npy file of numpy with a flat row of float32")
    kind, shape, body = np.dtype(found[1].decode()), int(found[2]), data[10 + data[8] + 256 * data[9] :]
    if shape * kind.itemsize != len(body):
        raise field.refuse(f"promises {shape} numbers of {kind.itemsize} bytes, but {len(body)} bytes follow")
    with np.errstate(over="ignore"):
        values = np.frombuffer(body, dtype=kind).astype(np.float32)
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
