"""A driver for tests to kill: python work_run.py STORE LOG COUNT SLEEP [CLUSTER]; ends with a line of JSON."""

import json
import sys
from pathlib import Path

from duende.export.work.driver import Item, run_batch
from duende.export.work.open import open_runner
from duende.export.work.store import Store
from duende.export.work.task import Source, Task
from work_kinds import TEST_KINDS


def main() -> None:
    """Make COUNT items with two workers."""
    store, log, count, sleep = Store(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    cluster = sys.argv[5] if len(sys.argv) > 5 else None
    source = Source.of_bytes(b"input", "input.bin")
    tasks = (
        Task(f"item {number}", "echo", {"name": f"n{number}", "log": log, "sleep": sleep}, {"a": source}, TEST_KINDS)
        for number in range(count)
    )
    items = (Item(task.name, task) for task in tasks)
    with store.held(), open_runner(cluster, 2, store.staging, TEST_KINDS) as runner:
        found = run_batch(items, runner, store, count)
    print(json.dumps({"made": found.made, "there": found.there, "failed": found.failed}))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
