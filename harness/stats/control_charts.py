"""Control charts: whether a night's value is lower than a cell's history predicts, and since when.

Two charts per cell on self-starting scores (Hawkins, Technometrics 1987): each night's value against the mean and
deviation of the nights before it, as Student's t and from there as a normal score, which is exactly standard normal while
nothing changes, however short the history. A control limit (Shewhart) on the score sees large drops at once; a one-sided
CUSUM (Page, Biometrika 1954) adds small ones up. All cells of a night are tested together: Benjamini and Hochberg (JRSS B
1995) bound the share of false alarms among alarms, and while nothing is wrong the chance of any.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from harness.stats.small_samples import mean, t_cdf

ENOUGH = 20
"""Nights before a cell can raise an alarm."""

UNLIKELY = 0.02  # chance above which a value is never worth a second measurement, however few the cells
_LOW = 0.2  # chance below which a second measurement confirms the first
_NORMAL = NormalDist()
_TINY = 1e-12  # probabilities are kept away from 0 and 1, where the normal score has no value


@dataclass(frozen=True)
class Limits:
    """When a cell is measured a second time, and when the two together are an alarm.

    `suspects`: how many of all cells may be measured again in a night although nothing is wrong; `alarm`: the rate for
    Benjamini and Hochberg over all cells of a night; `slack` and `height`: the CUSUM's k and h in standard deviations.
    """

    suspects: float = 1.0
    alarm: float = 0.006
    slack: float = 0.5
    height: float = 9.5


class Chart:
    """The nights of one cell since its last known change, added one by one."""

    def __init__(self, values: Iterable[float] = (), slack: float = Limits.slack) -> None:
        self.nights, self.mean, self._squares = 0, 0.0, 0.0
        self.slack, self.cusum = slack, 0.0
        for value in values:
            self.add(value)

    @property
    def spread(self) -> float:
        """Sample standard deviation of the nights."""
        return math.sqrt(self._squares / (self.nights - 1)) if self.nights > 1 else math.nan

    def score(self, value: float, repeats: int = 1) -> float:
        """Normal score of the mean of `repeats` values against the nights so far; negative: lower than expected.

        Infinite where the nights never varied and the value differs: such a cell is exact.
        """
        difference = value - self.mean
        if self._squares <= 1e-18 * self.nights * max(1.0, self.mean**2):  # nothing but rounding
            return 0.0 if abs(difference) <= 1e-9 * max(1.0, abs(self.mean)) else math.copysign(math.inf, difference)
        t = difference / (self.spread * math.sqrt(1 / repeats + 1 / self.nights))
        return _NORMAL.inv_cdf(min(1 - _TINY, max(_TINY, t_cdf(t, self.nights - 1))))

    def after(self, value: float) -> float:
        """The one-sided CUSUM for drops with one more night."""
        return max(0.0, self.cusum - self.score(value) - self.slack) if self.nights > 1 else 0.0

    def add(self, value: float) -> None:
        self.cusum = self.after(value)
        self.nights += 1
        step = value - self.mean
        self.mean += step / self.nights
        self._squares += step * (value - self.mean)


def rejected_hypotheses(p_values: Mapping[str, float], rate: float, of: int | None = None) -> set[str]:
    """Benjamini and Hochberg: the cells that count as changed when a share of `rate` of them may be wrong.

    `of`: how many cells were tested in all, where only the smallest p-values are given.
    """
    if not p_values:
        return set()
    from scipy.stats import false_discovery_control  # loads slowly: only where a cell is suspected

    absent_p_values = [1.0] * ((of or len(p_values)) - len(p_values))
    adjusted = false_discovery_control([*p_values.values(), *absent_p_values])
    return {cell for cell, p in zip(p_values, adjusted) if p <= rate}


def suspects(charts: Mapping[str, Chart], tonight: Mapping[str, float], limits: Limits) -> set[str]:
    """The cells to measure a second time before an alarm."""
    tested_charts = {cell: chart for cell, chart in charts.items() if chart.nights >= ENOUGH and cell in tonight}
    rate = min(UNLIKELY, limits.suspects / max(1, len(tested_charts)))
    low = {cell for cell, chart in tested_charts.items() if _chance(chart.score(tonight[cell])) <= rate}
    drifting = {
        c for c, chart in tested_charts.items() if tonight[c] < chart.mean and chart.after(tonight[c]) > limits.height
    }
    return low | drifting


def alarms(
    charts: Mapping[str, Chart], tonight: Mapping[str, float], again: Mapping[str, float], limits: Limits
) -> dict[str, float]:
    """{cell: its drop in points} of the suspects whose two measurements together are beyond chance.

    The second measurement alone must be low, too: a single outlier is never an alarm. For a drift that the CUSUM
    saw this is all that is asked.
    """
    tested_count = sum(chart.nights >= ENOUGH and cell in tonight for cell, chart in charts.items())
    p, drifting = {}, set()
    for cell, second in again.items():
        chart = charts[cell]
        if _chance(chart.score(second)) > _LOW:
            continue
        p[cell] = _chance(chart.score((tonight[cell] + second) / 2, repeats=2))
        if chart.after(tonight[cell]) > limits.height:
            drifting.add(cell)
    alarming = rejected_hypotheses(p, limits.alarm, tested_count) | drifting
    return {cell: charts[cell].mean - (tonight[cell] + again[cell]) / 2 for cell in sorted(alarming)}


def _chance(z: float) -> float:
    """Of a score as low as this, while nothing has changed."""
    return 0.0 if z == -math.inf else 1.0 if z == math.inf else _NORMAL.cdf(z)


# -------------------------------------------------------------------------------------------------------------- where


def steps(values: Sequence[float], penalty: float = 3.0) -> list[int]:
    """Where the level of a series changes: indices at which a new level begins, by least squares.

    Each level beyond the first must reduce the squared error by more than `penalty` · variance ·
    log n (the Schwarz criterion charges 2 for a level and its place; 3 keeps flat series whole).
    The variance is that of neighbours' differences, which steps hardly affect. Dynamic programming over all divisions, O(n²).
    """
    n = len(values)
    if n < 4:
        return []
    differences = sorted(abs(b - a) for a, b in itertools.pairwise(values))
    sigma = 1.0484 * differences[len(differences) // 2]  # median |difference| of two normals is 0.954 σ
    if sigma == 0:  # exact but for a few steps
        return [i for i in range(1, n) if values[i] != values[i - 1]]
    price = penalty * sigma**2 * math.log(n)
    sums, squares = [0.0], [0.0]
    centre = mean(values)
    for value in values:
        sums.append(sums[-1] + value - centre)
        squares.append(squares[-1] + (value - centre) ** 2)

    best, since = [0.0] + [math.inf] * n, [0] * (n + 1)
    for end in range(1, n + 1):
        for start in range(end):
            total = sums[end] - sums[start]
            error = squares[end] - squares[start] - total * total / (end - start)
            if best[start] + error + price < best[end]:
                best[end], since[end] = best[start] + error + price, start
    step_positions, end = [], n
    while since[end] > 0:
        step_positions.append(since[end])
        end = since[end]
    return step_positions[::-1]


def last_drop(values: Sequence[float]) -> int:
    """The index at which the last lower level began: the likeliest place of one step where none pays for itself."""
    step_positions = [at for at in steps(values) if at < len(values)]
    falling = [at for at in step_positions if mean(values[at:]) < mean(values[:at])]
    if falling:
        return falling[-1]

    def error(at: int) -> float:
        return sum((v - mean(part)) ** 2 for part in (values[:at], values[at:]) for v in part)

    return min(range(1, len(values)), key=error)
