"""Small-sample statistics without a statistics package: Student's t, exactly, and the largest of K normal draws."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN for no values, and infinities stay what they are."""
    return sum(values) / len(values) if values else math.nan


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n − 1); NaN below two values."""
    if len(values) < 2:
        return math.nan
    if len(set(values)) == 1:
        return 0.0  # also where the mean itself is rounded
    centre = mean(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1))


def t_cdf(t: float, dof: int) -> float:
    """P(T ≤ t) for Student's t with `dof` ≥ 1 degrees of freedom."""
    from scipy.special import stdtr  # 0.2 s: only where there are repetitions to judge

    return float(stdtr(dof, t))


@functools.cache
def t_quantile(probability: float, dof: int) -> float:
    """The t below which a share `probability` (0 < p < 1) of Student's distribution with `dof` degrees of freedom lies."""
    from scipy.special import stdtrit

    return float(stdtrit(dof, probability))


@functools.cache
def best_of(k: int) -> tuple[float, float]:
    """(mean, variance) of the largest of `k` independent standard normal draws: (0.8463, 0.5595) for 3."""
    steps, reach = 4000, 9.0
    width = 2 * reach / steps
    first = second = 0.0
    for i in range(steps + 1):
        x = -reach + i * width
        below = (1 + math.erf(x / math.sqrt(2))) / 2
        density = k * below ** (k - 1) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        first += x * density * width
        second += x * x * density * width
    return first, second - first**2


@functools.cache
def best_quantile(probability: float, n: int, k: int) -> float:
    """The value below which (mean of n − largest of k) / deviation of the n lies with that probability.

    All draws are standard normal, the k independent of the n; the ratio does not depend on their common spread, so it
    gives exact intervals however few the draws. By numerical integration, to about 1e-4.
    """
    reach, steps = 8.0, 240
    width = 2 * reach / steps
    xs = [-reach + (i + 0.5) * width for i in range(steps)]
    largest = [k * _normal_cdf(x) ** (k - 1) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi) * width for x in xs]
    grid = [-12 + 0.05 * i for i in range(481)]
    # P(mean − largest ≤ w) on a grid, then averaged over the deviation s of the n, which is independent of their mean
    below = [sum(_normal_cdf(math.sqrt(n) * (w + x)) * f for x, f in zip(xs, largest) if f > 1e-12) for w in grid]
    spreads = _deviation_density(n - 1)

    def cdf(r: float) -> float:
        return sum(_at(below, (r * s + 12) / 0.05) * weight for s, weight in spreads)

    low, high = -1.0, 1.0
    while cdf(low) > probability:
        low *= 2
    while cdf(high) < probability:
        high *= 2
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle) < probability else (low, middle)
    return (low + high) / 2


def _normal_cdf(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def _deviation_density(dof: int) -> list[tuple[float, float]]:
    """(s, weight) of the sample deviation of standard normal draws with so many degrees of freedom; weights sum to 1."""
    width = 0.0125
    points = [(i + 0.5) * width for i in range(400)]
    logs = [(dof - 1) * math.log(s) - dof * s * s / 2 for s in points]
    top = max(logs)
    weights = [math.exp(value - top) for value in logs]
    total = sum(weights)
    return [(s, weight / total) for s, weight in zip(points, weights) if weight > 1e-12 * total]


def _at(values: Sequence[float], place: float) -> float:
    """Linear interpolation of probabilities on a grid; 0 and 1 beyond its ends."""
    if place <= 0:
        return 0.0
    if place >= len(values) - 1:
        return 1.0
    i = int(place)
    return values[i] + (place - i) * (values[i + 1] - values[i])
