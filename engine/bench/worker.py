"""The process of one case: reads it as JSON from standard input, plays it, writes what was measured as JSON.

Run: ``python -m duende.engine.bench.worker``.
"""

import sys

import msgspec

from .case import Case
from .play import run_case


def main() -> None:
    """Answer one case."""
    case = msgspec.json.decode(sys.stdin.buffer.read(), type=Case)
    sys.stdout.buffer.write(msgspec.json.encode(run_case(case)))


if __name__ == "__main__":
    main()
