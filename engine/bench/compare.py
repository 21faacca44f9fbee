"""Two benchmarks side by side: ratios with the interval that chance alone leaves them in.

Each pass is one process; its median and its 99th percentile are one observation each. Of their logarithms, Welch's
interval of the difference of means (B. L. Welch, Biometrika 34, 1947) is the ratio's, widened so that all rows of the
table together hold with 95 % (Bonferroni): a row that differs by more than that does so not because there are many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .results import Figures, Key, Result

SURE = 0.95
WHAT = ("median", "p99")
VERSIONS_MATTER = ("python", "numpy", "scipy", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Ratio:
    """b over a, with the interval low..high; None where there is only one pass on a side."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """What b is against a."""
        if self.low is None or self.high is None:
            return "one pass: noise not known"
        if self.high < 1.0:
            return "quicker"
        return "slower" if self.low > 1.0 else "within noise"


@dataclass(frozen=True)
class Row:
    """One key that both have measured."""

    key: Key
    a: Result
    b: Result
    median: Ratio
    p99: Ratio


@dataclass(frozen=True)
class Comparison:
    """rows: in the order of a; only_a, only_b: keys that the other has not; differences: between the machines."""

    rows: list[Row]
    only_a: list[Key]
    only_b: list[Key]
    differences: list[str]


def compare(a: Figures, b: Figures) -> Comparison:
    """Everything that both have measured."""
    there = {result.key: result for result in b.results}
    shared = [(result, there[result.key]) for result in a.results if result.key in there]
    share = 1.0 - (1.0 - SURE) / max(1, len(WHAT) * len(shared))
    rows = [
        Row(
            one.key,
            one,
            other,
            ratio_of([p.median_us for p in one.passes], [p.median_us for p in other.passes], share),
            ratio_of([p.p99_us for p in one.passes], [p.p99_us for p in other.passes], share),
        )
        for one, other in shared
    ]
    keys = {result.key for result in a.results}
    return Comparison(
        rows,
        [result.key for result in a.results if result.key not in there],
        [result.key for result in b.results if result.key not in keys],
        _differences(a, b),
    )


def ratio_of(a: Sequence[float], b: Sequence[float], share: float = SURE) -> Ratio:
    """The ratio of b to a, of positive observations, with the interval that holds with probability share."""
    before, after = np.log(np.asarray(a, dtype=np.float64)), np.log(np.asarray(b, dtype=np.float64))
    difference = float(after.mean() - before.mean())
    if min(len(before), len(after)) < 2:
        return Ratio(math.exp(difference), None, None)
    parts = np.array([before.var(ddof=1) / len(before), after.var(ddof=1) / len(after)])
    spread = float(parts.sum())
    if spread == 0.0:
        return Ratio(math.exp(difference), math.exp(difference), math.exp(difference))
    freedom = spread**2 / float(parts[0] ** 2 / (len(before) - 1) + parts[1] ** 2 / (len(after) - 1))
    width = float(stats.t.ppf(0.5 + share / 2.0, freedom)) * math.sqrt(spread)
    low, high = (math.exp(min(700.0, difference + side * width)) for side in (-1.0, 1.0))
    return Ratio(math.exp(difference), low, high)


def _differences(a: Figures, b: Figures) -> list[str]:
    """In what the machines differ that could make the difference."""
    found = []
    for what in ("processor", "cores", "kernel", "governor", "power", "priority", "gpus"):
        before, after = getattr(a.machine, what), getattr(b.machine, what)
        if before != after:
            found.append(f"{what}: {_said(before)} / {_said(after)}")
    for name in VERSIONS_MATTER:
        before, after = a.machine.versions.get(name, ""), b.machine.versions.get(name, "")
        if before != after:
            found.append(f"{name}: {_said(before)} / {_said(after)}")
    loads = [machine.load or 0.0 for machine in (a.machine, b.machine)]
    cores = [machine.cores for machine in (a.machine, b.machine)]
    if any(load > 0.5 * count for load, count in zip(loads, cores, strict=True)):
        found.append(f"other programs ran: load {loads[0]:.1f} / {loads[1]:.1f} on {cores[0]} / {cores[1]} cores")
    return found


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "not known"
