"""One case of a benchmark, as plain data: what a process of its own is told, and what it answers."""

from typing import Literal

import msgspec

Kind = Literal["preset", "file", "filters"]


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is played, on what, and how long.

    model: its name in tables. kind and path: "preset", of the name `preset` in the folder path; "file", a model file;
    "filters", the published extractor with so many filters. instances: chains played one after the other in each
    callback, on one core. seconds: of each block size, beside as long of doing nothing. priority: real-time priority to
    ask for, 0: none.
    """

    model: str
    kind: Kind
    path: str = ""
    preset: str = ""
    filters: int = 0
    precision: str = "float32"
    provider: str = "cpu"
    cuda_graph: bool = False
    threads: int = 1
    channels: int = 1
    instances: int = 1
    blocks: list[int] = msgspec.field(default_factory=lambda: [128])
    rate: float = 48000.0
    seconds: float = 0.4
    priority: int = 0


class BlockRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One block size, played once. times_us and idle_us: of each callback, and of each that did nothing.

    prepare_s: buffers made and warmed up; first_us: the first callback after that; latency_samples: added to a wire.
    """

    block: int
    latency_samples: int
    prepare_s: float
    first_us: float
    times_us: list[float]
    misses: int
    idle_us: list[float]
    idle_misses: int


class CaseRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process measured. load_s: files opened and checked; memory_bytes: what it grew by for all instances.

    parameters: weights of the model, None where they were not counted. refused: why nothing was measured, or empty.
    """

    load_s: float = 0.0
    memory_bytes: int | None = None
    parameters: int | None = None
    priority: bool = False
    blocks: list[BlockRun] = []
    notices: list[str] = []
    refused: str = ""
