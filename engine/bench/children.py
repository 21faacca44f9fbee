"""Runs each case in a process of its own: what one leaves in memory, or breaks, is not measured with the next."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import msgspec

from .case import Case, CaseRun

OPENING_S = 120.0
"""For starting, loading, preparing; TensorRT builds its engine then."""
TENSORRT_S = 1200.0

Progress = Callable[[str, float], None]
"""What is measured now, and the share that is done."""


def run_in_child(case: Case) -> CaseRun:
    """Measure a case in a process of its own; one that dies or hangs is a refusal with its last words."""
    limit = OPENING_S + len(case.blocks) * (10.0 * case.seconds + 5.0)
    limit += TENSORRT_S if case.provider == "tensorrt" else 0.0
    # Pools of threads of their own would compete with the callback.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # -P: what lies in the folder where the user happens to be is not imported.
    command = [sys.executable, "-P", "-m", "duende.engine.bench.worker"]
    try:
        done = subprocess.run(
            command, input=msgspec.json.encode(case), capture_output=True, timeout=limit, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return CaseRun(refused=f"no answer within {limit:.0f} s")
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        return CaseRun(refused=f"the process ended with status {done.returncode}: {words[-1][:200] if words else ''}")
    try:
        return msgspec.json.decode(done.stdout, type=CaseRun)
    except msgspec.DecodeError as error:
        return CaseRun(refused=f"the process gave no answer: {error}")


def run_cases(
    cases: Sequence[Case],
    passes: int,
    progress: Progress | None = None,
    run: Callable[[Case], CaseRun] = run_in_child,
) -> list[list[CaseRun]]:
    """Every case, so many times: all once, then all again, so that what changes on the machine falls on all alike.

    Returns the runs of each case. A case that was refused is not tried again.
    """
    found: list[list[CaseRun]] = [[] for _ in cases]
    for turn in range(passes):
        for place, case in enumerate(cases):
            if progress is not None:
                share = (turn * len(cases) + place) / max(1, passes * len(cases))
                progress(f"{case.model}, pass {turn + 1} of {passes}", share)
            if not any(one.refused for one in found[place]):
                found[place].append(run(case))
    return found
