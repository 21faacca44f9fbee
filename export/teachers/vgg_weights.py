"""VGG19's weights from a user's file: torchvision's state dictionary (.pth, .pt) or .safetensors; nothing is executed.

A file is opened only up to the size that VGG19 with its unused classifier can have, and only the convolutions that
are needed are taken from it, each of exactly the shape that it must have.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import msgspec
import torch
from torch import Tensor

from ... import DuendeError
from .vgg_layers import CONVOLUTIONS, deepest, layer_number

LARGEST = 1 << 30  # bytes; the whole network in float32 has 575 million
_LARGEST_HEADER = 1 << 20
_TYPES = {"F32": (torch.float32, 4), "F16": (torch.float16, 2), "BF16": (torch.bfloat16, 2), "F64": (torch.float64, 8)}


class _Entry(msgspec.Struct):
    """What a safetensors header says of one tensor."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def load_weights(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Weights and biases of all convolutions up to the deepest of the named layers, by torchvision's names, float32.

    Raises DuendeError for a file that is missing, too large, damaged, or not of VGG19's shapes.
    """
    shapes = _shapes(names)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DuendeError(f"{path}: no such file of weights") from error
    if size > LARGEST:
        raise DuendeError(f"{path}: {size / 2**20:.0f} MB; VGG19's weights have at most {LARGEST >> 20} MB")
    read = _safetensors if path.suffix.lower() == ".safetensors" else _state_dictionary
    found = read(path, shapes)
    for name, shape in shapes.items():
        if name not in found:
            raise DuendeError(f"{path}: holds no {name}; give torchvision's VGG19 (without batch normalisation)")
        if tuple(found[name].shape) != shape:
            raise DuendeError(f"{path}: {name} has shape {tuple(found[name].shape)}; VGG19's is {shape}")
    weights = {name: found[name].to(torch.float32) for name in shapes}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise DuendeError(f"{path}: holds weights that are not numbers")
    return weights


def _shapes(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    last = layer_number(deepest(names).name)
    return {name: shape for layer in CONVOLUTIONS[: last + 1] for name, shape in layer.shapes().items()}


def _state_dictionary(path: Path, shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DuendeError(f"{path}: not a readable state dictionary of torch ({reason[:120]})") from error
    if not isinstance(found, dict):
        raise DuendeError(f"{path}: holds a {type(found).__name__}, not a state dictionary")
    return {name: tensor for name in shapes if _is_plain(tensor := found.get(name))}


def _is_plain(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.is_floating_point()


def _safetensors(path: Path, shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    """The format: 8 bytes little-endian length of a JSON header, the header, then the numbers of all tensors."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _LARGEST_HEADER):
        raise DuendeError(f"{path}: not a readable safetensors file")
    try:
        header = msgspec.json.decode(data[8 : 8 + size], type=dict[str, msgspec.Raw])
        entries = {name: msgspec.json.decode(header[name], type=_Entry) for name in shapes if name in header}
    except msgspec.DecodeError as error:
        raise DuendeError(f"{path}: not a readable safetensors file ({error})") from error
    found = {}
    for name, entry in entries.items():
        begin, end = entry.data_offsets
        dtype, width = _TYPES.get(entry.dtype, (torch.float32, 0))
        count = 1
        for extent in entry.shape:
            count *= extent
        if not 0 <= begin <= end <= len(data) - 8 - size or width * count != end - begin or count < 1:
            raise DuendeError(f"{path}: {name} of type {entry.dtype} does not fit its place in the file")
        numbers = bytearray(data[8 + size + begin : 8 + size + end])
        found[name] = torch.frombuffer(numbers, dtype=dtype).reshape(entry.shape)
    return found
