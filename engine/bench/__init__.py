"""The benchmark: what this machine plays through, how late, and how much room it has left."""

from .block_times import BlockTimes, bench_block, real_time_factor
from .machine import describe_machine, machine
from .paced import PacedDevice, playing

__all__ = [
    "BlockTimes",
    "PacedDevice",
    "bench_block",
    "describe_machine",
    "machine",
    "playing",
    "real_time_factor",
]
