"""Stands in for `duende` where the forge page is tested: tells of steps, and hands out packs made beforehand.

    smithy.py PACKS forge STYLE.wav --name NAME ...      NAME says how it goes: slow-..., broken-..., or at once
    smithy.py PACKS preset pack NAME FILE

It imports nothing heavy: at the lowest priority that would take long on a busy machine.
"""

import base64
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any


def tell(**content: Any) -> None:
    print(json.dumps(content), flush=True)


def picture(place: int) -> dict[str, Any]:
    """Of 64 rows and 90 columns: lines that wander with `place`."""
    levels = bytes(
        max(0, 255 - 6 * ((row * 3 + column // 4 + 5 * place) % 40)) for row in range(64) for column in range(90)
    )
    return {"rows": 64, "frames": 90, "seconds": 1.4, "picture": base64.b64encode(levels).decode()}


def forge(style: Path, name: str) -> None:
    assert style.read_bytes().startswith(b"RIFF")
    kept: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: kept.append(1))
    environment = [os.environ.get("OMP_NUM_THREADS", ""), os.environ["DUENDE_HOME"], os.getpriority(os.PRIO_PROCESS, 0)]
    print("no JSON, passed over")
    tell(event="style", **picture(0))
    tell(event="notice", text=json.dumps(environment))
    tell(event="doing", text="hearing the content")
    if name.startswith("broken"):
        sys.exit("something before\nduende: out of memory: close other programs")
    step = 0
    while step < 40 or (name.startswith("slow") and not kept):
        step += 1
        tell(event="step", step=step, steps=40, seconds=0.1 * step, losses={"gram": 1.0 / step, "envelope": 2.0 / step})
        if step % 20 == 1:
            tell(event="sound", step=step, **picture(step))
        time.sleep(0.02 if name.startswith("slow") else 0.0)
    tell(event="notice", text="kept the best" if kept else "as it should be")
    tell(event="done", preset=name, seconds=1.0)


def main() -> None:
    packs, what, *rest = sys.argv[1:]
    if what == "forge":
        forge(Path(rest[0]), rest[rest.index("--name") + 1])
    else:
        shutil.copyfile(Path(packs) / f"{rest[1]}.duende", rest[2])


if __name__ == "__main__":
    main()
