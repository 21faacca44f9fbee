"""The flat list of weights of a .nam file, taken piece by piece and to the last number."""

import math

import numpy as np
import numpy.typing as npt

from .fields import Field, finite
from .network import Conv

Float32 = npt.NDArray[np.float32]


class Weights:
    """A cursor over finite float32 weights; a shortage or a remainder is a DuendeError that names both counts."""

    def __init__(self, values: Float32, field: Field) -> None:
        self._values = values
        self._field = field
        self._taken = 0

    @classmethod
    def of_list(cls, field: Field) -> "Weights":
        """From a list of numbers in a JSON file."""
        if not isinstance(field.value, list):
            raise field.wrong("a list of numbers is wanted")
        return cls(finite(field.value, field, [len(field.value)]), field)

    def again(self) -> "Weights":
        """A cursor at the beginning of the same numbers."""
        return Weights(self._values, self._field)

    def take(self, what: str, *shape: int) -> Float32:
        """The next numbers in a shape; `what` they are names the place in an error. Nothing is allocated."""
        count = math.prod(shape)
        if count > len(self._values) - self._taken:
            raise self._field.refuse(
                f"has {len(self._values)} numbers: too few, they end in {what}; "
                "the file is cut short, or its config is that of another model"
            )
        piece = self._values[self._taken : self._taken + count].reshape(shape)
        self._taken += count
        return piece

    def conv(self, what: Field, outputs: int, inputs: int, taps: int, *, bias: bool, **rest: int) -> Conv:
        """The next convolution: weight [outputs, inputs / groups, taps], then its bias; rest: groups, dilation.

        what: the field to name if the groups do not divide; the object it is in, if the weights end.
        """
        groups = rest.get("groups", 1)
        if inputs % groups or outputs % groups:
            raise what.refuse(f"has {groups} groups, which do not divide {inputs} inputs and {outputs} outputs")
        place = what.path.rpartition(".")[0] or what.path
        weight = self.take(place, outputs, inputs // groups, taps)
        return Conv(weight, self.take(place, outputs) if bias else None, **rest)

    def finish(self) -> None:
        """DuendeError if numbers are left."""
        if self._taken != len(self._values):
            raise self._field.refuse(
                f"has {len(self._values)} numbers, but config describes {self._taken}: "
                "the config is that of another model, or of a newer kind"
            )
