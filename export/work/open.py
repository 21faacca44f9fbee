"""Chooses who does the work: a cluster where one is named, else processes of this machine."""

import os
from collections.abc import Mapping
from pathlib import Path

from .kinds import KINDS, Kind
from .pool import Pool
from .runner import Runner


def open_runner(cluster: str | None, workers: int | None, staging: Path, kinds: Mapping[str, Kind] = KINDS) -> Runner:
    """cluster: "auto" or HOST:PORT of a Ray cluster; None: this machine. workers: None for one to a processor.

    DuendeError for numbers out of range.
    """
    if cluster is not None:
        from .cluster import Cluster

        return Cluster(cluster, workers, kinds)
    return Pool(os.cpu_count() or 1 if workers is None else workers, staging, kinds)
