"""The log: one line per event on standard error, and the same as JSON lines in a file."""

import json
import logging
import sys


class JsonLines(logging.Formatter):
    """time (seconds since 1970), level, part and message of an event, as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "part": record.name.removeprefix("duende."),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class Lines(logging.Formatter):
    """The same for people; traces only where something is broken."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")


def configure_log(file: str | None = None) -> None:
    """Send the log to standard error and, as JSON lines, to the end of a file; OSError where that cannot be opened."""
    root = logging.getLogger()
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(Lines())
    handlers: list[logging.Handler] = [lines]
    if file is not None:
        kept = logging.FileHandler(file, encoding="utf-8")
        kept.setFormatter(JsonLines())
        handlers.append(kept)
    root.handlers = handlers
    root.setLevel(logging.INFO)
    for loud in ("uvicorn", "uvicorn.error", "uvicorn.access", "websockets", "zeroconf", "asyncio"):
        logging.getLogger(loud).setLevel(logging.ERROR)
