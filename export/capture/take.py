"""A take to learn from: dry and wet, aligned, and which stretches teach and which judge."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .signal import Layout, Section

Float32 = npt.NDArray[np.float32]

_JUDGED_SHARE = 0.125
_LONGEST_JUDGED_S = 12.0


@dataclass(frozen=True)
class Take:
    """dry and wet [samples], wet moved so that it never answers before it is asked; learned from and judged by."""

    dry: Float32
    wet: Float32
    sample_rate: int
    learned: Section
    judged: Section


def aligned_take(dry: Float32, wet: Float32, sample_rate: int, shift: int, plan: Layout | None) -> Take:
    """The take with `shift` samples taken off wet (put before it where below 0).

    plan: where dry is the test signal, which says what to judge by; else the last eighth, at most 12 s, is kept for it.
    """
    count = min(len(dry), len(wet) - shift)
    moved = np.zeros(count, dtype=np.float32)
    first = max(0, -shift)
    moved[first:] = wet[first + shift : count + shift]
    if plan is not None:
        learned = Section(plan.silence.start, plan.playing.stop)
        judged = Section(plan.validation.start, min(plan.validation.stop, count))
    else:
        judge = min(round(_JUDGED_SHARE * count), round(_LONGEST_JUDGED_S * sample_rate))
        learned, judged = Section(first, count - judge), Section(count - judge, count)
    return Take(dry[:count], moved, sample_rate, learned, judged)
