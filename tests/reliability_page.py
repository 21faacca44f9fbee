"""The page docs/reliability.md, each of whose sections is written by the program that measures it."""

from pathlib import Path

from duende.presets.format import write_atomically

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"


def read_section(begin: str, end: str) -> str:
    """What stands between two marks."""
    return PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def rows_of(section: str) -> dict[str, str]:
    """The rows of a section's table by what stands in their first column."""
    return {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("|")}


def write_section(heading: str, begin: str, end: str, text: str) -> None:
    """Put text between its marks begin and end, in the place of what was there; else below its heading, at the end."""
    page = PAGE.read_text(encoding="utf-8")
    if begin not in page:
        page = f"{page.rstrip()}\n\n## {heading}\n\n{begin}\n{end}\n"
    before, _, rest = page.partition(begin)
    write_atomically(PAGE, f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}".encode())
