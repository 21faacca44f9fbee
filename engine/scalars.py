"""Numbers as numpy takes them quickest: float32 arrays without dimensions, whose value may be set.

A number of Python's is converted anew by each call that it is given to, which takes longer than the work on a hundred
samples; a row that is repeated (shape [1] or [n, 1]) keeps numpy from its simplest loop.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.complex64)


def scalar(value: float = 0.0) -> Float32:
    """An operand for products and sums; `operand[()] = number` changes it."""
    return np.array(value, dtype=np.float32)


def add_up(parts: list[npt.NDArray[Number]], out: npt.NDArray[Number]) -> None:
    """The sum of one or more arrays of one shape: for a few, quicker than to reduce an array along an axis."""
    if len(parts) == 1:
        out[...] = parts[0]
        return
    np.add(parts[0], parts[1], out=out)
    for part in parts[2:]:
        np.add(out, part, out=out)
