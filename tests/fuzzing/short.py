"""A short run of every target, in a process of its own: ``python tests/fuzzing/short.py COUNT SEED [NAME ...]``.

Examples, kept inputs and so many spoiled ones, the same for the same seed; a line of JSON for each target.
"""

import faulthandler
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from fuzzing.run import Examiner, bounded_memory, inputs, kept
from fuzzing.targets import TARGETS, Target

SLOW = ("model", "waveform", "pack", "capture")
"""Take some milliseconds each: a quarter as many."""


def run(target: Target, count: int, seed: int) -> dict[str, object]:
    """What became of it: how many were given, and each fault with the input in hexadecimal."""
    known = len(target.seeds()) + len(kept(target))
    with tempfile.TemporaryDirectory() as folder, target.open(Path(folder)) as harness, bounded_memory():
        examine = Examiner(harness)
        for data in itertools.islice(inputs(target, seed), known + count):
            examine(data)
    finds = [f"{find.text}\n{find.details}\ninput: {find.data[:4096].hex()}" for find in examine.finds.values()]
    return {"target": target.name, "given": examine.executions, "known": known, "finds": finds}


def main() -> None:
    """The targets named, or all."""
    # Decoders write their complaints to standard error; what ends the process is still told there.
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    for name in sys.argv[3:] or TARGETS:
        print(json.dumps(run(TARGETS[name], count // 4 if name in SLOW else count, seed)), flush=True)


if __name__ == "__main__":
    main()
