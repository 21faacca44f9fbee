"""How long `duende live` takes from the command to the first block of a style, on JACK's dummy driver; writes start.md.

python bench/start.py [TIMES]. The home folder is new, so that the model of the first preset is found and checked as on
the first day. After the first start, which is not counted, the code is compiled and the files are in the memory.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# In front: this folder, too, has a module `models`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from duende.engine.bench import machine
from duende.engine.control.supervisor import FOLDER, runtime_folder
from duende.engine.shared import map_state
from jackd import Server

TIMES = 15
BLOCK = 128
PRESETS = ("cello", "clean-room")
PATIENCE_S = 30.0
BOUND_S = 1.0
IMPORTS = {
    "Python itself": "",
    "ONNX Runtime": "import onnxruntime",
    "the engine": "import duende.engine.player",
    "control, up to the first preset": "import duende.engine.control.main",
    "the command line": "import duende.__main__",
}


def start(server: Server, home: Path, preset: str) -> float:
    """Seconds from the command to the first block that is delivered."""
    command = [sys.executable, "-m", "duende", "live", "--input", "system", "--block", str(BLOCK), "--preset", preset]
    environment = _compiled(server.environment | {"DUENDE_HOME": str(home)})
    begun = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shared = None
        while time.monotonic() < begun + PATIENCE_S:
            if shared is None:
                states = list(runtime_folder().glob(f"{FOLDER}{process.pid}-*/state"))
                if states and states[0].stat().st_size:
                    shared = map_state(states[0])
            elif shared.written:
                return time.monotonic() - begun
            time.sleep(0.001)
        raise AssertionError(f"no sound within {PATIENCE_S:g} s")
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def imported(statement: str) -> float:
    """Seconds of a Python process that imports something and ends."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", statement], env=_compiled(dict(os.environ)), check=True)
    return time.monotonic() - begun


def _compiled(environment: dict[str, str]) -> dict[str, str]:
    """With the compiled code of modules kept from one start to the next, as is usual."""
    kept = {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "duende-bench-start")}
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"} | kept


def main() -> None:
    """Measure, and write the table."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    lines = [
        "# From the command to sound",
        "",
        f"Written by `python bench/start.py`: `duende live` on JACK's dummy driver, blocks of {BLOCK}, until the first",
        f"block is delivered; {times} starts each, figure to reach {BOUND_S:g} s. Every start has a new home folder.",
        "",
        "| preset | median | least | most |",
        "|---|---|---|---|",
    ]
    server = Server(f"duende-bench-{os.getpid()}", BLOCK)
    server.start()
    try:
        for preset in PRESETS:
            measured = []
            for _ in range(times + 1):
                with tempfile.TemporaryDirectory() as home:
                    measured.append(start(server, Path(home), preset))
            measured = measured[1:]
            lines.append(
                f"| {preset} | {statistics.median(measured):.2f} s | {min(measured):.2f} | {max(measured):.2f} |"
            )
            print(lines[-1], flush=True)
    finally:
        server.stop()
    lines += ["", "What is waited for, each in a process of its own that only imports it (medians):", ""]
    lines += ["| imported | seconds |", "|---|---|"]
    for name, statement in IMPORTS.items():
        imported(statement)
        lines.append(f"| {name} | {statistics.median(imported(statement) for _ in range(5)):.2f} |")
    lines += ["", ", ".join(f"{key}: {value}" for key, value in machine().items())]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
