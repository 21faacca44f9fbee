"""What ends a command that plays, records or soaks."""

import signal
import threading
from typing import Any


def stop_on_signals(event: threading.Event) -> dict[signal.Signals, Any]:
    """Let Ctrl-C and SIGTERM set the event from now on; what they did before, for `signal.signal`."""
    return {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
