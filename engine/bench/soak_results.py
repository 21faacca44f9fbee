"""What a soak found, and whether that will do: slices of time, what processes held, and the checks made of them."""

import datetime
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import scipy.stats

from ...presets.format import write_atomically
from .machine import MachineInfo

FORMAT = 1
WARM_SHARE, WARM_MOST_S = 0.4, 120.0
"""What is held may grow for so long: presets that are opened for the first time, the last half minute that is kept."""
ENDS = 0.25
"""What is held is compared between the first and the last quarter of the time after that."""
GROWTH_MB = 5.0
MORE = {"threads": 2.0, "files": 4.0, "mappings": 40.0}
"""A preset that is being opened just then holds so many more, a forge of pages in memory some."""
FEWEST_SAMPLES = 8
FEWEST_SLICES = 4
CONFIDENCE = 0.95


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some seconds of the soak.

    late: callbacks of the host that took longer than a block; xruns: that its device told of. idle_*: of the callback
    that does nothing, at the same time; missed: that ended when the next was due. samples: of the output that were
    looked at, nonfinite: of these, no numbers. peak: the largest of them.
    """

    seconds: float
    callbacks: int
    late: int
    xruns: int
    idle_callbacks: int
    idle_late: int
    idle_missed: int
    samples: int
    nonfinite: int
    peak: float


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process held, every so often: at_s since the beginning, memory_mb, threads, files, mappings."""

    role: str
    at_s: list[float] = []
    memory_mb: list[float] = []
    threads: list[int] = []
    files: list[int] = []
    mappings: list[int] = []


class Burdened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one of the burdens did, how often it failed, and how in words."""

    name: str
    done: int
    failed: int
    words: list[str]


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question, whether the answer will do, and the answer in words. passed None: could not be answered."""

    name: str
    passed: bool | None
    words: str


class SoakFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that was found, as it is written to a file.

    ended: "done", "interrupted", or why it ended early. restarts: processes that were started again. counts: of the
    host's own counters, by name. slowest_preset_s: from an order to its answer.
    """

    format: int
    created: str
    machine: MachineInfo
    device: str
    block: int
    rate: float
    asked_s: float
    seconds: float
    ended: str
    restarts: list[str]
    counts: dict[str, int]
    slowest_preset_s: float
    slices: list[Slice]
    held: list[Held]
    burdens: list[Burdened]
    notes: list[str]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong, and it was not ended early by a failure."""
        return self.ended in ("done", "interrupted") and all(check.passed is not False for check in self.checks)


def created_now() -> str:
    """The time in UTC, for people to read."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write_soak(path: Path, found: SoakFigures) -> None:
    """Write the figures as JSON; DuendeError where that cannot be."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(found), indent=1))


def checks(
    slices: Sequence[Slice],
    held: Sequence[Held],
    restarts: Sequence[str],
    burdens: Sequence[Burdened],
    counts: dict[str, int],
) -> list[Check]:
    """All questions that can be asked of what was found."""
    return [
        _rate_check("late blocks", slices, lambda one: one.late, lambda one: one.idle_late),
        _rate_check("xruns", slices, lambda one: one.xruns, lambda one: one.idle_missed),
        _sound_check(slices, counts),
        Check("restarts", not restarts, "; ".join(restarts) or "0"),
        *growth_checks(held),
        *(
            Check(one.name, one.failed == 0 and one.done > 0, "; ".join([str(one.done), *one.words[:2]]))
            for one in burdens
        ),
    ]


def _sound_check(slices: Sequence[Slice], counts: dict[str, int]) -> Check:
    samples, wrong = sum(one.samples for one in slices), sum(one.nonfinite for one in slices)
    bad = {name: counts[name] for name in ("faults", "failed", "input_repairs") if counts.get(name)}
    peak = max((one.peak for one in slices), default=0.0)
    words = f"{wrong} samples that are no numbers among {samples}, peak {peak:.3f}"
    words += "".join(f", {name} {count}" for name, count in bad.items())
    return Check("sound", None if not samples else wrong == 0 and not bad and 0.0 < peak <= 1.0, words)


def _rate_check(
    name: str, slices: Sequence[Slice], host: Callable[[Slice], int], idle: Callable[[Slice], int]
) -> Check:
    """Whether the host's share is more than that of doing nothing, by what the slices differ by themselves."""
    used = [one for one in slices if one.callbacks and one.idle_callbacks]
    ours, theirs = sum(map(host, used)), sum(map(idle, used))
    blocks, idle_blocks = sum(one.callbacks for one in used), sum(one.idle_callbacks for one in used)
    if not used:
        return Check(name, None, "nothing was played")
    words = f"{ours} of {blocks}; doing nothing {theirs} of {idle_blocks}"
    if len(used) < FEWEST_SLICES:
        # Too few to see how they vary: as if each came by itself.
        low = float(scipy.stats.binomtest(ours, ours + theirs, alternative="greater").pvalue) if ours + theirs else 1.0
        passed = low > (1.0 - CONFIDENCE) / 2.0
        return Check(name, passed, f"{words}; by chance with a probability of {low:.2g}")
    differences = [1e5 * (host(one) / one.callbacks - idle(one) / one.idle_callbacks) for one in used]
    mean, half = statistics.mean(differences), half_interval(differences)
    words += f"; {mean:+.0f} +- {half:.0f} in 100 000 beyond that ({100 * CONFIDENCE:.0f} %)"
    return Check(name, mean - half <= 0.0, words)


def half_interval(values: Sequence[float]) -> float:
    """Half the width of the confidence interval of their mean (Student's t)."""
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return float(scipy.stats.t.ppf(0.5 + CONFIDENCE / 2.0, len(values) - 1)) * spread


def growth_checks(held: Sequence[Held]) -> list[Check]:
    """For each process, what it holds at the end beyond what it held when it was warm."""
    found = []
    for one in held:
        warm = warm_up_s(one.at_s[-1]) if one.at_s else 0.0
        places = [place for place, at in enumerate(one.at_s) if at >= warm]
        if len(places) < FEWEST_SAMPLES:
            found.append(Check(f"{one.role}: memory", None, "seen too short a time to tell whether it grows"))
            continue
        grown = growth([one.memory_mb[place] for place in places])
        words = f"{one.memory_mb[places[-1]]:.0f} MB, {grown:+.1f} MB since it was warm"
        found.append(Check(f"{one.role}: memory", grown < GROWTH_MB, words))
        leaks, parts = False, []
        for name, allowed in MORE.items():
            values = [float(getattr(one, name)[place]) for place in places]
            grown = growth(values)
            leaks |= grown > allowed
            parts.append(f"{name} {values[-1]:.0f} ({grown:+.0f})")
        found.append(Check(f"{one.role}: threads, files, mappings", not leaks, ", ".join(parts)))
    return found


def warm_up_s(seconds: float) -> float:
    """How long of so many seconds is not looked at for growth."""
    return min(WARM_MOST_S, WARM_SHARE * seconds)


def growth(values: Sequence[float]) -> float:
    """Median of the last quarter beyond that of the first one."""
    count = max(2, round(ENDS * len(values)))
    return statistics.median(values[-count:]) - statistics.median(values[:count])
