"""The contract of everything that can sit in a slot of the chain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .spec import Control

Float32 = npt.NDArray[np.float32]

SPILL_S = 0.05
LONGEST_SPILL_S = 12.0


@dataclass(frozen=True)
class StreamSpec:
    """What a processor is prepared for.

    max_block: most frames a single `process` call brings, a multiple of the processor's quantum.
    """

    sample_rate: float
    channels: int
    max_block: int


class Processor(Protocol):
    """Four verbs: prepare allocates; process neither allocates nor blocks nor raises; reset; latency_samples.

    quantum:         block lengths must be a multiple of it; 1 where any length will do. Where it follows the sample
                     rate, it is settled by `prepare`, and a method `quantum_at(sample_rate)` tells it before.
    latency_samples: how much later than the input the output is; fixed after prepare.
    memory_samples:  how much past input the output depends on, beyond slow averages.
    tail_samples:    how long output goes on after the input has ended. A tail of more than SPILL_S spills over: when
                     the processor is bypassed or its chain switched away, its input fades out and the tail rings on,
                     for LONGEST_SPILL_S at most. A processor whose output follows the level of its input, as a
                     compressor's or a style's does, says `spills = False`; its output fades out instead. One whose
                     tail follows its values says `spills = True`.
    widens:          a method `widens_at(sample_rate)` says that two channels come out different where the same is put
                     into both; the chain is in stereo from the first such processor on. Without it: they do not.
    controls:        what the player may change; `values` [len(controls)] holds their smoothed values, written by the
                     chain before each call of process.
    """

    quantum: int
    latency_samples: int
    memory_samples: int
    tail_samples: int
    values: Float32

    @property
    def controls(self) -> Sequence[Control]:
        """What the player may change."""

    def prepare(self, spec: StreamSpec) -> None:
        """Control thread: allocate for a stream. DuendeError where the stream cannot be served."""

    def process(self, block: Float32, out: Float32) -> None:
        """Audio thread: block [frames, channels] to out, same shape, never the same memory."""

    def reset(self) -> None:
        """Either thread while the other rests: forget the past without allocating."""

    def adopt(self, predecessor: "Processor", lag_samples: int) -> None:
        """Audio thread: take over from what this processor replaces what cannot be learned from recent input.

        lag_samples: how much input this processor will still be given until it has heard as much as predecessor.
        """


def quantum_at(processor: Processor, sample_rate: float) -> int:
    """The quantum of a processor at a rate in Hz, prepared or not."""
    at = getattr(processor, "quantum_at", None)
    return processor.quantum if at is None else int(at(sample_rate))


def widens_at(processor: Processor, sample_rate: float) -> bool:
    """Whether a processor makes two sides of one; DuendeError where its file cannot be read."""
    at = getattr(processor, "widens_at", None)
    return at is not None and bool(at(sample_rate))


def spills_over(processor: Processor, sample_rate: float) -> bool:
    """Whether a prepared processor's input is faded out, and not its output, where it is left out."""
    return bool(getattr(processor, "spills", processor.tail_samples > SPILL_S * sample_rate))


def spill_samples(processor: Processor, sample_rate: float) -> int:
    """How long a processor rings on now after its input was faded out; 0 where its output is faded out instead."""
    if not spills_over(processor, sample_rate):
        return 0
    return min(processor.tail_samples, round(LONGEST_SPILL_S * sample_rate))
