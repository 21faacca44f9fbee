"""What soaks have found, in a table; writes the section Soaks of docs/reliability.md.

Run: ``python bench/soaks.py FILE...``, with what `duende bench soak --json FILE` has written, each a column.
"""

import sys
import textwrap
from pathlib import Path

import msgspec

# In front: this folder, too, has modules of their names.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from duende import DuendeError
from duende.engine.bench.soak_results import SoakFigures
from reliability_page import write_section

BEGIN, END = "<!-- soaks: written by bench/soaks.py -->", "<!-- soaks: end -->"
VERDICTS = {True: "", False: "**not held**: ", None: "not known: "}


def section(soaks: list[SoakFigures]) -> str:
    """The section's text."""
    machines = {f"{one.machine.cores} cores, {one.machine.processor}" for one in soaks}
    names = list(dict.fromkeys(check.name for one in soaks for check in one.checks))
    rows = []
    for name in names:
        found = [next((check for check in one.checks if check.name == name), None) for one in soaks]
        cells = ["" if check is None else VERDICTS[check.passed] + check.words for check in found]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    heads = [f"{one.seconds / 60.0:.0f} minutes at {one.block} frames" for one in soaks]
    about = (
        "`duende bench soak --forge`: a host plays a phrase through JACK's dummy driver at 48 kHz while 1 000 "
        "parameters a second are set over OSC, 8 listeners get meters, the page of the GUI is open, the preset changes "
        "every second between all that came with duende, and styles are forged at the lowest priority. What does "
        "nothing is a callback on a clock in a process of its own, at the same time. Memory counts from when it was "
        f"warm. {'; '.join(sorted(machines))}."
    )
    table = [f"| what | {' | '.join(heads)} |", f"|---|{'---|' * len(soaks)}", *rows]
    return "\n".join([textwrap.fill(about, 119), "", *table])


def main() -> None:
    """Put the section where its marks are."""
    soaks = []
    for name in sys.argv[1:]:
        try:
            soaks.append(msgspec.json.decode(Path(name).read_bytes(), type=SoakFigures))
        except (OSError, msgspec.DecodeError) as error:
            raise DuendeError(f"{name}: not what `duende bench soak --json` writes ({error})") from error
    if not soaks:
        raise DuendeError("python bench/soaks.py FILE...: give what `duende bench soak --json FILE` has written")
    write_section("Soaks", BEGIN, END, section(soaks))


if __name__ == "__main__":
    try:
        main()
    except DuendeError as error:
        sys.exit(str(error))
