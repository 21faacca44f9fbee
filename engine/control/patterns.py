"""Address patterns as OSC 1.0 has them (? * [a-c] [!x] {in,out}), matched in bounded time: nothing backtracks."""

from collections.abc import Callable, Iterable, Sequence

from ... import DuendeError

MAX_PATTERN = 256
"""Characters of a pattern."""
SPECIAL = frozenset("?*[]{}")

Step = Callable[[str, int], int]
"""From a name and the places reached in it, as bits, to the places reached after one more piece of the pattern."""


def is_pattern(address: str) -> bool:
    """Whether this stands for more than one address."""
    return not SPECIAL.isdisjoint(address)


def matches(pattern: str, addresses: Iterable[str]) -> list[str]:
    """The addresses that a pattern stands for; * and the others end at a slash. DuendeError for a broken pattern."""
    if len(pattern) > MAX_PATTERN:
        raise DuendeError(f"a pattern of {len(pattern)} characters is too long: at most {MAX_PATTERN}")
    parts = [_steps(part) for part in pattern.split("/")]
    known: list[dict[str, bool]] = [{} for _ in parts]
    found = []
    for address in addresses:
        names = address.split("/")
        if len(names) == len(parts) and all(map(_is_match, names, parts, known)):
            found.append(address)
    return found


def _is_match(name: str, steps: Sequence[Step], known: dict[str, bool]) -> bool:
    if name not in known:
        places = 1
        for step in steps:
            places = step(name, places)
        known[name] = bool(places >> len(name) & 1)
    return known[name]


def _steps(part: str) -> list[Step]:
    steps: list[Step] = []
    place = 0
    while place < len(part):
        letter = part[place]
        if letter in "[{":
            end = part.find("]" if letter == "[" else "}", place)
            if end < 0:
                raise DuendeError(f"{part!r:.80}: a bracket is open; close it in the same part of the address")
            inside = part[place + 1 : end]
            steps.append(_one_of(inside) if letter == "[" else _any_of(inside.split(",")))
            place = end
        elif letter in "]}":
            raise DuendeError(f"{part!r:.80}: a bracket is closed that was not opened")
        elif letter == "*":
            steps.append(_anything)
        elif letter == "?":
            steps.append(_one)
        else:
            steps.append(_any_of([letter]))
        place += 1
    return steps


def _one(name: str, places: int) -> int:
    return places << 1 & (1 << len(name) + 1) - 1


def _anything(name: str, places: int) -> int:
    """All places from the first one reached to the end of the name."""
    return (1 << len(name) + 1) - (places & -places) if places else 0


def _any_of(words: Sequence[str]) -> Step:
    def step(name: str, places: int) -> int:
        reached = 0
        for word in words:
            for begin in range(len(name) - len(word) + 1):
                if places >> begin & 1 and name.startswith(word, begin):
                    reached |= 1 << begin + len(word)
        return reached

    return step


def _one_of(inside: str) -> Step:
    wanted = not inside.startswith("!")
    body = inside if wanted else inside[1:]
    letters: set[str] = set()
    ranges: list[tuple[str, str]] = []
    place = 0
    while place < len(body):
        if body[place + 1 : place + 2] == "-" and place + 2 < len(body):
            ranges.append((body[place], body[place + 2]))
            place += 3
        else:
            letters.add(body[place])
            place += 1

    def step(name: str, places: int) -> int:
        reached = 0
        for begin, letter in enumerate(name):
            inside_it = letter in letters or any(low <= letter <= high for low, high in ranges)
            if places >> begin & 1 and inside_it == wanted:
                reached |= 1 << begin + 1
        return reached

    return step
