"""The split of a chain: which slots stand before it, in its two branches, and after it."""

from collections.abc import Sequence
from dataclasses import dataclass

from .. import DuendeError

BRANCHES = ("", "a", "b")
"""Where a slot can stand: in the trunk, or in one of the two branches."""


@dataclass(frozen=True)
class Layout:
    """Places of the slots (from 0): in the trunk before the split, in its branches, and in the trunk after it.

    A chain without a split has them all before it. A branch may be empty: then it is a plain wire.
    """

    before: tuple[int, ...]
    a: tuple[int, ...]
    b: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def splits(self) -> bool:
        return bool(self.a or self.b)

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        return {"before": self.before, "a": self.a, "b": self.b, "after": self.after}


def layout(branches: Sequence[str]) -> Layout:
    """The layout of slots by the branch that each stands in; DuendeError where that makes more than one split."""
    for number, branch in enumerate(branches, start=1):
        if branch not in BRANCHES:
            raise DuendeError(f"slot {number}: branch {branch!r}: write a or b, or nothing for the trunk")
    split = [place for place, branch in enumerate(branches) if branch]
    first, last = (split[0], split[-1]) if split else (len(branches), len(branches))
    for place in range(first, last):
        if not branches[place]:
            raise DuendeError(
                f"slot {place + 1} stands in the trunk, but between slots of a split, and a chain has one split: "
                f"put it into branch a or b, or move it to the front or the end"
            )
    return Layout(
        tuple(range(first)),
        tuple(place for place in split if branches[place] == "a"),
        tuple(place for place in split if branches[place] == "b"),
        tuple(range(last + 1, len(branches))),
    )


def path_samples(samples: Sequence[int], branches: Sequence[str]) -> int:
    """Sum along the longest way through the chain, from what each slot adds; slots without a branch: in the trunk."""
    sums = dict.fromkeys(BRANCHES, 0)
    for place, count in enumerate(samples):
        sums[branches[place] if place < len(branches) else ""] += count
    return sums[""] + max(sums["a"], sums["b"])
